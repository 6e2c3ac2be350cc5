//! The options of leases.

use std::time::Duration;

use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::{Error, Result};

use super::table::WorkerId;

/// How shards are shared.
pub(crate) const LEASE: OptionSpec = OptionSpec {
    name: "lease",
    kind: OptionKind::OneOf(&["dynamodb"]),
    required: false,
    default: None,
    help: "Share the stream's shards with other processes through leases in this service. Default: read all of them.",
};

/// Where the leases are.
pub(crate) const LEASE_TABLE: OptionSpec = OptionSpec {
    name: "lease.table",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Name of the DynamoDB table of leases, created if need be: one for all processes that run the same application.",
};

/// Who holds them.
pub(crate) const LEASE_WORKER: OptionSpec = OptionSpec {
    name: "lease.worker",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Name of this process among those that share the stream. Default: host, process and time of its start.",
};

/// How long they last.
pub(crate) const LEASE_DURATION: OptionSpec = OptionSpec {
    name: "lease.duration",
    kind: OptionKind::Duration,
    required: false,
    default: Some("10s"),
    help: "A shard whose process was silent for this long is taken over by another one. Default 10s, as in the KCL.",
};

/// How often they are renewed.
pub(crate) const LEASE_RENEW_INTERVAL: OptionSpec = OptionSpec {
    name: "lease.renew_interval",
    kind: OptionKind::Duration,
    required: false,
    default: None,
    help: "Time between two renewals of a lease. Default: a third of lease.duration.",
};

/// Where the table is.
pub(crate) const LEASE_ENDPOINT: OptionSpec = OptionSpec {
    name: "lease.endpoint",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "URL of DynamoDB, for VPC endpoints and local servers. Default: that of option endpoint unless its host is one of AWS, else the region's own.",
};

/// The options of a worker.
#[derive(Debug, Clone)]
pub(super) struct LeaseOptions {
    pub(super) table: String,
    pub(super) worker: Option<WorkerId>,
    pub(super) duration: Duration,
    pub(super) renew_interval: Duration,
    /// Of DynamoDB, if it is not that of the other calls.
    pub(super) endpoint: Option<String>,
}

impl LeaseOptions {
    /// Reads the options; None if they ask for no leases. Fails with `Config` for options that contradict each other.
    pub(super) fn of(options: &Options) -> Result<Option<Self>> {
        if options.text("lease").is_none() {
            let stray = [LEASE_TABLE, LEASE_WORKER, LEASE_ENDPOINT].into_iter().find(|spec| options.text(spec.name).is_some());
            let stray = stray.or(Some(LEASE_RENEW_INTERVAL).filter(|spec| options.duration(spec.name).is_some()));
            return match stray {
                None => Ok(None),
                Some(spec) => {
                    Err(Error::config(format!("option \"{}\" of connector 'kinesis' has no meaning without leases", spec.name))
                        .with_hint("Add lease = 'dynamodb', or leave it out."))
                }
            };
        }
        if options.text("worker").is_some() {
            return Err(Error::config("options \"worker\" and \"lease\" of connector 'kinesis' exclude each other")
                .with_hint("Leases share the shards out by themselves: leave worker out."));
        }
        let Some(table) = options.text("lease.table") else {
            return Err(Error::config("lease = 'dynamodb' of connector 'kinesis' needs option \"lease.table\"")
                .with_hint("Add lease.table = '…', a name that all processes of this application share and no other one uses."));
        };
        let duration = options.duration("lease.duration").unwrap_or(Duration::from_secs(10));
        let renew_interval = options.duration("lease.renew_interval").unwrap_or(duration / 3);
        if renew_interval.is_zero() || renew_interval * 2 > duration {
            return Err(Error::config(format!(
                "lease.renew_interval of {renew_interval:?} does not fit lease.duration of {duration:?}"
            ))
            .with_hint("Renew at least twice in the duration of a lease."));
        }
        Ok(Some(Self {
            table: table.to_owned(),
            worker: options.text("lease.worker").map(WorkerId::from),
            duration,
            renew_interval,
            endpoint: options.text("lease.endpoint").map(str::to_owned),
        }))
    }
}
