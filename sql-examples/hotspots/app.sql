-- Where vehicles crowd together: HOTSPOTS over their positions.
--
-- positions.csv: four positions a second in a city of 10 by 10 kilometres. One place is crowded all the time, another from
-- 10:04:10 on; the rest is spread evenly.
CREATE SOURCE "POSITIONS" ("AT" TIMESTAMP, "number" INTEGER, "x" DOUBLE, "y" DOUBLE, WATERMARK FOR "AT" AS "AT")
  WITH (connector = 'file', path = 'positions.csv', csv.header = true);

CREATE STREAM "SPOTS" ("at" TIMESTAMP, "x" DOUBLE, "y" DOUBLE, "hotspots" VARCHAR(2048), "number" VARCHAR(8));

-- Of the last 1000 positions, those with at least 20, themselves included, within 200 metres. The number of the row is a text
-- here: as a number it would be one more dimension.
CREATE PUMP "HOTSPOTS_PUMP" AS INSERT INTO "SPOTS"
  SELECT STREAM ROWTIME, "x", "y", HOTSPOTS_RESULT, "number"
  FROM TABLE(HOTSPOTS(
    CURSOR(SELECT STREAM "x", "y", CAST("number" AS VARCHAR(8)) AS "number" FROM "POSITIONS"), 1000, 0.2, 20));

-- The answer after every 250th position.
CREATE STREAM "REPORT" ("at" TIMESTAMP, "hotspots" VARCHAR(2048));

CREATE PUMP "REPORT_PUMP" AS INSERT INTO "REPORT"
  SELECT STREAM "at", "hotspots" FROM "SPOTS" WHERE MOD(CAST("number" AS INTEGER), 250) = 0;

CREATE SINK terminal FROM "REPORT" WITH (connector = 'stdout', format = 'json');
