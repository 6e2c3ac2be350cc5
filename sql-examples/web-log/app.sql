-- Requests of a web server per status class and 10 seconds, and what was wrong with the input.
--
-- requests.jsonl holds records as servers really write them: one is cut off, one has text for a number, one took no time at
-- all, one comes too late. None of them stops the others; they are rows of "error_stream", which a pump reads like any stream.
CREATE SOURCE "REQUESTS" (
    host     VARCHAR(32) PATH '$.request.host',
    status   INTEGER     PATH '$.response.status',
    bytes    BIGINT      PATH '$.response.bytes',
    seconds  DOUBLE      PATH '$.response.seconds',
    "AT"     TIMESTAMP   PATH '$.time',
    WATERMARK FOR "AT" AS "AT" - INTERVAL '5' SECOND)
  WITH (connector = 'file', path = 'requests.jsonl');

CREATE STREAM "SPEED" (class VARCHAR(3), bytes BIGINT, bytes_per_second DOUBLE);

-- A request that took no time divides by zero: its row goes to error_stream, with the name of this pump.
CREATE PUMP "SPEED_PUMP" AS INSERT INTO "SPEED"
  SELECT STREAM CAST(status / 100 AS VARCHAR(1)) || 'xx', bytes, bytes / seconds FROM "REQUESTS";

-- Both pumps write into one stream, which is ordered by ROWTIME whatever their order here.
CREATE STREAM "REPORT" ("at" TIMESTAMP, "what" VARCHAR(32), "requests" INTEGER, "bytes" BIGINT, "detail" VARCHAR(100));

CREATE PUMP "CLASSES_PUMP" AS INSERT INTO "REPORT"
  SELECT STREAM ROWTIME, class, COUNT(*), SUM(bytes), 'fastest: ' || CAST(CAST(MAX(bytes_per_second) AS BIGINT) AS VARCHAR(20)) || ' B/s'
  FROM "SPEED"
  GROUP BY class, STEP("SPEED".ROWTIME BY INTERVAL '10' SECOND);

CREATE PUMP "PROBLEMS_PUMP" AS INSERT INTO "REPORT" ("at", "what", "detail")
  SELECT STREAM DATA_ROWTIME, ERROR_NAME, CAST(SUBSTRING(MESSAGE, 1, 100) AS VARCHAR(100)) FROM "error_stream";

CREATE SINK report FROM "REPORT" WITH (connector = 'stdout', format = 'csv');
