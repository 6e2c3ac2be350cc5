//! Gives a CAST that is the argument of an aggregate a name of its own: see `plan::named_cast`.

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::calls::{call, literal, take};

/// The function that carries the CAST and its type.
pub(crate) const NAMED_CAST: &str = "$cast";

/// Aggregates and analytic functions of KDA.
const AGGREGATES: [&str; 18] = [
    "any",
    "avg",
    "count",
    "every",
    "exp_avg",
    "first_value",
    "lag",
    "last_value",
    "max",
    "min",
    "nth_value",
    "std_dev",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
];

/// Rewrites `expr` if it is a call of an aggregate; names are in lower case already.
pub(super) fn rewrite(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let name = function.name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.as_str());
    let FunctionArguments::List(list) = &mut function.args else { return };
    if !name.is_some_and(|name| AGGREGATES.contains(&name)) {
        return;
    }
    for argument in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument
            && let Expr::Cast { data_type, .. } = argument
        {
            let data_type = literal(&data_type.to_string());
            *argument = call(NAMED_CAST, [take(argument), data_type]);
        }
    }
}
