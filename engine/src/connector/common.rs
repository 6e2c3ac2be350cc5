//! Options that the engine itself reads: a source, a table or a sink takes them besides those of its connector.

use super::options::{OptionKind, OptionSpec};

/// Which connector.
pub const CONNECTOR: OptionSpec = OptionSpec {
    name: "connector",
    kind: OptionKind::Text,
    required: true,
    default: None,
    help: "What to read from or write to.",
};

/// How records are encoded, for a connector that has these formats.
pub const fn format_option(formats: &'static [&'static str]) -> OptionSpec {
    OptionSpec {
        name: "format",
        kind: OptionKind::OneOf(formats),
        required: false,
        default: None,
        help: "How records are encoded; by the path's extension, else json.",
    }
}

/// CSV: what stands between two fields.
pub const CSV_DELIMITER: OptionSpec = OptionSpec {
    name: "csv.delimiter",
    kind: OptionKind::Text,
    required: false,
    default: Some(","),
    help: "Between two fields: one character, next to which fields may be in quotes; of a source also a text, or empty if a record is one field.",
};

/// CSV: what ends a record.
pub const CSV_ROW_DELIMITER: OptionSpec = OptionSpec {
    name: "csv.row_delimiter",
    kind: OptionKind::Text,
    required: false,
    default: Some("\\n"),
    help: "What ends records: a character, or a text of at most 16 bytes, with which quotes are text; \\n, the default, also reads lines that end with \\r\\n.",
};

/// CSV: whether names come first.
pub const CSV_HEADER: OptionSpec = OptionSpec {
    name: "csv.header",
    kind: OptionKind::Boolean,
    required: false,
    default: Some("false"),
    help: "Source: the first record holds names. Sink: write such a record.",
};

/// JSON: what a row is.
pub const JSON_ROW_PATH: OptionSpec = OptionSpec {
    name: "json.row_path",
    kind: OptionKind::Text,
    required: false,
    default: Some("$"),
    help: "Path of the object that is a row, or of the array whose elements are rows ($.list[0:]); paths of columns start there. Default $, the record.",
};

/// Where ROWTIME comes from, if not from a WATERMARK clause.
pub const ROWTIME: OptionSpec = OptionSpec {
    name: "rowtime",
    kind: OptionKind::OneOf(&["processing", "arrival"]),
    required: false,
    default: None,
    help: "The clock when a row is read (processing, the default) or the time at which the service received it (arrival).",
};

/// When silence no longer holds windows open.
pub const IDLE_TIMEOUT: OptionSpec = OptionSpec {
    name: "idle_timeout",
    kind: OptionKind::Duration,
    required: false,
    default: None,
    help: "After this long without a row a split or shard no longer holds windows open; never unless given, 1s under rowtime = 'arrival'.",
};

/// Where late rows go.
pub const LATE: OptionSpec = OptionSpec {
    name: "late",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Name of a stream that gets the rows that come behind the watermark; none unless given.",
};

/// Whose metadata columns the rows have.
pub const METADATA: OptionSpec = OptionSpec {
    name: "metadata",
    kind: OptionKind::OneOf(&["kinesis"]),
    required: false,
    default: None,
    help: "'kinesis': the records stand in for those of a Kinesis stream, so they have its metadata columns: APPROXIMATE_ARRIVAL_TIME is when they are read, PARTITION_KEY, SEQUENCE_NUMBER and SHARD_ID are NULL.",
};

/// How often a table looks for new data.
pub const REFRESH: OptionSpec = OptionSpec {
    name: "refresh",
    kind: OptionKind::Duration,
    required: false,
    default: None,
    help: "How often to look whether the data has changed, such as 5min; only on REFRESH TABLE unless given.",
};

/// Options of sources and tables whose records have a format, with [`format_option`].
pub const RECORD_OPTIONS: &[&OptionSpec] = &[&CSV_DELIMITER, &CSV_ROW_DELIMITER, &CSV_HEADER, &JSON_ROW_PATH];

/// Options of every source, besides [`CONNECTOR`].
pub const SOURCE_OPTIONS: &[&OptionSpec] = &[&ROWTIME, &IDLE_TIMEOUT, &LATE, &METADATA];

/// Those of every table: it has no time.
pub const TABLE_OPTIONS: &[&OptionSpec] = &[&REFRESH];

/// Options of sinks whose records have a format, with [`format_option`].
pub const SINK_OPTIONS: &[&OptionSpec] = &[&CSV_DELIMITER, &CSV_HEADER];
