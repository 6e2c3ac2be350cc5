//! Application files of every shape, and the SQL that comes of them.

use std::collections::BTreeMap;

use kinesql_engine::connector::OptionEntry;

use super::*;

const CODE: &str = "CREATE OR REPLACE STREAM \"DESTINATION_SQL_STREAM\" (\"sensor\" VARCHAR(16));\n";

/// `DescribeApplication` of the first API version, as users saved it.
const DESCRIBED: &str = r#"{ "ApplicationDetail": {
    "ApplicationName": "traffic", "ApplicationStatus": "READY", "ApplicationVersionId": 3,
    "ApplicationCode": "CREATE OR REPLACE STREAM \"DESTINATION_SQL_STREAM\" (\"sensor\" VARCHAR(16));\n",
    "CloudWatchLoggingOptionDescriptions": [ { "CloudWatchLoggingOptionId": "1.1", "LogStreamARN": "arn:x" } ],
    "InputDescriptions": [ {
        "InputId": "1.1", "NamePrefix": "SOURCE_SQL_STREAM", "InAppStreamNames": [ "SOURCE_SQL_STREAM_001" ],
        "KinesisStreamsInputDescription": { "ResourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/cars", "RoleARN": "arn:aws:iam::1:role/r" },
        "InputProcessingConfigurationDescription": { "InputLambdaProcessorDescription": { "ResourceARN": "arn:aws:lambda:eu-west-1:1:function:clean" } },
        "InputParallelism": { "Count": 1 },
        "InputStartingPositionConfiguration": { "InputStartingPosition": "TRIM_HORIZON" },
        "InputSchema": {
          "RecordEncoding": "UTF-8",
          "RecordFormat": { "RecordFormatType": "JSON", "MappingParameters": { "JSONMappingParameters": { "RecordRowPath": "$" } } },
          "RecordColumns": [ { "Name": "sensor", "Mapping": "$.sensor", "SqlType": "VARCHAR(16)" }, { "Name": "it's", "Mapping": "$['it''s']", "SqlType": "DOUBLE" } ] } } ],
    "OutputDescriptions": [
      { "OutputId": "2.1", "Name": "DESTINATION_SQL_STREAM",
        "KinesisFirehoseOutputDescription": { "ResourceARN": "arn:aws:firehose:eu-west-1:1:deliverystream/out" },
        "DestinationSchema": { "RecordFormatType": "CSV" } },
      { "OutputId": "2.2", "Name": "error_stream",
        "LambdaOutputDescription": { "ResourceARN": "arn:aws:lambda:eu-west-1:1:function:errors" },
        "DestinationSchema": { "RecordFormatType": "JSON" } } ],
    "ReferenceDataSourceDescriptions": [ {
        "ReferenceId": "3.1", "TableName": "devices",
        "S3ReferenceDataSourceDescription": { "BucketARN": "arn:aws:s3:::tables", "FileKey": "a/devices.csv", "ReferenceRoleARN": "arn:x" },
        "ReferenceSchema": {
          "RecordFormat": { "RecordFormatType": "CSV", "MappingParameters": { "CSVMappingParameters": { "RecordRowDelimiter": "\n", "RecordColumnDelimiter": "|" } } },
          "RecordColumns": [ { "Name": "id", "SqlType": "INTEGER" } ] } } ] } }"#;

fn definition(name: &str, text: &str, params: &[(&str, &str)]) -> Result<Definition, String> {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read(name, text, &params).map_err(|error| error.to_string())
}

#[test]
fn a_described_application_becomes_a_script() {
    let definition = definition("app.json", DESCRIBED, &[]).expect("valid");
    assert_eq!(definition.input_names(), ["SOURCE_SQL_STREAM_001", "devices"]);
    let scripts = definition.scripts(None, &Overrides::default()).expect("complete");
    assert_eq!(
        scripts.inputs,
        r#"-- Application traffic.
-- Its logs in CloudWatch have no counterpart here: errors are rows of error_stream.

-- The service used the role arn:aws:iam::1:role/r; kinesql uses your credentials.
CREATE SOURCE "SOURCE_SQL_STREAM_001" (
    "sensor" VARCHAR(16) PATH '$.sensor',
    "it's" DOUBLE PATH '$[''it''''s'']')
  WITH (connector = 'kinesis', stream = 'arn:aws:kinesis:eu-west-1:123456789012:stream/cars', scan.start = 'trim_horizon', format = 'json', preprocessor = 'arn:aws:lambda:eu-west-1:1:function:clean');

CREATE TABLE "devices" (
    "id" INTEGER)
  WITH (connector = 's3', path = 's3://tables/a/devices.csv', region = 'eu-west-1', format = 'csv', csv.delimiter = '|');
"#
    );
    assert_eq!(scripts.code, CODE);
    assert_eq!(
        scripts.outputs,
        r#"CREATE SINK "DESTINATION_SQL_STREAM to firehose out" FROM "DESTINATION_SQL_STREAM"
  WITH (connector = 'firehose', delivery_stream = 'arn:aws:firehose:eu-west-1:1:deliverystream/out', format = 'csv');
CREATE SINK "error_stream to lambda errors" FROM "error_stream"
  WITH (connector = 'lambda', function = 'arn:aws:lambda:eu-west-1:1:function:errors', format = 'json');
"#
    );
}

#[test]
fn a_local_run_replaces_any_binding() {
    let definition = definition("app.json", DESCRIBED, &[]).expect("valid");
    let file = |path: &str| vec![OptionEntry::new("connector", "file"), OptionEntry::new("path", path)];
    let overrides = Overrides {
        inputs: BTreeMap::from([
            (
                "SOURCE_SQL_STREAM_001".to_owned(),
                Replacement { options: file("cars.jsonl"), rowtime: Some("at".to_owned()), own_format: false },
            ),
            ("devices".to_owned(), Replacement { options: file("devices.csv"), ..Replacement::default() }),
        ]),
        sinks: ["DESTINATION_SQL_STREAM".to_owned()].into(),
    };
    let scripts = definition.scripts(None, &overrides).expect("complete");
    assert!(
        scripts.inputs.contains(
            "    WATERMARK FOR \"at\" AS \"at\")\n  WITH (connector = 'file', path = 'cars.jsonl', format = 'json', metadata = 'kinesis');\n"
        )
    );
    assert!(scripts.inputs.contains("  WITH (connector = 'file', path = 'devices.csv', format = 'csv', csv.delimiter = '|');\n"));
    assert!(!scripts.outputs.contains("firehose") && scripts.outputs.contains("error_stream"), "{}", scripts.outputs);
    let notes: Vec<_> = scripts.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["warning: records of --source SOURCE_SQL_STREAM_001 do not pass the function clean as those of the input did\n\
          hint: Give records as it returns them, or add preprocessor=arn:aws:lambda:eu-west-1:1:function:clean behind the '?' of the URI."]
    );
    assert!(scripts.inputs.contains("PATH '$.sensor'"), "{}", scripts.inputs);
    // Records of another format have no paths.
    let csv = [file("cars.txt"), vec![OptionEntry::new("format", "csv")]].concat();
    let csv =
        BTreeMap::from([("SOURCE_SQL_STREAM_001".to_owned(), Replacement { options: csv, rowtime: None, own_format: false })]);
    let scripts = definition.scripts(None, &Overrides { inputs: csv, ..Overrides::default() }).expect("complete");
    assert!(!scripts.inputs.contains("PATH"), "{}", scripts.inputs);
}

/// `CreateApplication` of the second API version: other places, no roles, the same application.
#[test]
fn the_second_version_of_the_api_is_read_too() {
    let text = r#"{
      "ApplicationName": "traffic", "RuntimeEnvironment": "SQL-1_0", "ServiceExecutionRole": "arn:x",
      "ApplicationConfiguration": {
        "ApplicationCodeConfiguration": { "CodeContentType": "PLAINTEXT", "CodeContent": { "TextContent": "-- code" } },
        "SqlApplicationConfiguration": {
          "Inputs": [ { "NamePrefix": "S", "KinesisStreamsInput": { "ResourceARN": "arn:aws:kinesis:eu-west-1:1:stream/cars" },
            "InputParallelism": { "Count": 2 },
            "InputSchema": { "RecordFormat": { "RecordFormatType": "JSON", "MappingParameters": { "JSONMappingParameters": { "RecordRowPath": "$.rows[0:]" } } },
              "RecordColumns": [ { "Name": "a", "Mapping": "$.a", "SqlType": "INTEGER" } ] } } ] } } }"#;
    let scripts = definition("app.json", text, &[]).expect("valid").scripts(None, &Overrides::default()).expect("complete");
    for (name, worker) in [("S_001", "1/2"), ("S_002", "2/2")] {
        let expected = format!(
            "CREATE SOURCE \"{name}\" (\n    \"a\" INTEGER PATH '$.a')\n  WITH (connector = 'kinesis', stream = \
             'arn:aws:kinesis:eu-west-1:1:stream/cars', scan.start = 'latest', format = 'json', json.row_path = '$.rows[0:]', worker = '{worker}');\n"
        );
        assert!(scripts.inputs.contains(&expected), "{}", scripts.inputs);
    }
    assert_eq!((scripts.code.as_str(), scripts.outputs.as_str()), ("-- code", ""));
}

const TEMPLATE: &str = "
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: { Type: String }
  Rate: { Type: Number, Default: 10 }
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
Mappings:
  Names: { prod: { out: big }, dev: { out: small } }
Resources:
  Cars: { Type: AWS::Kinesis::Stream, Properties: { Name: !Sub '${Stage}-cars', ShardCount: !Ref Rate } }
  Role: { Type: AWS::IAM::Role }
  App:
    Type: AWS::KinesisAnalytics::Application
    Properties:
      ApplicationName: !Join ['-', [traffic, !Ref Stage]]
      ApplicationCode: |
        -- the code of ${Stage} stays as it is
        CREATE STREAM \"OUT\" (\"a\" INTEGER);
      Inputs:
        - NamePrefix: SOURCE_SQL_STREAM
          InputParallelism: { Count: '1' }
          KinesisStreamsInput: { ResourceARN: !GetAtt Cars.Arn, RoleARN: !GetAtt Role.Arn }
          InputSchema:
            RecordFormat: { RecordFormatType: CSV, MappingParameters: { CSVMappingParameters: { RecordRowDelimiter: '\\n', RecordColumnDelimiter: ',' } } }
            RecordColumns: [ { Name: a, SqlType: INTEGER }, !If [IsProd, { Name: b, SqlType: DOUBLE }, !Ref AWS::NoValue] ]
  Output:
    Type: AWS::KinesisAnalytics::ApplicationOutput
    DependsOn: App
    Properties:
      ApplicationName: !Ref App
      Output:
        Name: OUT
        DestinationSchema: { RecordFormatType: JSON }
        KinesisStreamsOutput: { ResourceARN: !Sub ['arn:aws:kinesis:${AWS::Region}:${AWS::AccountId}:stream/${Name}', { Name: !FindInMap [Names, !Ref Stage, out] }], RoleARN: !GetAtt Role.Arn }
  OnlyInProduction:
    Type: AWS::KinesisAnalytics::ApplicationOutput
    Condition: IsProd
    Properties: { ApplicationName: !Ref App, Output: { Name: error_stream, DestinationSchema: { RecordFormatType: JSON }, LambdaOutput: { ResourceARN: !ImportValue errors } } }
";

#[test]
fn a_template_is_evaluated_with_its_parameters() {
    let params = [("Stage", "dev"), ("AWS::Region", "eu-west-1"), ("AWS::AccountId", "123456789012")];
    let dev = definition("t.yaml", TEMPLATE, &params).expect("valid");
    assert_eq!(dev.name, "traffic-dev");
    assert_eq!(dev.code.as_deref(), Some("-- the code of ${Stage} stays as it is\nCREATE STREAM \"OUT\" (\"a\" INTEGER);\n"));
    let stream = dev.inputs[0].kinesis_streams_input.as_ref().expect("a stream");
    assert_eq!(stream.arn.needed().expect("known"), "arn:aws:kinesis:eu-west-1:123456789012:stream/dev-cars");
    assert_eq!(dev.inputs[0].input_schema.record_columns.len(), 1);
    assert_eq!(dev.outputs.len(), 1);
    let output = dev.outputs[0].kinesis_streams_output.as_ref().expect("a stream");
    assert_eq!(output.arn.needed().expect("known"), "arn:aws:kinesis:eu-west-1:123456789012:stream/small");

    let more = [("Stage", "prod"), ("AWS::Region", "eu-west-1"), ("AWS::AccountId", "1"), ("errors", "arn:l")];
    let prod = definition("t.yaml", TEMPLATE, &more).expect("valid");
    assert_eq!((prod.outputs.len(), prod.inputs[0].input_schema.record_columns.len()), (2, 2));
}

#[test]
fn wrong_files_say_what_is_missing() {
    let no_code = DESCRIBED.replace("\"ApplicationCode\"", "\"Other\"");
    let error = definition("app.json", &no_code, &[]).expect("valid").scripts(None, &Overrides::default()).expect_err("no code");
    assert_eq!(error.message(), "application \"traffic\" comes without its SQL code");
    let region = ("AWS::Region", "eu-west-1");
    let open = definition("t.yaml", TEMPLATE, &[("Stage", "dev"), region]).expect("only an ARN is open");
    let error = open.scripts(None, &Overrides::default()).expect_err("it is needed").to_string();
    assert_eq!(error, "'t.yaml' does not say parameter \"AWS::AccountId\"\nhint: Give it with --param AWS::AccountId=….");
    for (name, text, params, expected) in [
        ("a.json", "{}", &[][..], "'a.json' describes no Kinesis Data Analytics application"),
        (
            "a.json",
            r#"{"RuntimeEnvironment": "FLINK-1_20"}"#,
            &[],
            "'a.json' is an application of runtime FLINK-1_20, not of SQL",
        ),
        ("a.json", DESCRIBED, &[("x", "1")], "--param x: 'a.json' is no template, so it has no parameters"),
        (
            "a.json",
            &DESCRIBED.replace("\"SqlType\": \"DOUBLE\"", "\"Sql\": \"DOUBLE\""),
            &[],
            "'a.json' does not have the shape of an application: missing field `SqlType`",
        ),
        ("t.yaml", TEMPLATE, &[region], "'t.yaml' does not say parameter \"Stage\"\nhint: Give it with --param Stage=…."),
        (
            "t.yaml",
            &TEMPLATE.replace("!ImportValue errors", "x"),
            &[("Stge", "dev")],
            "--param Stge: 't.yaml' has no such parameter\nhint: Parameters are Rate, Stage.",
        ),
        (
            "t.yaml",
            "Resources: {}",
            &[],
            "'t.yaml' holds no resource of type AWS::KinesisAnalytics::Application or AWS::KinesisAnalyticsV2::Application",
        ),
    ] {
        let error = definition(name, text, params).expect_err(expected);
        assert!(error.starts_with(expected), "{error}");
    }
    for (what, with, expected) in [
        (
            "\"RecordRowDelimiter\": \"\\n\"",
            "\"RecordRowDelimiter\": \"12345678901234567\"",
            "\"devices\": rows that end with \"12345678901234567\" cannot be read",
        ),
        ("\"UTF-8\"", "\"UTF-16\"", "\"SOURCE_SQL_STREAM\": RecordEncoding is 'UTF-16', not UTF-8"),
        ("\"Count\": 1", "\"Count\": 65", "InputParallelism of input \"SOURCE_SQL_STREAM\" is 65, not 1 to 64"),
        ("TRIM_HORIZON", "YESTERDAY", "input \"SOURCE_SQL_STREAM\" cannot start at 'YESTERDAY'"),
    ] {
        let text = DESCRIBED.replacen(what, with, 1);
        let error = definition("a.json", &text, &[]).expect("readable").scripts(None, &Overrides::default()).expect_err(expected);
        assert_eq!(error.message(), expected);
    }
}

/// `DescribeApplication` of the second version, with a delivery stream that delivers whole lines.
fn delivered(rows: &str, fields: &str, columns: &str) -> String {
    format!(
        r#"{{ "ApplicationDetail": {{ "ApplicationARN": "arn:aws:kinesisanalytics:us-east-1:1:application/logs",
          "ApplicationConfigurationDescription": {{
            "ApplicationCodeConfigurationDescription": {{ "CodeContentDescription": {{ "TextContent": "-- code" }} }},
            "SqlApplicationConfigurationDescription": {{ "InputDescriptions": [ {{ "NamePrefix": "SRC",
              "KinesisFirehoseInputDescription": {{ "ResourceARN": "arn:aws:firehose:us-east-1:1:deliverystream/in" }},
              "InputSchema": {{ "RecordFormat": {{ "RecordFormatType": "CSV", "MappingParameters": {{
                "CSVMappingParameters": {{ "RecordRowDelimiter": "{rows}", "RecordColumnDelimiter": "{fields}" }} }} }},
                "RecordColumns": [ {columns} ] }} }} ] }} }} }} }}"#
    )
}

const LOG: &str = r#"{ "Name": "log", "Mapping": "", "SqlType": "VARCHAR(64)" }"#;

#[test]
fn a_delivery_stream_delivers_to_an_address_that_can_be_changed() {
    let definition = definition("app.json", &delivered("\\\\n", "DELIM", LOG), &[]).expect("valid");
    let scripts = definition.scripts(None, &Overrides::default()).expect("complete");
    assert!(scripts.inputs.contains("-- Was the delivery stream in: let it deliver to the HTTP endpoint"), "{}", scripts.inputs);
    assert!(
        scripts.inputs.ends_with(
            "CREATE SOURCE \"SRC_001\" (\n    \"log\" VARCHAR(64))\n  WITH (connector = 'firehose', listen = '127.0.0.1:8080', \
             format = 'csv', csv.delimiter = 'DELIM');\n"
        ),
        "{}",
        scripts.inputs
    );
    let notes: Vec<_> = scripts.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["warning: source \"SRC_001\" waits on http://127.0.0.1:8080/ for what a delivery stream delivers\n\
          hint: Give another address with --source SRC_001=firehose:ADDRESS:PORT, or another source."]
    );
}

/// kda-sql-reference.md §6.2, §6.8.
#[test]
fn delimiters_are_whatever_the_service_took() {
    let two = format!("{LOG}, {LOG}");
    for (rows, fields, columns, expected) in [
        ("\\n", ",", LOG, "format = 'csv')"),
        ("\\r\\n", "|", LOG, "format = 'csv', csv.delimiter = '|')"),
        ("\\r", "\\t", &two, "format = 'csv', csv.delimiter = '\\t', csv.row_delimiter = '\\r')"),
        ("|", "::", &two, "format = 'csv', csv.delimiter = '::', csv.row_delimiter = '|')"),
        (";", "it's", &two, "format = 'csv', csv.delimiter = 'it''s', csv.row_delimiter = ';')"),
        (";;", "\\t", &two, "format = 'csv', csv.delimiter = '\\t', csv.row_delimiter = ';;')"),
        ("\\n", "\\n", LOG, "format = 'csv', csv.delimiter = '')"),
    ] {
        let definition = definition("app.json", &delivered(rows, fields, columns), &[]).expect("valid");
        let scripts = definition.scripts(None, &Overrides::default()).expect("complete");
        assert!(scripts.inputs.contains(expected), "{rows:?} {fields:?}: {}", scripts.inputs);
    }
    let definition = definition("app.json", &delivered("\\n", "\\n", &two), &[]).expect("valid");
    let error = definition.scripts(None, &Overrides::default()).expect_err("two columns");
    assert_eq!(error.message(), "\"SRC\": fields between \"\\n\" cannot be read");
}

/// A template with names that only CloudFormation would know.
const OPEN: &str = "
Parameters:
  Stored: { Type: 'AWS::SSM::Parameter::Value<String>', Default: /the/name }
Resources:
  In: { Type: AWS::Kinesis::Stream, Properties: { ShardCount: 1 } }
  Other: { Type: AWS::SNS::Topic, Condition: Unknown }
  App:
    Type: AWS::KinesisAnalyticsV2::Application
    Properties:
      ApplicationName: !Sub '${AWS::StackName}-app'
      RuntimeEnvironment: SQL-1_0
      ServiceExecutionRole: !ImportValue role
      Tags: [ { Key: stack, Value: !Ref AWS::StackId } ]
      ApplicationConfiguration:
        EnvironmentProperties: { PropertyGroups: [ { PropertyGroupId: x, PropertyMap: { a: !ImportValue other } } ] }
        ApplicationCodeConfiguration: { CodeContent: { TextContent: '-- code' } }
        SqlApplicationConfiguration:
          Inputs:
            - NamePrefix: S
              KinesisStreamsInput: { ResourceARN: !GetAtt In.Arn, RoleARN: !ImportValue role }
              InputProcessingConfiguration: { InputLambdaProcessor: { ResourceARN: !Ref Stored } }
              InputSchema: { RecordFormat: { RecordFormatType: JSON }, RecordColumns: [ { Name: a, SqlType: INTEGER } ] }
  Out:
    Type: AWS::KinesisAnalyticsV2::ApplicationOutput
    Properties:
      ApplicationName: !Ref App
      Output: { Name: D, DestinationSchema: { RecordFormatType: JSON }, LambdaOutput: { ResourceARN: !Sub '${AWS::StackName}-f' } }
";

/// What templates are written with besides.
const MORE: &str = "
Parameters:
  Stage: { Type: String, AllowedValues: [dev, prod], Default: dev }
  Account: { Type: String, Default: 012345678901 }
Resources:
  In: { Type: AWS::Kinesis::Stream, Properties: { Name: cars } }
  Clean: { Type: AWS::Lambda::Function, Properties: { FunctionName: clean } }
  Live: { Type: AWS::Lambda::Alias, Properties: { FunctionName: !Ref Clean, Name: live } }
  App:
    Type: AWS::KinesisAnalytics::Application
    Properties:
      ApplicationName: !Sub 'traffic-${Account}'
      ApplicationCode: { 'Fn::Transform': { Name: AWS::Include, Parameters: { Location: s3://code/app.sql } } }
      Inputs:
        - NamePrefix: S
          KinesisStreamsInput: { ResourceARN: { 'Fn::GetAtt': In.Arn }, RoleARN: !ImportValue role }
          InputProcessingConfiguration: { InputLambdaProcessor: { ResourceARN: !Ref Live, RoleARN: x } }
          InputSchema: { RecordFormat: { RecordFormatType: JSON }, RecordColumns: [ { Name: a, SqlType: INTEGER } ] }
";

#[test]
fn partitions_aliases_and_accounts_are_as_the_template_or_the_user_says() {
    let china = [("AWS::Region", "cn-north-1"), ("AWS::AccountId", "1"), ("AWS::Partition", "aws-cn")];
    let definition = definition("t.yaml", MORE, &china).expect("valid");
    assert_eq!(definition.name, "traffic-012345678901");
    let stream = definition.inputs[0].kinesis_streams_input.as_ref().expect("a stream");
    assert_eq!(stream.arn.needed().expect("known"), "arn:aws-cn:kinesis:cn-north-1:1:stream/cars");
    let error = definition.scripts(Some("-- code"), &Overrides::default()).expect_err("the function is used").to_string();
    assert_eq!(error, "'t.yaml' does not say the ARN of resource \"Live\"\nhint: Give it with --param Live=….");
}

#[test]
fn code_that_only_the_service_can_include_may_stand_beside() {
    let params =
        [("AWS::Region", "eu-west-1"), ("AWS::AccountId", "1"), ("Live", "arn:aws:lambda:eu-west-1:1:function:clean:live")];
    let definition = definition("t.yaml", MORE, &params).expect("valid");
    let error = definition.scripts(None, &Overrides::default()).expect_err("no code");
    assert_eq!(error.message(), "'t.yaml' calls Fn::Transform, which kinesql cannot evaluate");
    let scripts = definition.scripts(Some("-- code"), &Overrides::default()).expect("complete");
    assert!(scripts.inputs.contains("preprocessor = 'arn:aws:lambda:eu-west-1:1:function:clean:live'"), "{}", scripts.inputs);
}

#[test]
fn mistyped_parameters_and_values_are_found() {
    for (param, expected) in [
        (("Stage", "test"), "--param Stage: 't.yaml' does not allow 'test'\nhint: Values are dev, prod."),
        (("Stge", "dev"), "--param Stge: 't.yaml' has no such parameter\nhint: Parameters are Account, Stage."),
    ] {
        assert_eq!(definition("t.yaml", MORE, &[param]), Err(expected.to_owned()));
    }
    definition("t.yaml", MORE, &[("role", "arn:x"), ("Stage", "prod")]).expect("both have a meaning");
    // Of a list each value counts.
    let list = MORE.replacen("Stage: {", "Zones: { Type: CommaDelimitedList, AllowedValues: [a, b], Default: a }\n  Stage: {", 1);
    assert_ne!(list, MORE);
    definition("t.yaml", &list, &[("role", "arn:x"), ("Zones", "b, a")]).expect("both are allowed");
    let expected = "--param Zones: 't.yaml' does not allow 'c'\nhint: Values are a, b.";
    assert_eq!(definition("t.yaml", &list, &[("Zones", "a,c")]), Err(expected.to_owned()));
}

#[test]
fn what_is_null_is_not_there() {
    let text = DESCRIBED.replace("\"ReferenceDataSourceDescriptions\"", "\"Other\"");
    let text = text.replacen(
        "\"ApplicationStatus\"",
        "\"ReferenceDataSourceDescriptions\": null, \"InputProcessing\": null, \"ApplicationStatus\"",
        1,
    );
    let text = text
        .replace("\"Mapping\": \"$.sensor\"", "\"Mapping\": null")
        .replace("\"RecordRowPath\": \"$\"", "\"RecordRowPath\": null");
    let definition = definition("app.json", &text, &[]).expect("valid");
    assert_eq!(definition.references, []);
    let scripts = definition.scripts(None, &Overrides::default()).expect("complete");
    assert!(scripts.inputs.contains("    \"sensor\" VARCHAR(16),\n"), "{}", scripts.inputs);
}

#[test]
fn the_application_is_named_to_functions_and_a_position_that_is_not_known_is_told() {
    let arn = "arn:aws:kinesisanalytics:eu-west-1:1:application/traffic";
    let text = DESCRIBED.replacen("\"ApplicationStatus\"", &format!("\"ApplicationARN\": \"{arn}\", \"ApplicationStatus\""), 1);
    let text = text.replace("TRIM_HORIZON", "LAST_STOPPED_POINT");
    let scripts = definition("app.json", &text, &[]).expect("valid").scripts(None, &Overrides::default()).expect("complete");
    assert!(scripts.inputs.contains(&format!("preprocessor.application_arn = '{arn}'")), "{}", scripts.inputs);
    assert!(scripts.outputs.contains(&format!("format = 'json', application_arn = '{arn}'")), "{}", scripts.outputs);
    let notes: Vec<_> = scripts.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "warning: without a checkpoint input \"SOURCE_SQL_STREAM\" starts at the newest record: where the service stopped is not known\n\
          hint: With --checkpoint-dir every run but the first goes on where the last one stopped."
        ]
    );
}

#[test]
fn of_several_sources_a_missing_function_is_told_once_and_a_count_is_checked_before_names_are_made() {
    let several = DESCRIBED.replace("\"Count\": 1", "\"Count\": 3");
    let file = || Replacement { options: vec![OptionEntry::new("connector", "stdin")], ..Replacement::default() };
    let inputs = (1..=2).map(|number| (format!("SOURCE_SQL_STREAM_00{number}"), file())).collect();
    let overrides = Overrides { inputs, ..Overrides::default() };
    let scripts = definition("a.json", &several, &[]).expect("valid").scripts(None, &overrides).expect("complete");
    let [note] = &scripts.notes[..] else { panic!("one note: {:?}", scripts.notes) };
    let expected = "warning: records of --source SOURCE_SQL_STREAM_001, SOURCE_SQL_STREAM_002 do not pass the function clean";
    assert!(note.to_string().starts_with(expected), "{note}");

    let huge = DESCRIBED.replace("\"Count\": 1", "\"Count\": 20000000000");
    let definition = definition("a.json", &huge, &[]).expect("readable");
    assert_eq!(definition.input_names(), ["devices"]);
    let error = definition.scripts(None, &Overrides::default()).expect_err("too many");
    assert_eq!(error.message(), "InputParallelism of input \"SOURCE_SQL_STREAM\" is 20000000000, not 1 to 64");
}

#[test]
fn a_delivery_stream_has_one_endpoint_whatever_the_parallelism() {
    let text = delivered("\\\\n", "DELIM", LOG)
        .replace("\"NamePrefix\": \"SRC\"", "\"NamePrefix\": \"SRC\", \"InputParallelism\": { \"Count\": 2 }");
    let scripts = definition("a.json", &text, &[]).expect("valid").scripts(None, &Overrides::default()).expect("complete");
    assert_eq!(scripts.inputs.matches("let it deliver to the HTTP endpoint of this source").count(), 1, "{}", scripts.inputs);
    let second = "-- A delivery stream delivers to one endpoint: that of \"SRC_001\", or of a load balancer that spreads requests over all.\n\
                  CREATE SOURCE \"SRC_002\"";
    assert!(scripts.inputs.contains(second), "{}", scripts.inputs);
}

#[test]
fn what_nobody_uses_of_a_template_needs_no_value() {
    let definition = definition("t.yaml", OPEN, &[]).expect("nothing is asked for");
    assert_eq!((definition.name.as_str(), definition.outputs.len()), ("App", 1));
    let replacement = Replacement { options: vec![OptionEntry::new("connector", "stdin")], ..Replacement::default() };
    let mut overrides = Overrides { inputs: BTreeMap::from([("S_001".to_owned(), replacement)]), sinks: ["D".to_owned()].into() };
    let scripts = definition.scripts(None, &overrides).expect("every binding is replaced");
    assert!(scripts.inputs.contains("connector = 'stdin'") && scripts.outputs.is_empty());
    overrides.sinks.clear();
    let error = definition.scripts(None, &overrides).expect_err("the output is used").to_string();
    assert_eq!(error, "'t.yaml' does not say parameter \"AWS::StackName\"\nhint: Give it with --param AWS::StackName=….");
    let error = definition.scripts(None, &Overrides::default()).expect_err("the input is used").to_string();
    assert_eq!(error, "'t.yaml' does not say the name of resource \"In\"\nhint: Give it with --param In=….");
}

#[test]
fn the_default_of_a_stored_parameter_is_no_value() {
    let params = [("In", "cars"), ("AWS::Region", "eu-west-1"), ("AWS::AccountId", "1")];
    let definition = definition("t.yaml", OPEN, &params).expect("valid");
    let error = definition.scripts(None, &Overrides::default()).expect_err("the function is used").to_string();
    assert_eq!(error, "'t.yaml' does not say parameter \"Stored\"\nhint: Give it with --param Stored=….");
}
