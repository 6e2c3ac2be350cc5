//! Makes ROWTIME explicit: every SELECT over streams hands on the ROWTIME of its rows, whether the query says so or not
//! (kda-sql-reference.md §3.2).
//!
//! - `*` does not contain it; a last item `ROWTIME` is added, unless the select list has one already.
//! - In an aggregating query ROWTIME means the time of the result row. There it becomes a call of the marker aggregate
//!   [`GROUP_ROWTIME`], which the window operator answers with the window's end.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result as DataFusionResult, not_impl_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use sqlparser::ast::{
    ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident,
    ObjectName, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAliasColumnDef,
    TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};
use std::ops::ControlFlow;

use super::item_names::make_unique;
use super::join::{is_stream_join, qualify_rowtime, reads_stream};
use super::query::StreamSchemas;
use super::retimed::RETIMED;
use crate::sql::WITHIN;
use crate::types::{ROWTIME, hidden};

/// Name of the marker aggregate: the ROWTIME of a group's result row.
pub const GROUP_ROWTIME: &str = "$group_rowtime";

/// The marker as DataFusion sees it. It is never run.
pub fn group_rowtime() -> Arc<AggregateUDF> {
    static MARKER: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| Arc::new(AggregateUDF::from(GroupRowtime::default())));
    MARKER.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct GroupRowtime {
    signature: Signature,
}

impl Default for GroupRowtime {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for GroupRowtime {
    fn name(&self) -> &str {
        GROUP_ROWTIME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        not_impl_err!("the ROWTIME of a group exists only in a window")
    }
}

/// Where the output of a query carries ROWTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// In the added last column.
    Added,
    /// In this item of the select list, `ROWTIME` or `s.ROWTIME`: it is an ordinary column too.
    Item(usize),
    /// In this item, `… AS ROWTIME`: meant for ROWTIME alone if the target has one column less.
    Override(usize),
}

/// Makes ROWTIME explicit in `query` and its derived tables; says where the output of `query` carries it.
///
/// With a wildcard before the item its place counts items, not columns; [`Carrier::Added`] is always last.
pub fn make_explicit(query: &mut Query, streams: &StreamSchemas) -> Carrier {
    let apart = set_apart(&mut query.body);
    let carrier = in_query(query, streams);
    if apart { Carrier::Added } else { carrier }
}

/// The same, where the branches of a set operation, of which `query` may be one, agree on the place of ROWTIME.
fn in_query(query: &mut Query, streams: &StreamSchemas) -> Carrier {
    let within = is_within(query);
    let carrier = in_set_expression(&mut query.body, streams, within);
    name_in_order(query, carrier);
    carrier
}

/// In ORDER BY the ROWTIME of a stream is that of the query's rows, unless the query gives them another or they are groups.
fn name_in_order(query: &mut Query, carrier: Carrier) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    if matches!(carrier, Carrier::Override(_))
        || is_aggregating(select)
        || select.from.iter().any(|from| stream_join(from).is_some())
    {
        return;
    }
    let Some(order) = &mut query.order_by else { return };
    let _ = sqlparser::ast::visit_expressions_mut(order, |expr| {
        if is_rowtime(expr) {
            *expr = Expr::Identifier(Ident { span: sqlparser::ast::Spanned::span(expr), ..Ident::with_quote('"', ROWTIME) });
        }
        ControlFlow::<()>::Continue(())
    });
}

/// True for `ORDER BY t WITHIN …`.
pub(super) fn is_within(query: &Query) -> bool {
    let Some(OrderByKind::Expressions(sorts)) = query.order_by.as_ref().map(|order| &order.kind) else { return false };
    matches!(sorts.first().map(|sort| &sort.expr), Some(Expr::Function(function)) if is_marker(&function.name, WITHIN))
}

fn is_marker(name: &ObjectName, marker: &str) -> bool {
    name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value == marker)
}

/// `within`: the ROWTIME that the rows come with is to be kept beside the one that the query gives them.
fn in_set_expression(body: &mut SetExpr, streams: &StreamSchemas, within: bool) -> Carrier {
    match body {
        SetExpr::Select(select) => in_select(select, streams, within),
        SetExpr::Query(query) => in_query(query, streams),
        SetExpr::SetOperation { left, right, .. } => {
            let carrier = in_set_expression(left, streams, false);
            in_set_expression(right, streams, false);
            carrier
        }
        _ => Carrier::Added,
    }
}

/// The first item of the select list that says what ROWTIME is.
fn written_carrier(select: &Select) -> Option<Carrier> {
    let joins = select.from.iter().any(|from| stream_join(from).is_some());
    select.projection.iter().enumerate().find_map(|(i, item)| match item {
        SelectItem::UnnamedExpr(expr) if is_carrier(expr, joins) => Some(Carrier::Item(i)),
        SelectItem::ExprWithAlias { alias, .. } if alias.value == ROWTIME => Some(Carrier::Override(i)),
        _ => None,
    })
}

/// True for `ROWTIME` and `s.ROWTIME`; of one of two joined streams it is a column like any other.
fn is_carrier(expr: &Expr, joins: bool) -> bool {
    is_rowtime(expr) && !(joins && matches!(expr, Expr::CompoundIdentifier(_)))
}

/// Where one branch of a set operation has its ROWTIME in a column in which another has something else, the column becomes one like
/// any other in all of them, and ROWTIME stands behind the columns. True if that was so.
fn set_apart(body: &mut SetExpr) -> bool {
    if !is_set_operation(body) {
        return false;
    }
    let mut places = Vec::new();
    for_each_branch(body, &mut |select| places.push(place_of_time(select)));
    if places.iter().all(|place| is_same_place(*place, places[0])) {
        return false;
    }
    for_each_branch(body, &mut name_time);
    true
}

/// True for a set operation, in parentheses or not.
fn is_set_operation(body: &SetExpr) -> bool {
    match body {
        SetExpr::Query(query) => is_set_operation(&query.body),
        body => matches!(body, SetExpr::SetOperation { .. }),
    }
}

fn for_each_branch(body: &mut SetExpr, visit: &mut dyn FnMut(&mut Select)) {
    match body {
        SetExpr::Select(select) => visit(select),
        SetExpr::Query(query) => for_each_branch(&mut query.body, visit),
        SetExpr::SetOperation { left, right, .. } => {
            for_each_branch(left, visit);
            for_each_branch(right, visit);
        }
        _ => {}
    }
}

/// How many columns stand before the item that carries ROWTIME and how many behind it, as far as wildcards let it be known; None
/// without such an item.
fn place_of_time(select: &Select) -> Option<[Option<usize>; 2]> {
    let (Carrier::Item(place) | Carrier::Override(place)) = written_carrier(select)? else { return None };
    let is_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let count = |items: &[SelectItem]| (!items.iter().any(is_wildcard)).then_some(items.len());
    Some([count(&select.projection[..place]), count(&select.projection[place + 1..])])
}

/// False only for places that are known to differ.
fn is_same_place(one: Option<[Option<usize>; 2]>, other: Option<[Option<usize>; 2]>) -> bool {
    match (one, other) {
        (Some([before, behind]), Some([others_before, others_behind])) => match (before, others_before, behind, others_behind) {
            (Some(before), Some(others), ..) => before == others,
            (.., Some(behind), Some(others)) => behind == others,
            _ => true,
        },
        (one, other) => one == other,
    }
}

/// Makes the item that carries ROWTIME a column of another name; `expression AS ROWTIME` is then said once more, behind all columns.
fn name_time(select: &mut Select) {
    let named = |expr: &Expr| SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', TIME_COLUMN) };
    match written_carrier(select) {
        Some(Carrier::Item(place)) => {
            if let SelectItem::UnnamedExpr(expr) = &select.projection[place] {
                select.projection[place] = named(expr);
            }
        }
        Some(Carrier::Override(place)) => {
            let item = select.projection[place].clone();
            if let SelectItem::ExprWithAlias { expr, .. } = &item {
                select.projection[place] = named(expr);
            }
            select.projection.push(item);
        }
        _ => {}
    }
}

/// Name of a column of ROWTIME that is no ROWTIME, as the second one of a name is called.
const TIME_COLUMN: &str = "ROWTIME0";

fn in_select(select: &mut Select, streams: &StreamSchemas, within: bool) -> Carrier {
    let (mut of_streams, mut of_tables) = (Vec::new(), Vec::new());
    // The metadata columns of each relation, which are hidden like ROWTIME.
    let mut metadata: Vec<(Option<Ident>, Vec<String>)> = Vec::new();
    let joined = select.from.iter().find_map(stream_join);
    for table in &mut select.from {
        in_factors(table, streams, &mut |factor| {
            let names = if reads_stream(factor, streams) { &mut of_streams } else { &mut of_tables };
            names.push(relation_name(factor));
            metadata.push((relation_name(factor), hidden_of(factor, streams)));
        });
    }
    // A query of tables has no time.
    if of_streams.is_empty() {
        return Carrier::Added;
    }
    let relation = joined.clone().or_else(|| of_streams.swap_remove(0));
    let is_table =
        |name: &ObjectName| of_tables.iter().flatten().any(|table| name.0.last().and_then(|part| part.as_ident()) == Some(table));
    let aggregating = is_aggregating(select);
    let rowtime = || {
        let ident = Ident::with_quote('"', ROWTIME);
        match &relation {
            Some(relation) => Expr::CompoundIdentifier(vec![relation.clone(), ident]),
            None => Expr::Identifier(ident),
        }
    };
    let carrier = written_carrier(select);
    for item in &mut select.projection {
        match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) if is_table(name) => {}
            SelectItem::Wildcard(options) => hide(options, metadata.iter().flat_map(|(_, columns)| columns)),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let named = name.0.last().and_then(|part| part.as_ident());
                let of_relation = metadata.iter().filter(|(relation, _)| relation.as_ref() == named);
                hide(options, of_relation.flat_map(|(_, columns)| columns));
            }
            _ => {}
        }
        if aggregating {
            mark_rowtime_operator(item, &rowtime);
        }
    }
    // A named item is the column that readers see as ROWTIME.
    if let Some(Carrier::Item(i)) = carrier
        && let SelectItem::UnnamedExpr(expr) = &select.projection[i]
    {
        select.projection[i] = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', ROWTIME) };
    }
    if let (Some(Carrier::Override(i)), true) = (carrier, within)
        && let SelectItem::ExprWithAlias { expr, .. } = &mut select.projection[i]
    {
        *expr = marker_call(WITHIN, vec![expr.clone(), rowtime()]);
    }
    if let (Some(Carrier::Override(i)), false, false) = (carrier, within, aggregating)
        && let SelectItem::ExprWithAlias { expr, .. } = &mut select.projection[i]
        && !is_carrier(expr, joined.is_some())
    {
        *expr = marker_call(RETIMED, vec![expr.clone(), rowtime()]);
    }
    let carrier = carrier.unwrap_or_else(|| {
        let expr = if aggregating { marker_call(GROUP_ROWTIME, vec![rowtime()]) } else { rowtime() };
        select.projection.push(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', ROWTIME) });
        Carrier::Added
    });
    let alone = matches!(select.from.as_slice(), [table] if table.joins.is_empty());
    make_unique(&mut select.projection, alone);
    if let Some(joined) = &joined {
        qualify_rowtime(select, joined);
    }
    carrier
}

/// Visits the factors of a join, in parentheses or not; makes ROWTIME explicit in derived tables.
fn in_factors(table: &mut TableWithJoins, streams: &StreamSchemas, visit: &mut dyn FnMut(&TableFactor)) {
    for factor in std::iter::once(&mut table.relation).chain(table.joins.iter_mut().map(|join| &mut join.relation)) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => in_factors(table_with_joins, streams, visit),
            TableFactor::Derived { subquery, .. } => {
                let carrier = make_explicit(subquery, streams);
                let is_added = carrier == Carrier::Added && reads_stream(factor, streams);
                name_hidden(factor, &[], is_added);
                visit(factor);
            }
            factor => {
                let is_stream = reads_stream(factor, streams);
                name_hidden(factor, &hidden_of(factor, streams), is_stream);
                visit(factor);
            }
        }
    }
}

/// The metadata columns of a stream that is named.
fn hidden_of(factor: &TableFactor, streams: &StreamSchemas) -> Vec<String> {
    let TableFactor::Table { name, .. } = factor else { return Vec::new() };
    let schema = name.0.last().and_then(|part| part.as_ident()).and_then(|ident| streams.get(&ident.value));
    schema.map(|schema| hidden(schema).map(str::to_owned).collect()).unwrap_or_default()
}

/// Leaves ROWTIME and `columns` out of a wildcard.
fn hide<'a>(options: &mut WildcardAdditionalOptions, columns: impl Iterator<Item = &'a String>) {
    let hidden = columns.map(String::as_str).chain([ROWTIME]).map(|name| ObjectName::from(Ident::with_quote('"', name)));
    let mut names = match options.opt_exclude.take() {
        Some(ExcludeSelectItem::Multiple(names)) => names,
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        None => Vec::new(),
    };
    for name in hidden {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
}

/// `columns` and ROWTIME keep their names behind those of `AS l(r)` if the user does not see them as columns of the relation.
fn name_hidden(factor: &mut TableFactor, columns: &[String], is_last: bool) {
    if let TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } = factor
        && is_last
        && !alias.columns.is_empty()
    {
        let hidden = columns.iter().map(String::as_str).chain([ROWTIME]);
        alias.columns.extend(hidden.map(|name| TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None }));
    }
}

/// The name of the join of streams in FROM, if there is one.
pub(super) fn stream_join(table: &TableWithJoins) -> Option<Ident> {
    std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)).find_map(|factor| match factor {
        TableFactor::NestedJoin { alias: Some(alias), .. } if is_stream_join(&alias.name.value) => Some(alias.name.clone()),
        TableFactor::NestedJoin { table_with_joins, .. } => stream_join(table_with_joins),
        _ => None,
    })
}

pub(super) fn relation_name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
        _ => None,
    }
}

/// True for `ROWTIME` and `s.ROWTIME`, quoted or not.
pub(crate) fn is_rowtime(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(ident) => ident.value == ROWTIME,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| ident.value == ROWTIME),
        _ => false,
    }
}

/// True if the query has GROUP BY, HAVING or an aggregate function in its select list.
pub(crate) fn is_aggregating(select: &Select) -> bool {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty());
    grouped || select.having.is_some() || select.projection.iter().any(contains_aggregate)
}

/// Aggregates that a query without GROUP BY can be recognised by.
const AGGREGATES: &[&str] = &[
    "any",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "avg",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "every",
    "first_value",
    "last_value",
    "max",
    "mean",
    "median",
    "min",
    "std_dev",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var",
    "var_pop",
    "var_population",
    "var_samp",
    "var_sample",
];

fn contains_aggregate(item: &SelectItem) -> bool {
    first_aggregate(item).is_some()
}

/// The name of the first aggregate function that is called in `part`.
pub(super) fn first_aggregate(part: &impl Visit) -> Option<Ident> {
    /// Depth in queries that stand for values: their aggregates are their own.
    struct Finder(usize);
    impl Visitor for Finder {
        type Break = Ident;
        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Ident> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Ident> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Ident> {
            match expr {
                Expr::Function(function) if self.0 == 0 && function.over.is_none() && is_aggregate_name(&function.name) => {
                    function
                        .name
                        .0
                        .last()
                        .and_then(|part| part.as_ident())
                        .cloned()
                        .map_or(ControlFlow::Continue(()), ControlFlow::Break)
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    part.visit(&mut Finder(0)).break_value()
}

pub(super) fn is_aggregate_name(name: &ObjectName) -> bool {
    let name = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_lowercase());
    name.is_some_and(|name| AGGREGATES.contains(&name.as_str()))
}

/// Replaces the operator ROWTIME (unqualified, outside aggregate calls) by the marker.
fn mark_rowtime_operator(item: &mut SelectItem, rowtime: &dyn Fn() -> Expr) {
    struct Marker<'a> {
        rowtime: &'a dyn Fn() -> Expr,
        inside_aggregate: usize,
    }
    impl VisitorMut for Marker<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if matches!(expr, Expr::Function(function) if is_aggregate_name(&function.name)) {
                self.inside_aggregate += 1;
            }
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if is_aggregate_name(&function.name) => self.inside_aggregate -= 1,
                Expr::Identifier(ident) if ident.value == ROWTIME && self.inside_aggregate == 0 => {
                    *expr = marker_call(GROUP_ROWTIME, vec![(self.rowtime)()])
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let _ = item.visit(&mut Marker { rowtime, inside_aggregate: 0 });
}

fn marker_call(marker: &str, arguments: Vec<Expr>) -> Expr {
    let arguments = FunctionArgumentList {
        duplicate_treatment: None,
        args: arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect(),
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName::from(Ident::with_quote('"', marker)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(arguments),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
