-- Prints the ticks of the shards that this process has. Start it twice, with a checkpoint folder for each: the processes divide the
-- shards through leases in a DynamoDB table, and when one ends, or dies, the other takes its shards over.
CREATE SOURCE "TICKS" (ticker_symbol VARCHAR(4), price REAL)
  WITH (connector = 'kinesis', stream = 'ticks', lease = 'dynamodb', lease.table = 'ticks-leases');

CREATE SINK "terminal" FROM "TICKS" WITH (connector = 'stdout');
