//! Statistics of distinct values: `STDDEV_POP(DISTINCT x)`, `VAR_SAMP(DISTINCT x)` and the others, which DataFusion computes of all
//! values only (kda-sql-reference.md §2.5).
//!
//! Input:  DOUBLE; NULL does not count.
//! Output: DOUBLE; NULL of no value, and for a sample of one.
//! State:  the distinct values. They are added up in ascending order, so that the result does not depend on theirs.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// `function` over distinct values; None if it is none of the four.
pub fn distinct_of(function: &AggregateUDF) -> Option<Arc<AggregateUDF>> {
    let (name, is_sample, is_root) = match function.name() {
        "stddev" => ("distinct_stddev", true, true),
        "stddev_pop" => ("distinct_stddev_pop", false, true),
        "var" => ("distinct_var", true, false),
        "var_pop" => ("distinct_var_pop", false, false),
        _ => return None,
    };
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Some(Arc::new(AggregateUDF::from(DistinctStatistic { name, is_sample, is_root, signature })))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct DistinctStatistic {
    name: &'static str,
    /// Of a sample, not of all there is.
    is_sample: bool,
    /// The deviation, not the variance.
    is_root: bool,
    signature: Signature,
}

impl DistinctStatistic {
    fn of(&self, values: &[f64]) -> Option<f64> {
        let count = values.len() as f64;
        let degrees = if self.is_sample { count - 1.0 } else { count };
        if degrees <= 0.0 {
            return None;
        }
        // Welford's method: no difference of large sums.
        let (mut mean, mut squares) = (0.0, 0.0);
        for (i, value) in values.iter().enumerate() {
            let before = value - mean;
            mean += before / (i + 1) as f64;
            squares += before * (value - mean);
        }
        let variance = squares / degrees;
        Some(if self.is_root { variance.sqrt() } else { variance })
    }
}

impl AggregateUDFImpl for DistinctStatistic {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = Field::new_list_field(DataType::Float64, true);
        Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "values"), values, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(DistinctValues { statistic: self.clone(), seen: HashSet::new() }))
    }
}

#[derive(Debug)]
struct DistinctValues {
    statistic: DistinctStatistic,
    /// The bits of the values; there is one zero.
    seen: HashSet<u64>,
}

impl DistinctValues {
    fn add(&mut self, values: &Float64Array) {
        self.seen.extend(values.iter().flatten().map(|value| (value + 0.0).to_bits()));
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<_> = self.seen.iter().map(|bits| f64::from_bits(*bits)).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

impl Accumulator for DistinctValues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values[0].as_primitive::<Float64Type>());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.statistic.of(&self.sorted())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.seen.capacity() * size_of::<u64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<_> = self.sorted().into_iter().map(|value| ScalarValue::Float64(Some(value))).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list_opt::<i32>();
        let lists = lists.ok_or_else(|| internal_datafusion_err!("the state of distinct values is not a list"))?;
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            self.add(lists.value(row).as_primitive::<Float64Type>());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::functions_aggregate::{stddev, variance};

    use super::*;

    fn of(function: &AggregateUDF, values: &[Option<f64>]) -> Option<f64> {
        let statistic = distinct_of(function).expect("one of the four");
        let inner = statistic.inner().downcast_ref::<DistinctStatistic>().expect("its own").clone();
        let mut one = DistinctValues { statistic: inner.clone(), seen: HashSet::new() };
        let mut other = DistinctValues { statistic: inner, seen: HashSet::new() };
        let (left, right) = values.split_at(values.len() / 2);
        one.update_batch(&[Arc::new(Float64Array::from(left.to_vec())) as ArrayRef]).expect("taken");
        other.update_batch(&[Arc::new(Float64Array::from(right.to_vec())) as ArrayRef]).expect("taken");
        let state = other.state().expect("saved").swap_remove(0).to_array().expect("a list");
        one.merge_batch(&[state]).expect("merged");
        match one.evaluate().expect("computed") {
            ScalarValue::Float64(value) => value,
            other => panic!("{other} is no DOUBLE"),
        }
    }

    #[test]
    fn equal_values_count_once_wherever_they_come() {
        let values = [Some(2.0), Some(4.0), None, Some(2.0), Some(4.0), Some(6.0), Some(-0.0), Some(0.0)];
        // Of 0, 2, 4, 6: the mean is 3, the squares of the differences are 9, 1, 1, 9.
        assert_eq!(of(&variance::var_pop_udaf(), &values), Some(5.0));
        assert_eq!(of(&variance::var_samp_udaf(), &values), Some(20.0 / 3.0));
        assert_eq!(of(&stddev::stddev_pop_udaf(), &values), Some(5.0_f64.sqrt()));
        assert_eq!(of(&stddev::stddev_udaf(), &values), Some((20.0_f64 / 3.0).sqrt()));
    }

    #[test]
    fn of_no_value_and_of_a_sample_of_one_there_is_none() {
        assert_eq!(of(&stddev::stddev_pop_udaf(), &[None, None]), None);
        assert_eq!(of(&stddev::stddev_udaf(), &[Some(1.0), Some(1.0)]), None);
        assert_eq!(of(&stddev::stddev_pop_udaf(), &[Some(1.0), Some(1.0)]), Some(0.0));
    }
}
