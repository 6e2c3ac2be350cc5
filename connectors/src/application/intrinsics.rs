//! The functions of CloudFormation templates: `Ref`, `Fn::Sub`, `Fn::Join`, `Fn::GetAtt`, `Fn::If` and their like.
//!
//! A reference to a resource of the template is what the service would return for it as far as the template tells: the name
//! or the ARN that its properties give it. Account, region and partition come from parameters of that name
//! (`--param AWS::AccountId=…`).

use std::collections::BTreeMap;

use kinesql_engine::{Error, Result};
use serde_json::{Map, Value};

use super::definition::Text;

/// Deepest nesting of functions and references: beyond it a template refers to itself.
const DEPTH_MAX: usize = 64;

/// Members that only some uses of an application need: one whose value is not known is an error for who needs it.
const NEEDED_AT_TIMES: [&str; 7] =
    ["ResourceARN", "RoleARN", "ReferenceRoleARN", "BucketARN", "FileKey", "ApplicationCode", "TextContent"];

/// A template and the values of its parameters.
pub(super) struct Template<'a> {
    /// The file, for messages.
    pub(super) name: &'a str,
    pub(super) document: &'a Value,
    /// Values from the command line and defaults of the template.
    pub(super) params: BTreeMap<String, Value>,
}

impl Template<'_> {
    /// The value with every function replaced by its result; members of objects that are `AWS::NoValue` are left out.
    pub(super) fn evaluate(&self, value: &Value) -> Result<Value> {
        self.at_depth(value, 0)
    }

    /// Some members of an object, evaluated.
    pub(super) fn members(&self, object: &Value, names: &[&str]) -> Result<Map<String, Value>> {
        let present = names.iter().filter_map(|name| Some(((*name).to_owned(), object.get(name)?)));
        let evaluated = present.map(|(name, value)| Ok((name.clone(), self.member(&name, value, 0)?)));
        evaluated.filter(|member| !matches!(member, Ok((_, value)) if is_no_value(value))).collect()
    }

    fn at_depth(&self, value: &Value, depth: usize) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(Error::config(format!("'{}' refers to itself", self.name)));
        }
        Ok(match value {
            Value::Object(object) => match function(object) {
                Some((name, argument)) => self.call(name, argument, depth + 1)?,
                None => {
                    let members = object.iter().map(|(key, member)| Ok((key.clone(), self.member(key, member, depth + 1)?)));
                    let members = members.filter(|member| !matches!(member, Ok((_, value)) if is_no_value(value)));
                    Value::Object(members.collect::<Result<_>>()?)
                }
            },
            Value::Array(items) => {
                let items = items.iter().map(|item| self.at_depth(item, depth + 1));
                Value::Array(items.filter(|item| !matches!(item, Ok(value) if is_no_value(value))).collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    /// The value of a member; an error only where nobody can do without it.
    fn member(&self, key: &str, value: &Value, depth: usize) -> Result<Value> {
        match self.at_depth(value, depth) {
            Err(error) if NEEDED_AT_TIMES.contains(&key) => Ok(Text::open(&error)),
            value => value,
        }
    }

    fn call(&self, name: &str, argument: &Value, depth: usize) -> Result<Value> {
        // The branches of Fn::If and the text of Fn::Sub are not evaluated before they are chosen.
        match name {
            "Ref" => return self.reference(text(argument), depth),
            "Fn::If" => {
                let [condition, yes, no] = array(argument) else { return Err(self.malformed(name)) };
                let chosen = if self.condition(text(condition), depth)? { yes } else { no };
                return self.at_depth(chosen, depth);
            }
            "Fn::Sub" => return self.substitute(argument, depth).map(Value::String),
            "Condition" => return self.condition(text(argument), depth).map(Value::Bool),
            _ => {}
        }
        let evaluated = self.at_depth(argument, depth)?;
        match (name, array(&evaluated)) {
            ("Fn::GetAtt", [resource, attribute]) => self.attribute(text(resource), text(attribute), depth),
            ("Fn::GetAtt", []) if let Some((resource, attribute)) = text(&evaluated).split_once('.') => {
                self.attribute(resource, attribute, depth)
            }
            ("Fn::Join", [delimiter, Value::Array(parts)]) => {
                let parts: Vec<_> = parts.iter().map(scalar).collect();
                Ok(Value::String(parts.join(text(delimiter))))
            }
            ("Fn::Select", [index, Value::Array(items)]) => {
                let index = scalar(index).parse::<usize>().map_err(|_| self.malformed(name))?;
                items.get(index).cloned().ok_or_else(|| self.malformed(name))
            }
            ("Fn::Split", [delimiter, whole]) => Ok(Value::from(text(whole).split(text(delimiter)).collect::<Vec<_>>())),
            ("Fn::FindInMap", [map, first, second]) => {
                let found = &self.document["Mappings"][text(map)][scalar(first).as_str()][scalar(second).as_str()];
                if found.is_null() {
                    let path = format!("{}.{}.{}", text(map), scalar(first), scalar(second));
                    return Err(Error::config(format!("'{}': there is no {path} among the Mappings", self.name)));
                }
                Ok(found.clone())
            }
            ("Fn::Equals", [left, right]) => Ok(Value::Bool(scalar(left) == scalar(right))),
            ("Fn::Not", [only]) => Ok(Value::Bool(only != &Value::Bool(true))),
            ("Fn::And", all) => Ok(Value::Bool(all.iter().all(|each| each == &Value::Bool(true)))),
            ("Fn::Or", all) => Ok(Value::Bool(all.contains(&Value::Bool(true)))),
            ("Fn::Base64", _) => {
                use base64::Engine as _;
                Ok(Value::String(base64::engine::general_purpose::STANDARD.encode(scalar(&evaluated))))
            }
            ("Fn::ImportValue", _) => {
                let export = scalar(&evaluated);
                let value = self.params.get(&export).cloned();
                value.ok_or_else(|| self.unknown(&format!("the exported value \"{export}\""), &export))
            }
            ("Fn::GetAtt" | "Fn::Join" | "Fn::Select" | "Fn::Split" | "Fn::FindInMap" | "Fn::Equals" | "Fn::Not", _) => {
                Err(self.malformed(name))
            }
            _ => Err(Error::config(format!("'{}' calls {name}, which kinesql cannot evaluate", self.name))
                .with_hint("Replace the call by its value in a copy of the template.")),
        }
    }

    /// `Ref`: a parameter, a pseudo parameter, or the name of a resource.
    fn reference(&self, name: &str, depth: usize) -> Result<Value> {
        if let Some(value) = self.params.get(name) {
            return Ok(value.clone());
        }
        match name {
            "AWS::NoValue" => return Ok(no_value()),
            "AWS::Partition" => return Ok(Value::from("aws")),
            "AWS::URLSuffix" => return Ok(Value::from("amazonaws.com")),
            _ => {}
        }
        if let Some(resource) = self.document["Resources"].get(name) {
            return self.physical_name(name, resource, depth);
        }
        Err(self.unknown(&format!("parameter \"{name}\""), name))
    }

    /// What `Ref` of a resource gives: the name that its properties say.
    fn physical_name(&self, logical: &str, resource: &Value, depth: usize) -> Result<Value> {
        let member = match resource["Type"].as_str().unwrap_or_default() {
            "AWS::Kinesis::Stream" => "Name",
            "AWS::KinesisFirehose::DeliveryStream" => "DeliveryStreamName",
            "AWS::S3::Bucket" => "BucketName",
            "AWS::Lambda::Function" | "AWS::Serverless::Function" => "FunctionName",
            "AWS::KinesisAnalytics::Application" | "AWS::KinesisAnalyticsV2::Application" => "ApplicationName",
            // Its permissions were the service's: kinesql uses the user's own.
            "AWS::IAM::Role" => return Ok(Value::from(logical)),
            "AWS::Lambda::Alias" | "AWS::Lambda::Version" => {
                return Err(self.unknown(&format!("the ARN of resource \"{logical}\""), logical));
            }
            _ => return Err(self.unknown(&format!("what a reference to resource \"{logical}\" gives"), logical)),
        };
        match resource["Properties"].get(member) {
            Some(name) => self.at_depth(name, depth),
            None if member == "ApplicationName" => Ok(Value::from(logical)),
            None => Err(self.unknown(&format!("the name of resource \"{logical}\""), logical)),
        }
    }

    /// `Fn::GetAtt`: the ARN of a resource.
    fn attribute(&self, logical: &str, attribute: &str, depth: usize) -> Result<Value> {
        let dotted = format!("{logical}.{attribute}");
        if let Some(value) = self.params.get(&dotted) {
            return Ok(value.clone());
        }
        let Some(resource) = self.document["Resources"].get(logical) else {
            return Err(Error::config(format!("'{}' refers to resource \"{logical}\", which it does not define", self.name)));
        };
        if attribute != "Arn" {
            return Err(self.unknown(&format!("attribute {attribute} of resource \"{logical}\""), &dotted));
        }
        let partition = scalar(&self.reference("AWS::Partition", depth)?);
        let (service, kind) = match resource["Type"].as_str().unwrap_or_default() {
            "AWS::IAM::Role" => return Ok(Value::from(format!("arn:{partition}:iam:::role/{logical}"))),
            "AWS::S3::Bucket" => ("s3", ""),
            "AWS::Kinesis::Stream" => ("kinesis", "stream/"),
            "AWS::KinesisFirehose::DeliveryStream" => ("firehose", "deliverystream/"),
            "AWS::Lambda::Function" | "AWS::Serverless::Function" => ("lambda", "function:"),
            _ => return Err(self.unknown(&format!("the ARN of resource \"{logical}\""), &dotted)),
        };
        let name = scalar(&match self.params.get(logical) {
            Some(name) => name.clone(),
            None => self.physical_name(logical, resource, depth)?,
        });
        if service == "s3" {
            return Ok(Value::from(format!("arn:{partition}:s3:::{name}")));
        }
        let (region, account) = (self.reference("AWS::Region", depth)?, self.reference("AWS::AccountId", depth)?);
        Ok(Value::from(format!("arn:{partition}:{service}:{}:{}:{kind}{name}", scalar(&region), scalar(&account))))
    }

    /// `${Name}`, `${Resource.Attribute}`, `${!Literal}`; with a list, names of its map come first.
    fn substitute(&self, argument: &Value, depth: usize) -> Result<String> {
        let (pattern, own) = match argument {
            Value::String(pattern) => (pattern.as_str(), None),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(pattern), Value::Object(own)] => (pattern.as_str(), Some(own)),
                _ => return Err(self.malformed("Fn::Sub")),
            },
            _ => return Err(self.malformed("Fn::Sub")),
        };
        let mut result = String::new();
        let mut rest = pattern;
        while let Some(start) = rest.find("${") {
            result.push_str(&rest[..start]);
            let after = &rest[start + 2..];
            let Some(end) = after.find('}') else { return Err(self.malformed("Fn::Sub")) };
            let name = after[..end].trim();
            rest = &after[end + 1..];
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let value = match own.and_then(|own| own.get(name)) {
                Some(value) => self.at_depth(value, depth)?,
                None => match name.split_once('.') {
                    Some((resource, attribute)) => self.attribute(resource, attribute, depth)?,
                    None => self.reference(name, depth)?,
                },
            };
            result.push_str(&scalar(&value));
        }
        result.push_str(rest);
        Ok(result)
    }

    /// The value of a condition of the template.
    pub(super) fn condition(&self, name: &str, depth: usize) -> Result<bool> {
        let Some(condition) = self.document["Conditions"].get(name) else {
            return Err(Error::config(format!("'{}' has no condition \"{name}\"", self.name)));
        };
        Ok(self.at_depth(condition, depth + 1)? == Value::Bool(true))
    }

    fn malformed(&self, function: &str) -> Error {
        Error::config(format!("'{}': a call of {function} does not have its arguments", self.name))
    }

    fn unknown(&self, what: &str, param: &str) -> Error {
        Error::config(format!("'{}' does not say {what}", self.name)).with_hint(format!("Give it with --param {param}=…."))
    }
}

/// A call of a function: an object with this one member.
fn function(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut members = object.iter();
    let (name, argument) = members.next()?;
    let is_call = name == "Ref" || name.starts_with("Fn::") || (name == "Condition" && argument.is_string());
    (is_call && members.next().is_none()).then_some((name, argument))
}

/// Stands for `AWS::NoValue`: no JSON of a template looks like it.
fn no_value() -> Value {
    Value::Object(Map::from_iter([("AWS::NoValue".to_owned(), Value::Null)]))
}

fn is_no_value(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.contains_key("AWS::NoValue"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A scalar as CloudFormation writes it into text.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
