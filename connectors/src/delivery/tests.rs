//! What is promised of every delivering sink, with a service whose answers are written here.

use std::sync::Mutex;
use std::time::Duration;

use kinesql_engine::ErrorKind;
use kinesql_engine::connector::SinkWriter;
use kinesql_engine::runtime::clock::ManualClock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::testing::*;
use super::*;

async fn write(writer: &mut DeliveryWriter, rows: &str) {
    writer.write(&batch(rows)).await.expect("written");
    writer.flush().await.expect("flushed");
}

#[tokio::test]
async fn requests_are_full_by_count_or_by_bytes() {
    let fake = Fake::new(|_, _| Outcome::Accepted);
    let mut setup = Setup::new();
    setup.options.max_in_flight = 1;
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3 d,4").await;
    writer.prepare(1).await.expect("prepared");
    assert_eq!(fake.sent(2).await, ["a,1 b,2 c,3", "d,4"]);

    // A record counts with its key: "a,1" is 4 bytes.
    let fake = Fake::new(|_, _| Outcome::Accepted);
    setup.limits.bytes = 9;
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3 d,a-long-value e,5").await;
    writer.prepare(1).await.expect("prepared");
    assert_eq!(fake.sent(4).await, ["a,1 b,2", "c,3", "d,a-long-value", "e,5"]);
}

#[tokio::test]
async fn a_partial_request_leaves_when_it_has_lingered_without_further_input() {
    let clock = ManualClock::starting_at(1_000);
    let fake = Fake::new(|_, _| Outcome::Accepted);
    let mut setup = Setup::with_clock(&clock);
    setup.limits.linger = Duration::from_millis(50);
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1").await;
    clock.set(1_049);
    write(&mut writer, "b,2").await;
    assert!(fake.requests(0).await.is_empty());
    clock.set(1_050);
    assert_eq!(fake.sent(1).await, ["a,1 b,2"]);
    // A full one does not linger.
    write(&mut writer, "a,3 a,4 a,5").await;
    assert_eq!(fake.sent(2).await[1], "a,3 a,4 a,5");
}

#[tokio::test]
async fn without_linger_a_request_leaves_as_soon_as_no_further_row_is_waiting() {
    let clock = ManualClock::starting_at(1_000);
    let fake = Fake::new(|_, _| Outcome::Accepted);
    let mut writer = Setup::with_clock(&clock).writer(&fake);
    writer.write(&batch("a,1")).await.expect("written");
    writer.write(&batch("b,2")).await.expect("written");
    assert!(fake.requests(0).await.is_empty());
    writer.flush().await.expect("flushed");
    assert_eq!(fake.sent(1).await, ["a,1 b,2"]);
}

#[tokio::test]
async fn only_failed_records_are_sent_again() {
    let fake = Fake::new(|number, _| if number == 0 { partly(&[0, 2]) } else { Outcome::Accepted });
    let setup = Setup::new();
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3").await;
    writer.prepare(1).await.expect("prepared");
    let mut sent_again = fake.sent(2).await[1..].join(" ");
    if sent_again == "c,3 a,1" {
        // They wait for themselves, with jitter.
        sent_again = "a,1 c,3".to_owned();
    }
    assert_eq!(sent_again, "a,1 c,3");
    assert_eq!((setup.metrics.records.get(), setup.metrics.records_resent.get(), setup.metrics.throttled.get()), (3, 2, 2));
    assert_eq!(writer.bytes_written(), 9);
}

#[tokio::test]
async fn a_failed_record_waits_while_others_leave() {
    let clock = ManualClock::starting_at(0);
    let fake = Fake::new(|number, _| if number == 0 { partly(&[1]) } else { Outcome::Accepted });
    let mut setup = Setup::with_clock(&clock);
    setup.options.retry_min_delay = Duration::from_millis(100);
    setup.options.retry_max_delay = Duration::from_millis(100);
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3").await;
    fake.requests(1).await;
    write(&mut writer, "d,4").await;
    assert_eq!(fake.sent(2).await[1], "d,4");
    clock.set(100);
    assert_eq!(fake.sent(3).await[2], "b,2");
}

#[tokio::test]
async fn a_request_that_failed_as_a_whole_is_sent_again_as_it_was_and_one_at_a_time() {
    let fake = Fake::gated(4, |number, _| if number < 4 { down() } else { Outcome::Accepted });
    let setup = Setup::new();
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3 d,4 e,5 f,6 g,7 h,8 i,9 j,10").await;
    // The four requests failed; one of them tries whether the service is back.
    let tries = fake.requests(5).await;
    assert_eq!(tries.len(), 5);
    assert!(tries[..4].contains(&tries[4]), "the same request with the same id: {tries:?}");
    fake.allow(100);
    writer.prepare(1).await.expect("prepared");
    let all = fake.requests(8).await;
    let mut distinct: Vec<_> = all.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((all.len(), distinct.len()), (8, 4), "{all:?}");
    assert_eq!(fake.accepted().len(), 10);
    assert_eq!(setup.metrics.requests_failed.get(), 4);
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let fake = Fake::gated(0, |_, _| Outcome::Accepted);
    let mut writer = Setup::new().writer(&fake);
    let rows: Vec<_> = (0..60).map(|i| format!("k{i},v")).collect();
    write(&mut writer, &rows.join(" ")).await;
    assert_eq!(fake.requests(4).await.len(), 4);
    fake.allow(1_000);
    writer.prepare(1).await.expect("prepared");
    assert_eq!(fake.most_in_flight.lock().expect("not poisoned").1, 4);
    assert_eq!(fake.accepted().len(), 60);
}

#[tokio::test]
async fn write_waits_while_the_buffer_is_full() {
    let fake = Fake::gated(0, |_, _| Outcome::Accepted);
    let mut setup = Setup::new();
    setup.options.buffer_bytes = 20;
    let mut writer = setup.writer(&fake);
    let (counted, count) = (Arc::new(std::sync::atomic::AtomicUsize::new(0)), 100);
    let counter = Arc::clone(&counted);
    let writing = tokio::spawn(async move {
        for number in 0..count {
            writer.write(&batch(&format!("k,{number:03}"))).await.expect("written");
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        writer.prepare(1).await.expect("prepared");
    });
    // Records of 5 bytes: four fill the buffer. Nothing was flushed, yet they leave.
    fake.requests(1).await;
    while counted.load(std::sync::atomic::Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counted.load(std::sync::atomic::Ordering::SeqCst), 4);
    fake.allow(1_000);
    writing.await.expect("everything is delivered");
    assert_eq!(fake.accepted().len(), count);
}

#[tokio::test]
async fn prepare_waits_for_every_acknowledgement() {
    let fake = Fake::gated(1, |_, _| Outcome::Accepted);
    let mut writer = Setup::new().writer(&fake);
    write(&mut writer, "a,1 b,2 c,3 d,4").await;
    fake.requests(2).await;
    let mut prepare = Box::pin(writer.prepare(1));
    for _ in 0..100 {
        assert!(futures::poll!(prepare.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    fake.allow(1);
    assert_eq!(prepare.await.expect("prepared").0, serde_json::Value::Null);
    assert_eq!(fake.accepted().len(), 4);
}

#[tokio::test]
async fn the_order_of_a_key_is_kept_whatever_fails() {
    for seed in 0..20 {
        let random = Mutex::new(SmallRng::seed_from_u64(seed));
        let fake = Fake::new(move |_, parcel| {
            let mut random = random.lock().expect("not poisoned");
            match random.random_range(0..10) {
                0 => down(),
                1..=5 => {
                    let places = 0..parcel.records.len();
                    let failed: Vec<_> = places.filter(|_| random.random_bool(0.5)).collect();
                    if failed.is_empty() { Outcome::Accepted } else { partly(&failed) }
                }
                _ => Outcome::Accepted,
            }
        });
        let mut setup = Setup::new();
        setup.order = Order::ExclusiveKeys;
        let mut writer = setup.writer(&fake);
        let rows: Vec<_> = (0..200).map(|i| format!("k{},{i:03}", i % 7)).collect();
        for rows in rows.chunks(13) {
            write(&mut writer, &rows.join(" ")).await;
        }
        writer.prepare(1).await.expect("prepared");
        let accepted = fake.accepted();
        assert_eq!(accepted.len(), 200, "seed {seed}");
        for key in 0..7 {
            let of_key: Vec<_> = accepted.iter().filter(|record| record.starts_with(&format!("k{key},"))).collect();
            assert!(of_key.is_sorted(), "seed {seed}: {of_key:?}");
        }
        for (_, records) in fake.requests(1).await {
            let mut keys: Vec<_> = records.iter().map(|record| &record[..2]).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), records.len(), "a request holds one record of a key, since a part of it may fail");
        }
    }
}

#[tokio::test]
async fn a_failed_record_holds_back_later_ones_of_its_key_only() {
    let clock = ManualClock::starting_at(0);
    let fake = Fake::new(|number, _| if number == 0 { partly(&[0]) } else { Outcome::Accepted });
    let mut setup = Setup::with_clock(&clock);
    setup.order = Order::ExclusiveKeys;
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,1").await;
    fake.requests(1).await;
    write(&mut writer, "a,2 b,2").await;
    assert_eq!(fake.sent(2).await[1], "b,2");
    clock.set(10);
    assert_eq!(fake.sent(4).await[2..], ["a,1", "a,2"]);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_the_others_are_delivered() {
    let fake = Fake::new(|_, _| Outcome::Accepted);
    let setup = Setup::new();
    let mut writer = setup.writer(&fake);
    write(&mut writer, &format!("a,1 b,{} c,3", "x".repeat(100))).await;
    writer.prepare(1).await.expect("prepared");
    assert_eq!(fake.accepted(), ["a,1", "c,3"]);
    let refused = setup.refused.take();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, batch(&format!("b,{}", "x".repeat(100))));
    assert_eq!(refused[0].1.message(), "the record has 103 bytes with its key; the destination takes 100");
    assert_eq!((refused[0].1.kind(), refused[0].1.name()), (ErrorKind::Data, "RECORD_TOO_LARGE"));
}

#[tokio::test]
async fn a_record_that_the_service_refuses_is_given_up_and_the_others_are_delivered() {
    let wrong = || Error::data("service: Invalid: a key of too many words").named(RECORD_REFUSED);
    let fake = Fake::new(move |number, parcel| {
        let place = |text: &str| parcel.records.iter().position(|record| record.data.as_ref() == text.as_bytes());
        let refused: Vec<_> = place("b,2").map(|place| (place, wrong())).into_iter().collect();
        let failed: Vec<_> = place("c,3").filter(|_| number == 0).into_iter().collect();
        match (refused.is_empty(), failed.is_empty()) {
            (true, true) => Outcome::Accepted,
            _ => Outcome::Refused { refused, failed, throttled: true, reason: "service: TooFast".to_owned() },
        }
    });
    let mut setup = Setup::new();
    // A refused record holds back none of its key.
    setup.order = Order::ExclusiveKeys;
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3").await;
    write(&mut writer, "b,4").await;
    writer.prepare(1).await.expect("prepared");
    let mut accepted = fake.accepted();
    accepted.sort();
    assert_eq!(accepted, ["a,1", "b,4", "c,3"]);
    let refused = setup.refused.take();
    assert_eq!(refused.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>(), [batch("b,2")]);
    assert_eq!((refused[0].1.name(), refused[0].1.message()), ("RECORD_REFUSED", "service: Invalid: a key of too many words"));
    assert_eq!((setup.metrics.rows_refused.get(), setup.metrics.records.get()), (1, 3));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_until_it_fits() {
    let fake = Fake::new(|_, parcel| {
        let bytes: usize = parcel.records.iter().map(|record| record.data.as_ref().len()).sum();
        if bytes > 6 { Outcome::TooLarge(Error::data("service: TooLarge")) } else { Outcome::Accepted }
    });
    let mut setup = Setup::new();
    setup.limits.records = 10;
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3 d,12345 e,5").await;
    writer.prepare(1).await.expect("prepared");
    let mut accepted = fake.accepted();
    accepted.sort();
    assert_eq!(accepted, ["a,1", "b,2", "c,3", "e,5"]);
    let refused: Vec<_> = setup.refused.take().into_iter().map(|(row, _)| row).collect();
    assert_eq!(refused, [batch("d,12345")]);
}

#[tokio::test]
async fn a_request_without_an_answer_is_sent_again() {
    let clock = ManualClock::starting_at(0);
    let fake = Fake::gated(0, |_, _| Outcome::Accepted);
    let mut setup = Setup::with_clock(&clock);
    setup.options.request_timeout = Duration::from_secs(5);
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1").await;
    fake.requests(1).await;
    clock.set(5_000);
    while setup.metrics.requests_failed.get() == 0 {
        tokio::task::yield_now().await;
    }
    clock.set(5_010);
    let requests = fake.requests(2).await;
    assert_eq!(requests[0], requests[1]);
    fake.allow(2);
    writer.prepare(1).await.expect("prepared");
}

/// As on a line on which a full request takes longer than it may.
#[tokio::test]
async fn a_request_that_is_too_much_for_its_time_is_sent_in_halves() {
    let clock = ManualClock::starting_at(0);
    let fake = Fake::too_slow_for(2, false);
    let mut setup = Setup::with_clock(&clock);
    setup.options.request_timeout = Duration::from_secs(30);
    (setup.order, setup.limits.records) = (Order::ExclusiveKeys, 8);
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2 c,3 d,4 e,5 f,6 g,7 h,8").await;
    {
        let mut prepare = Box::pin(writer.prepare(1));
        let mut seconds = 0;
        while futures::poll!(prepare.as_mut()).is_pending() {
            tokio::task::yield_now().await;
            seconds += 1;
            clock.set(seconds * 1_000);
            assert!(seconds < 1_000, "the same request again and again: {:?}", fake.sent(0).await);
        }
    }
    assert_eq!(fake.accepted(), ["a,1", "b,2", "c,3", "d,4", "e,5", "f,6", "g,7", "h,8"]);
    let sent = fake.sent(0).await;
    assert_eq!(sent[..3], vec!["a,1 b,2 c,3 d,4 e,5 f,6 g,7 h,8"; 3], "what was only lost on its way comes through");
    let halves: Vec<_> = sent[3..].iter().map(|records| records.split(' ').count()).collect();
    assert_eq!(halves, [4, 4, 4, 2, 2, 4, 4, 4, 2, 2]);
}

#[tokio::test]
async fn a_service_that_knows_its_requests_gets_them_as_they_were() {
    let clock = ManualClock::starting_at(0);
    let fake = Fake::too_slow_for(1, true);
    let mut setup = Setup::with_clock(&clock);
    setup.options.request_timeout = Duration::from_secs(30);
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1 b,2").await;
    for seconds in 0..600 {
        clock.set(seconds * 1_000);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    let requests = fake.requests(10).await;
    assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
}

#[tokio::test]
async fn failures_are_retried_for_ever_unless_an_end_is_given() {
    let fake = Fake::new(|number, _| if number < 500 { down() } else { Outcome::Accepted });
    let mut writer = Setup::new().writer(&fake);
    write(&mut writer, "a,1").await;
    writer.prepare(1).await.expect("delivered at last");

    for answer in [down as fn() -> Outcome, || partly(&[0])] {
        let clock = ManualClock::starting_at(0);
        let fake = Fake::new(move |_, _| answer());
        let mut setup = Setup::with_clock(&clock);
        setup.options.retry_max_elapsed = Some(Duration::from_secs(60));
        let mut writer = setup.writer(&fake);
        write(&mut writer, "a,1").await;
        let (mut tries, mut time) = (1, 0);
        let error = loop {
            fake.requests(tries).await;
            while setup.metrics.records_resent.get() < tries as u64 && writer.flush().await.is_ok() {
                tokio::task::yield_now().await;
            }
            time += 20_000;
            tries += 1;
            clock.set(time);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            if let Err(error) = writer.flush().await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().starts_with("service: "), "{error}");
        assert!(error.message().ends_with("; given up after 60 s and 4 attempts"), "{error}");
    }
}

#[tokio::test]
async fn what_can_never_succeed_ends_the_job_with_its_error() {
    let fake = Fake::new(|_, _| Outcome::Fatal(Error::config("service: AccessDenied")));
    let mut writer = Setup::new().writer(&fake);
    write(&mut writer, "a,1").await;
    let error = writer.prepare(1).await.expect_err("denied");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "service: AccessDenied"));
    assert!(writer.write(&batch("a,2")).await.is_err());
    assert!(writer.flush().await.is_err());
    assert!(writer.close().await.is_err());
}

#[tokio::test]
async fn what_can_never_succeed_is_told_although_nobody_writes() {
    let fake = Fake::gated(0, |_, _| Outcome::Fatal(Error::config("service: AccessDenied")));
    let mut writer = Setup::new().writer(&fake);
    write(&mut writer, "a,1").await;
    fake.requests(1).await;
    {
        let mut failure = Box::pin(writer.failure());
        assert!(futures::poll!(failure.as_mut()).is_pending());
        // Whoever waits is broken off by other events, and comes back.
    }
    fake.allow(1);
    assert_eq!(writer.failure().await.message(), "service: AccessDenied");
}

#[tokio::test]
async fn what_fails_is_shown_in_the_metrics() {
    let clock = ManualClock::starting_at(0);
    let fake = Fake::new(|_, _| down());
    let setup = Setup::with_clock(&clock);
    let mut writer = setup.writer(&fake);
    write(&mut writer, "a,1").await;
    while setup.metrics.requests_failed.get() == 0 {
        tokio::task::yield_now().await;
    }
    clock.set(3_000);
    let value = |name: &str| setup.metrics.list().iter().find(|metric| metric.name == name).map(|metric| metric.value);
    assert_eq!((value("failing_ms"), value("waiting_bytes"), value("records")), (Some(3_000.0), Some(3.0), Some(0.0)));
    let trouble = setup.metrics.trouble().expect("it fails");
    assert_eq!((trouble.since, trouble.reason.as_str()), (0, "service: Down: try later"));
}
