//! `kind = 'nexmark_bids'`: the bids of the Nexmark benchmark, close to the generator of github.com/nexmark/nexmark.
//!
//! Half of the bids go to one hot auction, which changes every `HOT_ROWS` rows; four fifths of the bidders are few.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringBuilder, TimestampMillisecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kinesql_engine::Result;
use kinesql_engine::runtime::clock::EventTime;
use kinesql_engine::types::SqlType;

use super::Rows;
use super::random::{Random, scale};

/// Ids of auctions and bidders start here (nexmark: FIRST_AUCTION_ID, FIRST_PERSON_ID).
const FIRST_ID: i64 = 1_000;

/// How long an auction stays hot.
const HOT_ROWS: u64 = 10_000;

/// Nexmark's four hot channels.
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Bids.
#[derive(Debug)]
pub(super) struct Bids {
    schema: SchemaRef,
    auctions: u64,
    /// Made once and pointed into: making text letter by letter would take longer than most queries.
    letters: String,
}

/// Letters to choose texts from.
const LETTERS: u64 = 8_192;

impl Bids {
    /// Bids for this many auctions.
    pub(super) fn new(auctions: u64) -> Self {
        let schema = Arc::new(Schema::new(vec![
            SqlType::BigInt.field("auction", true),
            SqlType::BigInt.field("bidder", true),
            SqlType::BigInt.field("price", true),
            SqlType::Varchar(32).field("channel", true),
            SqlType::Varchar(128).field("url", true),
            SqlType::Timestamp.field("date_time", true),
            SqlType::Varchar(128).field("extra", true),
        ]));
        let random = Random::seeded(0);
        let letters = (0..LETTERS).map(|i| char::from(b'a' + random.below(i, 26) as u8)).collect();
        Self { schema, auctions, letters }
    }
}

impl Bids {
    fn letters(&self, bits: u64, count: usize) -> &str {
        let start = bits as usize % (self.letters.len() - count);
        &self.letters[start..start + count]
    }
}

impl Rows for Bids {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, rows: Range<u64>, random: Random, event_times: Vec<EventTime>) -> Result<RecordBatch> {
        let count = event_times.len();
        let (mut auction, mut bidder) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut price = Vec::with_capacity(count);
        let mut channel = StringBuilder::with_capacity(count, count * 9);
        let mut url = StringBuilder::with_capacity(count, count * 48);
        let mut extra = StringBuilder::with_capacity(count, count * 40);
        let (people, prices, texts, hot_auctions) = (random.lane(2), random.lane(3), random.lane(4), random.lane(5));
        for row in rows {
            let bits = random.of(row);
            let hot = hot_auctions.below(row / HOT_ROWS, self.auctions);
            auction.push(FIRST_ID + if bits & 1 == 0 { hot } else { scale(bits, self.auctions) } as i64);
            let person = people.of(row);
            let few = if person.is_multiple_of(5) { self.auctions * 10 } else { self.auctions.div_ceil(10) };
            bidder.push(FIRST_ID + scale(person, few) as i64);
            // Nexmark: 10^(6 x) * 100 cents for a uniform x; here its whole powers, and uniform between two of them.
            let money = prices.of(row);
            let power = 10_u64.pow((money % 6) as u32) * 100;
            price.push((power + scale(money, power * 9)) as i64);

            let text = texts.of(row);
            let number = scale(text, 1_000);
            // Writing to a builder cannot fail.
            let _ = match text & 7 {
                hot @ 0..4 => channel.write_str(CHANNELS[hot as usize]),
                _ => write!(channel, "channel-{number}"),
            };
            channel.append_value("");
            let (folder, page) = (self.letters(text >> 3, 5), self.letters(text >> 16, 5));
            let _ = write!(url, "https://www.nexmark.com/{folder}/{page}/item.htm?query={number}");
            url.append_value("");
            extra.append_value(self.letters(text >> 29, 24 + (text >> 42) as usize % 32));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(auction)),
            Arc::new(Int64Array::from(bidder)),
            Arc::new(Int64Array::from(price)),
            Arc::new(channel.finish()),
            Arc::new(url.finish()),
            Arc::new(TimestampMillisecondArray::from(event_times)),
            Arc::new(extra.finish()),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}
