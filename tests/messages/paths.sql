CREATE SOURCE "A" ("x" INTEGER PATH 'x', "y" INTEGER PATH '$.y', "z" INTEGER PATH '$.') WITH (connector = 'file', path = 'a.jsonl');
CREATE SOURCE "B" ("x" INTEGER PATH '$.x', "y" INTEGER, "z" INTEGER PATH '$.z') WITH (connector = 'file', path = 'b.csv');
CREATE SOURCE "C" ("x" VARCHAR(8) PATH '$.x') WITH (connector = 'file', path = 'c.txt', format = 'raw');
CREATE SOURCE "D" ("TICKER_SYMBOL" VARCHAR(8) PATH '$.symbol') WITH (connector = 'generator');
CREATE SOURCE "E" ("x" INTEGER) WITH (connector = 'file', path = '');
