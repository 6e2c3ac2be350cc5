//! `USING (k)` and `NATURAL` joins: they become `ON a.k = b.k`, and `k` alone is one column (kda-sql-reference.md §2.5).
//!
//! Of three relations and more `k` is the column that the joins before have made of it.

use sqlparser::ast::{
    self, BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind,
};

use super::check::place;
use super::prepare::{in_clauses, in_windows, is_column, preserved, relation_names};
use crate::diagnostic::Diagnostic;
use crate::plan::names::unknown_column;
use crate::plan::rowtime::relation_name;

/// A column of USING: its name, what it stands for, and the relations that have it.
pub(super) struct Merged {
    name: String,
    value: Expr,
    relations: Vec<Ident>,
}

/// A relation before JOIN: its name, and its columns if they are known.
pub(super) type Relation = (Ident, Option<Vec<String>>);

/// USING and NATURAL say ON which columns; `relations` are those before JOIN, `right_columns` those behind it, if they are known.
pub(super) fn to_on(
    relations: &[Relation],
    right_columns: Option<&[String]>,
    join: &mut Join,
    using: &mut Vec<Merged>,
) -> Result<(), Diagnostic> {
    use JoinOperator::{FullOuter, Inner, Left, LeftOuter, Right, RightOuter};
    let (keeps_left, keeps_right) = preserved(&join.join_operator);
    let (JoinOperator::Join(constraint)
    | Inner(constraint)
    | Left(constraint)
    | LeftOuter(constraint)
    | Right(constraint)
    | RightOuter(constraint)
    | FullOuter(constraint)) = &mut join.join_operator
    else {
        return Ok(());
    };
    let names: Vec<Ident> = match constraint {
        JoinConstraint::Using(names) => names.iter().filter_map(|name| name.0.last()?.as_ident().cloned()).collect(),
        JoinConstraint::Natural => natural(relations, right_columns, using),
        JoinConstraint::On(_) | JoinConstraint::None => return Ok(()),
    };
    if let Some(problem) = names.iter().find_map(|name| unknown_name(name, relations, right_columns, using)) {
        *constraint = JoinConstraint::On(Expr::value(ast::Value::Boolean(true)));
        return Err(problem);
    }
    let column = |relation: &Ident, name: &Ident| Expr::CompoundIdentifier(vec![relation.clone(), name.clone()]);
    let left = |name: &Ident| match using.iter().position(|merged| merged.name == name.value) {
        Some(place) => Some((using[place].value.clone(), Some(place))),
        None => Some((column(owner(relations, &name.value)?, name), None)),
    };
    let lefts: Option<Vec<_>> = names.iter().map(left).collect();
    let (Some(lefts), Some(right), false) = (lefts, relation_name(&join.relation), names.is_empty()) else {
        let natural = matches!(constraint, JoinConstraint::Natural);
        let what = if natural { "NATURAL JOIN finds no common columns here" } else { "USING is not possible here" };
        let problem = Diagnostic::error(what).at(place(&join.relation));
        *constraint = JoinConstraint::On(Expr::value(ast::Value::Boolean(true)));
        return Err(problem.hint("Name both columns: ON a.key = b.key."));
    };
    let mut on = None;
    for (name, (of_left, known)) in names.iter().zip(lefts) {
        let of_right = column(&right, name);
        let equal = binary(of_left.clone(), BinaryOperator::Eq, of_right.clone());
        on = Some(match on {
            Some(on) => binary(on, BinaryOperator::And, equal),
            None => equal,
        });
        let value = match (keeps_left, keeps_right) {
            (true, true) => Expr::Case {
                case_token: ast::helpers::attached_token::AttachedToken::empty(),
                end_token: ast::helpers::attached_token::AttachedToken::empty(),
                operand: None,
                conditions: vec![ast::CaseWhen { condition: Expr::IsNotNull(Box::new(of_left.clone())), result: of_left }],
                else_result: Some(Box::new(of_right)),
            },
            (false, true) => of_right,
            _ => of_left,
        };
        match known {
            Some(place) => {
                using[place].value = value;
                using[place].relations.push(right.clone());
            }
            None => {
                let left = owner(relations, &name.value).cloned();
                let relations = left.into_iter().chain([right.clone()]).collect();
                using.push(Merged { name: name.value.clone(), value, relations });
            }
        }
    }
    if let Some(on) = on {
        *constraint = JoinConstraint::On(on);
    }
    Ok(())
}

/// The problem of a name in USING that no relation before JOIN has, or not the one behind it.
fn unknown_name(name: &Ident, relations: &[Relation], right: Option<&[String]>, using: &[Merged]) -> Option<Diagnostic> {
    let is_merged = using.iter().any(|merged| merged.name == name.value);
    let left: Option<Vec<&String>> = relations
        .iter()
        .map(|(_, columns)| columns.as_ref())
        .collect::<Option<Vec<_>>>()
        .map(|all| all.into_iter().flatten().collect());
    let missing = |columns: Vec<&String>, side: &str| {
        let problem = unknown_column(&name.value, &format!("what stands {side} JOIN"), columns.into_iter().map(String::as_str));
        Some(problem.at(name.span))
    };
    match (left, right) {
        (Some(left), _) if !is_merged && !left.contains(&&name.value) => missing(left, "before"),
        (_, Some(right)) if !right.contains(&name.value) => missing(right.iter().collect(), "behind"),
        _ => None,
    }
}

/// The relation that has the column; that of which nothing is known, if it is the only one that can.
fn owner<'a>(relations: &'a [Relation], column: &str) -> Option<&'a Ident> {
    let has = |(_, columns): &&Relation| columns.as_ref().is_some_and(|columns| columns.iter().any(|name| name == column));
    let unknown = |(_, columns): &&Relation| columns.is_none();
    let only = |found: Vec<&'a Relation>| match found.as_slice() {
        [(name, _)] => Some(name),
        _ => None,
    };
    match relations.iter().find(has) {
        Some(_) => only(relations.iter().filter(has).collect()),
        None => only(relations.iter().filter(unknown).collect()),
    }
}

/// The columns that a NATURAL join compares, in the order of the left side; none if the columns of a side are not known.
fn natural(relations: &[Relation], right: Option<&[String]>, using: &[Merged]) -> Vec<Ident> {
    let Some(right) = right.filter(|_| relations.iter().all(|(_, columns)| columns.is_some())) else { return Vec::new() };
    let mut names: Vec<&String> = Vec::new();
    for name in relations.iter().filter_map(|(_, columns)| columns.as_ref()).flatten() {
        let is_known = names.contains(&name) && using.iter().any(|merged| merged.name == *name);
        if right.contains(name) && !is_known {
            names.push(name);
        }
    }
    names.into_iter().map(|name| Ident::with_quote('"', name)).collect()
}

/// Gives the names of the columns of USING, where they are written without a relation, their meaning.
pub(super) fn merge_columns(select: &mut Select, using: &[Merged]) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(merged) = using.iter().find(|merged| is_column(expr, &merged.name))
        {
            let alias = Ident::with_quote('"', &merged.name);
            *item = SelectItem::ExprWithAlias { expr: merged.value.clone(), alias };
        }
    }
    let mut give_meaning = |expr: &mut Expr| {
        if let Some(merged) = using.iter().find(|merged| is_column(expr, &merged.name)) {
            *expr = merged.value.clone();
        }
    };
    in_clauses(select, &mut give_meaning);
    in_windows(select, &mut give_meaning);
}

/// `*` are the columns of USING, then those of every relation.
pub(super) fn expand_wildcards(select: &mut Select, using: &[Merged]) {
    let mut relations = Vec::new();
    select.from.iter().for_each(|table| relation_names(table, &mut relations));
    let items = std::mem::take(&mut select.projection);
    for item in items {
        let SelectItem::Wildcard(options) = item else {
            select.projection.push(item);
            continue;
        };
        for Merged { name, value, .. } in using {
            select.projection.push(SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', name) });
        }
        for relation in &relations {
            let mut options = options.clone();
            let merged = using.iter().filter(|merged| merged.relations.iter().any(|of| of.value == relation.value));
            let names: Vec<_> = merged.map(|merged| ObjectName::from(Ident::with_quote('"', &merged.name))).collect();
            options.opt_exclude = (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names));
            let of = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(relation.clone()));
            select.projection.push(SelectItem::QualifiedWildcard(of, options));
        }
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}
