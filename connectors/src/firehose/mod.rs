//! Amazon Data Firehose.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `source` | an endpoint that delivery streams deliver to |

mod source;

pub use source::FirehoseSourceFactory;
