-- Visits to a shop: the clicks of a user, until there was none for 30 seconds.
--
--   clicks.jsonl ─ CLICKS ──────┬─ SESSIONS (one row per visit) ─┬─ REPORT ─ terminal
--                └ LATE_CLICKS ─┴─ LATE (what came too late) ────┘
--
-- Clicks come up to 5 seconds out of order: the WATERMARK waits so long. A click that is later than that is in no visit any
-- more; `late` makes a stream of such rows, which is read like any other.
CREATE SOURCE "CLICKS" (
    "user" VARCHAR(16),
    "page" VARCHAR(64),
    "at"   TIMESTAMP,
    WATERMARK FOR "at" AS "at" - INTERVAL '5' SECOND)
  WITH (connector = 'file', path = 'clicks.jsonl', late = 'LATE_CLICKS');

CREATE STREAM "REPORT" (
    "until" TIMESTAMP, "user" VARCHAR(16), "what" VARCHAR(8), "clicks" INTEGER, "seconds" DECIMAL(8, 3), "first" VARCHAR(64), "last" VARCHAR(64));

-- A session is a window of each user's own: from the first click to 30 seconds after the last one. The columns of PARTITION BY
-- are the keys of the GROUP BY; WINDOW_START and WINDOW_END are the session's.
CREATE STREAM "SESSIONS" ("user" VARCHAR(16), "from" TIMESTAMP, "until" TIMESTAMP, "clicks" INTEGER, "first" VARCHAR(64), "last" VARCHAR(64));

CREATE PUMP "SESSIONS_PUMP" AS INSERT INTO "SESSIONS"
  SELECT STREAM "user", window_start, window_end, COUNT(*), FIRST_VALUE("page"), LAST_VALUE("page")
  FROM TABLE(SESSION(TABLE "CLICKS" PARTITION BY "user", DESCRIPTOR(ROWTIME), INTERVAL '30' SECOND))
  GROUP BY window_start, window_end, "user";

-- How long a visit was: without the 30 seconds behind its last click. A single click is no visit.
CREATE PUMP "VISITS_PUMP" AS INSERT INTO "REPORT"
  SELECT STREAM "until", "user", 'visit', "clicks",
         CAST(TSDIFF("from", "until") - 30000 AS DECIMAL(18, 3)) / 1000, "first", "last"
  FROM "SESSIONS" WHERE "clicks" > 1;

CREATE PUMP "LATE_PUMP" AS INSERT INTO "REPORT" ("until", "user", "what", "clicks", "last")
  SELECT STREAM "at", "user", 'late', 1, "page" FROM LATE_CLICKS;

CREATE SINK terminal FROM "REPORT" WITH (connector = 'stdout', format = 'json');
