//! A Lambda function between a source and its decoder (kda-sql-reference.md §6.10): any source of bytes can have one.
//!
//! Service:   AWS Lambda; `Invoke` (action `lambda:InvokeFunction`), and `GetFunctionConfiguration` once if that is allowed.
//! Request:   `invocationId`, `applicationArn`, `streamArn`, and of each record `recordId`, `data` in base64 and what the
//!            service says of it: the data stream, or when the delivery stream delivered it. Answer: of each record `recordId`,
//!            `result` and `data`.
//! Results:   `Ok` replaces the record by `data`, which may hold several documents or rows; `Dropped` leaves it out;
//!            `ProcessingFailed` makes a row of error_stream of it.
//! Order:     that of the source, although several invocations are under way.
//! Retries:   a whole batch, for ever, until each of its records is answered: after errors, time-outs, missing ids.
//! Delivery:  offsets are those of the source, so nothing is lost; the function may see a record again.
//! Sample:    schema inference sees what the function makes of the first records, with which it is called as for a job.
//! Errors:    `Config` for a function that does not exist and for denied calls; `Unavailable` if it cannot make a sample.

mod batch;
mod reader;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use kinesql_engine::connector::{
    ConnectorMetric, Offset, OptionKind, OptionSpec, Options, Payload, Records, Sample, Source, SourceContext, SourceDefinition,
    SourceFactory, SplitReader, Trouble,
};
use kinesql_engine::{Error, Result};
use tokio::sync::{OnceCell, Semaphore};

use self::batch::{Patience, Processor, Work};
use self::reader::PreprocessedReader;
use super::function::{Function, PAYLOAD_BYTES_MAX};
use crate::aws::AwsOptions;
use crate::delivery::Ids;
use crate::delivery::options::DEFAULT_TIMEOUT;
use crate::file::framing::Framing;
use crate::sample::sample_of;

/// Records of an invocation unless given (kda-sql-reference.md §8.8).
const BATCH_RECORDS: i64 = 500;

/// Bytes of a request unless given: half of what Lambda takes, since the answer may be longer than the request.
const BATCH_BYTES: usize = 3 << 20;

/// Invocations at the same time unless given.
const CONCURRENCY: i64 = 4;

const fn option(name: &'static str, kind: OptionKind, help: &'static str) -> OptionSpec {
    OptionSpec { name, kind, required: false, default: None, help }
}

const FUNCTION: &str = "preprocessor";

/// Options of a source that can have a pre-processor.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option(FUNCTION, OptionKind::Text, "Name or ARN of a Lambda function that the records go through before they are decoded."),
    option(
        "preprocessor.batch_records",
        OptionKind::Integer { min: 1, max: 10_000 },
        "Most records of an invocation; 500 unless given.",
    ),
    option("preprocessor.batch_bytes", OptionKind::Bytes, "Most bytes of a request, at most 6mb; 3mb unless given."),
    option(
        "preprocessor.concurrency",
        OptionKind::Integer { min: 1, max: 1_000 },
        "Invocations at the same time; 4 unless given.",
    ),
    option(
        "preprocessor.timeout",
        OptionKind::Duration,
        "An invocation without an answer for this long is repeated; 5s more than the function may run unless given.",
    ),
    option(
        "preprocessor.application_arn",
        OptionKind::Text,
        "The applicationArn of requests; a made-up one that ends in application/kinesql unless given.",
    ),
    option(
        "preprocessor.stream_arn",
        OptionKind::Text,
        "The streamArn of requests; the ARN of the source's stream, else where the records come from, unless given.",
    ),
    option("preprocessor.region", OptionKind::Text, "AWS region of the function; that of its ARN or of the source unless given."),
    option("preprocessor.endpoint", OptionKind::Text, "URL of Lambda, for VPC endpoints and local servers."),
    option("preprocessor.profile", OptionKind::Text, "Profile of ~/.aws for Lambda; that of the source unless given."),
    option("preprocessor.role_arn", OptionKind::Text, "ARN of a role to assume for Lambda; that of the source unless given."),
    option("preprocessor.external_id", OptionKind::Text, "External id for that role; that of the source unless given."),
];

/// A source factory whose sources can have a pre-processor.
pub struct Preprocessed<F> {
    factory: F,
    /// Those of the factory, then those of a pre-processor.
    options: Vec<OptionSpec>,
}

impl<F: SourceFactory> Preprocessed<F> {
    /// Sources of `factory`, with the options of a pre-processor beside their own.
    pub fn new(factory: F) -> Self {
        let options = factory.options().iter().chain(OPTIONS).copied().collect();
        Self { factory, options }
    }
}

impl<F: SourceFactory> SourceFactory for Preprocessed<F> {
    fn name(&self) -> &'static str {
        self.factory.name()
    }

    fn options(&self) -> &[OptionSpec] {
        &self.options
    }

    fn formats(&self) -> &'static [&'static str] {
        self.factory.formats()
    }

    fn delivers_rows(&self) -> bool {
        self.factory.delivers_rows()
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        let source = self.factory.create(definition, options)?;
        let settings = Settings::try_new(options)?;
        let Some(settings) = settings else { return Ok(source) };
        if matches!(source.payload(), Payload::Batches(_)) {
            let format = definition.format.name();
            return Err(Error::config(format!("a pre-processor cannot take format '{format}': it holds rows, not records"))
                .with_hint("Leave out option \"preprocessor\"; a pump can do its work in SQL."));
        }
        let framing = Framing::of(&definition.format)?;
        let processor = Arc::new(OnceCell::new());
        let (name, place) = (definition.name.clone(), options.text("path").unwrap_or(self.name()).to_owned());
        Ok(Arc::new(PreprocessedSource { source, settings, framing, name, place, processor }))
    }
}

/// What the options say.
#[derive(Debug, Clone)]
struct Settings {
    function: String,
    aws: AwsOptions,
    batch_records: usize,
    batch_bytes: usize,
    concurrency: usize,
    timeout: Option<Duration>,
    application_arn: Option<String>,
    stream_arn: Option<String>,
}

impl Settings {
    /// None if the source has no pre-processor.
    fn try_new(options: &Options) -> Result<Option<Self>> {
        let Some(function) = options.text(FUNCTION).filter(|function| !function.is_empty()) else {
            let given = OPTIONS.iter().map(|option| option.name).find(|name| {
                options.text(name).is_some()
                    || options.integer(name).is_some()
                    || options.bytes(name).is_some()
                    || options.duration(name).is_some()
            });
            return match given {
                Some(name) => Err(Error::config(format!("option \"{name}\" has no meaning without a function"))
                    .with_hint("Add preprocessor = '…', the name or ARN of a Lambda function.")),
                None => Ok(None),
            };
        };
        let batch_bytes = options.bytes("preprocessor.batch_bytes").map_or(BATCH_BYTES, |bytes| bytes as usize);
        if !(8_192..=PAYLOAD_BYTES_MAX).contains(&batch_bytes) {
            return Err(Error::config(format!("option \"preprocessor.batch_bytes\" cannot be {batch_bytes} bytes"))
                .with_hint("A request has 8kb to 6mb."));
        }
        let integer = |name: &str, default: i64| options.integer(name).unwrap_or(default).max(1) as usize;
        Ok(Some(Self {
            aws: AwsOptions::of_preprocessor(options, function)?,
            function: function.to_owned(),
            batch_records: integer("preprocessor.batch_records", BATCH_RECORDS),
            batch_bytes,
            concurrency: integer("preprocessor.concurrency", CONCURRENCY),
            timeout: options.duration("preprocessor.timeout").filter(|timeout| !timeout.is_zero()),
            application_arn: options.text("preprocessor.application_arn").map(str::to_owned),
            stream_arn: options
                .text("preprocessor.stream_arn")
                .or_else(|| options.text("stream").filter(|stream| stream.starts_with("arn:")))
                .map(str::to_owned),
        }))
    }
}

/// A source whose records go through a function.
#[derive(Debug)]
struct PreprocessedSource {
    source: Arc<dyn Source>,
    settings: Settings,
    framing: Framing,
    name: String,
    /// Where records come from that do not say it.
    place: String,
    /// Made when the first split is opened; all splits share it.
    processor: Arc<OnceCell<Arc<Processor>>>,
}

impl PreprocessedSource {
    /// The function gets the records as they came, with all that is known of them.
    fn raw(&self, context: &SourceContext) -> SourceContext {
        SourceContext { metadata: self.source.metadata(), raw: true, ..context.clone() }
    }

    async fn processor(&self, context: &SourceContext) -> Result<Arc<Processor>> {
        let make = async || -> Result<Arc<Processor>> {
            let function = Function::new(&self.settings.aws, &self.settings.function).await?;
            let function_timeout = function.timeout(&context.clock).await?;
            let settings = &self.settings;
            Ok(Arc::new(Processor {
                application_arn: settings.application_arn.clone().unwrap_or_else(|| function.default_application_arn()),
                stream_arn: settings.stream_arn.clone(),
                function,
                framing: self.framing,
                batch_records: settings.batch_records,
                batch_bytes: settings.batch_bytes,
                concurrency: settings.concurrency,
                permits: Semaphore::new(settings.concurrency),
                timeout: settings.timeout.or(function_timeout).unwrap_or(DEFAULT_TIMEOUT),
                clock: Arc::clone(&context.clock),
                ids: Ids::new(&self.name, context.clock.now()),
                work: Work::default(),
            }))
        };
        self.processor.get_or_try_init(make).await.cloned()
    }
}

#[async_trait]
impl Source for PreprocessedSource {
    async fn inspect(&self) -> Result<()> {
        self.source.inspect().await
    }

    async fn version(&self) -> Result<Option<String>> {
        self.source.version().await
    }

    fn has_arrival_times(&self) -> bool {
        self.source.has_arrival_times()
    }

    fn leaves_out(&self) -> Option<&'static str> {
        self.source.leaves_out()
    }

    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    async fn splits(&self, parallelism: usize) -> Result<Vec<String>> {
        self.source.splits(parallelism).await
    }

    async fn open(&self, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let processor = self.processor(context).await?;
        let reader = self.source.open(split, offset, &self.raw(context)).await?;
        Ok(Box::new(PreprocessedReader::start(reader, processor)))
    }

    /// What the function makes of the first records, which it gets as it gets those of a job. Nobody waits for ever here.
    async fn sample(&self, max_bytes: usize, context: &SourceContext) -> Result<Sample> {
        let raw = self.raw(context);
        let pieces = match self.source.sample_records(max_bytes, &raw).await? {
            Some(pieces) => pieces,
            None => {
                let Sample { bytes, rejected } = self.source.sample(max_bytes, &raw).await?;
                vec![Records {
                    bytes: bytes.into(),
                    origin: self.place.as_str().into(),
                    position: 0,
                    rejected,
                    arrival_time: None,
                    part: None,
                    envelopes: None,
                    offset: Offset(serde_json::Value::Null),
                }]
            }
        };
        let processor = self.processor(context).await?;
        let mut processed = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let records = processor.process(piece, Patience::OfStart).await.map_err(|error| match error.hint() {
                Some(_) => error,
                None => error.with_hint(
                    "Columns are inferred from what the function makes of the first records: mend it, or declare them.",
                ),
            })?;
            processed.push(records);
        }
        Ok(sample_of(processed, &context.format))
    }

    fn metadata(&self) -> SchemaRef {
        self.source.metadata()
    }

    fn checkpointed(&self, split: &str, offset: &Offset) {
        self.source.checkpointed(split, offset);
    }

    fn taken(&self, split: &str, offset: &Offset) {
        self.source.taken(split, offset);
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        let mut metrics = self.source.metrics();
        metrics.extend(self.processor.get().into_iter().flat_map(|processor| processor.work.metrics()));
        metrics
    }

    fn trouble(&self) -> Option<Trouble> {
        self.processor.get().and_then(|processor| processor.work.trouble()).or_else(|| self.source.trouble())
    }

    fn exclusive(&self) -> Option<&'static str> {
        self.source.exclusive()
    }

    fn reads_path(&self, path: &Path) -> bool {
        self.source.reads_path(path)
    }
}

#[cfg(test)]
mod tests;
