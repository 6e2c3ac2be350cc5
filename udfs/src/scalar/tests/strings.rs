use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ReturnFieldArgs;

use super::{call, check, check_error};
use crate::scalar::{change_case, initcap, overlay, substring, trim};
use crate::sql_type::{SqlType, sql_type_name};

#[tokio::test]
async fn lengths_and_places_are_datafusions() {
    check("char_length('äöü ')", "4").await;
    check("character_length('')", "0").await;
    check("arrow_typeof(char_length('a'))", "Int32").await;
    check("char_length(CAST(NULL AS VARCHAR))", "").await;
    check("POSITION('cd' IN 'abcd')", "3").await;
    check("POSITION('ü' IN 'äöü')", "3").await;
    check("POSITION('x' IN 'abcd')", "0").await;
    check("POSITION('' IN 'abcd')", "1").await;
    check("POSITION(CAST(NULL AS VARCHAR) IN 'abcd')", "").await;
    check("arrow_typeof(POSITION('b' IN 'abc'))", "Int32").await;
}

#[tokio::test]
async fn concatenation_of_null_is_null() {
    check("'a' || 'b ' || 'c'", "ab c").await;
    check("'a' || CAST(NULL AS VARCHAR)", "").await;
    check("CAST(NULL AS VARCHAR) || 'a' IS NULL", "true").await;
}

#[tokio::test]
async fn letters_change_one_by_one() {
    check("upper('Straße, Äpfel 1')", "STRAßE, ÄPFEL 1").await;
    check("lower('ÄPFEL İ Σ')", "äpfel i σ").await;
    check("upper('')", "").await;
    check("upper(NULL)", "").await;
    check_error("upper(5)", "the argument s of UPPER must be text, not BIGINT").await;
    check("initcap('o''NEIL-smith  çA VA')", "O'neil-smith  Ça Va").await;
    check("initcap(' éCOLE')", "École").await;
    check("initcap(CAST(NULL AS VARCHAR))", "").await;
}

#[test]
fn columns_of_any_kind_of_text_are_taken() {
    let texts = vec![Some("ab"), None, Some("Cd")];
    let columns: [ArrayRef; 5] = [
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(StringViewArray::from(texts.clone())),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(StringArray::from([vec![Some("ü")], texts.clone(), vec![Some("ü")]].concat()).slice(1, 3)),
        Arc::new(StringArray::from([vec![Some("xyz")], texts].concat()).slice(1, 3)),
    ];
    for column in columns {
        let upper = call(&change_case::upper_udf(), column.clone(), &[]).expect("text");
        assert_eq!(upper.as_ref(), &StringArray::from(vec![Some("AB"), None, Some("CD")]));
        let first = call(&initcap::udf(), column, &[]).expect("text");
        assert_eq!(first.as_ref(), &StringArray::from(vec![Some("Ab"), None, Some("Cd")]));
    }
}

#[test]
fn the_length_of_a_type_is_kept_or_added() {
    let char = SqlType::Char(7).field("s", true);
    let varchar = SqlType::Varchar(9).field("s", false);
    let number = Arc::new(Field::new("p", DataType::Int64, false));
    for (function, fields, expected) in [
        (change_case::lower_udf(), vec![char.clone()], "CHAR(7)"),
        (trim::both_udf(), vec![char.clone()], "VARCHAR(7)"),
        (substring::udf(), vec![varchar.clone(), number.clone()], "VARCHAR(9)"),
        (overlay::udf(), vec![varchar, char, number], "VARCHAR(16)"),
    ] {
        let scalar_arguments = vec![None; fields.len()];
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalar_arguments };
        let field = function.return_field_from_args(args).expect("a type");
        assert_eq!(sql_type_name(&field), expected, "{}", function.name());
    }
}

#[tokio::test]
async fn overlay_counts_from_one_and_before() {
    for (arguments, expected) in [
        ("'12345', 'foo', 0", "foo345"),
        ("'12345', 'foo', -2", "foo12345"),
        ("'12345', 'foo', -9", "foo12345"),
        ("'12345', 'foo', 17", "12345foo"),
        ("'12345', 'foo', 6", "12345foo"),
        ("'12345', 'foo', 2, 0", "1foo2345"),
        ("'12345', 'foo', 2, 9", "1foo"),
        ("'12345', 'foo', 2", "1foo5"),
        ("'äöüß', 'é', 2", "äéüß"),
        ("'12345', '', 2, 2", "145"),
        ("'12345', 'foo', 9223372036854775807, 9223372036854775807", "12345foo"),
        ("'12345', 'foo', CAST(-9223372036854775808 AS BIGINT)", "foo12345"),
        ("'12345', NULL, 2", ""),
        ("'12345', 'foo', 2, NULL", ""),
    ] {
        check(&format!(r#""overlay"({arguments})"#), expected).await;
    }
    check_error(r#""overlay"('12345', 'foo', 2, -1)"#, "OVERLAY cannot replace -1 characters").await;
}

#[tokio::test]
async fn trim_drops_one_character() {
    check("TRIM('  a b ')", "a b").await;
    check("'<' || TRIM(LEADING ' ' FROM '  a b ') || '>'", "<a b >").await;
    check("'<' || rtrim('  a b ') || '>'", "<  a b>").await;
    check("TRIM(BOTH 'x' FROM 'xxaxbx')", "axb").await;
    check("TRIM(LEADING 'ä' FROM 'ääaä')", "aä").await;
    check("TRIM(TRAILING 'x' FROM 'xxaxbx')", "xxaxb").await;
    check("trim('xxx', 'x')", "").await;
    check("TRIM(CAST(NULL AS VARCHAR))", "").await;
    check("TRIM(BOTH NULL FROM 'a')", "").await;
    check_error("TRIM(BOTH 'xy' FROM 'xxaxbx')", "TRIM drops exactly one character, not 'xy'").await;
    check_error("TRIM(BOTH '' FROM 'a')", "TRIM drops exactly one character, not ''").await;
    check_error("(SELECT btrim('a', c) FROM (VALUES ('ab')) AS t(c))", "TRIM drops exactly one character").await;
}

#[tokio::test]
async fn substring_by_place() {
    for (arguments, from, comma) in [
        ("'123456789', 3, 4", "3456", "3456"),
        ("'123456789', -1, 4", "12", "12"),
        ("'123456789', 8, 4", "89", "89"),
        ("'123456789', 9, 4", "9", "9"),
        ("'123456789', 17, 4", "", "NULL"),
        ("'123456789', 10, 4", "", "NULL"),
        ("'123456789', 6, 0", "", ""),
        ("'123456789', -9, 4", "", ""),
        ("'123456789', 7", "789", "789"),
        ("'123456789', 0", "123456789", "123456789"),
        ("'123456789', 10", "", "NULL"),
        ("'', 1", "", "NULL"),
        ("'', 0", "", ""),
        ("'äöüß', 2, 2", "öü", "öü"),
        ("'äöüß', 5, 2", "", "NULL"),
        ("'äöüß', 2, 9223372036854775807", "öüß", "öüß"),
        ("NULL, 1", "NULL", "NULL"),
        ("'abc', NULL", "NULL", "NULL"),
        ("'abc', 1, NULL", "NULL", "NULL"),
    ] {
        let shown = |name: &str| format!("coalesce({name}({arguments}), 'NULL')");
        check(&shown("substring_from"), from).await;
        check(&shown(r#""kda_substring""#), comma).await;
    }
    check_error("substring_from('abc', 1, -1)", "SUBSTRING cannot take -1 characters").await;
    check_error(r#"kda_substring('abc', 'b')"#, "the argument p of SUBSTRING must be a whole number").await;
}

#[test]
fn substring_of_binary_counts_bytes() {
    let column: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&[1_u8, 2, 255][..]), None, Some(&[][..])]));
    let constants = [ScalarValue::from(2_i64), ScalarValue::from(1_i64)];
    let from = call(&substring::from_udf(), column.clone(), &constants).expect("binary");
    assert_eq!(from.as_binary::<i32>(), &BinaryArray::from(vec![Some(&[2_u8][..]), None, Some(&[][..])]));
    let comma = call(&substring::udf(), column, &constants).expect("binary");
    assert_eq!(comma.as_binary::<i32>(), &BinaryArray::from(vec![Some(&[2_u8][..]), None, None]));
}

#[test]
fn sliced_columns_are_read_where_they_start() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some("xx"), Some("abc"), None]).slice(1, 2));
    let part = call(&substring::udf(), column, &[ScalarValue::from(2)]).expect("text");
    assert_eq!(part.as_ref(), &StringArray::from(vec![Some("bc"), None]));
    assert_eq!(part.null_count(), 1);
}
