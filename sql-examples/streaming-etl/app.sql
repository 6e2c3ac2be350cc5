-- Streaming ETL: raw events become clean rows, one by one: nothing waits, and nothing is aggregated.
--
-- PATH finds a column in the nested record. Amounts arrive as text, names with spaces and in any case, countries in any case
-- or not at all; views of pages are not wanted.
CREATE SOURCE "RAW" (
    "time"    TIMESTAMP   PATH '$.time',
    "user_id" VARCHAR(16) PATH '$.user.id',
    "name"    VARCHAR(64) PATH '$.user.name',
    "event"   VARCHAR(16) PATH '$.event',
    "amount"  VARCHAR(16) PATH '$.amount',
    "country" VARCHAR(2)  PATH '$.country',
    WATERMARK FOR "time" AS "time" - INTERVAL '1' SECOND)
  WITH (connector = 'file', path = 'events.jsonl');

CREATE STREAM "DESTINATION_SQL_STREAM" (
    "at"      TIMESTAMP,
    "day"     VARCHAR(10),
    "user"    INTEGER NOT NULL,
    "name"    VARCHAR(64),
    "country" VARCHAR(2),
    "amount"  DECIMAL(10, 2));

CREATE PUMP "ETL_PUMP" AS INSERT INTO "DESTINATION_SQL_STREAM"
  SELECT STREAM
    "time",
    TIMESTAMP_TO_CHAR('yyyy-MM-dd', "time"),
    CAST(SUBSTRING("user_id" FROM 3) AS INTEGER),
    INITCAP(TRIM(BOTH ' ' FROM "name")),
    COALESCE(UPPER("country"), '??'),
    CASE "event" WHEN 'refund' THEN -CAST("amount" AS DECIMAL(10, 2)) ELSE CAST("amount" AS DECIMAL(10, 2)) END
  FROM "RAW"
  WHERE "event" IN ('purchase', 'refund');

CREATE SINK terminal FROM "DESTINATION_SQL_STREAM" WITH (connector = 'stdout', format = 'csv');
