//! AWS Lambda.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `sink` | rows to a function that says of each whether it was delivered |
//! | `preprocessor` | the records of a source through a function, before they are decoded |
//! | `function` | invokes a function |

mod function;
pub mod preprocessor;
mod sink;
#[cfg(test)]
mod stub;

pub use sink::LambdaSinkFactory;
