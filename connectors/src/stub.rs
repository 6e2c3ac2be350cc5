//! Servers that run inside a test: anything that is an Axum router, on a free port of the loopback interface, with a switch
//! that makes it fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use kinesql_engine::connector::{OptionEntry, OptionSpec, Options, Sink, SinkDefinition, SinkFactory};

use crate::conformance::delivery_schema;

/// A server; it ends with this value.
pub(crate) struct Stub {
    /// `http://127.0.0.1:PORT`.
    pub(crate) endpoint: String,
    pub(crate) faults: Arc<Faults>,
    task: tokio::task::JoinHandle<()>,
}

/// What goes wrong on purpose.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Calls that write are answered with an error.
    pub(crate) down: AtomicBool,
    /// How many were.
    pub(crate) refused: AtomicUsize,
    /// The error: status, type and message; `InternalFailure` with 500 unless set.
    pub(crate) error: std::sync::Mutex<Option<(u16, &'static str, &'static str)>>,
}

impl Stub {
    /// Serves `app`. While the server is down, requests that `writes` are refused.
    pub(crate) async fn serve(app: Router, writes: fn(&Request) -> bool) -> Self {
        let faults = Arc::new(Faults::default());
        let state = Arc::clone(&faults);
        let app = app.layer(from_fn(move |request: Request, next: Next| {
            let state = Arc::clone(&state);
            async move {
                if state.down.load(Ordering::SeqCst) && writes(&request) {
                    state.refused.fetch_add(1, Ordering::SeqCst);
                    return state.answer();
                }
                next.run(request).await
            }
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("served") });
        Self { endpoint, faults, task }
    }

    /// From now on calls that write are answered so.
    pub(crate) fn fail_with(&self, status: u16, kind: &'static str, message: &'static str) {
        *self.faults.error.lock().expect("not poisoned") = Some((status, kind, message));
        self.faults.down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.faults.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn refused(&self) -> usize {
        self.faults.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faults {
    fn answer(&self) -> Response {
        let error = *self.error.lock().expect("not poisoned");
        let (status, kind, message) = error.unwrap_or((500, "InternalFailure", "down"));
        let status = StatusCode::from_u16(status).expect("a status");
        let body = serde_json::json!({ "__type": kind, "message": message }).to_string();
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amzn-errortype", kind)];
        (status, headers, body).into_response()
    }
}

/// Options as a user writes them, checked.
pub(crate) fn checked(options: &[OptionSpec], entries: &[(&str, &str)]) -> Options {
    let specs: Vec<_> = options.iter().collect();
    let entries: Vec<_> = entries.iter().map(|(key, value)| OptionEntry::new(*key, *value)).collect();
    Options::check("connector", &specs, &entries, None).expect("valid options")
}

/// A sink of rows of [`delivery_schema`] that keeps to the rules of the conformance checks.
pub(crate) fn sink(factory: &dyn SinkFactory, options: &[(&str, &str)]) -> kinesql_engine::Result<Arc<dyn Sink>> {
    let mut entries = BTreeMap::from([("buffer_bytes", "16kb"), ("retry.min_delay", "1ms"), ("retry.max_delay", "2ms")]);
    entries.extend(options.iter().copied());
    let entries: Vec<_> = entries.into_iter().collect();
    let definition = SinkDefinition { name: "OUT".to_owned(), stream: "OUT".to_owned(), schema: delivery_schema(), format: None };
    factory.create(&definition, &checked(factory.options(), &entries))
}
