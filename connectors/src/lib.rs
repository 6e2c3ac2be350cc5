//! Sources and sinks of kinesql.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
