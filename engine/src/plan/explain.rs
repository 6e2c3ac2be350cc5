//! What EXPLAIN prints: per stage its readers, their operators and where the rows go.

use std::fmt::Write as _;

use crate::runtime::graph::{Graph, Target};

/// The graph as indented text.
///
/// ```text
/// source SOURCE_SQL_STREAM_001 (generator, 1 split): TICKER_SYMBOL, PRICE
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
                writeln!(text, "source {} ({}, {splits}): {}", stage.name, source.entry.connector, columns.join(", "))
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
