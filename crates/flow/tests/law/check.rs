//! The checker: runs a dataflow and its naive counterpart side by side.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Schema, TypeKind};
use gridhouse_flow::{Dataflow, DataflowBuilder, Frozen, Governor, HashMode, NodeId, TickContext};

use crate::draw::{Row, Table, batches, comparable, rows, schema};
use crate::memory::starved;

/// Adds a query's nodes over its inputs and returns the last.
pub type Build = Box<dyn Fn(&mut DataflowBuilder, &[NodeId]) -> NodeId>;

/// A query over the rows of its inputs.
pub type Naive = Box<dyn Fn(&[Vec<Row>]) -> Vec<Row>>;

/// A query in both forms.
pub struct Plan {
    /// The inputs' columns, and whether rows are never withdrawn.
    pub inputs: Vec<(Vec<TypeKind>, bool)>,
    pub build: Build,
    pub naive: Naive,
    /// The most state entries that may be left when every input is empty again.
    pub rest: usize,
}

/// The context of every tick here.
pub fn tick() -> TickContext {
    TickContext { now_micros: 1_700_000_000_000_000, zone: "UTC".parse().unwrap() }
}

/// The multiset of rows, each row by its text (in which NaN equals NaN, and a map equals itself in another order).
pub fn multiset(rows: impl IntoIterator<Item = (Row, i64)>) -> BTreeMap<String, i64> {
    let mut set = BTreeMap::new();
    for (row, weight) in rows {
        let row: Row = row.iter().map(comparable).collect();
        *set.entry(format!("{row:?}")).or_insert(0) += weight;
    }
    set.retain(|_, weight| *weight != 0);
    set
}

/// What an output has given out so far.
#[derive(Default)]
pub struct Answer(Vec<(Row, i64)>);

impl Answer {
    /// Adds the changes of a tick, which must be consolidated, withdrawn rows first.
    pub fn add(&mut self, changes: &[ChangeBatch], schema: &Schema) -> Result<(), String> {
        let changed: Vec<(Row, i64)> = changes.iter().flat_map(|batch| rows(batch, schema)).collect();
        let weights: Vec<i64> = changed.iter().map(|(_, weight)| *weight).collect();
        if weights.iter().skip_while(|w| **w < 0).any(|w| *w <= 0) {
            return Err(format!("a withdrawn row follows an inserted one: {weights:?}"));
        }
        if weights.iter().any(|w| *w < 0) && multiset(changed.clone()).len() < changed.len() {
            return Err(format!("equal rows are not merged: {changed:?}"));
        }
        self.0.extend(changed);
        Ok(())
    }

    pub fn multiset(&self) -> BTreeMap<String, i64> {
        multiset(self.0.iter().cloned())
    }
}

/// Holds a drawn plan to the law for every seed, under a good hash and under a constant one, and with memory for nothing.
pub fn hold(name: &str, seeds: Range<u64>, plan: impl Fn(&mut Random) -> Plan) {
    for seed in seeds {
        for (mode, parts) in
            [(HashMode::Seeded(seed), None), (HashMode::Constant, None), (HashMode::Seeded(seed), Some(3))]
        {
            // Filling is one tick of many; a part of the seeds is enough.
            let filled = || if seed % 4 == 0 { fill(seed, mode, parts, &plan) } else { Ok(()) };
            if let Err(why) = run(seed, mode, parts, &plan).and_then(|()| filled()) {
                panic!("{name} breaks the law with seed {seed} under {mode:?}, cut into {parts:?}: {why}");
            }
        }
    }
}

/// The plan's dataflow.
fn build(plan: &Plan, seed: u64, mode: HashMode, governor: Option<&Arc<Governor>>) -> Dataflow {
    let mut builder = DataflowBuilder::new(seed).hash_mode(mode);
    if let Some(governor) = governor {
        builder = builder.governor(governor.clone());
    }
    let add = |(kinds, append_only): &(Vec<TypeKind>, bool)| {
        if *append_only { builder.append_only_input(schema(kinds)) } else { builder.input(schema(kinds)) }
    };
    let inputs: Vec<NodeId> = plan.inputs.iter().map(add).collect();
    let node = (plan.build)(&mut builder, &inputs);
    builder.output(node);
    builder.build()
}

/// The state of `flow` as bytes.
pub fn frozen(flow: &mut Dataflow) -> Vec<u8> {
    written(&flow.freeze().unwrap())
}

/// A frozen state as bytes.
pub fn written(frozen: &Frozen) -> Vec<u8> {
    let mut bytes = Vec::new();
    frozen.write(&mut bytes).unwrap();
    bytes
}

/// `fresh`, a dataflow of the same plan as `flow`, with the state of that.
pub fn thawed(flow: &mut Dataflow, mut fresh: Dataflow) -> Dataflow {
    fresh.thaw(&frozen(flow)).unwrap();
    fresh
}

/// A dataflow, and one that was thawed from its state after some tick; both are given the same.
struct Twins {
    flow: Dataflow,
    twin: Option<Dataflow>,
}

impl Twins {
    fn push(&mut self, input: usize, batch: &ChangeBatch) -> Result<(), String> {
        let mut flows = [Some(&mut self.flow), self.twin.as_mut()].into_iter().flatten();
        flows.try_for_each(|flow| flow.push(input, batch.clone())).map_err(|e| e.to_string())
    }

    /// Writes out of both what was chosen.
    fn relieve(&mut self) -> Result<(), String> {
        let mut flows = [Some(&mut self.flow), self.twin.as_mut()].into_iter().flatten();
        flows.try_for_each(Dataflow::relieve).map_err(|e| e.to_string())
    }

    /// Ends the tick of both, which must give out the same and hold as much.
    fn finish(&mut self) -> Result<Vec<ChangeBatch>, String> {
        let out = self.flow.finish_tick(&tick()).map_err(|e| e.to_string())?.remove(0);
        let Some(twin) = &mut self.twin else { return Ok(out) };
        let other = twin.finish_tick(&tick()).map_err(|e| format!("the thawed dataflow: {e}"))?.remove(0);
        let schema = self.flow.output_schema(0);
        let set = |out: &[ChangeBatch]| multiset(out.iter().flat_map(|batch| rows(batch, schema)));
        if set(&out) != set(&other) {
            return Err(format!("the thawed dataflow gives out {:?}, the other {:?}", set(&other), set(&out)));
        }
        let spills = self.flow.spilled_bytes() + twin.spilled_bytes() > 0;
        let figures = |flow: &Dataflow| -> Vec<_> {
            // What is cut gives out its rows in another order, and so other changes that later ones take back; how much lies in
            // files is known only about.
            let counted = |s: &gridhouse_flow::NodeStats| {
                if spills { [0; 3] } else { [s.rows_in, s.rows_out, s.state.rows as u64] }
            };
            let of = |s: gridhouse_flow::NodeStats| (counted(&s), s.late_rows, s.errors);
            flow.stats().into_iter().map(of).collect()
        };
        if figures(&self.flow) != figures(twin) {
            return Err(format!("the thawed dataflow has {:?}, the other {:?}", figures(twin), figures(&self.flow)));
        }
        Ok(out)
    }
}

fn run(seed: u64, mode: HashMode, parts: Option<u32>, plan: &impl Fn(&mut Random) -> Plan) -> Result<(), String> {
    let governor = parts.map(starved);
    let governor = governor.as_ref();
    let mut random = Random::new(seed);
    let plan = plan(&mut random);
    let mut flow = Twins { flow: build(&plan, seed, mode, governor), twin: None };
    let mut tables: Vec<Table> = plan.inputs.iter().map(|(kinds, append)| Table::new(kinds, *append)).collect();
    let mut answer = Answer::default();

    let ticks = 1 + random.below(8);
    let most = *random.pick(&[1, 5, 60]);
    for number in 0..ticks {
        let changes = tables.iter_mut().map(|table| {
            let count = random.below(most + 1);
            table.change(&mut random, count)
        });
        let changes = changes.collect();
        step(&mut flow, &plan, &tables, changes, &mut answer, &mut random)
            .map_err(|e| format!("tick {number}: {e}"))?;
        if random.chance(0.4) {
            // Hashes are others, since they are no part of the state.
            let mode = *random.pick(&[HashMode::Seeded(seed + 1), mode]);
            flow.twin = Some(thawed(&mut flow.flow, build(&plan, seed, mode, governor)));
        }
        if governor.is_some_and(|governor| governor.choose()) {
            flow.relieve()?;
        }
    }
    if plan.inputs.iter().all(|(_, append_only)| !append_only) {
        let changes = tables.iter_mut().map(Table::clear).collect();
        step(&mut flow, &plan, &tables, changes, &mut answer, &mut random).map_err(|e| format!("last tick: {e}"))?;
        let held: usize = flow.flow.stats().iter().map(|node| node.state.rows).sum();
        if held > plan.rest {
            return Err(format!("{held} entries of state outlive their rows: {:?}", flow.flow.stats()));
        }
    }
    Ok(())
}

/// A dataflow that is filled in one tick, worked off in pieces, gives what the query gives, and goes on from there.
fn fill(seed: u64, mode: HashMode, parts: Option<u32>, plan: &impl Fn(&mut Random) -> Plan) -> Result<(), String> {
    let governor = parts.map(starved);
    let mut random = Random::new(seed);
    let plan = plan(&mut random);
    let mut flow = build(&plan, seed, mode, governor.as_ref());
    let mut tables: Vec<Table> = plan.inputs.iter().map(|(kinds, append)| Table::new(kinds, *append)).collect();
    let is_cut = flow.fill_order().is_some();
    for input in flow.fill_order().unwrap_or_else(|| (0..tables.len()).collect()) {
        tables[input].change(&mut random, 60);
        // As it stands: rows that went before are not among them.
        let held = tables[input].rows.iter().map(|row| (row.clone(), 1)).collect();
        for batch in batches(held, &plan.inputs[input].0, &mut random) {
            flow.push(input, batch).map_err(|e| e.to_string())?;
            if is_cut && random.chance(0.5) {
                flow.work(&tick()).map_err(|e| e.to_string())?;
                if flow.freeze().is_ok() {
                    return Err("half a tick is frozen".into());
                }
            }
        }
    }
    let mut answer = Answer::default();
    let mut twins = Twins { flow, twin: None };
    let out = twins.finish()?;
    answer.add(&out, twins.flow.output_schema(0))?;
    compare(&plan, &tables, &answer).map_err(|e| format!("filled: {e}"))?;
    let changes = tables.iter_mut().map(|table| table.change(&mut random, 10)).collect();
    step(&mut twins, &plan, &tables, changes, &mut answer, &mut random).map_err(|e| format!("after it was filled: {e}"))
}

fn step(
    flow: &mut Twins,
    plan: &Plan,
    tables: &[Table],
    changes: Vec<Vec<(Row, i32)>>,
    answer: &mut Answer,
    random: &mut Random,
) -> Result<(), String> {
    let mut pushes: Vec<(usize, ChangeBatch)> = Vec::new();
    for (input, changes) in changes.into_iter().enumerate() {
        let kinds = &plan.inputs[input].0;
        pushes.extend(batches(changes, kinds, random).into_iter().map(|batch| (input, batch)));
    }
    while !pushes.is_empty() {
        let (input, batch) = pushes.swap_remove(random.below(pushes.len() as u64) as usize);
        flow.push(input, &batch)?;
    }
    let out = flow.finish()?;
    answer.add(&out, flow.flow.output_schema(0))?;
    compare(plan, tables, answer)
}

/// Whether the answer is what the query gives.
fn compare(plan: &Plan, tables: &[Table], answer: &Answer) -> Result<(), String> {
    let contents: Vec<Vec<Row>> = tables.iter().map(|table| table.rows.clone()).collect();
    let wanted = multiset((plan.naive)(&contents).into_iter().map(|row| (row, 1)));
    let got = answer.multiset();
    if wanted != got {
        let only = |a: &BTreeMap<String, i64>, b: &BTreeMap<String, i64>| -> Vec<(String, i64)> {
            a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, v)| (k.clone(), *v)).collect()
        };
        let (missing, extra) = (only(&wanted, &got), only(&got, &wanted));
        return Err(format!("wanted but not given: {missing:?}; given but not wanted: {extra:?}"));
    }
    Ok(())
}
