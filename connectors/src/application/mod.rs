//! KDA application files: what users saved of their applications, as a kinesql script.
//!
//! | Step | Module |
//! | --- | --- |
//! | JSON or YAML text to a document; the short intrinsics of templates | `document` |
//! | a CloudFormation or SAM template to one application: parameters, conditions, references | `template`, `parameters`, `intrinsics` |
//! | the shapes of the service's two APIs to one definition | [`definition`] |
//! | a definition to SQL: sources and tables, the application's code, sinks | `script` |
//!
//! See: kda-sql-reference.md §6.1–6.6; docs/kda-applications.md.

pub mod definition;
mod document;
mod intrinsics;
mod parameters;
mod script;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kinesql_engine::{Error, Result};
use serde_json::Value;

use definition::Definition;
pub use script::{Overrides, Replacement, Scripts};

/// Reads an application file: `DescribeApplication` or `CreateApplication` JSON of either API version, or a CloudFormation
/// or SAM template. `name` is the file's, for messages; `params` are values of a template's parameters.
///
/// Fails with [`kinesql_engine::ErrorKind::Config`] if the text is no such file, or is one of another runtime.
pub fn read(name: &str, text: &str, params: &BTreeMap<String, String>) -> Result<Definition> {
    let document = document::without_nulls(document::parse(name, text)?);
    let is_template = document.get("Resources").is_some_and(Value::is_object);
    if !is_template && let Some(param) = params.keys().next() {
        return Err(Error::config(format!("--param {param}: '{name}' is no template, so it has no parameters")));
    }
    let application = if is_template { template::application(name, &document, params)? } else { document };
    Definition::from_document(name, application)
}
