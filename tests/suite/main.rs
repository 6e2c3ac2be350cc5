//! All whole-engine tests, in one binary: one link, one place to look.

mod anomaly;
mod arrival;
mod bad_input;
mod batch_sql;
mod conformance;
mod embedding;
mod errors;
mod faults;
mod join_property;
mod joins_of_three;
mod numbers;
mod plans;
mod property;
mod reference;
mod seams;
mod simulation;
mod sliding;
mod slt;
mod sorting;
mod stream;
mod tables;
mod windows;
