CREATE OR REPLACE TABLE "OUT" ("v" INTEGER) WITH (connector = 'memory');
CREATE OR REPLACE TABLE "S" ("v" INTEGER) WITH (connector = 'memory');
