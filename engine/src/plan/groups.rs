//! The groups of an aggregating query: its keys, its aggregates, and which output columns are the window's.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{Aggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;

use super::expr_text::texts;
use super::physical::{is_group_rowtime, physical, plan_aggregate, without_metadata};
use crate::diagnostic::Diagnostic;
use crate::operator::tumbling_window::OutputColumn;
use crate::operator::window_pane::PaneLayout;

/// What an operator of windows is told of its groups.
pub(super) struct Groups {
    /// The keys besides the window.
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) layout: PaneLayout,
    pub(super) columns: Vec<OutputColumn>,
    pub(super) schema: SchemaRef,
    /// Keys and aggregates as EXPLAIN shows them.
    text: String,
}

impl Groups {
    /// The groups of `aggregate`; `window` says which GROUP BY expressions are the window's, by their place.
    pub(super) fn try_new(
        aggregate: &Aggregate,
        window: impl Fn(usize) -> Option<OutputColumn>,
        props: &ExecutionProps,
    ) -> Result<Self, Diagnostic> {
        let input = aggregate.input.schema();
        let (mut columns, mut keys, mut key_fields) = (Vec::new(), Vec::new(), Vec::<FieldRef>::new());
        for (place, expr) in aggregate.group_expr.iter().enumerate() {
            columns.push(match window(place) {
                Some(column) => column,
                None => {
                    keys.push(physical(expr, input, props)?);
                    key_fields.push(aggregate.schema.field(place).clone());
                    OutputColumn::Key(keys.len() - 1)
                }
            });
        }
        let mut aggregates = Vec::new();
        for expr in &aggregate.aggr_expr {
            columns.push(if is_group_rowtime(expr) {
                OutputColumn::WindowEnd(0)
            } else {
                aggregates.push(plan_aggregate(expr, input, props)?);
                OutputColumn::Aggregate(aggregates.len() - 1)
            });
        }
        let of_keys = |(place, expr): (usize, _)| window(place).is_none().then_some(expr);
        let keys_text = texts(aggregate.group_expr.iter().enumerate().filter_map(of_keys));
        let calls_text = texts(aggregate.aggr_expr.iter().filter(|expr: &&Expr| !is_group_rowtime(expr)));
        let parts = ["by ", "computing "].iter().zip([keys_text, calls_text]).filter(|(_, part)| !part.is_empty());
        let text = parts.map(|(word, part)| format!("; {word}{part}")).collect();
        let layout = PaneLayout::try_new(key_fields, aggregates).map_err(|error| Diagnostic::error(error.message()))?;
        Ok(Self { keys, layout, columns, schema: without_metadata(aggregate.schema.as_arrow()), text })
    }

    /// The window, the keys and the aggregates, as EXPLAIN shows them.
    pub(super) fn text(&self, window: &str) -> String {
        format!("{window}{}", self.text)
    }
}
