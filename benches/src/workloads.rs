//! What is computed from files: the script of kinesql, the same query in batch for DataFusion and DuckDB, and a digest of the
//! answer by which answers are compared.
//!
//! The batch queries read `ticks`, `orders` and `companies`. DuckDB understands what DataFusion does, but for the name of one
//! function.

use std::path::{Path, PathBuf};

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use crate::ticks;

/// A computation.
#[derive(Debug)]
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Symbols in the file of ticks.
    pub tickers: usize,
    /// What it reads beside the ticks.
    pub beside: Beside,
    /// Columns of the answer.
    columns: &'static str,
    stream: &'static str,
    batch: &'static str,
    /// Sums over the answer, rounded so that the order of additions does not show.
    digest: &'static str,
}

/// What a computation reads beside the ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A table with a row for each symbol.
    Companies,
    /// A second stream with a quarter of the ticks' rows.
    Orders,
}

const FILTER: Workload = Workload {
    name: "filter",
    title: "W1, filter and projection",
    tickers: 100,
    beside: Beside::Nothing,
    columns: r#""EVENT_TIME" TIMESTAMP, "TICKER_SYMBOL" VARCHAR(16), "PRICE" DOUBLE, "PERCENT" DOUBLE"#,
    stream: r#"SELECT STREAM "EVENT_TIME", "TICKER_SYMBOL", "PRICE", "CHANGE" / "PRICE" * 100 FROM "TICKS" WHERE "PRICE" > 50"#,
    batch: r#"SELECT "EVENT_TIME", "TICKER_SYMBOL", "PRICE", "CHANGE" / "PRICE" * 100 AS "PERCENT" FROM ticks WHERE "PRICE" > 50"#,
    digest: r#"COUNT(*), COUNT(DISTINCT "TICKER_SYMBOL"), COUNT(DISTINCT substr("EVENT_TIME", 12, 8)), round(SUM("PRICE")),
               round(SUM("PERCENT") / 100)"#,
};

/// W2 with 100 symbols.
pub const WINDOW: Workload = Workload {
    name: "window",
    title: "W2, 10-second windows, 100 tickers",
    tickers: 100,
    beside: Beside::Nothing,
    columns: r#""TICKER_SYMBOL" VARCHAR(16), "TICKS" BIGINT, "AVERAGE" DOUBLE, "LOW" DOUBLE, "HIGH" DOUBLE"#,
    stream: r#"SELECT STREAM "TICKER_SYMBOL", COUNT(*), AVG("PRICE"), MIN("PRICE"), MAX("PRICE") FROM "TICKS"
               GROUP BY "TICKER_SYMBOL", STEP("TICKS".ROWTIME BY INTERVAL '10' SECOND)"#,
    batch: r#"SELECT "TICKER_SYMBOL", COUNT(*) AS "TICKS", AVG("PRICE") AS "AVERAGE", MIN("PRICE") AS "LOW", MAX("PRICE") AS "HIGH"
              FROM ticks GROUP BY "TICKER_SYMBOL", date_bin(INTERVAL '10 seconds', "EVENT_TIME")"#,
    digest: r#"COUNT(*), COUNT(DISTINCT "TICKER_SYMBOL"), SUM("TICKS"), round(SUM("AVERAGE")), round(SUM("LOW")), round(SUM("HIGH"))"#,
};

const MANY_WINDOWS: Workload =
    Workload { name: "window-100000", title: "W2, 10-second windows, 100,000 tickers", tickers: 100_000, ..WINDOW };

/// In a stream a row does not see those of its millisecond that come after it. With 1,000 symbols that is one row in a hundred, and
/// its average of 600 rows differs in the fourth digit.
const SLIDING: Workload = Workload {
    name: "sliding",
    title: "W3, 60-second sliding average, 1,000 tickers",
    tickers: 1_000,
    beside: Beside::Nothing,
    columns: r#""EVENT_TIME" TIMESTAMP, "TICKER_SYMBOL" VARCHAR(16), "PRICE" DOUBLE, "AVERAGE" DOUBLE"#,
    stream: r#"SELECT STREAM "EVENT_TIME", "TICKER_SYMBOL", "PRICE",
                 AVG("PRICE") OVER (PARTITION BY "TICKER_SYMBOL" RANGE INTERVAL '1' MINUTE PRECEDING) FROM "TICKS""#,
    batch: r#"SELECT "EVENT_TIME", "TICKER_SYMBOL", "PRICE", AVG("PRICE") OVER (PARTITION BY "TICKER_SYMBOL" ORDER BY "EVENT_TIME"
                RANGE BETWEEN INTERVAL '60 seconds' PRECEDING AND CURRENT ROW) AS "AVERAGE" FROM ticks"#,
    digest: r#"COUNT(*), COUNT(DISTINCT "TICKER_SYMBOL"), round(SUM("PRICE")), round(SUM("AVERAGE") / 10000)"#,
};

const LOOKUP: Workload = Workload {
    name: "lookup",
    title: "W4, join with a table of 100,000 companies",
    tickers: 100_000,
    beside: Beside::Companies,
    columns: r#""EVENT_TIME" TIMESTAMP, "COMPANY" VARCHAR(40), "PRICE" DOUBLE"#,
    stream: r#"SELECT STREAM t."EVENT_TIME", c."COMPANY", t."PRICE" FROM "TICKS" AS t JOIN "COMPANIES" AS c ON t."TICKER_SYMBOL" = c."TICKER""#,
    batch: r#"SELECT t."EVENT_TIME", c."COMPANY", t."PRICE" FROM ticks AS t JOIN companies AS c ON t."TICKER_SYMBOL" = c."TICKER""#,
    digest: r#"COUNT(*), COUNT(DISTINCT "COMPANY"), COUNT(DISTINCT substr("EVENT_TIME", 12, 8)), round(SUM("PRICE"))"#,
};

const JOIN: Workload = Workload {
    name: "join",
    title: "W5, join with a second stream within 60 seconds, 1,000,000 tickers",
    tickers: 1_000_000,
    beside: Beside::Orders,
    columns: r#""TICKER_SYMBOL" VARCHAR(16), "PRICE" DOUBLE, "QUANTITY" BIGINT"#,
    stream: r#"SELECT STREAM t."TICKER_SYMBOL", t."PRICE", o."QUANTITY"
               FROM "TICKS" OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS t JOIN "ORDERS" OVER (RANGE INTERVAL '1' MINUTE PRECEDING) AS o
               ON t."TICKER_SYMBOL" = o."TICKER_SYMBOL""#,
    batch: r#"SELECT t."TICKER_SYMBOL", t."PRICE", o."QUANTITY" FROM ticks AS t JOIN orders AS o ON t."TICKER_SYMBOL" = o."TICKER_SYMBOL"
              AND o."EVENT_TIME" BETWEEN t."EVENT_TIME" - INTERVAL '60 seconds' AND t."EVENT_TIME" + INTERVAL '60 seconds'"#,
    digest: r#"COUNT(*), COUNT(DISTINCT "TICKER_SYMBOL"), round(SUM("PRICE")), SUM("QUANTITY")"#,
};

const TOP: Workload = Workload {
    name: "top",
    title: "W6, the 10 tickers of each minute with most volume, 1,000 tickers",
    tickers: 1_000,
    beside: Beside::Nothing,
    columns: r#""PLACE" BIGINT, "TICKER_SYMBOL" VARCHAR(16), "VOLUME" BIGINT"#,
    stream: r#"SELECT STREAM "PLACE", "TICKER_SYMBOL", "VOLUME" FROM (
                 SELECT STREAM "TICKER_SYMBOL", "VOLUME",
                   ROW_NUMBER() OVER (PARTITION BY window_end ORDER BY "VOLUME" DESC, "TICKER_SYMBOL") AS "PLACE"
                 FROM (SELECT STREAM window_start, window_end, "TICKER_SYMBOL", SUM("VOLUME") AS "VOLUME"
                       FROM TABLE(TUMBLE(TABLE "TICKS", DESCRIPTOR(ROWTIME), INTERVAL '1' MINUTE))
                       GROUP BY window_start, window_end, "TICKER_SYMBOL")) WHERE "PLACE" <= 10"#,
    batch: r#"SELECT "PLACE", "TICKER_SYMBOL", "VOLUME" FROM (
                SELECT "TICKER_SYMBOL", "VOLUME", ROW_NUMBER() OVER (PARTITION BY "MINUTE" ORDER BY "VOLUME" DESC, "TICKER_SYMBOL") AS "PLACE"
                FROM (SELECT date_bin(INTERVAL '1 minute', "EVENT_TIME") AS "MINUTE", "TICKER_SYMBOL", SUM("VOLUME") AS "VOLUME"
                      FROM ticks GROUP BY 1, 2)) WHERE "PLACE" <= 10"#,
    digest: r#"COUNT(*), SUM("PLACE"), COUNT(DISTINCT "TICKER_SYMBOL"), SUM("VOLUME"), SUM("PLACE" * "VOLUME")"#,
};

/// All of them.
pub static ALL: [Workload; 7] = [FILTER, WINDOW, MANY_WINDOWS, SLIDING, LOOKUP, JOIN, TOP];

impl Workload {
    /// The workload of this name.
    pub fn named(name: &str) -> Result<&'static Self> {
        ALL.iter().find(|workload| workload.name == name).ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
            exec_datafusion_err!("there is no workload \"{name}\", there are {}", names.join(", "))
        })
    }

    /// Files of `rows` ticks and of what is beside them, which are made if they do not exist.
    pub fn inputs(&self, rows: usize) -> Result<Inputs> {
        Ok(Inputs {
            ticks: ticks::file(rows, self.tickers)?,
            beside: match self.beside {
                Beside::Nothing => None,
                Beside::Companies => Some(ticks::companies(self.tickers)?),
                Beside::Orders => Some(ticks::orders(rows / ticks::TICKS_PER_ORDER, self.tickers)?),
            },
        })
    }

    /// Rows that it reads from streams.
    pub fn rows_in(&self, ticks: usize) -> usize {
        if self.beside == Beside::Orders { ticks + ticks / ticks::TICKS_PER_ORDER } else { ticks }
    }

    /// The script of kinesql.
    pub fn application(&self, inputs: &Inputs, output: &Path) -> String {
        let beside = inputs.beside.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let beside = match self.beside {
            Beside::Nothing => String::new(),
            Beside::Companies => format!(
                r#"CREATE TABLE "COMPANIES" ("TICKER" VARCHAR(16), "COMPANY" VARCHAR(40))
                   WITH (connector = 'file', path = '{beside}', csv.header = true);"#
            ),
            Beside::Orders => format!(
                r#"CREATE SOURCE "ORDERS" ("EVENT_TIME" TIMESTAMP, "TICKER_SYMBOL" VARCHAR(16), "QUANTITY" BIGINT,
                     WATERMARK FOR "EVENT_TIME" AS "EVENT_TIME" - INTERVAL '1' SECOND)
                   WITH (connector = 'file', path = '{beside}', format = 'json');"#
            ),
        };
        let (ticks, output, columns, query) = (inputs.ticks.display(), output.display(), self.columns, self.stream);
        format!(
            r#"CREATE SOURCE "TICKS" (
                 "EVENT_TIME" TIMESTAMP, "TICKER_SYMBOL" VARCHAR(16), "SECTOR" VARCHAR(16), "CHANGE" DOUBLE, "PRICE" DOUBLE,
                 "VOLUME" BIGINT, WATERMARK FOR "EVENT_TIME" AS "EVENT_TIME" - INTERVAL '1' SECOND)
                 WITH (connector = 'file', path = '{ticks}', format = 'json');
               {beside}
               CREATE STREAM "RESULTS" ({columns});
               CREATE PUMP "PUMP" AS INSERT INTO "RESULTS" {query};
               CREATE SINK "FILE" FROM "RESULTS" WITH (connector = 'file', path = '{output}', format = 'json');"#
        )
    }

    /// The query of DataFusion.
    pub fn datafusion(&self) -> &'static str {
        self.batch
    }

    /// A program of Python that runs DuckDB on so many threads.
    pub fn duckdb(&self, inputs: &Inputs, output: &Path, cores: usize) -> String {
        let json = |name: &str, path: &Path, columns: &str| {
            let path = path.display();
            format!(
                "CREATE VIEW {name} AS SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {{{columns}}})"
            )
        };
        let ticks = "EVENT_TIME: 'TIMESTAMP', TICKER_SYMBOL: 'VARCHAR', SECTOR: 'VARCHAR', CHANGE: 'DOUBLE', PRICE: 'DOUBLE', \
                     VOLUME: 'BIGINT'";
        let mut statements = vec![format!("SET threads = {cores}"), json("ticks", &inputs.ticks, ticks)];
        if let Some(path) = &inputs.beside {
            statements.push(match self.beside {
                Beside::Orders => json("orders", path, "EVENT_TIME: 'TIMESTAMP', TICKER_SYMBOL: 'VARCHAR', QUANTITY: 'BIGINT'"),
                _ => format!("CREATE VIEW companies AS SELECT * FROM read_csv('{}', header = true)", path.display()),
            });
        }
        let query = self.batch.replace("date_bin", "time_bucket");
        statements.push(format!("COPY ({query}) TO '{}' (FORMAT json)", output.display()));
        let statements: Vec<_> = statements.iter().map(|statement| format!("c.execute(\"\"\"{statement}\"\"\")")).collect();
        format!("import duckdb; c = duckdb.connect(); {}", statements.join("; "))
    }

    /// A query that sums up the table `answer`.
    pub fn digest(&self) -> String {
        format!("SELECT {} FROM answer", self.digest)
    }
}

/// The files that a workload reads.
pub struct Inputs {
    /// JSON lines.
    pub ticks: PathBuf,
    /// JSON lines of orders, or companies in CSV.
    pub beside: Option<PathBuf>,
}
