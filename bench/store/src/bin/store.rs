//! Figures of the store alone. Each command runs in a process of its own and prints a line of JSON per stretch.
//!
//! `load` and `append` make every batch durable before the next begins, on the same thread, as the peers do.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::{Result, RowKind, Schema, SourceId, TableId};
use gridhouse_bench_store::arguments::Arguments;
use gridhouse_bench_store::devices;
use gridhouse_bench_store::draw::{digest, draw};
use gridhouse_bench_store::meter::{Meter, anon_bytes, disk_bytes};
use gridhouse_bench_store::readings::{self, Keys};
use gridhouse_store::{Part, SourceCommit, Store, StoreOptions, TableSpec};
use serde_json::json;

/// The source that rows are said to come from.
const SOURCE: SourceId = SourceId(1);

/// How many batches are made up at once, so that making and storing do not share the processor's caches row by row.
const BLOCK_BATCHES: u64 = 50;

/// The most rows of a step of a tick, as in the program.
const ROUND_ROWS: usize = 65_536;

const USAGE: &str =
    "usage: bench-store digest|load|append|devices|lookup --dir DIR [--rows N] [--updates N] [--batch N] …";

fn main() -> Result<()> {
    let arguments = Arguments::read();
    match arguments.command.as_str() {
        "digest" => {
            print_digests(arguments.number("seed", 1));
            Ok(())
        }
        "load" => load(&arguments),
        "append" => append(&arguments),
        "devices" => fill_devices(&arguments),
        "lookup" => lookup(&arguments),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2)
        }
    }
}

/// Numbers by which the driver sees that its own rows are the same.
fn print_digests(seed: u64) {
    let keys = Keys::new(seed, 5_000);
    let of_writes: Vec<u64> = (0..7_500).map(|write| keys.of(write)).collect();
    let readings = digest(&readings::rows(seed, 0, &of_writes));
    let devices = digest(&devices::rows(seed, 0, 10_000));
    println!("{}", json!({ "readings": readings, "devices": devices }));
}

fn open(arguments: &Arguments) -> Result<Store> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut options = StoreOptions::new(arguments.dir(), Arc::new(DiskFileSystem), clock, 1);
    let index_bytes = arguments.number("index-budget", options.limits.index_bytes as u64);
    options.limits.index_bytes = index_bytes as usize;
    let store = Store::open(options)?;
    // Segments and checkpoints are made on a thread of their own, as in the program.
    let keeper = store.keeper();
    std::thread::spawn(move || keeper.run());
    Ok(store)
}

/// The table that `--table` names, or the one of `spec`; created where it is missing.
fn table(store: &mut Store, arguments: &Arguments, mut spec: TableSpec) -> Result<TableId> {
    if let Some(name) = arguments.text("table") {
        name.clone_into(&mut spec.name);
    }
    if let Ok(table) = store.ordered_snapshot().table_named(&spec.name) {
        return Ok(table.id());
    }
    let mut tick = store.tick()?;
    let id = tick.create_table(spec)?;
    tick.publish()?;
    Ok(id)
}

/// What has gone to disk since the store was opened.
fn written(store: &Store) -> serde_json::Value {
    let written = store.written();
    json!({
        "log": written.log_bytes,
        "sealed": written.sealed_bytes,
        "compacted": written.compacted_bytes,
        "checkpoints": written.checkpoints,
    })
}

/// Gives the store `rows` rows of `table` in batches, each durable before the next, and takes the time of it.
fn write(
    store: &mut Store,
    table: TableId,
    (first, rows, batch): (u64, u64, u64),
    make: &dyn Fn(u64, u64) -> Vec<ArrayRef>,
) -> Result<Meter> {
    let mut meter = Meter::new();
    let end = first + rows;
    let mut from = first;
    while from < end {
        let starts: Vec<u64> = (from..end).step_by(batch as usize).take(BLOCK_BATCHES as usize).collect();
        let sizes = |start: u64| batch.min(end - start);
        let made: Vec<KindBatch> = meter.aside(|| {
            let kinds = |size: u64| vec![RowKind::Insert; size as usize];
            starts.iter().map(|&start| KindBatch::new(make(start, sizes(start)), kinds(sizes(start)))).collect()
        });
        for (&start, batch) in starts.iter().zip(made) {
            from = start + batch.len() as u64;
            store.append_source(SourceCommit {
                source: SOURCE,
                position: from.to_le_bytes().to_vec(),
                event_time_micros: 0,
                parts: vec![Part::new(table, batch)],
                stages: vec![],
            })?;
            let mut tick = store.tick()?;
            // No job reads the table, as the engine would say.
            while tick.apply_step_for(ROUND_ROWS, &|_| false)?.is_some_and(|step| !step.is_last) {}
            tick.publish()?;
            store.sync()?;
            store.maintain(&mut || None)?;
        }
    }
    Ok(meter)
}

/// Every key once in an order that looks random, then `--updates` keys again, then a clean stop or, with `--end kill`, none.
fn load(arguments: &Arguments) -> Result<()> {
    let (rows, updates) = (arguments.number("rows", 10_000_000), arguments.number("updates", 0));
    let (batch, seed) = (arguments.number("batch", 10_000), arguments.number("seed", 1));
    let mut store = open(arguments)?;
    let table = table(&mut store, arguments, TableSpec::primary_key("readings", readings::schema(), vec![0]))?;
    let keys = Keys::new(seed, rows);
    let make = |start: u64, count: u64| {
        let of_writes: Vec<u64> = (start..start + count).map(|write| keys.of(write)).collect();
        readings::rows(seed, start, &of_writes)
    };
    let before = anon_bytes();
    for (figure, first, count) in [("insert", 0, rows), ("update", rows, updates)] {
        if count > 0 {
            let meter = write(&mut store, table, (first, count, batch), &make)?;
            let more = json!({ "anon_before": before, "index_bytes": store.index_bytes(), "written": written(&store) });
            meter.report(figure, count, &more);
        }
    }
    if arguments.text("end") == Some("kill") {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .expect("a process may kill itself");
    }
    let meter = Meter::new();
    store.close()?;
    meter.report("close", 0, &json!({ "disk": disk_bytes(&arguments.dir()).expect("the data directory is there") }));
    Ok(())
}

/// Rows of the same form into a log table.
fn append(arguments: &Arguments) -> Result<()> {
    let (rows, batch) = (arguments.number("rows", 10_000_000), arguments.number("batch", 10_000));
    let keys = Keys::new(arguments.number("seed", 1), rows);
    let make = |start: u64, count: u64| {
        let of_writes: Vec<u64> = (start..start + count).map(|write| keys.of(write)).collect();
        readings::rows(1, start, &of_writes)
    };
    write_log(arguments, "append", readings::schema(), (rows, batch), &make)
}

/// Device telemetry into a log table.
fn fill_devices(arguments: &Arguments) -> Result<()> {
    let (rows, batch) = (arguments.number("rows", 10_000_000), arguments.number("batch", 10_000));
    let seed = arguments.number("seed", 1);
    write_log(arguments, "devices", devices::schema(), (rows, batch), &|start, count| devices::rows(seed, start, count))
}

fn write_log(
    arguments: &Arguments,
    figure: &str,
    schema: Schema,
    (rows, batch): (u64, u64),
    make: &dyn Fn(u64, u64) -> Vec<ArrayRef>,
) -> Result<()> {
    let mut store = open(arguments)?;
    let table = table(&mut store, arguments, TableSpec::log(figure, schema))?;
    let meter = write(&mut store, table, (0, rows, batch), make)?;
    meter.report(figure, rows, &json!({ "written": written(&store) }));
    let meter = Meter::new();
    store.close()?;
    meter.report("close", 0, &json!({ "disk": disk_bytes(&arguments.dir()).expect("the data directory is there") }));
    Ok(())
}

/// Opens what `load` left, looks one key up, then `--count` keys twice: one by one, and in batches of 1,000. The second time is
/// the warm one.
fn lookup(arguments: &Arguments) -> Result<()> {
    let (rows, count) = (arguments.number("rows", 10_000_000), arguments.number("count", 1_000_000));
    let seed = arguments.number("seed", 1);
    let meter = Meter::new();
    let store = open(arguments)?;
    let opened = meter.wall_s();
    let snapshot = store.reader().snapshot();
    let spec = TableSpec::primary_key("readings", readings::schema(), vec![0]);
    let table = snapshot.table_named(arguments.text("table").unwrap_or(&spec.name))?;
    let key = |i: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![(draw(seed, 300, i) % rows) as i64])) };
    let (found, _) = table.get_batch(&[key(0)])?;
    meter.report("first", found.len() as u64, &json!({ "open_s": opened, "rows_in_table": table.row_count() }));
    for figure in ["cold", "warm"] {
        let meter = Meter::new();
        let mut found = 0;
        for i in 0..count {
            let value = gridhouse_base::Value::Integer((draw(seed, 300, i) % rows) as i64);
            found += u64::from(table.get(&[value])?.is_some());
        }
        assert_eq!(found, count, "every key has a row");
        meter.report(figure, found, &json!({}));
    }
    let meter = Meter::new();
    for from in (0..count).step_by(1000) {
        let keys = (from..(from + 1000).min(count)).map(|i| (draw(seed, 300, i) % rows) as i64);
        let keys: ArrayRef = Arc::new(keys.collect::<Int64Array>());
        assert_eq!(table.get_batch(std::slice::from_ref(&keys))?.0.len(), keys.len(), "every key has a row");
    }
    meter.report("by_1000", count, &json!({}));
    Ok(())
}
