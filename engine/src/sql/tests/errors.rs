//! The exact messages: what is wrong, where, and what to do.

use super::problems;

/// Checks all messages of a script.
fn check(sql: &str, expected: &str) {
    let shown = problems(sql);
    assert!(shown == expected.trim(), "{sql}\n---- is\n{shown}\n---- expected\n{}", expected.trim());
}

#[test]
fn characters_that_are_no_tokens() {
    check(
        "SELECT `a` FROM t",
        r#"
error: unexpected character "`"
 --> app.sql:1:8
  |
1 | SELECT `a` FROM t
  |        ^
hint: Names that need quotes are written in double quotes, as in "order".
"#,
    );
    check(
        "SELECT cost$ FROM t",
        r#"
error: unexpected character "$"
 --> app.sql:1:12
  |
1 | SELECT cost$ FROM t
  |            ^ names consist of letters, digits and _
hint: Other names must be in double quotes, as in "cost$".
"#,
    );
    check(
        "SELECT [b] FROM t",
        r#"
error: unexpected character "["
 --> app.sql:1:8
  |
1 | SELECT [b] FROM t
  |        ^
hint: Names that need quotes are written in double quotes, as in "order".
error: unexpected character "]"
 --> app.sql:1:10
  |
1 | SELECT [b] FROM t
  |          ^
hint: Names that need quotes are written in double quotes, as in "order".
"#,
    );
    check(
        "SELECT “c” FROM t",
        r#"
error: unexpected character "“"
 --> app.sql:1:8
  |
1 | SELECT “c” FROM t
  |        ^ a typographic quote
hint: Write a straight double quote: ".
error: unexpected character "”"
 --> app.sql:1:10
  |
1 | SELECT “c” FROM t
  |          ^ a typographic quote
hint: Write a straight double quote: ".
"#,
    );
    check(
        "SELECT a – b FROM t",
        r#"
error: unexpected character "–"
 --> app.sql:1:10
  |
1 | SELECT a – b FROM t
  |          ^ a typographic dash
hint: Write a hyphen: -.
"#,
    );
    check(
        "SELECT x::INT FROM t",
        r#"
error: unexpected character ":"
 --> app.sql:1:9
  |
1 | SELECT x::INT FROM t
  |         ^
hint: Type conversion is written CAST(value AS type).
"#,
    );
    check(
        "SELECT 12abc FROM t",
        r#"
error: malformed number "12abc"
 --> app.sql:1:8
  |
1 | SELECT 12abc FROM t
  |        ^^^^^ expected digits, as in 12, 1.5 or 1e6
hint: A name that starts with a digit must be in double quotes.
"#,
    );
}

#[test]
fn unterminated_text_is_reported_where_it_starts() {
    check(
        r#"SELECT 'abc FROM t;
SELECT 1"#,
        r#"
error: character literal does not end
 --> app.sql:1:8
  |
1 | SELECT 'abc FROM t;
  |        ^ it starts here
hint: Close it with a single quote; a quote inside it is written twice, as in 'it''s'.
"#,
    );
    check(
        r#"SELECT "abc FROM t;
SELECT 1"#,
        r#"
error: quoted identifier does not end
 --> app.sql:1:8
  |
1 | SELECT "abc FROM t;
  |        ^ expected a closing double quote on the same line
hint: Identifiers are in double quotes, character literals in single quotes.
"#,
    );
    check(
        r#"SELECT 1
  /* no end
"#,
        r#"
error: comment does not end
 --> app.sql:2:3
  |
2 |   /* no end
  |   ^ it starts here
hint: Close it with */.
"#,
    );
}

#[test]
fn literals() {
    check(
        "SELECT X'1' FROM t",
        r#"
error: malformed binary literal
 --> app.sql:1:8
  |
1 | SELECT X'1' FROM t
  |        ^^^^ expected an even number of hexadecimal digits
"#,
    );
    check(
        r#"SELECT U&'\12' FROM t"#,
        r#"
error: malformed Unicode escape
 --> app.sql:1:8
  |
1 | SELECT U&'\12' FROM t
  |        ^^^^^^^ expected \XXXX with four hexadecimal digits
hint: A \ that is no escape is written twice.
"#,
    );
    check(
        "SELECT U&'!12' UESCAPE '!!' FROM t",
        r#"
error: UESCAPE needs one character
 --> app.sql:1:8
  |
1 | SELECT U&'!12' UESCAPE '!!' FROM t
  |        ^^^^^^^^^^^^^^^^^^^^ expected UESCAPE '!' or the like
"#,
    );
    check(
        "SELECT 'x' 'y' FROM t",
        r#"
error: two character literals in a row
 --> app.sql:1:12
  |
1 | SELECT 'x' 'y' FROM t
  |            ^^^ expected an operator before this literal
hint: Join them with ||, or write '' for a quote inside a literal.
"#,
    );
    check(
        "SELECT a 'x' FROM t",
        r#"
error: unexpected 'x'
 --> app.sql:1:10
  |
1 | SELECT a 'x' FROM t
  |          ^^^ a character literal cannot stand here
hint: Names are in double quotes, character literals in single quotes.
"#,
    );
    check(
        "SELECT a AS 'x' FROM t",
        r#"
error: unexpected 'x'
 --> app.sql:1:13
  |
1 | SELECT a AS 'x' FROM t
  |             ^^^ a character literal cannot stand here
hint: Names are in double quotes, character literals in single quotes.
"#,
    );
    check(
        r#"SELECT "" FROM t"#,
        r#"
error: an identifier cannot be empty
 --> app.sql:1:8
  |
1 | SELECT "" FROM t
  |        ^^ expected a name between the quotes
"#,
    );
    check(
        "SELECT {fn now} FROM t",
        r#"
error: unexpected "{"
 --> app.sql:1:8
  |
1 | SELECT {fn now} FROM t
  |        ^ only {d '…'}, {t '…'} and {ts '…'} are written in braces
"#,
    );
}

#[test]
fn dates_and_times() {
    check(
        "SELECT TIMESTAMP '2020-1-1 10:00' FROM t",
        r#"
error: illegal TIMESTAMP literal '2020-1-1 10:00'
 --> app.sql:1:18
  |
1 | SELECT TIMESTAMP '2020-1-1 10:00' FROM t
  |                  ^^^^^^^^^^^^^^^^ not in format 'yyyy-MM-dd HH:mm:ss'
hint: Write it as TIMESTAMP '2024-01-31 23:59:59'; up to three digits of a fraction may follow.
"#,
    );
    check(
        "SELECT TIMESTAMP '2020-01-01' FROM t",
        r#"
error: illegal TIMESTAMP literal '2020-01-01'
 --> app.sql:1:18
  |
1 | SELECT TIMESTAMP '2020-01-01' FROM t
  |                  ^^^^^^^^^^^^ not in format 'yyyy-MM-dd HH:mm:ss'
hint: Write it as TIMESTAMP '2024-01-31 23:59:59'; up to three digits of a fraction may follow.
"#,
    );
    check(
        "SELECT TIMESTAMP '2020-01-01 24:00:00' FROM t",
        r#"
error: illegal TIMESTAMP literal '2020-01-01 24:00:00'
 --> app.sql:1:18
  |
1 | SELECT TIMESTAMP '2020-01-01 24:00:00' FROM t
  |                  ^^^^^^^^^^^^^^^^^^^^^ there is no such time of day
hint: Write it as TIMESTAMP '2024-01-31 23:59:59'; up to three digits of a fraction may follow.
"#,
    );
    check(
        "SELECT TIMESTAMP '2020-01-01 10:00:00.1234' FROM t",
        r#"
error: illegal TIMESTAMP literal '2020-01-01 10:00:00.1234'
 --> app.sql:1:18
  |
1 | SELECT TIMESTAMP '2020-01-01 10:00:00.1234' FROM t
  |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^ not in format 'yyyy-MM-dd HH:mm:ss'
hint: Write it as TIMESTAMP '2024-01-31 23:59:59'; up to three digits of a fraction may follow.
"#,
    );
    check(
        "SELECT DATE '2020-02-30' FROM t",
        r#"
error: illegal DATE literal '2020-02-30'
 --> app.sql:1:13
  |
1 | SELECT DATE '2020-02-30' FROM t
  |             ^^^^^^^^^^^^ there is no such day
hint: Write it as DATE '2024-01-31'.
"#,
    );
    check(
        "SELECT DATE '2020-02-03 ' FROM t",
        r#"
error: illegal DATE literal '2020-02-03 '
 --> app.sql:1:13
  |
1 | SELECT DATE '2020-02-03 ' FROM t
  |             ^^^^^^^^^^^^^ not in format 'yyyy-MM-dd'
hint: Write it as DATE '2024-01-31'.
"#,
    );
    check(
        "SELECT {t '1:00:00'} FROM t",
        r#"
error: illegal TIME literal '1:00:00'
 --> app.sql:1:11
  |
1 | SELECT {t '1:00:00'} FROM t
  |           ^^^^^^^^^^ not in format 'HH:mm:ss'
hint: Write it as TIME '23:59:59'; up to three digits of a fraction may follow.
"#,
    );
}

#[test]
fn intervals() {
    check(
        "SELECT INTERVAL '3:45:04.0' DAY TO HOUR",
        r#"
error: interval value '3:45:04.0' does not match DAY TO HOUR
 --> app.sql:1:17
  |
1 | SELECT INTERVAL '3:45:04.0' DAY TO HOUR
  |                 ^^^^^^^^^^^ expected 'days hours'
"#,
    );
    check(
        "SELECT INTERVAL '0 25' DAY TO HOUR",
        r#"
error: HOUR of an interval cannot be 25
 --> app.sql:1:17
  |
1 | SELECT INTERVAL '0 25' DAY TO HOUR
  |                 ^^^^^^ expected 0 to 23
"#,
    );
    check(
        "SELECT INTERVAL '1' MINUTE TO SECOND",
        r#"
error: interval value '1' does not match MINUTE TO SECOND
 --> app.sql:1:17
  |
1 | SELECT INTERVAL '1' MINUTE TO SECOND
  |                 ^^^ expected 'minutes:seconds'
"#,
    );
    check(
        "SELECT INTERVAL '1-12' YEAR TO MONTH",
        r#"
error: MONTH of an interval cannot be 12
 --> app.sql:1:17
  |
1 | SELECT INTERVAL '1-12' YEAR TO MONTH
  |                 ^^^^^^ expected 0 to 11
"#,
    );
    check(
        "SELECT INTERVAL '5' WEEK",
        r#"
error: unexpected "WEEK"
 --> app.sql:1:21
  |
1 | SELECT INTERVAL '5' WEEK
  |                     ^^^^ expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND
"#,
    );
    check(
        "SELECT INTERVAL 5 MINUTE",
        r#"
error: unexpected "5"
 --> app.sql:1:17
  |
1 | SELECT INTERVAL 5 MINUTE
  |                 ^ expected a value in single quotes
hint: An interval is written INTERVAL '5' MINUTE.
"#,
    );
    check(
        "SELECT INTERVAL '5 minutes'",
        r#"
error: the statement ends too early
 --> app.sql:1:28
  |
1 | SELECT INTERVAL '5 minutes'
  |                            ^ expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND
"#,
    );
    check(
        "SELECT INTERVAL '1' MINUTE TO HOUR",
        r#"
error: no interval goes from MINUTE to HOUR
 --> app.sql:1:31
  |
1 | SELECT INTERVAL '1' MINUTE TO HOUR
  |                               ^^^^ expected SECOND
"#,
    );
    check(
        "SELECT INTERVAL '1' MONTH TO DAY",
        r#"
error: no interval goes from MONTH to DAY
 --> app.sql:1:30
  |
1 | SELECT INTERVAL '1' MONTH TO DAY
  |                              ^^^ MONTH stands alone
"#,
    );
    check(
        "SELECT INTERVAL '1' DAY HOUR",
        r#"
error: unexpected "HOUR"
 --> app.sql:1:25
  |
1 | SELECT INTERVAL '1' DAY HOUR
  |                         ^^^^ expected the end of the interval
"#,
    );
    check(
        "SELECT INTERVAL '1' DAY(11)",
        r#"
error: wrong precision of DAY
 --> app.sql:1:25
  |
1 | SELECT INTERVAL '1' DAY(11)
  |                         ^^ expected a whole number up to 10
"#,
    );
    check(
        "SELECT INTERVAL '1 1' DAY TO HOUR(2)",
        r#"
error: HOUR has no precision here
 --> app.sql:1:34
  |
1 | SELECT INTERVAL '1 1' DAY TO HOUR(2)
  |                                  ^ only the first field and the fraction of SECOND have one
"#,
    );
    check(
        "SELECT INTERVAL '0.0001' SECOND",
        r#"
error: interval value '0.0001' is finer than a millisecond
 --> app.sql:1:17
  |
1 | SELECT INTERVAL '0.0001' SECOND
  |                 ^^^^^^^^ expected at most three digits after the point
"#,
    );
    check(
        "SELECT INTERVAL '2147483648' DAY(10)",
        r#"
error: interval is too long
 --> app.sql:1:17
  |
1 | SELECT INTERVAL '2147483648' DAY(10)
  |                 ^^^^^^^^^^^^ at most 2147483647 days
"#,
    );
}

#[test]
fn units() {
    check(
        "SELECT FLOOR(a TO FORTNIGHT) FROM t",
        r#"
error: unexpected "FORTNIGHT"
 --> app.sql:1:19
  |
1 | SELECT FLOOR(a TO FORTNIGHT) FROM t
  |                   ^^^^^^^^^ expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND
"#,
    );
    check(
        "SELECT CEIL(a TO MINUTES) FROM t",
        r#"
error: unexpected "MINUTES"
 --> app.sql:1:18
  |
1 | SELECT CEIL(a TO MINUTES) FROM t
  |                  ^^^^^^^ expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND
hint: Did you mean "MINUTE"?
"#,
    );
    check(
        "SELECT EXTRACT(DOW FROM a) FROM t",
        r#"
error: unexpected "DOW"
 --> app.sql:1:16
  |
1 | SELECT EXTRACT(DOW FROM a) FROM t
  |                ^^^ expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND
"#,
    );
    check(
        "SELECT STEP(a, INTERVAL '1' MINUTE) FROM t",
        r#"
error: STEP without BY
 --> app.sql:1:35
  |
1 | SELECT STEP(a, INTERVAL '1' MINUTE) FROM t
  |                                   ^ expected BY and the width of a step
hint: Write STEP(s.ROWTIME BY INTERVAL '1' MINUTE).
"#,
    );
    check(
        "SELECT STEP(a BY) FROM t",
        r#"
error: unexpected ")"
 --> app.sql:1:17
  |
1 | SELECT STEP(a BY) FROM t
  |                 ^ expected an expression
"#,
    );
}

#[test]
fn types() {
    check(
        r#"CREATE STREAM s (
  a VARCAR(4),
  b DECIMAL(40),
  c FOO(3),
  d DECIMAL(3, 4),
  e INT(3),
  f TIMESTAMP(6),
  g TIMESTAMP WITH TIME ZONE,
  h VARCHAR(0),
  i STRING,
  j INTERVAL DAY,
  k INT)"#,
        r#"
error: unknown type "VARCAR"
 --> app.sql:2:5
  |
2 |   a VARCAR(4),
  |     ^^^^^^
hint: Did you mean "VARCHAR"?
error: wrong precision of DECIMAL
 --> app.sql:3:13
  |
3 |   b DECIMAL(40),
  |             ^^ expected a whole number from 1 to 38
error: unknown type "FOO"
 --> app.sql:4:5
  |
4 |   c FOO(3),
  |     ^^^
hint: Types are TINYINT, SMALLINT, INTEGER, INT, BIGINT, DECIMAL, DEC, NUMERIC, REAL, DOUBLE, FLOAT, BOOLEAN, CHAR, CHARACTER, VARCHAR, BINARY, VARBINARY, DATE, TIME, TIMESTAMP.
error: wrong scale of DECIMAL
 --> app.sql:5:16
  |
5 |   d DECIMAL(3, 4),
  |                ^ expected a whole number from 0 to the precision, 3
error: type INT has no length or precision
 --> app.sql:6:8
  |
6 |   e INT(3),
  |        ^ unexpected
error: wrong precision of TIMESTAMP
 --> app.sql:7:15
  |
7 |   f TIMESTAMP(6),
  |               ^ expected 3
hint: TIMESTAMP always counts milliseconds; write TIMESTAMP alone.
error: TIMESTAMP has no time zone
 --> app.sql:8:15
  |
8 |   g TIMESTAMP WITH TIME ZONE,
  |               ^^^^
hint: All times are UTC.
error: wrong length
 --> app.sql:9:13
  |
9 |   h VARCHAR(0),
  |             ^ expected a whole number from 1 to 65535
error: unknown type "STRING"
 --> app.sql:10:5
   |
10 |   i STRING,
   |     ^^^^^^
hint: Texts are VARCHAR(n).
error: type INTERVAL is not supported
 --> app.sql:11:5
   |
11 |   j INTERVAL DAY,
   |     ^^^^^^^^
hint: Keep a span of time as a number, for example of milliseconds in a BIGINT.
"#,
    );
    check(
        "SELECT CAST(a AS) FROM t",
        r#"
error: unexpected ")"
 --> app.sql:1:17
  |
1 | SELECT CAST(a AS) FROM t
  |                 ^ expected a type
hint: Types are TINYINT, SMALLINT, INTEGER, INT, BIGINT, DECIMAL, DEC, NUMERIC, REAL, DOUBLE, FLOAT, BOOLEAN, CHAR, CHARACTER, VARCHAR, BINARY, VARBINARY, DATE, TIME, TIMESTAMP.
"#,
    );
    check(
        "CREATE STREAM s (a INTERVAL DAY TO SECOND)",
        r#"
error: type INTERVAL is not supported
 --> app.sql:1:20
  |
1 | CREATE STREAM s (a INTERVAL DAY TO SECOND)
  |                    ^^^^^^^^
hint: Keep a span of time as a number, for example of milliseconds in a BIGINT.
"#,
    );
    check(
        "SELECT CAST(a AS INTERVAL DAY TO MONTH) FROM t",
        r#"
error: no interval goes from DAY to MONTH
 --> app.sql:1:34
  |
1 | SELECT CAST(a AS INTERVAL DAY TO MONTH) FROM t
  |                                  ^^^^^ expected HOUR, MINUTE or SECOND
"#,
    );
}

#[test]
fn statements() {
    check(
        "CRATE STREAM s (a INT)",
        r#"
error: no statement starts with "CRATE"
 --> app.sql:1:1
  |
1 | CRATE STREAM s (a INT)
  | ^^^^^ expected ALTER, CREATE, DROP, EXPLAIN, REFRESH, SELECT, SET, VALUES or WITH
hint: Did you mean "CREATE"?
"#,
    );
    check(
        "SHOW TABLES",
        r#"
error: no statement starts with "SHOW"
 --> app.sql:1:1
  |
1 | SHOW TABLES
  | ^^^^ expected ALTER, CREATE, DROP, EXPLAIN, REFRESH, SELECT, SET, VALUES or WITH
"#,
    );
    check(
        "'x'",
        r#"
error: no statement starts with 'x'
 --> app.sql:1:1
  |
1 | 'x'
  | ^^^ expected ALTER, CREATE, DROP, EXPLAIN, REFRESH, SELECT, SET, VALUES or WITH
"#,
    );
    check(
        "REFRESH companies",
        r#"
error: unexpected "companies"
 --> app.sql:1:9
  |
1 | REFRESH companies
  |         ^^^^^^^^^ expected TABLE
"#,
    );
    check(
        "INSERT INTO s SELECT STREAM * FROM t",
        r#"
error: INSERT stands only in a pump
 --> app.sql:1:1
  |
1 | INSERT INTO s SELECT STREAM * FROM t
  | ^^^^^^
hint: Write CREATE PUMP "name" AS INSERT INTO … SELECT STREAM ….
"#,
    );
    check(
        "CREATE INDEX i",
        r#"
error: unexpected "INDEX"
 --> app.sql:1:8
  |
1 | CREATE INDEX i
  |        ^^^^^ expected STREAM, PUMP, SOURCE, SINK, TABLE or FUNCTION
"#,
    );
    check(
        "CREATE",
        r#"
error: the statement ends too early
 --> app.sql:1:7
  |
1 | CREATE
  |       ^ expected STREAM, PUMP, SOURCE, SINK, TABLE or FUNCTION
"#,
    );
    check(
        "DROP STREM s",
        r#"
error: unexpected "STREM"
 --> app.sql:1:6
  |
1 | DROP STREM s
  |      ^^^^^ expected STREAM, PUMP, SOURCE, SINK, TABLE or FUNCTION
hint: Did you mean "STREAM"?
"#,
    );
    check(
        "DROP VIEW v",
        r#"
error: DROP VIEW is not supported
 --> app.sql:1:1
  |
1 | DROP VIEW v
  | ^^^^^^^^^
hint: A view cannot be created either.
"#,
    );
    check(
        "SET avg_double",
        r#"
error: the statement ends too early
 --> app.sql:1:15
  |
1 | SET avg_double
  |               ^ expected =
"#,
    );
    check(
        "ALTER PUMP p",
        r#"
error: the statement ends too early
 --> app.sql:1:13
  |
1 | ALTER PUMP p
  |             ^ expected START or STOP
"#,
    );
    check(
        "EXPLAIN DROP STREAM s",
        r#"
error: unexpected "DROP"
 --> app.sql:1:9
  |
1 | EXPLAIN DROP STREAM s
  |         ^^^^ expected a query, CREATE PUMP or CREATE STREAM
"#,
    );
    check(
        "EXPLAIN SELECT STREAM a FROM",
        r#"
error: the query ends too early
 --> app.sql:1:29
  |
1 | EXPLAIN SELECT STREAM a FROM
  |                             ^ expected a name
"#,
    );
}

#[test]
fn statements_that_are_refused() {
    check(
        "CREATE OR REPLACE VIEW v AS SELECT STREAM * FROM s",
        r#"
error: CREATE VIEW is not supported
 --> app.sql:1:1
  |
1 | CREATE OR REPLACE VIEW v AS SELECT STREAM * FROM s
  | ^^^^^^^^^^^^^^^^^^^^^^
hint: Create a stream and a pump that fills it: CREATE STREAM v (…); CREATE PUMP p AS INSERT INTO v SELECT STREAM ….
"#,
    );
    check(
        "CREATE OR REPLACE RENAME old STREAM s (a INT)",
        r#"
error: CREATE OR REPLACE RENAME is not supported
 --> app.sql:1:19
  |
1 | CREATE OR REPLACE RENAME old STREAM s (a INT)
  |                   ^^^^^^
hint: Drop or replace the old object; a script starts without any.
"#,
    );
    check(
        "ALTER STREAM s RESET",
        r#"
error: ALTER STREAM is not supported
 --> app.sql:1:1
  |
1 | ALTER STREAM s RESET
  | ^^^^^^^^^^^^
hint: Write CREATE OR REPLACE STREAM with the columns it shall have.
"#,
    );
    check(
        "SET SCHEMA 'x'",
        r#"
error: SET SCHEMA is not supported
 --> app.sql:1:1
  |
1 | SET SCHEMA 'x'
  | ^^^^^^^^^^
hint: All objects of a script are in one schema; remove the statement.
"#,
    );
    check(
        "CREATE SCHEMA x",
        r#"
error: CREATE SCHEMA is not supported
 --> app.sql:1:1
  |
1 | CREATE SCHEMA x
  | ^^^^^^^^^^^^^
hint: All objects of a script are in one schema; remove the statement.
"#,
    );
    check(
        "CREATE FOREIGN STREAM x (a INT) SERVER y",
        r#"
error: CREATE FOREIGN STREAM is not supported
 --> app.sql:1:1
  |
1 | CREATE FOREIGN STREAM x (a INT) SERVER y
  | ^^^^^^^^^^^^^^^^^^^^^
hint: Read with CREATE SOURCE name (columns) WITH (connector = '…'), write with CREATE SINK name FROM stream WITH (connector = '…').
"#,
    );
    check(
        "CREATE SERVER x",
        r#"
error: CREATE SERVER is not supported
 --> app.sql:1:1
  |
1 | CREATE SERVER x
  | ^^^^^^^^^^^^^
hint: Read with CREATE SOURCE name (columns) WITH (connector = '…'), write with CREATE SINK name FROM stream WITH (connector = '…').
"#,
    );
}

#[test]
fn streams() {
    check(
        "CREATE STREAM Error_Stream (a INT)",
        r#"
error: stream error_stream cannot be created
 --> app.sql:1:15
  |
1 | CREATE STREAM Error_Stream (a INT)
  |               ^^^^^^^^^^^^ it exists in every application
hint: Rows that fail go to it by themselves; choose another name for your own stream.
"#,
    );
    check(
        r#"CREATE STREAM s (a INT, rowtime TIMESTAMP, "ROWTIME" TIMESTAMP)"#,
        r#"
error: column ROWTIME cannot be declared
 --> app.sql:1:25
  |
1 | CREATE STREAM s (a INT, rowtime TIMESTAMP, "ROWTIME" TIMESTAMP)
  |                         ^^^^^^^ every stream has it
hint: Choose another name, and select ROWTIME into it where it is needed.
error: column ROWTIME cannot be declared
 --> app.sql:1:44
  |
1 | CREATE STREAM s (a INT, rowtime TIMESTAMP, "ROWTIME" TIMESTAMP)
  |                                            ^^^^^^^^^ every stream has it
hint: Choose another name, and select ROWTIME into it where it is needed.
error: column "ROWTIME" is listed twice
 --> app.sql:1:44
  |
1 | CREATE STREAM s (a INT, rowtime TIMESTAMP, "ROWTIME" TIMESTAMP)
  |                                            ^^^^^^^^^
"#,
    );
    check(
        "CREATE STREAM s (a INT, A INT)",
        r#"
error: column "A" is listed twice
 --> app.sql:1:25
  |
1 | CREATE STREAM s (a INT, A INT)
  |                         ^
"#,
    );
    check(
        "CREATE STREAM s",
        r#"
error: the statement ends too early
 --> app.sql:1:16
  |
1 | CREATE STREAM s
  |                ^ expected ( and the columns, or AS and a query
"#,
    );
    check(
        "CREATE STREAM s ()",
        r#"
error: unexpected ")"
 --> app.sql:1:18
  |
1 | CREATE STREAM s ()
  |                  ^ expected a column
"#,
    );
    check(
        "CREATE STREAM s (a INT,)",
        r#"
error: unexpected ")"
 --> app.sql:1:24
  |
1 | CREATE STREAM s (a INT,)
  |                        ^ expected a column
"#,
    );
    check(
        "CREATE STREAM s (a INT b INT)",
        r#"
error: unexpected "b"
 --> app.sql:1:24
  |
1 | CREATE STREAM s (a INT b INT)
  |                        ^ expected , or ) or NOT NULL
"#,
    );
    check(
        "CREATE STREAM s (a INT PRIMARY KEY)",
        r#"
error: PRIMARY is not supported
 --> app.sql:1:24
  |
1 | CREATE STREAM s (a INT PRIMARY KEY)
  |                        ^^^^^^^ a column has a name, a type and NOT NULL
"#,
    );
    check(
        "CREATE STREAM s (a INT",
        r#"
error: the statement ends too early
 --> app.sql:1:23
  |
1 | CREATE STREAM s (a INT
  |                       ^ expected , or ) or NOT NULL
"#,
    );
    check(
        "CREATE STREAM s (a INT) WITH (x = 1)",
        r#"
error: unexpected "WITH"
 --> app.sql:1:25
  |
1 | CREATE STREAM s (a INT) WITH (x = 1)
  |                         ^^^^ expected ; and the next statement
"#,
    );
    check(
        "CREATE STREAM xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (a INT)",
        r#"
error: identifier is 129 characters long
 --> app.sql:1:15
  |
1 | CREATE STREAM xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (a INT)
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ 128 are allowed
"#,
    );
    check(
        r#"CREATE STREAM s (a INT)
CREATE STREAM t (b INT)"#,
        r#"
error: unexpected "CREATE"
 --> app.sql:2:1
  |
2 | CREATE STREAM t (b INT)
  | ^^^^^^ expected ; before the next statement
"#,
    );
}

#[test]
fn pumps() {
    check(
        "CREATE PUMP p AS SELECT STREAM a FROM s",
        r#"
error: unexpected "SELECT"
 --> app.sql:1:18
  |
1 | CREATE PUMP p AS SELECT STREAM a FROM s
  |                  ^^^^^^ expected INSERT INTO and the stream to fill
hint: A pump fills a stream: CREATE PUMP p AS INSERT INTO s SELECT STREAM ….
"#,
    );
    check(
        "CREATE PUMP p AS INSERT INTO d",
        r#"
error: the statement ends too early
 --> app.sql:1:31
  |
1 | CREATE PUMP p AS INSERT INTO d
  |                               ^ expected SELECT STREAM
"#,
    );
    check(
        "CREATE PUMP p AS INSERT INTO d (a, a) SELECT STREAM a FROM s",
        r#"
error: column "A" is listed twice
 --> app.sql:1:36
  |
1 | CREATE PUMP p AS INSERT INTO d (a, a) SELECT STREAM a FROM s
  |                                    ^
"#,
    );
    check(
        "CREATE PUMP p INSERT INTO d SELECT STREAM a FROM s",
        r#"
error: unexpected "INSERT"
 --> app.sql:1:15
  |
1 | CREATE PUMP p INSERT INTO d SELECT STREAM a FROM s
  |               ^^^^^^ expected AS
"#,
    );
}

#[test]
fn sources_and_sinks() {
    check(
        "CREATE SOURCE s (a INT)",
        r#"
error: the statement ends too early
 --> app.sql:1:24
  |
1 | CREATE SOURCE s (a INT)
  |                        ^ expected WITH and the options of a connector
hint: Options are written WITH (connector = 'file', path = 'rows.json').
"#,
    );
    check(
        "CREATE SOURCE s WITH (connector = file)",
        r#"
error: unexpected "file"
 --> app.sql:1:35
  |
1 | CREATE SOURCE s WITH (connector = file)
  |                                   ^^^^ expected a text in single quotes, a number, TRUE or FALSE
hint: Texts are in single quotes, as in path = 'rows.json'.
"#,
    );
    check(
        "CREATE SOURCE s WITH (connector 'file')",
        r#"
error: unexpected 'file'
 --> app.sql:1:33
  |
1 | CREATE SOURCE s WITH (connector 'file')
  |                                 ^^^^^^ expected =
"#,
    );
    check(
        "CREATE SOURCE s WITH ()",
        r#"
error: unexpected ")"
 --> app.sql:1:23
  |
1 | CREATE SOURCE s WITH ()
  |                       ^ expected an option
"#,
    );
    check(
        "CREATE SOURCE s WITH (a = 'b') x",
        r#"
error: unexpected "x"
 --> app.sql:1:32
  |
1 | CREATE SOURCE s WITH (a = 'b') x
  |                                ^ expected ; and the next statement
"#,
    );
    check(
        r#"CREATE SOURCE s ("EVENT_TIME" TIMESTAMP, WATERMARK FOR "EVENT_TIM" AS "EVENT_TIM") WITH (a = 'b')"#,
        r#"
error: column "EVENT_TIM" is not declared
 --> app.sql:1:56
  |
1 | CREATE SOURCE s ("EVENT_TIME" TIMESTAMP, WATERMARK FOR "EVENT_TIM" AS "EVENT_TIM") WITH (a = 'b')
  |                                                        ^^^^^^^^^^^ columns are EVENT_TIME
hint: Did you mean "EVENT_TIME"?
"#,
    );
    check(
        "CREATE SOURCE s (a INT, WATERMARK FOR a AS a) WITH (a = 'b')",
        r#"
error: column "A" cannot be the event time
 --> app.sql:1:39
  |
1 | CREATE SOURCE s (a INT, WATERMARK FOR a AS a) WITH (a = 'b')
  |                                       ^ expected a TIMESTAMP, it is INTEGER
"#,
    );
    check(
        "CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS b) WITH (a = 'b')",
        r#"
error: WATERMARK of column "A" is taken from column "B"
 --> app.sql:1:50
  |
1 | CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS b) WITH (a = 'b')
  |                                                  ^ expected "A"
"#,
    );
    check(
        "CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS a - INTERVAL '1' MONTH) WITH (a = 'b')",
        r#"
error: the delay of a WATERMARK cannot be negative or in months
 --> app.sql:1:54
  |
1 | CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS a - INTERVAL '1' MONTH) WITH (a = 'b')
  |                                                      ^^^^^^^^^^^^^^^^^^ expected an interval of at least 0 in DAY, HOUR, MINUTE or SECOND
"#,
    );
    check(
        "CREATE TABLE t (a TIMESTAMP, WATERMARK FOR a AS a) WITH (a = 'b')",
        r#"
error: a table has no watermark
 --> app.sql:1:30
  |
1 | CREATE TABLE t (a TIMESTAMP, WATERMARK FOR a AS a) WITH (a = 'b')
  |                              ^^^^^^^^^^^^^^^^^^^^ only a source has one
"#,
    );
    check(
        "CREATE SINK k WITH (a = 'b')",
        r#"
error: unexpected "WITH"
 --> app.sql:1:15
  |
1 | CREATE SINK k WITH (a = 'b')
  |               ^^^^ expected FROM
"#,
    );
}

#[test]
fn queries() {
    check(
        "SELECT FROM t",
        r#"
error: unexpected "FROM"
 --> app.sql:1:8
  |
1 | SELECT FROM t
  |        ^^^^ expected an expression
"#,
    );
    check(
        "SELECT a, FROM t",
        r#"
error: unexpected "FROM"
 --> app.sql:1:11
  |
1 | SELECT a, FROM t
  |           ^^^^ expected an expression
"#,
    );
    check(
        "SELECT a FROM WHERE x",
        r#"
error: unexpected "WHERE"
 --> app.sql:1:15
  |
1 | SELECT a FROM WHERE x
  |               ^^^^^ expected a name
"#,
    );
    check(
        "SELECT a,, b FROM t",
        r#"
error: unexpected ","
 --> app.sql:1:10
  |
1 | SELECT a,, b FROM t
  |          ^ expected an expression
"#,
    );
    check(
        "SELECT a b c FROM t",
        r#"
error: unexpected "c"
 --> app.sql:1:12
  |
1 | SELECT a b c FROM t
  |            ^ expected an operator, the next clause or the end of the query
"#,
    );
    check(
        "SELECT a FROM",
        r#"
error: the query ends too early
 --> app.sql:1:14
  |
1 | SELECT a FROM
  |              ^ expected a name
"#,
    );
    check(
        "SELECT (a + b FROM t",
        r#"
error: unexpected "FROM"
 --> app.sql:1:15
  |
1 | SELECT (a + b FROM t
  |               ^^^^ expected )
hint: The ( in line 1, column 8 is not closed.
"#,
    );
    check(
        "SELECT a) FROM t",
        r#"
error: unexpected ")"
 --> app.sql:1:9
  |
1 | SELECT a) FROM t
  |         ^ expected an operator, the next clause or the end of the query
"#,
    );
    check(
        "SELECT CAST(a) FROM t",
        r#"
error: unexpected ")"
 --> app.sql:1:14
  |
1 | SELECT CAST(a) FROM t
  |              ^ expected AS
"#,
    );
    check(
        "SELECT CASE WHEN a THEN b FROM t",
        r#"
error: unexpected "FROM"
 --> app.sql:1:27
  |
1 | SELECT CASE WHEN a THEN b FROM t
  |                           ^^^^ expected END
"#,
    );
    check(
        "SELECT a FROM t WHERE GROUP BY a",
        r#"
error: unexpected "GROUP"
 --> app.sql:1:23
  |
1 | SELECT a FROM t WHERE GROUP BY a
  |                       ^^^^^ expected an expression
"#,
    );
    check(
        "SELECT a == 1 FROM t",
        r#"
error: unexpected "="
 --> app.sql:1:11
  |
1 | SELECT a == 1 FROM t
  |           ^ expected an expression
"#,
    );
    check(
        "SELECT a FROM t WITH (nolock)",
        r#"
error: unexpected "WITH"
 --> app.sql:1:17
  |
1 | SELECT a FROM t WITH (nolock)
  |                 ^^^^ WITH stands only at the start of a query
"#,
    );
    check(
        "SELECT a INTO b FROM t",
        r#"
error: SELECT … INTO is not supported
 --> app.sql:1:10
  |
1 | SELECT a INTO b FROM t
  |          ^^^^
hint: A pump fills a stream: CREATE PUMP "p" AS INSERT INTO "s" SELECT STREAM ….
"#,
    );
    check(
        "SELECT a FROM t FOR UPDATE",
        r#"
error: FOR … is not supported
 --> app.sql:1:1
  |
1 | SELECT a FROM t FOR UPDATE
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: Remove the clause.
"#,
    );
    check(
        "WITH x AS (DELETE FROM t) SELECT 1",
        r#"
error: a query starts with SELECT or VALUES
 --> app.sql:1:1
  |
1 | WITH x AS (DELETE FROM t) SELECT 1
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: INSERT stands only in a pump.
"#,
    );
}

#[test]
fn errors_inside_derived_tables_are_reported_there() {
    check(
        "SELECT a FROM (SELECT b FROM c WHERE) AS x",
        r#"
error: unexpected ")"
 --> app.sql:1:37
  |
1 | SELECT a FROM (SELECT b FROM c WHERE) AS x
  |                                     ^ expected an expression
"#,
    );
    check(
        r#"SELECT a FROM (SELECT b FROM (
  SELECT c d e FROM f) AS g) AS h"#,
        r#"
error: unexpected "e"
 --> app.sql:2:14
  |
2 |   SELECT c d e FROM f) AS g) AS h
  |              ^ expected an operator, the next clause or the end of the query
"#,
    );
}

#[test]
fn windows_are_refused_by_name() {
    check(
        "SELECT STREAM LAG(p) FROM LAST OVER (ROWS 10 PRECEDING) FROM s",
        r#"
error: FROM FIRST and FROM LAST stand behind NTH_VALUE only
 --> app.sql:1:22
  |
1 | SELECT STREAM LAG(p) FROM LAST OVER (ROWS 10 PRECEDING) FROM s
  |                      ^^^^^^^^^
"#,
    );
}

#[test]
fn stream_queries_that_are_refused() {
    check(
        "SELECT STREAM a FROM STREAM(f(1))",
        r#"
error: table function "f" does not exist
 --> app.sql:1:22
  |
1 | SELECT STREAM a FROM STREAM(f(1))
  |                      ^^^^^^^^
hint: There are TUMBLE, HOP and SESSION of a TABLE; of a CURSOR COUNT_DISTINCT_ITEMS_TUMBLING, GROUP_RANK, HOTSPOTS, RANDOM_CUT_FOREST, RANDOM_CUT_FOREST_WITH_EXPLANATION, TOP_K_ITEMS_TUMBLING.
"#,
    );
    check(
        "SELECT STREAM a FROM f(1)",
        r#"
error: table function "F" is not supported yet
 --> app.sql:1:22
  |
1 | SELECT STREAM a FROM f(1)
  |                      ^
hint: Streams can be filtered, projected, joined, merged with UNION ALL and aggregated with GROUP BY STEP(…) or FLOOR(…).
"#,
    );
    check(
        "SELECT STREAM a FROM s GROUP BY ROLLUP (a)",
        r#"
error: ROLLUP, CUBE and GROUPING SETS are not allowed in a stream query
 --> app.sql:1:41
  |
1 | SELECT STREAM a FROM s GROUP BY ROLLUP (a)
  |                                         ^
hint: Write one pump per grouping.
"#,
    );
}

#[test]
fn what_has_no_meaning_on_a_stream() {
    check(
        "SELECT STREAM SUM(a) FILTER (WHERE b) FROM s",
        r#"
error: FILTER (WHERE …) is not allowed in a stream query
 --> app.sql:1:22
  |
1 | SELECT STREAM SUM(a) FILTER (WHERE b) FROM s
  |                      ^^^^^^
hint: Aggregate a CASE instead: SUM(CASE WHEN condition THEN value END).
"#,
    );
    check(
        "SELECT STREAM a FROM s LIMIT 5",
        r#"
error: LIMIT is not allowed in a stream query
 --> app.sql:1:24
  |
1 | SELECT STREAM a FROM s LIMIT 5
  |                        ^^^^^
hint: A stream has no end; filter with WHERE.
"#,
    );
    check(
        "SELECT STREAM a FROM s OFFSET 5",
        r#"
error: OFFSET is not allowed in a stream query
 --> app.sql:1:31
  |
1 | SELECT STREAM a FROM s OFFSET 5
  |                               ^
hint: A stream has no end; filter with WHERE.
"#,
    );
    check(
        "SELECT STREAM a FROM s FETCH FIRST 5 ROWS ONLY",
        r#"
error: FETCH is not allowed in a stream query
 --> app.sql:1:24
  |
1 | SELECT STREAM a FROM s FETCH FIRST 5 ROWS ONLY
  |                        ^^^^^
hint: A stream has no end; filter with WHERE.
"#,
    );
    check(
        "WITH x AS (SELECT 1) SELECT STREAM * FROM x",
        r#"
error: WITH is not allowed in a stream query
 --> app.sql:1:1
  |
1 | WITH x AS (SELECT 1) SELECT STREAM * FROM x
  | ^^^^
hint: Write the query of WITH into FROM, in parentheses, or create a stream and a pump for it.
"#,
    );
    check(
        "SELECT STREAM a FROM s UNION SELECT STREAM a FROM t",
        r#"
error: UNION without ALL is not allowed in a stream query
 --> app.sql:1:24
  |
1 | SELECT STREAM a FROM s UNION SELECT STREAM a FROM t
  |                        ^^^^^
hint: Only UNION ALL works on streams: the others would have to keep all rows for ever.
"#,
    );
    check(
        "SELECT STREAM a FROM s EXCEPT SELECT STREAM a FROM t",
        r#"
error: EXCEPT is not allowed in a stream query
 --> app.sql:1:24
  |
1 | SELECT STREAM a FROM s EXCEPT SELECT STREAM a FROM t
  |                        ^^^^^^
hint: Only UNION ALL works on streams: the others would have to keep all rows for ever.
"#,
    );
    check(
        "SELECT STREAM a FROM s INTERSECT SELECT STREAM a FROM t",
        r#"
error: INTERSECT is not allowed in a stream query
 --> app.sql:1:24
  |
1 | SELECT STREAM a FROM s INTERSECT SELECT STREAM a FROM t
  |                        ^^^^^^^^^
hint: Only UNION ALL works on streams: the others would have to keep all rows for ever.
"#,
    );
    check(
        "SELECT STREAM a FROM s GROUP BY ALL",
        r#"
error: GROUP BY ALL is not allowed in a stream query
 --> app.sql:1:1
  |
1 | SELECT STREAM a FROM s GROUP BY ALL
  | ^^^^^^
hint: List the expressions to group by.
"#,
    );
}

#[test]
fn expressions_that_are_refused() {
    check(
        "SELECT STREAM (a + b) SECOND * 2 FROM s",
        r#"
error: unexpected "SECOND"
 --> app.sql:1:23
  |
1 | SELECT STREAM (a + b) SECOND * 2 FROM s
  |                       ^^^^^^ an interval qualifier stands behind a difference, as in (a - b) SECOND
hint: To name a column SECOND, write AS "SECOND".
"#,
    );
    check(
        "SELECT STREAM * FROM s WHERE a OVERLAPS (c, d)",
        r#"
error: OVERLAPS compares periods
 --> app.sql:1:32
  |
1 | SELECT STREAM * FROM s WHERE a OVERLAPS (c, d)
  |                                ^^^^^^^^ expected (start, end) before it
hint: Write (start1, end1) OVERLAPS (start2, end2); only CONTAINS takes one point in time instead of a second period.
"#,
    );
    check(
        "SELECT STREAM * FROM s WHERE PERIOD (a, b) PRECEDES t",
        r#"
error: PRECEDES compares periods
 --> app.sql:1:53
  |
1 | SELECT STREAM * FROM s WHERE PERIOD (a, b) PRECEDES t
  |                                                     ^ expected (start, end)
hint: Write (start1, end1) OVERLAPS (start2, end2); only CONTAINS takes one point in time instead of a second period.
"#,
    );
    check(
        "SELECT STREAM * FROM s WHERE (a, b) STRICTLY EQUALS (c, d)",
        r#"
error: unexpected "STRICTLY"
 --> app.sql:1:37
  |
1 | SELECT STREAM * FROM s WHERE (a, b) STRICTLY EQUALS (c, d)
  |                                     ^^^^^^^^ expected an operator, the next clause or the end of the query
"#,
    );
    check(
        "SELECT STREAM * FROM s WHERE (a, b) CONTAINS (c, d, e)",
        r#"
error: CONTAINS compares periods
 --> app.sql:1:47
  |
1 | SELECT STREAM * FROM s WHERE (a, b) CONTAINS (c, d, e)
  |                                               ^^^^^^^ expected (start, end)
hint: Write (start1, end1) OVERLAPS (start2, end2); only CONTAINS takes one point in time instead of a second period.
"#,
    );
}

#[test]
fn all_problems_of_a_query_at_once() {
    check(
        r#"SELECT STREAM DISTINCT a
FROM s OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS x
JOIN t ON INTERVAL '25' HOURS = b
LIMIT 5"#,
        r#"
error: unexpected "HOURS"
 --> app.sql:3:25
  |
3 | JOIN t ON INTERVAL '25' HOURS = b
  |                         ^^^^^ expected YEAR, MONTH, DAY, HOUR, MINUTE or SECOND
hint: Did you mean "HOUR"?
error: LIMIT is not allowed in a stream query
 --> app.sql:4:1
  |
4 | LIMIT 5
  | ^^^^^
hint: A stream has no end; filter with WHERE.
"#,
    );
}

#[test]
fn depth() {
    check(
        "SELECT (((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))",
        r#"
error: the query is nested too deeply
 --> app.sql:1:58
  |
1 | SELECT (((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))
  |                                                          ^ at most 50 parentheses and CASEs inside each other
"#,
    );
}

#[test]
fn functions() {
    check(
        "CREATE FUNCTION f(a INTEGER, a INTEGER) RETURNS INTEGER RETURN a",
        r#"
error: parameter "A" is declared twice
 --> app.sql:1:30
  |
1 | CREATE FUNCTION f(a INTEGER, a INTEGER) RETURNS INTEGER RETURN a
  |                              ^
"#,
    );
    check(
        "CREATE FUNCTION f(a INTEGER) RETURNS INTEGER LANGUAGE JAVA RETURN a",
        r#"
error: functions in JAVA are not supported
 --> app.sql:1:55
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER LANGUAGE JAVA RETURN a
  |                                                       ^^^^ expected SQL
hint: A function is one expression: RETURN expression.
"#,
    );
    check(
        "CREATE FUNCTION f(a INTEGER) RETURNS INTEGER CONTAINS SQL BEGIN RETURN a; END",
        r#"
error: unexpected "BEGIN"
 --> app.sql:1:59
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER CONTAINS SQL BEGIN RETURN a; END
  |                                                           ^^^^^ expected RETURN and an expression
hint: A function is one expression: RETURN expression. Use CASE for conditions.
error: no statement starts with "END"
 --> app.sql:1:75
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER CONTAINS SQL BEGIN RETURN a; END
  |                                                                           ^^^ expected ALTER, CREATE, DROP, EXPLAIN, REFRESH, SELECT, SET, VALUES or WITH
"#,
    );
    check(
        "CREATE FUNCTION f(a INTEGER) RETURNS INTEGER DETERMINISTIC NOT DETERMINISTIC RETURN a",
        r#"
error: unexpected NOT DETERMINISTIC
 --> app.sql:1:60
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER DETERMINISTIC NOT DETERMINISTIC RETURN a
  |                                                            ^^^^^^^^^^^^^^^^^ this was said before
"#,
    );
    check(
        "CREATE FUNCTION f(a INTEGER) RETURNS INTEGER RETURN a FROM s",
        r#"
error: unexpected "FROM"
 --> app.sql:1:55
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER RETURN a FROM s
  |                                                       ^^^^ expected an operator or the end of the function
"#,
    );
    check(
        "CREATE FUNCTION f(a INTEGER) RETURNS INTEGER RETURN a +",
        r#"
error: the function ends too early
 --> app.sql:1:56
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER RETURN a +
  |                                                        ^ expected an expression
"#,
    );
    check(
        "CREATE FUNCTION f(a INTEGER) RETURNS INTEGER RETURN",
        r#"
error: the statement ends too early
 --> app.sql:1:52
  |
1 | CREATE FUNCTION f(a INTEGER) RETURNS INTEGER RETURN
  |                                                    ^ expected an expression
"#,
    );
    check(
        "CREATE FUNCTION f(a STRING) RETURNS INTEGER RETURN 1",
        r#"
error: unknown type "STRING"
 --> app.sql:1:21
  |
1 | CREATE FUNCTION f(a STRING) RETURNS INTEGER RETURN 1
  |                     ^^^^^^
hint: Texts are VARCHAR(n).
"#,
    );
}
