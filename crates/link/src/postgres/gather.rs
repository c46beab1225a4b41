//! Rows of one source table on their way from text to a batch.
//!
//! A gather belongs to a table of the engine; several outside tables may fill it (patterns). Rows keep the order in which
//! they came. A batch ends where the set of known columns changes, where a limit is reached, and where the caller says.

use arrow_array::{ArrayRef, UInt32Array};
use arrow_select::take::take;
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result, TypeKind};

use super::catalog::find;
use super::columns::{ColumnBuilder, Meta};
use super::pgoutput::Cell;
use super::text::Misfit;

/// Rows of a batch at most: a batch of narrow rows is then about a megabyte, which stays in the cache while it is written.
pub(crate) const BATCH_ROWS: usize = 16_384;

/// Bytes of text of a batch at most: with wide rows a batch ends earlier, so that a queue of batches stays bounded.
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Where a physical column of the definition comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The column of the outside table with this index.
    Attribute(usize),
    /// The name of the outside table.
    TableName,
    /// Its schema.
    SchemaName,
    /// The database.
    DatabaseName,
    /// When the transaction was committed; 1970-01-01 for contents.
    CommitTime,
    /// `+I`, `-U`, `+U`, `-D`
    Kind,
}

/// Where each physical column of `definition` comes from, in a table with the columns `names`.
///
/// # Errors
/// `Invalid` where a column does not exist.
pub(crate) fn origins<S: AsRef<str>>(definition: &TableDef, table: &str, names: &[S]) -> Result<Vec<Origin>> {
    let origin = |i: usize| {
        let name = &definition.schema.columns[i].name;
        if let ColumnKind::Metadata { key, .. } = &definition.column_kinds[i] {
            return Ok(match key.as_str() {
                "table_name" => Origin::TableName,
                "schema_name" => Origin::SchemaName,
                "database_name" => Origin::DatabaseName,
                "op_ts" => Origin::CommitTime,
                "row_kind" => Origin::Kind,
                other => return Err(Error::invalid(format!("connector 'postgres-cdc' has no metadata '{other}'"))),
            });
        }
        let at =
            find(names, name, AsRef::as_ref).and_then(|found| names.iter().position(|n| n.as_ref() == found.as_ref()));
        at.map(Origin::Attribute).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            Error::invalid(format!("table {table} has no column '{name}' any more")).hint(format!(
                "its columns are {}: where one of them is '{name}' under a new name, give it the old one back in the source, else add the \
                 column again there; then START JOB; or declare the table otherwise",
                names.join(", ")
            ))
        })
    };
    definition.physical().map(origin).collect()
}

/// What metadata columns show of a row.
#[derive(Clone, Copy)]
pub(crate) struct RowMeta<'a> {
    pub table: &'a str,
    pub schema: &'a str,
    pub database: &'a str,
    pub commit_micros: i64,
}

/// The values of a row: cells, and the bytes that they point into.
#[derive(Clone, Copy)]
pub(crate) struct RowText<'a> {
    pub bytes: &'a [u8],
    pub cells: &'a [Cell],
    /// The old row, where it tells values that the new one leaves out.
    pub fallback: Option<&'a [Cell]>,
}

impl<'a> RowText<'a> {
    /// The value of an attribute; `None` where it is not known.
    pub(crate) fn value(&self, attribute: usize) -> Option<Option<&'a [u8]>> {
        let of = |cells: &'a [Cell]| match cells.get(attribute) {
            Some(Cell::Text(range)) => Some(Some(&self.bytes[range.clone()])),
            Some(Cell::Null) => Some(None),
            Some(Cell::Unchanged) | None => None,
        };
        of(self.cells).or_else(|| self.fallback.and_then(of))
    }
}

/// A batch under construction.
pub(crate) struct Gather {
    builders: Vec<ColumnBuilder>,
    kinds: Vec<RowKind>,
    known: Option<Vec<usize>>,
    bytes: usize,
    /// Rows that were refused: they stand in the builders and are left out of the batch.
    refused: usize,
    /// Whether each row is kept.
    kept: Vec<bool>,
}

/// A row that does not fit its declared types.
pub(crate) struct Refused {
    /// The column, counted among those of the batch.
    pub column: usize,
    /// Why.
    pub misfit: Misfit,
    /// The batch that was finished before the row.
    pub finished: Option<Gathered>,
}

/// A finished batch, and its known columns where they are not all.
pub(crate) type Gathered = (Option<Vec<usize>>, KindBatch);

impl Gather {
    /// An empty batch of the physical columns of `definition`.
    pub(crate) fn new(definition: &TableDef) -> Result<Self> {
        Self::of(definition.physical().map(|i| &definition.schema.columns[i].sql_type.kind))
    }

    /// An empty batch of columns of these kinds.
    pub(crate) fn of<'a>(kinds: impl Iterator<Item = &'a TypeKind>) -> Result<Self> {
        Ok(Self {
            builders: kinds.map(ColumnBuilder::new).collect::<Result<_>>()?,
            kinds: Vec::new(),
            known: None,
            bytes: 0,
            refused: 0,
            kept: Vec::new(),
        })
    }

    /// Adds a row. `known` names the columns with a value, `None` means all; a batch of another `known` is finished first
    /// and returned. A row that does not fit is left out.
    pub(crate) fn push(
        &mut self,
        kind: RowKind,
        origins: &[Origin],
        row: RowText<'_>,
        meta: RowMeta<'_>,
        known: Option<Vec<usize>>,
    ) -> Result<Option<Gathered>, Refused> {
        let finished = if self.known == known { None } else { self.finish() };
        self.known = known;
        let mut refused: Option<(usize, Misfit)> = None;
        for (i, (builder, origin)) in self.builders.iter_mut().zip(origins).enumerate() {
            if refused.is_some() {
                builder.append_null();
                continue;
            }
            let added = match origin {
                Origin::Attribute(attribute) => match row.value(*attribute).flatten() {
                    Some(text) => builder.append_text(text),
                    None => {
                        builder.append_null();
                        Ok(())
                    }
                },
                Origin::TableName => builder.append_meta(Meta::Text(meta.table)),
                Origin::SchemaName => builder.append_meta(Meta::Text(meta.schema)),
                Origin::DatabaseName => builder.append_meta(Meta::Text(meta.database)),
                Origin::CommitTime => builder.append_meta(Meta::Micros(meta.commit_micros)),
                Origin::Kind => builder.append_meta(Meta::Text(kind.short())),
            };
            refused = added.err().map(|misfit| (i, misfit));
        }
        self.kinds.push(kind);
        self.kept.push(refused.is_none());
        self.bytes += row.bytes.len();
        match refused {
            None => Ok(finished),
            Some((column, misfit)) => {
                self.refused += 1;
                Err(Refused { column, misfit, finished })
            }
        }
    }

    /// Forgets what was gathered.
    pub(crate) fn clear(&mut self) {
        for builder in &mut self.builders {
            builder.finish();
        }
        self.kinds.clear();
        self.kept.clear();
        (self.known, self.bytes, self.refused) = (None, 0, 0);
    }

    /// Whether a limit is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.kinds.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// The batch gathered so far; none where there are no rows.
    pub(crate) fn finish(&mut self) -> Option<Gathered> {
        if self.kinds.is_empty() {
            return None;
        }
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(ColumnBuilder::finish).collect();
        let (kinds, kept, known) = (std::mem::take(&mut self.kinds), std::mem::take(&mut self.kept), self.known.take());
        let refused = std::mem::take(&mut self.refused);
        self.bytes = 0;
        if refused == 0 {
            return Some((known, KindBatch::new(columns, kinds)));
        }
        let places: UInt32Array = (0_u32..).zip(&kept).filter(|(_, kept)| **kept).map(|(at, _)| at).collect();
        let kinds: Vec<RowKind> =
            kinds.into_iter().zip(&kept).filter(|(_, kept)| **kept).map(|(kind, _)| kind).collect();
        if kinds.is_empty() {
            return None;
        }
        let columns = columns.iter().map(|column| take(column, &places, None));
        let columns = columns.collect::<Result<_, _>>().expect("the places of kept rows are within the columns");
        Some((known, KindBatch::new(columns, kinds)))
    }
}

/// A row as the outside has it: `id = 1, name = 'x', note = NULL`; values that are not told are left out.
pub(crate) fn shown_row(definition: &TableDef, origins: &[Origin], row: RowText<'_>) -> String {
    let value = |(i, origin): (usize, &Origin)| {
        let Origin::Attribute(attribute) = origin else { return None };
        let name = &definition.schema.columns[i].name;
        Some(match row.value(*attribute)? {
            None => format!("{name} = NULL"),
            Some(text) => format!("{name} = '{}'", String::from_utf8_lossy(text)),
        })
    };
    definition.physical().zip(origins).filter_map(value).collect::<Vec<_>>().join(", ")
}

/// The error for a value that does not fit.
pub(crate) fn misfit_error(definition: &TableDef, table: &str, at: (usize, Misfit)) -> Error {
    let column = definition.physical().nth(at.0).map_or("?", |i| definition.schema.columns[i].name.as_str());
    misfit_in(definition, table, column, &at.1)
}

/// The error for a value of `column` that does not fit.
pub(crate) fn misfit_in(definition: &TableDef, table: &str, column: &str, misfit: &Misfit) -> Error {
    Error::invalid(format!("table {table}, column {column}: {}", misfit.0)).hint(format!(
        "change the row in the source, or have such rows kept apart ('on-error' = 'dead-letter' in {path}), or declare `{column}` there \
         with a type that holds the value",
        path = definition.path
    ))
}
