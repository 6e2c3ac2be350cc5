CREATE SOURCE "A" ("v" INTEGER) WITH (connector = 'file', path = 'a.jsonl', csv.header = true);
CREATE SOURCE "B" ("v" INTEGER) WITH (connector = 'file', path = 'a.jsonl', idle_timeout = '5s');
CREATE SOURCE "C" ("v" INTEGER) WITH (connector = 'file', path = 'a.jsonl', rowtime = 'arrival');
CREATE TABLE "D" ("v" INTEGER) WITH (connector = 'file', path = 'a.jsonl', rowtime = 'processing');
CREATE SINK "E" FROM "OUT" WITH (connector = 'file', path = 'a.json', csv.header = true);
