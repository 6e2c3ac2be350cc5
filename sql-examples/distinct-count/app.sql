-- How many different visitors there are: per page and minute exactly, and over all pages with KDA's own function.
CREATE SOURCE "VISITS" ("AT" TIMESTAMP, visitor VARCHAR(8), page VARCHAR(8), WATERMARK FOR "AT" AS "AT" - INTERVAL '1' SECOND)
  WITH (connector = 'file', path = 'visits.csv', csv.header = true);

CREATE STREAM "COUNTS" ("until" TIMESTAMP, "page" VARCHAR(8), "visits" INTEGER, "visitors" BIGINT);

CREATE PUMP "PAGES_PUMP" AS INSERT INTO "COUNTS"
  SELECT STREAM ROWTIME, page, COUNT(*), COUNT(DISTINCT visitor)
  FROM "VISITS"
  GROUP BY page, STEP("VISITS".ROWTIME BY INTERVAL '1' MINUTE);

-- COUNT_DISTINCT_ITEMS_TUMBLING estimates in KDA; here it counts exactly. The column's name is a text, in its exact case.
CREATE PUMP "ALL_PUMP" AS INSERT INTO "COUNTS" ("until", "page", "visitors")
  SELECT STREAM ROWTIME, 'all', NUMBER_OF_DISTINCT_ITEMS
  FROM TABLE(COUNT_DISTINCT_ITEMS_TUMBLING(CURSOR(SELECT STREAM * FROM "VISITS"), 'VISITOR', 60));

CREATE SINK terminal FROM "COUNTS" WITH (connector = 'stdout', format = 'csv');
