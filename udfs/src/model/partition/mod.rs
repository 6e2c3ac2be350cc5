//! One model for each key: `PARTITION BY`, which goes beyond the service.
//!
//! Each key has a model of its own that learns from its rows alone; NULL is a key. There are at most `models_max` models:
//! a new key takes the place of the key that has been silent for the longest time. A key that is silent for longer than
//! `idle_ms` of event time starts afresh. Both follow from the rows alone, whatever the batches.

mod recency;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow::compute::{cast, concat, take, take_record_batch};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, TimeUnit};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::utils::normalize_float_zero;
use datafusion::common::{Result, exec_err, plan_err};

use self::recency::Recency;
use super::Model;
use super::bytes::{Reader, Writer, damaged};

const TAG: [u8; 4] = *b"KRPT";
const VERSION: u16 = 1;

/// How models are kept for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOptions {
    /// Columns of the relation that make the key, by their place; at least one.
    pub keys: Vec<usize>,
    /// Most models, at least 1.
    pub models_max: usize,
    /// The event-time column (TIMESTAMP), by its place, and how many milliseconds a key may be silent; None for ever.
    pub idle_ms: Option<(usize, i64)>,
}

/// A model for each key.
pub struct Partitioned<M> {
    options: PartitionOptions,
    /// A model that has seen nothing.
    empty: M,
    key_fields: Vec<FieldRef>,
    converter: RowConverter,
    places: HashMap<Arc<[u8]>, u32>,
    entries: Vec<Option<Entry<M>>>,
    free: Vec<u32>,
    recency: Recency,
    /// The latest event time so far, in milliseconds.
    now: i64,
    /// Bytes of all entries.
    bytes: usize,
}

struct Entry<M> {
    key: Arc<[u8]>,
    model: M,
    /// [`Partitioned::now`] at the key's last row.
    last: i64,
    bytes: usize,
    /// The key's rows of this batch that the model has not seen yet.
    waiting: Vec<u32>,
}

/// What has come out for a batch: parts, and which rows they are of.
struct Parts {
    rows: Vec<u32>,
    columns: Vec<Vec<ArrayRef>>,
}

impl<M: Model + Clone> Partitioned<M> {
    /// Models for keys of `schema` that start as copies of `empty`. Fails if an option is out of its range.
    pub fn try_new(empty: M, options: PartitionOptions, schema: &Schema) -> Result<Self> {
        if options.models_max == 0 || u32::try_from(options.models_max).is_err() {
            return plan_err!("the number of models of PARTITION BY is {}, it must be 1 to {}", options.models_max, u32::MAX);
        }
        if let Some((_, idle_ms)) = options.idle_ms
            && idle_ms <= 0
        {
            return plan_err!("the idle time of PARTITION BY is {idle_ms} ms, it must be at least 1 ms");
        }
        let column = |place: &usize| schema.fields().get(*place).cloned();
        let Some(key_fields) = options
            .keys
            .iter()
            .map(|place| Some(Arc::new(column(place)?.as_ref().clone().with_nullable(true))))
            .collect::<Option<Vec<_>>>()
            .filter(|keys| !keys.is_empty())
        else {
            return plan_err!("PARTITION BY needs at least one column of the cursor");
        };
        if let Some((place, _)) = options.idle_ms
            && !column(&place).is_some_and(|field| matches!(field.data_type(), DataType::Timestamp(_, _)))
        {
            return plan_err!("the idle time of PARTITION BY needs a TIMESTAMP column");
        }
        Self::without_keys(empty, options, key_fields)
    }

    fn without_keys(empty: M, options: PartitionOptions, key_fields: Vec<FieldRef>) -> Result<Self> {
        let converter = RowConverter::new(key_fields.iter().map(|field| SortField::new(field.data_type().clone())).collect())?;
        Ok(Self {
            options,
            empty,
            key_fields,
            converter,
            places: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            recency: Recency::default(),
            now: i64::MIN,
            bytes: 0,
        })
    }

    /// How many keys have a model.
    pub fn models(&self) -> usize {
        self.places.len()
    }

    fn times(&self, batch: &RecordBatch) -> Result<Option<Int64Array>> {
        let Some((place, _)) = self.options.idle_ms else { return Ok(None) };
        let Some(column) = batch.columns().get(place) else { return exec_err!("a batch without its event-time column") };
        let milliseconds = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        Ok(Some(cast(&milliseconds, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
    }

    fn is_idle(&self, last: i64) -> bool {
        self.options.idle_ms.is_some_and(|(_, idle_ms)| self.now.saturating_sub(last) > idle_ms)
    }

    /// The place of a key's model for the next row; models that must go see their rows of the batch first.
    fn place(&mut self, key: &[u8], batch: &RecordBatch, parts: &mut Parts) -> Result<u32> {
        if let Some(place) = self.places.get(key).copied() {
            if !self.entries[place as usize].as_ref().is_some_and(|entry| self.is_idle(entry.last)) {
                return Ok(place);
            }
            self.drop_model(place, batch, parts)?;
        } else if self.places.len() == self.options.models_max
            && let Some(place) = self.recency.first()
        {
            self.drop_model(place, batch, parts)?;
        }
        Ok(self.add(key.into(), self.empty.clone(), self.now))
    }

    fn add(&mut self, key: Arc<[u8]>, model: M, last: i64) -> u32 {
        let bytes = model.memory_size() + key.len() + size_of::<Option<Entry<M>>>();
        let entry = Some(Entry { key: key.clone(), model, last, bytes, waiting: Vec::new() });
        self.bytes += bytes;
        let place = self.free.pop().unwrap_or(self.entries.len() as u32);
        if place as usize == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[place as usize] = entry;
        }
        self.places.insert(key, place);
        self.recency.touch(place);
        place
    }

    fn drop_model(&mut self, place: u32, batch: &RecordBatch, parts: &mut Parts) -> Result<()> {
        self.run(place, batch, parts)?;
        if let Some(entry) = self.entries[place as usize].take() {
            self.bytes -= entry.bytes;
            self.places.remove(&entry.key);
            self.recency.remove(place);
            self.free.push(place);
        }
        Ok(())
    }

    /// Shows a model the rows that wait for it.
    fn run(&mut self, place: u32, batch: &RecordBatch, parts: &mut Parts) -> Result<()> {
        let Some(entry) = &mut self.entries[place as usize] else { return Ok(()) };
        if entry.waiting.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from(std::mem::take(&mut entry.waiting));
        let columns = entry.model.update(&take_record_batch(batch, &rows)?)?;
        parts.rows.extend(rows.values());
        parts.columns.iter_mut().zip(columns).for_each(|(parts, column)| parts.push(column));
        let bytes = entry.model.memory_size() + entry.key.len() + size_of::<Option<Entry<M>>>();
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        Ok(())
    }

    fn drop_idle(&mut self, batch: &RecordBatch, parts: &mut Parts) -> Result<()> {
        while let Some(place) = self.recency.first()
            && self.entries[place as usize].as_ref().is_some_and(|entry| self.is_idle(entry.last))
        {
            self.drop_model(place, batch, parts)?;
        }
        Ok(())
    }

    /// Keys as Arrow IPC, the longest silent first: the form in which they are looked up may change between versions.
    fn keys(&self) -> Result<Vec<u8>> {
        let parser = self.converter.parser();
        let entries = self.recency.iter().filter_map(|place| self.entries[place as usize].as_ref());
        let columns = self.converter.convert_rows(entries.map(|entry| parser.parse(&entry.key)))?;
        let schema = Arc::new(Schema::new(self.key_fields.clone()));
        let batch = RecordBatch::try_new_with_options(
            schema.clone(),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(self.places.len())),
        )?;
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?)
    }
}

impl<M: Model + Clone> Model for Partitioned<M> {
    fn fields(&self) -> Vec<FieldRef> {
        self.empty.fields()
    }

    fn update(&mut self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let Some(keys) = self.options.keys.iter().map(|key| batch.columns().get(*key).cloned()).collect::<Option<Vec<_>>>()
        else {
            return exec_err!("a batch without the columns of PARTITION BY");
        };
        // Rows compare bits: to them −0.0 is another key than 0.0.
        let keys: Vec<_> = keys.iter().map(normalize_float_zero).collect();
        let (keys, times) = (self.converter.convert_columns(&keys)?, self.times(batch)?);
        let fields = self.fields();
        let mut parts = Parts { rows: Vec::with_capacity(batch.num_rows()), columns: vec![Vec::new(); fields.len()] };
        let mut waiting = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            if let Some(times) = &times
                && times.is_valid(row)
            {
                self.now = self.now.max(times.value(row));
            }
            let place = self.place(key.as_ref(), batch, &mut parts)?;
            self.recency.touch(place);
            if let Some(entry) = &mut self.entries[place as usize] {
                entry.last = self.now;
                if entry.waiting.is_empty() {
                    waiting.push(place);
                }
                entry.waiting.push(row as u32);
            }
        }
        for place in waiting {
            self.run(place, batch, &mut parts)?;
        }
        self.drop_idle(batch, &mut parts)?;
        // Row r of the batch is at `order[r]` in the parts.
        let mut order = vec![0; batch.num_rows()];
        parts.rows.iter().enumerate().for_each(|(at, row)| order[*row as usize] = at as u32);
        let order = UInt32Array::from(order);
        let join = |(field, parts): (&FieldRef, &Vec<ArrayRef>)| -> Result<ArrayRef> {
            if parts.is_empty() {
                return Ok(new_empty_array(field.data_type()));
            }
            let arrays: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
            Ok(take(&concat(&arrays)?, &order, None)?)
        };
        fields.iter().zip(&parts.columns).map(join).collect()
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(TAG, VERSION);
        writer.bytes(&self.keys()?);
        writer.u64(self.now as u64);
        for entry in self.recency.iter().filter_map(|place| self.entries[place as usize].as_ref()) {
            writer.u64(entry.last as u64);
            writer.bytes(&entry.model.snapshot()?);
        }
        Ok(writer.finish())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        let mut reader = Reader::try_new(snapshot, TAG, VERSION)?;
        let Some(keys) = StreamReader::try_new(reader.bytes()?, None)?.next().transpose()? else {
            return Err(damaged("it has no keys"));
        };
        let types = keys.schema().fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        if !types.iter().eq(self.key_fields.iter().map(|field| field.data_type())) {
            return exec_err!("the saved models have keys of other types");
        }
        if keys.num_rows() > self.options.models_max {
            return exec_err!("{} models were saved, at most {} are allowed", keys.num_rows(), self.options.models_max);
        }
        let mut restored = Self::without_keys(self.empty.clone(), self.options.clone(), self.key_fields.clone())?;
        restored.now = reader.u64()? as i64;
        for key in restored.converter.convert_columns(keys.columns())?.iter() {
            let last = reader.u64()? as i64;
            let mut model = self.empty.clone();
            model.restore(reader.bytes()?)?;
            if restored.places.contains_key(key.as_ref()) {
                return Err(damaged("a key is there twice"));
            }
            restored.add(key.as_ref().into(), model, last);
        }
        reader.finish()?;
        *self = restored;
        Ok(())
    }

    fn memory_size(&self) -> usize {
        // A key in the map: its address, its length and its place, and the table is up to half empty.
        let map = self.places.capacity() * 2 * size_of::<(Arc<[u8]>, u32)>();
        size_of::<Self>() + self.empty.memory_size() + self.bytes + map + self.recency.size()
    }

    /// Each row may have a new key.
    fn growth(&self, rows: usize) -> usize {
        rows.saturating_mul(self.empty.memory_size() + self.empty.growth(1) + size_of::<Option<Entry<M>>>())
    }
}
