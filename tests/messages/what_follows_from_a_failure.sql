CREATE TABLE tt (x INTEGR) WITH (connector = 'file', path = 'x.csv');
CREATE TABLE uu (x INTEGER) WITH (connector = 'file', path = 'does/not/exist.csv');
SELECT * FROM tt;
SELECT * FROM uu;
SELECT STREAM * FROM "S" JOIN uu ON "S"."ticker" = uu.x;
REFRESH TABLE uu;
DROP TABLE tt;
SELECT STREAM * FROM tx;
