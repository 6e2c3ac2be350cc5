CREATE SOURCE "A" ("k" VARCHAR(2), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE SOURCE "B" ("k" VARCHAR(2), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE SOURCE "C" ("k" VARCHAR(2), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE STREAM "OUT" AS SELECT STREAM a."v" AS "a", b."v" AS "b", c."v" AS "c"
  FROM "A" OVER w AS a LEFT JOIN "B" OVER w AS b USING ("k") JOIN "C" AS c USING ("k")
  WINDOW w AS (RANGE INTERVAL '1' MINUTE PRECEDING);
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
