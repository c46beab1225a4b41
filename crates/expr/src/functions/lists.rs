//! What the functions of arrays and maps share: reading the lists of an argument, and making lists out of elements of
//! several arrays without copying an element more than once.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, cast::AsArray, new_empty_array};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::Call;
use crate::eval::Operand;

/// How many elements an array or a map may have: a function that doubles its argument must not eat the machine's memory,
/// and the offsets of a batch are 32 bits wide.
const MAX_ELEMENTS: usize = 1 << 24;

/// The error of an Arrow kernel that is given arrays of types it was told to expect.
pub(crate) fn failed(error: arrow_schema::ArrowError) -> Error {
    Error::internal("elements could not be rearranged").caused_by(error)
}

/// The lists of an ARRAY or MAP argument.
pub(crate) struct Lists<'a> {
    operand: &'a Operand,
    offsets: &'a OffsetBuffer<i32>,
    /// The elements of an array, the keys of a map.
    pub items: &'a ArrayRef,
    /// The values of a map; of an array its elements again.
    pub values: &'a ArrayRef,
}

impl Lists<'_> {
    /// Where the elements of row `i` stand; `None` for NULL.
    pub fn at(&self, i: usize) -> Option<Range<usize>> {
        let row = self.operand.at(i);
        self.operand.array.is_valid(row).then(|| self.offsets[row] as usize..self.offsets[row + 1] as usize)
    }
}

/// Argument `i` as lists.
pub(crate) fn lists<'a>(call: &'a Call<'_>, i: usize) -> Lists<'a> {
    let operand = &call.args[i];
    match operand.array.as_map_opt() {
        Some(map) => Lists { operand, offsets: map.offsets(), items: map.keys(), values: map.values() },
        None => {
            let list = operand.array.as_list::<i32>();
            Lists { operand, offsets: list.offsets(), items: list.values(), values: list.values() }
        }
    }
}

/// Lists under construction: for each row the places of its elements, as (source, index).
pub(crate) struct ListBuilder {
    places: Vec<(usize, usize)>,
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
    started: usize,
}

impl ListBuilder {
    pub fn new(rows: usize) -> Self {
        Self { places: Vec::new(), lengths: Vec::with_capacity(rows), nulls: NullBufferBuilder::new(rows), started: 0 }
    }

    /// Adds an element to the row under construction.
    pub fn push(&mut self, source: usize, index: usize) {
        self.places.push((source, index));
    }

    /// The places of the row under construction.
    pub fn row(&mut self) -> &mut [(usize, usize)] {
        &mut self.places[self.started..]
    }

    /// Ends a row; without `valid` it is NULL, and its elements are dropped.
    pub fn close(&mut self, valid: bool) -> Result<()> {
        if !valid {
            self.places.truncate(self.started);
        }
        let length = self.places.len() - self.started;
        if length > MAX_ELEMENTS || self.places.len() > i32::MAX as usize {
            return Err(Error::invalid(format!("an array of {length} elements is too long"))
                .hint(format!("arrays made by functions have at most {MAX_ELEMENTS} elements")));
        }
        self.lengths.push(length);
        self.nulls.append(valid);
        self.started = self.places.len();
        Ok(())
    }

    /// The arrays of SQL type ARRAY of `element`.
    pub fn arrays(mut self, element: &SqlType, sources: &[&ArrayRef]) -> Result<ArrayRef> {
        let items = gathered(&self.places, sources)?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let field = Arc::new(element.arrow_field("element"));
        Ok(Arc::new(ListArray::try_new(field, offsets, items, self.nulls.finish()).map_err(failed)?))
    }

    /// The maps of SQL kind `kind` whose keys and values stand at the same places of `keys` and `values`.
    pub fn maps(self, kind: &TypeKind, keys: &[&ArrayRef], values: &[&ArrayRef]) -> Result<ArrayRef> {
        let places = self.places.clone();
        self.maps_of(kind, keys, values, places)
    }

    /// The maps of SQL kind `kind` whose keys stand at the places pushed, and whose values at `partners`.
    pub fn maps_of(
        mut self,
        kind: &TypeKind,
        keys: &[&ArrayRef],
        values: &[&ArrayRef],
        partners: Vec<(usize, usize)>,
    ) -> Result<ArrayRef> {
        let (keys, values) = (gathered(&self.places, keys)?, gathered(&partners, values)?);
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let DataType::Map(field, ordered) = kind.arrow() else {
            return Err(Error::internal(format!("{kind} is no map")));
        };
        let DataType::Struct(fields) = field.data_type().clone() else {
            return Err(Error::internal(format!("{kind} has no entries")));
        };
        if keys.null_count() > 0 {
            return Err(Error::invalid("a key of a map is NULL").hint("leave such entries out, or use COALESCE"));
        }
        let entries = StructArray::try_new(fields, vec![keys, values], None).map_err(failed)?;
        Ok(Arc::new(MapArray::try_new(field, offsets, entries, self.nulls.finish(), ordered).map_err(failed)?))
    }
}

fn gathered(places: &[(usize, usize)], sources: &[&ArrayRef]) -> Result<ArrayRef> {
    let arrays: Vec<&dyn Array> = sources.iter().map(|source| source.as_ref()).collect();
    match arrays.first() {
        Some(first) if places.is_empty() => Ok(new_empty_array(first.data_type())),
        _ => interleave(&arrays, places).map_err(failed),
    }
}

/// Elements in a form in which equal ones have equal bytes, and NULL equals NULL.
pub(crate) struct Keys {
    sources: Vec<Rows>,
}

impl Keys {
    /// The keys of `sources`, which have one type; see [`has_keys`].
    pub fn new(sources: &[&ArrayRef]) -> Result<Self> {
        let Some(first) = sources.first() else { return Ok(Self { sources: Vec::new() }) };
        let converter = RowConverter::new(vec![SortField::new(first.data_type().clone())]).map_err(failed)?;
        let rows = |source: &&ArrayRef| converter.convert_columns(std::slice::from_ref(*source)).map_err(failed);
        Ok(Self { sources: sources.iter().map(rows).collect::<Result<_>>()? })
    }

    /// The key of an element.
    pub fn at(&self, source: usize, index: usize) -> &[u8] {
        self.sources[source].row(index).data()
    }
}

/// Whether values of `kind` have [`Keys`]: all but maps.
pub(crate) fn has_keys(kind: &TypeKind) -> bool {
    match kind {
        TypeKind::Map(..) => false,
        TypeKind::Array(element) => has_keys(&element.kind),
        TypeKind::Row(fields) => fields.iter().all(|field| has_keys(&field.sql_type.kind)),
        _ => true,
    }
}
