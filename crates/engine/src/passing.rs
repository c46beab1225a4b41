//! What a commit comes to for a sink that takes every change: rows that came and went within it are not told. (One that takes
//! upserts gets each key's last change.)
//!
//! A large transaction goes through the jobs in rounds, and a table's log may hold what a row was between two of them. Nobody
//! inside ever reads that, since readers see a commit whole; this is the same for those outside.

use std::collections::HashMap;
use std::iter::Peekable;

use arrow_array::{Array, UInt32Array};
use arrow_row::{OwnedRow, RowConverter, SortField};
use arrow_select::{concat::concat, take::take};
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, Result};

/// The changes of each commit without those that another change of the same commit undoes. Memory is needed for one commit at a
/// time.
pub(crate) struct NetByCommit<I: Iterator> {
    changes: Peekable<I>,
    /// The columns by which rows replace each other; where there is none, a row is undone by the deletion of an equal one.
    key: Vec<usize>,
    /// What the last commit came to, as far as it has not been given.
    net: std::vec::IntoIter<KindBatch>,
}

impl<I: Iterator<Item = Result<(CommitId, KindBatch)>>> NetByCommit<I> {
    pub(crate) fn new(changes: I, key: Vec<usize>) -> Self {
        Self { changes: changes.peekable(), key, net: Vec::new().into_iter() }
    }

    /// What the next commit came to.
    fn next_commit(&mut self) -> Option<Result<Vec<KindBatch>>> {
        let (commit, first) = match self.changes.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let mut same = vec![first];
        while let Some(Ok((_, batch))) = self.changes.next_if(|next| matches!(next, Ok((next, _)) if *next == commit)) {
            same.push(batch);
        }
        Some(settled(same, &self.key))
    }
}

impl<I: Iterator<Item = Result<(CommitId, KindBatch)>>> Iterator for NetByCommit<I> {
    type Item = Result<KindBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.net.next() {
                return Some(Ok(batch));
            }
            match self.next_commit()? {
                Ok(net) => self.net = net.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Batches as one, if there are any.
pub(crate) fn joined(mut batches: Vec<KindBatch>) -> Result<Option<KindBatch>> {
    if batches.len() < 2 {
        return Ok(batches.pop());
    }
    let internal = |error: arrow_schema::ArrowError| Error::internal("changes could not be joined").caused_by(error);
    let column = |c: usize| {
        let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.columns[c].as_ref()).collect();
        concat(&parts).map_err(internal)
    };
    let columns = (0..batches[0].columns.len()).map(column).collect::<Result<Vec<_>>>()?;
    let kinds: Vec<RowKind> = batches.iter().flat_map(|batch| batch.kinds.iter().copied()).collect();
    Ok(Some(KindBatch::new(columns, kinds)))
}

fn settled(batches: Vec<KindBatch>, key: &[usize]) -> Result<Vec<KindBatch>> {
    // A tick of one round gives what it has changed once.
    if batches.len() < 2 || !batches.iter().flat_map(|batch| batch.kinds.iter()).any(|kind| *kind != RowKind::Insert) {
        return Ok(batches);
    }
    let columns = batches[0].columns.len();
    let compared: Vec<usize> = if key.is_empty() { (0..columns).collect() } else { key.to_vec() };
    let fields: Vec<SortField> =
        compared.iter().map(|&c| SortField::new(batches[0].columns[c].data_type().clone())).collect();
    if !RowConverter::supports_fields(&fields) {
        return Ok(batches);
    }
    let internal = |error: arrow_schema::ArrowError| Error::internal("changes could not be merged").caused_by(error);
    let Some(KindBatch { columns, kinds }) = joined(batches)? else { return Ok(Vec::new()) };
    let converter = RowConverter::new(fields).map_err(internal)?;
    let rows = converter
        .convert_columns(&compared.iter().map(|&c| columns[c].clone()).collect::<Vec<_>>())
        .map_err(internal)?;
    let mut kept: Vec<(u32, RowKind)> = Vec::with_capacity(kinds.len());
    if key.is_empty() {
        let mut open: HashMap<OwnedRow, Vec<u32>> = HashMap::new();
        for (i, kind) in kinds.iter().enumerate() {
            let same = open.entry(rows.row(i).owned()).or_default();
            let is_deletion = |kind: RowKind| matches!(kind, RowKind::Delete | RowKind::UpdateBefore);
            match same.last() {
                Some(&other) if is_deletion(kinds[other as usize]) != is_deletion(*kind) => drop(same.pop()),
                _ => same.push(i as u32),
            }
        }
        kept.extend(open.into_values().flatten().map(|i| (i, kinds[i as usize])));
    } else {
        // Per key whether it was there before the commit, and its last change.
        let mut of_key: HashMap<OwnedRow, (bool, u32)> = HashMap::new();
        for (i, kind) in kinds.iter().enumerate() {
            let was_there = *kind != RowKind::Insert;
            of_key.entry(rows.row(i).owned()).or_insert((was_there, i as u32)).1 = i as u32;
        }
        for (was_there, i) in of_key.into_values() {
            match (was_there, kinds[i as usize] == RowKind::Delete) {
                (false, true) => {}
                (true, true) => kept.push((i, RowKind::Delete)),
                (true, false) => kept.push((i, RowKind::UpdateAfter)),
                (false, false) => kept.push((i, RowKind::Insert)),
            }
        }
    }
    kept.sort_unstable_by_key(|(i, _)| *i);
    let positions = UInt32Array::from_iter_values(kept.iter().map(|(i, _)| *i));
    let columns = columns.iter().map(|column| take(column, &positions, None)).collect::<Result<Vec<_>, _>>();
    let kinds: Vec<RowKind> = kept.into_iter().map(|(_, kind)| kind).collect();
    Ok(vec![KindBatch::new(columns.map_err(internal)?, kinds)])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    use RowKind::{Delete, Insert, UpdateAfter};

    fn net(changes: &[(u64, RowKind, i64, i64)], key: &[usize]) -> Vec<(RowKind, i64, i64)> {
        let one = |&(commit, kind, id, value): &(u64, RowKind, i64, i64)| {
            let column = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
            (CommitId(commit), KindBatch::new(vec![column(id), column(value)], vec![kind]))
        };
        let net = NetByCommit::new(changes.iter().map(|change| Ok(one(change))), key.to_vec());
        let batches = net.collect::<Result<Vec<_>>>().unwrap();
        let value = |batch: &KindBatch, c: usize, i: usize| batch.columns[c].as_primitive::<Int64Type>().value(i);
        let rows = |batch: &KindBatch| {
            (0..batch.len()).map(|i| (batch.kinds[i], value(batch, 0, i), value(batch, 1, i))).collect::<Vec<_>>()
        };
        batches.iter().flat_map(rows).collect()
    }

    #[test]
    fn what_came_and_went_within_a_commit_is_not_told() {
        let changes = [
            (1, Insert, 1, 10),
            (1, Delete, 1, 10),
            (1, Insert, 1, 20),
            (2, Delete, 1, 20),
            (2, Insert, 1, 30),
            (2, Insert, 1, 20),
        ];
        assert_eq!(net(&changes, &[]), [(Insert, 1, 20), (Insert, 1, 30)]);
        assert_eq!(net(&[(1, Insert, 1, 1), (2, Delete, 1, 1)], &[]).len(), 2, "two commits are two");
    }

    #[test]
    fn each_key_is_told_once_in_a_commit_with_what_it_came_to() {
        let changes = [
            (1, Insert, 1, 10),
            (1, UpdateAfter, 1, 11),
            (1, Insert, 2, 20),
            (1, Delete, 2, 0),
            (1, UpdateAfter, 3, 31),
            (1, Delete, 3, 0),
            (1, Delete, 4, 0),
            (1, Insert, 4, 41),
        ];
        assert_eq!(net(&changes, &[0]), [(Insert, 1, 11), (Delete, 3, 0), (UpdateAfter, 4, 41)]);
    }
}
