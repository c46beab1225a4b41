//! What a stream has at its outside for good (a replication slot), under which options, and how it is taken away there.
//!
//! The options that name it are those of the table that the stream was made for. They are on record with the stream: the tables
//! that happen to be read at a start must not decide which slot is read. As long as the stream has had nothing there, what they
//! name may be another's, and the options that are named last count.
//!
//! What is there makes the outside keep its log, so to ask once that it be taken away is not enough: the outside may be down, or
//! the process may end. The stream stays on record, without tables, until the outside has forgotten it. A worker of its own asks,
//! with growing pauses, and again after a restart. A stream that never had anything there leaves without a question.
//!
//! Of the streams that would have the same there, whatever their options are called, one has it. A stream that is made anew waits
//! for the first answer, since what it makes must not be taken away under it; where that is an error, it takes over what is
//! there. One that has waited for it beside the one that leaves takes it over at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::table::TableDef;
use gridhouse_base::{ErrorKind, Result, SourceId};
use gridhouse_flow::connector::{SourceConnector, SourceStream, StreamPlace};

use crate::core::{Core, Message};
use crate::prepare::Connectors;
use crate::records::{STREAMS, StreamRecord, encode};
use crate::retire::Left;
use crate::shared::{Shared, lock};
use crate::stream::{Stream, StreamState, with_remedy};
use crate::worker::{Outgoing, Turn, Worker};

/// The pause after the first attempt that failed; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: a server that comes back keeps its log for a minute more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause where the outside refuses to be asked as it is, which no time mends: seldom enough that no account is locked for it.
const REFUSED_PAUSE: Duration = Duration::from_secs(3600);
/// How often a pause looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a stream has something at the outside.
fn has_place(connectors: &Connectors, record: &StreamRecord) -> bool {
    let connector = connectors.sources.get(record.connector.as_str());
    record.has_place && connector.is_some_and(|connector| !connector.stream_options().is_empty())
}

/// The options of a table that are its stream's.
fn own_options(connector: &dyn SourceConnector, definition: &TableDef) -> BTreeMap<String, String> {
    let own = connector.stream_options().iter().filter_map(|name| definition.options.get_key_value(*name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Keeps the options that are the stream's own, of the table that it was made for: the first on record.
pub(crate) fn keep(record: &mut StreamRecord, connectors: &Connectors) {
    let Some(connector) = connectors.sources.get(record.connector.as_str()) else { return };
    let Some(first) = record.tables.first().filter(|_| record.options.is_none()) else { return };
    record.options = Some(own_options(&**connector, &first.definition));
}

/// A table of a stream is defined so from now on. Where that names other options of the stream than before, and it has nothing at
/// its outside yet, it takes them up.
pub(crate) fn define(record: &mut StreamRecord, table: u32, definition: &TableDef, connectors: &Connectors) {
    let Some(known) = record.tables.iter_mut().find(|known| known.id == table) else { return };
    let before = std::mem::replace(&mut known.definition, definition.clone());
    let Some(connector) = connectors.sources.get(record.connector.as_str()) else { return };
    let own = own_options(&**connector, definition);
    if !record.has_place && own != own_options(&**connector, &before) {
        record.options = Some(own);
    }
}

/// `way`, by which the outside of a stream is reached now, with the stream's own options in place of its own.
fn definition_of(record: &StreamRecord, connector: &dyn SourceConnector, way: &TableDef) -> TableDef {
    let mut definition = way.clone();
    if let Some(own) = &record.options {
        definition.options.retain(|name, _| !connector.stream_options().contains(&name.as_str()));
        definition.options.extend(own.clone());
    }
    definition
}

/// Takes note that a stream has been left, where it has no tables any more and its outside is yet to forget it. Gives whether it
/// stays on record: what it never had is not its own to take away.
pub(crate) fn leave(record: &mut StreamRecord, left: &Left, connectors: &Connectors) -> bool {
    if !left.is_all {
        return true;
    }
    if !has_place(connectors, record) {
        return false;
    }
    record.leaving = left.tables.first().map(|table| table.definition.clone());
    record.leaving.is_some()
}

/// How far the taking leave of a stream is.
pub(crate) struct Leave {
    phase: Arc<Mutex<Phase>>,
    /// Whether an attempt of this process has failed.
    has_failed: bool,
}

/// What the worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits before the next attempt.
    Resting,
    /// It asks the outside.
    Asking,
    /// The outside has forgotten, or nobody wants it to any more.
    Over,
}

impl Leave {
    /// Ends it where an attempt has failed and none is under way; gives whether it has ended.
    fn give_way(&self) -> bool {
        let mut phase = lock(&self.phase);
        if self.has_failed && *phase == Phase::Resting {
            *phase = Phase::Over;
        }
        *phase == Phase::Over && self.has_failed
    }
}

impl Stream {
    /// The definition by which the outside is reached: as by a table that is read now, or by the first.
    pub(crate) fn way(&self, connector: &dyn SourceConnector) -> Option<TableDef> {
        let tables = &self.record.tables;
        let read = tables.iter().find(|table| self.landings.contains_key(&table.id)).or(tables.first());
        let way = read.map(|table| &table.definition).or(self.record.leaving.as_ref())?;
        Some(definition_of(&self.record, connector, way))
    }

    /// Whether it is to run also while none of its tables is read, so that the outside keeps nothing for it.
    pub(crate) fn runs_for_its_place(&self, connectors: &Connectors) -> bool {
        self.record.owner.is_none() && has_place(connectors, &self.record)
    }
}

impl Core {
    /// What a stream has at its outside, or would have. Nothing where its options cannot be read: it does not start then.
    fn place_of(&self, stream: &Stream) -> Option<(String, String)> {
        let connector = self.connectors.sources.get(stream.record.connector.as_str())?;
        let definition = stream.way(&**connector).filter(|_| !connector.stream_options().is_empty())?;
        let (key, store) = (stream.record.stream_key.as_str(), self.store.id());
        let name = connector.place_name(StreamPlace { key, definition: &definition, store }).ok()?;
        Some((stream.record.connector.clone(), name))
    }

    /// The other streams that have the same at the outside, or would have it, and of which this holds.
    fn at_place_of(&self, source: SourceId, holds: impl Fn(&Stream) -> bool) -> Vec<SourceId> {
        let place = self.streams.get(&source).and_then(|stream| self.place_of(stream));
        let others = self.streams.iter().filter(|(id, other)| **id != source && holds(other));
        others.filter(|(_, other)| place.is_some() && self.place_of(other) == place).map(|(id, _)| *id).collect()
    }

    /// A stream takes what it has at its outside: on record, so that it is not left there.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn has_taken_place(&mut self, source: SourceId) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&source).filter(|stream| !stream.record.has_place) else {
            return Ok(());
        };
        stream.record.has_place = true;
        let (key, text) = (source.0.to_string(), encode(&stream.record));
        self.tick_with(|tick| tick.put(STREAMS, &key, Some(&text)))
    }

    /// Hands what a stream has at its outside, which is left, to another one.
    fn hand_over(&mut self, from: SourceId, to: SourceId) -> Result<()> {
        if let Some(stream) = self.streams.remove(&from) {
            stream.stop();
        }
        let stream = self.streams.get_mut(&to).expect("who takes it over has just been found");
        stream.record.has_place = true;
        let text = encode(&stream.record);
        self.tick_with(|tick| {
            tick.put(STREAMS, &from.0.to_string(), None);
            tick.put(STREAMS, &to.0.to_string(), Some(&text));
        })
    }

    /// Begins to take leave of a stream that is nobody's any more.
    ///
    /// # Errors
    /// Those of the store; `Unavailable` where nobody is left to work.
    pub(crate) fn begin_leaving(&mut self, source: SourceId) -> Result<()> {
        let has_it =
            |other: &Stream| other.record.leaving.is_none() && (other.handle.is_some() || other.record.has_place);
        if let Some(other) = self.at_place_of(source, has_it).first() {
            return self.hand_over(source, *other);
        }
        let store = self.store.id();
        let Some(stream) = self.streams.get_mut(&source).filter(|stream| stream.leave.is_none()) else { return Ok(()) };
        let connector = self.connectors.sources.get(stream.record.connector.as_str()).cloned();
        let Some((connector, definition)) = connector.and_then(|c| stream.way(&*c).map(|way| (c, way))) else {
            return Ok(());
        };
        let phase = Arc::new(Mutex::new(Phase::Resting));
        stream.leave = Some(Leave { phase: phase.clone(), has_failed: false });
        stream.state = StreamState::Leaving(None);
        let leaver = Leaver {
            source,
            connector,
            key: stream.record.stream_key.clone(),
            definition,
            store,
            handle: stream.handle.take(),
            phase,
            pause: FIRST_PAUSE,
            next: Duration::ZERO,
            clock: self.clock.clone(),
            shared: self.shared.clone(),
            outgoing: Outgoing::to(self.messages.clone()),
        };
        self.workers.start(format!("forget {}", leaver.key), Box::new(leaver))
    }

    /// Whether a stream that is to start must wait until the outside has answered whether it forgets an earlier one at the same
    /// place. Where it could not, what is there is taken over.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn awaits_leave(&mut self, source: SourceId) -> Result<bool> {
        for earlier in self.at_place_of(source, |other| other.record.leaving.is_some()) {
            if !self.streams[&earlier].leave.as_ref().is_some_and(Leave::give_way) {
                return Ok(true);
            }
            self.hand_over(earlier, source)?;
        }
        Ok(false)
    }

    /// The outside has answered that it forgets a stream, or why not.
    fn has_left(&mut self, source: SourceId, answer: Result<()>) -> Result<()> {
        let waits = |other: &Stream| other.record.leaving.is_none() && other.state == StreamState::Starting;
        let waiting = self.at_place_of(source, waits);
        let Some(stream) = self.streams.get_mut(&source) else { return Ok(()) };
        let Some(leave) = &mut stream.leave else { return Ok(()) };
        match answer {
            Ok(()) => {
                self.streams.remove(&source);
                self.tick_with(|tick| tick.put(STREAMS, &source.0.to_string(), None))?;
            }
            Err(error) => {
                leave.has_failed = true;
                let why = with_remedy(&error);
                if stream.state.error() != Some(&why) {
                    tracing::warn!(stream = stream.record.stream_key, "{why}");
                }
                stream.state = StreamState::Leaving(Some(why));
            }
        }
        waiting.into_iter().try_for_each(|id| self.start_or_fail(id))
    }

    /// Starts a stream; where that cannot be, the jobs that it feeds fail.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn start_or_fail(&mut self, source: SourceId) -> Result<()> {
        let Err(error) = self.start_stream(source) else { return Ok(()) };
        if let Some(stream) = self.streams.get_mut(&source) {
            stream.state = StreamState::Failed(with_remedy(&error));
        }
        self.fail_jobs_of(source, None, &error)
    }

    /// Before the process ends: asks once for the streams of which nobody has heard yet whether they are forgotten. Who is not
    /// answered is asked at the next start.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn leave_last(&mut self) -> Result<()> {
        let unheard = |stream: &Stream| stream.leave.as_ref().is_some_and(|leave| !leave.has_failed);
        let sources: Vec<_> = self.streams.iter().filter(|(_, s)| unheard(s)).map(|(id, _)| *id).collect();
        let store = self.store.id();
        for source in sources {
            let stream = &self.streams[&source];
            let Some(connector) = self.connectors.sources.get(stream.record.connector.as_str()) else { continue };
            let Some(definition) = stream.way(&**connector) else { continue };
            let key = stream.record.stream_key.as_str();
            match connector.forget(StreamPlace { key, definition: &definition, store }) {
                Ok(()) => self.tick_with(|tick| tick.put(STREAMS, &source.0.to_string(), None))?,
                Err(error) => tracing::warn!(stream = key, "{}", with_remedy(&error)),
            }
        }
        Ok(())
    }
}

/// Has the outside forget a stream, as often as it takes.
struct Leaver {
    source: SourceId,
    connector: Arc<dyn SourceConnector>,
    key: String,
    definition: TableDef,
    store: u128,
    /// The stream, which is to end first.
    handle: Option<Box<dyn SourceStream>>,
    phase: Arc<Mutex<Phase>>,
    pause: Duration,
    /// When the outside is asked next, by the monotonic clock.
    next: Duration,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    outgoing: Outgoing,
}

impl Leaver {
    /// Goes on from one phase to another, unless it is over; gives whether it has.
    fn enter(&self, next: Phase) -> bool {
        let mut phase = lock(&self.phase);
        if *phase != Phase::Over {
            *phase = next;
        }
        *phase == next
    }
}

impl Worker for Leaver {
    fn turn(&mut self, may_wait: bool) -> Turn {
        if let Some(turn) = self.outgoing.send_held(may_wait) {
            return turn;
        }
        if *lock(&self.phase) == Phase::Over || self.shared.is_closed() {
            return Turn::Ended;
        }
        if let Some(handle) = self.handle.take() {
            handle.stop();
            return Turn::Worked;
        }
        let left = self.next.saturating_sub(self.clock.monotonic());
        if !left.is_zero() {
            if may_wait {
                std::thread::park_timeout(left.min(LOOK));
            }
            return Turn::Idle;
        }
        if !self.enter(Phase::Asking) {
            return Turn::Ended;
        }
        let place = StreamPlace { key: &self.key, definition: &self.definition, store: self.store };
        let answer = self.connector.forget(place);
        self.enter(if answer.is_ok() { Phase::Over } else { Phase::Resting });
        let is_refused = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Invalid);
        self.next = self.clock.monotonic() + if is_refused { REFUSED_PAUSE } else { self.pause };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let source = self.source;
        let told = Message::Call(Box::new(move |core: &mut Core| {
            if let Err(error) = core.has_left(source, answer) {
                core.fatal(error);
            }
        }));
        self.outgoing.send(told, may_wait)
    }
}
