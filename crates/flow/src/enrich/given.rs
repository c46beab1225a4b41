//! What a look-up join has given out for the left rows that are there.
//!
//! Per different left row a stack of answers, each with how many copies of the row got it. The newest copies go first. A row
//! is dropped with its last copy.

use gridhouse_base::{ChangeBatch, Result, Schema};

use crate::frozen::{Shared, StateReader, StateWriter};
use crate::hash::HashMode;
use crate::keys::{Keys, Slot};
use crate::operator::StateSize;
use crate::pages::Pages;

/// A row of the other side in an answer.
#[derive(Clone)]
pub(super) struct Partner {
    pub row: Box<[u8]>,
    /// How many times it was there.
    pub weight: i64,
    /// Whether the residual condition failed for the pair, so that it was not given out but gathered as an error.
    pub failed: bool,
}

/// What was found for some copies of a left row.
#[derive(Clone)]
pub(super) struct Answer {
    pub copies: i64,
    pub partners: Vec<Partner>,
}

impl Answer {
    /// Nothing, for `copies` of a row.
    pub fn empty(copies: i64) -> Self {
        Self { copies, partners: Vec::new() }
    }

    fn freeze(&self, out: &mut StateWriter) {
        out.signed(self.copies);
        out.varint(self.partners.len() as u64);
        for partner in &self.partners {
            out.bytes(&partner.row);
            out.signed(partner.weight);
            out.flag(partner.failed);
        }
    }

    fn bytes(&self) -> usize {
        let heap: usize = self.partners.iter().map(|partner| partner.row.len() + 16).sum();
        size_of::<Self>() + self.partners.capacity() * size_of::<Partner>() + heap
    }
}

/// The answers of all left rows.
pub(super) struct Given {
    /// Left row → slot.
    index: Keys,
    /// By slot, few to a page since each is a piece of memory of its own.
    answers: Pages<Vec<Answer>, 6>,
    held: usize,
    heap_bytes: usize,
}

/// The answers that some withdrawn rows had got.
pub(super) struct Taken {
    /// With the number of the row in its batch, each for as many copies as go.
    pub answers: Vec<(u32, Answer)>,
    /// Whether every row that goes had been there.
    pub complete: bool,
}

impl Given {
    /// For rows of `left`.
    pub fn new(left: &Schema, mode: HashMode) -> Result<Self> {
        let types: Vec<_> = left.columns.iter().map(|column| column.sql_type.kind.arrow()).collect();
        Ok(Self { index: Keys::new(&types, mode)?, answers: Pages::default(), held: 0, heap_bytes: 0 })
    }

    fn slots(&mut self, batch: &ChangeBatch) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.index.resolve(batch.columns(), batch.len(), None, &mut slots)?;
        self.answers.resize(self.index.end(), Vec::new());
        Ok(slots)
    }

    /// Remembers the answer of every row of `batch`.
    pub fn add(&mut self, batch: &ChangeBatch, answers: Vec<Answer>) -> Result<()> {
        for (slot, answer) in self.slots(batch)?.into_iter().zip(answers) {
            self.held += 1;
            self.heap_bytes += answer.bytes();
            self.answers[slot as usize].push(answer);
        }
        Ok(())
    }

    /// Takes back the answers of rows that go, as many copies as their weights say.
    pub fn take(&mut self, batch: &ChangeBatch) -> Result<Taken> {
        let slots = self.slots(batch)?;
        let mut taken = Taken { answers: Vec::with_capacity(slots.len()), complete: true };
        for (row, &slot) in slots.iter().enumerate() {
            let mut copies = -i64::from(batch.weight(row));
            let answers = &mut self.answers[slot as usize];
            while copies > 0 {
                let Some(mut newest) = answers.pop() else {
                    taken.complete = false;
                    break;
                };
                if newest.copies > copies {
                    let rest = newest.copies - copies;
                    answers.push(Answer { copies: rest, ..newest.clone() });
                    newest.copies = copies;
                } else {
                    self.held -= 1;
                    self.heap_bytes = self.heap_bytes.saturating_sub(newest.bytes());
                }
                copies -= newest.copies;
                taken.answers.push((row as u32, newest));
            }
            if answers.is_empty() {
                *answers = Vec::new();
                self.index.release(slot);
            }
        }
        Ok(taken)
    }

    /// The answers, those of each row from the oldest to the newest. Where state is cut, rows belong to the part of the key, of
    /// the form that is given, which some of their columns hold.
    pub fn share(&mut self, key: Option<(Keys, Vec<usize>)>) -> Shared {
        let (index, answers) = (self.index.share(), self.answers.share());
        Shared::new(move |part, out| {
            let slots = match &key {
                Some((keys, columns)) => part.slots_by(&index, keys, columns)?,
                None => part.slots(&index),
            };
            index.freeze(&slots, None, out);
            for &slot in &slots {
                let answers = &answers[slot as usize];
                out.varint(answers.len() as u64);
                answers.iter().for_each(|answer| answer.freeze(out));
            }
            Ok(())
        })
    }

    /// Reads answers, whose rows `accept` knows.
    ///
    /// # Errors
    /// `Corrupt` where they are damaged.
    pub fn thaw(&mut self, from: &mut StateReader<'_>, accept: impl Fn(&[u8]) -> bool) -> Result<()> {
        for _ in 0..self.index.thaw(from)? {
            let mut answers = Vec::new();
            for _ in 0..from.count()? {
                let mut answer = Answer::empty(from.signed()?);
                if answer.copies <= 0 {
                    return Err(from.damaged("an answer belongs to no row"));
                }
                for _ in 0..from.count()? {
                    let partner = Partner { row: from.bytes()?, weight: from.signed()?, failed: from.flag()? };
                    if !accept(&partner.row) {
                        return Err(from.damaged("an answer is not a row"));
                    }
                    answer.partners.push(partner);
                }
                self.held += 1;
                self.heap_bytes += answer.bytes();
                answers.push(answer);
            }
            self.answers.push(answers);
        }
        Ok(())
    }

    /// What is held.
    pub fn state(&self) -> StateSize {
        let own = self.answers.bytes() + self.index.bytes();
        StateSize { rows: self.held, bytes: own + self.heap_bytes }
    }
}
