//! What a node has done and holds, for `EXPLAIN ANALYZE` and the status of jobs.

use crate::operator::StateSize;

/// Figures of one node. All but the state grow from the moment in which the dataflow was built, so that who wants to know
/// what happened within a minute takes them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStats {
    /// The node's number; the numbers of its inputs are smaller.
    pub node: usize,
    /// What it is: "group by", "left join", …
    pub name: String,
    /// What the builder says that it stands for: the text of a condition, a table.
    pub label: Option<String>,
    /// The nodes it reads.
    pub inputs: Vec<usize>,
    /// Changed rows taken.
    pub rows_in: u64,
    /// Changed rows given out, before any consolidation downstream.
    pub rows_out: u64,
    /// Rows left out because they came after the watermark.
    pub late_rows: u64,
    /// Rows that are left out now because an expression fails for them.
    pub errors: u64,
    /// What it holds now.
    pub state: StateSize,
    /// Bytes of what it holds that lie in files.
    pub spilled_bytes: u64,
    /// Time spent in it; 0 where the dataflow was given no clock.
    pub busy_nanos: u64,
    /// The lowest watermark of what it gives out, milliseconds since the epoch, where it has one.
    pub watermark_millis: Option<i64>,
}

impl NodeStats {
    pub(crate) fn new(node: usize, name: &str, inputs: Vec<usize>) -> Self {
        Self {
            node,
            name: name.into(),
            label: None,
            inputs,
            rows_in: 0,
            rows_out: 0,
            late_rows: 0,
            errors: 0,
            state: StateSize::default(),
            spilled_bytes: 0,
            busy_nanos: 0,
            watermark_millis: None,
        }
    }
}
