//! Accumulators made of one small cell per group: what DataFusion asks of an aggregate function, told once for all of ours.

use std::fmt::Debug;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// What one group keeps of an aggregate function.
pub(super) trait Cell: Clone + Debug + Default + Send + Sync + 'static {
    /// What all groups have in common.
    type Rule: Clone + Debug + Send + Sync + 'static;

    /// The types of the columns that a cell is handed over as.
    fn state_types(rule: &Self::Rule) -> Vec<DataType>;

    /// Adds values to the cells of their groups.
    fn update(cells: &mut [Self], rule: &Self::Rule, values: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()>;

    /// Adds all values to one cell, if that can be done faster than row by row.
    fn update_all(_cell: &mut Self, _rule: &Self::Rule, _values: &[ArrayRef]) -> bool {
        false
    }

    /// Adds cells that were handed over.
    fn merge(cells: &mut [Self], rule: &Self::Rule, states: &[ArrayRef], rows: &Selected<'_>) -> DfResult<()>;

    /// The cells as columns.
    fn states(cells: &[Self], rule: &Self::Rule) -> DfResult<Vec<ArrayRef>>;

    /// What the function gives.
    fn results(cells: &[Self], rule: &Self::Rule) -> DfResult<ArrayRef>;
}

/// The rows of a batch that count, and their groups.
pub(super) struct Selected<'a> {
    groups: &'a [usize],
    filter: Option<&'a BooleanArray>,
}

impl Selected<'_> {
    /// The group of every row, where all rows count and none is NULL.
    pub fn all(&self, nulls: Option<&NullBuffer>) -> Option<&[usize]> {
        let is_whole = self.filter.is_none() && nulls.is_none_or(|nulls| nulls.null_count() == 0);
        is_whole.then_some(self.groups)
    }

    /// Calls `f` with every row that counts and is valid in `nulls`, and its group.
    #[inline]
    pub fn each(&self, nulls: Option<&NullBuffer>, mut f: impl FnMut(usize, usize)) {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none() && self.filter.is_none() {
            self.groups.iter().enumerate().for_each(|(row, &group)| f(row, group));
            return;
        }
        let valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
        let passes = |row: usize| self.filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, &group) in self.groups.iter().enumerate() {
            if valid(row) && passes(row) {
                f(row, group);
            }
        }
    }
}

/// One aggregate function over many groups.
pub(super) struct Cells<C: Cell> {
    cells: Vec<C>,
    rule: C::Rule,
}

impl<C: Cell> Cells<C> {
    pub fn new(rule: C::Rule) -> Self {
        Self { cells: Vec::new(), rule }
    }
}

impl<C: Cell> GroupsAccumulator for Cells<C> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.cells.resize(total_num_groups, C::default());
        C::update(&mut self.cells, &self.rule, values, &Selected { groups: group_indices, filter: opt_filter })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        C::results(&emit_to.take_needed(&mut self.cells), &self.rule)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        C::states(&emit_to.take_needed(&mut self.cells), &self.rule)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.cells.resize(total_num_groups, C::default());
        C::merge(&mut self.cells, &self.rule, values, &Selected { groups: group_indices, filter: opt_filter })
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..values[0].len()).collect();
        let mut cells = vec![C::default(); groups.len()];
        C::update(&mut cells, &self.rule, values, &Selected { groups: &groups, filter: opt_filter })?;
        C::states(&cells, &self.rule)
    }

    fn supports_convert_to_state(&self) -> bool {
        true
    }

    fn size(&self) -> usize {
        self.cells.capacity() * size_of::<C>()
    }
}

/// How many cells share the rows of a total: an addition need not wait for the one before it.
const LANES: usize = 8;

/// One aggregate function over all rows.
#[derive(Debug)]
pub(super) struct Total<C: Cell> {
    cells: Vec<C>,
    rule: C::Rule,
    /// The cell of every row, in turn.
    lanes: Vec<usize>,
}

impl<C: Cell> Total<C> {
    pub fn new(rule: C::Rule) -> Self {
        Self { cells: vec![C::default(); LANES], rule, lanes: Vec::new() }
    }

    fn rows(&mut self, len: usize) {
        let known = self.lanes.len();
        self.lanes.extend((known..len.max(known)).map(|row| row % LANES));
    }

    /// All cells as one.
    fn whole(&self) -> DfResult<[C; 1]> {
        let mut whole = [C::default()];
        let states = C::states(&self.cells, &self.rule)?;
        C::merge(&mut whole, &self.rule, &states, &Selected { groups: &[0; LANES], filter: None })?;
        Ok(whole)
    }
}

impl<C: Cell> Accumulator for Total<C> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if C::update_all(&mut self.cells[0], &self.rule, values) {
            return Ok(());
        }
        let len = values[0].len();
        self.rows(len);
        C::update(&mut self.cells, &self.rule, values, &Selected { groups: &self.lanes[..len], filter: None })
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&C::results(&self.whole()?, &self.rule)?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.cells.capacity() * size_of::<C>() + self.lanes.capacity() * size_of::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        C::states(&self.whole()?, &self.rule)?.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let len = states[0].len();
        self.rows(len);
        C::merge(&mut self.cells, &self.rule, states, &Selected { groups: &self.lanes[..len], filter: None })
    }
}
