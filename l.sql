CREATE SOURCE "S" ("id" INTEGER, "text" VARCHAR(10)) WITH (connector = 'file', path = 'rows.json');
CREATE STREAM "OUT" AS SELECT STREAM "id" FROM "S"; CREATE SINK "R" FROM "OUT" WITH (connector = 'stdout');
CREATE STREAM "FAILED" AS SELECT STREAM ERROR_NAME, MESSAGE FROM error_stream; CREATE SINK "E" FROM "FAILED" WITH (connector = 'stdout');