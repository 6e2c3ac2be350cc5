//! `kinesql check` and `kinesql explain`: what is wrong with scripts, and how they would run. Nothing is started.
//!
//! `check` needs no data but that of tables, and of sources whose columns are not declared. `explain` shows splits, so it looks at
//! the sources that are read.

use std::sync::Arc;

use kinesql_engine::diagnostic::{Diagnostic, Position, Script, Severity, Span};
use kinesql_engine::sql::{Statement, StatementKind, parse_script};
use kinesql_engine::{Error, Outcome, Result};

use crate::application::Application;
use crate::report::{self, Stop};
use crate::run::print_text;
use crate::summary::count;

/// Reports every error and warning of all scripts; fails if there is an error.
pub async fn check(application: &Application) -> Result<(), Stop> {
    check_scripts(application).await?;
    execute_without_queries(application).await?;
    application.bind_sinks()?;
    application.engine.check_sinks().map_err(|error| application.explain_sink_error(error))?;
    application.engine.check_rows().iter().for_each(report::warning);
    let statements: usize = application.scripts.iter().map(|script| parse_script(script).statements.len()).sum();
    print_text(&format!("ok: {}", count(statements as u64, "statement")))
}

/// Prints the plan of all pumps and sinks, then that of every query in the scripts.
pub async fn explain(application: &Application) -> Result<(), Stop> {
    check_scripts(application).await?;
    for outcome in execute_without_queries(application).await? {
        if let Outcome::Explained(text) = outcome {
            print_text(&text)?;
        }
    }
    application.bind_sinks()?;
    let plan = application.engine.explain().await.map_err(|error| application.explain_sink_error(error))?;
    if !plan.is_empty() {
        print_text(&plan)?;
    }
    for script in &application.scripts {
        for query in parse_script(script).statements.iter().filter(|statement| is_query(statement)) {
            for outcome in
                application.engine.execute(&Script::new(script.name.as_str(), format!("EXPLAIN {}", query.text))).await?
            {
                if let Outcome::Explained(text) = outcome {
                    print_text(&format!("query at {}:{}\n{text}", script.name, query.span.start.line))?;
                }
            }
        }
    }
    Ok(())
}

/// Checks all scripts as one text, so that a later one may refer to streams of an earlier one that has errors.
async fn check_scripts(application: &Application) -> Result<(), Stop> {
    // A script need not end in a semicolon, nor in a line break.
    let texts: Vec<_> = application.scripts.iter().map(|script| format!("{}\n;\n", script.text)).collect();
    let problems = application.engine.check(&Script::new("<scripts>", texts.concat())).await;
    let mut errors = Vec::new();
    for problem in problems {
        errors.extend(Some(&problem).filter(|problem| problem.severity == Severity::Error).cloned());
        report::warning(&in_its_script(problem, &application.scripts, &texts));
    }
    if errors.is_empty() {
        return Ok(());
    }
    report::note(&count(errors.len() as u64, "error"));
    Err(Stop::Reported(Error::sql(errors).kind()))
}

/// Moves a problem of the joined texts to the script it belongs to.
fn in_its_script(problem: Diagnostic, scripts: &[Arc<Script>], texts: &[String]) -> Diagnostic {
    let Some(span) = problem.span else { return problem };
    let mut first_line = 0;
    for (script, text) in scripts.iter().zip(texts) {
        let lines = text.matches('\n').count() as u64;
        if span.start.line <= first_line + lines {
            let moved = |position: Position| Position { line: position.line - first_line, ..position };
            let span = Span { start: moved(span.start), end: moved(span.end) };
            return Diagnostic { span: Some(span), script: Some(script.clone()), ..problem };
        }
        first_line += lines;
    }
    problem
}

/// Executes everything but the queries, which would start.
async fn execute_without_queries(application: &Application) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for script in &application.scripts {
        outcomes.extend(application.engine.execute(&without_queries(script)).await?);
    }
    Ok(outcomes)
}

fn is_query(statement: &Statement) -> bool {
    matches!(statement.kind, StatementKind::Query(_))
}

/// The script with blanks in place of its queries, so that every other place stays the same.
fn without_queries(script: &Arc<Script>) -> Arc<Script> {
    let parsed = parse_script(script);
    let queries: Vec<_> =
        parsed.statements.iter().filter(|statement| is_query(statement)).map(|statement| statement.span).collect();
    let mut position = Position { line: 1, column: 1 };
    let blanked = script.text.chars().map(|c| {
        let inside = queries.iter().any(|span| span.start <= position && position < span.end);
        position = match c {
            '\n' => Position { line: position.line + 1, column: 1 },
            _ => Position { column: position.column + 1, ..position },
        };
        if inside && c != '\n' { ' ' } else { c }
    });
    Script::new(script.name.as_str(), blanked.collect::<String>())
}

#[cfg(test)]
mod tests {
    use kinesql_engine::ErrorKind;

    use super::*;
    use crate::args::{ApplicationArgs, JobArgs};

    async fn application(texts: &[&str]) -> Application {
        let scripts = texts.iter().enumerate().map(|(i, text)| Script::new(format!("{i}.sql"), *text)).collect();
        let args = ApplicationArgs { memory_limit: 1 << 20, ..ApplicationArgs::default() };
        Application::prepare(scripts, &args, &JobArgs::default()).await.expect("an application")
    }

    #[test]
    fn queries_are_blanked_and_nothing_moves() {
        let text = "-- ü\nSELECT STREAM a,\n  'ü' FROM b; CREATE STREAM c (d INT);";
        let blanked = without_queries(&Script::new("app.sql", text));
        assert_eq!(blanked.text, "-- ü\n                \n            ; CREATE STREAM c (d INT);");
    }

    #[tokio::test]
    async fn problems_stand_in_the_script_they_belong_to() {
        let application =
            application(&["CREATE STREAM a (x INT)", "\nCREATE PUMP p AS INSERT INTO a\nSELECT STREAM y FROM a;"]).await;
        let texts: Vec<_> = application.scripts.iter().map(|script| format!("{}\n;\n", script.text)).collect();
        let problems = application.engine.check(&Script::new("<scripts>", texts.concat())).await;
        let problem = in_its_script(problems.into_iter().next().expect("a problem"), &application.scripts, &texts);
        assert!(problem.to_string().contains("\n --> 1.sql:3:15\n"), "{problem}");
        assert!(matches!(check(&application).await, Err(Stop::Reported(ErrorKind::Sql))));
    }

    #[tokio::test]
    async fn later_scripts_see_earlier_ones() {
        let texts = ["CREATE STREAM a (x INT)", "SELECT STREAM x FROM a"];
        check(&application(&texts).await).await.expect("nothing wrong");
        explain(&application(&texts).await).await.expect("a plan");
    }
}
