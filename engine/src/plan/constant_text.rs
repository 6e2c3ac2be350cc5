//! Constants in messages as the query writes them: `1e2` and `'100'` are not `100`.

use sqlparser::ast::{Expr, UnaryOperator, Value, ValueWithSpan};

/// `message` of a model's options, such as `numberOfTrees of RANDOM_CUT_FOREST is 100.0, it must be an integer, 1 to 1000`, with
/// the argument as it is written.
pub(super) fn as_written(message: &str, argument: &Expr) -> String {
    let parts = message.split_once(" is ").and_then(|(name, rest)| Some((name, rest.split_once(", it must")?.1)));
    match parts {
        Some((name, rest)) => format!("{name} is {}, it must{rest}", text_of(argument)),
        None => message.to_owned(),
    }
}

/// The text of a constant.
fn text_of(expr: &Expr) -> String {
    match expr {
        Expr::Nested(inner) => format!("({})", text_of(inner)),
        Expr::UnaryOp { op: op @ (UnaryOperator::Plus | UnaryOperator::Minus), expr } => format!("{op}{}", text_of(expr)),
        // `1e2` is rewritten as a CAST of its text.
        Expr::Cast { expr: inner, .. } => match number_text(inner) {
            Some(text) => text.to_owned(),
            None => expr.to_string(),
        },
        other => other.to_string(),
    }
}

fn number_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            Some(text.as_str()).filter(|text| text.contains(['e', 'E']))
        }
        _ => None,
    }
}
