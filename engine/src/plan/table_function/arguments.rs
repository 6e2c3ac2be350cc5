//! The arguments of a table function behind its cursor: constants, the columns of PARTITION BY, options with a name.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, UnaryOperator, Value, ValueWithSpan,
};

use crate::diagnostic::{Diagnostic, Span};
use crate::plan::constant_text::as_written;

/// A call of a table function as it is written, without the cursor.
pub(super) struct Written {
    /// Upper case.
    pub(super) name: String,
    /// Place of the name.
    pub(super) span: Span,
    pub(super) positional: Vec<ScalarValue>,
    /// Places of the positional arguments.
    pub(super) places: Vec<Span>,
    /// The positional arguments as they are written.
    exprs: Vec<Expr>,
    /// Columns of PARTITION BY.
    pub(super) partition: Vec<Ident>,
    /// `name => value`, names in upper case.
    pub(super) named: Vec<(Ident, Constant)>,
}

/// The value of an option.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    Scalar(ScalarValue),
    /// A day-time interval.
    Milliseconds(i64),
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(ScalarValue::Utf8(Some(text))) => write!(f, "'{text}'"),
            Self::Scalar(value) => write!(f, "{value}"),
            Self::Milliseconds(ms) => write!(f, "an interval of {ms} ms"),
        }
    }
}

impl Written {
    /// Reads `"$F"("$PARTITION"(k), 100, "$SEED"(7))`; `value_of` computes constants.
    pub(super) fn try_new(function: &Function, value_of: &dyn Fn(&Expr) -> Option<ScalarValue>) -> Result<Self, Diagnostic> {
        let ident = function.name.0.last().and_then(|part| part.as_ident());
        let Some(ident) = ident.filter(|ident| ident.value.starts_with('$')) else {
            return Err(Diagnostic::error("TABLESAMPLE is not supported").at(function.span()));
        };
        let mut written = Self {
            name: ident.value[1..].to_owned(),
            span: ident.span.into(),
            positional: Vec::new(),
            places: Vec::new(),
            exprs: Vec::new(),
            partition: Vec::new(),
            named: Vec::new(),
        };
        for argument in expressions(function)? {
            match special(argument) {
                Some(("PARTITION", call, _)) => {
                    for column in expressions(call)? {
                        match column {
                            Expr::Identifier(ident) => written.partition.push(ident.clone()),
                            Expr::CompoundIdentifier(parts) => written.partition.extend(parts.last().cloned()),
                            other => {
                                let problem = Diagnostic::error("PARTITION BY of a table function takes columns of the cursor");
                                return Err(problem.at(other.span()).hint("Compute the key in the cursor and give it a name."));
                            }
                        }
                    }
                }
                Some((_, call, name)) => {
                    let name = Ident { value: name.value[1..].to_owned(), ..name.clone() };
                    if written.named.iter().any(|(other, _)| other.value == name.value) {
                        let problem = format!("option {} is given twice", name.value.to_lowercase());
                        return Err(Diagnostic::error(problem).at(name.span));
                    }
                    match expressions(call)?.as_slice() {
                        [value] => written.named.push((name, constant(value, value_of)?)),
                        _ => return Err(Diagnostic::error(format!("{} needs one value", name.value)).at(name.span)),
                    }
                }
                None if !written.named.is_empty() => {
                    let problem = Diagnostic::error("an argument without a name behind one with a name").at(argument.span());
                    return Err(problem.hint("Write the arguments without names first."));
                }
                None => {
                    let Constant::Scalar(value) = constant(argument, value_of)? else { return Err(not_constant(argument)) };
                    written.positional.push(value);
                    written.places.push(argument.span().into());
                    written.exprs.push(argument.clone());
                }
            }
        }
        Ok(written)
    }

    /// A problem of the positional argument at `place`, or of the whole call if there is none. The message says `… is …, it must …`.
    pub(super) fn problem(&self, place: Option<usize>, message: impl Into<String>) -> Diagnostic {
        let span = place.and_then(|place| self.places.get(place)).copied().unwrap_or(self.span);
        let message = message.into();
        let argument = place.and_then(|place| self.exprs.get(place));
        Diagnostic::error(argument.map(|argument| as_written(&message, argument)).unwrap_or(message)).at(span)
    }
}

fn expressions(function: &Function) -> Result<Vec<&Expr>, Diagnostic> {
    let FunctionArguments::List(list) = &function.args else { return Ok(Vec::new()) };
    let of_argument = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Ok(expr),
        other => Err(Diagnostic::error("an argument of a table function is not a constant").at(other.span())),
    };
    list.args.iter().map(of_argument).collect()
}

/// `"$NAME"(…)`, which stands for PARTITION BY or a named option.
fn special(argument: &Expr) -> Option<(&str, &Function, &Ident)> {
    let Expr::Function(function) = argument else { return None };
    let ident = function.name.0.last()?.as_ident()?;
    Some((ident.value.strip_prefix('$')?, function, ident))
}

fn not_constant(argument: &Expr) -> Diagnostic {
    Diagnostic::error("an argument of a table function must be a constant")
        .at(argument.span())
        .hint("Write a number, a text in single quotes, TRUE or FALSE.")
}

fn constant(argument: &Expr, value_of: &dyn Fn(&Expr) -> Option<ScalarValue>) -> Result<Constant, Diagnostic> {
    let literal = match argument {
        Expr::Nested(inner) => return constant(inner, value_of),
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(text, _) => number(text),
            Value::SingleQuotedString(text) => Some(ScalarValue::from(text.as_str())),
            Value::Boolean(value) => Some(ScalarValue::from(*value)),
            Value::Null => Some(ScalarValue::Null),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => {
                number(text).and_then(|value| value.arithmetic_negate().ok())
            }
            _ => None,
        },
        _ => None,
    };
    // Anything else that reads no column is computed.
    match literal.or_else(|| value_of(argument)) {
        Some(value) => Ok(plain(value)),
        None => Err(not_constant(argument)),
    }
}

/// One type for all integers, for all texts and for all times between two instants.
fn plain(value: ScalarValue) -> Constant {
    let interval = match &value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000)
        }
        ScalarValue::DurationMillisecond(Some(ms)) => Some(*ms),
        _ => None,
    };
    if let Some(ms) = interval {
        return Constant::Milliseconds(ms);
    }
    let data_type = match &value {
        integer if integer.data_type().is_integer() => DataType::Int64,
        ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_) => DataType::Utf8,
        _ => return Constant::Scalar(value),
    };
    Constant::Scalar(value.cast_to(&data_type).unwrap_or(value))
}

fn number(text: &str) -> Option<ScalarValue> {
    match text.parse::<i64>() {
        Ok(value) => Some(ScalarValue::from(value)),
        Err(_) => text.parse::<f64>().ok().map(ScalarValue::from),
    }
}
