//! The `file` sink: writes one file, or a folder with a file per checkpoint.
//!
//! Options:   `path`, `mode`, `compression`; see docs/connectors/file.md.
//! Formats:   `json`, `csv`, `raw`, `parquet`; by the path's extension unless `format` is given.
//! Order:     that of the stream.
//! Delivery:  exactly-once with checkpoints. One text file is cut back to its length at the checkpoint (`single`); in a
//!            folder a file becomes visible with its checkpoint and never changes again (`parts`).
//! Retries:   none; a failed write fails the job, and a restart from the checkpoint repairs the files.
//! Errors:    `Config` for a path that cannot be written, `Unavailable` for a full disk, `State` when a file is shorter
//!            than at the checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use kinesql_engine::connector::{
    OptionKind, OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
};
use kinesql_engine::format::{CsvOptions, FormatSpec};
use kinesql_engine::{Error, Result};

use super::output::OutputFormat;
use super::parts::Parts;
use super::single::SingleFile;
use super::{Compression, extension, resolved};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        required: true,
        default: None,
        help: "File to write; ending in '/', a folder that gets one file per checkpoint.",
    },
    OptionSpec {
        name: "mode",
        kind: OptionKind::OneOf(&["overwrite", "append"]),
        required: false,
        default: Some("overwrite"),
        help: "What a job that starts without a checkpoint does with what is there; default overwrite.",
    },
    Compression::OPTION,
];

/// Makes `file` sinks.
#[derive(Debug)]
pub struct FileSinkFactory;

impl SinkFactory for FileSinkFactory {
    fn name(&self) -> &'static str {
        "file"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw", "parquet"]
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        let path = PathBuf::from(options.text("path").unwrap_or_default());
        let spec = definition.format.clone().unwrap_or_else(|| format_of(&path, options));
        let sink = FileSink {
            append: options.text("mode") == Some("append"),
            format: OutputFormat { spec, compression: Compression::of(options, &path), schema: Arc::clone(&definition.schema) },
            path,
        };
        sink.check()?;
        Ok(Arc::new(sink))
    }
}

/// The format that a path's extension names, else JSON.
fn format_of(path: &Path, options: &Options) -> FormatSpec {
    let inner = match extension(path).as_str() {
        "gz" | "gzip" | "zst" | "zstd" => path.with_extension(""),
        _ => path.to_owned(),
    };
    match extension(&inner).as_str() {
        "csv" => {
            // The engine reads these into a `format` that is given; the extension gives it only here.
            let delimiter = match options.text("csv.delimiter") {
                Some("\\t") => "\t",
                Some(text) => text,
                None => ",",
            };
            let delimiter = delimiter.to_owned();
            FormatSpec::Csv(CsvOptions { delimiter, header: options.flag("csv.header"), ..CsvOptions::default() })
        }
        "parquet" => FormatSpec::Parquet,
        _ => FormatSpec::Json,
    }
}

/// A bound `file` sink.
#[derive(Debug)]
struct FileSink {
    path: PathBuf,
    append: bool,
    format: OutputFormat,
}

impl FileSink {
    fn is_folder(&self) -> bool {
        self.path.to_string_lossy().ends_with('/')
    }

    fn check(&self) -> Result<()> {
        let path = self.path.display();
        if self.path.as_os_str().is_empty() {
            return Err(Error::config("option \"path\" of connector 'file' cannot be empty"));
        }
        match self.format.spec {
            FormatSpec::Table => Err(Error::config("connector 'file' does not write format 'table'")),
            FormatSpec::Parquet if self.format.compression != Compression::None => {
                Err(Error::config(format!("cannot compress '{path}': Parquet compresses its columns itself"))
                    .with_hint("Leave out option \"compression\" and let the path end in '.parquet'."))
            }
            FormatSpec::Parquet if self.append && !self.is_folder() => {
                Err(Error::config(format!("cannot append to Parquet file '{path}'"))
                    .with_hint("End the path in '/' to write a folder of files."))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn open(&self, state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let (path, format) = (self.path.clone(), self.format.clone());
        if self.is_folder() {
            return Ok(Box::new(Parts::open(path, format, self.append, state).await?));
        }
        if format.spec == FormatSpec::Parquet && context.checkpointed {
            return Err(Error::config(format!("cannot write Parquet file '{}' in a job with checkpoints", path.display()))
                .with_hint("End the path in '/': each checkpoint then completes a file in that folder."));
        }
        Ok(Box::new(SingleFile::open(path, &format, self.append, state).await?))
    }

    fn owned_path(&self) -> Option<PathBuf> {
        // Nobody owns a device or a pipe, such as /dev/null.
        let special = std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if special { None } else { resolved(&self.path) }
    }
}

#[cfg(test)]
mod tests;
