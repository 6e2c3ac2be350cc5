-- Twenty made-up ticks a second into stream `ticks`, until Ctrl-C.
CREATE SOURCE "TICKS" WITH (connector = 'generator', kind = 'ticks', rate = 20);

CREATE SINK "feed" FROM "TICKS" WITH (connector = 'kinesis', stream = 'ticks', partition_key = 'TICKER_SYMBOL');
