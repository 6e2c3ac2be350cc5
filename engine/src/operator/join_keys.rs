//! Equality keys of joins: rows that may match are found by the hash of their keys, then their keys are compared.
//!
//! NULL equals nothing (kda-sql-reference.md §1.9), so a row with a NULL among its keys matches no row. A join without
//! equality keys has one hash for all rows. Records are equal if their fields are; in them NULL equals NULL.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{and, prep_null_mask_filter};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::utils::normalize_float_zero;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr_common::datum::compare_op_for_nested;

use crate::error::Result;

/// Seed of the hashes. Any will do: hashes are not saved.
const SEED: u64 = 0;

/// The hashes of some rows' keys.
pub struct KeyHashes {
    hashes: Vec<u64>,
    /// False for rows with a NULL among their keys; None if there are none.
    valid: Option<NullBuffer>,
}

impl KeyHashes {
    /// Hashes `rows` rows of `keys`, a column per key.
    pub fn of(keys: &[ArrayRef], rows: usize) -> Result<Self> {
        let mut hashes = vec![0; rows];
        create_hashes(keys, &RandomState::with_seed(SEED), &mut hashes)?;
        let nulls =
            keys.iter().map(|key| key.logical_nulls()).fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()));
        Ok(Self { hashes, valid: nulls })
    }

    /// The hash of a row; None if it can match no other row.
    pub fn get(&self, row: usize) -> Option<u64> {
        let matchable = self.valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        matchable.then(|| self.hashes[row])
    }
}

/// Which pairs of rows have equal keys, the keys of the pairs' two rows given in columns; None without keys: all have.
pub fn equal_keys(left: &[ArrayRef], right: &[ArrayRef]) -> Result<Option<BooleanArray>> {
    let mut equal: Option<BooleanArray> = None;
    for (left, right) in left.iter().zip(right) {
        // Arrow compares bits: to it −0.0 is another value than 0.0.
        let (left, right) = (normalize_float_zero(left), normalize_float_zero(right));
        let is_record = left.data_type().is_nested();
        let column = if is_record { compare_op_for_nested(Operator::Eq, &left, &right)? } else { eq(&left, &right)? };
        equal = Some(match equal {
            Some(equal) => and(&equal, &column)?,
            None => column,
        });
    }
    Ok(equal.map(|equal| if equal.null_count() > 0 { prep_null_mask_filter(&equal) } else { equal }))
}
