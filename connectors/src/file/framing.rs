//! Framing: cuts a stream of bytes into pieces of whole records.
//!
//! Input:  bytes in any portions, from the start of a record.
//! Output: pieces, each one either whole records within the size limit or one refused record.
//! State:  the bytes of the unfinished last record, at most the size limit and one portion. A record over the limit is
//!         dropped while it passes; only its first bytes are kept for the error stream.
//!
//! JSON records are lines. CSV records are lines too, but a line break inside a quoted field does not end one; a quote
//! counts only where RFC 4180 allows it (a field's first byte, or doubled inside), so `5" pipe` harms nothing. Where JSON
//! comes without line breaks, as in objects that Firehose writes, records are documents; one that never ends is refused with
//! all that follows up to the next line break.

use bytes::Bytes;
use kinesql_engine::format::{FormatSpec, REJECTED_RAW_MAX, RejectReason, Rejected, RowEnd};
use kinesql_engine::{Error, Result};
use memchr::{memchr, memchr2, memchr2_iter};

/// How records are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One record per line.
    Lines,
    /// One record per line, but quoted fields may hold line breaks. Another character may end records.
    Csv {
        /// Between two fields; None if quotes are text.
        delimiter: Option<u8>,
        /// Ends records.
        last: u8,
    },
    /// Records that end with a text of several characters, whatever is in them.
    EndingWith(RowEnd),
    /// One record per JSON document, with or without white space between two.
    Documents,
}

impl Framing {
    /// The framing of a source's format; `Config` if sources cannot read it.
    pub(crate) fn of(format: &FormatSpec) -> Result<Self> {
        match format {
            FormatSpec::Json | FormatSpec::Raw => Ok(Framing::Lines),
            FormatSpec::Csv(options) => Ok(match options.row_delimiter.single() {
                Some(last) => Framing::Csv { delimiter: options.quotable(), last },
                None => Framing::EndingWith(options.row_delimiter),
            }),
            other => Err(Error::config(format!("a source cannot read format '{}'", other.name()))
                .with_hint("Sources read 'json', 'csv' and 'raw'.")),
        }
    }

    /// What ends a record that does not end by itself.
    pub(crate) fn last(self) -> RowEnd {
        match self {
            Framing::Csv { last, .. } => RowEnd::byte(last),
            Framing::EndingWith(last) => last,
            Framing::Lines | Framing::Documents => RowEnd::LINE_BREAK,
        }
    }

    /// Length of the first record including its line break, if it is complete.
    pub(crate) fn first_record(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Framing::Lines => memchr(b'\n', bytes).map(|end| end + 1),
            Framing::Csv { delimiter, last } => {
                CsvEnds::new(bytes, delimiter, last).find(|end| !end.quoted).map(|end| end.at + 1)
            }
            Framing::EndingWith(last) => last.find(bytes).map(|end| end + last.size()),
            Framing::Documents => document_end(bytes),
        }
    }

    /// Where each record of `bytes`, which are whole records, ends; blank space behind the last one belongs to it.
    pub(crate) fn ends(self, bytes: &[u8]) -> Vec<u32> {
        let (mut ends, mut end) = (Vec::new(), 0);
        while !bytes[end..].trim_ascii().is_empty() {
            end = self.first_record(&bytes[end..]).map_or(bytes.len(), |length| end + length);
            // A piece is far from 4 GiB.
            ends.push(end as u32);
        }
        if let Some(last) = ends.last_mut() {
            *last = bytes.len() as u32;
        }
        ends
    }

    fn cut(self, bytes: &[u8], max_record_bytes: usize) -> Cut {
        match self {
            Framing::Lines => cut_ends(bytes, RowEnd::LINE_BREAK, max_record_bytes),
            Framing::EndingWith(last) => cut_ends(bytes, last, max_record_bytes),
            Framing::Csv { delimiter, last } => cut_csv(CsvEnds::new(bytes, delimiter, last), max_record_bytes),
            Framing::Documents => cut_documents(bytes, max_record_bytes),
        }
    }
}

/// Where bytes can be cut: `bytes[..whole]` are whole records within the limit.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    whole: usize,
    /// The record at `whole` is over the limit (else it is merely unfinished, or there is none).
    too_large: bool,
}

/// Looks from each limit backwards for an end, so that most bytes are never examined.
fn cut_ends(bytes: &[u8], last: RowEnd, max_record_bytes: usize) -> Cut {
    let (mut whole, window_max) = (0, max_record_bytes + last.size());
    while whole < bytes.len() {
        let window = &bytes[whole..bytes.len().min(whole + window_max)];
        match last.find_last(window) {
            Some(end) => whole += end + last.size(),
            None => return Cut { whole, too_large: window.len() == window_max },
        }
    }
    Cut { whole, too_large: false }
}

fn cut_csv(ends: CsvEnds<'_>, max_record_bytes: usize) -> Cut {
    let (bytes, mut whole) = (ends.bytes, 0);
    for end in ends {
        // A quote that is never closed must not swallow the rest of the input, so a line break counts here even inside
        // quotes: the record is refused up to the first line break past the limit.
        if end.at - whole > max_record_bytes {
            return Cut { whole, too_large: true };
        }
        if !end.quoted {
            whole = end.at + 1;
        }
    }
    Cut { whole, too_large: bytes.len() - whole > max_record_bytes }
}

fn cut_documents(bytes: &[u8], max_record_bytes: usize) -> Cut {
    let mut whole = 0;
    while let Some(length) = document_end(&bytes[whole..]) {
        if length > max_record_bytes {
            return Cut { whole, too_large: true };
        }
        whole += length;
    }
    Cut { whole, too_large: bytes.len() - whole > max_record_bytes }
}

/// Length of the first JSON document with the white space before it, if it is complete. What is no object or array ends where
/// one begins, or with its line.
pub(crate) fn document_end(bytes: &[u8]) -> Option<usize> {
    let mut at = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(bytes[at], b'{' | b'[') {
        let end = bytes[at..].iter().position(|byte| matches!(byte, b'{' | b'[' | b'\n'))?;
        return Some(at + end + usize::from(bytes[at + end] == b'\n'));
    }
    let mut depth = 0_usize;
    loop {
        match *bytes.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => {
                // To the quote that ends the text; what a backslash stands before ends nothing.
                at += 1;
                loop {
                    at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Line breaks, or what else ends records, of CSV text that starts with a record, each with whether it stands inside quotes.
struct CsvEnds<'a> {
    bytes: &'a [u8],
    marks: memchr::Memchr2<'a>,
    delimiter: Option<u8>,
    last: u8,
    quoted: bool,
    record: usize,
    closed_at: Option<usize>,
}

struct CsvEnd {
    at: usize,
    quoted: bool,
}

impl<'a> CsvEnds<'a> {
    fn new(bytes: &'a [u8], delimiter: Option<u8>, last: u8) -> Self {
        // Without a quote that counts only the ends are marks.
        let quote = delimiter.map_or(last, |_| b'"');
        Self { bytes, marks: memchr2_iter(quote, last, bytes), delimiter, last, quoted: false, record: 0, closed_at: None }
    }
}

impl Iterator for CsvEnds<'_> {
    type Item = CsvEnd;

    fn next(&mut self) -> Option<CsvEnd> {
        loop {
            let at = self.marks.next()?;
            if self.bytes[at] == self.last {
                if !self.quoted {
                    self.record = at + 1;
                }
                return Some(CsvEnd { at, quoted: self.quoted });
            }
            if self.quoted {
                self.quoted = false;
                self.closed_at = Some(at);
            } else {
                // At a field's start a quote opens; right after a closing one it is the second half of an escaped quote.
                let doubled = self.closed_at.is_some_and(|closed| closed + 1 == at);
                self.quoted = at == self.record || Some(self.bytes[at - 1]) == self.delimiter || doubled;
            }
        }
    }
}

/// Whole records, or one that was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Whole records; empty if one was refused.
    pub(crate) bytes: Bytes,
    /// Place of the first byte.
    pub(crate) start: u64,
    /// Place after the last record.
    pub(crate) end: u64,
    /// The refused record, which starts at `start`.
    pub(crate) rejected: Option<Rejected>,
}

/// Cuts what is fed to it into [`Piece`]s.
#[derive(Debug)]
pub(crate) struct Cutter {
    framing: Framing,
    max_record_bytes: usize,
    rest: Bytes,
    /// Place of `rest`'s first byte.
    position: u64,
    skip_record: bool,
    skip_line_break: bool,
    oversized: Option<Oversized>,
}

#[derive(Debug)]
struct Oversized {
    raw: Vec<u8>,
    start: u64,
}

impl Cutter {
    /// A cutter for bytes that start at `position`, which is the start of a record.
    pub(crate) fn new(framing: Framing, max_record_bytes: usize, position: u64) -> Self {
        let rest = Bytes::new();
        Self { framing, max_record_bytes, rest, position, skip_record: false, skip_line_break: false, oversized: None }
    }

    /// Skips the first record: the names of a CSV file.
    pub(crate) fn skip_first_record(mut self) -> Self {
        self.skip_record = true;
        self
    }

    /// Skips a line break at the start: it ends a record that was already read without it.
    pub(crate) fn skip_first_line_break(mut self) -> Self {
        self.skip_line_break = true;
        self
    }

    /// Bytes that are fed but not handed out: the start of an unfinished record once `next` has returned None.
    pub(crate) fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Place after the last byte that was fed.
    pub(crate) fn fed_to(&self) -> u64 {
        self.position + self.rest.len() as u64
    }

    /// Replaces [`Self::rest`] by itself and what follows it: feeds without a copy when the caller has laid it out so.
    pub(crate) fn replace_rest(&mut self, rest: Bytes) {
        self.rest = rest;
    }

    /// Feeds the bytes that follow.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.rest = if self.rest.is_empty() { bytes } else { Bytes::from([&self.rest[..], &bytes].concat()) };
    }

    /// The next piece of what was fed, or None if more is needed. `finished` says that no more follows: then the last
    /// record needs no line break.
    pub(crate) fn next(&mut self, finished: bool) -> Option<Piece> {
        loop {
            if self.oversized.is_some() {
                let last = self.framing.last();
                let end = last.find(&self.rest);
                // What is left may begin with an end.
                let passed = if finished { self.rest.len() } else { self.rest.len().saturating_sub(last.size() - 1) };
                self.drop_oversized(end.unwrap_or(passed));
                self.take(end.map_or(0, |_| last.size()));
                return if end.is_some() || finished { self.reject() } else { None };
            }
            if self.skip_line_break {
                match self.rest.first() {
                    None => return None,
                    Some(b'\r') if self.rest.get(1) == Some(&b'\n') => drop(self.take(2)),
                    Some(b'\n') => drop(self.take(1)),
                    Some(_) => {}
                }
                self.skip_line_break = false;
            }
            let mut cut = self.framing.cut(&self.rest, self.max_record_bytes);
            if finished && !cut.too_large {
                cut.whole = self.rest.len();
            }
            if cut.whole > 0 {
                if self.skip_record {
                    self.skip_record = false;
                    self.take(self.framing.first_record(&self.rest).unwrap_or(self.rest.len()));
                    continue;
                }
                let start = self.position;
                let bytes = self.take(cut.whole);
                return Some(Piece { bytes, start, end: self.position, rejected: None });
            }
            if !cut.too_large {
                return None;
            }
            self.skip_record = false;
            self.oversized = Some(Oversized { raw: Vec::new(), start: self.position });
            // The limit and one byte more hold no end of the record.
            self.drop_oversized(self.max_record_bytes + 1);
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.position += length as u64;
        self.rest.split_to(length)
    }

    fn drop_oversized(&mut self, length: usize) {
        let dropped = self.take(length);
        if let Some(Oversized { raw, .. }) = &mut self.oversized {
            raw.extend_from_slice(&dropped[..dropped.len().min(REJECTED_RAW_MAX - raw.len())]);
        }
    }

    fn reject(&mut self) -> Option<Piece> {
        let Oversized { raw, start } = self.oversized.take()?;
        let message = format!("record is longer than max_record_bytes = {}", self.max_record_bytes);
        let rejected = Rejected { raw, position: 0, reason: RejectReason::TooLarge, message };
        Some(Piece { bytes: Bytes::new(), start, end: self.position, rejected: Some(rejected) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of `text` fed `portion` bytes at a time: records as text, refused ones as `!start`.
    fn cut(framing: Framing, max: usize, portion: usize, text: &str) -> Vec<String> {
        let mut cutter = Cutter::new(framing, max, 0);
        let mut pieces = Vec::new();
        let mut show = |piece: Piece| match piece.rejected {
            Some(_) => pieces.push(format!("!{}..{}", piece.start, piece.end)),
            None => pieces.push(String::from_utf8_lossy(&piece.bytes).into_owned()),
        };
        for bytes in text.as_bytes().chunks(portion) {
            cutter.push(Bytes::copy_from_slice(bytes));
            while let Some(piece) = cutter.next(false) {
                show(piece);
            }
        }
        while let Some(piece) = cutter.next(true) {
            show(piece);
        }
        pieces
    }

    const CSV: Framing = Framing::Csv { delimiter: Some(b','), last: b'\n' };

    #[test]
    fn a_piece_ends_after_the_last_line_break() {
        assert_eq!(cut(Framing::Lines, 10, 100, "a\nbb\nccc"), ["a\nbb\n", "ccc"]);
        assert_eq!(cut(Framing::Lines, 10, 2, "a\nbb\nccc"), ["a\n", "bb\n", "ccc"]);
        assert_eq!(cut(Framing::Lines, 10, 2, ""), Vec::<String>::new());
    }

    #[test]
    fn a_record_over_the_limit_is_refused_and_reading_goes_on() {
        for portion in [1, 2, 3, 7, 100] {
            let pieces = cut(Framing::Lines, 3, portion, "abc\nabcd\nabc\n");
            assert_eq!(pieces, ["abc\n", "!4..9", "abc\n"], "in portions of {portion}");
        }
        assert_eq!(cut(Framing::Lines, 3, 1, "abcdefgh"), ["!0..8"], "the last record has no line break");
    }

    #[test]
    fn the_raw_record_is_cut() {
        let mut cutter = Cutter::new(Framing::Lines, 1 << 20, 0);
        for _ in 0..50 {
            cutter.push(Bytes::from(vec![b'x'; 1 << 20]));
            assert_eq!(cutter.next(false), None);
            assert!(cutter.rest().len() <= 1 << 20, "an oversized record is not kept");
        }
        cutter.push(Bytes::from_static(b"\nok\n"));
        let refused = cutter.next(false).expect("the oversized record").rejected.expect("refused");
        assert_eq!((refused.raw.len(), refused.reason), (REJECTED_RAW_MAX, RejectReason::TooLarge));
        assert_eq!(cutter.next(false).expect("the record after it").bytes, "ok\n");
    }

    #[test]
    fn csv_line_breaks_inside_quotes_end_no_record() {
        for portion in 1..20 {
            let records: String = cut(CSV, 100, portion, "1,\"a\nb\"\n2,c\n").join("|");
            let at_breaks = records.replace('|', "");
            assert_eq!(at_breaks, "1,\"a\nb\"\n2,c\n");
            assert!(!records.contains("a\n|b"), "portions of {portion} cut a record: {records}");
        }
        assert_eq!(cut(CSV, 100, 100, "\"a\"\"\n\",1\n2"), ["\"a\"\"\n\",1\n", "2"], "a doubled quote is text");
    }

    #[test]
    fn csv_records_may_end_with_another_character() {
        let framing = Framing::Csv { delimiter: Some(b','), last: b';' };
        assert_eq!(cut(framing, 100, 100, "1,\"a;\n\";2,b\n;3"), ["1,\"a;\n\";2,b\n;", "3"]);
        assert_eq!(cut(framing, 3, 2, "1,2;1,23;1,2;"), ["1,2;", "!4..9", "1,2;"]);
        let framing = Framing::Csv { delimiter: None, last: b'\n' };
        assert_eq!(cut(framing, 100, 100, "\"a\nb\nc"), ["\"a\nb\n", "c"], "a quote is text");
    }

    #[test]
    fn csv_records_may_end_with_a_text() {
        let framing = |last| Framing::EndingWith(RowEnd::of(last).expect("short"));
        assert_eq!(cut(framing("||"), 100, 100, "1,\"a|b||2,b\n||3"), ["1,\"a|b||2,b\n||", "3"]);
        for portion in 1..20 {
            let records = cut(framing("|\n"), 100, portion, "1,a\nb|\n2|c|\n3");
            assert_eq!(records.concat(), "1,a\nb|\n2|c|\n3");
            let is_cut_at_an_end = |record: &String| record.ends_with("|\n") || record == "3";
            assert!(records.iter().all(is_cut_at_an_end), "portions of {portion}: {records:?}");
            let pieces = cut(framing("||"), 3, portion, "abc||abcd||abc||ab|cdef||abc");
            assert_eq!(pieces, ["abc||", "!5..11", "abc||", "!16..25", "abc"], "portions of {portion}");
        }
        assert_eq!(cut(framing("||"), 3, 100, "a||b||c||"), ["a||b||c||"]);
        // The first two of three end the row, wherever the text is cut.
        for portion in 1..20 {
            let mut end = 0;
            for piece in cut(framing("||"), 100, portion, "1,x|||2,y||3,z||") {
                end += piece.len();
                assert!([5, 11, 16].contains(&end), "portions of {portion}: a piece ends at {end}");
            }
        }
        assert_eq!(cut(framing("||"), 3, 1, "abcdefgh|"), ["!0..9"], "the last record does not end");
    }

    #[test]
    fn csv_stray_quotes_are_text() {
        assert_eq!(cut(CSV, 100, 10, "5\" pipe,1\n6,2\n"), ["5\" pipe,1\n", "6,2\n"]);
    }

    #[test]
    fn csv_an_unclosed_quote_costs_one_limit() {
        assert_eq!(cut(CSV, 8, 100, "1,\"aa\n2,bb\n3,cc\n4,dd\n"), ["!0..11", "3,cc\n4,dd\n"]);
    }

    #[test]
    fn documents_need_no_line_breaks() {
        let text = "{\"a\":\"}{\\\"\"}[1,[2]] \n {\"b\":{}}xyz{\"c\"";
        for portion in 1..text.len() {
            let pieces = cut(Framing::Documents, 100, portion, text);
            assert_eq!(pieces.concat(), text);
            for end in ["\"}", "[1,[2]]", "{}}", "xyz"] {
                let joined = pieces.join("|");
                assert!(portion > 3 || joined.contains(&format!("{end}|")), "portions of {portion}: {joined}");
            }
        }
        assert_eq!(cut(Framing::Documents, 5, 100, "{}{\"a\":1}{}\n{}"), ["{}", "!2..12", "{}"], "up to the next line");
    }

    #[test]
    fn the_names_of_a_csv_file_are_skipped() {
        let mut cutter = Cutter::new(CSV, 100, 0).skip_first_record();
        cutter.push(Bytes::from_static(b"\"a\nb\",c\n1,2\n"));
        let piece = cutter.next(false).expect("a piece");
        assert_eq!((&piece.bytes[..], piece.start, piece.end), (&b"1,2\n"[..], 8, 12));
    }

    proptest! {
        #[test]
        fn portions_change_nothing(text in "[a\",\n\r]{0,80}", portion in 1usize..20, max in 1usize..20, csv: bool) {
            let framing = if csv { CSV } else { Framing::Lines };
            let join = |pieces: Vec<String>| {
                // Neighbouring whole records may come in one piece or in several.
                let mut joined: Vec<String> = Vec::new();
                for piece in pieces {
                    match joined.last_mut() {
                        Some(last) if !last.starts_with('!') && !piece.starts_with('!') => last.push_str(&piece),
                        _ => joined.push(piece),
                    }
                }
                joined
            };
            prop_assert_eq!(join(cut(framing, max, portion, &text)), join(cut(framing, max, 1000, &text)));
        }
    }
}
