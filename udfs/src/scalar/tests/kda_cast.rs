use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, StringArray,
    Time32MillisecondArray, TimestampMillisecondArray,
};
use arrow::compute::concat;
use arrow::util::display::array_value_to_string;

use crate::scalar::kda_cast::cast;
use crate::sql_type::SqlType;

/// The result as text, or the error.
fn show(column: ArrayRef, target: &SqlType) -> String {
    match cast(&column, *target) {
        Ok(result) => {
            assert_eq!(result.data_type(), &target.data_type());
            if result.is_null(0) { "NULL".to_owned() } else { array_value_to_string(&result, 0).expect("a value") }
        }
        Err(error) => error.to_string().trim_start_matches("Cast error: ").to_owned(),
    }
}

fn text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

fn double(value: f64) -> ArrayRef {
    Arc::new(Float64Array::from(vec![value]))
}

fn timestamp(ms: i64) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(vec![ms]))
}

#[test]
fn casts_follow_the_table_of_the_reference() {
    use SqlType::*;
    let whole = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let decimal =
        |units: i128| Arc::new(Decimal128Array::from(vec![units]).with_precision_and_scale(10, 2).expect("fits")) as ArrayRef;
    let boolean = |value: bool| Arc::new(BooleanArray::from(vec![value])) as ArrayRef;
    let date = |days: i32| Arc::new(Date32Array::from(vec![days])) as ArrayRef;
    let time = |ms: i32| Arc::new(Time32MillisecondArray::from(vec![ms])) as ArrayRef;
    let bytes = |value: &[u8]| Arc::new(BinaryArray::from(vec![value])) as ArrayRef;
    for (column, target, expected) in [
        (double(-1.6), Integer, "-2"),
        (double(2.5), Integer, "3"),
        (double(-2.5), BigInt, "-3"),
        (double(127.4), TinyInt, "127"),
        (double(127.5), TinyInt, "128 is out of the range of TINYINT"),
        (double(1e300), BigInt, "1000000000000000000000"),
        (double(f64::NAN), BigInt, "NaN is out of the range of BIGINT"),
        (decimal(-160), Integer, "-2"),
        (decimal(249), Integer, "2"),
        (decimal(250), SmallInt, "3"),
        (whole(40_000), SmallInt, "40000 is out of the range of SMALLINT"),
        (whole(7), Decimal(5, 2), "7.00"),
        (double(0.125), Decimal(5, 2), "0.13"),
        (double(1e200), Decimal(5, 2), "1e200 is out of the range of DECIMAL(5, 2)"),
        (double(f64::NAN), Decimal(5, 2), "NaN is out of the range of DECIMAL(5, 2)"),
        (decimal(100_000), Decimal(5, 2), "1000.00 is out of the range of DECIMAL(5, 2)"),
        (whole(-1_000), Decimal(5, 2), "-1000 is out of the range of DECIMAL(5, 2)"),
        (text("1000"), Decimal(5, 2), "'1000' is no DECIMAL(5, 2)"),
        (double(1e300), Real, "1000000000000000000000"),
        (double(1.5), Real, "1.5"),
        (whole(7), Varchar(5), "7"),
        (whole(123_456), Varchar(5), "6 characters do not fit VARCHAR(5)"),
        (double(1.0), Varchar(5), "1"),
        (double(0.1), Varchar(5), "0.1"),
        (double(1e21), Varchar(30), "1000000000000000000000"),
        (decimal(250), Varchar(5), "2.50"),
        (boolean(true), Varchar(5), "TRUE"),
        (boolean(false), Char(6), "FALSE "),
        (text(" true "), Boolean, "true"),
        (text("yes"), Boolean, "'yes' is no BOOLEAN 'TRUE' or 'FALSE'"),
        (text(" 42 "), Integer, "42"),
        (text("-1.6"), Integer, "-2"),
        (text("4x"), Integer, "'4x' is no INTEGER"),
        (text(""), Integer, "'' is no INTEGER"),
        (text("9223372036854775807"), BigInt, "9223372036854775807"),
        (text(" 1e3 "), Double, "1000.0"),
        (text("abc"), Double, "'abc' is no DOUBLE"),
        (text("1.255"), Decimal(5, 2), "1.26"),
        (text("1.2.3"), Decimal(5, 2), "'1.2.3' is no DECIMAL(5, 2)"),
        (text("2007-02-19"), Date, "2007-02-19"),
        (text("2007-2-19"), Date, "'2007-2-19' is no DATE 'yyyy-MM-dd'"),
        (text("2007-02-30"), Date, "'2007-02-30' is no DATE 'yyyy-MM-dd'"),
        (text(" 21:23:34.11"), Time, "21:23:34.110"),
        (text("21:23"), Time, "'21:23' is no TIME 'HH:mm:ss'"),
        (text("2007-02-19 21:23:45"), Timestamp, "2007-02-19T21:23:45"),
        (text("2007-02-19 21:23:45.0"), Timestamp, "2007-02-19T21:23:45"),
        (text("2007-02-19 21:23:45.123456789"), Timestamp, "2007-02-19T21:23:45.123"),
        (text("2007-02-19T21:23:45"), Timestamp, "'2007-02-19T21:23:45' is no TIMESTAMP 'yyyy-MM-dd HH:mm:ss'"),
        (text("2007-02-19 24:00:00"), Timestamp, "'2007-02-19 24:00:00' is no TIMESTAMP 'yyyy-MM-dd HH:mm:ss'"),
        (timestamp(1_171_920_225_000), Varchar(19), "2007-02-19 21:23:45"),
        (timestamp(1_171_920_225_250), Varchar(30), "2007-02-19 21:23:45.25"),
        (timestamp(-1), Varchar(30), "1969-12-31 23:59:59.999"),
        (timestamp(1_171_920_225_000), Varchar(18), "19 characters do not fit VARCHAR(18)"),
        (timestamp(1_171_920_225_250), Date, "2007-02-19"),
        (timestamp(-1), Date, "1969-12-31"),
        (timestamp(1_171_920_225_250), Time, "21:23:45.250"),
        (date(13_563), Timestamp, "2007-02-19T00:00:00"),
        (date(13_563), Varchar(10), "2007-02-19"),
        (date(13_563), Varchar(9), "10 characters do not fit VARCHAR(9)"),
        (time(77_025_250), Varchar(20), "21:23:45.25"),
        (time(77_025_250), Timestamp, "1970-01-01T21:23:45.250"),
        (text("äöü"), Varchar(3), "äöü"),
        (text("äöü"), Varchar(2), "3 characters do not fit VARCHAR(2)"),
        (text("äö"), Char(4), "äö  "),
        (bytes(&[1, 2]), Binary(3), "010200"),
        (bytes(&[1, 2]), Varbinary(1), "2 bytes do not fit VARBINARY(1)"),
    ] {
        let from = array_value_to_string(&column, 0).expect("a value");
        let shown = show(column, &target);
        assert!(shown.starts_with(expected), "{from} AS {target}: {shown}, not {expected}");
    }
}

#[test]
fn null_stays_null_beside_other_values() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![None, Some("1")]));
    for target in [SqlType::Integer, SqlType::Double, SqlType::Decimal(5, 2), SqlType::Char(2), SqlType::Varchar(1)] {
        let result = cast(&column, target).expect("no error");
        assert!(result.is_null(0) && result.is_valid(1), "{target}");
    }
    let none: ArrayRef = arrow::array::new_null_array(&arrow::datatypes::DataType::Null, 2);
    for target in [SqlType::Integer, SqlType::Real, SqlType::Boolean, SqlType::Date, SqlType::Timestamp, SqlType::Varchar(1)] {
        assert_eq!(cast(&none, target).expect("no error").null_count(), 2, "{target}");
    }
}

#[test]
fn text_and_time_come_back_as_they_were() {
    let times: Vec<i64> = (-40..40).map(|i| i * 86_399_999 * 371).collect();
    let columns: Vec<ArrayRef> = times.iter().map(|ms| timestamp(*ms)).collect();
    let column = concat(&columns.iter().map(|column| column.as_ref()).collect::<Vec<_>>()).expect("one type");
    let texts = cast(&column, SqlType::Varchar(23)).expect("fits");
    let back = cast(&texts, SqlType::Timestamp).expect("parses");
    assert_eq!(back.as_ref(), column.as_ref());
}
