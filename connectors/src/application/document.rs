//! The text of an application file as one JSON document.
//!
//! YAML is read with the tags that templates use: `!Ref x` becomes `{"Ref": x}`, `!Sub x` `{"Fn::Sub": x}` and so on.

use kinesql_engine::{Error, Result};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
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
    let documents = Yaml::load_from_str(text).map_err(|error| wrong("YAML", error.to_string()))?;
    match documents.as_slice() {
        [document @ Yaml::Mapping(_)] => value(document).map_err(|problem| wrong("a template", problem)),
        [_] => Err(wrong("an application file", "it holds no mapping".to_owned())),
        documents => Err(wrong("an application file", format!("it holds {} YAML documents", documents.len()))),
    }
}

fn value(yaml: &Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::String(value.to_string()),
        // Text whose type is not decided: dates such as 2010-09-09 are text to a template.
        Yaml::Representation(text, ..) => Value::String(text.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Mapping(members) => {
            let mut object = Map::new();
            for (key, member) in members {
                let key = match value(key)? {
                    Value::String(key) => key,
                    Value::Number(key) => key.to_string(),
                    Value::Bool(key) => key.to_string(),
                    _ => return Err("a key is not text".to_owned()),
                };
                object.insert(key, value(member)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tag, inner) if tag.is_yaml_core_schema() => value(inner)?,
        Yaml::Tagged(tag, inner) => intrinsic(&tag.suffix, value(inner)?),
        Yaml::Alias(_) => return Err("an alias has no anchor".to_owned()),
        Yaml::BadValue => return Err("a value does not have the type of its tag".to_owned()),
    })
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
    fn what_is_neither_says_where_it_stops_being_so() {
        let error = parse("a.json", "{\"a\": }").expect_err("no value");
        assert_eq!(error.message(), "'a.json' is not JSON: expected value at line 1 column 7");
        let error = parse("a.sql", "CREATE STREAM x").expect_err("text");
        assert_eq!(error.message(), "'a.sql' is not an application file: it holds no mapping");
    }
}
