//! Applications as the service described them: `--app application.json` and `kinesql import`.
//!
//! The file becomes SQL: its inputs, its own code, its outputs. `--source` and `--sink` replace any of its bindings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinesql_connectors::application::definition::Definition;
use kinesql_connectors::application::{self, Overrides, Replacement};
use kinesql_engine::connector::{ConnectorRegistry, OptionEntry};
use kinesql_engine::diagnostic::{Diagnostic, Script};
use kinesql_engine::sql::{TokenClass, highlight_tokens};
use kinesql_engine::{Error, Result};

use crate::application::read_scripts;
use crate::args::{ApplicationArgs, Assignment, FileArgs};
use crate::report;
use crate::uri::{self, Direction};

/// The scripts of files or of an application file, and the arguments that are left for them.
pub fn scripts(files: &FileArgs, args: ApplicationArgs) -> Result<(Vec<Arc<Script>>, ApplicationArgs)> {
    let Some(app) = &files.app else { return Ok((read_scripts(&files.files)?, args)) };
    let definition = read(app, &args.params)?;
    let mut left = ApplicationArgs { params: Vec::new(), literal: true, ..args };
    let overrides = take_overrides(&definition, &mut left)?;
    let (scripts, notes) = parts(app, &definition, &files.files, &overrides)?;
    notes.iter().for_each(report::warning);
    Ok((scripts, left))
}

/// An application file as one SQL script, which runs as the file does: what looks like a parameter is none, and every part ends
/// before the next one begins.
pub fn import(app: &Path, files: &[PathBuf], params: &[Assignment]) -> Result<String> {
    let definition = read(app, params)?;
    // The comments of the script have what there is to note.
    let (scripts, _) = parts(app, &definition, files, &Overrides::default())?;
    let texts: Vec<_> = scripts.iter().map(|script| ended(&script.text)).filter(|text| !text.is_empty()).collect();
    Ok(texts.join("\n\n").replace("${", "$${"))
}

/// A script whose last statement has a semicolon behind it.
fn ended(text: &str) -> String {
    let text = text.trim_end();
    let mut tokens = highlight_tokens(text).into_iter().rev();
    match tokens.find(|(_, class)| *class != TokenClass::Comment) {
        Some((range, _)) if &text[range.clone()] != ";" => format!("{};{}", &text[..range.end], &text[range.end..]),
        _ => text.to_owned(),
    }
}

fn read(app: &Path, params: &[Assignment]) -> Result<Definition> {
    let name = app.display().to_string();
    let text = std::fs::read_to_string(app)
        .map_err(|error| Error::config(format!("cannot read application file '{name}'")).with_cause(error))?;
    let params: BTreeMap<_, _> = params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
    application::read(&name, &text, &params)
}

/// Inputs, code, further statements, outputs: scripts of their own, so that errors in the code have the lines of the code.
fn parts(
    app: &Path,
    definition: &Definition,
    files: &[PathBuf],
    overrides: &Overrides,
) -> Result<(Vec<Arc<Script>>, Vec<Diagnostic>)> {
    let files = read_scripts(files)?;
    let beside = (definition.code.is_none() && !files.is_empty()).then_some("");
    let scripts = definition.scripts(beside, overrides)?;
    let named = |part: &str, text: String| Script::new(format!("{} ({part})", app.display()), text);
    let mut all = vec![named("inputs", scripts.inputs)];
    if definition.code.is_some() {
        all.push(named("code", scripts.code));
    }
    all.extend(files);
    all.push(named("outputs", scripts.outputs));
    Ok((all, scripts.notes))
}

/// Takes the arguments about bindings of the definition out of `args`; sinks stay, since they are added as always.
fn take_overrides(definition: &Definition, args: &mut ApplicationArgs) -> Result<Overrides> {
    let mut registry = ConnectorRegistry::default();
    kinesql_connectors::register_all(&mut registry);
    let names = definition.input_names();
    let input = |name: &str| {
        let name = unquoted(name);
        let exact = names.iter().find(|input| *input == name);
        exact.or_else(|| names.iter().find(|input| input.eq_ignore_ascii_case(name))).cloned()
    };
    let mut overrides = Overrides::default();
    for argument in take(&mut args.sources, |argument| input(&argument.name).is_some()) {
        let options = uri::options(&argument.value, Direction::Source, &registry)
            .map_err(|error| Error::new(error.kind(), format!("--source {argument}: {}", error.message())))?;
        let value = |key: &str| options.iter().find(|option| option.key == key).map(|option| option.value.as_str());
        let delivers_rows = value("connector").and_then(|connector| registry.source(connector));
        let own_format = delivers_rows.is_some_and(|factory| factory.delivers_rows())
            || value("path").is_some_and(|path| path.to_lowercase().ends_with(".parquet"));
        let replacement = Replacement { options, rowtime: None, own_format };
        overrides.inputs.extend(input(&argument.name).map(|name| (name, replacement)));
    }
    let is_replaced = |overrides: &Overrides, name: &str| input(name).filter(|name| overrides.inputs.contains_key(name));
    for argument in take(&mut args.rowtimes, |argument| is_replaced(&overrides, &argument.name).is_some()) {
        if let Some(replacement) = input(&argument.name).and_then(|name| overrides.inputs.get_mut(&name)) {
            replacement.rowtime = Some(argument.value);
        }
    }
    for argument in take(&mut args.formats, |argument| is_replaced(&overrides, &argument.name).is_some()) {
        if let Some(replacement) = input(&argument.name).and_then(|name| overrides.inputs.get_mut(&name)) {
            replacement.options.push(OptionEntry::new("format", argument.value));
        }
    }
    let outputs = definition.outputs.iter().map(|output| &output.name);
    let is_given = |name: &&String| args.sinks.iter().any(|sink| unquoted(&sink.name).eq_ignore_ascii_case(name));
    overrides.sinks = outputs.filter(is_given).cloned().collect();
    Ok(overrides)
}

fn take(arguments: &mut Vec<Assignment>, wanted: impl Fn(&Assignment) -> bool) -> Vec<Assignment> {
    let (taken, left) = std::mem::take(arguments).into_iter().partition(|argument| wanted(argument));
    *arguments = left;
    taken
}

fn unquoted(name: &str) -> &str {
    name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name)
}
