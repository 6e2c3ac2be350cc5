//! A definition as SQL: what the service kept beside the code becomes CREATE SOURCE, CREATE TABLE and CREATE SINK.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kinesql_engine::connector::OptionEntry;
use kinesql_engine::{Error, Result};

use super::definition::{Definition, Input, RecordColumn, RecordSchema, Reference, Resource};

/// What replaces bindings of the definition, for a local run.
#[derive(Debug, Default)]
pub struct Overrides {
    /// What sources and reference tables read instead, by name.
    pub inputs: BTreeMap<String, Replacement>,
    /// Streams whose destinations are left out.
    pub sinks: BTreeSet<String>,
}

/// What a source or a reference table reads instead.
#[derive(Debug, Default)]
pub struct Replacement {
    /// Options of the connector; how records are encoded follows from the definition unless they say it.
    pub options: Vec<OptionEntry>,
    /// The column that is the event time, instead of the clock.
    pub rowtime: Option<String>,
}

/// The parts of a script, in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripts {
    /// Sources and reference tables.
    pub inputs: String,
    /// The application's own code, as it was.
    pub code: String,
    /// Destinations.
    pub outputs: String,
}

impl Definition {
    /// The application as SQL. `code` stands for that of the definition if it has none.
    pub fn scripts(&self, code: Option<&str>, overrides: &Overrides) -> Result<Scripts> {
        let Some(code) = self.code.as_deref().or(code) else {
            return Err(Error::config(format!("application \"{}\" comes without its SQL code", self.name))
                .with_hint("Name the file that holds it behind the options: kinesql run --app application.json code.sql"));
        };
        let mut inputs = format!("-- Application {}.\n", one_line(&self.name));
        if self.logs {
            inputs.push_str("-- Its logs in CloudWatch have no counterpart here: errors are rows of error_stream.\n");
        }
        for input in &self.inputs {
            write_input(&mut inputs, input, overrides)?;
        }
        for reference in &self.references {
            write_reference(&mut inputs, reference, overrides)?;
        }
        let mut outputs = String::new();
        for output in self.outputs.iter().filter(|output| !overrides.sinks.contains(&output.name)) {
            let format = output.destination_schema.as_ref().and_then(|schema| schema.record_format_type.as_deref());
            let format = format.unwrap_or("JSON").to_lowercase();
            let destinations = [
                ("kinesis", "stream", &output.kinesis_streams_output),
                ("firehose", "delivery_stream", &output.kinesis_firehose_output),
                ("lambda", "function", &output.lambda_output),
            ];
            let mut found =
                destinations.into_iter().filter_map(|(connector, option, to)| Some((connector, option, to.as_ref()?)));
            let Some((connector, option, to)) = found.next() else {
                return Err(Error::config(format!("output \"{}\" has no destination", output.name))
                    .with_hint("It needs KinesisStreamsOutput, KinesisFirehoseOutput or LambdaOutput."));
            };
            // Outputs of one stream to several destinations need names of their own.
            let name = format!("{} to {connector} {}", output.name, last_part(&to.arn));
            let options = vec![("connector", connector.to_owned()), (option, to.arn.clone()), ("format", format)];
            write_role(&mut outputs, to);
            let from = quoted(&output.name);
            let _ = write!(outputs, "CREATE SINK {} FROM {from}{}", quoted(&name), with(&options));
        }
        Ok(Scripts { inputs, code: code.to_owned(), outputs })
    }

    /// Names of the streams that the inputs fill, and of the reference tables.
    pub fn input_names(&self) -> Vec<String> {
        let tables = self.references.iter().map(|reference| reference.table_name.clone());
        self.inputs.iter().flat_map(stream_names).chain(tables).collect()
    }
}

/// `PREFIX_001` and so on.
fn stream_names(input: &Input) -> Vec<String> {
    let count = input.input_parallelism.as_ref().and_then(|parallelism| parallelism.count).unwrap_or(1);
    (1..=count).map(|number| format!("{}_{number:03}", input.name_prefix)).collect()
}

fn write_input(script: &mut String, input: &Input, overrides: &Overrides) -> Result<()> {
    let prefix = &input.name_prefix;
    // 1 to 64 (kda-sql-reference.md §6.2).
    const STREAMS_MAX: usize = 64;
    let names = stream_names(input);
    if names.is_empty() || names.len() > STREAMS_MAX {
        return Err(Error::config(format!("InputParallelism of input \"{prefix}\" is {}, not 1 to {STREAMS_MAX}", names.len())));
    }
    let position = input.input_starting_position_configuration.as_ref();
    let position = position.and_then(|position| position.input_starting_position.as_deref()).unwrap_or("NOW");
    let (from, mut options) = match (&input.kinesis_streams_input, &input.kinesis_firehose_input) {
        (Some(stream), None) => {
            let start = match position {
                "NOW" | "LAST_STOPPED_POINT" => "latest",
                "TRIM_HORIZON" => "trim_horizon",
                other => return Err(Error::config(format!("input \"{prefix}\" cannot start at '{other}'"))),
            };
            let connector = ("connector", "kinesis".to_owned());
            (stream, vec![connector, ("stream", stream.arn.clone()), ("scan.start", start.to_owned())])
        }
        // A delivery stream cannot be read: it delivers. Here it delivers to an HTTP endpoint of this source.
        (None, Some(delivery)) => (delivery, vec![("connector", "firehose".to_owned())]),
        (Some(_), Some(_)) => return Err(Error::config(format!("input \"{prefix}\" has two sources"))),
        (None, None) => {
            return Err(Error::config(format!("input \"{prefix}\" has no source"))
                .with_hint("It needs KinesisStreamsInput or KinesisFirehoseInput."));
        }
    };
    script.push('\n');
    if position == "LAST_STOPPED_POINT" {
        script.push_str("-- LAST_STOPPED_POINT: run with --checkpoint-dir; the first run starts at the newest record.\n");
    }
    if input.kinesis_firehose_input.is_some() {
        let name = one_line(last_part(&from.arn));
        let _ = writeln!(script, "-- Was the delivery stream {name}: let it deliver to the HTTP endpoint of this source.");
    }
    write_role(script, from);
    let records = record_options(&input.input_schema, prefix)?;
    options.extend(records.iter().cloned());
    if let Some(lambda) = input.input_processing_configuration.as_ref().and_then(|processing| processing.lambda.as_ref()) {
        options.push(("preprocessor", lambda.arn.clone()));
    }
    let count = names.len();
    for (number, name) in (1..).zip(&names) {
        if let Some(replacement) = overrides.inputs.get(name) {
            let rowtime = replacement.rowtime.as_deref();
            write_create(script, "SOURCE", name, &input.input_schema, rowtime, &replaced(replacement, &records))?;
            continue;
        }
        let mut options = options.clone();
        if count > 1 {
            // The streams of one input share its shards.
            options.push(("worker", format!("{number}/{count}")));
        }
        write_create(script, "SOURCE", name, &input.input_schema, None, &options)?;
    }
    Ok(())
}

fn write_reference(script: &mut String, reference: &Reference, overrides: &Overrides) -> Result<()> {
    let name = &reference.table_name;
    script.push('\n');
    let records = record_options(&reference.reference_schema, name)?;
    let options = match overrides.inputs.get(name) {
        Some(Replacement { rowtime: Some(_), .. }) => {
            return Err(Error::config(format!("\"{name}\" is a reference table: it has no event time")));
        }
        Some(replacement) => replaced(replacement, &records),
        None => {
            let path = format!("s3://{}/{}", last_part(&reference.s3.bucket_arn), reference.s3.file_key);
            [vec![("connector", "s3".to_owned()), ("path", path)], records].concat()
        }
    };
    write_create(script, "TABLE", name, &reference.reference_schema, None, &options)
}

/// The options of a replacement, and those of the definition's records that it leaves open.
fn replaced<'a>(replacement: &'a Replacement, records: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
    let given = replacement.options.iter().map(|option| (option.key.as_str(), option.value.clone()));
    let other_format = replacement.options.iter().any(|option| option.key == "format");
    let open = records.iter().filter(|(key, _)| !other_format && replacement.options.iter().all(|option| option.key != *key));
    given.chain(open.cloned()).collect()
}

/// `format` and its options.
fn record_options(schema: &RecordSchema, owner: &str) -> Result<Vec<(&'static str, String)>> {
    if let Some(encoding) = schema.record_encoding.as_deref().filter(|encoding| !encoding.eq_ignore_ascii_case("UTF-8")) {
        return Err(Error::config(format!("\"{owner}\": RecordEncoding is '{encoding}', not UTF-8")));
    }
    let parameters = schema.record_format.mapping_parameters.as_ref();
    match schema.record_format.record_format_type.as_str() {
        "JSON" => {
            let mut options = vec![("format", "json".to_owned())];
            let path = parameters.and_then(|parameters| parameters.json.as_ref()?.record_row_path.as_deref()).unwrap_or("$");
            if path != "$" {
                options.push(("json.row_path", path.to_owned()));
            }
            Ok(options)
        }
        "CSV" => {
            let mut options = vec![("format", "csv".to_owned())];
            let csv = parameters.and_then(|parameters| parameters.csv.as_ref());
            let delimiter = csv.and_then(|csv| csv.record_column_delimiter.as_deref()).unwrap_or(",");
            let rows = csv.and_then(|csv| csv.record_row_delimiter.as_deref()).unwrap_or("\n");
            if !matches!(unescaped(rows).as_str(), "\n" | "\r\n" | "\r") {
                return Err(Error::config(format!("\"{owner}\": rows that end with {rows:?} cannot be read"))
                    .with_hint("RecordRowDelimiter can be a line break: \\n or \\r\\n."));
            }
            let delimiter = unescaped(delimiter);
            if delimiter.len() != 1 {
                return Err(Error::config(format!("\"{owner}\": fields between {delimiter:?} cannot be read"))
                    .with_hint("RecordColumnDelimiter can be one ASCII character."));
            }
            if delimiter != "," {
                options.push(("csv.delimiter", delimiter));
            }
            Ok(options)
        }
        other => Err(Error::config(format!("\"{owner}\": RecordFormatType is '{other}', not JSON or CSV"))),
    }
}

/// Backslash escapes as templates and consoles write delimiters: `\n`, `\t`, `\r`.
fn unescaped(delimiter: &str) -> String {
    delimiter.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t")
}

fn write_create(
    script: &mut String,
    kind: &str,
    name: &str,
    schema: &RecordSchema,
    rowtime: Option<&str>,
    options: &[(&str, String)],
) -> Result<()> {
    if schema.record_columns.is_empty() {
        return Err(Error::config(format!("\"{name}\" has no RecordColumns")));
    }
    // A replacement may have another format, which has no paths.
    let has_paths = options.iter().any(|(key, value)| *key == "format" && value.eq_ignore_ascii_case("json"));
    let is_json = schema.record_format.record_format_type == "JSON" && has_paths;
    let columns = schema.record_columns.iter().map(|column| column_definition(column, is_json));
    let watermark = rowtime.map(|column| format!("WATERMARK FOR {0} AS {0}", quoted(column)));
    let columns: Vec<_> = columns.chain(watermark).collect();
    let _ = write!(script, "CREATE {kind} {} (\n    {}){}", quoted(name), columns.join(",\n    "), with(options));
    Ok(())
}

fn column_definition(column: &RecordColumn, is_json: bool) -> String {
    let mut text = format!("{} {}", quoted(&column.name), one_line(&column.sql_type));
    // The mapping of a CSV column is ignored (kda-sql-reference.md §6.8).
    if let Some(mapping) = column.mapping.as_deref().filter(|mapping| is_json && !mapping.trim().is_empty()) {
        let _ = write!(text, " PATH {}", literal(mapping.trim()));
    }
    text
}

fn with(options: &[(&str, String)]) -> String {
    let options: Vec<_> = options.iter().map(|(key, value)| format!("{key} = {}", literal(value))).collect();
    format!("\n  WITH ({});\n", options.join(", "))
}

fn write_role(script: &mut String, resource: &Resource) {
    if let Some(role) = &resource.role_arn {
        let _ = writeln!(script, "-- The service used the role {}; kinesql uses your credentials.", one_line(role));
    }
}

/// What stands behind the last `/` or `:` of an ARN.
fn last_part(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or(arn)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Text that cannot end a comment or begin a statement.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
