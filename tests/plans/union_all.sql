-- The branches of a query meet in a stage of their own.
CREATE SOURCE "A" ("v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE SOURCE "B" ("v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE STREAM "OUT" ("v" INTEGER, "from" VARCHAR(1));
CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM "v", 'a' AS "from" FROM "A" UNION ALL SELECT STREAM "v" + 100, 'b' FROM "B" WHERE "v" > 0;
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
