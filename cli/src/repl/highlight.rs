//! Colours of SQL while it is typed.

use kinesql_engine::sql::{TokenClass, highlight_tokens};
use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

/// Colours keywords, literals and comments.
pub struct SqlHighlighter;

impl Highlighter for SqlHighlighter {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        if line.starts_with('\\') {
            styled.push((Color::Purple.normal(), line.to_owned()));
            return styled;
        }
        let mut end = 0;
        for (range, class) in highlight_tokens(line) {
            styled.push((Style::new(), line[end..range.start].to_owned()));
            end = range.end;
            styled.push((style(class), line[range].to_owned()));
        }
        styled.push((Style::new(), line[end..].to_owned()));
        styled
    }
}

fn style(class: TokenClass) -> Style {
    match class {
        TokenClass::Keyword => Color::Blue.bold(),
        TokenClass::String => Color::Green.normal(),
        TokenClass::Number => Color::Cyan.normal(),
        TokenClass::Comment => Style::new().dimmed(),
        TokenClass::Other => Color::Red.normal(),
        TokenClass::Identifier | TokenClass::QuotedIdentifier | TokenClass::Operator => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stays_as_it_is() {
        for line in ["", "SELECT STREAM \"a\" , 'ü\n' FROM t -- end", "\\d x", "SELECT 'open", "ß # 1e"] {
            assert_eq!(SqlHighlighter.highlight(line, 0).raw_string(), line);
        }
    }
}
