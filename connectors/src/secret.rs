//! Options that hold a key: the key itself, or where it is, so that no script or command line needs to have it.

use kinesql_engine::{Error, Result};

/// What the help of such an option ends with.
macro_rules! help {
    ($text:literal) => {
        concat!($text, " env:NAME stands for an environment variable, file:PATH for the text of a file.")
    };
}
pub(crate) use help;

/// The value of `option`, given as `text`: `env:NAME` is an environment variable, `file:PATH` the text of a file without the
/// line break at its end; anything else is the value.
pub(crate) fn secret(option: &str, text: &str) -> Result<String> {
    let found = match text.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|error| {
            Error::config(format!("option \"{option}\": the environment variable {name} cannot be read")).with_cause(error)
        })?,
        Some(("file", path)) => {
            let read = std::fs::read_to_string(path);
            let read = read.map_err(|error| {
                Error::config(format!("option \"{option}\": the file '{path}' cannot be read")).with_cause(error)
            })?;
            read.trim_end_matches(['\n', '\r']).to_owned()
        }
        _ => text.to_owned(),
    };
    if found.is_empty() {
        return Err(Error::config(format!("option \"{option}\" cannot be empty")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_in_a_file_or_in_the_environment() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "from the file\r\n").expect("written");
        let at = format!("file:{}", file.path().display());
        assert_eq!(secret("access_key", &at).expect("there"), "from the file");
        assert_eq!(secret("access_key", "env:CARGO_PKG_NAME").expect("set by cargo"), "kinesql-connectors");
        for itself in ["abc", "a:b", "https://x"] {
            assert_eq!(secret("access_key", itself).expect("a key"), itself);
        }
        let said = |text: &str| secret("access_key", text).expect_err("none").message().to_owned();
        assert_eq!(
            said("env:KINESQL_NO_SUCH_VARIABLE"),
            "option \"access_key\": the environment variable KINESQL_NO_SUCH_VARIABLE cannot be read"
        );
        assert_eq!(said("file:/none"), "option \"access_key\": the file '/none' cannot be read");
        assert_eq!(said(""), "option \"access_key\" cannot be empty");
    }
}
