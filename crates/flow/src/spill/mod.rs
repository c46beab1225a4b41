//! State larger than its budget: a keyed operator that can be cut into hash partitions, which go to disk and come back.
//!
//! Law: that of the operator inside. Rows of different keys have nothing to do with each other in it, so an operator per
//! hash partition of the keys gives out the same changes as one for all of them.
//!
//! While memory suffices there is one operator, which is given everything as it comes. Once the governor has chosen it, it
//! is cut: every partition's state is frozen into a file of its own, and from then on the rows of a tick are sorted by
//! partition and laid up; at the end of the tick each partition that has some is read back, given its rows, finished, and
//! written out again as soon as memory is short. So a tick reads a partition once at most, and needs memory for the budget
//! and one partition. A tick that fills operators with very many rows lets them in whenever an eighth of the budget waits in all.
//! Partitions that are not touched stay where they are; what watermarks let them drop, they drop when
//! they are read. An operator that was cut stays cut.

mod anchored;
mod governor;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use gridhouse_base::{ChangeBatch, Error, Result};

use crate::failing::{Failed, Failures};
use crate::frozen::{Form, Part, Parts, Shared, StateReader, StateWriter};
use crate::keys::Keys;
use crate::operator::{CHUNK_ROWS, Operator, Output, StateSize, TickContext, Watermark};

pub(crate) use anchored::Anchored;
pub use governor::Governor;
pub(crate) use governor::{Piece, SpillFile};

/// Makes an operator that holds nothing, for the partition of this number.
pub(crate) type Fresh = Box<dyn Fn(u32) -> Result<Box<dyn Operator>> + Send>;

/// An operator that may be cut.
pub(crate) struct Spilling {
    fresh: Fresh,
    /// Holds nothing: tells what does not depend on what is held.
    model: Box<dyn Operator>,
    /// An index of the operator's keys that holds none: tells the partitions of rows.
    keys: Keys,
    /// The key columns of every input's rows.
    columns: Vec<Vec<usize>>,
    governor: Arc<Governor>,
    held: Held,
    /// The inputs' watermarks as of the last tick.
    marks: Vec<Vec<Watermark>>,
    waiting: Waiting,
    failed: Failures,
}

/// The rows of this tick by partition, with their input.
struct Waiting {
    rows: BTreeMap<u32, Vec<(usize, ChangeBatch)>>,
    bytes: usize,
    /// Is told how many bytes they are.
    governor: Arc<Governor>,
}

impl Waiting {
    fn add(&mut self, part: u32, port: usize, batch: ChangeBatch) {
        let bytes = batch.memory_bytes();
        self.governor.wait(bytes);
        self.bytes += bytes;
        self.rows.entry(part).or_default().push((port, batch));
    }

    /// All rows, which do not wait any more.
    fn take(&mut self) -> BTreeMap<u32, Vec<(usize, ChangeBatch)>> {
        self.governor.end_wait(std::mem::take(&mut self.bytes));
        std::mem::take(&mut self.rows)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.governor.end_wait(self.bytes);
    }
}

enum Held {
    Whole(Box<dyn Operator>, Arc<Piece>),
    Parts(Vec<Partition>),
}

/// A partition: in memory, in a file, or without anything.
struct Partition {
    operator: Option<Box<dyn Operator>>,
    file: Option<Arc<SpillFile>>,
    piece: Arc<Piece>,
    /// Entries that lie in the file.
    rows: usize,
}

impl Partition {
    fn empty(governor: &Arc<Governor>) -> Self {
        Self { operator: None, file: None, piece: governor.piece(false), rows: 0 }
    }

    /// Writes out what is in memory.
    fn leave(&mut self, governor: &Arc<Governor>) -> Result<()> {
        let Some(operator) = &mut self.operator else { return Ok(()) };
        let mut out = StateWriter::default();
        operator.share().freeze(Part::Whole, &mut out)?;
        self.file = Some(governor.keep(&out)?);
        self.rows = operator.state().rows;
        self.operator = None;
        self.piece.hold(0);
        Ok(())
    }
}

impl Spilling {
    /// An operator that `fresh` makes, over inputs whose keys, of the form of `keys`, stand in `columns`.
    ///
    /// # Errors
    /// Those of `fresh`.
    pub fn new(
        fresh: Fresh,
        whole: Box<dyn Operator>,
        keys: Keys,
        columns: Vec<Vec<usize>>,
        governor: Arc<Governor>,
    ) -> Result<Self> {
        let held = Held::Whole(whole, governor.piece(true));
        let waiting = Waiting { rows: BTreeMap::new(), bytes: 0, governor: governor.clone() };
        let (model, marks, failed) = (fresh(0)?, Vec::new(), Failures::default());
        Ok(Self { fresh, model, keys, columns, governor, held, marks, waiting, failed })
    }

    /// Cuts the operator and writes all of it out.
    fn cut(&mut self) -> Result<()> {
        let Held::Whole(operator, _) = &mut self.held else { return Ok(()) };
        let parts = Parts::new(self.governor.parts());
        let mut nothing = StateWriter::default();
        self.model.share().freeze(Part::Whole, &mut nothing)?;
        let shared = operator.share();
        let mut cut = Vec::with_capacity(parts.count() as usize);
        for number in 0..parts.count() {
            let (mut out, before) = (StateWriter::default(), parts.given());
            shared.freeze(Part::One(&parts, number), &mut out)?;
            let mut partition = Partition::empty(&self.governor);
            if !out.is_same(&nothing) {
                partition.file = Some(self.governor.keep(&out)?);
            }
            partition.rows = parts.given() - before;
            cut.push(partition);
        }
        // About so many entries; the number is exact again once a partition was read.
        let (entries, keys) = (operator.state().rows, parts.given().max(1));
        cut.iter_mut().for_each(|partition| partition.rows = partition.rows * entries / keys);
        self.held = Held::Parts(cut);
        Ok(())
    }

    /// Lays the rows of a batch before their partitions.
    fn lay_up(&mut self, port: usize, batch: &ChangeBatch) -> Result<()> {
        let columns: Vec<ArrayRef> = self.columns[port].iter().map(|&i| batch.column(i).clone()).collect();
        let parts = self.keys.parts_of_rows(&columns, batch.len(), self.governor.parts())?;
        let mut rows = vec![Vec::<u32>::new(); self.governor.parts() as usize];
        parts.iter().enumerate().for_each(|(row, &part)| rows[part as usize].push(row as u32));
        for (part, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let batch = if rows.len() == batch.len() { batch.clone() } else { batch.take(&UInt32Array::from(rows))? };
            self.waiting.add(part as u32, port, batch);
        }
        Ok(())
    }

    /// Brings a partition into memory.
    fn bring(&mut self, number: u32) -> Result<()> {
        let marks: Vec<&[Watermark]> = self.marks.iter().map(Vec::as_slice).collect();
        let Held::Parts(parts) = &mut self.held else { return Ok(()) };
        let partition = &mut parts[number as usize];
        if partition.operator.is_none() {
            let mut operator = (self.fresh)(number)?;
            if let Some(file) = &partition.file {
                let bytes = file.read()?;
                let parts = [&bytes[..]];
                let mut from = StateReader::new(&parts)?;
                operator.thaw(&mut from)?;
                from.end()?;
            }
            if !marks.is_empty() {
                operator.advance(&marks)?;
            }
            (partition.operator, partition.file, partition.rows) = (Some(operator), None, 0);
        }
        Ok(())
    }

    /// Gives a partition its rows and ends its tick.
    fn run(
        &mut self,
        number: u32,
        batches: Vec<(usize, ChangeBatch)>,
        ctx: &TickContext,
        out: &mut Output,
    ) -> Result<()> {
        self.bring(number)?;
        let Held::Parts(parts) = &mut self.held else { return Ok(()) };
        let partition = &mut parts[number as usize];
        let Some(operator) = &mut partition.operator else {
            return Err(Error::internal("a partition was not brought into memory"));
        };
        for (port, batch) in batches {
            operator.push(port, &batch, ctx, out)?;
        }
        operator.finish(ctx, out)?;
        gather(&mut self.failed, operator.take_failed())?;
        partition.piece.touch(operator.state().bytes);
        self.make_room()
    }

    /// Gives every partition the rows that wait for it.
    fn work_off(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let mut given = Output::new();
        // Those that are in memory come first, before others push them out.
        let mut waiting: Vec<_> = self.waiting.take().into_iter().collect();
        if let Held::Parts(parts) = &self.held {
            waiting.sort_by_key(|(number, _)| parts[*number as usize].operator.is_none());
        }
        for (number, batches) in waiting {
            self.run(number, batches, ctx, &mut given)?;
        }
        out.extend(gathered(given)?);
        Ok(())
    }

    /// Writes out partitions of this operator, those first that were not touched for longest, while memory is short.
    fn make_room(&mut self) -> Result<()> {
        let Held::Parts(parts) = &mut self.held else { return Ok(()) };
        while self.governor.is_over() {
            let held = parts.iter_mut().filter(|partition| partition.operator.is_some());
            let Some(oldest) = held.min_by_key(|partition| partition.piece.touched()) else { break };
            oldest.leave(&self.governor)?;
        }
        Ok(())
    }
}

fn gather(failures: &mut Failures, failed: Vec<Failed>) -> Result<()> {
    failed.into_iter().try_for_each(|failed| failures.add(failed.row, failed.error, failed.weight))
}

/// The batches put together where they are small, since a partition gives out few rows at a time.
fn gathered(batches: Output) -> Result<Output> {
    let (mut out, mut small, mut rows) = (Output::new(), Vec::new(), 0);
    for batch in batches {
        if rows + batch.len() > CHUNK_ROWS {
            out.push(ChangeBatch::concat(&std::mem::take(&mut small))?);
            rows = 0;
        }
        if batch.len() >= CHUNK_ROWS {
            out.push(batch);
        } else if !batch.is_empty() {
            rows += batch.len();
            small.push(batch);
        }
    }
    if !small.is_empty() {
        out.push(ChangeBatch::concat(&small)?);
    }
    Ok(out)
}

impl Operator for Spilling {
    fn push(&mut self, port: usize, batch: &ChangeBatch, ctx: &TickContext, out: &mut Output) -> Result<()> {
        match &mut self.held {
            Held::Whole(operator, _) => operator.push(port, batch, ctx, out),
            Held::Parts(_) => self.lay_up(port, batch),
        }
    }

    /// Where memory is short the operator is cut in the middle of the tick, after it has given out what it owes so far; from
    /// then on partitions are given their rows when enough of these wait.
    fn work(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        let Held::Whole(operator, piece) = &mut self.held else {
            return if self.governor.has_many_waiting() { self.work_off(ctx, out) } else { Ok(()) };
        };
        piece.touch(operator.state().bytes);
        if self.governor.is_over() && piece.is_worth_leaving() {
            operator.finish(ctx, out)?;
            gather(&mut self.failed, operator.take_failed())?;
            self.cut()?;
        }
        Ok(())
    }

    fn finish(&mut self, ctx: &TickContext, out: &mut Output) -> Result<()> {
        if let Held::Whole(operator, piece) = &mut self.held {
            operator.finish(ctx, out)?;
            piece.touch(operator.state().bytes);
            return Ok(());
        }
        self.work_off(ctx, out)
    }

    fn answers_at_once(&self) -> bool {
        self.model.answers_at_once()
    }

    fn state(&self) -> StateSize {
        match &self.held {
            Held::Whole(operator, _) => operator.state(),
            Held::Parts(parts) => {
                let rows = |p: &Partition| p.operator.as_ref().map_or(p.rows, |operator| operator.state().rows);
                let bytes = parts.iter().map(|partition| partition.piece.bytes()).sum();
                StateSize { rows: parts.iter().map(rows).sum(), bytes }
            }
        }
    }

    fn spilled_bytes(&self) -> u64 {
        match &self.held {
            Held::Whole(..) => 0,
            Held::Parts(parts) => parts.iter().filter_map(|part| part.file.as_ref()).map(|file| file.len()).sum(),
        }
    }

    fn relieve(&mut self) -> Result<()> {
        match &mut self.held {
            Held::Whole(_, piece) if piece.leaves() => self.cut(),
            Held::Whole(..) => Ok(()),
            Held::Parts(parts) => {
                parts.iter_mut().filter(|part| part.piece.leaves()).try_for_each(|part| part.leave(&self.governor))
            }
        }
    }

    fn is_stateless(&self) -> bool {
        self.model.is_stateless()
    }

    /// No row is in two parts.
    fn gives_each_row_once(&self) -> bool {
        self.model.gives_each_row_once()
    }

    fn turn(&self, port: usize) -> usize {
        self.model.turn(port)
    }

    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        self.marks = inputs.iter().map(|marks| marks.to_vec()).collect();
        match &mut self.held {
            Held::Whole(operator, _) => operator.advance(inputs),
            Held::Parts(parts) => {
                for operator in parts.iter_mut().filter_map(|part| part.operator.as_mut()) {
                    operator.advance(inputs)?;
                }
                self.model.advance(inputs)
            }
        }
    }

    fn take_failed(&mut self) -> Vec<Failed> {
        match &mut self.held {
            Held::Whole(operator, _) => operator.take_failed(),
            // What failed in one part of the tick may have been taken back in a later one.
            Held::Parts(_) => self.failed.take().collect(),
        }
    }

    fn form(&self) -> Form {
        self.model.form()
    }

    fn spec(&self) -> String {
        format!("in parts of {}: {}", self.governor.parts(), self.model.spec())
    }

    fn share(&mut self) -> Shared {
        match &mut self.held {
            Held::Whole(operator, _) => {
                let whole = operator.share();
                Shared::new(move |part, out| {
                    out.flag(false);
                    whole.freeze(part, out)
                })
            }
            Held::Parts(parts) => {
                let share = |part: &mut Partition| match (&mut part.operator, &part.file) {
                    (Some(operator), _) => Some(operator.share()),
                    (None, Some(file)) => {
                        let file = file.clone();
                        Some(Shared::new(move |_, out| {
                            out.file(file.clone());
                            Ok(())
                        }))
                    }
                    (None, None) => None,
                };
                let parts: Vec<Option<Shared>> = parts.iter_mut().map(share).collect();
                Shared::new(move |part, out| {
                    out.flag(true);
                    for shared in &parts {
                        out.flag(shared.is_some());
                        shared.iter().try_for_each(|shared| shared.freeze(part, out))?;
                    }
                    Ok(())
                })
            }
        }
    }

    fn thaw(&mut self, from: &mut StateReader<'_>) -> Result<()> {
        if let Held::Whole(operator, piece) = &mut self.held
            && !from.flag()?
        {
            operator.thaw(from)?;
            piece.touch(operator.state().bytes);
            return Ok(());
        }
        self.held = Held::Parts((0..self.governor.parts()).map(|_| Partition::empty(&self.governor)).collect());
        for number in 0..self.governor.parts() {
            if !from.flag()? {
                continue;
            }
            let mut operator = (self.fresh)(number)?;
            operator.thaw(from)?;
            if let Held::Parts(parts) = &mut self.held {
                let partition = &mut parts[number as usize];
                partition.piece.touch(operator.state().bytes);
                partition.operator = Some(operator);
            }
            self.make_room()?;
        }
        Ok(())
    }
}
