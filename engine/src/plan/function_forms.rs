//! How functions are called, for messages: every function carries its documentation.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::functions::all_default_functions;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::Documentation;

use super::expr_text::function_name;

/// Forms by the names that the planner has.
static FORMS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let mut forms = HashMap::new();
    let mut add = |name: &str, documentation: Option<&Documentation>| {
        forms.extend(documentation.map(|documentation| (name.to_owned(), form(name, documentation))));
    };
    // Ours take the place of others of the same name.
    let scalars = all_default_functions().into_iter().chain(kinesql_udfs::all_scalar());
    scalars.for_each(|function| add(function.name(), function.documentation()));
    let aggregates = all_default_aggregate_functions().into_iter().chain(kinesql_udfs::aggregate::all());
    aggregates.for_each(|function| add(function.name(), function.documentation()));
    forms
});

/// `MOD(a, b)`; None for functions of nobody's.
pub(super) fn form_of(name: &str) -> Option<&'static str> {
    match name {
        // What the planner and DataFusion's documentation call otherwise.
        "character_length" => Some("CHAR_LENGTH(s)"),
        "strpos" => Some("POSITION(s IN text)"),
        "btrim" | "ltrim" | "rtrim" => Some("TRIM([[LEADING | TRAILING | BOTH] [c] FROM] s)"),
        "first_value" => Some("FIRST_VALUE(x)"),
        "last_value" => Some("LAST_VALUE(x)"),
        "sys_log_parse" => Some("SYS_LOG_PARSE(s)"),
        name => FORMS.get(name).map(String::as_str),
    }
}

/// How many arguments a form has, the least and the most; None if there is no end to them.
pub(super) fn arguments_of(form: &str) -> Option<(usize, usize)> {
    let arguments = form.split_once('(')?.1.rsplit_once(')')?.0;
    if arguments.contains("...") || arguments.contains('…') || arguments.contains('(') {
        return None;
    }
    let count = |text: &str| text.split(',').filter(|argument| !argument.trim().is_empty()).count();
    let needed = arguments.split('[').next().unwrap_or_default();
    Some((count(needed), count(&arguments.replace(['[', ']'], " "))))
}

/// The form of SQL if there is one, else the call, its name in capitals.
fn form(name: &str, documentation: &Documentation) -> String {
    let of_sql = documentation.alternative_syntax.iter().flatten().find_map(|form| form.strip_suffix(", in KDA SQL"));
    if let Some(form) = of_sql {
        return form.to_owned();
    }
    match documentation.syntax_example.split_once('(') {
        Some((_, arguments)) => format!("{}({arguments}", function_name(name)),
        None => documentation.syntax_example.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_forms() {
        assert_eq!(form_of("mod"), Some("MOD(a, b)"));
        assert_eq!(arguments_of("MOD(a, b)"), Some((2, 2)));
        assert_eq!(arguments_of("LPAD(str, n[, padding_str])"), Some((2, 3)));
        assert_eq!(arguments_of("COALESCE(a[, ..., b])"), None);
        assert_eq!(form_of("$stagger"), None);
    }
}
