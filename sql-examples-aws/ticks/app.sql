-- ** Prices per stock and ten seconds, with the company's name; stocks that jump; what failed. **
-- Stream `ticks` and table `companies.csv` come in; windows go to Firehose, alerts to a stream, errors to S3.
-- `just local-aws` starts servers that have all of these on this machine. The same as an application of the service: application.json.

-- ---- Inputs ----

-- One JSON document a record: {"TICKER_SYMBOL": "AMZN", "SECTOR": "RETAIL", "CHANGE": -0.5, "PRICE": 99.5, "EVENT_TIME": "2024-05-06 10:00:00.000"}
-- A tick may come five seconds after a newer one. When none has come for ten seconds, windows close by the clock.
CREATE SOURCE "SOURCE_SQL_STREAM_001" (
    "TICKER_SYMBOL" VARCHAR(4),
    "CHANGE"        REAL,
    "PRICE"         REAL,
    "EVENT_TIME"    TIMESTAMP,
    WATERMARK FOR "EVENT_TIME" AS "EVENT_TIME" - INTERVAL '5' SECOND)
  WITH (connector = 'kinesis', stream = 'ticks', scan.start = 'trim_horizon', idle_timeout = '10s');

-- Looked at every ten seconds; a new version takes effect for the ticks that come then.
CREATE TABLE "COMPANIES" ("ticker" VARCHAR(4), "company" VARCHAR(32))
  WITH (connector = 's3', path = 's3://reference/companies.csv', csv.header = true, refresh = '10s');

-- ---- The application, as it ran in the service ----

-- Each tick with the name of its company, and how far the price moved from the one before, in percent.
CREATE OR REPLACE STREAM "NAMED_TICKS" (ticker VARCHAR(4), company VARCHAR(32), price REAL, moved REAL);

CREATE OR REPLACE PUMP "NAMED_TICKS_PUMP" AS INSERT INTO "NAMED_TICKS"
SELECT STREAM t.TICKER_SYMBOL, COALESCE(c."company", 'unknown'), t.PRICE, ROUND(100 * t.CHANGE / (t.PRICE - t.CHANGE), 2)
FROM "SOURCE_SQL_STREAM_001" AS t
LEFT JOIN "COMPANIES" AS c ON t.TICKER_SYMBOL = c."ticker";

CREATE OR REPLACE STREAM "DESTINATION_SQL_STREAM" (
    window_end TIMESTAMP, ticker VARCHAR(4), company VARCHAR(32), ticks INTEGER, low REAL, high REAL);

CREATE OR REPLACE PUMP "WINDOWS_PUMP" AS INSERT INTO "DESTINATION_SQL_STREAM"
SELECT STREAM ROWTIME, ticker, company, COUNT(*), MIN(price), MAX(price)
FROM "NAMED_TICKS"
GROUP BY ticker, company, STEP("NAMED_TICKS".ROWTIME BY INTERVAL '10' SECOND);

-- A stock that moved by more than one percent from one tick to the next, each time.
CREATE OR REPLACE STREAM "ALERTS" (at_time TIMESTAMP, ticker VARCHAR(4), company VARCHAR(32), price REAL, moved REAL);

CREATE OR REPLACE PUMP "ALERTS_PUMP" AS INSERT INTO "ALERTS"
SELECT STREAM ROWTIME, ticker, company, price, moved
FROM "NAMED_TICKS"
WHERE ABS(moved) > 1;

-- ---- Outputs ----

-- Firehose collects records into objects of bucket `archive`.
CREATE SINK "windows" FROM "DESTINATION_SQL_STREAM"
  WITH (connector = 'firehose', delivery_stream = 'windows', newline = true);

-- Alerts of a stock stay in order.
CREATE SINK "alerts" FROM "ALERTS"
  WITH (connector = 'kinesis', stream = 'alerts', partition_key = 'TICKER', ordered = true);

-- Records that are no JSON or do not fit the columns, rows that are late or divide by zero.
CREATE SINK "errors" FROM "error_stream"
  WITH (connector = 's3', path = 's3://errors/', buffer_interval = '10s');
