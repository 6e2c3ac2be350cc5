# Lists the recipes.
default:
    @just --list

# Everything that CI checks.
check:
    .ci/run

# All tests.
test:
    cargo test --workspace

# The specifications in tests/slt only.
slt:
    cargo test --workspace --test suite slt

# Rewrites the expected rows and messages of the specifications; read the diff. `just slt-update kda/5` for some of them.
slt-update files="":
    SLT={{files}} SLT_UPDATE=1 cargo test -p kinesql-tests --test suite slt::every_file_straight

# Rewrites docs/conformance.md from the items and specifications in tests/slt.
conformance:
    CONFORMANCE_UPDATE=1 cargo test -p kinesql-tests --test suite conformance

# Accepts the messages and plans that the tests print now as the expected ones; read the diff.
snapshots:
    INSTA_UPDATE=always cargo test --workspace --test suite

# Writes the tables of options, and of the tests of the rules, in docs/connectors from the code.
docs-options:
    UPDATE_DOCS=1 cargo test -p kinesql-connectors --lib -- documentation rules

# Runs an example, such as `just example stock-ticks`.
example name:
    cd sql-examples/{{name}} && xargs -d '\n' cargo run --quiet -p kinesql -- < command

# AWS on this machine, until Ctrl-C; `just local-aws --run` runs the example in sql-examples-aws. See docs/local-aws.md.
local-aws *args:
    exec scripts/local-aws {{args}}

# kinesql beside DataFusion and DuckDB: `just bench`, or one part: `just bench files --rows 1000000`.
bench *args:
    cargo build --release -p kinesql -p kinesql-benches
    cargo run --release -p kinesql-benches -- {{args}}

# The kinesis connectors: decoding beside a file, 200 idle shards, and the time from a stream to another, on a local server.
bench-kinesis:
    cargo build --release --workspace --example kinesis_speed
    target/release/examples/kinesis_speed decode
    scripts/local-aws -- sh -c 'target/release/examples/kinesis_speed idle $AWS_ENDPOINT_URL_KINESIS 200 30'
    scripts/local-aws -- sh -c 'target/release/examples/kinesis_speed latency $AWS_ENDPOINT_URL_KINESIS 2000'

# Microbenchmarks of the formats, the windows, the joins and the anomaly models.
microbench:
    cargo bench --workspace --bench json_decode --bench json_encode --bench hop_window --bench sliding_window --bench window_join \
      --bench random_cut_forest

# RANDOM_CUT_FOREST beside the service's recorded scores of the Numenta Anomaly Benchmark, from a copy of github.com/numenta/NAB.
anomaly-quality nab_dir *seeds:
    cargo run --release -p kinesql-udfs --example anomaly_quality -- {{nab_dir}} {{seeds}}
