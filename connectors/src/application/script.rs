//! A definition as SQL: what the service kept beside the code becomes CREATE SOURCE, CREATE TABLE and CREATE SINK.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kinesql_engine::connector::OptionEntry;
use kinesql_engine::diagnostic::Diagnostic;
use kinesql_engine::format::RowEnd;
use kinesql_engine::{Error, Result};

use super::definition::{Definition, Input, RecordColumn, RecordSchema, Reference, Resource, S3Object, Text};

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
    /// True if the format of the definition does not apply: the connector delivers rows, or the path names another.
    pub own_format: bool,
}

/// The parts of a script, in the order in which they run.
#[derive(Debug, Clone)]
pub struct Scripts {
    /// Sources and reference tables.
    pub inputs: String,
    /// The application's own code, as it was.
    pub code: String,
    /// Destinations.
    pub outputs: String,
    /// What is other than the definition says, for whoever runs it.
    pub notes: Vec<Diagnostic>,
}

/// Where the endpoint of the first delivery stream listens; others follow on the next ports.
const LISTEN: (&str, u64) = ("127.0.0.1", 8080);

impl Definition {
    /// The application as SQL. `code` stands for that of the definition if it has none.
    pub fn scripts(&self, code: Option<&str>, overrides: &Overrides) -> Result<Scripts> {
        let Some(code) = self.code.as_deref().or(code) else {
            if let Some(open) = &self.open_code {
                open.needed()?;
            }
            return Err(Error::config(format!("application \"{}\" comes without its SQL code", self.name))
                .with_hint("Name the file that holds it behind the options: kinesql run --app application.json code.sql"));
        };
        let mut inputs = format!("-- Application {}.\n", one_line(&self.name));
        if self.logs {
            inputs.push_str("-- Its logs in CloudWatch have no counterpart here: errors are rows of error_stream.\n");
        }
        let mut notes = Vec::new();
        let mut port = LISTEN.1;
        for input in &self.inputs {
            self.write_input(&mut inputs, input, overrides, &mut port, &mut notes)?;
        }
        for reference in &self.references {
            write_reference(&mut inputs, reference, overrides, self.region())?;
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
            let arn = to.arn.needed()?;
            let name = format!("{} to {connector} {}", output.name, last_part(arn));
            let mut options = vec![("connector", connector.to_owned()), (option, arn.to_owned()), ("format", format)];
            if connector == "lambda" {
                options.extend(self.arn.as_ref().map(|arn| ("application_arn", arn.clone())));
            }
            write_role(&mut outputs, to);
            let from = quoted(&output.name);
            let _ = write!(outputs, "CREATE SINK {} FROM {from}{}", quoted(&name), with(&options));
        }
        Ok(Scripts { inputs, code: code.to_owned(), outputs, notes })
    }

    /// The region of the application: that of its own ARN, else of another one that has one.
    fn region(&self) -> Option<&str> {
        let inputs = self.inputs.iter().flat_map(|input| [&input.kinesis_streams_input, &input.kinesis_firehose_input]);
        let outputs = self.outputs.iter();
        let outputs =
            outputs.flat_map(|output| [&output.kinesis_streams_output, &output.kinesis_firehose_output, &output.lambda_output]);
        let others = inputs.chain(outputs).flatten().filter_map(|resource| resource.arn.known());
        let mut regions = self.arn.as_deref().into_iter().chain(others).filter_map(|arn| arn.split(':').nth(3));
        regions.find(|region| !region.is_empty())
    }

    /// Names of the streams that the inputs fill, and of the reference tables.
    pub fn input_names(&self) -> Vec<String> {
        let tables = self.references.iter().map(|reference| reference.table_name.clone());
        self.inputs.iter().flat_map(|input| stream_names(input).unwrap_or_default()).chain(tables).collect()
    }

    fn write_input(
        &self,
        script: &mut String,
        input: &Input,
        overrides: &Overrides,
        port: &mut u64,
        notes: &mut Vec<Diagnostic>,
    ) -> Result<()> {
        let prefix = &input.name_prefix;
        let names = stream_names(input)?;
        let position = input.input_starting_position_configuration.as_ref();
        let position = position.and_then(|position| position.input_starting_position.as_deref()).unwrap_or("NOW");
        let (from, option) = match (&input.kinesis_streams_input, &input.kinesis_firehose_input) {
            (Some(stream), None) => {
                let start = match position {
                    "NOW" | "LAST_STOPPED_POINT" => "latest",
                    "TRIM_HORIZON" => "trim_horizon",
                    other => return Err(Error::config(format!("input \"{prefix}\" cannot start at '{other}'"))),
                };
                (stream, Some(("scan.start", start.to_owned())))
            }
            // A delivery stream cannot be read: it delivers. Here it delivers to an HTTP endpoint of this source.
            (None, Some(delivery)) => (delivery, None),
            (Some(_), Some(_)) => return Err(Error::config(format!("input \"{prefix}\" has two sources"))),
            (None, None) => {
                return Err(Error::config(format!("input \"{prefix}\" has no source"))
                    .with_hint("It needs KinesisStreamsInput or KinesisFirehoseInput."));
            }
        };
        script.push('\n');
        if position == "LAST_STOPPED_POINT" {
            script.push_str("-- LAST_STOPPED_POINT: run with --checkpoint-dir; the first run starts at the newest record.\n");
            if option.is_some() && names.iter().any(|name| !overrides.inputs.contains_key(name)) {
                let what = format!(
                    "without a checkpoint input \"{prefix}\" starts at the newest record: where the service stopped is not known"
                );
                notes.push(
                    Diagnostic::warning(what)
                        .hint("With --checkpoint-dir every run but the first goes on where the last one stopped."),
                );
            }
        }
        let records = record_options(&input.input_schema, prefix)?;
        let lambda = input.input_processing_configuration.as_ref().and_then(|processing| processing.lambda.as_ref());
        let count = names.len();
        let mut is_first = true;
        let mut unprocessed = Vec::new();
        // The source of the first endpoint of a delivery stream.
        let mut endpoint = None;
        for (number, name) in (1..).zip(&names) {
            if let Some(replacement) = overrides.inputs.get(name) {
                let rowtime = replacement.rowtime.as_deref();
                let mut options = replaced(replacement, &records);
                // The code may select what the service knew of each record.
                options.push(("metadata", "kinesis".to_owned()));
                write_create(script, "SOURCE", name, &input.input_schema, rowtime, &options)?;
                let has_own = replacement.options.iter().any(|option| option.key == "preprocessor");
                if !has_own {
                    unprocessed.push(name.as_str());
                }
                continue;
            }
            let arn = from.arn.needed()?;
            if std::mem::take(&mut is_first) {
                write_role(script, from);
            }
            let mut options = match &option {
                Some(start) => vec![("connector", "kinesis".to_owned()), ("stream", arn.to_owned()), start.clone()],
                None => {
                    let listen = format!("{}:{port}", LISTEN.0);
                    *port += 1;
                    let _ = match endpoint {
                        None => writeln!(
                            script,
                            "-- Was the delivery stream {}: let it deliver to the HTTP endpoint of this source, through a load balancer that\n\
                             -- ends TLS, or with certificate and key; set an access_key where others can reach it.",
                            one_line(last_part(arn))
                        ),
                        // It has one destination; the service spread its records over the streams.
                        Some(first) => writeln!(
                            script,
                            "-- A delivery stream delivers to one endpoint: that of \"{}\", or of a load balancer that spreads requests over all.",
                            one_line(first)
                        ),
                    };
                    endpoint = endpoint.or(Some(name.as_str()));
                    notes.push(
                        Diagnostic::warning(format!(
                            "source \"{name}\" waits on http://{listen}/ for what a delivery stream delivers"
                        ))
                        .hint(format!("Give another address with --source {name}=firehose:ADDRESS:PORT, or another source.")),
                    );
                    vec![("connector", "firehose".to_owned()), ("listen", listen)]
                }
            };
            options.extend(records.iter().cloned());
            if let Some(lambda) = lambda {
                options.push(("preprocessor", lambda.arn.needed()?.to_owned()));
                options.extend(self.arn.as_ref().map(|arn| ("preprocessor.application_arn", arn.clone())));
            }
            if count > 1 && option.is_some() {
                // The streams of one input share its shards.
                options.push(("worker", format!("{number}/{count}")));
            }
            write_create(script, "SOURCE", name, &input.input_schema, None, &options)?;
        }
        if let Some(lambda) = lambda.filter(|_| !unprocessed.is_empty()) {
            notes.push(without_function(&unprocessed.join(", "), lambda));
        }
        Ok(())
    }
}

/// Most streams of an input (kda-sql-reference.md §6.2).
const STREAMS_MAX: u64 = 64;

/// `PREFIX_001` and so on.
fn stream_names(input: &Input) -> Result<Vec<String>> {
    let (count, prefix) =
        (input.input_parallelism.as_ref().and_then(|parallelism| parallelism.count).unwrap_or(1), &input.name_prefix);
    if !(1..=STREAMS_MAX).contains(&count) {
        return Err(Error::config(format!("InputParallelism of input \"{prefix}\" is {count}, not 1 to {STREAMS_MAX}")));
    }
    Ok((1..=count).map(|number| format!("{prefix}_{number:03}")).collect())
}

/// Says that records of other sources do not pass the input's function.
fn without_function(sources: &str, lambda: &Resource) -> Diagnostic {
    let arn = lambda.arn.known().unwrap_or("ARN");
    let function = arn.split(":function:").nth(1).unwrap_or(arn);
    Diagnostic::warning(format!("records of --source {sources} do not pass the function {function} as those of the input did"))
        .hint(format!("Give records as it returns them, or add preprocessor={arn} behind the '?' of the URI."))
}

fn write_reference(script: &mut String, reference: &Reference, overrides: &Overrides, region: Option<&str>) -> Result<()> {
    let name = &reference.table_name;
    script.push('\n');
    let records = record_options(&reference.reference_schema, name)?;
    let options = match overrides.inputs.get(name) {
        Some(Replacement { rowtime: Some(_), .. }) => {
            return Err(Error::config(format!("\"{name}\" is a reference table: it has no event time")));
        }
        Some(replacement) => replaced(replacement, &records),
        None => {
            let S3Object { bucket_arn, file_key } = &reference.s3;
            let path = format!("s3://{}/{}", last_part(bucket_arn.needed()?), file_key.needed()?);
            let region = region.map(|region| ("region", region.to_owned()));
            let place = [("connector", "s3".to_owned()), ("path", path)];
            place.into_iter().chain(region).chain(records).collect()
        }
    };
    write_create(script, "TABLE", name, &reference.reference_schema, None, &options)
}

/// The options of a replacement, and those of the definition's records that it leaves open.
fn replaced<'a>(replacement: &'a Replacement, records: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
    let given = replacement.options.iter().map(|option| (option.key.as_str(), option.value.clone()));
    let other_format = replacement.own_format || replacement.options.iter().any(|option| option.key == "format");
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
            let delimiter = unescaped(csv.and_then(|csv| csv.record_column_delimiter.as_deref()).unwrap_or(","));
            let rows = unescaped(csv.and_then(|csv| csv.record_row_delimiter.as_deref()).unwrap_or("\n"));
            let last = RowEnd::of(&rows).filter(|_| !matches!(rows.as_str(), "\"" | "\0"));
            let last = last.ok_or_else(|| {
                Error::config(format!("\"{owner}\": rows that end with {rows:?} cannot be read"))
                    .with_hint(format!("RecordRowDelimiter can be a text of at most {} bytes.", RowEnd::BYTES_MAX))
            })?;
            let never_occurs = last.find(delimiter.as_bytes()).is_some() || matches!(delimiter.as_str(), "" | "\r" | "\"" | "\0");
            if never_occurs && schema.record_columns.len() > 1 {
                return Err(Error::config(format!("\"{owner}\": fields between {delimiter:?} cannot be read"))
                    .with_hint("RecordColumnDelimiter can be any text that does not end rows."));
            }
            // The whole row is one field (kda-sql-reference.md §6.8).
            let delimiter = if never_occurs { String::new() } else { delimiter };
            if delimiter != "," {
                options.push(("csv.delimiter", escaped(&delimiter)));
            }
            if last != RowEnd::LINE_BREAK {
                options.push(("csv.row_delimiter", escaped(&rows)));
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

/// The same for the script.
fn escaped(delimiter: &str) -> String {
    delimiter.replace('\r', "\\r").replace('\n', "\\n").replace('\t', "\\t")
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
    if let Some(role) = resource.role_arn.as_ref().and_then(Text::known) {
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
