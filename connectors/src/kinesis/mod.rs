//! Kinesis Data Streams.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `source` | the source: options, lanes, samples |
//! | `coordinator` | lists shards, gives them to lanes, notices reshards |
//! | `shards` | which lane reads which shard, from where and from when on |
//! | `assignment` | which shards this process reads: all, or its part of them |
//! | `lane` | one split of the source: many shards side by side |
//! | `reader`, `fan_out` | one shard: by polling, by subscription |
//! | `pace` | how often, how much, how long to wait |
//! | `payload`, `kpl` | records to pieces: aggregated, compressed, plain |
//! | `position` | places in shards, offsets in checkpoints |
//! | `stats` | metrics per shard; shards kept together in time |
//! | `client` | the calls that are used, as a trait over the SDK |
//! | `limits` | what the service allows, each number with its source |
//! | `fake` | the service in memory, for tests |
//!
//! See: docs/connectors/kinesis.md

mod assignment;
mod client;
mod coordinator;
#[cfg(test)]
mod fake;
mod fan_out;
mod kpl;
mod lane;
mod limits;
mod pace;
mod payload;
mod position;
mod reader;
mod shards;
mod source;
mod stats;

pub use source::KinesisSourceFactory;

#[cfg(test)]
mod tests;
