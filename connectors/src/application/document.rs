//! The text of an application file as one JSON document.
//!
//! YAML is read with the tags that templates use: `!Ref x` becomes `{"Ref": x}`, `!Sub x` `{"Fn::Sub": x}` and so on. A number
//! that would be written differently, such as an account's `012345678901`, stays the text that it is. `<<` merges mappings, as
//! YAML 1.1 has it (yaml.org/type/merge.html).

use std::borrow::Cow;

use kinesql_engine::{Error, Result};
use saphyr::{Scalar, ScanError, Yaml, YamlLoader};
use saphyr_parser::Parser;
use serde_json::{Map, Value};

/// Parses JSON (if it starts with a brace) or YAML.
pub(super) fn parse(name: &str, text: &str) -> Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let wrong = |kind: &str, problem: String| {
        Error::config(format!("'{name}' is not {kind}: {problem}"))
            .with_hint("Give the output of 'aws kinesisanalytics describe-application', or a CloudFormation or SAM template.")
    };
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| wrong("JSON", error.to_string()));
    }
    let documents = load(text).map_err(|error| wrong("YAML", error.to_string()))?;
    match documents.as_slice() {
        [document @ Yaml::Mapping(_)] => value(document).map_err(|problem| wrong("a template", problem)),
        [_] => Err(wrong("an application file", "it holds no mapping".to_owned())),
        documents => Err(wrong("an application file", format!("it holds {} YAML documents", documents.len()))),
    }
}

fn value(yaml: &Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Representation(text, style, tag) => {
            let scalar = Scalar::parse_from_cow_and_metadata(Cow::Borrowed(text), *style, tag.as_ref());
            let scalar = scalar_value(text, scalar.ok_or("a value does not have the type of its tag")?);
            match tag.as_ref().filter(|tag| !tag.is_yaml_core_schema()) {
                Some(tag) => intrinsic(&tag.suffix, scalar),
                None => scalar,
            }
        }
        Yaml::Value(_) => return Err("a value is not kept as it is written".to_owned()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Mapping(members) => {
            let (mut object, mut merged) = (Map::new(), Vec::new());
            for (key, member) in members {
                if matches!(key, Yaml::Representation(text, ..) if text == "<<") {
                    match value(member)? {
                        Value::Object(other) => merged.push(other),
                        Value::Array(others) if others.iter().all(Value::is_object) => {
                            merged.extend(
                                others
                                    .into_iter()
                                    .filter_map(|other| if let Value::Object(other) = other { Some(other) } else { None }),
                            );
                        }
                        _ => return Err("'<<' stands before something that is no mapping".to_owned()),
                    }
                    continue;
                }
                let key = match value(key)? {
                    Value::String(key) => key,
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    _ => return Err("a key is not text".to_owned()),
                };
                object.insert(key, value(member)?);
            }
            // What a mapping says itself counts, then the first of those that are merged.
            for (key, member) in merged.into_iter().flatten() {
                object.entry(key).or_insert(member);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tag, inner) if tag.is_yaml_core_schema() => value(inner)?,
        Yaml::Tagged(tag, inner) => intrinsic(&tag.suffix, value(inner)?),
        Yaml::Alias(_) => return Err("an alias has no anchor".to_owned()),
        Yaml::BadValue => return Err("a value does not have the type of its tag".to_owned()),
    })
}

/// The document without members that are null, as some tools write what is not there.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, member)| !member.is_null());
            Value::Object(members.map(|(name, member)| (name, without_nulls(member))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

/// The documents, with scalars as they are written.
fn load(text: &str) -> Result<Vec<Yaml<'_>>, ScanError> {
    let mut loader = YamlLoader::default();
    loader.early_parse(false);
    Parser::new_from_str(text).load(&mut loader, true)?;
    match loader.error() {
        Some(error) => Err(error.clone()),
        None => Ok(loader.into_documents()),
    }
}

/// `scalar`, which is written as `text`: a number only if it is written as numbers are.
fn scalar_value(text: &str, scalar: Scalar<'_>) -> Value {
    let number = match scalar {
        Scalar::Null => return Value::Null,
        Scalar::Boolean(value) => return Value::Bool(value),
        Scalar::String(value) => return Value::String(value.into_owned()),
        Scalar::Integer(value) => Value::from(value),
        Scalar::FloatingPoint(value) => Value::from(value.into_inner()),
    };
    let plain = number.to_string();
    if plain == text { number } else { Value::String(text.to_owned()) }
}

/// The long form of a short intrinsic.
fn intrinsic(tag: &str, argument: Value) -> Value {
    let (name, argument) = match (tag, argument) {
        ("Ref" | "Condition", argument) => (tag.to_owned(), argument),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').unwrap_or((&path, ""));
            ("Fn::GetAtt".to_owned(), Value::from(vec![resource, attribute]))
        }
        (tag, argument) => (format!("Fn::{tag}"), argument),
    };
    Value::Object(Map::from_iter([(name, argument)]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_with_short_intrinsics_is_the_same_as_json() {
        let yaml = "
AWSTemplateFormatVersion: 2010-09-09
Resources:
  App:
    Type: AWS::KinesisAnalytics::Application
    Properties:
      ApplicationName: !Sub '${Stage}-app'
      Count: 2
      Arn: !GetAtt Stream.Arn
      Named: !Ref Stream
      Path: !Join ['/', [a, !Ref B]]
      ApplicationCode: |
        -- two lines
        SELECT 1;
";
        let document = parse("t.yaml", yaml).expect("valid");
        assert_eq!(
            document["Resources"]["App"]["Properties"],
            json!({
                "ApplicationName": {"Fn::Sub": "${Stage}-app"},
                "Count": 2,
                "Arn": {"Fn::GetAtt": ["Stream", "Arn"]},
                "Named": {"Ref": "Stream"},
                "Path": {"Fn::Join": ["/", ["a", {"Ref": "B"}]]},
                "ApplicationCode": "-- two lines\nSELECT 1;\n",
            })
        );
        assert_eq!(document["AWSTemplateFormatVersion"], json!("2010-09-09"));
    }

    #[test]
    fn scalars_keep_what_is_written() {
        let yaml = "
Account: 012345678901
Quoted: '7'
Count: 7
Version: 1.10
Share: 0.5
Yes: true
None: ~
Tagged: !Sub 007
Text: !!str 8
";
        let expected = json!({
            "Account": "012345678901", "Quoted": "7", "Count": 7, "Version": "1.10", "Share": 0.5, "Yes": true, "None": null,
            "Tagged": {"Fn::Sub": "007"}, "Text": "8",
        });
        assert_eq!(parse("t.yaml", yaml).expect("valid"), expected);
    }

    #[test]
    fn mappings_are_merged() {
        let yaml = "
base: &base { a: 1, b: 2 }
more: &more { b: 3, c: !Ref C }
one: { <<: *base, b: 4 }
two: { <<: [*base, *more] }
";
        let document = parse("t.yaml", yaml).expect("valid");
        assert_eq!(document["one"], json!({ "a": 1, "b": 4 }));
        assert_eq!(document["two"], json!({ "a": 1, "b": 2, "c": {"Ref": "C"} }));
        let error = parse("t.yaml", "a: { <<: 1 }").expect_err("no mapping");
        assert_eq!(error.message(), "'t.yaml' is not a template: '<<' stands before something that is no mapping");
    }

    #[test]
    fn what_is_neither_says_where_it_stops_being_so() {
        let error = parse("a.json", "{\"a\": }").expect_err("no value");
        assert_eq!(error.message(), "'a.json' is not JSON: expected value at line 1 column 7");
        let error = parse("a.sql", "CREATE STREAM x").expect_err("text");
        assert_eq!(error.message(), "'a.sql' is not an application file: it holds no mapping");
    }
}
