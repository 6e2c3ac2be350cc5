//! Functions that a script creates: `CREATE FUNCTION half(x INTEGER) RETURNS INTEGER RETURN x / 2` (kda-sql-reference.md §2.3).
//!
//! 1. The body is planned once, when the function is created, over a relation of its parameters ([`plan_body`]).
//! 2. A call in a query is renamed to a function of the session that knows all overloads ([`Functions::rename_calls`]), so no
//!    name of DataFusion's can clash with the user's.
//! 3. When the query is planned and has KDA's types, the body takes the place of the call ([`inline`]). Everything behind sees the
//!    expression: what is monotonic, the text in EXPLAIN and in the definition that a checkpoint is compared with.
//!
//! Numbers that are arguments and results have exactly the declared types. Texts and bytes have any length that fits: a longer value
//! fails its row. Bodies are put into bodies as well, when these are created, so a function keeps what it called then, and
//! none can call itself.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err, plan_err};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, when,
};
use kinesql_udfs::scalar::kda_cast;
use sqlparser::ast::{self, Ident, Visit, VisitMut, Visitor, VisitorMut};

use super::insert::{Assignable, assignable};
use super::operators::error_at;
use super::rules::output_types::nearest;
use crate::diagnostic::Diagnostic;
use crate::sql::PARAMETERS;
use crate::types::{SqlType, sql_type_name};

/// Begins the names of the session's functions that stand for the user's.
const PREFIX: &str = "$function.";

/// Parts of an expression once all bodies are in place. `f(f(f(x)))` doubles it with each call if `f` uses its argument twice.
const PARTS_MAX: usize = 10_000;

/// One function: of those with its name, the one with these types of parameters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name, as the catalog has it.
    pub name: String,
    /// A name that no other function has, if it was given one.
    pub specific: Option<String>,
    /// The parameters.
    pub parameters: Vec<(String, SqlType)>,
    /// Type of the result.
    pub returns: SqlType,
    /// True if it is NULL as soon as one argument is.
    pub null_on_null: bool,
    /// The result, an expression of columns of the stream of parameters, of the type of the result.
    pub body: Expr,
    /// Signatures of all functions whose bodies went into this one.
    pub calls: BTreeSet<String>,
}

impl Function {
    /// `NAME(TYPE, TYPE)`.
    pub fn signature(&self) -> String {
        signature(&self.name, self.parameters.iter().map(|(_, sql_type)| *sql_type))
    }
}

/// `NAME(TYPE, TYPE)`.
pub(crate) fn signature(name: &str, types: impl Iterator<Item = SqlType>) -> String {
    format!("{name}({})", types.map(|sql_type| sql_type.to_string()).collect::<Vec<_>>().join(", "))
}

/// All functions that were created, in order of creation.
#[derive(Debug, Clone, Default)]
pub struct Functions(pub Vec<Function>);

impl Functions {
    /// Those of one name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Function> {
        self.0.iter().filter(move |function| function.name == name)
    }

    /// Gives the calls in `query` the names of the session's functions.
    pub fn rename_calls(&self, query: &mut ast::Query) {
        struct Rename<'a>(&'a Functions);
        impl VisitorMut for Rename<'_> {
            type Break = ();
            fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
                if let ast::Expr::Function(function) = expr
                    && let Some(ast::ObjectNamePart::Identifier(ident)) = function.name.0.last_mut()
                    && self.0.named(&catalog_name(ident)).next().is_some()
                {
                    let value = format!("{PREFIX}{}", catalog_name(ident));
                    *ident = Ident { value, quote_style: Some('"'), span: ident.span };
                }
                ControlFlow::Continue(())
            }
        }
        if !self.0.is_empty() {
            // The visitor never breaks off.
            let _ = query.visit(&mut Rename(self));
        }
    }

    /// Adds the functions to a session, under the names that [`Functions::rename_calls`] gives them.
    pub fn register(&self, state: &mut SessionState) -> Result<()> {
        let names: BTreeSet<_> = self.0.iter().map(|function| function.name.as_str()).collect();
        for name in names {
            let overloads = self.named(name).cloned().collect();
            let call =
                Call { name: format!("{PREFIX}{name}"), overloads, signature: Signature::user_defined(Volatility::Volatile) };
            state.register_udf(Arc::new(ScalarUDF::from(call)))?;
        }
        Ok(())
    }
}

/// The name of a called function as the catalog has it: the parser writes names without quotes in lower case.
fn catalog_name(ident: &Ident) -> String {
    if ident.quote_style.is_none() { ident.value.to_uppercase() } else { ident.value.clone() }
}

/// The name of a function as the user calls it, if `name` is that of one of the session's.
pub(super) fn user_name(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

/// A call before the body takes its place. It is never run, and volatile so that nobody tries to.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Call {
    name: String,
    overloads: Vec<Function>,
    signature: Signature,
}

impl Call {
    /// The overloads that take so many arguments, each of which `fits` its parameter.
    fn taking<'a>(&'a self, arguments: &[FieldRef], fits: impl Fn(&FieldRef, SqlType) -> bool) -> Vec<&'a Function> {
        let takes = |function: &&Function| {
            let mut pairs = function.parameters.iter().zip(arguments);
            function.parameters.len() == arguments.len() && pairs.all(|((_, sql_type), argument)| fits(argument, *sql_type))
        };
        self.overloads.iter().filter(takes).collect()
    }

    /// The overload that takes such arguments, whose types are known; NULL is of any type, so there may be several.
    fn resolve(&self, arguments: &[FieldRef]) -> Result<&Function> {
        match self.taking(arguments, is_of).as_slice() {
            [function] => Ok(function),
            [] => {
                let message = self.none_takes(arguments);
                match self.taking(arguments, can_become).first() {
                    Some(other) => {
                        let mut pairs = other.parameters.iter().zip(arguments);
                        let wanted = pairs.find(|((_, sql_type), argument)| !is_of(argument, *sql_type));
                        let wanted = wanted.map_or_else(|| "type".to_owned(), |((_, sql_type), _)| sql_type.to_string());
                        let hint = format!("A number has exactly the type of its parameter: CAST(… AS {wanted}).");
                        Err(error_at(message, hint, &[]))
                    }
                    None => plan_err!("{message}"),
                }
            }
            several => {
                let signatures = several.iter().map(|function| function.signature()).collect::<Vec<_>>().join(", ");
                let message = format!("{NO_FUNCTION} {}({}), as NULL is of any type", self.user_name(), type_names(arguments));
                Err(error_at(message, format!("CAST it to the type of a parameter: there is {signatures}."), &[]))
            }
        }
    }

    /// The overload that is most likely meant while the types of the arguments are those of DataFusion's planner.
    fn likely(&self, arguments: &[FieldRef]) -> Result<&Function> {
        let exact = self.taking(arguments, is_of);
        let possible = exact.into_iter().chain(self.taking(arguments, can_become)).next();
        possible.map_or_else(|| plan_err!("{}", self.none_takes(arguments)), Ok)
    }

    fn none_takes(&self, arguments: &[FieldRef]) -> String {
        let signatures = self.overloads.iter().map(Function::signature).collect::<Vec<_>>().join(", ");
        format!("{NO_FUNCTION} {}({}); there is {signatures}", self.user_name(), type_names(arguments))
    }

    fn user_name(&self) -> &str {
        user_name(&self.name).unwrap_or(&self.name)
    }
}

fn type_names(arguments: &[FieldRef]) -> String {
    arguments.iter().map(|argument| sql_type_name(argument)).collect::<Vec<_>>().join(", ")
}

/// True if a value of `field` could be converted to `sql_type`.
fn can_become(field: &FieldRef, sql_type: SqlType) -> bool {
    matches!(assignable(field.data_type(), &sql_type.data_type()), Assignable::Yes)
}

/// True if a value of `field` is one of `sql_type` as it is (kda-sql-reference.md §2.3).
fn is_of(field: &FieldRef, sql_type: SqlType) -> bool {
    let (from, to) = (field.data_type(), sql_type.data_type());
    match from.is_numeric() && to.is_numeric() {
        // Some functions give types that no column has, such as unsigned numbers.
        true => nearest(from).unwrap_or_else(|| from.clone()) == to,
        false => can_become(field, sql_type),
    }
}

/// Begins the message about a call that no function fits.
const NO_FUNCTION: &str = "there is no function";

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<_> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({})", self.name.trim_start_matches(PREFIX), args.join(",")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the result of a function has a field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(self.likely(args.arg_fields)?.returns.field(self.name(), true))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("the body of {} has not taken the place of its call", self.name)
    }
}

/// Puts the bodies in place of the calls; run it once the arguments have KDA's types.
pub(crate) fn inline(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        // The condition of a join reads both inputs.
        let inputs = node.inputs().into_iter().map(|input| input.schema().as_ref().clone());
        let schema = inputs.reduce(|mut all, schema| {
            all.merge(&schema);
            all
        });
        let schema = schema.unwrap_or_else(DFSchema::empty);
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let inlined = expr.transform_up(|expr| inline_call(expr, &schema))?;
            if inlined.transformed && parts_of(&inlined.data)? > PARTS_MAX {
                return plan_err!("with the bodies of its functions, an expression has more than {PARTS_MAX} parts");
            }
            Ok(inlined.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(|node| node.recompute_schema())
    })?;
    Ok(rewritten.data)
}

fn parts_of(expr: &Expr) -> Result<usize> {
    let mut parts = 0;
    expr.apply(|_| {
        parts += 1;
        Ok(if parts > PARTS_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(parts)
}

fn inline_call(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(function) = &expr else { return Ok(Transformed::no(expr)) };
    let Some(call) = function.func.inner().downcast_ref::<Call>() else { return Ok(Transformed::no(expr)) };
    let fields = function.args.iter().map(|argument| Ok(argument.to_field(schema)?.1)).collect::<Result<Vec<_>>>()?;
    let (function, arguments) = (call.resolve(&fields)?, &function.args);
    let arguments: Vec<_> = arguments
        .iter()
        .zip(&fields)
        .zip(&function.parameters)
        .map(|((argument, field), (_, sql_type))| convert(argument.clone(), field, *sql_type))
        .collect();
    for ((argument, (name, _)), place) in arguments.iter().zip(&function.parameters).zip(1..) {
        let uses = usize::from(function.null_on_null) + uses_of(&function.body, name)?;
        if uses > 1 && argument.is_volatile() {
            return plan_err!(
                "argument {place} of {} has another value each time it is computed, and the body uses it {uses} times: select it \
                 in a query in FROM",
                function.name
            );
        }
    }
    let body = function.body.clone().transform_up(|node| {
        Ok(match &node {
            Expr::Column(column) => match function.parameters.iter().position(|(name, _)| *name == column.name) {
                Some(place) => Transformed::yes(arguments[place].clone()),
                None => Transformed::no(node),
            },
            _ => Transformed::no(node),
        })
    })?;
    let any_null = arguments.iter().cloned().map(Expr::is_null).reduce(Expr::or).filter(|_| function.null_on_null);
    Ok(Transformed::yes(match any_null {
        Some(any_null) => {
            let null = Expr::Literal(ScalarValue::try_from(function.returns.data_type())?, None);
            when(any_null, null).otherwise(body.data)?
        }
        None => body.data,
    }))
}

fn uses_of(body: &Expr, parameter: &str) -> Result<usize> {
    let mut uses = 0;
    body.apply(|node| {
        uses += usize::from(matches!(node, Expr::Column(column) if column.name == parameter));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(uses)
}

/// `expr` as a value of `sql_type`, to which it can be assigned.
fn convert(expr: Expr, field: &FieldRef, sql_type: SqlType) -> Expr {
    if SqlType::of_field(field) == Some(sql_type) { expr } else { kda_cast::udf(sql_type).call(vec![expr]) }
}

/// What is planned of a function.
pub(crate) struct Body {
    /// The result, of the declared type.
    pub(crate) expr: Expr,
    /// Signatures of the functions that went into it.
    pub(crate) calls: BTreeSet<String>,
}

/// Plans the body of `name`, an expression that `query` selects from [`PARAMETERS`]. Every problem has a place in the body.
pub(crate) async fn plan_body(
    name: &str,
    query: &crate::sql::Query,
    parameters: &[(String, SqlType)],
    returns: SqlType,
    functions: &Functions,
    state: &SessionState,
) -> std::result::Result<Body, Vec<Diagnostic>> {
    let fields: Vec<_> = parameters.iter().map(|(name, sql_type)| sql_type.field(name, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let streams = super::StreamSchemas::from([(PARAMETERS.to_owned(), schema)]);
    let mut ast = query.ast.clone();
    functions.rename_calls(&mut ast);
    let own = signature(name, parameters.iter().map(|(_, sql_type)| *sql_type));
    let mut problems = check_body(name, &ast);
    if problems.is_empty() {
        problems = super::names::check_names(&ast, state, &streams, &Default::default());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let at_body = |problem: Diagnostic| vec![if problem.span.is_none() { problem.at(query.span) } else { problem }];
    let explain = |error: datafusion::error::DataFusionError| {
        let problem = super::places::explain_in(&error, &streams, &ast);
        at_body(match is_unknown_column(&error) {
            true => unknown_parameter(problem, parameters),
            false => problem,
        })
    };
    let planned = super::query::plan_of_streams(&ast, state, &streams).await.map_err(explain)?;
    let settings = crate::settings::Settings::of(state);
    let planned =
        super::rules::literals::apply(planned).and_then(|plan| super::rules::typed(plan, &settings)).map_err(explain)?;
    let calls = called(&planned).map_err(explain)?;
    if calls.contains(&own) {
        return Err(vec![recursion(name).at(query.span)]);
    }
    let analyzed = inline(planned)
        .and_then(|plan| state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}))
        .and_then(super::rules::literals::fold)
        .map_err(explain)?;
    let LogicalPlan::Projection(projection) = &analyzed else {
        return Err(vec![Diagnostic::error("the body of a function is an expression of its parameters").at(query.span)]);
    };
    let expr = projection.expr[0].clone().unalias();
    let aggregates = expr.exists(|node| Ok(matches!(node, Expr::AggregateFunction(_)))).unwrap_or(false);
    if aggregates || !matches!(*projection.input, LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_)) {
        let problem = Diagnostic::error("the body of a function cannot aggregate").at(query.span);
        return Err(vec![
            problem.hint("It is computed once per row. Aggregate in the query, and call the function on the result."),
        ]);
    }
    let field = expr.to_field(projection.input.schema()).map_err(explain)?.1;
    if !is_of(&field, returns) {
        let problem = Diagnostic::error(format!("the function returns {returns}, its body is {}", sql_type_name(&field)));
        return Err(vec![problem.at(query.span).hint(format!("Convert it: RETURN CAST(… AS {returns})."))]);
    }
    // Some functions say only now that an argument must be a constant.
    super::physical::physical(&expr, projection.input.schema(), state.execution_props()).map_err(at_body)?;
    Ok(Body { expr: convert(expr, &field, returns), calls })
}

/// Forms that a query has and the body of a function has not.
fn check_body(name: &str, ast: &ast::Query) -> Vec<Diagnostic> {
    struct Forms<'a> {
        name: &'a str,
        problems: Vec<Diagnostic>,
    }
    impl Visitor for Forms<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            use sqlparser::ast::Spanned;
            match expr {
                ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
                    let problem = Diagnostic::error("a function cannot read streams and tables").at(expr.span());
                    self.problems.push(problem.hint("Join the table in the query, and pass its column to the function."));
                }
                ast::Expr::Function(function) if function.over.is_some() => {
                    let problem = Diagnostic::error("the body of a function has no window").at(expr.span());
                    self.problems.push(problem.hint("Use OVER in the query, and call the function on the result."));
                }
                ast::Expr::Function(function) => {
                    let ident = function.name.0.last().and_then(|part| part.as_ident());
                    if let Some(ident) = ident
                        && catalog_name(ident) == self.name
                    {
                        self.problems.push(recursion(self.name).at(ident.span));
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut forms = Forms { name, problems: Vec::new() };
    let _ = ast.visit(&mut forms);
    forms.problems
}

fn recursion(name: &str) -> Diagnostic {
    Diagnostic::error(format!("function \"{name}\" calls itself"))
        .hint("A function cannot be recursive, directly or through others.")
}

/// Signatures of the functions called in `plan`, and of those that went into them.
fn called(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let schema = plan.inputs().first().map_or_else(|| Arc::new(DFSchema::empty()), |input| input.schema().clone());
    plan.apply_expressions(|expr| {
        expr.apply(|node| {
            if let Expr::ScalarFunction(function) = node
                && let Some(call) = function.func.inner().downcast_ref::<Call>()
            {
                let fields = function.args.iter().map(|arg| Ok(arg.to_field(&schema)?.1)).collect::<Result<Vec<_>>>()?;
                let function = call.resolve(&fields)?;
                found.insert(function.signature());
                found.extend(function.calls.iter().cloned());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn is_unknown_column(error: &datafusion::error::DataFusionError) -> bool {
    use datafusion::common::{DataFusionError, SchemaError};
    matches!(error.find_root(), DataFusionError::SchemaError(error, _) if matches!(**error, SchemaError::FieldNotFound { .. }))
}

fn unknown_parameter(problem: Diagnostic, parameters: &[(String, SqlType)]) -> Diagnostic {
    let name = problem.message.split('"').nth(1).unwrap_or_default().to_owned();
    let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    let unknown = Diagnostic::error(format!("the function has no parameter \"{name}\""));
    let unknown = match problem.span {
        Some(span) => unknown.at(span),
        None => unknown,
    };
    let unknown = match names.is_empty() {
        true => unknown.label("it has no parameters"),
        false => unknown.label(format!("parameters are {}", names.join(", "))),
    };
    unknown.did_you_mean(&name, names)
}

/// Gives a problem about a call its place, if the query has one call of this name only.
pub(crate) fn place_at_call(problem: Diagnostic, query: &ast::Query) -> Diagnostic {
    let Some(call) = problem.message.strip_prefix(NO_FUNCTION).filter(|_| problem.span.is_none()) else { return problem };
    let name = call.trim_start().split('(').next().unwrap_or_default().to_owned();
    struct Calls<'a>(&'a str, Vec<sqlparser::tokenizer::Span>);
    impl Visitor for Calls<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Function(function) = expr
                && let Some(ident) = function.name.0.last().and_then(|part| part.as_ident())
                && user_name(&ident.value) == Some(self.0)
            {
                self.1.push(ident.span);
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls(&name, Vec::new());
    let _ = query.visit(&mut calls);
    match calls.1.as_slice() {
        [span] => problem.at(*span),
        _ => problem,
    }
}
