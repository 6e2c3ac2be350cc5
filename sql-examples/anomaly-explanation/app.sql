-- What is strange about a server, and which of its metrics makes it so.
--
-- metrics.csv: processor load and memory in percent, latency in milliseconds, once a second. Load goes up and down and the others
-- follow; at 10:08:40 a process runs away, at 10:13:20 memory fills up, at 10:17:20 requests are slow while the processor idles.
CREATE SOURCE "METRICS" ("AT" TIMESTAMP, "cpu" DOUBLE, "memory" DOUBLE, "latency" DOUBLE, WATERMARK FOR "AT" AS "AT")
  WITH (connector = 'file', path = 'metrics.csv', csv.header = true);

CREATE STREAM "SCORES" ("at" TIMESTAMP, "cpu" DOUBLE, "memory" DOUBLE, "latency" DOUBLE, "score" DOUBLE, "explanation" VARCHAR(1024));

-- 100 trees of 256 rows, a slow decay, no shingle, with directions: the service's defaults. The model learns from every numeric
-- column of the cursor.
CREATE PUMP "FOREST_PUMP" AS INSERT INTO "SCORES"
  SELECT STREAM ROWTIME, "cpu", "memory", "latency", ANOMALY_SCORE, ANOMALY_EXPLANATION
  FROM TABLE(RANDOM_CUT_FOREST_WITH_EXPLANATION(
    CURSOR(SELECT STREAM "cpu", "memory", "latency" FROM "METRICS"), 100, 256, 100000, 1, TRUE));

-- Ordinary rows score about 0.7 to 1.2 here.
CREATE STREAM "ANOMALIES" ("at" TIMESTAMP, "cpu" DOUBLE, "memory" DOUBLE, "latency" DOUBLE, "score" DECIMAL(6, 2), "explanation" VARCHAR(1024));

CREATE PUMP "ALARM_PUMP" AS INSERT INTO "ANOMALIES"
  SELECT STREAM "at", "cpu", "memory", "latency", CAST("score" AS DECIMAL(6, 2)), "explanation" FROM "SCORES" WHERE "score" > 2.2;

CREATE SINK terminal FROM "ANOMALIES" WITH (connector = 'stdout', format = 'json');
