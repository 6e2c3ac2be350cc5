//! The `http` sink over TLS, with certificates of an authority that only `ca_file` names.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::job::{rows, run, script};
use super::servers;

/// Connections after their handshake.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("a connection");
            // A client that does not trust the certificate hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn receive(State(records): State<Arc<Mutex<usize>>>, headers: HeaderMap, body: String) -> String {
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    *records.lock().expect("not poisoned") += body["records"].as_array().expect("records").len();
    let id = headers["x-amz-firehose-request-id"].to_str().expect("text");
    serde_json::json!({ "requestId": id, "timestamp": 1 }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked() {
    let Some((_, ca)) = servers::kinesis_tls() else { return };
    let folder = ca.parent().expect("a folder");
    let certificates = vec![CertificateDer::from_pem_file(folder.join("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth().with_single_cert(certificates, key).expect("they belong together");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let records = Arc::new(Mutex::new(0));
    let app = Router::new().route("/in", post(receive)).with_state(Arc::clone(&records));
    let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let server = tokio::spawn(async move { axum::serve(tls, app).await.expect("served") });

    let file = rows(1_000, 10);
    let sink = format!("connector = 'http', url = 'https://localhost:{port}/in', linger = '0ms'");
    let error = run(&script(&file, &sink)).await.expect_err("an unknown authority");
    assert!(error.kind() == kinesql_engine::ErrorKind::Config && error.message().contains("certificate"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ca_file")), "{error}");
    assert_eq!(*records.lock().expect("not poisoned"), 0);

    run(&script(&file, &format!("{sink}, ca_file = '{}'", ca.display()))).await.expect("the job ends");
    assert_eq!(*records.lock().expect("not poisoned"), 1_000);
    server.abort();
}
