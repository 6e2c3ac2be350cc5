-- Clicks that arrive late: counted per page and minute of the click, with tumbling and with stagger windows.
--
-- Rows arrive in the order of ROWTIME, "clicked" lies up to 45 seconds before. A tumbling window on ROWTIME cuts at every full
-- minute of arrival, so the clicks of one minute end up in several rows. A stagger window opens with the first click of its
-- page and minute and waits for the others: one row for nearly all of them.
CREATE SOURCE "CLICKS" (arrived TIMESTAMP, clicked TIMESTAMP, page VARCHAR(8), WATERMARK FOR arrived AS arrived)
  WITH (connector = 'file', path = 'clicks.csv', csv.header = true);

CREATE STREAM "COUNTS" ("window" VARCHAR(8), "minute" TIMESTAMP, "page" VARCHAR(8), "clicks" INTEGER);

CREATE PUMP "TUMBLING_PUMP" AS INSERT INTO "COUNTS"
  SELECT STREAM 'tumbling', FLOOR(clicked TO MINUTE), page, COUNT(*)
  FROM "CLICKS"
  GROUP BY page, FLOOR(clicked TO MINUTE), STEP("CLICKS".ROWTIME BY INTERVAL '1' MINUTE);

CREATE PUMP "STAGGER_PUMP" AS INSERT INTO "COUNTS"
  SELECT STREAM 'stagger', FLOOR(clicked TO MINUTE), page, COUNT(*)
  FROM "CLICKS"
  WINDOWED BY STAGGER (PARTITION BY page, FLOOR(clicked TO MINUTE) RANGE INTERVAL '90' SECOND);

CREATE SINK terminal FROM "COUNTS" WITH (connector = 'stdout', format = 'csv');
