//! An engine on a directory of its own, with a source and a sink that a test holds in its hands.
//!
//! The outside here is a double on purpose: these tests are about sessions, jobs, ticks and restarts. The real outside is
//! tested with PostgreSQL in the crates that talk to it.

mod long;
mod shelf;
mod tap;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::ArrayRef;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, CommitId, Error, Result, RowKind, SourceId, TypeKind, Value};
use gridhouse_engine::{
    ConsumerCap, DEFAULT_STATE_BYTES, Engine, EngineOptions, Outcome, Session, StatementReport, Tuning,
};
use gridhouse_flow::connector::{
    ChangelogMode, Found, Lookup, LookupConnector, LookupRequest, MayGoOn, ScanConnector, ScanRequest, ScanRows, Sink,
    SinkChanges, SinkConnector, SinkDescription, SinkWriter, SourceConnector, SourceDescription, SourceEvent,
    SourceEvents, SourcePosition, SourceStream, SourceTable, StreamPlace,
};
use gridhouse_store::{Limits, StoreOptions};

/// How long a condition may take to come true: far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory, its outside, and an engine that can be opened again and again.
pub struct House {
    pub dir: tempfile::TempDir,
    pub outside: Outside,
    pub engine: Option<Engine>,
    tuning: Tuning,
    limits: Limits,
    /// How far sinks may be behind, from the next opening on.
    pub cap: ConsumerCap,
    clock: Arc<Clockwork>,
}

/// The machine's clock, which a test may set, and break.
struct Clockwork {
    machine: SystemClock,
    set_by_micros: AtomicI64,
    /// How many seconds the test has let pass at once.
    passed_seconds: AtomicU64,
    is_broken: AtomicBool,
}

impl Clock for Clockwork {
    fn now_micros(&self) -> i64 {
        let is_core = || std::thread::current().name() == Some("core");
        assert!(!(self.is_broken.load(Ordering::SeqCst) && is_core()), "the clock is broken");
        let passed = self.passed_seconds.load(Ordering::SeqCst) as i64 * 1_000_000;
        self.machine.now_micros() + passed + self.set_by_micros.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic() + Duration::from_secs(self.passed_seconds.load(Ordering::SeqCst))
    }
}

impl House {
    pub fn new() -> Self {
        Self::tuned(Tuning::default(), Limits::default())
    }

    /// A house whose ticks take `round_rows` source rows at once, and seal ahead what they have written in some of these.
    pub fn in_rounds_of(round_rows: usize) -> Self {
        Self::tuned(Tuning { round_rows, ..Tuning::default() }, Limits { tick_bytes: 3_000, ..Limits::default() })
    }

    /// A house that makes a checkpoint for every few rows; with `state_parts`, state is cut into so many parts, all on disk.
    pub fn keeping_often(state_parts: Option<u32>) -> Self {
        Self::tuned(
            Tuning { state_parts, ..Tuning::default() },
            Limits { checkpoint_log_bytes: 60_000, ..Limits::default() },
        )
    }

    fn tuned(tuning: Tuning, limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(Clockwork {
            machine: SystemClock::new(),
            set_by_micros: AtomicI64::new(0),
            passed_seconds: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
        });
        let (outside, cap) = (Outside::default(), ConsumerCap::default());
        let mut house = Self { dir, outside, engine: None, tuning, limits, cap, clock };
        house.open();
        house
    }

    /// A house in a copy of the directory that a process has left behind.
    pub fn left_in(dir: &Path) -> Self {
        let mut house = Self::new();
        house.stop();
        house.dir = tempfile::tempdir().expect("a temporary directory");
        copy_dir(dir, house.dir.path());
        house.open();
        house
    }

    /// From now on the core panics as soon as it asks for the time.
    pub fn break_clock(&self) {
        self.clock.is_broken.store(true, Ordering::SeqCst);
    }

    /// Opens the engine, after a stop or a crash.
    pub fn open(&mut self) {
        let engine = open(self.dir.path(), &self.outside, (self.tuning, self.limits), self.cap, self.clock.clone());
        self.engine = Some(engine.expect("the engine opens"));
    }

    /// Sets the clock: so many seconds before or after the machine's.
    pub fn set_clock(&self, seconds: i64) {
        self.clock.set_by_micros.store(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// Lets so many seconds pass.
    pub fn let_pass(&self, seconds: u64) {
        self.clock.passed_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn session(&self) -> Session {
        self.engine.as_ref().expect("the engine is open").session()
    }

    pub fn stop(&mut self) {
        self.engine.take().expect("the engine is open").stop().expect("the engine stops");
    }

    /// What the engine says of itself, for the message of a failed test.
    pub fn status(&self) -> String {
        let show = |table| run(&mut self.session(), &format!("SELECT * FROM system.status.{table}")).join("\n");
        ["jobs", "tables", "sources", "sinks"].map(show).join("\n")
    }

    /// Stops and opens again; the outside stays.
    pub fn restart(&mut self) {
        self.stop();
        self.open();
    }

    /// Leaves the engine as a kill would, and opens a copy of what lies on disk at this moment.
    pub fn crash(&mut self) {
        let copy = tempfile::tempdir().expect("a temporary directory");
        copy_dir(self.dir.path(), copy.path());
        let old = self.engine.take().expect("the engine is open");
        self.outside.cut();
        drop(old.stop());
        self.dir = copy;
        self.open();
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            // Spilled state belongs to one run.
            continue;
        }
        match std::fs::copy(entry.path(), to.join(entry.file_name())) {
            // A segment that was merged into another meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.expect("a copy")),
        }
    }
}

fn open(
    dir: &Path,
    outside: &Outside,
    (tuning, limits): (Tuning, Limits),
    consumer_cap: ConsumerCap,
    clock: Arc<dyn Clock>,
) -> Result<Engine> {
    let store = StoreOptions::new(PathBuf::from(dir), Arc::new(DiskFileSystem), clock.clone(), 7);
    let store = StoreOptions { limits, ..store };
    let source: Arc<dyn SourceConnector> = Arc::new(outside.clone());
    let sink: Arc<dyn SinkConnector> = Arc::new(outside.clone());
    let options = EngineOptions {
        store,
        clock,
        sources: BTreeMap::from([("tap", source)]),
        sinks: BTreeMap::from([("drain", sink)]),
        scans: BTreeMap::from([("shelf", Arc::new(outside.clone()) as Arc<dyn ScanConnector>)]),
        lookups: BTreeMap::from([("shelf", Arc::new(outside.clone()) as Arc<dyn LookupConnector>)]),
        state_bytes: DEFAULT_STATE_BYTES,
        consumer_cap,
        on_fatal: Arc::new(|error| panic!("the engine failed: {error}")),
    };
    Engine::open_tuned(options, tuning)
}

/// Runs a script to its end; gives every statement's answer as text, a failed one's as `error: …`.
pub fn run(session: &mut Session, script: &str) -> Vec<String> {
    let mut answers = Vec::new();
    session.run(script, &mut |report| {
        answers.push(text_of(&report));
        ControlFlow::Continue(())
    });
    answers
}

/// Runs a script of which every statement must succeed; gives the last answer.
pub fn ok(session: &mut Session, script: &str) -> String {
    let answers = run(session, script);
    if let Some(failed) = answers.iter().find(|answer| answer.starts_with("error")) {
        panic!("{failed}\nin {script}");
    }
    answers.into_iter().last().unwrap_or_default()
}

/// Runs a script whose last statement must fail; gives its message with position and hint.
pub fn fails(session: &mut Session, script: &str) -> String {
    let last = run(session, script).pop().unwrap_or_default();
    let message = last.lines().find(|line| line.starts_with("error"));
    message.unwrap_or_else(|| panic!("{script} gave {last}")).to_owned()
}

fn text_of(report: &StatementReport) -> String {
    let mut lines: Vec<String> = report.notices.iter().map(|notice| format!("note: {notice}")).collect();
    lines.push(match &report.outcome {
        Ok(Outcome::Rows { schema, batches }) => {
            let mut rows = Vec::new();
            for batch in batches {
                for i in 0..batch.len() {
                    let value = |(c, column): (usize, &gridhouse_base::Column)| {
                        let text = gridhouse_expr::text::format_value(
                            batch.column(c),
                            i,
                            &column.sql_type.kind,
                            chrono_tz::UTC,
                        );
                        text.unwrap_or_else(|| "NULL".into())
                    };
                    rows.push(schema.columns.iter().enumerate().map(value).collect::<Vec<_>>().join("|"));
                }
            }
            rows.join("\n")
        }
        Ok(Outcome::Done { tag }) => tag.clone(),
        Ok(Outcome::Affected { tag, rows }) => format!("{tag} {rows}"),
        Ok(Outcome::Job { id, resumed, .. }) => format!("JOB {}{}", id.0, if *resumed { " again" } else { "" }),
        Err(error) => {
            let position = error.position().map(|p| format!(" at {p}")).unwrap_or_default();
            let hint = error.remedy().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("error{position}: {error}{hint}")
        }
    });
    lines.join("\n")
}

/// Rows of a query, sorted, so that the order of storage does not matter.
pub fn rows(session: &mut Session, query: &str) -> Vec<String> {
    let mut rows: Vec<String> = ok(session, query).lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

/// Waits until `query` gives `expected` (sorted lines).
pub fn await_rows(session: &mut Session, query: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    await_that(|| {
        seen = rows(session, query);
        seen == expected
    })
    .unwrap_or_else(|()| panic!("{query} gave {seen:?}, not {expected:?}"));
}

/// Waits until `condition` holds.
pub fn await_that(mut condition: impl FnMut() -> bool) -> std::result::Result<(), ()> {
    let clock = SystemClock::new();
    while clock.monotonic() < PATIENCE {
        if condition() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Err(())
}

/// The outside: what a source would deliver, and what sinks hold.
#[derive(Clone, Default)]
pub struct Outside {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Transactions of the source's one table, by position from 1: key, text value or deletion.
    log: Vec<Vec<(i64, Option<String>)>>,
    streams: Vec<Running>,
    acknowledged: u64,
    forgotten: Vec<String>,
    /// What named the streams that it was asked to forget.
    asked_to_forget: Vec<String>,
    /// What names the stream that was last started.
    slot: String,
    /// The password with which the source was last opened.
    password: String,
    /// How often it was opened.
    starts: u64,
    /// What each sink holds: rows by key, and the commit.
    sinks: BTreeMap<String, (BTreeMap<String, String>, CommitId)>,
    absent: bool,
    /// Sinks whose transactions take until they are let go, and whether one has begun.
    held: BTreeMap<String, bool>,
    /// The password without which look-ups, and forgetting, are refused; empty where none is needed.
    needed_password: String,
    broken: bool,
    /// Contents are not delivered by themselves, but sent by the test.
    is_by_hand: bool,
    /// How many snapshots are being delivered; transactions come behind them.
    joining: usize,
    /// What scans were asked for.
    asked: Vec<ScanRequest>,
    asked_again: usize,
}

struct Running {
    source: SourceId,
    events: SourceEvents,
    tables: Vec<(u32, i64)>,
}

/// How far the keys of a table's rows are from those that were committed, so that tables of one source differ.
fn shift_of(definition: &TableDef) -> i64 {
    definition.options.get("shift").map_or(0, |shift| shift.parse().expect("a number"))
}

fn shifted(changes: &[(i64, Option<String>)], shift: i64) -> Vec<(i64, Option<String>)> {
    changes.iter().map(|(key, value)| (key + shift, value.clone())).collect()
}

impl Outside {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a transaction at the source.
    pub fn commit(&self, changes: &[(i64, Option<&str>)]) {
        await_that(|| self.lock().joining == 0).expect("the snapshots come to an end");
        let mut inner = self.lock();
        let changes: Vec<_> = changes.iter().map(|(key, value)| (*key, value.map(str::to_owned))).collect();
        inner.log.push(changes.clone());
        let position = inner.log.len() as u64;
        let streams: Vec<_> = inner.streams.iter().map(|s| (s.source, s.events.clone(), s.tables.clone())).collect();
        drop(inner);
        for (source, events, tables) in streams {
            for (table, shift) in tables {
                let batch = batch_of(&shifted(&changes, shift));
                let _ = events.send((source, SourceEvent::Rows { table, columns: None, batch }));
            }
            let _ = events.send((
                source,
                SourceEvent::Commit { position: encode(position), event_time_micros: 1, received_micros: 1 },
            ));
        }
    }

    /// Delivers the rows of a transaction whose end is still to come, and waits until the house has taken them.
    pub fn begin(&self, changes: &[(i64, Option<&str>)], session: &mut Session) {
        await_that(|| self.lock().joining == 0).expect("the snapshots come to an end");
        let changes: Vec<_> = changes.iter().map(|(key, value)| (*key, value.map(str::to_owned))).collect();
        let taken = "SELECT SUM(rows_in) FROM system.status.sources";
        let count = |session: &mut Session| rows(session, taken)[0].parse::<usize>().expect("a number of rows");
        let expected = count(session) + changes.len() * self.tables().len();
        for stream in &self.lock().streams {
            for &(table, shift) in &stream.tables {
                let batch = batch_of(&shifted(&changes, shift));
                let _ = stream.events.send((stream.source, SourceEvent::Rows { table, columns: None, batch }));
            }
        }
        await_that(|| count(session) == expected).expect("the rows are taken");
        self.lock().log.push(changes);
    }

    /// The transaction that has begun ends.
    pub fn end(&self) {
        let inner = self.lock();
        let position = encode(inner.log.len() as u64);
        for stream in &inner.streams {
            let commit = SourceEvent::Commit { position: position.clone(), event_time_micros: 1, received_micros: 1 };
            let _ = stream.events.send((stream.source, commit));
        }
    }

    /// From now on contents come only as a test sends them.
    pub fn deliver_by_hand(&self) {
        self.lock().is_by_hand = true;
    }

    /// The numbers of the tables that the streams deliver.
    pub fn tables(&self) -> Vec<u32> {
        self.lock().streams.iter().flat_map(|stream| &stream.tables).map(|(table, _)| *table).collect()
    }

    /// How often contents were asked for again.
    pub fn asked_again(&self) -> usize {
        self.lock().asked_again
    }

    /// Sends an event to each table of each stream.
    pub fn send(&self, event: impl Fn(u32) -> SourceEvent) {
        for stream in &self.lock().streams {
            for (table, _) in &stream.tables {
                let _ = stream.events.send((stream.source, event(*table)));
            }
        }
    }

    /// Sends an event as of the first stream, whatever tables it has.
    pub fn send_one(&self, event: SourceEvent) {
        let inner = self.lock();
        let _ = inner.streams[0].events.send((inner.streams[0].source, event));
    }

    /// Has the source deliver a transaction of which it could not read one row.
    pub fn reject(&self, row: &str) {
        await_that(|| self.lock().joining == 0).expect("the snapshots come to an end");
        let mut inner = self.lock();
        inner.log.push(Vec::new());
        let position = encode(inner.log.len() as u64);
        let streams: Vec<_> = inner.streams.iter().map(|s| (s.source, s.events.clone(), s.tables.clone())).collect();
        drop(inner);
        for (source, events, tables) in streams {
            for (table, _) in tables {
                let (row, error) = (row.to_owned(), Error::invalid("'x' is no BIGINT"));
                let _ = events.send((source, SourceEvent::Rejected { table, row, error }));
            }
            let _ = events.send((
                source,
                SourceEvent::Commit { position: position.clone(), event_time_micros: 1, received_micros: 1 },
            ));
        }
    }

    /// Truncates the source's table, in a transaction of its own.
    pub fn truncate(&self) {
        await_that(|| self.lock().joining == 0).expect("the snapshots come to an end");
        let mut inner = self.lock();
        let keys: std::collections::BTreeSet<i64> = inner.log.iter().flatten().map(|(key, _)| *key).collect();
        inner.log.push(keys.into_iter().map(|key| (key, None)).collect());
        let position = encode(inner.log.len() as u64);
        let streams: Vec<_> = inner.streams.iter().map(|s| (s.source, s.events.clone(), s.tables.clone())).collect();
        drop(inner);
        for (source, events, tables) in streams {
            for (table, _) in tables {
                let _ = events.send((source, SourceEvent::Truncate { table }));
            }
            let _ = events.send((
                source,
                SourceEvent::Commit { position: position.clone(), event_time_micros: 1, received_micros: 1 },
            ));
        }
    }

    /// The position up to which the source may forget.
    pub fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// The password with which the source was last opened.
    pub fn password(&self) -> String {
        self.lock().password.clone()
    }

    /// How often the source was opened.
    pub fn starts(&self) -> u64 {
        self.lock().starts
    }

    /// How many streams have been forgotten.
    pub fn forgotten(&self) -> usize {
        self.lock().forgotten.len()
    }

    /// How often it was asked to forget the stream that this names.
    pub fn asked_to_forget(&self, slot: &str) -> usize {
        self.lock().asked_to_forget.iter().filter(|asked| *asked == slot).count()
    }

    /// What names the stream that was last started.
    pub fn slot(&self) -> String {
        self.lock().slot.clone()
    }

    /// What named the streams that have been forgotten.
    pub fn forgotten_slots(&self) -> Vec<String> {
        self.lock().forgotten.clone()
    }

    /// The rows that a sink table holds, as `key=value`, sorted.
    pub fn sink(&self, table: &str) -> Vec<String> {
        let inner = self.lock();
        let held = inner.sinks.iter().filter(|(name, _)| name.ends_with(&format!("/{table}")));
        held.flat_map(|(_, (rows, _))| rows.iter().map(|(key, row)| format!("{key}={row}"))).collect()
    }

    /// What all sinks hold, to stand there again with [`Outside::fail_over`].
    pub fn standby(&self) -> BTreeMap<String, (BTreeMap<String, String>, CommitId)> {
        self.lock().sinks.clone()
    }

    /// The sinks lose what came after `standby`.
    pub fn fail_over(&self, standby: BTreeMap<String, (BTreeMap<String, String>, CommitId)>) {
        self.lock().sinks = standby;
    }

    /// Has the next reading of all rows panic.
    pub fn break_once(&self) {
        self.lock().broken = true;
    }

    /// Makes sinks and look-ups answer, or not.
    pub fn set_absent(&self, absent: bool) {
        self.lock().absent = absent;
    }

    /// From now on look-ups, and forgetting, are refused unless they come with this password.
    pub fn set_needed_password(&self, password: &str) {
        self.lock().needed_password = password.to_owned();
    }

    /// What the scans since the last look were asked for.
    pub fn asked(&self) -> Vec<ScanRequest> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Nobody listens to the source any more.
    pub fn cut(&self) {
        self.lock().streams.clear();
    }
}

/// A position, as the source gives it.
pub fn encode(position: u64) -> SourcePosition {
    position.to_be_bytes().to_vec()
}

fn decode(position: &[u8]) -> u64 {
    u64::from_be_bytes(position.try_into().expect("eight bytes"))
}

/// Changes as rows: a key without a text is a deletion.
pub fn batch_of(changes: &[(i64, Option<String>)]) -> KindBatch {
    let keys: Vec<Value> = changes.iter().map(|(key, _)| Value::Integer(*key)).collect();
    let text = |value: &Option<String>| value.as_ref().map_or(Value::Null, |text| Value::Text(text.as_str().into()));
    let values: Vec<Value> = changes.iter().map(|(_, value)| text(value)).collect();
    let kinds: Vec<RowKind> =
        changes.iter().map(|(_, value)| if value.is_some() { RowKind::UpdateAfter } else { RowKind::Delete }).collect();
    let array = |values: &[Value], kind: &TypeKind| Value::array_of(&values.iter().collect::<Vec<_>>(), kind);
    KindBatch::new(vec![array(&keys, &TypeKind::BigInt), array(&values, &TypeKind::STRING)], kinds)
}

impl Outside {
    /// Delivers the source's rows as they stand.
    fn snapshot(&self, source: SourceId, table: &SourceTable, events: &SourceEvents) {
        if self.lock().is_by_hand {
            return;
        }
        let log = self.lock().log.clone();
        let mut state: BTreeMap<i64, String> = BTreeMap::new();
        for (key, value) in log.iter().flatten() {
            match value {
                Some(value) => state.insert(*key, value.clone()),
                None => state.remove(key),
            };
        }
        let changes: Vec<_> = state.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let (mut batch, table) = (batch_of(&shifted(&changes, shift_of(&table.definition))), table.id);
        batch.kinds = vec![RowKind::Insert; batch.kinds.len()].into();
        let _ = events.send((source, SourceEvent::SnapshotRows { table, batch }));
        let _ = events.send((source, SourceEvent::SnapshotDone { table, position: encode(log.len() as u64) }));
    }
}

/// The source's rows as they stand, to be read once. It applies neither filter nor limit.
impl ScanConnector for Outside {
    fn scan(&self, _: &TableDef, request: &ScanRequest) -> Result<ScanRows> {
        let mut inner = self.lock();
        inner.asked.push(request.clone());
        if inner.absent {
            return Err(Error::unavailable("the shelf does not answer"));
        }
        if std::mem::take(&mut inner.broken) {
            drop(inner);
            panic!("the shelf has come down");
        }
        let state: BTreeMap<i64, Option<String>> = inner.log.iter().flatten().cloned().collect();
        let changes: Vec<_> = state.into_iter().filter(|(_, value)| value.is_some()).collect();
        let batch = batch_of(&changes);
        let columns = request.columns.iter().map(|&c| batch.columns[c].clone()).collect();
        Ok(Box::new(std::iter::once(Ok(ChangeBatch::insertions(columns, batch.len())))))
    }
}

/// The source's rows as they stand, to be looked up by their `id`.
struct Tap {
    outside: Outside,
    source: SourceId,
    events: SourceEvents,
}

impl SourceStream for Tap {
    fn add_table(&self, table: SourceTable) {
        let (outside, source, events) = (self.outside.clone(), self.source, self.events.clone());
        outside.lock().joining += 1;
        std::thread::spawn(move || {
            outside.snapshot(source, &table, &events);
            let mut inner = outside.lock();
            for stream in inner.streams.iter_mut().filter(|stream| stream.source == source) {
                stream.tables.push((table.id, shift_of(&table.definition)));
            }
            inner.joining -= 1;
        });
    }

    fn remove_table(&self, table: u32) {
        for stream in self.outside.lock().streams.iter_mut().filter(|stream| stream.source == self.source) {
            stream.tables.retain(|(t, _)| *t != table);
        }
    }

    fn read_again(&self, _: u32) {
        self.outside.lock().asked_again += 1;
    }

    fn acknowledge(&self, position: SourcePosition) {
        let mut inner = self.outside.lock();
        inner.acknowledged = inner.acknowledged.max(decode(&position));
    }

    fn stop(self: Box<Self>) {}
}

impl Drop for Tap {
    fn drop(&mut self) {
        let source = self.source;
        self.outside.lock().streams.retain(|stream| stream.source != source);
    }
}

impl SinkConnector for Outside {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mode = match definition.options.get("mode") {
            Some(_) => ChangelogMode::InsertOnly,
            None if definition.primary_key.is_empty() => ChangelogMode::All,
            None => ChangelogMode::Upsert,
        };
        let exactly_once = !definition.options.contains_key("forgets");
        Ok(SinkDescription { target_key: definition.path.object.clone(), mode, exactly_once, notices: vec![] })
    }

    fn open(&self, definition: Arc<TableDef>, writer: SinkWriter) -> Result<Box<dyn Sink>> {
        if definition.options.contains_key("forgets") {
            // It has no idea how far it came.
            self.lock().sinks.entry(writer.sink.clone()).or_default().1 = CommitId(0);
        }
        Ok(Box::new(Drain { outside: self.clone(), definition, writer }))
    }
}

struct Drain {
    outside: Outside,
    definition: Arc<TableDef>,
    writer: SinkWriter,
}

impl Sink for Drain {
    fn claim(&mut self, _: MayGoOn<'_>) -> Result<CommitId> {
        let inner = self.outside.lock();
        if inner.absent {
            return Err(Error::unavailable("the drain does not answer"));
        }
        Ok(inner.sinks.get(&self.writer.sink).map_or(CommitId(0), |(_, commit)| *commit))
    }

    fn write_changes(&mut self, from: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        let mut inner = self.outside.written(&self.writer.sink)?;
        let (rows, commit) = inner.sinks.entry(self.writer.sink.clone()).or_default();
        if *commit != from && !self.definition.options.contains_key("forgets") {
            return Err(Error::conflict(format!("the drain stands at {commit}, not {from}")));
        }
        // An error on the way must leave nothing.
        let changes = changes.collect::<Result<Vec<KindBatch>>>()?;
        *commit = upto;
        for batch in changes {
            for i in 0..batch.len() {
                let value = |c: usize| {
                    let kind = &self.definition.schema.columns[c].sql_type.kind;
                    gridhouse_expr::text::format_value(&batch.columns[c], i, kind, chrono_tz::UTC)
                        .unwrap_or("NULL".into())
                };
                let key: Vec<String> = self.definition.primary_key.iter().map(|&c| value(c)).collect();
                let row: Vec<String> = (0..self.definition.schema.len()).map(value).collect();
                let key = if key.is_empty() { format!("{:06}", rows.len()) } else { key.join(",") };
                match batch.kinds[i] {
                    _ if self.definition.primary_key.is_empty() => {
                        rows.insert(key, format!("{}{}", batch.kinds[i].short(), row.join("|")));
                    }
                    RowKind::Delete => {
                        rows.remove(&key);
                    }
                    _ => {
                        rows.insert(key, row.join("|"));
                    }
                }
            }
        }
        Ok(())
    }
}
