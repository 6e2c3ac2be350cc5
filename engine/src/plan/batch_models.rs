//! RANDOM_CUT_FOREST and HOTSPOTS as functions with OVER, over tables: where a problem of their arguments is.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, Visit, Visitor};

use super::constant_text::as_written;
use crate::diagnostic::{Diagnostic, Span};

/// Each function with its arguments behind the columns.
const MODELS: [(&str, &[&str]); 3] = [
    ("RANDOM_CUT_FOREST", &["numberOfTrees", "subSampleSize", "timeDecay", "shingleSize", "seed", "scoring"]),
    (
        "RANDOM_CUT_FOREST_WITH_EXPLANATION",
        &["numberOfTrees", "subSampleSize", "timeDecay", "shingleSize", "withDirectionality", "seed", "scoring"],
    ),
    ("HOTSPOTS", &["windowSize", "scanRadius", "minimumNumberOfPointsInAHotspot"]),
];

/// True for the name of such a function, in any case.
pub(super) fn is_model(name: &str) -> bool {
    MODELS.iter().any(|(model, _)| model.eq_ignore_ascii_case(name))
}

/// What to write instead of a call in a select list of a stream.
pub(super) fn over_streams(name: &str) -> String {
    format!("Over a stream write FROM TABLE({}(CURSOR(SELECT STREAM …), …)).", name.to_uppercase())
}

/// What to write instead of a call without OVER over a table.
pub(super) fn over_tables(name: &str) -> String {
    format!("Write {}(column, …) OVER (ORDER BY …).", name.to_lowercase())
}

/// Gives a problem of a call its place, an argument or the name, if the query calls the function that the problem names once.
pub(crate) fn place_at_model(problem: Diagnostic, query: &ast::Query) -> Diagnostic {
    let names = |model: &str| problem.message.split([' ', ';', ',']).any(|word| word == model);
    let Some((model, arguments)) = MODELS.iter().find(|(model, _)| names(model)) else { return problem };
    let mut calls = Calls { model, found: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut calls);
    let [call] = calls.found.as_slice() else { return problem };
    let argument = place_of(&problem.message, arguments).and_then(|place| expression(call, place));
    match argument {
        Some(argument) => {
            let message = as_written(&problem.message, argument);
            Diagnostic { message, ..problem }.at(argument.span())
        }
        None => problem.at(Span::from(call.name.span())),
    }
}

/// Which argument, from 0, a message is about.
fn place_of(message: &str, arguments: &[&str]) -> Option<usize> {
    let number = message.strip_prefix("argument ").and_then(|rest| rest.split_once(' ')?.0.parse::<usize>().ok());
    let named = message.split_once(" of ").and_then(|(name, _)| arguments.iter().position(|argument| *argument == name));
    let is_about_columns = message.contains("numeric columns") || message.contains("DECIMAL");
    let first = is_about_columns.then_some(0);
    number.and_then(|number| number.checked_sub(1)).or(named.map(|place| place + 1)).or(first)
}

fn expression(call: &Function, place: usize) -> Option<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.get(place)? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

struct Calls<'a> {
    model: &'a str,
    found: Vec<Function>,
}

impl Visitor for Calls<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(name) = function.name.0.last().and_then(|part| part.as_ident())
            && name.value.eq_ignore_ascii_case(self.model)
        {
            self.found.push(function.clone());
        }
        ControlFlow::Continue(())
    }
}
