//! Expressions as specifications: each over the rows of a source, one line for each.
//!
//! Every expression has a pump of its own, so one that fails for a row has no effect on the others.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMillisecondType;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::types::SqlType;

use crate::driver::{Failure, show};

/// Expressions over the rows of a source.
pub struct Evaluation {
    source: String,
    expressions: Vec<String>,
}

impl Evaluation {
    /// One expression a line; a line that begins with a blank goes on with the one before.
    pub fn new(source: &str, lines: &str) -> Self {
        let mut expressions: Vec<String> = Vec::new();
        for line in lines.lines() {
            match expressions.last_mut() {
                Some(last) if line.starts_with(' ') => {
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ => expressions.push(line.trim().to_owned()),
            }
        }
        Self { source: source.to_owned(), expressions }
    }

    /// The name of what belongs to an expression, or to `errors`.
    fn name(&self, what: impl std::fmt::Display) -> String {
        format!("{} = {what}", self.source)
    }

    /// What makes the application compute the expressions.
    pub fn statements(&self) -> String {
        let source = &self.source;
        let errors = self.name("errors");
        let mut script = String::new();
        for (number, expression) in self.expressions.iter().enumerate() {
            let name = self.name(number);
            script.push_str(&format!(
                "CREATE STREAM \"{name}\" AS SELECT STREAM s.ROWTIME AS \"at\", {expression} AS \"value\" FROM \"{source}\" AS s;\n\
                 CREATE SINK \"{name}\" FROM \"{name}\" WITH (connector = 'memory');\n"
            ));
        }
        script.push_str(&format!(
            "CREATE STREAM \"{errors}\" AS SELECT STREAM PUMP_NAME, DATA_ROWTIME, ERROR_NAME, MESSAGE FROM \"error_stream\";\n\
             CREATE SINK \"{errors}\" FROM \"{errors}\" WITH (connector = 'memory');\n"
        ));
        script
    }

    /// Each expression with what it gave for each row, in the order of ROWTIME.
    pub fn values(&self, memory: &MemoryConnector) -> Result<Vec<String>, Failure> {
        let errors = sink(memory, &self.name("errors"))?.batches();
        let lines = self.expressions.iter().enumerate().map(|(number, expression)| {
            let name = self.name(number);
            let mut rows: Vec<(i64, String)> = Vec::new();
            for batch in sink(memory, &name)?.batches() {
                let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
                let shown = show(&batch)?;
                rows.extend((0..batch.num_rows()).map(|row| (times.value(row), shown[row][1].clone())));
            }
            for batch in &errors {
                let pumps = batch.column(0).as_string::<i32>();
                let times = batch.column(1).as_primitive::<TimestampMillisecondType>();
                let shown = show(batch)?;
                let of_this = (0..batch.num_rows()).filter(|row| pumps.is_valid(*row) && pumps.value(*row) == name);
                rows.extend(of_this.map(|row| (times.value(row), format!("{}: {}", shown[row][2], shown[row][3]))));
            }
            rows.sort_by_key(|(time, _)| *time);
            let rows: Vec<String> = rows.into_iter().map(|(_, value)| value).collect();
            Ok(format!("{expression} → {}", rows.join(" ; ")))
        });
        lines.collect()
    }

    /// Each expression with its type.
    pub fn types(&self, memory: &MemoryConnector) -> Result<Vec<String>, Failure> {
        let lines = self.expressions.iter().enumerate().map(|(number, expression)| {
            let batches = sink(memory, &self.name(number))?.batches();
            let sql_type = batches.first().and_then(|batch| SqlType::of_field(batch.schema().field(1)));
            Ok(format!("{expression} → {}", sql_type.map_or("no row".to_owned(), |sql_type| sql_type.to_string())))
        });
        lines.collect()
    }
}

fn sink(memory: &MemoryConnector, name: &str) -> Result<kinesql_engine::connector::memory::MemorySink, Failure> {
    memory.sink(name).ok_or_else(|| Failure(format!("there is no memory sink {name}")))
}
