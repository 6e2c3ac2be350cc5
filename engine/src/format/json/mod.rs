//! JSON: records to rows by column paths, rows to records.

mod decode;
mod encode;
mod path;

pub use decode::JsonDecoder;
pub use encode::JsonEncoder;

#[cfg(test)]
mod tests;
