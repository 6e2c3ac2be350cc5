-- What sells best: the first three items of every minute, looked at every 30 seconds, and the best of each shop per minute.
CREATE SOURCE "SALES" (
    placed TIMESTAMP,
    shop   VARCHAR(8),
    item   VARCHAR(16),
    pieces INTEGER,
    WATERMARK FOR placed AS placed - INTERVAL '2' SECOND)
  WITH (connector = 'file', path = 'sales.csv', csv.header = true);

CREATE STREAM "BEST" ("until" TIMESTAMP, "shop" VARCHAR(8), "place" INTEGER, "item" VARCHAR(16), "pieces" INTEGER);

-- HOP makes windows of one minute of which one ends every 30 seconds, so each sale is in two of them. ROW_NUMBER numbers the
-- groups of a window when it closes; the condition around it says how many are kept of each window meanwhile.
CREATE PUMP "TRENDS_PUMP" AS INSERT INTO "BEST"
  SELECT STREAM window_end, 'all', rn, item, pieces
  FROM (
    SELECT STREAM window_end, item, pieces, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY pieces DESC, item) AS rn
    FROM (
      SELECT STREAM window_start, window_end, item, SUM(pieces) AS pieces
      FROM TABLE(HOP(TABLE "SALES", DESCRIPTOR(ROWTIME), INTERVAL '30' SECOND, INTERVAL '1' MINUTE))
      GROUP BY window_start, window_end, item))
  WHERE rn <= 3;

-- The same over the windows of KDA SQL: all rows of a window have its end as ROWTIME, so that is what PARTITION BY names.
CREATE STREAM "PER_MINUTE" (shop VARCHAR(8), item VARCHAR(16), pieces INTEGER);

CREATE PUMP "MINUTES_PUMP" AS INSERT INTO "PER_MINUTE"
  SELECT STREAM shop, item, SUM(pieces) FROM "SALES"
  GROUP BY shop, item, STEP("SALES".ROWTIME BY INTERVAL '1' MINUTE);

CREATE PUMP "SHOPS_PUMP" AS INSERT INTO "BEST"
  SELECT STREAM ROWTIME, shop, "place", item, pieces
  FROM (
    SELECT STREAM m.shop, m.item, m.pieces, ROW_NUMBER() OVER (PARTITION BY m.ROWTIME, m.shop ORDER BY m.pieces DESC, m.item) AS "place"
    FROM "PER_MINUTE" AS m)
  WHERE "place" = 1;

CREATE SINK terminal FROM "BEST" WITH (connector = 'stdout', format = 'csv');
