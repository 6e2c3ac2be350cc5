//! The DataFusion session behind an engine: its options, KDA's types and operators, and the functions.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::prelude::{SessionConfig, SessionContext};
use sqlparser::ast::{BinaryLength, CharacterLength, DataType as SqlDataType, TimezoneInfo};

use super::cooperative_joins::CooperativeJoins;
use super::operators::KdaOperators;
use crate::types::{CHARACTER_LENGTH_MAX, SqlType};

/// A session whose SQL follows KDA's rules (kda-sql-reference.md §1), with every function registered.
pub fn session_context(memory_limit: usize) -> crate::Result<SessionContext> {
    let mut config = SessionConfig::new().with_target_partitions(1);
    // Aggregates of intervals know their fields, which DataFusion's physical plan of an alias forgets.
    config.options_mut().execution.skip_physical_aggregate_schema_check = true;
    let parser = &mut config.options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    parser.collect_spans = true;
    // The order of a stream is not lost in the query around.
    parser.enable_subquery_sort_elimination = false;
    parser.map_string_types_to_utf8view = false;
    parser.parse_float_as_decimal = true;
    parser.support_varchar_with_length = true;
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_limit))).build_arc()?;
    let mut state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    state.expr_planners().get_or_insert_default().insert(0, Arc::new(KdaOperators));
    let state = state.with_type_planner(Arc::new(KdaTypes)).with_physical_optimizer_rule(Arc::new(CooperativeJoins));
    let context = SessionContext::new_with_state(state.build());
    kinesql_udfs::register_all(&context)?;
    context.register_udaf(super::rowtime::group_rowtime().as_ref().clone());
    context.register_udf(super::stagger::marker());
    context.register_udf(super::sort::marker());
    context.register_udf(super::retimed::marker());
    context.register_udf(super::named_cast::marker());
    super::window_functions::window_functions().for_each(|function| context.register_udwf(function));
    Ok(context)
}

/// Types whose Arrow form differs from DataFusion's choice.
#[derive(Debug)]
struct KdaTypes;

impl TypePlanner for KdaTypes {
    /// The field has the length of text and bytes in its metadata, as a stream's column of the type has.
    fn plan_type_field(&self, sql_type: &SqlDataType) -> Result<Option<FieldRef>> {
        let length = |length: &Option<CharacterLength>, default: u32| match length {
            None => Some(default),
            Some(CharacterLength::IntegerLength { length, .. }) => u32::try_from(*length).ok(),
            Some(CharacterLength::Max) => Some(CHARACTER_LENGTH_MAX),
        };
        let bytes = |length: &Option<BinaryLength>| match length {
            Some(BinaryLength::IntegerLength { length }) => u32::try_from(*length).ok(),
            _ => Some(CHARACTER_LENGTH_MAX),
        };
        let sql_type = match sql_type {
            SqlDataType::Timestamp(None, TimezoneInfo::None) => Some(SqlType::Timestamp),
            SqlDataType::Time(None, TimezoneInfo::None) => Some(SqlType::Time),
            SqlDataType::Float(_) => Some(SqlType::Double),
            SqlDataType::Varchar(n) | SqlDataType::CharVarying(n) | SqlDataType::CharacterVarying(n) => {
                length(n, CHARACTER_LENGTH_MAX).map(SqlType::Varchar)
            }
            SqlDataType::Char(n) | SqlDataType::Character(n) => length(n, 1).map(SqlType::Char),
            SqlDataType::Binary(n) => n.map_or(Some(1), |n| u32::try_from(n).ok()).map(SqlType::Binary),
            SqlDataType::Varbinary(n) => bytes(n).map(SqlType::Varbinary),
            _ => None,
        };
        Ok(sql_type.map(|sql_type| sql_type.field("", true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions are copied by registering all functions again, in no fixed order: a name that another function has as an
    /// alias would mean now one and now the other.
    #[test]
    fn no_function_has_the_name_of_another() {
        let state = session_context(1 << 20).expect("a session").state();
        let clashes: Vec<_> = state
            .scalar_functions()
            .values()
            .flat_map(|function| function.aliases().iter().map(move |alias| (function.name(), alias)))
            .filter(|(name, alias)| {
                state.scalar_functions().values().any(|other| other.name() == *alias && other.name() != *name)
            })
            .collect();
        assert!(clashes.is_empty(), "{clashes:?}");
        for (name, function) in state.scalar_functions() {
            assert!(state.scalar_functions()[function.name()] == *function, "{name} is another {}", function.name());
        }
        let aggregates = state.aggregate_functions();
        for (function, alias) in
            aggregates.values().flat_map(|function| function.aliases().iter().map(move |alias| (function, alias)))
        {
            assert_eq!(aggregates[alias].name(), function.name(), "{alias}");
        }
    }
}
