//! The source's connector. It keeps what the real one promises: transactions whole and in order from the position on where the
//! engine says that it stands, first contents under a snapshot, nothing at or before a table's snapshot again. What the
//! outside may do, it does: connections break within a transaction, which then comes again from its beginning; snapshots break
//! off; several transactions end in one commit. The engine's word is checked against the slot: who stands before what it has
//! acknowledged has lost something.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result, RowKind, SourceId};
use gridhouse_flow::connector::{
    ChangelogMode, SourceConnector, SourceDescription, SourceEvent, SourceEvents, SourcePosition, SourceStream,
    SourceTable,
};

use super::source::{Change, key_column};
use super::{NULL, Outside, Row, World, batch_of};

/// The most rows that one event of a snapshot brings: few, so that a snapshot takes several.
const SNAPSHOT_ROWS: usize = 7;

/// A stream that somebody listens to.
pub(super) struct Running {
    /// Tells it from those that were there before it.
    number: u64,
    source: SourceId,
    events: SourceEvents,
    tables: Vec<Table>,
    /// Transactions up to here have been sent, or lie in the queue.
    sent: u64,
    /// What is to be sent next.
    queue: VecDeque<SourceEvent>,
    /// It has no position yet: it begins where its first snapshot does.
    is_new: bool,
}

struct Table {
    id: u32,
    name: &'static str,
    definition: Arc<TableDef>,
    /// Changes at or before this are in its snapshot; `None`: that has yet to be sent.
    from: Option<u64>,
}

impl Table {
    fn of(table: &SourceTable) -> Self {
        Self {
            id: table.id,
            name: name_of(&table.definition),
            definition: table.definition.clone(),
            from: table.snapshot.as_deref().map(decode),
        }
    }
}

fn name_of(definition: &TableDef) -> &'static str {
    match definition.options.get("table").map(String::as_str) {
        Some("customers") => "customers",
        Some("orders") => "orders",
        _ => "readings",
    }
}

fn encode(position: u64) -> SourcePosition {
    position.to_be_bytes().to_vec()
}

/// A position as a number.
///
/// # Panics
/// If it is none of ours.
pub fn decode(position: &[u8]) -> u64 {
    u64::from_be_bytes(position.try_into().expect("positions are eight bytes"))
}

impl SourceConnector for Outside {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let is_keyed = !definition.primary_key.is_empty();
        Ok(SourceDescription {
            stream_key: "database".into(),
            table_key: name_of(definition).into(),
            shared: true,
            bounded: false,
            mode: if is_keyed { ChangelogMode::Upsert } else { ChangelogMode::InsertOnly },
            notices: vec![],
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: &str,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let mut world = self.world();
        let mut tables: Vec<Table> = tables.iter().map(Table::of).collect();
        let (confirmed, end) = (world.database.confirmed, world.database.end);
        let mut queue = VecDeque::new();
        let mut position = position.as_deref().map(decode);
        if position.unwrap_or(0) < confirmed {
            assert!(
                world.forgives_loss,
                "the engine goes on at {position:?} but had acknowledged {confirmed}: what lies between is lost"
            );
            world.missed += 1;
            let missed = tables.iter().filter(|table| table.from.is_some()).map(|table| table.id).collect();
            queue.push_back(SourceEvent::Missed { tables: missed });
            tables.iter_mut().for_each(|table| table.from = None);
            position = None;
        }
        let sent = position.unwrap_or(end);
        assert!(sent <= end, "the engine stands at {sent}, beyond the end of the log, {end}");
        // A slot has one reader; whoever was there before is cut off.
        world.streams.retain(|stream| stream.source != source);
        world.starts += 1;
        let number = world.starts;
        world.streams.push(Running { number, source, events, tables, sent, queue, is_new: position.is_none() });
        Ok(Box::new(Handle { outside: self.clone(), number }))
    }
}

struct Handle {
    outside: Outside,
    number: u64,
}

impl SourceStream for Handle {
    fn add_table(&self, table: SourceTable) {
        for stream in self.outside.world().streams.iter_mut().filter(|stream| stream.number == self.number) {
            stream.tables.retain(|known| known.id != table.id);
            stream.tables.push(Table::of(&table));
        }
    }

    fn remove_table(&self, table: u32) {
        for stream in self.outside.world().streams.iter_mut().filter(|stream| stream.number == self.number) {
            stream.tables.retain(|known| known.id != table);
        }
    }

    fn acknowledge(&self, position: SourcePosition) {
        let mut world = self.outside.world();
        let position = decode(&position);
        // Who has been cut off is not heard.
        let Some(stream) = world.streams.iter().find(|stream| stream.number == self.number) else { return };
        // What a snapshot shows need not have come through the stream; the oldest one counts.
        let shown = stream.tables.iter().filter_map(|table| table.from).min().unwrap_or(0);
        let given = stream.sent.max(shown).max(world.database.confirmed);
        assert!(position <= given, "{position} is acknowledged, but only {given} was given");
        world.database.confirmed = world.database.confirmed.max(position);
    }

    fn stop(self: Box<Self>) {}

    fn forget(self: Box<Self>) -> Result<()> {
        self.outside.world().database.confirmed = 0;
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let number = self.number;
        self.outside.world().streams.retain(|stream| stream.number != number);
    }
}

impl World {
    /// The streams send up to `count` events, as far as the engine has room for them; gives how many went.
    pub fn send(&mut self, count: u64) -> u64 {
        let mut sent = 0;
        let mut streams = std::mem::take(&mut self.streams);
        for stream in &mut streams {
            while sent < count {
                let Some(event) = stream.queue.pop_front().or_else(|| stream.next(self)) else { break };
                match stream.events.try_send((stream.source, event)) {
                    Ok(()) => sent += 1,
                    Err(TrySendError::Full((_, event))) => {
                        stream.queue.push_front(event);
                        break;
                    }
                    // The process is gone; so is the stream, as soon as that is noticed.
                    Err(TrySendError::Disconnected(_)) => break,
                }
            }
        }
        self.streams = streams;
        sent
    }

    /// The position up to which everything has been handed over, where that is one for all tables.
    pub fn delivered(&self) -> Option<u64> {
        let stream = self.streams.first()?;
        let is_whole = stream.tables.iter().all(|table| table.from.is_some_and(|from| from <= stream.sent));
        (is_whole && stream.queue.is_empty()).then_some(stream.sent)
    }
}

impl Running {
    /// Lays out what comes next and gives its first event, if anything is to come.
    fn next(&mut self, world: &mut World) -> Option<SourceEvent> {
        if self.tables.is_empty() {
            return None;
        }
        if let Some(i) = self.tables.iter().position(|table| table.from.is_none()) {
            self.lay_out_snapshot(i, world);
            return self.queue.pop_front();
        }
        self.lay_out_transactions(world);
        if self.queue.is_empty() && self.sent < world.database.end {
            self.sent = world.database.end;
            self.queue.push_back(SourceEvent::Idle { position: encode(self.sent) });
        }
        self.queue.pop_front()
    }

    fn lay_out_snapshot(&mut self, i: usize, world: &mut World) {
        let at = world.database.end;
        let table = &mut self.tables[i];
        let rows: Vec<(RowKind, Row)> =
            world.database.now.rows(table.name).into_iter().map(|row| (RowKind::Insert, row)).collect();
        let id = table.id;
        let pieces = || rows.chunks(SNAPSHOT_ROWS).map(|rows| batch_of(&table.definition.schema, rows));
        let snapshot = |batch| SourceEvent::SnapshotRows { table: id, batch };
        if world.random.chance(world.faults.aborted) {
            self.queue.extend(pieces().take(1).map(snapshot));
            self.queue.push_back(SourceEvent::SnapshotAborted { table: id });
        }
        self.queue.extend(pieces().map(snapshot));
        self.queue.push_back(SourceEvent::SnapshotDone { table: id, position: encode(at) });
        table.from = Some(at);
        if std::mem::take(&mut self.is_new) {
            self.sent = at;
        }
    }

    /// One transaction, or two in one commit; or the first events of one, and then the connection breaks.
    fn lay_out_transactions(&mut self, world: &mut World) {
        let first = world.database.log.partition_point(|transaction| transaction.position <= self.sent);
        let count = if world.random.chance(0.2) { 2 } else { 1 };
        let transactions: Vec<_> = world.database.log.iter().skip(first).take(count).cloned().collect();
        let Some(last) = transactions.last().map(|transaction| transaction.position) else { return };
        let mut events = Vec::new();
        for transaction in &transactions {
            for change in &transaction.changes {
                events.extend(self.events_of(transaction.position, change, world));
            }
        }
        if world.random.chance(world.faults.cut) {
            events.truncate(world.random.below(events.len() as u64 + 1) as usize);
            self.queue.extend(events);
            self.queue.push_back(SourceEvent::Waiting { error: Error::unavailable("the connection broke") });
            self.queue.push_back(SourceEvent::Connected);
            return;
        }
        self.queue.extend(events);
        // Clocks differ between machines; nothing depends on this one.
        let (event_time_micros, received_micros) = (1_699_999_999_000_000, 1_699_999_999_500_000);
        self.queue.push_back(SourceEvent::Commit { position: encode(last), event_time_micros, received_micros });
        self.sent = last;
    }

    /// What a change means for the tables of this stream.
    fn events_of(&self, position: u64, change: &Change, world: &mut World) -> Vec<SourceEvent> {
        let (Change::Put { table: name, .. } | Change::Remove { table: name, .. } | Change::Truncate { table: name }) =
            change;
        let concerned = |table: &&Table| table.name == *name && table.from.is_some_and(|from| from < position);
        let mut events = Vec::new();
        for table in self.tables.iter().filter(concerned) {
            let row = match change {
                Change::Truncate { .. } => {
                    events.push(SourceEvent::Truncate { table: table.id });
                    continue;
                }
                Change::Put { row, is_new, .. } => {
                    (if *is_new { RowKind::Insert } else { RowKind::UpdateAfter }, row.clone())
                }
                // Of a row that goes the outside may tell its key alone.
                Change::Remove { row, .. } if world.random.chance(0.5) => {
                    let key = key_column(name);
                    let only = |(c, text): (usize, &String)| if c == key { text.clone() } else { NULL.to_owned() };
                    (RowKind::Delete, row.iter().enumerate().map(only).collect())
                }
                Change::Remove { row, .. } => (RowKind::Delete, row.clone()),
            };
            let batch = batch_of(&table.definition.schema, &[row]);
            events.push(SourceEvent::Rows { table: table.id, columns: None, batch });
        }
        events
    }
}
