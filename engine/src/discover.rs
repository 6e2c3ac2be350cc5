//! What a source holds that nobody has described yet: a CREATE SOURCE for it, sample rows, records that do not fit
//! (kda-sql-reference.md §6.9).

use std::fmt::Write as _;

use arrow::record_batch::RecordBatch;

use crate::bind::format_of_extension;
use crate::catalog::SourceEntry;
use crate::connector::{OptionEntry, Payload, SourceContext};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::{
    self, CsvOptions, DecodeColumn, DiscoveredColumn, FormatSpec, Rejected, RowEnd, discover_columns, guess_delimiter,
};

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
        let SourceEntry { source, mut format, .. } = self.bind_without_columns(name, &options, &[]).await?;
        if matches!(source.payload(), Payload::Batches(_)) {
            return Err(Error::config("the source delivers rows: its columns are known")
                .with_hint(format!("CREATE SOURCE \"{name}\" WITH (…) needs no columns.")));
        }
        let context = SourceContext::new(self.clock().clone(), format.clone());
        let mut sample = source.sample(SAMPLE_BYTES, &context).await?;
        // The sample may end within a record: that is no record that does not fit.
        let last = match &format {
            FormatSpec::Csv(csv) => csv.row_delimiter,
            _ => RowEnd::LINE_BREAK,
        };
        if let Some(end) = last.find_last(&sample).filter(|end| last.find(&sample[..*end]).is_some()) {
            sample.truncate(end + last.size());
        }
        let found = guess(&format, &options, &sample);
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
        let mut refused = Vec::new();
        let rows = format::decoder(&format, decoded.collect())?.decode(&sample, &mut refused)?;
        Ok(Discovered { statement: statement(name, &columns, &format, &options), rows, refused })
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
