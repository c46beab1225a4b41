//! How a source's rows become rows of the table that they land in.
//!
//! A landing is a projection with an optional filter, applied to every event of a source table before it is logged. It is
//! stateless, so a transaction is logged as soon as it arrives. What always holds: the target's key is made of bare columns
//! that are together the source's key, so a deletion that carries only the key finds its row; an event that lacks columns
//! (unchanged large values) leaves the target columns that depend on them as they are stored.

use std::collections::BTreeSet;

use arrow_array::{Array, ArrayRef, new_null_array};
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{ChangeBatch, Result, Schema};
use gridhouse_expr::{EvalContext, Expr};

/// The projection from a source table into its landing table.
#[derive(Clone, Debug)]
pub(crate) struct Landing {
    /// The source's columns.
    source: Schema,
    /// One expression per column of `columns`, or per target column.
    exprs: Vec<Expr>,
    /// The source columns that each expression reads.
    reads: Vec<BTreeSet<usize>>,
    /// Rows where this is not true are not in the target.
    filter: Option<Expr>,
    /// The target columns that are written; `None` for all.
    columns: Option<Vec<usize>>,
    /// Whether the target keeps every row (a log table), so that rows outside the filter are left out, not deleted.
    append_only: bool,
    /// The zone of the job that it belongs to.
    zone: chrono_tz::Tz,
}

impl Landing {
    /// The landing that takes every column as it is.
    pub(crate) fn identity(source: &Schema, append_only: bool) -> Self {
        let column = |(index, column): (usize, &gridhouse_base::Column)| Expr::Column {
            index,
            sql_type: column.sql_type.clone(),
        };
        let exprs = source.columns.iter().enumerate().map(column).collect();
        Self::new(source.clone(), exprs, None, None, append_only)
    }

    fn new(
        source: Schema,
        exprs: Vec<Expr>,
        filter: Option<Expr>,
        columns: Option<Vec<usize>>,
        append_only: bool,
    ) -> Self {
        let reads = exprs.iter().map(columns_of).collect();
        Self { source, exprs, reads, filter, columns, append_only, zone: chrono_tz::UTC }
    }

    /// The same landing in the zone of a job.
    pub(crate) fn in_zone(self, zone: chrono_tz::Tz) -> Self {
        Self { zone, ..self }
    }

    /// The source columns that the target columns `key` are made of; `None` where one is computed.
    pub(crate) fn origins(&self, key: &[usize]) -> Option<Vec<usize>> {
        let bare = |column: &usize| match self.exprs.get(*column)? {
            Expr::Column { index, .. } => Some(*index),
            _ => None,
        };
        key.iter().map(bare).collect()
    }

    /// Whether rows land as they come, so that none of them can fail.
    pub(crate) fn computes_nothing(&self) -> bool {
        self.filter.is_none() && self.exprs.iter().all(|expr| matches!(expr, Expr::Column { .. }))
    }

    /// Whether it leaves rows out.
    pub(crate) fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// The zone in which its expressions are evaluated.
    pub(crate) fn zone(&self) -> chrono_tz::Tz {
        self.zone
    }

    /// The landing for `exprs` over a source, if it can be one: `source_key` and `target_key` are the keys, the latter as
    /// positions in `exprs`. For a target without key (`target_key` empty) any deterministic projection will do.
    pub(crate) fn plan(
        source: &Schema,
        source_key: &[usize],
        exprs: &[Expr],
        target_key: &[usize],
        filter: Option<&Expr>,
        columns: Option<Vec<usize>>,
    ) -> Option<Self> {
        if !exprs.iter().chain(filter).all(Expr::is_deterministic) {
            return None;
        }
        let append_only = source_key.is_empty();
        if append_only != target_key.is_empty() {
            return None;
        }
        if !append_only {
            let bare = |&position: &usize| match &exprs[position] {
                Expr::Column { index, .. } => Some(*index),
                _ => None,
            };
            let key: BTreeSet<usize> = target_key.iter().map(bare).collect::<Option<_>>()?;
            if key != source_key.iter().copied().collect() || target_key.len() != key.len() {
                return None;
            }
            let may_be_absent = |index: &usize| may_be_absent(source, source_key, *index);
            let safe = |expr: &Expr| {
                let reads = columns_of(expr);
                reads.len() <= 1 || !reads.iter().any(may_be_absent)
            };
            if !exprs.iter().all(safe) || filter.is_some_and(|filter| columns_of(filter).iter().any(may_be_absent)) {
                return None;
            }
        }
        Some(Self::new(source.clone(), exprs.to_vec(), filter.cloned(), columns, append_only))
    }

    /// Whether a target column is made of a value that an event does not hold; `known` names those that it holds.
    pub(crate) fn lacks_values(&self, known: &[usize]) -> bool {
        self.reads.iter().flatten().any(|column| !known.contains(column))
    }

    /// Whether a row may come in without a value that it has: an update may bring a row into the filter that is not stored yet, and
    /// leave out a large value that nobody here knows then.
    pub(crate) fn may_lack_values(&self, source_key: &[usize]) -> bool {
        let lacks = |column: &usize| may_be_absent(&self.source, source_key, *column);
        !self.append_only && self.filter.is_some() && self.reads.iter().flatten().any(lacks)
    }

    /// The target's rows for one event's rows. `known` names those among the columns of `batch` that hold values, `None` for all. Gives
    /// the target columns that are known, `None` for all.
    ///
    /// # Errors
    /// What an expression gives for a row that it cannot compute.
    pub(crate) fn apply(
        &self,
        known: Option<&[usize]>,
        batch: KindBatch,
        context: &EvalContext,
    ) -> Result<(KindBatch, Option<Vec<usize>>)> {
        let rows = batch.len();
        let full = match known {
            None => batch.columns,
            Some(known) => self.spread(known, &batch.columns, rows),
        };
        let present = |i: &usize| known.is_none_or(|known| self.reads[*i].iter().all(|column| known.contains(column)));
        let written: Vec<usize> = (0..self.exprs.len()).filter(present).collect();
        let columns = written.iter().map(|&i| self.exprs[i].eval(&full, rows, context)).collect::<Result<Vec<_>>>()?;
        let out = match &self.filter {
            None => KindBatch { columns, kinds: batch.kinds },
            Some(filter) => self.filtered(filter.eval(&full, rows, context)?, columns, &batch.kinds)?,
        };
        let whole = written.len() == self.exprs.len();
        let targets = match &self.columns {
            Some(targets) => Some(written.iter().map(|&i| targets[i]).collect()),
            None if whole => None,
            None => Some(written),
        };
        Ok((out, targets))
    }

    /// Every source column, NULL where the event does not hold it.
    fn spread(&self, known: &[usize], columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
        let absent = |i: usize| new_null_array(&self.source.columns[i].sql_type.kind.arrow(), rows);
        let is_known = |i: usize| known.contains(&i);
        (0..self.source.len()).map(|i| if is_known(i) { columns[i].clone() } else { absent(i) }).collect()
    }

    /// Rows outside the filter become deletions, or are left out where the target only grows.
    fn filtered(&self, passes: ArrayRef, columns: Vec<ArrayRef>, kinds: &[RowKind]) -> Result<KindBatch> {
        let passes = passes.as_any().downcast_ref::<arrow_array::BooleanArray>().expect("a filter is BOOLEAN");
        let inside = |i: usize| passes.is_valid(i) && passes.value(i);
        if self.append_only {
            let mask = (0..kinds.len()).map(|i| Some(inside(i))).collect();
            let kept = ChangeBatch::insertions(columns, kinds.len()).filter(&mask)?;
            return Ok(KindBatch::new(kept.columns().to_vec(), vec![RowKind::Insert; kept.len()]));
        }
        let kind = |(i, kind): (usize, &RowKind)| if inside(i) { *kind } else { RowKind::Delete };
        Ok(KindBatch::new(columns, kinds.iter().enumerate().map(kind).collect::<Vec<_>>()))
    }
}

/// Whether updates may leave a column out: values of its type may be large, and it is not in the key.
fn may_be_absent(source: &Schema, source_key: &[usize], column: usize) -> bool {
    let kind = &source.columns[column].sql_type.kind;
    let fixed = kind.is_numeric() || kind.is_datetime() || matches!(kind, gridhouse_base::TypeKind::Boolean);
    !fixed && !source_key.contains(&column)
}

fn columns_of(expr: &Expr) -> BTreeSet<usize> {
    let mut columns = BTreeSet::new();
    expr.for_each_column(|index| {
        columns.insert(index);
    });
    columns
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};
    use gridhouse_base::{Column, TypeKind};

    use super::*;

    /// A batch holds all columns, also those that are not known, wherever they stand among the others.
    #[test]
    fn columns_behind_one_that_is_not_known_keep_their_places() {
        let column = |name, kind: TypeKind| Column::new(name, kind.nullable());
        let columns =
            vec![column("id", TypeKind::BigInt), column("large", TypeKind::STRING), column("kind", TypeKind::STRING)];
        let landing = Landing::identity(&Schema::new(columns), false);
        let kind: ArrayRef = Arc::new(StringArray::from(vec!["new"]));
        let values: [ArrayRef; 3] =
            [Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec![None::<&str>])), kind.clone()];
        let batch = KindBatch::new(values.to_vec(), vec![RowKind::UpdateAfter]);
        let context = EvalContext { now_micros: 0, zone: chrono_tz::UTC, seed: 0, first_row: 0 };
        let (landed, written) = landing.apply(Some(&[0, 2]), batch, &context).unwrap();
        assert_eq!(written, Some(vec![0, 2]));
        assert_eq!(landed.columns, [values[0].clone(), kind]);
    }

    /// A row that an update brings into a filter is not stored yet: nobody would know a large value that the update leaves out.
    #[test]
    fn behind_a_filter_a_large_value_may_be_lacking() {
        let kinds = [TypeKind::BigInt, TypeKind::STRING, TypeKind::Boolean];
        let names = ["id", "large", "passes"];
        let columns: Vec<Column> =
            names.into_iter().zip(kinds).map(|(name, kind)| Column::new(name, kind.nullable())).collect();
        let expr = |index: usize| Expr::Column { index, sql_type: columns[index].sql_type.clone() };
        let source = Schema::new(columns.clone());
        let lacks = |taken: [usize; 2], filter: Option<&Expr>| {
            let landing = Landing::plan(&source, &[0], &taken.map(expr), &[0], filter, None);
            landing.expect("it can be one").may_lack_values(&[0])
        };
        let filter = expr(2);
        assert!(!lacks([0, 1], None));
        assert!(!lacks([0, 2], Some(&filter)));
        assert!(lacks([0, 1], Some(&filter)));
    }
}
