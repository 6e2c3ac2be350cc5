CREATE TABLE "T" ("a" INTEGER) WITH (connector = 'file', path = 'does/not/exist.csv');
