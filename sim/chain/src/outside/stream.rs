//! The source's connector. It keeps what the real one promises: transactions whole and in order from the position on where the
//! engine says that it stands, first contents under a snapshot, nothing at or before a table's snapshot again. What the
//! outside may do, it does: connections break within a transaction, which then comes again from its beginning; snapshots break
//! off; several transactions end in one commit; contents are outdated and read again, some time later or at the next connection;
//! slots are lost; a table or the stream cannot go on without the user. The engine's word is checked against the slot: who stands
//! before what it has acknowledged has lost something.

use std::collections::VecDeque;
use std::sync::mpsc::TrySendError;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, Result, RowKind, SourceId};
use gridhouse_flow::connector::{
    ChangelogMode, SourceConnector, SourceDescription, SourceEvent, SourceEvents, SourcePosition, SourceStream,
    SourceTable, StreamPlace,
};

use super::changes::{Table, name_of, rejected};
use super::source::{Database, KEYED};
use super::{Outside, Row, World, batch_of, is_fit};

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
    /// It cannot go on without the user.
    has_failed: bool,
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
        _: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let mut world = self.world();
        let tables: Vec<Table> = tables.iter().map(Table::of).collect();
        let Database { confirmed, begins, end, .. } = world.database;
        let position = position.as_deref().map(decode);
        let stands = position.unwrap_or(0);
        assert!(
            stands >= confirmed || world.forgives_loss,
            "the engine goes on at {position:?} but had acknowledged {confirmed}: what lies between is lost"
        );
        let sent = position.unwrap_or(end);
        assert!(sent <= end, "the engine stands at {sent}, beyond the end of the log, {end}");
        // A slot has one reader; whoever was there before is cut off.
        world.streams.retain(|stream| stream.source != source);
        world.starts += 1;
        let (number, is_new) = (world.starts, position.is_none());
        let queue = VecDeque::new();
        let mut stream = Running { number, source, events, tables, sent, queue, is_new, has_failed: false };
        if stands < confirmed || (!is_new && stands < begins) {
            let missed = stream.missed();
            stream.queue.extend([waiting("the slot is ahead of what is stored"), missed]);
            stream.sent = end;
        } else if stream.note_others(&world) {
            stream.queue.push_back(waiting("a table is another one than before"));
        }
        world.streams.push(stream);
        Ok(Box::new(Handle { outside: self.clone(), number }))
    }

    fn stream_options(&self) -> &'static [&'static str] {
        &["slot"]
    }

    fn forget(&self, _: StreamPlace<'_>) -> Result<()> {
        let database = &mut self.world().database;
        (database.confirmed, database.begins) = (0, 0);
        Ok(())
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

    fn read_again(&self, table: u32) {
        for stream in self.outside.world().streams.iter_mut().filter(|stream| stream.number == self.number) {
            stream.tables.iter_mut().filter(|known| known.id == table && !known.has_failed).for_each(|known| {
                known.outdate();
            });
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
                let mut told = self.told;
                told.note(&event);
                match stream.events.try_send((stream.source, event)) {
                    Ok(()) => (self.told, sent) = (told, sent + 1),
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
        let database = &self.database;
        let is_same = |table: &Table| !table.is_outdated && !table.is_another(database, stream.sent);
        let is_whole =
            stream.tables.iter().all(|table| table.from.is_some_and(|from| from <= stream.sent) && is_same(table));
        (is_whole && stream.queue.is_empty()).then_some(stream.sent)
    }
}

impl Running {
    /// Lays out what comes next and gives its first event, if anything is to come.
    fn next(&mut self, world: &mut World) -> Option<SourceEvent> {
        if self.tables.iter().all(|table| table.has_failed) || self.has_failed {
            return None;
        }
        let is_first = self.tables.iter().any(|table| table.wants_contents() && table.from.is_none());
        if !is_first {
            self.lay_out_whims(world);
        }
        // What is read again is read when there is time, or at the next connection.
        let is_time = is_first || world.random.chance(0.2);
        if self.queue.is_empty() && !(is_time && self.lay_out_contents(world)) {
            self.lay_out_transactions(world);
        }
        if self.queue.is_empty() && !self.lay_out_contents(world) {
            self.look(world);
        }
        if self.queue.is_empty() && self.sent < world.database.end {
            self.sent = world.database.end;
            self.queue.push_back(SourceEvent::Idle { position: encode(self.sent) });
        }
        self.queue.pop_front()
    }

    /// What happens now and then between two transactions.
    fn lay_out_whims(&mut self, world: &mut World) {
        let faults = world.faults;
        if world.random.chance(0.1) {
            self.look(world);
        }
        if !world.is_comparable {
            return;
        }
        if world.random.chance(faults.slotless) {
            // The new slot begins at the end of the log; whoever stands before that has missed something.
            world.database.begins = world.database.end;
            self.queue.push_back(waiting("the slot is gone"));
            let missed = self.missed();
            self.queue.push_back(missed);
            self.lay_out_contents(world);
            self.queue.push_back(SourceEvent::Connected);
        } else if world.random.chance(faults.broken) {
            self.has_failed = true;
            let error = Error::conflict("the slot belongs to another reader").hint("drop it, then START JOB");
            self.queue.push_back(SourceEvent::Failed { error });
        }
    }

    /// Changes were missed for good: everything is read again.
    fn missed(&mut self) -> SourceEvent {
        let mut tables = Vec::new();
        for table in self.tables.iter_mut().filter(|table| !table.has_failed) {
            (table.from, table.is_outdated) = (None, false);
            tables.push(table.id);
        }
        self.is_new = true;
        SourceEvent::Missed { tables }
    }

    /// Compares the tables of the database with those that contents were read of. What is told beside `Outdated` goes the way of
    /// a lost connection.
    fn look(&mut self, world: &mut World) {
        if self.note_others(world) {
            self.queue.push_back(waiting("a table is another one than before"));
            self.queue.push_back(SourceEvent::Connected);
        }
    }

    fn note_others(&mut self, world: &World) -> bool {
        let (database, before) = (&world.database, self.queue.len());
        let is_another = |table: &&mut Table| !table.has_failed && table.is_another(database, database.end);
        self.queue.extend(self.tables.iter_mut().filter(is_another).filter_map(Table::outdate));
        self.queue.len() > before
    }

    /// Connects anew after `why`: contents that are wanted come first.
    fn reconnect(&mut self, why: &str, world: &mut World) {
        self.queue.push_back(waiting(why));
        if self.note_others(world) {
            self.queue.push_back(waiting("a table is another one than before"));
        }
        self.lay_out_contents(world);
        self.queue.push_back(SourceEvent::Connected);
    }

    /// The contents of all tables that want them; whether there are any.
    fn lay_out_contents(&mut self, world: &mut World) -> bool {
        let wanting: Vec<usize> = (0..self.tables.len()).filter(|i| self.tables[*i].wants_contents()).collect();
        wanting.iter().for_each(|i| self.lay_out_snapshot(*i, world));
        !wanting.is_empty()
    }

    fn lay_out_snapshot(&mut self, i: usize, world: &mut World) {
        let at = world.database.end;
        let table = &mut self.tables[i];
        let id = table.id;
        let (fit, unfit): (Vec<Row>, Vec<Row>) = world.database.now.rows(table.name).into_iter().partition(is_fit);
        let rows: Vec<(RowKind, Row)> = fit.into_iter().map(|row| (RowKind::Insert, row)).collect();
        let pieces = || rows.chunks(SNAPSHOT_ROWS).map(|rows| batch_of(&table.definition.schema, rows));
        let snapshot = |batch| SourceEvent::SnapshotRows { table: id, batch };
        let is_aborted = world.random.chance(world.faults.aborted);
        if is_aborted {
            self.queue.extend(pieces().take(1).map(snapshot));
            self.queue.push_back(SourceEvent::SnapshotAborted { table: id });
            self.queue.push_back(waiting("the connection broke"));
        }
        self.queue.extend(unfit.iter().map(|row| rejected(id, row)));
        self.queue.extend(pieces().map(snapshot));
        self.queue.push_back(SourceEvent::SnapshotDone { table: id, position: encode(at) });
        if is_aborted {
            self.queue.push_back(SourceEvent::Connected);
        }
        (table.from, table.is_outdated) = (Some(at), false);
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
        // Rows gather as long as they may, or not at all.
        let is_gathered = world.random.chance(0.5);
        for transaction in &transactions {
            for change in &transaction.changes {
                for table in &mut self.tables {
                    let means = (&world.database, &mut world.random);
                    table.change(transaction.position, change, means, &mut events);
                    if !is_gathered {
                        events.extend(table.flush());
                    }
                }
                let fails = world.random.chance(world.faults.unreadable * 0.1);
                let mut readable =
                    self.tables.iter_mut().filter(|table| KEYED.contains(&table.name) && !table.has_failed);
                if fails && let Some(table) = readable.next() {
                    events.push(table.fail());
                }
            }
        }
        events.extend(self.tables.iter_mut().filter_map(Table::flush));
        if world.random.chance(world.faults.cut) {
            let told = world.random.below(events.len() as u64 + 1) as usize;
            // What is told once is told in any case.
            let untold = events.split_off(told);
            let told_once = |event: &_| matches!(event, SourceEvent::TableFailed { .. } | SourceEvent::Outdated { .. });
            self.queue.extend(events.into_iter().chain(untold.into_iter().filter(told_once)));
            self.reconnect("the connection broke", world);
            return;
        }
        self.queue.extend(events);
        // Clocks differ between machines; nothing depends on this one.
        let (event_time_micros, received_micros) = (1_699_999_999_000_000, 1_699_999_999_500_000);
        self.queue.push_back(SourceEvent::Commit { position: encode(last), event_time_micros, received_micros });
        self.sent = last;
    }
}

fn waiting(why: &str) -> SourceEvent {
    SourceEvent::Waiting { error: Error::unavailable(why) }
}
