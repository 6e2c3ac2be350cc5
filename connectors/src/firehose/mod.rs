//! Amazon Data Firehose.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `source` | an endpoint that delivery streams deliver to |
//! | `sink` | rows as records of a delivery stream |

mod sink;
mod source;

pub use sink::FirehoseSinkFactory;
pub use source::FirehoseSourceFactory;
