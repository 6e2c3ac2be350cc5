//! The functions of a sliding window, one [`Kernel`] each: per row of a batch a result, at a cost that does not depend on how
//! many rows are in the frame.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, Int64Type};

use super::distinct::Distinct;
use super::extremes::Extremes;
use super::faded::FadedAverage;
use super::frame::{Frame, FrameRows, Steps};
use super::moments::{Moments, Statistic};
use super::places::{Place, Places};
use super::sums::{DecimalAverages, ExactSums, FloatSums};
use super::values::{BooleanValues, Values};
use crate::error::{Error, Result};

/// What a function computes from the rows of its frame (kda-sql-reference.md §5.2). NULL arguments are ignored, but for
/// [`Function::Place`] with RESPECT NULLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `COUNT(*)`.
    CountRows,
    /// `COUNT(x)`.
    Count,
    /// `SUM(x)` of BIGINT, DECIMAL or DOUBLE.
    Sum,
    /// `AVG(x)` of DECIMAL or DOUBLE.
    Average,
    /// `MIN(x)`.
    Min,
    /// `MAX(x)`.
    Max,
    /// Variances and standard deviations of DOUBLE.
    Moment(Statistic),
    /// `ANY(x)`: true if some x is true.
    Any,
    /// `EVERY(x)`: true if no x is false.
    Every,
    /// FIRST_VALUE, LAST_VALUE, NTH_VALUE and LAG.
    Place {
        /// Which row.
        place: Place,
        /// Rows with NULL do not count.
        ignore_nulls: bool,
    },
    /// `EXP_AVG(x, h)` of DOUBLE with h in milliseconds.
    Faded(i64),
}

/// A batch of rows that come, for one function.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// What happens in the frames.
    pub steps: &'a Steps,
    /// The frames after the batch.
    pub rows: &'a FrameRows,
    /// Keys in all.
    pub keys: usize,
    /// The argument of all rows in frames, those of the batch included.
    pub argument: Option<&'a dyn Values>,
    /// Per row the result if its place has no row; NULL without it.
    pub otherwise: Option<&'a ArrayRef>,
    /// The slots with the values of a row's frame, by its place in the batch, if they are not those of the rows in it.
    pub frame: Option<&'a dyn Fn(usize) -> Vec<u32>>,
}

impl<'a> Batch<'a> {
    /// The argument that the planner has given to a function that needs one.
    pub fn argument(&self) -> Result<&'a dyn Values> {
        self.argument.ok_or_else(|| Error::internal("a function of a sliding window lacks its argument"))
    }

    /// The slots with the values of the frame of the row at this place.
    pub fn frame(&self, row: usize) -> impl Iterator<Item = u32> + 'a {
        let own = self.frame.map(|frame| frame(row));
        let of_rows = own.is_none().then(|| self.rows.chain(self.steps.oldest[row], self.steps.slots[row]));
        own.into_iter().flatten().chain(of_rows.into_iter().flatten())
    }
}

/// Computes one function over the frames of all keys.
pub trait Kernel: Send {
    /// Follows the steps of a batch. Gives the results in the order of its rows.
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef>;

    /// Bytes held.
    fn size(&self) -> usize;
}

/// The kernel of `function` with an argument of type `argument` and a result of type `result`.
pub fn kernel_of(function: Function, frame: Frame, argument: Option<&DataType>, result: &DataType) -> Result<Box<dyn Kernel>> {
    let unexpected = || Error::internal(format!("{function:?} of a sliding window of {argument:?} as {result}"));
    Ok(match function {
        Function::CountRows => Box::new(CountRows),
        Function::Count => Box::new(Counts::default()),
        Function::Sum | Function::Average => match (function, argument.ok_or_else(unexpected)?) {
            (_, DataType::Float64) => Box::new(FloatSums::new(function == Function::Average)),
            (Function::Sum, DataType::Int64) => Box::new(ExactSums::<Int64Type>::new(result.clone())),
            (Function::Sum, DataType::Decimal128(..)) => Box::new(ExactSums::<Decimal128Type>::new(result.clone())),
            (Function::Sum, DataType::Decimal256(..)) => Box::new(ExactSums::<Decimal256Type>::new(result.clone())),
            (Function::Average, DataType::Decimal128(_, scale)) => {
                Box::new(DecimalAverages::<Decimal128Type>::try_new(*scale, result)?)
            }
            (Function::Average, DataType::Decimal256(_, scale)) => {
                Box::new(DecimalAverages::<Decimal256Type>::try_new(*scale, result)?)
            }
            _ => return Err(unexpected()),
        },
        Function::Min => Box::new(Extremes::new(false)),
        Function::Max => Box::new(Extremes::new(true)),
        Function::Moment(statistic) => Box::new(Moments::new(statistic)),
        Function::Any | Function::Every => Box::new(Truths { every: function == Function::Every, of_key: Vec::new() }),
        Function::Place { place, ignore_nulls } => Box::new(Places::new(place, ignore_nulls)),
        Function::Faded(half_life_ms) => Box::new(FadedAverage::new(half_life_ms, frame)),
    })
}

/// The kernel of `function` of the different values of an argument of type `argument`, as above.
pub fn distinct_kernel_of(
    function: Function,
    frame: Frame,
    argument: Option<&DataType>,
    result: &DataType,
) -> Result<Box<dyn Kernel>> {
    let kernel = kernel_of(function, frame, argument, result)?;
    Ok(match argument {
        Some(argument) => Box::new(Distinct::try_new(kernel, argument, function == Function::Count)?),
        None => kernel,
    })
}

/// True for the slots with a value.
#[inline]
pub fn is_valid(valid: Option<&[bool]>, slot: u32) -> bool {
    valid.is_none_or(|valid| valid[slot as usize])
}

/// The type of a primitive array's values.
pub type Native<T> = <T as ArrowPrimitiveType>::Native;

struct CountRows;

impl Kernel for CountRows {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, .. } = *batch;
        Ok(Arc::new(Int64Array::from_iter_values(steps.counts.iter().map(|count| i64::from(*count)))))
    }

    fn size(&self) -> usize {
        0
    }
}

/// Per key the rows with a value.
#[derive(Default)]
struct Counts {
    of_key: Vec<u32>,
}

impl Kernel for Counts {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, keys, .. } = *batch;
        self.of_key.resize(keys, 0);
        let valid = batch.argument()?.valid();
        let mut results = Vec::with_capacity(steps.rows());
        steps.follow(
            &mut self.of_key,
            |counts, slot, key| counts[key as usize] -= u32::from(is_valid(valid, slot)),
            |counts, row| {
                let count = &mut counts[steps.keys[row] as usize];
                *count += u32::from(is_valid(valid, steps.slots[row]));
                results.push(i64::from(*count));
            },
        );
        Ok(Arc::new(Int64Array::from(results)))
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<u32>()
    }
}

/// Per key the rows that are true, and those that are false.
struct Truths {
    every: bool,
    of_key: Vec<(u32, u32)>,
}

impl Kernel for Truths {
    fn follow(&mut self, batch: &Batch<'_>) -> Result<ArrayRef> {
        let Batch { steps, keys, .. } = *batch;
        self.of_key.resize(keys, (0, 0));
        let argument = BooleanValues::of(batch.argument()?)?;
        let (values, valid, every) = (&argument.values, argument.valid(), self.every);
        let mut results = Vec::with_capacity(steps.rows());
        let ones = |slot: u32| {
            let (is_valid, is_true) = (is_valid(valid, slot), values[slot as usize]);
            (u32::from(is_valid && is_true), u32::from(is_valid && !is_true))
        };
        steps.follow(
            &mut self.of_key,
            |counts, slot, key| {
                let (counts, ones) = (&mut counts[key as usize], ones(slot));
                *counts = (counts.0 - ones.0, counts.1 - ones.1);
            },
            |counts, row| {
                let (counts, ones) = (&mut counts[steps.keys[row] as usize], ones(steps.slots[row]));
                *counts = (counts.0 + ones.0, counts.1 + ones.1);
                let result = if every { counts.1 == 0 } else { counts.0 > 0 };
                results.push((*counts != (0, 0)).then_some(result));
            },
        );
        Ok(Arc::new(BooleanArray::from(results)))
    }

    fn size(&self) -> usize {
        self.of_key.capacity() * size_of::<(u32, u32)>()
    }
}
