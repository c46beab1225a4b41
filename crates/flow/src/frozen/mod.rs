//! The state of a dataflow as bytes: frozen between two ticks, written by whoever likes, thawed into a dataflow of the same
//! plan.
//!
//! What always holds: a thawed dataflow gives, for the same ticks, the same changes as the one that was frozen. Freezing
//! copies nothing, since the tick's thread waits for it: what is held lies in pages ([`crate::pages`]), which a frozen state
//! has too until the dataflow changes them. The bytes are made later, on another thread ([`Frozen::write`]), or only those
//! that differ from an earlier state's ([`Frozen::keep`]).
//!
//! Bytes say what a state means, not how it lies in memory: live keys in an order, what is held for each, rows in
//! `arrow-row`'s form. So hashes, free places and containers may be others when they are read. The head names every node
//! with the form that its operator writes and all that its operator was built from; a plan, or a program, that differs is
//! told as a `Conflict`, and damage as `Corrupt`. Whatever the bytes are, nothing here panics, and memory stays in
//! proportion to their number.
//!
//! `docs/formats.md` has every byte.

mod bytes;
mod earlier;
mod kept;
mod reader;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

use arrow_array::{ArrayRef, Int64Array, ListArray, StringArray};
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::{Error, Result};

use crate::dataflow::{Dataflow, Node, new_version};
use crate::hash::HashMode;
use crate::keys::{Keys, Slot};
use crate::operator::{STEP_ROWS, Watermark};
use crate::rows::RowCodec;

use bytes::{Blocks, StateSink};
pub(crate) use bytes::{Plain, StateWriter};
pub use earlier::Earlier;
pub use kept::{FilePlaces, KeptState, KeptWriter, Span};
pub(crate) use reader::StateReader;

/// Names what an operator's bytes are; another number, or another name, is another form.
pub(crate) type Form = (&'static str, u32);

/// The form of an input, which holds nothing.
const INPUT: Form = ("input", 1);

/// The seed of the hashes that stand in the head.
const HEAD_SEED: u64 = 0x6772_6964_666c_6f77;

/// Which keys are written.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// All of them.
    Whole,
    /// Those of one hash partition.
    One(&'a Parts, u32),
}

impl Part<'_> {
    /// The slots of `keys` that belong to the part, ascending.
    pub fn slots(self, keys: &Keys) -> Vec<Slot> {
        match self {
            Self::Whole => keys.live_slots(),
            Self::One(parts, number) => {
                let part = |slot: &Slot| keys.part_of_slot(*slot, parts.count);
                parts.slots(keys, number, |slots| Ok(slots.iter().map(part).collect())).unwrap_or_default()
            }
        }
    }

    /// As [`Part::slots`], where a key belongs to the part of another one, of the form of `by`, which is in its columns
    /// `columns`.
    ///
    /// # Errors
    /// Only defects of ours.
    pub fn slots_by(self, keys: &Keys, by: &Keys, columns: &[usize]) -> Result<Vec<Slot>> {
        let Self::One(parts, number) = self else { return Ok(keys.live_slots()) };
        parts.slots(keys, number, |slots| {
            let mut all = Vec::with_capacity(slots.len());
            for some in slots.chunks(STEP_ROWS) {
                let values = keys.columns(some)?;
                let values: Vec<ArrayRef> = columns.iter().map(|&column| values[column].clone()).collect();
                all.extend(by.parts_of_rows(&values, some.len(), parts.count)?);
            }
            Ok(all)
        })
    }
}

/// What an operator holds between two ticks, as it was when it was shared: whatever the operator does later, it can be written
/// down at any time, on any thread.
pub(crate) struct Shared(Box<Freeze>);

type Freeze = dyn Fn(Part<'_>, &mut StateWriter) -> Result<()> + Send;

impl Shared {
    /// `freeze` appends a part of the keys; what belongs to no key is in every part.
    pub fn new(freeze: impl Fn(Part<'_>, &mut StateWriter) -> Result<()> + Send + 'static) -> Self {
        Self(Box::new(freeze))
    }

    /// Of an operator that holds nothing.
    pub fn nothing() -> Self {
        Self::new(|_, _| Ok(()))
    }

    /// Appends what is held of a part of the keys.
    pub fn freeze(&self, part: Part<'_>, out: &mut StateWriter) -> Result<()> {
        (self.0)(part, out)
    }
}

/// The hash partitions of an operator that is being cut.
pub(crate) struct Parts {
    count: u32,
    /// The slots of every part, by the place of their keys in memory, which does not move meanwhile: every key is hashed
    /// once, not once for every part.
    slots: RefCell<BTreeMap<usize, Vec<Vec<Slot>>>>,
    /// How many keys have been given out.
    given: Cell<usize>,
}

impl Parts {
    /// So many parts.
    pub fn new(count: u32) -> Self {
        Self { count, slots: RefCell::default(), given: Cell::new(0) }
    }

    /// The number of parts.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many keys have been given out so far.
    pub fn given(&self) -> usize {
        self.given.get()
    }

    /// The slots of `keys` in a part; `parts_of` tells the part of each.
    fn slots(&self, keys: &Keys, number: u32, parts_of: impl FnOnce(&[Slot]) -> Result<Vec<u32>>) -> Result<Vec<Slot>> {
        let mut known = self.slots.borrow_mut();
        let parts = match known.entry(std::ptr::from_ref(keys) as usize) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let slots = keys.live_slots();
                let mut parts = vec![Vec::new(); self.count as usize];
                slots.iter().zip(parts_of(&slots)?).for_each(|(&slot, part)| parts[part as usize].push(slot));
                entry.insert(parts)
            }
        };
        let slots = std::mem::take(&mut parts[number as usize]);
        self.given.set(self.given.get() + slots.len());
        Ok(slots)
    }
}

/// For every old slot its place among `slots`, as far as it is one of them.
pub(crate) fn places(slots: &[Slot], end: usize) -> Vec<Option<u32>> {
    let mut places = vec![None; end];
    slots.iter().enumerate().for_each(|(place, &slot)| places[slot as usize] = Some(place as u32));
    places
}

/// The state of a dataflow at the end of a tick, which shares memory with it until that changes.
pub struct Frozen {
    /// What comes before the nodes.
    head: StateWriter,
    /// What belongs to every node and not to its operator, and what the operator holds.
    nodes: Vec<(StateWriter, Option<Shared>)>,
    version: u64,
}

impl Frozen {
    /// Of two frozen states with the same number both have the same bytes. It says nothing beyond this process.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Hands on the bytes of the state, with checksums. On the thread that calls this, and as long as that takes; the bytes of
    /// one node are in memory at a time.
    ///
    /// # Errors
    /// `Unavailable` where `out` takes no more, or spilled state cannot be read.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        self.hand_on(&mut Plain(out))
    }

    /// As [`Frozen::write`], but only what differs from an earlier state is written.
    ///
    /// # Errors
    /// As [`Frozen::write`].
    pub fn keep(&self, mut writer: KeptWriter<'_>) -> Result<KeptState> {
        self.hand_on(&mut writer)?;
        writer.finish()
    }

    fn hand_on(&self, out: &mut dyn StateSink) -> Result<()> {
        let mut blocks = Blocks::begin(out)?;
        blocks.content(&self.head)?;
        for (own, shared) in &self.nodes {
            // A block ends with a node: what one holds more than before moves no block of another.
            blocks.content(own)?;
            if let Some(shared) = shared {
                let mut held = StateWriter::default();
                shared.freeze(Part::Whole, &mut held)?;
                blocks.content(&held)?;
            }
        }
        blocks.end()
    }
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("nodes", &self.nodes.len()).finish()
    }
}

impl Dataflow {
    /// The state as the last tick has left it. To be called between ticks, once their errors were taken. Takes a pointer for
    /// every 32 KiB that are held; the first changes after it copy what they change, a page each.
    ///
    /// # Errors
    /// `Internal` where the dataflow has failed, or something waits that is not part of the state.
    pub fn freeze(&mut self) -> Result<Frozen> {
        self.check_alive()?;
        if self.is_within || !self.errors.is_empty() || self.nodes.iter().any(|node| !node.waiting.is_empty()) {
            return Err(Error::internal("a dataflow is frozen between ticks, once its errors were taken"));
        }
        let mut head = StateWriter::default();
        head.varint(row_form()?);
        head.varint(self.nodes.len() as u64);
        for node in &self.nodes {
            let (form, version) = node.form();
            head.bytes(form.as_bytes());
            head.varint(version.into());
            head.put(&node.signature().to_le_bytes());
        }
        head.varint(self.pushed);
        let share = |(number, node): (usize, &mut Node)| {
            let mut own = StateWriter::default();
            own.put(&(number as u32).to_le_bytes());
            node.freeze(&mut own);
            (own, node.operator.as_mut().map(|operator| operator.share()))
        };
        Ok(Frozen { head, nodes: self.nodes.iter_mut().enumerate().map(share).collect(), version: self.version })
    }

    /// Takes a state that [`Frozen::write`] wrote into this dataflow, which has just been built and run no tick yet. Where
    /// that fails the dataflow is of no further use.
    ///
    /// # Errors
    /// `Conflict` where the state is that of another plan, or its form that of another version of this program; `Corrupt`
    /// where bytes are damaged.
    pub fn thaw(&mut self, bytes: &[u8]) -> Result<()> {
        self.thaw_parts(&[bytes])
    }

    /// As [`Dataflow::thaw`]; the state's bytes lie in several parts, in order.
    ///
    /// # Errors
    /// As [`Dataflow::thaw`].
    pub fn thaw_parts(&mut self, parts: &[&[u8]]) -> Result<()> {
        self.check_alive()?;
        if self.pushed > 0 || self.nodes.iter().any(|node| node.stats.rows_in + node.stats.rows_out > 0) {
            return Err(Error::internal("a state can only be thawed into a dataflow that has not run yet"));
        }
        self.failed = true;
        self.version = new_version();
        let mut from = StateReader::new(parts)?;
        self.check_plan(&mut from)?;
        self.pushed = from.tally()?;
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if u32::from_le_bytes(from.array()?) != number as u32 {
                return Err(from.damaged("a node does not begin where it should"));
            }
            node.thaw(&mut from).map_err(|error| error.context(format!("{} (node {number})", node.name)))?;
        }
        from.end()?;
        self.failed = false;
        Ok(())
    }

    /// Whether a state of `other` would be taken by this dataflow, as far as the plan is concerned.
    pub fn is_like(&self, other: &Self) -> bool {
        let plan = |flow: &Self| -> Vec<(Form, u64)> {
            flow.nodes.iter().map(|node| (node.form(), node.signature())).collect()
        };
        plan(self) == plan(other)
    }

    /// Compares the head of a state with this dataflow.
    fn check_plan(&self, from: &mut StateReader<'_>) -> Result<()> {
        let other = |what: String| Err(Error::conflict(what).hint("the job is rebuilt from its inputs instead"));
        if from.varint()? != row_form()? {
            return other("the frozen state holds rows in a form that this program does not read".into());
        }
        let nodes = from.count()?;
        if nodes != self.nodes.len() {
            return other(format!("the frozen state is that of {nodes} nodes, and the plan has {}", self.nodes.len()));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let (form, version) = (from.text()?, from.varint()?);
            let signature = u64::from_le_bytes(from.array()?);
            let own = node.form();
            if (form.as_str(), version) != (own.0, own.1.into()) {
                let (name, (form_now, version_now)) = (&node.name, own);
                return other(format!(
                    "the frozen state of node {number} ({name}) is of the form {form} {version}, and this program reads {form_now} {version_now}"
                ));
            }
            if signature != node.signature() {
                return other(format!("node {number} ({}) has changed since its state was frozen", node.name));
            }
        }
        Ok(())
    }
}

impl Node {
    fn form(&self) -> Form {
        self.operator.as_ref().map_or(INPUT, |operator| operator.form())
    }

    /// A hash of all that the node was built from.
    fn signature(&self) -> u64 {
        let spec = self.operator.as_ref().map(|operator| operator.spec()).unwrap_or_default();
        let text = format!("{:?} {:?} {} {spec}", self.inputs, self.schema, self.append_only);
        HashMode::Seeded(HEAD_SEED).bytes(text.as_bytes())
    }

    /// Appends what does not belong to the operator.
    fn freeze(&self, out: &mut StateWriter) {
        [self.stats.rows_in, self.stats.rows_out, self.stats.busy_nanos].into_iter().for_each(|n| out.varint(n));
        out.signed(self.failing);
        out.varint(self.watermarks.len() as u64);
        for mark in &self.watermarks {
            out.varint(mark.column as u64);
            out.put(&mark.nanos.to_le_bytes());
        }
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        self.stats.rows_in = from.tally()?;
        self.stats.rows_out = from.tally()?;
        self.stats.busy_nanos = from.tally()?;
        self.failing = from.signed()?;
        if self.failing.unsigned_abs() > i64::MAX as u64 / 2 {
            return Err(from.damaged("more rows fail than there can be"));
        }
        let count = from.count()?;
        self.watermarks.clear();
        for _ in 0..count {
            let (column, nanos) = (from.varint()? as usize, i128::from_le_bytes(from.array()?));
            // Far from the ends of numbers, so that bounds can be added.
            if column >= self.schema.len() || !(Watermark::NONE..=-Watermark::NONE).contains(&nanos) {
                return Err(from.damaged("a watermark is not one"));
            }
            self.watermarks.push(Watermark { column, nanos });
        }
        match &mut self.operator {
            Some(operator) => operator.thaw(from),
            None => Ok(()),
        }
    }
}

/// A number for the form that rows have as bytes: it changes where a version of `arrow-row` gives other bytes.
fn row_form() -> Result<u64> {
    let numbers: ArrayRef = std::sync::Arc::new(Int64Array::from(vec![Some(-1), None]));
    let texts: ArrayRef = std::sync::Arc::new(StringArray::from(vec![Some("0123456789".repeat(5).as_str()), Some("")]));
    let items = [Some(vec![Some(1), None]), None];
    let lists = ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>(items);
    let columns = [numbers, texts, std::sync::Arc::new(lists)];
    let mut hash = 0;
    for descending in [false, true] {
        let options = SortOptions { descending, nulls_first: true };
        let fields = columns.iter().map(|column| (DataType::clone(column.data_type()), options));
        let rows = RowCodec::new(fields)?.encode(&columns)?;
        for i in 0..2 {
            hash = HashMode::Seeded(hash).bytes(rows.row(i));
        }
    }
    Ok(hash)
}
