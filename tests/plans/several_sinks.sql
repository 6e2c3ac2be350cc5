-- 2 splits. Two sinks of one stream, one of a source, one of the errors.
CREATE SOURCE "S" ("v" INTEGER, "unused" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE STREAM "OUT" ("share" INTEGER);
CREATE STREAM "ERRORS" ("name" VARCHAR(32), "pump" VARCHAR(128));
CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM 100 / "v" FROM "S";
CREATE PUMP "WATCH" AS INSERT INTO "ERRORS" SELECT STREAM ERROR_NAME, PUMP_NAME FROM "error_stream";
CREATE SINK "R1" FROM "OUT" WITH (connector = 'memory');
CREATE SINK "R2" FROM "OUT" WITH (connector = 'memory');
CREATE SINK "RAW" FROM "S" WITH (connector = 'memory');
CREATE SINK "E" FROM "ERRORS" WITH (connector = 'memory');
