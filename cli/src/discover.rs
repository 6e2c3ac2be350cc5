//! `kinesql discover`: a CREATE SOURCE for records that nobody has described yet, as the service's DiscoverInputSchema did.

use kinesql_engine::Engine;
use kinesql_engine::connector::OptionEntry;

use crate::render;
use crate::report::{self, Stop};
use crate::run::print_text;
use crate::summary::count;
use crate::uri::{self, Direction};

/// Refused records that are shown.
const REFUSED_SHOWN: usize = 3;

/// What to look at.
pub struct Arguments {
    /// The source's URI.
    pub source: String,
    /// The name in the statement.
    pub name: String,
    /// The format, if it is said.
    pub format: Option<String>,
    /// Sample rows that are shown.
    pub rows: usize,
}

/// Prints the statement to standard output, what was found to standard error.
pub async fn run(arguments: &Arguments) -> Result<(), Stop> {
    let engine = Engine::builder().connectors(kinesql_connectors::register_all).build()?;
    let mut options = uri::options(&arguments.source, Direction::Source, engine.connectors())?;
    options.extend(arguments.format.as_ref().map(|format| OptionEntry::new("format", format)));
    let found = engine.discover(&arguments.name, options).await?;
    print_text(&found.statement)?;
    let rows = found.rows.slice(0, arguments.rows.min(found.rows.num_rows()));
    if rows.num_rows() > 0 {
        let text = render::table(&rows)?;
        report::note(&format!("{} of {}:\n{text}", count(rows.num_rows() as u64, "row"), found.rows.num_rows()));
    }
    if !found.refused.is_empty() {
        report::note(&format!("{} refused:", count(found.refused.len() as u64, "record")));
        for refused in found.refused.iter().take(REFUSED_SHOWN) {
            report::note(&format!("  {}\n  {}", String::from_utf8_lossy(&refused.raw).trim_end(), refused.message));
        }
    }
    Ok(())
}
