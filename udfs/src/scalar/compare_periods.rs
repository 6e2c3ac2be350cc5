//! COMPARE_PERIODS(relation, start, end, …): how two periods of time lie to each other, the function behind
//! `(s1, e1) OVERLAPS (s2, e2)` and the other temporal predicates (kda-sql-reference.md §1.11).
//!
//! Input:  a constant relation such as 'STRICTLY OVERLAPS'; the start and end of a period; those of a second one, or for
//!         CONTAINS one point in time. All TIMESTAMP, all DATE or all TIME.
//! Output: BOOLEAN; NULL if any bound is NULL.
//! Time:   a period is half-open: it begins at its start and ends before its end.
//! Errors: an unknown relation, or times of several types, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, BooleanArray, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_DATETIME;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::any_nullable;
use super::instant::milliseconds;
use crate::sql_type::{SqlType, sql_type_name};

/// The function `compare_periods`.
pub fn udf() -> Arc<ScalarUDF> {
    static COMPARE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(ComparePeriods::default())));
    COMPARE.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ComparePeriods {
    signature: Signature,
}

impl Default for ComparePeriods {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

/// A relation of two periods: `[s1, e1)` and `[s2, e2)`.
type Relation = fn(s1: i64, e1: i64, s2: i64, e2: i64) -> bool;

/// Every relation. Those that no standard has follow the reading of §1.11: LEADS and LAGS are STRICTLY or IMMEDIATELY so.
const RELATIONS: [(&str, Relation); 17] = [
    ("EQUALS", |s1, e1, s2, e2| s1 == s2 && e1 == e2),
    ("CONTAINS", |s1, e1, s2, e2| s1 <= s2 && e1 >= e2),
    ("STRICTLY CONTAINS", |s1, e1, s2, e2| s1 < s2 && e1 > e2),
    ("OVERLAPS", |s1, e1, s2, e2| s1 < e2 && s2 < e1),
    ("STRICTLY OVERLAPS", |s1, e1, s2, e2| s1 < e2 && s2 < e1 && s1 != s2 && e1 != e2),
    ("PRECEDES", |_, e1, s2, _| e1 <= s2),
    ("STRICTLY PRECEDES", |_, e1, s2, _| e1 < s2),
    ("IMMEDIATELY PRECEDES", |_, e1, s2, _| e1 == s2),
    ("SUCCEEDS", |s1, _, _, e2| s1 >= e2),
    ("STRICTLY SUCCEEDS", |s1, _, _, e2| s1 > e2),
    ("IMMEDIATELY SUCCEEDS", |s1, _, _, e2| s1 == e2),
    ("LEADS", |s1, e1, s2, e2| s1 < s2 && s2 < e1 && e1 <= e2),
    ("STRICTLY LEADS", |s1, e1, s2, e2| s1 < s2 && s2 < e1 && e1 < e2),
    ("IMMEDIATELY LEADS", |s1, e1, s2, e2| s1 < s2 && e1 == e2),
    ("LAGS", |s1, e1, s2, e2| e1 > e2 && s1 < e2 && s1 >= s2),
    ("STRICTLY LAGS", |s1, e1, s2, e2| s2 < s1 && s1 < e2 && e1 > e2),
    ("IMMEDIATELY LAGS", |s1, e1, s2, e2| s1 == s2 && e1 > e2),
];

/// Whether a period contains a point in time, which the last argument repeats.
const POINTS: [(&str, Relation); 2] =
    [("CONTAINS", |s, e, t, _| s <= t && t < e), ("STRICTLY CONTAINS", |s, e, t, _| s < t && t < e)];

/// The relation that a constant names, of a period with another one or with a point.
fn relation(constant: Option<&ScalarValue>, of_point: bool) -> Result<Relation> {
    let name = constant.and_then(|constant| constant.try_as_str().flatten());
    let Some(name) = name else { return plan_err!("the relation of two periods must be a constant such as 'OVERLAPS'") };
    let known: &[_] = if of_point { &POINTS } else { &RELATIONS };
    match known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim())) {
        Some((_, relation)) => Ok(*relation),
        None if of_point => plan_err!("{name} compares two periods; only CONTAINS takes a point in time"),
        None => {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            plan_err!("periods have no relation {name}: expected {}", names.join(", "))
        }
    }
}

/// TIMESTAMP, DATE and TIME are three kinds, whatever their unit.
fn kind(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Timestamp(..) => Some(0),
        DataType::Date32 | DataType::Date64 => Some(1),
        DataType::Time32(_) | DataType::Time64(_) => Some(2),
        _ => None,
    }
}

impl ScalarUDFImpl for ComparePeriods {
    fn name(&self) -> &str {
        "compare_periods"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [_, bounds @ ..] = args.arg_fields else { return plan_err!("COMPARE_PERIODS needs a relation and two periods") };
        if !matches!(bounds.len(), 3 | 4) {
            return plan_err!(
                "COMPARE_PERIODS takes a relation, the bounds of a period, and those of another or a point in time"
            );
        }
        relation(args.scalar_arguments[0], bounds.len() == 3)?;
        let times: Vec<_> = bounds.iter().filter(|bound| !bound.data_type().is_null()).collect();
        if let Some(wrong) = times.iter().find(|bound| kind(bound.data_type()).is_none()) {
            return plan_err!("a bound of a period must be a TIMESTAMP, DATE or TIME, not {}", sql_type_name(wrong));
        }
        if let Some(pair) = times.windows(2).find(|pair| kind(pair[0].data_type()) != kind(pair[1].data_type())) {
            let [one, other] = [pair[0], pair[1]].map(|field| sql_type_name(field));
            return plan_err!("the bounds of periods must be of one type, not {one} and {other}");
        }
        Ok(SqlType::Boolean.field(self.name(), any_nullable(bounds)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(name), bounds @ ..] = args.args.as_slice() else {
            return plan_err!("the relation of two periods must be a constant");
        };
        let relation = relation(Some(name), bounds.len() == 3)?;
        let all_scalar = bounds.iter().all(|bound| matches!(bound, ColumnarValue::Scalar(_)));
        let mut columns = ColumnarValue::values_to_arrays(bounds)?.iter().map(milliseconds).collect::<Result<Vec<_>, _>>()?;
        if columns.len() == 3 {
            columns.push(columns[2].clone());
        }
        let rows = columns[0].len();
        let nulls = columns.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.nulls()));
        let [s1, e1, s2, e2] = [0, 1, 2, 3].map(|place: usize| Int64Array::values(&columns[place]));
        let holds = BooleanBuffer::collect_bool(rows, |row| relation(s1[row], e1[row], s2[row], e2[row]));
        let holds = BooleanArray::new(holds, nulls);
        Ok(match all_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&holds, 0)?),
            false => ColumnarValue::Array(Arc::new(holds)),
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Returns whether one period of time is in a relation to another. Periods begin at their start and end before \
                 their end.",
                "compare_periods(relation, start1, end1, start2, end2)",
            )
            .with_sql_example(
                r#"```sql
> select compare_periods('OVERLAPS', DATE '2024-01-01', DATE '2024-01-03', DATE '2024-01-02', DATE '2024-01-04') as x;
+------+
| x    |
+------+
| true |
+------+
```"#,
            )
            .with_argument(
                "relation",
                "EQUALS; CONTAINS or OVERLAPS, also STRICTLY; PRECEDES, SUCCEEDS, LEADS or LAGS, also STRICTLY or IMMEDIATELY.",
            )
            .with_argument("start1, end1", "A period: two TIMESTAMPs, DATEs or TIMEs.")
            .with_argument("start2, end2", "Another; of CONTAINS also one point in time.")
            .with_alternative_syntax("(start1, end1) OVERLAPS (start2, end2), in KDA SQL")
            .build()
        });
        Some(&DOCUMENTATION)
    }
}
