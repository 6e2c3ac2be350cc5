//! Statements, queries and words; messages are in `errors`, what DataFusion makes of the queries in `planning`.

mod errors;
mod planning;

use proptest::prelude::*;
use sqlparser::ast::{Expr, SelectItem, SetExpr};

use super::*;
use crate::connector::options::OptionEntry;
use crate::types::SqlType;

fn parse(sql: &str) -> Parsed {
    parse_script(&Script::new("app.sql", sql))
}

/// The statements of a script without mistakes.
fn statements(sql: &str) -> Vec<Statement> {
    let Parsed { statements, diagnostics, .. } = parse(sql);
    let problems: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{sql}\n{}", problems.join("\n"));
    statements
}

fn statement(sql: &str) -> StatementKind {
    let mut statements = statements(sql);
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0).kind
}

/// All messages of a script, as they are shown.
fn problems(sql: &str) -> String {
    parse(sql).diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn query(sql: &str) -> Query {
    match statement(sql) {
        StatementKind::Query(query) => query,
        other => panic!("{sql}: {other:?}"),
    }
}

/// Checks how a query appears in the tree.
fn check(sql: &str, expected: &str) {
    assert_eq!(query(sql).ast.to_string(), expected, "{sql}");
}

/// Checks how one expression appears in the tree.
fn check_expr(sql: &str, expected: &str) {
    check(&format!("SELECT {sql} FROM t"), &format!("SELECT {expected} FROM T"));
}

fn name(name: &Name) -> String {
    if name.quoted { format!("\"{}\"", name.value) } else { name.value.clone() }
}

/// A statement in few words.
fn show(kind: &StatementKind) -> String {
    let or_replace = |or_replace: bool| if or_replace { "OR REPLACE " } else { "" };
    let column = |column: &SourceColumn| {
        let not_null = if column.not_null { " NOT NULL" } else { "" };
        let path = column.path.as_ref().map_or_else(String::new, |(path, _)| format!(" PATH {path}"));
        format!("{} {}{not_null}{path}", name(&column.name), column.sql_type)
    };
    let columns = |columns: &[SourceColumn]| columns.iter().map(column).collect::<Vec<_>>().join(", ");
    let options = |options: &[OptionEntry]| {
        options.iter().map(|option| format!("{}={}", option.key, option.value)).collect::<Vec<_>>().join(" ")
    };
    match kind {
        StatementKind::CreateStream(stream) => {
            let declared = stream.columns.iter().map(|column| {
                format!("{} {}{}", name(&column.name), column.sql_type, if column.not_null { " NOT NULL" } else { "" })
            });
            let query = stream.query.as_ref().map_or_else(String::new, |query| format!(" AS {}", query.ast));
            let declared = declared.collect::<Vec<_>>().join(", ");
            format!("{}STREAM {} ({declared}){query}", or_replace(stream.or_replace), name(&stream.name))
        }
        StatementKind::CreateFunction(function) => {
            let parameters: Vec<_> =
                function.parameters.iter().map(|parameter| format!("{} {}", name(&parameter.name), parameter.sql_type)).collect();
            let specific =
                function.specific.as_ref().map_or_else(String::new, |specific| format!(" SPECIFIC {}", name(specific)));
            let deterministic = match function.deterministic {
                None => "",
                Some((true, _)) => " DETERMINISTIC",
                Some((false, _)) => " NOT DETERMINISTIC",
            };
            let data = if function.data.is_some() { " DATA" } else { "" };
            let null = if function.null_on_null { " NULL ON NULL" } else { "" };
            format!(
                "{}FUNCTION {} ({}) {}{specific}{deterministic}{data}{null} = {}",
                or_replace(function.or_replace),
                name(&function.name),
                parameters.join(", "),
                function.returns,
                function.body.ast
            )
        }
        StatementKind::DropFunction(drop) => {
            format!("DROP FUNCTION {} {:?} {}", name(&drop.name), drop.parameters, drop.if_exists)
        }
        StatementKind::CreatePump(pump) => {
            let columns = pump.columns.iter().flatten().map(name).collect::<Vec<_>>().join(", ");
            assert!(pump.query.stream, "a pump runs continuously");
            format!(
                "{}PUMP {} {} INTO {} ({columns}) {}",
                or_replace(pump.or_replace),
                name(&pump.name),
                if pump.started { "started" } else { "stopped" },
                name(&pump.target),
                pump.query.ast
            )
        }
        StatementKind::CreateSource(source) => {
            let watermark = source.watermark.as_ref().map_or_else(String::new, |watermark| {
                format!(" WATERMARK {} {} ms", name(&watermark.column), watermark.delay_ms)
            });
            format!(
                "{}SOURCE {} ({}){watermark} {}",
                or_replace(source.or_replace),
                name(&source.name),
                columns(&source.columns),
                options(&source.options)
            )
        }
        StatementKind::CreateSink(sink) => {
            format!(
                "{}SINK {} FROM {} {}",
                or_replace(sink.or_replace),
                name(&sink.name),
                name(&sink.from),
                options(&sink.options)
            )
        }
        StatementKind::CreateTable(table) => format!(
            "{}TABLE {} ({}) {}",
            or_replace(table.or_replace),
            name(&table.name),
            columns(&table.columns),
            options(&table.options)
        ),
        StatementKind::Drop(drop) => {
            let (exists, restrict) =
                (if drop.if_exists { "IF EXISTS " } else { "" }, if drop.restrict { " RESTRICT" } else { "" });
            format!("DROP {:?} {exists}{}{restrict}", drop.kind, name(&drop.name))
        }
        StatementKind::AlterPump(alter) => {
            let names = alter.names.iter().map(name).collect::<Vec<_>>().join(", ");
            format!("ALTER PUMP {names} {}", if alter.start { "START" } else { "STOP" })
        }
        StatementKind::Set(entry) => format!("SET {}", options(std::slice::from_ref(entry))),
        StatementKind::Query(query) => format!("{}QUERY {}", if query.stream { "STREAM " } else { "" }, query.ast),
        StatementKind::Explain(inner) => format!("EXPLAIN {}", show(&inner.kind)),
        StatementKind::Refresh(table) => format!("REFRESH TABLE {}", name(table)),
    }
}

fn check_statement(sql: &str, expected: &str) {
    assert_eq!(show(&statement(sql)), expected, "{sql}");
}

#[test]
fn create_stream() {
    check_statement(
        "create or replace stream \"ALERTS\" (\"device\" varchar(32) NOT NULL, level SMALLINT, \"seen \"\"at\" timestamp)\n\
         DESCRIPTION 'devices above threshold' OPTIONS (a 'b', c 'd')",
        "OR REPLACE STREAM \"ALERTS\" (\"device\" VARCHAR(32) NOT NULL, LEVEL SMALLINT, \"seen \"at\" TIMESTAMP)",
    );
    check_statement("CREATE STREAM s AS SELECT STREAM a FROM t", "STREAM S () AS SELECT A FROM T");
    check_statement("CREATE STREAM db.app.s AS SELECT STREAM a FROM app.t", "STREAM S () AS SELECT A FROM T");
    check_statement("CREATE STREAM s (a INT) AS SELECT a FROM t", "STREAM S (A INTEGER) AS SELECT A FROM T");
    // Reserved words do where only a name can stand.
    check_statement(
        "CREATE STREAM s (date DATE, value REAL, \"größe\" INT, größe INT)",
        "STREAM S (DATE DATE, VALUE REAL, \"größe\" INTEGER, GRÖSSE INTEGER)",
    );
}

#[test]
fn types() {
    for (written, expected) in [
        ("TINYINT", SqlType::TinyInt),
        ("SMALLINT", SqlType::SmallInt),
        ("INTEGER", SqlType::Integer),
        ("INT", SqlType::Integer),
        ("BIGINT", SqlType::BigInt),
        ("DECIMAL", SqlType::Decimal(18, 0)),
        ("DEC(10)", SqlType::Decimal(10, 0)),
        ("NUMERIC(38, 5)", SqlType::Decimal(38, 5)),
        ("REAL", SqlType::Real),
        ("DOUBLE", SqlType::Double),
        ("double precision", SqlType::Double),
        ("FLOAT", SqlType::Double),
        ("BOOLEAN", SqlType::Boolean),
        ("CHAR", SqlType::Char(1)),
        ("CHARACTER(5)", SqlType::Char(5)),
        ("CHAR VARYING(5)", SqlType::Varchar(5)),
        ("CHARACTER VARYING(5)", SqlType::Varchar(5)),
        ("VARCHAR(65535)", SqlType::Varchar(65_535)),
        ("VARCHAR", SqlType::Varchar(65_535)),
        ("BINARY(4)", SqlType::Binary(4)),
        ("VARBINARY(4)", SqlType::Varbinary(4)),
        ("BINARY VARYING(4)", SqlType::Varbinary(4)),
        ("DATE", SqlType::Date),
        ("TIME", SqlType::Time),
        ("TIMESTAMP", SqlType::Timestamp),
        ("TIMESTAMP(3)", SqlType::Timestamp),
    ] {
        let StatementKind::CreateStream(stream) = statement(&format!("CREATE STREAM s (a {written})")) else { panic!() };
        assert_eq!(stream.columns[0].sql_type, expected, "{written}");
        // The same type in a CAST, and back from the tree.
        let query = query(&format!("SELECT CAST(a AS {written}) FROM t"));
        let SetExpr::Select(select) = *query.ast.body else { panic!() };
        let SelectItem::UnnamedExpr(Expr::Cast { data_type, .. }) = &select.projection[0] else { panic!() };
        assert_eq!(sql_type_of_ast(data_type), Some(expected), "{written}: {data_type}");
    }
}

#[test]
fn create_pump() {
    check_statement(
        "CREATE OR REPLACE PUMP \"P\" AS INSERT INTO \"D\" (\"a\", b) SELECT STREAM \"x\", y FROM \"S\" WHERE y >= 7",
        "OR REPLACE PUMP \"P\" started INTO \"D\" (\"a\", B) SELECT \"x\", Y FROM \"S\" WHERE Y >= 7",
    );
    check_statement(
        "CREATE PUMP p STOPPED OPTIONS (a 'b') DESCRIPTION 'c' AS INSERT EXPEDITED INTO d SELECT a FROM s",
        "PUMP P stopped INTO D () SELECT A FROM S",
    );
    check_statement(
        "CREATE PUMP p STARTED AS INSERT INTO d (SELECT STREAM a FROM s)",
        "PUMP P started INTO D () (SELECT A FROM S)",
    );
}

#[test]
fn create_source_sink_and_table() {
    check_statement(
        "CREATE SOURCE \"S\" (\"ticker\" VARCHAR(4) NOT NULL PATH '$.TICKER', price REAL PATH '$.p' NOT NULL, \"t\" TIMESTAMP,\n\
         WATERMARK FOR \"t\" AS \"t\" - INTERVAL '5' SECOND)\n\
         WITH (Connector = 'file', \"csv.header\" = true, csv.Delimiter = ',', rate = 100, shift = -1.5)",
        "SOURCE \"S\" (\"ticker\" VARCHAR(4) NOT NULL PATH $.TICKER, PRICE REAL NOT NULL PATH $.p, \"t\" TIMESTAMP) \
         WATERMARK \"t\" 5000 ms connector=file csv.header=true csv.delimiter=, rate=100 shift=-1.5",
    );
    check_statement(
        "CREATE SOURCE s (t TIMESTAMP, WATERMARK FOR T AS t) WITH (a = 'b')",
        "SOURCE S (T TIMESTAMP) WATERMARK T 0 ms a=b",
    );
    check_statement("CREATE OR REPLACE SOURCE s WITH (connector = 'memory')", "OR REPLACE SOURCE S () connector=memory");
    check_statement("CREATE SINK k FROM \"S\" WITH (connector = 'stdout')", "SINK K FROM \"S\" connector=stdout");
    check_statement("CREATE SINK k FROM Error_Stream WITH (connector = 'stdout')", "SINK K FROM error_stream connector=stdout");
    check_statement("CREATE TABLE t (a INT PATH 'A') WITH (path = 'x')", "TABLE T (A INTEGER PATH A) path=x");
    let script = "CREATE SOURCE s WITH (\n  path = 'x'\n)";
    let StatementKind::CreateSource(source) = statement(script) else { panic!() };
    assert_eq!(place(source.options_span), "1:17-3:2");
    assert_eq!(place(source.options[0].key_span.unwrap()), "2:3-2:7");
    assert_eq!(place(source.options[0].value_span.unwrap()), "2:10-2:13");
}

fn place(span: crate::diagnostic::Span) -> String {
    format!("{}:{}-{}:{}", span.start.line, span.start.column, span.end.line, span.end.column)
}

#[test]
fn drop_alter_and_explain() {
    check_statement("DROP STREAM IF EXISTS s", "DROP Stream IF EXISTS S");
    check_statement("DROP PUMP \"p\" RESTRICT", "DROP Pump \"p\" RESTRICT");
    check_statement("DROP STREAM s CASCADE", "DROP Stream S");
    check_statement("ALTER PUMP app.* STOP", "ALTER PUMP  STOP");
    check_statement("DROP SOURCE s", "DROP Source S");
    check_statement("DROP SINK s", "DROP Sink S");
    check_statement("DROP TABLE s", "DROP Table S");
    check_statement("ALTER PUMP p, \"q\" START", "ALTER PUMP P, \"q\" START");
    check_statement("alter pump p stop", "ALTER PUMP P STOP");
    check_statement("refresh table prices", "REFRESH TABLE PRICES");
    check_statement("EXPLAIN SELECT STREAM a FROM s", "EXPLAIN STREAM QUERY SELECT A FROM S");
    check_statement("EXPLAIN CREATE PUMP p AS INSERT INTO d SELECT a FROM s", "EXPLAIN PUMP P started INTO D () SELECT A FROM S");
}

#[test]
fn scripts_separators_and_comments() {
    for empty in ["", "\u{feff}", "  \n", ";;  ; -- nothing", "/* a */ // b\n-- c", "–- pasted from a page\n-– and back"] {
        assert!(statements(empty).is_empty(), "{empty}");
    }
    let script =
        "-- *********\n-- banner\n/* before */ SELECT 'a;--' AS \"b//c\" // the end;\n FROM t; ; SELECT /* in; side */ 2 -- last";
    let statements = statements(script);
    let texts: Vec<_> = statements.iter().map(|statement| statement.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 'a;--' AS \"b//c\" // the end;\n FROM t", "SELECT /* in; side */ 2"]);
    assert_eq!(place(statements[0].span), "3:14-4:8");
    assert_eq!(place(statements[1].span), "4:12-4:35");
}

#[test]
fn identifiers_fold_to_upper_case_unless_quoted() {
    check(
        "SELECT abc, Abc, \"abc\", \"a\"\"c\", _x1 FROM \"S\" AS Sx",
        "SELECT ABC, ABC, \"abc\", \"a\"\"c\", _X1 FROM \"S\" AS SX",
    );
    check("SELECT \"T\" . \"ROWTIME\", t.rowtime, x.* FROM t", "SELECT \"T\".\"ROWTIME\", T.ROWTIME, X.* FROM T");
    check_expr("COUNT(*), Count(1), my_Fn(A), \"MyFn\"(a)", "count(*), count(1), my_fn(A), \"MyFn\"(A)");
    check("SELECT a FROM ERROR_stream", "SELECT A FROM error_stream ERROR_STREAM");
}

#[test]
fn words_that_other_dialects_reserve_are_names() {
    check_expr(
        "top, offset, minus, qualify, format, struct, map, x.value, x.select",
        "TOP, OFFSET, MINUS, QUALIFY, FORMAT, STRUCT, MAP, X.VALUE, X.SELECT",
    );
    check_expr("date, \"time\", value, year, step, lag, started", "DATE, \"time\", VALUE, YEAR, STEP, LAG, STARTED");
    check("SELECT a top FROM t pivot", "SELECT A AS TOP FROM T PIVOT");
    check("SELECT a FROM t anti JOIN u semi ON a = b", "SELECT A FROM T ANTI JOIN U SEMI ON A = B");
}

#[test]
fn a_call_that_ends_too_early_says_so() {
    let call = "SELECT STREAM a FROM TABLE(HOTSPOTS(CURSOR(SELECT STREAM a FROM s) PARTITION BY (k, l), 100, 1 + (2 - 1), max_models => (5)))";
    for (end, _) in call.char_indices().skip(28).filter(|(place, _)| call[..*place].ends_with([' ', '(', ')', ',', '>'])) {
        let problems = parse(&call[..end]).diagnostics;
        assert!(!problems.is_empty(), "{}", &call[..end]);
    }
    assert_eq!(parse(call).diagnostics.len(), 0);
}

#[test]
fn within_becomes_a_call() {
    check(
        "SELECT STREAM t AS ROWTIME FROM s ORDER BY CAST(t AS TIMESTAMP) WITHIN INTERVAL '0:30' MINUTE TO SECOND, b DESC",
        "SELECT T AS ROWTIME FROM S ORDER BY \"$within\"(CAST(T AS TIMESTAMP), INTERVAL '30000 milliseconds'), B DESC",
    );
}

#[test]
fn a_window_behind_a_relation_becomes_its_sample() {
    check(
        "SELECT STREAM a.x FROM s OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS a JOIN t OVER w b ON a.k = b.k WINDOW w AS (ROWS 5 PRECEDING)",
        "SELECT A.X FROM S AS A TABLESAMPLE (\"$window\"() OVER (RANGE INTERVAL '60000 milliseconds' PRECEDING)) \
         JOIN T B TABLESAMPLE (\"$window\"() OVER W) ON A.K = B.K WINDOW W AS (ROWS 5 PRECEDING)",
    );
    check(
        "SELECT STREAM * FROM (SELECT STREAM a FROM s) OVER (ORDER BY ROWTIME RANGE CURRENT ROW) AS x(y), t",
        "SELECT * FROM (SELECT A FROM S) AS X (Y) TABLESAMPLE (\"$window\"() OVER (ORDER BY ROWTIME RANGE CURRENT ROW)), T",
    );
}

#[test]
fn stream_is_remembered_at_every_level() {
    assert!(query("SELECT STREAM * FROM s").stream);
    assert!(query("SELECT a FROM (SELECT STREAM a FROM s) AS x").stream);
    assert!(query("SELECT a FROM t UNION ALL SELECT STREAM a FROM s").stream);
    assert!(!query("SELECT a FROM t").stream);
    check(
        "SELECT STREAM x.a FROM (SELECT STREAM a FROM (SELECT STREAM * FROM s)) AS x UNION ALL SELECT STREAM b FROM u",
        "SELECT X.A FROM (SELECT A FROM (SELECT * FROM S)) AS X UNION ALL SELECT B FROM U",
    );
}

#[test]
fn literals() {
    check_expr("'it''s', N'n', X'3F67A2', NULL, TRUE, false", "'it''s', 'n', X'3F67A2', NULL, true, false");
    check_expr("U&'\\0041\\\\', u&'!0042!!' UESCAPE '!', U&'\\+01F600'", "'A\\', 'B!', '\u{1f600}'");
    check_expr("'one'\n  ' two'", "'one two'");
    check_expr("12, 12.5, .5, 5., -3, -9223372036854775808", "12, 12.5, 0.5, 5.0, -3, -9223372036854775808");
    check_expr("1e2, -1.5E-6", "CAST('1e2' AS DOUBLE), -CAST('1.5E-6' AS DOUBLE)");
    check_expr(
        "UNKNOWN, a IS UNKNOWN, a IS NOT UNKNOWN, NOT UNKNOWN IS TRUE",
        "CAST(NULL AS BOOLEAN), A IS UNKNOWN, A IS NOT UNKNOWN, NOT CAST(NULL AS BOOLEAN) IS TRUE",
    );
    check_expr(
        "DATE '2024-02-29', TIME '23:59:59.9', TIMESTAMP '2024-01-31 00:00:00', {d '2024-01-01'}, {T '00:00:00'}, { ts '2024-01-01 00:00:00.123' }",
        "CAST('2024-02-29' AS DATE), CAST('23:59:59.9' AS TIME), CAST('2024-01-31 00:00:00' AS TIMESTAMP), \
         CAST('2024-01-01' AS DATE), CAST('00:00:00' AS TIME), CAST('2024-01-01 00:00:00.123' AS TIMESTAMP)",
    );
    check_expr("current_row_timestamp, CURRENT_TIMESTAMP, localtime", "current_row_timestamp(), current_timestamp, current_time");
}

#[test]
fn intervals() {
    use Interval::{Milliseconds, Months};
    const DAY: i64 = 86_400_000;
    for (written, expected) in [
        ("'5' DAY", Milliseconds(5 * DAY)),
        ("'5' HOUR", Milliseconds(5 * 3_600_000)),
        ("'5' MINUTE", Milliseconds(300_000)),
        ("'5' SECOND", Milliseconds(5_000)),
        ("'5.25' SECOND", Milliseconds(5_250)),
        ("'5' YEAR", Months(60)),
        ("'5' MONTH", Months(5)),
        ("'1-11' YEAR TO MONTH", Months(23)),
        ("'1 02' DAY TO HOUR", Milliseconds(DAY + 2 * 3_600_000)),
        ("'1 02:03' DAY TO MINUTE", Milliseconds(93_780_000)),
        ("'1 02:03:04.005' DAY TO SECOND", Milliseconds(93_784_005)),
        ("'2:03' HOUR TO MINUTE", Milliseconds(7_380_000)),
        ("'2:03:04' HOUR TO SECOND", Milliseconds(7_384_000)),
        ("'59:59.999' MINUTE TO SECOND(3)", Milliseconds(3_599_999)),
        // Precision is read; a value beyond it counts all the same.
        ("'120' MINUTE", Milliseconds(7_200_000)),
        ("'120' SECOND", Milliseconds(120_000)),
        ("'100 00' DAY(3) TO HOUR", Milliseconds(100 * DAY)),
        ("'1' SECOND(10, 3)", Milliseconds(1_000)),
        ("'0' MINUTE", Milliseconds(0)),
        ("-'1' DAY", Milliseconds(-DAY)),
        ("+'1' DAY", Milliseconds(DAY)),
        ("'-1' DAY", Milliseconds(-DAY)),
        ("-'-1' DAY", Milliseconds(DAY)),
        ("' 1 ' DAY", Milliseconds(DAY)),
        ("'0 00:00:00.001' DAY TO SECOND", Milliseconds(1)),
        ("'106751' DAY(6)", Milliseconds(106_751 * DAY)),
        ("'106752' DAY(6)", Milliseconds(106_752 * DAY)),
        ("'9999999999.999' SECOND(10, 3)", Milliseconds(9_999_999_999_999)),
        ("-'9999999999' MINUTE(10)", Milliseconds(-9_999_999_999 * 60_000)),
        ("'2147483647' DAY(10)", Milliseconds(2_147_483_647 * DAY)),
    ] {
        let query = query(&format!("SELECT INTERVAL {written}"));
        let SetExpr::Select(select) = *query.ast.body else { panic!() };
        let SelectItem::UnnamedExpr(expr) = &select.projection[0] else { panic!() };
        assert_eq!(Interval::of_expr(expr), Some(expected), "{written}");
    }
}

#[test]
fn time_functions() {
    check_expr("STEP(t.ROWTIME BY INTERVAL '60' SECOND)", "step(T.ROWTIME, INTERVAL '60000 milliseconds')");
    check_expr("step((d.x) by interval '1' year), STEP(23 BY 5)", "step((D.X), INTERVAL '12 months'), step(23, 5)");
    check_expr(
        "FLOOR(a TO minute), ceil(a TO DAY), CEILING(a TO YEAR)",
        "floor_to(A, 'MINUTE'), ceil_to(A, 'DAY'), ceil_to(A, 'YEAR')",
    );
    check_expr("FLOOR(a), CEIL(a), CEILING(-a)", "floor(A), ceil(A), ceil(-A)");
    check_expr("FLOOR(CEIL(STEP(a BY b)) TO HOUR)", "floor_to(ceil(step(A, B)), 'HOUR')");
    check_expr("FLOOR(a - INTERVAL '1:00' HOUR TO MINUTE TO DAY)", "floor_to(A - INTERVAL '3600000 milliseconds', 'DAY')");
    check_expr("EXTRACT(SECOND FROM a), MOD(a, 2), ANY(a), EVERY(b)", "kda_extract('SECOND', A), mod(A, 2), any(A), every(B)");
}

#[test]
fn operators_and_special_functions() {
    check_expr("a || b, a != b, a <> b, a % 2", "A || B, A <> B, A <> B, A % 2");
    check_expr("a IS DISTINCT FROM b, (a, b) IN ((1, 2))", "A IS DISTINCT FROM B, (((A = 1) AND (B = 2)))");
    check_expr("(a, b) NOT IN ((1, 2))", "(NOT (((A = 1) AND (B = 2))))");
    check_expr("(a, b) <= (1, 2)", "(A < 1 OR (A = 1 AND (B <= 2)))");
    check_expr("a LIKE 'x\\_' ESCAPE '\\', a NOT BETWEEN 1 AND 2", "is_like(A, 'x\\_', '\\'), A NOT BETWEEN 1 AND 2");
    check_expr("SUBSTRING(a FROM 1 FOR 2), TRIM(BOTH ' ' FROM a)", "substring_from(A, 1, 2), TRIM(BOTH ' ' FROM A)");
    check_expr("POSITION('a' IN b), OVERLAY(a PLACING b FROM 1)", "POSITION('a' IN B), overlay(A, B, 1)");
    check_expr("CASE a WHEN 1 THEN 'x' ELSE 'y' END", "CASE A WHEN 1 THEN 'x' ELSE 'y' END");
}

#[test]
fn idioms_of_published_applications() {
    // Numbers are those of kda-sql-reference.md, Appendix B; idioms that are refused are in `errors`.
    check(
        "SELECT STREAM k, COUNT(*), COUNT(1), COUNT(col), AVG(v) AS avg_v FROM source_sql_stream_001\n\
         GROUP BY k, STEP(source_sql_stream_001.ROWTIME BY INTERVAL '1' MINUTE), STEP(\"T\" . \"APPROXIMATE_ARRIVAL_TIME\" BY INTERVAL '1' MINUTE)",
        "SELECT K, count(*), count(1), count(COL), avg(V) AS AVG_V FROM SOURCE_SQL_STREAM_001 GROUP BY K, \
         step(SOURCE_SQL_STREAM_001.ROWTIME, INTERVAL '60000 milliseconds'), \
         step(\"T\".\"APPROXIMATE_ARRIVAL_TIME\", INTERVAL '60000 milliseconds')",
    ); // 4, 5, 6, 17
    check(
        "SELECT STREAM l.r.COLUMN1, T.REC.COLUMN1 FROM (SELECT STREAM REGEX_LOG_PARSE(m, '(.)') FROM s) AS l(r)",
        "SELECT L.R.COLUMN1, T.REC.COLUMN1 FROM (SELECT regex_log_parse(M, '(.)') FROM S) AS L (R)",
    ); // 10
    check_expr("TO_TIMESTAMP(CAST(\"epoch\" * 1000 AS BIGINT))", "to_timestamp(CAST(\"epoch\" * 1000 AS BIGINT))"); // 11
    check_expr("(price / 0) AS ProblemColumn", "(PRICE / 0) AS PROBLEMCOLUMN"); // 12
    check_expr(
        "ROWTIME AS \"WINDOW_END\", \"ROWTIME\", \"e\" AS ROWTIME",
        "ROWTIME AS \"WINDOW_END\", \"ROWTIME\", \"e\" AS ROWTIME",
    ); // 16
}

#[test]
fn a_query_of_tables_may_use_everything() {
    check(
        "WITH x AS (SELECT a FROM t) SELECT DISTINCT a, COUNT(DISTINCT b), SUM(a) FILTER (WHERE b) FROM x, y LEFT JOIN z USING (k) \
         GROUP BY ROLLUP (a) ORDER BY a DESC NULLS LAST LIMIT 5 OFFSET 2",
        "WITH X AS (SELECT A FROM T) SELECT DISTINCT A, count(DISTINCT B), sum(A) FILTER (WHERE B) FROM X, Y LEFT JOIN Z USING(K) \
         GROUP BY ROLLUP (A) ORDER BY A DESC NULLS LAST LIMIT 5 OFFSET 2",
    );
    check(
        "SELECT LAG(a, 1, 0) OVER (PARTITION BY b ORDER BY c ROWS 10 PRECEDING), FIRST_VALUE(x) IGNORE NULLS OVER w FROM t \
         WINDOW w AS (ORDER BY c RANGE INTERVAL '0' MINUTE PRECEDING)",
        "SELECT lag(A, 1, 0) OVER (PARTITION BY B ORDER BY C ROWS 10 PRECEDING), first_value(X) IGNORE NULLS OVER W FROM T \
         WINDOW W AS (ORDER BY C RANGE INTERVAL '0 milliseconds' PRECEDING)",
    );
    check(
        "SELECT a FROM t UNION SELECT b FROM u EXCEPT SELECT c FROM v",
        "SELECT A FROM T UNION SELECT B FROM U EXCEPT SELECT C FROM V",
    );
    check("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(x, y)", "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS T (X, Y)");
    check("SELECT * FROM Generate_Series(1, 3)", "SELECT * FROM generate_series(1, 3)");
}

#[test]
fn after_an_error_the_next_statement_is_parsed() {
    let parsed = parse(
        "CREATE STREAM a (b FOO); SELECT 1;\nSELECT (2; SELECT 'x\u{201d}; SELECT 3; -- '\nSELECT 4; SELECT $5; SELECT $7; SELECT 6",
    );
    let texts: Vec<_> = parsed.statements.iter().map(|statement| statement.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 1", "SELECT 6"]);
    let places: Vec<_> = parsed.diagnostics.iter().map(|problem| place(problem.span.unwrap())).collect();
    assert_eq!(places, ["1:20-1:23", "2:10-2:11", "3:1-3:7", "3:18-3:19", "3:29-3:30"]);
    assert!(parsed.diagnostics.iter().all(|problem| problem.script.is_some()));
}

#[test]
fn a_missing_semicolon_before_create_is_one_error() {
    let parsed = parse(
        "CREATE STREAM s (a INT)\nCREATE OR REPLACE PUMP p AS INSERT INTO s SELECT STREAM a FROM t\nCREATE STREAM u (b INT)",
    );
    assert_eq!(parsed.statements.len(), 3);
    let messages: Vec<_> = parsed.diagnostics.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages, ["unexpected \"CREATE\"", "unexpected \"CREATE\""]);
}

#[test]
fn completeness_looks_for_a_semicolon_outside_literals_and_comments() {
    for complete in ["SELECT 1;", "SELECT 1; -- done", "SELECT 1 ;  /* x */\n", "SELECT \"a;", "SELECT ';' ;", ";"] {
        let expected = complete != "SELECT \"a;";
        assert_eq!(is_complete(complete), expected, "{complete}");
    }
    for incomplete in
        ["", "SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT 1 // ;", "/* ;", "SELECT 1; /* open", "SELECT 1; SELECT 2"]
    {
        assert!(!is_complete(incomplete), "{incomplete}");
    }
}

#[test]
fn highlighting_covers_everything_but_white_space() {
    let text = "select \"a\", b1 FROM X'00' 'é' 1.5 <> -- c\n$ 'open";
    let shown: Vec<_> = highlight_tokens(text).into_iter().map(|(range, class)| (&text[range], class)).collect();
    assert_eq!(
        shown,
        [
            ("select", TokenClass::Keyword),
            ("\"a\"", TokenClass::QuotedIdentifier),
            (",", TokenClass::Operator),
            ("b1", TokenClass::Identifier),
            ("FROM", TokenClass::Keyword),
            ("X'00'", TokenClass::String),
            ("'é'", TokenClass::String),
            ("1.5", TokenClass::Number),
            ("<>", TokenClass::Operator),
            ("-- c", TokenClass::Comment),
            ("$", TokenClass::Other),
            ("'open", TokenClass::String),
        ]
    );
}

#[test]
fn keyword_lists_are_sorted_and_in_upper_case() {
    for list in [keywords::RESERVED, keywords::CONTEXTUAL, keywords::STATEMENTS] {
        assert!(list.is_sorted());
        assert!(list.iter().all(|word| word.to_uppercase() == **word));
    }
    assert!(keywords::is_keyword("select") && keywords::is_keyword("Pump") && !keywords::is_keyword("TICKER"));
    assert!(keywords::is_reserved("rowtime") && !keywords::is_reserved("step"));
}

/// Threads of the runtime have 2 MB.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    on_a_small_stack(|| {
        for (open, close) in [
            ("(", ")"),
            ("ABS(", ")"),
            ("CAST(", " AS INT)"),
            ("CASE WHEN a THEN ", " END"),
            ("a IN (SELECT a FROM b WHERE ", ")"),
            ("1 * (SELECT a + ", " FROM b)"),
            ("SUBSTRING(", " FROM 1)"),
            ("NOT ", ""),
            ("- ", ""),
            ("a + ", ""),
            ("", " OR a"),
            ("", " IS NULL"),
            ("", " UNION ALL SELECT 1"),
            ("{", "}"),
            ("INTERVAL ", ""),
        ] {
            for depth in [10_000, 10_001] {
                assert!(!problems(&format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth))).is_empty(), "{open}");
            }
            // Half-open, wherever it ends.
            for depth in [1, 7, 30, 49, 51, 1_000] {
                parse(&format!("SELECT {}", open.repeat(depth)));
                parse(&format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth)));
            }
        }
        for depth in [5, 6, 7, 30, 49, 50, 10_000] {
            parse(&format!("SELECT * FROM {}a{}", "(".repeat(depth), ")".repeat(depth)));
            parse(&format!("SELECT * FROM {}a{}", "(a CROSS JOIN ".repeat(depth), ")".repeat(depth)));
            parse(&format!("{}SELECT 1{}", "SELECT * FROM (".repeat(depth), ") AS x".repeat(depth)));
            parse(&format!("{}SELECT 1{}", "(".repeat(depth), ")".repeat(depth)));
            parse(&"EXPLAIN ".repeat(depth));
        }
    });
}

#[test]
fn what_is_common_is_not_too_deep() {
    on_a_small_stack(|| {
        query(&format!("SELECT {}1{}", "(".repeat(50), ")".repeat(50)));
        query(&format!("SELECT {}1{}", "NVL(ABS(".repeat(20), "), 1)".repeat(20)));
        query(&format!("SELECT * FROM t WHERE a = 1{}", " OR a = 1".repeat(240)));
        query(&format!("SELECT 'a'{}", " || 'a'".repeat(499)));
        query(&format!("SELECT CASE {} END FROM t", "WHEN a = 1 AND b = 2 THEN 'x' || 'y' ".repeat(2_000)));
        query(&format!("SELECT a{} FROM t", ", a + 1".repeat(5_000)));
        query(&format!("SELECT a FROM t WHERE a IN (1{})", ", 2".repeat(5_000)));
    });
}

/// Words and symbols that lead deep into the grammar.
const SOUP: &[&str] = &[
    "SELECT",
    "STREAM",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "CREATE",
    "OR REPLACE",
    "PUMP",
    "SOURCE",
    "SINK",
    "TABLE",
    "AS",
    "INSERT INTO",
    "WITH",
    "(",
    ")",
    "(",
    ")",
    ",",
    ".",
    ";",
    "'a'",
    "\"b\"",
    "c",
    "1",
    "1.5e3",
    "*",
    "+",
    "-",
    "=",
    "||",
    "STEP(",
    "FLOOR(",
    "BY",
    "TO",
    "MINUTE",
    "SECOND",
    "INTERVAL",
    "'1'",
    "'1:30'",
    "DAY",
    "CAST(",
    "VARCHAR",
    "DECIMAL(",
    "TIMESTAMP",
    "'2024-01-01 00:00:00'",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "NOT",
    "NULL",
    "IS",
    "UNKNOWN",
    "AND",
    "IN",
    "OVER",
    "WINDOW",
    "WINDOWED BY",
    "STAGGER",
    "JOIN",
    "LEFT",
    "ON",
    "UNION ALL",
    "UNION",
    "DISTINCT",
    "COUNT(",
    "EXTRACT(",
    "U&'\\",
    "{",
    "}",
    "d",
    "X'",
    "--",
    "/*",
    "\n",
    "WATERMARK FOR",
    "PATH",
    "EXPLAIN",
    "DROP",
    "ALTER",
    "START",
    "IF EXISTS",
    "OPTIONS",
    "DESCRIPTION",
    "CONTAINS",
    "OVERLAPS",
    "STRICTLY",
    "SIMILAR TO",
    "TABLE(",
    "CURSOR(",
    "VALUES",
    "LIMIT",
    "FETCH",
    "FILTER (WHERE",
    "é",
    "–-",
    "CURRENT_ROW_TIMESTAMP",
    "error_stream",
    "SUBSTRING(",
    "FOR",
    "TRIM(",
    "POSITION(",
    "LIKE",
    "ESCAPE",
    "BETWEEN",
    "EXISTS",
    "LATERAL",
];

/// What calls in TABLE(…) are made of.
const CALL_SOUP: &[&str] = &[
    "TUMBLE(",
    "HOP(",
    "SESSION(",
    "TUMBLE",
    "f(CURSOR(",
    "TABLE s",
    "TABLE(SELECT STREAM x FROM s)",
    "TABLE",
    "DATA => TABLE s",
    "DATA",
    "CURSOR(",
    "PARTITION BY k",
    "PARTITION BY (k, l)",
    "PARTITION",
    "PARTITION BY",
    "PARTITION BY ()",
    "DESCRIPTOR(ROWTIME)",
    "DESCRIPTOR(",
    "TIMECOL =>",
    "SIZE =>",
    "=",
    ">",
    "INTERVAL '1' MINUTE",
    "INTERVAL '1' SECOND",
    ",",
    ",",
    ",",
    "(",
    ")",
    ")",
    "AS w",
    "GROUP BY x",
    "a.b",
    "'t'",
    "5",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = problems(&text);
        let _ = (is_complete(&text), highlight_tokens(&text));
    }

    #[test]
    fn token_soup_never_panics(words in prop::collection::vec(prop::sample::select(SOUP), 0..60), glue in "[ ]?") {
        let text = words.join(if glue.is_empty() { " " } else { "" });
        let parsed = parse(&text);
        for problem in &parsed.diagnostics {
            let span = problem.span.expect("every problem has a place");
            prop_assert!(span.start < span.end && span.start.line >= 1 && span.start.column >= 1, "{problem}");
            let shown = problem.to_string();
            // Not what a user should read.
            for inner in ["sql parser error", "Line:", "Token", "Keyword", "EOF", "Internal", "Expected:"] {
                prop_assert!(!shown.contains(inner), "{shown}");
            }
        }
        for (range, _) in highlight_tokens(&text) {
            prop_assert!(text.get(range).is_some());
        }
    }

    #[test]
    fn queries_of_soup_never_panic(words in prop::collection::vec(prop::sample::select(SOUP), 0..20)) {
        let text = format!("SELECT STREAM a FROM s WHERE {}", words.join(" "));
        let parsed = parse(&text);
        prop_assert!(!parsed.statements.is_empty() || !parsed.diagnostics.is_empty());
    }

    #[test]
    fn arguments_of_soup_never_panic(words in prop::collection::vec(prop::sample::select(CALL_SOUP), 0..10), closed in "[)]{0,3}") {
        let text = format!("SELECT STREAM a FROM TABLE(HOTSPOTS(CURSOR(SELECT STREAM a FROM s) {}{closed}", words.join(" "));
        let parsed = parse(&text);
        prop_assert!(!parsed.statements.is_empty() || !parsed.diagnostics.is_empty());
    }

    #[test]
    fn calls_of_soup_never_panic(words in prop::collection::vec(prop::sample::select(CALL_SOUP), 0..16), closed in "[)]{0,3}") {
        let text = format!("SELECT STREAM a FROM TABLE({}{closed}", words.join(" "));
        let parsed = parse(&text);
        prop_assert!(!parsed.statements.is_empty() || !parsed.diagnostics.is_empty());
    }
}
