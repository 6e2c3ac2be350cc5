//! The end of a pump: the columns of its query into those of its stream.

use arrow::datatypes::{DataType, Field, SchemaRef};
use kinesql_udfs::scalar::kda_cast::can_cast;
use kinesql_udfs::sql_type::is_truncated;

use super::names::unknown_column;
use super::physical::{OperatorSpec, PlanNode};
use super::query::QueryPlan;
use super::rowtime::Carrier;
use crate::diagnostic::{Diagnostic, count};
use crate::operator::insert::InsertSource;
use crate::sql::Name;
use crate::types::{ROWTIME, SqlType, sql_type_name};

impl QueryPlan {
    /// Adds the operator that makes the rows fit `target` (ROWTIME last), named by `list` or in declared order.
    ///
    /// Returns warnings, or the problems that make the insert impossible (kda-sql-reference.md §1.6, §2.2).
    pub fn insert_into(
        mut self,
        target: &Name,
        schema: &SchemaRef,
        list: Option<&[Name]>,
    ) -> Result<(PlanNode, Vec<Diagnostic>), Vec<Diagnostic>> {
        let declared = &schema.fields()[..schema.fields().len() - 1];
        let (mut problems, mut warnings) = (Vec::new(), std::mem::take(&mut self.warnings));
        let targets: Vec<Option<usize>> = match list {
            None => (0..declared.len()).map(Some).collect(),
            Some(names) => names
                .iter()
                .map(|name| {
                    let place = declared.iter().position(|field| *field.name() == name.value);
                    if place.is_none() && name.value != ROWTIME {
                        let existing = declared.iter().map(|field| field.name().as_str());
                        problems
                            .push(unknown_column(&name.value, &format!("stream \"{}\"", target.value), existing).at(name.span));
                    }
                    place
                })
                .collect(),
        };
        // `… AS ROWTIME` beside as many columns as the target has is no column of its own.
        if let Carrier::Override(_) = self.carrier
            && self.columns.len() == targets.len() + 1
        {
            self.columns.retain(|column| *column != self.rowtime);
        }
        if self.columns.len() != targets.len() {
            let what = if list.is_some() { "the column list has" } else { "the stream has" };
            let names = declared.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            problems.push(
                Diagnostic::error(format!("the query gives {}, {what} {}", count(self.columns.len(), "column"), targets.len()))
                    .at(self.span)
                    .label(format!("columns of \"{}\" are {names}", target.value))
                    .hint("Give one expression per column, or name the columns: INSERT INTO stream (column, …) SELECT STREAM …"),
            );
            return Err(problems);
        }
        let mut sources = vec![None; declared.len()];
        for (i, (column, place)) in self.columns.iter().zip(&targets).enumerate() {
            let Some(place) = place else { continue };
            let (from, to) = (&self.fields[*column], &declared[*place]);
            let at = |diagnostic: Diagnostic| match self.item_spans.get(i) {
                Some(span) if self.item_spans.len() == self.columns.len() => diagnostic.at(*span),
                _ => diagnostic.at(self.span),
            };
            match assignable(from.data_type(), to.data_type()) {
                Assignable::Yes => {}
                Assignable::Parsed => warnings.push(at(Diagnostic::warning(format!(
                    "text is parsed as {} for column \"{}\"; rows whose text is no number go to error_stream",
                    sql_type_name(to),
                    to.name()
                )))),
                Assignable::No => {
                    let (is, needs) = (sql_type_name(from), sql_type_name(to));
                    let what = format!("{is} cannot be assigned to column \"{}\" of type {needs}", to.name());
                    let problem = at(Diagnostic::error(what));
                    problems.push(match conversion(from, to) {
                        Some(conversion) => problem.hint(format!("Convert it: {conversion}.")),
                        None => problem,
                    });
                }
            }
            let truncates = is_truncated(from) && to.data_type().is_integer();
            if sources[*place].replace(InsertSource { column: *column, truncates }).is_some() {
                problems.push(Diagnostic::error(format!("column \"{}\" is listed twice", to.name())).at(self.span));
            }
        }
        for (field, source) in declared.iter().zip(&sources) {
            if source.is_none() && !field.is_nullable() {
                problems.push(
                    Diagnostic::error(format!("column \"{}\" is NOT NULL and gets no value", field.name()))
                        .at(target.span)
                        .hint("Add it to the column list and the select list."),
                );
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        sources.push(Some(InsertSource { column: self.rowtime, truncates: false }));
        let operator = OperatorSpec::Insert { sources, schema: schema.clone() };
        Ok((PlanNode::Unary { input: Box::new(self.node), operator }, warnings))
    }
}

/// What makes a value of the one type one of the other, if anything does.
fn conversion(from: &Field, to: &Field) -> Option<String> {
    match (from.data_type(), SqlType::of_field(to)?) {
        (DataType::Timestamp(..), SqlType::BigInt) => Some("UNIX_TIMESTAMP(…) gives milliseconds since 1970".to_owned()),
        (from, to) if can_cast(from, to) => Some(format!("CAST(… AS {to})")),
        _ => None,
    }
}

pub(super) enum Assignable {
    Yes,
    /// Text into a number: per row, with a warning (§8.2).
    Parsed,
    No,
}

/// What an assignment from one type to another does (kda-sql-reference.md §1.6).
pub(super) fn assignable(from: &DataType, to: &DataType) -> Assignable {
    let numeric = |data_type: &DataType| data_type.is_numeric();
    let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let binary = |data_type: &DataType| matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    match (from, to) {
        (DataType::Null, _) => Assignable::Yes,
        (from, to) if from == to => Assignable::Yes,
        (from, to) if numeric(from) && numeric(to) || text(from) && text(to) || binary(from) && binary(to) => Assignable::Yes,
        (DataType::Timestamp(..), DataType::Timestamp(..)) | (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_)) => {
            Assignable::Yes
        }
        (from, to) if text(from) && numeric(to) => Assignable::Parsed,
        _ => Assignable::No,
    }
}
