use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinesql_engine::connector::{OptionEntry, Read, Records};
use kinesql_engine::runtime::clock::ManualClock;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn source(options: &[(&str, &str)]) -> Result<FirehoseSource> {
    let mut entries = vec![OptionEntry::new("listen", "127.0.0.1:0")];
    entries.extend(options.iter().map(|(key, value)| OptionEntry::new(*key, *value)));
    let options = Options::check("connector 'firehose'", &OPTIONS.iter().collect::<Vec<_>>(), &entries, None).expect("valid");
    FirehoseSource::try_new(&SourceDefinition { name: "s".to_owned(), schema: None, format: FormatSpec::Json }, &options)
}

/// An open source and what is sent to it.
struct Stream {
    source: FirehoseSource,
    clock: Arc<ManualClock>,
    reader: Box<dyn SplitReader>,
    url: String,
    client: reqwest::Client,
}

impl Stream {
    async fn open(options: &[(&str, &str)], checkpointed: bool, offset: Option<&Offset>) -> Self {
        let clock = ManualClock::starting_at(1_000);
        let context = SourceContext { checkpointed, ..SourceContext::new(clock.clone(), FormatSpec::Json) };
        let source = source(options).expect("a source");
        let reader = source.open(SPLIT, offset, &context).await.expect("listening");
        let (_, address) = source.deliveries().expect("open");
        Self { source, clock, reader, url: format!("http://{address}/"), client: reqwest::Client::new() }
    }

    /// A request with the headers of Firehose; its answer comes when it is awaited.
    fn send(&self, id: &str, records: &[&str]) -> tokio::task::JoinHandle<(u16, Value)> {
        let records: Vec<_> = records.iter().map(|record| json!({ "data": STANDARD.encode(record) })).collect();
        let body = json!({ "requestId": id, "timestamp": 777, "records": records }).to_string();
        self.request(id, body.into_bytes(), &[])
    }

    fn request(&self, id: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> tokio::task::JoinHandle<(u16, Value)> {
        let mut request = self.client.post(&self.url).body(body);
        request = request.header("X-Amz-Firehose-Protocol-Version", "1.0").header("X-Amz-Firehose-Request-Id", id);
        request = request.header("X-Amz-Firehose-Source-Arn", "arn:aws:firehose:us-east-1:123456789012:deliverystream/s");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        tokio::spawn(async move {
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.headers()["content-type"], "application/json");
            let status = answer.status().as_u16();
            (status, serde_json::from_str(&answer.text().await.expect("text")).expect("JSON"))
        })
    }

    fn metric(&self, name: &str) -> f64 {
        self.source.metrics().iter().find(|metric| metric.name == name).expect("known").value
    }

    async fn next(&mut self) -> (String, Records) {
        match self.reader.next().await.expect("reading") {
            Read::Records(records) => (String::from_utf8_lossy(&records.bytes).into_owned(), records),
            other => panic!("{other:?}"),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn without_checkpoints_a_delivery_is_acknowledged_when_its_rows_are_on_their_way_to_the_sinks() {
    let mut stream = Stream::open(&[], false, None).await;
    let answer = stream.send("r1", &["{\"n\":1}", "{\"n\":2}\n", ""]);
    let (text, records) = stream.next().await;
    assert_eq!((text.as_str(), records.arrival_time), ("{\"n\":1}{\"n\":2}\n", Some(777)));
    assert_eq!(records.envelopes.expect("kept apart").ends, [7, 15, 15]);
    // The engine brings the time of arrival to the rows.
    let metadata = stream.source.metadata();
    assert_eq!(metadata.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["APPROXIMATE_ARRIVAL_TIME"]);
    // Reading on acknowledges nothing: the engine may drop what it read ahead when it stops.
    let second = stream.send("r2", &["{\"n\":3}"]);
    assert_eq!(stream.next().await.0, "{\"n\":3}");
    assert_eq!(stream.metric("requests_unacknowledged"), 2.0);
    stream.source.taken(SPLIT, &records.offset);
    assert_eq!(answer.await.expect("answered"), (200, json!({ "requestId": "r1", "timestamp": 1_000 })));
    stream.reader.close().await.expect("closed");
    let (status, body) = second.await.expect("answered");
    assert_eq!((status, body["errorMessage"].as_str()), (503, Some("the job stops: send it again")));
}

#[tokio::test]
async fn with_checkpoints_a_delivery_is_acknowledged_when_one_covers_it() {
    let mut stream = Stream::open(&[], true, None).await;
    let (one, two) = (stream.send("r1", &["{\"n\":1}"]), stream.send("r2", &["{\"n\":2}"]));
    let first = stream.next().await.1.offset;
    let second = stream.next().await.1.offset;
    stream.source.checkpointed(SPLIT, &first);
    // Which of the two came first is the network's affair.
    assert_eq!(stream.metric("requests_unacknowledged"), 1.0);
    stream.source.checkpointed(SPLIT, &second);
    assert_eq!((one.await.expect("answered").0, two.await.expect("answered").0), (200, 200));
    assert_eq!(stream.metric("requests_unacknowledged"), 0.0);
}

#[tokio::test]
async fn a_repeated_delivery_is_recognised_also_after_a_restart() {
    let mut stream = Stream::open(&[], true, None).await;
    let first = stream.send("r1", &["{\"n\":1}"]);
    let offset = stream.next().await.1.offset;
    // Firehose gave up waiting; the same delivery comes again while the first is not acknowledged.
    let again = stream.send("r1", &["{\"n\":1}"]);
    let other = stream.send("r2", &["{\"n\":2}"]);
    assert_eq!(stream.next().await.0, "{\"n\":2}", "its records are not read twice");
    stream.source.checkpointed(SPLIT, &offset);
    assert_eq!((first.await.expect("answered").0, again.await.expect("answered").0), (200, 200));
    drop(other);
    drop(stream);

    let mut restarted = Stream::open(&[], true, Some(&offset)).await;
    assert_eq!(restarted.send("r1", &["{\"n\":1}"]).await.expect("answered").0, 200, "it is known from the offset");
    let second = restarted.send("r2", &["{\"n\":2}"]);
    let (text, records) = restarted.next().await;
    assert_eq!(text, "{\"n\":2}", "it was in no checkpoint");
    restarted.source.checkpointed(SPLIT, &records.offset);
    assert_eq!(second.await.expect("answered").0, 200);
}

#[tokio::test]
async fn what_cannot_be_made_safe_in_time_is_sent_again() {
    let mut stream = Stream::open(&[("ack_timeout", "100s")], true, None).await;
    let answer = stream.send("r1", &["{\"n\":1}"]);
    let offset = stream.next().await.1.offset;
    stream.clock.set(101_000);
    let (status, body) = answer.await.expect("answered");
    assert_eq!((status, body["requestId"].as_str()), (503, Some("r1")));
    assert!(body["errorMessage"].as_str().expect("said").contains("send them again"), "{body}");
    stream.source.checkpointed(SPLIT, &offset);
    assert_eq!(stream.send("r1", &["{\"n\":1}"]).await.expect("answered").0, 200);
}

#[tokio::test]
async fn deliveries_that_the_engine_does_not_take_wait_before_they_are_read() {
    let mut stream = Stream::open(&[], false, None).await;
    let answers: Vec<_> = (0..40).map(|n| stream.send(&format!("r{n}"), &[&format!("{{\"n\":{n}}}")])).collect();
    // Four in the queue, and the bodies that wait for it.
    let most = 4.0 + BODIES as f64;
    while stream.metric("requests") < most {
        tokio::task::yield_now().await;
    }
    // A request that comes now is not looked at.
    let late = stream.send("late", &["{}"]);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stream.metric("requests"), most);
    for _ in 0..41 {
        let offset = stream.next().await.1.offset;
        stream.source.taken(SPLIT, &offset);
    }
    for answer in answers.into_iter().chain([late]) {
        assert_eq!(answer.await.expect("answered").0, 200);
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_with_the_reason() {
    let mut stream =
        Stream::open(&[("access_key", "secret"), ("max_request_bytes", "2kb"), ("max_record_bytes", "50")], false, None).await;
    let key = ("X-Amz-Firehose-Access-Key", "secret");
    let delivery = |record: &str| {
        json!({ "requestId": "r", "timestamp": 1, "records": [{ "data": STANDARD.encode(record) }] }).to_string().into_bytes()
    };
    let small = delivery("{}");
    let bomb = gzip(&vec![b' '; 1 << 20]);
    for (body, headers, status, why) in [
        (small.clone(), vec![], 401, "the access key is missing or wrong"),
        (small.clone(), vec![("X-Amz-Firehose-Access-Key", "secreT")], 401, "the access key is missing or wrong"),
        (small.clone(), vec![("X-Amz-Firehose-Access-Key", "secrets")], 401, "the access key is missing or wrong"),
        (b"{".to_vec(), vec![key], 400, "the body is no delivery"),
        (b"{\"requestId\":\"r\",\"records\":[{\"data\":\"?\"}]}".to_vec(), vec![key], 400, "record 0 is no base64"),
        (b"{\"requestId\":\"q\",\"records\":[]}".to_vec(), vec![key], 400, "the request ids of header and body differ"),
        (b"{\"requestId\":\"\",\"records\":[]}".to_vec(), vec![key], 400, "the request id is empty"),
        (small.clone(), vec![key, ("Content-Encoding", "gzip")], 400, "the body is no valid gzip"),
        (small.clone(), vec![key, ("Content-Encoding", "br")], 400, "content encoding 'br' is not supported"),
        (vec![b' '; 3_000], vec![key], 413, "the request has more than 2048 bytes"),
        (bomb, vec![key, ("Content-Encoding", "gzip")], 413, "the request has more than 2048 bytes"),
    ] {
        let (found, answer) = stream.request("r", body, &headers).await.expect("answered");
        assert_eq!(
            (found, answer["requestId"].as_str(), answer["timestamp"].as_i64()),
            (status, Some("r"), Some(1_000)),
            "{why}"
        );
        assert!(answer["errorMessage"].as_str().expect("said").starts_with(why), "{answer}");
    }
    let refused = stream.metric("requests_refused");
    let answer = stream.client.head(&stream.url).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), stream.metric("requests_refused")), (200, refused), "a look is no delivery");
    let answer = stream.client.get(&stream.url).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 405);
    let answer = stream.client.post(format!("{}other", stream.url)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 404);
    // After all of that, a right one; a record that is too large does not keep the others.
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(60));
    let records = [large.as_str(), "{\"n\":1}"].map(|record| json!({ "data": STANDARD.encode(record) }));
    let body = json!({ "requestId": "r", "timestamp": 1, "records": records }).to_string();
    let answer = stream.request("r", gzip(body.as_bytes()), &[key, ("Content-Encoding", "gzip")]);
    let (text, records) = stream.next().await;
    assert_eq!((text.as_str(), records.rejected.len()), ("{\"n\":1}", 1));
    stream.source.taken(SPLIT, &records.offset);
    assert_eq!(answer.await.expect("answered").0, 200);
}

#[tokio::test]
async fn a_spool_acknowledges_what_is_on_disk_and_is_read_after_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("spool").display().to_string();
    let options = [("spool", path.as_str())];
    let stream = Stream::open(&options, true, None).await;
    for id in ["r1", "r2", "r3"] {
        assert_eq!(stream.send(id, &[&format!("{{\"id\":\"{id}\"}}")]).await.expect("answered").0, 200, "nobody has read it");
    }
    assert_eq!(stream.send("r2", &["{}"]).await.expect("answered").0, 200);
    drop(stream);
    std::fs::write(Path::new(&path).join("00000000000000000009.delivery.inprogress"), "half").expect("a file");

    let mut restarted = Stream::open(&options, true, None).await;
    assert_eq!(restarted.send("r1", &["{}"]).await.expect("answered").0, 200, "known from the spool");
    assert_eq!(restarted.next().await.0, "{\"id\":\"r1\"}");
    let offset = restarted.next().await.1.offset;
    restarted.source.checkpointed(SPLIT, &offset);
    assert_eq!(restarted.send("r4", &["{\"id\":\"r4\"}"]).await.expect("answered").0, 200);
    drop(restarted);

    let mut again = Stream::open(&options, true, Some(&offset)).await;
    assert_eq!((again.next().await.0, again.next().await.0), ("{\"id\":\"r3\"}".to_owned(), "{\"id\":\"r4\"}".to_owned()));
    assert_eq!(again.send("r2", &["{}"]).await.expect("answered").0, 200, "known from the offset");
}

#[tokio::test]
async fn a_full_spool_refuses_until_something_is_processed() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().display().to_string();
    let mut stream = Stream::open(&[("spool", &path), ("spool_bytes", "150")], false, None).await;
    let record = format!("{{\"text\":\"{}\"}}", "x".repeat(80));
    assert_eq!(stream.send("r1", &[&record]).await.expect("answered").0, 200);
    let (status, body) = stream.send("r2", &[&record]).await.expect("answered");
    assert!(status == 503 && body["errorMessage"].as_str().expect("said").ends_with("is full"), "{body}");
    let offset = stream.next().await.1.offset;
    assert!(stream.metric("spool_bytes") > 0.0, "it is only read");
    stream.source.taken(SPLIT, &offset);
    assert_eq!(stream.metric("spool_bytes"), 0.0);
    assert_eq!(stream.send("r2", &[&record]).await.expect("answered").0, 200);
}

#[tokio::test]
async fn https_with_a_certificate() {
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, ca_key, leaf, leaf_key) = (file("ca.pem"), file("ca.key"), file("leaf.pem"), file("leaf.key"));
    std::fs::write(file("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        .expect("a file");
    let commands = [
        format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout {ca_key} -out {ca}"),
        format!("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {leaf_key} -out {}", file("csr")),
        format!(
            "x509 -req -in {} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {} -out {leaf}",
            file("csr"),
            file("ext")
        ),
    ];
    for command in commands {
        match std::process::Command::new("openssl").args(command.split(' ')).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                eprintln!("skipped: openssl cannot be run: {error}");
                return;
            }
        }
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut stream = Stream::open(&[("certificate", &leaf), ("key", &leaf_key)], false, None).await;
    let pem = std::fs::read(&ca).expect("a file");
    let certificate = reqwest::Certificate::from_pem(&pem).expect("a certificate");
    stream.client = reqwest::Client::builder().add_root_certificate(certificate).build().expect("a client");
    stream.url = stream.url.replace("http://127.0.0.1", "https://localhost");
    let answer = stream.send("r1", &["{\"n\":1}"]);
    let (text, records) = stream.next().await;
    assert_eq!(text, "{\"n\":1}");
    stream.source.taken(SPLIT, &records.offset);
    assert_eq!(answer.await.expect("answered").0, 200);
    let wrong = source(&[("certificate", &ca_key), ("key", &leaf_key)]).expect("a source");
    let context = SourceContext::new(ManualClock::starting_at(0), FormatSpec::Json);
    let error = wrong.open(SPLIT, None, &context).await.map(drop).expect_err("a key is no certificate");
    assert!(error.message().contains("ca.key"), "{error}");
}

#[tokio::test]
async fn wrong_options_are_refused() {
    let refuse = |options: &[(&str, &str)]| source(options).expect_err("refused").to_string();
    assert!(refuse(&[("certificate", "a.pem")]).contains("go together"));
    assert!(refuse(&[("access_key", "")]).contains("cannot be empty"));
    assert!(refuse(&[("path", "ticks")]).contains("Write the path of the URL, such as /ticks."));
    assert!(refuse(&[("max_record_bytes", "0")]).contains("cannot be 0"));
    let taken = Stream::open(&[], false, None).await;
    let address = taken.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let entries = [OptionEntry::new("listen", address)];
    let options = Options::check("firehose", &OPTIONS.iter().collect::<Vec<_>>(), &entries, None).expect("valid");
    let definition = SourceDefinition { name: "s".to_owned(), schema: None, format: FormatSpec::Json };
    let second = FirehoseSource::try_new(&definition, &options).expect("a source");
    let context = SourceContext::new(ManualClock::starting_at(0), FormatSpec::Json);
    let error = second.open(SPLIT, None, &context).await.map(drop).expect_err("taken");
    assert!(error.message().starts_with("cannot listen on '127.0.0.1:"), "{error}");
    assert!(second.sample(10, &context).await.expect_err("nothing yet").message().contains("must be declared"));
}
