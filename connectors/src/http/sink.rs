//! The `http` sink: rows to an HTTP endpoint, by the protocol that Firehose delivers with. Splunk, Datadog, New Relic,
//! OpenSearch ingestion and many others receive it, and so does the `firehose` source.
//!
//! Request:   `POST` with the headers and the body of `protocol`; `X-Amz-Firehose-Request-Id` stays the same when a request is
//!            sent again, so that a receiver can tell.
//! Order:     that of the stream with `max_in_flight = 1`; none otherwise.
//! Delivery:  at least once; a request is taken as a whole or not at all.
//! Retries:   everything but an answer 200 that names the request, for ever unless `retry.max_elapsed` is given. `Retry-After` is
//!            kept to. A request that is too large (413) is halved; a single row that is goes to `error_stream`.
//! Start:     a job that does not go on from a checkpoint asks with `HEAD` whether anybody is there, whatever is answered. A
//!            receiver that comes up within ten seconds is waited for; one that goes away later is waited for as for any answer.
//! Errors:    `Config` for answers that say that the key is wrong (401, 403) or that there is no endpoint (3xx, 404, 405, 410),
//!            and at the start for a certificate that is not trusted; `Unavailable` at the start if nobody is there.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use kinesql_engine::connector::{
    ConnectorMetric, OptionKind, OptionSpec, Options, Sink, SinkContext, SinkDefinition, SinkFactory, SinkState, SinkWriter,
    Trouble,
};
use kinesql_engine::runtime::clock::Clock;
use kinesql_engine::{Error, Result};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};

use super::protocol::{self, Answer};
use crate::causes::{causes, one_line};
use crate::delivery::{
    Backoff, Delivery, DeliveryMetrics, DeliveryOptions, DeliveryWriter, Ids, Outcome, Parcel, Rows, Transport, options,
};
use crate::secret;

/// Bytes of a body around its records.
const ENVELOPE_BYTES: usize = 128;

/// Bytes of a record around its data: `{"data":""},`.
const RECORD_ENVELOPE_BYTES: usize = 12;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection that is not there after this long is no connection; [`Outcome::Retry`] tries another one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a job that starts waits for somebody to be there.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Waits between two looks.
const START_DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Who is there, but does not answer `HEAD` for this long, is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);

const OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "url", kind: OptionKind::Text, required: true, default: None, help: "The endpoint, https:// or http://." },
    OptionSpec {
        name: "access_key",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: secret::help!("What the endpoint knows the sender by, such as a token of Splunk or an API key of Datadog;"),
    },
    OptionSpec {
        name: "attributes",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "Attributes of all records: 'name=value, other=value'.",
    },
    OptionSpec {
        name: "source_arn",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "The ARN of the delivery stream that requests name; a made-up one that ends in the sink's name unless given.",
    },
    OptionSpec {
        name: "compression",
        kind: OptionKind::OneOf(&["none", "gzip"]),
        required: false,
        default: Some("none"),
        help: "How bodies are compressed.",
    },
    OptionSpec {
        name: "ca_file",
        kind: OptionKind::Text,
        required: false,
        default: None,
        help: "Certificates in PEM to trust besides the system's.",
    },
    options::NEWLINE,
    options::batch_records(100_000, "500", "Most records of a request."),
    options::batch_bytes("1mb", "Most bytes of a body before compression; the protocol has at most 64mb."),
    options::linger("1s"),
    options::max_in_flight("4"),
    options::BUFFER_BYTES,
    options::request_timeout("3min"),
    options::RETRY_MIN_DELAY,
    options::RETRY_MAX_DELAY,
    options::RETRY_MAX_ELAPSED,
];

/// Makes `http` sinks.
#[derive(Debug)]
pub struct HttpSinkFactory;

impl SinkFactory for HttpSinkFactory {
    fn name(&self) -> &'static str {
        "http"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn formats(&self) -> &'static [&'static str] {
        &["json", "csv", "raw"]
    }

    fn create(&self, definition: &SinkDefinition, options: &Options) -> Result<Arc<dyn Sink>> {
        let url = address(options.text("url").unwrap_or_default())?;
        if url.scheme() == "http" && options.text("ca_file").is_some() {
            return Err(Error::config("option \"ca_file\" has no meaning for an address of http://")
                .with_hint("Write https:// in option \"url\", or leave the certificates out."));
        }
        let mut delivery = DeliveryOptions::try_new(options, protocol::BODY_BYTES_MAX)?;
        if delivery.batch_bytes < 1_024 {
            return Err(Error::config(format!("option \"batch.bytes\" cannot be {} bytes", delivery.batch_bytes))
                .with_hint("A body has 1kb to 64mb."));
        }
        delivery.batch_bytes -= ENVELOPE_BYTES;
        Ok(Arc::new(HttpSink {
            headers: headers(&definition.name, options)?,
            url,
            gzip: options.text("compression") == Some("gzip"),
            ca_file: options.text("ca_file").map(PathBuf::from),
            delivery,
            rows: Rows::try_new("http", definition)?,
            metrics: Arc::default(),
        }))
    }
}

/// Reads option `url`.
fn address(text: &str) -> Result<Url> {
    // A key may stand in the query, a password before the host.
    let shown = text.split('?').next().unwrap_or(text);
    let shown = if shown.contains('@') { "…" } else { shown };
    let wrong = |hint| Error::config(format!("option \"url\" cannot be '{shown}'")).with_hint(hint);
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| wrong("Give an address such as https://example.com/x."))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated in the message.
        return Err(Error::config("option \"url\" cannot hold a name or a password")
            .with_hint("Receivers of this protocol know senders by option \"access_key\"."));
    }
    if url.fragment().is_some() {
        return Err(wrong("What stands behind a '#' is never sent: leave it out, or write %23."));
    }
    if url.port() == Some(0) {
        return Err(wrong("There is no port 0."));
    }
    Ok(url)
}

/// The headers that all requests of a sink have.
fn headers(sink: &str, options: &Options) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, option: &str, value: &str| -> Result<()> {
        let value = HeaderValue::from_str(value).ok().filter(|_| value.is_ascii()).ok_or_else(|| {
            Error::config(format!("option \"{option}\" cannot be sent in a header")).with_hint("Use printable ASCII characters.")
        })?;
        headers.insert(HeaderName::from_static(name), value);
        Ok(())
    };
    add(protocol::PROTOCOL_VERSION.0, "", protocol::PROTOCOL_VERSION.1)?;
    match options.text("source_arn") {
        Some(arn) => add(protocol::SOURCE_ARN, "source_arn", arn)?,
        None => {
            let name: String =
                sink.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).collect();
            add(protocol::SOURCE_ARN, "", &format!("arn:aws:firehose:us-east-1:000000000000:deliverystream/{name}"))?;
        }
    }
    if let Some(attributes) = options.text("attributes") {
        add(protocol::COMMON_ATTRIBUTES, "attributes", &protocol::common_attributes(attributes)?)?;
    }
    if let Some(key) = options.text("access_key") {
        let key = secret::secret("access_key", key)?;
        if key.len() > protocol::ACCESS_KEY_BYTES_MAX {
            return Err(Error::config(format!("option \"access_key\" has {} bytes", key.len()))
                .with_hint("The protocol has at most 4,096."));
        }
        add(protocol::ACCESS_KEY, "access_key", &key)?;
    }
    if let Some(key) = headers.get_mut(protocol::ACCESS_KEY) {
        // Kept out of debug output.
        key.set_sensitive(true);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

/// A bound `http` sink.
#[derive(Debug)]
struct HttpSink {
    url: Url,
    headers: HeaderMap,
    gzip: bool,
    ca_file: Option<PathBuf>,
    delivery: DeliveryOptions,
    rows: Rows,
    metrics: Arc<DeliveryMetrics>,
}

#[async_trait]
impl Sink for HttpSink {
    async fn open(&self, state: Option<&SinkState>, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let options = self.delivery.clone();
        let mut shown = self.url.clone();
        // A key may stand in the query.
        shown.set_query(None);
        let transport = Post {
            client: client(self.ca_file.as_ref())?,
            subject: format!("POST of {shown}"),
            url: self.url.clone(),
            headers: self.headers.clone(),
            gzip: self.gzip,
            clock: Arc::clone(&context.clock),
            ids: Ids::new(&self.rows.sink, context.clock.now()),
        };
        if state.is_none() {
            let patience = options.retry_max_elapsed.unwrap_or(START_PATIENCE).min(START_PATIENCE);
            transport.look(patience).await?;
        }
        let record_bytes = (options.batch_bytes - RECORD_ENVELOPE_BYTES) / 4 * 3;
        let cost = |_: &str, data: usize| data.div_ceil(3) * 4 + RECORD_ENVELOPE_BYTES;
        let delivery = Delivery::plain(options, record_bytes, cost, transport, &self.metrics);
        Ok(Box::new(DeliveryWriter::start(&self.rows, delivery, context)?))
    }

    fn metrics(&self) -> Vec<ConnectorMetric> {
        self.metrics.list()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.metrics.trouble()
    }
}

/// A client with rustls on ring, that follows no redirect: a key would go with it.
fn client(ca_file: Option<&PathBuf>) -> Result<Client> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // It fails if the program has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("kinesql/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let unusable = || format!("option \"ca_file\": the certificates '{}' cannot be used", path.display());
        let pem = std::fs::read(path).map_err(|error| Error::config(unusable()).with_cause(error))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| Error::config(unusable()).with_cause(error))?;
        if certificates.is_empty() {
            return Err(Error::config(unusable()).with_hint("It must hold certificates in PEM: '-----BEGIN CERTIFICATE-----'."));
        }
        builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    builder.build().map_err(|error| Error::config("an HTTPS client cannot be made").with_cause(error))
}

/// Makes the requests.
#[derive(Debug)]
struct Post {
    client: Client,
    url: Url,
    subject: String,
    headers: HeaderMap,
    gzip: bool,
    clock: Arc<dyn Clock>,
    ids: Ids,
}

impl Post {
    fn request(&self, id: &str, parcel: &Parcel) -> Result<reqwest::RequestBuilder> {
        let body = protocol::body(id, self.clock.now(), parcel.records.iter().map(|record| record.data.as_ref()))?;
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).header(protocol::REQUEST_ID, id);
        Ok(if self.gzip { request.header(CONTENT_ENCODING, "gzip").body(protocol::gzip(&body)?) } else { request.body(body) })
    }

    /// Whether anybody is there, and trusted. Nothing is sent but the address, and any answer will do.
    async fn look(&self, patience: Duration) -> Result<()> {
        let give_up_at = self.clock.now().saturating_add(patience.as_millis() as i64);
        let mut backoff = Backoff::new(START_DELAYS.0, START_DELAYS.1, self.ids.seed());
        for attempt in 1.. {
            let error = tokio::select! {
                answer = self.client.head(self.url.clone()).send() => match answer {
                    // What breaks off later is somebody who is there.
                    Err(error) if error.is_connect() => error.without_url(),
                    _ => return Ok(()),
                },
                () = self.clock.sleep(CONNECT_TIMEOUT + HEAD_TIMEOUT) => return Ok(()),
            };
            if is_about_certificate(&error) {
                return Err(Error::config(self.unavailable(&causes(&error)).message()).with_hint(
                    "Give the certificates of its authority as option \"ca_file\", or the name that its certificate has in \"url\".",
                ));
            }
            if self.clock.now() >= give_up_at {
                return Err(self.unavailable(&causes(&error)).with_hint(
                    "Check option \"url\", or start the receiver first; later the job waits for a receiver that goes away.",
                ));
            }
            self.clock.sleep(backoff.after(attempt)).await;
        }
        Ok(())
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::unavailable(format!("{}: {}", self.subject, one_line(what)))
    }
}

/// True if a connection failed because the other side's certificate is not good: it will not be better the next time.
fn is_about_certificate(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // The source of such an error is that of the one within it.
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = within.map(|error| error as _).or_else(|| error.source());
    }
    false
}

#[async_trait]
impl Transport for Post {
    async fn send(&self, parcel: &Parcel) -> Outcome {
        let id = self.ids.id(parcel.id);
        let request = match self.request(&id, parcel) {
            Ok(request) => request,
            Err(error) => return Outcome::Fatal(error),
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Outcome::unanswered(self.unavailable(&causes(&error.without_url()))),
        };
        let status = response.status();
        let after = retry_after(response.headers());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Outcome::again(self.unavailable("the answer is longer than 1 MB")),
                Ok(None) => break,
                Err(error) => return Outcome::again(self.unavailable(&causes(&error.without_url()))),
            }
        }
        let answer = Answer::of(&body);
        if status == StatusCode::OK {
            return match answer.objection(&id) {
                None => Outcome::Accepted,
                Some(objection) => Outcome::again(self.unavailable(&objection)),
            };
        }
        let said = answer.error_message.map(|message| format!(": {message}")).unwrap_or_default();
        let error = self.unavailable(&format!("{status}{said}"));
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge(error),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Fatal(
                Error::config(error.message()).with_hint("Check option \"access_key\": the endpoint does not know it."),
            ),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => Outcome::Fatal(
                Error::config(error.message()).with_hint("Check option \"url\": nothing receives deliveries there."),
            ),
            status if status.is_redirection() => {
                Outcome::Fatal(Error::config(error.message()).with_hint("Check option \"url\": redirects are not followed."))
            }
            _ => Outcome::Retry { error, throttled: status == StatusCode::TOO_MANY_REQUESTS, unanswered: false, after },
        }
    }

    /// By their ids.
    fn knows_requests(&self) -> bool {
        true
    }
}

/// Seconds that an endpoint asks to wait; dates, which are rare, are not kept to.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
