//! What it takes to freeze, write and thaw state, to keep it again after some keys have changed, and to go on with a fraction of
//! the memory that it needs: a GROUP BY with a million groups and four aggregates, and a join of two inputs with a million rows
//! each. `bench/flow state` runs it.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array};
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, Schema, TypeKind};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{
    CHUNK_ROWS, Dataflow, DataflowBuilder, Earlier, FilePlaces, Governor, JoinKind, JoinSpec, KeptState, KeptWriter,
    TickContext,
};

const KEYS: usize = 1_000_000;
const ROUNDS: usize = 4;

/// Small ticks before and after freezing, and how many rows of each input change in one.
const TICKS: usize = 50;
const TICK_ROWS: usize = 50;

/// How many keys change between two times that a state is kept: one of a hundred.
const CHANGED: usize = KEYS / 100;

fn batch(rows: &[(i64, i64, i32)]) -> ChangeBatch {
    let column =
        |f: fn(&(i64, i64, i32)) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(f))) };
    let weights = Int32Array::from_iter_values(rows.iter().map(|row| row.2));
    ChangeBatch::new(vec![column(|r| r.0), column(|r| r.1), column(|r| r.1 % 1000)], rows.len(), Some(weights))
}

fn schema() -> Schema {
    let column = |name: &str| Column::new(name, TypeKind::BigInt.nullable());
    Schema::new(["k", "v", "w"].map(column).to_vec())
}

fn groups(governor: Option<&Arc<Governor>>) -> Dataflow {
    let mut b = builder(governor);
    let input = b.input(schema());
    let call = |function, args: &[usize], kind: TypeKind| AggregateCall {
        function,
        args: args.to_vec(),
        distinct: false,
        filter: None,
        sql_type: kind.nullable(),
    };
    use AggregateFunction::{Avg, Count, Max, Sum};
    let kind = || TypeKind::BigInt;
    let calls =
        vec![call(Count, &[1], kind()), call(Sum, &[1], kind()), call(Avg, &[2], kind()), call(Max, &[1], kind())];
    let node = b.aggregate(input, vec![0], calls).expect("the columns are there");
    b.output(node);
    b.build()
}

fn join(governor: Option<&Arc<Governor>>) -> Dataflow {
    let mut b = builder(governor);
    let (left, right) = (b.input(schema()), b.input(schema()));
    let node = b.join(left, right, JoinSpec::on(JoinKind::Inner, &[(0, 0)])).expect("the columns are there");
    b.output(node);
    b.build()
}

fn builder(governor: Option<&Arc<Governor>>) -> DataflowBuilder {
    let b = DataflowBuilder::new(1);
    match governor {
        Some(governor) => b.governor(governor.clone()),
        None => b,
    }
}

/// Loads every key, then updates `ROUNDS` chunks of drawn ones; gives the seconds that the updates took.
fn run(flow: &mut Dataflow, inputs: usize, clock: &SystemClock, governor: Option<&Arc<Governor>>) -> f64 {
    let ctx = TickContext { now_micros: 0, zone: chrono_tz::UTC };
    let mut values: Vec<i64> = (0..KEYS as i64).collect();
    let end = |flow: &mut Dataflow| {
        flow.finish_tick(&ctx).expect("the tick succeeds");
        if governor.is_some_and(|governor| governor.choose()) {
            flow.relieve().expect("the disk takes it");
        }
    };
    for from in (0..KEYS).step_by(CHUNK_ROWS) {
        let rows: Vec<_> = (from..(from + CHUNK_ROWS).min(KEYS)).map(|k| (k as i64, values[k], 1)).collect();
        (0..inputs).for_each(|input| flow.push(input, batch(&rows)).expect("the columns fit"));
        end(flow);
    }
    let mut random = Random::new(1);
    let started = clock.monotonic();
    for _ in 0..ROUNDS {
        let mut rows = Vec::new();
        for _ in 0..CHUNK_ROWS / 2 {
            let key = random.below(KEYS as u64) as usize;
            rows.push((key as i64, values[key], -1));
            values[key] = random.between(0, 1_000_000);
            rows.push((key as i64, values[key], 1));
        }
        (0..inputs).for_each(|input| flow.push(input, batch(&rows)).expect("the columns fit"));
        end(flow);
    }
    (clock.monotonic() - started).as_secs_f64()
}

/// Ticks of few changes each; gives the seconds of the longest.
fn longest_tick(flow: &mut Dataflow, inputs: usize, clock: &SystemClock, random: &mut Random) -> f64 {
    let ctx = TickContext { now_micros: 0, zone: chrono_tz::UTC };
    let mut longest: f64 = 0.0;
    for _ in 0..TICKS {
        let key = |random: &mut Random| (random.below(KEYS as u64) as i64, random.between(0, 1_000_000), 1);
        let rows: Vec<_> = (0..TICK_ROWS).map(|_| key(random)).collect();
        let batch = batch(&rows);
        let started = clock.monotonic();
        (0..inputs).for_each(|input| flow.push(input, batch.clone()).expect("the columns fit"));
        flow.finish_tick(&ctx).expect("the tick succeeds");
        longest = longest.max((clock.monotonic() - started).as_secs_f64());
    }
    longest
}

/// Files by number, and the state that was kept last.
#[derive(Default)]
struct Keeping {
    files: Vec<Vec<u8>>,
    last: KeptState,
}

impl Keeping {
    /// Keeps the state and tells what that took; `forgets` as a restart does where spilled files stand.
    fn keep(&mut self, what: &str, flow: &mut Dataflow, forgets: bool, clock: &SystemClock) {
        let frozen = flow.freeze().expect("it is between ticks");
        let (mut file, number) = (Vec::new(), self.files.len() as u64);
        let started = clock.monotonic();
        let all = |number: u64| self.files.get(number as usize).map(|file| &file[..]);
        let earlier = Earlier::of(&self.last.spans, &all, &|_| true).expect("all files are there");
        let nothing = FilePlaces::new();
        let known = if forgets { &nothing } else { &self.last.files };
        let kept = frozen.keep(KeptWriter::new(earlier, known, &mut file, (number, 0))).expect("memory takes it");
        let took = (clock.monotonic() - started).as_secs_f64();
        self.files.push(file);
        self.last = kept;
        println!(
            "{what}: {:.1} MB of {:.0} MB written in {took:.3} s, {} spans",
            self.last.written as f64 / 1e6,
            self.last.len as f64 / 1e6,
            self.last.spans.len()
        );
    }

    fn parts(&self) -> Vec<&[u8]> {
        self.last.spans.iter().map(|s| &self.files[s.file as usize][s.at as usize..(s.at + s.len) as usize]).collect()
    }
}

/// Gives one key of a hundred another row: keys that are there, side by side or anywhere, or new ones.
fn change(flow: &mut Dataflow, inputs: usize, keys: &dyn Fn(usize) -> i64, random: &mut Random) {
    let ctx = TickContext { now_micros: 0, zone: chrono_tz::UTC };
    for from in (0..CHANGED).step_by(CHUNK_ROWS / 2) {
        let rows: Vec<_> =
            (from..CHANGED.min(from + CHUNK_ROWS / 2)).map(|i| (keys(i), random.between(0, 1_000_000), 1)).collect();
        (0..inputs).for_each(|input| flow.push(input, batch(&rows)).expect("the columns fit"));
    }
    flow.finish_tick(&ctx).expect("the tick succeeds");
}

/// Keeps a state several times, with changes between.
fn keep(name: &str, inputs: usize, flow: &mut Dataflow, clock: &SystemClock) -> Keeping {
    let mut keeping = Keeping::default();
    let mut random = Random::new(3);
    let drawn: Vec<i64> = (0..CHANGED).map(|_| random.below(KEYS as u64) as i64).collect();
    let drawn_again: Vec<i64> = (0..CHANGED).map(|_| random.below(KEYS as u64) as i64).collect();
    keeping.keep(&format!("{name}, kept for the first time"), flow, false, clock);
    keeping.keep(&format!("{name}, kept again at once"), flow, false, clock);
    change(flow, inputs, &|i| (KEYS / 2 + i) as i64, &mut random);
    keeping.keep(&format!("{name}, kept after 1 % of keys side by side"), flow, false, clock);
    change(flow, inputs, &|i| (KEYS + i) as i64, &mut random);
    keeping.keep(&format!("{name}, kept after 1 % more keys"), flow, false, clock);
    change(flow, inputs, &|i| drawn[i], &mut random);
    keeping.keep(&format!("{name}, kept after 1 % of keys anywhere"), flow, false, clock);
    change(flow, inputs, &|i| drawn_again[i], &mut random);
    keeping.keep(&format!("{name}, kept after another 1 % anywhere, after a restart"), flow, true, clock);
    keeping
}

fn measure(name: &str, inputs: usize, build: fn(Option<&Arc<Governor>>) -> Dataflow) {
    let clock = SystemClock::new();
    let mut flow = build(None);
    let plain = run(&mut flow, inputs, &clock, None);
    let seconds = |f: &mut dyn FnMut()| {
        let started = clock.monotonic();
        f();
        (clock.monotonic() - started).as_secs_f64()
    };
    let mut random = Random::new(2);
    let before = longest_tick(&mut flow, inputs, &clock, &mut random);
    let (mut frozen, mut bytes) = (None, Vec::new());
    let freeze = seconds(&mut || frozen = Some(flow.freeze().expect("it is between ticks")));
    let frozen = frozen.expect("it was frozen just now");
    let after = longest_tick(&mut flow, inputs, &clock, &mut random);
    let write = seconds(&mut || {
        frozen.write(&mut bytes).expect("memory takes it");
    });
    drop(frozen);
    let mut twin = build(None);
    let thaw = seconds(&mut || twin.thaw(&bytes).expect("it is the same plan"));
    let held = flow.state_bytes();
    println!(
        "{name}: {:.0} MB in memory, {:.0} MB frozen; freeze {:.3} ms, write {write:.3} s, thaw {thaw:.3} s",
        held as f64 / 1e6,
        bytes.len() as f64 / 1e6,
        freeze * 1e3,
    );
    println!(
        "{name}: the longest tick of {TICK_ROWS} changes {:.3} ms before it was frozen, {:.3} ms after",
        before * 1e3,
        after * 1e3
    );
    drop((twin, bytes));
    let keeping = keep(name, inputs, &mut flow, &clock);
    let mut twin = build(None);
    let thaw = seconds(&mut || twin.thaw_parts(&keeping.parts()).expect("it is the same plan"));
    println!("{name}: thaw from {} files {thaw:.3} s", keeping.files.len());
    drop((flow, twin, keeping));
    let changes = (ROUNDS * CHUNK_ROWS * inputs) as f64;
    println!("{name}: {:.0} changes a second without a budget", changes / plain);
    let dir = std::env::temp_dir().join(format!("gridhouse-frozen-{}", std::process::id()));
    for (share, percent) in [(held * 2, 200), (held / 2, 50), (held / 10, 10)] {
        let governor = Governor::new(Arc::new(DiskFileSystem), &dir, share).expect("a directory");
        let mut flow = build(Some(&governor));
        let took = run(&mut flow, inputs, &clock, Some(&governor));
        println!(
            "{name}: {:.0} changes a second with memory for {percent} %, {:.0} MB on disk",
            changes / took,
            governor.spilled_bytes() as f64 / 1e6
        );
        if percent == 10 {
            let name = format!("{name} with memory for 10 %");
            keep(&name, inputs, &mut flow, &clock);
        }
    }
    // Nothing else is to be left of it.
    let _ = std::fs::remove_dir(&dir);
}

fn main() {
    measure("group by", 1, groups);
    measure("join", 2, join);
}
