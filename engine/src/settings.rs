//! Switches: where the texts on KDA contradict each other, or its users, which reading holds (kda-sql-reference.md §8).
//!
//! Every switch has the reading that the reference recommends as its default. `SET name = value` in a script changes it for the
//! statements that follow; `--set name=value` and [`crate::EngineBuilder::set`] for a whole engine. A query keeps the switches
//! with which it was planned. They travel with the session, as an extension of its configuration.

use std::fmt;
use std::sync::Arc;

use datafusion::execution::SessionState;

use crate::connector::{OptionEntry, OptionKind, OptionSpec, Options};
use crate::diagnostic::Diagnostic;

/// The switches, by name.
pub const SWITCHES: &[&OptionSpec] = &[
    &OptionSpec {
        name: AVG_DOUBLE,
        kind: OptionKind::Boolean,
        required: false,
        default: Some("false"),
        help: "True: AVG of whole numbers is a DOUBLE. False: it has the type of its argument and truncates, 29 and 32 give 30.",
    },
    &OptionSpec {
        name: CHAR_TO_TIMESTAMP_FRACTION,
        kind: OptionKind::OneOf(&["java", "cut"]),
        required: false,
        default: Some("java"),
        help: "'cut': digits of a fraction behind the third are dropped by CHAR_TO_TIMESTAMP. 'java': SSS reads all of them as a \
               number of milliseconds, as SimpleDateFormat does.",
    },
    &OptionSpec {
        name: DECIMAL_PRECISION_MAX,
        kind: OptionKind::Integer { min: 18, max: 38 },
        required: false,
        default: Some("38"),
        help: "Digits that the result of arithmetic on DECIMAL can have; beyond them its scale shrinks.",
    },
    &OptionSpec {
        name: DECODE_ALL_COLUMNS,
        kind: OptionKind::Boolean,
        required: false,
        default: Some("false"),
        help: "True: sources decode all of their columns, so that a record with a wrong value in any of them goes to \
               error_stream. False: those that no pump or sink reads are left out.",
    },
    &OptionSpec {
        name: RANGE_ENDPOINT,
        kind: OptionKind::OneOf(&["inclusive", "exclusive"]),
        required: false,
        default: Some("inclusive"),
        help: "Whether a row that is exactly as old as RANGE INTERVAL … PRECEDING says is in the window, also of a join.",
    },
    &OptionSpec {
        name: ROW_BYTES_MAX,
        kind: OptionKind::Bytes,
        required: false,
        default: Some("512kb"),
        help: "The longest row that a source accepts, in bytes of its record, such as 10mb; a longer one goes to error_stream. \
               Format 'raw' has no limit.",
    },
    &OptionSpec {
        name: ROWS_PRECEDING,
        kind: OptionKind::OneOf(&["n_plus_1", "n"]),
        required: false,
        default: Some("n_plus_1"),
        help: "'n': ROWS n PRECEDING are n rows, the current one among them. 'n_plus_1': they are the current row and n before it.",
    },
    &OptionSpec {
        name: TO_CHAR_OF_NULL,
        kind: OptionKind::OneOf(&["text", "null"]),
        required: false,
        default: Some("text"),
        help: "'text': TIMESTAMP_TO_CHAR, DATE_TO_CHAR and TIME_TO_CHAR of NULL are the text null. 'null': they are NULL.",
    },
    &OptionSpec {
        name: TSDIFF_ORDER,
        kind: OptionKind::OneOf(&["second_minus_first", "first_minus_second"]),
        required: false,
        default: Some("second_minus_first"),
        help: "Which argument of TSDIFF is taken from the other.",
    },
];

const AVG_DOUBLE: &str = "avg_double";
const CHAR_TO_TIMESTAMP_FRACTION: &str = "char_to_timestamp_fraction";
const DECIMAL_PRECISION_MAX: &str = "decimal_precision_max";
const DECODE_ALL_COLUMNS: &str = "decode_all_columns";
const RANGE_ENDPOINT: &str = "range_endpoint";
const ROW_BYTES_MAX: &str = "row_bytes_max";
const ROWS_PRECEDING: &str = "rows_preceding";
const TO_CHAR_OF_NULL: &str = "to_char_of_null";
const TSDIFF_ORDER: &str = "tsdiff_order";

/// The longest row unless the switch says otherwise (kda-sql-reference.md §6.16).
const ROW_BYTES_DEFAULT: u64 = 512 << 10;

/// The switches of an engine, or of a place in a script.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Those that were set, in the order of their names.
    entries: Vec<OptionEntry>,
    options: Options,
}

impl Settings {
    /// Sets one; or says what is wrong with it, and with its place if it has one.
    pub fn set(&mut self, entry: OptionEntry) -> Result<(), Diagnostic> {
        let checked = Options::check("the engine", SWITCHES, std::slice::from_ref(&entry), None);
        if let Some(problem) = checked.err().and_then(|problems| problems.into_iter().next()) {
            return Err(problem);
        }
        self.entries.retain(|known| known.key != entry.key);
        self.entries.push(OptionEntry { key_span: None, value_span: None, ..entry });
        self.entries.sort_by(|a, b| a.key.cmp(&b.key));
        // Each of them was right alone.
        self.options = Options::check("the engine", SWITCHES, &self.entries, None).unwrap_or_default();
        Ok(())
    }

    /// Those of a session.
    pub(crate) fn of(state: &SessionState) -> Arc<Settings> {
        state.config().get_extension().unwrap_or_default()
    }

    /// A session with these switches.
    pub(crate) fn in_session(&self, mut state: SessionState) -> SessionState {
        state.config_mut().set_extension(Arc::new(self.clone()));
        state
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.options.text(name) == Some(value)
    }

    /// AVG of whole numbers is a DOUBLE.
    pub(crate) fn avg_is_double(&self) -> bool {
        self.options.flag(AVG_DOUBLE)
    }

    /// CHAR_TO_TIMESTAMP drops the digits of a fraction behind the third.
    pub(crate) fn cuts_fractions(&self) -> bool {
        self.is(CHAR_TO_TIMESTAMP_FRACTION, "cut")
    }

    /// Digits that the result of exact arithmetic can have.
    pub(crate) fn decimal_precision_max(&self) -> u8 {
        // Unless it is set: as many as a DECIMAL can have.
        self.options.integer(DECIMAL_PRECISION_MAX).and_then(|digits| u8::try_from(digits).ok()).unwrap_or(38)
    }

    /// Sources decode columns that nobody reads.
    pub(crate) fn decodes_all_columns(&self) -> bool {
        self.options.flag(DECODE_ALL_COLUMNS)
    }

    /// A row at the far end of a RANGE is not in the window.
    pub(crate) fn range_endpoint_is_exclusive(&self) -> bool {
        self.is(RANGE_ENDPOINT, "exclusive")
    }

    /// Bytes that the record of a row can have.
    pub(crate) fn row_bytes_max(&self) -> usize {
        usize::try_from(self.options.bytes(ROW_BYTES_MAX).unwrap_or(ROW_BYTES_DEFAULT)).unwrap_or(usize::MAX)
    }

    /// The current row is one of ROWS n.
    pub(crate) fn rows_count_current(&self) -> bool {
        self.is(ROWS_PRECEDING, "n")
    }

    /// TIMESTAMP_TO_CHAR and its like give NULL for NULL.
    pub(crate) fn to_char_keeps_null(&self) -> bool {
        self.is(TO_CHAR_OF_NULL, "null")
    }

    /// TSDIFF takes the second from the first.
    pub(crate) fn tsdiff_is_swapped(&self) -> bool {
        self.is(TSDIFF_ORDER, "first_minus_second")
    }
}

/// Those that were set, as `name = 'value', …`.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.entries.iter().enumerate() {
            write!(f, "{}{} = '{}'", if i > 0 { ", " } else { "" }, entry.key, entry.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_has_its_default_until_it_is_set() {
        let mut settings = Settings::default();
        assert!(!settings.avg_is_double() && !settings.tsdiff_is_swapped() && !settings.range_endpoint_is_exclusive());
        settings.set(OptionEntry::new("avg_double", "TRUE")).expect("a boolean");
        settings.set(OptionEntry::new("tsdiff_order", "first_minus_second")).expect("one of the words");
        assert!(settings.avg_is_double() && settings.tsdiff_is_swapped() && !settings.range_endpoint_is_exclusive());
        settings.set(OptionEntry::new("avg_double", "false")).expect("a boolean");
        assert!(!settings.avg_is_double());
        assert_eq!(settings.to_string(), "avg_double = 'false', tsdiff_order = 'first_minus_second'");
    }

    #[test]
    fn what_cannot_be_set_is_said_and_changes_nothing() {
        let mut settings = Settings::default();
        let problem = settings.set(OptionEntry::new("avg_doubl", "true")).expect_err("no such switch");
        assert!(problem.message.contains("unknown option \"avg_doubl\" of the engine"), "{problem}");
        let problem = settings.set(OptionEntry::new("tsdiff_order", "backwards")).expect_err("no such value");
        assert!(problem.to_string().contains("second_minus_first"), "{problem}");
        assert_eq!(settings, Settings::default());
    }

    /// The tables of the documentation are written by hand, and have every switch with its default.
    #[test]
    fn the_documentation_lists_every_switch_with_its_default() {
        for file in ["docs/sql-reference.md", "docs/cli.md"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            let text = std::fs::read_to_string(path).expect("the documentation");
            let listed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `")).collect();
            for switch in SWITCHES {
                let default = switch.default.unwrap_or_default();
                let row = listed.iter().find(|(name, _)| *name == switch.name);
                let row = row.unwrap_or_else(|| panic!("{file} does not list {}", switch.name));
                assert!(row.1.starts_with(&format!("{default}`")), "{file} has another default of {}", switch.name);
            }
        }
    }
}
