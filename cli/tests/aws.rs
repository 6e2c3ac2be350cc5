//! Credentials, roles and endpoints as users give them: in the environment, in `~/.aws` and as options, with the built binary and
//! services that are written here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A request: its first line, the key that it is signed with, and its body.
#[derive(Debug, Clone)]
struct Request {
    line: String,
    signed_with: String,
    body: String,
}

/// A service on the loopback interface; every request is remembered.
struct Service {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Service {
    /// `answer` gives the status line's end, headers and the body.
    fn start(answer: impl Fn(&Request) -> (&'static str, &'static str, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let remembered = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a connection"));
                let mut line = String::new();
                // A client may open a connection and not use it.
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    continue;
                }
                let (mut length, mut signed_with) = (0, String::new());
                for header in reader.by_ref().lines().map_while(Result::ok).take_while(|header| !header.is_empty()) {
                    let (name, value) = header.split_once(": ").unwrap_or_default();
                    match name.to_ascii_lowercase().as_str() {
                        "content-length" => length = value.parse().expect("a number"),
                        "authorization" => {
                            let key = value.split_once("Credential=").and_then(|(_, key)| key.split_once('/'));
                            signed_with = key.expect("a signature").0.to_owned();
                        }
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let body = String::from_utf8_lossy(&body).into_owned();
                let request = Request { line: line.trim_end().to_owned(), signed_with, body };
                let (status, headers, body) = answer(&request);
                remembered.lock().expect("no panic").push(request);
                let answer =
                    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                // Who asks with HEAD reads no body.
                let _ = reader.into_inner().write_all(answer.as_bytes());
            }
        });
        Self { endpoint, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.requests().into_iter().map(|request| request.signed_with).collect();
        keys.dedup();
        keys
    }
}

/// A bucket with these objects, each a JSON line.
fn bucket(objects: usize) -> Service {
    Service::start(move |request| {
        if !request.line.contains("list-type=2") {
            let headers = "etag: \"x\"\r\nlast-modified: Wed, 31 Jan 2024 00:00:00 GMT\r\n";
            return ("200 OK", headers, "{\"A\":1}\n".to_owned());
        }
        let object = |n| {
            format!(
                "<Contents><Key>in/{n}</Key><LastModified>2024-01-31T00:00:00.000Z</LastModified><ETag>\"x\"</ETag>\
                 <Size>8</Size></Contents>"
            )
        };
        let objects: String = (0..objects).map(object).collect();
        ("200 OK", "", format!("<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"))
    })
}

/// A stream that is not there.
fn kinesis() -> Service {
    Service::start(|_| {
        let body = "{\"__type\":\"ResourceNotFoundException\",\"message\":\"Stream x not found\"}";
        ("400 Bad Request", "content-type: application/x-amz-json-1.1\r\n", body.to_owned())
    })
}

/// Runs a script with nothing of this machine's own configuration.
fn run(script: &str, environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("app.sql"), script).expect("written");
    let profiles = "[profile other]\naws_access_key_id = OTHER\naws_secret_access_key = s\nregion = eu-west-1\n";
    std::fs::write(folder.path().join("config"), profiles).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinesql"));
    command.current_dir(folder.path()).args(["run", "app.sql", "--parallelism", "1"]).stdin(Stdio::null()).env_clear();
    command.envs([
        ("AWS_CONFIG_FILE", "config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "none"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "us-east-1"),
    ]);
    command.envs(environment.iter().copied()).output().expect("started")
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "ENVIRONMENT"), ("AWS_SECRET_ACCESS_KEY", "s")];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn to_kinesis(options: &str) -> String {
    format!(
        "CREATE SOURCE \"IN\" WITH (connector = 'generator', kind = 'ticks', rate = 0, rows = 1);
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'kinesis', stream = 'x', {options});"
    )
}

fn from_s3(options: &str) -> String {
    format!(
        "CREATE SOURCE \"IN\" (\"A\" INTEGER) WITH (connector = 's3', path = 's3://bucket1/in/'{options});
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'stdout', format = 'json');"
    )
}

#[test]
fn a_profile_that_an_option_names_wins_over_keys_in_the_environment() {
    let service = kinesis();
    let output = run(&to_kinesis(&format!("endpoint = '{}', profile = 'other'", service.endpoint)), &KEYS);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("kinesis:DescribeStreamSummary of stream \"x\": ResourceNotFoundException"),
        "{}",
        said(&output)
    );
    assert_eq!(service.keys(), ["OTHER"]);

    let service = kinesis();
    run(&to_kinesis(&format!("endpoint = '{}'", service.endpoint)), &[&KEYS[..], &[("AWS_PROFILE", "other")]].concat());
    assert_eq!(service.keys(), ["ENVIRONMENT"], "AWS_PROFILE yields to them, as for the AWS CLI");
}

#[test]
fn missing_credentials_are_said_in_one_line_by_sources_and_sinks() {
    let service = kinesis();
    let source = format!(
        "CREATE SOURCE \"IN\" (\"A\" INTEGER) WITH (connector = 'kinesis', stream = 'x', endpoint = '{0}');
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'stdout');",
        service.endpoint
    );
    let s3 = from_s3(&format!(", endpoint = '{}'", service.endpoint));
    for script in [to_kinesis(&format!("endpoint = '{}'", service.endpoint)), source, s3] {
        let output = run(&script, &[]);
        let expected = "no AWS credentials are found\nhint: Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of \
                        ~/.aws with the option \"profile\".\n";
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let output = run(&to_kinesis(&format!("endpoint = '{}', profile = 'nosuch'", service.endpoint)), &KEYS);
    assert!(said(&output).contains("no AWS credentials are found for profile \"nosuch\"\nhint: "), "{}", said(&output));
    assert_eq!(service.requests().len(), 0, "nothing is sent without a signature");
}

#[test]
fn s3_is_where_its_own_variable_says() {
    let (own, general) = (bucket(1), kinesis());
    let variables = [("AWS_ENDPOINT_URL_S3", own.endpoint.as_str()), ("AWS_ENDPOINT_URL", general.endpoint.as_str())];
    let output = run(&from_s3(""), &[&KEYS[..], &variables].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"A\":1}\n");
    assert_eq!((own.requests().len(), general.requests().len()), (2, 0));

    let given = bucket(1);
    let output = run(&from_s3(&format!(", endpoint = '{}'", given.endpoint)), &[&KEYS[..], &variables].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!((given.requests().len(), own.requests().len()), (2, 2), "an option goes before");
}

#[test]
fn a_role_is_assumed_once_and_not_at_the_endpoint_of_the_service() {
    let (s3, sts) = (
        bucket(20),
        Service::start(|_| {
            let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASSUMED</AccessKeyId>\
                        <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                        <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
            ("200 OK", "content-type: text/xml\r\n", body.to_owned())
        }),
    );
    let role = format!(", endpoint = '{}', role_arn = 'arn:aws:iam::000000000000:role/reader', external_id = 'e'", s3.endpoint);
    let output = run(&from_s3(&role), &[&KEYS[..], &[("AWS_ENDPOINT_URL_STS", sts.endpoint.as_str())]].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"A\":1}\n".repeat(20));
    let assumed = sts.requests();
    assert_eq!(assumed.len(), 1, "{assumed:#?}");
    assert!(assumed[0].body.contains("Action=AssumeRole") && assumed[0].body.contains("ExternalId=e"), "{assumed:#?}");
    assert_eq!(assumed[0].signed_with, "ENVIRONMENT");
    assert_eq!((s3.requests().len(), s3.keys()), (21, vec!["ASSUMED".to_owned()]));
}

#[test]
fn a_role_that_is_denied_is_said_by_sources_and_sinks() {
    let sts = Service::start(|_| {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/me is not \
                    authorized to perform: sts:AssumeRole</Message></Error><RequestId>1</RequestId></ErrorResponse>";
        ("403 Forbidden", "content-type: text/xml\r\n", body.to_owned())
    });
    let service = kinesis();
    let role = format!("endpoint = '{}', role_arn = 'arn:aws:iam::000000000000:role/reader'", service.endpoint);
    let source = format!(
        "CREATE SOURCE \"IN\" (\"A\" INTEGER) WITH (connector = 'kinesis', stream = 'x', {role});
         CREATE SINK \"OUT\" FROM \"IN\" WITH (connector = 'stdout');"
    );
    let to_s3 = to_kinesis(&role).replace("connector = 'kinesis', stream = 'x'", "connector = 's3', path = 's3://b/out/'");
    assert!(to_s3.contains("s3://b/out/"), "{to_s3}");
    for script in [source, to_kinesis(&role), from_s3(&format!(", {role}")), to_s3] {
        let output = run(&script, &[&KEYS[..], &[("AWS_ENDPOINT_URL_STS", sts.endpoint.as_str())]].concat());
        let expected = "sts:AssumeRole of role \"arn:aws:iam::000000000000:role/reader\": AccessDenied: User: arn:aws:iam::1:user/me is \
                        not authorized to perform: sts:AssumeRole\nhint: Allow the action sts:AssumeRole on the role for these \
                        credentials, name them in the role's trust policy, and check external_id if the policy asks for one.\n";
        assert!(said(&output).contains(expected), "{script}: {}", said(&output));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    }
    assert_eq!(service.requests().len(), 0);
}

/// Such as the page of a proxy: the client takes it for a listing without objects.
#[test]
fn what_answers_a_listing_with_a_page_is_no_empty_bucket() {
    let proxy = Service::start(|_| ("200 OK", "content-type: text/html\r\n", "<html><body>Welcome</body></html>".to_owned()));
    let output = run(&from_s3(&format!(", endpoint = '{}'", proxy.endpoint)), &KEYS);
    let expected = "s3:ListBucket of 's3://bucket1/in/': the answer is no listing of S3\nhint: Check the endpoint: something else answers there.\n";
    assert!(said(&output).contains(expected), "{}", said(&output));
    assert_eq!(output.status.code(), Some(2));
    // An empty bucket is one.
    let output = run(&from_s3(&format!(", endpoint = '{}'", bucket(0).endpoint)), &KEYS);
    assert!(output.status.success(), "{}", said(&output));
}
