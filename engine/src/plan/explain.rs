//! What EXPLAIN prints: per stage its readers, their operators and where the rows go.

use std::fmt::Write as _;
use std::time::Duration;

use crate::catalog::{Rowtime, SourceEntry};
use crate::runtime::graph::{Graph, Target};
use crate::runtime::rowtime::ARRIVAL_IDLE_TIMEOUT;

/// The graph as indented text. The second line of a source says what makes windows close: its watermark, which is the greatest
/// time so far less the delay; a split that is idle holds none open.
///
/// ```text
/// source SOURCE_SQL_STREAM_001 (generator, 1 split): TICKER_SYMBOL, PRICE, EVENT_TIME
///   ROWTIME is EVENT_TIME, the watermark EVENT_TIME − 5 s; idle after 10 s
///   pump STREAM_PUMP
///     → select [TICKER_SYMBOL, PRICE, ROWTIME]
///     → tumbling window [window: …]
///     → insert [ticker, n, ROWTIME]
///     ⇒ stream DESTINATION_SQL_STREAM
/// ```
pub fn explain(graph: &Graph) -> String {
    let mut text = String::new();
    for stage in graph.stages.iter().filter(|stage| !stage.chains.is_empty()) {
        // Writing to a String cannot fail.
        let _ = match &stage.source {
            Some(source) => {
                let splits = match source.splits.len() {
                    1 => "1 split".to_owned(),
                    n => format!("{n} splits"),
                };
                let fields = source.columns.iter().map(|column| &column.field).chain(source.metadata.fields());
                let columns: Vec<_> = fields.map(|field| field.name().as_str()).collect();
                let connector = &source.entry.connector;
                writeln!(text, "source {} ({connector}, {splits}): {}\n  {}", stage.name, columns.join(", "), time(&source.entry))
            }
            None => writeln!(text, "stream {}", stage.name),
        };
        for chain in &stage.chains {
            let _ = writeln!(text, "  {}", chain.id);
            for operator in &chain.operators {
                let _ = writeln!(text, "    → {operator}");
            }
            let _ = match chain.target {
                Target::Stage(target) => writeln!(text, "    ⇒ stream {}", graph.stages[target].name),
                Target::Sink(sink) => writeln!(text, "    ⇒ sink {} ({})", graph.sinks[sink].name, graph.sinks[sink].connector),
            };
        }
    }
    text
}

/// Where the ROWTIME of a source comes from, and how far windows wait for it.
fn time(entry: &SourceEntry) -> String {
    let (rowtime, idle_timeout) = match &entry.rowtime {
        Rowtime::Processing => ("ROWTIME is the clock".to_owned(), None),
        Rowtime::Arrival => {
            ("ROWTIME is the time of arrival".to_owned(), Some(entry.idle_timeout.unwrap_or(ARRIVAL_IDLE_TIMEOUT)))
        }
        Rowtime::Column { name, delay_ms: 0 } => (format!("ROWTIME is {name}, the watermark {name}"), entry.idle_timeout),
        Rowtime::Column { name, delay_ms } => {
            let delay = span(Duration::from_millis(delay_ms.unsigned_abs()));
            (format!("ROWTIME is {name}, the watermark {name} − {delay}"), entry.idle_timeout)
        }
    };
    match idle_timeout {
        Some(idle_timeout) => format!("{rowtime}; idle after {}", span(idle_timeout)),
        None => rowtime,
    }
}

/// `250 ms`, `90 s`, `5 min`.
fn span(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms > 0 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        ms if ms > 0 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}
