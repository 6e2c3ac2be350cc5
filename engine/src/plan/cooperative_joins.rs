//! Joins of tables let go of their thread now and then, so that a query that nobody wants any more can be ended.
//!
//! DataFusion makes scans count how often they are polled, and pause (`EnsureCooperative`). A join makes so many rows of the few that
//! it reads that its scans do not get to that: an aggregate over it computes until it is done. With this rule the join pauses too,
//! once in so many batches of its own.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Puts every join of a physical plan into a [`CooperativeExec`].
#[derive(Debug)]
pub struct CooperativeJoins;

impl PhysicalOptimizerRule for CooperativeJoins {
    fn name(&self) -> &str {
        "cooperative_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        // HashJoinExec, NestedLoopJoinExec, CrossJoinExec and the others.
        let wrapped = plan.transform_up(|plan| {
            Ok(match plan.name().ends_with("JoinExec") {
                true => Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(plan),
            })
        });
        Ok(wrapped?.data)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use crate::plan::session::session_context;

    #[tokio::test]
    async fn an_aggregate_over_a_join_pauses() {
        let context = session_context(1 << 30).expect("a session");
        let numbers = |alias: &str| format!("(SELECT value AS n FROM generate_series(1, 3000)) AS {alias}");
        for condition in ["a.n + b.n > 0", "a.n % 2 = b.n % 2", "TRUE"] {
            let sql = format!("SELECT SUM(a.n * b.n) FROM {} JOIN {} ON {condition}", numbers("a"), numbers("b"));
            let rows = context.sql(&sql).await.expect("right").collect();
            let mut rows = std::pin::pin!(rows);
            assert!(rows.as_mut().now_or_never().is_none(), "{condition}: computed to its end in one go");
            assert_eq!(rows.await.expect("an answer").len(), 1);
        }
    }
}
