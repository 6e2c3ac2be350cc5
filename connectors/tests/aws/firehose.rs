//! The `firehose` sink against ministack, whose Firehose writes objects to its S3.

use aws_sdk_firehose::Client;
use aws_sdk_firehose::types::ExtendedS3DestinationConfiguration;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, ObjectStoreExt};

use super::job::{rows, run, script};
use super::servers;
use super::streams::config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_become_lines_of_the_objects_of_a_delivery_stream() {
    let Some(server) = servers::ministack() else { return };
    let bucket = reqwest::Client::new().put(format!("{}/firehose-sink", server.endpoint)).send().await.expect("created");
    assert!(bucket.status().is_success(), "{}", bucket.status());
    let client = Client::new(&config(&server.endpoint));
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn("arn:aws:iam::000000000000:role/firehose")
        .bucket_arn("arn:aws:s3:::firehose-sink")
        .prefix("rows/")
        .build()
        .expect("complete");
    let created = client.create_delivery_stream().delivery_stream_name("sink").extended_s3_destination_configuration(destination);
    created.send().await.expect("created");

    let file = rows(1_200, 10);
    let sink = format!(
        "connector = 'firehose', delivery_stream = 'sink', region = 'us-east-1', endpoint = '{}', newline = true",
        server.endpoint
    );
    run(&script(&file, &sink)).await.expect("the job ends");

    let store = AmazonS3Builder::new()
        .with_endpoint(&server.endpoint)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("firehose-sink")
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .build()
        .expect("a store");
    let objects: Vec<_> = store.list(Some(&"rows".into())).try_collect().await.expect("listed");
    let mut ids = Vec::new();
    for object in objects {
        let bytes = store.get(&object.location).await.expect("there").bytes().await.expect("read");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a line is an object");
            ids.push(row["ID"].as_i64().expect("a number"));
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..1_200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_missing_delivery_stream_is_named_before_the_job_starts() {
    let Some(server) = servers::ministack() else { return };
    let file = rows(1, 1);
    let sink =
        format!("connector = 'firehose', delivery_stream = 'nowhere', region = 'us-east-1', endpoint = '{}'", server.endpoint);
    let error = run(&script(&file, &sink)).await.expect_err("missing");
    let expected = "firehose:DescribeDeliveryStream of delivery stream \"nowhere\": ResourceNotFoundException";
    assert!(error.message().starts_with(expected), "{error}");
}
