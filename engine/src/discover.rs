//! What a source holds that nobody has described yet: a CREATE SOURCE for it, sample rows, records that do not fit
//! (kda-sql-reference.md §6.9).

use std::fmt::Write as _;

use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;

use crate::bind::format_of_extension;
use crate::catalog::SourceEntry;
use crate::connector::common::JSON_ROW_PATH;
use crate::connector::{OptionEntry, Payload, Sample, SourceContext};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::json::elements;
use crate::format::{
    self, CsvOptions, DecodeColumn, DiscoveredColumn, FormatSpec, Rejected, RowEnd, discover_columns, guess_delimiter,
};
use crate::types::SqlType;

/// Bytes that are looked at.
const SAMPLE_BYTES: usize = 1 << 20;

/// The answer of [`Engine::discover`].
#[derive(Debug)]
pub struct Discovered {
    /// A CREATE SOURCE statement for the source.
    pub statement: String,
    /// The rows of the sample, in the statement's columns.
    pub rows: RecordBatch,
    /// Records of the sample that become no row.
    pub refused: Vec<Rejected>,
}

impl Engine {
    /// Looks at the first records of the source that `options` bind and proposes a statement that creates it as `name`.
    /// Fails with [`crate::ErrorKind::Data`] if there are no records that its format can read.
    pub async fn discover(&self, name: &str, options: Vec<OptionEntry>) -> Result<Discovered> {
        let mut options = options;
        // The rows of its path are records of their own here; whose columns it holds is yet to be found out.
        let row_path = options.iter().position(|option| option.key == JSON_ROW_PATH.name).map(|place| options.remove(place));
        let SourceEntry { source, mut format, .. } = self.bind_without_columns(name, &options, &[]).await?;
        if matches!(source.payload(), Payload::Batches(_)) {
            return Err(Error::config("the source delivers rows: its columns are known")
                .with_hint(format!("CREATE SOURCE \"{name}\" WITH (…) needs no columns.")));
        }
        let context = SourceContext::new(self.clock().clone(), format.clone());
        let Sample { bytes: mut sample, rejected: mut refused } = source.sample(SAMPLE_BYTES, &context).await?;
        if sample.trim_ascii().is_empty() {
            return Err(without_records(&refused));
        }
        // A sample that is cut may end within a record: that is no record that does not fit.
        let last = match &format {
            FormatSpec::Csv(csv) => csv.row_delimiter,
            _ => RowEnd::LINE_BREAK,
        };
        let is_cut = sample.len() >= SAMPLE_BYTES;
        if let Some(end) = last.find_last(&sample).filter(|end| is_cut && last.find(&sample[..*end]).is_some()) {
            sample.truncate(end + last.size());
        }
        if let Some(option) = &row_path {
            if format != FormatSpec::Json {
                return Err(
                    Error::config(format!("option \"{}\" needs format 'json'", option.key)).with_hint("Leave the option out.")
                );
            }
            sample = rows_at(&option.value, &sample, &mut refused)?;
        }
        let found = if row_path.is_some() { None } else { guess(&format, &options, &sample) };
        for (key, value) in found.iter().flatten() {
            options.push(OptionEntry::new(*key, value.as_str()));
        }
        if found.is_some() {
            // A source of its own is bound for the options alone.
            format = self.bind_without_columns(name, &options, &[]).await?.format;
        }
        let columns = discover_columns(&format, &sample)?;
        let decoded = columns.iter().enumerate().map(|(index, column)| DecodeColumn {
            field: column.sql_type.field(&column.name, true),
            path: column.path.clone(),
            index,
        });
        // The names of a header are no row.
        let header = match &format {
            FormatSpec::Csv(csv) if csv.header => header_size(csv, &sample),
            _ => 0,
        };
        let rows = format::decoder(&format, decoded.collect())?.decode(&sample[header..], &mut refused)?;
        options.extend(row_path);
        Ok(Discovered { statement: statement(name, &columns, &format, &options), rows, refused })
    }
}

/// What stands at `path` of each document, a line each; of a list its elements.
fn rows_at(path: &str, sample: &[u8], refused: &mut Vec<Rejected>) -> Result<Vec<u8>> {
    let field = SqlType::Varchar(u32::try_from(sample.len()).unwrap_or(u32::MAX)).field("ROW", true);
    let column = DecodeColumn { field, path: Some(path.to_owned()), index: 0 };
    let rows = format::decoder(&FormatSpec::Json, vec![column])?.decode(sample, refused)?;
    let mut lines = Vec::with_capacity(sample.len());
    let mut line = |row: &[u8]| {
        lines.extend(row.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        lines.push(b'\n');
    };
    for row in rows.column(0).as_string::<i32>().iter().flatten() {
        match row.as_bytes() {
            list @ [b'[', ..] => elements(list, &mut line),
            row => line(row),
        }
    }
    Ok(lines)
}

/// Bytes of the names that a CSV file starts with.
fn header_size(csv: &CsvOptions, sample: &[u8]) -> usize {
    let mut from = 0;
    while let Some(end) = csv.row_delimiter.find(&sample[from..]).map(|end| from + end) {
        from = end + csv.row_delimiter.size();
        let is_quoted = csv.quotable().is_some() && sample[..end].iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        if !is_quoted {
            return from;
        }
    }
    sample.len()
}

/// Why nothing can be found out about a source.
fn without_records(refused: &[Rejected]) -> Error {
    match refused.first() {
        None => Error::data("no column can be found: the source has no records")
            .with_hint("Wait until it has some, or write CREATE SOURCE with the columns that it will have."),
        Some(first) => {
            let what = format!("no column can be found: all records were refused, the first one since {}", first.message);
            Error::data(what).with_hint("Check what the source holds, and its options.")
        }
    }
}

/// The options that the records suggest where `options` do not say them: whether they are JSON or CSV, and what separates fields.
fn guess(format: &FormatSpec, options: &[OptionEntry], sample: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let given = |key: &str| options.iter().any(|option| option.key == key);
    let by_path = options.iter().find(|option| option.key == "path").and_then(|path| format_of_extension(&path.value));
    let mut found = Vec::new();
    let csv = match format {
        FormatSpec::Csv(csv) => csv.clone(),
        FormatSpec::Json if !given("format") && by_path.is_none() && discover_columns(format, sample).is_err() => {
            // Bytes that are no text are no CSV either.
            std::str::from_utf8(sample).ok().filter(|text| !text.trim().is_empty())?;
            found.push(("format", "csv".to_owned()));
            CsvOptions::default()
        }
        _ => return None,
    };
    if !given("csv.delimiter")
        && let Some(delimiter) = guess_delimiter(&csv, sample).filter(|delimiter| *delimiter != csv.delimiter)
    {
        found.push(("csv.delimiter", if delimiter == "\t" { "\\t".to_owned() } else { delimiter }));
    }
    (!found.is_empty()).then_some(found)
}

fn statement(name: &str, columns: &[DiscoveredColumn], format: &FormatSpec, options: &[OptionEntry]) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut text = String::new();
    for column in columns.iter().filter(|column| column.is_time) {
        let _ = writeln!(text, "-- {} looks like a time: declare it TIMESTAMP to compute with it.", quoted(&column.name));
    }
    let definitions = columns.iter().map(|column| {
        let path = column.path.as_ref().filter(|path| **path != format!("$.{}", column.name));
        let path = path.map(|path| format!(" PATH {}", literal(path))).unwrap_or_default();
        format!("    {} {}{path}", quoted(&column.name), column.sql_type)
    });
    let definitions: Vec<_> = definitions.collect();
    let mut pairs: Vec<_> = options.iter().map(|option| format!("{} = {}", option.key, literal(&option.value))).collect();
    if options.iter().all(|option| option.key != "format") {
        pairs.push(format!("format = {}", literal(format.name())));
    }
    let _ = write!(text, "CREATE SOURCE {} (\n{})\n  WITH ({});", quoted(name), definitions.join(",\n"), pairs.join(", "));
    text
}
