//! Unnest: every row with each element of an array, or each entry of a map, that it holds.
//!
//! Law: linear; a withdrawn row withdraws what came of it, since that depends on the row alone (the entries of a map stand
//! in the order of their keys). An empty or NULL collection gives nothing (inner) or one row with NULLs (left). An element
//! that is a ROW becomes its fields, a NULL one NULLs. No state.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int32Array, UInt32Array, make_array};
use arrow_buffer::NullBuffer;
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Error, Result, Schema, TypeKind};

use crate::frozen::{Form, Shared, StateReader};
use crate::join::JoinKind;
use crate::operator::{CHUNK_ROWS, Operator, Output, TickContext, Watermark};
use crate::rows::arrow;

/// What is unnested.
#[derive(Clone, Debug, PartialEq)]
pub struct Unnest {
    /// The column that holds the ARRAY or MAP.
    pub expr: usize,
    /// Inner or left.
    pub kind: JoinKind,
    /// Whether the place of the element (INT, from 1) follows it.
    pub ordinality: bool,
    /// The columns that are appended: the element (its fields, where it is a ROW), or key and value; then the place.
    pub schema: Schema,
}

/// The operator.
pub(crate) struct UnnestOperator {
    spec: Unnest,
}

impl UnnestOperator {
    /// The operator over rows of `input`.
    ///
    /// # Errors
    /// `Internal` where the column does not hold a collection or its elements are not of the types wanted.
    pub fn new(input: &Schema, spec: Unnest) -> Result<Self> {
        if !matches!(spec.kind, JoinKind::Inner | JoinKind::Left) {
            return Err(Error::internal(format!("rows are unnested inner or left, not {:?}", spec.kind)));
        }
        let kind = input.columns.get(spec.expr).map(|column| &column.sql_type.kind);
        let mut kinds: Vec<TypeKind> = match kind {
            Some(TypeKind::Array(element)) => match &element.kind {
                TypeKind::Row(fields) => fields.iter().map(|field| field.sql_type.kind.clone()).collect(),
                other => vec![other.clone()],
            },
            Some(TypeKind::Map(key, value)) => vec![key.kind.clone(), value.kind.clone()],
            other => return Err(Error::internal(format!("column {} ({other:?}) cannot be unnested", spec.expr))),
        };
        kinds.extend(spec.ordinality.then_some(TypeKind::Int));
        let wanted = spec.schema.columns.iter().map(|column| column.sql_type.kind.arrow());
        if !wanted.eq(kinds.iter().map(TypeKind::arrow)) {
            return Err(Error::internal(format!("{kinds:?} cannot be unnested as {:?}", spec.schema)));
        }
        Ok(Self { spec })
    }

    /// Gives out rows with elements: the rows, the elements' numbers (none: NULLs) and their places.
    fn give(
        batch: &ChangeBatch,
        elements: &[ArrayRef],
        rows: Vec<u32>,
        numbers: Vec<Option<u32>>,
        places: Option<Vec<Option<i32>>>,
        out: &mut Output,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let taken = batch.take(&rows.into())?;
        let numbers = UInt32Array::from(numbers);
        let mut columns = taken.columns().to_vec();
        for element in elements {
            columns.push(take(element, &numbers, None).map_err(arrow)?);
        }
        columns.extend(places.map(|places| Arc::new(Int32Array::from(places)) as ArrayRef));
        out.push(taken.with_columns(columns));
        Ok(())
    }
}

/// The columns of all elements: the fields of rows, keys and values, or the values themselves.
fn elements(collection: &ArrayRef) -> Result<Vec<ArrayRef>> {
    if let Some(map) = collection.as_map_opt() {
        return Ok(vec![map.keys().clone(), map.values().clone()]);
    }
    let values = collection.as_list::<i32>().values();
    let Some(rows) = values.as_struct_opt() else { return Ok(vec![values.clone()]) };
    // What stands in the fields of a NULL row means nothing.
    let field = |column: &ArrayRef| {
        let nulls = NullBuffer::union(column.nulls(), rows.nulls());
        if column.data_type().is_null() {
            return Ok(column.clone());
        }
        Ok(make_array(column.to_data().into_builder().nulls(nulls).build().map_err(arrow)?))
    };
    rows.columns().iter().map(field).collect()
}

impl Operator for UnnestOperator {
    fn push(&mut self, _port: usize, batch: &ChangeBatch, _ctx: &TickContext, out: &mut Output) -> Result<()> {
        let collection = batch.column(self.spec.expr);
        let elements = elements(collection)?;
        let offsets = match collection.as_map_opt() {
            Some(map) => map.offsets().clone(),
            None => collection.as_list::<i32>().offsets().clone(),
        };
        let (mut rows, mut numbers, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let left = self.spec.kind == JoinKind::Left;
        for row in 0..batch.len() {
            let held = if collection.is_null(row) { 0..0 } else { offsets[row]..offsets[row + 1] };
            if held.is_empty() && left {
                rows.push(row as u32);
                numbers.push(None);
                places.push(None);
            }
            for (place, element) in held.enumerate() {
                rows.push(row as u32);
                numbers.push(Some(element as u32));
                places.push(Some(place as i32 + 1));
            }
            if rows.len() >= CHUNK_ROWS || row + 1 == batch.len() {
                let places = std::mem::take(&mut places);
                let (rows, numbers) = (std::mem::take(&mut rows), std::mem::take(&mut numbers));
                Self::give(batch, &elements, rows, numbers, self.spec.ordinality.then_some(places), out)?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, inputs: &[&[Watermark]]) -> Result<Vec<Watermark>> {
        Ok(inputs[0].to_vec())
    }

    fn form(&self) -> Form {
        ("unnest", 1)
    }

    fn spec(&self) -> String {
        format!("{:?}", self.spec)
    }

    fn share(&mut self) -> Shared {
        Shared::nothing()
    }

    fn thaw(&mut self, _from: &mut StateReader<'_>) -> Result<()> {
        Ok(())
    }
}
