SELECT STREAM "ticker", "price" AS ROWTIME FROM "S";
SELECT STREAM "ticker" FROM (SELECT STREAM "ticker", "price" AS ROWTIME FROM "S") AS s;
