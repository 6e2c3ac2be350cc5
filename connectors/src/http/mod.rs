//! HTTP endpoints.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `sink` | rows to any receiver of the Firehose HTTP endpoint delivery protocol |
//! | `protocol` | requests and answers of that protocol |

mod protocol;
mod sink;

pub use sink::HttpSinkFactory;
