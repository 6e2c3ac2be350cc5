-- Orders that are shipped within a minute, and those that are not.
CREATE SOURCE "ORDERS" (placed TIMESTAMP, id INTEGER, item VARCHAR(16), WATERMARK FOR placed AS placed)
  WITH (connector = 'file', path = 'orders.csv', csv.header = true);
CREATE SOURCE "SHIPMENTS" (sent TIMESTAMP, order_id INTEGER, carrier VARCHAR(16), WATERMARK FOR sent AS sent)
  WITH (connector = 'file', path = 'shipments.csv', csv.header = true);

CREATE STREAM "MATCHES" ("at" TIMESTAMP, "id" INTEGER, "item" VARCHAR(16), "carrier" VARCHAR(16), "seconds" INTEGER);

-- The window says for how long an order can be matched. Shipments have none: a shipment meets the orders before it. An order
-- without a shipment comes when its window has passed, with NULL for the shipment.
CREATE PUMP "MATCH_PUMP" AS INSERT INTO "MATCHES"
  SELECT STREAM ROWTIME, o.id, o.item, s.carrier, (s.sent - o.placed) SECOND
  FROM "ORDERS" OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS o
  LEFT JOIN "SHIPMENTS" AS s ON o.id = s.order_id;

CREATE SINK terminal FROM "MATCHES" WITH (connector = 'stdout', format = 'csv');
