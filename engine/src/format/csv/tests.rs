//! Decoding by table and by damage; encoding; both ways.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::format::testing::{columns, decoded, framed_rows, rows};
use crate::format::{CsvOptions, DecodeColumn, Decoder, Encoder};
use crate::types::SqlType;

fn decoder(types: &[SqlType]) -> CsvDecoder {
    CsvDecoder::try_new(columns(types), CsvOptions::default()).unwrap()
}

/// What a decoder of an INTEGER and a VARCHAR(5) makes of some bytes.
fn number_and_text(bytes: &[u8]) -> Vec<String> {
    decoded(&mut decoder(&[SqlType::Integer, SqlType::Varchar(5)]), bytes)
}

#[test]
fn a_row_over_the_limit_is_refused() {
    let mut decoder = decoder(&[SqlType::Integer, SqlType::Varchar(9)]);
    decoder.limit_rows(8);
    let refused = "TooLarge@9: a row of 9 bytes is over the limit of 8, which the switch row_bytes_max sets";
    assert_eq!(decoded(&mut decoder, b"1,123456\n2,1234567\r\n3,\"a\nb\""), ["1|'123456'", "3|'a\nb'", refused]);
}

#[test]
fn every_row_knows_the_record_that_it_comes_from() {
    let records: [&[u8]; 5] = [b"1,a\n2,b", b"3,\"c\nd\"\n", b"", b"4,\"open", b"5,e"];
    let (rows, places) = framed_rows(&mut decoder(&[SqlType::Integer, SqlType::Varchar(5)]), &records);
    let refused = "Parse@15: the record has a quoted field that does not end";
    assert_eq!(rows, ["1|'a'", "2|'b'", "3|'c\nd'", "5|'e'", refused]);
    assert_eq!(places, [0, 0, 1, 4]);
}

#[test]
fn reads_records() {
    for (bytes, expected) in [
        ("", &[][..]),
        ("1,x", &["1|'x'"]),
        ("1,x\n2,y\r\n3,z\n", &["1|'x'", "2|'y'", "3|'z'"]),
        ("\n\r\n1,x\n\n", &["1|'x'"]),
        ("1\n", &["1|NULL"]),
        (",\n", &["NULL|''"]),
        ("1,\n", &["1|''"]),
        ("1,x,more,\"fields\"\n", &["1|'x'"]),
        ("1, x \n 2 ,y", &["1|' x '", "2|'y'"]),
        ("1,abcdefg", &["1|'abcde'"]),
        ("\u{FEFF}1,x", &["1|'x'"]),
        ("\"1\",\"a,b\"\n", &["1|'a,b'"]),
        ("1,\"say \"\"a\"\"\"\n", &["1|'say \"'"]),
        ("1,\"\"\n\"\",\"\"\"\"\r\n", &["1|''", "NULL|'\"'"]),
        ("1,\"a\nb\"\n2,\"c\r\nd\"\r\n", &["1|'a\nb'", "2|'c\r\nd'"]),
        ("1,5\" x\n2,y", &["1|'5\" x'", "2|'y'"]),
        ("1,a\rb\n", &["1|'a\rb'"]),
    ] {
        assert_eq!(number_and_text(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn bad_records_affect_no_others() {
    for (bad, expected) in [
        ("x,y", "Coercion@4: column \"A\": 'x' cannot be read as INTEGER"),
        ("1.5,y", "Coercion@4: column \"A\": 1.5 would lose digits as INTEGER"),
        ("2,\"torn", "Parse@4: the record has a quoted field that does not end"),
        ("2,\"a\"b", "Parse@4: the record has text behind the end of a quoted field"),
        ("\"2\" ,b", "Parse@4: the record has text behind the end of a quoted field"),
    ] {
        let expected = expected.replace("1.5 would", "'1.5' would");
        for end in ["\n", "\r\n"] {
            let bytes = format!("1,x\n{bad}{end}3,z\n");
            assert_eq!(number_and_text(bytes.as_bytes()), ["1|'x'", "3|'z'", expected.as_str()], "{bad}");
        }
    }
    // A quote that is never closed costs its own line, even when lines with quotes follow.
    assert_eq!(
        number_and_text(b"1,\"torn\n2,\"x\"\n3,\"y\"\n"),
        ["2|'x'", "3|'y'", "Parse@0: the record has text behind the end of a quoted field"]
    );
    let expected = ["1|'x'", "3|'z'", "Parse@4: the record is not UTF-8"];
    assert_eq!(number_and_text(b"1,x\n2,\xFF\n3,z\n"), expected);
    assert_eq!(number_and_text(b"1,x\n\"2\",\"\xC3\"\n3,z\n"), expected);
    // Cutting between characters cannot be repaired by the field behind.
    assert_eq!(number_and_text(b"1,x\n2,\xC3,\xA4\n3,z\n"), expected);
}

#[test]
fn converts_text_as_json_strings() {
    use SqlType::*;
    for (sql_type, field, expected) in [
        (Double, "1.5", "1.5"),
        (Double, "", "NULL"),
        (BigInt, " 7 ", "7"),
        (Decimal(5, 2), "1.5", "1.50"),
        (Boolean, "TRUE", "true"),
        (Boolean, "1", "false"),
        (Boolean, "", "NULL"),
        (Timestamp, "2024-01-01T00:00:00Z", "2024-01-01 00:00:00.000"),
        (Date, "", "NULL"),
        (Varbinary(2), "X'0A'", "[10]"),
        (Char(3), "a", "'a  '"),
        (Char(3), "\"\"", "'   '"),
        (Varchar(2), "äöü", "'äö'"),
    ] {
        assert_eq!(
            decoded(&mut decoder(&[sql_type]), field.as_bytes())[..],
            [expected][..].iter().filter(|_| !field.is_empty()).copied().collect::<Vec<_>>()[..],
            "{field}"
        );
        assert_eq!(decoded(&mut decoder(&[sql_type]), format!("{field},").as_bytes()), [expected], "{field}");
    }
}

#[test]
fn takes_fields_by_index() {
    let column = |name: &str, index| DecodeColumn { field: SqlType::Varchar(9).field(name, true), path: None, index };
    let options = separated_by("|");
    let mut decoder = CsvDecoder::try_new(vec![column("C", 2), column("A", 0), column("C2", 2)], options).unwrap();
    assert_eq!(decoded(&mut decoder, b"a|b|c|d\n\"a\"|\"|\"|\"c\"\nx\n"), ["'c'|'a'|'c'", "'c'|'a'|'c'", "NULL|'x'|NULL"]);
}

#[test]
fn many_and_large_fields_in_quotes() {
    let field = format!("\"{}\"", "x\"\"".repeat(5000));
    let record = vec![field.as_str(); 200].join(",");
    let column = DecodeColumn { field: SqlType::Varchar(65_535).field("A", true), path: None, index: 199 };
    let mut decoder = CsvDecoder::try_new(vec![column], CsvOptions::default()).unwrap();
    assert_eq!(decoded(&mut decoder, record.as_bytes()), [format!("'{}'", "x\"".repeat(5000))]);
}

#[test]
fn nulls_in_not_null_columns_are_refused() {
    let column = |name: &str, index| DecodeColumn { field: SqlType::Integer.field(name, false), path: None, index };
    let mut decoder = CsvDecoder::try_new(vec![column("A", 0), column("B", 1)], CsvOptions::default()).unwrap();
    let why = "column \"B\" is NOT NULL and the record has no value for it";
    assert_eq!(
        decoded(&mut decoder, b"1,2\n3,\n4\n5,6"),
        ["1|2", "5|6", &format!("Coercion@4: {why}"), &format!("Coercion@7: {why}")]
    );
}

#[test]
fn refuses_unusable_delimiters() {
    for (delimiter, shown) in [("\"", "\\\""), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\u{0}"), ("a\nb", "a\\nb")] {
        let error = CsvDecoder::try_new(Vec::new(), separated_by(delimiter)).err().unwrap();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Config, &*format!("the delimiter '{shown}' cannot separate fields"))
        );
    }
    let error =
        CsvDecoder::try_new(Vec::new(), CsvOptions { row_delimiter: RowEnd::byte(b'"'), ..CsvOptions::default() }).err().unwrap();
    assert_eq!(error.message(), "'\\\"' cannot end rows");
    let error =
        CsvDecoder::try_new(Vec::new(), CsvOptions { row_delimiter: RowEnd::byte(b','), ..CsvOptions::default() }).err().unwrap();
    assert_eq!(error.message(), "the delimiter ',' cannot separate fields");
    let schema = decoder(&[SqlType::Integer]).schema().clone();
    let error = CsvEncoder::try_new(&schema, separated_by("||")).err().unwrap();
    assert_eq!(error.message(), "fields cannot be written with '||' between them");
}

fn separated_by(delimiter: &str) -> CsvOptions {
    CsvOptions { delimiter: delimiter.to_owned(), ..CsvOptions::default() }
}

/// kda-sql-reference.md §6.2: both delimiters may be anything.
#[test]
fn delimiters_of_several_characters_and_other_ends_of_rows() {
    let types = [SqlType::Varchar(20), SqlType::Integer];
    let with =
        |options: CsvOptions, text: &str| decoded(&mut CsvDecoder::try_new(columns(&types), options).unwrap(), text.as_bytes());
    assert_eq!(with(separated_by("||"), "a|b||1\n\"c\"||2||x\r\n"), ["'a|b'|1", "'\"c\"'|2"], "quotes are text");
    assert_eq!(with(separated_by("§"), "a§1"), ["'a'|1"]);
    let rows = |text| CsvOptions { row_delimiter: RowEnd::of(text).unwrap(), ..CsvOptions::default() };
    assert_eq!(with(rows(";"), "a,1;\"b;\n\",2;\n"), ["'a'|1", "'b;\n'|2"], "a line break behind the last row is none");
    assert_eq!(with(rows("\r"), "a,1\rb,2\r"), ["'a'|1", "'b'|2"]);
    let both = CsvOptions { delimiter: "=>".to_owned(), row_delimiter: RowEnd::byte(b'|'), header: false };
    assert_eq!(with(both, "a=>1|\"b=>2"), ["'a'|1", "'\"b'|2"]);
    // Ends of several characters; a part of one ends nothing, and quotes are text.
    assert_eq!(with(rows(";;"), "a;x,1;;\"b,2;;\nc,3"), ["'a;x'|1", "'\"b'|2", "'\nc'|3"]);
    assert_eq!(with(rows("|\n"), "a\n,1|\nb|,2|\n"), ["'a\n'|1", "'b|'|2"]);
    assert_eq!(with(rows("§"), "a,1§b,2"), ["'a'|1", "'b'|2"]);
    let both = CsvOptions { delimiter: "=>".to_owned(), row_delimiter: RowEnd::of("=>|").unwrap(), header: false };
    assert_eq!(with(both, "a=>1=>|b=>2=>|"), ["'a'|1", "'b'|2"]);
    assert_eq!((RowEnd::of(""), RowEnd::of(&"x".repeat(17)), RowEnd::of("\r\n")), (None, None, Some(RowEnd::LINE_BREAK)));
}

/// kda-sql-reference.md §6.8: one column and a delimiter that does not occur.
#[test]
fn whole_lines() {
    for delimiter in ["DELIM", ""] {
        let mut decoder = CsvDecoder::try_new(columns(&[SqlType::Varchar(30)]), separated_by(delimiter)).unwrap();
        assert_eq!(decoded(&mut decoder, b"\"GET\" /,x 200\n5\" pipe\n"), ["'\"GET\" /,x 200'", "'5\" pipe'"], "{delimiter}");
    }
}

fn encoded(batch: &RecordBatch, options: CsvOptions) -> String {
    let mut out = Vec::new();
    let mut encoder = CsvEncoder::try_new(&batch.schema(), options).unwrap();
    encoder.encode(&batch.slice(0, 0), &mut out).unwrap();
    encoder.encode(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn writes_records() {
    use SqlType::*;
    let types = [Integer, Varchar(20), Timestamp, Boolean, Decimal(4, 2), Varbinary(5), Double];
    let batch = decoder(&types)
        .decode(b"1,x,2024-01-01 00:00:00,true,1.5,X'3F67',0.5\n,,,,,,\n2,\"a,\"\"b\"\"\nc\"", &mut Vec::new())
        .unwrap();
    let body = "1,x,2024-01-01 00:00:00.000,true,1.50,P2c=,0.5\n,,,,,,\n2,\"a,\"\"b\"\"\nc\",,,,,\n";
    assert_eq!(encoded(&batch, CsvOptions::default()), body);
    assert_eq!(encoded(&batch, CsvOptions { header: true, ..CsvOptions::default() }), format!("A,B,C,D,E,F,G\n{body}"));
    let body = body.replace("a,", "a\u{1}").replace(',', "\t").replace('\u{1}', ",");
    assert_eq!(encoded(&batch, separated_by("\t")), body);
}

#[test]
fn writes_no_empty_lines_and_no_infinities() {
    let field = SqlType::Varchar(5).field("a,\"b", true);
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("x"), Some("\r")]));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![values]).unwrap();
    assert_eq!(encoded(&batch, CsvOptions { header: true, ..CsvOptions::default() }), "\"a,\"\"b\"\n\"\"\n\"\"\nx\n\"\r\"\n");
    let field = SqlType::Double.field("A", true);
    let values: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::NEG_INFINITY, 1.0]));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![values]).unwrap();
    assert_eq!(encoded(&batch, CsvOptions::default()), "\"\"\n\"\"\n1.0\n");
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        values in proptest::collection::vec((any::<Option<i64>>(), "[a-c,;\"\n\r ä]{0,6}", "[^\0]{0,6}"), 0..20),
        delimiter in prop_oneof![Just(","), Just(";"), Just("a")],
    ) {
        use SqlType::*;
        let options = separated_by(delimiter);
        let json: String = values.iter().map(|(a, b, c)| serde_json::json!({"A": a, "B": b, "C": c}).to_string()).collect();
        let types = [BigInt, Varchar(65_535), Varchar(65_535)];
        let first = crate::format::json::JsonDecoder::try_new(columns(&types)).unwrap().decode(json.as_bytes(), &mut Vec::new()).unwrap();
        let text = encoded(&first, options.clone());
        let mut rejected = Vec::new();
        let second = CsvDecoder::try_new(columns(&types), options).unwrap().decode(text.as_bytes(), &mut rejected).unwrap();
        prop_assert_eq!(&rejected, &[]);
        prop_assert_eq!(first, second);
    }

    #[test]
    fn any_split_between_records_gives_the_same_rows(
        records in proptest::collection::vec("([0-9]{0,3}|\"[0-9\"\"]{0,3}\"),([a-c ä]{0,4}|\"([a-c,]|\"\"|\n){0,4}\")?(,x)?", 0..12),
        cuts in proptest::collection::vec(any::<bool>(), 12),
    ) {
        // Records with a quote too many may reach into the next one: they are left out.
        let whole = |record: &&String| next_record(format!("{record}\n").as_bytes(), 0, Layout::of(&CsvOptions::default()))
            .is_some_and(|raw| raw.problem.is_none() && raw.next == record.len() + 1);
        let records: Vec<&String> = records.iter().filter(whole).collect();
        let all: String = records.iter().map(|record| format!("{record}\n")).collect();
        let mut rejected = Vec::new();
        let types = [SqlType::Integer, SqlType::Varchar(3)];
        let expected = rows(&decoder(&types).decode(all.as_bytes(), &mut rejected).unwrap());

        let mut decoder = decoder(&types);
        let (mut shown, mut refused, mut piece) = (Vec::new(), Vec::new(), String::new());
        for (index, record) in records.iter().enumerate() {
            piece += &format!("{record}\n");
            if cuts[index] || index + 1 == records.len() {
                shown.extend(rows(&decoder.decode(piece.as_bytes(), &mut refused).unwrap()));
                piece.clear();
            }
        }
        prop_assert_eq!(shown, expected);
        prop_assert_eq!(refused.len(), rejected.len());
    }
}
