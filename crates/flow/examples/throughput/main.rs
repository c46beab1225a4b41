//! Changes per CPU second of a GROUP BY with a million groups and of a join of two keyed inputs with a million rows each,
//! both under updates (an old row goes, a new one comes: two changes). `bench/flow` runs it.
//!
//! Arguments: a part of the names of the cases to run (all, if none is given), `--runs N` (3), `--rows N` (a million).
//! Only the time in which the dataflow works is counted, by the processor's clock of the thread; making the rows is not.
//! Bytes are what the dataflow says that it holds after the first run and, in parentheses, by how much the process has grown;
//! for that every case has a process of its own.

mod rows;

use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_base::{Result, TypeKind};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{CHUNK_ROWS, Dataflow, DataflowBuilder, JoinKind, JoinSpec, TickContext};
use rows::{Shape, Table};
use rustix::time::{ClockId, clock_gettime};

/// A dataflow with the tables that it reads.
struct Case {
    name: &'static str,
    build: fn(usize) -> Result<(Dataflow, Vec<Table>)>,
    /// Changes per input and tick.
    tick: usize,
}

/// What a run gave.
struct Figures {
    loaded_per_second: f64,
    changes_per_second: f64,
    given_out: usize,
    state_bytes: f64,
    resident_bytes: f64,
}

fn call(function: AggregateFunction, args: Vec<usize>, kind: TypeKind) -> AggregateCall {
    AggregateCall { function, args, distinct: false, filter: None, sql_type: kind.nullable() }
}

/// `SELECT key, COUNT(*), SUM(load_mw), AVG(price)[, MAX(at)] FROM readings GROUP BY key`, two readings a group.
fn group_by(rows: usize, key: usize, with_max: bool) -> Result<(Dataflow, Vec<Table>)> {
    let shape = Shape::Readings { feeders: rows as u64 };
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(shape.schema());
    let mut calls = vec![
        call(AggregateFunction::CountStar, vec![], TypeKind::BigInt),
        call(AggregateFunction::Sum, vec![2], TypeKind::Double),
        call(AggregateFunction::Avg, vec![3], TypeKind::Decimal { precision: 38, scale: 6 }),
    ];
    if with_max {
        calls.push(call(AggregateFunction::Max, vec![4], TypeKind::BigInt));
    }
    let node = builder.aggregate(input, vec![key], calls)?;
    builder.output(node);
    Ok((builder.build(), vec![Table::new(shape, 2 * rows)]))
}

/// `SELECT * FROM latest JOIN devices ON latest.key = devices.key`.
fn join(rows: usize, kind: JoinKind, key: usize) -> Result<(Dataflow, Vec<Table>)> {
    let mut builder = DataflowBuilder::new(1);
    let (left, right) = (builder.input(Shape::Latest.schema()), builder.input(Shape::Devices.schema()));
    let node = builder.join(left, right, JoinSpec::on(kind, &[(key, key)]))?;
    builder.output(node);
    Ok((builder.build(), vec![Table::new(Shape::Latest, rows), Table::new(Shape::Devices, rows)]))
}

const CASES: &[Case] = &[
    Case { name: "group by BIGINT, 4 aggregates", build: |rows| group_by(rows, 0, true), tick: CHUNK_ROWS },
    Case { name: "group by BIGINT, 4 aggregates, small ticks", build: |rows| group_by(rows, 0, true), tick: 1_000 },
    Case { name: "group by BIGINT, no MAX", build: |rows| group_by(rows, 0, false), tick: CHUNK_ROWS },
    Case { name: "group by STRING, 4 aggregates", build: |rows| group_by(rows, 1, true), tick: CHUNK_ROWS },
    Case { name: "group by STRING, 4 aggregates, small ticks", build: |rows| group_by(rows, 1, true), tick: 1_000 },
    Case { name: "join on BIGINT", build: |rows| join(rows, JoinKind::Inner, 0), tick: CHUNK_ROWS },
    Case { name: "join on BIGINT, small ticks", build: |rows| join(rows, JoinKind::Inner, 0), tick: 1_000 },
    Case { name: "join on STRING", build: |rows| join(rows, JoinKind::Inner, 1), tick: CHUNK_ROWS },
    Case { name: "left join on BIGINT", build: |rows| join(rows, JoinKind::Left, 0), tick: CHUNK_ROWS },
];

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Bytes of memory of this process (second field of `/proc/self/statm`, in pages of 4 KiB).
fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4096.0
}

/// Loads the tables in ticks of a chunk, then updates each of them `rows` times, `case.tick` changes in a tick.
fn run(case: &Case, rows: usize, seed: u64) -> Result<Figures> {
    let resident_before = resident_bytes();
    let ctx = TickContext { now_micros: 0, zone: chrono_tz::UTC };
    let (mut flow, mut tables) = (case.build)(rows)?;
    let (mut busy, mut loaded) = (Duration::ZERO, 0);
    for (input, table) in tables.iter().enumerate() {
        for batch in table.load(CHUNK_ROWS) {
            loaded += batch.len();
            let started = cpu_time();
            flow.push(input, batch)?;
            drop(flow.finish_tick(&ctx)?);
            busy += cpu_time() - started;
        }
    }
    let loaded_per_second = loaded as f64 / busy.as_secs_f64();
    let (mut random, mut busy, mut changes, mut given_out) = (Random::new(seed), Duration::ZERO, 0, 0);
    while changes < 2 * rows * tables.len() {
        let batches: Vec<_> = tables.iter_mut().map(|table| table.update(&mut random, case.tick)).collect();
        let started = cpu_time();
        for (input, batch) in batches.into_iter().enumerate() {
            changes += batch.len();
            flow.push(input, batch)?;
        }
        given_out += flow.finish_tick(&ctx)?[0].iter().map(|batch| batch.len()).sum::<usize>();
        busy += cpu_time() - started;
    }
    let state_rows = rows as f64 * tables.len() as f64;
    Ok(Figures {
        loaded_per_second,
        changes_per_second: changes as f64 / busy.as_secs_f64(),
        given_out,
        state_bytes: flow.state_bytes() as f64 / state_rows,
        resident_bytes: (resident_bytes() - resident_before) / state_rows,
    })
}

/// Runs a case and prints its line.
fn measure(case: &Case, runs: usize, rows: usize) -> Result<()> {
    let figures = (0..runs).map(|seed| run(case, rows, seed as u64)).collect::<Result<Vec<_>>>()?;
    let of = |figure: fn(&Figures) -> f64| figures.iter().map(figure).collect::<Vec<_>>();
    let rates = of(|figures| figures.changes_per_second);
    let (worst, best) = (rates.iter().copied().fold(f64::MAX, f64::min), rates.iter().copied().fold(0.0, f64::max));
    println!(
        "| {} | {:.2} M | {:.2} M ({:.2}, {:.2}) | {:.2} M | {:.0} ({:.0}) |",
        case.name,
        median(of(|figures| figures.loaded_per_second)) / 1e6,
        median(rates) / 1e6,
        worst / 1e6,
        best / 1e6,
        figures[0].given_out as f64 / 1e6,
        figures[0].state_bytes,
        figures[0].resident_bytes,
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let (mut wanted, mut only, mut runs, mut rows) = (String::new(), None, 3, 1_000_000);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let number = arguments.next().and_then(|n| n.parse::<usize>().ok());
            number.filter(|&number| number > 0).unwrap_or_else(|| panic!("{argument} wants a positive number"))
        };
        match argument.as_str() {
            "--runs" => runs = number(),
            "--rows" => rows = number(),
            "--only" => only = arguments.next(),
            part => wanted = part.into(),
        }
    }
    if let Some(case) = CASES.iter().find(|case| Some(case.name) == only.as_deref()) {
        return measure(case, runs, rows);
    }
    println!(
        "| case | rows loaded / CPU s | changes / CPU s (worst, best of {runs}) | changes out | bytes a group or row |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let program = std::env::current_exe().expect("the program knows where it is");
    for case in CASES.iter().filter(|case| case.name.contains(&wanted)) {
        let mut child = std::process::Command::new(&program);
        child.args(["--only", case.name, "--runs", &runs.to_string(), "--rows", &rows.to_string()]);
        let status = child.status().expect("the program can be run again");
        assert!(status.success(), "{} failed", case.name);
    }
    Ok(())
}
