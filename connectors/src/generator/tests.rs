use kinesql_engine::connector::OptionEntry;
use kinesql_engine::format::FormatSpec;
use kinesql_engine::runtime::clock::ManualClock;

use super::*;
use crate::conformance::{check_source, read_split, rows, source_context};

fn create(options: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    let entries: Vec<_> = options.iter().map(|(key, value)| OptionEntry::new(*key, *value)).collect();
    let specs: Vec<_> = OPTIONS.iter().collect();
    let options = Options::check("connector 'generator'", &specs, &entries, None).expect("valid options");
    let definition = SourceDefinition { name: "s".to_owned(), schema: None, format: FormatSpec::Json };
    GeneratorSourceFactory.create(&definition, &options)
}

fn source(options: &[(&str, &str)]) -> Arc<dyn Source> {
    create(options).expect("a source")
}

async fn first_rows(options: &[(&str, &str)]) -> Vec<String> {
    let source = source(options);
    let split = source.splits(1).await.expect("splits").remove(0);
    let seen = read_split(source.as_ref(), &split, None, &source_context()).await.expect("reading");
    seen.into_iter().flat_map(|seen| seen.records).collect()
}

#[tokio::test]
async fn ticks_are_the_same_in_every_run() {
    let start = ("start", "2024-01-01 00:00:00");
    assert_eq!(
        first_rows(&[start, ("rows", "4"), ("rate", "0")]).await,
        [
            "TGT|RETAIL|0.44|48.25|2024-01-01T00:00:00",
            "UHN|HEALTHCARE|-1.98|167.25|2024-01-01T00:00:00.001",
            "CVB|RETAIL|-0.66|155.52|2024-01-01T00:00:00.002",
            "QWE|ENERGY|0.41|90.78|2024-01-01T00:00:00.003",
        ]
    );
}

#[tokio::test]
async fn bids_are_the_same_in_every_run() {
    let bids = first_rows(&[("kind", "nexmark_bids"), ("start", "2024-01-01"), ("rows", "2"), ("rate", "0")]).await;
    assert_eq!(
        bids,
        [
            "1697|6819|78890|Google|https://www.nexmark.com/aoyoz/rfzue/item.htm?query=615|2024-01-01T00:00:00|\
             edfoniqniyhmopiyzzzvhuvhua",
            "1323|8972|39767558|channel-512|https://www.nexmark.com/utmrh/ucxrk/item.htm?query=512|\
             2024-01-01T00:00:00.001|jgslbptznoblzkeadnltolbbnyroenpowg",
        ]
    );
}

#[tokio::test]
async fn a_generator_conforms() {
    for kind in ["ticks", "nexmark_bids"] {
        let options = [("kind", kind), ("rows", "50000"), ("rate", "0"), ("out_of_order", "5s"), ("keys", "100")];
        let expected = first_rows(&options).await;
        check_source(|| source(&options), &source_context(), &expected).await;
    }
}

#[tokio::test]
async fn rows_come_when_they_are_due() {
    let clock = ManualClock::starting_at(1_000_000);
    let context = SourceContext::new(clock.clone(), FormatSpec::Json);
    let source = source(&[("rate", "200"), ("keys", "2")]);
    assert!(!source.is_bounded());
    assert_eq!(source.splits(4).await.expect("splits"), ["0/1:20"], "a slow generator has one split");
    let mut reader = source.open("0/1:20", None, &context).await.expect("open");
    // Row 19, the last one of a tenth of a second, is due after 95 ms.
    for (now, come) in [(1_000_000, false), (1_000_094, false), (1_000_095, true), (1_000_194, false), (1_000_500, true)] {
        clock.set(now);
        let read = tokio::select! {
            biased;
            read = reader.next() => Some(read.expect("read")),
            () = tokio::task::yield_now() => None,
        };
        assert_eq!(read.is_some(), come, "at {now}");
        if let Some(Read::Batch { batch, .. }) = read {
            assert_eq!(batch.num_rows(), 20);
        }
    }
}

#[tokio::test]
async fn a_restart_keeps_the_start_time() {
    let options = [("rate", "0"), ("rows", "20000")];
    let at = |now| SourceContext::new(ManualClock::starting_at(now), FormatSpec::Json);
    let seen = read_split(source(&options).as_ref(), "0/1:8192", None, &at(1_000)).await.expect("reading");
    let rest = read_split(source(&options).as_ref(), "0/1:8192", Some(&seen[0].offset), &at(99_000)).await.expect("resuming");
    assert_eq!(rest[0].records, seen[1].records);
}

#[tokio::test]
async fn event_times_follow_the_rate_and_jitter_stays_within_bounds() {
    let options = [("rate", "0"), ("rows", "10000"), ("start", "1970-01-01"), ("out_of_order", "250ms")];
    let source = source(&options);
    let mut reader = source.open("0/1:8192", None, &source_context()).await.expect("open");
    let mut row = 0;
    let mut late = 0;
    while let Read::Batch { batch, .. } = reader.next().await.expect("read") {
        let times = batch.column_by_name("EVENT_TIME").expect("a column");
        let times = times.as_any().downcast_ref::<arrow::array::TimestampMillisecondArray>().expect("times");
        for time in times.values() {
            assert!((row - 250..=row).contains(time), "row {row} is at {time} ms");
            late += i64::from(*time < row);
            row += 1;
        }
        assert_eq!(rows(&batch).len(), batch.num_rows());
    }
    assert_eq!(row, 10_000);
    assert!(late > 9_000, "the jitter is spread over its range");
}

#[test]
fn a_wrong_start_is_refused() {
    let error = create(&[("start", "yesterday")]).map(|_| ()).expect_err("not a time");
    assert_eq!(error.message(), "option \"start\" of connector 'generator' cannot be 'yesterday'");
    assert_eq!(parse_start("2024-01-01T00:00:00.250Z").expect("a time"), 1_704_067_200_250);
    assert_eq!(parse_start("2024-01-01").expect("a day"), 1_704_067_200_000);
}
