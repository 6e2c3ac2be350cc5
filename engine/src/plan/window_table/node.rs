//! A stream with the columns of windows as a logical node, and how DataFusion's planner comes to it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{
    Column, DFSchema, DFSchemaRef, DataFusionError, Diagnostic, Location, Result, Span as PlanSpan, TableReference, plan_err,
};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, SubqueryAlias, UserDefinedLogicalNodeCore, lit};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::TableFactor;

use super::call::{WindowCall, WindowCalls, Windows};
use crate::diagnostic::Span;
use crate::operator::window_rows::Spans;
use crate::plan::monotonic::{Monotonicity, is_plain_rowtime, monotonicity};
use crate::types::{ROWTIME, SqlType};

/// The columns of a window, in their order.
pub(super) const COLUMNS: [&str; 3] = ["WINDOW_START", "WINDOW_END", "WINDOW_TIME"];

/// A stream with the columns of windows behind its own.
#[derive(Debug, Clone)]
pub(in crate::plan) struct WindowTable {
    pub(super) input: Arc<LogicalPlan>,
    pub(super) call: Arc<WindowCall>,
    /// True if an aggregate above makes the windows itself: the columns then hold no windows.
    pub(super) marks: bool,
    name: String,
    schema: DFSchemaRef,
}

/// A column of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Part {
    Start,
    End,
    /// The last instant of the window.
    Time,
}

impl WindowTable {
    fn try_new(input: LogicalPlan, call: Arc<WindowCall>, marks: bool, name: &str) -> Result<Self> {
        let relation = TableReference::bare(name);
        let own = COLUMNS.map(|column| (Some(relation.clone()), SqlType::Timestamp.field(column, false)));
        let of_input = input.schema().iter().map(|(relation, field)| (relation.cloned(), field.clone()));
        let fields = of_input.chain(own).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { input: Arc::new(input), call, marks, name: name.to_owned(), schema })
    }

    /// Checks the columns that the call names.
    fn check(input: &LogicalPlan, call: &WindowCall) -> Result<()> {
        let schema = input.schema();
        let column = |name: &str, span: Span| {
            let found = (0..schema.fields().len()).find(|place| schema.field(*place).name() == name);
            found.ok_or_else(|| {
                let names = schema.fields().iter().map(|field| field.name().as_str()).filter(|name| *name != ROWTIME);
                let names = names.collect::<Vec<_>>().join(", ");
                at(span, format!("column \"{name}\" does not exist, columns are {names}"))
            })
        };
        if let Some(taken) = COLUMNS.iter().find(|name| schema.fields().iter().any(|field| field.name() == *name)) {
            let message = format!("the stream has a column {taken} already, which is one of the windows: rename it in a query");
            return Err(at(call.span, message));
        }
        for (name, span) in &call.partition {
            column(name, *span)?;
        }
        let (name, span) = &call.time;
        let field = schema.qualified_field(column(name, *span)?);
        let is_timestamp = *field.1.data_type() == SqlType::Timestamp.data_type();
        let message = match monotonicity(&Expr::Column(Column::from(field)), input) {
            time if is_plain_rowtime(&time) => return Ok(()),
            time if time.is_declared() => {
                format!("DESCRIPTOR takes ROWTIME, or what is computed from it: \"{name}\" is only declared to be monotonic")
            }
            Monotonicity::Ascending(_) if is_timestamp && call.windows.follow_each_other() => return Ok(()),
            Monotonicity::Ascending(_) if is_timestamp => {
                format!("{} takes ROWTIME itself, not \"{name}\", which is computed from it", call.windows.name())
            }
            _ => format!(
                "DESCRIPTOR takes ROWTIME, not \"{name}\": windows follow the time of the stream, which the source's WATERMARK \
                 clause or a query with … AS ROWTIME sets"
            ),
        };
        Err(at(*span, message))
    }

    /// The node behind `plan`, if it is a table of windows.
    pub(in crate::plan) fn of(plan: &LogicalPlan) -> Option<&WindowTable> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The plan of the stream.
    pub(in crate::plan) fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// What windows there are.
    pub(in crate::plan) fn windows(&self) -> Windows {
        self.call.windows
    }

    /// The part of a window that the column at `index` is; None for the stream's own.
    pub(in crate::plan) fn part(&self, index: usize) -> Option<Part> {
        match index.checked_sub(self.input.schema().fields().len())? {
            0 => Some(Part::Start),
            1 => Some(Part::End),
            _ => Some(Part::Time),
        }
    }

    /// The column at `index` as an expression of ROWTIME, for windows that follow each other.
    pub(in crate::plan) fn of_rowtime(&self, index: usize) -> Option<Expr> {
        let (part, Windows::Regular(spans), true) = (self.part(index)?, self.call.windows, self.call.windows.follow_each_other())
        else {
            return None;
        };
        let time = Expr::Column(Column::from(self.input.schema().qualified_field(self.time()?)));
        match monotonicity(&time, &self.input) {
            Monotonicity::Ascending(time) => Some(moved(start_of(spans, time), from_start(part, spans.size))),
            _ => None,
        }
    }

    /// Place of the column in DESCRIPTOR.
    pub(super) fn time(&self) -> Option<usize> {
        self.input.schema().fields().iter().position(|field| *field.name() == self.call.time.0)
    }

    /// Milliseconds from one part of a window to another, given by the columns' indices.
    pub(in crate::plan) fn between(&self, one: usize, other: usize) -> Option<i64> {
        match (self.part(one)?, self.part(other)?, self.call.windows) {
            (one, other, Windows::Regular(spans)) => Some(from_start(other, spans.size) - from_start(one, spans.size)),
            (_, _, Windows::Session(_)) => None,
        }
    }

    /// The same windows, made by an aggregate above.
    pub(super) fn as_marks(&self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self { marks: true, ..self.clone() }) })
    }
}

/// Milliseconds from the start of a window of `size` to a part of it.
pub(super) fn from_start(part: Part, size: i64) -> i64 {
    match part {
        Part::Start => 0,
        Part::End => size,
        Part::Time => size - 1,
    }
}

/// The start of the last window that `time` is in.
pub(super) fn start_of(spans: Spans, time: Expr) -> Expr {
    let time = moved(time, -spans.offset);
    moved(kinesql_udfs::scalar::step::udf().call(vec![time, lit(interval(spans.slide))]), spans.offset)
}

fn moved(time: Expr, by: i64) -> Expr {
    match by {
        0 => time,
        by if by > 0 => time + lit(interval(by)),
        by => time - lit(interval(-by)),
    }
}

fn interval(milliseconds: i64) -> ScalarValue {
    ScalarValue::new_interval_mdn(0, 0, milliseconds.saturating_mul(1_000_000))
}

/// The column of a [`WindowTable`] that `expr` over the output of `plan` hands on unchanged.
pub(in crate::plan) fn origin<'a>(expr: &Expr, plan: &'a LogicalPlan) -> Option<(&'a WindowTable, usize)> {
    match expr {
        Expr::Alias(alias) => origin(&alias.expr, plan),
        Expr::Column(column) => {
            let index = plan.schema().maybe_index_of_column(column)?;
            match plan {
                LogicalPlan::Filter(filter) => origin(expr, &filter.input),
                LogicalPlan::SubqueryAlias(alias) => {
                    origin(&Expr::Column(Column::from(alias.input.schema().qualified_field(index))), &alias.input)
                }
                // With tables: the rows keep the time of the stream.
                LogicalPlan::Join(join) => {
                    origin(expr, if join.left.schema().has_column(column) { &join.left } else { &join.right })
                }
                LogicalPlan::Projection(projection) => {
                    // A query that sets ROWTIME anew leaves the windows' time.
                    let carrier = projection.schema.fields().iter().position(|field| field.name() == ROWTIME);
                    let carrier = carrier.map(|place| monotonicity(&projection.expr[place], &projection.input));
                    carrier.is_none_or(|carrier| is_plain_rowtime(&carrier)).then_some(())?;
                    origin(&projection.expr[index], &projection.input)
                }
                plan => Some((WindowTable::of(plan)?, index)),
            }
        }
        _ => None,
    }
}

/// True for a column of which one value means one end of a window: a session's start does not say when it ends.
pub(in crate::plan) fn ends_with(expr: &Expr, plan: &LogicalPlan) -> bool {
    origin(expr, plan).is_some_and(|(table, index)| match (table.part(index), table.call.windows) {
        (Some(Part::Start), Windows::Session(_)) | (None, _) => false,
        (Some(_), _) => true,
    })
}

/// A column of HOP or SESSION windows that is grouped by, in terms of the result's ROWTIME, which is the window's end; None within
/// for the start of a session. None for any other expression.
pub(in crate::plan) fn of_result_rowtime(expr: &Expr, plan: &LogicalPlan) -> Option<Option<Expr>> {
    let (table, index) = origin(expr, plan).filter(|(table, _)| !table.windows().follow_each_other())?;
    let before_end = match (table.part(index)?, table.windows()) {
        (Part::End, _) => 0,
        (Part::Time, _) => 1,
        (Part::Start, Windows::Regular(spans)) => spans.size,
        (Part::Start, Windows::Session(_)) => return Some(None),
    };
    Some(Some(moved(Expr::Column(Column::from_name(ROWTIME)), -before_end)))
}

fn at(span: Span, message: String) -> DataFusionError {
    let location = |position: crate::diagnostic::Position| Location { line: position.line, column: position.column };
    let span = PlanSpan::new(location(span.start), location(span.end));
    DataFusionError::Plan(message.clone()).with_diagnostic(Diagnostic::new_error(message, Some(span)))
}

impl PartialEq for WindowTable {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input && self.call == other.call && self.marks == other.marks && self.name == other.name
    }
}

impl Eq for WindowTable {}

impl Hash for WindowTable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, self.call.windows, self.marks, &self.name).hash(state);
    }
}

impl PartialOrd for WindowTable {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WindowTable {
    fn name(&self) -> &str {
        "WindowTable"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowTable: {:?}", self.call.windows)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.pop()) {
            (Some(input), None) => Self::try_new(input, self.call.clone(), self.marks, &self.name),
            _ => plan_err!("windows are made of one stream"),
        }
    }

    /// What is read above, ROWTIME, and what the windows are made of.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let fields = self.input.schema().fields();
        let is_read = |place: &usize| {
            output_columns.contains(place) || [ROWTIME, &self.call.time.0].contains(&fields[*place].name().as_str())
        };
        Some(vec![(0..fields.len()).filter(is_read).collect()])
    }
}

/// Plans the relations that [`super::prepare_windows`] has named.
#[derive(Debug)]
pub(in crate::plan) struct WindowTablePlanner(pub(in crate::plan) WindowCalls);

impl RelationPlanner for WindowTablePlanner {
    fn plan_relation(&self, mut relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let found = match &mut relation {
            TableFactor::Derived { alias, .. } | TableFactor::Table { alias, .. } => {
                let call = alias.as_ref().and_then(|alias| self.0.get(&alias.name.value).cloned());
                call.and_then(|call| Some((call, alias.take()?)))
            }
            _ => None,
        };
        let Some((call, alias)) = found else { return Ok(RelationPlanning::Original(Box::new(relation))) };
        let name = alias.name.value;
        let input = SubqueryAlias::try_new(Arc::new(context.plan(relation)?), TableReference::bare(name.as_str()))?;
        let input = LogicalPlan::SubqueryAlias(input);
        WindowTable::check(&input, &call)?;
        let node = WindowTable::try_new(input, call, false, &name)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}
