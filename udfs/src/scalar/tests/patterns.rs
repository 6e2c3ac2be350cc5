use super::{check, check_error};

#[tokio::test]
async fn like_escapes_only_what_it_is_told() {
    for (arguments, expected) in [
        ("'ab', 'a_'", "true"),
        ("'ab', 'a%'", "true"),
        ("'a', 'a%'", "true"),
        ("'', ''", "true"),
        ("'123aXYZ', '_%_a%_'", "true"),
        ("'a', 'A'", "false"),
        ("'a', 'a_'", "false"),
        ("'abcd', 'a_'", "false"),
        (r"'ab', 'a\_', '\'", "false"),
        (r"'a_', 'a\_', '\'", "true"),
        (r"'a%', 'a\%', '\'", "true"),
        (r"'a\b', 'a\_'", "true"),
        (r"'a_', 'a\_'", "false"),
        (r"'a\b', 'a\b'", "true"),
        (r"'a\b', 'a\b', '#'", "true"),
        ("'50%', '__#%', '#'", "true"),
        ("'a#', 'a##', '#'", "true"),
        ("'a.c', 'a.c'", "true"),
        ("'abc', 'a.c'", "false"),
        ("'äö', '__'", "true"),
        ("'a' || chr(10) || 'b', 'a_b'", "true"),
        ("NULL, 'a'", ""),
        ("'a', NULL", ""),
        ("'a', 'a', NULL", ""),
    ] {
        check(&format!("is_like({arguments})"), expected).await;
    }
    check_error("is_like('a', 'a', '##')", "an ESCAPE is exactly one character, not '##'").await;
    check_error("is_like('a', '#a', '#')", "must stand before _, % or itself").await;
    check_error("is_like('a', 'a#', '#')", "must stand before _, % or itself").await;
}

#[tokio::test]
async fn patterns_may_come_from_columns() {
    for function in ["is_like", "similar_to"] {
        let patterns = "(VALUES ('a%', 'abc'), ('b_', 'abc'), (NULL, 'abc'), ('%c', 'abc')) AS t(p, s)";
        let counted = format!("(SELECT count(*) FROM (SELECT {function}(s, p) AS m FROM {patterns}) AS r WHERE m)");
        check(&counted, "2").await;
        check(&format!("(SELECT count(*) FROM (SELECT {function}('abc', p) AS m FROM {patterns}) AS r WHERE NOT m)"), "1").await;
        let escapes = "(VALUES ('a#%', '#'), ('a!%', '!'), ('a', NULL)) AS t(p, e)";
        check(&format!("(SELECT count(*) FROM (SELECT {function}('a%', p, e) AS m FROM {escapes}) AS r WHERE m)"), "2").await;
    }
    check_error("(SELECT similar_to(s, p) FROM (VALUES ('a', '(')) AS t(s, p))", "a ( is not closed").await;
}

#[tokio::test]
async fn similar_to_follows_the_documented_vectors() {
    for (arguments, expected) in [
        ("'xy', '(xy)'", "true"),
        ("'abd', '[ab][bcde]d'", "true"),
        ("'cd', '[a-e]d'", "true"),
        ("'acd', 'ab*c+d'", "true"),
        ("'accccd', 'ab*c+d'", "true"),
        ("'abbb', 'a(b{3})'", "true"),
        ("'abbbbb', 'ab{3,6}'", "true"),
        ("'a', 'ab?'", "true"),
        ("'ab', 'a(b?)'", "true"),
        (r"'a(b{3})', 'a\(b\{3\}\)', '\'", "true"),
        ("'abd', '[ab]d'", "false"),
        ("'abd', 'ab*c+d'", "false"),
        ("'aabc', 'ab*c+d'", "false"),
        ("'abb', 'a(b{3})'", "false"),
        ("'abbbbbbbb', 'ab{3,6}'", "false"),
        ("'', 'ab?'", "false"),
        ("'a', '(ab)?'", "false"),
        ("'abb', 'ab?'", "false"),
        ("'', '(ab)?'", "true"),
        ("'cd', '[a-e^c]d'", "false"),
        ("'bd', '[a-e^c]d'", "true"),
        ("'amy', 'amy|fred'", "true"),
        ("'fred', 'amy|fred'", "true"),
        ("'amyx', 'amy|fred'", "false"),
        ("'TECHNOLOGY', '%TECH%'", "true"),
        ("'BIOTECH', '%TECH%'", "true"),
        ("'technology', '%TECH%'", "false"),
        ("'a' || chr(10) || 'TECH', '%TECH%'", "true"),
        ("'xa', '%a|b'", "true"),
        ("'bx', 'a|b%'", "true"),
        ("'ba', 'a|b'", "false"),
        ("'fd', '[^abc]d'", "true"),
        ("'ad', '[^abc]d'", "false"),
        ("'-', '[a-]'", "true"),
        ("'a.c', 'a.c'", "true"),
        ("'abc', 'a.c'", "false"),
        ("'50%', '50!%', '!'", "true"),
        ("'507', '50!%', '!'", "false"),
        ("'ü', '_'", "true"),
        ("'aaa', 'a{2,}'", "true"),
        ("'xa', '%{0}a'", "false"),
        ("'xa', '%{1}a'", "true"),
        ("'aax', 'a%?'", "true"),
        ("NULL, 'a'", ""),
        ("'a', NULL", ""),
        ("'a', 'a', NULL", ""),
    ] {
        check(&format!("similar_to({arguments})"), expected).await;
    }
    for (arguments, message) in [
        ("'cd', '[^(a-e)]d'", "a ( in a set must be escaped"),
        ("'cd', '[a-e'", "a set [ is not closed"),
        ("'cd', '[e-a]'", "the range e-a runs backwards"),
        ("'cd', '[]'", "a set is empty"),
        ("'cd', '(cd'", "a ( is not closed"),
        ("'cd', 'cd)'", "a ) has no ("),
        ("'cd', '*a'", "there is nothing that * can repeat"),
        ("'cd', 'a**'", "there is nothing that * can repeat"),
        ("'cd', 'a{x}'", "{x} is no number of repetitions"),
        ("'cd', 'a#', '#'", "it ends in the escape character"),
        ("'cd', 'a', ''", "an ESCAPE is exactly one character"),
    ] {
        check_error(&format!("similar_to({arguments})"), message).await;
    }
}

#[tokio::test]
async fn substring_by_pattern() {
    for (expression, expected) in [
        ("substring_from('TECHNOLOGY', 'L[A-Z]*')", "LOGY"),
        ("substring_from('TECHNOLOGY', 'FOO') IS NULL", "true"),
        (r"substring_from('http://www.amazon.com/x', 'www\.[a-z]+\.com')", "www.amazon.com"),
        ("substring_from('abc', '') IS NULL", "false"),
        ("substring_from(NULL, 'a')", ""),
        (r##"substring_similar('123456789', '23#"456#"78', '#')"##, "456"),
        (r##"substring_similar('TECHNOLOGY', 'TECH%"NOLO%"GY', '%')"##, "NOLO"),
        (r##"substring_similar('a=1;b=22;', '_=#"[0-9]+#";', '#')"##, "1"),
        (r##"substring_similar('aXbXc', '%X#"%#"', '#')"##, "bXc"),
        (r##"substring_similar('abc', 'x#"b#"', '#') IS NULL"##, "true"),
        (r##"substring_similar(NULL, 'x#"b#"', '#')"##, ""),
    ] {
        check(expression, expected).await;
    }
    check_error("substring_from('abc', 'b', 1)", "SUBSTRING with FOR takes a number after FROM").await;
    check_error("substring_similar('abc', 'b', '#')", "the wanted part must stand between two marks #\"").await;
    check_error(r##"substring_similar('abc', 'a#"b', '#')"##, "between two marks").await;
}

#[tokio::test]
async fn regex_replace_counts_from_start() {
    for (arguments, expected) in [
        ("'http://a/http:', '^http:', 'https:', 1, 0", "https://a/http:"),
        ("'a1b2c3', '[0-9]', '#', 1, 0", "a#b#c#"),
        ("'a1b2c3', '[0-9]', '#', 1, 2", "a1b#c3"),
        ("'a1b2c3', '[0-9]', '#', 3, 1", "a1b#c3"),
        ("'a1b2c3', '[0-9]', '#', 1, 9", "a1b2c3"),
        ("'a1b2c3', '[0-9]', '#', 99, 0", "a1b2c3"),
        ("'äö1', '(.)1', '$1$1', 2, 0", "äöö"),
        ("'John Smith', '(\\w+) (\\w+)', '$2, $1', 1, 0", "Smith, John"),
        ("'ab', '(?<first>a)', '${first}$10', 1, 0", "aa0b"),
        ("'ab', 'a', '\\$1', 1, 0", "$1b"),
        ("'aab', 'a*', 'x', 1, 0", "xxbx"),
        ("'ab', 'x(y)?|a', '[$1]', 1, 0", "[]b"),
        ("NULL, 'a', 'b', 1, 0", ""),
        ("'a', 'a', NULL, 1, 0", ""),
        ("'a', 'a', 'b', NULL, 0", ""),
    ] {
        check(&format!("regex_replace({arguments})"), expected).await;
    }
    check_error("regex_replace('a', 'a', 'b', 0, 0)", "REGEX_REPLACE cannot start at 0 for occurrence 0").await;
    check_error("regex_replace('a', 'a', 'b', 1, -1)", "for occurrence -1").await;
    check_error("regex_replace('a', 'a', '$1', 1, 0)", "has no group 1").await;
    check_error("regex_replace('a', 'a', '$', 1, 0)", "a $ must be followed by").await;
    check_error("regex_replace('a', 'a', '${x}', 1, 0)", "unknown group").await;
}

#[tokio::test]
async fn java_expressions_mean_what_they_mean_in_java() {
    for (text, pattern, expected) in [
        ("x٣3", r"\d", "3"),
        ("äb", r"\w", "b"),
        ("a.b[c]", r"\Q.b[\E", ".b["),
        ("tab\there", r"b\hh", "b\th"),
        ("a-~z", r"[--]", "-"),
        ("a~~z", r"[~~]+", "~~"),
        ("]a", r"[]a]+", "]a"),
        ("abc", r"[a-z&&[^b]]+", "a"),
        ("Éa", r"\p{Lower}", "a"),
        ("éA", r"\P{Lower}", "é"),
        ("éA", r"\p{IsLowercase}", "é"),
        ("aA", r"\u0041", "A"),
        ("aA", r"\0101", "A"),
        ("aA", r"\x41", "A"),
        ("ab", r"(?<x>b)", "b"),
        ("AB", r"(?i)b", "B"),
        ("a#b", r"(?x) a \# b", "a#b"),
        ("aaa", r"a{2}", "aa"),
        ("aaa", r"a+?", "a"),
        ("a]b", r"]b", "]b"),
    ] {
        check(&format!("substring_from('{text}', '{pattern}')"), expected.trim()).await;
    }
    for (pattern, message) in [
        (r"a\X", r"uses \X"),
        (r"(a)\2", "is wrong"),
        (r"\p{InGreek}", r"uses \p{InGreek}"),
        ("(a", "is wrong: unclosed group"),
        ("[a", "a character class [ is not closed"),
        ("a{2", "a repetition {n}, {n,} or {n,m} is not closed"),
        (r"a\", "it ends in a backslash"),
        ("a)(b", "is wrong: unopened group"),
    ] {
        check_error(&format!("substring_from('ab', '{pattern}')"), message).await;
    }
    // Of a column the same is an error of the row.
    check_error(r"(SELECT substring_from('ab', p) FROM (VALUES ('a\X')) AS t(p))", r"uses \X").await;
}

/// What the service's Java can and linear time cannot (kda-sql-reference.md §5.9).
#[tokio::test]
async fn patterns_may_backtrack() {
    for (text, pattern, expected) in [
        ("abccd", r"(\w)\1", "cc"),
        ("a1a2", r"(a)(1)\12", "a1a2"),
        ("xyxy-xy", r"(?<p>xy)\k<p>", "xyxy"),
        ("price 12 EUR", r"\d+(?= EUR)", "12"),
        ("a1 b2", r"[a-z](?!1)", "b"),
        ("$12 13", r"(?<=\$)\d+", "12"),
        ("$12 13", r"(?<![\d$])\d+", "13"),
        ("aaab", r"(?>a+)b", "aaab"),
        ("12ab", r"(\d++)(.*+)", "12ab"),
        ("aab", r"a{1,2}+b", "aab"),
        ("ab", r"\Gb", ""),
        ("Éa É", r"\p{Lower}(?=[ \t&&[^x]])", "a"),
    ] {
        check(&format!("substring_from('{text}', '{pattern}')"), expected).await;
    }
    check("substring_from('aaa', '(a++)a') IS NULL", "true").await;
    check(r"regex_replace('a=1;a=2', '(\w)=(\d)(?=;|$)', '$2=$1', 1, 0)", "1=a;2=a").await;
    let long = "a".repeat(40);
    check_error(&format!(r"substring_from('{long}', '^(a|a)*(?=b)\1$')"), "takes too long on this text").await;
}
