//! Logical plan to operators; rejects what would need unbounded state.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::expressions::{BinaryExpr, NegativeExpr, lit as literal};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::distinct::plan_distinct;
use super::explain_error::plain_message;
use super::expr_text::{text, texts_over};
use super::groups::Groups;
use super::join::{StreamJoin, plan_lookup_join, plan_window_join};
use super::monotonic::{Monotonicity, is_of_rowtime, is_of_windows, is_plain_rowtime, monotonicity, of_instant, window_of};
use super::retimed::split;
use super::rowtime::GROUP_ROWTIME;
use super::sliding::plan_sliding;
use super::sort::{is_complete, plan_sort};
use super::stagger::plan_stagger;
use super::table_function::{TableFunction, plan_table_function};
use super::top_n;
use super::window_table::{WindowTable, origin, plan_window_table, plan_windowed};
use crate::diagnostic::Diagnostic;
use crate::operator::Operator;
use crate::operator::budget::Budget;
use crate::operator::distinct::{Distinct, DistinctPlan};
use crate::operator::filter::Filter;
use crate::operator::group_rank::{GroupRank, GroupRankPlan};
use crate::operator::hop_window::{HopPlan, HopWindow};
use crate::operator::insert::{Insert, InsertSource};
use crate::operator::lookup_join::{LookupJoin, LookupPlan};
use crate::operator::merge::Merge;
use crate::operator::model::{Model, ModelPlan};
use crate::operator::override_rowtime::OverrideRowtime;
use crate::operator::pair_filter::Side;
use crate::operator::periods::PeriodKey;
use crate::operator::project::Project;
use crate::operator::running_aggregate::{RunningAggregate, RunningPlan};
use crate::operator::select::Select;
use crate::operator::session_window::{SessionPlan, SessionWindow};
use crate::operator::sliding_window::{SlidingPlan, SlidingWindow};
use crate::operator::stagger_window::{StaggerPlan, StaggerWindow};
use crate::operator::stream_sort::{StreamSort, StreamSortPlan};
use crate::operator::time_order::TimeOrder;
use crate::operator::top_n::{TopN, TopNPlan};
use crate::operator::tumbling_window::{Emit, MergeWindows, OutputColumn, TumblingWindow, WindowPlan};
use crate::operator::turn_window::{TurnPlan, TurnWindow};
use crate::operator::window_join::{WindowJoin, WindowJoinPlan};
use crate::operator::window_key::WindowKey;
use crate::operator::window_pane::AggregateSpec;
use crate::operator::window_rows::{WindowRows, WindowRowsPlan};
use crate::operator::within_sort::{WithinSort, WithinSortPlan};
use crate::runtime::error_rows::ErrorReporter;
use crate::types::{ROWTIME, SqlType, sql_type_name};

/// A query as operators on streams.
#[derive(Clone)]
pub enum PlanNode {
    /// Reads columns of a stream.
    Scan {
        /// The stream, exact case.
        stream: String,
        /// Columns of the output, by their names in the stream.
        schema: SchemaRef,
    },
    /// Runs an operator on an input.
    Unary {
        /// Where the rows come from.
        input: Box<PlanNode>,
        /// What is done with them.
        operator: OperatorSpec,
    },
    /// Two streams, joined by their windows.
    Join {
        /// The stream before JOIN.
        left: Box<PlanNode>,
        /// The stream behind JOIN.
        right: Box<PlanNode>,
        /// How they are joined.
        plan: Box<WindowJoinPlan>,
        /// What EXPLAIN shows of it.
        text: String,
    },
    /// Rows of several inputs in ROWTIME order.
    Union {
        /// The branches, all of the same schema.
        inputs: Vec<PlanNode>,
        /// Schema of the output.
        schema: SchemaRef,
    },
}

/// An operator before it is built: the same spec is built once per partition.
#[derive(Clone)]
#[allow(missing_docs, reason = "each variant is documented by the operator it builds")]
pub enum OperatorSpec {
    Select { indices: Vec<usize>, schema: SchemaRef },
    Filter { predicate: Arc<dyn PhysicalExpr>, text: String },
    LookupJoin { plan: Box<LookupPlan>, text: String },
    Project { expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef, text: String },
    Window { plan: Box<WindowPlan>, emit: Emit, text: String },
    MergeWindows { plan: Box<WindowPlan> },
    WindowRows { plan: Box<WindowRowsPlan>, text: String },
    Hop { plan: Box<HopPlan>, text: String },
    Session { plan: Box<SessionPlan>, text: String },
    TopN { plan: Box<TopNPlan>, text: String },
    Stagger { plan: Box<StaggerPlan>, text: String },
    Turns { plan: Box<TurnPlan>, text: String },
    Distinct { plan: Box<DistinctPlan>, text: String },
    Model { plan: Box<ModelPlan>, schema: SchemaRef, text: String },
    GroupRank { plan: Box<GroupRankPlan>, text: String },
    Sort { plan: Box<StreamSortPlan>, text: String },
    SortWithin { plan: Box<WithinSortPlan>, text: String },
    TimeOrder { schema: SchemaRef, rowtime: usize },
    Sliding { plan: Box<SlidingPlan>, text: String },
    Running { plan: Box<RunningPlan>, text: String },
    OverrideRowtime { input: SchemaRef, schema: SchemaRef, rowtime: usize, sorts: bool },
    Merge { schema: SchemaRef, rowtime: usize },
    Insert { sources: Vec<Option<InsertSource>>, schema: SchemaRef },
    WindowJoin { plan: Box<WindowJoinPlan>, sides: Vec<Side>, text: String },
}

impl OperatorSpec {
    /// True for a sliding window, bounded or not: it hands rows on in the order in which they come.
    pub fn is_sliding(&self) -> bool {
        matches!(self, OperatorSpec::Sliding { .. } | OperatorSpec::Running { .. })
    }

    /// Builds the operator for one partition; its memory is counted in `pool`, and a model works on `threads`.
    pub fn build(
        &self,
        reporter: &ErrorReporter,
        pool: &Arc<dyn MemoryPool>,
        threads: usize,
    ) -> crate::Result<Box<dyn Operator>> {
        let window_hint = "Raise --memory-limit, shorten the window or group by fewer keys.";
        let sliding_hint = "Raise --memory-limit, shorten the window or partition by fewer keys.";
        let merge_hint = "Raise --memory-limit, or give a source that can be silent an idle_timeout: rows wait for the slowest.";
        Ok(match self.clone() {
            OperatorSpec::Select { indices, schema } => Box::new(Select::new(indices, schema)),
            OperatorSpec::Filter { predicate, .. } => Box::new(Filter::new(predicate, reporter.clone())),
            OperatorSpec::LookupJoin { plan, .. } => Box::new(LookupJoin::try_new(*plan, pool, reporter.clone())?),
            OperatorSpec::Project { expressions, schema, .. } => Box::new(Project::new(expressions, schema, reporter.clone())),
            OperatorSpec::Window { plan, emit, .. } => {
                let budget = Budget::new(plan.name, window_hint, pool);
                Box::new(TumblingWindow::try_new(*plan, emit, budget, reporter.clone())?)
            }
            OperatorSpec::MergeWindows { plan } => {
                Box::new(MergeWindows::new(*plan, Budget::new("merge windows", window_hint, pool), reporter.clone()))
            }
            OperatorSpec::WindowRows { plan, .. } => Box::new(WindowRows::new(*plan)),
            OperatorSpec::Hop { plan, .. } => {
                Box::new(HopWindow::try_new(*plan, Budget::new("hopping window", window_hint, pool), reporter.clone())?)
            }
            OperatorSpec::Session { plan, .. } => {
                let hint = "Raise --memory-limit, shorten the gap or partition by fewer keys.";
                Box::new(SessionWindow::try_new(*plan, Budget::new("session window", hint, pool), reporter.clone())?)
            }
            OperatorSpec::TopN { plan, .. } => {
                let hint = "Raise --memory-limit, or ask for fewer rows: WHERE rn <= 10 around the query.";
                Box::new(TopN::new(*plan, Budget::new("row number", hint, pool), reporter.clone()))
            }
            OperatorSpec::Stagger { plan, .. } => {
                Box::new(StaggerWindow::try_new(*plan, Budget::new("stagger window", window_hint, pool), reporter.clone())?)
            }
            OperatorSpec::Turns { plan, .. } => {
                let budget = Budget::new("window by turns", "Raise --memory-limit, or group by fewer keys.", pool);
                Box::new(TurnWindow::try_new(*plan, budget, reporter.clone())?)
            }
            OperatorSpec::Distinct { plan, .. } => {
                Box::new(Distinct::new(*plan, Budget::new("distinct", window_hint, pool), reporter.clone()))
            }
            OperatorSpec::Model { plan, .. } => {
                let hint = "Raise --memory-limit, use fewer trees or smaller samples, or bound PARTITION BY with max_models.";
                Box::new(Model::try_new(&plan, threads, Budget::new("model", hint, pool))?)
            }
            OperatorSpec::GroupRank { plan, .. } => {
                let hint = "Raise --memory-limit, or aggregate before ranking: a group is the rows of one ROWTIME.";
                Box::new(GroupRank::new(*plan, Budget::new("group rank", hint, pool), reporter.clock().clone()))
            }
            OperatorSpec::Sort { plan, .. } => {
                let hint = "Raise --memory-limit, or sort by a shorter time, such as FLOOR(ROWTIME TO SECOND), first.";
                Box::new(StreamSort::new(*plan, Budget::new("sort", hint, pool), reporter.clone()))
            }
            OperatorSpec::SortWithin { plan, .. } => {
                let hint = "Raise --memory-limit, or shorten the interval of WITHIN.";
                Box::new(WithinSort::new(*plan, Budget::new("sort within", hint, pool), reporter.clone()))
            }
            OperatorSpec::Sliding { plan, .. } => {
                Box::new(SlidingWindow::try_new(*plan, Budget::new("sliding window", sliding_hint, pool))?)
            }
            OperatorSpec::Running { plan, .. } => {
                let hint = "Raise --memory-limit, partition by fewer keys or give the window a bound.";
                Box::new(RunningAggregate::try_new(*plan, Budget::new("running aggregate", hint, pool))?)
            }
            OperatorSpec::TimeOrder { schema, rowtime } => {
                Box::new(TimeOrder::new(schema, rowtime, Budget::new("time order", merge_hint, pool), reporter.clone()))
            }
            OperatorSpec::OverrideRowtime { input, schema, rowtime, sorts } => {
                let budget = Budget::new("override rowtime", window_hint, pool);
                Box::new(OverrideRowtime::new((input, schema), rowtime, sorts, reporter.clone(), budget))
            }
            OperatorSpec::Merge { schema, rowtime } => {
                Box::new(Merge::new(schema, rowtime, Budget::new("merge", merge_hint, pool)))
            }
            OperatorSpec::WindowJoin { plan, sides, .. } => {
                let hint = "Raise --memory-limit, or shorten the windows of the join.";
                Box::new(WindowJoin::new(*plan, sides, Budget::new("window join", hint, pool), reporter.clone()))
            }
            OperatorSpec::Insert { sources, schema } => Box::new(Insert::new(sources, schema, reporter.clone())),
        })
    }
}

impl fmt::Display for OperatorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns =
            |schema: &SchemaRef| schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        match self {
            OperatorSpec::Select { schema, .. } => write!(f, "select [{}]", columns(schema)),
            OperatorSpec::Filter { text, .. } => write!(f, "filter [{text}]"),
            OperatorSpec::LookupJoin { text, .. } => write!(f, "lookup join [{text}]"),
            OperatorSpec::Project { text, .. } => write!(f, "project [{text}]"),
            OperatorSpec::Window { text, emit: Emit::Results, .. } => write!(f, "tumbling window [{text}]"),
            OperatorSpec::Window { text, emit: Emit::States, .. } => write!(f, "tumbling window, partial [{text}]"),
            OperatorSpec::MergeWindows { .. } => write!(f, "merge windows"),
            OperatorSpec::WindowRows { text, .. } => write!(f, "windows [{text}]"),
            OperatorSpec::Hop { text, .. } => write!(f, "hopping window [{text}]"),
            OperatorSpec::Session { text, .. } => write!(f, "session window [{text}]"),
            OperatorSpec::TopN { text, .. } => write!(f, "row number [{text}]"),
            OperatorSpec::Stagger { text, .. } => write!(f, "stagger window [{text}]"),
            OperatorSpec::Turns { text, .. } => write!(f, "window by turns [{text}]"),
            OperatorSpec::Distinct { text, .. } => write!(f, "distinct [{text}]"),
            OperatorSpec::Model { text, .. } => write!(f, "model [{text}]"),
            OperatorSpec::GroupRank { text, .. } => write!(f, "group rank [{text}]"),
            OperatorSpec::Sort { text, .. } | OperatorSpec::SortWithin { text, .. } => write!(f, "sort [{text}]"),
            OperatorSpec::Sliding { text, .. } => write!(f, "sliding window [{text}]"),
            OperatorSpec::Running { text, .. } => write!(f, "running aggregate [{text}]"),
            OperatorSpec::TimeOrder { .. } => write!(f, "time order"),
            OperatorSpec::OverrideRowtime { .. } => write!(f, "override rowtime"),
            OperatorSpec::Merge { .. } => write!(f, "merge [by ROWTIME]"),
            OperatorSpec::WindowJoin { text, .. } => write!(f, "window join [{text}]"),
            OperatorSpec::Insert { schema, .. } => write!(f, "insert [{}]", columns(schema)),
        }
    }
}

impl PlanNode {
    /// Schema of the output.
    pub fn schema(&self) -> SchemaRef {
        match self {
            PlanNode::Scan { schema, .. } | PlanNode::Union { schema, .. } => schema.clone(),
            PlanNode::Join { plan, .. } => plan.schema.clone(),
            PlanNode::Unary { input, operator } => match operator {
                OperatorSpec::Select { schema, .. }
                | OperatorSpec::Project { schema, .. }
                | OperatorSpec::OverrideRowtime { schema, .. }
                | OperatorSpec::Merge { schema, .. }
                | OperatorSpec::TimeOrder { schema, .. }
                | OperatorSpec::Model { schema, .. }
                | OperatorSpec::Insert { schema, .. } => schema.clone(),
                OperatorSpec::Window { plan, .. } | OperatorSpec::MergeWindows { plan } => plan.schema.clone(),
                OperatorSpec::WindowRows { plan, .. } => plan.schema.clone(),
                OperatorSpec::Hop { plan, .. } => plan.panes.schema.clone(),
                OperatorSpec::Session { plan, .. } => plan.schema.clone(),
                OperatorSpec::TopN { plan, .. } => plan.output(),
                OperatorSpec::Stagger { plan, .. } => plan.schema.clone(),
                OperatorSpec::Turns { plan, .. } => plan.schema.clone(),
                OperatorSpec::Distinct { plan, .. } => plan.schema.clone(),
                OperatorSpec::GroupRank { plan, .. } => plan.output(),
                OperatorSpec::LookupJoin { plan, .. } => plan.schema.clone(),
                OperatorSpec::WindowJoin { plan, .. } => plan.schema.clone(),
                OperatorSpec::Sliding { plan, .. } => plan.schema(),
                OperatorSpec::Running { plan, .. } => plan.schema(),
                OperatorSpec::Sort { plan, .. } => plan.schema.clone(),
                OperatorSpec::SortWithin { plan, .. } => plan.schema.clone(),
                OperatorSpec::Filter { .. } => input.schema(),
            },
        }
    }

    /// Calls `visit` with every stream that is read and the columns it is read for.
    pub fn for_each_scan(&self, visit: &mut dyn FnMut(&str, &SchemaRef)) {
        match self {
            PlanNode::Scan { stream, schema } => visit(stream, schema),
            PlanNode::Unary { input, .. } => input.for_each_scan(visit),
            PlanNode::Join { left, right, .. } => {
                left.for_each_scan(visit);
                right.for_each_scan(visit);
            }
            PlanNode::Union { inputs, .. } => inputs.iter().for_each(|input| input.for_each_scan(visit)),
        }
    }

    pub(super) fn then(self, operator: OperatorSpec) -> PlanNode {
        PlanNode::Unary { input: Box::new(self), operator }
    }
}

/// Begins the message about `… AS ROWTIME` of another type.
pub(super) const NO_ROWTIME: &str = "ROWTIME must be a TIMESTAMP";

/// Plans `plan` as operators. Errors have no span: the caller knows the query's place.
pub fn plan_operators(plan: &LogicalPlan, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let schema = Arc::new(scan.projected_schema.as_arrow().clone());
            Ok(PlanNode::Scan { stream: scan.table_name.table().to_owned(), schema })
        }
        LogicalPlan::SubqueryAlias(alias) => plan_operators(&alias.input, props),
        LogicalPlan::Join(join) => plan_lookup_join(join, props),
        LogicalPlan::Extension(_) if let Some(join) = StreamJoin::of(plan) => plan_window_join(join, props),
        LogicalPlan::Extension(_) if let Some(function) = TableFunction::of(plan) => plan_table_function(function, props),
        LogicalPlan::Extension(_) if let Some(table) = WindowTable::of(plan) => plan_window_table(table, props),
        LogicalPlan::Filter(filter) => {
            let mut input = plan_operators(&filter.input, props)?;
            top_n::bound(&mut input, &filter.predicate, &filter.input);
            let predicate = physical(&filter.predicate, filter.input.schema(), props)?;
            Ok(input.then(OperatorSpec::Filter {
                predicate,
                text: texts_over(std::slice::from_ref(&filter.predicate), &filter.input),
            }))
        }
        LogicalPlan::Projection(projection) => {
            let input = plan_operators(&projection.input, props)?;
            let overridden = overridden_rowtime(projection);
            let (items, came) = overridden.map_or_else(|| (projection.expr.clone(), None), |place| split(projection, place));
            let computed = items.iter().chain(&came).map(|expr| physical(expr, projection.input.schema(), props));
            let expressions = computed.collect::<Result<Vec<_>, _>>()?;
            let schema = without_metadata(projection.schema.as_arrow());
            let with_came = match came {
                Some(_) => with_field(&schema, SqlType::Timestamp.field(CAME, true)),
                None => schema.clone(),
            };
            let text = texts_over(&items, &projection.input);
            let node = input.then(OperatorSpec::Project { expressions, schema: with_came.clone(), text });
            Ok(match overridden {
                Some(rowtime) => {
                    let field = schema.field(rowtime);
                    if *field.data_type() != SqlType::Timestamp.data_type() {
                        let problem = Diagnostic::error(format!("{NO_ROWTIME}, not {}", sql_type_name(field)));
                        return Err(problem.hint("Convert it to a TIMESTAMP, or give the column another name."));
                    }
                    let sorts = is_window_result(&projection.input);
                    node.then(OperatorSpec::OverrideRowtime { input: with_came, schema, rowtime, sorts })
                }
                None => node,
            })
        }
        LogicalPlan::Aggregate(aggregate) => {
            if let Some(windowed) = plan_windowed(aggregate, props) {
                return windowed;
            }
            let input = plan_operators(&aggregate.input, props)?;
            match plan_stagger(aggregate, props) {
                Some(stagger) => Ok(input.then(stagger?)),
                None => Ok(input.then(plan_window(aggregate, props)?)),
            }
        }
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => {
            Ok(plan_operators(input, props)?.then(plan_distinct(input, props)?))
        }
        LogicalPlan::Window(window) => plan_sliding(window, props),
        LogicalPlan::Sort(sort) => plan_sort(sort, props),
        LogicalPlan::Union(union) => {
            let schema = without_metadata(union.schema.as_arrow());
            let all_columns = (0..schema.fields().len()).collect::<Vec<_>>();
            let inputs = union.inputs.iter().map(|input| {
                let select = OperatorSpec::Select { indices: all_columns.clone(), schema: schema.clone() };
                Ok(plan_operators(input, props)?.then(select))
            });
            Ok(PlanNode::Union { inputs: inputs.collect::<Result<_, Diagnostic>>()?, schema })
        }
        other => Err(Diagnostic::error(format!("{} in a stream query is not supported yet", construct_name(other)))),
    }
}

fn construct_name(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Subquery(_) => "a subquery in an expression",
        LogicalPlan::Values(_) => "VALUES",
        LogicalPlan::EmptyRelation(_) => "a query without FROM",
        LogicalPlan::Unnest(_) => "UNNEST",
        _ => "this construct",
    }
}

/// Field metadata says what a column was declared as; a computed column is what its Arrow type says.
pub(super) fn without_metadata(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect::<Vec<_>>(),
    ))
}

/// The column behind those of a projection that gives its rows another ROWTIME: the one that they come with.
pub(super) const CAME: &str = "$came";

pub(super) fn with_field(schema: &SchemaRef, field: FieldRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([field]).collect::<Vec<_>>()))
}

/// The place of ROWTIME in the output if the projection gives it a new value.
fn overridden_rowtime(projection: &datafusion::logical_expr::Projection) -> Option<usize> {
    let place = projection.schema.fields().iter().position(|field| field.name() == ROWTIME)?;
    let plain = is_plain_rowtime(&monotonicity(&projection.expr[place], &projection.input));
    (!plain).then_some(place)
}

/// True if the rows of `plan` are those of a window, which come one window at a time and in no order of time.
pub(super) fn is_window_result(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().iter().all(|input| is_window_result(input))
        }
        _ => false,
    }
}

/// A physical expression whose integer arithmetic fails on overflow instead of wrapping (kda-sql-reference.md §8.2).
pub(super) fn physical(expr: &Expr, schema: &DFSchema, props: &ExecutionProps) -> Result<Arc<dyn PhysicalExpr>, Diagnostic> {
    let planned = create_physical_expr(expr, schema, props, &PhysicalPlanningContext::default()).and_then(|expr| {
        expr.transform_up(|node| {
            // −x of the least x would be x again.
            if let Some(negative) = node.downcast_ref::<NegativeExpr>()
                && let data_type = negative.arg().data_type(schema.as_arrow())?
                && data_type.is_signed_integer()
            {
                let zero = literal(ScalarValue::new_zero(&data_type)?);
                let checked = BinaryExpr::new(zero, datafusion::logical_expr::Operator::Minus, negative.arg().clone());
                return Ok(Transformed::yes(Arc::new(checked.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>));
            }
            Ok(match node.downcast_ref::<BinaryExpr>() {
                Some(binary) => {
                    let checked = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
                    Transformed::yes(Arc::new(checked.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>)
                }
                None => Transformed::no(node),
            })
        })
    });
    planned.map(|expr| expr.data).map_err(|error| {
        let message = plain_message(&error);
        match message.contains("does not support logical expression") {
            true => Diagnostic::error(format!("{} cannot stand here", text(expr))),
            false => Diagnostic::error(message),
        }
    })
}

/// True if the rows of `plan` come from a join of streams, before any other window.
fn joins_streams(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().into_iter().any(joins_streams)
        }
        plan => StreamJoin::of(plan).is_some(),
    }
}

fn plan_window(aggregate: &Aggregate, props: &ExecutionProps) -> Result<OperatorSpec, Diagnostic> {
    let input = aggregate.input.as_ref();
    let Some((place, moving)) = window_of(aggregate) else {
        let hint = match joins_streams(input) {
            true => {
                "The rows of a join have a ROWTIME of their own, that of no stream in it: add STEP(ROWTIME BY INTERVAL '10' SECOND) or \
                 FLOOR(ROWTIME TO MINUTE) to the GROUP BY."
            }
            false => {
                "Add a window, such as STEP(s.ROWTIME BY INTERVAL '10' SECOND) or FLOOR(s.ROWTIME TO MINUTE), to the GROUP BY."
            }
        };
        return Err(Diagnostic::error(
            "GROUP BY on a stream needs a monotonic expression of ROWTIME: without one it could never emit a row",
        )
        .hint(hint));
    };
    let expr = &aggregate.group_expr[place];
    if moving.is_declared() {
        return plan_turns(aggregate, place, &moving, props);
    }
    // Start, end and time of one TUMBLE window are one window.
    let tumble = origin(expr, input).filter(|(table, index)| table.of_rowtime(*index).is_some());
    let shift = |other: usize| match (tumble, origin(&aggregate.group_expr[other], input)) {
        (Some((table, one)), Some((same, other))) if table == same => table.between(one, other),
        _ => None,
    };
    let mut others = aggregate.group_expr.iter().enumerate().filter(|(other, _)| *other != place && shift(*other).is_none());
    // One that does not move with ROWTIME, such as EXTRACT, is based on it all the same.
    let times: Vec<_> = expr.column_refs().into_iter().filter(|column| column.name == ROWTIME).collect();
    let is_based_on_rowtime = |other: &Expr| other.column_refs().iter().any(|column| times.contains(column));
    if let Some((_, other)) = others.find(|(_, other)| is_of_rowtime(other, input) || is_based_on_rowtime(other)) {
        let (one, two) = (text(expr), text(other));
        return Err(Diagnostic::error(format!("GROUP BY has two expressions of ROWTIME: {one} and {two}"))
            .hint("Only one expression based on ROWTIME is allowed in a GROUP BY."));
    }
    let (of_time, descending) = match &moving {
        Monotonicity::Ascending(expr) => (expr, false),
        Monotonicity::Descending(expr) => (expr, true),
        Monotonicity::Constant(_) | Monotonicity::None => return Err(Diagnostic::error("the window key is not monotonic")),
    };
    let field = aggregate.schema.field(place);
    if !WindowKey::supports(field.data_type()) {
        return Err(Diagnostic::error(format!(
            "{} is {}, which cannot be the key of a window",
            text(expr),
            sql_type_name(field)
        ))
        .hint("Use STEP or FLOOR of ROWTIME, which give timestamps."));
    }
    // Where all rows of a ROWTIME are there with the watermark, windows of windows end when those do.
    let of_results = is_of_windows(of_time) && is_complete(input);
    let window = window_key(expr, &of_instant(of_time, of_results), descending, input.schema(), props)?;
    let window = if of_results { window.of_results() } else { window };
    let column = |other: usize| if other == place { Some(0) } else { shift(other) }.map(OutputColumn::Window);
    let groups = Groups::try_new(aggregate, column, props)?;
    let text = groups.text(&text(expr));
    let Groups { keys, layout, columns, schema, .. } = groups;
    let plan = Box::new(WindowPlan { name: "tumbling window", window, keys, layout, columns, schema });
    Ok(OperatorSpec::Window { plan, emit: Emit::Results, text })
}

/// Windows whose key, at `place`, is declared to grow: it is a key like the others, and says when all of them are complete.
fn plan_turns(
    aggregate: &Aggregate,
    place: usize,
    moving: &Monotonicity,
    props: &ExecutionProps,
) -> Result<OperatorSpec, Diagnostic> {
    let input = aggregate.input.schema();
    let period = period_key(&aggregate.group_expr[place], moving, input, props)?;
    let groups = Groups::try_new(aggregate, |_| None, props)?;
    let text = groups.text(&text(&aggregate.group_expr[place]));
    let Groups { keys, layout, columns, schema, .. } = groups;
    let rowtime = input.fields().iter().position(|field| field.name() == ROWTIME);
    let rowtime = rowtime.ok_or_else(|| Diagnostic::error("the rows of GROUP BY have no ROWTIME"))?;
    let plan = TurnPlan { period, rowtime, keys, layout, columns, schema };
    Ok(OperatorSpec::Turns { plan: Box::new(plan), text })
}

/// What `expr` over `schema` cuts rows into.
pub(super) fn period_key(
    expr: &Expr,
    moving: &Monotonicity,
    schema: &DFSchema,
    props: &ExecutionProps,
) -> Result<PeriodKey, Diagnostic> {
    let (of_time, descending) = match moving {
        Monotonicity::Ascending(of_time) => (of_time, false),
        Monotonicity::Descending(of_time) => (of_time, true),
        Monotonicity::Constant(_) | Monotonicity::None => return Err(Diagnostic::error("the key is not monotonic")),
    };
    Ok(match moving.is_declared() {
        true => PeriodKey::declared(physical(expr, schema, props)?, descending),
        false => PeriodKey::Time(window_key(expr, of_time, descending, schema, props)?),
    })
}

/// The key `expr` over `schema`, which is `of_time` over ROWTIME alone.
pub(super) fn window_key(
    expr: &Expr,
    of_time: &Expr,
    descending: bool,
    schema: &DFSchema,
    props: &ExecutionProps,
) -> Result<WindowKey, Diagnostic> {
    let internal = |error: datafusion::error::DataFusionError| Diagnostic::error(plain_message(&error));
    let time_schema = DFSchema::try_from(WindowKey::time_schema().as_ref().clone()).map_err(internal)?;
    let of_time = of_instant(of_time, false);
    Ok(WindowKey::new(physical(expr, schema, props)?, physical(&of_time, &time_schema, props)?, descending))
}

pub(super) fn is_group_rowtime(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(function) if function.func.name() == GROUP_ROWTIME)
}

pub(super) fn plan_aggregate(expr: &Expr, input: &DFSchemaRef, props: &ExecutionProps) -> Result<AggregateSpec, Diagnostic> {
    if let Expr::AggregateFunction(function) = expr
        && function.params.filter.is_some()
    {
        return Err(Diagnostic::error(format!("FILTER in {} is not supported", text(expr))));
    }
    let context = PhysicalPlanningContext::default();
    let lowered = LoweredAggregateBuilder::new(expr, input, input.as_arrow(), props, &context).build();
    let lowered = lowered.map_err(|error| Diagnostic::error(plain_message(&error)))?;
    // Accumulators get what they are ordered by behind their arguments.
    let order = lowered.aggregate.order_bys().iter().map(|order| order.expr.clone());
    let arguments = lowered.aggregate.expressions().into_iter().chain(order).collect();
    let function = lowered.aggregate;
    // Some functions find out only now that they cannot be computed of a type.
    let tried = match function.groups_accumulator_supported() {
        true => function.create_groups_accumulator().map(drop),
        false => function.create_accumulator().map(drop),
    };
    tried.map_err(|error| Diagnostic::error(format!("{} cannot be computed: {}", text(expr), plain_message(&error))))?;
    Ok(AggregateSpec { arguments, function })
}
