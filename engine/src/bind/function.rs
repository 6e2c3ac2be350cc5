//! CREATE FUNCTION and DROP FUNCTION: what the catalog's functions allow (kda-sql-reference.md §2.3).

use super::{Binder, Problems, already_exists};
use crate::diagnostic::Diagnostic;
use crate::plan::function::{Body, Function, plan_body, signature};
use crate::sql::keywords::{FUNCTIONS, is_reserved};
use crate::sql::{CreateFunction, DropFunction, Name};
use crate::types::SqlType;

impl Binder<'_> {
    pub(crate) async fn create_function(&mut self, statement: &CreateFunction) -> Result<String, Problems> {
        let CreateFunction { name, specific, parameters, returns, deterministic, null_on_null, data, body, or_replace } =
            statement;
        if FUNCTIONS.contains(&name.value.as_str()) || is_reserved(&name.value) {
            let problem = Diagnostic::error(format!("function \"{}\" exists already: it is one of KDA SQL", name.value));
            return Err(vec![problem.at(name.span).hint("Choose another name.")]);
        }
        let parameters: Vec<(String, SqlType)> =
            parameters.iter().map(|parameter| (parameter.name.value.clone(), parameter.sql_type)).collect();
        let replaced = self
            .catalog
            .functions
            .0
            .iter()
            .position(|other| other.name == name.value && same_types(other, parameters.iter().map(|(_, sql_type)| sql_type)));
        if replaced.is_some() && !or_replace {
            let mut problem = already_exists("function", name);
            problem.message = format!("function {} exists already", signature(&name.value, types(&parameters)));
            return Err(vec![problem]);
        }
        if let Some(specific) = specific {
            self.check_specific(specific, replaced)?;
        }
        let Body { expr, calls } =
            plan_body(&name.value, body, &parameters, *returns, &self.catalog.functions, self.state).await?;
        if let Some((true, span)) = deterministic
            && expr.is_volatile()
        {
            let problem = Diagnostic::error("the function is not DETERMINISTIC: its body has another value each time").at(*span);
            return Err(vec![problem.hint("Remove the word, or write NOT DETERMINISTIC.")]);
        }
        if let Some(span) = data {
            let what = "READS SQL DATA and MODIFIES SQL DATA have no effect: an expression reads its arguments only";
            self.warnings.push(Diagnostic::warning(what).at(*span));
        }
        let function = Function {
            name: name.value.clone(),
            specific: specific.as_ref().map(|specific| specific.value.clone()),
            parameters,
            returns: *returns,
            null_on_null: *null_on_null,
            body: expr,
            calls,
        };
        let created = format!("function {}", function.signature());
        let functions = &mut self.catalog.functions.0;
        match replaced {
            Some(place) => functions[place] = function,
            None => functions.push(function),
        }
        Ok(created)
    }

    fn check_specific(&self, specific: &Name, replaced: Option<usize>) -> Result<(), Problems> {
        let others = self.catalog.functions.0.iter().enumerate().filter(|(place, _)| Some(*place) != replaced);
        match others.map(|(_, other)| other).find(|other| other.specific.as_ref() == Some(&specific.value)) {
            None => Ok(()),
            Some(other) => Err(vec![
                Diagnostic::error(format!("the specific name \"{}\" is that of {}", specific.value, other.signature()))
                    .at(specific.span)
                    .hint("A specific name belongs to one function."),
            ]),
        }
    }

    pub(crate) fn drop_function(&mut self, statement: &DropFunction) -> Result<String, Problems> {
        let DropFunction { name, parameters, if_exists } = statement;
        let functions = &mut self.catalog.functions.0;
        let is_meant = |function: &Function| match parameters {
            Some(types) => function.name == name.value && same_types(function, types.iter()),
            None => function.name == name.value || function.specific.as_ref() == Some(&name.value),
        };
        let found: Vec<_> = (0..functions.len()).filter(|place| is_meant(&functions[*place])).collect();
        match found.as_slice() {
            [place] => Ok(format!("function {}", functions.remove(*place).signature())),
            [] if *if_exists => Ok(format!("function {}", name.value)),
            [] => {
                let what = parameters
                    .as_ref()
                    .map_or_else(|| format!("\"{}\"", name.value), |types| signature(&name.value, types.iter().copied()));
                let problem = Diagnostic::error(format!("function {what} does not exist")).at(name.span);
                let others: Vec<_> = functions.iter().filter(|other| other.name == name.value).map(Function::signature).collect();
                Err(vec![match others.as_slice() {
                    [] => problem.did_you_mean(&name.value, functions.iter().map(|function| function.name.as_str())),
                    _ => problem.hint(format!("There is {}.", others.join(", "))),
                }])
            }
            several => {
                let signatures: Vec<_> = several.iter().map(|place| functions[*place].signature()).collect();
                let problem = Diagnostic::error(format!("there are {} functions \"{}\"", several.len(), name.value));
                Err(vec![problem.at(name.span).hint(format!("Say which one: {}.", signatures.join(", ")))])
            }
        }
    }
}

fn types(parameters: &[(String, SqlType)]) -> impl Iterator<Item = SqlType> {
    parameters.iter().map(|(_, sql_type)| *sql_type)
}

/// True if the parameters are held by the same types: those of VARCHAR(3) and VARCHAR(5) differ in nothing a call could show.
fn same_types<'a>(function: &Function, types: impl ExactSizeIterator<Item = &'a SqlType>) -> bool {
    function.parameters.len() == types.len()
        && function.parameters.iter().zip(types).all(|((_, one), other)| one.data_type() == other.data_type())
}
