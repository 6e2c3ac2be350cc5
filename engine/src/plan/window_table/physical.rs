//! A stream with the columns of windows as an operator.

use datafusion::execution::context::ExecutionProps;

use super::call::Windows;
use super::node::WindowTable;
use crate::diagnostic::Diagnostic;
use crate::operator::window_rows::{Spans, WindowRowsPlan};
use crate::plan::expr_text::milliseconds_text;
use crate::plan::physical::{OperatorSpec, PlanNode, plan_operators, without_metadata};

/// Plans a table of windows over its stream.
pub(in crate::plan) fn plan_window_table(node: &WindowTable, props: &ExecutionProps) -> Result<PlanNode, Diagnostic> {
    let spans = match (node.call.windows, node.marks) {
        (Windows::Regular(spans), false) => spans,
        // Whoever makes the windows needs their panes only.
        (Windows::Regular(spans), true) => Spans { size: spans.slide, ..spans },
        (Windows::Session(gap), true) => Spans { size: gap, slide: gap, offset: 0 },
        (Windows::Session(_), false) => {
            let problem = Diagnostic::error("the rows of SESSION windows have to be aggregated").at(node.call.span);
            return Err(problem.hint("Add GROUP BY WINDOW_START, WINDOW_END and the columns of PARTITION BY."));
        }
    };
    let input = plan_operators(&node.input, props)?;
    let time = node.time().ok_or_else(|| Diagnostic::error("the rows of a window have no time"))?;
    let schema = without_metadata(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).as_arrow());
    let text = match node.marks {
        true => format!("panes of {}", milliseconds_text(spans.slide)),
        false => windows_text(node.call.windows),
    };
    Ok(input
        .then(OperatorSpec::WindowRows { plan: Box::new(WindowRowsPlan { spans, starts_only: node.marks, time, schema }), text }))
}

/// The windows as EXPLAIN shows them and as checkpoints know them.
pub(super) fn windows_text(windows: Windows) -> String {
    match windows {
        Windows::Regular(Spans { size, slide, offset }) => {
            let mut text = windows.name().to_owned();
            if slide != size {
                text += &format!(" by {}", milliseconds_text(slide));
            }
            text += &format!(" of {}", milliseconds_text(size));
            if offset != 0 {
                text += &format!(", offset {}", milliseconds_text(offset));
            }
            text
        }
        Windows::Session(gap) => format!("SESSION with a gap of {}", milliseconds_text(gap)),
    }
}
