//! From the constants behind the cursor in a call to the options of a model.
//!
//! Arguments are positional; trailing ones may be left out where they have a default.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};

use super::forest::options::{ARGUMENTS, Explanation, ForestOptions};
use super::hotspots::options::{FUNCTION, HotspotsOptions};

impl ForestOptions {
    /// The options of `RANDOM_CUT_FOREST(cursor, arguments…)`.
    pub fn try_from_arguments(arguments: &[ScalarValue]) -> Result<Self> {
        Self::try_from_numbers(Self::default(), ARGUMENTS.len(), arguments)
    }

    /// The options of `RANDOM_CUT_FOREST_WITH_EXPLANATION(cursor, arguments…)`.
    pub fn try_from_explanation_arguments(arguments: &[ScalarValue]) -> Result<Self> {
        let mut options = Self { explanation: Explanation::Attribution, ..Self::default() };
        match arguments.get(ARGUMENTS.len()) {
            None | Some(ScalarValue::Boolean(Some(false))) => {}
            Some(ScalarValue::Boolean(Some(true))) => options.explanation = Explanation::Directionality,
            Some(other) => {
                let (function, shown) = (options.function(), shown(other));
                return plan_err!("withDirectionality of {function} is {shown}, it must be TRUE or FALSE");
            }
        }
        Self::try_from_numbers(options, ARGUMENTS.len() + 1, arguments)
    }

    fn try_from_numbers(mut options: Self, arguments_max: usize, arguments: &[ScalarValue]) -> Result<Self> {
        let function = options.function();
        if arguments.len() > arguments_max {
            let count = arguments.len();
            return plan_err!("{function} takes a cursor and up to {arguments_max} more arguments, there are {count}");
        }
        let fields = [&mut options.trees, &mut options.sample_size, &mut options.time_decay, &mut options.shingle_size];
        for ((field, (name, range)), argument) in fields.into_iter().zip(ARGUMENTS).zip(arguments) {
            *field = integer(function, name, &format!("{} to {}", range.start(), range.end()), argument)?;
        }
        options.check()?;
        Ok(options)
    }
}

impl HotspotsOptions {
    /// The options of `HOTSPOTS(cursor, windowSize, scanRadius, minimumNumberOfPointsInAHotspot)`.
    pub fn try_from_arguments(arguments: &[ScalarValue]) -> Result<Self> {
        let [window_size, scan_radius, points_min] = arguments else {
            return plan_err!(
                "{FUNCTION} takes three arguments behind the first, windowSize, scanRadius and \
                 minimumNumberOfPointsInAHotspot; there are {}",
                arguments.len()
            );
        };
        let options = Self {
            window_size: integer(FUNCTION, "windowSize", "100 to 1000", window_size)?,
            scan_radius: double(FUNCTION, "scanRadius", scan_radius)?,
            points_min: integer(FUNCTION, "minimumNumberOfPointsInAHotspot", "2 to windowSize", points_min)?,
        };
        options.check()?;
        Ok(options)
    }
}

fn integer(function: &str, name: &str, range: &str, argument: &ScalarValue) -> Result<i64> {
    if argument.data_type().is_integer()
        && let ScalarValue::Int64(Some(value)) = argument.cast_to(&DataType::Int64)?
    {
        return Ok(value);
    }
    plan_err!("{name} of {function} is {}, it must be an integer, {range}", shown(argument))
}

fn double(function: &str, name: &str, argument: &ScalarValue) -> Result<f64> {
    if argument.data_type().is_numeric()
        && let ScalarValue::Float64(Some(value)) = argument.cast_to(&DataType::Float64)?
    {
        return Ok(value);
    }
    plan_err!("{name} of {function} is {}, it must be a number, more than 0", shown(argument))
}

/// A constant as it is written in SQL, so that `'100'`, `100.0` and `100` differ.
pub(crate) fn shown(argument: &ScalarValue) -> String {
    match argument {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        ScalarValue::Float64(Some(value)) => format!("{value:?}"),
        ScalarValue::Float32(Some(value)) => format!("{value:?}"),
        ScalarValue::Boolean(Some(value)) => value.to_string().to_uppercase(),
        decimal if decimal.data_type().is_decimal() => {
            decimal.cast_to(&DataType::Utf8).map_or_else(|_| decimal.to_string(), |text| text.to_string())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(values: &[i64]) -> Vec<ScalarValue> {
        values.iter().map(|value| ScalarValue::from(*value)).collect()
    }

    #[track_caller]
    fn check_error<T: std::fmt::Debug>(result: Result<T>, message: &str) {
        let error = result.expect_err("not allowed").to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn trailing_arguments_have_defaults() {
        let options = |arguments: &[i64]| ForestOptions::try_from_arguments(&integers(arguments)).expect("in range");
        assert_eq!(options(&[]), ForestOptions::default());
        let expected = ForestOptions { trees: 7, sample_size: 11, ..Default::default() };
        assert_eq!(options(&[7, 11]), expected);
        assert_eq!(options(&[7, 11, 12, 2]), ForestOptions { time_decay: 12, shingle_size: 2, ..expected });

        let explained = |last: bool| {
            let arguments = [integers(&[100, 256, 100_000, 1]), vec![ScalarValue::from(last)]].concat();
            ForestOptions::try_from_explanation_arguments(&arguments).expect("in range").explanation
        };
        assert_eq!((explained(true), explained(false)), (Explanation::Directionality, Explanation::Attribution));
        let none = ForestOptions::try_from_explanation_arguments(&[]).expect("defaults");
        assert_eq!(none.explanation, Explanation::Attribution);
    }

    #[test]
    fn wrong_arguments_of_a_forest_are_named() {
        let forest = ForestOptions::try_from_arguments;
        check_error(forest(&integers(&[0])), "numberOfTrees of RANDOM_CUT_FOREST is 0, it must be 1 to 1000");
        check_error(
            forest(&[ScalarValue::from(2.5)]),
            "numberOfTrees of RANDOM_CUT_FOREST is 2.5, it must be an integer, 1 to 1000",
        );
        // A number in another form is told from the number that it looks like.
        check_error(forest(&[ScalarValue::from(100.0)]), "numberOfTrees of RANDOM_CUT_FOREST is 100.0, it must be an integer");
        check_error(forest(&[ScalarValue::from("1'0")]), "numberOfTrees of RANDOM_CUT_FOREST is '1''0', it must be an integer");
        check_error(forest(&[ScalarValue::Decimal128(Some(1000), 4, 1)]), "is 100.0, it must be an integer");
        check_error(forest(&[ScalarValue::from(true)]), "is TRUE, it must be an integer");
        check_error(forest(&[ScalarValue::Int32(None)]), "is NULL, it must be an integer, 1 to 1000");
        check_error(forest(&integers(&[1, 20, 20])), "subSampleSize of RANDOM_CUT_FOREST is 20, it must be less than timeDecay");
        check_error(
            forest(&integers(&[1, 20, 30, 1, 1])),
            "RANDOM_CUT_FOREST takes a cursor and up to 4 more arguments, there are 5",
        );
        check_error(
            ForestOptions::try_from_explanation_arguments(&integers(&[1, 20, 30, 1, 1])),
            "withDirectionality of RANDOM_CUT_FOREST_WITH_EXPLANATION is 1, it must be TRUE or FALSE",
        );
    }

    #[test]
    fn hotspots_needs_three_arguments() {
        let hotspots = HotspotsOptions::try_from_arguments;
        let (window, radius, points) =
            (ScalarValue::from(1000i64), ScalarValue::Decimal128(Some(2), 1, 1), ScalarValue::from(17i32));
        let options = hotspots(&[window.clone(), radius.clone(), points.clone()]).expect("in range");
        assert_eq!(options, HotspotsOptions { window_size: 1000, scan_radius: 0.2, points_min: 17 });
        check_error(
            hotspots(&[window.clone(), radius.clone()]),
            "behind the first, windowSize, scanRadius and minimumNumberOfPointsInAHotspot; there are 2",
        );
        check_error(hotspots(&[window.clone(), points.clone(), radius.clone()]), "must be an integer, 2 to windowSize");
        check_error(
            hotspots(&[window.clone(), ScalarValue::from("x"), points.clone()]),
            "scanRadius of HOTSPOTS is 'x', it must be a number",
        );
        check_error(
            hotspots(&[window, ScalarValue::from(-1.0), points]),
            "scanRadius of HOTSPOTS is -1.0, it must be more than 0",
        );
    }
}
