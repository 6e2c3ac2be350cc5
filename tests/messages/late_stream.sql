CREATE SOURCE "A" ("v" INTEGER) WITH (connector = 'memory', late = 'LATE');
CREATE SOURCE "B" ("v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory', late = 'OUT');
CREATE SOURCE "C" ("v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory', late = 'C');
CREATE SOURCE "D" ("v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory', late = 'LATE_D');
CREATE PUMP "P" AS INSERT INTO "LATE_D" SELECT STREAM 1, "t" FROM "D";
CREATE OR REPLACE STREAM "LATE_D" ("v" INTEGER);
DROP STREAM "LATE_D";
