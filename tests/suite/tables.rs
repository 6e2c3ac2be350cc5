//! Reference tables: in an engine that goes on after a wrong script, and refreshed while a job joins with them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::datatypes::{Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use kinesql_engine::connector::memory::MemoryConnector;
use kinesql_engine::diagnostic::Script;
use kinesql_engine::runtime::clock::ManualClock;
use kinesql_engine::table::Refreshed;
use kinesql_engine::types::SqlType;
use kinesql_engine::{CheckpointOptions, Engine, Job, Outcome};
use parquet::arrow::ArrowWriter;

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

/// A stream joined with a table that is a file, what the join gives, and what goes wrong.
struct Joined {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    memory: MemoryConnector,
    engine: Engine,
}

impl Joined {
    async fn with(file: &str, contents: &[u8], refresh: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(file), contents).expect("writable");
        let (clock, memory) = (ManualClock::starting_at(0), MemoryConnector::default());
        let joined = Self { engine: Engine::builder().build().expect("an engine"), folder, clock, memory };
        joined.restarted(file, refresh).await
    }

    /// A new engine over the same files, rows and checkpoints.
    async fn restarted(self, file: &str, refresh: &str) -> Self {
        let builder = Engine::builder().clock(self.clock.clone()).connectors(|registry| {
            kinesql_connectors::register_all(registry);
            self.memory.register(registry);
        });
        let checkpoints = CheckpointOptions {
            interval: Duration::from_secs(1_000_000),
            ..CheckpointOptions::new(self.folder.path().join("checkpoints"))
        };
        let engine = builder.checkpoints(checkpoints).build().expect("an engine");
        let path = self.folder.path().join(file);
        let sql = format!(
            r#"CREATE TABLE PRICES (ID INTEGER, PRICE INTEGER) WITH (connector = 'file', path = '{}'{refresh});
            CREATE SOURCE ORDERS (ID INTEGER) WITH (connector = 'memory');
            CREATE STREAM PRICED (ID INTEGER, PRICE INTEGER);
            CREATE PUMP P AS INSERT INTO PRICED SELECT STREAM O.ID, PRICE FROM ORDERS AS O LEFT JOIN PRICES ON O.ID = PRICES.ID;
            CREATE SINK PRICED FROM PRICED WITH (connector = 'memory');
            CREATE SINK ERRORS FROM "error_stream" WITH (connector = 'memory');"#,
            path.display()
        );
        engine.execute(&Script::new("app.sql", sql)).await.expect("right");
        Self { engine, ..self }
    }

    fn write(&self, file: &str, contents: &[u8]) {
        std::fs::write(self.folder.path().join(file), contents).expect("writable");
    }

    /// The price that the running job gives an order.
    async fn price(&self, job: &Job, id: i32) -> String {
        let sink = self.memory.sink("PRICED").expect("bound");
        let before = sink.batches().iter().map(RecordBatch::num_rows).sum::<usize>();
        let column = Arc::new(Int32Array::from(vec![id]));
        let schema = Arc::new(Schema::new(vec![SqlType::Integer.field("ID", true)]));
        self.memory.source("ORDERS").expect("bound").push(RecordBatch::try_new(schema, vec![column]).expect("a batch"));
        let count = || sink.batches().iter().map(RecordBatch::num_rows).sum::<usize>();
        while count() == before {
            job.sync().await.expect("running");
            // The reader runs ahead of the barrier on a task of its own.
            tokio::task::yield_now().await;
        }
        let last = sink.batches().pop().expect("a row");
        let prices = last.column(1).as_primitive::<Int32Type>();
        if prices.is_null(last.num_rows() - 1) { "none".to_owned() } else { prices.value(last.num_rows() - 1).to_string() }
    }

    /// `NAME: MESSAGE` of every row of `error_stream`.
    fn errors(&self) -> Vec<String> {
        let text = |batch: &RecordBatch, column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        let batches = self.memory.sink("ERRORS").expect("bound").batches();
        let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
        rows.map(|(batch, row)| format!("{}: {}", text(batch, 2, row), text(batch, 3, row))).collect()
    }
}

#[tokio::test]
async fn a_running_join_goes_on_with_the_new_version() {
    let joined = Joined::with("prices.csv", b"1,10\n2,20\n", ", refresh = '5min'").await;
    let job = joined.engine.start().await.expect("started");
    assert_eq!(joined.price(&job, 1).await, "10");
    joined.write("prices.csv", b"1,11\n2,20\n3,30\n");
    assert_eq!(joined.price(&job, 3).await, "none", "nobody has looked yet");
    joined.clock.set(300_000);
    // The refresh runs beside the job.
    while !joined.engine.objects().iter().any(|object| object.detail == "file, 3 rows") {
        tokio::task::yield_now().await;
    }
    assert_eq!((joined.price(&job, 2).await, joined.price(&job, 1).await), ("20".to_owned(), "11".to_owned()));
    assert!(rows(&joined.engine, "SELECT ID, PRICE FROM PRICES").await.contains("| 3  | 30    |"), "queries see it as well");
    assert_eq!(joined.errors(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bad_version_keeps_the_old_one_and_is_reported_once() {
    let joined = Joined::with("prices.csv", b"1,10\n2,20\n", ", refresh = '1min'").await;
    let job = joined.engine.start().await.expect("started");
    assert_eq!(joined.price(&job, 1).await, "10");
    joined.write("prices.csv", b"1,11\n2,2x\n");
    joined.clock.set(60_000);
    while joined.errors().is_empty() {
        assert_eq!(joined.price(&job, 1).await, "10");
    }
    joined.clock.set(120_000);
    assert_eq!(joined.price(&job, 2).await, "20");
    let errors = joined.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("REFERENCE_DATA_ERROR: table \"PRICES\" keeps the version it has: version "), "{}", errors[0]);
    assert!(errors[0].contains("has 1 records that cannot be used"), "{}", errors[0]);

    let said = joined.engine.refresh_table("PRICES").await.expect_err("asked for, it is read again").to_string();
    assert!(said.contains("keeps the version it has"), "{said}");
    joined.write("prices.csv", b"");
    let said = joined.engine.execute(&Script::new("r.sql", "REFRESH TABLE PRICES;")).await.err().expect("empty").to_string();
    assert!(said.contains("has no rows, the one in use has 2"), "{said}");
    joined.write("prices.csv", b"1,12\n");
    let outcomes = joined.engine.execute(&Script::new("r.sql", "REFRESH TABLE PRICES;")).await.expect("whole again");
    assert!(matches!(&outcomes[..], [Outcome::Refreshed(what)] if what == "table PRICES: 1 rows"));
    assert_eq!(joined.price(&job, 1).await, "12");
    assert_eq!(joined.engine.refresh_table("PRICES").await.expect("the same"), Refreshed::Unchanged);
    std::fs::remove_file(joined.folder.path().join("prices.csv")).expect("there");
    assert!(joined.engine.refresh_table("PRICES").await.is_err(), "a file that is gone");
    assert_eq!(joined.price(&job, 1).await, "12");
}

#[tokio::test]
async fn a_restore_that_finds_another_version_says_so_and_uses_it() {
    let joined = Joined::with("prices.csv", b"1,10\n", "").await;
    let job = joined.engine.start().await.expect("started");
    assert_eq!(joined.price(&job, 1).await, "10");
    job.checkpoint().await.expect("complete");
    drop(job);
    let joined = joined.restarted("prices.csv", "").await;
    let job = joined.engine.start().await.expect("restored");
    assert_eq!(joined.price(&job, 2).await, "none");
    assert_eq!(joined.errors(), Vec::<String>::new(), "the same version");
    job.checkpoint().await.expect("complete");
    drop(job);
    joined.write("prices.csv", b"1,11\n2,21\n");
    let joined = joined.restarted("prices.csv", "").await;
    let job = joined.engine.start().await.expect("restored");
    assert_eq!(joined.price(&job, 1).await, "11");
    let errors = joined.errors();
    assert!(errors.len() == 1 && errors[0].starts_with("REFERENCE_DATA_CHANGED: table \"PRICES\" has version "), "{errors:?}");
}

#[tokio::test]
async fn a_parquet_table_is_refreshed_and_a_truncated_one_is_not() {
    let parquet = |prices: &[(i32, i32)]| {
        let fields = ["ID", "PRICE"].map(|name| SqlType::Integer.field(name, true)).to_vec();
        let columns: [ArrayRef; 2] = [
            Arc::new(prices.iter().map(|(id, _)| Some(*id)).collect::<Int32Array>()),
            Arc::new(prices.iter().map(|(_, price)| Some(*price)).collect::<Int32Array>()),
        ];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec()).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("in memory");
        writer.write(&batch).expect("in memory");
        writer.into_inner().expect("in memory")
    };
    let joined = Joined::with("prices.parquet", &parquet(&[(1, 10)]), "").await;
    let job = joined.engine.start().await.expect("started");
    assert_eq!(joined.price(&job, 1).await, "10");
    let new = parquet(&[(1, 11), (2, 22)]);
    joined.write("prices.parquet", &new[..new.len() / 2]);
    let said = joined.engine.refresh_table("PRICES").await.expect_err("truncated").to_string();
    assert!(said.contains("as Parquet"), "{said}");
    assert_eq!(joined.price(&job, 1).await, "10");
    joined.write("prices.parquet", &new);
    joined.engine.refresh_table("PRICES").await.expect("whole");
    assert_eq!(joined.price(&job, 2).await, "22");
}

#[tokio::test]
async fn only_a_source_with_versions_can_be_refreshed() {
    let engine = Engine::builder().connectors(kinesql_connectors::register_all).build().expect("an engine");
    let refuse = async |sql: &str| engine.execute(&Script::new("a.sql", sql)).await.err().expect("wrong").to_string();
    let generated = "CREATE TABLE T WITH (connector = 'generator', kind = 'ticks', rows = 3, refresh = '1min');";
    assert!(refuse(generated).await.contains("connector 'generator' cannot say whether its data has changed"));
    assert!(refuse("REFRESH TABLE NOTHING;").await.contains("table \"NOTHING\" does not exist"));
    let zero = "CREATE TABLE T (V INTEGER) WITH (connector = 'file', path = 'x.csv', refresh = '0s');";
    assert!(refuse(zero).await.contains("expected a time span above 0"));
}

/// Constants in VALUES are cast and divided as columns are (kda-sql-reference.md §1.7, §1.8).
#[tokio::test]
async fn values_follow_the_rules_of_columns() {
    let engine = Engine::builder().build().expect("an engine");
    let cells = async |sql: &str| {
        let text = rows(&engine, sql).await;
        let row = text.lines().nth(3).unwrap_or_default().to_owned();
        row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(cells("VALUES (CAST(2.5 AS INTEGER), CAST(-2.5 AS INTEGER), CAST('2.5' AS INTEGER))").await, "3 -3 3");
    assert_eq!(cells("VALUES (5 / 2, 5.0 / 2, CAST(TRUE AS VARCHAR(5)))").await, "2 2.500000000000 TRUE");
    assert_eq!(cells("SELECT CAST(x AS INTEGER) FROM (VALUES (2.5), (3.5)) AS t(x)").await, "3");
}
