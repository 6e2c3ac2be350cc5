//! Streams on a server of the tests.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{ScalingType, StreamStatus};
use kinesql_engine::runtime::clock::SystemClock;

/// A client's configuration for a server of the tests.
pub fn config(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

/// A client of the server.
pub fn client(endpoint: &str) -> Client {
    Client::new(&config(endpoint))
}

/// Creates a stream and waits until it is there.
pub async fn create(client: &Client, stream: &str, shards: i32) {
    client.create_stream().stream_name(stream).shard_count(shards).send().await.expect("created");
    active(client, stream).await;
}

/// Splits and merges until the stream has so many shards.
pub async fn reshard(client: &Client, stream: &str, shards: i32) {
    let update = client.update_shard_count().stream_name(stream).target_shard_count(shards);
    update.scaling_type(ScalingType::UniformScaling).send().await.expect("resharding");
    active(client, stream).await;
}

async fn active(client: &Client, stream: &str) {
    let clock = SystemClock::shared();
    loop {
        let answer = client.describe_stream_summary().stream_name(stream).send().await.expect("described");
        if answer.stream_description_summary().expect("a summary").stream_status() == &StreamStatus::Active {
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}
