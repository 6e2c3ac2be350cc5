-- 4 splits. A join of streams is a stage of its own; conditions of WHERE that compare both sides are keys of it.
CREATE SOURCE "A" ("k" VARCHAR(10), "v" INTEGER, "unused" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE SOURCE "B" ("k" VARCHAR(10), "v" INTEGER, "unused" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
CREATE STREAM "OUT" ("v" INTEGER, "at" TIMESTAMP);
CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM a."v", ROWTIME FROM "A" OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS a, "B" AS b
  WHERE a."k" = b."k" AND a."v" < b."v" AND a."v" > 0;
CREATE SINK "R" FROM "OUT" WITH (connector = 'memory');
