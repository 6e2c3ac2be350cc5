//! What scripts become, as EXPLAIN shows it: `plans/*.sql` against `suite/snapshots`.
//!
//! A script that begins with `-- 4 splits` has sources of four splits, others of one.
//! `INSTA_UPDATE=always cargo test --test suite plans` rewrites the expected plans; read them before you commit.

use kinesql_engine::Engine;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;

async fn plan(sql: &str) -> kinesql_engine::Result<String> {
    let digits = sql.strip_prefix("-- ").and_then(|comment| comment.split_once(" splits"));
    let splits = digits.and_then(|(digits, _)| digits.parse().ok()).unwrap_or(1);
    let memory = MemoryConnector::with_splits(splits);
    let builder = Engine::builder().clock(ManualClock::starting_at(0));
    let engine = builder.connectors(|registry| {
        kinesql_connectors::register_all(registry);
        memory.register(registry);
    });
    let engine = engine.build()?;
    engine.execute(&Script::new("test.sql", sql)).await?;
    engine.explain().await
}

#[test]
fn every_plan() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    insta::glob!("../plans", "*.sql", |path| {
        let sql = std::fs::read_to_string(path).expect("readable");
        let plan = runtime.block_on(plan(&sql)).expect("a right script");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(plan);
        });
    });
}
