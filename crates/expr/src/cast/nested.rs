//! Casts of arrays, maps and rows: element by element.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, cast::AsArray};
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
            Ok(Arc::new(ListArray::new(field, list.offsets().clone(), items, list.nulls().cloned())))
        }
        (TypeKind::Map(k, v), TypeKind::Map(l, w), DataType::Map(field, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = field.data_type().clone() else { return Err(unknown(from, to)) };
            let keys = cast_array(map.keys(), &k.kind, &l.kind, safe, ctx)?;
            let values = cast_array(map.values(), &v.kind, &w.kind, safe, ctx)?;
            let entries = StructArray::try_new(fields, vec![keys, values], None)
                .map_err(|e| gridhouse_base::Error::invalid("a cast made a map's key NULL").caused_by(e))?;
            Ok(Arc::new(MapArray::new(field, map.offsets().clone(), entries, map.nulls().cloned(), ordered)))
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
            Ok(Arc::new(StructArray::new(fields, columns, row.nulls().cloned())))
        }
        _ => Err(unknown(from, to)),
    }
}
