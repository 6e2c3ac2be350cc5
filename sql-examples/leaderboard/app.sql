-- A leaderboard: the three players with the most points of every 30 seconds, with their rank.
CREATE SOURCE "SCORES" ("AT" TIMESTAMP, player VARCHAR(8), points INTEGER, WATERMARK FOR "AT" AS "AT" - INTERVAL '1' SECOND)
  WITH (connector = 'file', path = 'scores.csv', csv.header = true);

-- All rows of a window have its end as ROWTIME: that makes them one group for GROUP_RANK.
CREATE STREAM "TOTALS" ("player" VARCHAR(8), "points" INTEGER, "games" INTEGER);

CREATE PUMP "TOTALS_PUMP" AS INSERT INTO "TOTALS"
  SELECT STREAM player, SUM(points), COUNT(*) FROM "SCORES"
  GROUP BY player, STEP("SCORES".ROWTIME BY INTERVAL '30' SECOND);

CREATE STREAM "LEADERBOARD" ("until" TIMESTAMP, "rank" INTEGER, "player" VARCHAR(8), "points" INTEGER, "games" INTEGER);

-- By "points", into the column "rank", the most points first, the rows in that order too, at most 10 seconds of waiting (KDA
-- waits for the next group; here the watermark ends it), three rows.
CREATE PUMP "RANK_PUMP" AS INSERT INTO "LEADERBOARD"
  SELECT STREAM ROWTIME, "rank", "player", "points", "games"
  FROM TABLE(GROUP_RANK(CURSOR(SELECT STREAM "player", "points", "games" FROM "TOTALS"), 'points', 'rank', 'desc', 'asc', 10, 3));

CREATE SINK terminal FROM "LEADERBOARD" WITH (connector = 'stdout', format = 'csv');
