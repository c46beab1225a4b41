//! Measures durable upserts: `cargo run --release -p gridhouse-store --example upserts [rows] [batch]`.
//!
//! Rows of about 100 bytes are upserted at random keys, half of them new, each batch as a source commit that is applied by
//! its own tick; a second thread syncs all the time, as the program does. Prints rows per second once everything is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use gridhouse_base::batch::KindBatch;
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::random::Random;
use gridhouse_base::{Column, Result, RowKind, Schema, SourceId, TypeKind};
use gridhouse_store::{Part, SourceCommit, Store, StoreOptions, TableSpec};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let rows: u64 = arguments.next().unwrap_or(2_000_000);
    let batch_rows: u64 = arguments.next().unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(SystemClock::new());
    let mut store = Store::open(StoreOptions::new(dir.path(), Arc::new(DiskFileSystem), clock.clone(), 1))?;

    let column = |name: &str, kind: TypeKind| Column::new(name, kind.nullable());
    let numbers = (0..8).map(|i| column(&format!("value_{i}"), TypeKind::Double));
    let head = [column("id", TypeKind::BigInt), column("name", TypeKind::STRING)];
    let spec = TableSpec::primary_key("t", Schema::new(head.into_iter().chain(numbers).collect()), vec![0]);
    let mut tick = store.tick()?;
    let table = tick.create_table(spec)?;
    tick.publish()?;

    let mut random = Random::new(7);
    let mut batch = || {
        let ids: Int64Array = (0..batch_rows).map(|_| random.below(rows / 2 + 1) as i64).collect();
        let names = StringArray::from_iter_values((0..batch_rows).map(|i| format!("feeder {i:06}")));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names)];
        for _ in 0..8 {
            columns.push(Arc::new((0..batch_rows).map(|_| random.unit()).collect::<Float64Array>()));
        }
        KindBatch::new(columns, vec![RowKind::Insert; batch_rows as usize])
    };
    let batches: Vec<KindBatch> = (0..rows / batch_rows).map(|_| batch()).collect();

    let syncer = store.syncer();
    let done = AtomicBool::new(false);
    let started = clock.monotonic();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                syncer.sync().expect("the disk works");
                std::thread::yield_now();
            }
        });
        for (i, batch) in batches.into_iter().enumerate() {
            let parts = vec![Part::new(table, batch)];
            let position = i.to_le_bytes().to_vec();
            store.append_source(SourceCommit {
                source: SourceId(1),
                position,
                event_time_micros: 0,
                parts,
                stages: vec![],
            })?;
            let mut tick = store.tick()?;
            tick.apply_pending()?;
            tick.publish()?;
        }
        done.store(true, Ordering::Relaxed);
        store.sync()
    })?;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    let table = store.ordered_snapshot().table(table)?;
    println!("{:.0} durable upserts/s; {} rows, {} MB", rows as f64 / seconds, table.row_count(), table.bytes() >> 20);
    Ok(())
}
