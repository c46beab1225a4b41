//! What a node has done and holds, for `EXPLAIN ANALYZE` and the status of jobs.

use crate::operator::StateSize;

/// Figures of one node since the dataflow was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStats {
    /// The node's number; the numbers of its inputs are smaller.
    pub node: usize,
    /// What it is: "group by", "join", …
    pub name: String,
    /// The nodes it reads.
    pub inputs: Vec<usize>,
    /// Changed rows taken.
    pub rows_in: u64,
    /// Changed rows given out, before any consolidation downstream.
    pub rows_out: u64,
    /// What it holds now.
    pub state: StateSize,
    /// Time spent in it; 0 where the dataflow was given no clock.
    pub busy_nanos: u64,
}

impl NodeStats {
    pub(crate) fn new(node: usize, name: &str, inputs: Vec<usize>) -> Self {
        let (rows_in, rows_out, state, busy_nanos) = (0, 0, StateSize::default(), 0);
        Self { node, name: name.into(), inputs, rows_in, rows_out, state, busy_nanos }
    }
}
