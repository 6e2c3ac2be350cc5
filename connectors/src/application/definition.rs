//! An application as both versions of the service's API describe it (kda-sql-reference.md §6.2–6.5).
//!
//! The members of `CreateApplication` and `DescribeApplication` differ by the suffix `Description`, the versions by where the
//! SQL configuration stands: one set of types reads all four.

use kinesql_engine::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An application: its code, where its streams come from and where they go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The SQL text, if the file holds it.
    pub code: Option<String>,
    /// Why it does not, if the file says where the text is.
    pub open_code: Option<Text>,
    /// Streaming sources; the service allowed one.
    pub inputs: Vec<Input>,
    /// Destinations.
    pub outputs: Vec<Output>,
    /// Reference tables.
    pub references: Vec<Reference>,
    /// True if the file asks for logs in CloudWatch, which has no meaning here.
    pub logs: bool,
    /// Its own ARN, which says the region.
    pub arn: Option<String>,
}

/// Text that a template may leave open; only who needs it asks for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// It is said.
    Known(String),
    /// It is not, and why.
    Open {
        /// What is missing.
        message: String,
        /// How to give it.
        hint: Option<String>,
    },
}

impl Text {
    /// The text, or what is missing.
    pub fn needed(&self) -> Result<&str> {
        match self {
            Text::Known(text) => Ok(text),
            Text::Open { message, hint: None } => Err(Error::config(message.clone())),
            Text::Open { message, hint: Some(hint) } => Err(Error::config(message.clone()).with_hint(hint.clone())),
        }
    }

    /// The text if it is said.
    pub fn known(&self) -> Option<&str> {
        match self {
            Text::Known(text) => Some(text),
            Text::Open { .. } => None,
        }
    }

    /// An error in place of a text, as JSON; [`Text`] reads it again.
    pub(super) fn open(error: &Error) -> Value {
        serde_json::json!({ OPEN: [error.message(), error.hint()] })
    }
}

/// The one member of an object that stands for a text that is not said. No service has a member of this name.
const OPEN: &str = "kinesql::open";

impl Default for Text {
    fn default() -> Self {
        Text::Known(String::new())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if let Some(text) = value.as_str() {
            return Ok(Text::Known(text.to_owned()));
        }
        let part = |index: usize| value[OPEN][index].as_str().map(str::to_owned);
        let message = part(0).ok_or_else(|| serde::de::Error::custom(format!("{value} is not text")))?;
        Ok(Text::Open { message, hint: part(1) })
    }
}

/// A streaming source.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Input {
    /// Given by the service.
    #[serde(alias = "InputId")]
    pub id: Option<String>,
    /// The streams are called `prefix_001`, `prefix_002`, ….
    pub name_prefix: String,
    /// A Kinesis stream.
    #[serde(alias = "KinesisStreamsInputDescription")]
    pub kinesis_streams_input: Option<Resource>,
    /// A Firehose delivery stream.
    #[serde(alias = "KinesisFirehoseInputDescription")]
    pub kinesis_firehose_input: Option<Resource>,
    /// The Lambda function before it.
    #[serde(alias = "InputProcessingConfigurationDescription")]
    pub input_processing_configuration: Option<Processing>,
    /// How many streams.
    pub input_parallelism: Option<Parallelism>,
    /// The records.
    pub input_schema: RecordSchema,
    /// Where to start.
    pub input_starting_position_configuration: Option<StartingPosition>,
}

/// An ARN, and the role with which the service used it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Resource {
    /// The resource.
    #[serde(rename = "ResourceARN")]
    pub arn: Text,
    /// Only in the first API version.
    #[serde(rename = "RoleARN")]
    pub role_arn: Option<Text>,
}

/// A Lambda function before an input.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Processing {
    /// The function.
    #[serde(rename = "InputLambdaProcessor", alias = "InputLambdaProcessorDescription")]
    pub lambda: Option<Resource>,
}

/// How many streams an input has.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parallelism {
    /// 1 to 64; templates may write it as text.
    #[serde(default, deserialize_with = "number")]
    pub count: Option<u64>,
}

/// Where an input starts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartingPosition {
    /// `NOW`, `TRIM_HORIZON` or `LAST_STOPPED_POINT`.
    pub input_starting_position: Option<String>,
}

/// The columns of records, and how they are encoded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordSchema {
    /// `UTF-8`.
    pub record_encoding: Option<String>,
    /// JSON or CSV.
    pub record_format: RecordFormat,
    /// The columns.
    pub record_columns: Vec<RecordColumn>,
}

/// How records are encoded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordFormat {
    /// `JSON` or `CSV`.
    pub record_format_type: String,
    /// More about it.
    pub mapping_parameters: Option<MappingParameters>,
}

/// More about JSON or CSV.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MappingParameters {
    /// For JSON.
    #[serde(rename = "JSONMappingParameters")]
    pub json: Option<JsonParameters>,
    /// For CSV.
    #[serde(rename = "CSVMappingParameters")]
    pub csv: Option<CsvParameters>,
}

/// Where rows stand in a JSON document.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct JsonParameters {
    /// `$` unless given.
    pub record_row_path: Option<String>,
}

/// What separates rows and fields.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CsvParameters {
    /// Between two rows.
    pub record_row_delimiter: Option<String>,
    /// Between two fields.
    pub record_column_delimiter: Option<String>,
}

/// A column of an input or of a reference table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordColumn {
    /// Its name, exact case.
    pub name: String,
    /// Where it stands in a JSON document.
    pub mapping: Option<String>,
    /// Its type as SQL writes it.
    pub sql_type: String,
}

/// A destination of a stream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Output {
    /// The stream's name.
    pub name: String,
    /// A Kinesis stream.
    #[serde(alias = "KinesisStreamsOutputDescription")]
    pub kinesis_streams_output: Option<Resource>,
    /// A Firehose delivery stream.
    #[serde(alias = "KinesisFirehoseOutputDescription")]
    pub kinesis_firehose_output: Option<Resource>,
    /// A Lambda function.
    #[serde(alias = "LambdaOutputDescription")]
    pub lambda_output: Option<Resource>,
    /// How rows are encoded.
    pub destination_schema: Option<DestinationSchema>,
}

/// How rows are encoded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DestinationSchema {
    /// `JSON` or `CSV`.
    pub record_format_type: Option<String>,
}

/// A reference table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reference {
    /// Its name, exact case.
    pub table_name: String,
    /// The S3 object.
    #[serde(rename = "S3ReferenceDataSource", alias = "S3ReferenceDataSourceDescription")]
    pub s3: S3Object,
    /// Its records.
    pub reference_schema: RecordSchema,
}

/// An S3 object.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct S3Object {
    /// `arn:aws:s3:::bucket`.
    #[serde(rename = "BucketARN")]
    pub bucket_arn: Text,
    /// Its key.
    #[serde(rename = "FileKey")]
    pub file_key: Text,
}

/// The lists of the SQL configuration, whatever API and call they come from.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct SqlConfiguration {
    #[serde(alias = "InputDescriptions")]
    inputs: Vec<Input>,
    #[serde(alias = "OutputDescriptions")]
    outputs: Vec<Output>,
    #[serde(alias = "ReferenceDataSourceDescriptions")]
    reference_data_sources: Vec<Reference>,
}

impl Definition {
    /// Reads the document of a `CreateApplication` or `DescribeApplication` call.
    pub(super) fn from_document(name: &str, document: Value) -> Result<Self> {
        let detail = document.get("ApplicationDetail").unwrap_or(&document);
        if let Some(runtime) = detail["RuntimeEnvironment"].as_str()
            && runtime != "SQL-1_0"
        {
            return Err(Error::config(format!("'{name}' is an application of runtime {runtime}, not of SQL"))
                .with_hint("kinesql runs applications of the runtime SQL-1_0."));
        }
        let configuration = first(detail, &["ApplicationConfiguration", "ApplicationConfigurationDescription"]);
        let sql = configuration
            .and_then(|configuration| {
                first(configuration, &["SqlApplicationConfiguration", "SqlApplicationConfigurationDescription"])
            })
            .unwrap_or(detail);
        let code = configuration.map_or_else(|| detail.get("ApplicationCode"), code_of_v2);
        let known = ["Inputs", "InputDescriptions", "Outputs", "OutputDescriptions"];
        if code.is_none() && known.iter().all(|member| sql.get(member).is_none()) {
            return Err(Error::config(format!("'{name}' describes no Kinesis Data Analytics application")).with_hint(
                "It has neither ApplicationCode nor Inputs: give the output of 'aws kinesisanalytics describe-application'.",
            ));
        }
        let mut lists = SqlConfiguration::deserialize(sql)
            .map_err(|error| Error::config(format!("'{name}' does not have the shape of an application: {error}")))?;
        let runs = first(detail, &["RunConfiguration"])
            .or_else(|| configuration.and_then(|configuration| first(configuration, &["RunConfigurationDescription"])))
            .and_then(|run| first(run, &["SqlRunConfigurations", "SqlRunConfigurationDescriptions"]));
        for run in runs.and_then(Value::as_array).into_iter().flatten() {
            let position = StartingPosition::deserialize(&run["InputStartingPositionConfiguration"]).ok();
            lists.inputs.iter_mut().filter(|input| input.id.as_deref() == run["InputId"].as_str()).for_each(|input| {
                input.input_starting_position_configuration = position.clone();
            });
        }
        let logs = first(detail, &["CloudWatchLoggingOptions", "CloudWatchLoggingOptionDescriptions"]);
        Ok(Self {
            name: detail["ApplicationName"].as_str().unwrap_or(name).to_owned(),
            open_code: code.filter(|code| code.is_object()).and_then(|code| Text::deserialize(code).ok()),
            code: code.and_then(Value::as_str).filter(|code| !code.trim().is_empty()).map(str::to_owned),
            inputs: lists.inputs,
            outputs: lists.outputs,
            references: lists.reference_data_sources,
            arn: detail["ApplicationARN"].as_str().map(str::to_owned),
            logs: logs.and_then(Value::as_array).is_some_and(|logs| !logs.is_empty()),
        })
    }
}

fn first<'a>(value: &'a Value, members: &[&str]) -> Option<&'a Value> {
    members.iter().find_map(|member| value.get(member)).filter(|member| !member.is_null())
}

fn code_of_v2(configuration: &Value) -> Option<&Value> {
    let code = first(configuration, &["ApplicationCodeConfiguration", "ApplicationCodeConfigurationDescription"])?;
    first(code, &["CodeContent", "CodeContentDescription"])?.get("TextContent")
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    number.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a count")))
}
