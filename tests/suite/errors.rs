//! The exact text of what a wrong script says: message, place, label, hint.

use kinesql_tests::driver::{Driver, Mode};

/// A source that the scripts below refer to.
const SETUP: &str = r#"
    CREATE SOURCE "S" ("ticker" VARCHAR(4), "price" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
    CREATE STREAM "OUT" ("ticker" VARCHAR(4), "n" INTEGER);
"#;

async fn errors(sql: &str) -> String {
    let mut driver = Driver::new(Mode::Straight).expect("an engine");
    driver.step(SETUP).await.expect("the set-up is right");
    match driver.step(sql).await {
        Ok(_) => "no error".to_owned(),
        Err(failure) => failure.0,
    }
}

macro_rules! says {
    ($name:ident, $sql:expr, @$expected:literal) => {
        #[tokio::test]
        async fn $name() {
            insta::assert_snapshot!(errors($sql).await, @$expected);
        }
    };
}
