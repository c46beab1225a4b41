//! Tables outside that are written: each write is one transaction, which moves the commit up to which the table was written,
//! and works only from the commit and the claim that the writer believes in, as `jdbc` does it in PostgreSQL. Beside what is
//! expected of any database, these insist on what a sink is promised: a key once per write, nothing withdrawn that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridhouse_base::batch::KindBatch;
use gridhouse_base::table::TableDef;
use gridhouse_base::{CommitId, Error, Result, RowKind};
use gridhouse_flow::connector::{
    ChangelogMode, MayGoOn, Sink, SinkChanges, SinkConnector, SinkDescription, SinkWriter, Standing,
};

use super::{Outside, Row, rows_of};

/// A table that is written.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its rows, each as often as it is there.
    pub rows: BTreeMap<Row, i64>,
    /// Who wrote it up to where, by store and sink.
    pub books: BTreeMap<(u128, String), Book>,
    /// Writes that took effect.
    pub writes: u64,
}

/// What is noted of a writer.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The commit up to which it has written.
    pub upto: u64,
    /// Raised by each claim.
    pub epoch: u64,
    /// The history of the store under which rows were last written.
    pub history: Option<u64>,
}

impl Target {
    /// The rows, in order, each as often as it is there.
    pub fn all_rows(&self) -> Vec<Row> {
        self.rows.iter().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count as usize)).collect()
    }
}

fn name_of(definition: &TableDef) -> String {
    definition.options.get("table").cloned().unwrap_or_default()
}

fn mode_of(definition: &TableDef) -> ChangelogMode {
    match (definition.primary_key.is_empty(), definition.options.contains_key("grows")) {
        (_, true) => ChangelogMode::InsertOnly,
        (true, _) => ChangelogMode::All,
        (false, _) => ChangelogMode::Upsert,
    }
}

impl SinkConnector for Outside {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let (target_key, mode) = (name_of(definition), mode_of(definition));
        Ok(SinkDescription { target_key, mode, exactly_once: true, notices: vec![] })
    }

    fn open(&self, definition: Arc<TableDef>, writer: SinkWriter) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Board { outside: self.clone(), definition, writer, epoch: 0, history: None }))
    }
}

/// A table that is open for one writer.
pub struct Board {
    outside: Outside,
    definition: Arc<TableDef>,
    writer: SinkWriter,
    epoch: u64,
    history: Option<u64>,
}

impl Board {
    fn book_key(&self) -> (u128, String) {
        (self.writer.store, self.writer.sink.clone())
    }

    /// Applies changes to rows; they are thrown away where this goes wrong.
    fn apply(&self, rows: &mut BTreeMap<Row, i64>, changes: &[KindBatch]) {
        let mode = mode_of(&self.definition);
        let schema = &self.definition.schema;
        let key_of = |row: &Row| -> Row { self.definition.primary_key.iter().map(|&k| row[k].clone()).collect() };
        let mut written = BTreeSet::new();
        for batch in changes {
            for (i, row) in rows_of(&batch.columns, schema, batch.len()).into_iter().enumerate() {
                let kind = batch.kinds[i];
                match mode {
                    ChangelogMode::InsertOnly => {
                        assert_eq!(kind, RowKind::Insert, "a table that only grows is told {row:?}");
                        *rows.entry(row).or_default() += 1;
                    }
                    ChangelogMode::All => {
                        let by = if matches!(kind, RowKind::Insert | RowKind::UpdateAfter) { 1 } else { -1 };
                        let count = rows.entry(row.clone()).or_default();
                        *count += by;
                        assert!(*count >= 0, "{row:?} is withdrawn and was not there");
                        rows.retain(|_, count| *count != 0);
                    }
                    ChangelogMode::Upsert => {
                        assert_ne!(kind, RowKind::UpdateBefore, "upserts know no rows as they were");
                        let key = key_of(&row);
                        assert!(!written.contains(&key), "{key:?} is written and then told again in one write");
                        rows.retain(|there, _| key_of(there) != key);
                        if kind != RowKind::Delete {
                            written.insert(key);
                            rows.insert(row, 1);
                        }
                    }
                }
            }
        }
    }
}

impl Board {
    /// The outside stands at `at`, and is this writer's.
    fn check(&self, book: &Book, name: &str, at: CommitId) -> Result<()> {
        if book.epoch != self.epoch {
            return Err(Error::conflict(format!("sink {name} is fenced: another process has taken it over")));
        }
        if book.upto != at.0 {
            return Err(Error::unavailable(format!("sink {name} stands at {} instead of {at}", book.upto)));
        }
        Ok(())
    }
}

impl Sink for Board {
    fn claim(&mut self, may_go_on: MayGoOn<'_>) -> Result<CommitId> {
        let mut world = self.outside.world();
        let rate = world.faults.silent;
        if world.random.chance(rate) {
            return Err(Error::unavailable("the outside does not answer"));
        }
        let name = name_of(&self.definition);
        let target = world.targets.entry(name.clone()).or_default();
        let (is_empty, has_key) = (target.rows.is_empty(), !self.definition.primary_key.is_empty());
        let is_new = !target.books.contains_key(&self.book_key());
        if is_new && self.writer.written && !is_empty && has_key {
            return Err(Error::conflict(format!("the entry of sink {name} is gone, but the table holds rows")));
        }
        let book = target.books.get(&self.book_key()).cloned().unwrap_or_default();
        let upto = if is_empty && has_key { 0 } else { book.upto };
        may_go_on(&Standing { upto: CommitId(upto), history: book.history, emptied_by: None })?;
        for ((store, _), book) in &mut target.books {
            book.epoch += u64::from(*store != self.writer.store);
        }
        let book = target.books.entry(self.book_key()).or_default();
        book.epoch += 1;
        self.epoch = book.epoch;
        self.history = book.history;
        if upto < book.upto {
            // Upserts into an empty table are right at any time; what was there is told all the same.
            (book.upto, book.history) = (0, None);
        }
        Ok(CommitId(book.upto))
    }

    fn history(&self) -> Option<u64> {
        self.history
    }

    fn look(&mut self, upto: CommitId) -> Result<()> {
        let name = name_of(&self.definition);
        let mut world = self.outside.world();
        let rate = world.faults.silent;
        if world.random.chance(rate) {
            return Err(Error::unavailable("the outside does not answer"));
        }
        let book = world.targets.get(&name).and_then(|target| target.books.get(&self.book_key()));
        self.check(&book.cloned().unwrap_or_default(), &name, upto)
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        // An error on the way leaves nothing.
        let changes = changes.collect::<Result<Vec<KindBatch>>>()?;
        let name = name_of(&self.definition);
        let mut world = self.outside.world();
        let (refused, unheard) = (world.faults.refused, world.faults.unheard);
        if world.random.chance(refused) {
            return Err(Error::unavailable("the outside refused the write"));
        }
        let is_unheard = world.random.chance(unheard);
        let target = world.targets.entry(name.clone()).or_default();
        let book = target.books.get(&self.book_key()).cloned().unwrap_or_default();
        self.check(&book, &name, from)?;
        // A table is taken over where it stands, too.
        assert!(upto >= from, "a write goes on, from {from} to {upto}");
        let mut rows = target.rows.clone();
        self.apply(&mut rows, &changes);
        target.rows = rows;
        target.writes += 1;
        let leaves_rows = leaves_rows(&changes);
        let has_rows = self.definition.primary_key.is_empty() || leaves_rows || self.history.is_some();
        let book = target.books.entry(self.book_key()).or_default();
        book.upto = upto.0;
        book.history = has_rows.then_some(self.writer.history);
        self.history = book.history;
        if is_unheard {
            return Err(Error::unavailable("the answer of the outside was lost"));
        }
        Ok(())
    }
}

/// Whether changes leave rows behind.
fn leaves_rows(changes: &[KindBatch]) -> bool {
    let stays = |kind: &RowKind| matches!(kind, RowKind::Insert | RowKind::UpdateAfter);
    changes.iter().any(|batch| batch.kinds.iter().any(stays))
}
