-- Orders, step by step: pumps that read what other pumps write.
--
--   orders.csv ─ ORDERS ─┬─ BIG ORDERS (filter) ──────────────┬─ ALERTS ─ terminal
--                        └─ REVENUE (10 seconds per country) ─┘
--                              one pump more: only countries above 500
CREATE SOURCE "ORDERS" (
    id       INTEGER NOT NULL,
    country  CHAR(2),
    amount   DECIMAL(10, 2),
    placed   TIMESTAMP,
    WATERMARK FOR placed AS placed - INTERVAL '3' SECOND)
  WITH (connector = 'file', path = 'orders.csv', csv.header = true);

CREATE STREAM "ALERTS" ("at" TIMESTAMP, "country" CHAR(2), "kind" VARCHAR(20), "amount" DECIMAL(12, 2));

-- Fan-out: two pumps read ORDERS.
CREATE PUMP "BIG_PUMP" AS INSERT INTO "ALERTS"
  SELECT STREAM ROWTIME, country, CASE WHEN amount > 400 THEN 'huge order' ELSE 'big order' END, amount
  FROM "ORDERS" WHERE amount > 300;

CREATE STREAM "REVENUE" (country CHAR(2), revenue DECIMAL(12, 2), orders INTEGER);

CREATE PUMP "REVENUE_PUMP" AS INSERT INTO "REVENUE"
  SELECT STREAM country, SUM(amount), COUNT(*)
  FROM "ORDERS"
  GROUP BY country, STEP("ORDERS".ROWTIME BY INTERVAL '10' SECOND)
  HAVING COUNT(*) > 1;

-- Fan-in: two pumps write ALERTS, which stays in the order of ROWTIME.
CREATE PUMP "GOOD_TIMES_PUMP" AS INSERT INTO "ALERTS"
  SELECT STREAM ROWTIME, country, 'revenue', revenue FROM "REVENUE" WHERE revenue > 500;

CREATE SINK terminal FROM "ALERTS" WITH (connector = 'stdout', format = 'json');
