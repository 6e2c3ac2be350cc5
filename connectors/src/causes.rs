//! What an error and its causes say, in one line that a user can read.

use std::error::Error;

/// Longest text of one cause: what comes in the body of an answer may be a whole page.
const CAUSE_MAX: usize = 300;

/// An error and its causes, from the outermost to the innermost, each said once.
pub(crate) fn causes(error: &dyn Error) -> String {
    let (mut text, mut next) = (one_line(&error.to_string()), error.source());
    while let Some(cause) = next {
        let said = one_line(&cause.to_string());
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// Text with single blanks in the place of line breaks and the like, and not longer than fits into a message.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(CAUSE_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Said {
        text: String,
        source: Option<Box<Said>>,
    }

    fn said(text: &str, source: Option<Said>) -> Said {
        Said { text: text.to_owned(), source: source.map(Box::new) }
    }

    #[test]
    fn causes_are_said_once_in_one_line() {
        let inner = said("refused (os error 111)", None);
        let error = said("cannot connect", Some(said("io error: refused (os error 111)", Some(inner))));
        assert_eq!(causes(&error), "cannot connect: io error: refused (os error 111)");
        assert_eq!(causes(&said("<html>\n  <b>down</b>\r\n</html>", None)), "<html> <b>down</b> </html>");
    }

    #[test]
    fn a_page_is_cut() {
        let cut = one_line(&"é".repeat(1_000));
        assert_eq!((cut.chars().count(), cut.ends_with("é…")), (CAUSE_MAX + 1, true));
    }
}
