//! MAP values in a comparable form: the list of their entries in the order of their keys.
//!
//! Two maps are equal if they hold the same entries, in whatever order these were put in. Operators that compare or keep
//! rows are given maps whose entries stand in the order of their keys ([`ordered`]), so that the same map has the same form,
//! and the same text, wherever it comes from. Maps inside arrays, rows and other maps too.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, UInt32Array};
use arrow_buffer::OffsetBuffer;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use arrow_select::take::take;
use gridhouse_base::{ChangeBatch, Error, Result};

use crate::rows::arrow;

/// Whether values of this type are or hold maps.
pub(crate) fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(field) => has_map(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

/// The same rows, the entries of all maps in the order of their keys.
pub(crate) fn ordered(batch: &ChangeBatch) -> Result<ChangeBatch> {
    if !batch.columns().iter().any(|column| has_map(column.data_type())) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(|column| from_lists(&to_lists(column)?, column.data_type()));
    Ok(batch.with_columns(columns.collect::<Result<_>>()?))
}

/// The type with a list of entries in the place of every map.
pub(crate) fn list_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Map(entries, _) => DataType::List(list_field(entries)),
        DataType::List(element) => DataType::List(list_field(element)),
        DataType::Struct(fields) => DataType::Struct(list_fields(fields)),
        other => other.clone(),
    }
}

fn list_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), list_type(field.data_type()), field.is_nullable()))
}

fn list_fields(fields: &Fields) -> Fields {
    fields.iter().map(list_field).collect()
}

/// The values with a list of entries, in the order of their keys, in the place of every map.
pub(crate) fn to_lists(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        data_type if !has_map(data_type) => Ok(array.clone()),
        DataType::Map(field, _) => {
            let map = array.as_map();
            let (keys, values) = (to_lists(map.keys())?, to_lists(map.values())?);
            let (order, offsets) = order_of_entries(&keys, map.value_offsets())?;
            let columns = [keys, values].map(|column| take(&column, &order, None).map_err(arrow));
            let field = list_field(field);
            let DataType::Struct(fields) = field.data_type().clone() else { return Err(odd(field.data_type())) };
            let entries = StructArray::try_new(fields, columns.into_iter().collect::<Result<_>>()?, None);
            let entries = Arc::new(entries.map_err(arrow)?);
            Ok(Arc::new(ListArray::try_new(field, offsets, entries, map.nulls().cloned()).map_err(arrow)?))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let (values, nulls) = (to_lists(list.values())?, list.nulls().cloned());
            let list = ListArray::try_new(list_field(field), list.offsets().clone(), values, nulls);
            Ok(Arc::new(list.map_err(arrow)?))
        }
        DataType::Struct(fields) => {
            let row = array.as_struct();
            let columns = row.columns().iter().map(to_lists).collect::<Result<_>>()?;
            let row = StructArray::try_new(list_fields(fields), columns, row.nulls().cloned());
            Ok(Arc::new(row.map_err(arrow)?))
        }
        other => Err(odd(other)),
    }
}

/// The numbers of the entries, those of each map in the order of their keys, and where each map's begin.
fn order_of_entries(keys: &ArrayRef, offsets: &[i32]) -> Result<(UInt32Array, OffsetBuffer<i32>)> {
    let converter = RowConverter::new(vec![SortField::new(keys.data_type().clone())]).map_err(arrow)?;
    let rows = converter.convert_columns(std::slice::from_ref(keys)).map_err(arrow)?;
    let mut order: Vec<u32> = Vec::with_capacity(keys.len());
    for bounds in offsets.windows(2) {
        let from = order.len();
        order.extend(bounds[0] as u32..bounds[1] as u32);
        order[from..].sort_by(|&a, &b| rows.row(a as usize).cmp(&rows.row(b as usize)));
    }
    let lengths = offsets.windows(2).map(|bounds| (bounds[1] - bounds[0]) as usize);
    Ok((order.into(), OffsetBuffer::from_lengths(lengths)))
}

/// The values of `data_type` from their form with lists.
pub(crate) fn from_lists(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        data_type if !has_map(data_type) => Ok(array.clone()),
        DataType::Map(field, sorted) => {
            let list = array.as_list::<i32>();
            let DataType::Struct(fields) = field.data_type() else { return Err(odd(field.data_type())) };
            let columns = list.values().as_struct().columns().iter().zip(fields.iter());
            let columns = columns.map(|(column, field)| from_lists(column, field.data_type()));
            let entries = StructArray::try_new(fields.clone(), columns.collect::<Result<_>>()?, None).map_err(arrow)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries, nulls, *sorted).map_err(arrow)?))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = from_lists(list.values(), field.data_type())?;
            let list = ListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned());
            Ok(Arc::new(list.map_err(arrow)?))
        }
        DataType::Struct(fields) => {
            let row = array.as_struct();
            let columns = row.columns().iter().zip(fields.iter()).map(|(c, field)| from_lists(c, field.data_type()));
            let columns = columns.collect::<Result<_>>()?;
            let row = StructArray::try_new(fields.clone(), columns, row.nulls().cloned());
            Ok(Arc::new(row.map_err(arrow)?))
        }
        other => Err(odd(other)),
    }
}

fn odd(data_type: &DataType) -> Error {
    Error::internal(format!("{data_type} does not hold a map"))
}
