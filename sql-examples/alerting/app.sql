-- Alerts: a server that is slow in two windows one after the other, and one that answers with errors.
CREATE SOURCE "REQUESTS" (
    "AT"         TIMESTAMP,
    host         VARCHAR(16),
    milliseconds INTEGER,
    status       INTEGER,
    WATERMARK FOR "AT" AS "AT" - INTERVAL '1' SECOND)
  WITH (connector = 'file', path = 'requests.csv', csv.header = true);

CREATE STREAM "ALERTS" ("at" TIMESTAMP, "host" VARCHAR(16), "alert" VARCHAR(64));

-- The average of every 20 seconds; a window without trouble gives no row further down.
CREATE STREAM "LOAD" (host VARCHAR(16), average INTEGER);

CREATE PUMP "LOAD_PUMP" AS INSERT INTO "LOAD"
  SELECT STREAM host, AVG(milliseconds) FROM "REQUESTS"
  GROUP BY host, STEP("REQUESTS".ROWTIME BY INTERVAL '20' SECOND);

-- LAG looks at the window before: one slow window is a hiccup, two are an alert.
CREATE PUMP "SLOW_PUMP" AS INSERT INTO "ALERTS"
  SELECT STREAM ROWTIME, host, 'slow: ' || CAST(before AS VARCHAR(8)) || ', then ' || CAST(average AS VARCHAR(8)) || ' ms'
  FROM (
    SELECT STREAM host, average, LAG(average) OVER (PARTITION BY host ROWS 1 PRECEDING) AS before
    FROM "LOAD")
  WHERE average > 500 AND before > 500;

-- HAVING: at least five errors in ten seconds.
CREATE PUMP "ERRORS_PUMP" AS INSERT INTO "ALERTS"
  SELECT STREAM ROWTIME, host, CAST(COUNT(*) AS VARCHAR(8)) || ' errors in 10 seconds'
  FROM "REQUESTS"
  WHERE status >= 500
  GROUP BY host, STEP("REQUESTS".ROWTIME BY INTERVAL '10' SECOND)
  HAVING COUNT(*) >= 5;

CREATE SINK terminal FROM "ALERTS" WITH (connector = 'stdout', format = 'csv');
