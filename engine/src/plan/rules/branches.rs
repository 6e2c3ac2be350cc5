//! The branches of UNION: what stands in one column is of one kind, and becomes one type (kda-sql-reference.md §1.6, §1.7).
//!
//! DataFusion would make text of a number beside text, and of a DATE beside a TIMESTAMP a type that no column has.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::coerce_plan_expr_for_schema;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{Expr, LogicalPlan, Union};

use super::numbers;
use crate::plan::operators::{Kind, error_at};

/// The rule for `union`, whose branches have KDA's types.
pub(super) fn typed(union: Union) -> Result<LogicalPlan> {
    let Union { inputs, schema } = union;
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (place, field) in schema.fields().iter().enumerate() {
        check_kinds(&inputs, place)?;
        let types: Vec<DataType> = inputs.iter().map(|input| input.schema().field(place).data_type().clone()).collect();
        let together = together(&types).unwrap_or_else(|| types[0].clone());
        fields.push(Field::clone(field).with_data_type(together));
    }
    let wanted = DFSchema::from_unqualified_fields(fields.into(), HashMap::new())?;
    let branch = |input: Arc<LogicalPlan>| Ok(Arc::new(coerce_plan_expr_for_schema(Arc::unwrap_or_clone(input), &wanted)?));
    let inputs = inputs.into_iter().map(branch).collect::<Result<_>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// The type of values of these types, which are of one kind.
fn together(types: &[DataType]) -> Option<DataType> {
    numbers::common(types).or_else(|| {
        let mut typed = types.iter().filter(|data_type| !data_type.is_null());
        let first = typed.next()?.clone();
        typed.try_fold(first, |one, other| type_union_coercion(&one, other))
    })
}

fn check_kinds(branches: &[Arc<LogicalPlan>], place: usize) -> Result<()> {
    let mut first: Option<(Kind, Expr)> = None;
    for branch in branches {
        let field = branch.schema().field(place);
        let Some(kind) = Kind::of(field.data_type()) else { continue };
        match &first {
            Some((known, expr)) if *known != kind => {
                let hint = "Convert one of them: CAST(… AS …).";
                let message = format!("column {} of UNION is {known} in one branch and {kind} in another", place + 1);
                return Err(error_at(message, hint, &[&written(branch, place), expr]));
            }
            Some(_) => {}
            None => first = Some((kind, written(branch, place))),
        }
    }
    Ok(())
}

/// What a branch selects.
fn written(branch: &LogicalPlan, place: usize) -> Expr {
    match branch {
        LogicalPlan::Projection(projection) => projection.expr[place].clone(),
        _ => Expr::Column(Column::from(branch.schema().qualified_field(place))),
    }
}
