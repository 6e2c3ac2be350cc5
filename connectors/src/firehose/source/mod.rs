//! The `firehose` source: an HTTP(S) endpoint that delivery streams of Amazon Data Firehose deliver to.
//!
//! Service:  Firehose calls it as described in "Understand HTTP endpoint delivery request and response specifications".
//! Options:  `listen`, `path`, `access_key`, `certificate`, `key`, `spool`, `ack_timeout`, `remember`, `max_request_bytes`,
//!           `max_record_bytes`; see docs/connectors/firehose-source.md.
//! Splits:   one. Order: that of the deliveries, within one that of its records.
//! Delivery: a delivery is acknowledged when its records can no longer be lost: with checkpoints when one covers them, with a
//!           spool when they are on disk, else when they are on their way to the sinks. A delivery that Firehose repeats is
//!           recognised by its request id; the last ids are part of the offset. So: exactly-once with checkpoints, also with a
//!           spool.
//! Retries:  Firehose repeats what was not acknowledged in time, for as long as its own retry duration.
//! Errors:   a record that is too large or no text of the format goes to `error_stream`; a bad body is refused as a whole.

mod deliveries;
mod endpoint;
mod spool;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use kinesql_engine::connector::{
    ARRIVAL_TIME, ConnectorMetric, Offset, OptionKind, OptionSpec, Options, Sample, Source, SourceContext, SourceDefinition,
    SourceFactory, SplitReader,
};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};
use tokio::sync::Semaphore;

use self::deliveries::{Acknowledge, Deliveries, DeliveryReader, Resume};
use self::endpoint::{BODIES, Endpoint, serve};
use self::spool::Spool;
use crate::file::framing::Framing;
use crate::secret;

const LISTEN: OptionSpec = OptionSpec {
    name: "listen",
    kind: OptionKind::Text,
    required: true,
    default: None,
    help: "Address and port to listen on, such as 0.0.0.0:8443, or 127.0.0.1:8080 behind a load balancer.",
};
const PATH: OptionSpec = OptionSpec {
    name: "path",
    kind: OptionKind::Text,
    required: false,
    default: Some("/"),
    help: "Path of the endpoint's URL; default /.",
};
const ACCESS_KEY: OptionSpec = OptionSpec {
    name: "access_key",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: secret::help!("The access key of the delivery stream's endpoint; without it everybody may deliver."),
};
const CERTIFICATE: OptionSpec = OptionSpec {
    name: "certificate",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "PEM file with the certificate chain for HTTPS; default: plain HTTP, for a load balancer that ends TLS.",
};
const KEY: OptionSpec = OptionSpec {
    name: "key",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "PEM file with the private key of the certificate.",
};
const SPOOL: OptionSpec = OptionSpec {
    name: "spool",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Folder in which deliveries are kept until they are processed: they are acknowledged once they are on disk.",
};
const SPOOL_BYTES: OptionSpec = OptionSpec {
    name: "spool_bytes",
    kind: OptionKind::Bytes,
    required: false,
    default: Some("1gb"),
    help: "Bytes that the spool may have; a full one refuses deliveries until some are processed. Default 1gb.",
};
const ACK_TIMEOUT: OptionSpec = OptionSpec {
    name: "ack_timeout",
    kind: OptionKind::Duration,
    required: false,
    // Firehose waits 3 minutes for an answer before it repeats a delivery.
    default: Some("150s"),
    help: "A delivery that cannot be acknowledged in this time is answered 503, and Firehose repeats it; default 150s.",
};
const REMEMBER: OptionSpec = OptionSpec {
    name: "remember",
    kind: OptionKind::Integer { min: 1, max: 100_000 },
    required: false,
    default: Some("2000"),
    help: "Request ids that are remembered to recognise repeated deliveries; default 2000.",
};
const MAX_REQUEST_BYTES: OptionSpec = OptionSpec {
    name: "max_request_bytes",
    kind: OptionKind::Bytes,
    required: false,
    // The largest request body of Firehose, compressed or not.
    default: Some("64mb"),
    help: "Largest request, before and after decompression; a larger one is answered 413. Default 64mb.",
};
const MAX_RECORD_BYTES: OptionSpec = OptionSpec {
    name: "max_record_bytes",
    kind: OptionKind::Bytes,
    required: false,
    default: Some("1mb"),
    help: "Longest record; a longer one goes to error_stream. Default 1mb.",
};

const OPTIONS: &[OptionSpec] =
    &[LISTEN, PATH, ACCESS_KEY, CERTIFICATE, KEY, SPOOL, SPOOL_BYTES, ACK_TIMEOUT, REMEMBER, MAX_REQUEST_BYTES, MAX_RECORD_BYTES];

/// The one split.
const SPLIT: &str = "endpoint";

/// Makes `firehose` sources.
#[derive(Debug)]
pub struct FirehoseSourceFactory;

impl SourceFactory for FirehoseSourceFactory {
    fn name(&self) -> &'static str {
        "firehose"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn create(&self, definition: &SourceDefinition, options: &Options) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FirehoseSource::try_new(definition, options)?))
    }
}

/// A bound source.
#[derive(Debug)]
struct FirehoseSource {
    listen: String,
    path: String,
    access_key: Option<String>,
    certificate: Option<(PathBuf, PathBuf)>,
    spool: Option<(PathBuf, u64)>,
    ack_timeout: Duration,
    remember: usize,
    max_request_bytes: usize,
    max_record_bytes: usize,
    /// The deliveries of the reader that is open, and the address that it listens on.
    open: Mutex<Option<(Arc<Deliveries>, SocketAddr)>>,
}

impl FirehoseSource {
    fn try_new(definition: &SourceDefinition, options: &Options) -> Result<Self> {
        Framing::of(&definition.format)?;
        if matches!(&definition.format, FormatSpec::Csv(options) if options.header) {
            return Err(Error::config("option \"csv.header\" has no meaning for connector 'firehose'")
                .with_hint("Deliveries are records of one endless stream: declare the columns in their order."));
        }
        let text = |spec: &OptionSpec| options.text(spec.name).map(str::to_owned);
        let size = |spec: &OptionSpec| match options.bytes(spec.name) {
            Some(0) => Err(Error::config(format!("option \"{}\" of connector 'firehose' cannot be 0", spec.name))),
            size => Ok(size.unwrap_or_default() as usize),
        };
        let certificate = match (text(&CERTIFICATE), text(&KEY)) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => {
                return Err(Error::config("options \"certificate\" and \"key\" of connector 'firehose' go together")
                    .with_hint("HTTPS needs both; leave both out where a load balancer ends TLS."));
            }
        };
        let path = text(&PATH).unwrap_or_default();
        if !path.starts_with('/') || path.contains(['{', '}', '?', '#']) {
            return Err(Error::config(format!("option \"path\" of connector 'firehose' cannot be '{path}'"))
                .with_hint("Write the path of the URL, such as /ticks."));
        }
        let spool_bytes = size(&SPOOL_BYTES)? as u64;
        Ok(Self {
            listen: text(&LISTEN).unwrap_or_default(),
            path,
            access_key: text(&ACCESS_KEY).map(|key| secret::secret(ACCESS_KEY.name, &key)).transpose()?,
            certificate,
            spool: text(&SPOOL).map(|folder| (folder.into(), spool_bytes)),
            ack_timeout: options.duration(ACK_TIMEOUT.name).unwrap_or(Duration::from_secs(150)),
            remember: options.integer(REMEMBER.name).unwrap_or(2_000) as usize,
            // Ends of records are counted in 32 bits.
            max_request_bytes: size(&MAX_REQUEST_BYTES)?.min(u32::MAX as usize / 2),
            max_record_bytes: size(&MAX_RECORD_BYTES)?,
            open: Mutex::new(None),
        })
    }

    fn deliveries(&self) -> Option<(Arc<Deliveries>, SocketAddr)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Source for FirehoseSource {
    fn is_bounded(&self) -> bool {
        false
    }

    fn has_arrival_times(&self) -> bool {
        true
    }

    /// The time of a delivery is that of all its records: it needs no envelopes.
    fn metadata(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new(ARRIVAL_TIME, DataType::Timestamp(TimeUnit::Millisecond, None), true)]))
    }

    async fn splits(&self, _parallelism: usize) -> Result<Vec<String>> {
        Ok(vec![SPLIT.to_owned()])
    }

    async fn open(&self, _split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Box<dyn SplitReader>> {
        let resume = match offset {
            Some(offset) => Resume::restore(offset)?,
            None => Resume::default(),
        };
        let spool = match self.spool.clone() {
            Some((folder, bytes)) => Some(Spool::open(folder, bytes, resume.sequence).await?),
            None => None,
        };
        let acknowledge = match (&spool, context.checkpointed) {
            (Some(_), _) => Acknowledge::Spooled,
            (None, true) => Acknowledge::Checkpointed,
            (None, false) => Acknowledge::Taken,
        };
        let (deliveries, waiting) = Deliveries::new(resume, acknowledge, self.remember, spool);
        let endpoint = Endpoint {
            path: self.path.clone(),
            access_key: self.access_key.clone(),
            max_request_bytes: self.max_request_bytes,
            max_record_bytes: self.max_record_bytes,
            ack_timeout: self.ack_timeout,
            clock: Arc::clone(&context.clock),
            deliveries: Arc::clone(&deliveries),
            bodies: Arc::new(Semaphore::new(BODIES)),
        };
        let (address, server) = serve(&self.listen, self.certificate.as_ref(), endpoint).await?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&deliveries), address));
        Ok(Box::new(DeliveryReader::new(deliveries, waiting, server)))
    }

    async fn sample(&self, _max_bytes: usize, _context: &SourceContext) -> Result<Sample> {
        Err(Error::config("the columns of a 'firehose' source must be declared")
            .with_hint("There is nothing to look at before the first delivery."))
    }

    fn checkpointed(&self, _split: &str, offset: &Offset) {
        if let (Some((deliveries, _)), Ok(resume)) = (self.deliveries(), Resume::restore(offset)) {
            deliveries.covered(resume.sequence);
        }
    }

    fn taken(&self, _split: &str, offset: &Offset) {
        let sequence = offset.0.get("sequence").and_then(serde_json::Value::as_u64);
        if let (Some((deliveries, _)), Some(sequence)) = (self.deliveries(), sequence) {
            deliveries.taken(sequence);
        }
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.deliveries().map(|(deliveries, _)| deliveries.metrics()).unwrap_or_default()
    }
}
