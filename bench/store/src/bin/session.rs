//! Figures that go through SQL. Each command runs in a process of its own and prints a line of JSON per stretch.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Result, RowKind, SourceId};
use gridhouse_bench_store::arguments::Arguments;
use gridhouse_bench_store::draw::draw;
use gridhouse_bench_store::meter::{Meter, anon_bytes, thread_cpu};
use gridhouse_bench_store::{devices, readings};
use gridhouse_engine::{Engine, EngineOptions, Outcome, Session};
use gridhouse_flow::connector::{
    ChangelogMode, SourceConnector, SourceDescription, SourceEvent, SourceEvents, SourcePosition, SourceStream,
    SourceTable, StreamPlace,
};
use gridhouse_store::StoreOptions;
use serde_json::json;

/// How often it is looked whether everything is durable.
const DURABLE_LOOK: Duration = Duration::from_millis(1);

const USAGE: &str = "usage: bench-session create|query|lookup|aggregate --dir DIR [--rows N] [--updates N] [SQL …]";

fn main() -> Result<()> {
    let arguments = Arguments::read();
    match arguments.command.as_str() {
        "create" => create(&arguments),
        "query" => query(&arguments),
        "lookup" => lookup(&arguments),
        "aggregate" => aggregate(&arguments),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2)
        }
    }
}

fn open(arguments: &Arguments, tap: Option<Tap>) -> Result<Engine> {
    let taps = tap.map(|tap| ("tap", Arc::new(tap) as Arc<dyn SourceConnector>));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Engine::open(EngineOptions {
        store: StoreOptions::new(arguments.dir(), Arc::new(DiskFileSystem), clock.clone(), 1),
        clock,
        sources: taps.into_iter().collect(),
        sinks: BTreeMap::new(),
        scans: BTreeMap::new(),
        lookups: BTreeMap::new(),
        // State of one small job: no limit is met.
        state_bytes: 1 << 30,
        consumer_cap: Default::default(),
        on_fatal: Arc::new(|error| panic!("the engine failed: {error}")),
    })
}

/// Runs a script of which every statement must succeed; gives the rows of the last one as texts.
fn run(session: &mut Session, script: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    session.run(script, &mut |report| {
        match report.outcome {
            Ok(Outcome::Rows { schema, batches }) => {
                rows.clear();
                for batch in batches {
                    let text = |c: usize, row: usize| {
                        let kind = &schema.columns[c].sql_type.kind;
                        let text = gridhouse_expr::text::format_value(batch.column(c), row, kind, chrono_tz::UTC);
                        text.unwrap_or_else(|| "NULL".into())
                    };
                    rows.extend((0..batch.len()).map(|row| (0..schema.len()).map(|c| text(c, row)).collect()));
                }
            }
            Ok(_) => {}
            Err(error) => panic!("{}: {error}", report.text),
        }
        ControlFlow::Continue(())
    });
    rows
}

/// The two tables, empty.
fn create(arguments: &Arguments) -> Result<()> {
    let engine = open(arguments, None)?;
    let columns = devices::COLUMNS.map(|(name, sql_type)| format!("{name} {sql_type}")).join(", ");
    let script = format!(
        "CREATE TABLE readings ({}, PRIMARY KEY (id) NOT ENFORCED); CREATE TABLE devices ({columns});",
        readings::COLUMNS
    );
    run(&mut engine.session(), &script);
    engine.stop()
}

/// Runs each query of the command line `--runs` times; the first run is not reported: it warms.
fn query(arguments: &Arguments) -> Result<()> {
    let meter = Meter::new();
    let engine = open(arguments, None)?;
    meter.report("open", 0, &json!({}));
    let mut session = engine.session();
    for sql in &arguments.rest {
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        let mut rows = run(&mut session, sql);
        for _ in 0..arguments.number("runs", 5) {
            let meter = Meter::new();
            rows = run(&mut session, sql);
            wall.push(meter.wall_s());
            cpu.push(meter.cpu_s());
        }
        println!(
            "{}",
            json!({ "figure": "query", "wall": wall, "cpu": cpu, "answer": rows, "anon_bytes": anon_bytes() })
        );
    }
    engine.stop()
}

/// Looks `--count` keys up, each by a statement of its own; the first tenth warms and is not reported. With `--distinct` only so
/// many different ones, which shows what a look-up takes whose memory is at hand.
fn lookup(arguments: &Arguments) -> Result<()> {
    let (rows, count) = (arguments.number("rows", 10_000_000), arguments.number("count", 100_000));
    let (seed, distinct) = (arguments.number("seed", 1), arguments.number("distinct", u64::MAX));
    let started = Meter::new();
    let engine = open(arguments, None)?;
    let mut session = engine.session();
    let mut one = |i: u64| {
        let key = draw(seed, 300, i % distinct) % rows;
        let mut found = 0;
        session.run(&format!("SELECT * FROM readings WHERE id = {key}"), &mut |report| {
            match report.outcome {
                Ok(Outcome::Rows { batches, .. }) => found += batches.iter().map(|batch| batch.len()).sum::<usize>(),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
            ControlFlow::Continue(())
        });
        assert_eq!(found, 1, "key {key} has a row");
    };
    one(0);
    started.report("first", 1, &json!({}));
    (0..count / 10).for_each(&mut one);
    let clock = SystemClock::new();
    let meter = Meter::new();
    let mut each: Vec<Duration> = Vec::with_capacity(count as usize);
    for i in 0..count {
        let from = clock.monotonic();
        one(i);
        each.push(clock.monotonic() - from);
    }
    each.sort_unstable();
    let at = |part: f64| each[((each.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    meter.report("lookup", count, &json!({ "median_us": at(0.5), "p99_us": at(0.99) }));
    engine.stop()
}

/// Every key once and then `--updates` keys again, through a source, while a job counts and sums by site: every update
/// withdraws the old row from it.
fn aggregate(arguments: &Arguments) -> Result<()> {
    let (rows, updates) = (arguments.number("rows", 10_000_000), arguments.number("updates", 5_000_000));
    let tap = Tap::new(Flow { rows, seed: arguments.number("seed", 1), batch: arguments.number("batch", 10_000) });
    let engine = open(arguments, Some(tap.clone()))?;
    let mut session = engine.session();
    let columns = readings::COLUMNS;
    run(
        &mut session,
        &format!(
            "CREATE TABLE readings ({columns}, PRIMARY KEY (id) NOT ENFORCED);
             CREATE TABLE by_site (site STRING, readings BIGINT, load_mw DOUBLE, PRIMARY KEY (site) NOT ENFORCED);
             INSERT INTO by_site SELECT site, COUNT(*), SUM(load_mw) FROM readings GROUP BY site;
             CREATE TEMPORARY TABLE tapped ({columns}, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
             INSERT INTO readings SELECT * FROM tapped;"
        ),
    );
    for (figure, writes) in [("insert", 0..rows), ("update", rows..rows + updates)] {
        let count = writes.end - writes.start;
        let mut meter = Meter::new();
        meter.deduct(tap.deliver(writes));
        engine.settle()?;
        meter.report(figure, count, &json!({}));
    }
    let job = run(&mut session, "SELECT COUNT(*), SUM(readings), SUM(load_mw) FROM by_site");
    let query = run(&mut session, "SELECT COUNT(DISTINCT site), COUNT(*), SUM(load_mw) FROM readings");
    println!("{}", json!({ "figure": "answers", "job": job, "query": query }));
    engine.stop()
}

/// What a tap draws from.
#[derive(Clone, Copy)]
struct Flow {
    rows: u64,
    seed: u64,
    batch: u64,
}

/// `'connector' = 'tap'`: gives the writes that it is asked for as fast as they are taken, in commits of one batch each.
#[derive(Clone)]
struct Tap {
    flow: Flow,
    orders: Arc<Queue<Range<u64>>>,
    /// CPU time that the tap's own thread spent on an order.
    receipts: Arc<Queue<Duration>>,
    /// Up to which write everything is durable.
    durable: Arc<AtomicU64>,
}

/// A queue of one place that any thread may use.
struct Queue<T> {
    sender: SyncSender<T>,
    receiver: Mutex<Receiver<T>>,
}

impl<T> Queue<T> {
    fn new() -> Arc<Self> {
        let (sender, receiver) = sync_channel(1);
        Arc::new(Self { sender, receiver: Mutex::new(receiver) })
    }

    fn put(&self, value: T) {
        self.sender.send(value).expect("the receiver is held beside the sender");
    }

    fn take(&self) -> T {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv().expect("the sender is held beside the receiver")
    }
}

impl Tap {
    fn new(flow: Flow) -> Self {
        Self { flow, orders: Queue::new(), receipts: Queue::new(), durable: Arc::default() }
    }

    /// Has these writes delivered, waits until they are durable, and gives the CPU time of making them up.
    fn deliver(&self, writes: Range<u64>) -> Duration {
        let end = writes.end;
        self.orders.put(writes);
        let spent = self.receipts.take();
        while self.durable.load(Ordering::Acquire) < end {
            std::thread::park_timeout(DURABLE_LOOK);
        }
        spent
    }

    /// Carries out orders until whoever receives has gone.
    fn run(&self, source: SourceId, table: u32, events: &SourceEvents) -> Option<()> {
        let send = |event| events.send((source, event)).ok();
        let position = |write: u64| write.to_be_bytes().to_vec();
        send(SourceEvent::SnapshotDone { table, position: position(0) })?;
        send(SourceEvent::Connected)?;
        let keys = readings::Keys::new(self.flow.seed, self.flow.rows);
        loop {
            let writes = self.orders.take();
            let before = thread_cpu();
            for from in writes.clone().step_by(self.flow.batch as usize) {
                let to = writes.end.min(from + self.flow.batch);
                let of_writes: Vec<u64> = (from..to).map(|write| keys.of(write)).collect();
                let kinds = vec![RowKind::UpdateAfter; of_writes.len()];
                let batch = KindBatch::new(readings::rows(self.flow.seed, from, &of_writes), kinds);
                send(SourceEvent::Rows { table, columns: None, batch })?;
                send(SourceEvent::Commit { position: position(to), event_time_micros: 0, received_micros: 0 })?;
            }
            self.receipts.put(thread_cpu() - before);
        }
    }
}

impl SourceConnector for Tap {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        Ok(SourceDescription {
            stream_key: "tap".into(),
            table_key: definition.path.to_string(),
            shared: false,
            bounded: false,
            mode: ChangelogMode::Upsert,
            notices: Vec::new(),
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        _: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let tap = self.clone();
        let table = tables[0].id;
        // A receiver that has gone has stopped the stream: there is nobody to tell.
        std::thread::spawn(move || tap.run(source, table, &events));
        Ok(Box::new(TapStream(self.durable.clone())))
    }
}

struct TapStream(Arc<AtomicU64>);

impl SourceStream for TapStream {
    fn add_table(&self, _: SourceTable) {}

    fn remove_table(&self, _: u32) {}

    fn read_again(&self, _: u32) {}

    fn acknowledge(&self, position: SourcePosition) {
        let position = position.try_into().map(u64::from_be_bytes).expect("positions are those that the tap gave");
        self.0.fetch_max(position, Ordering::AcqRel);
    }

    fn stop(self: Box<Self>) {}
}
