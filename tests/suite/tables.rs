//! Reference tables in an engine that goes on after a wrong script.

use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use kinesql_engine::Engine;
use kinesql_engine::diagnostic::Script;

async fn rows(engine: &Engine, sql: &str) -> String {
    let batches: Vec<_> = engine.query(sql).await.expect("a query").try_collect().await.expect("rows");
    pretty_format_batches(&batches).expect("text").to_string()
}

#[tokio::test]
async fn a_wrong_script_leaves_tables_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::builder().connectors(kinesql_connectors::register_all).build().expect("an engine");
    let table = |name: &str, value: &str| {
        let path = folder.path().join(format!("{value}.csv"));
        std::fs::write(&path, value).expect("writable");
        format!("CREATE OR REPLACE TABLE {name} (v INTEGER) WITH (connector = 'file', path = '{}');", path.display())
    };
    engine.execute(&Script::new("a.sql", table("KEPT", "1") + &table("DROPPED", "2"))).await.expect("right");
    let wrong = table("KEPT", "3") + "DROP TABLE DROPPED;" + &table("NEW", "4") + "SELECT nothing FROM KEPT;";
    engine.execute(&Script::new("b.sql", wrong)).await.err().expect("wrong");
    assert!(rows(&engine, "SELECT v FROM KEPT").await.contains("| 1 |"));
    assert!(rows(&engine, "SELECT v FROM DROPPED").await.contains("| 2 |"));
    assert!(engine.query("SELECT v FROM NEW").await.is_err());
}
