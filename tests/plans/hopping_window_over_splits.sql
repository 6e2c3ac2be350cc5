-- 4 splits: panes per split, windows behind them, the first rows of each.
CREATE SOURCE "S" ("ticker" VARCHAR(4), "price" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t" - INTERVAL '5' SECOND) WITH (connector = 'memory', late = 'LATE_S');
CREATE STREAM "OUT" ("ticker" VARCHAR(4), "n" BIGINT);
CREATE PUMP "P" AS INSERT INTO "OUT"
  SELECT STREAM "ticker", "n" FROM (
    SELECT STREAM "ticker", "n", ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY "n" DESC) AS rn FROM (
      SELECT STREAM window_end, "ticker", COUNT(*) AS "n" FROM TABLE(HOP(TABLE "S", DESCRIPTOR(ROWTIME), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
      GROUP BY window_end, "ticker"))
  WHERE rn <= 3;
CREATE STREAM "VISITS" AS SELECT STREAM "ticker", MIN("price") AS "low" FROM TABLE(SESSION(TABLE "S" PARTITION BY "ticker", DESCRIPTOR(ROWTIME), INTERVAL '30' SECOND)) GROUP BY window_end, "ticker";
CREATE STREAM "STEPS" AS SELECT STREAM COUNT(*) AS "n" FROM TABLE(TUMBLE(TABLE "LATE_S", DESCRIPTOR(ROWTIME), INTERVAL '1' HOUR, INTERVAL '5' MINUTE)) GROUP BY window_start, window_end;
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
CREATE SINK "V" FROM "VISITS" WITH (connector = 'memory');
CREATE SINK "T" FROM "STEPS" WITH (connector = 'memory');
