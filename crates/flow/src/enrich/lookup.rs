//! The look-up join with what lies outside, through a [`Lookup`] of a connector.
//!
//! Of every chunk of left rows each different key is asked for once, all in one call; a key that holds NULL is not asked for
//! and finds nothing. Nothing of the outside is kept here: a connector may remember answers for as long as its options
//! allow. An answer is given out in pieces, so that a key with very many rows does not make very many pairs at once.

use arrow_array::UInt32Array;
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Error, Result, Schema};
use gridhouse_expr::Expr;

use super::{Finder, Partners};
use crate::connector::{Found, Lookup};
use crate::frozen::{Shared, StateReader};
use crate::hash::HashMode;
use crate::join::JoinKind;
use crate::keys::{Keys, NO_SLOT, Slot};
use crate::operator::{CHUNK_ROWS, StateSize};
use crate::rows::arrow;

/// A look-up join with what lies outside.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupSpec {
    /// Inner or left.
    pub kind: JoinKind,
    /// The columns of the left side that hold the key, in the order in which the look-up wants them.
    pub keys: Vec<usize>,
    /// What must be true beside that, over the left columns and those that are found.
    pub residual: Option<Expr>,
    /// The columns that are found.
    pub schema: Schema,
}

/// What lies outside.
pub(crate) struct Outside {
    lookup: Box<dyn Lookup>,
    keys: Vec<usize>,
    key_types: Vec<DataType>,
    /// The types of what is found.
    types: Vec<DataType>,
    mode: HashMode,
    /// What was found for the batch that is being answered.
    answer: Option<ChunkAnswer>,
}

/// What was found for a batch of left rows.
struct ChunkAnswer {
    /// The number of every row's key among the keys that were asked for.
    slots: Vec<Slot>,
    found: Found,
}

impl Outside {
    /// `lookup`, asked by the columns `keys` of rows of `left`, finds rows of `found`.
    ///
    /// # Errors
    /// `Internal` where there is no key or a key column does not exist.
    pub fn new(left: &Schema, keys: &[usize], found: &Schema, lookup: Box<dyn Lookup>, mode: HashMode) -> Result<Self> {
        if keys.is_empty() || keys.iter().any(|&key| key >= left.len()) {
            return Err(Error::internal(format!("rows cannot be looked up by the columns {keys:?}")));
        }
        let types = |schema: &Schema| schema.columns.iter().map(|c| c.sql_type.kind.arrow()).collect::<Vec<_>>();
        let key_types = types(&left.project(keys));
        Ok(Self { lookup, keys: keys.to_vec(), key_types, types: types(found), mode, answer: None })
    }

    /// Asks for keys and checks the form of the answer.
    fn ask(&mut self, keys: &[arrow_array::ArrayRef], len: usize) -> Result<Found> {
        let found = self.lookup.lookup(keys, len)?;
        let rows = found.keys.len();
        let numbers = found.keys.values();
        let in_order = numbers.is_sorted() && numbers.last().is_none_or(|&last| (last as usize) < len);
        let types = found.columns.iter().map(|column| column.data_type());
        if !in_order || !types.eq(&self.types) || found.columns.iter().any(|column| column.len() != rows) {
            return Err(Error::internal("a look-up gave rows that do not answer its keys, or of other types"));
        }
        Ok(found)
    }

    /// Asks for the keys of all rows of a batch.
    fn ask_for(&mut self, batch: &ChangeBatch) -> Result<ChunkAnswer> {
        let columns: Vec<_> = self.keys.iter().map(|&key| batch.column(key).clone()).collect();
        let nulls = |column: &arrow_array::ArrayRef| column.logical_nulls();
        let present = columns.iter().fold(None, |all, column| NullBuffer::union(all.as_ref(), nulls(column).as_ref()));
        // An index of this chunk alone: the slots number its different keys in the order of their first rows.
        let mut index = Keys::new(&self.key_types, self.mode)?;
        let mut slots: Vec<Slot> = Vec::new();
        index.resolve(&columns, batch.len(), present.as_ref(), &mut slots)?;
        let asked = index.end();
        let found = if asked == 0 {
            let none = self.types.iter().map(arrow_array::new_empty_array).collect();
            Found { keys: UInt32Array::from(Vec::<u32>::new()), columns: none }
        } else {
            let keys = index.columns(&(0..asked as Slot).collect::<Vec<_>>())?;
            self.ask(&keys, asked)?
        };
        Ok(ChunkAnswer { slots, found })
    }
}

impl Finder for Outside {
    fn find(&mut self, batch: &ChangeBatch, from: usize) -> Result<Partners> {
        let ChunkAnswer { slots, found } = match self.answer.take() {
            Some(answer) if from > 0 => answer,
            _ => self.ask_for(batch)?,
        };
        let numbers = found.keys.values();
        let (mut own, mut answers) = (Vec::<u32>::new(), Vec::<u32>::new());
        let mut upto = from;
        while upto < batch.len() && own.len() < CHUNK_ROWS {
            let slot = slots[upto];
            if slot != NO_SLOT {
                let start = numbers.partition_point(|&number| number < slot);
                let answer = (start..numbers.len()).take_while(|&answer| numbers[answer] == slot);
                answers.extend(answer.map(|answer| answer as u32));
                own.resize(answers.len(), upto as u32);
            }
            upto += 1;
        }
        let answers = UInt32Array::from(answers);
        let columns = found.columns.iter().map(|column| take(column, &answers, None).map_err(arrow));
        let columns = columns.collect::<Result<_>>()?;
        if upto < batch.len() {
            self.answer = Some(ChunkAnswer { slots, found });
        }
        let weights = vec![1; own.len()];
        Ok(Partners { upto, columns, own, weights })
    }

    fn change(&mut self, _batch: &ChangeBatch) -> Result<()> {
        Err(Error::internal("what lies outside does not change through the dataflow"))
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn spec(&self) -> String {
        format!("outside {:?}", self.keys)
    }

    fn key(&mut self) -> Option<(Keys, Vec<usize>)> {
        None
    }

    fn share(&mut self) -> Shared {
        Shared::nothing()
    }

    fn thaw(&mut self, _from: &mut StateReader<'_>) -> Result<()> {
        Ok(())
    }

    fn state(&self) -> StateSize {
        StateSize::default()
    }
}
