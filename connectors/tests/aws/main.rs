//! The connectors of services, most of them of AWS, against real server processes.
//!
//! The first test installs the servers (`scripts/test-servers`, needs Node and Python). Where these tools are missing the
//! tests say so and do nothing, except in CI, where that is a failure.

mod clouds;
mod conformance;
mod firehose;
mod firehose_source;
mod http;
mod http_to_firehose;
mod job;
mod kinesis_sink;
mod kinesis_source;
mod lambda;
mod leases;
mod s3;
mod servers;
mod streams;
mod switch;

/// The servers start and answer: what every other test relies on.
#[tokio::test]
async fn servers_answer() {
    for server in [servers::kinesis(), servers::ministack(), servers::dynalite(), servers::moto(), servers::gcs()] {
        let Some(server) = server else { return };
        let answer = reqwest::get(&server.health).await.expect("the server answers");
        assert!(answer.status().is_success(), "{}: {}", server.health, answer.status());
    }
}
