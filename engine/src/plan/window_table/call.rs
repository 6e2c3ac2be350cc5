//! The calls of TUMBLE, HOP and SESSION in the tree of a query: each gets a name, `$windows0`, `$windows1`, …, and its
//! arguments are read and checked.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Spanned, TableFactor, TableSampleKind,
    VisitMut, VisitorMut,
};

use crate::diagnostic::{Diagnostic, Span};
use crate::operator::window_rows::Spans;
use crate::sql::{Interval, WINDOWS};

/// The calls of a query, by the names of their relations.
pub(in crate::plan) type WindowCalls = BTreeMap<String, Arc<WindowCall>>;

/// A call of TUMBLE, HOP or SESSION.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct WindowCall {
    pub(super) windows: Windows,
    /// Columns of PARTITION BY with their places.
    pub(super) partition: Vec<(String, Span)>,
    /// The column in DESCRIPTOR with its place.
    pub(super) time: (String, Span),
    /// Place of the name.
    pub(super) span: Span,
}

/// What windows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::plan) enum Windows {
    /// TUMBLE and HOP.
    Regular(Spans),
    /// SESSION, with its gap in milliseconds.
    Session(i64),
}

impl Windows {
    /// True if every row is in one window, and windows are in the order of time: those of TUMBLE.
    pub(in crate::plan) fn follow_each_other(self) -> bool {
        matches!(self, Windows::Regular(spans) if spans.slide == spans.size)
    }

    /// The function's name.
    pub(in crate::plan) fn name(self) -> &'static str {
        match self {
            _ if self.follow_each_other() => "TUMBLE",
            Windows::Regular(_) => "HOP",
            Windows::Session(_) => "SESSION",
        }
    }
}

/// Names the relations of windows in `query` and reads their calls; or says what is wrong with them.
pub(in crate::plan) fn prepare_windows(query: &mut Query) -> Result<WindowCalls, Vec<Diagnostic>> {
    let mut prepare = Prepare { calls: WindowCalls::new(), problems: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut prepare);
    if prepare.problems.is_empty() { Ok(prepare.calls) } else { Err(prepare.problems) }
}

struct Prepare {
    calls: WindowCalls,
    problems: Vec<Diagnostic>,
}

impl VisitorMut for Prepare {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { alias: Some(alias), sample, .. } | TableFactor::Table { alias: Some(alias), sample, .. } =
            factor
            && alias.name.value == WINDOWS
            && let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = sample.take()
            && let Some(Expr::Function(function)) = sample.quantity.map(|quantity| quantity.value)
        {
            match read(&function) {
                Ok(call) => {
                    alias.name = Ident::with_quote('"', format!("{WINDOWS}{}", self.calls.len()));
                    self.calls.insert(alias.name.value.clone(), Arc::new(call));
                }
                Err(problem) => self.problems.push(*problem),
            }
        }
        ControlFlow::Continue(())
    }
}

/// Reads `"$HOP"("$TIMECOL"(ROWTIME), "$SLIDE"(…), "$SIZE"(…))`, which the parser of queries has put together.
fn read(function: &Function) -> Result<WindowCall, Box<Diagnostic>> {
    let span = function.name.span().into();
    let name = name_of(function);
    let (mut partition, mut time, mut lengths) = (Vec::new(), None, BTreeMap::new());
    for argument in expressions(function) {
        let Expr::Function(call) = argument else { continue };
        let values = expressions(call);
        match (name_of(call), values.as_slice()) {
            ("PARTITION", columns) => {
                for column in columns {
                    partition.push(column_name(column).ok_or_else(|| {
                        let problem = Diagnostic::error("PARTITION BY of SESSION takes columns").at(column.span());
                        Box::new(problem.hint("Compute the key in a query in TABLE(…) and give it a name."))
                    })?);
                }
            }
            ("TIMECOL", [column]) => {
                time = Some(column_name(column).ok_or_else(|| {
                    Box::new(Diagnostic::error("DESCRIPTOR takes the name of a column").at(column.span()).hint(ROWTIME_HINT))
                })?);
            }
            ("TIMECOL", _) => {
                let problem = Diagnostic::error("DESCRIPTOR takes one column").at(span);
                return Err(Box::new(problem.hint(ROWTIME_HINT)));
            }
            (length, [value]) => {
                lengths.insert(length.to_owned(), (milliseconds(name, length, value)?, Span::from(value.span())));
            }
            (other, _) => return Err(Box::new(Diagnostic::error(format!("{other} of {name} needs one value")).at(span))),
        }
    }
    let time = time.ok_or_else(|| Box::new(Diagnostic::error(format!("{name} needs DESCRIPTOR(ROWTIME)")).at(span)))?;
    let length = |name: &str| lengths.get(name).copied().unwrap_or((1, span));
    let windows = match name {
        "SESSION" => Windows::Session(length("GAP").0),
        _ => {
            let (size, size_span) = length("SIZE");
            let (slide, slide_span) = lengths.get("SLIDE").copied().unwrap_or((size, size_span));
            let offset = lengths.get("OFFSET").map_or(0, |(offset, _)| offset.rem_euclid(slide));
            if slide > size {
                let problem = Diagnostic::error("the slide of HOP is longer than its size").at(slide_span);
                let problem = problem.label("rows between two windows would be in none");
                return Err(Box::new(problem.hint("The slide comes first, then the size.")));
            }
            if size % slide != 0 {
                let problem = Diagnostic::error("the size of HOP is not a multiple of its slide").at(size_span);
                return Err(Box::new(problem.hint("Such as a size of 1 minute with a slide of 10 seconds.")));
            }
            Windows::Regular(Spans { size, slide, offset })
        }
    };
    Ok(WindowCall { windows, partition, time, span })
}

pub(super) const ROWTIME_HINT: &str = "Write DESCRIPTOR(ROWTIME).";

fn milliseconds(function: &str, argument: &str, value: &Expr) -> Result<i64, Box<Diagnostic>> {
    let problem = |message: &str| Diagnostic::error(format!("the {argument} of {function} {message}")).at(value.span());
    match Interval::of_expr(value) {
        Some(Interval::Milliseconds(ms)) if ms > 0 || argument == "OFFSET" => Ok(ms),
        Some(Interval::Milliseconds(_)) => Err(Box::new(problem("must be longer than nothing"))),
        Some(Interval::Months(_)) => {
            let problem = problem("cannot be years or months long: they differ in length");
            Err(Box::new(problem.hint("Use days, hours, minutes or seconds; FLOOR(s.ROWTIME TO MONTH) groups by month.")))
        }
        None => Err(Box::new(problem("must be an interval").hint("Write it as INTERVAL '1' MINUTE."))),
    }
}

fn name_of(function: &Function) -> &str {
    let ident = function.name.0.last().and_then(|part| part.as_ident());
    ident.map_or("", |ident| ident.value.trim_start_matches('$'))
}

fn expressions(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let expression = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(expression).collect()
}

fn column_name(expr: &Expr) -> Option<(String, Span)> {
    match expr {
        Expr::Identifier(ident) => Some((ident.value.clone(), ident.span.into())),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (ident.value.clone(), ident.span.into())),
        _ => None,
    }
}
