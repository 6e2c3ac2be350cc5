-- Columns that nobody reads are not decoded; the pump runs in the source's task.
CREATE SOURCE "S" ("ticker" VARCHAR(4), "sector" VARCHAR(16), "price" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE STREAM "OUT" ("ticker" VARCHAR(4), "cents" INTEGER);
CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM "ticker", "price" * 100 FROM "S" WHERE "price" > 1 AND "ticker" LIKE 'A%';
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
