//! A list of names for the columns of a relation, `AS s(a, b)`, that does not have one for each (kda-sql-reference.md §2.5).

use std::ops::ControlFlow;

use datafusion::common::DFSchemaRef;
use sqlparser::ast::{
    self, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Visit, Visitor, WildcardAdditionalOptions,
};
use sqlparser::tokenizer::Span as PlanSpan;

use crate::diagnostic::{Diagnostic, Span, count};

/// Begins DataFusion's message, which counts ROWTIME.
pub(crate) fn is_about_list(message: &str) -> bool {
    message.contains("names given as column alias")
}

/// The first list in `query` that is wrong. ROWTIME and the other hidden columns stand at the end of its relation and of the list,
/// where they have no place in the text; `schema_of` plans a query.
pub(crate) fn explain(query: &ast::Query, schema_of: &mut dyn FnMut(ast::Query) -> Option<DFSchemaRef>) -> Option<Diagnostic> {
    struct Factors(Vec<TableFactor>);
    impl Visitor for Factors {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            self.0.push(factor.clone());
            ControlFlow::Continue(())
        }
    }
    let mut factors = Factors(Vec::new());
    // The visitor never breaks off.
    let _ = query.visit(&mut factors);
    factors.0.into_iter().find_map(|mut factor| {
        let alias = alias_of(&mut factor).filter(|alias| !alias.columns.is_empty())?;
        let names = std::mem::take(&mut alias.columns);
        let written: Vec<Span> =
            names.iter().map(|column| column.name.span).filter(|span| *span != PlanSpan::empty()).map(Span::from).collect();
        let relation = alias.name.value.clone();
        let schema = schema_of(all_of(query, factor))?;
        if schema.fields().len() == names.len() {
            return None;
        }
        let columns = schema.fields().len().saturating_sub(names.len() - written.len());
        let existing: Vec<&str> = schema.fields()[..columns].iter().map(|field| field.name().as_str()).collect();
        let (has, given) = (count(columns, "column"), count(written.len(), "name"));
        let problem = Diagnostic::error(format!("\"{relation}\" has {has}, its list has {given}"));
        let problem = problem.label(format!("columns are {}", existing.join(", ")));
        let problem = problem.hint("Name every column, or none. ROWTIME is not one of them: it keeps its name.");
        Some(problem.at(written.into_iter().reduce(Span::union)?))
    })
}

fn alias_of(factor: &mut TableFactor) -> Option<&mut TableAlias> {
    match factor {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.as_mut(),
        _ => None,
    }
}

/// `SELECT * FROM factor`.
fn all_of(query: &ast::Query, factor: TableFactor) -> ast::Query {
    /// Any SELECT, for what it says beside its clauses.
    struct Model;
    impl Visitor for Model {
        type Break = ast::Select;
        fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<ast::Select> {
            ControlFlow::Break(select.clone())
        }
    }
    let mut query = query.clone();
    if let Some(model) = query.visit(&mut Model).break_value() {
        let select = ast::Select {
            distinct: None,
            projection: vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())],
            from: vec![TableWithJoins { relation: factor, joins: Vec::new() }],
            selection: None,
            group_by: ast::GroupByExpr::Expressions(Vec::new(), Vec::new()),
            having: None,
            named_window: Vec::new(),
            ..model
        };
        query.body = Box::new(SetExpr::Select(Box::new(select)));
        query.order_by = None;
    }
    query
}
