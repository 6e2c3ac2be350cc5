use super::{check, check_error};

#[tokio::test]
async fn columns_at_fixed_places() {
    let columns = "'M TYPE VARCHAR(4) START 0 FOR 4, \"n\" TYPE INTEGER NOT NULL START 4 FOR 3, REST TYPE VARCHAR(5) START 7'";
    let parse = |line: &str| format!("fixed_column_log_parse({line}, {columns})");
    check(&parse("'GET   7 hello world'"), "{M: GET , n: 7, REST:  hell}").await;
    check(&parse("'äöü   77'"), "{M: äöü , n: 7, REST: 7}").await;
    check(&parse("'GET  07'"), "{M: GET , n: 7, REST: }").await;
    check(&format!("{}['n'] + 1", parse("'GET   7'")), "8").await;
    check(&parse("CAST(NULL AS VARCHAR)"), "").await;
    check_error(&parse("'GET xyz'"), "a line has no INTEGER for the column n, which is NOT NULL").await;
    check_error(&parse("'GET'"), "NOT NULL").await;
    check("fixed_column_log_parse('1x2', 'A TYPE INTEGER START 0 FOR 2, B TYPE INTEGER START 2')", "{A: , B: 2}").await;
    for (columns, message) in [
        ("A TYPE INTEGER", "expected START, found their end"),
        ("A INTEGER START 0", "expected TYPE, found INTEGER"),
        ("A TYPE TEXT START 0", "expected a data type, found TEXT"),
        ("A TYPE INTEGER START x", "expected the place where the column starts, found X"),
        ("A TYPE INTEGER START 0, a TYPE DATE START 1", "the column A is described twice"),
        ("A TYPE VARCHAR(0) START 0", "the length of a text is 1 to 65535, not 0"),
        ("A TYPE DECIMAL(5, 6) START 0", "DECIMAL(5, 6)"),
        ("A TYPE INTEGER ''yyyy'' START 0", "the column A has a format: only DATE, TIME and TIMESTAMP have one, not INTEGER"),
        ("A TYPE DATE ''yyyy-qq'' START 0", "the format of the column A: the pattern 'yyyy-qq' of a time has the letter q"),
        ("A TYPE DATE NOT NULL ''''''yyyy'' START 0", "has a quote that does not end"),
        ("", "expected the name of a column, found their end"),
    ] {
        check_error(&format!("fixed_column_log_parse('x', '{columns}')"), message).await;
    }
    check_error(
        "(SELECT fixed_column_log_parse('x', c) FROM (VALUES ('A TYPE DATE START 0')) AS t(c))",
        "must be a constant text",
    )
    .await;
}

#[tokio::test]
async fn columns_between_delimiters() {
    for (arguments, expected) in [
        ("'a b c', 3, ' '", "{COLUMN1: a, COLUMN2: b, COLUMN3: c}"),
        ("'a b', 3, ' '", "{COLUMN1: a, COLUMN2: b, COLUMN3: }"),
        ("'a b c d', 3, ' '", "{COLUMN1: a, COLUMN2: b, COLUMN3: c}"),
        ("'a||b|c', 2, '||'", "{COLUMN1: a, COLUMN2: b|c}"),
        ("'a\tb', 2, '\t'", "{COLUMN1: a, COLUMN2: b}"),
        ("'', 2, ','", "{COLUMN1: , COLUMN2: }"),
        (r"'a\,b,c\\', 2, ',', '\'", r"{COLUMN1: a,b, COLUMN2: c\}"),
        (r#"'"a,b",c', 2, ',', '\', '"'"#, "{COLUMN1: a,b, COLUMN2: c}"),
        (r#"'"a\"b",c', 2, ',', '\', '"'"#, r#"{COLUMN1: a"b, COLUMN2: c}"#),
        ("'[24/May -0700] k=[a b] x', 3, ' ', '', '[]'", "{COLUMN1: 24/May -0700, COLUMN2: k=[a b], COLUMN3: x}"),
        ("'/a 12', 'PATH TYPE VARCHAR(64), MS TYPE INTEGER', ' '", "{PATH: /a, MS: 12}"),
        ("'/a x', 'PATH TYPE VARCHAR(1), MS TYPE INTEGER', ' '", "{PATH: /, MS: }"),
        ("'2024-01-02 1.5 TRUE', 'D TYPE DATE, A TYPE DECIMAL(5,2), B TYPE BOOLEAN', ' '", "{D: 2024-01-02, A: 1.50, B: true}"),
        ("'a,b', 'A TYPE CHAR(3), B TYPE DOUBLE PRECISION', ','", "{A: a  , B: }"),
        ("NULL, 2, ','", ""),
    ] {
        check(&format!("variable_column_log_parse({arguments})"), expected).await;
    }
    check("arrow_typeof(variable_column_log_parse('a', 1, ' ')['COLUMN1'])", "Utf8").await;
    check_error("variable_column_log_parse('a', 0, ' ')", "a log line can have 1 to 1000 columns, not 0").await;
    check_error("variable_column_log_parse('a', 2, '')", "the delimiter of VARIABLE_COLUMN_LOG_PARSE must not be empty").await;
    check_error("variable_column_log_parse('a', 2, ',', '##')", "is one character, not '##'").await;
    check_error("variable_column_log_parse('a', 2, ',', '#', '\"[]')", "is one character or two").await;
    check_error("variable_column_log_parse('a', 'A TYPE INTEGER NOT NULL', ' ')", "which is NOT NULL").await;
    check_error("variable_column_log_parse('a', 'A TYPE INTEGER B TYPE DATE', ' ')", "expected ,, found B").await;
}

#[tokio::test]
async fn times_are_read_by_their_format() {
    let columns = "'D TYPE DATE ''dd/MMM/yyyy'', T TYPE TIME NOT NULL ''HH.mm'', TS TYPE TIMESTAMP ''yyyyMMddHHmmss'''";
    let parse = |line: &str| format!("variable_column_log_parse('{line}', {columns}, ' ')");
    check(&parse("24/May/2004 22.01 20240102030405"), "{D: 2004-05-24, T: 22:01:00, TS: 2024-01-02T03:04:05}").await;
    check(&parse("2004-05-24 22.01 2024"), "{D: , T: 22:01:00, TS: }").await;
    check_error(&parse("24/May/2004 22:01"), "a line has no TIME for the column T, which is NOT NULL").await;
    check("regex_log_parse('[01 Feb]', '\\[(.*)\\]', 'AT TYPE TIMESTAMP ''dd MMM''')", "{AT: 1970-02-01T00:00:00}").await;
    check(
        "fixed_column_log_parse('1402', 'M TYPE TIME ''mm'' START 0 FOR 2, H TYPE TIME ''HH'' START 2')",
        "{M: 00:14:00, H: 02:00:00}",
    )
    .await;
    // A year of two digits is within 80 years before the query and 20 behind it, and tests run before 2080.
    check("date_part('year', fixed_column_log_parse('00', 'Y TYPE DATE ''yy'' START 0')['Y'])", "2000").await;
}

#[tokio::test]
async fn values_that_fail_are_null_beside_those_that_do_not() {
    let lines = "(VALUES ('1 a'), ('x b'), (NULL), ('3'), ('99999999999 c'), ('6 f')) AS t(line)";
    let parsed =
        format!("(SELECT variable_column_log_parse(line, 'N TYPE INTEGER, T TYPE VARCHAR(1)', ' ') AS r FROM {lines}) AS p");
    check(&format!("(SELECT sum(r['N']) FROM {parsed})"), "10").await;
    check(&format!("(SELECT count(r) FROM {parsed})"), "5").await;
    check(&format!("(SELECT count(r['T']) FROM {parsed})"), "4").await;
}

#[tokio::test]
async fn groups_of_a_regular_expression() {
    for (arguments, expected) in [
        ("'a=1', '(.*)=(.*)'", "{COLUMN1: a, COLUMN2: 1}"),
        ("'a=b=1', '(.*)=(.*)'", "{COLUMN1: a=b, COLUMN2: 1}"),
        ("'a=1', '(.*?)=([0-9]+)', 'K TYPE VARCHAR(5), V TYPE INTEGER'", "{K: a, V: 1}"),
        ("'a=1', '(a)|(b)=1' IS NULL", "true"),
        ("'b', '(a)|(b)'", "{COLUMN1: , COLUMN2: b}"),
        ("'a=1;', '(.*)=([0-9]+)'", ""),
        ("'ab', '(a|ab)'", "{COLUMN1: ab}"),
        ("NULL, '(a)'", ""),
    ] {
        let call = match arguments.split_once(" IS NULL") {
            Some((arguments, _)) => format!("regex_log_parse({arguments}) IS NULL"),
            None => format!("regex_log_parse({arguments})"),
        };
        check(&call, expected).await;
    }
    check_error("regex_log_parse('a', 'a')", "the regular expression has no group ( )").await;
    check_error("regex_log_parse('a', '(a')", "unclosed group").await;
    check_error("regex_log_parse('a', 'a)(b')", "unopened group").await;
    check(r"regex_log_parse('12ab', '(\d++)(.*+)')", "{COLUMN1: 12, COLUMN2: ab}").await;
    check_error(r"regex_log_parse('a', '(a)\X')", r"uses \X").await;
    check_error(
        "regex_log_parse('a', '(a)', 'A TYPE DATE, B TYPE DATE')",
        "2 columns are described, but the regular expression has 1 groups",
    )
    .await;
    check_error("(SELECT regex_log_parse('a', c) FROM (VALUES ('(a)')) AS t(c))", "must be a constant text").await;
}

#[tokio::test]
async fn fast_groups_are_as_short_as_can_be() {
    for (line, pattern, expected) in [
        // The four documented examples; the second field of the first one ends where the algorithm says (§8.6).
        ("Mary_had_a_little_lamb", "(.*)_(._.*)_.*", "{COLUMN1: Mary_had, COLUMN2: a_little}"),
        ("Mary_had_a_little_lamb", "(.*)_+(._.*)", ""),
        ("Mary____had_a_little_lamb", "(.*)_+(.*)", "{COLUMN1: Mary, COLUMN2: had_a_little_lamb}"),
        ("Mary____had_a_little_lamb", "(.*)_+(<Alpha>.*)", "{COLUMN1: Mary, COLUMN2: had_a_little_lamb}"),
        ("a b c", "(.*) (.*)", "{COLUMN1: a, COLUMN2: b c}"),
        // Between groups a repetition takes as much as it can.
        ("a-b-c-d", "(.*)-.*-(.*)", "{COLUMN1: a, COLUMN2: d}"),
        ("a-b-c-d", "(.*)-(.*)-(.*)", "{COLUMN1: a, COLUMN2: b, COLUMN3: c-d}"),
        ("ababcxd", "(ab|x)+c(.*)d", "{COLUMN1: x}"),
        ("a b c", "(.*) (.*) (.*) (.*)", ""),
        ("äöü ü", "(.*) (.*)", "{COLUMN1: äöü, COLUMN2: ü}"),
        (
            "[x] GET /a?b=c 200",
            "\\[(.*)\\] ([A-Z]+) (.*) (<200-299>)",
            "{COLUMN1: x, COLUMN2: GET, COLUMN3: /a?b=c, COLUMN4: 200}",
        ),
        ("[x] GET /a 300", "\\[(.*)\\] ([A-Z]+) (.*) (<200-299>)", ""),
        ("007", "(<1-15>)", "{COLUMN1: 007}"),
        ("15", "(<1-15>)", "{COLUMN1: 15}"),
        ("16", "(<1-15>)", ""),
        ("abcb", "(a((b|c)*))", "{COLUMN1: abcb}"),
        ("aXb", "([a-z])[^a-z]([a-z])", "{COLUMN1: a, COLUMN2: b}"),
        ("a.b", "(\"a.\")(.)", "{COLUMN1: a., COLUMN2: b}"),
        ("axb", "(\"a.\")(.)", ""),
        ("foobar", "(@bar&foo@)", "{COLUMN1: foobar}"),
        ("foobaz", "(@bar&foo@)", ""),
        ("x", "(x)()", "{COLUMN1: x}"),
        ("x", "(x)#", ""),
        // The first group takes aa, and the second cannot take ab.
        ("aaab", "(a{2,3})(b?)", ""),
        ("aab", "(a{2})(b?)", "{COLUMN1: aa, COLUMN2: b}"),
        ("", "(@)", "{COLUMN1: }"),
        ("1-2", "([0-9-]+)", "{COLUMN1: 1-2}"),
    ] {
        check(&format!("fast_regex_log_parse('{line}', '{pattern}')"), expected).await;
    }
    // Patterns as large as can be neither take long nor too much stack.
    check("fast_regex_log_parse('aa', '((a*){1000})')", "{COLUMN1: aa}").await;
    check("fast_regex_log_parse('aa', '((a?){100})')", "{COLUMN1: aa}").await;
    check("fast_regex_log_parser('a b', '(.*) (.*)')['COLUMN2']", "b").await;
    check("fast_regex_log_parse(CAST(NULL AS VARCHAR), '(.*)')", "").await;
    for (pattern, message) in [
        ("a", "it has no group ( )"),
        ("(a)|(b)", "it has no group ( )"),
        ("(a", "a ) is missing"),
        ("(a))", "a ) is not expected here"),
        ("(<foo>)", "<foo> is no named pattern"),
        ("(<9-1>)", "<9-1> is no interval of whole numbers"),
        ("([z-a])", "the range z-a runs backwards"),
        ("([])", "a class [ ] is empty"),
        ("(a{x})", "{x} is no number of repetitions"),
        ("(a{1001})", "no number of repetitions up to 1000"),
        ("(*)", "a * is not expected here"),
        ("(((a{100}){100}){100})", "it has more than 2000 parts"),
        ("((a?){1000})", "it is too large for an automaton"),
        ("(.*a.{20})", "it is too large for an automaton"),
    ] {
        check_error(&format!("fast_regex_log_parse('a', '{pattern}')"), message).await;
    }
}

#[tokio::test]
async fn lines_of_a_system_log_get_a_year() {
    let parse = |line: &str, now: &str| format!("sys_log_parse('{line}', TIMESTAMP '{now}')");
    for (line, now, expected) in [
        ("Jan 17 10:00:00 web1 sshd[7]: ok", "2024-03-01 00:00:00", "{COLUMN1: 2024-01-17T10:00:00, COLUMN2: web1 sshd[7]: ok}"),
        ("Jan  2 10:00:00 web1", "2024-03-01 00:00:00", "{COLUMN1: 2024-01-02T10:00:00, COLUMN2: web1}"),
        ("Dec 31 23:59:59 web1 x", "2024-01-01 00:00:00", "{COLUMN1: 2023-12-31T23:59:59, COLUMN2: web1 x}"),
        ("Jan 17 10:00:01 web1 x", "2024-01-17 10:00:00", "{COLUMN1: 2024-01-17T10:00:01, COLUMN2: web1 x}"),
        ("Feb 29 10:00:00 web1 x", "2025-01-17 10:00:00", "{COLUMN1: 2024-02-29T10:00:00, COLUMN2: web1 x}"),
        ("Feb 30 10:00:00 web1 x", "2024-03-17 10:00:00", ""),
        ("Foo 17 10:00:00 web1 x", "2024-01-17 10:00:00", ""),
        ("Jan 17 10:00 web1 x", "2024-01-17 10:00:00", ""),
        ("Jan 17 25:00:00 web1 x", "2024-01-17 10:00:00", ""),
        ("Jan +1 10:00:00 web1 x", "2024-01-17 10:00:00", ""),
        ("", "2024-01-17 10:00:00", ""),
    ] {
        check(&parse(line, now), expected).await;
    }
    check("sys_log_parse(CAST(NULL AS VARCHAR), TIMESTAMP '2024-01-17 10:00:00')", "").await;
    check("sys_log_parse('Jan 17 10:00:00 web1 x')['COLUMN2']", "web1 x").await;
    check("date_part('YEAR', sys_log_parse('Jan 1 00:00:00 web1')['COLUMN1']) >= 2024", "true").await;
    check("arrow_typeof(sys_log_parse('Jan 17 10:00:00 w x')['COLUMN1'])", "Timestamp(ms)").await;
}

#[tokio::test]
async fn lines_of_a_web_server() {
    let line = r#"w.x 10.0.0.1 - frank [24/May/2004:22:01:02 -0700] "GET /a\"b HTTP/1.1" 200 2326"#;
    let common = line.strip_prefix("w.x ").expect("starts so");
    let fields = r#"10.0.0.1, COLUMN2: -, COLUMN3: frank, COLUMN4: [24/May/2004:22:01:02 -0700], COLUMN5: GET /a\"b HTTP/1.1, COLUMN6: 200, COLUMN7: 2326"#;
    check(&format!("w3c_log_parse('{common}', 'COMMON')"), &format!("{{COLUMN1: {fields}}}")).await;
    check(&format!("w3c_log_parse('{line}', 'common with vhost')['COLUMN8']"), "2326").await;
    check(
        &format!("w3c_log_parse('{common} \"http://a b/\" \"Mozilla/5.0 (X)\"', 'NCSA EXTENDED')['COLUMN9']"),
        "Mozilla/5.0 (X)",
    )
    .await;
    check(&format!("w3c_log_parse('{common} \"\" \"-\"', 'NCSA EXTENDED')['COLUMN8']"), "").await;
    // A line of another format is no record.
    check(&format!("w3c_log_parse('{common} \"http://a/\" \"x\"', 'COMMON')"), "").await;
    check(&format!("w3c_log_parse('{line}', 'COMMON')"), "").await;
    for (line, format, expected) in [
        ("http://a/ ---> /b c", "REFERER", "{COLUMN1: http://a/, COLUMN2: /b c}"),
        ("Mozilla/5.0 (X; Y)", "AGENT", "{COLUMN1: Mozilla/5.0 (X; Y)}"),
        ("[24/May/2004:22:01:02 -0700] 5", "[%t] %D", "{COLUMN1: 24/May/2004:22:01:02 -0700, COLUMN2: 5}"),
        ("2004-05-24 22:01 5", "%[%Y-%m-%d]t %[%H:%M]t %D", "{COLUMN1: 2004-05-24, COLUMN2: 22:01, COLUMN3: 5}"),
        ("5% 404", "%T%% %!200,304>s", "{COLUMN1: 5, COLUMN2: 404}"),
        ("a=1;b", "a=%[a]C;%[b]e", "{COLUMN1: 1, COLUMN2: b}"),
        ("200 300", "%>s", ""),
        ("x", "%h %u", ""),
        ("x 12:00:01", "%h %t", ""),
        ("<10.0.0.1>", "<%h>", "{COLUMN1: 10.0.0.1}"),
        // A query string begins with its ? or is empty.
        ("GET /a?b=1?c 200", "%m %U%q %>s", "{COLUMN1: GET, COLUMN2: /a, COLUMN3: ?b=1?c, COLUMN4: 200}"),
        ("GET /a 200", "%m %U%q %>s", "{COLUMN1: GET, COLUMN2: /a, COLUMN3: , COLUMN4: 200}"),
        ("/a?b c", "%U%q", "{COLUMN1: /a, COLUMN2: ?b c}"),
        (r#""/a\"?b\"c" 5"#, r#""%U%q" %D"#, r#"{COLUMN1: /a\", COLUMN2: ?b\"c, COLUMN3: 5}"#),
        ("?b", "%U%q", "{COLUMN1: , COLUMN2: ?b}"),
    ] {
        check(&format!("w3c_log_parse('{line}', '{format}')"), expected).await;
    }
    check("w3c_log_parse(CAST(NULL AS VARCHAR), 'COMMON')", "").await;
    for (format, message) in [
        ("IIS", "the format IIS has no definition"),
        ("%h%u", "two values with nothing between them"),
        ("%m%q", "two values with nothing between them"),
        ("%U%q%r", "two values with nothing between them"),
        ("common log", "is neither a format of a web server"),
        ("%[x", "the argument %[x of a format is not closed"),
        ("%{Referer}i", "the arguments of a format stand in brackets"),
        ("%i", "the specifier %i of a format needs a name"),
        ("%[x]h", "%[x]h is no specifier"),
        ("%z", "%z is no specifier"),
        ("%h %", "a format ends in a %"),
    ] {
        check_error(&format!("w3c_log_parse('x', '{format}')"), message).await;
    }
}
