//! Functions with OVER to operators: arguments and keys become columns, rows come in the order of ROWTIME, then one
//! [`SlidingWindow`](crate::operator::sliding_window) per PARTITION BY and frame appends its results, or a
//! [`RunningAggregate`](crate::operator::running_aggregate) where the frame has no bound.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, WindowFunction};
use datafusion::logical_expr::{Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalExpr;

use super::explain_error::plain_message;
use super::expr_text::{self, texts_over};
use super::physical::{OperatorSpec, PlanNode, physical, plan_aggregate, plan_operators, without_metadata};
use super::top_n::plan_top_n;
use super::window_functions as named;
use crate::diagnostic::Diagnostic;
use crate::operator::running_aggregate::{RunningFunction, RunningPlan};
use crate::operator::sliding_window::frame::Frame;
use crate::operator::sliding_window::kernel::Function;
use crate::operator::sliding_window::moments::Statistic;
use crate::operator::sliding_window::places::Place;
use crate::operator::sliding_window::{FunctionSpec, SlidingPlan};
use crate::types::ROWTIME;

/// Plans `window` and what is below it.
pub(super) fn plan_sliding(window: &Window, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    if let Some(numbered) = plan_top_n(window, props) {
        return numbered;
    }
    let input = plan_operators(&window.input, props)?;
    let mut columns = Columns::of(window.input.schema(), props);
    let width = columns.fields.len();
    let rowtime = columns.fields.iter().position(|field| field.name() == ROWTIME);
    let rowtime = rowtime.ok_or_else(|| Diagnostic::error("the rows of a window have no ROWTIME"))?;
    let results = without_metadata(window.schema.as_arrow());
    // Expressions above refer to columns by their place: the names are for EXPLAIN.
    let mut shown = results.fields()[..width].to_vec();
    let mut groups: Vec<Group<'_>> = Vec::new();
    // Per function its group and its place there.
    let mut places = Vec::with_capacity(window.window_expr.len());
    for (expr, field) in window.window_expr.iter().zip(&results.fields()[width..]) {
        // Type coercion keeps names with aliases.
        let Expr::WindowFunction(call) = unaliased(expr) else {
            return Err(Diagnostic::error(format!("{expr} is not a function of a window")));
        };
        let keys = columns.places(&call.params.partition_by)?;
        let frame = frame_of(&call.params.window_frame)?;
        let place = groups.iter().position(|known| known.keys == keys && known.frame == frame);
        let place = place.unwrap_or_else(|| {
            let names = texts_over(&call.params.partition_by, &window.input);
            groups.push(Group { keys, frame, names, calls: Vec::new() });
            groups.len() - 1
        });
        places.push((place, groups[place].calls.len()));
        groups[place].calls.push((call.as_ref(), field.clone()));
        let name = format!("{} OVER (…)", expr_text::window_call_text(call));
        shown.push(Arc::new(field.as_ref().clone().with_name(name)));
    }
    // Arguments become columns, so all of them come before the first window.
    let functions = groups.iter().map(|group| group.functions(&mut columns)).collect::<Result<Vec<_>, _>>()?;
    let mut schema = columns.schema();
    let mut node = if columns.computed.is_empty() {
        input
    } else {
        let text = texts_over(&columns.computed, &window.input);
        input.then(OperatorSpec::Project { expressions: columns.expressions, schema: schema.clone(), text })
    };
    // Where the results of each group begin.
    let mut starts = Vec::with_capacity(groups.len());
    for (group, functions) in groups.into_iter().zip(functions) {
        starts.push(schema.fields().len());
        let text = group.text();
        let operator = match functions {
            Functions::Sliding(frame, arguments, functions) => {
                let plan = SlidingPlan { input: schema, rowtime, keys: group.keys, frame, arguments, functions };
                schema = plan.schema();
                OperatorSpec::Sliding { plan: Box::new(plan), text }
            }
            Functions::Running(functions) => {
                let plan = RunningPlan { input: schema, keys: group.keys, functions };
                schema = plan.schema();
                OperatorSpec::Running { plan: Box::new(plan), text }
            }
        };
        node = node.then(operator);
    }
    let of_functions = places.into_iter().map(|(group, place)| starts[group] + place);
    let indices = (0..width).chain(of_functions).collect();
    Ok(node.then(OperatorSpec::Select { indices, schema: Arc::new(Schema::new(shown)) }))
}

/// The functions of one PARTITION BY and one frame.
struct Group<'a> {
    keys: Vec<usize>,
    /// None: all rows so far.
    frame: Option<Frame>,
    /// The keys as EXPLAIN shows them.
    names: String,
    calls: Vec<(&'a WindowFunction, FieldRef)>,
}

enum Functions {
    Sliding(Frame, Vec<usize>, Vec<FunctionSpec>),
    Running(Vec<RunningFunction>),
}

impl Group<'_> {
    fn functions(&self, columns: &mut Columns<'_>) -> Result<Functions, Diagnostic> {
        let calls = self.calls.iter();
        let Some(frame) = self.frame else {
            let functions = calls.map(|(call, field)| running_function(call, field.clone(), columns));
            return Ok(Functions::Running(functions.collect::<Result<_, _>>()?));
        };
        let mut arguments = Vec::new();
        let functions = calls.map(|(call, field)| sliding_function(call, field.clone(), columns, &mut arguments));
        let functions = functions.collect::<Result<_, _>>()?;
        Ok(Functions::Sliding(frame, arguments, functions))
    }

    fn text(&self) -> String {
        let frame = match self.frame {
            Some(Frame::Range(length_ms)) => format!("RANGE {} PRECEDING", expr_text::milliseconds_text(length_ms)),
            Some(Frame::Rows(before)) => format!("ROWS {before} PRECEDING"),
            None => "ROWS UNBOUNDED PRECEDING".to_owned(),
        };
        let calls = self.calls.iter().map(|(call, _)| expr_text::window_call_text(call)).collect::<Vec<_>>().join(", ");
        let keys = if self.names.is_empty() { String::new() } else { format!("PARTITION BY {} ", self.names) };
        format!("{calls} OVER ({keys}{frame})")
    }
}

fn sliding_function(
    call: &WindowFunction,
    field: FieldRef,
    columns: &mut Columns<'_>,
    arguments: &mut Vec<usize>,
) -> Result<FunctionSpec, Diagnostic> {
    let function = function_of(call)?;
    let argument = match (function, call.params.args.first()) {
        (Function::CountRows, _) | (_, None) => None,
        (_, Some(argument)) => {
            let column = columns.place(argument)?;
            let known = arguments.iter().position(|known| *known == column);
            Some(known.unwrap_or_else(|| {
                arguments.push(column);
                arguments.len() - 1
            }))
        }
    };
    let otherwise = match call.params.args.get(2) {
        Some(otherwise) if call.fun.name() == named::LAG => Some(columns.place(otherwise)?),
        _ => None,
    };
    Ok(FunctionSpec { function, argument, distinct: call.params.distinct, otherwise, field })
}

fn running_function(call: &WindowFunction, field: FieldRef, columns: &mut Columns<'_>) -> Result<RunningFunction, Diagnostic> {
    let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
        return Err(Diagnostic::error(format!("{} needs a window with a bound", expr_text::window_call_text(call))));
    };
    let aggregate = AggregateFunction::new_udf(function.clone(), call.params.args.clone(), false, None, Vec::new(), None);
    let spec = plan_aggregate(&Expr::AggregateFunction(aggregate), columns.input, columns.props)?;
    Ok(RunningFunction { function: spec.function, arguments: columns.places(&call.params.args)?, field })
}

/// The columns in front of the windows: the input's, then computed keys and arguments.
pub(super) struct Columns<'a> {
    input: &'a DFSchemaRef,
    props: &'a ExecutionProps,
    pub(super) fields: Vec<FieldRef>,
    pub(super) expressions: Vec<Arc<dyn PhysicalExpr>>,
    /// The computed ones, behind the input's.
    pub(super) computed: Vec<Expr>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(input: &'a DFSchemaRef, props: &'a ExecutionProps) -> Self {
        let fields = input.as_arrow().fields().to_vec();
        let column = |(i, field): (usize, &FieldRef)| {
            Arc::new(datafusion::physical_expr::expressions::Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>
        };
        let expressions = fields.iter().enumerate().map(column).collect();
        Self { input, props, fields, expressions, computed: Vec::new() }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.clone()))
    }

    pub(super) fn places(&mut self, exprs: &[Expr]) -> Result<Vec<usize>, Diagnostic> {
        exprs.iter().map(|expr| self.place(expr)).collect()
    }

    /// The place of an expression's column.
    pub(super) fn place(&mut self, expr: &Expr) -> Result<usize, Diagnostic> {
        if let Expr::Column(column) = expr
            && let Some(place) = self.input.maybe_index_of_column(column)
        {
            return Ok(place);
        }
        let width = self.input.fields().len();
        if let Some(place) = self.computed.iter().position(|known| known == expr) {
            return Ok(width + place);
        }
        let expression = physical(expr, self.input, self.props)?;
        let internal = |error: datafusion::error::DataFusionError| Diagnostic::error(plain_message(&error));
        let data_type = expression.data_type(self.input.as_arrow()).map_err(internal)?;
        self.fields.push(Arc::new(Field::new(format!("$over{}", self.computed.len()), data_type, true)));
        self.expressions.push(expression);
        self.computed.push(expr.clone());
        Ok(width + self.computed.len() - 1)
    }
}

pub(super) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        expr => expr,
    }
}

/// The frame, None if it has no bound; the query's windows have been checked before (`super::over`).
fn frame_of(frame: &WindowFrame) -> Result<Option<Frame>, Diagnostic> {
    let unexpected = || Diagnostic::error(format!("the frame {frame} is not supported"));
    match (frame.units, &frame.start_bound, &frame.end_bound) {
        (_, _, WindowFrameBound::Preceding(_) | WindowFrameBound::Following(_)) => Err(unexpected()),
        (_, WindowFrameBound::Preceding(start), _) if start.is_null() => Ok(None),
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(ScalarValue::UInt64(Some(before))), _) => {
            // A frame of 2^32 rows would need more memory than there is.
            Ok(Some(Frame::Rows(u32::try_from(*before).map_err(|_| unexpected())?.min(u32::MAX - 1))))
        }
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(length), _) => {
            Ok(Some(Frame::Range(milliseconds(length).ok_or_else(unexpected)?)))
        }
        _ => Err(unexpected()),
    }
}

/// A day-time interval of whole milliseconds.
fn milliseconds(interval: &ScalarValue) -> Option<i64> {
    match interval {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(86_400_000)?.checked_add(interval.nanoseconds / 1_000_000)
        }
        _ => None,
    }
}

fn function_of(call: &WindowFunction) -> Result<Function, Diagnostic> {
    let arguments = &call.params.args;
    let ignore_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let place = |place| Ok(Function::Place { place, ignore_nulls });
    let moment = |sample, deviation| Ok(Function::Moment(Statistic { sample, deviation }));
    let unexpected = || Diagnostic::error(format!("{} with OVER is not supported", call.fun.name().trim_start_matches('$')));
    let number = || match arguments.get(1) {
        None => Some(1),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::UInt32) {
            Ok(ScalarValue::UInt32(number)) => number,
            _ => None,
        },
        Some(_) => None,
    };
    match call.fun.name() {
        "count" => Ok(match arguments.first() {
            None => Function::CountRows,
            Some(Expr::Literal(value, _)) if !value.is_null() && !call.params.distinct => Function::CountRows,
            Some(_) => Function::Count,
        }),
        "sum" => Ok(Function::Sum),
        "avg" => Ok(Function::Average),
        "min" => Ok(Function::Min),
        "max" => Ok(Function::Max),
        "bool_or" => Ok(Function::Any),
        "bool_and" => Ok(Function::Every),
        "var_pop" => moment(false, false),
        "var" => moment(true, false),
        "stddev_pop" => moment(false, true),
        "stddev" => moment(true, true),
        named::FIRST_VALUE => place(Place::FromFirst(1)),
        named::LAST_VALUE => place(Place::FromLast(1)),
        named::NTH_VALUE => place(Place::FromFirst(number().ok_or_else(unexpected)?)),
        named::NTH_VALUE_FROM_LAST => place(Place::FromLast(number().ok_or_else(unexpected)?)),
        // The row itself, whatever it holds.
        named::LAG => match number().ok_or_else(unexpected)? {
            0 => Ok(Function::Place { place: Place::FromLast(1), ignore_nulls: false }),
            n => place(Place::Before(n)),
        },
        named::EXP_AVG => match arguments.get(1) {
            Some(Expr::Literal(length, _)) => milliseconds(length).map(Function::Faded).ok_or_else(unexpected),
            _ => Err(unexpected()),
        },
        _ => Err(unexpected()),
    }
}
