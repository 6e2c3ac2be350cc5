-- Readings of devices, completed from a reference table, and those above their device's limit.
CREATE SOURCE "READINGS" (
    "at"      TIMESTAMP,
    "device"  VARCHAR(8),
    "celsius" DOUBLE,
    WATERMARK FOR "at" AS "at" - INTERVAL '1' SECOND)
  WITH (connector = 'file', path = 'readings.jsonl');

-- KDA reads such a table from S3; any connector will do.
CREATE TABLE "DEVICES" ("id" VARCHAR(8), "kind" VARCHAR(16), "site" VARCHAR(16), "limit" DOUBLE)
  WITH (connector = 'file', path = 'devices.csv', csv.header = true);

-- LEFT JOIN: a device that nobody entered in the table still counts, as one of an unknown site.
CREATE STREAM "ENRICHED" (device VARCHAR(8), kind VARCHAR(16), site VARCHAR(16), celsius DOUBLE, above DOUBLE);

CREATE PUMP "ENRICH_PUMP" AS INSERT INTO "ENRICHED"
  SELECT STREAM r."device", d."kind", COALESCE(d."site", 'unknown'), r."celsius", r."celsius" - d."limit"
  FROM "READINGS" AS r LEFT JOIN "DEVICES" AS d ON r."device" = d."id";

CREATE STREAM "REPORT" ("until" TIMESTAMP, "site" VARCHAR(16), "readings" INTEGER, "above_limit" INTEGER, "worst" DOUBLE);

CREATE PUMP "REPORT_PUMP" AS INSERT INTO "REPORT"
  SELECT STREAM ROWTIME, site, COUNT(*), SUM(CASE WHEN above > 0 THEN 1 ELSE 0 END), ROUND(MAX(above), 1)
  FROM "ENRICHED"
  GROUP BY site, STEP("ENRICHED".ROWTIME BY INTERVAL '20' SECOND);

CREATE SINK terminal FROM "REPORT" WITH (connector = 'stdout', format = 'csv');
