//! VALUES: numbers of one column have the type that they have together, and whole ones are INTEGER if they fit (kda-sql-reference.md
//! §1.4, §1.7).
//!
//! DataFusion's planner has cast them already, and makes DECIMAL(30, 15) of a DECIMAL and a DOUBLE, where 1e30 fails.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Values};

use super::{literals, numbers};

/// The rule for `values`.
pub(super) fn typed(values: Values) -> Result<LogicalPlan> {
    let nothing = DFSchema::empty();
    let mut rows = values.values;
    // Numbers that are computed with have their own type, the others that of their column.
    for (column, field) in values.schema.fields().iter().enumerate() {
        for row in &mut rows {
            if !matches!(uncast(&row[column], field.data_type()), Expr::Literal(..)) {
                row[column] = std::mem::take(&mut row[column]).transform_up(|expr| Ok(literals::narrow(expr)))?.data;
            }
        }
    }
    let mut changed = false;
    for (column, field) in values.schema.fields().iter().enumerate().filter(|(_, field)| field.data_type().is_decimal()) {
        let written = |row: &Vec<Expr>| uncast(&row[column], field.data_type()).clone();
        // NULL has the type of its column by now.
        let type_of = |expr: Expr| match &expr {
            Expr::Literal(value, _) if value.is_null() => Ok(DataType::Null),
            expr => expr.get_type(&nothing),
        };
        let types = rows.iter().map(|row| type_of(written(row))).collect::<Result<Vec<_>>>()?;
        if numbers::common(&types) == Some(DataType::Float64) {
            for row in &mut rows {
                row[column] = numbers::as_double(written(row), &nothing)?;
            }
            changed = true;
        }
    }
    for (column, _) in values.schema.fields().iter().enumerate().filter(|(_, field)| *field.data_type() == DataType::Int64) {
        if let Some(integers) = rows.iter().map(|row| as_integer(&row[column])).collect::<Option<Vec<_>>>() {
            for (row, integer) in rows.iter_mut().zip(integers) {
                row[column] = integer;
            }
            changed = true;
        }
    }
    match changed {
        true => LogicalPlanBuilder::values(rows)?.build(),
        false => Ok(LogicalPlan::Values(Values { values: rows, ..values })),
    }
}

/// A whole number of the text, or NULL, as INTEGER; None for any other expression, and for one that does not fit.
fn as_integer(value: &Expr) -> Option<Expr> {
    match value {
        Expr::Literal(ScalarValue::Int64(number), _) => {
            let number = number.map(i32::try_from).transpose().ok()?;
            Some(Expr::Literal(ScalarValue::Int32(number), None))
        }
        Expr::Negative(inner) => Some(Expr::Negative(Box::new(as_integer(inner)?))),
        _ => None,
    }
}

/// `plan` with columns of the types that its cells have by KDA's rules, which may be others than the planner's: of a quotient, say.
pub(super) fn with_types_of_cells(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Values(values) = plan else { return Ok(plan) };
    let nothing = DFSchema::empty();
    for row in &values.values {
        for (cell, field) in row.iter().zip(values.schema.fields()) {
            let data_type = cell.get_type(&nothing)?;
            if data_type != *field.data_type() && !data_type.is_null() {
                return LogicalPlanBuilder::values(values.values)?.build();
            }
        }
    }
    Ok(LogicalPlan::Values(values))
}

/// A value as it was before the planner cast it to the type of its column.
fn uncast<'a>(value: &'a Expr, data_type: &DataType) -> &'a Expr {
    match value {
        Expr::Cast(Cast { expr, field }) if field.data_type() == data_type => expr,
        value => value,
    }
}
