//! What the functions of text share: parameters that are declared once, checked when the query is planned and read per row.
//!
//! Text arrives as Utf8, LargeUtf8 or Utf8View and is read as Utf8, which is what SQL columns hold (sql_type.rs), without a
//! copy then. A function says how it makes its field and its column; NULL in any argument gives NULL (kda-sql-reference.md
//! §5.1, rule G). A failing row is an `ArrowError::ComputeError`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use super::any_nullable;
use super::text_arguments::{Arguments, integer, is_binary, is_text};
use crate::sql_type::{CHARACTER_LENGTH_MAX, SqlType, sql_type_name};

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// CHAR or VARCHAR.
    Text,
    /// CHAR, VARCHAR, BINARY or VARBINARY.
    TextOrBinary,
    /// A whole number of any size.
    Integer,
    /// Text or a whole number; the function tells them apart.
    TextOrInteger,
    /// TIMESTAMP.
    Timestamp,
}

impl Kind {
    fn holds(self, data_type: &DataType) -> bool {
        let text = is_text(data_type);
        data_type.is_null()
            || match self {
                Kind::Text => text,
                Kind::TextOrBinary => text || is_binary(data_type),
                Kind::Integer => data_type.is_integer(),
                Kind::TextOrInteger => text || data_type.is_integer(),
                Kind::Timestamp => matches!(data_type, DataType::Timestamp(..)),
            }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::TextOrBinary => "text or binary",
            Kind::Integer => "a whole number",
            Kind::TextOrInteger => "text or a whole number",
            Kind::Timestamp => "a TIMESTAMP",
        }
    }
}

/// One parameter: its name, what it may be, and a sentence for the list of functions.
pub(super) type Parameter = (&'static str, Kind, &'static str);

/// A function as its file declares it.
#[derive(Clone)]
pub(super) struct TextFunction {
    /// The name in calls, in small letters.
    pub name: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// In order; those from `required` on may be left out.
    pub parameters: &'static [Parameter],
    pub required: usize,
    pub section: DocSection,
    /// A sentence on what it does.
    pub summary: &'static str,
    /// How KDA SQL writes it, if not as a call.
    pub sql_form: Option<&'static str>,
    /// An expression and its value.
    pub example: (&'static str, &'static str),
    /// The result's field, and the errors that can be found before any row is seen.
    pub plan: fn(&PlanArguments<'_>) -> Result<FieldRef>,
    /// The result: a column of `Arguments::rows` rows.
    pub run: fn(&Arguments<'_>) -> Result<ArrayRef>,
}

impl TextFunction {
    /// As DataFusion takes it.
    pub fn udf(self) -> Arc<ScalarUDF> {
        self.declared(QueryTime::Unused)
    }

    /// As DataFusion takes it; the last argument is the time of the query unless given.
    pub fn with_query_time(self) -> Arc<ScalarUDF> {
        self.declared(QueryTime::LastArgument)
    }

    /// As DataFusion takes it; `Arguments::query_time` is the time of the query.
    pub fn knowing_query_time(self) -> Arc<ScalarUDF> {
        self.declared(QueryTime::Known(None))
    }

    fn declared(self, query_time: QueryTime) -> Arc<ScalarUDF> {
        let volatility = if query_time == QueryTime::LastArgument { Volatility::Stable } else { Volatility::Immutable };
        let counts = (self.required..=self.parameters.len()).map(TypeSignature::Any).collect();
        let (expression, value) = self.example;
        let width = value.chars().count().max(1);
        let rule = format!("+{}+", "-".repeat(width + 2));
        let example =
            format!("```sql\n> select {expression} as x;\n{rule}\n| {:width$} |\n{rule}\n| {value:width$} |\n{rule}\n```", "x");
        let names: Vec<_> = self.parameters.iter().map(|(name, ..)| *name).collect();
        let (needed, optional) = names.split_at(self.required);
        let optional: String = optional.iter().map(|name| format!("[, {name}]")).collect();
        let syntax = format!("{}({}{optional})", self.name, needed.join(", "));
        let mut documentation = Documentation::builder(self.section.clone(), self.summary, syntax).with_sql_example(example);
        for (name, _, description) in self.parameters {
            documentation = documentation.with_argument(*name, *description);
        }
        if let Some(form) = self.sql_form {
            documentation = documentation.with_alternative_syntax(format!("{form}, in KDA SQL"));
        }
        Arc::new(ScalarUDF::from(Declared {
            signature: Signature::one_of(counts, volatility),
            documentation: documentation.build(),
            aliases: self.aliases.iter().map(|&alias| alias.to_owned()).collect(),
            query_time,
            function: self,
        }))
    }
}

struct Declared {
    function: TextFunction,
    signature: Signature,
    aliases: Vec<String>,
    documentation: Documentation,
    query_time: QueryTime,
}

/// How a function learns when the query started, which DataFusion says while it simplifies the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum QueryTime {
    Unused,
    /// In its last argument, unless that is given.
    LastArgument,
    /// From itself: milliseconds since 1970, once the query was simplified.
    Known(Option<i64>),
}

impl std::fmt::Debug for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextFunction").field("name", &self.function.name).finish_non_exhaustive()
    }
}

// The name stands for the declaration: there is one of each.
impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        (self.function.name, self.query_time) == (other.function.name, other.query_time)
    }
}

impl Eq for Declared {}

impl Hash for Declared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.function.name, self.query_time).hash(state);
    }
}

impl ScalarUDFImpl for Declared {
    fn name(&self) -> &str {
        self.function.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} depends on its arguments", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        for (field, (name, kind, _)) in args.arg_fields.iter().zip(self.function.parameters) {
            if !kind.holds(field.data_type()) {
                return plan_err!(
                    "the argument {name} of {} must be {}, not {}",
                    sql_name(self.name()),
                    kind.name(),
                    sql_type_name(field)
                );
            }
        }
        (self.function.plan)(&PlanArguments { function: &self.function, args: &args })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let now = info.query_execution_start_time().map(|now| now.timestamp_millis());
        let again = |query_time| self.function.clone().declared(query_time);
        match (self.query_time, now) {
            (QueryTime::LastArgument, Some(_)) if args.len() < self.function.parameters.len() => {
                args.push(Expr::Literal(ScalarValue::TimestampMillisecond(now, None), None));
                Ok(ExprSimplifyResult::Simplified(again(QueryTime::LastArgument).call(args)))
            }
            (QueryTime::Known(None), Some(_)) => Ok(ExprSimplifyResult::Simplified(again(QueryTime::Known(now)).call(args))),
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let query_time = if let QueryTime::Known(time) = self.query_time { time } else { None };
        let arguments = Arguments::new(&args.args, &args.return_field, rows, query_time);
        let column = (self.function.run)(&arguments)?;
        Ok(if constant { ColumnarValue::Scalar(ScalarValue::try_from_array(&column, 0)?) } else { ColumnarValue::Array(column) })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The arguments as the planner knows them.
pub(super) struct PlanArguments<'a> {
    function: &'a TextFunction,
    args: &'a ReturnFieldArgs<'a>,
}

impl<'a> PlanArguments<'a> {
    pub fn len(&self) -> usize {
        self.args.arg_fields.len()
    }

    pub fn data_type(&self, argument: usize) -> &'a DataType {
        self.args.arg_fields[argument].data_type()
    }

    /// A result of this type that is NULL only if an argument can be.
    pub fn field(&self, result: SqlType) -> FieldRef {
        result.field(self.function.name, any_nullable(self.args.arg_fields))
    }

    /// A result of this type that can be NULL.
    pub fn nullable_field(&self, result: SqlType) -> FieldRef {
        result.field(self.function.name, true)
    }

    /// A result of the type of an argument.
    pub fn field_like(&self, argument: usize) -> FieldRef {
        self.field(SqlType::of_field(&self.args.arg_fields[argument]).unwrap_or(SqlType::Varchar(CHARACTER_LENGTH_MAX)))
    }

    /// A record: NULL as a whole where the input is NULL or does not have the expected form.
    pub fn record(&self, fields: Fields) -> FieldRef {
        Arc::new(Field::new(self.function.name, DataType::Struct(fields), true))
    }

    /// The length that the type of an argument allows, in characters or bytes.
    pub fn length(&self, argument: usize) -> u32 {
        match SqlType::of_field(&self.args.arg_fields[argument]) {
            Some(SqlType::Char(length) | SqlType::Varchar(length) | SqlType::Binary(length) | SqlType::Varbinary(length)) => {
                length
            }
            _ => CHARACTER_LENGTH_MAX,
        }
    }

    /// The text of an argument that is a constant; None for columns and NULL.
    pub fn text(&self, argument: usize) -> Option<&'a str> {
        self.args.scalar_arguments.get(argument).copied().flatten().and_then(|value| value.try_as_str().flatten())
    }

    /// The number of an argument that is a constant whole number.
    pub fn constant_integer(&self, argument: usize) -> Option<i64> {
        self.args.scalar_arguments.get(argument).copied().flatten().and_then(integer)
    }

    /// The text of an argument that has to be a constant because the result's fields depend on it.
    pub fn constant_text(&self, argument: usize) -> Result<&'a str> {
        self.text(argument).map_or_else(|| must_be_constant(self.function, argument), Ok)
    }
}

fn must_be_constant<T>(function: &TextFunction, argument: usize) -> Result<T> {
    let (name, ..) = function.parameters[argument];
    plan_err!("the argument {name} of {} must be a constant text", sql_name(function.name))
}

/// The name as scripts write it.
fn sql_name(name: &str) -> String {
    match name {
        "is_like" => "LIKE".to_owned(),
        "similar_to" => "SIMILAR TO".to_owned(),
        "substring_from" | "substring_similar" => "SUBSTRING".to_owned(),
        "btrim" | "ltrim" | "rtrim" => "TRIM".to_owned(),
        name => name.trim_start_matches("kda_").to_ascii_uppercase(),
    }
}

/// What is wrong with constants, as an error of the planner.
pub(super) fn plan_error(message: String) -> DataFusionError {
    plan_datafusion_err!("{message}")
}
