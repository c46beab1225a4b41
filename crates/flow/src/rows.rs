//! Rows as bytes: `arrow-row`'s form, which compares and hashes like the row itself, and the way back into columns.
//!
//! A thin layer that also knows rows without columns (`SELECT 1 FROM t` pruned to nothing) and maps, which `arrow-row` does
//! not: a map stands there as the list of its entries in the order of their keys, so that equal maps are equal bytes.

mod form;

use arrow_array::ArrayRef;
use arrow_row::{RowConverter, RowParser, Rows, SortField};
use arrow_schema::{ArrowError, DataType, SortOptions};
use gridhouse_base::{Error, Result, Schema};

use crate::maps;

/// Turns columns of fixed types into row bytes and back.
pub(crate) struct RowCodec {
    /// `None` where there are no columns.
    inner: Option<(RowConverter, RowParser)>,
    /// The columns' types, where there are maps among them.
    with_maps: Option<Vec<DataType>>,
    /// The columns as they stand in a row, lists in the place of maps.
    fields: Vec<(DataType, SortOptions)>,
}

/// Rows as bytes, one after the other.
pub(crate) struct EncodedRows {
    /// `None` where there are no columns: every row is empty.
    rows: Option<Rows>,
}

impl RowCodec {
    /// A codec for the columns of `schema`.
    pub fn of_schema(schema: &Schema) -> Result<Self> {
        Self::new(schema.columns.iter().map(|column| (column.sql_type.kind.arrow(), SortOptions::default())))
    }

    /// A codec for columns of these types, in this order of sorting.
    pub fn new(fields: impl IntoIterator<Item = (DataType, SortOptions)>) -> Result<Self> {
        let fields: Vec<(DataType, SortOptions)> = fields.into_iter().collect();
        if fields.is_empty() {
            return Ok(Self { inner: None, with_maps: None, fields });
        }
        let types = || fields.iter().map(|(data_type, _)| data_type);
        let with_maps = types().any(maps::has_map).then(|| types().cloned().collect());
        let fields: Vec<_> = fields.iter().map(|(t, options)| (maps::list_type(t), *options)).collect();
        let sorted = |(t, options): &(DataType, SortOptions)| SortField::new_with_options(t.clone(), *options);
        let converter = RowConverter::new(fields.iter().map(sorted).collect()).map_err(arrow)?;
        let parser = converter.parser();
        Ok(Self { inner: Some((converter, parser)), with_maps, fields })
    }

    /// The rows of `columns` as bytes.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedRows> {
        let rows = match (&self.inner, &self.with_maps) {
            (None, _) => None,
            (Some((converter, _)), None) => Some(converter.convert_columns(columns).map_err(arrow)?),
            (Some((converter, _)), Some(_)) => {
                let lists = columns.iter().map(maps::to_lists).collect::<Result<Vec<_>>>()?;
                Some(converter.convert_columns(&lists).map_err(arrow)?)
            }
        };
        Ok(EncodedRows { rows })
    }

    /// Whether `bytes` have the form of a row that this codec encodes, so that they can be decoded.
    pub fn is_row(&self, bytes: &[u8]) -> bool {
        form::is_row(&self.fields, bytes)
    }

    /// The columns of rows that this codec encoded.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let Some((converter, parser)) = &self.inner else { return Ok(Vec::new()) };
        // `parse` ties the row to the parser's life, so the parsed rows are gathered first.
        let rows: Vec<&[u8]> = rows.into_iter().collect();
        let columns = converter.convert_rows(rows.iter().map(|row| parser.parse(row))).map_err(arrow)?;
        match &self.with_maps {
            None => Ok(columns),
            Some(types) => columns.iter().zip(types).map(|(column, t)| maps::from_lists(column, t)).collect(),
        }
    }
}

impl EncodedRows {
    /// Bytes of memory held, those of all rows among them.
    pub fn bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, Rows::size)
    }

    /// The bytes of row `i`.
    #[inline]
    pub fn row(&self, i: usize) -> &[u8] {
        match &self.rows {
            Some(rows) => rows.row(i).data(),
            None => &[],
        }
    }
}

/// An error of Arrow about rows that the binder has typed: a defect.
pub(crate) fn arrow(error: ArrowError) -> Error {
    Error::internal("rows could not be rearranged").caused_by(error)
}
