//! The table side of a join, read: what a query joins to a stream without being one is computed when the query is planned.
//!
//! That may be a table, a query of tables in parentheses, or tables joined with each other; DataFusion computes it, and
//! again when a table is refreshed. CREATE OR REPLACE TABLE affects pumps that are created later (§4.6, §6.11).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use futures::future::BoxFuture;

use crate::operator::lookup_join::Origin;
use crate::plan::query::StreamSchemas;
use crate::table::Table;

/// Rows that stand for the plan of tables that gave them.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) rows: Arc<RecordBatch>,
    /// How they are computed.
    pub(super) origin: Origin,
    /// The tables, for EXPLAIN.
    pub(super) tables: String,
    schema: DFSchemaRef,
}

impl Reference {
    /// The rows behind `plan`, if it is a reference.
    pub(super) fn of(plan: &LogicalPlan) -> Option<&Reference> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({})", self.tables)
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows) && self.schema == other.schema
    }
}

impl Eq for Reference {}

impl Hash for Reference {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tables.hash(state);
        self.schema.hash(state);
    }
}

impl PartialOrd for Reference {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Reference {
    fn name(&self) -> &str {
        "Reference"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Reference: {}", self.tables)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// Computes every side of a join that reads no stream and puts a [`Reference`] in its place.
pub(in crate::plan) async fn read_tables(
    plan: LogicalPlan,
    state: &SessionState,
    streams: &StreamSchemas,
) -> Result<LogicalPlan> {
    let mut bounded = Vec::new();
    find_bounded(&plan, streams, &mut bounded);
    if bounded.is_empty() {
        return Ok(plan);
    }
    let mut references = Vec::with_capacity(bounded.len());
    for side in bounded {
        references.push(read(side, state).await?);
    }
    Ok(replace(plan, streams, &mut references.into_iter())?.data)
}

fn find_bounded(plan: &LogicalPlan, streams: &StreamSchemas, found: &mut Vec<LogicalPlan>) {
    let joins = matches!(plan, LogicalPlan::Join(_));
    for input in plan.inputs() {
        if joins && !reads_any(input, streams) {
            found.push(input.clone());
        } else {
            find_bounded(input, streams, found);
        }
    }
}

fn replace(
    plan: LogicalPlan,
    streams: &StreamSchemas,
    references: &mut impl Iterator<Item = Reference>,
) -> Result<Transformed<LogicalPlan>> {
    let joins = matches!(plan, LogicalPlan::Join(_));
    plan.map_children(|input| {
        if joins && !reads_any(&input, streams) {
            // In the order in which they were found.
            let reference = references.next().map(|reference| LogicalPlan::Extension(Extension { node: Arc::new(reference) }));
            return Ok(Transformed::yes(reference.unwrap_or(input)));
        }
        replace(input, streams, references)
    })
}

/// True if `plan` reads a stream.
pub(super) fn reads_any(plan: &LogicalPlan, streams: &StreamSchemas) -> bool {
    names(plan).iter().any(|name| streams.contains_key(name))
}

/// Names of the streams and tables that `plan` reads.
fn names(plan: &LogicalPlan) -> Vec<String> {
    let mut names = Vec::new();
    // The visitor never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            names.push(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    names
}

/// Every table that `plan` reads, once.
fn tables_of(plan: &LogicalPlan) -> Vec<Arc<Table>> {
    let mut tables: Vec<Arc<Table>> = Vec::new();
    // The visitor never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = Table::of(&scan.source)
            && !tables.iter().any(|known| Arc::ptr_eq(known, &table))
        {
            tables.push(table);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    tables
}

async fn read(plan: LogicalPlan, state: &SessionState) -> Result<Reference> {
    let (tables, schema) = (names(&plan).join(", "), plan.schema().clone());
    let rows = Arc::new(compute(plan.clone(), state.clone()).await?);
    let (sources, state) = (tables_of(&plan), state.clone());
    let compute = Arc::new(move || -> BoxFuture<'static, crate::Result<RecordBatch>> {
        let (plan, state) = (plan.clone(), state.clone());
        Box::pin(async move { Ok(compute(plan, state).await?) })
    });
    Ok(Reference { rows, origin: Origin { tables: sources, compute }, tables, schema })
}

async fn compute(plan: LogicalPlan, state: SessionState) -> Result<RecordBatch> {
    let schema = plan.schema().clone();
    let batches = DataFrame::new(state, plan).collect().await?;
    let arrow_schema = Arc::new(schema.as_arrow().clone());
    let (columns, rows) = match batches.first() {
        Some(first) => {
            let rows = concat_batches(&first.schema(), &batches)?;
            (rows.columns().to_vec(), rows.num_rows())
        }
        None => (RecordBatch::new_empty(arrow_schema.clone()).columns().to_vec(), 0),
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(arrow_schema, columns, &options)?)
}
