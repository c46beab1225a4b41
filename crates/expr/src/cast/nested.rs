//! Casts of arrays, maps and rows: element by element.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, cast::AsArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use gridhouse_base::{Result, TypeKind};

use super::{cast_array, unknown};
use crate::expr::EvalContext;

pub(super) fn cast(
    array: &ArrayRef,
    from: &TypeKind,
    to: &TypeKind,
    safe: bool,
    ctx: &EvalContext,
) -> Result<ArrayRef> {
    match (from, to, to.arrow()) {
        (TypeKind::Array(source), TypeKind::Array(target), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let items = cast_array(list.values(), &source.kind, &target.kind, safe, ctx)?;
            let failed = failures(list.values(), &items, &source.kind, safe);
            let nulls = without(list.nulls(), list.len(), failed, |row| {
                list.offsets()[row] as usize..list.offsets()[row + 1] as usize
            });
            Ok(Arc::new(ListArray::new(field, list.offsets().clone(), items, nulls)))
        }
        (TypeKind::Map(k, v), TypeKind::Map(l, w), DataType::Map(field, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = field.data_type().clone() else { return Err(unknown(from, to)) };
            let keys = cast_array(map.keys(), &k.kind, &l.kind, safe, ctx)?;
            let values = cast_array(map.values(), &v.kind, &w.kind, safe, ctx)?;
            let failed = failures(map.values(), &values, &v.kind, safe);
            let entries = StructArray::try_new(fields, vec![keys, values], None)
                .map_err(|e| gridhouse_base::Error::invalid("a cast made a map's key NULL").caused_by(e))?;
            let nulls = without(map.nulls(), map.len(), failed, |row| {
                map.offsets()[row] as usize..map.offsets()[row + 1] as usize
            });
            Ok(Arc::new(MapArray::new(field, map.offsets().clone(), entries, nulls, ordered)))
        }
        (TypeKind::Row(sources), TypeKind::Row(targets), DataType::Struct(fields))
            if sources.len() == targets.len() =>
        {
            let row = array.as_struct();
            let pairs = row.columns().iter().zip(sources.iter().zip(targets));
            let columns = pairs
                .map(|(column, (s, t))| cast_array(column, &s.sql_type.kind, &t.sql_type.kind, safe, ctx))
                .collect::<Result<Vec<_>>>()?;
            if columns.is_empty() {
                return Ok(array.clone());
            }
            let mut nulls = row.nulls().cloned();
            for ((column, source), cast) in row.columns().iter().zip(sources).zip(&columns) {
                let failed = failures(column, cast, &source.sql_type.kind, safe);
                nulls = without(nulls.as_ref(), row.len(), failed, |row| row..row + 1);
            }
            Ok(Arc::new(StructArray::new(fields, columns, nulls)))
        }
        _ => Err(unknown(from, to)),
    }
}

/// Where TRY_CAST could not read a value: NULL came of something. A number that does not fit a DECIMAL is no failure.
fn failures(source: &ArrayRef, cast: &ArrayRef, from: &TypeKind, safe: bool) -> Option<BooleanBuffer> {
    let can_fail = from.is_text() || matches!(from, TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_));
    if !safe || !can_fail || cast.null_count() == source.null_count() {
        return None;
    }
    Some(BooleanBuffer::collect_bool(cast.len(), |i| cast.is_null(i) && source.is_valid(i)))
}

/// `nulls` and the rows one of whose elements has failed: TRY_CAST gives the whole value or none.
fn without(
    nulls: Option<&NullBuffer>,
    len: usize,
    failed: Option<BooleanBuffer>,
    elements: impl Fn(usize) -> std::ops::Range<usize>,
) -> Option<NullBuffer> {
    let Some(failed) = failed else { return nulls.cloned() };
    let whole = BooleanBuffer::collect_bool(len, |row| !elements(row).any(|i| failed.value(i)));
    NullBuffer::union(nulls, Some(&NullBuffer::new(whole)))
}
