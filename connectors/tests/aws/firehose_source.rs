//! `firehose` as a source: moto's Firehose delivers to it over HTTP.

use arrow::array::AsArray as _;
use arrow::datatypes::Int32Type;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{
    DeliveryStreamType, HttpEndpointConfiguration, HttpEndpointDestinationConfiguration, Record, S3DestinationConfiguration,
};
use kinesql_engine::Engine;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::Script;

use super::servers;

fn client(endpoint: &str) -> aws_sdk_firehose::Client {
    let config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    aws_sdk_firehose::Client::new(&config.build())
}

#[tokio::test]
async fn a_delivery_stream_delivers_to_the_endpoint() {
    let Some(server) = servers::moto() else { return };
    let memory = MemoryConnector::default();
    let builder = Engine::builder().connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    let engine = builder.build().expect("an engine");
    let port = servers::free_port();
    let sql = format!(
        "CREATE SOURCE S (N INTEGER) WITH (connector = 'firehose', listen = '127.0.0.1:{port}', path = '/ticks');
        CREATE SINK O FROM S WITH (connector = 'memory');"
    );
    engine.execute(&Script::new("app.sql", sql)).await.expect("right");
    let job = engine.start().await.expect("listening");

    let client = client(&server.endpoint);
    let endpoint = HttpEndpointConfiguration::builder().url(format!("http://127.0.0.1:{port}/ticks")).name("kinesql");
    let backup =
        S3DestinationConfiguration::builder().role_arn("arn:aws:iam::123456789012:role/r").bucket_arn("arn:aws:s3:::backup");
    let destination = HttpEndpointDestinationConfiguration::builder()
        .endpoint_configuration(endpoint.build().expect("complete"))
        .s3_configuration(backup.build().expect("complete"));
    let create = client.create_delivery_stream().delivery_stream_name("to-kinesql");
    let create = create.delivery_stream_type(DeliveryStreamType::DirectPut);
    create.http_endpoint_destination_configuration(destination.build()).send().await.expect("created");

    let numbers = || -> Vec<i32> {
        let batches = memory.sink("O").expect("bound").batches();
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
    };
    for first in [0, 10] {
        let records =
            (first..first + 10).map(|n| Record::builder().data(Blob::new(format!("{{\"N\":{n}}}"))).build().expect("data"));
        let put = client.put_record_batch().delivery_stream_name("to-kinesql").set_records(Some(records.collect()));
        // moto answers once the endpoint has.
        let answer = put.send().await.expect("delivered");
        assert_eq!(answer.failed_put_count(), 0);
        while numbers().len() < first as usize + 10 {
            job.sync().await.expect("running");
        }
    }
    assert_eq!(numbers(), (0..20).collect::<Vec<_>>());
    job.stop();
    job.wait().await.expect("stopped");
}
