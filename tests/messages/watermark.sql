CREATE SOURCE "T" ("a" INTEGER, WATERMARK FOR "a" AS "a") WITH (connector = 'memory');
CREATE SOURCE "U" ("a" TIMESTAMP, WATERMARK FOR "b" AS "b" - INTERVAL '5' SECOND) WITH (connector = 'memory');
CREATE SOURCE "V" ("a" TIMESTAMP, WATERMARK FOR "a" AS "a") WITH (connector = 'memory', rowtime = 'processing');
CREATE SOURCE "W" ("a" TIMESTAMP, "x" INTEGER PATH '$.list[0:].x[0:].y') WITH (connector = 'file', path = 'a.json');
