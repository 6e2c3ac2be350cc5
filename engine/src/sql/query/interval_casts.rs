//! Intervals cast and taken apart: the functions for these need the fields that an interval is written with, which only the
//! query shows (kda-sql-reference.md §1.5, §1.8).
//!
//! Inside CAST and EXTRACT the rewriter marks interval literals with their qualifiers. Here, where CAST and EXTRACT are
//! expressions, the qualifiers of their operands are known:
//!
//! | Written | Call |
//! | --- | --- |
//! | `CAST(i AS VARCHAR(9))` | `CAST(interval_text(i, 'DAY TO HOUR', 9) AS VARCHAR(9))` |
//! | `CAST(i AS BIGINT)` and DECIMAL | `CAST(interval_number(i, 'MINUTE') AS BIGINT)` |
//! | `CAST(MAX(i) OVER w AS VARCHAR(9))` | the same: MAX, LAG and the like keep the fields of their argument |
//! | `CAST(x AS INTERVAL DAY TO HOUR)` | `to_interval(x, 'DAY TO HOUR')` |
//! | `EXTRACT(MINUTE FROM (a - b) MINUTE)` | `interval_number(…, 'MINUTE')`: the first field has no limit |
//! | `FLOOR((a - b) SECOND / 10 TO SECOND)` | `floor(…)`: a difference of one field is a number |
//! | `FLOOR((a - b) SECOND TO MINUTE)` | `floor(… / 60) * 60` |

use sqlparser::ast::{
    BinaryOperator, CharacterLength, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
    ValueWithSpan,
};

use super::calls::{binary, call, literal, take};
use super::rewriter::DIFFERENCE;
use crate::sql::Interval;

/// The function that carries an interval literal and its qualifier.
pub(super) const MARKED: &str = "$interval";

/// Rewrites `expr` before its operands are visited.
pub(super) fn rewrite(expr: &mut Expr) {
    match expr {
        Expr::Cast { expr: operand, data_type: DataType::Interval { fields: Some(fields), .. }, .. } => {
            *expr = call("to_interval", [taken_as_interval(operand), literal(&fields.to_string())]);
        }
        Expr::Cast { expr: operand, data_type, .. } => {
            let Some(qualifier) = qualifier_of(operand) else { return };
            match text_length(data_type) {
                Some(length) => {
                    let length = Expr::Value(Value::Number(length.to_string(), false).with_empty_span());
                    **operand = call("interval_text", [take(operand), literal(&qualifier), length]);
                }
                // A difference of one field is a number already.
                None if is_number(operand) => {}
                None if matches!(data_type, DataType::BigInt(_) | DataType::Decimal(_)) => {
                    **operand = call("interval_number", [take(operand), literal(&qualifier)]);
                }
                // The cast is refused when its type is known.
                None => {}
            }
        }
        Expr::Extract { field, expr: operand, .. } => {
            let Some(qualifier) = qualifier_of(operand) else { return };
            let unit = field.to_string().to_uppercase();
            if qualifier.split(' ').next() == Some(unit.as_str()) {
                *expr = call("interval_number", [take(operand), literal(&unit)]);
            } else if is_number(operand) {
                **operand = call("to_interval", [taken_as_interval(operand), literal(&qualifier)]);
            }
        }
        Expr::Function(function) => {
            if let Some(rounded) = rounded_number(function) {
                *expr = rounded;
            }
        }
        _ => {}
    }
}

/// The operand as an interval; leaves NULL.
fn taken_as_interval(operand: &mut Expr) -> Expr {
    let unit = qualifier_of(operand).filter(|_| is_number(operand)).and_then(|unit| Interval::of_unit(&unit));
    match unit {
        Some(unit) => binary(take(operand), BinaryOperator::Multiply, unit.to_expr()),
        None => take(operand),
    }
}

/// FLOOR or CEIL of a difference of one field to a unit, which is a number too; None for any other call.
fn rounded_number(function: &mut Function) -> Option<Expr> {
    let name = function.name.0.last()?.as_ident()?.value.to_lowercase();
    let name = match name.as_str() {
        "floor_to" => "floor",
        "ceil_to" => "ceil",
        _ => return None,
    };
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(operand)), FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))] =
        list.args.as_mut_slice()
    else {
        return None;
    };
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(unit), .. }) = unit else { return None };
    let own = qualifier_of(operand).filter(|_| is_number(operand))?;
    let (size, of_unit) = (Interval::of_unit(&own)?, Interval::of_unit(unit)?);
    let (own, to) = match (size, of_unit) {
        (Interval::Months(own), Interval::Months(to)) | (Interval::Milliseconds(own), Interval::Milliseconds(to)) => (own, to),
        // Refused when the types are known.
        _ => return None,
    };
    let number = |number: i64| Expr::Value(Value::Number(number.to_string(), false).with_empty_span());
    let nested = |expr: Expr| Expr::Nested(Box::new(expr));
    let operand = nested(take(operand));
    Some(match (to / own, own / to) {
        (1, 1) => call(name, [operand]),
        (units @ 2.., _) => {
            // Whole numbers are rounded by a division of decimals.
            let parts = binary(binary(operand, BinaryOperator::Multiply, decimal("1.0")), BinaryOperator::Divide, number(units));
            nested(binary(call(name, [parts]), BinaryOperator::Multiply, number(units)))
        }
        (_, parts) => {
            let units = binary(operand, BinaryOperator::Multiply, number(parts));
            nested(binary(call(name, [units]), BinaryOperator::Divide, number(parts)))
        }
    })
}

fn decimal(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).with_empty_span())
}

/// Takes the mark off a literal.
pub(super) fn unmark(expr: &mut Expr) {
    if let Some((MARKED, [value, _])) = called(expr) {
        *expr = value.clone();
    }
}

/// Name of a call, and its first and last arguments.
fn called(expr: &Expr) -> Option<(&str, [&Expr; 2])> {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr else { return None };
    let name = name.0.last()?.as_ident()?.value.as_str();
    let mut expressions = list.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let first = expressions.next()?;
    Some((name, [first, expressions.next_back().unwrap_or(first)]))
}

/// The fields of an expression that is an interval; None for any other.
fn qualifier_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => qualifier_of(inner),
        Expr::Cast { data_type: DataType::Interval { fields: Some(fields), .. }, .. } => Some(fields.to_string()),
        Expr::Function(_) => match called(expr)? {
            (name, [operand, _]) if keeps_fields(name) => qualifier_of(operand),
            (MARKED | DIFFERENCE, [_, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(qualifier), .. })]) => {
                Some(qualifier.clone())
            }
            _ => None,
        },
        Expr::BinaryOp { left, op, right } => match (op, qualifier_of(left), qualifier_of(right)) {
            (BinaryOperator::Plus | BinaryOperator::Minus, Some(one), Some(other)) => Some(widest(&one, &other)),
            (BinaryOperator::Multiply, Some(one), None) | (BinaryOperator::Multiply, None, Some(one)) => Some(one),
            (BinaryOperator::Divide, Some(one), None) => Some(one),
            _ => None,
        },
        _ => None,
    }
}

/// Functions whose result is an interval of the fields of their first argument.
fn keeps_fields(name: &str) -> bool {
    const KEEPING: [&str; 12] = [
        "abs",
        "ceil_to",
        "coalesce",
        "first_value",
        "floor_to",
        "lag",
        "last_value",
        "max",
        "min",
        "nth_value",
        "nth_value_from_last",
        "nullif",
    ];
    KEEPING.iter().any(|keeping| name.eq_ignore_ascii_case(keeping))
}

/// From the coarsest field of both to the finest.
fn widest(one: &str, other: &str) -> String {
    const UNITS: &[&str] = crate::sql::keywords::UNITS;
    let fields = |qualifier: &str| {
        let place = |name: &str| UNITS.iter().position(|unit| *unit == name).unwrap_or_default();
        let (first, last) = qualifier.split_once(" TO ").unwrap_or((qualifier, qualifier));
        (place(first), place(last))
    };
    let ((first, last), (other_first, other_last)) = (fields(one), fields(other));
    let (first, last) = (first.min(other_first), last.max(other_last));
    if first == last { UNITS[first].to_owned() } else { format!("{} TO {}", UNITS[first], UNITS[last]) }
}

/// True for an interval that is the number of its units: a difference of one field, or made from such only.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_number(inner),
        Expr::Function(_) => match called(expr) {
            Some((name, [operand, _])) if keeps_fields(name) => is_number(operand),
            Some((DIFFERENCE, _)) => qualifier_of(expr).is_some_and(|qualifier| !qualifier.contains(' ')),
            _ => false,
        },
        // Differences of two units are added as intervals.
        Expr::BinaryOp { left, op: BinaryOperator::Plus | BinaryOperator::Minus, right } if matches!((qualifier_of(left), qualifier_of(right)), (Some(one), Some(other)) if one != other) => {
            false
        }
        Expr::BinaryOp { left, right, .. } => [left, right].iter().all(|side| qualifier_of(side).is_none() || is_number(side)),
        _ => false,
    }
}

/// The length of a type of text.
fn text_length(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Varchar(length) | DataType::Char(length) | DataType::Character(length) | DataType::CharVarying(length) => {
            match length {
                Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
                _ => Some(u64::from(crate::types::CHARACTER_LENGTH_MAX)),
            }
        }
        _ => None,
    }
}
