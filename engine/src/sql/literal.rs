//! Interval, date and time literals, and type names.
//!
//! Intervals (kda-sql-reference.md §1.5) become a number of months or of milliseconds: `'1 02:03' DAY TO MINUTE` is
//! 93,780,000 ms. A value of more digits than its precision is what it says, with a warning: `'120' MINUTE` is two hours
//! (§8.1). Of several fields it is refused, as a misplaced blank or colon makes such values.
//! Types (§1.6) become a [`SqlType`], whatever synonym they are written with.

use chrono::{NaiveDate, NaiveTime};

use super::cursor::{Cursor, Parsed};
use super::keywords::{TYPES, UNITS};
use super::token::{Token, TokenKind};
use crate::diagnostic::{Diagnostic, Span, closest};
use crate::types::{CHARACTER_LENGTH_MAX, SqlType};

/// The value of an interval literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// A year-month interval.
    Months(i64),
    /// A day-time interval.
    Milliseconds(i64),
}

impl Interval {
    /// Reads an interval literal of a parsed query; None for any other expression.
    pub fn of_expr(expr: &sqlparser::ast::Expr) -> Option<Interval> {
        use sqlparser::ast::{Expr, Value};
        let Expr::Interval(interval) = expr else { return None };
        let Expr::Value(value) = interval.value.as_ref() else { return None };
        let Value::SingleQuotedString(text) = &value.value else { return None };
        let number = |text: &str| text.parse::<i64>().ok();
        match text.split(' ').collect::<Vec<_>>()[..] {
            [months, "months"] => number(months).map(Interval::Months),
            [milliseconds, "milliseconds"] => number(milliseconds).map(Interval::Milliseconds),
            [days, "days", milliseconds, "milliseconds"] => {
                Some(Interval::Milliseconds(number(days)?.checked_mul(UNIT_SIZES[DAY])?.checked_add(number(milliseconds)?)?))
            }
            _ => None,
        }
    }

    /// One unit of this name.
    pub(crate) fn of_unit(unit: &str) -> Option<Interval> {
        let place = UNITS.iter().position(|name| *name == unit)?;
        Some(if place <= MONTH { Interval::Months(UNIT_SIZES[place]) } else { Interval::Milliseconds(UNIT_SIZES[place]) })
    }

    /// The interval as an expression of a parsed query.
    pub(crate) fn to_expr(self) -> sqlparser::ast::Expr {
        use sqlparser::ast::{Expr, Value};
        let text = Value::SingleQuotedString(self.to_planner_text());
        Expr::Interval(sqlparser::ast::Interval {
            value: Box::new(Expr::Value(text.into())),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        })
    }

    /// The form that DataFusion's planner reads; [`Interval::of_expr`] is its inverse.
    pub(crate) fn to_planner_text(self) -> String {
        match self {
            Interval::Months(months) => format!("{months} months"),
            Interval::Milliseconds(milliseconds) if milliseconds.abs() > NANOSECONDS_MAX / 1_000_000 => {
                format!("{} days {} milliseconds", milliseconds / UNIT_SIZES[DAY], milliseconds % UNIT_SIZES[DAY])
            }
            Interval::Milliseconds(milliseconds) => format!("{milliseconds} milliseconds"),
        }
    }
}

/// Milliseconds per DAY, HOUR, MINUTE, SECOND; months per YEAR, MONTH.
const UNIT_SIZES: [i64; 6] = [12, 1, 86_400_000, 3_600_000, 60_000, 1_000];
/// Values of a field that is not the leading one are below this.
const UNIT_LIMITS: [i64; 6] = [0, 12, 0, 24, 60, 60];
const YEAR: usize = 0;
const MONTH: usize = 1;
const DAY: usize = 2;
const SECOND: usize = 5;

/// DataFusion's intervals count nanoseconds in 64 bits, which are 106,751 days. What is longer has its days apart.
const NANOSECONDS_MAX: i64 = i64::MAX;
/// Longest day-time interval that DataFusion can hold: its intervals count days in 32 bits.
const MILLISECONDS_MAX: i64 = i32::MAX as i64 * UNIT_SIZES[DAY];
/// Longest year-month interval, for the same reason.
const MONTHS_MAX: i64 = i32::MAX as i64;
/// Leading precision unless one is written (§1.5).
const LEADING_PRECISION: u32 = 2;
/// Largest leading precision (§1.5).
const LEADING_PRECISION_MAX: u32 = 10;
/// Largest fraction precision; values are milliseconds whatever it is.
const FRACTION_PRECISION_MAX: u32 = 9;

/// An interval literal as it is written.
#[derive(Debug)]
pub(crate) struct IntervalLiteral {
    pub value: Interval,
    /// Its fields, without precisions: `DAY TO SECOND`.
    pub qualifier: String,
    pub span: Span,
    /// The value has more digits than the precision allows.
    pub warning: Option<Diagnostic>,
}

/// The fields of an interval, as indices of [`UNITS`], and the digits of the first one.
#[derive(Debug, Clone, Copy)]
struct Qualifier {
    leading: usize,
    trailing: usize,
    precision: u32,
}

impl Qualifier {
    fn text(self) -> String {
        match self.leading == self.trailing {
            true => UNITS[self.leading].to_owned(),
            false => format!("{} TO {}", UNITS[self.leading], UNITS[self.trailing]),
        }
    }

    /// What is wrong with a first field of more digits; the problem lacks its place.
    fn check_precision(self, text: &str) -> Parsed<Option<Diagnostic>> {
        let digits = text.trim_start_matches(['+', '-']).trim_start_matches('0');
        let digits = &digits[..digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
        if digits.len() <= self.precision as usize {
            return Ok(None);
        }
        let unit = UNITS[self.leading];
        let message = format!("interval field value {digits} exceeds the precision of {unit}({})", self.precision);
        let hint = format!("Write {unit}({}).", digits.len());
        match self.leading == self.trailing {
            true => Ok(Some(Diagnostic::warning(message).hint(hint))),
            false => Err(Box::new(Diagnostic::error(message).hint(hint))),
        }
    }
}

/// The fields of a qualifier that comes next, without precisions.
pub(crate) fn qualifier_text(cursor: &mut Cursor<'_>) -> Parsed<String> {
    Ok(qualifier(cursor)?.text())
}

/// `INTERVAL [+|-] 'value' qualifier`; the cursor stands on INTERVAL.
pub(crate) fn interval(cursor: &mut Cursor<'_>) -> Parsed<IntervalLiteral> {
    let start = cursor.next;
    cursor.expect_word("INTERVAL")?;
    let negative = !cursor.accept_symbol("+") && cursor.accept_symbol("-");
    let Some((text, value_span)) = cursor.accept_text() else {
        let problem = cursor.unexpected("a value in single quotes");
        return Err(Box::new(problem.hint("An interval is written INTERVAL '5' MINUTE.")));
    };
    let qualifier = qualifier(cursor)?;
    let Qualifier { leading, trailing, .. } = qualifier;
    let at_value = |problem: Box<Diagnostic>| Box::new(problem.at(value_span));
    let value = interval_value(text.trim(), leading, trailing).map_err(at_value)?;
    let warning = qualifier.check_precision(text.trim()).map_err(at_value)?.map(|warning| warning.at(value_span));
    let value = if negative { -value } else { value };
    let value = if leading <= MONTH { Interval::Months(value) } else { Interval::Milliseconds(value) };
    Ok(IntervalLiteral { value, qualifier: qualifier.text(), span: cursor.span_from(start), warning })
}

/// `DAY [(p)] [TO SECOND [(s)]]` and its like.
fn qualifier(cursor: &mut Cursor<'_>) -> Parsed<Qualifier> {
    let unit = |cursor: &mut Cursor<'_>| -> Parsed<usize> {
        let index = cursor.peek_word().and_then(|word| UNITS.iter().position(|unit| *unit == word));
        let index = index.ok_or_else(|| unknown_unit(cursor))?;
        cursor.next += 1;
        Ok(index)
    };
    let precision = |cursor: &mut Cursor<'_>, field: usize, max: u32| {
        let span = cursor.span();
        match cursor.accept_integer() {
            Some(value) if value <= max => Ok(value),
            _ => Err(Box::new(
                Diagnostic::error(format!("wrong precision of {}", UNITS[field]))
                    .at(span)
                    .label(format!("expected a whole number up to {max}")),
            )),
        }
    };
    let leading = unit(cursor)?;
    let mut digits = LEADING_PRECISION;
    if cursor.accept_symbol("(") {
        digits = precision(cursor, leading, LEADING_PRECISION_MAX)?;
        if leading == SECOND && cursor.accept_symbol(",") {
            precision(cursor, leading, FRACTION_PRECISION_MAX)?;
        }
        cursor.expect_symbol(")")?;
    }
    if !cursor.accept_word("TO") {
        return Ok(Qualifier { leading, trailing: leading, precision: digits });
    }
    let span = cursor.span();
    let trailing = unit(cursor)?;
    if trailing <= leading || (leading <= MONTH) != (trailing <= MONTH) {
        return Err(Box::new(
            Diagnostic::error(format!("no interval goes from {} to {}", UNITS[leading], UNITS[trailing])).at(span).label(
                match leading {
                    YEAR => "expected MONTH".to_owned(),
                    MONTH | SECOND => format!("{} stands alone", UNITS[leading]),
                    _ => format!("expected {}", one_of(&UNITS[leading + 1..])),
                },
            ),
        ));
    }
    if cursor.at_symbol("(") {
        if trailing != SECOND {
            let problem = Diagnostic::error(format!("{} has no precision here", UNITS[trailing])).at(cursor.span());
            return Err(Box::new(problem.label("only the first field and the fraction of SECOND have one")));
        }
        cursor.next += 1;
        precision(cursor, trailing, FRACTION_PRECISION_MAX)?;
        cursor.expect_symbol(")")?;
    }
    Ok(Qualifier { leading, trailing, precision: digits })
}

/// The next word is no unit of time.
pub(crate) fn unknown_unit(cursor: &Cursor<'_>) -> Box<Diagnostic> {
    let problem = cursor.unexpected(&one_of(UNITS));
    Box::new(match cursor.peek_word() {
        Some(word) => problem.did_you_mean(word, UNITS.iter().copied()),
        None => *problem,
    })
}

/// `A, B or C`.
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// Months or milliseconds of `text`; the problem lacks its place.
fn interval_value(text: &str, leading: usize, trailing: usize) -> Parsed<i64> {
    let mismatch = || {
        let qualifier =
            if leading == trailing { UNITS[leading].to_owned() } else { format!("{} TO {}", UNITS[leading], UNITS[trailing]) };
        let problem = Diagnostic::error(format!("interval value '{text}' does not match {qualifier}"));
        Box::new(problem.label(format!("expected '{}'", shape(leading, trailing))))
    };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let max = if leading <= MONTH { MONTHS_MAX } else { MILLISECONDS_MAX };
    let too_long = || {
        Box::new(Diagnostic::error("interval is too long").label(if leading <= MONTH {
            format!("at most {MONTHS_MAX} months")
        } else {
            format!("at most {} days", MILLISECONDS_MAX / UNIT_SIZES[DAY])
        }))
    };
    let mut total: i64 = 0;
    for field in leading..=trailing {
        if field > leading {
            rest = rest.strip_prefix(separator(field)).ok_or_else(mismatch)?;
            if separator(field) == ' ' {
                rest = rest.trim_start();
            }
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 || (field > leading && digits > 2) {
            return Err(mismatch());
        }
        let value: i64 = rest[..digits].parse().map_err(|_| too_long())?;
        if field > leading && value >= UNIT_LIMITS[field] {
            let problem = Diagnostic::error(format!("{} of an interval cannot be {value}", UNITS[field]));
            return Err(Box::new(problem.label(format!("expected 0 to {}", UNIT_LIMITS[field] - 1))));
        }
        rest = &rest[digits..];
        total = value.checked_mul(UNIT_SIZES[field]).and_then(|size| total.checked_add(size)).ok_or_else(too_long)?;
    }
    if trailing == SECOND
        && let Some(fraction) = rest.strip_prefix('.')
    {
        if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(mismatch());
        }
        if fraction.len() > 3 && fraction[3..].bytes().any(|digit| digit != b'0') {
            let problem = Diagnostic::error(format!("interval value '{text}' is finer than a millisecond"));
            return Err(Box::new(problem.label("expected at most three digits after the point")));
        }
        let milliseconds: i64 = format!("{fraction:0<3}")[..3].parse().map_err(|_| mismatch())?;
        total = total.checked_add(milliseconds).ok_or_else(too_long)?;
        rest = "";
    }
    if !rest.is_empty() {
        return Err(mismatch());
    }
    if total > max {
        return Err(too_long());
    }
    Ok(if negative { -total } else { total })
}

/// What stands before the value of `field`, unless it leads.
fn separator(field: usize) -> char {
    match field {
        MONTH => '-',
        3 => ' ',
        _ => ':',
    }
}

/// `days hours:minutes` and its like.
fn shape(leading: usize, trailing: usize) -> String {
    let mut shape = String::new();
    for (field, unit) in UNITS.iter().enumerate().take(trailing + 1).skip(leading) {
        if field > leading {
            shape.push(separator(field));
        }
        shape.push_str(&unit.to_lowercase());
        shape.push('s');
    }
    shape
}

/// Checks the text of `DATE '…'`, `TIME '…'` or `TIMESTAMP '…'` (§1.4); the problem lacks its place.
pub(crate) fn check_datetime(kind: &str, text: &str) -> Parsed<()> {
    let illegal = |expected: &str| {
        let problem = Diagnostic::error(format!("illegal {kind} literal '{text}'")).label(expected.to_owned());
        Box::new(problem.hint(match kind {
            "DATE" => "Write it as DATE '2024-01-31'.",
            "TIME" => "Write it as TIME '23:59:59'; up to three digits of a fraction may follow.",
            _ => "Write it as TIMESTAMP '2024-01-31 23:59:59'; up to three digits of a fraction may follow.",
        }))
    };
    // `chrono` is milder than the dialect about digits and blanks, so the shape is checked first.
    let pattern = match kind {
        "DATE" => "yyyy-MM-dd",
        "TIME" => "HH:mm:ss",
        _ => "yyyy-MM-dd HH:mm:ss",
    };
    let (seconds, fraction) = if kind == "DATE" { (text, None) } else { split_fraction(text) };
    let fits = seconds.len() == pattern.len()
        && seconds.bytes().zip(pattern.bytes()).all(|(c, p)| if p.is_ascii_alphabetic() { c.is_ascii_digit() } else { c == p })
        && fraction.is_none_or(|digits| (1..=3).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()));
    if !fits {
        return Err(illegal(&format!("not in format '{pattern}'")));
    }
    let (date, time) = match kind {
        "DATE" => (Some(seconds), None),
        "TIME" => (None, Some(seconds)),
        _ => (seconds.get(..10), seconds.get(11..)),
    };
    if date.is_some_and(|date| NaiveDate::parse_from_str(date, "%Y-%m-%d").is_err()) {
        return Err(illegal("there is no such day"));
    }
    // chrono takes 60 seconds for a leap second, which this engine's clock does not have.
    if time.is_some_and(|time| NaiveTime::parse_from_str(time, "%H:%M:%S").is_err() || time.ends_with(":60")) {
        return Err(illegal("there is no such time of day"));
    }
    Ok(())
}

fn split_fraction(text: &str) -> (&str, Option<&str>) {
    text.split_once('.').map_or((text, None), |(seconds, fraction)| (seconds, Some(fraction)))
}

/// A type name with its length or precision (§1.6).
pub(crate) fn sql_type(cursor: &mut Cursor<'_>) -> Parsed<SqlType> {
    let start = cursor.next;
    let Some(word) = cursor.peek_word() else {
        return Err(Box::new(cursor.unexpected("a type").hint(known_types())));
    };
    cursor.next += 1;
    let sql_type = match word {
        "TINYINT" => SqlType::TinyInt,
        "SMALLINT" => SqlType::SmallInt,
        "INTEGER" | "INT" => SqlType::Integer,
        "BIGINT" => SqlType::BigInt,
        "DECIMAL" | "DEC" | "NUMERIC" => return decimal(cursor, word),
        "REAL" => SqlType::Real,
        "FLOAT" => SqlType::Double,
        "DOUBLE" => {
            cursor.accept_word("PRECISION");
            SqlType::Double
        }
        "BOOLEAN" => SqlType::Boolean,
        "CHAR" | "CHARACTER" if cursor.accept_word("VARYING") => SqlType::Varchar(length(cursor, CHARACTER_LENGTH_MAX)?),
        "CHAR" | "CHARACTER" => SqlType::Char(length(cursor, 1)?),
        "VARCHAR" => SqlType::Varchar(length(cursor, CHARACTER_LENGTH_MAX)?),
        "BINARY" if cursor.accept_word("VARYING") => SqlType::Varbinary(length(cursor, CHARACTER_LENGTH_MAX)?),
        "BINARY" => SqlType::Binary(length(cursor, 1)?),
        "VARBINARY" => SqlType::Varbinary(length(cursor, CHARACTER_LENGTH_MAX)?),
        "DATE" => SqlType::Date,
        "TIME" | "TIMESTAMP" => {
            milliseconds_only(cursor, word)?;
            if word == "TIME" { SqlType::Time } else { SqlType::Timestamp }
        }
        _ => {
            cursor.next = start;
            return Err(unknown_type(cursor, word));
        }
    };
    if cursor.at_symbol("(") {
        let problem = Diagnostic::error(format!("type {word} has no length or precision")).at(cursor.span());
        return Err(Box::new(problem.label("unexpected")));
    }
    Ok(sql_type)
}

fn known_types() -> String {
    format!("Types are {}.", TYPES.join(", "))
}

fn unknown_type(cursor: &Cursor<'_>, word: &str) -> Box<Diagnostic> {
    let problem =
        Diagnostic::error(format!("unknown type {}", cursor.peek().map_or_else(String::new, |token| cursor.quote(token))))
            .at(cursor.span());
    Box::new(match word {
        "INTERVAL" => Diagnostic::error("type INTERVAL is not supported")
            .at(cursor.span())
            .hint("Keep a span of time as a number, for example of milliseconds in a BIGINT."),
        "STRING" | "TEXT" | "NVARCHAR" | "VARCHAR2" | "NCHAR" | "CLOB" => problem.hint("Texts are VARCHAR(n)."),
        "LONG" | "INT8" => problem.hint("64-bit numbers are BIGINT."),
        "BOOL" => problem.hint("Truth values are BOOLEAN."),
        "BYTEA" | "BYTES" | "BLOB" => problem.hint("Bytes are VARBINARY(n)."),
        "DATETIME" | "TIMESTAMPTZ" => problem.hint("Points in time are TIMESTAMP: milliseconds, always UTC."),
        _ => match closest(word, TYPES.iter().copied()) {
            Some(candidate) => problem.hint(format!("Did you mean \"{candidate}\"?")),
            None => problem.hint(known_types()),
        },
    })
}

/// `[(n)]` with n from 1 to the longest length.
fn length(cursor: &mut Cursor<'_>, default: u32) -> Parsed<u32> {
    if !cursor.accept_symbol("(") {
        return Ok(default);
    }
    let span = cursor.span();
    match cursor.accept_integer() {
        Some(length) if (1..=CHARACTER_LENGTH_MAX).contains(&length) => {
            cursor.expect_symbol(")")?;
            Ok(length)
        }
        _ => {
            let problem = Diagnostic::error("wrong length").at(span);
            Err(Box::new(problem.label(format!("expected a whole number from 1 to {CHARACTER_LENGTH_MAX}"))))
        }
    }
}

/// Precision and scale: `[(p [, s])]`, (18, 0) by default (§1.6), precision up to 38 (§8.2).
fn decimal(cursor: &mut Cursor<'_>, word: &str) -> Parsed<SqlType> {
    if !cursor.accept_symbol("(") {
        return Ok(SqlType::Decimal(18, 0));
    }
    let span = cursor.span();
    let precision = match cursor.accept_integer() {
        Some(precision @ 1..=38) => precision as u8,
        _ => {
            let problem = Diagnostic::error(format!("wrong precision of {word}")).at(span);
            return Err(Box::new(problem.label("expected a whole number from 1 to 38")));
        }
    };
    let mut scale = 0;
    if cursor.accept_symbol(",") {
        let span = cursor.span();
        scale = match cursor.accept_integer() {
            Some(scale) if scale <= u32::from(precision) => scale as i8,
            _ => {
                let problem = Diagnostic::error(format!("wrong scale of {word}")).at(span);
                return Err(Box::new(problem.label(format!("expected a whole number from 0 to the precision, {precision}"))));
            }
        };
    }
    cursor.expect_symbol(")")?;
    Ok(SqlType::Decimal(precision, scale))
}

/// TIME and TIMESTAMP count milliseconds: `(3)` says so, any other precision or a zone cannot be kept.
fn milliseconds_only(cursor: &mut Cursor<'_>, word: &str) -> Parsed<()> {
    if cursor.accept_symbol("(") {
        let span = cursor.span();
        if cursor.accept_integer() != Some(3) {
            let problem = Diagnostic::error(format!("wrong precision of {word}")).at(span).label("expected 3");
            return Err(Box::new(problem.hint(format!("{word} always counts milliseconds; write {word} alone."))));
        }
        cursor.expect_symbol(")")?;
    }
    if cursor.at_words(&["WITH", "TIME"]) || cursor.at_words(&["WITHOUT", "TIME"]) {
        let problem = Diagnostic::error(format!("{word} has no time zone")).at(cursor.span());
        return Err(Box::new(problem.hint("All times are UTC.")));
    }
    Ok(())
}

/// The tokens of a type's one canonical spelling, all at `span`: what sqlparser reads in a CAST.
pub(crate) fn canonical_type(sql_type: SqlType, at: &Token) -> Vec<Token> {
    super::token::lex(&sql_type.to_string()).into_iter().map(|token| Token { kind: token.kind, ..at.clone() }).collect()
}

/// The type that a CAST of a parsed query names; None for types that only other dialects have.
pub fn sql_type_of_ast(data_type: &sqlparser::ast::DataType) -> Option<SqlType> {
    let tokens = super::token::lex(&data_type.to_string());
    let text = data_type.to_string();
    if tokens.is_empty() || tokens.iter().any(|token| matches!(token.kind, TokenKind::Bad(_))) {
        return None;
    }
    let mut cursor = Cursor::new(&tokens, &text);
    let sql_type = sql_type(&mut cursor).ok()?;
    cursor.peek().is_none().then_some(sql_type)
}
