//! What a wrong script says, to the letter: `messages/*.sql` against `suite/snapshots`.
//!
//! `INSTA_UPDATE=always cargo test -p kinesql-tests errors` rewrites the expected texts; read them before you commit.

use kinesql_tests::driver::{Driver, Mode};

/// What the scripts refer to.
const SETUP: &str = r#"
    CREATE SOURCE "S" ("ticker" VARCHAR(4), "price" DOUBLE, "t" TIMESTAMP, WATERMARK FOR "t" AS "t") WITH (connector = 'memory');
    CREATE STREAM "OUT" ("ticker" VARCHAR(4), "n" INTEGER);
"#;

#[test]
fn every_message() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    insta::glob!("../messages", "*.sql", |path| {
        let sql = std::fs::read_to_string(path).expect("readable");
        let said = runtime.block_on(async {
            let mut driver = Driver::new(Mode::Straight).expect("an engine");
            driver.step(SETUP).await.expect("the set-up is right");
            match driver.step(&sql).await {
                Ok(_) => "no error".to_owned(),
                Err(failure) => failure.0,
            }
        });
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(said);
        });
    });
}
