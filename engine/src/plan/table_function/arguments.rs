//! The arguments of a table function behind its cursor: constants, the columns of PARTITION BY, options with a name.

use datafusion::common::ScalarValue;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, UnaryOperator, Value, ValueWithSpan,
};

use crate::diagnostic::{Diagnostic, Span};

/// A call of a table function as it is written, without the cursor.
pub(super) struct Written {
    /// Upper case.
    pub(super) name: String,
    /// Place of the name.
    pub(super) span: Span,
    pub(super) positional: Vec<ScalarValue>,
    /// Places of the positional arguments.
    pub(super) places: Vec<Span>,
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

impl Written {
    /// Reads `"$F"("$PARTITION"(k), 100, "$SEED"(7))`.
    pub(super) fn try_new(function: &Function) -> Result<Self, Diagnostic> {
        let ident = function.name.0.last().and_then(|part| part.as_ident());
        let Some(ident) = ident.filter(|ident| ident.value.starts_with('$')) else {
            return Err(Diagnostic::error("TABLESAMPLE is not supported").at(function.span()));
        };
        let mut written = Self {
            name: ident.value[1..].to_owned(),
            span: ident.span.into(),
            positional: Vec::new(),
            places: Vec::new(),
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
                    match expressions(call)?.as_slice() {
                        [value] => written.named.push((name, constant(value)?)),
                        _ => return Err(Diagnostic::error(format!("{} needs one value", name.value)).at(name.span)),
                    }
                }
                None if !written.named.is_empty() => {
                    let problem = Diagnostic::error("an argument without a name behind one with a name").at(argument.span());
                    return Err(problem.hint("Write the arguments without names first."));
                }
                None => {
                    let Constant::Scalar(value) = constant(argument)? else { return Err(not_constant(argument)) };
                    written.positional.push(value);
                    written.places.push(argument.span().into());
                }
            }
        }
        Ok(written)
    }

    /// A problem of the positional argument at `place`, or of the whole call if there is none.
    pub(super) fn problem(&self, place: Option<usize>, message: impl Into<String>) -> Diagnostic {
        let span = place.and_then(|place| self.places.get(place)).copied().unwrap_or(self.span);
        Diagnostic::error(message).at(span)
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

fn constant(argument: &Expr) -> Result<Constant, Diagnostic> {
    let scalar = match argument {
        Expr::Nested(inner) => return constant(inner),
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(text, _) => number(text),
            Value::SingleQuotedString(text) => Some(ScalarValue::from(text.as_str())),
            Value::Boolean(value) => Some(ScalarValue::from(*value)),
            Value::Null => Some(ScalarValue::Null),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match constant(expr)? {
            Constant::Scalar(value) => value.arithmetic_negate().ok(),
            Constant::Milliseconds(ms) => return Ok(Constant::Milliseconds(-ms)),
        },
        // `1e-3` is rewritten as a CAST of its text.
        Expr::Cast { expr, .. } => match constant(expr)? {
            Constant::Scalar(ScalarValue::Utf8(Some(text))) => text.parse().ok().map(|value| ScalarValue::Float64(Some(value))),
            _ => None,
        },
        Expr::Interval(interval) => {
            let text = match interval.value.as_ref() {
                Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.as_str(),
                _ => "",
            };
            let milliseconds = text.strip_suffix(" milliseconds").and_then(|text| text.parse().ok());
            return milliseconds.map(Constant::Milliseconds).ok_or_else(|| not_constant(argument));
        }
        _ => None,
    };
    scalar.map(Constant::Scalar).ok_or_else(|| not_constant(argument))
}

fn number(text: &str) -> Option<ScalarValue> {
    match text.parse::<i64>() {
        Ok(value) => Some(ScalarValue::from(value)),
        Err(_) => text.parse::<f64>().ok().map(ScalarValue::from),
    }
}
