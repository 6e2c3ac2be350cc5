//! Options that all delivering sinks have.

use std::time::Duration;

use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};

/// Time to answer for a service whose option has no default.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// `newline`.
pub(crate) const NEWLINE: OptionSpec = OptionSpec {
    name: "newline",
    kind: OptionKind::Boolean,
    required: false,
    default: Some("false"),
    help: "End each record with a line break; records are bare, as the service's own, unless it is true.",
};

/// `max_in_flight`.
pub(crate) const fn max_in_flight(default: &'static str) -> OptionSpec {
    OptionSpec {
        name: "max_in_flight",
        kind: OptionKind::Integer { min: 1, max: 1_000 },
        required: false,
        default: Some(default),
        help: "Requests that may wait for an answer at the same time.",
    }
}

/// `batch.records`.
pub(crate) const fn batch_records(max: i64, default: &'static str, help: &'static str) -> OptionSpec {
    let kind = OptionKind::Integer { min: 1, max };
    OptionSpec { name: "batch.records", kind, required: false, default: Some(default), help }
}

/// `batch.bytes`.
pub(crate) const fn batch_bytes(default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name: "batch.bytes", kind: OptionKind::Bytes, required: false, default: Some(default), help }
}

/// `linger`.
pub(crate) const fn linger(default: &'static str) -> OptionSpec {
    OptionSpec {
        name: "linger",
        kind: OptionKind::Duration,
        required: false,
        default: Some(default),
        help: "Longest wait for a request to become full; with 0ms it leaves as soon as no further row is waiting.",
    }
}

/// `buffer_bytes`.
pub(crate) const BUFFER_BYTES: OptionSpec = OptionSpec {
    name: "buffer_bytes",
    kind: OptionKind::Bytes,
    required: false,
    default: Some("32mb"),
    help: "Bytes that may wait for an acknowledgement; past them the job reads no further.",
};

/// `request_timeout`.
pub(crate) const fn request_timeout(default: &'static str) -> OptionSpec {
    OptionSpec {
        name: "request_timeout",
        kind: OptionKind::Duration,
        required: false,
        default: Some(default),
        help: "A request without an answer for this long is sent again.",
    }
}

/// `retry.min_delay`.
pub(crate) const RETRY_MIN_DELAY: OptionSpec = OptionSpec {
    name: "retry.min_delay",
    kind: OptionKind::Duration,
    required: false,
    default: Some("100ms"),
    help: "Wait before something is sent again; it doubles with every failure.",
};

/// `retry.max_delay`.
pub(crate) const RETRY_MAX_DELAY: OptionSpec = OptionSpec {
    name: "retry.max_delay",
    kind: OptionKind::Duration,
    required: false,
    default: Some("10s"),
    help: "Longest wait before something is sent again.",
};

/// `retry.max_elapsed`.
pub(crate) const RETRY_MAX_ELAPSED: OptionSpec = OptionSpec {
    name: "retry.max_elapsed",
    kind: OptionKind::Duration,
    required: false,
    default: None,
    help: "The job ends when a record has failed for this long; it is sent again for ever unless given.",
};

/// The values of the options above.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryOptions {
    pub newline: bool,
    pub max_in_flight: usize,
    pub batch_records: usize,
    pub batch_bytes: usize,
    pub linger: Duration,
    pub buffer_bytes: usize,
    pub request_timeout: Duration,
    pub retry_min_delay: Duration,
    pub retry_max_delay: Duration,
    pub retry_max_elapsed: Option<Duration>,
}

impl DeliveryOptions {
    /// Reads the options of a connector, `batch.bytes` of which may be at most `batch_bytes_max`.
    pub(crate) fn try_new(options: &Options, batch_bytes_max: usize) -> Result<Self> {
        let duration = |name: &str| options.duration(name).unwrap_or_default();
        let bytes = |name: &str| options.bytes(name).map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let new = Self {
            newline: options.flag(NEWLINE.name),
            max_in_flight: options.integer("max_in_flight").unwrap_or(1).max(1) as usize,
            batch_records: options.integer("batch.records").unwrap_or(1).max(1) as usize,
            batch_bytes: bytes("batch.bytes"),
            linger: duration("linger"),
            buffer_bytes: bytes(BUFFER_BYTES.name),
            request_timeout: options.duration("request_timeout").unwrap_or(DEFAULT_TIMEOUT),
            retry_min_delay: duration(RETRY_MIN_DELAY.name),
            retry_max_delay: duration(RETRY_MAX_DELAY.name),
            retry_max_elapsed: options.duration(RETRY_MAX_ELAPSED.name),
        };
        if new.batch_bytes == 0 || new.batch_bytes > batch_bytes_max {
            return Err(Error::config(format!("option \"batch.bytes\" cannot be {} bytes", new.batch_bytes))
                .with_hint(format!("The service takes requests of 1 to {batch_bytes_max} bytes.")));
        }
        if new.retry_min_delay.is_zero() || new.request_timeout.is_zero() {
            let name = if new.request_timeout.is_zero() { "request_timeout" } else { RETRY_MIN_DELAY.name };
            return Err(Error::config(format!("option \"{name}\" cannot be 0")).with_hint("Give a time span such as 100ms."));
        }
        Ok(new)
    }
}

/// The format of a sink that sends a row as a record: there is no first line that a header could be.
pub(crate) fn record_format(connector: &str, format: Option<&FormatSpec>) -> Result<FormatSpec> {
    match format.cloned().unwrap_or(FormatSpec::Json) {
        FormatSpec::Csv(csv) if csv.header => {
            Err(Error::config(format!("connector '{connector}' cannot write a CSV header: each row is a record of its own"))
                .with_hint("Leave out option \"csv.header\"."))
        }
        format => Ok(format),
    }
}
