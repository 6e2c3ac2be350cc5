-- Requests of a web server per status class and 10 seconds, and what was wrong with the input.
--
-- requests.jsonl holds records as servers really write them: one is cut off, one has text for a number, one took no time at
-- all, one comes too late. None of them stops the others; they are rows of "error_stream", which a pump reads like any stream.
CREATE SOURCE "REQUESTS" (
    host     VARCHAR(32) PATH '$.request.host',
    status   INTEGER     PATH '$.response.status',
    bytes    BIGINT      PATH '$.response.bytes',
    seconds  DOUBLE      PATH '$.response.seconds',
    at       TIMESTAMP   PATH '$.time',
    WATERMARK FOR at AS at - INTERVAL '5' SECOND)
  WITH (connector = 'file', path = 'requests.jsonl');

CREATE STREAM "SPEED" (class VARCHAR(3), bytes BIGINT, bytes_per_second DOUBLE);

-- A request that took no time divides by zero: its row goes to error_stream, with the name of this pump.
CREATE PUMP "SPEED_PUMP" AS INSERT INTO "SPEED"
  SELECT STREAM CAST(status / 100 AS VARCHAR(1)) || 'xx', bytes, bytes / seconds FROM "REQUESTS";

CREATE STREAM "CLASSES" ("window_end" TIMESTAMP, "class" VARCHAR(3), "requests" INTEGER, "bytes" BIGINT, "fastest" DOUBLE);

CREATE PUMP "CLASSES_PUMP" AS INSERT INTO "CLASSES"
  SELECT STREAM ROWTIME, class, COUNT(*), SUM(bytes), MAX(bytes_per_second)
  FROM "SPEED"
  GROUP BY class, STEP("SPEED".ROWTIME BY INTERVAL '10' SECOND);

CREATE STREAM "PROBLEMS" ("problem" VARCHAR(32), "pump" VARCHAR(128), "message" VARCHAR(200));

CREATE PUMP "PROBLEMS_PUMP" AS INSERT INTO "PROBLEMS"
  SELECT STREAM ERROR_NAME, PUMP_NAME, MESSAGE FROM "error_stream";

CREATE SINK classes  FROM "CLASSES"  WITH (connector = 'stdout', format = 'csv');
CREATE SINK problems FROM "PROBLEMS" WITH (connector = 'file', path = '/dev/stdout', format = 'json');
