//! Checks that every source and every sink must pass, for the connectors here and for those of others.
//!
//! They run a connector through its trait only, against a service or a fake that the caller has filled, and panic with
//! what is wrong. [`check_source`] reads everything at several degrees of parallelism and resumes after every piece;
//! [`check_sink`] crashes after every call that a checkpoint makes and compares what a restart leaves behind;
//! [`check_sink_faults`] takes its service away during each of them, and hands over rows that it cannot take;
//! [`check_at_least_once_sink`] does the same for a service that is told to fail, and looks for what is lost.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use arrow::array::{ArrayRef, Int32Array, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use kinesql_engine::connector::{Offset, Read, RefusedRows, Sink, SinkContext, SinkState, SinkWriter, Source, SourceContext};
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::{Clock, ManualClock, SystemClock};
use kinesql_engine::types::SqlType;
use kinesql_engine::{ErrorKind, Result};

/// What a source is read with: JSON lines on a clock that stands still.
pub fn source_context() -> SourceContext {
    SourceContext::new(ManualClock::starting_at(0), FormatSpec::Json)
}

/// What a sink is opened with.
pub fn sink_context(checkpointed: bool) -> SinkContext {
    SinkContext { clock: SystemClock::shared() as Arc<dyn Clock>, checkpointed, refused: RefusedRows::default() }
}

/// What was read from a split after one call of `next`.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Records: lines without their line break, rows as `a|b|c`, refused records as `rejected: …` with their first bytes.
    pub records: Vec<String>,
    /// The offset that came with them, having been through JSON as in a checkpoint.
    pub offset: Offset,
}

/// Reads a bounded split to its end; the last item is the end, without records.
pub async fn read_split(source: &dyn Source, split: &str, offset: Option<&Offset>, context: &SourceContext) -> Result<Vec<Seen>> {
    let mut reader = source.open(split, offset, context).await?;
    let mut seen = Vec::new();
    loop {
        let (records, offset, end) = match reader.next().await? {
            Read::Records(read) => {
                let mut records = lines(&read.bytes);
                for rejected in &read.rejected {
                    let raw = String::from_utf8_lossy(&rejected.raw[..rejected.raw.len().min(16)]).into_owned();
                    records.push(format!("rejected: {raw}"));
                }
                (records, read.offset, false)
            }
            Read::Batch { batch, offset } => (rows(&batch), offset, false),
            Read::Watermark { offset, .. } | Read::Parts { offset, .. } => (Vec::new(), offset, false),
            Read::End { offset } => (Vec::new(), offset, true),
        };
        let text = offset.0.to_string();
        let offset = Offset(serde_json::from_str(&text).expect("an offset is written as JSON and read again"));
        seen.push(Seen { records, offset });
        if end {
            return Ok(seen);
        }
    }
}

/// Lines as records, without line breaks; blank lines are no records.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// Rows as text, their values separated by `|`.
pub fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter();
    let columns: Vec<_> =
        columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("every SQL type can be shown")).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

/// Checks a bounded, resumable source. `make` binds it anew, as a restarted process does; `expected` are its records in
/// order, as [`Seen::records`] shows them.
///
/// - At any parallelism the splits have distinct names and together hold every record once; a single split is in order.
/// - Resumed after any piece, a split yields exactly the rest; resumed at its end, nothing.
/// - A sample starts with the first record and loses nothing.
pub async fn check_source(make: impl Fn() -> Arc<dyn Source>, context: &SourceContext, expected: &[String]) {
    let mut sorted = expected.to_vec();
    sorted.sort();
    for parallelism in [1, 2, 3, 4, 7] {
        let source = make();
        assert!(source.is_bounded(), "this check reads a source to its end");
        let splits = source.splits(parallelism).await.expect("splits");
        let distinct: std::collections::BTreeSet<_> = splits.iter().collect();
        assert_eq!(distinct.len(), splits.len(), "splits have distinct names: {splits:?}");

        let mut all = Vec::new();
        for split in &splits {
            let seen = read_split(source.as_ref(), split, None, context).await.expect("reading a split");
            let records: Vec<_> = seen.iter().flat_map(|seen| seen.records.clone()).collect();
            if splits.len() == 1 {
                assert_eq!(records, expected, "a single split holds the records in order");
            }
            let mut read = 0;
            for piece in &seen {
                read += piece.records.len();
                let rest = read_split(make().as_ref(), split, Some(&piece.offset), context).await.expect("resuming");
                let rest: Vec<_> = rest.into_iter().flat_map(|seen| seen.records).collect();
                assert_eq!(rest, records[read..], "split {split} resumed after {read} records, at {:?}", piece.offset);
            }
            all.extend(records);
        }
        all.sort();
        assert_eq!(all, sorted, "{} splits hold every record once", splits.len());
    }

    let source = make();
    let sample = source.sample(64, context).await.expect("a sample").bytes;
    if let Some(first) = lines(&sample).first() {
        assert_eq!(Some(first), expected.first(), "a sample starts with the first record");
    }
    let splits = source.splits(1).await.expect("splits");
    let mut all = Vec::new();
    for split in &splits {
        let seen = read_split(source.as_ref(), split, None, context).await.expect("reading after a sample");
        all.extend(seen.into_iter().flat_map(|seen| seen.records));
    }
    all.sort();
    assert_eq!(all, sorted, "a sample loses nothing");
}

/// A sink under test, with a place of its own that can be looked at.
pub trait SinkHarness {
    /// Binds the sink anew, as a restarted process does.
    fn sink(&self) -> Arc<dyn Sink>;

    /// What a reader of the destination sees, by name of the object: only what is final.
    fn output(&self) -> BTreeMap<String, Vec<u8>>;
}

/// Checks an exactly-once sink. `make` gives a harness with an empty place; each batch of `epochs` is one checkpoint's.
///
/// However a run is interrupted, a restart from the newest manifest ends with the same bytes as a run without
/// interruption: while writing, after a flush, between prepare and manifest, between manifest and commit, after commit.
/// The same holds for a restart from an older manifest, when later epochs are committed already. Once it is reopened, what
/// came after its checkpoint is gone.
pub async fn check_sink<H: SinkHarness>(make: impl Fn() -> H, epochs: &[RecordBatch]) {
    // What is there after each epoch, and at the end.
    let (mut committed, mut states) = (Vec::new(), vec![None]);
    let expected = {
        let harness = make();
        let mut writer = open(&harness, None).await;
        committed.push(harness.output());
        for epoch in 0..epochs.len() {
            states.push(run(writer.as_mut(), &epochs[epoch..=epoch], epoch as u64).await);
            committed.push(harness.output());
        }
        writer.close().await.expect("closing");
        harness.output()
    };
    let check = async |harness: &H, state: Option<&SinkState>, done: usize, when: &str| {
        let mut writer = open(harness, state).await;
        compare(&harness.output(), &committed[done], &format!("reopened {when}"));
        run(writer.as_mut(), &epochs[done..], done as u64).await;
        writer.close().await.expect("closing");
        compare(&harness.output(), &expected, &format!("ended {when}"));
    };
    for done in 0..epochs.len() {
        for how in [Crash::Writing, Crash::Flushed, Crash::Prepared, Crash::Manifest, Crash::Committed] {
            let harness = make();
            let mut writer = open(&harness, None).await;
            let mut newest = (run(writer.as_mut(), &epochs[..done], 0).await, done);
            let epoch = done as u64 + 1;
            writer.write(&epochs[done]).await.expect("writing");
            if how >= Crash::Flushed {
                writer.flush().await.expect("flushing");
            }
            if how >= Crash::Prepared {
                let prepared = writer.prepare(epoch).await.expect("preparing");
                if how >= Crash::Manifest {
                    newest = (Some(prepared), done + 1);
                }
            }
            if how >= Crash::Committed {
                writer.commit(epoch).await.expect("committing");
            }
            // Rows of the next epoch, which the restart must undo.
            writer.write(&epochs[0]).await.expect("writing");
            writer.flush().await.expect("flushing");
            drop(writer);
            check(&harness, newest.0.as_ref(), newest.1, &format!("after a crash in epoch {epoch}, {how:?}")).await;
        }
    }
    for (older, state) in states.iter().enumerate().skip(1) {
        let harness = make();
        run(open(&harness, None).await.as_mut(), epochs, 0).await;
        check(&harness, state.as_ref(), older, &format!("from epoch {older}, when all were committed")).await;
    }
}

/// An exactly-once sink under test whose service can fail.
pub trait FaultHarness: SinkHarness {
    /// From now on the service is not to be had, or is again.
    fn set_down(&self, down: bool);

    /// Attempts to reach it that failed.
    fn refused(&self) -> usize;
}

/// Checks what an exactly-once sink does about failures. `make` gives a harness with an empty place, each batch of `epochs` is one
/// checkpoint's; `poison` is a row that the sink can never write; `bulk` is a batch of which it takes at most `most` while it can
/// deliver nothing.
///
/// - While the service is down every call waits, whichever it is; afterwards everything is as if nothing had happened.
/// - While it is down the sink takes a bounded number of rows, and goes on when it is back.
/// - A row that can never be written is refused, once and as it is, and costs no other.
pub async fn check_sink_faults<H: FaultHarness>(
    make: impl Fn() -> H,
    epochs: &[RecordBatch],
    poison: &RecordBatch,
    (bulk, most): (&RecordBatch, usize),
) {
    let expected = {
        let harness = make();
        let mut writer = open(&harness, None).await;
        run(writer.as_mut(), epochs, 0).await;
        writer.close().await.expect("closing");
        harness.output()
    };
    let harness = make();
    let mut writer = open(&harness, None).await;
    for (batch, epoch) in epochs.iter().zip(1..) {
        writer.write(batch).await.expect("writing");
        during_outage(&harness, writer.prepare(epoch), "prepare").await;
        during_outage(&harness, writer.commit(epoch), "commit").await;
    }
    writer.close().await.expect("closing");
    compare(&harness.output(), &expected, "after outages");

    let harness = make();
    let mut writer = open(&harness, None).await;
    let taken = Cell::new(0);
    let mut writing = Box::pin(async {
        loop {
            writer.write(bulk).await.expect("writing waits");
            taken.set(taken.get() + 1);
        }
    });
    harness.set_down(true);
    let refused = harness.refused();
    while harness.refused() < refused + 5 {
        let _: Poll<()> = futures::poll!(writing.as_mut());
        tokio::task::yield_now().await;
    }
    let while_down = taken.get();
    assert!(while_down <= most, "{while_down} batches were taken while the service was down, more than {most}");
    harness.set_down(false);
    while taken.get() < 3 * most {
        let _: Poll<()> = futures::poll!(writing.as_mut());
        tokio::task::yield_now().await;
    }
    drop(writing);

    let context = sink_context(true);
    let (clean, harness) = (make(), make());
    run(open(&clean, None).await.as_mut(), &epochs[..1], 0).await;
    let mut writer = harness.sink().open(None, &context).await.expect("opening");
    let half = epochs[0].num_rows() / 2;
    let (before, after) = (epochs[0].slice(0, half), epochs[0].slice(half, epochs[0].num_rows() - half));
    let batch = concat_batches(&poison.schema(), [&before, poison, &after]).expect("one schema");
    run(writer.as_mut(), &[batch], 0).await;
    compare(&harness.output(), &clean.output(), "with a row that cannot be written");
    let refused = context.refused.take();
    assert_eq!(refused.len(), 1, "the row is refused once");
    assert!(refused[0].0 == *poison, "the row is refused as it is");
    assert_eq!(refused[0].1.kind(), ErrorKind::Data, "{}", refused[0].1);
}

/// Lets a call begin while the service is down; it must wait, and succeed once the service is back.
async fn during_outage<T>(harness: &impl FaultHarness, call: impl Future<Output = Result<T>>, name: &str) -> T {
    let mut call = pin!(call);
    harness.set_down(true);
    let refused = harness.refused();
    while harness.refused() < refused + 3 {
        assert!(futures::poll!(call.as_mut()).is_pending(), "{name} waits while the service is down");
        tokio::task::yield_now().await;
    }
    harness.set_down(false);
    call.await.unwrap_or_else(|error| panic!("{name} succeeds once the service is back: {error}"))
}

async fn open<H: SinkHarness>(harness: &H, state: Option<&SinkState>) -> Box<dyn SinkWriter> {
    let through_json = |state: &SinkState| serde_json::from_str(&state.0.to_string()).map(SinkState);
    let state = state.map(|state| through_json(state).expect("a state is written as JSON and read again"));
    harness.sink().open(state.as_ref(), &sink_context(true)).await.expect("opening")
}

fn compare(output: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, when: &str) {
    let lengths = |output: &BTreeMap<String, Vec<u8>>| -> Vec<_> {
        output.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect()
    };
    assert_eq!(lengths(output), lengths(expected), "objects, {when}");
    assert!(output == expected, "bytes differ, {when}");
}

/// Runs a sink in a job without checkpoints: everything is there after `close`. Returns what is there.
pub async fn run_without_checkpoints<H: SinkHarness>(harness: &H, batches: &[RecordBatch]) -> BTreeMap<String, Vec<u8>> {
    let mut writer = harness.sink().open(None, &sink_context(false)).await.expect("opening");
    for batch in batches {
        writer.write(batch).await.expect("writing");
        writer.flush().await.expect("flushing");
    }
    writer.close().await.expect("closing");
    harness.output()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crash {
    Writing,
    Flushed,
    Prepared,
    Manifest,
    Committed,
}

async fn run(writer: &mut dyn SinkWriter, batches: &[RecordBatch], done: u64) -> Option<SinkState> {
    let mut state = None;
    for (batch, epoch) in batches.iter().zip(done + 1..) {
        writer.write(batch).await.expect("writing");
        state = Some(writer.prepare(epoch).await.expect("preparing"));
        writer.commit(epoch).await.expect("committing");
    }
    state
}

/// A service that can fail, behind a sink that delivers at least once.
#[async_trait]
pub trait DeliveryHarness: Send + Sync + 'static {
    /// Binds the sink anew, as a restarted process does, for rows of [`delivery_schema`] as JSON. It buffers at most
    /// [`DELIVERY_BUFFER_BYTES`] and retries at once.
    fn sink(&self) -> Arc<dyn Sink>;

    /// From now on the service refuses everything, or takes it again.
    fn set_down(&self, down: bool);

    /// Requests that it has refused while it was down.
    fn refused(&self) -> usize;

    /// The records that it has, in any order.
    async fn delivered(&self) -> Vec<String>;
}

/// What a sink under test may buffer.
pub const DELIVERY_BUFFER_BYTES: usize = 16 << 10;

/// Schema of the rows: `ID` and `TEXT`.
pub fn delivery_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::Integer.field("ID", false), SqlType::Varchar(1 << 24).field("TEXT", false)]))
}

/// Rows with these ids and a text of `text_bytes`.
pub fn delivery_rows(ids: Range<i32>, text_bytes: usize) -> RecordBatch {
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(ids.clone().map(|_| "x".repeat(text_bytes))));
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(ids));
    RecordBatch::try_new(delivery_schema(), vec![ids, text]).expect("columns of the schema")
}

/// Ids of delivered records, sorted; fails for a record that is not one of [`delivery_rows`].
fn delivered_ids(records: &[String]) -> Vec<i32> {
    let id = |record: &String| {
        let rest = record.strip_prefix("{\"ID\":").and_then(|rest| rest.split_once(",\"TEXT\":\"x"));
        rest.and_then(|(id, _)| id.parse().ok()).unwrap_or_else(|| panic!("not a record of the test: {record:.100}"))
    };
    let mut ids: Vec<i32> = records.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

/// Checks an at-least-once sink; `make` gives a harness with an empty place, `too_large` is a row that the service never takes.
///
/// - When `prepare` returns, the service has every row written before; while all goes well it has each once.
/// - Rows are delivered without further input, and with a graceful stop.
/// - A restart from the newest checkpoint loses nothing, wherever the run was interrupted.
/// - A row that the service never takes is refused, with an error that says why; the rows around it are delivered.
/// - While the service is down nothing is lost or given up, `prepare` waits, and the job reads no further once the buffer is
///   full; when it is back everything is delivered.
pub async fn check_at_least_once_sink<H: DeliveryHarness>(make: impl AsyncFn() -> H, too_large: &RecordBatch) {
    check_acknowledged(&make().await).await;
    check_restarts(&make().await).await;
    check_poison_record(&make().await, too_large).await;
    check_service_down_and_back(make().await).await;
}

async fn check_acknowledged<H: DeliveryHarness>(harness: &H) {
    let mut writer = harness.sink().open(None, &sink_context(true)).await.expect("opening");
    for epoch in 1..=3 {
        for part in 0..4 {
            let first = (epoch - 1) * 40 + part * 10;
            writer.write(&delivery_rows(first..first + 10, 50)).await.expect("writing");
        }
        writer.prepare(epoch as u64).await.expect("preparing");
        assert_eq!(delivered_ids(&harness.delivered().await), (0..epoch * 40).collect::<Vec<_>>(), "after prepare {epoch}");
        writer.commit(epoch as u64).await.expect("committing");
    }
    writer.write(&delivery_rows(120..121, 50)).await.expect("writing");
    writer.flush().await.expect("flushing");
    while harness.delivered().await.len() < 121 {
        tokio::task::yield_now().await;
    }
    writer.write(&delivery_rows(121..130, 50)).await.expect("writing");
    writer.close().await.expect("closing");
    assert_eq!(delivered_ids(&harness.delivered().await), (0..130).collect::<Vec<_>>(), "after close");
    assert!(writer.bytes_written() > 130 * 50, "the bytes are counted");
}

async fn check_restarts<H: DeliveryHarness>(harness: &H) {
    let mut newest: Option<(SinkState, i32)> = None;
    let written = |epoch: i32| delivery_rows(epoch * 10..epoch * 10 + 10, 50);
    for crash in [Crash::Writing, Crash::Flushed, Crash::Prepared, Crash::Manifest, Crash::Committed] {
        let (state, epoch) = newest.clone().map_or((None, 0), |(state, epoch)| (Some(state), epoch));
        let mut writer = harness.sink().open(state.as_ref(), &sink_context(true)).await.expect("opening");
        writer.write(&written(epoch)).await.expect("writing");
        if crash >= Crash::Flushed {
            writer.flush().await.expect("flushing");
        }
        if crash >= Crash::Prepared {
            let prepared = writer.prepare(epoch as u64 + 1).await.expect("preparing");
            if crash >= Crash::Manifest {
                newest = Some((prepared, epoch + 1));
            }
        }
        if crash >= Crash::Committed {
            writer.commit(epoch as u64 + 1).await.expect("committing");
            // Rows of the next epoch, which may or may not arrive.
            writer.write(&written(epoch + 1)).await.expect("writing");
            writer.flush().await.expect("flushing");
        }
        drop(writer);
        let mut ids = delivered_ids(&harness.delivered().await);
        ids.dedup();
        let checkpointed = newest.as_ref().map_or(0, |(_, epochs)| epochs * 10);
        assert!(ids.len() >= checkpointed as usize, "everything before the checkpoint is there after a crash, {crash:?}");
        assert_eq!(ids[..checkpointed as usize], (0..checkpointed).collect::<Vec<_>>(), "after a crash, {crash:?}");
    }
}

async fn check_poison_record<H: DeliveryHarness>(harness: &H, too_large: &RecordBatch) {
    let context = sink_context(true);
    let mut writer = harness.sink().open(None, &context).await.expect("opening");
    let (before, after) = (delivery_rows(0..5, 50), delivery_rows(5..10, 50));
    let batch = concat_batches(&delivery_schema(), [&before, too_large, &after]).expect("one schema");
    writer.write(&batch).await.expect("a row that is too large is no failure");
    writer.prepare(1).await.expect("preparing");
    assert_eq!(delivered_ids(&harness.delivered().await), (0..10).collect::<Vec<_>>(), "the rows around it are delivered");
    let refused = context.refused.take();
    assert_eq!(refused.len(), 1, "the row is refused once");
    assert!(refused[0].0 == *too_large, "the row is refused as it is");
    assert_eq!((refused[0].1.kind(), refused[0].1.name()), (ErrorKind::Data, "RECORD_TOO_LARGE"), "{}", refused[0].1);
}

async fn check_service_down_and_back<H: DeliveryHarness>(harness: H) {
    let harness = Arc::new(harness);
    let mut writer = harness.sink().open(None, &sink_context(true)).await.expect("opening");
    writer.write(&delivery_rows(0..5, 50)).await.expect("writing");
    writer.prepare(1).await.expect("preparing");
    harness.set_down(true);
    let written = Arc::new(AtomicUsize::new(0));
    let (counter, batches, rows) = (Arc::clone(&written), 40, 10);
    let writing = tokio::spawn(async move {
        for batch in 0..batches {
            let first = 5 + batch * rows;
            writer.write(&delivery_rows(first..first + rows, 200)).await.expect("writing waits");
            writer.flush().await.expect("flushing is no failure");
            counter.fetch_add(1, Ordering::SeqCst);
        }
        writer.prepare(2).await.expect("preparing");
        writer
    });
    while harness.refused() < 20 {
        tokio::task::yield_now().await;
    }
    let bytes = written.load(Ordering::SeqCst) * rows as usize * 200;
    let most = DELIVERY_BUFFER_BYTES + rows as usize * 250;
    assert!(bytes <= most, "{bytes} bytes were taken while the service was down, more than {most}");
    assert!(!writing.is_finished(), "prepare waits while the service is down");
    harness.set_down(false);
    let mut writer = writing.await.expect("everything is written");
    let mut ids = delivered_ids(&harness.delivered().await);
    ids.dedup();
    assert_eq!(ids, (0..5 + batches * rows).collect::<Vec<_>>(), "nothing is lost while the service was down");
    writer.close().await.expect("closing");
}
