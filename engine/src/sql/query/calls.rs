//! Forms of their own become calls of the functions that follow KDA's rules.
//!
//! | Written | Call |
//! | --- | --- |
//! | `EXTRACT(unit FROM x)` | `kda_extract('UNIT', x)` |
//! | `SUBSTRING(s FROM p FOR n)`, `SUBSTRING(s FROM 'regex')` | `substring_from(s, p, n)` |
//! | `SUBSTRING(s, p, n)` | `kda_substring(s, p, n)` |
//! | `OVERLAY(s PLACING r FROM p FOR n)` | `overlay(s, r, p, n)` |
//! | `s SIMILAR TO p ESCAPE e` | `similar_to(s, p, e)` |
//! | `s LIKE p ESCAPE e` | `is_like(s, p, e)`; without ESCAPE, and for a pattern without `\\`, LIKE stays |
//! | `SYS_LOG_PARSE(s)` | `sys_log_parse(s, current_row_timestamp())`: a line does not say its year |
//! | `f(s).COLUMN1` | `f(s).'COLUMN1'`, as the planner wants the name of a field |

use sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, UnaryOperator, Value, ValueWithSpan,
};
use sqlparser::tokenizer::Span;

/// Replaces `expr` if it has such a form; its operands are done already.
pub(super) fn rewrite(expr: &mut Expr) {
    let replaced = match expr {
        Expr::Extract { field, expr, .. } => call("kda_extract", [literal(&field.to_string().to_uppercase()), take(expr)]),
        Expr::Substring { expr, substring_from, substring_for, special, .. } => {
            let name = if *special { "kda_substring" } else { "substring_from" };
            let rest = [substring_from, substring_for].into_iter().flatten().map(|operand| take(operand));
            call(name, [take(expr)].into_iter().chain(rest))
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.iter_mut().map(|operand| take(operand));
            call("overlay", [take(expr), take(overlay_what), take(overlay_from)].into_iter().chain(length))
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            let escape = escape_char.take().map(Expr::Value);
            not_if(*negated, call("similar_to", [take(expr), take(pattern)].into_iter().chain(escape)))
        }
        Expr::Like { negated, expr, pattern, escape_char, any: false } if escape_char.is_some() || !is_plain(pattern) => {
            let escape = escape_char.take().map(Expr::Value);
            not_if(*negated, call("is_like", [take(expr), take(pattern)].into_iter().chain(escape)))
        }
        Expr::Function(function) => return complete_sys_log_parse(function),
        Expr::CompoundFieldAccess { access_chain, .. } => return access_chain.iter_mut().for_each(name_field),
        _ => return,
    };
    *expr = replaced;
}

/// A pattern that means the same to KDA and to DataFusion, which always takes `\\` for an escape.
fn is_plain(pattern: &Expr) -> bool {
    matches!(pattern, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) if !text.contains('\\'))
}

fn name_field(access: &mut AccessExpr) {
    if let AccessExpr::Dot(field) = access
        && let Expr::Identifier(name) = field
    {
        *field = literal(&name.value);
    }
}

fn complete_sys_log_parse(function: &mut Function) {
    let is_sys_log = function.name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value == "sys_log_parse");
    if let FunctionArguments::List(arguments) = &mut function.args
        && is_sys_log
        && arguments.args.len() == 1
    {
        arguments.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(call("current_row_timestamp", []))));
    }
}

/// The expression, leaving NULL.
pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()))
}

/// `left op right`.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// A character literal.
pub(super) fn literal(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

fn not_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

/// A call of a function.
pub(super) fn call(name: &str, args: impl IntoIterator<Item = Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident { value: name.to_owned(), quote_style: None, span: Span::empty() }),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
