//! `SINGLE_VALUE`: the value of a group's only row, from which scalar subqueries are made.
//!
//! Law: the value of the row that is there; NULL where none is. A row counts even if its value is NULL, and two rows are
//! too many even if their values are equal. More than one row is an error only at the end of a tick: on the way there a
//! new row may arrive before the old one goes. State: a multiset of values per group, as row bytes.

use arrow_array::ArrayRef;
use gridhouse_base::{Error, Result, TypeKind};
use gridhouse_expr::text::format_value;

use super::accumulator::{Accumulator, SharedCall};
use super::cells::Cells;
use crate::bag::Bag;
use crate::frozen::StateReader;
use crate::keys::Slot;
use crate::rows::RowCodec;

/// The values of all groups.
pub(super) struct SingleValue {
    kind: TypeKind,
    codec: RowCodec,
    bag: Bag,
    /// NULL in the row form: the result of a group without rows.
    null: Box<[u8]>,
}

impl SingleValue {
    /// The only value of type `arg`.
    ///
    /// # Errors
    /// `Internal` where the result is to have another type.
    pub fn new(arg: &TypeKind, result: &TypeKind) -> Result<Self> {
        if arg.arrow() != result.arrow() {
            return Err(Error::internal(format!("a single value of {arg} cannot be {result}")));
        }
        let codec = RowCodec::new([(arg.arrow(), Default::default())])?;
        let null = codec.encode(&[arrow_array::new_null_array(&arg.arrow(), 1)])?.row(0).into();
        Ok(Self { kind: arg.clone(), codec, bag: Bag::new(false), null })
    }

    /// The error for a group with more than one row, which shows two of its values.
    fn too_many(&self, slot: Slot, rows: i64) -> Result<Error> {
        let some: Vec<&[u8]> = self.bag.set(slot).iter().map(|(value, _)| value).take(2).collect();
        let values = self.codec.decode(some.iter().copied())?.remove(0);
        let text = |i| format_value(&values, i, &self.kind, chrono_tz::UTC).unwrap_or_else(|| "NULL".into());
        let shown = match some.len() {
            1 => format!("all of them {}", text(0)),
            _ => format!("{} and {} among them", text(0), text(1)),
        };
        Ok(Error::invalid(format!(
            "a scalar subquery gave {rows} rows where there must not be more than one row: {shown}"
        ))
        .hint("use MAX(…), or LIMIT 1 with an order, or a join"))
    }
}

impl Accumulator for SingleValue {
    fn resize(&mut self, end: usize) {
        self.bag.resize(end);
    }

    fn update(&mut self, _cells: &mut Cells, slots: &[Slot], weights: &[i64], args: &[ArrayRef]) -> Result<()> {
        let rows = self.codec.encode(&args[..1])?;
        self.bag.room_for(slots.len(), rows.bytes())?;
        for (i, (&slot, &weight)) in slots.iter().zip(weights).enumerate() {
            self.bag.add(slot, rows.row(i), weight, 0);
        }
        Ok(())
    }

    fn results(&self, _cells: &Cells, slots: &[Slot]) -> Result<ArrayRef> {
        let mut values: Vec<&[u8]> = Vec::with_capacity(slots.len());
        for &slot in slots {
            let rows: i64 = self.bag.set(slot).iter().map(|(_, held)| held.weight).sum();
            if rows > 1 {
                return Err(self.too_many(slot, rows)?);
            }
            values.push(self.bag.set(slot).first().unwrap_or(&self.null));
        }
        Ok(self.codec.decode(values)?.remove(0))
    }

    fn is_neutral(&self, _cells: &Cells, slot: Slot) -> bool {
        self.bag.set(slot).is_empty()
    }

    fn entries(&self) -> usize {
        self.bag.rows()
    }

    fn bytes(&self) -> usize {
        self.bag.bytes()
    }

    fn share(&mut self) -> SharedCall {
        let bag = self.bag.share();
        Box::new(move |_, slots, out| {
            bag.freeze(slots, out);
            Ok(())
        })
    }

    fn thaw(&mut self, _cells: &mut Cells, count: usize, from: &mut StateReader<'_>) -> Result<()> {
        self.bag.thaw(count, from, |value| self.codec.is_row(value))
    }
}
