//! The conformance table: what the KDA SQL reference lists, in which state it is here, and which specification shows it.
//!
//! Items are written in `items.txt` of each folder of `slt/kda`, by section of the reference:
//!
//! ```text
//! # 1.1 Source text
//!
//! line-comment: `--` to the end of the line
//!
//! rename: `OR REPLACE RENAME`
//!   refused: no application uses it
//!
//! order-by: `ORDER BY`
//!   not built: SELECT STREAM * FROM "S" ORDER BY "S".ROWTIME
//!
//! decimals: `5.0/2` has 12 decimals
//!   differs: it has 5
//! ```
//!
//! `slt/kda/reference.sections` lists the sections of the reference, each of which has items.
//!
//! Any .slt file names what its next record shows in a comment: `# covers: 1.1/line-comment 1.1/block-comment`. What needs a
//! source or a sink of its own is shown by a test in Rust, with the same comment: `// covers: 3.3/arrival`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// How far an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It works as the reference says.
    Works,
    /// It is refused for this reason.
    Refused(String),
    /// It will be built; until then this statement is refused.
    NotBuilt(String),
    /// It works, but not yet as the reference says; this is what it does instead.
    Differs(String),
}

/// A statement, clause, type, function … of the reference.
#[derive(Debug, Clone)]
pub struct Item {
    /// Section and name, such as `1.1/line-comment`.
    pub id: String,
    /// What the page says, in Markdown.
    pub text: String,
    /// How far it is.
    pub state: State,
}

/// The items of one section.
#[derive(Debug, Clone)]
pub struct Section {
    /// Such as `1.1 Source text`.
    pub title: String,
    /// In the order of the reference.
    pub items: Vec<Item>,
}

/// A record that says that it shows an item.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The item.
    pub id: String,
    /// The file, from `tests` on.
    pub file: String,
    /// The line of the comment.
    pub line: usize,
    /// True if the record expects an error.
    pub refuses: bool,
    /// The record, up to its expected rows.
    pub record: String,
}

/// Files below `folder` with this extension, in order.
pub fn files(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads an `items.txt`; what is wrong in it is an error with its line.
pub fn sections(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| Err(format!("line {}: {what}: {line}", number + 1));
        if let Some(title) = line.strip_prefix("# ") {
            sections.push(Section { title: title.to_owned(), items: Vec::new() });
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let Some(section) = sections.last_mut() else { return wrong("an item before the first section") };
        if let Some(state) = line.strip_prefix("  ") {
            let Some(item) = section.items.last_mut() else { return wrong("a state without an item") };
            item.state = match state.split_once(": ") {
                Some(("refused", reason)) => State::Refused(reason.to_owned()),
                Some(("not built", probe)) => State::NotBuilt(probe.to_owned()),
                Some(("differs", how)) => State::Differs(how.to_owned()),
                _ => return wrong("expected \"refused: reason\", \"not built: statement\" or \"differs: how\""),
            };
            continue;
        }
        let Some((name, text)) = line.split_once(": ") else { return wrong("expected \"name: text\"") };
        let key = section.title.split(' ').next().unwrap_or_default();
        section.items.push(Item { id: format!("{key}/{name}"), text: text.to_owned(), state: State::Works });
    }
    Ok(sections)
}

/// What an .slt file says that it shows. A comment before the first record of a paragraph counts for that record.
pub fn claims(file: &str, text: &str) -> Result<Vec<Claim>, String> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if let Some(ids) = line.strip_prefix("# covers: ") {
            open.extend(ids.split_whitespace().map(|id| (number + 1, id.to_owned())));
        } else if line.starts_with("statement ") || line.starts_with("query ") {
            let refuses = line.split_whitespace().nth(1).is_some_and(|what| what.starts_with("error"));
            let mut record = String::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty() && *line != "----") {
                record.push_str(line);
                record.push('\n');
            }
            let claim = |(line, id)| Claim { id, file: file.to_owned(), line, refuses, record: record.clone() };
            claims.extend(open.drain(..).map(claim));
        }
    }
    match open.first() {
        None => Ok(claims),
        Some((line, id)) => Err(format!("{file}:{line}: no record follows that could show {id}")),
    }
}

/// What a file of tests in Rust says that it shows.
pub fn claims_of_tests(file: &str, text: &str) -> Vec<Claim> {
    let lines =
        text.lines().enumerate().filter_map(|(number, line)| Some((number + 1, line.trim().strip_prefix("// covers: ")?)));
    let claim = |(line, id): (usize, &str)| Claim {
        id: id.to_owned(),
        file: file.to_owned(),
        line,
        refuses: false,
        record: String::new(),
    };
    lines.flat_map(|(line, ids)| ids.split_whitespace().map(move |id| (line, id))).map(claim).collect()
}

/// What does not fit between items and claims, one line each.
pub fn contradictions(sections: &[Section], claims: &[Claim]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut items: BTreeMap<&str, &Item> = BTreeMap::new();
    for item in sections.iter().flat_map(|section| &section.items) {
        if items.insert(&item.id, item).is_some() {
            problems.push(format!("{} is listed twice", item.id));
        }
    }
    for claim in claims {
        let at = format!("{}:{}", claim.file, claim.line);
        match items.get(claim.id.as_str()).map(|item| &item.state) {
            None => problems.push(format!("{at}: {} is not listed", claim.id)),
            Some(State::NotBuilt(_)) => problems.push(format!("{at}: {} is listed as not built", claim.id)),
            Some(State::Refused(_)) if !claim.refuses => problems.push(format!("{at}: {} is listed as refused", claim.id)),
            // The name of a function stands in the record that shows it.
            Some(_) => {
                if let Some(function) = claim.id.strip_prefix("5.1/")
                    && function.to_uppercase() == function
                    && !claim.record.to_uppercase().contains(function)
                {
                    problems.push(format!("{at}: the record does not name {function}"));
                }
            }
        }
    }
    for item in items.values() {
        let mut shown = claims.iter().filter(|claim| claim.id == item.id);
        let shown = match item.state {
            State::Works | State::Differs(_) => shown.any(|claim| !claim.refuses),
            State::Refused(_) => shown.any(|claim| claim.refuses),
            State::NotBuilt(_) => true,
        };
        if !shown {
            problems.push(format!("{} has no specification", item.id));
        }
    }
    problems
}

/// `docs/conformance.md`.
pub fn page(sections: &[Section], claims: &[Claim]) -> String {
    let all: Vec<&Item> = sections.iter().flat_map(|section| &section.items).collect();
    let count = |state: fn(&State) -> bool| all.iter().filter(|item| state(&item.state)).count();
    let mut page = format!(
        "# Conformance\n\n\
         What the reference of KDA SQL lists, section by section, and what becomes of it here. Each line is shown by the specification\n\
         that it links to, which runs from start to end, through a checkpoint and a restore after every step, and with sources in four\n\
         splits. This page is generated from `tests/slt/kda/*/items.txt` and the specifications: `just conformance` rewrites it, and\n\
         tests fail when it is untrue: a line without a specification, a specification of nothing, or something that works and\n\
         is listed as not built.\n\n\
         {} of {} work, {} are refused by design, {} do something else than the reference says, {} are not built yet.\n",
        count(|state| matches!(state, State::Works)),
        all.len(),
        count(|state| matches!(state, State::Refused(_))),
        count(|state| matches!(state, State::Differs(_))),
        count(|state| matches!(state, State::NotBuilt(_))),
    );
    for section in sections {
        // Writing into a string cannot fail.
        let _ = write!(page, "\n## {}\n\n| | State | Shown by |\n| --- | --- | --- |\n", section.title);
        for item in &section.items {
            let mut files: Vec<&str> = Vec::new();
            for claim in claims.iter().filter(|claim| claim.id == item.id) {
                if claim.refuses == matches!(item.state, State::Refused(_)) && !files.contains(&claim.file.as_str()) {
                    files.push(&claim.file);
                }
            }
            let links: Vec<String> = files.iter().map(|file| link(file)).collect();
            let state = match &item.state {
                State::Works => "works".to_owned(),
                State::Refused(reason) => format!("refused: {reason}"),
                State::NotBuilt(_) => "**not built yet**".to_owned(),
                State::Differs(how) => format!("**differs**: {how}"),
            };
            let _ = writeln!(page, "| {} | {} | {} |", cell(&item.text), cell(&state), links.join(", "));
        }
    }
    page
}

fn link(file: &str) -> String {
    let name = file.strip_prefix("slt/").unwrap_or(file);
    let name = name.strip_prefix("kda/").unwrap_or(name);
    format!("[{}](../tests/{file})", name.strip_suffix(".slt").unwrap_or(name))
}

/// Text inside a table of Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
