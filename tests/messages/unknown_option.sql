CREATE SINK "K" FROM "OUT" WITH (connector = 'file', pth = 'x.json');
CREATE SINK "L" FROM "OUT" WITH (connector = 'fille', path = 'x.json');
CREATE SOURCE "T" ("a" INTEGER) WITH (connector = 'generator', rate = 'fast');
CREATE SINK "M" FROM "OUT" WITH (path = 'x.json');
