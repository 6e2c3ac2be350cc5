//! A CloudFormation or SAM template: the one application in it, with its outputs and reference data, which are resources of
//! their own (kda-sql-reference.md §6.6).

use std::collections::BTreeMap;

use kinesql_engine::{Error, Result};
use serde_json::{Map, Value};

use super::intrinsics::Template;
use super::parameters;

/// Properties of an application that have a meaning here, and those of its configuration: no other is evaluated, so that nobody
/// has to say what it needs.
const PROPERTIES: [&str; 3] = ["RuntimeEnvironment", "ApplicationCode", "Inputs"];
const CONFIGURATION: [&str; 2] = ["ApplicationCodeConfiguration", "SqlApplicationConfiguration"];

/// Types of resources, by API version: the application, an output of it, its reference data.
const TYPES: [[&str; 3]; 2] = [
    [
        "AWS::KinesisAnalytics::Application",
        "AWS::KinesisAnalytics::ApplicationOutput",
        "AWS::KinesisAnalytics::ApplicationReferenceDataSource",
    ],
    [
        "AWS::KinesisAnalyticsV2::Application",
        "AWS::KinesisAnalyticsV2::ApplicationOutput",
        "AWS::KinesisAnalyticsV2::ApplicationReferenceDataSource",
    ],
];

/// The application of a template in the shape of `CreateApplication`. If there are several, the parameter `Application`
/// names the resource.
pub(super) fn application(name: &str, document: &Value, params: &BTreeMap<String, String>) -> Result<Value> {
    let template = Template { name, document, params: parameters::values(name, document, params)? };
    let is = |resource: &Value, place: usize| TYPES.iter().any(|types| resource["Type"] == types[place]);
    let resources = document["Resources"].as_object().into_iter().flatten();
    let mut present = Vec::new();
    for (logical, resource) in resources.filter(|(_, resource)| (0..3).any(|place| is(resource, place))) {
        let exists = match resource["Condition"].as_str() {
            Some(condition) => template.condition(condition, 0)?,
            None => true,
        };
        if exists {
            present.push((logical, resource));
        }
    }
    let mut applications: Vec<_> = present.iter().filter(|(_, resource)| is(resource, 0)).collect();
    let is_alone = applications.len() == 1;
    if let Some(chosen) = params.get("Application") {
        applications.retain(|(logical, _)| *logical == chosen);
    }
    let (logical, resource) = match applications.as_slice() {
        [only] => **only,
        [] => {
            return Err(Error::config(format!("'{name}' holds no resource of type {} or {}", TYPES[0][0], TYPES[1][0])));
        }
        several => {
            let names: Vec<_> = several.iter().map(|(logical, _)| logical.as_str()).collect();
            return Err(Error::config(format!("'{name}' holds several applications: {}", names.join(", ")))
                .with_hint(format!("Choose one with --param Application={}.", names[0])));
        }
    };
    let of_resource = &resource["Properties"];
    let mut properties = template.members(of_resource, &PROPERTIES)?;
    if let Some(configuration) = of_resource.get("ApplicationConfiguration") {
        let configuration = template.members(configuration, &CONFIGURATION)?;
        properties.insert("ApplicationConfiguration".to_owned(), Value::Object(configuration));
    }
    let mut properties = Value::Object(properties);
    // Outputs name their application by its name, which is the logical one if it has none of its own. Where the template leaves
    // the name open it only matters if there are other applications.
    let name_of = |properties: &Value| template.evaluate(&properties["ApplicationName"]);
    let own_name = name_of(of_resource).ok().and_then(|name| name.as_str().map(str::to_owned));
    let own_name = own_name.unwrap_or_else(|| logical.clone());
    properties["ApplicationName"] = Value::String(own_name.clone());
    let is_ours = |properties: &Value| -> Result<bool> {
        if properties["ApplicationName"] == serde_json::json!({ "Ref": logical }) {
            return Ok(true);
        }
        match name_of(properties) {
            Ok(name) => Ok(name == own_name.as_str() || name == logical.as_str()),
            Err(_) if is_alone => Ok(true),
            Err(error) => Err(error),
        }
    };
    let (mut outputs, mut references) = (Vec::new(), Vec::new());
    for (place, member, list) in [(1, "Output", &mut outputs), (2, "ReferenceDataSource", &mut references)] {
        for (_, resource) in present.iter().filter(|(_, resource)| is(resource, place)) {
            let properties = &resource["Properties"];
            if is_ours(properties)? {
                list.push(template.evaluate(&properties[member])?);
            }
        }
    }
    let target = match properties.get_mut("ApplicationConfiguration").and_then(Value::as_object_mut) {
        Some(configuration) => configuration.entry("SqlApplicationConfiguration").or_insert_with(|| Value::Object(Map::new())),
        None => &mut properties,
    };
    extend(target, "Outputs", outputs);
    extend(target, "ReferenceDataSources", references);
    Ok(properties)
}

fn extend(target: &mut Value, member: &str, items: Vec<Value>) {
    if let Some(object) = target.as_object_mut()
        && let Value::Array(list) = object.entry(member).or_insert_with(|| Value::Array(Vec::new()))
    {
        list.extend(items);
    }
}
