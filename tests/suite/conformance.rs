//! `docs/conformance.md` says what is true: it is generated from the items and specifications of `slt/kda`, each item that works
//! has a specification, and what is listed as not built is refused.
//!
//! `CONFORMANCE_UPDATE=1 cargo test -p kinesql-tests conformance` (`just conformance`) rewrites the page.

use std::path::{Path, PathBuf};

use kinesql_tests::conformance::{Claim, Section, State, claims, claims_of_tests, contradictions, files, page, sections};
use kinesql_tests::driver::{Driver, Mode};

/// What the statements that must be refused refer to.
const SETUP: &str = r#"
    CREATE SOURCE "S" ("k" VARCHAR(4), "v" INTEGER, "d" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
    CREATE SOURCE "U" ("k" VARCHAR(4), "v" INTEGER, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
    CREATE STREAM "OUT" ("k" VARCHAR(4), "v" INTEGER);
    CREATE PUMP "P" AS INSERT INTO "OUT" SELECT STREAM "k", "v" FROM "S";
"#;

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn items() -> Vec<Section> {
    let mut all = Vec::new();
    for file in files(&tests().join("slt"), "txt").expect("readable") {
        let text = std::fs::read_to_string(&file).expect("readable");
        all.extend(sections(&text).unwrap_or_else(|problem| panic!("{}: {problem}", file.display())));
    }
    all
}

fn specifications() -> Vec<Claim> {
    let read = |file: &PathBuf| std::fs::read_to_string(file).expect("readable");
    let name = |file: &PathBuf| file.strip_prefix(tests()).expect("inside").display().to_string();
    let mut all = Vec::new();
    for file in files(&tests().join("slt"), "slt").expect("readable") {
        all.extend(claims(&name(&file), &read(&file)).expect("claims with records"));
    }
    for file in files(&tests().join("suite"), "rs").expect("readable") {
        all.extend(claims_of_tests(&name(&file), &read(&file)));
    }
    all
}

#[test]
fn every_item_has_its_specification_and_every_specification_its_item() {
    let problems = contradictions(&items(), &specifications());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// `1.12` of `1.12 Monotonicity`.
fn number(title: &str) -> &str {
    title.split(' ').next().unwrap_or_default()
}

#[test]
fn every_section_of_the_reference_has_items() {
    let with_items = items().into_iter().filter(|section| !section.items.is_empty());
    let listed: Vec<String> = with_items.map(|section| number(&section.title).to_owned()).collect();
    let sections = std::fs::read_to_string(tests().join("slt/kda/reference.sections")).expect("readable");
    let missing: Vec<&str> = sections.lines().filter(|line| !listed.iter().any(|listed| listed == number(line))).collect();
    assert!(missing.is_empty(), "sections of the reference without items:\n{}", missing.join("\n"));
}

#[test]
fn the_page_is_what_items_and_specifications_say() {
    let path = tests().join("../docs/conformance.md");
    let page = page(&items(), &specifications());
    if std::env::var_os("CONFORMANCE_UPDATE").is_some() {
        let problems = contradictions(&items(), &specifications());
        assert!(problems.is_empty(), "the page would be untrue:\n{}", problems.join("\n"));
        std::fs::write(&path, &page).expect("writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/conformance.md is not what `just conformance` writes");
}

#[test]
fn what_is_not_built_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let accepted: Vec<String> = runtime.block_on(async {
        let mut driver = Driver::new(Mode::Straight).expect("an engine");
        driver.step(SETUP).await.expect("the set-up is right");
        let mut accepted = Vec::new();
        for item in items().into_iter().flat_map(|section| section.items) {
            if let State::NotBuilt(probe) = item.state
                && driver.step(&probe).await.is_ok()
            {
                accepted.push(format!("{} works: {probe}", item.id));
            }
        }
        accepted
    });
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

/// Functions that stand behind a form of their own, such as `x LIKE y`.
const BEHIND_FORMS: &[&str] = &[
    "BTRIM",
    "CEIL_TO",
    "COMPARE_PERIODS",
    "DECIMAL_DIVIDE",
    "FLOOR_TO",
    "INTERVAL_DIVIDE",
    "INTERVAL_MULTIPLY",
    "INTERVAL_NUMBER",
    "INTERVAL_TEXT",
    "IS_LIKE",
    "KDA_EXTRACT",
    "KDA_SUBSTRING",
    "LTRIM",
    "NONZERO",
    "RTRIM",
    "SIMILAR_TO",
    "SUBSTRING_FROM",
    "SUBSTRING_SIMILAR",
    "TO_INTERVAL",
    "TS_MINUS",
];

#[test]
fn every_function_of_the_dialect_is_listed() {
    let items: Vec<String> = items().into_iter().flat_map(|section| section.items).map(|item| item.id).collect();
    let names = kinesql_udfs::scalar::all().into_iter().map(|function| function.name().to_uppercase());
    let listed = |name: &str| BEHIND_FORMS.contains(&name) || items.contains(&format!("5.1/{name}"));
    let missing: Vec<String> = names.filter(|name| !listed(name)).collect();
    assert!(missing.is_empty(), "not listed in section 5.1: {missing:?}");
}
