//! `kind = 'nexmark_bids'`: the bids of the Nexmark benchmark, close to the generator of github.com/nexmark/nexmark.
//!
//! Half of the bids go to one hot auction, which changes every `HOT_ROWS` rows; four fifths of the bidders are few.

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
}

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
        Self { schema, auctions }
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
        let (people, prices, texts) = (random.lane(2), random.lane(3), random.lane(4));
        let mut text = String::new();
        for row in rows {
            let bits = random.of(row);
            let hot = random.lane(5).below(row / HOT_ROWS, self.auctions);
            auction.push(FIRST_ID + if bits & 1 == 0 { hot } else { scale(bits, self.auctions) } as i64);
            let person = people.of(row);
            let few = if person.is_multiple_of(5) { self.auctions * 10 } else { self.auctions.div_ceil(10) };
            bidder.push(FIRST_ID + scale(person, few) as i64);
            // Nexmark: 10^(6 x) * 100 cents for a uniform x; here its whole powers, and uniform between two of them.
            let money = prices.of(row);
            let power = 10_u64.pow((money % 6) as u32) * 100;
            price.push((power + scale(money, power * 9)) as i64);

            let words = texts.of(row);
            text.clear();
            letters(&mut text, words, 5);
            text.push('/');
            letters(&mut text, words >> 25, 5);
            let number = scale(words, 1_000);
            if words & 1 == 0 {
                channel.append_value(CHANNELS[((words >> 1) & 3) as usize]);
            } else {
                channel.append_value(format!("channel-{number}"));
            }
            url.append_value(format!("https://www.nexmark.com/{text}/item.htm?query={number}"));
            text.clear();
            for part in 0..2 + words % 3 {
                letters(&mut text, texts.lane(part).of(row), 12);
            }
            extra.append_value(&text);
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

/// Appends up to 12 letters, five bits of `bits` each.
fn letters(text: &mut String, bits: u64, count: u32) {
    text.extend((0..count).map(|letter| char::from(b'a' + ((bits >> (5 * letter)) & 31) as u8 % 26)));
}
