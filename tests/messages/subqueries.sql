CREATE TABLE "regions" ("site" VARCHAR(10), "region" VARCHAR(10)) WITH (connector = 'file', path = 'slt/joins/data/regions.csv');
CREATE PUMP "A" AS INSERT INTO "OUT" SELECT STREAM "ticker", 1 FROM "S" WHERE "ticker" IN (SELECT "ticker" FROM "S");
CREATE PUMP "B" AS INSERT INTO "OUT" SELECT STREAM (SELECT "site" FROM "regions"), 1 FROM "S";
CREATE PUMP "C" AS INSERT INTO "OUT" SELECT STREAM "ticker", SUM(CASE WHEN "ticker" IN (SELECT "site" FROM "regions") THEN 1 ELSE 0 END) FROM "S" AS s GROUP BY "ticker", FLOOR(s.ROWTIME TO MINUTE);
CREATE PUMP "D" AS INSERT INTO "OUT" SELECT STREAM "ticker", 1 FROM "S" WHERE "ticker" IN (SELECT "sit" FROM "regions");
CREATE PUMP "E" AS INSERT INTO "OUT" SELECT STREAM "ticker", 1 FROM "S" WHERE "ticker" IN (SELECT "site", "region" FROM "regions");
CREATE PUMP "F" AS INSERT INTO "OUT" SELECT STREAM "ticker", 1 FROM "S" AS s GROUP BY "ticker", EXISTS (SELECT 1 FROM "regions"), FLOOR(s.ROWTIME TO MINUTE);
CREATE PUMP "G" AS INSERT INTO "OUT" SELECT STREAM "ticker", 1 FROM "S" ORDER BY ROWTIME, "ticker" IN (SELECT "site" FROM "regions");
