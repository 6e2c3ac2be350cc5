//! The table of leases in DynamoDB.
//!
//! Every call is given up after `lease.renew_interval`: a table that does not answer must not keep leases alive.
//!
//! Calls: `DescribeTable`, `CreateTable` (on demand, key `leaseKey`), `Scan`, and conditional `PutItem`, `UpdateItem`, `DeleteItem`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnValue, ScalarAttributeType, TableStatus,
};
use aws_smithy_runtime_api::client::result::SdkError;
use kinesql_engine::runtime::clock::{EventTime, SystemClock};
use kinesql_engine::{Error, Result};

use super::super::position::ShardId;
use super::super::shards::HashRange;
use super::table::{Checkpoint, Lease, LeaseTable, TableError, TableResult, WorkerId};
use crate::aws::{Answered, AwsOptions, is_transient, service_error};

/// Time between two looks at a table that is being created.
const CREATION_POLL: Duration = Duration::from_millis(500);

/// How often to look: a minute, where the service takes seconds.
const CREATION_POLLS: usize = 120;

type Item = HashMap<String, AttributeValue>;

/// A table of leases.
#[derive(Debug)]
pub(crate) struct DynamoTable {
    client: Client,
    name: String,
}

impl DynamoTable {
    /// The table `name`, whose calls take at most `longest`; asks nothing yet.
    pub(crate) async fn connect(aws: &AwsOptions, name: &str, longest: Duration) -> Result<Self> {
        // Half of it: a connection that is dead is replaced in time.
        let timeouts = TimeoutConfig::builder().operation_timeout(longest).operation_attempt_timeout(longest / 2).build();
        let config = aws_sdk_dynamodb::config::Builder::from(&aws.load().await?).timeout_config(timeouts).build();
        Ok(Self { client: Client::from_conf(config), name: name.to_owned() })
    }

    fn failed<E, R>(&self, action: &str, error: &SdkError<E, R>) -> TableError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: Answered,
    {
        let described = service_error(&format!("dynamodb:{action}"), &format!("lease table \"{}\"", self.name), error);
        if is_transient(error) { TableError::Transient(described) } else { TableError::Fatal(described) }
    }

    async fn status(&self) -> TableResult<Option<TableStatus>> {
        match self.client.describe_table().table_name(&self.name).send().await {
            Ok(answer) => Ok(answer.table().and_then(|table| table.table_status()).cloned()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(self.failed("DescribeTable", &error)),
        }
    }

    async fn create_table(&self) -> TableResult<()> {
        let internal = |error: aws_sdk_dynamodb::error::BuildError| {
            TableError::Fatal(Error::internal("the lease table cannot be described").with_cause(error))
        };
        let key = AttributeDefinition::builder().attribute_name("leaseKey").attribute_type(ScalarAttributeType::S).build();
        let schema = KeySchemaElement::builder().attribute_name("leaseKey").key_type(KeyType::Hash).build();
        let create = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        let create = create.attribute_definitions(key.map_err(internal)?).key_schema(schema.map_err(internal)?);
        match create.send().await {
            Ok(_) => Ok(()),
            // Another worker was faster.
            Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => Ok(()),
            Err(error) => Err(self.failed("CreateTable", &error)),
        }
    }
}

#[async_trait]
impl LeaseTable for DynamoTable {
    async fn prepare(&self) -> TableResult<()> {
        let clock = SystemClock::shared();
        let mut created = false;
        for _ in 0..CREATION_POLLS {
            match self.status().await? {
                Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                None if !created => {
                    self.create_table().await?;
                    created = true;
                }
                _ => clock.sleep(CREATION_POLL).await,
            }
        }
        Err(TableError::Transient(Error::unavailable(format!("lease table \"{}\" is being created for too long", self.name))))
    }

    async fn list(&self) -> TableResult<Vec<Lease>> {
        let (mut leases, mut start) = (Vec::new(), None);
        loop {
            // What was just written counts: a lease that is asked for is to be handed over, not just lost.
            let scan = self.client.scan().table_name(&self.name).consistent_read(true).set_exclusive_start_key(start);
            let page = scan.send().await.map_err(|error| self.failed("Scan", &error))?;
            leases.extend(page.items().iter().filter_map(lease_of));
            match page.last_evaluated_key() {
                Some(last) if !last.is_empty() => start = Some(last.clone()),
                _ => return Ok(leases),
            }
        }
    }

    async fn create(&self, lease: &Lease) -> TableResult<bool> {
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item_of(lease)));
        match put.condition_expression("attribute_not_exists(leaseKey)").send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(self.failed("PutItem", &error)),
        }
    }

    async fn update(&self, seen: &Lease, next: &Lease) -> TableResult<Option<Lease>> {
        let mut update = Update::default();
        update.set("leaseCounter", number(seen.counter + 1));
        if next.owner != seen.owner {
            update.set_or_remove("leaseOwner", next.owner.as_deref().map(text));
        }
        if next.checkpoint != seen.checkpoint {
            update.checkpoint(&next.checkpoint);
        }
        if next.read_until != seen.read_until {
            update.set_or_remove("kinesqlReadUntil", next.read_until.map(time));
        }
        if next.checkpoint_owner != seen.checkpoint_owner {
            update.set_or_remove("checkpointOwner", next.checkpoint_owner.as_deref().map(text));
        }
        if next.owner_switches != seen.owner_switches {
            update.set("ownerSwitchesSinceCheckpoint", number(next.owner_switches));
        }
        if next.children != seen.children && !next.children.is_empty() {
            update.set("childShardIds", texts(&next.children));
        }
        let mut condition = "leaseCounter = :seenCounter".to_owned();
        update.value(":seenCounter", number(seen.counter));
        match seen.owner.as_deref() {
            Some(owner) => {
                condition.push_str(" AND leaseOwner = :seenOwner");
                update.value(":seenOwner", text(owner));
            }
            None => condition.push_str(" AND attribute_not_exists(leaseOwner)"),
        }
        self.send(&seen.shard, update, condition).await
    }

    async fn hand_over(&self, shard: &ShardId, worker: &WorkerId, checkpoint: Option<&Checkpoint>) -> TableResult<()> {
        let mut update = Update::default();
        update.set_or_remove("checkpointOwner", None);
        if let Some(checkpoint) = checkpoint {
            update.checkpoint(checkpoint);
        }
        update.value(":worker", text(worker));
        self.send(shard, update, "checkpointOwner = :worker".to_owned()).await.map(drop)
    }

    async fn delete(&self, seen: &Lease) -> TableResult<bool> {
        let delete = self.client.delete_item().table_name(&self.name).key("leaseKey", text(&seen.shard));
        let delete =
            delete.condition_expression("leaseCounter = :seen").expression_attribute_values(":seen", number(seen.counter));
        match delete.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(self.failed("DeleteItem", &error)),
        }
    }
}

/// An update expression being put together.
#[derive(Default)]
struct Update {
    sets: Vec<String>,
    removes: Vec<&'static str>,
    values: Item,
}

impl Update {
    fn set(&mut self, attribute: &'static str, value: AttributeValue) {
        self.sets.push(format!("{attribute} = :{attribute}"));
        self.value(&format!(":{attribute}"), value);
    }

    fn set_or_remove(&mut self, attribute: &'static str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.removes.push(attribute),
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let (sequence, sub) = checkpoint.to_attributes();
        self.set("checkpoint", text(sequence));
        self.set("checkpointSubSequenceNumber", number(sub));
    }

    fn value(&mut self, name: &str, value: AttributeValue) {
        self.values.insert(name.to_owned(), value);
    }

    fn expression(&self) -> String {
        let mut clauses = Vec::new();
        if !self.sets.is_empty() {
            clauses.push(format!("SET {}", self.sets.join(", ")));
        }
        if !self.removes.is_empty() {
            clauses.push(format!("REMOVE {}", self.removes.join(", ")));
        }
        clauses.join(" ")
    }
}

impl DynamoTable {
    /// The lease after the update; None if the condition does not hold.
    async fn send(&self, shard: &ShardId, update: Update, condition: String) -> TableResult<Option<Lease>> {
        let request = self.client.update_item().table_name(&self.name).key("leaseKey", text(shard));
        let request = request.update_expression(update.expression()).condition_expression(condition);
        let request = request.set_expression_attribute_values(Some(update.values)).return_values(ReturnValue::AllNew);
        match request.send().await {
            Ok(answer) => Ok(answer.attributes().and_then(lease_of)),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => Ok(None),
            Err(error) => Err(self.failed("UpdateItem", &error)),
        }
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn time(value: EventTime) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn texts(values: &BTreeSet<ShardId>) -> AttributeValue {
    AttributeValue::Ss(values.iter().map(ToString::to_string).collect())
}

fn item_of(lease: &Lease) -> Item {
    let (sequence, sub) = lease.checkpoint.to_attributes();
    let mut item: Item = [
        ("leaseKey", text(&lease.shard)),
        ("leaseCounter", number(lease.counter)),
        ("checkpoint", text(sequence)),
        ("checkpointSubSequenceNumber", number(sub)),
        ("ownerSwitchesSinceCheckpoint", number(lease.owner_switches)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut add = |name: &str, value: Option<AttributeValue>| item.extend(value.map(|value| (name.to_owned(), value)));
    add("leaseOwner", lease.owner.as_deref().map(text));
    add("checkpointOwner", lease.checkpoint_owner.as_deref().map(text));
    add("parentShardId", (!lease.parents.is_empty()).then(|| texts(&lease.parents)));
    add("childShardIds", (!lease.children.is_empty()).then(|| texts(&lease.children)));
    add("startingHashKey", lease.range.map(|range| text(&range.start.to_string())));
    add("endingHashKey", lease.range.map(|range| text(&range.end.to_string())));
    add("kinesqlStart", lease.start.map(time));
    add("kinesqlReadUntil", lease.read_until.map(time));
    item
}

/// None for items that are no leases: version 3 of the library keeps others in the same table.
fn lease_of(item: &Item) -> Option<Lease> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str);
    let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse::<u64>().ok());
    let shards = |name: &str| -> BTreeSet<ShardId> {
        let texts = item.get(name).and_then(|value| value.as_ss().ok());
        texts.into_iter().flatten().map(|shard| Arc::from(shard.as_str())).collect()
    };
    let time = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse::<EventTime>().ok());
    let key = |name: &str| text(name).and_then(|key| key.parse::<u128>().ok());
    Some(Lease {
        shard: text("leaseKey")?.into(),
        owner: text("leaseOwner").map(Arc::from),
        counter: number("leaseCounter")?,
        checkpoint: Checkpoint::parse(text("checkpoint")?, number("checkpointSubSequenceNumber").unwrap_or(0)),
        owner_switches: number("ownerSwitchesSinceCheckpoint").unwrap_or(0),
        checkpoint_owner: text("checkpointOwner").map(Arc::from),
        parents: shards("parentShardId"),
        children: shards("childShardIds"),
        range: key("startingHashKey").zip(key("endingHashKey")).map(|(start, end)| HashRange { start, end }),
        start: time("kinesqlStart"),
        read_until: time("kinesqlReadUntil"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_and_read_again() {
        let lease = Lease {
            shard: "shardId-000000000002".into(),
            owner: Some("worker".into()),
            counter: 7,
            checkpoint: Checkpoint::After { sequence: "4954".into(), sub: 3 },
            owner_switches: 1,
            checkpoint_owner: Some("other".into()),
            parents: BTreeSet::from(["shardId-000000000000".into(), "shardId-000000000001".into()]),
            children: BTreeSet::new(),
            range: Some(HashRange { start: 0, end: u128::MAX }),
            start: Some(1_700_000_000_000),
            read_until: Some(1_700_000_000_123),
        };
        let item = item_of(&lease);
        assert_eq!(item["parentShardId"].as_ss().expect("a set").len(), 2);
        assert!(!item.contains_key("childShardIds"), "DynamoDB has no empty sets");
        assert_eq!(lease_of(&item), Some(lease));
        assert_eq!(lease_of(&HashMap::from([("leaseKey".to_owned(), text("metrics"))])), None);
    }
}
