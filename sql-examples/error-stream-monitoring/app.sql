-- What fails is counted like anything else: error_stream is a stream with a row for each record or row that was left out.
--
-- The readings have every usual fault: a record that is cut off, a text where a number should be, a division by zero, one that
-- comes half a minute late. None of them stops the others.
CREATE SOURCE "READINGS" ("at" TIMESTAMP, "sensor" VARCHAR(32), "count" INTEGER, "total" INTEGER,
    WATERMARK FOR "at" AS "at" - INTERVAL '2' SECOND)
  WITH (connector = 'file', path = 'readings.jsonl');

CREATE STREAM "AVERAGES" (sensor VARCHAR(8), average INTEGER);

-- No count is a division by zero; a name of more than 8 characters does not fit. Both are rows of error_stream.
CREATE PUMP "AVERAGES_PUMP" AS INSERT INTO "AVERAGES"
  SELECT STREAM "sensor", "total" / "count" FROM "READINGS";

CREATE STREAM "MONITOR" ("until" TIMESTAMP, "what" VARCHAR(32), "rows" INTEGER, "from" VARCHAR(64), "example" VARCHAR(80));

CREATE PUMP "GOOD_PUMP" AS INSERT INTO "MONITOR" ("until", "what", "rows")
  SELECT STREAM ROWTIME, 'good', COUNT(*) FROM "AVERAGES" GROUP BY STEP("AVERAGES".ROWTIME BY INTERVAL '30' SECOND);

-- By the time of the data: the clock at which an error was noticed would be another one at every run.
CREATE PUMP "ERRORS_PUMP" AS INSERT INTO "MONITOR" ("until", "what", "rows", "from", "example")
  SELECT STREAM DATA_ROWTIME, ERROR_NAME, 1, PUMP_NAME, CAST(SUBSTRING(MESSAGE, 1, 80) AS VARCHAR(80)) FROM "error_stream";

CREATE SINK terminal FROM "MONITOR" WITH (connector = 'stdout', format = 'csv');
