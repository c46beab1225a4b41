//! Frozen states: what is refused, and that whatever the bytes are, nothing worse than a refusal comes of them. That a
//! thawed dataflow goes on like the one that was frozen is a part of every other test here; see [`crate::check`].

use gridhouse_base::random::Random;
use gridhouse_base::{ErrorKind, SqlType, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction as F, Expr, functions};
use gridhouse_flow::{
    Dataflow, DataflowBuilder, JoinKey, JoinKind, JoinSpec, NodeId, ProbeSpec, SetKind, SetOperation, SortKey,
    TimeBound, TopN,
};

use crate::check::{frozen, thawed, tick, written};
use crate::draw::{Table, batches, nested_kinds, rows, schema};

fn kinds() -> Vec<TypeKind> {
    let decimal = TypeKind::Decimal { precision: 12, scale: 2 };
    let own = [TypeKind::Int, TypeKind::STRING, TypeKind::BigInt, decimal, TypeKind::Double, TypeKind::Timestamp(3)];
    own.into_iter().chain([nested_kinds()[0].clone()]).collect()
}

fn call(function: F, arg: usize, distinct: bool, result: TypeKind) -> AggregateCall {
    AggregateCall { function, args: vec![arg], distinct, filter: None, sql_type: result.nullable() }
}

fn int(i: usize) -> Expr {
    Expr::column(i, TypeKind::Int.nullable())
}

/// What a plan below is varied by.
#[derive(Clone, Copy, Default)]
pub struct Variant {
    limit: u64,
    literal: i32,
    bound_millis: i64,
    anti: bool,
    maximum: bool,
    distinct: bool,
}

/// A dataflow with every operator that holds something. Inputs: two tables, and two streams with a time.
fn everything(variant: Variant) -> Dataflow {
    everything_in(DataflowBuilder::new(7), variant)
}

/// As [`everything`], added to a builder that has nothing yet.
pub fn everything_in(builder: DataflowBuilder, variant: Variant) -> Dataflow {
    let mut b = builder.keep_errors();
    let (left, right) = (b.input(schema(&kinds())), b.input(schema(&kinds())));
    let times = [0, 1].map(|_| {
        let input = b.append_only_input(schema(&kinds()));
        b.event_time(input, 5, 1).unwrap()
    });
    let sum = TypeKind::Decimal { precision: 38, scale: 2 };
    let calls = vec![
        call(F::Count, 1, false, TypeKind::BigInt),
        call(F::Sum, 2, false, TypeKind::BigInt),
        call(F::Avg, 3, false, TypeKind::Decimal { precision: 38, scale: 6 }),
        call(F::Sum, 3, true, sum),
        call(F::Sum, 4, false, TypeKind::Double),
        call(if variant.maximum { F::Max } else { F::Min }, 1, false, TypeKind::STRING),
        call(F::Min, 4, variant.distinct, TypeKind::Double),
        call(F::Count, 6, true, TypeKind::BigInt),
    ];
    let groups = b.aggregate(left, vec![1], calls.clone()).unwrap();
    let by_long_key = b.aggregate(right, vec![0, 2, 5], calls[..2].to_vec()).unwrap();
    let late = b.aggregate(times[0], vec![0], vec![call(F::Max, 1, false, TypeKind::STRING)]).unwrap();
    let order = SortKey { column: 1, descending: true, nulls_first: false };
    let top = b.top_n(
        left,
        TopN { partition: vec![0], order: vec![order], limit: Some(2 + variant.limit), rank: true, ..TopN::default() },
    );
    let residual = functions::resolve(">", vec![int(0), Expr::int(variant.literal)]).unwrap();
    let kind = if variant.anti { JoinKind::Anti } else { JoinKind::Semi };
    let semi = b.join(left, right, JoinSpec::on(kind, &[(0, 0)])).unwrap();
    let full = JoinSpec::on(JoinKind::Full, &[(6, 6)]).with_residual(Some(residual.clone()));
    let full = b.join(left, right, full).unwrap();
    let probe = ProbeSpec { kind: JoinKind::Left, keys: vec![JoinKey::equal(1, 1)], residual: None };
    let probe = b.probe(left, right, probe).unwrap();
    let except = b.set_operation(left, right, SetOperation { kind: SetKind::Except, all: true }).unwrap();
    let time = Some(TimeBound { left: 5, right: 5, lower_millis: -1, upper_millis: 1 + variant.bound_millis });
    let bounded = JoinSpec { kind: JoinKind::Left, keys: vec![], residual: Some(residual), time };
    let bounded = b.join(times[0], times[1], bounded).unwrap();
    let random = b.map(left, vec![functions::resolve("RAND", vec![]).unwrap()]);
    let distinct = b.distinct(left).unwrap();
    for node in [groups, by_long_key, late, top.unwrap(), semi, full, probe, except, bounded, random, distinct] {
        b.output(node);
    }
    b.build()
}

/// Ticks of drawn changes.
pub struct Feed {
    random: Random,
    tables: Vec<Table>,
}

impl Feed {
    pub fn new(seed: u64) -> Self {
        let tables = [false, false, true, true].map(|append_only| Table::new(&kinds(), append_only)).into();
        Self { random: Random::new(seed), tables }
    }

    /// Lays up that all rows of the tables are deleted.
    pub fn clear(&mut self, flows: &mut [&mut Dataflow]) {
        for (input, table) in self.tables.iter_mut().enumerate().filter(|(_, table)| !table.append_only) {
            for batch in batches(table.clear(), &kinds(), &mut self.random) {
                flows.iter_mut().for_each(|flow| flow.push(input, batch.clone()).unwrap());
            }
        }
    }

    /// Lays up some changes of every input.
    pub fn tick(&mut self, flows: &mut [&mut Dataflow], changes: u64) {
        for (input, table) in self.tables.iter_mut().enumerate() {
            let mut changes = table.change(&mut self.random, changes);
            if table.append_only {
                // Its time is never NULL.
                changes.iter_mut().filter(|(row, _)| row[5].is_null()).for_each(|(row, _)| {
                    row[5] = Value::Integer(1_700_000_000_000);
                });
            }
            for batch in batches(changes, &kinds(), &mut self.random) {
                flows.iter_mut().for_each(|flow| flow.push(input, batch.clone()).unwrap());
            }
        }
    }
}

/// Random numbers go on where they were, and so does everything else.
#[test]
fn all_operators_of_one_dataflow_go_on_as_if_nothing_had_been() {
    for seed in 0..20 {
        let mut feed = Feed::new(seed);
        let mut flow = everything(Variant::default());
        for _ in 0..3 {
            feed.tick(&mut [&mut flow], 40);
            flow.finish_tick(&tick()).unwrap();
            flow.take_errors();
        }
        let mut twin = thawed(&mut flow, everything(Variant::default()));
        for _ in 0..3 {
            feed.tick(&mut [&mut flow, &mut twin], 40);
            let (one, other) = (flow.finish_tick(&tick()).unwrap(), twin.finish_tick(&tick()).unwrap());
            for output in 0..one.len() {
                let schema = flow.output_schema(output).clone();
                let set = |out: &[gridhouse_base::ChangeBatch]| {
                    crate::check::multiset(out.iter().flat_map(|batch| rows(batch, &schema)))
                };
                assert_eq!(set(&one[output]), set(&other[output]), "seed {seed}, output {output}");
            }
            let texts = |flow: &mut Dataflow| -> Vec<String> {
                flow.take_errors().iter().map(|error| format!("{error:?}")).collect()
            };
            assert_eq!(texts(&mut flow), texts(&mut twin));
        }
    }
}

/// Freezing copies nothing, so the dataflow must not change what it has shared.
#[test]
fn a_frozen_state_stays_as_it_was_whatever_the_dataflow_does_later() {
    for seed in 0..12 {
        let mut feed = Feed::new(seed);
        let mut flow = everything(Variant::default());
        let mut kept = Vec::new();
        for _ in 0..6 {
            feed.tick(&mut [&mut flow], 60);
            flow.finish_tick(&tick()).unwrap();
            flow.take_errors();
            let bytes = frozen(&mut flow);
            kept.push((flow.freeze().unwrap(), bytes));
        }
        for (number, (frozen, bytes)) in kept.iter().enumerate() {
            assert!(written(frozen) == *bytes, "seed {seed}: the state after tick {number} has changed since");
        }
    }
}

#[test]
fn the_state_of_another_plan_is_a_conflict_that_names_the_node() {
    let mut flow = everything(Variant::default());
    Feed::new(1).tick(&mut [&mut flow], 30);
    flow.finish_tick(&tick()).unwrap();
    flow.take_errors();
    let bytes = frozen(&mut flow);
    let plain = Variant::default();
    for (variant, node) in [
        (Variant { limit: 1, ..plain }, "top 3"),
        (Variant { literal: 1, ..plain }, "full join"),
        (Variant { bound_millis: 1, ..plain }, "left join"),
        (Variant { anti: true, ..plain }, "anti join"),
        (Variant { maximum: true, ..plain }, "group by"),
        (Variant { distinct: true, ..plain }, "group by"),
    ] {
        let error = everything(variant).thaw(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains(node) && error.remedy().is_some(), "{error}");
    }
    let one = |build: &dyn Fn(&mut DataflowBuilder, NodeId) -> NodeId, sql_type: SqlType| {
        let mut b = DataflowBuilder::new(7);
        let input = b.input(gridhouse_base::Schema::new(vec![gridhouse_base::Column::new("c", sql_type)]));
        let node = build(&mut b, input);
        b.output(node);
        b.build()
    };
    let distinct = |b: &mut DataflowBuilder, input| b.distinct(input).unwrap();
    let grouped = |b: &mut DataflowBuilder, input| b.aggregate(input, vec![], vec![]).unwrap();
    let bytes = frozen(&mut one(&distinct, TypeKind::Int.nullable()));
    one(&distinct, TypeKind::Int.nullable()).thaw(&bytes).unwrap();
    for mut other in [
        one(&grouped, TypeKind::Int.nullable()),
        one(&distinct, TypeKind::BigInt.nullable()),
        one(&|_, input| input, TypeKind::Int.nullable()),
    ] {
        assert_eq!(other.thaw(&bytes).unwrap_err().kind(), ErrorKind::Conflict);
        // It holds who knows what by now.
        assert_eq!(other.finish_tick(&tick()).unwrap_err().kind(), ErrorKind::Internal);
    }
}

#[test]
fn a_state_is_neither_taken_nor_given_within_a_tick() {
    let mut flow = everything(Variant::default());
    Feed::new(1).tick(&mut [&mut flow], 3);
    assert_eq!(flow.freeze().unwrap_err().kind(), ErrorKind::Internal);
    let bytes = frozen(&mut everything(Variant::default()));
    assert_eq!(flow.thaw(&bytes).unwrap_err().kind(), ErrorKind::Internal);
}

/// The payload of a frozen state, without the frame.
fn payload(bytes: &[u8]) -> Vec<u8> {
    let (mut at, mut payload) = (12, Vec::new());
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        payload.extend_from_slice(&bytes[at + 8..at + 8 + len]);
        at += 8 + len;
    }
    payload
}

/// A frame with good checksums around any payload.
fn framed(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = head[..12].to_vec();
    for (number, block) in payload.chunks(100_000).chain([[].as_slice()]).enumerate() {
        let sum = crc32c::crc32c_append(crc32c::crc32c(&(number as u64).to_le_bytes()), block);
        bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(block);
    }
    bytes
}

#[test]
fn a_number_of_batches_that_cannot_grow_is_damage() {
    let bytes = frozen(&mut everything(Variant::default()));
    let head = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let mut bad = payload(&bytes);
    assert_eq!(bad[head - 1], 0, "nothing has been laid up");
    bad.splice(head - 1..head, [0xff; 9].into_iter().chain([1]));
    let error = everything(Variant::default()).thaw(&framed(&bytes, &bad)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn damaged_bytes_are_told_whatever_they_are_and_even_with_good_checksums() {
    let mut feed = Feed::new(5);
    let mut flow = everything(Variant::default());
    for _ in 0..2 {
        feed.tick(&mut [&mut flow], 25);
        flow.finish_tick(&tick()).unwrap();
        flow.take_errors();
    }
    let bytes = frozen(&mut flow);
    let good = payload(&bytes);
    everything(Variant::default()).thaw(&framed(&bytes, &good)).unwrap();
    let mut random = Random::new(11);
    let (mut refused, mut passed) = (0, 0);
    for round in 0..6_000 {
        let at = random.below(good.len() as u64) as usize;
        let mut bad = good.clone();
        match random.below(5) {
            0 => bad[at] ^= 1 << random.below(8),
            1 => bad[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => bad.truncate(at),
            3 => bad.insert(at, random.bits() as u8),
            _ => {
                let upto = (at + 9).min(bad.len());
                bad[at..upto].fill(0xff);
            }
        }
        match everything(Variant::default()).thaw(&framed(&bytes, &bad)) {
            Ok(()) => passed += 1,
            Err(error) => {
                let told = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict);
                assert!(told, "round {round}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 2_000 && passed > 0, "{refused} refused, {passed} passed");
    // Without good checksums nothing passes.
    for _ in 0..2_000 {
        let mut bad = bytes.clone();
        let at = random.below(bad.len() as u64) as usize;
        bad[at] ^= 1 << random.below(8);
        let kind = everything(Variant::default()).thaw(&bad).unwrap_err().kind();
        assert!(kind == ErrorKind::Corrupt || (8..12).contains(&at), "byte {at}: {kind:?}");
    }
}
