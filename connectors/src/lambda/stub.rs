//! A Lambda of one function inside a test: what it answers is written there.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stub::Stub;

/// What an invocation gives.
pub(super) enum Given {
    /// The function returned this.
    Returned(Value),
    /// The function raised an error.
    Raised(&'static str, &'static str),
    /// The service refused the call: status, type, message.
    Refused(u16, &'static str, &'static str),
    /// Nothing, ever.
    Nothing,
    /// The other, once this is true.
    Held(watch::Receiver<bool>, Box<Given>),
}

/// Serves the function `OUT`, which may run 3 s.
pub(super) async fn serve(invoke: impl Fn(Value) -> Given + Send + Sync + 'static) -> Stub {
    let invoke = Arc::new(invoke);
    let call = move |Path(name): Path<String>, body: String| {
        let invoke = Arc::clone(&invoke);
        async move {
            if name != "OUT" {
                return refused(404, "ResourceNotFoundException", &format!("Function not found: {name}"));
            }
            if body.len() > super::function::PAYLOAD_BYTES_MAX {
                return refused(413, "RequestTooLargeException", "over 6 MB");
            }
            let mut given = invoke(serde_json::from_str(&body).expect("JSON"));
            while let Given::Held(mut release, then) = given {
                release.wait_for(|released| *released).await.expect("the test holds it");
                given = *then;
            }
            match given {
                Given::Returned(value) => value.to_string().into_response(),
                Given::Raised(kind, message) => {
                    let body = json!({ "errorMessage": message, "errorType": kind }).to_string();
                    ([("x-amz-function-error", "Unhandled")], body).into_response()
                }
                Given::Refused(status, kind, message) => refused(status, kind, message),
                Given::Nothing | Given::Held(..) => std::future::pending().await,
            }
        }
    };
    let describe = |Path(name): Path<String>| async move {
        match name.as_str() {
            "OUT" => json!({ "FunctionName": "OUT", "Timeout": 3 }).to_string().into_response(),
            _ => refused(404, "ResourceNotFoundException", &format!("Function not found: {name}")),
        }
    };
    let app = Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(call))
        .route("/2015-03-31/functions/{name}/configuration", get(describe))
        .layer(axum::extract::DefaultBodyLimit::disable());
    Stub::serve(app, |request| request.method() == axum::http::Method::POST).await
}

fn refused(status: u16, kind: &'static str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [("x-amzn-errortype", kind)], json!({ "Type": "User", "message": message }).to_string()).into_response()
}

/// Identifiers and texts of the records of a request.
pub(super) fn records(request: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let decode = |data: &Value| STANDARD.decode(text(data)).expect("base64");
    let records = request["records"].as_array().expect("records").iter();
    records.map(|record| (text(&record["recordId"]), String::from_utf8_lossy(&decode(&record["data"])).into_owned())).collect()
}
