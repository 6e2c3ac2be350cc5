//! Files as source and as sink.
//!
//! | Module | What it does |
//! | --- | --- |
//! | `source` | options, splits, where to start |
//! | `reader` | reads one file from front to back, follows a growing one |
//! | `several` | reads the files of a folder one after the other |
//! | `ranges` | reads every n-th range of a file, so that several readers share it |
//! | `framing` | bytes to whole records |
//! | `parquet` | reads Parquet files |
//! | `fingerprint` | recognises a file again after a restart |
//! | `sink` | options, which of the writers below |
//! | `single` | one text file, cut back after a restart |
//! | `parts` | a folder with one file per checkpoint |
//! | `output` | rows to bytes: encode, compress, Parquet |
//!
//! See: docs/connectors/file.md

mod fingerprint;
pub(crate) mod framing;
mod output;
mod parquet;
mod parts;
mod ranges;
mod reader;
mod several;
mod single;
mod sink;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::{Error, ErrorKind};

pub use sink::FileSinkFactory;
pub use source::FileSourceFactory;

/// How a file's bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    const OPTION: OptionSpec = OptionSpec {
        name: "compression",
        kind: OptionKind::OneOf(&["auto", "none", "gzip", "zstd"]),
        required: false,
        default: Some("auto"),
        help: "How the file is compressed; auto (the default) looks at the extension: .gz, .zst or .zstd.",
    };

    /// The `compression` option, where `auto` looks at the extension of `path`.
    fn of(options: &Options, path: &Path) -> Self {
        match options.text(Self::OPTION.name) {
            Some("none") => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => match extension(path).as_str() {
                "gz" | "gzip" => Compression::Gzip,
                "zst" | "zstd" => Compression::Zstd,
                _ => Compression::None,
            },
        }
    }

    /// What it adds to a file's name.
    fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// The path without links and relative parts; None if its folder does not exist either.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = path.canonicalize() {
        return Some(path);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that is yet to be made is nobody else's; what is made there stays comparable.
    let folder = folder.canonicalize().or_else(|_| std::path::absolute(folder)).ok()?;
    Some(folder.join(path.file_name()?))
}

/// The error for a failed access to `path`; `verb` is what was attempted, such as `read`.
fn file_error(verb: &str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let (kind, reason, hint) = match error.kind() {
        Io::NotFound => (
            ErrorKind::Config,
            "there is no such file or folder".to_owned(),
            Some("A relative path starts in the folder that the program runs in."),
        ),
        Io::PermissionDenied => (ErrorKind::Config, "permission denied".to_owned(), None),
        Io::IsADirectory => (ErrorKind::Config, "it is a folder".to_owned(), Some("End the path in '/' if a folder is meant.")),
        Io::NotADirectory => (ErrorKind::Config, "a part of the path is not a folder".to_owned(), None),
        Io::StorageFull | Io::QuotaExceeded => {
            (ErrorKind::Unavailable, "the disk is full".to_owned(), Some("Free some space, then start the job again."))
        }
        Io::InvalidData | Io::UnexpectedEof | Io::InvalidInput => (ErrorKind::Data, "its content is damaged".to_owned(), None),
        _ => (ErrorKind::Unavailable, error.to_string(), None),
    };
    let failed = Error::new(kind, format!("cannot {verb} '{}': {reason}", path.display())).with_cause(error);
    match hint {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}
