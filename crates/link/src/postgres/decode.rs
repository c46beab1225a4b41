//! Transactions of the stream become events.
//!
//! Many small transactions become one group, `Rows … Commit`; a large one becomes several `Rows`. What always holds: rows
//! of one table keep their order; a `Commit` stands only where a transaction ends; a transaction whose commit record begins
//! before a table's snapshot was taken (or before the position that the stream resumes at) leaves no rows, because they
//! are there already. PostgreSQL decides visibility in a slot's snapshot by the same comparison.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use gridhouse_base::batch::RowKind;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result};
use gridhouse_flow::connector::SourceEvent;

use super::binding::{Binding, Change};
use super::catalog::OutsideTable;
use super::cdc_options::{CdcOptions, Startup};
use super::gather::{
    BATCH_BYTES, BATCH_ROWS, Gather, Gathered, Origin, RowMeta, RowText, misfit_error, origins, shown_row,
};
use super::identity::{self, Described, Told};
use super::pgoutput::{self, Cell, Lsn, Message, OldRow, Relation, Tuple};
use super::publication::Publication;
use super::timeline::{Place, Timeline};
use super::types::{Fit, PgClass, readable};

/// Rows of a group of transactions at most: four full batches; the group ends at the next end of a transaction.
const GROUP_ROWS: usize = 4 * BATCH_ROWS;

/// Bytes of a group at most.
const GROUP_BYTES: usize = 4 * BATCH_BYTES;

/// A table of the stream.
pub(crate) struct CdcTable {
    /// The number that events name it by.
    pub id: u32,
    /// Its definition.
    pub definition: Arc<TableDef>,
    /// Its options.
    pub options: CdcOptions,
    /// Transactions whose commit record begins before this are in what the store holds.
    pub from: Place,
    /// Whether its contents must be delivered (first, or again).
    pub wants_contents: bool,
    /// Whether the store holds contents of it.
    pub has_contents: bool,
    /// What the stored contents are of; where that is known.
    pub contents_of: Option<Binding>,
    /// The outside tables that match; set when the stream connects.
    pub outside: Vec<OutsideTable>,
    /// The place that their catalog was read at, where contents were copied in this session: what the stream described before
    /// that is older.
    pub read_at: Lsn,
    /// Whether the server refused to copy its contents when that was last tried.
    pub was_refused: bool,
    /// Whether it was given up: the user must mend it, and the engine has it left out.
    pub failed: bool,
    gather: Gather,
    key: Vec<usize>,
}

impl CdcTable {
    /// A table of the stream; `from` is the position of the contents that the store holds.
    pub(crate) fn new(id: u32, definition: Arc<TableDef>, options: CdcOptions, from: Option<Place>) -> Result<Self> {
        let physical: Vec<usize> = definition.physical().collect();
        let key = definition.primary_key.iter().filter_map(|k| physical.iter().position(|p| p == k)).collect();
        Ok(Self {
            id,
            gather: Gather::new(&definition)?,
            key,
            options,
            from: from.unwrap_or_default(),
            wants_contents: from.is_none(),
            has_contents: from.is_some(),
            contents_of: None,
            outside: Vec::new(),
            read_at: Lsn(0),
            was_refused: false,
            failed: false,
            definition,
        })
    }

    /// How the outside tables that match stand now.
    pub(crate) fn binding(&self, publication: &Publication) -> Binding {
        Binding::of(&self.definition, &self.outside, publication)
    }

    /// Why the stored contents are outdated, where the outside tables stand as `now`.
    pub(crate) fn outdated(&self, now: &Binding, publication: &Publication) -> Option<Change> {
        self.contents_of.as_ref().and_then(|stored| stored.change(now, publication))
    }

    /// Whether contents of it are ever read; else it holds what the stream has told since it began, and nothing more.
    pub(crate) fn reads_contents(&self) -> bool {
        self.options.startup == Startup::Initial
    }

    /// The error of a table that is given up, with what becomes of it then where contents are never read.
    fn given_up(&self, error: Error) -> Error {
        if self.reads_contents() {
            return error;
        }
        let then = format!(
            "{} then goes on with the changes from then on: its 'scan.startup.mode' asks for no contents, so what changed until \
             then is lost for it, and its rows stay",
            self.definition.path
        );
        let hint = error.remedy().map_or_else(|| then.clone(), |remedy| format!("{remedy}; {then}"));
        error.hint(hint)
    }

    /// The outside's name, or the pattern of names, for messages.
    pub(crate) fn names(&self) -> String {
        format!("{}.{}", self.options.schemas, self.options.tables)
    }

    /// The name of the declared column at this place.
    fn column(&self, place: usize) -> &str {
        self.definition.physical().nth(place).map_or("?", |i| &self.definition.schema.columns[i].name)
    }

    /// What the columns of the key are in a relation whose columns are bound by `origins`.
    fn key_attributes(&self, origins: &[Origin]) -> Vec<Option<usize>> {
        let attribute = |k: &usize| if let Origin::Attribute(a) = origins[*k] { Some(a) } else { None };
        self.key.iter().map(attribute).collect()
    }

    /// Has the contents delivered again, because the stream does not tell what became of them; what the engine is to put on
    /// record for that before the transaction ends. Where contents are never read, they are not.
    pub(crate) fn want_contents(&mut self) -> Option<SourceEvent> {
        let asked = std::mem::replace(&mut self.wants_contents, true);
        (!asked && self.reads_contents()).then_some(SourceEvent::Outdated { table: self.id })
    }
}

/// A relation and the tables that take its rows.
struct Known {
    relation: Relation,
    targets: Vec<Bound>,
    /// Its leaves, where it is the root of partitions.
    leaves: Described,
}

/// A table that takes the rows of a relation, or why it cannot. That is told with the first row that it is to take: a stream
/// that resumes also passes what a relation was in between.
struct Bound {
    index: usize,
    origins: Result<Vec<Origin>>,
    /// What the columns of the declared key are in the relation.
    key: Vec<Option<usize>>,
    /// What old rows tell.
    told: Told,
}

struct Transaction {
    commit: Lsn,
    time_micros: i64,
}

/// The decoder of one stream.
pub(crate) struct Decoder {
    /// The tables.
    pub tables: Vec<CdcTable>,
    /// Events that wait to be sent, in order.
    pub events: VecDeque<SourceEvent>,
    /// The place up to which everything has been decoded; moves at ends of transactions.
    pub reached: Lsn,
    /// Transactions whose commit record begins before this were delivered before.
    pub resume: Lsn,
    /// The timeline that is read.
    pub timeline: Option<Timeline>,
    /// When bytes were last taken from the connection, microseconds since the epoch.
    pub received_micros: i64,
    database: String,
    relations: HashMap<u32, Known>,
    /// The relations that were described last, one after the other and right before what comes next; 0 where it was something else.
    described: [u32; 2],
    old: Tuple,
    new: Tuple,
    transaction: Option<Transaction>,
    newest_micros: i64,
    group_rows: usize,
    group_bytes: usize,
    group_open: bool,
}

impl Decoder {
    /// A decoder without tables.
    pub(crate) fn new(database: String) -> Self {
        Self {
            tables: Vec::new(),
            events: VecDeque::new(),
            reached: Lsn(0),
            resume: Lsn(0),
            timeline: None,
            received_micros: 0,
            database,
            relations: HashMap::new(),
            described: [0; 2],
            old: Tuple::default(),
            new: Tuple::default(),
            transaction: None,
            newest_micros: 0,
            group_rows: 0,
            group_bytes: 0,
            group_open: false,
        }
    }

    /// The place `lsn` of the timeline that is read.
    pub(crate) fn place(&self, lsn: Lsn) -> Place {
        Place { lsn, timeline: self.timeline }
    }

    /// Whether a transaction has begun and not ended.
    pub(crate) fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether the group is as large as it may become.
    pub(crate) fn group_is_full(&self) -> bool {
        self.group_rows >= GROUP_ROWS || self.group_bytes >= GROUP_BYTES
    }

    /// Forgets what was gathered since the last `Commit`; a new connection resumes at `resume`. What is told once stays: that
    /// a table is given up, and that its contents are wanted.
    pub(crate) fn reset(&mut self, resume: Lsn) {
        for table in &mut self.tables {
            table.gather.clear();
            table.read_at = Lsn(0);
        }
        self.described = [0; 2];
        let told_once = |event: &_| matches!(event, SourceEvent::TableFailed { .. } | SourceEvent::Outdated { .. });
        self.events.retain(told_once);
        self.relations.clear();
        self.transaction = None;
        (self.group_rows, self.group_bytes, self.group_open) = (0, 0, false);
        (self.reached, self.resume) = (resume, resume);
    }

    /// Binds the relations that are known already again, after tables came or left.
    pub(crate) fn rebind(&mut self) {
        let relations: Vec<u32> = self.relations.keys().copied().collect();
        relations.into_iter().for_each(|oid| self.bind(oid));
    }

    /// Gives up the table at `index`: what was gathered of it is void.
    pub(crate) fn fail_table(&mut self, index: usize, error: Error) {
        let table = &mut self.tables[index];
        let error = table.given_up(error);
        (table.failed, table.wants_contents) = (true, false);
        table.gather.clear();
        self.events.push_back(SourceEvent::TableFailed { table: table.id, error });
    }

    /// Decodes one message of the plug-in.
    ///
    /// A value or a changed definition that does not fit is an event of its table.
    ///
    /// # Errors
    /// `Corrupt` for damaged bytes.
    pub(crate) fn message(&mut self, bytes: &[u8]) -> Result<()> {
        let (mut old, mut new) = (std::mem::take(&mut self.old), std::mem::take(&mut self.new));
        let result =
            pgoutput::message(bytes, &mut old, &mut new).and_then(|message| self.take(message, bytes, &old, &new));
        (self.old, self.new) = (old, new);
        result
    }

    fn take(&mut self, message: Message, bytes: &[u8], old: &Tuple, new: &Tuple) -> Result<()> {
        let described = match message {
            Message::Relation(_) | Message::Ignored => self.described,
            _ => std::mem::take(&mut self.described),
        };
        if let Message::Insert { oid } | Message::Update { oid, .. } | Message::Delete { oid, .. } = message
            && described[0] == oid
            && described[1] != oid
        {
            self.adopt(described)?;
        }
        match message {
            Message::Begin { commit, time_micros } => self.transaction = Some(Transaction { commit, time_micros }),
            Message::Commit { end } => {
                let transaction = self.transaction.take().ok_or_else(outside_transaction)?;
                self.reached = self.reached.max(end);
                self.newest_micros = transaction.time_micros;
            }
            Message::Relation(relation) => {
                self.described = [described[1], relation.oid];
                self.learn(relation);
            }
            Message::Insert { oid } => self.change(oid, bytes, None, Some(new))?,
            Message::Update { oid, old: OldRow::Absent } => self.change(oid, bytes, None, Some(new))?,
            Message::Update { oid, old: told } => self.change(oid, bytes, Some((old, told)), Some(new))?,
            Message::Delete { oid, old: told } => self.change(oid, bytes, Some((old, told)), None)?,
            Message::Truncate { oids } => self.truncate(&oids)?,
            Message::Ignored => {}
        }
        Ok(())
    }

    /// Ends the group: what was gathered, and a `Commit` where there is anything. Only between transactions.
    pub(crate) fn end_group(&mut self) {
        debug_assert!(!self.in_transaction(), "a group ends where a transaction ends");
        for table in &mut self.tables {
            if let Some(batch) = table.gather.finish() {
                self.events.push_back(rows(table.id, batch));
            }
        }
        if std::mem::take(&mut self.group_open) {
            self.events.push_back(SourceEvent::Commit {
                position: self.place(self.reached).position(),
                event_time_micros: self.newest_micros,
                received_micros: self.received_micros,
            });
        }
        (self.group_rows, self.group_bytes) = (0, 0);
    }

    fn learn(&mut self, relation: Relation) {
        let oid = relation.oid;
        match self.relations.get_mut(&oid) {
            Some(known) => known.relation = relation,
            None => {
                let known = Known { relation, targets: Vec::new(), leaves: Described::default() };
                self.relations.insert(oid, known);
            }
        }
        self.bind(oid);
    }

    /// A change of a root comes right behind the description of the root and of the leaf that it is of: takes the leaf in.
    fn adopt(&mut self, [root, leaf]: [u32; 2]) -> Result<()> {
        let commit = self.transaction.as_ref().ok_or_else(outside_transaction)?.commit;
        if let [Some(known), Some(leaf)] = self.relations.get_disjoint_mut([&root, &leaf]) {
            known.leaves.put(&leaf.relation, commit);
            self.bind(root);
        }
        Ok(())
    }

    /// Binds the relation `oid` to the tables that take its rows.
    fn bind(&mut self, oid: u32) {
        let Some(Known { relation, targets, leaves }) = self.relations.get_mut(&oid) else { return };
        targets.clear();
        for (index, table) in self.tables.iter().enumerate().filter(|(_, table)| !table.failed) {
            let Some(outside) = table.outside.iter().find(|outside| outside.oid == oid) else { continue };
            let origins = bind(table, relation);
            let key = origins.as_ref().map_or_else(|_| Vec::new(), |origins| table.key_attributes(origins));
            let told = match outside.partitioned {
                true => Told::by_holders(leaves.holders(outside, table.read_at), relation, &key),
                false => Told::by_relation(relation, &key),
            };
            targets.push(Bound { index, origins, key, told });
        }
    }

    fn change(&mut self, oid: u32, bytes: &[u8], old: Option<(&Tuple, OldRow)>, new: Option<&Tuple>) -> Result<()> {
        let transaction = self.transaction.as_ref().ok_or_else(outside_transaction)?;
        let known = self
            .relations
            .get(&oid)
            .ok_or_else(|| Error::corrupt(format!("a change of the unknown relation {oid}")))?;
        if transaction.commit < self.resume {
            return Ok(());
        }
        let meta = RowMeta {
            table: &known.relation.name,
            schema: &known.relation.schema,
            database: &self.database,
            commit_micros: transaction.time_micros,
        };
        let mut failed = Vec::new();
        for Bound { index, origins, key, told } in &known.targets {
            let table = &mut self.tables[*index];
            if table.failed || transaction.commit < table.from.lsn {
                continue;
            }
            let old = old.map(|(tuple, marked)| (tuple, told.of(marked)));
            let pushed = match origins {
                Ok(_)
                    if !is_insert(bytes)
                        && let Some(place) = told.lacks(key, old) =>
                {
                    Err(Refusal::OldKeyMissing(table.key[place]).locate(table, known))
                }
                Ok(origins) => push_change(table, (known, origins), bytes, old, new, meta, &mut self.events)
                    .map_err(|error| error.locate(table, known)),
                Err(error) => Err(error.again()),
            };
            self.group_open = true;
            let rows = match pushed {
                Ok(rows) => rows,
                Err(error) => {
                    failed.push((*index, error));
                    continue;
                }
            };
            if table.gather.is_full() {
                self.events.extend(table.gather.finish().map(|batch| self::rows(table.id, batch)));
            }
            self.group_rows += rows;
            self.group_bytes += bytes.len();
        }
        failed.into_iter().for_each(|(index, error)| self.fail_table(index, error));
        Ok(())
    }

    fn truncate(&mut self, oids: &[u32]) -> Result<()> {
        let transaction = self.transaction.as_ref().ok_or_else(outside_transaction)?;
        let commit = transaction.commit;
        let mut failed = Vec::new();
        for oid in oids {
            let Some(known) = self.relations.get(oid) else { continue };
            for Bound { index, .. } in &known.targets {
                let table = &mut self.tables[*index];
                if table.failed || commit < self.resume || commit < table.from.lsn {
                    continue;
                }
                self.group_open = true;
                self.events.extend(table.gather.finish().map(|batch| rows(table.id, batch)));
                match table.outside.len() {
                    1 => self.events.push_back(SourceEvent::Truncate { table: table.id }),
                    // The others' rows stay: only comparing the contents tells which.
                    _ if table.reads_contents() => self.events.extend(table.want_contents()),
                    _ => failed.push((*index, truncated_among(table, &known.relation))),
                }
            }
        }
        failed.into_iter().for_each(|(index, error)| self.fail_table(index, error));
        Ok(())
    }
}

fn outside_transaction() -> Error {
    Error::corrupt("a change outside a transaction in the replication stream")
}

fn rows(table: u32, (columns, batch): Gathered) -> SourceEvent {
    SourceEvent::Rows { table, columns, batch }
}

/// Why a change could not be taken.
enum Refusal {
    Misfit((usize, super::text::Misfit)),
    OldRowMissing,
    /// The place of the key's column among the declared ones.
    OldKeyMissing(usize),
    /// The place of the column among the declared ones, whose large value an update leaves as it was and does not tell, where the
    /// row may not be here.
    ValueMissing(usize),
}

impl Refusal {
    fn locate(self, table: &CdcTable, Known { relation, leaves, .. }: &Known) -> Error {
        let name = format!("{}.{}", relation.schema, relation.name);
        let outside = table.outside.iter().find(|outside| outside.oid == relation.oid && outside.partitioned);
        let holders = outside.map(|root| leaves.holders(root, table.read_at));
        if let (Self::OldRowMissing | Self::OldKeyMissing(_), Some(root), Some(holders)) = (&self, outside, &holders)
            && let Err(error) = identity::check(&table.definition, root, holders.clone())
        {
            let remedy = error.remedy().unwrap_or_default().to_owned();
            return error.hint(format!("{remedy}; then START JOB"));
        }
        let full = match (outside, holders) {
            (Some(root), Some(holders)) => identity::full_where_lacking(root, holders),
            _ => identity::full(&relation.schema, &relation.name),
        };
        let full = format!("{full}; then START JOB");
        match self {
            Self::Misfit(at) => misfit_error(&table.definition, &name, at),
            Self::OldRowMissing => Error::invalid(format!("table {name} tells no whole old rows any more")).hint(full),
            Self::OldKeyMissing(key) => Error::invalid(format!(
                "the declared key column '{}' is not told by deletes and updates any more: table {name} has another \
                 replica identity",
                table.column(key)
            ))
            .hint(full),
            Self::ValueMissing(at) => Error::invalid(format!(
                "table {name}, column {}: an update does not tell its large value, which it leaves unchanged, and contents are not read",
                table.column(at)
            ))
            .hint(full),
        }
    }
}

/// The error of one of several tables that was truncated, where contents are not read.
fn truncated_among(table: &CdcTable, relation: &Relation) -> Error {
    Error::conflict(format!(
        "table {}.{} was truncated, one of {} that match {}; which rows came from it is not known, since contents are not read",
        relation.schema,
        relation.name,
        table.outside.len(),
        table.names()
    ))
    .hint("delete here the rows that came from it; then START JOB")
}

/// Adds one change of the outside to a table; how many rows it became.
fn push_change(
    table: &mut CdcTable,
    (known, origins): (&Known, &[Origin]),
    bytes: &[u8],
    old: Option<(&Tuple, OldRow)>,
    new: Option<&Tuple>,
    meta: RowMeta<'_>,
    events: &mut VecDeque<SourceEvent>,
) -> Result<usize, Refusal> {
    let id = table.id;
    let gather = &mut table.gather;
    let (definition, key, dead_letters) = (&table.definition, &table.key, table.options.dead_letters);
    let mut push = |kind: RowKind, row: RowText<'_>, known| {
        let refused = match gather.push(kind, origins, row, meta, known) {
            Ok(finished) => {
                events.extend(finished.map(|batch| rows(id, batch)));
                return Ok(1);
            }
            Err(refused) => refused,
        };
        if !dead_letters {
            return Err(Refusal::Misfit((refused.column, refused.misfit)));
        }
        events.extend(refused.finished.map(|batch| rows(id, batch)));
        if matches!(kind, RowKind::Insert | RowKind::UpdateAfter) {
            let name = format!("{}.{}", meta.schema, meta.table);
            let error = misfit_error(definition, &name, (refused.column, refused.misfit));
            events.push_back(SourceEvent::Rejected { table: id, row: shown_row(definition, origins, row), error });
        }
        // The version before has gone at the source, whatever became of the new one. A row that never fitted was never
        // here, and without a key its going is none.
        if !key.is_empty() && matches!(kind, RowKind::UpdateAfter | RowKind::Delete) {
            let cells = key_alone(key, origins, row.cells);
            let old = RowText { cells: &cells, ..row };
            let finished = match gather.push(RowKind::Delete, origins, old, meta, None) {
                Ok(finished) => finished,
                Err(refused) => refused.finished,
            };
            events.extend(finished.map(|batch| rows(id, batch)));
        }
        Ok(1)
    };
    let old_row = old.map(|(tuple, _)| RowText { bytes, cells: &tuple.cells, fallback: None });
    let whole = matches!(old, Some((_, OldRow::Whole)));
    if table.key.is_empty() {
        return match (old_row, new) {
            (None, Some(new)) if is_insert(bytes) => push(RowKind::Insert, text(bytes, new, None), None),
            (Some(old), None) if whole => push(RowKind::Delete, old, None),
            (Some(old), Some(new)) if whole => {
                push(RowKind::UpdateBefore, old, None)?;
                push(RowKind::UpdateAfter, text(bytes, new, Some(old.cells)), None)?;
                Ok(2)
            }
            _ => Err(Refusal::OldRowMissing),
        };
    }
    let Some(new) = new else {
        return push(RowKind::Delete, old_row.ok_or(Refusal::OldRowMissing)?, None);
    };
    let mut count = 0;
    let kind = if is_insert(bytes) { RowKind::Insert } else { RowKind::UpdateAfter };
    let new = text(bytes, new, if whole { old_row.map(|old| old.cells) } else { None });
    let mut moved = false;
    if let Some(old) = old_row {
        moved = table.key.iter().any(|&k| match origins[k] {
            Origin::Attribute(a) => {
                matches!((old.value(a), new.value(a)), (Some(before), Some(after)) if before != after)
            }
            _ => false,
        });
        if moved {
            count += push(RowKind::Delete, old, None)?;
        }
    }
    let attribute = |origin: &Origin| if let Origin::Attribute(a) = origin { Some(*a) } else { None };
    let unknown = new.cells.contains(&Cell::Unchanged)
        && origins.iter().filter_map(attribute).any(|attribute| new.value(attribute).is_none());
    if !unknown {
        return Ok(count + push(if moved { RowKind::Insert } else { kind }, new, None)?);
    }
    // A key that is itself an unchanged large value is told by the old row.
    let mut cells = new.cells.to_vec();
    for &k in &table.key {
        if let (Origin::Attribute(a), Some(old)) = (origins[k], old_row)
            && cells.get(a) == Some(&Cell::Unchanged)
            && let Some(told) = old.cells.get(a)
        {
            cells[a] = told.clone();
        }
    }
    let with_key = RowText { cells: &cells, ..new };
    let untold = (0..origins.len()).find(|&i| attribute(&origins[i]).is_some_and(|a| with_key.value(a).is_none()));
    if let Some(untold) = untold
        && table.options.startup != Startup::Initial
    {
        // The row may be one that was there before the stream began, and no contents bring the value.
        if !dead_letters {
            return Err(Refusal::ValueMissing(untold));
        }
        if !moved {
            let cells = key_alone(key, origins, with_key.cells);
            count += push(RowKind::Delete, RowText { cells: &cells, ..new }, None)?;
        }
        let error = Refusal::ValueMissing(untold).locate(table, known);
        events.push_back(SourceEvent::Rejected { table: id, row: shown_row(definition, origins, with_key), error });
        return Ok(count + 1);
    }
    if moved {
        // The store keeps the large values under the old key; under the new one nobody knows them. The contents are read
        // again and compared, which brings the row.
        events.extend(table.want_contents());
        return Ok(count);
    }
    let known = (0..origins.len()).filter(|&i| attribute(&origins[i]).is_none_or(|a| with_key.value(a).is_some()));
    Ok(count + push(kind, with_key, Some(known.collect()))?)
}

/// The cells of a row's key; all others are NULL.
fn key_alone(key: &[usize], origins: &[Origin], cells: &[Cell]) -> Vec<Cell> {
    let mut alone = vec![Cell::Null; cells.len()];
    for &k in key {
        if let Origin::Attribute(a) = origins[k]
            && let Some(cell) = cells.get(a)
        {
            alone[a] = cell.clone();
        }
    }
    alone
}

fn text<'a>(bytes: &'a [u8], tuple: &'a Tuple, fallback: Option<&'a [Cell]>) -> RowText<'a> {
    RowText { bytes, cells: &tuple.cells, fallback }
}

fn is_insert(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'I')
}

/// Binds a relation's columns to a table's, checking the types of built-in ones again: they may have changed.
fn bind(table: &CdcTable, relation: &Relation) -> Result<Vec<Origin>> {
    let name = format!("{}.{}", relation.schema, relation.name);
    let names: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
    let origins = origins(&table.definition, &name, &names)?;
    for (i, origin) in table.definition.physical().zip(&origins) {
        let Origin::Attribute(attribute) = *origin else { continue };
        let (column, kind) = (&relation.columns[attribute], &table.definition.schema.columns[i].sql_type.kind);
        let Some(class) = PgClass::of_builtin(column.type_oid) else { continue };
        if readable(&class, kind) == Fit::Refused {
            return Err(Error::invalid(format!(
                "column {name}.{} has a new type, which cannot be read as {kind}",
                column.name
            ))
            .hint(format!("declare it as {} in {}", class.suggestion(), table.definition.path)));
        }
    }
    Ok(origins)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::hosts::HostMap;
    use gridhouse_base::random::Random;
    use gridhouse_base::table::{ColumnKind, ObjectPath};
    use gridhouse_base::{Column, Schema, TypeKind};

    /// A decoder with one table `public.t (id int, v text)`, with or without a key.
    pub(crate) fn decoder(key: Vec<usize>) -> Decoder {
        let options = [
            ("hostname", "h"),
            ("username", "u"),
            ("database-name", "d"),
            ("schema-name", "public"),
            ("table-name", "t"),
        ];
        let definition = Arc::new(TableDef {
            path: ObjectPath::new("c", "d", "t"),
            column_kinds: vec![ColumnKind::Physical; 2],
            schema: Schema::new(vec![
                Column::new("id", TypeKind::Int.nullable()),
                Column::new("v", TypeKind::STRING.nullable()),
            ]),
            primary_key: key,
            partitioned_by: vec![],
            watermark: None,
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            comment: None,
        });
        let options = CdcOptions::read(&definition, &HostMap::default(), &mut Vec::new()).unwrap();
        let mut table = CdcTable::new(1, definition, options, Some(Place::default())).unwrap();
        table.outside.push(OutsideTable {
            oid: 7,
            schema: "public".into(),
            name: "t".into(),
            file: 1,
            partitioned: false,
            holders: Vec::new(),
            owned: true,
            readable: true,
            reachable: true,
            filtered: false,
            columns: Vec::new(),
            primary_key: Vec::new(),
        });
        let mut decoder = Decoder::new("d".into());
        decoder.tables.push(table);
        decoder
    }

    /// The messages of a transaction: its begin, the relation, an insert, an update, a delete, a truncate, its commit.
    pub(crate) fn transaction() -> [Vec<u8>; 7] {
        let begin = [b"B".as_slice(), &100_u64.to_be_bytes(), &[0; 12]].concat();
        let commit = [b"C\0".as_slice(), &100_u64.to_be_bytes(), &120_u64.to_be_bytes(), &[0; 8]].concat();
        let relation =
            b"R\0\0\0\x07public\0t\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0v\0\0\0\0\x19\xff\xff\xff\xff".to_vec();
        let insert = b"I\0\0\0\x07N\0\x02t\0\0\0\x011t\0\0\0\x01a".to_vec();
        let update = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u".to_vec();
        let delete = b"D\0\0\0\x07O\0\x02t\0\0\0\x012t\0\0\0\x01a".to_vec();
        let truncate = b"T\0\0\0\x01\0\0\0\0\x07".to_vec();
        [begin, relation, insert, update, delete, truncate, commit]
    }

    #[test]
    fn a_transaction_becomes_rows_and_one_commit() {
        let mut decoder = decoder(vec![0]);
        for message in transaction() {
            decoder.message(&message).unwrap();
        }
        decoder.end_group();
        let names: Vec<&str> = decoder
            .events
            .iter()
            .map(|event| match event {
                SourceEvent::Rows { .. } => "rows",
                SourceEvent::Truncate { .. } => "truncate",
                SourceEvent::Outdated { .. } => "outdated",
                SourceEvent::Commit { position, .. } if *position == decoder.place(Lsn(120)).position() => "commit",
                _ => "other",
            })
            .collect();
        assert_eq!(names, ["outdated", "rows", "truncate", "commit"], "on record before the commit");
        assert!(decoder.tables[0].wants_contents, "a moved row with an unknown large value asks for the contents");
        // The same transaction again, as after a restart: it is there already.
        decoder.events.clear();
        decoder.reset(Lsn(120));
        transaction().iter().for_each(|message| decoder.message(message).unwrap());
        decoder.end_group();
        assert!(decoder.events.is_empty());
        // What a table has to say is said though the connection is lost before.
        decoder.fail_table(0, Error::invalid("it does not fit"));
        decoder.reset(Lsn(120));
        assert!(matches!(decoder.events.make_contiguous(), [SourceEvent::TableFailed { table: 1, .. }]));
    }

    #[test]
    fn damaged_messages_never_panic() {
        let mut random = Random::new(11);
        for round in 0..3_000 {
            let mut decoder = decoder(if round % 2 == 0 { vec![0] } else { vec![] });
            decoder.tables[0].outside[0].partitioned = round % 3 == 0;
            let mut messages = transaction().to_vec();
            let leaf =
                b"R\0\0\0\x08public\0l\0d\0\x02\0v\0\0\0\0\x19\xff\xff\xff\xff\x01id\0\0\0\0\x17\xff\xff\xff\xff";
            messages.insert(2, leaf.to_vec());
            for mut message in messages {
                if random.chance(0.4) {
                    let at = random.below(message.len() as u64) as usize;
                    message[at] = random.bits() as u8;
                }
                let _ = decoder.message(&message);
            }
            if !decoder.in_transaction() {
                decoder.end_group();
            }
        }
    }
}
