//! The writer of a delivering sink: rows become records with their keys, and the courier gets them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use kinesql_engine::checkpoint::Epoch;
use kinesql_engine::connector::{RefusedRows, SinkContext, SinkDefinition, SinkState, SinkWriter};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::{Error, Result};

use super::courier::{Courier, Terms};
use super::encode::{Encoded, RecordEncoder};
use super::{Data, DeliveryMetrics, DeliveryOptions, Ids, Limits, Order, Pack, RECORD_TOO_LARGE, Record, Row, Transport};

/// Rows are encoded in pieces of about this many bytes, so that large rows do not pile up.
const PIECE_BYTES: usize = 1 << 20;

/// Where a record goes, within its service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// The record's key.
    pub key: Box<str>,
    /// Kinesis: the hash key instead of the key's.
    pub hash_key: Option<Box<str>>,
}

/// Finds the routes of rows.
pub(crate) trait Routing: Send {
    /// The routes of the rows of `batch`; an error of kind `Data` for a row that has none.
    fn routes(&mut self, batch: &RecordBatch, encoded: &Encoded) -> Result<Vec<Result<Route>>>;
}

/// What the rows of a sink look like.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// The sink's name.
    pub sink: String,
    /// Schema of the batches.
    pub schema: SchemaRef,
    /// How a row becomes a record.
    pub format: FormatSpec,
}

impl Rows {
    /// The rows of a sink of `connector`. Fails if its format cannot write rows one by one.
    pub(crate) fn try_new(connector: &str, definition: &SinkDefinition) -> Result<Self> {
        Ok(Self {
            sink: definition.name.clone(),
            schema: Arc::clone(&definition.schema),
            format: super::options::record_format(connector, definition.format.as_ref())?,
        })
    }
}

/// How a sink delivers.
pub(crate) struct Delivery {
    pub options: DeliveryOptions,
    pub limits: Limits,
    pub order: Order,
    pub routing: Option<Box<dyn Routing>>,
    pub pack: Option<Arc<dyn Pack>>,
    pub transport: Arc<dyn Transport>,
    pub metrics: Arc<DeliveryMetrics>,
}

impl Delivery {
    /// Rows go one by one, in any order and without a route. A record has at most `record_bytes`; `cost` is what it counts for.
    pub(crate) fn plain(
        options: DeliveryOptions,
        record_bytes: usize,
        cost: fn(&str, usize) -> usize,
        transport: impl Transport + 'static,
        metrics: &Arc<DeliveryMetrics>,
    ) -> Self {
        let limits =
            Limits { records: options.batch_records, bytes: options.batch_bytes, record_bytes, linger: options.linger, cost };
        let (transport, metrics) = (Arc::new(transport), Arc::clone(metrics));
        Self { options, limits, order: Order::Plain, routing: None, pack: None, transport, metrics }
    }
}

/// Writes the rows of one sink.
pub(crate) struct DeliveryWriter {
    encoder: RecordEncoder,
    routing: Option<Box<dyn Routing>>,
    courier: Courier,
    limits: Limits,
    refused: RefusedRows,
    metrics: Arc<DeliveryMetrics>,
    clock: Arc<dyn kinesql_engine::runtime::clock::Clock>,
    rows_at_once: usize,
}

impl DeliveryWriter {
    /// Starts delivery.
    pub(crate) fn start(rows: &Rows, delivery: Delivery, context: &SinkContext) -> Result<Self> {
        let Delivery { options, limits, order, routing, pack, transport, metrics } = delivery;
        metrics.set_clock(&context.clock);
        let encoder = RecordEncoder::try_new(&rows.format, &rows.schema, options.newline)?;
        let terms = Terms {
            options,
            limits: limits.clone(),
            order,
            pack,
            transport,
            clock: Arc::clone(&context.clock),
            refused: context.refused.clone(),
            metrics: Arc::clone(&metrics),
            seed: Ids::new(&rows.sink, context.clock.now()).seed(),
        };
        Ok(Self {
            encoder,
            routing,
            courier: Courier::start(terms),
            limits,
            refused: context.refused.clone(),
            metrics,
            clock: Arc::clone(&context.clock),
            rows_at_once: 64,
        })
    }

    fn deliver(&mut self, batch: RecordBatch) -> Result<()> {
        let encoded = self.encoder.encode(&batch)?;
        self.rows_at_once = (PIECE_BYTES / (encoded.len() / batch.num_rows().max(1)).max(1)).clamp(1, 8_192);
        let mut routes = match &mut self.routing {
            Some(routing) => routing.routes(&batch, &encoded)?,
            None => Vec::new(),
        }
        .into_iter();
        let batch = Arc::new(batch);
        let since = self.clock.now();
        let records = (0..batch.num_rows()).filter_map(|index| {
            let route = routes.next().unwrap_or_else(|| Ok(Route::default()));
            let data = encoded.record(index);
            match route.and_then(|route| self.check(&route, &data).map(|()| route)) {
                Ok(Route { key, hash_key }) => Some(Record {
                    cost: (self.limits.cost)(&key, data.len()),
                    bytes: data.len(),
                    data: Data::Row(data),
                    key,
                    hash_key,
                    sequence: 0,
                    failures: 0,
                    row: Row { batch: Arc::clone(&batch), index },
                    more_rows: Vec::new(),
                    since,
                    failing_since: None,
                }),
                Err(error) => {
                    self.metrics.rows_refused.add(1);
                    self.refused.push(batch.slice(index, 1), error);
                    None
                }
            }
        });
        self.courier.push(records);
        Ok(())
    }

    fn check(&self, route: &Route, data: &Bytes) -> Result<()> {
        let (bytes, most) = (data.len() + route.key.len(), self.limits.record_bytes);
        if bytes > most {
            let with_key = if route.key.is_empty() { "" } else { " with its key" };
            return Err(Error::data(format!("the record has {bytes} bytes{with_key}; the destination takes {most}"))
                .named(RECORD_TOO_LARGE));
        }
        Ok(())
    }
}

#[async_trait]
impl SinkWriter for DeliveryWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            self.courier.room().await?;
            let rows = self.rows_at_once.min(batch.num_rows() - start);
            self.deliver(batch.slice(start, rows))?;
            start += rows;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.courier.flush()
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<SinkState> {
        self.courier.drain().await?;
        Ok(SinkState(serde_json::Value::Null))
    }

    async fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.courier.drain().await
    }

    async fn failure(&mut self) -> Error {
        self.courier.failure().await
    }

    fn bytes_written(&self) -> u64 {
        self.metrics.bytes.get()
    }
}
