CREATE SINK "K" FROM "OUT" WITH (connector = 'file', pth = 'x.json');
CREATE SINK "L" FROM "OUT" WITH (connector = 'fille', path = 'x.json');
CREATE SOURCE "T" ("a" INTEGER) WITH (connector = 'generator', rate = 'fast');
CREATE SINK "M" FROM "OUT" WITH (path = 'x.json');
CREATE SINK "N" FROM "OUT" WITH (connector = 'stdout', format = 'xml');
CREATE SOURCE "U" ("a" INTEGER) WITH (connector = 'kinesis', stream = 's', format = 'table');
CREATE SOURCE "V" WITH (connector = 'generator', format = 'json');
