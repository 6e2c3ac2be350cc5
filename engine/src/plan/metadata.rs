//! Metadata columns of sources (kda-sql-reference.md §3.3): a query has those that it names, in any case; `*` has none.
//!
//! A column that the source declares wins, and so does a name that the query itself gives. Before planning, names are put into
//! upper case, and what no part of the query names is taken out of the streams' columns: such a query is planned as if there
//! were no metadata.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, TableFactor, Visit, VisitMut, Visitor, VisitorMut};

use super::query::{ReferenceTables, StreamSchemas};
use crate::types::{hidden, is_declared, with_hidden};

/// Makes the names of metadata in `query` those of the columns; returns the columns of the streams with the metadata that the
/// query names.
pub(super) fn resolve_metadata(query: &mut Query, streams: &StreamSchemas, tables: &ReferenceTables) -> StreamSchemas {
    let mut names = Names { streams, tables, hidden: BTreeSet::new(), taken: BTreeSet::new() };
    // The visitors never break off.
    let _ = Visit::visit(&*query, &mut names);
    let Names { hidden: known, taken, .. } = names;
    let mut resolve = Resolve { known, taken, named: BTreeSet::new() };
    if !resolve.known.is_empty() {
        let _ = VisitMut::visit(query, &mut resolve);
    }
    streams.iter().map(|(name, schema)| (name.clone(), with_named(schema, &resolve.named))).collect()
}

/// The columns of a stream without the metadata that is not named.
fn with_named(schema: &SchemaRef, named: &BTreeSet<String>) -> SchemaRef {
    if hidden(schema).next().is_none() {
        return schema.clone();
    }
    let is_hidden = |name: &str| hidden(schema).any(|hidden| hidden == name);
    let fields = schema.fields().iter().filter(|field| !is_hidden(field.name()) || named.contains(field.name()));
    let left: Vec<_> = hidden(schema).filter(|name| named.contains(*name)).collect();
    Arc::new(with_hidden(Schema::new(fields.cloned().collect::<Vec<_>>()), &left))
}

/// What names mean in the query's relations.
struct Names<'a> {
    streams: &'a StreamSchemas,
    tables: &'a ReferenceTables,
    /// Metadata of the streams.
    hidden: BTreeSet<String>,
    /// Declared columns of streams and tables, and names that the query gives.
    taken: BTreeSet<String>,
}

impl Visitor for Names<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (name, alias) = match factor {
            TableFactor::Table { name, alias, .. } => (name.0.last().and_then(|part| part.as_ident()), alias),
            TableFactor::Derived { alias, .. } => (None, alias),
            _ => return ControlFlow::Continue(()),
        };
        let (streams, tables) = (self.streams, self.tables);
        if let Some(schema) = name.and_then(|name| streams.get(&name.value)) {
            self.hidden.extend(hidden(schema).map(str::to_owned));
            let declared = schema.fields().iter().map(|field| field.name()).filter(|name| is_declared(schema, name));
            self.taken.extend(declared.cloned());
        } else if let Some(table) = name.and_then(|name| tables.get(&name.value)) {
            self.taken.extend(table.schema().fields().iter().map(|field| field.name().clone()));
        }
        self.taken.extend(alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.taken.extend(select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        }));
        ControlFlow::Continue(())
    }
}

/// Finds the metadata that is named.
struct Resolve {
    known: BTreeSet<String>,
    taken: BTreeSet<String>,
    named: BTreeSet<String>,
}

impl Resolve {
    /// The metadata that `name` means. A stream may have it and another relation a declared column of the same name: then the
    /// relation in front of the name decides, and DataFusion with it.
    fn column(&mut self, name: &str) -> Option<String> {
        let column = name.to_uppercase();
        if !self.known.contains(&column) || (name != column && self.taken.contains(name)) {
            return None;
        }
        self.named.insert(column.clone());
        Some(column)
    }

    fn ident(expr: &mut Expr) -> Option<&mut Ident> {
        match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        }
    }
}

impl VisitorMut for Resolve {
    type Break = ();

    /// A column is called as the query calls it.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(ident) = Self::ident(expr)
                && let written = ident.value.clone()
                && let Some(column) = self.column(&written)
                && column != written
            {
                ident.value = column;
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', written) };
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(ident) = Self::ident(expr)
            && let Some(column) = self.column(&ident.value.clone())
        {
            ident.value = column;
        }
        ControlFlow::Continue(())
    }
}
