-- Prints the alerts in stream `alerts`, first those that are there, then each that comes, until Ctrl-C.
CREATE SOURCE "ALERTS" (at_time TIMESTAMP, ticker VARCHAR(4), company VARCHAR(32), price REAL, moved REAL)
  WITH (connector = 'kinesis', stream = 'alerts', scan.start = 'trim_horizon');

SELECT STREAM * FROM "ALERTS";
