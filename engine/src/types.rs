//! SQL types, and the column that every stream has.

pub use kinesql_udfs::sql_type::{CHARACTER_LENGTH_MAX, SqlType, sql_type_name};

/// Name of the hidden column that every stream carries: TIMESTAMP NOT NULL.
pub const ROWTIME: &str = "ROWTIME";
