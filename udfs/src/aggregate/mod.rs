//! Aggregates that KDA names differently. DataFusion's own follow the same rules: NULL is ignored, and an empty group gives
//! NULL (kda-sql-reference.md §5.2).

pub mod distinct_statistics;
mod extremes;
mod variance;

use std::sync::Arc;

use datafusion::functions_aggregate::bool_and_or;
use datafusion::logical_expr::AggregateUDF;

/// All aggregates that have a further name, another type, or another way of saving what they have.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    variance::all().into_iter().chain(extremes::all()).chain([every(), any()]).collect()
}

/// `EVERY(b)`: true if `b` is true in every row where it is not NULL. Also `bool_and`.
pub fn every() -> Arc<AggregateUDF> {
    named(&bool_and_or::bool_and_udaf(), "every")
}

/// `ANY(b)`: true if `b` is true in any row. Also `bool_or`.
pub fn any() -> Arc<AggregateUDF> {
    named(&bool_and_or::bool_or_udaf(), "any")
}

fn named(function: &AggregateUDF, name: &'static str) -> Arc<AggregateUDF> {
    Arc::new(function.clone().with_aliases([name]))
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    #[tokio::test]
    async fn they_have_both_names() {
        let session = SessionContext::new();
        crate::register_all(&session).expect("registered");
        let sql = "SELECT k, every(b), any(b), bool_and(b), std_dev(n), stddev_samp(n)
            FROM (VALUES (1, true, 2.0), (1, NULL, 4.0), (2, false, 1.0), (2, true, NULL), (3, NULL, NULL)) AS t (k, b, n)
            GROUP BY k ORDER BY k";
        let batches = session.sql(sql).await.expect("planned").collect().await.expect("rows");
        let table = pretty_format_batches(&batches).expect("text").to_string();
        let rows: Vec<_> = table.lines().filter(|line| !line.contains("k ") && line.starts_with('|')).collect();
        let cells =
            |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect::<Vec<_>>();
        assert_eq!(cells(rows[0]), ["1", "true", "true", "true", "1.4142135623730951", "1.4142135623730951"]);
        assert_eq!(cells(rows[1]), ["2", "false", "true", "false"]);
        assert_eq!(cells(rows[2]), ["3"]);
    }
}
