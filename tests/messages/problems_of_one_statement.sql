CREATE SOURCE q (x INTEGR) WITH (connector = 'file', pth = 'x', format = 'xml', follow = 3);
CREATE SINK s FROM nosuch WITH (connector = 'stdout', format = 'xml', colour = 'red');
CREATE SINK t FROM nosuch WITH (connector = 'stdot', format = 'xml');
CREATE PUMP p AS INSERT INTO nosuch SELECT STREAM nope FROM "S";
CREATE STREAM "OUT" AS SELECT STREAM nope FROM "S";
CREATE SOURCE "S" (x INTEGER) WITH (connector = 'file', pth = 'x');
