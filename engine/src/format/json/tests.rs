//! Decoding by table, by damage and by comparison with serde_json; encoding; both ways.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, ListArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::format::testing::{columns, decoded, framed_rows, rows};
use crate::format::{DecodeColumn, Decoder, Encoder, REJECTED_RAW_MAX, RejectReason};
use crate::types::SqlType;

fn decoder(types: &[SqlType]) -> JsonDecoder {
    JsonDecoder::try_new(columns(types)).unwrap()
}

/// What `{"A": value}` becomes in a column of a type: the value, or `reject: message`.
fn converted(sql_type: SqlType, value: &str) -> String {
    // The plain column takes the fast way, the two equal paths the careful one: both must agree.
    let record = format!("{{\"A\": {value}}}");
    let fast = decoded(&mut decoder(&[sql_type]), record.as_bytes());
    let twice = |name: &str| DecodeColumn { field: sql_type.field(name, true), path: Some("$.A".to_owned()), index: 0 };
    let careful = decoded(&mut JsonDecoder::try_new(vec![twice("A"), twice("B")]).unwrap(), record.as_bytes());
    let [fast] = fast.as_slice() else { panic!("{fast:?}") };
    if !fast.starts_with("Coercion") {
        assert_eq!(careful, [format!("{fast}|{fast}")]);
    } else {
        assert_eq!(&careful, std::slice::from_ref(fast));
    }
    fast.replace("Coercion@0: column \"A\": ", "refused: ")
}

#[test]
fn a_row_over_the_limit_is_refused_however_many_documents_there_are() {
    let mut decoder = decoder(&[SqlType::Integer, SqlType::Varchar(9)]);
    decoder.limit_rows(20);
    // Twenty bytes, two documents of twenty in one line, one more byte, and one that is wrong as well.
    let records = "{\"A\":1,\"B\":\"123456\"}\n{\"A\":2,\"B\":\"123456\"}{\"A\":3,\"B\":\"123456\"}\n{\"A\":4,\"B\":\"1234567\"}\n{\"A\":\"x\",\"B\":\"1234567\"}{\"A\":5}";
    let message = |bytes| format!("a row of {bytes} bytes is over the limit of 20, which the switch row_bytes_max sets");
    let refused = [format!("TooLarge@62: {}", message(21)), format!("TooLarge@84: {}", message(23))];
    let expected = ["1|'123456'", "2|'123456'", "3|'123456'", "5|NULL"].map(str::to_owned).into_iter().chain(refused);
    assert_eq!(decoded(&mut decoder, records.as_bytes()), expected.collect::<Vec<_>>());
}

#[test]
fn a_record_that_a_service_keeps_apart_holds_any_number_of_documents() {
    for (record, expected) in [
        ("", &[][..]),
        (" \n", &[]),
        (r#"{"A":1}"#, &["1"]),
        (r#"{"A":1}{"A":2}"#, &["1", "2"]),
        (r#"{"A":1} {"A":2}"#, &["1", "2"]),
        ("{\"A\":1}\r\n{\"A\":2}\n\n", &["1", "2"]),
        ("{\n  \"A\": 1,\n  \"B\": [\n    {}\n  ]\n}\n{\n  \"A\": 2\n}", &["1", "2"]),
        // A torn document takes what comes before the next line that begins like one.
        (
            "{\"A\":1}\n{\"A\":\n{\"A\":3}",
            &["1", "3", "Parse@8: the record is not JSON: EOF while parsing a value at character 5"],
        ),
        (
            "{\"A\":1,\n  \"B\": {x}\n}\n{\"A\":2}",
            &["2", "Parse@0: the record is not JSON: key must be a string at line 2, character 9"],
        ),
        ("{\"A\":1}]{\"A\":2}", &["1", "Parse@7: the record is not JSON: it does not start with {"]),
    ] {
        let (rows, _) = framed_rows(&mut decoder(&[SqlType::Integer]), &[record.as_bytes()]);
        assert_eq!(rows, expected, "{record}");
    }
}

#[test]
fn every_row_knows_the_record_that_it_comes_from() {
    let records: [&[u8]; 6] = [b"{\"A\":1}{\"A\":2}", b"", b"{\"A\":", b"{\"A\":3}\n{\"A\":\"x\"}\n{\"A\":4}", &[0xFF], b"{}"];
    let (rows, places) = framed_rows(&mut decoder(&[SqlType::Integer]), &records);
    assert_eq!(rows[..5], ["1", "2", "3", "4", "NULL"]);
    assert_eq!(places, [0, 0, 3, 3, 5]);
    // The end of a record is the end of its documents.
    let (rows, places) = framed_rows(&mut decoder(&[SqlType::Integer]), &[b"{\"A\":1", b"}{\"A\":2}"]);
    assert_eq!((rows.len(), places), (2, vec![]), "{rows:?}");
}

#[test]
fn converts_as_the_reference_lists() {
    use SqlType::*;
    for (sql_type, value, expected) in [
        // null is NULL everywhere.
        (TinyInt, "null", "NULL"),
        (Double, "null", "NULL"),
        (Decimal(5, 2), "null", "NULL"),
        (Boolean, "null", "NULL"),
        (Char(3), "null", "NULL"),
        (Varchar(3), "null", "NULL"),
        (Varbinary(3), "null", "NULL"),
        (Date, "null", "NULL"),
        (Time, "null", "NULL"),
        (Timestamp, "null", "NULL"),
        // Booleans.
        (TinyInt, "true", "1"),
        (BigInt, "false", "0"),
        (Real, "true", "1.0"),
        (Double, "false", "0.0"),
        (Decimal(5, 2), "true", "1.00"),
        (Decimal(2, 2), "true", "refused: true is out of range for DECIMAL(2, 2)"),
        (Boolean, "true", "true"),
        (Boolean, "false", "false"),
        (Varchar(10), "true", "'true'"),
        (Varchar(3), "false", "'fal'"),
        (Char(5), "true", "'true '"),
        (Varbinary(4), "true", "[1]"),
        (Varbinary(4), "false", "[0]"),
        (Binary(2), "true", "[0, 1]"),
        (Binary(2), "false", "[0, 0]"),
        (Date, "true", "refused: the boolean true cannot become DATE"),
        (Timestamp, "true", "refused: the boolean true cannot become TIMESTAMP"),
        // Numbers.
        (TinyInt, "127", "127"),
        (TinyInt, "-128", "-128"),
        (TinyInt, "128", "refused: 128 is out of range for TINYINT"),
        (SmallInt, "32767", "32767"),
        (SmallInt, "-32769", "refused: -32769 is out of range for SMALLINT"),
        (Integer, "-2147483648", "-2147483648"),
        (Integer, "2147483648", "refused: 2147483648 is out of range for INTEGER"),
        (BigInt, "9223372036854775807", "9223372036854775807"),
        (BigInt, "-9223372036854775808", "-9223372036854775808"),
        (BigInt, "9223372036854775808", "refused: 9223372036854775808 is out of range for BIGINT"),
        (Integer, "123.4", "refused: 123.4 would lose digits as INTEGER"),
        (Integer, "123.0", "123"),
        (Integer, "1.5e1", "15"),
        (Integer, "-0", "0"),
        (BigInt, "1e2", "100"),
        (BigInt, "1e30", "refused: 1e30 is out of range for BIGINT"),
        (Double, "1", "1.0"),
        (Double, "-1.25", "-1.25"),
        (Double, "1e300", "1e+300"),
        (Double, "1e400", "refused: 1e400 is out of range for DOUBLE"),
        (Double, "0.1", "0.1"),
        (Double, "3.141592653589793238462643", "3.141592653589793"),
        (Double, "-0.0", "-0.0"),
        (Real, "0.1", "0.1"),
        (Real, "16777217", "16777216.0"),
        (Real, "1e39", "refused: 1e39 is out of range for REAL"),
        (Decimal(5, 2), "123.45", "123.45"),
        (Decimal(5, 2), "-0.5", "-0.50"),
        (Decimal(5, 2), "1.230", "1.23"),
        (Decimal(5, 2), "1.235", "refused: 1.235 would lose digits as DECIMAL(5, 2)"),
        (Decimal(5, 2), "1000", "refused: 1000 is out of range for DECIMAL(5, 2)"),
        (Decimal(38, 0), "99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        (Decimal(38, 10), "0.0000000001", "0.0000000001"),
        (Boolean, "0", "false"),
        (Boolean, "-0.00e7", "false"),
        (Boolean, "0.01", "true"),
        (Boolean, "2", "true"),
        (Varchar(20), "1.50", "'1.50'"),
        (Varchar(20), "123456789012345678", "'123456789012345678'"),
        (Varchar(3), "-1e10", "'-1e'"),
        (Char(6), "1.5", "'1.5   '"),
        (Varbinary(4), "1", "refused: the number 1 cannot become VARBINARY(4)"),
        (Timestamp, "1704067200", "refused: the number 1704067200 cannot become TIMESTAMP"),
        (Date, "1", "refused: the number 1 cannot become DATE"),
        (Time, "1", "refused: the number 1 cannot become TIME"),
        // Strings.
        (TinyInt, "\"12\"", "12"),
        (Integer, "\" +12 \"", "12"),
        (Integer, "\"12.5\"", "refused: '12.5' would lose digits as INTEGER"),
        (Integer, "\"\"", "refused: '' cannot be read as INTEGER"),
        (BigInt, "\"x\"", "refused: 'x' cannot be read as BIGINT"),
        (Double, "\"1.5\"", "1.5"),
        (Double, "\".5\"", "0.5"),
        (Double, "\"inf\"", "refused: 'inf' cannot be read as DOUBLE"),
        (Double, "\"NaN\"", "refused: 'NaN' cannot be read as DOUBLE"),
        (Real, "\"1e39\"", "refused: '1e39' is out of range for REAL"),
        (Decimal(5, 2), "\"007.10\"", "7.10"),
        (Boolean, "\"TrUe\"", "true"),
        (Boolean, "\"yes\"", "false"),
        (Boolean, "\"\"", "false"),
        (Varchar(5), "\"abcdef\"", "'abcde'"),
        (Varchar(5), "\" a \"", "' a '"),
        (Varchar(5), "\"\"", "''"),
        (Varchar(3), "\"äöüß\"", "'äöü'"),
        (Varchar(2), "\"😀😀😀\"", "'😀😀'"),
        (Varchar(9), r#""a\n\"\\\/\u00e4\ud83d\ude00""#, "'a\n\"\\/ä😀'"),
        (Varchar(2), r#""\u0041BC""#, "'AB'"),
        (Char(4), "\"ä\"", "'ä   '"),
        (Char(2), "\"abc\"", "'ab'"),
        (Varbinary(4), "\"X'3F67'\"", "[63, 103]"),
        (Varbinary(4), "\"x'3f'\"", "[63]"),
        (Varbinary(4), "\"X''\"", "[]"),
        (Binary(4), "\"X'3F67'\"", "[63, 103, 0, 0]"),
        (Varbinary(1), "\"X'3F67'\"", "refused: 'X'3F67'' is out of range for VARBINARY(1)"),
        (Varbinary(4), "\"X'3F6'\"", "refused: 'X'3F6'' cannot be read as VARBINARY(4)"),
        (Varbinary(4), "\"3F67\"", "refused: '3F67' cannot be read as VARBINARY(4)"),
        (Date, "\"2024-02-29\"", "2024-02-29"),
        (Date, "\"2024-02-29 23:00:00\"", "2024-02-29"),
        (Date, "\"2023-02-29\"", "refused: '2023-02-29' cannot be read as DATE"),
        (Time, "\"12:34:56\"", "12:34:56.000"),
        (Time, "\"12:34:56.7\"", "12:34:56.700"),
        (Time, "\"2024-02-29 12:34:56.789\"", "12:34:56.789"),
        (Time, "\"2024-02-29\"", "refused: '2024-02-29' cannot be read as TIME"),
        (Timestamp, "\"2024-02-29\"", "2024-02-29 00:00:00.000"),
        (Timestamp, "\"2024-02-29 12:34:56\"", "2024-02-29 12:34:56.000"),
        (Timestamp, "\"2024-02-29T12:34:56.789012\"", "2024-02-29 12:34:56.789"),
        (Timestamp, "\"2024-02-29T12:34:56Z\"", "2024-02-29 12:34:56.000"),
        (Timestamp, "\"2024-02-29T00:30:00+01:00\"", "2024-02-28 23:30:00.000"),
        (Timestamp, "\" 1969-12-31 23:59:59.999 \"", "1969-12-31 23:59:59.999"),
        (Timestamp, r#""2024-02-29\u002012:34:56""#, "2024-02-29 12:34:56.000"),
        (Timestamp, "\"yesterday\"", "refused: 'yesterday' cannot be read as TIMESTAMP"),
        // Arrays and objects.
        (Varchar(100), r#"[ 1 , "a b" , {"x" : null} ]"#, r#"'[1,"a b",{"x":null}]'"#),
        (Varchar(100), r#"{ "q\" {" : [ ] }"#, r#"'{"q\" {":[]}'"#),
        (Varchar(4), "[1, 2, 3]", "'[1,2'"),
        (Char(5), "[1]", "'[1]  '"),
        (Integer, "[1]", "refused: the array [1] cannot become INTEGER"),
        (Boolean, "{}", "refused: the object {} cannot become BOOLEAN"),
        (Varbinary(9), "[1]", "refused: the array [1] cannot become VARBINARY(9)"),
        (Timestamp, "{\"a\": 1}", "refused: the object {\"a\":1} cannot become TIMESTAMP"),
    ] {
        assert_eq!(converted(sql_type, value), expected, "{value} as {sql_type}");
    }
}

#[test]
fn long_values_are_cut_in_messages() {
    let value = format!("\"{}\"", "ä".repeat(100));
    assert_eq!(converted(SqlType::Integer, &value), format!("refused: '{}…' cannot be read as INTEGER", "ä".repeat(64)));
}

#[test]
fn nulls_in_not_null_columns_are_refused() {
    let columns = vec![DecodeColumn { field: SqlType::Integer.field("A", false), path: None, index: 0 }];
    let mut decoder = JsonDecoder::try_new(columns).unwrap();
    let why = "column \"A\" is NOT NULL and the record has no value for it";
    assert_eq!(
        decoded(&mut decoder, b"{\"A\":1}\n{\"A\":null}\n{}\n{\"A\":2}\n"),
        ["1", "2", &format!("Coercion@8: {why}"), &format!("Coercion@19: {why}")]
    );
}

/// What a decoder of INTEGER columns A and B makes of some bytes.
fn two_integers(bytes: &[u8]) -> Vec<String> {
    decoded(&mut decoder(&[SqlType::Integer, SqlType::Integer]), bytes)
}

#[test]
fn frames_documents() {
    for (bytes, expected) in [
        ("", &[][..]),
        ("\n \r\n\t\n", &[]),
        ("{\"A\":1,\"B\":2}", &["1|2"]),
        ("{\"A\":1,\"B\":2}\r\n{\"B\":4,\"A\":3}\r\n", &["1|2", "3|4"]),
        ("{\"A\":1}{\"A\":2} {\"A\":3}\t{\"A\":4}\n{\"A\":5}", &["1|NULL", "2|NULL", "3|NULL", "4|NULL", "5|NULL"]),
        (" { \"A\" : 1 , \"B\" : 2 } \n", &["1|2"]),
        ("{}\n{ }{\"C\":[{\"A\":7}],\"B\":1}", &["NULL|NULL", "NULL|NULL", "NULL|1"]),
        ("\u{FEFF}{\"A\":1}\n \u{FEFF} {\"A\":2}", &["1|NULL", "2|NULL"]),
        ("{\"a\":1,\"A \":2}", &["NULL|NULL"]),
        (r#"{"\u0041":1}"#, &["1|NULL"]),
        ("{\"A\":1,\"A\":2}", &["2|NULL"]),
        ("{\"A\":\"x\",\"A\":2}", &["2|NULL"]),
        ("{\"A\":1,\"B\":5,\"A\":null}", &["NULL|5"]),
        ("{\"A\":1,\"A\":\"x\"}", &["Coercion@0: column \"A\": 'x' cannot be read as INTEGER"]),
    ] {
        assert_eq!(two_integers(bytes.as_bytes()), expected, "{bytes}");
    }
}

#[test]
fn bad_records_affect_no_others() {
    for (bad, reason) in [
        ("x", "it does not start with {"),
        ("{\"A\":1", "EOF while parsing an object at character 6"),
        ("{\"A\":1,", "EOF while parsing an object at character 7"),
        ("{\"A\":", "EOF while parsing a value at character 5"),
        ("{\"A\"", "EOF while parsing an object at character 4"),
        ("{\"A", "EOF while parsing a string at character 3"),
        ("{", "EOF while parsing an object at character 1"),
        ("{\"A\":1,}", "key must be a string at character 8"),
        ("{,\"A\":1}", "key must be a string at character 2"),
        ("{\"A\":1 \"B\":2}", "expected `,` or `}` at character 8"),
        ("{\"A\":01}", "invalid number at character 7"),
        ("{\"A\":1.}", "invalid number at character 8"),
        ("{\"A\":+1}", "expected value at character 6"),
        ("{\"A\":1x}", "expected `,` or `}` at character 7"),
        ("{\"A\":nul}", "expected ident at character 9"),
        ("{\"A\":truex}", "expected `,` or `}` at character 10"),
        ("{\"A\":'1'}", "expected value at character 6"),
        ("{A:1}", "key must be a string at character 2"),
        ("{\"A\"=1}", "expected `:` at character 5"),
        ("{\"C\":[1,2}", "expected `,` or `]` at character 10"),
        ("{\"C\":{\"x\":1]}", "expected `,` or `}` at character 12"),
        ("{\"C\":\"tab\there\"}", "control character (\\u0000-\\u001F) found while parsing a string at character 9"),
        ("{\"C\":\"\\x\"}", "invalid escape at character 8"),
        ("{\"C\":\"\\u12\"}", "invalid escape at character 12"),
        ("{\"C\":1e}", "invalid number at character 8"),
    ] {
        let message = format!("Parse@7: the record is not JSON: {reason}");
        // Before, between and behind good records; and never merged with the next line.
        let bytes = format!("{{\"A\":1}}{bad}\n{{\"A\":2}}\n");
        assert_eq!(two_integers(bytes.as_bytes()), ["1|NULL", "2|NULL", message.as_str()], "{bad}");
        let alone = two_integers(format!("{bad}\n\"B\":3}}\n{{\"A\":2}}").as_bytes());
        assert_eq!((alone.len(), alone[0].as_str()), (3, "2|NULL"), "{bad}");
    }
}

#[test]
fn refuses_what_is_no_object() {
    for bad in ["1", "\"x\"", "null", "true", "[]", "[{\"A\":1}]", "1 {\"A\":1}"] {
        let expected = ["2|NULL", "Parse@0: the record is JSON but not an object"];
        assert_eq!(two_integers(format!("{bad}\n{{\"A\":2}}").as_bytes()), expected, "{bad}");
    }
    let expected = ["1|NULL", "Parse@7: the record is not JSON: it does not start with {"];
    assert_eq!(two_integers(b"{\"A\":1},{\"A\":2}"), expected);
    assert_eq!(two_integers(b"{\"A\":1}}{\"A\":2}"), expected);
}

#[test]
fn refuses_bytes_that_are_no_text() {
    let expected = ["1|NULL", "2|NULL", "Parse@8: the record is not UTF-8"];
    for bad in
        [&b"{\"A\":1,\"C\":\"\xFF\"}"[..], b"\xC3", b"{\"\xE4\":1}", b"\x00\x80\x81binary\xFE", b"{\"C\":\"\xED\xA0\x80\"}"]
    {
        let bytes = [b"{\"A\":1}\n", bad, b"\r\n{\"A\":2}"].concat();
        assert_eq!(two_integers(&bytes), expected);
    }
    let expected = ["1|NULL", "2|NULL", "Parse@8: the record is not JSON: it does not start with {"];
    assert_eq!(two_integers(b"{\"A\":1}\n\0\x01\x02\n{\"A\":2}"), expected);
}

#[test]
fn refuses_half_a_surrogate_pair_in_a_column() {
    let expected = ["Parse@0: the record is not JSON: a string has half of a surrogate pair"];
    assert_eq!(decoded(&mut decoder(&[SqlType::Varchar(9)]), br#"{"A":"\ud83d"}"#), expected);
    assert_eq!(decoded(&mut decoder(&[SqlType::Varchar(9)]), br#"{"A":"\ud83dx","A":"y"}"#), expected);
}

#[test]
fn survives_size_and_depth() {
    let text = "x".repeat(1 << 20);
    let mut long = decoder(&[SqlType::Varchar(3), SqlType::Varchar(65_535)]);
    let out = decoded(&mut long, format!("{{\"A\":\"{text}\",\"B\":\"{text}\"}}\n").as_bytes());
    assert_eq!(out, [format!("'xxx'|'{}'", &text[..65_535])]);

    for (depth, (open, close)) in
        [1, 2, 63, 64, 65, 66, 100].into_iter().flat_map(|depth| [("[", "]"), ("{\"A\":", "}")].map(|pair| (depth, pair)))
    {
        let nested = |closed: usize| format!("{{\"C\":{}1{},\"A\":3}}", open.repeat(depth), close.repeat(closed));
        assert_eq!(two_integers(nested(depth).as_bytes()), ["3|NULL"], "{depth}");
        for closed in [depth - 1, depth + 1] {
            let out = two_integers(nested(closed).as_bytes());
            assert!(out.iter().any(|row| row.starts_with("Parse@")), "{depth}, {closed}: {out:?}");
        }
    }

    let depth = 200_000;
    for (open, close) in [("[", "]"), ("{\"A\":", "}")] {
        let nested = format!("{{\"A\":{}1{}}}\n{{\"A\":2}}\n", open.repeat(depth), close.repeat(depth));
        let out = two_integers(nested.as_bytes());
        assert_eq!((out.len(), out[0].as_str(), &out[1][..11]), (2, "2|NULL", "Coercion@0:"));
        let torn = format!("{{\"C\":{}\n{{\"A\":2}}\n", open.repeat(depth));
        let out = two_integers(torn.as_bytes());
        assert_eq!((out.len(), out[0].as_str(), &out[1][..8]), (2, "2|NULL", "Parse@0:"));
    }

    let mut rejected = Vec::new();
    decoder(&[SqlType::Integer]).decode(format!("{{\"A\":\"{text}\"}}").as_bytes(), &mut rejected).unwrap();
    assert_eq!((rejected[0].raw.len(), rejected[0].reason), (REJECTED_RAW_MAX, RejectReason::Coercion));
    assert!(rejected[0].message.len() < 200);
}

#[test]
fn follows_paths() {
    let paths = ["$.q.price", "$['q']['sym bol']", "$.q", "$.list[0:]", "$", "$.q.deep.er", "$.q.price", "$.q[0:]"];
    let columns = paths.iter().enumerate().map(|(index, path)| {
        let field = SqlType::Varchar(100).field(&format!("C{index}"), true);
        DecodeColumn { field, path: Some((*path).to_owned()), index }
    });
    let mut decoder = JsonDecoder::try_new(columns.collect()).unwrap();
    for (record, expected) in [
        (
            r#"{"q": {"price": 1.5, "sym bol": "A", "deep": {"er": true}}, "list": [1, 2]}"#,
            concat!(
                r#"'1.5'|'A'|'{"price":1.5,"sym bol":"A","deep":{"er":true}}'|'[1,2]'"#,
                r#"|'{"q":{"price":1.5,"sym bol":"A","deep":{"er":true}},"list":[1,2]}'|'true'|'1.5'|NULL"#
            ),
        ),
        (r#"{"q":7,"list":7}"#, r#"NULL|NULL|'7'|NULL|'{"q":7,"list":7}'|NULL|NULL|NULL"#),
        (r#"{"q":[1]}"#, r#"NULL|NULL|'[1]'|NULL|'{"q":[1]}'|NULL|NULL|'[1]'"#),
        (r#"{"q":null}"#, r#"NULL|NULL|NULL|NULL|'{"q":null}'|NULL|NULL|NULL"#),
        // The last q counts, and nothing of the first.
        (
            r#"{"q":{"price":1},"q":{"sym bol":2}}"#,
            r#"NULL|'2'|'{"sym bol":2}'|NULL|'{"q":{"price":1},"q":{"sym bol":2}}'|NULL|NULL|NULL"#,
        ),
        ("{}", "NULL|NULL|NULL|NULL|'{}'|NULL|NULL|NULL"),
    ] {
        assert_eq!(decoded(&mut decoder, record.as_bytes()), [expected], "{record}");
    }
}

#[test]
fn coercion_names_the_first_column_that_fails() {
    let path = |name: &str, path: &str| DecodeColumn {
        field: SqlType::Integer.field(name, true),
        path: Some(path.to_owned()),
        index: 0,
    };
    let mut decoder = JsonDecoder::try_new(vec![path("A", "$.x.a"), path("B", "$.b")]).unwrap();
    assert_eq!(
        decoded(&mut decoder, br#"{"b":"u","x":{"a":"v"}} {"b":1,"x":{"a":2}} {"x":{"a":"w"},"x":null}"#),
        ["2|1", "NULL|NULL", "Coercion@0: column \"A\": 'v' cannot be read as INTEGER"]
    );
}

#[test]
fn refuses_unusable_columns() {
    let column = |field: Field, path: &str| DecodeColumn { field: Arc::new(field), path: Some(path.to_owned()), index: 0 };
    for (column, message) in [
        (column(Field::new("A", DataType::Int32, true), "$.l[0:].x"), "the JSON path \"$.l[0:].x\" goes on behind [0:]"),
        (
            column(Field::new("A", DataType::Timestamp(TimeUnit::Nanosecond, None), true), "$.a"),
            "column \"A\" has the type Timestamp(ns), which no record can be converted to",
        ),
    ] {
        let error = JsonDecoder::try_new(vec![column]).err().unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, message));
    }
}

#[test]
fn decodes_without_columns() {
    let mut rejected = Vec::new();
    let batch = decoder(&[]).decode(b"{\"A\":1}\n{}\n{\"B\"\n", &mut rejected).unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns(), rejected.len()), (2, 0, 1));
}

fn encoded(batch: &RecordBatch) -> String {
    let mut out = b"kept ".to_vec();
    JsonEncoder::try_new(&batch.schema()).unwrap().encode(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap().strip_prefix("kept ").unwrap().to_owned()
}

#[test]
fn encodes_as_the_reference_lists() {
    use SqlType::*;
    let types = [
        TinyInt,
        SmallInt,
        Integer,
        BigInt,
        Decimal(6, 3),
        Real,
        Double,
        Boolean,
        Char(3),
        Varchar(20),
        Binary(2),
        Varbinary(9),
        Date,
        Time,
        Timestamp,
    ];
    let record = concat!(
        r#"{"A":-1,"B":2,"C":3,"D":4,"E":0.5,"F":1.5,"G":1,"H":true,"I":"x","J":"a\"b\\\n\u0001ä","K":"X'3F'","L":"X'3F67'","#,
        r#""M":"2024-02-29","N":"01:02:03","O":"1969-12-31 23:59:59.999"}"#,
    );
    let batch = decoder(&types).decode(format!("{record}{{}}").as_bytes(), &mut Vec::new()).unwrap();
    let expected = concat!(
        r#"{"A":-1,"B":2,"C":3,"D":4,"E":0.500,"F":1.5,"G":1.0,"H":true,"I":"x  ","J":"a\"b\\\n\u0001ä","K":"PwA=","L":"P2c=","#,
        r#""M":"2024-02-29","N":"01:02:03.000","O":"1969-12-31 23:59:59.999"}"#,
        "\n",
        r#"{"A":null,"B":null,"C":null,"D":null,"E":null,"F":null,"G":null,"H":null,"I":null,"J":null,"K":null,"L":null,"#,
        r#""M":null,"N":null,"O":null}"#,
        "\n"
    );
    assert_eq!(encoded(&batch), expected);
    // A slice writes its own rows.
    assert_eq!(encoded(&batch.slice(1, 1)), expected.split_inclusive('\n').nth(1).unwrap());
}

#[test]
fn encodes_names_exactly_and_no_infinities() {
    let field = SqlType::Double.field("a \"quoted\"\nName ä", true);
    let schema = Arc::new(Schema::new(vec![field]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, -0.0]));
    let batch = RecordBatch::try_new(schema, vec![values]).unwrap();
    let name = r#"{"a \"quoted\"\nName ä":"#;
    assert_eq!(encoded(&batch), format!("{name}null}}\n{name}null}}\n{name}-0.0}}\n"));
    assert_eq!(encoded(&decoder(&[]).decode(b"{}", &mut Vec::new()).unwrap()), "{}\n");
}

#[test]
fn encodes_arrays_of_answers() {
    let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let schema = Arc::new(Schema::new(vec![Field::new("A", numbers.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(numbers)]).unwrap();
    assert_eq!(encoded(&batch), "{\"A\":[1,null]}\n{\"A\":null}\n{\"A\":[]}\n");
}

#[test]
fn refuses_to_encode_other_types() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("A", DataType::UInt64, true)]));
    let error = JsonEncoder::try_new(&schema).err().unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "column \"A\" has the type UInt64, which cannot be written"));
    let record = DataType::Struct(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Int64, true)].into());
    let error = JsonEncoder::try_new(&Arc::new(Schema::new(vec![Field::new("A", record, true)]))).err().unwrap();
    assert_eq!(error.message(), "column \"A\" is a record of x, y, which cannot be written");
    assert!(error.hint().unwrap().contains("SELECT q.\"A\".\"x\""), "{error}");
    let mut encoder = JsonEncoder::try_new(&Arc::new(Schema::new(vec![SqlType::Integer.field("A", true)]))).unwrap();
    let batch = decoder(&[SqlType::BigInt]).decode(b"{}", &mut Vec::new()).unwrap();
    let error = encoder.encode(&batch, &mut Vec::new()).unwrap_err();
    assert_eq!(error.message(), "column \"A\" reached an encoder as Int64 instead of Int32");
}

/// JSON text of any shape with the given names as members.
fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| serde_json::to_string(&value).unwrap()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|value| serde_json::to_string(&value).unwrap()),
        "\"[a-z\\\\\"nu0-9é ]{0,12}\"",
        "\"20[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z?\"",
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(", "))),
            json_object(inner)
        ]
    })
}

fn json_object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let blank = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\t ")];
    (proptest::collection::vec(("[A-F]", value), 0..6), blank).prop_map(|(members, blank)| {
        let members = members.into_iter().map(|(name, value)| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

/// Damages a record, if asked to.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop_oneof![4 => Just(None), 1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some)];
    (json_object(json_value()), damage).prop_map(|(record, damage)| {
        let mut record = record.into_bytes();
        if let Some((index, byte)) = damage {
            let at = index.index(record.len());
            match byte % 4 {
                0 => record.truncate(at),
                1 => drop(record.remove(at)),
                _ => record[at] = byte,
            }
        }
        record.retain(|&byte| byte != b'\n');
        record
    })
}

fn mixed_columns() -> Vec<DecodeColumn> {
    use SqlType::*;
    let mut columns = columns(&[Integer, Double, Varchar(5), Timestamp, BigInt]);
    columns[4].path = Some("$.F.A".to_owned());
    columns
}

proptest! {
    #[test]
    fn any_split_between_records_gives_the_same_rows(
        records in proptest::collection::vec(damaged(), 0..12),
        cuts in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let whole: Vec<u8> = records.iter().flat_map(|record| [record, &b"\n"[..]].concat()).collect();
        let expected = decoded(&mut JsonDecoder::try_new(mixed_columns()).unwrap(), &whole);

        let mut decoder = JsonDecoder::try_new(mixed_columns()).unwrap();
        let (mut shown, mut rejected, mut piece, mut base) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (index, record) in records.iter().enumerate() {
            piece.extend_from_slice(record);
            piece.push(b'\n');
            if cuts[index] || index + 1 == records.len() {
                let mut refused = Vec::new();
                shown.extend(rows(&decoder.decode(&piece, &mut refused).unwrap()));
                rejected.extend(refused.into_iter().map(|record| (base + record.position, record.message)));
                base += piece.len() as u64;
                piece.clear();
            }
        }
        shown.extend(rejected.iter().map(|(position, message)| format!("@{position}: {message}")));
        let expected: Vec<String> =
            expected.iter().map(|line| line.trim_start_matches("Parse").trim_start_matches("Coercion").to_owned()).collect();
        prop_assert_eq!(shown, expected);
    }

    /// A record is JSON to this decoder exactly when it is to serde_json, whatever stood before it.
    #[test]
    fn accepts_what_serde_json_accepts(before in json_object(json_value()), record in damaged()) {
        let mut decoder = JsonDecoder::try_new(Vec::new()).unwrap();
        decoder.decode(before.as_bytes(), &mut Vec::new()).unwrap();
        let mut rejected = Vec::new();
        let batch = decoder.decode(&record, &mut rejected).unwrap();
        let text = std::str::from_utf8(&record);
        let blank = record.trim_ascii().is_empty();
        // Names must be text; other strings need only be well formed, unless a column takes them.
        let objects = serde_json::Deserializer::from_slice(&record)
            .into_iter::<std::collections::HashMap<String, serde::de::IgnoredAny>>()
            .collect::<Result<Vec<_>, _>>();
        let expected = text.is_ok() && !blank && objects.is_ok();
        prop_assert_eq!(rejected.is_empty() && !blank, expected, "{}", String::from_utf8_lossy(&record));
        if expected {
            prop_assert_eq!(batch.num_rows(), objects.unwrap().len());
        }
    }

    /// The layout learned from other records changes nothing.
    #[test]
    fn rows_do_not_depend_on_records_before(before in proptest::collection::vec(damaged(), 0..4), record in damaged()) {
        let expected = decoded(&mut JsonDecoder::try_new(mixed_columns()).unwrap(), &record);
        let mut decoder = JsonDecoder::try_new(mixed_columns()).unwrap();
        for record in before {
            decoder.decode(&record, &mut Vec::new()).unwrap();
        }
        prop_assert_eq!(decoded(&mut decoder, &record), expected);
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(
        rows in proptest::collection::vec(
            (any::<Option<i64>>(), any::<Option<f64>>(), any::<Option<String>>(), any::<Option<bool>>(),
             proptest::option::of(-62_135_596_800_000i64..253_402_300_800_000), proptest::option::of(-99_999i64..=99_999)),
            0..20),
    ) {
        use SqlType::*;
        let types = [BigInt, Double, Varchar(65_535), Boolean, Timestamp, Decimal(5, 2)];
        let records: String = rows.iter().map(|(a, b, c, d, e, f)| {
            let decimal = f.map(|f| format!("{}{}.{:02}", if f < 0 { "-" } else { "" }, f.abs() / 100, f.abs() % 100));
            let time = e.map(|e| chrono::DateTime::from_timestamp_millis(e).unwrap().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
            serde_json::json!({"A": a, "B": b.filter(|b| b.is_finite()), "C": c, "D": d, "E": time, "F": decimal}).to_string() + "\n"
        }).collect();
        let mut rejected = Vec::new();
        let first = decoder(&types).decode(records.as_bytes(), &mut rejected).unwrap();
        prop_assert_eq!(&rejected, &[]);
        prop_assert_eq!(first.num_rows(), rows.len());
        let text = encoded(&first);
        for line in text.lines() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{}", line);
        }
        let second = decoder(&types).decode(text.as_bytes(), &mut rejected).unwrap();
        prop_assert_eq!(&rejected, &[]);
        prop_assert_eq!(first, second);
    }
}
