//! Memory and time that one large transaction takes on its way through a chain of three layers:
//! `cargo run --release -p gridhouse-engine --example large_transaction [ROWS] [ROWS A ROUND] [MB A TICK]`.
//!
//! Printed are the time from the source's commit until readers see it, the most memory that belongs to no file (looked at every 5 ms)
//! that the process had by then, and what the tables themselves take. A second argument changes how many rows go through the
//! jobs at once, a third how much of what a tick leaves in tables stays in memory: as much as there is shows what a tick in one
//! piece costs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Result, RowKind, SourceId, Value};
use gridhouse_engine::{DEFAULT_STATE_BYTES, Engine, EngineOptions, Outcome, Session, Tuning};
use gridhouse_flow::connector::{
    ChangelogMode, SourceConnector, SourceDescription, SourceEvent, SourceEvents, SourcePosition, SourceStream,
    SourceTable, StreamPlace,
};
use gridhouse_store::{Limits, StoreOptions};

/// Rows that the source delivers at once.
const EVENT_ROWS: u64 = 65_536;

/// A source with an empty table, then one transaction.
struct Flood {
    rows: u64,
}

impl SourceConnector for Flood {
    fn describe(&self, _: &TableDef) -> Result<SourceDescription> {
        Ok(SourceDescription {
            stream_key: "flood".into(),
            table_key: "only".into(),
            shared: true,
            bounded: false,
            mode: ChangelogMode::Upsert,
            notices: vec![],
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
        let rows = self.rows;
        std::thread::spawn(move || {
            let send = |event| drop(events.send((source, event)));
            for table in &tables {
                send(SourceEvent::SnapshotDone { table: table.id, position: vec![0] });
            }
            for from in (0..rows).step_by(EVENT_ROWS as usize) {
                let ids = from as i64..(from + EVENT_ROWS).min(rows) as i64;
                let names = StringArray::from_iter_values(ids.clone().map(|id| format!("device {}", id % 1_000)));
                let batch: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids.clone())), Arc::new(names)];
                let batch = KindBatch::new(batch, vec![RowKind::Insert; ids.count()]);
                send(SourceEvent::Rows { table: tables[0].id, columns: None, batch });
            }
            send(SourceEvent::Commit { position: vec![1], event_time_micros: 1, received_micros: 1 });
        });
        Ok(Box::new(Stream))
    }
}

struct Stream;

impl SourceStream for Stream {
    fn add_table(&self, _: SourceTable) {}

    fn read_again(&self, _: u32) {}
    fn remove_table(&self, _: u32) {}
    fn acknowledge(&self, _: SourcePosition) {}
    fn stop(self: Box<Self>) {}
}

/// The first number of a query's answer.
fn number(session: &mut Session, text: &str) -> i64 {
    let mut number = 0;
    session.run(text, &mut |report| {
        match report.outcome {
            Ok(Outcome::Rows { schema, batches }) => {
                if let Some(batch) = batches.iter().find(|batch| !batch.is_empty()) {
                    let value = Value::from_array(batch.column(0), 0, &schema.columns[0].sql_type.kind);
                    number = if let Value::Integer(value) = value { value } else { 0 };
                }
            }
            Ok(_) => {}
            Err(error) => panic!("{error}\nin {text}"),
        }
        ControlFlow::Continue(())
    });
    number
}

/// Megabytes that `/proc/self/status` has under `name`.
fn megabytes(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1_024.0
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number of rows"));
    let rows = args.next().unwrap_or(1_000_000);
    let round_rows = args.next().map_or(Tuning::default().round_rows, |rows| rows as usize);
    let mut limits = Limits::default();
    limits.tick_bytes = args.next().map_or(limits.tick_bytes, |megabytes| (megabytes as usize) << 20);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = StoreOptions::new(dir.path(), Arc::new(DiskFileSystem), clock.clone(), 7);
    let options = EngineOptions {
        store: StoreOptions { limits, ..store },
        clock: clock.clone(),
        sources: BTreeMap::from([("flood", Arc::new(Flood { rows }) as Arc<dyn SourceConnector>)]),
        sinks: BTreeMap::new(),
        scans: BTreeMap::new(),
        lookups: BTreeMap::new(),
        state_bytes: DEFAULT_STATE_BYTES,
        consumer_cap: Default::default(),
        on_fatal: Arc::new(|error| panic!("the engine failed: {error}")),
    };
    let engine = Engine::open_tuned(options, Tuning { round_rows, ..Tuning::default() }).expect("the engine opens");
    let mut session = engine.session();
    number(
        &mut session,
        "CREATE TABLE ods (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE dwd (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TABLE dws (one INT, n BIGINT, PRIMARY KEY (one) NOT ENFORCED);
         INSERT INTO dwd SELECT id, UPPER(v) FROM ods;
         INSERT INTO dws SELECT 1, COUNT(*) FROM dwd",
    );
    let before = megabytes("RssAnon");
    let mut most = before;
    let started = clock.monotonic();
    number(
        &mut session,
        "CREATE TEMPORARY TABLE flood (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'flood');
         INSERT INTO ods SELECT * FROM flood",
    );
    loop {
        let n = number(&mut session, "SELECT n FROM dws WHERE one = 1");
        assert!(n == 0 || n == rows as i64, "a part of the transaction is seen: {n} rows");
        if n > 0 {
            break;
        }
        most = most.max(megabytes("RssAnon"));
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let took = clock.monotonic() - started;
    most -= before;
    let tables = number(&mut session, "SELECT SUM(memory_bytes) + SUM(disk_bytes) FROM system.status.storage") as f64
        / 1_048_576.0;
    println!(
        "{rows} rows in rounds of {round_rows}: {:.2} s, {most:.0} MB at most, of which the tables take {tables:.0} MB and their key indexes some {:.0} MB",
        took.as_secs_f64(),
        2.0 * rows as f64 * 32.0 / 1_048_576.0
    );
    engine.stop().expect("the engine stops");
}
