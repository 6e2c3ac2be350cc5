//! The values of a template's parameters: those given, else its defaults.
//!
//! Every given name must mean something: a parameter, a pseudo parameter, a resource whose name or attribute the template does
//! not say, or a value that it imports. A value must be one that the parameter allows.

use std::collections::BTreeMap;

use kinesql_engine::{Error, Result};
use serde_json::Value;

use super::intrinsics::scalar;

/// The values by name; the region also from the environment.
pub(super) fn values(name: &str, document: &Value, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, Value>> {
    let mut values = BTreeMap::new();
    if let Some(region) = std::env::var("AWS_REGION").ok().or_else(|| std::env::var("AWS_DEFAULT_REGION").ok()) {
        values.insert("AWS::Region".to_owned(), Value::String(region));
    }
    let declared = document["Parameters"].as_object();
    for (parameter, declaration) in declared.into_iter().flatten() {
        // The default of a parameter of the parameter store is a name there, not the value.
        let is_stored = declaration["Type"].as_str().is_some_and(|kind| kind.starts_with("AWS::SSM::Parameter::Value"));
        if let Some(default) = declaration.get("Default").filter(|_| !is_stored) {
            values.insert(parameter.clone(), typed(declaration, default.clone()));
        }
    }
    for (parameter, value) in given {
        let declaration = declared.and_then(|declared| declared.get(parameter));
        let resource = parameter.split('.').next().unwrap_or_default();
        let has_meaning = declaration.is_some()
            || parameter.starts_with("AWS::")
            || parameter == "Application"
            || document["Resources"].get(resource).is_some()
            || imports(document, parameter);
        if !has_meaning {
            let known: Vec<_> = declared.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let unknown = Error::config(format!("--param {parameter}: '{name}' has no such parameter"));
            return Err(match known.as_slice() {
                [] => unknown.with_hint("It has no parameters."),
                known => unknown.with_hint(format!("Parameters are {}.", known.join(", "))),
            });
        }
        let value = Value::String(value.clone());
        let value = declaration.map_or(value.clone(), |declaration| typed(declaration, value));
        if let Some(allowed) = declaration.and_then(|declaration| declaration["AllowedValues"].as_array()) {
            let allowed: Vec<_> = allowed.iter().map(scalar).collect();
            let given = value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
            if let Some(other) = given.iter().map(scalar).find(|value| !allowed.contains(value)) {
                return Err(Error::config(format!("--param {parameter}: '{name}' does not allow '{other}'"))
                    .with_hint(format!("Values are {}.", allowed.join(", "))));
            }
        }
        values.insert(parameter.clone(), value);
    }
    Ok(values)
}

/// Lists are written with commas.
fn typed(declaration: &Value, value: Value) -> Value {
    let is_list = declaration["Type"].as_str().is_some_and(|kind| kind == "CommaDelimitedList" || kind.starts_with("List<"));
    match value {
        Value::String(text) if is_list => Value::from(text.split(',').map(str::trim).collect::<Vec<_>>()),
        value => value,
    }
}

/// True if `value` has a call of `Fn::ImportValue` that may ask for `export`.
fn imports(value: &Value, export: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| match name.as_str() {
            "Fn::ImportValue" => may_be(member, export),
            _ => imports(member, export),
        }),
        Value::Array(items) => items.iter().any(|item| imports(item, export)),
        _ => false,
    }
}

/// True if the name that `argument` computes may be `export`: of a text with `${…}` what stands around them is known.
fn may_be(argument: &Value, export: &str) -> bool {
    let pattern = match argument {
        Value::String(name) => return name == export,
        Value::Object(members) => members.get("Fn::Sub").map(|sub| if sub.is_array() { &sub[0] } else { sub }),
        _ => None,
    };
    let Some(pattern) = pattern.and_then(Value::as_str) else { return true };
    let mut parts = pattern.split("${");
    let Some(mut rest) = export.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let known: Vec<_> = parts.map(|part| part.split_once('}').map_or("", |(_, known)| known)).collect();
    let Some((last, between)) = known.split_last() else { return rest.is_empty() };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_import_is_known_by_what_its_name_must_be() {
        let template =
            json!({ "a": [{ "Fn::ImportValue": "role" }, { "b": { "Fn::ImportValue": { "Fn::Sub": "${Stage}-out-${N}" } } }] });
        for (export, expected) in [("role", true), ("dev-out-1", true), ("roles", false), ("dev-in-1", false)] {
            assert_eq!(imports(&template, export), expected, "{export}");
        }
        let of_stack = json!({ "Fn::ImportValue": { "Fn::Sub": "${Stack}-role" } });
        assert!(imports(&of_stack, "x-role-role") && !imports(&of_stack, "x-role-1"));
        let computed = json!({ "Fn::ImportValue": { "Fn::Join": ["-", ["a", { "Ref": "B" }]] } });
        assert!(imports(&computed, "anything"));
    }
}
