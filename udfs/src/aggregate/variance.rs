//! `VAR_SAMP`, `VAR_POP`, `STDDEV_SAMP` and `STDDEV_POP` whose saved state is the state (kda-sql-reference.md §5.2).
//!
//! Input:  DOUBLE; NULL does not count.
//! Output: DOUBLE; NULL of no value, and for a sample of one.
//! State:  per group the count, the mean and the sum of squared differences from it, by Welford's method.
//!
//! DataFusion's functions add the same way, but merge a state into an empty group with a multiplication and a division, which change
//! the last digit: a job with checkpoints would have other results than one without. Here an empty group takes the state as it is.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::functions_aggregate::{stddev, variance};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};

/// The four functions, under DataFusion's names and further ones.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    let statistic = |function: Arc<AggregateUDF>, is_sample, is_root, alias: Option<&str>| {
        let aliases = function.aliases().iter().cloned().chain(alias.map(str::to_owned)).collect();
        Arc::new(AggregateUDF::from(Statistic { function, kind: Kind { is_sample, is_root }, aliases }))
    };
    vec![
        statistic(variance::var_samp_udaf(), true, false, None),
        statistic(variance::var_pop_udaf(), false, false, None),
        statistic(stddev::stddev_udaf(), true, true, Some("std_dev")),
        statistic(stddev::stddev_pop_udaf(), false, true, None),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// Of a sample, not of all there is.
    is_sample: bool,
    /// The deviation, not the variance.
    is_root: bool,
}

/// DataFusion's function with accumulators of ours; over distinct values it stays DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Statistic {
    function: Arc<AggregateUDF>,
    kind: Kind,
    aliases: Vec<String>,
}

impl AggregateUDFImpl for Statistic {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.function.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.function.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return self.function.accumulator(args);
        }
        Ok(Box::new(One { kind: self.kind, moments: Moments::default() }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { kind: self.kind, moments: Vec::new() }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

/// The state of a group.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: u64,
    mean: f64,
    /// Sum of the squared differences from the mean.
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn remove(&mut self, value: f64) {
        if self.count <= 1 {
            *self = Self::default();
            return;
        }
        self.count -= 1;
        let after = value - self.mean;
        self.mean -= after / self.count as f64;
        self.squares -= after * (value - self.mean);
    }

    fn merge(&mut self, other: Self) {
        if self.count == 0 {
            *self = other;
        } else if other.count > 0 {
            let (own, others) = (self.count as f64, other.count as f64);
            let all = own + others;
            let difference = self.mean - other.mean;
            self.squares = self.squares + other.squares + difference * difference * own * others / all;
            self.mean = self.mean * own / all + other.mean * others / all;
            self.count += other.count;
        }
    }

    fn result(self, kind: Kind) -> Option<f64> {
        let degrees = self.count.checked_sub(u64::from(kind.is_sample)).filter(|degrees| *degrees > 0)?;
        let variance = self.squares / degrees as f64;
        Some(if kind.is_root { variance.sqrt() } else { variance })
    }
}

fn doubles(values: &[ArrayRef]) -> Result<&Float64Array> {
    let values = values.first().and_then(|values| values.as_primitive_opt::<Float64Type>());
    values.ok_or_else(|| internal_datafusion_err!("the argument of a variance is no DOUBLE"))
}

/// The states in columns of [`columns_of`].
fn moments_of(states: &[ArrayRef]) -> Result<impl Iterator<Item = Moments>> {
    let broken = || internal_datafusion_err!("the state of a variance is not a count, a mean and a sum");
    let [counts, means, squares] = states else { return Err(broken()) };
    let counts = counts.as_primitive_opt::<UInt64Type>().ok_or_else(broken)?.values();
    let double = |column: &'_ ArrayRef| column.as_primitive_opt::<Float64Type>().map(|column| column.values().clone());
    let (means, squares) = (double(means).ok_or_else(broken)?, double(squares).ok_or_else(broken)?);
    Ok((0..counts.len()).map(move |row| Moments { count: counts[row], mean: means[row], squares: squares[row] }))
}

fn columns_of(moments: &[Moments]) -> Vec<ArrayRef> {
    let double = |part: fn(&Moments) -> f64| Arc::new(Float64Array::from_iter_values(moments.iter().map(part))) as ArrayRef;
    let counts: ArrayRef = Arc::new(UInt64Array::from_iter_values(moments.iter().map(|moments| moments.count)));
    vec![counts, double(|moments| moments.mean), double(|moments| moments.squares)]
}

/// One group.
#[derive(Debug)]
struct One {
    kind: Kind,
    moments: Moments,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        doubles(values)?.iter().flatten().for_each(|value| self.moments.add(value));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        doubles(values)?.iter().flatten().for_each(|value| self.moments.remove(value));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.moments.result(self.kind)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let Moments { count, mean, squares } = self.moments;
        Ok(vec![ScalarValue::UInt64(Some(count)), ScalarValue::Float64(Some(mean)), ScalarValue::Float64(Some(squares))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        moments_of(states)?.for_each(|state| self.moments.merge(state));
        Ok(())
    }
}

/// Many groups.
#[derive(Debug)]
struct Groups {
    kind: Kind,
    moments: Vec<Moments>,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.moments.resize(groups_total, Moments::default());
        let values = doubles(values)?;
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.moments[*group].add(values.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], groups_total: usize) -> Result<()> {
        self.moments.resize(groups_total, Moments::default());
        groups.iter().zip(moments_of(states)?).for_each(|(group, state)| self.moments[*group].merge(state));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let moments = emit_to.take_needed(&mut self.moments);
        Ok(Arc::new(moments.into_iter().map(|moments| moments.result(self.kind)).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(columns_of(&emit_to.take_needed(&mut self.moments)))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = doubles(values)?;
        let moments = |row: usize| {
            let mut moments = Moments::default();
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                moments.add(values.value(row));
            }
            moments
        };
        Ok(columns_of(&(0..values.len()).map(moments).collect::<Vec<_>>()))
    }

    fn size(&self) -> usize {
        self.moments.capacity() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: impl IntoIterator<Item = f64>) -> [ArrayRef; 1] {
        [Arc::new(Float64Array::from_iter_values(values))]
    }

    #[test]
    fn a_state_that_is_saved_and_taken_again_changes_no_bit() {
        let kind = Kind { is_sample: true, is_root: true };
        let values: Vec<f64> = (0..2_000).map(|i| (f64::from(i * 7 % 101) / 7.0).exp()).collect();
        let groups: Vec<usize> = (0..values.len()).map(|i| i % 3).collect();
        let (mut whole, mut saved) = (Groups { kind, moments: Vec::new() }, Groups { kind, moments: Vec::new() });
        let mut one = One { kind, moments: Moments::default() };
        whole.update_batch(&column(values.clone()), &groups, None, 3).expect("added");
        for (values, groups) in values.chunks(37).zip(groups.chunks(37)) {
            saved.update_batch(&column(values.iter().copied()), groups, None, 3).expect("added");
            let state = saved.state(EmitTo::All).expect("saved");
            saved = Groups { kind, moments: Vec::new() };
            saved.merge_batch(&state, &[0, 1, 2], 3).expect("taken");
            let first = values.iter().zip(groups).filter(|(_, group)| **group == 0).map(|(value, _)| *value);
            one.update_batch(&column(first)).expect("added");
            let state: Vec<_> = one.state().expect("saved").iter().map(|value| value.to_array().expect("one")).collect();
            one = One { kind, moments: Moments::default() };
            one.merge_batch(&state).expect("taken");
        }
        let (whole, saved) = (whole.evaluate(EmitTo::All).expect("results"), saved.evaluate(EmitTo::All).expect("results"));
        assert_eq!(&whole, &saved);
        assert_eq!(one.evaluate().expect("a result"), ScalarValue::Float64(Some(whole.as_primitive::<Float64Type>().value(0))));
    }

    #[test]
    fn results_follow_the_definition() {
        let values = [3.5, -1.0, 8.25, 0.1, 3.5, 1e6];
        for (kind, variance) in [(true, 166_665_710_011.850_4_f64), (false, 138_888_091_676.542)] {
            for (is_root, expected) in [(false, variance), (true, variance.sqrt())] {
                let kind = Kind { is_sample: kind, is_root };
                let (mut left, mut right) = (Moments::default(), Moments::default());
                values[..2].iter().for_each(|value| left.add(*value));
                values[2..].iter().for_each(|value| right.add(*value));
                left.merge(right);
                let result = left.result(kind).expect("six values");
                assert!((result / expected - 1.0).abs() < 1e-12, "{kind:?}: {result} and not {expected}");
            }
        }
        assert_eq!(Moments::default().result(Kind { is_sample: false, is_root: true }), None);
        let mut one = Moments::default();
        one.add(7.0);
        let of = |is_sample| one.result(Kind { is_sample, is_root: false });
        assert_eq!((of(true), of(false)), (None, Some(0.0)));
    }

    #[test]
    fn what_is_removed_was_never_there() {
        let mut moments = Moments::default();
        [2.0, 4.0, 100.0, 6.0].iter().for_each(|value| moments.add(*value));
        moments.remove(100.0);
        let variance = moments.result(Kind { is_sample: false, is_root: false }).expect("three values");
        assert!((variance - 8.0 / 3.0).abs() < 1e-9, "{variance}");
        [2.0, 4.0, 6.0].iter().for_each(|value| moments.remove(*value));
        assert_eq!(moments.count, 0);
    }
}
