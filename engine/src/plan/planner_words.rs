//! Messages of DataFusion's planner in the words of SQL: its names of types and functions are others.

use super::expr_text::function_name;
use super::function_forms::{arguments_of, form_of};
use crate::diagnostic::Diagnostic;

/// How the message about a condition that is no BOOLEAN begins.
pub(super) const NO_CONDITION: &str = "a condition is TRUE or FALSE, ";

/// What is said of types that do not go together.
pub(super) fn about_types(message: &str) -> Option<Diagnostic> {
    let message = message.split("\n\n").next().unwrap_or(message);
    let between = |start: &str, end: &str| Some(message.split_once(start)?.1.split_once(end)?.0);
    let behind = |start: &str| Some(message.split_once(start)?.1.split('\n').next().unwrap_or_default().trim_end_matches('.'));
    if let Some(call) = between("argument types '", "'") {
        let (name, types) = call.split_once('(')?;
        return Some(wrong_call(name, types.strip_suffix(')').unwrap_or(types)));
    }
    if message.ends_with("SUM not supported for Null") {
        return Some(Diagnostic::error("SUM cannot take NULL").hint("Say what it is: CAST(NULL AS INTEGER)."));
    }
    let filter = behind("Cannot create filter with non-boolean predicate ").and_then(|rest| rest.rsplit_once(" returning "));
    let not_a_condition = between("comparison operation ", " IS DISTINCT FROM Boolean")
        .or_else(|| behind("Unary operator 'NOT' requires a boolean expression, got "))
        .or(filter.map(|(_, data_type)| data_type));
    if let Some(data_type) = not_a_condition {
        let name = filter.and_then(|(condition, _)| column_name(condition.trim_matches('\'')));
        let name = name.map_or_else(|| "this".to_owned(), |name| format!("\"{name}\""));
        let problem = Diagnostic::error(format!("{NO_CONDITION}{name} is {}", with_sql_types(data_type)));
        return Some(problem.hint("Compare it with a value."));
    }
    if let Some(operands) = behind("logical boolean operation ") {
        let operator = if operands.contains(" OR ") { "OR" } else { "AND" };
        let operands = with_sql_types(&operands.replace(&format!(" {operator} "), " and "));
        let problem = Diagnostic::error(format!("{operator} takes two conditions, not {operands}"));
        return Some(problem.hint("A condition is TRUE or FALSE: compare a number or a text with a value."));
    }
    if behind("Unary operator '-' only supports").is_some() {
        return Some(Diagnostic::error("the sign - takes a number or an interval"));
    }
    if let Some((one, other)) =
        between("a common type to coerce ", " in LIKE expression").and_then(|both| both.split_once(" and "))
    {
        let problem =
            Diagnostic::error(format!("LIKE takes two texts, not {} and {}", with_sql_types(one), with_sql_types(other)));
        return Some(problem.hint("Convert to text: CAST(… AS VARCHAR(n))."));
    }
    if let Some(computed) = between("Cannot coerce arithmetic expression ", " to valid types") {
        return Some(Diagnostic::error(format!("{} cannot be computed", with_sql_types(computed))));
    }
    if let Some(compared) = behind("Cannot infer common argument type for comparison operation ") {
        return Some(Diagnostic::error(format!("{} cannot be compared", with_sql_types(compared))));
    }
    let (then, rest) = message.strip_prefix("Failed to coerce then (")?.split_once(") and else (")?;
    let otherwise = rest.split_once(") to common types")?.0;
    Some(Diagnostic::error(format!(
        "CASE gives {} in one branch and {} in another: they have no common type",
        with_sql_types(then),
        with_sql_types(otherwise)
    )))
}

/// A call of the planner's function `name` with arguments of `types`, which are as many as it takes or not.
fn wrong_call(name: &str, types: &str) -> Diagnostic {
    let (written, form) = (function_name(name), form_of(name));
    let given = count_types(types);
    let fits = form.and_then(arguments_of).is_none_or(|(least, most)| (least..=most).contains(&given));
    let problem = match given {
        0 => Diagnostic::error(format!("{written} needs an argument")),
        _ => Diagnostic::error(format!("{written} cannot take {}", with_sql_types(types))),
    };
    let problem = match form {
        Some(form) => problem.label(format!("expected {form}")),
        None => problem,
    };
    if given > 0 && fits { problem.hint("Convert the argument with CAST.") } else { problem }
}

/// Types in a list; commas inside of parentheses belong to one.
fn count_types(types: &str) -> usize {
    let mut depth = 0;
    let commas = types.chars().filter(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0 && *c == ','
    });
    if types.trim().is_empty() { 0 } else { commas.count() + 1 }
}

/// The column's name if the text is nothing but a column.
fn column_name(text: &str) -> Option<&str> {
    let is_name = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"'));
    text.rsplit('.')
        .next()
        .map(|name| name.trim_matches('"'))
        .filter(|name| is_name && !name.starts_with(|c: char| c.is_numeric()))
}

/// What is said of names and of queries.
pub(super) fn about_names(message: &str) -> Option<Diagnostic> {
    if let Some(name) =
        message.strip_prefix("Aggregate function calls cannot be nested: '").and_then(|rest| rest.split('(').next())
    {
        let problem = Diagnostic::error(format!("{} cannot stand inside another aggregate", function_name(name)));
        return Some(problem.hint("Compute the inner one in a query in FROM, in parentheses."));
    }
    if message.starts_with("Too many columns! The subquery should only return one column") {
        let problem = Diagnostic::error("a subquery in an expression gives one column, this one gives several");
        return Some(problem.hint("For several columns join it: FROM … JOIN (SELECT …) AS alias ON …."));
    }
    if message.starts_with("Inconsistent data length across values list") {
        let problem = Diagnostic::error("the rows of VALUES have different numbers of columns");
        return Some(problem.hint("Write NULL where a value is missing."));
    }
    if message.starts_with("Projections require unique expression names") {
        let problem = Diagnostic::error("two columns of the select list have one name");
        return Some(problem.hint("Give one of them another: expression AS name."));
    }
    if let Some(name) = message.strip_prefix("Invalid qualifier ") {
        return Some(Diagnostic::error(format!("FROM has no \"{name}\"")));
    }
    if let Some((name, rest)) = message.strip_prefix("Invalid function '").and_then(|rest| rest.split_once('\'')) {
        let problem = Diagnostic::error(format!("unknown function {}", name.to_uppercase()));
        return Some(match rest.split_once("Did you mean '").and_then(|(_, rest)| rest.split_once('\'')) {
            Some((other, _)) => problem.hint(format!("Did you mean {}?", other.to_uppercase())),
            None => problem,
        });
    }
    if let Some(name) = message.strip_prefix("Field ").and_then(|rest| rest.strip_suffix(" not found in struct")) {
        return Some(Diagnostic::error(format!("the record has no field \"{name}\"")));
    }
    let (_, rest) = message.split_once("Cannot access field at argument ")?;
    let data_type = rest.split_once(": type ")?.1.split_once(" is not Struct")?.0;
    Some(Diagnostic::error(format!("{} is no record: it has no fields", with_sql_types(data_type))))
}

/// Arrow's names of types and SQL's; the longer of two that begin alike first.
const TYPES: [(&str, &str); 20] = [
    ("Timestamp(ms)", "TIMESTAMP"),
    ("Time32(ms)", "TIME"),
    ("Interval(MonthDayNano)", "INTERVAL"),
    ("Interval(YearMonth)", "INTERVAL"),
    ("Duration(ms)", "INTERVAL"),
    ("Decimal128", "DECIMAL"),
    ("LargeUtf8", "VARCHAR"),
    ("Utf8View", "VARCHAR"),
    ("Utf8", "VARCHAR"),
    ("Boolean", "BOOLEAN"),
    ("Date32", "DATE"),
    ("Float64", "DOUBLE"),
    ("Float32", "REAL"),
    ("Int64", "BIGINT"),
    ("Int32", "INTEGER"),
    ("Int16", "SMALLINT"),
    ("Int8", "TINYINT"),
    ("Decimal256", "DECIMAL"),
    ("Binary", "VARBINARY"),
    ("Null", "NULL"),
];

/// `message` with SQL's names of types.
pub(crate) fn with_sql_types(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let is_inside = out.chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_');
        let ends = |name: &str| !rest[name.len()..].chars().next().is_some_and(|next| next.is_alphanumeric() || next == '_');
        let found = TYPES.iter().find(|(name, _)| !is_inside && rest.starts_with(name) && ends(name));
        let (length, word) = match found {
            Some((name, sql)) => (name.len(), *sql),
            None => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        out.push_str(word);
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_names_in_sql() {
        assert_eq!(
            with_sql_types("Timestamp(ms) + Int32, Decimal128(10, 2), MyUtf8, Utf8"),
            "TIMESTAMP + INTEGER, DECIMAL(10, 2), MyUtf8, VARCHAR"
        );
        let said = |message: &str| about_types(message).map(|problem| problem.message);
        assert_eq!(
            said("No function matches the given name and argument types 'sum(Timestamp(ms))'. You might …").as_deref(),
            Some("SUM cannot take TIMESTAMP")
        );
        assert_eq!(said("… argument types 'bool_and(Int32)'. …").as_deref(), Some("EVERY cannot take INTEGER"));
        assert_eq!(said("… argument types 'avg()'. …").as_deref(), Some("AVG needs an argument"));
        for (message, what) in [
            ("Cannot create filter with non-boolean predicate 'S.v' returning Int32", "\"v\""),
            ("Cannot create filter with non-boolean predicate 'S.v + Int64(1)' returning Int32", "this"),
            ("Unary operator 'NOT' requires a boolean expression, got Int32", "this"),
            ("Cannot infer common argument type for comparison operation Int32 IS DISTINCT FROM Boolean", "this"),
        ] {
            let expected = format!("a condition is TRUE or FALSE, {what} is INTEGER");
            assert_eq!(said(message).as_deref(), Some(expected.as_str()), "{message}");
        }
        assert_eq!(
            said("Cannot infer common argument type for logical boolean operation Boolean AND Int32").as_deref(),
            Some("AND takes two conditions, not BOOLEAN and INTEGER")
        );
        assert_eq!(
            said("There isn't a common type to coerce Int32 and Utf8 in LIKE expression").as_deref(),
            Some("LIKE takes two texts, not INTEGER and VARCHAR")
        );
        assert_eq!(
            said("Cannot coerce arithmetic expression Timestamp(ms) + Int32 to valid types").as_deref(),
            Some("TIMESTAMP + INTEGER cannot be computed")
        );
        assert_eq!(
            said("Cannot infer common argument type for comparison operation Timestamp(ms) = Int32").as_deref(),
            Some("TIMESTAMP = INTEGER cannot be compared")
        );
    }
}
