//! Table functions in the tree of a query: each cursor becomes a relation of its own, named `$cursor0`, `$cursor1`, ….
//!
//! COUNT_DISTINCT_ITEMS_TUMBLING and TOP_K_ITEMS_TUMBLING are aggregates of tumbling windows and are written out as such.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use sqlparser::ast::{
    Expr, Ident, Query, SetExpr, TableAlias, TableFactor, TableSampleKind, VisitMut, VisitorMut, visit_expressions_mut,
};

use super::arguments::Written;
use super::call::{Call, Meaning, meaning_of};
use crate::diagnostic::{Diagnostic, Span};
use crate::sql::{CURSOR, parse_own_query};

/// The calls of a query, by the names of their cursors.
pub(in crate::plan) type TableFunctions = BTreeMap<String, Arc<Call>>;

/// Names the cursors of `query` and reads their functions, whose arguments `value_of` computes. Returns them with warnings, or
/// what is wrong.
pub(in crate::plan) fn prepare_table_functions(
    query: &mut Query,
    value_of: &dyn Fn(&Expr) -> Option<ScalarValue>,
) -> Result<(TableFunctions, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut prepare = Prepare { value_of, functions: TableFunctions::new(), warnings: Vec::new(), problems: Vec::new() };
    // The visitor never breaks off.
    let _ = query.visit(&mut prepare);
    if prepare.problems.is_empty() { Ok((prepare.functions, prepare.warnings)) } else { Err(prepare.problems) }
}

struct Prepare<'a> {
    value_of: &'a dyn Fn(&Expr) -> Option<ScalarValue>,
    functions: TableFunctions,
    warnings: Vec<Diagnostic>,
    problems: Vec<Diagnostic>,
}

impl VisitorMut for Prepare<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, alias: Some(alias), sample, .. } = factor
            && alias.name.value == CURSOR
            && let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = sample.take()
            && let Some(Expr::Function(function)) = sample.quantity.map(|quantity| quantity.value)
        {
            let meaning = Written::try_new(&function, self.value_of).and_then(|written| meaning_of(&written, &mut self.warnings));
            let call = match meaning {
                Ok(Meaning::Function(call)) => Some(call),
                Ok(Meaning::CountDistinct { column, seconds }) => {
                    let items = format!("COUNT(DISTINCT {}) AS NUMBER_OF_DISTINCT_ITEMS", quoted(&column.0));
                    write_out(subquery, &items, "", column.1, seconds);
                    None
                }
                Ok(Meaning::TopItems { column, seconds, select }) => {
                    let (column, place) = (quoted(&column.0), column.1);
                    // ITEM is a VARCHAR(1024), ITEM_COUNT a DOUBLE (kda-sql-reference.md §5.3).
                    let items = format!("CAST({column} AS VARCHAR(1024)) AS ITEM, CAST(COUNT(*) AS DOUBLE) AS ITEM_COUNT");
                    write_out(subquery, &items, &column, place, seconds);
                    Some(Call::Rank(select))
                }
                Err(problem) => {
                    self.problems.push(problem);
                    None
                }
            };
            if let Some(call) = call {
                alias.name = Ident::with_quote('"', format!("{CURSOR}{}", self.functions.len()));
                self.functions.insert(alias.name.value.clone(), Arc::new(call));
            }
        }
        ControlFlow::Continue(())
    }
}

fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// Aggregates the rows of `cursor` in windows of `seconds`; rows whose `key` is NULL are no items. Errors are at `place`.
fn write_out(cursor: &mut Box<Query>, items: &str, key: &str, place: Span, seconds: i64) {
    const RELATION: &str = "CURSOR";
    let (condition, keys) = match key {
        "" => (String::new(), String::new()),
        key => (format!("WHERE {key} IS NOT NULL"), format!("{key}, ")),
    };
    // An interval of seconds has up to two digits, or says how many.
    let text = format!(
        "SELECT STREAM {items} FROM \"{RELATION}\" {condition} \
         GROUP BY {keys}STEP(\"{RELATION}\".ROWTIME BY INTERVAL '{seconds}' SECOND(4))"
    );
    let Some(mut template) = parse_own_query(&text) else { return };
    let _: ControlFlow<()> = visit_expressions_mut(&mut template, |expr| {
        if let Expr::Identifier(column) = expr {
            column.span = place.into();
        }
        ControlFlow::Continue(())
    });
    let inner = std::mem::replace(cursor, template);
    if let SetExpr::Select(select) = cursor.body.as_mut()
        && let Some(table) = select.from.first_mut()
    {
        let name = TableAlias { explicit: true, name: Ident::with_quote('"', RELATION), columns: Vec::new(), at: None };
        table.relation = TableFactor::Derived { lateral: false, subquery: inner, alias: Some(name), sample: None };
    }
}
