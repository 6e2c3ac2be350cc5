//! The line editor: prompt, history, when a statement is complete.

use std::borrow::Cow;
use std::path::PathBuf;

use kinesql_engine::Engine;
use kinesql_engine::sql::is_complete;
use reedline::{
    ColumnarMenu, Completer, Editor, Emacs, FileBackedHistory, KeyCode, KeyModifiers, Menu, MenuBuilder, MenuEvent, MenuSettings,
    Painter, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline, ReedlineEvent, ReedlineMenu,
    Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};

use super::commands::Command;
use super::complete::SqlCompleter;
use super::highlight::SqlHighlighter;
use crate::report;

/// Statements that are remembered.
const HISTORY_SIZE: usize = 10_000;

/// An editor that knows the objects of `engine`.
pub fn editor(engine: &Engine) -> Reedline {
    const MENU: &str = "completion";
    let mut keys = default_emacs_keybindings();
    let complete = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let editor = Reedline::create()
        .with_completer(Box::new(SqlCompleter::new(engine.clone())))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(Candidates(ColumnarMenu::default().with_name(MENU)))))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(SqlValidator))
        .with_ansi_colors(report::colours(&std::io::stderr()))
        .use_bracketed_paste(true);
    let editor = if report::colours(&std::io::stderr()) { editor.with_highlighter(Box::new(SqlHighlighter)) } else { editor };
    // Without a folder that can be written the history lasts as long as the session.
    match history_file().and_then(|file| FileBackedHistory::with_file(HISTORY_SIZE, file).ok()) {
        Some(history) => editor.with_history(Box::new(history)),
        None => editor,
    }
}

/// The menu of candidates, which shows nothing where there are none.
struct Candidates(ColumnarMenu);

impl Menu for Candidates {
    fn menu_string(&self, available_lines: u16, use_ansi_coloring: bool) -> String {
        match self.get_values() {
            [] => String::new(),
            _ => self.0.menu_string(available_lines, use_ansi_coloring),
        }
    }

    fn settings(&self) -> &MenuSettings {
        self.0.settings()
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn clear_input(&mut self) {
        self.0.clear_input();
    }

    fn on_activate(&mut self) {
        self.0.on_activate();
    }

    fn on_deactivate(&mut self) {
        self.0.on_deactivate();
    }

    fn handle_menu_event(&mut self, event: &MenuEvent) {
        self.0.handle_menu_event(event);
    }

    fn menu_event(&mut self, event: MenuEvent) {
        self.0.menu_event(event);
    }

    fn can_quick_complete(&self) -> bool {
        self.0.can_quick_complete()
    }

    fn can_partially_complete(&mut self, values_updated: bool, editor: &mut Editor, completer: &mut dyn Completer) -> bool {
        self.0.can_partially_complete(values_updated, editor, completer)
    }

    fn update_values(&mut self, editor: &mut Editor, completer: &mut dyn Completer) {
        self.0.update_values(editor, completer);
    }

    fn reset_position(&mut self) {
        self.0.reset_position();
    }

    fn reload(&mut self, updated: bool, editor: &mut Editor, completer: &mut dyn Completer) {
        self.0.reload(updated, editor, completer);
    }

    fn update_working_details(&mut self, editor: &mut Editor, completer: &mut dyn Completer, painter: &Painter) {
        self.0.update_working_details(editor, completer, painter);
    }

    fn replace_in_buffer(&self, editor: &mut Editor) {
        self.0.replace_in_buffer(editor);
    }

    fn menu_required_lines(&self, terminal_columns: u16) -> u16 {
        self.0.menu_required_lines(terminal_columns)
    }

    fn min_rows(&self) -> u16 {
        self.0.min_rows()
    }

    fn get_values(&self) -> &[Suggestion] {
        self.0.get_values()
    }

    fn results_are_provisional(&self) -> bool {
        self.0.results_are_provisional()
    }

    fn is_awaiting_first_answer(&self) -> bool {
        self.0.is_awaiting_first_answer()
    }
}

/// `$XDG_STATE_HOME/kinesql/history` if that variable is set, else `~/.local/share/kinesql/history`.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let folder = state.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
    Some(folder.join("kinesql/history"))
}

/// Enter ends a statement behind its semicolon, and a command at once.
struct SqlValidator;

impl Validator for SqlValidator {
    fn validate(&self, text: &str) -> ValidationResult {
        if Command::parse(text).is_some() || is_complete(text) {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// `kinesql> `, and `      -> ` on further lines.
pub struct SqlPrompt;

impl Prompt for SqlPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("kinesql")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("     -> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "nothing found, ",
        };
        Cow::Owned(format!(" ({failing}search: {}) ", search.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_without_candidates_is_empty() {
        let menu = Candidates(ColumnarMenu::default());
        assert_eq!(menu.menu_string(10, false), "");
        assert!(menu.0.menu_string(10, false).contains("NO RECORDS"), "what reedline shows without it");
    }

    #[test]
    fn statements_end_with_a_semicolon_and_commands_with_the_line() {
        for (text, complete) in [
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT ';", false),
            ("SELECT 1; -- done", true),
            ("\\d", true),
            ("quit", true),
            ("", true),
            ("help me", false),
        ] {
            assert_eq!(matches!(SqlValidator.validate(text), ValidationResult::Complete), complete, "{text}");
        }
    }
}
