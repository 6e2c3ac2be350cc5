//! Which table functions there are, and what their arguments may be.

use arrow::compute::SortOptions;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use kinesql_udfs::model::forest::{ForestOptions, Scoring};
use kinesql_udfs::model::hotspots::HotspotsOptions;
use sqlparser::ast::Ident;

use super::arguments::{Constant, Written};
use crate::diagnostic::{Diagnostic, Span};
use crate::operator::model::ModelFunction;
use crate::sql::OF_CURSOR;

/// Most models that PARTITION BY keeps unless `max_models` says otherwise.
const MODELS_MAX: i64 = 10_000;

/// A call, checked as far as it can be without its cursor.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) enum Call {
    /// RANDOM_CUT_FOREST and HOTSPOTS.
    Model { function: ModelFunction, partition: Option<Partition>, span: Span },
    /// GROUP_RANK, and the selection of TOP_K_ITEMS_TUMBLING.
    Rank(Rank),
}

/// PARTITION BY in a call of a model.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct Partition {
    /// The columns with their places.
    pub(super) keys: Vec<(String, Span)>,
    pub(super) models_max: usize,
    pub(super) idle_ms: Option<i64>,
}

/// How the rows of one ROWTIME are ranked.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct Rank {
    pub(super) by: Vec<(String, SortOptions)>,
    /// Place of the column's name.
    pub(super) span: Span,
    /// The name of the rank with its place.
    pub(super) rank_column: Option<(String, Span)>,
    pub(super) descending: bool,
    pub(super) rows_max: Option<usize>,
    pub(super) idle_ms_max: Option<i64>,
}

/// What a call becomes.
pub(super) enum Meaning {
    /// A table function of its own.
    Function(Call),
    /// `COUNT(DISTINCT column)` in tumbling windows.
    CountDistinct { column: (String, Span), seconds: i64 },
    /// Counts of the values of a column in tumbling windows, the most frequent first.
    TopItems { column: (String, Span), seconds: i64, select: Rank },
}

/// What `written` means; warnings are added to `warnings`.
pub(super) fn meaning_of(written: &Written, warnings: &mut Vec<Diagnostic>) -> Result<Meaning, Diagnostic> {
    match written.name.as_str() {
        "RANDOM_CUT_FOREST" => {
            let mut arguments = written.positional.as_slice();
            // Applications pass withDirectionality here too (Appendix B, 3).
            if let [numbers @ .., ScalarValue::Boolean(_)] = arguments
                && numbers.len() == 4
            {
                arguments = numbers;
                let warning = Diagnostic::warning("RANDOM_CUT_FOREST explains nothing: withDirectionality has no effect");
                warnings.push(
                    warning
                        .at(written.places[4])
                        .hint("RANDOM_CUT_FOREST_WITH_EXPLANATION returns the explanation as ANOMALY_EXPLANATION."),
                );
            }
            let options = ForestOptions::try_from_arguments(arguments).map_err(|error| unusable(written, &error))?;
            forest(written, options)
        }
        "RANDOM_CUT_FOREST_WITH_EXPLANATION" => {
            let options = ForestOptions::try_from_explanation_arguments(&written.positional);
            forest(written, options.map_err(|error| unusable(written, &error))?)
        }
        "HOTSPOTS" => {
            let options = HotspotsOptions::try_from_arguments(&written.positional);
            let function = ModelFunction::Hotspots(options.map_err(|error| unusable(written, &error))?);
            Ok(Meaning::Function(Call::Model { function, partition: partition(written, &[])?, span: written.span }))
        }
        "GROUP_RANK" => Ok(Meaning::Function(Call::Rank(group_rank(written)?))),
        "COUNT_DISTINCT_ITEMS_TUMBLING" => {
            plain(written, &["columnName", "tumblingWindowSizeInSeconds"])?;
            let column = (text(written, 0, "columnName")?, written.places[0]);
            Ok(Meaning::CountDistinct { column, seconds: seconds(written, 1)? })
        }
        "TOP_K_ITEMS_TUMBLING" => {
            plain(written, &["columnName", "K", "tumblingWindowSizeInSeconds"])?;
            let falling = SortOptions { descending: true, nulls_first: true };
            let select = Rank {
                by: vec![("ITEM_COUNT".to_owned(), falling), ("ITEM".to_owned(), rising())],
                span: written.span,
                rank_column: None,
                descending: false,
                rows_max: Some(integer(written, 1, "K", 1, 100_000)? as usize),
                idle_ms_max: None,
            };
            let column = (text(written, 0, "columnName")?, written.places[0]);
            Ok(Meaning::TopItems { column, seconds: seconds(written, 2)?, select })
        }
        other => {
            let problem = Diagnostic::error(format!("table function {other} does not exist")).at(written.span);
            Err(problem.label(format!("table functions are {}", OF_CURSOR.join(", "))).did_you_mean(other, OF_CURSOR))
        }
    }
}

fn rising() -> SortOptions {
    // NULLs last ascending, first descending (kda-sql-reference.md §8.5).
    SortOptions { descending: false, nulls_first: false }
}

fn forest(written: &Written, mut options: ForestOptions) -> Result<Meaning, Diagnostic> {
    for (name, value) in &written.named {
        if name.value == "SEED" {
            let Constant::Scalar(ScalarValue::Int64(Some(seed @ 0..))) = value else {
                return Err(wrong_option(written, name, value, "a whole number of at least 0"));
            };
            options.seed = *seed as u64;
        }
        if name.value == "SCORING" {
            options.scoring = scoring(written, name, value)?;
        }
    }
    let partition = partition(written, &["SEED", "SCORING"])?;
    Ok(Meaning::Function(Call::Model { function: ModelFunction::Forest(options), partition, span: written.span }))
}

fn wrong_option(written: &Written, name: &Ident, value: &Constant, allowed: &str) -> Diagnostic {
    let option = name.value.to_lowercase();
    Diagnostic::error(format!("{option} of {} is {value}, it must be {allowed}", written.name)).at(name.span)
}

fn scoring(written: &Written, name: &Ident, value: &Constant) -> Result<Scoring, Diagnostic> {
    let found = match value {
        Constant::Scalar(ScalarValue::Utf8(Some(text))) => Scoring::NAMES.into_iter().find(|(known, _)| text == known),
        _ => None,
    };
    let known = Scoring::NAMES.map(|(known, _)| format!("'{known}'")).join(" or ");
    found.map(|(_, scoring)| scoring).ok_or_else(|| wrong_option(written, name, value, &known))
}

/// PARTITION BY and its options; `others` are options that were read before.
fn partition(written: &Written, others: &[&str]) -> Result<Option<Partition>, Diagnostic> {
    let (mut models_max, mut idle_ms) = (None, None);
    for (name, value) in &written.named {
        match (name.value.as_str(), value) {
            (other, _) if others.contains(&other) => {}
            ("MAX_MODELS", Constant::Scalar(ScalarValue::Int64(Some(count @ 1..=0xFFFF_FFFF)))) => models_max = Some(*count),
            ("IDLE_TIMEOUT", Constant::Milliseconds(ms @ 1..)) => idle_ms = Some(*ms),
            ("MAX_MODELS", _) => {
                return Err(wrong_option(written, name, value, "a whole number of at least 1"));
            }
            ("IDLE_TIMEOUT", _) => {
                let problem = wrong_option(written, name, value, "an interval of more than 0 ms");
                return Err(problem.hint("Write idle_timeout => INTERVAL '1' HOUR."));
            }
            (other, _) => {
                let known: Vec<_> = others.iter().copied().chain(["MAX_MODELS", "IDLE_TIMEOUT"]).map(str::to_lowercase).collect();
                let problem = Diagnostic::error(format!("{} has no option \"{}\"", written.name, other.to_lowercase()));
                return Err(problem
                    .at(name.span)
                    .label(format!("options are {}", known.join(", ")))
                    .did_you_mean(&other.to_lowercase(), known.iter().map(String::as_str)));
            }
        }
    }
    if written.partition.is_empty() {
        if let Some((name, _)) = written.named.iter().find(|(name, _)| !others.contains(&name.value.as_str())) {
            let problem = format!("{} is an option of PARTITION BY, which is missing", name.value.to_lowercase());
            return Err(Diagnostic::error(problem).at(name.span).hint("Write CURSOR(…) PARTITION BY key."));
        }
        return Ok(None);
    }
    let keys = written.partition.iter().map(|key| (key.value.clone(), key.span.into())).collect();
    Ok(Some(Partition { keys, models_max: models_max.unwrap_or(MODELS_MAX) as usize, idle_ms }))
}

fn group_rank(written: &Written) -> Result<Rank, Diagnostic> {
    plain(written, &["rankByColumnName", "rankOutColumnName", "sortOrder", "outputOrder", "maxIdle", "outputMax"])?;
    let descending = direction(written, 2, "sortOrder")?;
    let idle_ms_max = integer(written, 4, "maxIdle", 0, i64::from(i32::MAX))?;
    let rows_max = integer(written, 5, "outputMax", 0, i64::from(i32::MAX))?;
    Ok(Rank {
        by: vec![(text(written, 0, "rankByColumnName")?, SortOptions { descending, nulls_first: descending })],
        span: written.places[0],
        rank_column: Some((text(written, 1, "rankOutColumnName")?, written.places[1])),
        descending: direction(written, 3, "outputOrder")?,
        rows_max: (rows_max > 0).then_some(rows_max as usize),
        idle_ms_max: (idle_ms_max > 0).then_some(idle_ms_max),
    })
}

/// Fails unless the call has exactly these arguments, and neither PARTITION BY nor options.
fn plain(written: &Written, names: &[&str]) -> Result<(), Diagnostic> {
    if written.positional.len() != names.len() {
        let (name, count) = (&written.name, written.positional.len());
        return Err(written
            .problem(None, format!("{name} takes a CURSOR and {} more arguments, there are {count}", names.len()))
            .hint(format!("Write {name}(CURSOR(…), {}).", names.join(", "))));
    }
    if let Some(key) = written.partition.first() {
        return Err(Diagnostic::error(format!("{} has no PARTITION BY", written.name)).at(key.span));
    }
    match written.named.first() {
        Some((option, _)) => {
            Err(Diagnostic::error(format!("{} has no option \"{}\"", written.name, option.value.to_lowercase())).at(option.span))
        }
        None => Ok(()),
    }
}

fn text(written: &Written, place: usize, name: &str) -> Result<String, Diagnostic> {
    match &written.positional[place] {
        ScalarValue::Utf8(Some(text)) => Ok(text.clone()),
        other => {
            let problem = written.problem(Some(place), format!("{name} of {} is {other}, it must be a text", written.name));
            Err(problem.hint("Write the name of the column in single quotes, in its exact case."))
        }
    }
}

fn integer(written: &Written, place: usize, name: &str, min: i64, max: i64) -> Result<i64, Diagnostic> {
    match &written.positional[place] {
        ScalarValue::Int64(Some(value)) if (min..=max).contains(value) => Ok(*value),
        other => Err(written.problem(Some(place), format!("{name} of {} is {other}, it must be {min} to {max}", written.name))),
    }
}

fn seconds(written: &Written, place: usize) -> Result<i64, Diagnostic> {
    integer(written, place, "tumblingWindowSizeInSeconds", 1, 3600)
}

/// True for `'desc'`.
fn direction(written: &Written, place: usize, name: &str) -> Result<bool, Diagnostic> {
    match &written.positional[place] {
        ScalarValue::Utf8(Some(text)) if text.eq_ignore_ascii_case("asc") => Ok(false),
        ScalarValue::Utf8(Some(text)) if text.eq_ignore_ascii_case("desc") => Ok(true),
        other => Err(written.problem(Some(place), format!("{name} of {} is {other}, it must be 'asc' or 'desc'", written.name))),
    }
}

/// The error of a model's options, at the argument that it names.
fn unusable(written: &Written, error: &DataFusionError) -> Diagnostic {
    const ARGUMENTS: [&[&str]; 5] = [
        &["numberOfTrees", "windowSize"],
        &["subSampleSize", "scanRadius"],
        &["timeDecay", "minimumNumberOfPointsInAHotspot"],
        &["shingleSize"],
        &["withDirectionality"],
    ];
    let message = error.message();
    let place = ARGUMENTS.iter().position(|names| names.iter().any(|name| message.starts_with(&format!("{name} of"))));
    written.problem(place, message.into_owned())
}
