//! Windows of joined streams: `s OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS a` (kda-sql-reference.md §2.7, §4.5, §8.5).
//!
//! Parsed as a sample of the relation whose size is a call of [`JOIN_WINDOW`] with the window's OVER: sqlparser has a place
//! for a sample, and this dialect has none.

use std::fmt;

use sqlparser::ast::{
    Expr, Ident, Interval, NamedWindowDefinition, NamedWindowExpr, TableSampleKind, Value, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};

use crate::diagnostic::{Diagnostic, Span, closest};
use crate::settings::Settings;
use crate::sql::JOIN_WINDOW;
use crate::types::ROWTIME;

/// The rows of a joined stream that later rows of the other one can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(super) enum JoinWindow {
    /// Those of the ROWTIME that is being processed: a stream without a window.
    Current,
    /// Those of the last milliseconds.
    Range(i64),
    /// The last one and so many before it.
    Rows(u64),
    /// Those that come up to this many milliseconds after a row of the other stream.
    Following(i64),
}

impl JoinWindow {
    /// The window as the engine's switches read it (kda-sql-reference.md §8.5).
    pub(super) fn switched(self, settings: &Settings) -> Self {
        match self {
            JoinWindow::Range(ms @ 1..) if settings.range_endpoint_is_exclusive() => JoinWindow::Range(ms - 1),
            JoinWindow::Rows(rows @ 1..) if settings.rows_count_current() => JoinWindow::Rows(rows - 1),
            window => window,
        }
    }

    /// How long before a row of the other stream one of this may come, in milliseconds.
    pub(super) fn preceding(self) -> i64 {
        if let JoinWindow::Range(ms) = self { ms } else { 0 }
    }

    /// How long after it.
    pub(super) fn following(self) -> i64 {
        if let JoinWindow::Following(ms) = self { ms } else { 0 }
    }
}

impl fmt::Display for JoinWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinWindow::Current => f.write_str("current row"),
            JoinWindow::Range(ms) => write!(f, "{ms} ms preceding"),
            JoinWindow::Rows(rows) => write!(f, "{rows} rows preceding"),
            JoinWindow::Following(ms) => write!(f, "{ms} ms following"),
        }
    }
}

/// The window of a relation and its place; `names` are those of the WINDOW clauses around it, the innermost last.
pub(super) fn join_window(sample: &TableSampleKind, names: &[NamedWindowDefinition]) -> Result<(JoinWindow, Span), Diagnostic> {
    let (TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = sample;
    let call = match sample.quantity.as_ref().map(|quantity| &quantity.value) {
        Some(Expr::Function(function)) => Some(function),
        _ => None,
    };
    let ident = call.and_then(|call| call.name.0.last()?.as_ident());
    let (Some(call), Some(ident)) = (call, ident.filter(|ident| ident.value == JOIN_WINDOW)) else {
        return Err(Diagnostic::error("TABLESAMPLE is not supported"));
    };
    let span = Span::from(ident.span);
    let window = match &call.over {
        Some(WindowType::WindowSpec(spec)) => of_spec(spec, names, 0),
        Some(WindowType::NamedWindow(name)) => of_name(name, names, 0),
        None => Err(Diagnostic::error("OVER without a window")),
    };
    let at = |problem: Diagnostic| if problem.span.is_none() { problem.at(span) } else { problem };
    Ok((window.map_err(at)?, span))
}

fn of_name(name: &Ident, names: &[NamedWindowDefinition], depth: usize) -> Result<JoinWindow, Diagnostic> {
    let Some(NamedWindowDefinition(_, window)) = names.iter().rfind(|definition| definition.0.value == name.value) else {
        let problem = Diagnostic::error(format!("window \"{}\" does not exist", name.value)).at(name.span);
        let known = names.iter().map(|definition| definition.0.value.as_str());
        return Err(match closest(&name.value, known) {
            Some(known) => problem.hint(format!("Did you mean \"{known}\"?")),
            None => {
                problem.hint(format!("Define it behind WHERE: WINDOW {} AS (RANGE INTERVAL '1' MINUTE PRECEDING).", name.value))
            }
        });
    };
    if depth > names.len() {
        return Err(Diagnostic::error(format!("window \"{}\" is defined by itself", name.value)).at(name.span));
    }
    match window {
        NamedWindowExpr::NamedWindow(other) => of_name(other, names, depth + 1),
        NamedWindowExpr::WindowSpec(spec) => of_spec(spec, names, depth + 1),
    }
}

fn of_spec(spec: &WindowSpec, names: &[NamedWindowDefinition], depth: usize) -> Result<JoinWindow, Diagnostic> {
    if !spec.partition_by.is_empty() {
        return Err(Diagnostic::error("PARTITION BY is not allowed in the window of a joined stream")
            .hint("Put the columns into the join condition: ON a.key = b.key."));
    }
    if spec.order_by.iter().any(|order| !is_rowtime(&order.expr) || order.options.asc == Some(false)) {
        return Err(Diagnostic::error("the window of a joined stream can only be ordered by ROWTIME")
            .hint("Leave ORDER BY out: rows are in the order of their ROWTIME."));
    }
    match (&spec.window_name, &spec.window_frame) {
        (Some(name), None) => of_name(name, names, depth),
        (None, Some(frame)) => of_frame(frame),
        (Some(_), Some(_)) => Err(Diagnostic::error("the window of a joined stream has a name or a frame, not both")),
        (None, None) => Err(Diagnostic::error("the window of a joined stream has no size: it would hold all rows for ever")
            .hint("Write a size, such as OVER (RANGE INTERVAL '1' MINUTE PRECEDING).")),
    }
}

fn is_rowtime(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(ident) => ident.value == ROWTIME,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| ident.value == ROWTIME),
        _ => false,
    }
}

fn of_frame(frame: &WindowFrame) -> Result<JoinWindow, Diagnostic> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    const HINT: &str = "Write RANGE INTERVAL '1' MINUTE PRECEDING or ROWS 10 PRECEDING.";
    let unsupported =
        |what: &str| Diagnostic::error(format!("{what} is not allowed in the window of a joined stream")).hint(HINT);
    let by_rows = match frame.units {
        WindowFrameUnits::Rows => true,
        WindowFrameUnits::Range => false,
        WindowFrameUnits::Groups => return Err(unsupported("GROUPS")),
    };
    let size = |value: &Expr| -> Result<i64, Diagnostic> {
        match (value, by_rows) {
            (Expr::Interval(interval), false) => milliseconds(interval)
                .ok_or_else(|| unsupported("an interval of months").hint("Write it in days: the length of months differs.")),
            (Expr::Value(value), true) => match &value.value {
                Value::Number(number, _) => number.to_string().parse().map_err(|_| unsupported(&format!("ROWS {number}"))),
                _ => Err(unsupported("ROWS of this")),
            },
            (_, true) => Err(unsupported("ROWS with an interval")),
            (_, false) => Err(unsupported("RANGE without an interval")),
        }
    };
    match (&frame.start_bound, &frame.end_bound) {
        (CurrentRow, None | Some(CurrentRow)) => Ok(JoinWindow::Current),
        (Preceding(None), _) | (_, Some(Preceding(None))) => Err(unsupported("UNBOUNDED PRECEDING")),
        (Following(None), _) | (_, Some(Following(None))) => Err(unsupported("UNBOUNDED FOLLOWING")),
        (Preceding(Some(value)), None | Some(CurrentRow)) => {
            let size = size(value)?;
            match (size < 0, by_rows) {
                (true, _) => Err(unsupported("a negative size")),
                (false, true) => Ok(JoinWindow::Rows(size as u64)),
                (false, false) => Ok(JoinWindow::Range(size)),
            }
        }
        (Following(Some(value)), None) | (CurrentRow, Some(Following(Some(value)))) => match size(value)? {
            _ if by_rows => Err(unsupported("ROWS … FOLLOWING")),
            size if size < 0 => Err(unsupported("a negative size")),
            size => Ok(JoinWindow::Following(size)),
        },
        _ => Err(unsupported("a frame that does not begin or end at CURRENT ROW")),
    }
}

/// The length of an interval as the parser writes it; None for months.
fn milliseconds(interval: &Interval) -> Option<i64> {
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    text.strip_suffix(" milliseconds")?.parse().ok()
}
