//! What an outside table holds when another query takes over, or another table comes between.
//!
//! A sink that was read from a user's table, or from a hidden table with other columns, has written some of that table's log and not
//! the rest. The new query writes into a hidden table that is empty at first, and so knows nothing of what is outside:
//! - *with a key*, the outside is given all rows of the new query at once, and the keys that it may hold and that are not among them
//!   are deleted: those of the table before as it stands, and those that went from it since the outside was last written;
//! - *without a key*, only what has come since may be added, so it must be known to the row how far the outside was written.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow_select::take::take;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, Result, TableId};
use gridhouse_flow::connector::ChangelogMode;
use gridhouse_store::TableSnapshot;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::prepare::{Prepared, Route, relayed};
use crate::records::JobRecord;
use crate::wiring::{insert_of, sink_name, stored_in_outbox};

/// The table from which an outside with a key was written before, until the outside has been taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The table.
    pub table: TableId,
    /// Its columns that hold the outside's key, in the order of that.
    pub key: Vec<usize>,
    /// Whether it is a hidden table, which goes with the take-over.
    pub hidden: bool,
    /// The last tick before the new table's rows: an outside that stands no further has yet to be taken over.
    pub until: CommitId,
}

/// How the `INSERT` of a job takes over an outside table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handover {
    /// Nothing lies between.
    Same,
    /// With a key.
    Whole(Before),
    /// Without one: what came after this is not outside yet.
    After(CommitId),
}

impl Core {
    /// How each `INSERT` takes over its outside table from the one that stood in its place.
    ///
    /// # Errors
    /// `Conflict` where it is not known how far the outside was written.
    pub(crate) fn handovers(&self, old: Option<&JobRecord>, inserts: &[Prepared]) -> Result<Vec<Handover>> {
        let Some(old) = old else { return Ok(vec![Handover::Same; inserts.len()]) };
        inserts.iter().enumerate().map(|(i, insert)| self.handover(old, i, insert)).collect()
    }

    fn handover(&self, old: &JobRecord, i: usize, insert: &Prepared) -> Result<Handover> {
        let target = &insert.bound.target.path;
        let before = insert_of(Some(old), i, target).filter(|before| before.sink.is_some());
        let (Some(before), Some(sink)) = (before, &insert.sink) else { return Ok(Handover::Same) };
        let (stored, key) = stored_in_outbox(insert);
        let snapshot = self.store.ordered_snapshot();
        let (table, columns) = match before.outbox {
            None if matches!(insert.route, Route::Relay { .. }) => return Ok(Handover::Same),
            Some(outbox) => {
                let there = snapshot.table(outbox)?;
                if there.spec().schema == stored && there.spec().primary_key == key {
                    return Ok(Handover::Same);
                }
                let place = |column: &usize| {
                    let wanted = &stored.columns[*column];
                    let same = |column: &gridhouse_base::Column| {
                        column.name == wanted.name && column.sql_type.kind == wanted.sql_type.kind
                    };
                    let place = there.spec().schema.columns.iter().position(same);
                    place.filter(|place| there.spec().primary_key.contains(place))
                };
                let columns: Option<Vec<usize>> = key.iter().map(place).collect();
                (there, columns.filter(|columns| !columns.is_empty()))
            }
            None => {
                let Some((path, projection)) = self.relayed_by(old, i) else { return Ok(Handover::Same) };
                let Some(table) = self.catalog.table_id(&path) else { return Ok(Handover::Same) };
                let columns = (!key.is_empty()).then(|| projection.origins(&key)).flatten();
                (snapshot.table(table)?, columns)
            }
        };
        let name = sink_name(old.id, i, target);
        if table.spec().primary_key.is_empty() {
            let reached = self.written_upto(&name).ok_or_else(|| not_known(old, &name))?;
            if before.outbox.is_some() && table.lag(reached).rows > 0 {
                return Err(not_known(old, &name));
            }
            return Ok(Handover::After(reached));
        }
        let is_upsert = sink.mode == ChangelogMode::Upsert && !key.is_empty();
        match columns {
            _ if !is_upsert => Ok(Handover::Same),
            Some(_) if before.before.is_some() => Err(not_known(old, &name)),
            Some(key) => Ok(Handover::Whole(Before {
                table: table.id(),
                key,
                hidden: before.outbox.is_some(),
                until: snapshot.commit(),
            })),
            None => Err(Error::conflict(format!("the outside table of sink {name} has another key than before"))
                .hint(format!("type DROP JOB {}, empty the table there, and run the INSERT again", old.id.0))),
        }
    }

    /// Outsides that have been written from their new tables: those of before are not needed for them any more. Gives their sinks,
    /// those tables, and the records to keep.
    pub(crate) fn taken_over(
        &mut self,
        reached: &BTreeMap<String, (CommitId, Option<CommitId>)>,
    ) -> Vec<(String, Before, JobRecord)> {
        let mut over = Vec::new();
        for (id, job) in &mut self.jobs {
            for i in 0..job.record.inserts.len() {
                let insert = &mut job.record.inserts[i];
                let name = sink_name(*id, i, &insert.target);
                let is_over = |before: &mut Before| reached.get(&name).is_some_and(|(upto, _)| *upto > before.until);
                if let Some(before) = insert.before.take_if(is_over) {
                    over.push((name, before, job.record.clone()));
                }
            }
        }
        over
    }

    /// The user's table that the `INSERT` of a job copies to the outside, if that is all it does.
    fn relayed_by(
        &self,
        old: &JobRecord,
        i: usize,
    ) -> Option<(gridhouse_base::table::ObjectPath, crate::landing::Landing)> {
        let mut inserts = crate::boot::bind(self, old).ok()?;
        (i < inserts.len()).then(|| relayed(&inserts.swap_remove(i))).flatten()
    }

    /// Whether the `INSERT` at `i` may stay a plain copy in the place of another: without a key, of the same table.
    pub(crate) fn stays_a_copy(&self, old: &JobRecord, i: usize, insert: &Prepared) -> bool {
        let Route::Relay { path, .. } = &insert.route else { return false };
        let same = old
            .inserts
            .get(i)
            .is_some_and(|before| before.target == insert.bound.target.path && before.outbox.is_none());
        insert.bound.target.primary_key.is_empty()
            && same
            && self.relayed_by(old, i).is_some_and(|(before, _)| before == *path)
    }
}

fn not_known(old: &JobRecord, name: &str) -> Error {
    let job = old.id.0;
    Error::conflict(format!(
        "how far sink {name} was written is not known here for sure, and its table has no key by which rows could be told apart: \
         some would be there twice, or not at all"
    ))
    .hint(format!(
        "type START JOB {job}, and once it has come up to date (gridhouse status), or has failed, STOP JOB {job} and this statement again"
    ))
}

/// The changes that take an outside over: the keys that it may hold from the table before and that `table` has not, deleted; then all
/// rows of `table`. The outside was last written at `upto`.
///
/// # Errors
/// `Conflict` where the log of the table before does not reach back to that; those of the store.
pub(crate) fn taken_over<'a>(
    before: &Before,
    (left, table): (&TableSnapshot, &TableSnapshot),
    upto: CommitId,
) -> Result<impl Iterator<Item = Result<KindBatch>> + use<'a>> {
    let columns = before.key.clone();
    let standing = left.scan(Some(&columns)).map(|batch| batch.map(|batch| batch.columns().to_vec()));
    let of_change = move |entry: Result<(CommitId, KindBatch)>| {
        let (_, batch) = entry?;
        Ok(columns.iter().map(|&column| batch.columns[column].clone()).collect::<Vec<ArrayRef>>())
    };
    // Keys that went; those that came or changed stand there, or went after it.
    let gone = left.changes(upto)?.map(of_change);
    let (target, rows) = (table.clone(), table.scan(None));
    let deleted = standing.chain(gone).map(move |keys| missing(&target, &keys?)).filter_map(Result::transpose);
    let all = |batch: Result<gridhouse_base::ChangeBatch>| {
        let batch = batch?;
        Ok(KindBatch::new(batch.columns().to_vec(), vec![RowKind::UpdateAfter; batch.len()]))
    };
    Ok(deleted.chain(rows.map(all)))
}

/// Deletions of those among `keys` that `table` has not; `None` where it has all.
fn missing(table: &TableSnapshot, keys: &[ArrayRef]) -> Result<Option<KindBatch>> {
    let internal = |error: arrow_schema::ArrowError| Error::internal("keys could not be taken").caused_by(error);
    let spec = table.spec();
    let len = keys.first().map_or(0, |keys| keys.len());
    let mut is_missing = vec![true; len];
    table.get_columns(keys, Some(&spec.primary_key))?.0.into_iter().for_each(|row| is_missing[row as usize] = false);
    let rows: UInt32Array = (0..len as u32).filter(|row| is_missing[*row as usize]).collect::<Vec<_>>().into();
    if rows.is_empty() {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(spec.schema.len());
    for (i, column) in spec.schema.columns.iter().enumerate() {
        columns.push(match spec.primary_key.iter().position(|key| *key == i) {
            Some(key) => take(&keys[key], &rows, None).map_err(internal)?,
            None => new_null_array(&column.sql_type.kind.arrow(), rows.len()),
        });
    }
    Ok(Some(KindBatch::new(columns, vec![RowKind::Delete; rows.len()])))
}
