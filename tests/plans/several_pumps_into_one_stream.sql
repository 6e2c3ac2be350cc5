-- 2 splits. Rows of both pumps meet in the order of ROWTIME.
CREATE SOURCE "S" ("k" VARCHAR(4), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE STREAM "BOTH" ("label" VARCHAR(8), "v" INTEGER, "gap" DOUBLE);
CREATE PUMP "SMALL" AS INSERT INTO "BOTH" SELECT STREAM 'small', "v", 0.5 FROM "S" WHERE "v" < 10;
CREATE PUMP "LARGE" AS INSERT INTO "BOTH" ("v", "label") SELECT STREAM "v", "k" FROM "S" WHERE "v" >= 10;
CREATE SINK "R" FROM "BOTH" WITH (connector = 'memory');
