//! Times look-ups by key through a session: `cargo run --release -p gridhouse-engine --example lookups`.
//!
//! Every look-up is a statement of its own text, read, bound and answered; printed are medians and the 99th part in a hundred
//! over as many as say something, warm.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::random::Random;
use gridhouse_engine::{Engine, EngineOptions, Outcome, Session};
use gridhouse_store::StoreOptions;

const ROWS: u64 = 1_000_000;
const LOOKUPS: usize = 100_000;

fn run(session: &mut Session, text: &str) -> usize {
    let mut rows = 0;
    session.run(text, &mut |report| {
        match report.outcome {
            Ok(Outcome::Rows { batches, .. }) => rows = batches.iter().map(|batch| batch.len()).sum(),
            Ok(_) => {}
            Err(error) => panic!("{error}\nin {text}"),
        }
        ControlFlow::Continue(())
    });
    rows
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let engine = Engine::open(EngineOptions {
        store: StoreOptions::new(dir.path(), Arc::new(DiskFileSystem), clock.clone(), 7),
        clock: clock.clone(),
        sources: BTreeMap::new(),
        sinks: BTreeMap::new(),
        scans: BTreeMap::new(),
        lookups: BTreeMap::new(),
        state_bytes: gridhouse_engine::DEFAULT_STATE_BYTES,
        consumer_cap: Default::default(),
        on_fatal: Arc::new(|error| panic!("the engine failed: {error}")),
    })
    .expect("the engine opens");
    let mut session = engine.session();
    let digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))";
    run(
        &mut session,
        &format!(
            "CREATE TABLE t (id BIGINT, name STRING, load_kw DOUBLE, region STRING, PRIMARY KEY (id) NOT ENFORCED);
             CREATE VIEW thousand AS SELECT a.n * 100 + b.n * 10 + c.n AS n FROM {digits} AS a (n), {digits} AS b (n), {digits} AS c (n);
             INSERT INTO t SELECT CAST(a.n AS BIGINT) * 1000 + b.n, CONCAT('device ', CAST(b.n AS STRING)), a.n + b.n / 3.0E0, 'north'
             FROM thousand a, thousand b;"
        ),
    );
    let mut random = Random::new(1);
    for (name, query) in [
        ("SELECT * by one key", "SELECT * FROM t WHERE id = {0}"),
        ("one column by one key, one more condition", "SELECT load_kw FROM t WHERE id = {0} AND region = 'north'"),
        ("ten keys, IN", "SELECT * FROM t WHERE id IN ({0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9})"),
        ("the same text again and again", "SELECT * FROM t WHERE id = 4711"),
    ] {
        let mut nanos = Vec::with_capacity(LOOKUPS);
        for i in 0..LOOKUPS {
            let mut text = query.to_owned();
            for place in 0..10 {
                text = text.replace(&format!("{{{place}}}"), &random.below(ROWS).to_string());
            }
            let started = clock.monotonic();
            let rows = run(&mut session, &text);
            let took = (clock.monotonic() - started).as_nanos();
            assert!(rows >= 1, "{text} finds nothing");
            if i >= LOOKUPS / 10 {
                nanos.push(took);
            }
        }
        nanos.sort_unstable();
        let at = |part: usize| nanos[nanos.len() * part / 100] as f64 / 1_000.0;
        println!("{name}: median {:.1} µs, 99 in a hundred below {:.1} µs", at(50), at(99));
    }
    engine.stop().expect("the engine stops");
}
