//! RANDOM_CUT_FOREST and HOTSPOTS as window functions: history is scored by the code, and to the bits, of the stream.
//!
//! ```sql
//! SELECT t, random_cut_forest(named_struct('cpu', cpu, 'io', io), 100, 256) OVER (PARTITION BY host ORDER BY t) FROM metrics
//! ```
//!
//! Input:  a number, or a struct whose fields are the columns; constants, as in a call of the table function; a seed and a scoring.
//! Output: a row's value of the model's column, or a struct if the model has two.
//! State:  one model for each partition, which sees its rows in the order of ORDER BY. The frame plays no part.
//! NULL:   a row with NULL in a column gives NULL, and leaves no trace.
//! Errors: arguments that are not constants or out of range, and columns that a model cannot use, when the query is planned.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StructArray};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_doc_sections::DOC_SECTION_ANALYTICAL;
use datafusion::logical_expr::{Documentation, PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use crate::model::Model;
use crate::model::arguments::shown;
use crate::model::forest::{Explanation, ForestOptions, RandomCutForest, Scoring};
use crate::model::hotspots::{Hotspots, HotspotsOptions};

/// Which models a function has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Models {
    Forest,
    ForestWithExplanation,
    Hotspots,
}

impl Models {
    fn name(self) -> &'static str {
        match self {
            Self::Forest => "random_cut_forest",
            Self::ForestWithExplanation => "random_cut_forest_with_explanation",
            Self::Hotspots => "hotspots",
        }
    }

    /// The name in messages, as the models' options call it.
    fn title(self) -> &'static str {
        match self {
            Self::Forest => "RANDOM_CUT_FOREST",
            Self::ForestWithExplanation => "RANDOM_CUT_FOREST_WITH_EXPLANATION",
            Self::Hotspots => "HOTSPOTS",
        }
    }

    /// A model of rows of `schema`.
    fn build(self, constants: &[ScalarValue], schema: &Schema) -> Result<Box<dyn Model>> {
        let options = match self {
            Self::Hotspots => return Ok(Box::new(Hotspots::try_new(HotspotsOptions::try_from_arguments(constants)?, schema)?)),
            Self::Forest => {
                let (constants, seed, scoring) = self.with_options(constants, 4)?;
                ForestOptions { seed, scoring, ..ForestOptions::try_from_arguments(constants)? }
            }
            Self::ForestWithExplanation => {
                let (constants, seed, scoring) = self.with_options(constants, 5)?;
                ForestOptions { seed, scoring, ..ForestOptions::try_from_explanation_arguments(constants)? }
            }
        };
        Ok(Box::new(RandomCutForest::try_new(options, schema)?))
    }

    /// The columns of the model of rows of `schema`, whatever the constants.
    fn fields(self, schema: &Schema) -> Result<Vec<FieldRef>> {
        let explanation = if self == Self::Forest { Explanation::None } else { Explanation::Attribution };
        Ok(match self {
            Self::Hotspots => {
                Hotspots::try_new(HotspotsOptions { window_size: 100, scan_radius: 1.0, points_min: 2 }, schema)?.fields()
            }
            Self::Forest | Self::ForestWithExplanation => {
                RandomCutForest::try_new(ForestOptions { explanation, ..ForestOptions::default() }, schema)?.fields()
            }
        })
    }

    /// The seed and the scoring, which may stand behind `count` other constants.
    fn with_options(self, constants: &[ScalarValue], count: usize) -> Result<(&[ScalarValue], u64, Scoring)> {
        let function = self.title();
        let (others, options) = constants.split_at(constants.len().min(count));
        let seed = match options.first() {
            None => ForestOptions::default().seed,
            // Queries without STREAM have KDA's types too: a whole number may be an INTEGER.
            Some(ScalarValue::Int64(Some(seed @ 0..))) => *seed as u64,
            Some(ScalarValue::Int32(Some(seed @ 0..))) => *seed as u64,
            Some(other) => return plan_err!("seed of {function} is {}, it must be an integer of at least 0", shown(other)),
        };
        let scoring = match options.get(1) {
            None => Scoring::default(),
            Some(value) => {
                let named =
                    value.try_as_str().flatten().and_then(|text| Scoring::NAMES.into_iter().find(|(name, _)| *name == text));
                let Some((_, scoring)) = named else {
                    let known = Scoring::NAMES.map(|(name, _)| format!("'{name}'")).join(" or ");
                    return plan_err!("scoring of {function} is {}, it must be {known}", shown(value));
                };
                scoring
            }
        };
        if let Some(more) = options.get(2) {
            return plan_err!("{} stands behind scoring, which is the last argument of {function}", shown(more));
        }
        Ok((others, seed, scoring))
    }
}

/// A function of a model.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ModelFunction {
    models: Models,
    signature: Signature,
}

impl ModelFunction {
    pub(super) fn new(models: Models) -> Self {
        // That an argument is missing is said by `schema`.
        let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
        Self { models, signature: Signature::one_of(any, Volatility::Immutable) }
    }

    /// The columns that the first argument holds.
    fn schema(&self, arguments: &[FieldRef]) -> Result<Schema> {
        let function = self.models.title();
        match arguments.first() {
            None => plan_err!("{function} needs a number or a struct of numbers"),
            Some(first) => {
                let fields = match first.data_type() {
                    DataType::Struct(fields) => fields.clone(),
                    decimal if decimal.is_decimal() => {
                        return plan_err!("{function} cannot use a DECIMAL, CAST the first argument AS DOUBLE");
                    }
                    _ => Fields::from(vec![Arc::clone(first)]),
                };
                // A struct that is NULL has NULL in every column.
                let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
                Ok(Schema::new(fields.iter().map(nullable).collect::<Vec<_>>()))
            }
        }
    }
}

impl WindowUDFImpl for ModelFunction {
    fn name(&self) -> &str {
        self.models.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Constants are not spread over the rows.
    fn expressions(&self, arguments: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        arguments.input_exprs().iter().take(1).cloned().collect()
    }

    fn field(&self, arguments: WindowUDFFieldArgs) -> Result<FieldRef> {
        let fields = self.models.fields(&self.schema(arguments.input_fields())?)?;
        let data_type = match fields.as_slice() {
            [field] => field.data_type().clone(),
            fields => DataType::Struct(Fields::from(fields.to_vec())),
        };
        Ok(Arc::new(Field::new(arguments.name(), data_type, true)))
    }

    fn partition_evaluator(&self, arguments: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let function = self.models.title();
        let constant = |(number, expr): (usize, &Arc<dyn PhysicalExpr>)| match expr.downcast_ref::<Literal>() {
            Some(literal) => Ok(literal.value().clone()),
            None => plan_err!("argument {} of {function} must be a constant", number + 1),
        };
        let constants = arguments.input_exprs().iter().enumerate().skip(1).map(constant).collect::<Result<Vec<_>>>()?;
        if arguments.ignore_nulls() {
            return plan_err!("{function} has no IGNORE NULLS: rows with NULL leave no trace anyway");
        }
        let mut schema = self.schema(arguments.input_fields())?;
        if is_computed(arguments.input_exprs().first()) && !is_struct(arguments.input_fields().first()) {
            schema = Schema::new(vec![schema.field(0).clone().with_name(COMPUTED)]);
        }
        let schema = Arc::new(schema);
        // Wrong constants are found now, when the query is planned.
        self.models.build(&constants, &schema)?;
        Ok(Box::new(ModelEvaluator { models: self.models, constants, schema }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static FOREST: LazyLock<Documentation> = LazyLock::new(|| {
            forest(
                "How unlike the rows before it each row is: 0 to log2(subSampleSize).",
                "random_cut_forest(columns, numberOfTrees, subSampleSize, timeDecay, shingleSize, seed, scoring)",
            )
            .with_argument("seed", "Seed of the random numbers, at least 0; default 1.")
            .with_argument("scoring", "'service' (default), or 'library', which scores repeated values lower.")
            .with_sql_example(
                "```sql\nSELECT t, random_cut_forest(named_struct('cpu', cpu, 'io', io)) OVER (PARTITION BY host ORDER BY t) \
                 FROM metrics\n```",
            )
            .build()
        });
        static EXPLANATION: LazyLock<Documentation> = LazyLock::new(|| {
            forest(
                "The score of random_cut_forest, and which columns it comes from, as a struct of ANOMALY_SCORE and \
                 ANOMALY_EXPLANATION.",
                "random_cut_forest_with_explanation(columns, numberOfTrees, subSampleSize, timeDecay, shingleSize, \
                 withDirectionality, seed, scoring)",
            )
            .with_argument("withDirectionality", "Whether columns are too high or too low; default false.")
            .with_argument("seed", "Seed of the random numbers, at least 0; default 1.")
            .with_argument("scoring", "'service' (default), or 'library', which scores repeated values lower.")
            .build()
        });
        static HOTSPOTS: LazyLock<Documentation> = LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_ANALYTICAL,
                "Where the last rows lie close together: HOTSPOTS_RESULT, a JSON object.",
                "hotspots(columns, windowSize, scanRadius, minimumNumberOfPointsInAHotspot)",
            )
            .with_argument("columns", COLUMNS)
            .with_argument("windowSize", "How many of the last rows are looked at, 100 to 1000.")
            .with_argument("scanRadius", "Rows within this distance are neighbours, more than 0.")
            .with_argument("minimumNumberOfPointsInAHotspot", "Neighbours of a row in a hotspot's core, 2 to windowSize.")
            .build()
        });
        Some(match self.models {
            Models::Forest => &FOREST,
            Models::ForestWithExplanation => &EXPLANATION,
            Models::Hotspots => &HOTSPOTS,
        })
    }
}

/// What an explanation calls a number that is no column: the name that DataFusion gives it says nothing.
const COMPUTED: &str = "value";

fn is_computed(expr: Option<&Arc<dyn PhysicalExpr>>) -> bool {
    // What stands in a query several times, DataFusion computes once, as a column.
    let column = |expr: &Arc<dyn PhysicalExpr>| Some(expr.downcast_ref::<Column>()?.name().to_owned());
    expr.and_then(column).is_none_or(|name| name.starts_with("__common_expr"))
}

fn is_struct(field: Option<&FieldRef>) -> bool {
    field.is_some_and(|field| matches!(field.data_type(), DataType::Struct(_)))
}

const COLUMNS: &str = "A number, or a struct of 1 to 30 numbers; fields of other types play no part.";

fn forest(description: &str, syntax: &str) -> datafusion::logical_expr::DocumentationBuilder {
    Documentation::builder(DOC_SECTION_ANALYTICAL, description, syntax)
        .with_argument("columns", COLUMNS)
        .with_argument("numberOfTrees", "1 to 1000, default 100.")
        .with_argument("subSampleSize", "10 to 1000 and less than timeDecay, default 256.")
        .with_argument("timeDecay", "1 to 2147483647, default 100000.")
        .with_argument("shingleSize", "1 to 30, default 1.")
}

/// Evaluates one partition after another.
#[derive(Debug)]
struct ModelEvaluator {
    models: Models,
    constants: Vec<ScalarValue>,
    schema: Arc<Schema>,
}

impl PartitionEvaluator for ModelEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let mut model = self.models.build(&self.constants, &self.schema)?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns(&values[0])?)?;
        let mut output = model.update(&batch)?;
        match output.len() {
            1 => Ok(output.remove(0)),
            _ => Ok(Arc::new(StructArray::try_new(Fields::from(model.fields()), output, None)?)),
        }
    }
}

/// The columns of an argument; in a struct that is NULL all of them are.
fn columns(argument: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let Some(fields) = argument.as_struct_opt() else { return Ok(vec![Arc::clone(argument)]) };
    if argument.null_count() == 0 {
        return Ok(fields.columns().to_vec());
    }
    let nulls = is_null(argument)?;
    Ok(fields.columns().iter().map(|column| nullif(column, &nulls)).collect::<std::result::Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
