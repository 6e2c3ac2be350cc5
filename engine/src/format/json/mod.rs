//! JSON: records to rows by column paths, rows to records.

mod decode;
mod encode;
mod flatten;
mod path;

pub use decode::JsonDecoder;
pub(crate) use decode::elements;
pub use encode::JsonEncoder;
pub use flatten::{FlatteningDecoder, decoder};

#[cfg(test)]
mod tests;
