//! Whatever stands in a pattern, a format or a description, it is taken or refused; nothing panics.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;

use super::call;
use crate::scalar::{
    fast_regex_log_parse, fixed_column_log_parse, is_like, regex_log_parse, regex_replace, similar_to, substring,
    substring_similar, variable_column_log_parse, w3c_log_parse,
};

/// Numbers below `bound`, always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth, MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn text(&mut self, pieces: &[&str], length: usize) -> String {
        (0..self.below(length)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}

/// Calls with random patterns; returns how many were taken.
fn taken(function: &ScalarUDF, seed: u64, pieces: &[&str], rest: &[ScalarValue]) -> usize {
    let mut numbers = Numbers(seed);
    let mut taken = 0;
    for _ in 0..400 {
        let pattern = numbers.text(pieces, 10);
        let lines: Vec<Option<String>> = (0..4)
            .map(|row| (row != 1).then(|| numbers.text(&["a", "b", "ü", "1", " ", "\"", "[", "]", "_", "\n"], 12)))
            .collect();
        let column: ArrayRef = Arc::new(StringArray::from(lines));
        let constants: Vec<_> = [ScalarValue::from(pattern)].into_iter().chain(rest.iter().cloned()).collect();
        if let Ok(result) = call(function, column, &constants) {
            assert_eq!(result.len(), 4);
            assert!(result.is_null(1));
            taken += 1;
        }
    }
    taken
}

#[test]
fn random_patterns_are_taken_or_refused() {
    let similar = ["a", "b", "ü", "_", "%", "(", ")", "|", "*", "+", "?", "{1}", "{", "[a-b]", "[", "]", "^", "-", "#", "#\""];
    let java = [
        "a", "ü", "(", ")", "(?", "?:", "<", "[", "]", "^", "-", "&&", "~", "\\", "d", "Q", "E", "{1}", "{", "*", "+", "?", "|",
        ".",
    ];
    let fast =
        ["a", "ü", "(", ")", "[a]", "[^", "]", "<", ">", "1-2", "{1,2}", "{", "*", "+", "|", "&", "@", "#", "\"", ".", "\\", "_"];
    let format = ["%", "h", "t", "[", "]", "i", ">", "200", "%h", "%t", "\"", " ", "%u", "ü"];
    let columns = ["A TYPE ", "B TYPE ", "INTEGER", "VARCHAR(", "2)", " START ", "FOR ", "1", ", ", "NOT ", "NULL ", "\"", "'"];
    let (escape, number) = (ScalarValue::from("#"), |number: i64| ScalarValue::from(number));
    for (function, pieces, rest) in [
        (is_like::udf(), &similar[..], vec![escape.clone()]),
        (similar_to::udf(), &similar[..], vec![escape.clone()]),
        (substring_similar::udf(), &["#\"", "a", "%", "#\"", "_"][..], vec![escape]),
        (substring::from_udf(), &java[..], vec![]),
        (regex_log_parse::udf(), &java[..], vec![]),
        (regex_replace::udf(), &java[..], vec![ScalarValue::from("<$0>"), number(2), number(0)]),
        (fast_regex_log_parse::udf(), &fast[..], vec![]),
        (w3c_log_parse::udf(), &format[..], vec![]),
        (fixed_column_log_parse::udf(), &columns[..], vec![]),
        (variable_column_log_parse::udf(), &columns[..], vec![ScalarValue::from(" ")]),
    ] {
        for seed in 0..3 {
            let taken = taken(&function, seed, pieces, &rest);
            assert!(taken < 400, "{}: all were taken", function.name());
        }
    }
}
