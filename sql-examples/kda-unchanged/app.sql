-- ** Low, high and average price per ticker and 10 seconds. **
-- This file is as the console of the service held it: it names its input stream, "SOURCE_SQL_STREAM_001", and its output
-- stream, and nothing more. What they are is said on the command line: see the file `command`.
CREATE OR REPLACE STREAM "DESTINATION_SQL_STREAM" (
    ticker_symbol VARCHAR(4),
    ticks         INTEGER,
    low           REAL,
    high          REAL,
    average       REAL);

CREATE OR REPLACE PUMP "STREAM_PUMP" AS INSERT INTO "DESTINATION_SQL_STREAM"
SELECT STREAM "SOURCE_SQL_STREAM_001".TICKER_SYMBOL,
              COUNT(*)    AS ticks,
              MIN(PRICE)  AS low,
              MAX(PRICE)  AS high,
              AVG(PRICE)  AS average
FROM "SOURCE_SQL_STREAM_001"
WHERE SECTOR <> 'ENERGY'
GROUP BY "SOURCE_SQL_STREAM_001".TICKER_SYMBOL,
         STEP("SOURCE_SQL_STREAM_001".ROWTIME BY INTERVAL '10' SECOND);
