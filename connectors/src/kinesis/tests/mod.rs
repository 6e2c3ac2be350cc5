//! The source against the service in memory: each rule by its name.

mod assignment;
mod expiry;
mod fan_out;
mod faults;
pub(crate) mod harness;
mod reading;
mod reshard;
