//! JSON records to rows.
//!
//! Input:  documents, one per line or one after the other in a line. A document never spans lines, so a torn one costs
//!         its own line only; in records that a service keeps apart it may, and a torn one costs what is before the next
//!         line that begins with `{`. Blanks, CR and byte order marks around documents and empty lines are skipped.
//! Output: one row per document, the columns in the order given. Columns take their values by path (json/path.rs); names
//!         are compared exactly, the last of several equal members wins, a missing member is NULL.
//! Errors: none for bad records. `Parse`: not an object in JSON, not UTF-8; the rest goes with it. `Coercion`: a value that
//!         does not fit its column (format/column.rs); only this document goes. `TooLarge`: a document over the limit of rows.
//! Speed:  what no column needs is checked but neither copied nor converted. Streams repeat one layout, so the bytes
//!         between values (`,"PRICE":`) are compared with those of the record before; only when they differ is the member
//!         name looked up. Plain numbers and strings are read in place; escapes, unusual numbers and nesting beyond 64
//!         levels are left to serde_json and the standard library.
//! See:    kda-sql-reference.md §6.7.

use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::de::IgnoredAny;

use super::path::{Member, Node, Path, Step, Tree};
use crate::error::Result;
use crate::format::column::{ColumnBuilder, Value, Values};
use crate::format::{DecodeColumn, Decoder, RejectReason, Rejected, framed, number, text};
use crate::types::SqlType;

/// Longest lead that is kept for comparison; longer ones (much white space) are parsed each time.
const LEAD_MAX: usize = 256;

/// Decodes JSON documents.
pub struct JsonDecoder {
    schema: SchemaRef,
    tree: Tree,
    rows: Rows,
    row_bytes_max: usize,
}

/// The rows of the batch so far, and what becomes of the current document.
struct Rows {
    columns: Vec<ColumnBuilder>,
    /// Complete rows: every column has at least as many.
    count: usize,
    mode: Mode,
    /// Under [`Mode::Locate`]: the value of each column in the line.
    spans: Vec<Option<(usize, usize)>>,
    scratch: Vec<u8>,
}

/// How much is done with values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Convert them into the columns.
    Convert,
    /// A value did not fit: see only whether the rest is JSON.
    Check,
    /// Note where the value of each column stands.
    Locate,
}

/// Most members of an object whose leads are kept.
const LAYOUT_MAX: usize = 1024;

/// The bytes are no JSON document.
struct Malformed;

type Parsed<T> = Result<T, Malformed>;

impl JsonDecoder {
    /// Fails with `Config` if a column's path is outside the subset or its type is not an SQL type.
    pub fn try_new(columns: Vec<DecodeColumn>) -> Result<Self> {
        let paths = columns
            .iter()
            .map(|column| match &column.path {
                Some(path) => Path::parse(path),
                None => Ok(Path::member(column.field.name())),
            })
            .collect::<Result<Vec<_>>>()?;
        let builders = columns.iter().map(|column| ColumnBuilder::try_new(&column.field)).collect::<Result<Vec<_>>>()?;
        let schema = Schema::new(columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>());
        let rows =
            Rows { spans: vec![None; builders.len()], columns: builders, count: 0, mode: Mode::Convert, scratch: Vec::new() };
        Ok(Self { schema: Arc::new(schema), tree: Tree::new(&paths), rows, row_bytes_max: usize::MAX })
    }

    /// Decodes the documents of a line, or of a record with its lines, that starts at `position` of the decoded bytes.
    fn documents(&mut self, line: &[u8], position: usize, is_utf8: bool, rejected: &mut Vec<Rejected>) {
        let mut at = skip_blanks(line, 0);
        if line[at..].starts_with(b"\xEF\xBB\xBF") {
            at = skip_blanks(line, at + 3);
        }
        if at == line.len() {
            return;
        }
        if !is_utf8 && std::str::from_utf8(&line[at..]).is_err() {
            let message = "the record is not UTF-8".to_owned();
            rejected.push(Rejected::new(line[at..].trim_ascii_end(), position + at, RejectReason::Parse, message));
            return;
        }
        while at < line.len() {
            match self.document(line, at) {
                Ok((end, refusal)) => {
                    if end - at > self.row_bytes_max {
                        if refusal.is_none() {
                            self.rows.take_back_row();
                        }
                        rejected.push(Rejected::too_large(&line[at..end], position + at, self.row_bytes_max));
                    } else if let Some(message) = refusal {
                        rejected.push(Rejected::new(&line[at..end], position + at, RejectReason::Coercion, message));
                    }
                    at = skip_blanks(line, end);
                }
                Err(Malformed) => {
                    self.rows.take_back();
                    // Inside of a document braces are indented, so this is where another one begins.
                    let next = memchr::memmem::find(&line[at..], b"\n{").map_or(line.len(), |length| at + length);
                    let record = line[at..next].trim_ascii_end();
                    rejected.push(Rejected::new(record, position + at, RejectReason::Parse, why_malformed(record)));
                    at = skip_blanks(line, next);
                }
            }
        }
    }

    /// Decodes the document at `at`; returns its end, and why it is refused although it is JSON.
    #[inline]
    fn document(&mut self, line: &[u8], at: usize) -> Parsed<(usize, Option<String>)> {
        self.rows.mode = Mode::Convert;
        let end = object(&mut self.tree, &mut self.rows, 0, line, at)?;
        for leaf in &self.tree.root {
            self.rows.whole(leaf.column, leaf.array, line, at, end)?;
        }
        if self.rows.mode == Mode::Convert && self.rows.complete() {
            return Ok((end, None));
        }
        self.explain(line, at, end)
    }

    /// The careful way for a document with a value that did not fit: finds the last value of every column, then converts
    /// them in the order of the columns. Accepts the row if the offending value was replaced by a later one.
    #[cold]
    fn explain(&mut self, line: &[u8], at: usize, end: usize) -> Parsed<(usize, Option<String>)> {
        self.rows.take_back();
        self.rows.mode = Mode::Locate;
        self.rows.spans.fill(None);
        object(&mut self.tree, &mut self.rows, 0, line, at)?;
        for leaf in &self.tree.root {
            self.rows.whole(leaf.column, leaf.array, line, at, end)?;
        }
        let Rows { columns, spans, scratch, .. } = &mut self.rows;
        for (column, span) in columns.iter_mut().zip(spans) {
            let value = match *span {
                Some((start, end)) => value_of(&line[start..end], scratch)?,
                None => Value::Null,
            };
            if let Err(refusal) = column.push(value) {
                let message = column.explain(value, refusal);
                self.rows.take_back();
                return Ok((end, Some(message)));
            }
        }
        self.rows.count += 1;
        Ok((end, None))
    }
}

impl JsonDecoder {
    fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows.count);
        let arrays = self.rows.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn limit_rows(&mut self, bytes: usize) {
        self.row_bytes_max = bytes;
    }

    fn decode(&mut self, bytes: &[u8], rejected: &mut Vec<Rejected>) -> Result<RecordBatch> {
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        let mut start = 0;
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
            self.documents(&bytes[start..end], start, is_utf8, rejected);
            start = end + 1;
        }
        self.finish()
    }

    fn decode_records(
        &mut self,
        bytes: &[u8],
        ends: &[u32],
        mut records_of_rows: Option<&mut Vec<u32>>,
        rejected: &mut Vec<Rejected>,
    ) -> Result<RecordBatch> {
        let (records, is_utf8) = framed(bytes, ends)?;
        for (place, record) in records.enumerate() {
            let start = record.start;
            self.documents(&bytes[record], start, is_utf8, rejected);
            if let Some(records_of_rows) = &mut records_of_rows {
                records_of_rows.resize(self.rows.count, place as u32);
            }
        }
        self.finish()
    }
}

/// Reads the object at `at` and gives the values of its members to the columns of `node`; returns its end.
fn object(tree: &mut Tree, rows: &mut Rows, node: usize, line: &[u8], mut at: usize) -> Parsed<usize> {
    let mut index = 0;
    loop {
        let step = match tree.nodes[node].layout.get(index) {
            Some(member) if text::starts_with(&line[at..], &member.lead) => {
                at += member.lead.len();
                member.step
            }
            _ => match lead(tree, node, index, line, at)? {
                Lead::End(end) => return Ok(end),
                Lead::Member(step, start) => {
                    at = start;
                    step
                }
            },
        };
        at = match step {
            Step::Skip => skip_value(line, at)?,
            Step::Column(column) => rows.value(column, line, at)?,
            Step::Target(target) => value_of_target(tree, rows, target, line, at)?,
        };
        index += 1;
    }
}

/// What stands between two values.
enum Lead {
    /// The object ends, before this byte.
    End(usize),
    /// Another member, whose value starts here.
    Member(Step, usize),
}

/// Reads from the end of a value (or the start of the object) to the next value, and remembers these bytes.
fn lead(tree: &mut Tree, node: usize, index: usize, line: &[u8], start: usize) -> Parsed<Lead> {
    let mut at = skip_blanks(line, start);
    match (index, line.get(at)) {
        (0, Some(b'{')) => {
            at = skip_blanks(line, at + 1);
            if line.get(at) == Some(&b'}') {
                return Ok(Lead::End(at + 1));
            }
        }
        (1.., Some(b',')) => at = skip_blanks(line, at + 1),
        (1.., Some(b'}')) => return Ok(Lead::End(at + 1)),
        _ => return Err(Malformed),
    }
    let Node { members, layout } = &mut tree.nodes[node];
    let name_end = skip_string(line, at)?;
    let mut scratch = Vec::new();
    let name = std::str::from_utf8(unescape(&line[at..name_end], &mut scratch)?).map_err(|_| Malformed)?;
    let step = members.get(name).copied().unwrap_or(Step::Skip);
    at = skip_blanks(line, name_end);
    if line.get(at) != Some(&b':') {
        return Err(Malformed);
    }
    at = skip_blanks(line, at + 1);
    if at - start <= LEAD_MAX {
        let lead = &line[start..at];
        if let Some(member) = layout.get_mut(index) {
            member.lead.clear();
            member.lead.extend_from_slice(lead);
            member.step = step;
        } else if layout.len() == index && index < LAYOUT_MAX {
            // Not equal if a lead before was too long to keep.
            layout.push(Member { lead: lead.to_owned(), step });
        }
    }
    Ok(Lead::Member(step, at))
}

/// Calls `take` with every element of an array that is JSON.
pub(crate) fn elements<'a>(array: &'a [u8], mut take: impl FnMut(&'a [u8])) {
    let mut at = skip_blanks(array, 1);
    while array.get(at).is_some_and(|byte| *byte != b']') {
        let Ok(end) = skip_value(array, at) else { return };
        take(&array[at..end]);
        at = skip_blanks(array, end);
        if array.get(at) == Some(&b',') {
            at = skip_blanks(array, at + 1);
        }
    }
}

/// Gives a value to several columns, or to columns further down.
fn value_of_target(tree: &mut Tree, rows: &mut Rows, target: usize, line: &[u8], at: usize) -> Parsed<usize> {
    let at = skip_blanks(line, at);
    let target = &tree.targets[target];
    // An earlier member of the same name counts no more, with all that was in it.
    for &column in &target.below {
        rows.forget(column);
    }
    let node = target.node.filter(|_| line.get(at) == Some(&b'{'));
    let end = match node {
        Some(_) if target.leaves.is_empty() => None,
        _ => Some(skip_value(line, at)?),
    };
    if let Some(end) = end {
        for leaf in &target.leaves {
            rows.whole(leaf.column, leaf.array, line, at, end)?;
        }
    }
    match (node, end) {
        (Some(node), _) => object(tree, rows, node, line, at),
        (None, Some(end)) => Ok(end),
        (None, None) => Err(Malformed),
    }
}

impl Rows {
    /// Reads the value at `at` into a column; returns its end.
    #[inline]
    fn value(&mut self, column: usize, line: &[u8], at: usize) -> Parsed<usize> {
        if self.mode != Mode::Convert {
            let at = skip_blanks(line, at);
            let end = skip_value(line, at)?;
            self.spans[column] = Some((at, end));
            return Ok(end);
        }
        let builder = &mut self.columns[column];
        if builder.len() > self.count {
            // The member stands twice: the last one wins.
            builder.truncate(self.count);
        }
        match (builder.sql_type, &mut builder.values) {
            (SqlType::Double, Values::Float64(values)) => {
                if let Some((value, length)) = number::leading_double(&line[at..]) {
                    values.push(value);
                    builder.added();
                    return Ok(at + length);
                }
            }
            (SqlType::BigInt, Values::Int64(values)) => {
                if let Some((value, length)) = number::leading_integer(&line[at..]) {
                    values.push(value);
                    builder.added();
                    return Ok(at + length);
                }
            }
            (SqlType::Integer, Values::Int32(values)) => {
                if let Some((value, length)) = number::leading_integer(&line[at..])
                    && let Ok(value) = i32::try_from(value)
                {
                    values.push(value);
                    builder.added();
                    return Ok(at + length);
                }
            }
            (SqlType::Timestamp, Values::Int64(values)) => {
                if line.get(at) == Some(&b'"')
                    && let Some((ms, length)) = builder.timestamps.parse_leading(&line[at + 1..])
                    && line.get(at + 1 + length) == Some(&b'"')
                {
                    values.push(ms);
                    builder.added();
                    return Ok(at + length + 2);
                }
            }
            (SqlType::Varchar(_), _) => {
                if let Some((text, end)) = plain_string(line, at)
                    && builder.push_characters(text).is_ok()
                {
                    return Ok(end);
                }
            }
            _ => {}
        }
        let at = skip_blanks(line, at);
        let end = skip_value(line, at)?;
        self.convert(column, &line[at..end])?;
        Ok(end)
    }

    /// Gives the value `line[start..end]` to a column.
    fn whole(&mut self, column: usize, array: bool, line: &[u8], start: usize, end: usize) -> Parsed<()> {
        if array && line.get(start) != Some(&b'[') {
            return Ok(());
        }
        match self.mode {
            Mode::Convert => self.convert(column, &line[start..end]),
            Mode::Check => Ok(()),
            Mode::Locate => {
                self.spans[column] = Some((start, end));
                Ok(())
            }
        }
    }

    /// Any value in any column.
    fn convert(&mut self, column: usize, raw: &[u8]) -> Parsed<()> {
        let value = value_of(raw, &mut self.scratch)?;
        if self.columns[column].push(value).is_err() {
            self.mode = Mode::Check;
        }
        Ok(())
    }

    /// Forgets the current document's value of a column.
    fn forget(&mut self, column: usize) {
        self.spans[column] = None;
        if self.columns[column].len() > self.count {
            self.columns[column].truncate(self.count);
        }
    }

    /// Completes the row with NULLs; false if one may not be.
    #[inline]
    fn complete(&mut self) -> bool {
        for column in &mut self.columns {
            if column.len() == self.count && column.push_null().is_err() {
                return false;
            }
        }
        self.count += 1;
        true
    }

    /// Forgets the last complete row.
    #[cold]
    fn take_back_row(&mut self) {
        self.count -= 1;
        self.take_back();
    }

    /// Forgets the current document.
    #[cold]
    fn take_back(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.count);
        }
    }
}

/// White space; a line has no line break.
#[inline(always)]
fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = line.get(at) {
        at += 1;
    }
    at
}

/// The end of the value at `at`, which may have blanks before it. Checks that it is JSON.
#[inline]
fn skip_value(line: &[u8], at: usize) -> Parsed<usize> {
    let at = skip_blanks(line, at);
    match line.get(at) {
        Some(b'"') => skip_string(line, at),
        Some(b'-' | b'0'..=b'9') => number::json_number_end(line, at).ok_or(Malformed),
        Some(b'{' | b'[') => skip_container(line, at),
        _ => [&b"true"[..], b"false", b"null"]
            .iter()
            .find(|word| line[at..].starts_with(word))
            .map(|word| at + word.len())
            .ok_or(Malformed),
    }
}

/// The end of the string at `at`.
#[inline]
fn skip_string(line: &[u8], at: usize) -> Parsed<usize> {
    match plain_string(line, at) {
        Some((_, end)) => Ok(end),
        None if line.get(at) == Some(&b'"') => skip_any(line, at),
        None => Err(Malformed),
    }
}

/// The end of the object or array at `at`.
fn skip_container(line: &[u8], start: usize) -> Parsed<usize> {
    const DEPTH_MAX: u32 = u64::BITS;
    // One bit per open container, the innermost one lowest: 1 for an object.
    let mut open: u64 = 0;
    let mut depth = 0;
    let mut at = start;
    loop {
        // Here a value starts.
        at = skip_blanks(line, at);
        match line.get(at) {
            Some(&bracket @ (b'{' | b'[')) => {
                let is_object = bracket == b'{';
                at = skip_blanks(line, at + 1);
                if line.get(at) == Some(if is_object { &b'}' } else { &b']' }) {
                    at += 1;
                } else if depth == DEPTH_MAX {
                    return skip_any(line, start);
                } else {
                    open = open << 1 | u64::from(is_object);
                    depth += 1;
                    if is_object {
                        at = skip_name(line, at)?;
                    }
                    continue;
                }
            }
            _ => at = skip_value(line, at)?,
        }
        // Here a value has ended, and perhaps the containers around it.
        while depth > 0 {
            at = skip_blanks(line, at);
            let is_object = open & 1 == 1;
            match line.get(at) {
                Some(b',') if is_object => {
                    at = skip_name(line, skip_blanks(line, at + 1))?;
                    break;
                }
                Some(b',') => {
                    at += 1;
                    break;
                }
                Some(b'}') if is_object => at += 1,
                Some(b']') if !is_object => at += 1,
                _ => return Err(Malformed),
            }
            open >>= 1;
            depth -= 1;
        }
        if depth == 0 {
            return Ok(at);
        }
    }
}

/// The start of the value that belongs to the member name at `at`.
fn skip_name(line: &[u8], at: usize) -> Parsed<usize> {
    let at = skip_blanks(line, skip_string(line, at)?);
    if line.get(at) == Some(&b':') { Ok(at + 1) } else { Err(Malformed) }
}

/// The end of any value, by serde_json. It keeps no stack frame per level, so depth is no danger.
fn skip_any(line: &[u8], at: usize) -> Parsed<usize> {
    let mut values = serde_json::Deserializer::from_slice(&line[at..]).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => Ok(at + values.byte_offset()),
        _ => Err(Malformed),
    }
}

/// The content of the string at `at` and its end, if it has no escapes.
#[inline]
fn plain_string(line: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (&b'"', content) = line.get(at..)?.split_first()? else { return None };
    let length = text::plain_length(content);
    (content.get(length) == Some(&b'"')).then(|| (&content[..length], at + length + 2))
}

/// The text of a JSON string with its quotes. Fails on half a surrogate pair, which no text can hold.
fn unescape<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> Parsed<&'a [u8]> {
    let content = &raw[1..raw.len() - 1];
    if !content.contains(&b'\\') {
        return Ok(content);
    }
    let text: String = serde_json::from_slice(raw).map_err(|_| Malformed)?;
    *scratch = text.into_bytes();
    Ok(scratch)
}

/// A value that is known to be JSON.
fn value_of<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> Parsed<Value<'a>> {
    Ok(match raw.first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Boolean(true),
        Some(b'f') => Value::Boolean(false),
        Some(b'"') => Value::Text(unescape(raw, scratch)?),
        Some(b'{' | b'[') => {
            compact(raw, scratch);
            Value::Container(scratch)
        }
        _ => Value::Number(raw),
    })
}

/// Drops the white space between tokens.
fn compact(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut in_string = false;
    let mut escaped = false;
    for &byte in raw {
        if in_string || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            out.push(byte);
        }
        if escaped {
            escaped = false;
        } else if byte == b'"' {
            in_string = !in_string;
        } else {
            escaped = in_string && byte == b'\\';
        }
    }
}

/// What serde_json finds wrong with a record.
fn why_malformed(record: &[u8]) -> String {
    if record.first() != Some(&b'{') {
        return match skip_value(record, 0) {
            Ok(_) => "the record is JSON but not an object".to_owned(),
            Err(Malformed) => "the record is not JSON: it does not start with {".to_owned(),
        };
    }
    match serde_json::Deserializer::from_slice(record).into_iter::<IgnoredAny>().next() {
        Some(Err(error)) => {
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text);
            let line = if error.line() > 1 { format!("line {}, ", error.line()) } else { String::new() };
            format!("the record is not JSON: {what} at {line}character {}", error.column())
        }
        _ => "the record is not JSON: a string has half of a surrogate pair".to_owned(),
    }
}
