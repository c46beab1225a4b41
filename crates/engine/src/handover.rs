//! What an outside table holds when another query takes over, or another table comes between.
//!
//! A sink that was read from a user's table, or from a hidden table with other columns, has written some of that table's log and not
//! the rest. The new query writes into a hidden table that is empty at first, and so knows nothing of what is outside:
//! - *with a key*, the outside is given all rows of the new query at once, and the keys that it may hold and that are not among them
//!   are deleted: those of the table before as it stands, and those that went from it since the outside was last written;
//! - *without a key*, only what has come since may be added, so it must be known to the row how far the outside was written.
//!
//! The take-over is owed until the new writer has carried it out, wherever the outside stands by then; carried out twice it comes to
//! the same. The table before is kept as long as the outside may go back behind that. One that goes back further, or whose table
//! before is gone, is told to be written anew: what it has of rows that nobody knows any more would stay.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow_select::take::take;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, Error, Result, TableId};
use gridhouse_flow::connector::ChangelogMode;
use gridhouse_store::{TableSnapshot, Tick};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::held::forget_sink;
use crate::prepare::{Prepared, Route, relayed};
use crate::records::{InsertRecord, JobRecord};
use crate::wiring::{insert_of, sink_name, stored_in_outbox};

/// The table from which an outside with a key was written before, until the outside has been taken over and will not go back.
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
    /// Whether the outside has yet to be taken over, wherever it stands.
    #[serde(default = "owed")]
    pub is_owed: bool,
    /// How far an outside must have been written for the table to tell what it holds.
    #[serde(default)]
    pub tells_from: CommitId,
}

/// What is not on record as carried out is done once more.
fn owed() -> bool {
    true
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
    /// From a table that is gone, and of which nobody knows the rows. The commit is the last one until now.
    Gone(CommitId),
}

/// What has become of an outside that was to be taken over.
pub(crate) struct TakenOver {
    pub(crate) sink: String,
    /// The table from which it was taken over.
    pub(crate) before: Before,
    /// Whether that is not needed any more.
    pub(crate) is_let_go: bool,
    /// The record to keep.
    pub(crate) job: JobRecord,
}

impl Handover {
    /// Puts on record what a sink is taken over from. What it was taken over from before that is not needed any more.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn note(&self, tick: &mut Tick<'_>, record: &mut InsertRecord, sink: &str) -> Result<()> {
        match self {
            Self::Same => return Ok(()),
            Self::Whole(before) => record.tells_from = CommitId(before.until.0 + 1),
            Self::After(reached) => record.tells_from = *reached,
            Self::Gone(last) => record.tells_from = CommitId(last.0 + 1),
        }
        if let Some(former) = record.before.take() {
            forget_sink(tick, sink, Some(former.table))?;
            if former.hidden {
                tick.drop_table(former.table)?;
            }
        }
        if let Self::Whole(before) = self {
            record.before = Some(before.clone());
        }
        Ok(())
    }
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
                let relayed = self.relayed_by(old, i);
                let found = relayed.and_then(|(path, projection)| Some((self.catalog.table_id(&path)?, projection)));
                let known = found.filter(|(table, _)| before.copied.is_none_or(|copied| copied == *table));
                let Some((table, projection)) = known else {
                    return Ok(before.copied.map_or(Handover::Same, |_| Handover::Gone(snapshot.commit())));
                };
                let columns = (!key.is_empty()).then(|| projection.origins(&key)).flatten();
                (snapshot.table(table)?, columns)
            }
        };
        let name = sink_name(old.id, i, target);
        if table.spec().primary_key.is_empty() {
            // What a copy has not written is still in the user's table; what is put out for a sink goes with its hidden table.
            let is_copy = before.outbox.is_none();
            let reached = self.written_upto(&name).filter(|reached| is_copy || table.lag(*reached).rows == 0);
            let reached = reached.ok_or_else(|| not_known(old, &name, is_copy))?;
            return Ok(Handover::After(reached));
        }
        let is_upsert = sink.mode == ChangelogMode::Upsert && !key.is_empty();
        match columns {
            _ if !is_upsert => Ok(Handover::Same),
            Some(_) if before.before.as_ref().is_some_and(|before| self.is_owed(&name, before)) => {
                Err(not_taken_over(old, &name))
            }
            Some(key) => Ok(Handover::Whole(Before {
                table: table.id(),
                key,
                hidden: before.outbox.is_some(),
                until: snapshot.commit(),
                is_owed: true,
                tells_from: before.tells_from(),
            })),
            None => Err(Error::conflict(format!("the outside table of sink {name} has another key than before"))
                .hint(format!("type DROP JOB {}, empty the table there, and run the INSERT again", old.id.0))),
        }
    }

    /// What has become of the outsides that were to be taken over, of which `reached` tells how far they were written, and from
    /// where on that is kept.
    pub(crate) fn taken_over(&mut self, reached: &BTreeMap<String, (CommitId, Option<CommitId>)>) -> Vec<TakenOver> {
        let (mut over, writers) = (Vec::new(), &self.writers);
        for (id, job) in &mut self.jobs {
            for i in 0..job.record.inserts.len() {
                let insert = &mut job.record.inserts[i];
                let sink = sink_name(*id, i, &insert.target);
                let Some(before) = &mut insert.before else { continue };
                let was_owed = before.is_owed;
                before.is_owed &= !writers.iter().any(|writer| writer.has_taken_over(&sink, before.table));
                let kept = reached.get(&sink).and_then(|(_, kept)| *kept);
                let is_let_go = !before.is_owed && kept.is_some_and(|kept| kept > before.until);
                if before.is_owed == was_owed && !is_let_go {
                    continue;
                }
                let before = before.clone();
                if is_let_go {
                    insert.before = None;
                }
                over.push(TakenOver { sink, before, is_let_go, job: job.record.clone() });
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

fn not_known(old: &JobRecord, name: &str, is_copy: bool) -> Error {
    Error::conflict(format!(
        "how far sink {name} was written is not known here for sure, and its table has no key by which rows could be told apart: \
         some would be there twice, or not at all"
    ))
    .hint(come_up_first(old, if is_copy { ", or has failed by a row" } else { "" }))
}

fn not_taken_over(old: &JobRecord, name: &str) -> Error {
    Error::conflict(format!(
        "the outside table of sink {name} still has rows of the query before this one, of which only the sink knows"
    ))
    .hint(come_up_first(old, ""))
}

/// What is done about a sink that has yet to be written by the query of before; `or_else` says when that is not needed.
fn come_up_first(old: &JobRecord, or_else: &str) -> String {
    let job = old.id.0;
    format!(
        "type START JOB {job}, and once it has come up to date (gridhouse status){or_else}, STOP JOB {job} and this statement again; where \
         it cannot come up to date, DROP JOB {job}, empty the outside table, and run the INSERT of this statement alone, which gives all of its rows"
    )
}

/// The changes that take an outside over: the keys that it may hold from the table before, or from `table` where it has been written
/// from that already, and that `table` has not, deleted; then all rows of `table`. The outside was last written at `upto`.
///
/// # Errors
/// `Conflict` where the logs do not reach back to that; those of the store.
pub(crate) fn taken_over<'a>(
    before: &Before,
    (left, table): (&TableSnapshot, &TableSnapshot),
    upto: CommitId,
) -> Result<impl Iterator<Item = Result<KindBatch>> + use<'a>> {
    let standing = left.scan(Some(&before.key)).map(|batch| batch.map(|batch| batch.columns().to_vec()));
    // Keys that went; those that came or changed stand there, or went after it.
    let gone = left.changes(upto)?.map(keys_in(before.key.clone()));
    let own = if upto > before.until { Some(table.changes(upto)?) } else { None };
    let own = own.into_iter().flatten().map(keys_in(table.spec().primary_key.clone()));
    let (target, rows) = (table.clone(), table.scan(None));
    let deleted =
        standing.chain(gone).chain(own).map(move |keys| missing(&target, &keys?)).filter_map(Result::transpose);
    let all = |batch: Result<gridhouse_base::ChangeBatch>| {
        let batch = batch?;
        Ok(KindBatch::new(batch.columns().to_vec(), vec![RowKind::UpdateAfter; batch.len()]))
    };
    Ok(deleted.chain(rows.map(all)))
}

/// The keys, in the columns `key`, of what a log tells.
fn keys_in(key: Vec<usize>) -> impl FnMut(Result<(CommitId, KindBatch)>) -> Result<Vec<ArrayRef>> {
    move |entry| {
        let (_, batch) = entry?;
        Ok(key.iter().map(|&column| batch.columns[column].clone()).collect())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_record_does_not_tell_is_done_once_more() {
        let before: Before = serde_json::from_str(r#"{"table":3,"key":[0],"hidden":true,"until":7}"#).unwrap();
        assert!(before.is_owed && before.tells_from == CommitId(0), "{before:?}");
    }
}
