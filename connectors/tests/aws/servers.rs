//! Starts servers that stand in for services, each once per test run, on free ports of the loopback interface.
//!
//! | Server | For |
//! | --- | --- |
//! | [`kinesis`] (kinesis-local) | Kinesis: polling, resharding, lag, iterators, enhanced fan-out |
//! | [`ministack`] | Firehose, Lambda, DynamoDB, S3, refusal of a second subscription |
//! | [`dynalite`] | DynamoDB: conditional writes |
//! | [`moto`] | S3 with strict checks, Firehose to HTTP endpoints, canned answers of Lambda |
//! | [`azurite`] | Azure Blob Storage |
//! | [`gcs`] (fake-gcs-server) | Google Cloud Storage, read only: it knows no multipart uploads |
//!
//! Tests share the servers: each uses streams, buckets and tables of its own names.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Time that a server may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running server.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// URL that answers 200 once the server is ready.
    pub health: String,
    /// Its standard input is a lifeline: the server ends when this process does.
    _process: Child,
}

impl Server {
    #[allow(clippy::disallowed_methods, reason = "another process starts in its own time")]
    /// `health` is a path that answers 200; empty: the server answers nobody whom it does not know.
    fn start(name: &str, mut command: Command, port: u16, health: &str) -> Self {
        let endpoint = format!("http://127.0.0.1:{port}");
        let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let started = Instant::now();
        let address = format!("127.0.0.1:{port}");
        let is_ready = || std::net::TcpStream::connect(&address).is_ok() && (health.is_empty() || answers(port, health));
        while !is_ready() {
            assert!(started.elapsed() < START_TIMEOUT, "{name} is not ready after {START_TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { health: format!("{endpoint}{health}"), endpoint, _process: process }
    }
}

/// kinesis-local. A second endpoint with TLS and HTTP/2 is at [`kinesis_tls`].
pub fn kinesis() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = installed()?;
        let (port, tls_port) = (free_port(), free_port());
        TLS_PORT.get_or_init(|| tls_port);
        let mut command = until_stdin_closes("node");
        command.arg("--require").arg(folder.join("loopback.js")).arg(folder.join("node_modules/kinesis-local/main.js"));
        for (name, value) in [("SHARD_LIMIT", "500"), ("LOG_LEVEL", "ERROR")] {
            command.env(name, value);
        }
        // Creation and the like take this long; AWS takes seconds.
        for name in ["CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT"] {
            command.env(format!("{name}_DURATION"), "50ms");
        }
        command.env("REGISTER_STREAM_CONSUMER_DURATION", "50ms");
        command.env("KINESIS_MOCK_PLAIN_PORT", port.to_string()).env("KINESIS_MOCK_TLS_PORT", tls_port.to_string());
        command.env("KINESIS_MOCK_CERT_PATH", folder.join("server.json"));
        Some(Server::start("kinesis-local", command, port, "/healthcheck"))
    });
    server.as_ref()
}

static TLS_PORT: OnceLock<u16> = OnceLock::new();

/// `https://localhost:PORT` of kinesis-local, and the certificate of its authority (for `AWS_CA_BUNDLE`).
#[allow(dead_code, reason = "for tests of enhanced fan-out")]
pub fn kinesis_tls() -> Option<(String, PathBuf)> {
    kinesis()?;
    Some((format!("https://localhost:{}", TLS_PORT.get()?), installed()?.join("ca.pem")))
}

/// ministack.
pub fn ministack() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = installed()?;
        let port = free_port();
        let mut command = until_stdin_closes(folder.join("ministack/bin/ministack"));
        command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string()).env("LOG_LEVEL", "ERROR");
        Some(Server::start("ministack", command, port, "/_ministack/health"))
    });
    server.as_ref()
}

/// dynalite.
pub fn dynalite() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = installed()?;
        let port = free_port();
        let mut command = until_stdin_closes("node");
        command.arg("--require").arg(folder.join("loopback.js")).arg(folder.join("node_modules/dynalite/cli.js"));
        command.args(["--port", &port.to_string(), "--createTableMs", "50"]);
        Some(Server::start("dynalite", command, port, "/"))
    });
    server.as_ref()
}

/// moto.
pub fn moto() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = installed()?;
        let port = free_port();
        let mut command = until_stdin_closes(folder.join("moto/bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Some(Server::start("moto", command, port, "/moto-api/"))
    });
    server.as_ref()
}

/// azurite. The connector finds it through the environment.
pub fn azurite() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = installed()?;
        let port = cloud_ports()[0].release();
        let mut command = until_stdin_closes("node");
        command.arg(folder.join("node_modules/azurite/dist/src/blob/main.js"));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        // Unless it is told otherwise it refuses clients whose version of the API is newer than its own.
        command.args(["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        Some(Server::start("azurite", command, port, ""))
    });
    server.as_ref()
}

/// fake-gcs-server. The connector finds it through the environment.
pub fn gcs() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let folder = installed()?;
        let port = cloud_ports()[1].release();
        let mut command = until_stdin_closes(folder.join("fake-gcs-server"));
        let host = format!("127.0.0.1:{port}");
        command.args(["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()]);
        command.args(["-public-host", &host, "-external-url", &format!("http://{host}"), "-log-level", "error"]);
        Some(Server::start("fake-gcs-server", command, port, "/storage/v1/b?project=test"))
    });
    server.as_ref()
}

/// Where azurite and fake-gcs-server are: known before they start, as the environment is read by whoever comes first.
fn cloud_ports() -> &'static [HeldPort; 2] {
    static PORTS: OnceLock<[HeldPort; 2]> = OnceLock::new();
    PORTS.get_or_init(|| [HeldPort::new(), HeldPort::new()])
}

/// A port that nobody else gets until the server for it starts.
struct HeldPort {
    number: u16,
    listener: Mutex<Option<TcpListener>>,
}

impl HeldPort {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self { number: listener.local_addr().expect("an address").port(), listener: Mutex::new(Some(listener)) }
    }

    fn release(&self) -> u16 {
        self.listener.lock().expect("not poisoned").take();
        self.number
    }
}

/// The folder of the servers; None, with a message, on a machine without Node or Python that is not CI.
fn installed() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folder = std::env::var_os("KINESQL_TEST_SERVERS").map_or_else(|| workspace.join(".testservers"), PathBuf::from);
        let status = Command::new(workspace.join("scripts/test-servers")).arg(&folder).status();
        if status.is_ok_and(|status| status.success()) {
            use_test_credentials();
            return Some(folder);
        }
        assert!(std::env::var_os("CI").is_none(), "scripts/test-servers failed");
        eprintln!("skipped: the test servers cannot be installed (they need Node 20 and Python 3.11)");
        None
    });
    folder.clone()
}

/// The connectors find credentials as they do for a user: here in the environment of this process.
#[allow(unsafe_code, reason = "before the first client is made; nothing else reads the environment meanwhile")]
fn use_test_credentials() {
    let [azurite, gcs] = cloud_ports().each_ref().map(|port| port.number);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AZURE_STORAGE_USE_EMULATOR", "true"),
        ("AZURITE_BLOB_STORAGE_URL", &format!("http://127.0.0.1:{azurite}")),
        ("GOOGLE_BASE_URL", &format!("http://127.0.0.1:{gcs}")),
        ("GOOGLE_SKIP_SIGNATURE", "true"),
    ] {
        // SAFETY: the servers are installed once, before any test goes on.
        unsafe { std::env::set_var(name, value) };
    }
}

/// A command that ends when the standard input of its shell does, however this process dies.
fn until_stdin_closes(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("sh");
    // The server's own input is empty; `cat` waits for the end of this process.
    command.args(["-c", "\"$@\" < /dev/null & server=$!; cat > /dev/null; kill $server", "sh"]).arg(program);
    // Any credentials will do, and none must be looked for.
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn answers(port: u16, path: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 12];
    stream.write_all(request.as_bytes()).is_ok() && stream.read_exact(&mut answer).is_ok() && answer.ends_with(b"200")
}
