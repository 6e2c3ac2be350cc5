//! What goes to standard error: errors, warnings and notes; and the exit code that an error means.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use kinesql_engine::diagnostic::Diagnostic;
use kinesql_engine::{Error, ErrorKind};
use nu_ansi_term::{Color, Style};

/// The exit code of a command that was aborted: 128 + SIGINT, as shells report it.
pub const ABORTED: u8 = 130;

/// Why a command ends before it is done.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Error(Error),
    /// It failed, and every problem has been reported.
    Reported(ErrorKind),
    /// Nobody reads standard output any more, as behind `| head`: not an error.
    Closed,
    /// The user pressed Ctrl-C twice.
    Aborted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if kinesql_connectors::stdout::is_closed(&error) { Stop::Closed } else { Stop::Error(error) }
    }
}

impl From<io::Error> for Stop {
    /// For writes to standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Error(Error::unavailable("cannot write to standard output").with_cause(error)),
        }
    }
}

impl Stop {
    /// Reports the error, unless that is done, and says how the process ends.
    pub fn exit(self) -> ExitCode {
        match self {
            Stop::Error(failed) => {
                error(&failed);
                exit_code(failed.kind())
            }
            Stop::Reported(kind) => exit_code(kind),
            Stop::Closed => ExitCode::SUCCESS,
            Stop::Aborted => ExitCode::from(ABORTED),
        }
    }
}

/// 2 for what the user can fix in the text or the arguments, else 1.
pub fn exit_code(kind: ErrorKind) -> ExitCode {
    ExitCode::from(exit_number(kind))
}

fn exit_number(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Sql | ErrorKind::Config => 2,
        ErrorKind::Memory | ErrorKind::Data | ErrorKind::Unavailable | ErrorKind::State | ErrorKind::Internal => 1,
    }
}

/// True if colours may be written to `stream`: it is a terminal that has them, and NO_COLOR (no-color.org) is not set.
pub fn colours(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Prints an error with its causes.
pub fn error(error: &Error) {
    print(&render_error(error, colours(&io::stderr())));
}

/// Prints a warning, or an error that was found by a check.
pub fn warning(diagnostic: &Diagnostic) {
    print(&paint(&diagnostic.to_string(), colours(&io::stderr())));
}

/// Prints something worth knowing.
pub fn note(text: &str) {
    let dim = if colours(&io::stderr()) { Style::new().dimmed() } else { Style::new() };
    print(&dim.paint(text).to_string());
}

fn print(text: &str) {
    // There is nobody to tell that standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// One error as text: message, causes that say something new, hint.
fn render_error(error: &Error, colours: bool) -> String {
    let mut text = if error.diagnostics().is_empty() { format!("error: {}", error.message()) } else { error.to_string() };
    let mut cause = std::error::Error::source(error);
    let mut last = error.message().to_owned();
    while let Some(current) = cause {
        let message = current.to_string();
        if !last.contains(&message) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\ncaused by: {message}");
            last = message;
        }
        cause = current.source();
    }
    if let Some(hint) = error.hint().filter(|_| error.diagnostics().is_empty()) {
        let _ = write!(text, "\nhint: {hint}");
    }
    if error.kind() == ErrorKind::Internal {
        text.push_str("\nhint: This is a bug of kinesql. Please report it with the script and this message.");
    }
    paint(&text, colours)
}

/// Colours the parts of an error as the engine writes it: `error:`, the place, the carets, `hint:`.
fn paint(text: &str, colours: bool) -> String {
    if !colours {
        return text.to_owned();
    }
    let (red, yellow, blue) = (Color::Red.bold(), Color::Yellow.bold(), Color::Blue.bold());
    let mut after_text = false;
    let lines = text.lines().map(|line| {
        for (word, style) in [("error:", red), ("warning:", yellow), ("hint:", Color::Green.bold()), ("caused by:", red)] {
            if let Some(rest) = line.strip_prefix(word) {
                return format!("{}{rest}", style.paint(word));
            }
        }
        if let Some(place) = line.strip_prefix(" --> ") {
            return format!(" {} {place}", blue.paint("-->"));
        }
        let Some((margin, rest)) = line.split_once('|').filter(|(margin, _)| margin.trim().chars().all(|c| c.is_ascii_digit()))
        else {
            return line.to_owned();
        };
        let carets = std::mem::replace(&mut after_text, !margin.trim().is_empty());
        let rest = if carets { red.paint(rest).to_string() } else { rest.to_owned() };
        format!("{}{rest}", blue.paint(format!("{margin}|")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use kinesql_engine::diagnostic::{Position, Script, Span};

    use super::*;

    #[test]
    fn exit_codes_tell_wrong_input_from_failed_jobs() {
        for (kind, code) in [
            (ErrorKind::Sql, 2),
            (ErrorKind::Config, 2),
            (ErrorKind::Memory, 1),
            (ErrorKind::Data, 1),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::State, 1),
            (ErrorKind::Internal, 1),
        ] {
            assert_eq!(exit_number(kind), code, "{kind:?}");
        }
    }

    #[test]
    fn causes_are_printed_once_and_the_hint_comes_last() {
        let file = io::Error::other("no such file");
        let error = Error::config("cannot read 'x'").with_cause(file).with_hint("Check the path.");
        assert_eq!(render_error(&error, false), "error: cannot read 'x'\ncaused by: no such file\nhint: Check the path.");
        let error = Error::config("cannot read 'x': no such file").with_cause(io::Error::other("no such file"));
        assert_eq!(render_error(&error, false), "error: cannot read 'x': no such file");
    }

    #[test]
    fn colours_leave_the_text_as_it_is() {
        let position = |column| Position { line: 1, column };
        let problem = Diagnostic::error("no column").at(Span { start: position(8), end: position(9) }).label("columns are a|b");
        let problem = problem.hint("Did you mean \"a\"?").in_script(&Script::new("app.sql", "SELECT c || d"));
        let error = Error::sql(vec![problem]);
        let painted = render_error(&error, true);
        assert!(painted.contains("\u{1b}[1;31merror:\u{1b}[0m no column"), "{painted}");
        assert!(painted.contains("\u{1b}[1;31m        ^ columns are a|b\u{1b}[0m"), "{painted}");
        let mut plain = String::new();
        let mut escaped = false;
        for c in painted.chars() {
            match c {
                '\u{1b}' => escaped = true,
                'm' if escaped => escaped = false,
                c if !escaped => plain.push(c),
                _ => {}
            }
        }
        assert_eq!(plain, render_error(&error, false));
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        assert!(matches!(Stop::from(io::Error::from(io::ErrorKind::BrokenPipe)), Stop::Closed));
        assert!(matches!(Stop::from(io::Error::other("disk")), Stop::Error(_)));
    }
}
