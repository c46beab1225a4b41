//! Changes per CPU second: a GROUP BY with a million groups and four aggregates, and a join of two keyed inputs with a
//! million rows each, both under updates (withdrawal and insertion). `cargo run --release -p gridhouse-flow --example throughput`

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array};
use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, Schema, TypeKind};
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_flow::{CHUNK_ROWS, Dataflow, DataflowBuilder, JoinKind, JoinSpec, TickContext};

const KEYS: usize = 1_000_000;
const UPDATES: usize = 2_000_000;

/// CPU time of this process in seconds, from the kernel's account (field 14 and 15 of `/proc/self/stat`, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A keyed table: key and three values per row.
struct Table {
    values: Vec<i64>,
}

impl Table {
    fn rows(&self, keys: &[usize], weights: Option<Vec<i32>>, values: &[i64]) -> ChangeBatch {
        let column = |f: &dyn Fn(usize, i64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(keys.iter().zip(values).map(|(&k, &v)| f(k, v))))
        };
        let columns =
            vec![column(&|k, _| k as i64), column(&|_, v| v), column(&|_, v| v % 1000), column(&|k, v| k as i64 ^ v)];
        ChangeBatch::new(columns, keys.len(), weights.map(Int32Array::from))
    }

    fn load(&self) -> Vec<ChangeBatch> {
        let keys: Vec<usize> = (0..KEYS).collect();
        keys.chunks(CHUNK_ROWS).map(|keys| self.rows(keys, None, &self.values[keys[0]..keys[0] + keys.len()])).collect()
    }

    /// Updates of random keys: the old row goes, the new one comes.
    fn update(&mut self, random: &mut Random, count: usize) -> ChangeBatch {
        let (mut keys, mut weights, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let key = random.below(KEYS as u64) as usize;
            let new = random.between(0, 1_000_000);
            keys.extend([key, key]);
            weights.extend([-1, 1]);
            values.extend([self.values[key], new]);
            self.values[key] = new;
        }
        self.rows(&keys, Some(weights), &values)
    }
}

fn measure(name: &str, mut flow: Dataflow, inputs: usize) {
    let ctx = TickContext { now_micros: 0, zone: "UTC".parse().expect("UTC is a zone") };
    let mut random = Random::new(1);
    let mut tables: Vec<Table> = (0..inputs).map(|_| Table { values: vec![5; KEYS] }).collect();
    let run = |flow: &mut Dataflow| flow.finish_tick(&ctx).expect("the tick succeeds");
    let started = cpu_seconds();
    for (input, table) in tables.iter().enumerate() {
        table.load().into_iter().for_each(|batch| flow.push(input, batch).expect("the batch fits"));
    }
    run(&mut flow);
    let loaded = cpu_seconds() - started;
    let (mut busy, mut given) = (0.0, 0);
    for _ in 0..UPDATES / CHUNK_ROWS {
        for (input, table) in tables.iter_mut().enumerate() {
            flow.push(input, table.update(&mut random, CHUNK_ROWS / 2)).expect("the batch fits");
        }
        let started = cpu_seconds();
        given += run(&mut flow)[0].iter().map(ChangeBatch::len).sum::<usize>();
        busy += cpu_seconds() - started;
    }
    let changes = UPDATES / CHUNK_ROWS * CHUNK_ROWS * inputs;
    let rate = |changes: usize, seconds: f64| changes as f64 / seconds.max(0.01) / 1e6;
    println!(
        "{name}: load {:.2} M rows/CPU-s, updates {:.2} M changes/CPU-s ({given} changes out), state {:.0} bytes/key",
        rate(KEYS * inputs, loaded),
        rate(changes, busy),
        flow.state_bytes() as f64 / KEYS as f64,
    );
}

fn main() {
    let schema = || Schema::new((0..4).map(|i| Column::new(format!("c{i}"), TypeKind::BigInt.not_null())).collect());
    let call = |function, args| {
        let sql_type = TypeKind::BigInt.nullable();
        AggregateCall { function, args, distinct: false, filter: None, sql_type }
    };
    let mut builder = DataflowBuilder::new(1);
    let input = builder.input(schema());
    let calls = vec![
        call(AggregateFunction::CountStar, vec![]),
        call(AggregateFunction::Sum, vec![1]),
        call(AggregateFunction::Avg, vec![2]),
        call(AggregateFunction::Max, vec![3]),
    ];
    let node = builder.aggregate(input, vec![0], calls).expect("the aggregation is sound");
    builder.output(node);
    measure("group by", builder.build(), 1);

    let mut builder = DataflowBuilder::new(1);
    let (left, right) = (builder.input(schema()), builder.input(schema()));
    let node = builder.join(left, right, JoinSpec::on(JoinKind::Inner, &[(0, 0)])).expect("the join is sound");
    builder.output(node);
    measure("join", builder.build(), 2);
}
