//! All whole-engine tests, in one binary: one link, one place to look.

mod errors;
mod property;
mod simulation;
mod slt;
