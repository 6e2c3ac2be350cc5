//! Functions with OVER to operators: arguments and keys become columns, rows come in the order of ROWTIME, then one
//! [`SlidingWindow`](crate::operator::sliding_window) per PARTITION BY and frame appends its results.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;

use super::expr_text::{self, texts_over};
use super::physical::{OperatorSpec, PlanNode, physical, plan_operators, without_metadata};
use super::window_functions as named;
use crate::diagnostic::Diagnostic;
use crate::operator::sliding_window::frame::Frame;
use crate::operator::sliding_window::kernel::Function;
use crate::operator::sliding_window::moments::Statistic;
use crate::operator::sliding_window::places::Place;
use crate::operator::sliding_window::{FunctionSpec, SlidingPlan};
use crate::types::ROWTIME;

/// Plans `window` and what is below it.
pub(super) fn plan_sliding(window: &Window, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let input = plan_operators(&window.input, props)?;
    let mut columns = Columns::of(window.input.schema(), props);
    let width = columns.fields.len();
    let rowtime = columns.fields.iter().position(|field| field.name() == ROWTIME);
    let rowtime = rowtime.ok_or_else(|| Diagnostic::error("the rows of a window have no ROWTIME"))?;
    let mut windows: Vec<SlidingWindowSpec> = Vec::new();
    // Per function its window and its place there.
    let mut places = Vec::with_capacity(window.window_expr.len());
    for (i, expr) in window.window_expr.iter().enumerate() {
        // Type coercion keeps names with aliases.
        let Expr::WindowFunction(function) = unaliased(expr) else {
            return Err(Diagnostic::error(format!("{expr} is not a function of a window")));
        };
        let field = without_metadata(window.schema.as_arrow()).fields()[width + i].clone();
        let keys = columns.places(&function.params.partition_by)?;
        let frame = frame_of(&function.params.window_frame)?;
        let place = windows.iter().position(|known| known.keys == keys && known.frame == frame);
        let place = place.unwrap_or_else(|| {
            let names = texts_over(&function.params.partition_by, &window.input);
            windows.push(SlidingWindowSpec {
                keys,
                frame,
                names,
                arguments: Vec::new(),
                functions: Vec::new(),
                calls: Vec::new(),
            });
            windows.len() - 1
        });
        places.push((place, windows[place].functions.len()));
        windows[place].add(function, field, &mut columns)?;
        windows[place].calls.push(expr_text::window_call_text(function));
    }
    let (schema, text) = (columns.schema(), texts_over(&columns.computed, &window.input));
    let mut node = if columns.fields.len() == width {
        input
    } else {
        input.then(OperatorSpec::Project { expressions: columns.expressions, schema: schema.clone(), text })
    };
    let mut schema = schema;
    // Where the results of each window begin.
    let mut starts = Vec::with_capacity(windows.len());
    for window in windows {
        starts.push(schema.fields().len());
        let text = window.text();
        let SlidingWindowSpec { keys, frame, arguments, functions, .. } = window;
        let plan = SlidingPlan { input: schema, rowtime, keys, frame, arguments, functions };
        schema = plan.schema();
        node = node.then(OperatorSpec::Sliding { plan: Box::new(plan), text });
    }
    let results = places.into_iter().map(|(window, place)| starts[window] + place);
    let indices = (0..width).chain(results).collect();
    Ok(node.then(OperatorSpec::Select { indices, schema: without_metadata(window.schema.as_arrow()) }))
}

/// A window that is being put together.
struct SlidingWindowSpec {
    keys: Vec<usize>,
    frame: Frame,
    names: String,
    arguments: Vec<usize>,
    functions: Vec<FunctionSpec>,
    /// As EXPLAIN shows them.
    calls: Vec<String>,
}

impl SlidingWindowSpec {
    fn add(&mut self, call: &WindowFunction, field: FieldRef, columns: &mut Columns<'_>) -> Result<(), Diagnostic> {
        let arguments = &call.params.args;
        let function = function_of(call)?;
        let argument = match (function, arguments.first()) {
            (Function::CountRows, _) | (_, None) => None,
            (_, Some(argument)) => {
                let column = columns.place(argument)?;
                let known = self.arguments.iter().position(|known| *known == column);
                Some(known.unwrap_or_else(|| {
                    self.arguments.push(column);
                    self.arguments.len() - 1
                }))
            }
        };
        let otherwise = match arguments.get(2) {
            Some(otherwise) if call.fun.name() == named::LAG => Some(columns.place(otherwise)?),
            _ => None,
        };
        self.functions.push(FunctionSpec { function, argument, otherwise, field });
        Ok(())
    }

    fn text(&self) -> String {
        let frame = match self.frame {
            Frame::Range(length_ms) => format!("RANGE {} PRECEDING", expr_text::milliseconds_text(length_ms)),
            Frame::Rows(before) => format!("ROWS {before} PRECEDING"),
        };
        let keys = if self.names.is_empty() { String::new() } else { format!("PARTITION BY {} ", self.names) };
        format!("{} OVER ({keys}{frame})", self.calls.join(", "))
    }
}

/// The columns in front of the windows: the input's, then computed keys and arguments.
struct Columns<'a> {
    input: &'a DFSchema,
    props: &'a ExecutionProps,
    fields: Vec<FieldRef>,
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    /// The computed ones, behind the input's.
    computed: Vec<Expr>,
}

impl<'a> Columns<'a> {
    fn of(input: &'a DFSchema, props: &'a ExecutionProps) -> Self {
        let fields = input.as_arrow().fields().to_vec();
        let column = |(i, field): (usize, &FieldRef)| {
            Arc::new(datafusion::physical_expr::expressions::Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>
        };
        let expressions = fields.iter().enumerate().map(column).collect();
        Self { input, props, fields, expressions, computed: Vec::new() }
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.clone()))
    }

    fn places(&mut self, exprs: &[Expr]) -> Result<Vec<usize>, Diagnostic> {
        exprs.iter().map(|expr| self.place(expr)).collect()
    }

    /// The place of an expression's column.
    fn place(&mut self, expr: &Expr) -> Result<usize, Diagnostic> {
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
        let internal = |error: datafusion::error::DataFusionError| Diagnostic::error(error.strip_backtrace());
        let data_type = expression.data_type(self.input.as_arrow()).map_err(internal)?;
        self.fields.push(Arc::new(Field::new(format!("$over{}", self.computed.len()), data_type, true)));
        self.expressions.push(expression);
        self.computed.push(expr.clone());
        Ok(width + self.computed.len() - 1)
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        expr => expr,
    }
}

/// The frame; the query's windows have been checked before (`super::over`).
fn frame_of(frame: &WindowFrame) -> Result<Frame, Diagnostic> {
    let unexpected = || Diagnostic::error(format!("the frame {frame} is not supported"));
    match (frame.units, &frame.start_bound, &frame.end_bound) {
        (_, _, WindowFrameBound::Preceding(_) | WindowFrameBound::Following(_)) => Err(unexpected()),
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(ScalarValue::UInt64(Some(before))), _) => {
            // A frame of 2^32 rows would need more memory than there is.
            Ok(Frame::Rows(u32::try_from(*before).map_err(|_| unexpected())?.min(u32::MAX - 1)))
        }
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(length), _) => {
            Ok(Frame::Range(milliseconds(length).ok_or_else(unexpected)?))
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
            Some(Expr::Literal(value, _)) if !value.is_null() => Function::CountRows,
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
