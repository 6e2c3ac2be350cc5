//! Public errors: few kinds, each of which tells the caller what to do.

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::plan::planner_words::with_sql_types;

/// The result of every public call of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The statement is wrong: fix the SQL text.
    Sql,
    /// An option, a path or an argument is wrong: fix the configuration.
    Config,
    /// What a job has to hold is more than its memory budget.
    Memory,
    /// A record or row cannot be used. Such errors go to `error_stream`; as a job's error it means that nothing could.
    Data,
    /// A file or service did not answer, retries included.
    Unavailable,
    /// A checkpoint cannot be used or written.
    State,
    /// A bug of the engine: please report it.
    Internal,
}

/// An error of the engine: its kind, what was attempted, and where in the script.
///
/// `Display` prints one error with its hint; [`std::error::Error::source`] leads to the cause.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    diagnostics: Vec<Diagnostic>,
    name: Option<&'static str>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` says what was attempted and with which values, lower case, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, diagnostics: Vec::new(), name: None, cause: None }
    }

    /// [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::State`].
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::State, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The problems found in a script, in the order of the text; never empty. [`ErrorKind::Sql`], unless every one of them is about
    /// data or a service that a statement needs: then the kind of the first.
    pub fn sql(diagnostics: Vec<Diagnostic>) -> Self {
        let in_text = |problem: &Diagnostic| matches!(problem.kind, ErrorKind::Sql | ErrorKind::Config);
        let first = diagnostics.first().filter(|_| !diagnostics.iter().any(in_text));
        let kind = first.map_or(ErrorKind::Sql, |first| first.kind);
        let message = diagnostics.first().map_or_else(String::new, |first| first.message.clone());
        Self { diagnostics, ..Self::new(kind, message) }
    }

    /// Sets the code that `error_stream` shows as `ERROR_NAME` (kda-sql-reference.md §8.7).
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// The code that `error_stream` shows as `ERROR_NAME`.
    pub fn name(&self) -> &'static str {
        self.name.unwrap_or("FUNCTION_ERROR")
    }

    /// Adds what to do next: a full sentence.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error that caused this one.
    pub fn with_cause(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Says what it is about in front of the message, such as `source "TICKS"`; kind, hint and cause stay.
    pub fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was attempted and with which values.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Every problem of the script, with its place; empty if the error is not about a script.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.diagnostics.is_empty() {
            for (i, diagnostic) in self.diagnostics.iter().enumerate() {
                if i > 0 {
                    writeln!(f)?;
                }
                write!(f, "{diagnostic}")?;
            }
            return Ok(());
        }
        write!(f, "{}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)?;
        if let Some(cause) = &self.cause {
            write!(f, "\ncaused by: {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as &(dyn std::error::Error + 'static))
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError;
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(error) => *error,
                Err(inner) => Error::internal(inner.to_string()),
            },
            DataFusionError::ArrowError(inner, _) => Error::from(*inner),
            DataFusionError::Execution(message) => Error::data(message),
            // The pool's words name its parts.
            DataFusionError::ResourcesExhausted(_) => Error::new(ErrorKind::Memory, "the query exceeds the memory budget")
                .with_hint("Raise --memory-limit, or read, group or sort fewer rows."),
            other => Error::internal(other.strip_backtrace()),
        }
    }
}

/// Arrow's messages about values out of range, in the words of SQL. They are all that `error_stream` says, so what to do is in them.
fn in_sql(message: String) -> String {
    if let Some(computed) = message.strip_prefix("Overflow happened on: ") {
        return format!("{computed} exceeds the range of its type: cast an operand to a wider one, such as BIGINT or DECIMAL");
    }
    if let Some((value, data_type)) = message.strip_prefix("Can't cast value ").and_then(|rest| rest.split_once(" to type ")) {
        let data_type = with_sql_types(data_type);
        return format!("{value} is out of the range of {data_type}: compute it of a wider type, such as BIGINT");
    }
    if let Some((value, data_type)) = message.strip_prefix("value of ").and_then(|rest| rest.split_once(" is out of range ")) {
        let data_type = with_sql_types(data_type);
        return format!("{value} is out of the range of {data_type}: compute it of a wider type, such as DECIMAL");
    }
    if let Some((data_type, value)) =
        message.strip_prefix("Cannot cast to ").and_then(|rest| rest.split_once(". Overflowing on "))
    {
        return format!("{value} is out of the range of {}", with_sql_types(data_type));
    }
    // Of a cast to DATE.
    if let Some(ms) = message.strip_prefix("Cannot convert arrow_array::types::TimestampMillisecondType ") {
        let ms = ms.trim_end_matches(" to datetime");
        return format!("a TIMESTAMP of {ms} milliseconds since 1970 is out of the range of DATE");
    }
    message
}

/// What arrow says is wrong with a value, in the words of SQL.
pub(crate) fn arrow_message(error: &arrow::error::ArrowError) -> String {
    use arrow::error::ArrowError;
    match error {
        ArrowError::DivideByZero => DIVISION_BY_ZERO.to_owned(),
        ArrowError::ArithmeticOverflow(message) | ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            in_sql(message.clone())
        }
        ArrowError::InvalidArgumentError(message) => decimal_overflow(message).unwrap_or_else(|| message.clone()),
        ArrowError::ComputeError(message) => message.clone(),
        other => other.to_string(),
    }
}

/// The message of a division by zero.
pub(crate) const DIVISION_BY_ZERO: &str = "division by zero";

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError;
        match error {
            ArrowError::DivideByZero => Error::data(DIVISION_BY_ZERO).named("DIVISION_BY_ZERO"),
            ArrowError::ArithmeticOverflow(message) | ArrowError::CastError(message) | ArrowError::ParseError(message) => {
                Error::data(in_sql(message)).named("COERCION_ERROR")
            }
            ArrowError::InvalidArgumentError(message) if let Some(message) = decimal_overflow(&message) => {
                Error::data(message).named("COERCION_ERROR")
            }
            ArrowError::ComputeError(message) | ArrowError::InvalidArgumentError(message) => Error::data(message),
            other => Error::internal(other.to_string()),
        }
    }
}

/// Arrow's "123.45 is too large to store in a Decimal128 of precision 4. Max is 99.99" in our words.
fn decimal_overflow(message: &str) -> Option<String> {
    let (value, rest) = message.split_once(" to store in a Decimal")?;
    let value = value.strip_suffix(" is too large").or_else(|| value.strip_suffix(" is too small"))?;
    let digits = rest.split_once(" of precision ")?.1.split_once('.')?.0;
    Some(format!("{value} is out of the range of a DECIMAL of {digits} digits"))
}
