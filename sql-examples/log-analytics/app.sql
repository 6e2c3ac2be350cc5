-- The log of a web server: requests, bytes and failures per page. Lines that are no lines of a log are left out.
--
-- An agent sends each line of the log as a record, {"log": "192.0.2.7 - - [06/May/2024:10:00:00 +0000] …"}.
CREATE SOURCE "ACCESS" ("log" VARCHAR(1024)) WITH (connector = 'file', path = 'access.jsonl');

-- W3C_LOG_PARSE makes a record of a line: one field per part of the format, which is 'COMMON' here, all of them text:
-- COLUMN1 host, COLUMN4 time in brackets, COLUMN5 request, COLUMN6 status, COLUMN7 bytes. The time of the line becomes ROWTIME,
-- so the windows below are those of the server's clock.
CREATE STREAM "REQUESTS" ("host" VARCHAR(64), "page" VARCHAR(256), "status" INTEGER, "bytes" BIGINT);

CREATE PUMP "PARSE_PUMP" AS INSERT INTO "REQUESTS" (ROWTIME, "host", "page", "status", "bytes")
  SELECT STREAM
    CHAR_TO_TIMESTAMP('dd/MMM/yyyy:HH:mm:ss', SUBSTRING(l.r.COLUMN4 FROM 2 FOR 20)) AS ROWTIME,
    l.r.COLUMN1,
    REGEX_REPLACE(REGEX_REPLACE(l.r.COLUMN5, '^[A-Z]+ ', '', 1, 0), '[? ].*$', '', 1, 0),
    CAST(l.r.COLUMN6 AS INTEGER),
    CAST(l.r.COLUMN7 AS BIGINT)
  FROM (SELECT STREAM W3C_LOG_PARSE("log", 'COMMON') FROM "ACCESS") AS l(r)
  WHERE l.r.COLUMN1 IS NOT NULL;

CREATE STREAM "REPORT" ("until" TIMESTAMP, "page" VARCHAR(256), "requests" INTEGER, "hosts" INTEGER, "bytes" BIGINT, "failed" INTEGER);

CREATE PUMP "REPORT_PUMP" AS INSERT INTO "REPORT"
  SELECT STREAM ROWTIME, "page", COUNT(*), COUNT(DISTINCT "host"), SUM("bytes"), SUM(CASE WHEN "status" >= 400 THEN 1 ELSE 0 END)
  FROM "REQUESTS"
  GROUP BY "page", STEP("REQUESTS".ROWTIME BY INTERVAL '1' MINUTE);

CREATE SINK terminal FROM "REPORT" WITH (connector = 'stdout', format = 'csv');
