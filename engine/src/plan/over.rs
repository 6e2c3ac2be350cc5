//! Windows as KDA writes them to windows as DataFusion's planner reads them (kda-sql-reference.md §2.7, §8.5).
//!
//! - Named windows are written out where they are used; queries inside see those of the queries around them.
//! - A window gets `ORDER BY ROWTIME`, which KDA implies.
//! - Functions get the names that the planner knows them by.
//!
//! What a stream cannot do, such as looking ahead or keeping all rows for ever, is refused here, where its place is known.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, NamedWindowExpr,
    NullTreatment, ObjectName, OrderByExpr, OrderByOptions, Query, Select, SelectItem, SetExpr, Spanned, TableFactor,
    TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec,
    WindowType,
};

use super::batch_models::{is_model, over_streams};
use super::join::reads_stream;
use super::query::StreamSchemas;
use super::rowtime::{is_aggregating, relation_name};
use super::window_functions as named;
use crate::diagnostic::{Diagnostic, Span};
use crate::settings::Settings;
use crate::sql::Interval;
use crate::types::ROWTIME;

/// What the functions of sliding windows are called, and what the planner calls them.
const FUNCTIONS: &[(&str, &str)] = &[
    ("any", "bool_or"),
    ("avg", "avg"),
    ("count", "count"),
    ("every", "bool_and"),
    ("exp_avg", named::EXP_AVG),
    ("first_value", named::FIRST_VALUE),
    ("lag", named::LAG),
    ("last_value", named::LAST_VALUE),
    ("max", "max"),
    ("min", "min"),
    ("nth_value", named::NTH_VALUE),
    ("nth_value_from_last", named::NTH_VALUE_FROM_LAST),
    ("std_dev", "stddev"),
    ("stddev", "stddev"),
    ("stddev_pop", "stddev_pop"),
    ("stddev_samp", "stddev"),
    ("sum", "sum"),
    ("var_pop", "var_pop"),
    ("var_samp", "var"),
];

/// The functions, for hints.
const AVAILABLE: &str = "With OVER there are ANY, AVG, COUNT, EVERY, EXP_AVG, FIRST_VALUE, LAG, LAST_VALUE, MAX, MIN, NTH_VALUE, ROW_NUMBER, \
                         STDDEV_POP, STDDEV_SAMP, SUM, VAR_POP and VAR_SAMP.";

const FRAMES: &str = "Write RANGE INTERVAL '1' MINUTE PRECEDING or ROWS 10 PRECEDING.";

/// True for a function of sliding windows that is no aggregate (kda-sql-reference.md §5.2).
pub(super) fn needs_over(name: &str) -> bool {
    let is_aggregate = matches!(name, "first_value" | "last_value");
    let has_window = FUNCTIONS.iter().any(|(written, planned)| *written == name && planned.starts_with('$'));
    name == "row_number" || has_window && !is_aggregate
}

/// A window of a WINDOW clause.
#[derive(Clone)]
struct NamedWindow {
    name: Ident,
    window: WindowSpec,
}

/// Makes the windows of `query` and of the queries in its FROM explicit; those of queries that read no stream are DataFusion's.
/// `value_of` computes expressions that read nothing.
///
/// Returns warnings, or what makes the windows impossible.
pub(super) fn resolve_windows(
    query: &mut Query,
    streams: &StreamSchemas,
    settings: &Settings,
    value_of: &dyn Fn(&Expr) -> Option<ScalarValue>,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut resolver = Resolver { streams, settings, value_of, problems: Vec::new(), warnings: Vec::new() };
    resolver.query(query, &[]);
    if resolver.problems.is_empty() { Ok(resolver.warnings) } else { Err(resolver.problems) }
}

struct Resolver<'a> {
    streams: &'a StreamSchemas,
    settings: &'a Settings,
    value_of: &'a dyn Fn(&Expr) -> Option<ScalarValue>,
    problems: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn query(&mut self, query: &mut Query, outer: &[NamedWindow]) {
        self.body(&mut query.body, outer);
        let mut sorts = query.order_by.iter().filter_map(|order| match &order.kind {
            ast::OrderByKind::Expressions(sorts) => Some(sorts),
            ast::OrderByKind::All(_) => None,
        });
        if let Some(function) = sorts.next().and_then(|sorts| sorts.iter().find_map(|sort| first_over(&sort.expr))) {
            self.refuse_in("ORDER BY", &function);
        }
    }

    fn body(&mut self, body: &mut SetExpr, outer: &[NamedWindow]) {
        match body {
            SetExpr::Select(select) => self.select(select, outer),
            SetExpr::Query(query) => self.query(query, outer),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, outer);
                self.body(right, outer);
            }
            _ => {}
        }
    }

    fn select(&mut self, select: &mut Select, outer: &[NamedWindow]) {
        let mut factors = select
            .from
            .iter()
            .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
        if !factors.any(|factor| reads_stream(factor, self.streams)) {
            return;
        }
        let windows = self.named_windows(select, outer);
        select.from.iter_mut().for_each(|table| self.tables(table, &windows));
        let clauses = [("WHERE", &select.selection), ("HAVING", &select.having), ("QUALIFY", &select.qualify)];
        for (clause, expr) in clauses {
            if let Some(function) = expr.as_ref().and_then(first_over) {
                self.refuse_in(clause, &function);
            }
        }
        if let ast::GroupByExpr::Expressions(expressions, _) = &select.group_by
            && let Some(function) = expressions.iter().find_map(first_over)
        {
            self.refuse_in("GROUP BY", &function);
        }
        let functions: Vec<_> = select.projection.iter().flat_map(over_in).collect();
        if let Some(numbering) =
            functions.iter().find(|function| function.name.to_string() == "row_number" && functions.len() > 1)
        {
            let problem = Diagnostic::error("ROW_NUMBER cannot stand beside another function with OVER").at(span_of(numbering));
            self.report(problem.hint("Compute the other one in a query in FROM, in parentheses."));
            return;
        }
        let aggregating = is_aggregating(select);
        let relation = select.from.first().and_then(|table| relation_name(&table.relation));
        for item in &mut select.projection {
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
            if aggregating && let Some(function) = first_over(expr) {
                let problem = Diagnostic::error("a query cannot have GROUP BY or an aggregate and OVER").at(span_of(&function));
                self.report(problem.hint("Do one of them in a query of its own, in parentheses in FROM, or in a pump before."));
                continue;
            }
            let mut functions = Functions { resolver: self, windows: &windows, relation: relation.as_ref(), inside: 0 };
            // The visitor never breaks off.
            let _ = expr.visit(&mut functions);
        }
    }

    /// The queries in FROM; joins of streams stand in parentheses by now (`super::join`).
    fn tables(&mut self, table: &mut TableWithJoins, windows: &[NamedWindow]) {
        for factor in std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation)) {
            match factor {
                TableFactor::Derived { subquery, .. } => self.query(subquery, windows),
                TableFactor::NestedJoin { table_with_joins, .. } => self.tables(table_with_joins, windows),
                _ => {}
            }
        }
    }

    /// The windows that the functions of `select` can name; takes its WINDOW clause away.
    fn named_windows(&mut self, select: &mut Select, outer: &[NamedWindow]) -> Vec<NamedWindow> {
        let mut windows: Vec<NamedWindow> = Vec::new();
        for definition in std::mem::take(&mut select.named_window) {
            let ast::NamedWindowDefinition(name, window) = definition;
            if windows.iter().any(|known| known.name.value == name.value) {
                self.report(Diagnostic::error(format!("window \"{}\" is defined twice", name.value)).at(name.span));
                continue;
            }
            // Inner names come first, so the last one found is the nearest.
            let visible: Vec<_> = outer.iter().chain(&windows).cloned().collect();
            let window = match window {
                NamedWindowExpr::NamedWindow(base) => self.lookup(&base, &visible),
                NamedWindowExpr::WindowSpec(window) => self.with_base(window, &visible),
            };
            windows.extend(window.map(|window| NamedWindow { name, window }));
        }
        outer.iter().cloned().chain(windows).collect()
    }

    fn lookup(&mut self, name: &Ident, windows: &[NamedWindow]) -> Option<WindowSpec> {
        let found = windows.iter().rev().find(|known| known.name.value == name.value);
        if found.is_none() {
            let problem = Diagnostic::error(format!("window \"{}\" is not defined", name.value)).at(name.span);
            let names: Vec<_> = windows.iter().map(|known| known.name.value.as_str()).collect();
            self.report(match names.as_slice() {
                [] => problem.hint(format!(
                    "Define it behind FROM and WHERE: WINDOW {} AS (RANGE INTERVAL '1' MINUTE PRECEDING).",
                    name.value
                )),
                names => {
                    problem.label(format!("windows are {}", names.join(", "))).did_you_mean(&name.value, names.iter().copied())
                }
            });
        }
        found.map(|known| known.window.clone())
    }

    /// A window whose body may begin with the name of another.
    fn with_base(&mut self, mut window: WindowSpec, windows: &[NamedWindow]) -> Option<WindowSpec> {
        let Some(name) = window.window_name.take() else { return Some(window) };
        let base = self.lookup(&name, windows)?;
        let again = if !window.partition_by.is_empty() {
            Some("PARTITION BY")
        } else if window.window_frame.is_some() && base.window_frame.is_some() {
            Some("a frame")
        } else {
            None
        };
        if let Some(what) = again {
            let problem = Diagnostic::error(format!("window \"{}\" has been completed: {what} cannot be added", name.value));
            self.report(problem.at(name.span).hint("A window based on another can only add what that one leaves out."));
        }
        window.partition_by = base.partition_by;
        window.order_by.extend(base.order_by);
        window.window_frame = window.window_frame.or(base.window_frame);
        Some(window)
    }

    fn refuse_in(&mut self, clause: &str, function: &Function) {
        let problem = Diagnostic::error(format!("OVER is not allowed in {clause}")).at(span_of(function));
        self.report(problem.hint("Compute it in a query in FROM, in parentheses, and refer to its column."));
    }

    fn report(&mut self, problem: Diagnostic) {
        if !self.problems.iter().any(|known| known.message == problem.message && known.span == problem.span) {
            self.problems.push(problem);
        }
    }
}

/// Rewrites the functions with OVER of one item of a select list.
struct Functions<'a, 's> {
    resolver: &'a mut Resolver<'s>,
    windows: &'a [NamedWindow],
    /// What ROWTIME is a column of.
    relation: Option<&'a Ident>,
    /// Functions with OVER around the current expression.
    inside: usize,
}

impl VisitorMut for Functions<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && function.over.is_some()
        {
            self.inside += 1;
            if self.inside > 1 {
                let problem = Diagnostic::error("a function with OVER cannot stand inside another").at(span_of(function));
                self.resolver.report(problem.hint("Compute the inner one in a query in FROM, in parentheses."));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && function.over.is_some()
        {
            self.inside -= 1;
            if let Err(problem) = self.resolve(function) {
                self.resolver.report(*problem);
            }
        }
        ControlFlow::Continue(())
    }
}

type Resolved<T> = Result<T, Box<Diagnostic>>;

impl Functions<'_, '_> {
    fn resolve(&mut self, function: &mut Function) -> Resolved<()> {
        let span = span_of(function);
        let problem = |message: String| Diagnostic::error(message).at(span);
        let written = function.name.to_string().to_uppercase().replace("_FROM_LAST", "");
        if written == "ROW_NUMBER" {
            return self.row_number(function);
        }
        let Some((_, planned)) = FUNCTIONS.iter().find(|(name, _)| function.name.to_string() == *name) else {
            let hint = if is_model(&written) { over_streams(&written) } else { AVAILABLE.to_owned() };
            return Err(Box::new(problem(format!("{written} cannot have OVER")).hint(hint)));
        };
        let window = self.window_of(function);
        // What was wrong with the name has been reported.
        let Some(mut window) = window else { return Ok(()) };
        if let Some(order) = window.order_by.first() {
            let problem = Diagnostic::error("ORDER BY is not allowed in a window of a stream").at(order.expr.span());
            return Err(Box::new(problem.hint("Remove it: a stream is in the order of ROWTIME.")));
        }
        let nulls = null_treatment(function, &written)?;
        let is_distinct = matches!(&function.args, FunctionArguments::List(list)
            if list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct) && !matches!(*planned, "min" | "max" | "bool_or" | "bool_and"));
        check_arguments(function, planned, &written, self.resolver.value_of)?;
        let frame = match window.window_frame.take() {
            Some(frame) => self.switched(check_frame(frame, planned, &written, is_distinct, span)?),
            // The last row of any window is the current one.
            None if *planned == named::LAST_VALUE && nulls != Some(NullTreatment::IgnoreNulls) => WindowFrame {
                units: WindowFrameUnits::Rows,
                start_bound: WindowFrameBound::Preceding(Some(Box::new(number(0)))),
                end_bound: Some(WindowFrameBound::CurrentRow),
            },
            None => {
                let problem = problem(format!("the window of {written} has no frame: it would have to keep all rows for ever"));
                return Err(Box::new(problem.hint(FRAMES)));
            }
        };
        if frame.start_bound == WindowFrameBound::Preceding(None) && !window.partition_by.is_empty() {
            let warning = Diagnostic::warning("a window with UNBOUNDED PRECEDING keeps something of every key for ever").at(span);
            self.resolver.warnings.push(warning.hint("If keys come and go, give it a bound: RANGE INTERVAL '1' DAY PRECEDING."));
        }
        window.window_frame = Some(frame);
        let rowtime = Ident::with_quote('"', ROWTIME);
        let expr = match self.relation {
            Some(relation) => Expr::CompoundIdentifier(vec![relation.clone(), rowtime]),
            None => Expr::Identifier(rowtime),
        };
        window.order_by = vec![OrderByExpr { expr, options: OrderByOptions { asc: None, nulls_first: None }, with_fill: None }];
        function.null_treatment = nulls;
        function.name = ObjectName::from(Ident::with_quote('"', *planned));
        function.over = Some(WindowType::WindowSpec(window));
        Ok(())
    }
}

impl Functions<'_, '_> {
    /// The frame as the engine's switches read it (kda-sql-reference.md §8.5).
    fn switched(&self, frame: WindowFrame) -> WindowFrame {
        let settings = self.resolver.settings;
        let start = match &frame.start_bound {
            WindowFrameBound::Preceding(Some(start)) => start.as_ref(),
            _ => return frame,
        };
        let start = match (frame.units, Interval::of_expr(start)) {
            (WindowFrameUnits::Rows, _) if settings.rows_count_current() => {
                whole_number(start).and_then(|rows| rows.checked_sub(1)).map(number)
            }
            // Times are whole milliseconds.
            (WindowFrameUnits::Range, Some(Interval::Milliseconds(length @ 1..))) if settings.range_endpoint_is_exclusive() => {
                Some(Interval::Milliseconds(length - 1).to_expr())
            }
            _ => None,
        };
        match start {
            Some(start) => WindowFrame { start_bound: WindowFrameBound::Preceding(Some(Box::new(start))), ..frame },
            None => frame,
        }
    }

    /// The window of `function`, written out; takes it away from the function.
    fn window_of(&mut self, function: &mut Function) -> Option<WindowSpec> {
        match function.over.take()? {
            WindowType::NamedWindow(name) => self.resolver.lookup(&name, self.windows),
            WindowType::WindowSpec(window) => self.resolver.with_base(window, self.windows),
        }
    }

    /// `ROW_NUMBER() OVER (PARTITION BY window ORDER BY …)`: what it is a window of is planned later (`super::top_n`).
    fn row_number(&mut self, function: &mut Function) -> Resolved<()> {
        const FORM: &str = "Write ROW_NUMBER() OVER (PARTITION BY WINDOW_START, WINDOW_END ORDER BY n DESC).";
        let span = span_of(function);
        let problem = |message: &str| Box::new(Diagnostic::error(message).at(span).hint(FORM));
        let Some(window) = self.window_of(function) else { return Ok(()) };
        let has_arguments = matches!(&function.args, FunctionArguments::List(list) if !list.args.is_empty());
        if has_arguments || function.filter.is_some() || function.null_treatment.is_some() {
            return Err(problem("ROW_NUMBER has no arguments"));
        }
        if window.order_by.is_empty() {
            return Err(problem("ROW_NUMBER needs ORDER BY in its window"));
        }
        if window.window_frame.is_some() {
            return Err(problem("ROW_NUMBER counts all rows of its partition: it has no frame"));
        }
        function.name = ObjectName::from(Ident::with_quote('"', named::ROW_NUMBER));
        function.over = Some(WindowType::WindowSpec(window));
        Ok(())
    }
}

/// IGNORE NULLS or RESPECT NULLS, behind the parentheses or in them.
fn null_treatment(function: &mut Function, written: &str) -> Resolved<Option<NullTreatment>> {
    let mut found = function.null_treatment.take();
    let span = span_of(function);
    if let FunctionArguments::List(list) = &mut function.args {
        list.clauses.retain(|clause| match clause {
            FunctionArgumentClause::IgnoreOrRespectNulls(nulls) => {
                found = Some(*nulls);
                false
            }
            _ => true,
        });
        if !list.clauses.is_empty() {
            return Err(Box::new(Diagnostic::error(format!("{written} with OVER takes arguments only")).at(span)));
        }
    }
    if found.is_some() && !matches!(written, "FIRST_VALUE" | "LAST_VALUE" | "NTH_VALUE" | "LAG") {
        let problem = Diagnostic::error(format!("{written} has no IGNORE NULLS or RESPECT NULLS")).at(span);
        return Err(Box::new(problem.hint("FIRST_VALUE, LAST_VALUE, NTH_VALUE and LAG have.")));
    }
    Ok(found)
}

fn check_arguments(
    function: &mut Function,
    planned: &str,
    written: &str,
    value_of: &dyn Fn(&Expr) -> Option<ScalarValue>,
) -> Resolved<()> {
    let span = span_of(function);
    if function.filter.is_some() || !function.within_group.is_empty() {
        return Err(Box::new(Diagnostic::error(format!("{written} with OVER has neither FILTER nor WITHIN GROUP")).at(span)));
    }
    let FunctionArguments::List(list) = &mut function.args else {
        return Err(Box::new(Diagnostic::error(format!("{written} needs arguments")).at(span)));
    };
    match list.duplicate_treatment {
        // Once or twice makes no difference to the least and the greatest.
        Some(ast::DuplicateTreatment::Distinct) if matches!(planned, "min" | "max" | "bool_or" | "bool_and") => {
            list.duplicate_treatment = None;
        }
        Some(ast::DuplicateTreatment::Distinct) if planned.starts_with('$') => {
            let problem = Diagnostic::error(format!("{written} has no DISTINCT")).at(span);
            return Err(Box::new(problem.hint("AVG, COUNT, SUM, STDDEV_POP, STDDEV_SAMP, VAR_POP and VAR_SAMP have.")));
        }
        Some(ast::DuplicateTreatment::Distinct) => {
            if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_))] =
                list.args.as_slice()
            {
                let problem = Diagnostic::error(format!("DISTINCT in {written} needs an expression")).at(span);
                return Err(Box::new(problem.label(format!("expected {written}(DISTINCT x)"))));
            }
        }
        Some(ast::DuplicateTreatment::All) => list.duplicate_treatment = None,
        None => {}
    }
    let (least, most, form) = match planned {
        named::LAG => (1, 3, "LAG(x), LAG(x, n) or LAG(x, n, otherwise)"),
        named::NTH_VALUE | named::NTH_VALUE_FROM_LAST => (2, 2, "NTH_VALUE(x, n)"),
        named::EXP_AVG => (2, 2, "EXP_AVG(x, INTERVAL '10' SECOND)"),
        _ => (1, 1, ""),
    };
    if !(least..=most).contains(&list.args.len()) {
        let plural = if list.args.len() == 1 { "" } else { "s" };
        let problem = Diagnostic::error(format!("{written} has {} argument{plural}", list.args.len())).at(span);
        let form = if form.is_empty() { format!("{written}(x)") } else { form.to_owned() };
        return Err(Box::new(problem.label(format!("expected {form}"))));
    }
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(second))) = list.args.get_mut(1) {
        let at = |message: &str| Diagnostic::error(message.to_owned()).at(second.span());
        match planned {
            named::EXP_AVG => match Interval::of_expr(second) {
                Some(Interval::Milliseconds(1..)) => {}
                _ => {
                    let problem = at("the second argument of EXP_AVG is not an interval of at least a millisecond");
                    return Err(Box::new(problem.hint("Write EXP_AVG(x, INTERVAL '10' SECOND).")));
                }
            },
            _ => {
                let least = u32::from(planned != named::LAG);
                let value = whole_number(second).or_else(|| {
                    let value = value_of(second).filter(|value| value.data_type().is_integer())?;
                    u32::try_from(i64::try_from(value.cast_to(&DataType::Int64).ok()?).ok()?).ok()
                });
                let Some(value) = value.filter(|value| *value >= least) else {
                    let problem = at(&format!("the second argument of {written} is not a whole number from {least} on"));
                    return Err(Box::new(problem.hint("It is one number for all rows: 2, or an expression without columns.")));
                };
                *second = number(value);
            }
        }
    }
    Ok(())
}

/// Checks that a frame reaches back from the current row by a bounded amount.
fn check_frame(frame: WindowFrame, planned: &str, written: &str, is_distinct: bool, span: Span) -> Resolved<WindowFrame> {
    let at = |bound: &WindowFrameBound, message: String| {
        let place = match bound {
            WindowFrameBound::Preceding(Some(expr)) | WindowFrameBound::Following(Some(expr)) => Some(expr.span().into()),
            _ => None,
        };
        Diagnostic::error(message).at(place.unwrap_or(span))
    };
    for bound in std::iter::once(&frame.start_bound).chain(&frame.end_bound) {
        if let WindowFrameBound::Following(_) = bound {
            let problem = at(bound, "a window cannot look ahead: FOLLOWING is not allowed".to_owned());
            return Err(Box::new(problem.hint(FRAMES)));
        }
    }
    if let Some(end @ WindowFrameBound::Preceding(_)) = &frame.end_bound {
        let problem = at(end, "a window has to end with the current row".to_owned());
        return Err(Box::new(problem.hint("Write BETWEEN … PRECEDING AND CURRENT ROW.")));
    }
    let start = match (&frame.start_bound, frame.units) {
        (WindowFrameBound::CurrentRow, WindowFrameUnits::Rows | WindowFrameUnits::Range) => WindowFrameBound::CurrentRow,
        (WindowFrameBound::Preceding(Some(expr)), WindowFrameUnits::Rows) => match whole_number(expr) {
            Some(_) => frame.start_bound,
            None => {
                let problem = at(&frame.start_bound, "ROWS needs a whole number of rows".to_owned());
                return Err(Box::new(
                    problem.hint("Write ROWS 10 PRECEDING, or RANGE INTERVAL '1' MINUTE PRECEDING for a time."),
                ));
            }
        },
        (WindowFrameBound::Preceding(Some(expr)), WindowFrameUnits::Range) => match Interval::of_expr(expr) {
            Some(Interval::Milliseconds(0..)) => frame.start_bound,
            Some(Interval::Milliseconds(_)) => {
                let problem = at(&frame.start_bound, "the interval of a window cannot be negative".to_owned());
                return Err(Box::new(problem.hint(FRAMES)));
            }
            Some(Interval::Months(_)) => {
                let problem = at(&frame.start_bound, "a window cannot be years or months long: they differ in length".to_owned());
                return Err(Box::new(problem.hint("Write RANGE INTERVAL '30' DAY PRECEDING.")));
            }
            None => {
                let problem = at(&frame.start_bound, "RANGE needs an interval".to_owned());
                return Err(Box::new(problem.hint("Write RANGE INTERVAL '1' MINUTE PRECEDING, or ROWS 10 PRECEDING for rows.")));
            }
        },
        (WindowFrameBound::Preceding(None), WindowFrameUnits::Rows | WindowFrameUnits::Range) => {
            if planned.starts_with('$') {
                let problem = format!("{written} with UNBOUNDED PRECEDING would have to keep all rows for ever");
                return Err(Box::new(at(&frame.start_bound, problem).hint(FRAMES)));
            }
            if is_distinct {
                let problem = format!("{written}(DISTINCT …) with UNBOUNDED PRECEDING would have to keep all values for ever");
                return Err(Box::new(at(&frame.start_bound, problem).hint(FRAMES)));
            }
            WindowFrameBound::Preceding(None)
        }
        (bound, units) => return Err(Box::new(at(bound, format!("{units} is not supported in a window")).hint(FRAMES))),
    };
    // DataFusion refuses RANGE CURRENT ROW with an ORDER BY: it is a range of no length.
    let zero = |units| match units {
        WindowFrameUnits::Range => Interval::Milliseconds(0).to_expr(),
        _ => number(0),
    };
    let start_bound = match start {
        WindowFrameBound::CurrentRow => WindowFrameBound::Preceding(Some(Box::new(zero(frame.units)))),
        bound => bound,
    };
    Ok(WindowFrame { start_bound, end_bound: Some(WindowFrameBound::CurrentRow), ..frame })
}

fn number(n: u32) -> Expr {
    Expr::Value(Value::Number(n.to_string(), false).into())
}

/// A whole number that is written as one.
fn whole_number(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => whole_number(expr),
        Expr::Nested(expr) => whole_number(expr),
        _ => None,
    }
}

/// The first function with OVER in `expr`.
fn first_over(expr: &Expr) -> Option<Function> {
    let mut found = None;
    let _ = ast::visit_expressions(expr, |expr| match expr {
        Expr::Function(function) if function.over.is_some() => {
            found = Some(function.clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found
}

/// All functions with OVER in an item of a select list.
fn over_in(item: &SelectItem) -> Vec<Function> {
    let mut found = Vec::new();
    let _ = ast::visit_expressions(item, |expr| {
        if let Expr::Function(function) = expr
            && function.over.is_some()
        {
            found.push(function.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn span_of(function: &Function) -> Span {
    function.name.span().into()
}
