//! Which tables of a plan feed a join that is bounded in time, so that rows after their watermark are left out.
//!
//! Leaving rows out is only worth it, and only right to expect, where it lets a join drop what no row can meet any more: both
//! times of the bound come, through operators that keep a row's time as it is, from tables that only grow and whose watermark
//! stays behind by a constant. Everywhere else the join keeps all rows, and none is late.

use gridhouse_expr::Expr;
use gridhouse_sql::plan::{Plan, Scan};
use gridhouse_sql::watermark_delay_millis;

use crate::lower::is_append_only;

/// The scans of one plan whose late rows are left out. Scans are told apart by where they stand in the plan.
#[derive(Default)]
pub(crate) struct TimedScans<'p> {
    scans: Vec<&'p Scan>,
}

impl<'p> TimedScans<'p> {
    /// Those of `plan`.
    pub(crate) fn of(plan: &'p Plan) -> Self {
        let mut found = Self::default();
        found.look(plan);
        found
    }

    fn look(&mut self, plan: &'p Plan) {
        if let Plan::Join(join) = plan
            && let Some(time) = join.time
            && let (Some(left), Some(right)) = (origin(&join.left, time.left), origin(&join.right, time.right))
        {
            self.scans.extend([left, right]);
        }
        for input in plan.inputs() {
            self.look(input);
        }
    }

    /// Whether `scan` is one of them.
    pub(crate) fn contains(&self, scan: &Scan) -> bool {
        self.scans.iter().any(|timed| std::ptr::eq(*timed, scan))
    }

    /// Those in `plan`, in order: equal parts of a plan give the same rows only if these are equal too.
    pub(crate) fn within(&self, plan: &Plan) -> Vec<bool> {
        let mut marks = Vec::new();
        if !self.scans.is_empty() {
            plan.visit(&mut |node| {
                if let Plan::Scan(scan) = node {
                    marks.push(self.contains(scan));
                }
            });
        }
        marks
    }
}

/// The table from which a column of `plan` comes as its row time, where rows after its watermark can be told.
fn origin(plan: &Plan, column: usize) -> Option<&Scan> {
    match plan {
        Plan::Scan(scan) => {
            let watermark = scan.table.watermark.as_ref()?;
            let is_row_time = scan.columns.get(column) == Some(&watermark.column);
            let usable = is_append_only(&scan.table) && watermark_delay_millis(&scan.table).is_some();
            (is_row_time && usable).then_some(scan)
        }
        Plan::Filter(node) => origin(&node.input, column),
        Plan::Project(node) => match node.exprs.get(column)? {
            Expr::Column { index, .. } => origin(&node.input, *index),
            _ => None,
        },
        Plan::Unnest(node) if column < node.input.schema().len() => origin(&node.input, column),
        Plan::Probe(node) if column < node.left.schema().len() => origin(&node.left, column),
        Plan::Lookup(node) if column < node.input.schema().len() => origin(&node.input, column),
        _ => None,
    }
}
