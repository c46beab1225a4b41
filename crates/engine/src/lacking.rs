//! Updates of part of a row that is not here.
//!
//! A source that does not tell a large value which an update leaves as it was (TOAST) counts on the row being here. It may not
//! be: a row that could not be read is kept apart, and is here again once it is mended; or somebody deleted it here. To make the
//! rest of it up would be a wrong row. So the update is left out, and the contents are asked for, which bring the row whole.
//! What always holds: of a table from which rows may be missing, part of a row is taken only if the row is here. Which tables
//! that are is on record, so that no other pays for the look-ups.

use std::collections::{BTreeMap, HashMap};

use arrow_array::{ArrayRef, BooleanArray};
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{ChangeBatch, Error, Result, SourceId, TableId, Value};
use gridhouse_store::Part;

use crate::core::Core;
use crate::job::describe_row;
use crate::records::{StreamTableRecord, encode};
use crate::rejected::Rejected;
use crate::stream::Stream;

/// How many keys of an open transaction are kept to know which rows it has brought and taken: at some 100 bytes each, 6 MB.
const MOST_NOTED: usize = 65_536;

/// How many rows that the contents did not bring are remembered; beyond that, contents may be read once more for one of them.
const MOST_ASKED: usize = 4_096;

/// A primary key, as a text that no other key has.
type Key = String;

/// What is known of the rows of one table from which some may be missing.
#[derive(Default)]
pub(crate) struct Presence {
    /// Rows that the open transaction brings (true) or takes.
    noted: HashMap<Key, bool>,
    /// Whether the open transaction emptied the table first.
    is_emptied: bool,
    /// Whether the open transaction has more rows than are noted.
    is_cut: bool,
    /// Rows for which the contents were asked, until they bring them.
    asked: BTreeMap<Key, Vec<Value>>,
}

impl Presence {
    /// Forgets the open transaction.
    pub(crate) fn end_transaction(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        *self = Self { asked, ..Self::default() };
    }

    /// Whether contents are asked for, and have not come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The open transaction empties the table.
    pub(crate) fn empty(&mut self) {
        self.end_transaction();
        self.is_emptied = true;
    }

    fn note(&mut self, key: Key, is_here: bool) {
        if is_here {
            self.asked.remove(&key);
        }
        if self.noted.len() < MOST_NOTED || self.noted.contains_key(&key) {
            self.noted.insert(key, is_here);
        } else {
            self.is_cut = true;
        }
    }

    /// What becomes of part of the row `key`, whose values are `values`; `is_stored`: the row was here before the transaction.
    fn fate(&mut self, key: &Key, values: Vec<Value>, is_stored: bool) -> Fate {
        match self.noted.get(key) {
            Some(true) => return Fate::Taken,
            // It may be here, or gone again.
            None if self.is_cut => return Fate::Awaited,
            None if is_stored && !self.is_emptied => return Fate::Taken,
            Some(false) | None => {}
        }
        if self.asked.contains_key(key) {
            return Fate::Refused;
        }
        if self.asked.len() < MOST_ASKED {
            self.asked.insert(key.clone(), values);
        }
        Fate::Awaited
    }
}

/// What becomes of part of a row.
enum Fate {
    /// The row is here.
    Taken,
    /// It comes with the contents.
    Awaited,
    /// The contents did not bring it.
    Refused,
}

impl Core {
    /// Leaves out what is part of a row that is not here, and asks for the contents. `is_partial`: the source did not tell all that
    /// these rows are made of. `None` where the table takes no rows any more.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn without_lacking(
        &mut self,
        source: SourceId,
        table: u32,
        part: Part,
        is_partial: bool,
    ) -> Result<Option<Part>> {
        let Some(stream) = self.streams.get(&source) else { return Ok(None) };
        let may_lack = stream.presence.contains_key(&table)
            || stream.record.tables.iter().any(|record| record.id == table && record.may_lack);
        if !may_lack {
            return Ok(Some(part));
        }
        if is_partial {
            // What has been committed before is looked up, too.
            self.tick()?;
        }
        let stored = self.store.ordered_snapshot().table(part.table)?;
        let primary_key = stored.spec().primary_key.clone();
        let place = |column: &usize| match &part.columns {
            None => *column,
            Some(columns) => columns.iter().position(|c| c == column).expect("a landing writes the key"),
        };
        let keys: Vec<ArrayRef> = primary_key.iter().map(|column| part.batch.columns[place(column)].clone()).collect();
        let mut is_stored = vec![false; part.batch.len()];
        if is_partial {
            stored.get_columns(&keys, Some(&primary_key))?.0.into_iter().for_each(|row| is_stored[row as usize] = true);
        }
        let kinds: Vec<_> =
            primary_key.iter().map(|column| stored.spec().schema.columns[*column].sql_type.kind.clone()).collect();
        let values = |row: usize| -> Vec<Value> {
            keys.iter().zip(&kinds).map(|(array, kind)| Value::from_array(array, row, kind)).collect()
        };
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(None) };
        let presence = stream.presence.entry(table).or_default();
        let (mut is_taken, mut refused, mut is_awaited) = (Vec::new(), Vec::new(), false);
        for (row, kind) in part.batch.kinds.iter().enumerate() {
            let values = values(row);
            let key = format!("{values:?}");
            let fate = match kind {
                RowKind::Insert | RowKind::UpdateAfter if is_partial => presence.fate(&key, values, is_stored[row]),
                _ => Fate::Taken,
            };
            is_taken.push(Some(matches!(fate, Fate::Taken)));
            match fate {
                Fate::Taken => presence.note(key, matches!(kind, RowKind::Insert | RowKind::UpdateAfter)),
                Fate::Awaited => is_awaited = true,
                Fate::Refused => refused.push(row),
            }
        }
        for row in refused {
            let columns: Vec<usize> = part.columns.clone().unwrap_or_default();
            let shown = ChangeBatch::insertions(part.batch.columns.clone(), part.batch.len());
            let row = describe_row(&shown, row, &stored.spec().schema.project(&columns));
            self.reject(source, Rejected { table, row, error: not_told() })?;
        }
        if is_awaited {
            self.read_again(source, table)?;
        }
        if is_taken.iter().all(|taken| *taken == Some(true)) {
            return Ok(Some(part));
        }
        let batch = kept(&part.batch, &is_taken.into())?;
        Ok(Some(Part { batch, ..part }))
    }

    /// Has the contents of a table read again while its changes go on. On record before the commit of what was left out.
    fn read_again(&mut self, source: SourceId, table: u32) -> Result<()> {
        self.outdate(source, table)?;
        let Some(stream) = self.streams.get(&source) else { return Ok(()) };
        if let Some(record) = stream.record.tables.iter().find(|record| record.id == table) {
            tracing::info!(
                stream = stream.record.stream_key,
                "an update tells part of a row of {} that is not here: its contents are read again and compared",
                record.definition.path
            );
        }
        if let Some(handle) = &stream.handle {
            handle.read_again(table);
        }
        Ok(())
    }

    /// The contents of a table are here: which rows they did not bring.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn note_contents(&mut self, source: SourceId, table: u32, landing: TableId) -> Result<()> {
        let stored = self.store.ordered_snapshot().table(landing)?;
        let presence = self.streams.get_mut(&source).and_then(|stream| stream.presence.get_mut(&table));
        let Some(presence) = presence else { return Ok(()) };
        for (key, values) in std::mem::take(&mut presence.asked) {
            if stored.get(&values)?.is_none() {
                presence.asked.insert(key, values);
            }
        }
        Ok(())
    }

    /// Rows of `landing` are about to be deleted here, not at its source: from then on some may be missing. The records to keep.
    pub(crate) fn may_lack_of(&mut self, landing: TableId) -> Vec<(String, String)> {
        let streams = self.streams.iter_mut();
        streams.filter_map(|(_, stream)| stream.may_lack(|record| record.landing == landing)).collect()
    }
}

impl Stream {
    /// Notes that rows may be missing from the tables that `of` picks; the record to keep, if that was not known.
    pub(crate) fn may_lack(&mut self, of: impl Fn(&StreamTableRecord) -> bool) -> Option<(String, String)> {
        let mut is_new = false;
        for table in self.record.tables.iter_mut().filter(|table| of(table)) {
            is_new |= !std::mem::replace(&mut table.may_lack, true);
        }
        is_new.then(|| (self.record.id.0.to_string(), encode(&self.record)))
    }
}

/// Why part of a row is refused.
fn not_told() -> Error {
    Error::invalid(
        "an update does not tell a large value that it leaves as it was, and the row is not here: what its contents hold cannot be \
         read as declared",
    )
}

/// The rows of a batch that `mask` names.
fn kept(batch: &KindBatch, mask: &BooleanArray) -> Result<KindBatch> {
    let rows = ChangeBatch::insertions(batch.columns.clone(), batch.len()).filter(mask)?;
    let kinds: Vec<RowKind> =
        batch.kinds.iter().zip(mask).filter(|(_, is_kept)| *is_kept == Some(true)).map(|(kind, _)| *kind).collect();
    Ok(KindBatch::new(rows.columns().to_vec(), kinds))
}
