//! SQL types, and the column that every stream has.

use arrow::datatypes::Schema;

pub use kinesql_udfs::sql_type::{CHARACTER_LENGTH_MAX, SqlType, sql_type_name};

/// Name of the hidden column that every stream carries: TIMESTAMP NOT NULL.
pub const ROWTIME: &str = "ROWTIME";

/// Key of a schema's metadata: the columns that `*` leaves out, one a line.
const HIDDEN: &str = "hidden";

/// Marks columns of `schema` as hidden: they can be selected by name and are not part of `*`, like [`ROWTIME`].
pub fn with_hidden(schema: Schema, names: &[&str]) -> Schema {
    match names {
        [] => schema,
        names => {
            let mut metadata = schema.metadata.clone();
            metadata.insert(HIDDEN.to_owned(), names.join("\n"));
            schema.with_metadata(metadata)
        }
    }
}

/// The hidden columns of a schema besides [`ROWTIME`].
pub fn hidden(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.metadata.get(HIDDEN).into_iter().flat_map(|names| names.lines())
}

/// True for columns that the statement which created the stream names, or its query.
pub fn is_declared(schema: &Schema, column: &str) -> bool {
    column != ROWTIME && hidden(schema).all(|name| name != column)
}
