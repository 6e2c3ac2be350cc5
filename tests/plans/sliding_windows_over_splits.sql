-- 4 splits: arguments are computed on each, windows behind a merge that brings the rows in the order of ROWTIME.
CREATE SOURCE "S" ("ticker" VARCHAR(4), "price" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t" - INTERVAL '5' SECOND) WITH (connector = 'memory');
CREATE STREAM "OUT" ("ticker" VARCHAR(4), "avg" DOUBLE, "n" BIGINT, "change" DOUBLE, "count" BIGINT);
CREATE PUMP "P" AS INSERT INTO "OUT"
  SELECT STREAM "ticker", AVG("price" * 2) OVER (w RANGE INTERVAL '1' MINUTE PRECEDING), COUNT(*) OVER (w RANGE INTERVAL '1' MINUTE PRECEDING), "price" - LAG("price", 2, 0) IGNORE NULLS OVER (w ROWS 10 PRECEDING),
    COUNT(*) OVER (ROWS UNBOUNDED PRECEDING)
  FROM "S" WHERE "price" > 0 WINDOW w AS (PARTITION BY "ticker");
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
