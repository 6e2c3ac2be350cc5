-- A join with a table is an operator of the stream's chain; what tables give among themselves is computed before.
CREATE SOURCE "S" ("k" VARCHAR(10), "v" INTEGER, "unused" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE TABLE "T" ("site" VARCHAR(10), "region" VARCHAR(10)) WITH (connector = 'file', path = 'slt/joins/data/regions.csv');
CREATE STREAM "OUT" ("v" INTEGER, "region" VARCHAR(10));
CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM s."v", t."region" FROM "S" AS s, "T" AS t WHERE s."k" = t."site" AND s."v" > 1 AND t."region" <> s."k";
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
