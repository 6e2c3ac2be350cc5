-- 4 splits: each aggregates what it has, one stage behind them merges the states.
CREATE SOURCE "S" ("ticker" VARCHAR(4), "price" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t" - INTERVAL '5' SECOND) WITH (connector = 'memory');
CREATE STREAM "OUT" ("ticker" VARCHAR(4), "n" INTEGER, "low" DOUBLE);
CREATE PUMP "P" AS INSERT INTO "OUT"
  SELECT STREAM "ticker", COUNT(*), MIN("price") FROM "S" GROUP BY "ticker", STEP("S".ROWTIME BY INTERVAL '10' SECOND) HAVING COUNT(*) > 1;
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
