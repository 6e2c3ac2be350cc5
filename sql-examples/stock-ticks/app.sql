-- Stock ticks per ticker and 10 seconds, from the built-in generator: no account, no network.
--
-- The source has what the demo stream of the original service had, and an event time, so that every run gives the
-- same rows. `rate = 0` makes the ticks as fast as possible; `rate = 1000` makes them in real time.
CREATE SOURCE "SOURCE_SQL_STREAM_001" (
    TICKER_SYMBOL VARCHAR(4),
    SECTOR        VARCHAR(16),
    CHANGE        REAL,
    PRICE         REAL,
    EVENT_TIME    TIMESTAMP,
    WATERMARK FOR EVENT_TIME AS EVENT_TIME - INTERVAL '2' SECOND)
  WITH (connector = 'generator', kind = 'ticks', rows = 30000, rate = 0, seed = 42, start = '2024-01-01 00:00:00');

-- From here on it is an application as the original service ran it.
CREATE OR REPLACE STREAM "DESTINATION_SQL_STREAM" (
    "window_end" TIMESTAMP,
    "ticker"     VARCHAR(4),
    "ticks"      INTEGER,
    "low"        REAL,
    "high"       REAL);

CREATE OR REPLACE PUMP "STREAM_PUMP" AS
  INSERT INTO "DESTINATION_SQL_STREAM"
    SELECT STREAM ROWTIME, TICKER_SYMBOL, COUNT(*), MIN(PRICE), MAX(PRICE)
    FROM "SOURCE_SQL_STREAM_001"
    WHERE SECTOR = 'TECHNOLOGY'
    GROUP BY TICKER_SYMBOL, STEP("SOURCE_SQL_STREAM_001".ROWTIME BY INTERVAL '10' SECOND);

CREATE SINK terminal FROM "DESTINATION_SQL_STREAM" WITH (connector = 'stdout');
