//! The numeric columns of a relation, as rows of DOUBLE.
//!
//! Numeric are TINYINT, SMALLINT, INTEGER, BIGINT, REAL, FLOAT and DOUBLE, and the whole numbers without a sign and halves that
//! DataFusion has beside them; other columns play no part. DECIMAL is refused (kda-sql-reference.md §5.11), for it would be
//! skipped in silence otherwise. A row with NULL, NaN or an infinite value in a numeric column cannot be used: a model neither
//! learns nor judges it.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err, plan_err};

/// Most numeric columns (kda-sql-reference.md §8, "RCF / HOTSPOTS").
const COLUMNS_MAX: usize = 30;

/// Which columns are numeric, in the order of the relation.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Place and name of each; 1 – 30.
    columns: Vec<(usize, String)>,
}

/// The rows of a batch that can be used.
#[derive(Debug)]
pub(super) struct Rows {
    /// Row after row, a value for each numeric column; all finite.
    pub(super) values: Vec<f64>,
    /// Which rows of the batch these are; None if all.
    pub(super) usable: Option<NullBuffer>,
}

impl Columns {
    /// The numeric columns of `schema`, for the function that errors name.
    pub(super) fn try_new(function: &str, schema: &Schema) -> Result<Self> {
        let mut columns = Vec::new();
        for (place, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            match field.data_type() {
                number if number.is_integer() || number.is_floating() => columns.push((place, name.clone())),
                decimal if decimal.is_decimal() => {
                    // An expression without an alias is called after its text.
                    let is_word = name.chars().all(|c| c.is_alphanumeric() || c == '_');
                    let expression = if is_word { format!("\"{name}\"") } else { name.clone() };
                    return plan_err!(
                        "{function} cannot use column {expression}: DECIMAL is not a supported type, use CAST({expression} AS DOUBLE)"
                    );
                }
                _ => {}
            }
        }
        match columns.len() {
            1..=COLUMNS_MAX => Ok(Self { columns }),
            count => plan_err!("{function} needs 1 to {COLUMNS_MAX} numeric columns, there are {count}"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Names as the relation spells them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(_, name)| name.as_str())
    }

    /// The values of a batch of the relation.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Rows> {
        let arrays = self.columns.iter().map(|(place, name)| double(batch, *place, name)).collect::<Result<Vec<_>>>()?;
        let usable = arrays.iter().fold(None, |usable, array| NullBuffer::union(usable.as_ref(), usable_rows(array).as_ref()));
        let usable = usable.filter(|usable| usable.null_count() > 0);
        let width = self.len();
        let count = usable.as_ref().map_or(batch.num_rows(), |usable| usable.len() - usable.null_count());
        let mut values = vec![0.0; count * width];
        // Adding 0 makes -0 a 0, so that which of the two comes first plays no part.
        for (column, array) in arrays.iter().enumerate() {
            let array: &Float64Array = array.as_primitive::<Float64Type>();
            let places = values.iter_mut().skip(column).step_by(width);
            match &usable {
                None => places.zip(array.values()).for_each(|(place, value)| *place = *value + 0.0),
                Some(usable) => {
                    places.zip(usable.valid_indices()).for_each(|(place, row)| *place = array.value(row) + 0.0);
                }
            }
        }
        Ok(Rows { values, usable })
    }
}

impl Rows {
    /// For each of the batch's `rows` its number among the usable rows, None if it is not.
    pub(super) fn spread(&self, rows: usize) -> impl Iterator<Item = Option<usize>> {
        let mut next = 0;
        (0..rows).map(move |row| {
            let usable = self.usable.as_ref().is_none_or(|usable| usable.is_valid(row));
            next += usize::from(usable);
            usable.then(|| next - 1)
        })
    }
}

fn double(batch: &RecordBatch, place: usize, name: &str) -> Result<ArrayRef> {
    match batch.columns().get(place) {
        Some(column) => Ok(cast(column, &DataType::Float64)?),
        None => exec_err!("a batch without column \"{name}\", which is column {place} of the cursor"),
    }
}

/// Rows that are neither NULL nor NaN nor infinite; None if all are.
fn usable_rows(array: &ArrayRef) -> Option<NullBuffer> {
    let values = array.as_primitive::<Float64Type>().values();
    if values.iter().all(|value| value.is_finite()) {
        return array.nulls().cloned();
    }
    let finite = NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| values[row].is_finite()));
    NullBuffer::union(array.nulls(), Some(&finite))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float16Array, Float32Array, Int8Array, StringArray, UInt8Array, UInt64Array};
    use arrow::datatypes::{Float16Type, Int64Type};

    use super::*;

    #[test]
    fn every_type_of_number_is_a_column() {
        let half = cast(&Int8Array::from(vec![3, 4]), &DataType::Float16).expect("small numbers");
        let half: Float16Array = half.as_primitive::<Float16Type>().clone();
        let columns: [(&str, ArrayRef); 6] = [
            ("text", Arc::new(StringArray::from(vec!["a", "b"]))),
            ("tiny", Arc::new(Int8Array::from(vec![Some(-1), None]))),
            ("byte", Arc::new(UInt8Array::from(vec![255, 0]))),
            ("long", Arc::new(UInt64Array::from(vec![1 << 63, 0]))),
            ("half", Arc::new(half)),
            ("real", Arc::new(Float32Array::from(vec![0.5, 1.5]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("equal lengths");
        let columns = Columns::try_new("F", &batch.schema()).expect("numbers");
        assert_eq!(columns.names().collect::<Vec<_>>(), ["tiny", "byte", "long", "half", "real"]);
        let rows = columns.read(&batch).expect("a batch of the relation");
        // The second row has a NULL.
        assert_eq!(rows.values, [-1.0, 255.0, (1u64 << 63) as f64, 3.0, 0.5]);
        assert_eq!(rows.spread(2).collect::<Vec<_>>(), [Some(0), None]);
    }

    #[test]
    fn a_decimal_is_refused() {
        let number = cast(&arrow::array::PrimitiveArray::<Int64Type>::from(vec![1]), &DataType::Decimal128(9, 2)).expect("fits");
        let batch = RecordBatch::try_from_iter([("price", number)]).expect("one column");
        let error = Columns::try_new("F", &batch.schema()).expect_err("a DECIMAL").to_string();
        assert!(error.contains("F cannot use column \"price\": DECIMAL is not a supported type, use CAST"), "{error}");
    }
}
