//! Every scalar function through SQL, as a plain DataFusion session sees it.

use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;

async fn eval(expression: &str) -> String {
    let session = SessionContext::new();
    crate::register_all(&session).expect("names are free");
    let result = async { session.sql(&format!("SELECT {expression} AS x")).await?.collect().await }.await;
    match result {
        Ok(batches) => {
            let table = pretty_format_batches(&batches).expect("printable").to_string();
            table.lines().nth(3).unwrap_or_default().trim_matches(['|', ' ']).to_owned()
        }
        Err(error) => format!("error: {}", error.strip_backtrace()),
    }
}

/// Vectors of kda-sql-reference.md, Appendix A.
#[tokio::test]
async fn step_floors_to_multiples_since_1970() {
    assert_eq!(eval("step(23, 5)").await, "20");
    assert_eq!(eval("step(30, 10)").await, "30");
    for (step, expected) in [
        ("10 seconds", "2004-09-30T13:48:20"),
        ("5 minutes", "2004-09-30T13:45:00"),
        ("2 hours", "2004-09-30T12:00:00"),
        ("1 year", "2004-01-01T00:00:00"),
        // The page's own formula; its example is one day off.
        ("5 days", "2004-09-29T00:00:00"),
    ] {
        assert_eq!(eval(&format!("step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '{step}')")).await, expected, "{step}");
    }
}

#[tokio::test]
async fn times_before_1970_are_floored_towards_the_past() {
    assert_eq!(eval("step(TIMESTAMP '1969-12-31 23:59:59', INTERVAL '10 seconds')").await, "1969-12-31T23:59:50");
    assert_eq!(eval("step(-1, 5)").await, "-5");
    assert_eq!(eval("floor_to(TIMESTAMP '1969-12-31 23:59:59', 'DAY')").await, "1969-12-31T00:00:00");
}

#[tokio::test]
async fn floor_and_ceil_keep_exact_boundaries() {
    for (unit, floor, ceil) in [
        ("SECOND", "2024-02-29T10:20:30", "2024-02-29T10:20:31"),
        ("MINUTE", "2024-02-29T10:20:00", "2024-02-29T10:21:00"),
        ("HOUR", "2024-02-29T10:00:00", "2024-02-29T11:00:00"),
        ("DAY", "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        ("MONTH", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("YEAR", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
    ] {
        assert_eq!(eval(&format!("floor_to(TIMESTAMP '2024-02-29 10:20:30.5', '{unit}')")).await, floor);
        assert_eq!(eval(&format!("ceil_to(TIMESTAMP '2024-02-29 10:20:30.5', '{unit}')")).await, ceil);
        assert_eq!(eval(&format!("ceil_to(TIMESTAMP '2024-01-01 00:00:00', '{unit}')")).await, "2024-01-01T00:00:00");
    }
    assert_eq!(eval("floor_to(DATE '2024-02-29', 'MONTH')").await, "2024-02-01");
    assert_eq!(eval("floor_to(TIME '10:20:30', 'HOUR')").await, "10:00:00");
    assert_eq!(eval("floor_to(CAST(NULL AS TIMESTAMP), 'HOUR')").await, "");
}

#[tokio::test]
async fn nonzero_fails_for_every_zero_and_passes_null() {
    for zero in ["0", "0.0", "-0.0", "CAST(0 AS DECIMAL(5, 2))"] {
        assert!(eval(&format!("nonzero({zero})")).await.contains("Divide by zero"), "{zero}");
    }
    assert_eq!(eval("nonzero(2.5)").await, "2.5");
    assert_eq!(eval("nonzero(CAST(NULL AS DOUBLE))").await, "");
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    assert!(eval("step(TIMESTAMP '2004-09-30 13:48:23', INTERVAL '-1 second')").await.contains("step must be positive"));
    assert!(eval("step('x', 5)").await.contains("STEP takes"));
    assert!(eval("floor_to(5, 'DAY')").await.contains("not Int64"));
    assert!(eval("floor_to(TIMESTAMP '2004-09-30 13:48:23', 'FORTNIGHT')").await.contains("unknown unit of time FORTNIGHT"));
}
