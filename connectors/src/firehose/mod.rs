//! Amazon Data Firehose.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `sink` | rows as records of a delivery stream |

mod sink;

pub use sink::FirehoseSinkFactory;
