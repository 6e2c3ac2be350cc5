//! The `http` sink of one job delivers to the `firehose` source of another, over a network that loses answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use kinesql_connectors::register_all;
use kinesql_engine::{CheckpointOptions, Engine, ErrorKind, Job};

use super::job::{rows, run, script, start};
use super::servers;

/// What stands between the two.
struct Network {
    receiver: String,
    client: reqwest::Client,
    requests: AtomicUsize,
}

/// Passes a request on; of every third the answer is lost.
async fn pass_on(State(network): State<Arc<Network>>, headers: HeaderMap, body: Bytes) -> Response {
    let number = network.requests.fetch_add(1, Ordering::SeqCst);
    let mut request = network.client.post(&network.receiver).body(body);
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-") || *name == "content-encoding") {
        request = request.header(name, value);
    }
    let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = answer.status();
    match answer.bytes().await {
        Ok(body) if !number.is_multiple_of(3) => (status, body).into_response(),
        _ => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

/// A job with checkpoints that writes what it receives to a file.
async fn receiver(port: u16, folder: &Path) -> Job {
    let checkpoints = CheckpointOptions::new(folder.join("checkpoints"));
    let engine = Engine::builder().checkpoints(checkpoints).connectors(register_all).build().expect("an engine");
    let sql = format!(
        "CREATE SOURCE \"IN\" (\"ID\" INTEGER, \"NAME\" VARCHAR(16))
             WITH (connector = 'firehose', listen = '127.0.0.1:{port}', path = '/in', access_key = 'right');
         CREATE SINK \"S\" FROM \"IN\" WITH (connector = 'file', path = '{}');",
        folder.join("out.csv").display()
    );
    engine.run_script(&sql).await.expect("listening")
}

fn ids(folder: &Path) -> Vec<usize> {
    let text = std::fs::read_to_string(folder.join("out.csv")).unwrap_or_default();
    // A line may be half written while the job runs.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| line.split(',').next().expect("an id").parse().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_between_two_jobs() {
    let (port, folder) = (servers::free_port(), tempfile::tempdir().expect("a folder"));
    let receiver_url = format!("http://127.0.0.1:{port}/in");
    let network = Arc::new(Network { receiver: receiver_url, client: reqwest::Client::new(), requests: AtomicUsize::new(0) });
    let app = Router::new().route("/in", post(pass_on)).with_state(Arc::clone(&network));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/in", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("served") });

    let first = receiver(port, folder.path()).await;
    let file = rows(3_000, 10);
    let sink = format!(
        "connector = 'http', url = '{url}', access_key = 'right', compression = 'gzip', batch.records = 50, linger = '0ms',
         retry.min_delay = '10ms', retry.max_delay = '50ms'"
    );
    let sender = start(&script(&file, &sink)).await.expect("somebody is there");
    // A delivery is acknowledged with the checkpoint that covers it.
    while ids(folder.path()).len() < 1_000 {
        first.checkpoint().await.expect("taken");
        tokio::task::yield_now().await;
    }
    // It dies with deliveries that no checkpoint covers; they come again, and so do others whose answers were lost.
    first.abort();
    let _ = first.wait().await;
    drop(first);
    let second = receiver(port, folder.path()).await;
    let sent = {
        let mut sent = std::pin::pin!(sender.wait());
        loop {
            tokio::select! {
                biased;
                result = &mut sent => break result,
                taken = second.checkpoint() => drop(taken.expect("taken")),
            }
        }
    };
    sent.expect("everything is acknowledged");
    let repeated = second.metrics().sources[0].of_connector().into_iter().find(|metric| metric.name == "requests_repeated");
    assert!(repeated.is_some_and(|metric| metric.value > 0.0), "requests came twice");
    second.stop();
    second.wait().await.expect("stopped");
    let mut ids = ids(folder.path());
    ids.sort_unstable();
    assert!(ids == (0..3_000).collect::<Vec<_>>(), "{} rows", ids.len());
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_access_key_is_said_in_one_line() {
    let (port, folder) = (servers::free_port(), tempfile::tempdir().expect("a folder"));
    let receiver = receiver(port, folder.path()).await;
    let file = rows(10, 1);
    let sink = format!("connector = 'http', url = 'http://127.0.0.1:{port}/in', access_key = 'wrong'");
    let error = run(&script(&file, &sink)).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.message(),
        format!("POST of http://127.0.0.1:{port}/in: 401 Unauthorized: the access key is missing or wrong")
    );
    assert_eq!(error.hint(), Some("Check option \"access_key\": the endpoint does not know it."));
    receiver.stop();
    receiver.wait().await.expect("it goes on until it is stopped");
    assert_eq!(ids(folder.path()), Vec::<usize>::new());
}
