//! How a declared table is read from a PostgreSQL table or view: its columns, and what of their values can be compared there.
//!
//! Made anew at each connection, because the outside table may change. A condition that the server evaluates sees
//! PostgreSQL's values, ours sees what they are read as; [`Compared`] says how the two relate.

use gridhouse_base::error::nearest;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result, TypeKind};
use tokio_postgres::Client;

use super::catalog::{self, OutsideColumn, OutsideTable, Relations};
use super::client::{always_quoted, ident, outside};
use super::describe::{check_fit, check_select, find_column, listing};
use super::jdbc_options::{Partition, ReadOptions};
use super::types::PgClass;

/// A column that is read.
#[derive(Clone, Debug)]
pub(crate) struct ReadColumn {
    /// Its declared name.
    pub name: String,
    /// The declared kind.
    pub kind: TypeKind,
    /// Whether NULL may stand there.
    pub nullable: bool,
    /// The outside column.
    pub outside: OutsideColumn,
}

/// How a value of the outside relates to what it is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// They are equal exactly where the declared values are.
    Whole,
    /// Fractional numbers with no more digits than declared.
    Exact,
    /// Digits beyond the declared scale are rounded.
    Rounded,
    /// `real` or `double precision` under their own names.
    Float,
    /// Bytes of text; the server's order is ours under the collation "C".
    Text,
    /// `char(n)`: the server's comparison ignores blanks at the end.
    Padded,
    /// Bytes.
    Bytes,
    /// Truth values.
    Truth,
    /// Days, the infinities among them.
    Day,
    /// Times of day, cut to milliseconds.
    TimeOfDay,
    /// Timestamps, cut to a multiple of so many microseconds; with a zone or without.
    Moment {
        /// The unit.
        unit_micros: i64,
    },
    /// `uuid` as text.
    Uuid,
    /// Anything else that is declared as text.
    Shown,
    /// No relation that could be used.
    Unrelated,
}

impl ReadColumn {
    /// The column's name in statements.
    pub(crate) fn quoted(&self) -> String {
        always_quoted(&self.outside.name)
    }

    /// How values relate to what they are read as.
    pub(crate) fn compared(&self) -> Compared {
        use PgClass as P;
        use TypeKind as K;
        match (&self.outside.class, &self.kind) {
            // Numbers of objects have comparisons of their own.
            (P::Whole(_), _) if self.outside.base_oid == 26 => Compared::Unrelated,
            (P::Bool, K::Boolean) => Compared::Truth,
            (P::Whole(_), K::TinyInt | K::SmallInt | K::Int | K::BigInt) => Compared::Whole,
            (P::Whole(_), K::Decimal { .. }) => Compared::Exact,
            (P::Numeric, K::Decimal { scale, .. }) => match self.digits_after_point() {
                Some(digits) if digits <= i32::from(*scale) => Compared::Exact,
                _ => Compared::Rounded,
            },
            (P::Float(32), K::Float) | (P::Float(64), K::Double) => Compared::Float,
            (P::Text, K::Char(_) | K::Varchar(_)) => match self.outside.base_oid {
                25 | 1043 => Compared::Text,
                1042 => Compared::Padded,
                _ => Compared::Shown,
            },
            (P::Bytea, K::Binary(_) | K::Varbinary(_)) => Compared::Bytes,
            (P::Date, K::Date) => Compared::Day,
            (P::Time, K::Time(_)) => Compared::TimeOfDay,
            (P::Timestamp | P::Timestamptz, K::Timestamp(p) | K::TimestampLtz(p)) => {
                Compared::Moment { unit_micros: 10_i64.pow(6 - u32::from(*p.min(&6))) }
            }
            (P::Other, K::Char(_) | K::Varchar(_)) if self.outside.base_oid == 2950 => Compared::Uuid,
            (_, K::Char(_) | K::Varchar(_)) => Compared::Shown,
            _ => Compared::Unrelated,
        }
    }

    /// The scale of `numeric(p, s)`.
    fn digits_after_point(&self) -> Option<i32> {
        let inside = self.outside.type_name.strip_prefix("numeric(")?.strip_suffix(')')?;
        inside.split_once(',')?.1.trim().parse().ok()
    }
}

/// How the table is read.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The columns by their place in the definition; none for computed ones.
    pub columns: Vec<Option<ReadColumn>>,
    /// Whether the database keeps text in UTF-8, as we do.
    pub utf8: bool,
    /// What every reading is limited to.
    pub limits: Option<String>,
}

impl ReadPlan {
    /// Finds the table and checks that every declared column can be read.
    pub(crate) async fn make(
        client: &Client,
        definition: &TableDef,
        options: &ReadOptions,
        notices: &mut Vec<String>,
    ) -> Result<Self> {
        let table = find_table(client, options).await?;
        check_select(&table, &options.place.target.username)?;
        let mut columns = Vec::with_capacity(definition.schema.len());
        for (column, kind) in definition.schema.columns.iter().zip(&definition.column_kinds) {
            columns.push(match kind {
                ColumnKind::Computed { .. } => None,
                ColumnKind::Metadata { key, .. } => {
                    return Err(Error::invalid(format!("connector 'jdbc' has no metadata '{key}'"))
                        .hint(format!("declare `{}` without METADATA, or leave it out", column.name)));
                }
                ColumnKind::Physical => {
                    let outside = find_column(&table, &column.name)?;
                    check_fit(&table, outside, &column.name, &column.sql_type.kind, notices)?;
                    Some(ReadColumn {
                        name: column.name.clone(),
                        kind: column.sql_type.kind.clone(),
                        nullable: column.sql_type.nullable,
                        outside: outside.clone(),
                    })
                }
            });
        }
        let limits = options.partition.as_ref().map(|partition| limits(&table, partition)).transpose()?;
        let encoding = client.query_one("SELECT current_setting('server_encoding') = 'UTF8'", &[]).await;
        let utf8 = encoding.map_err(outside("the database's encoding cannot be read"))?.get(0);
        Ok(Self { schema: table.schema, table: table.name, columns, utf8, limits })
    }

    /// `schema.table`
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The table's name in statements.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", always_quoted(&self.schema), always_quoted(&self.table))
    }

    /// The column at `index` of the definition.
    pub(crate) fn column(&self, index: usize) -> Option<&ReadColumn> {
        self.columns.get(index)?.as_ref()
    }

    /// The columns at `indices` of the definition.
    ///
    /// # Errors
    /// `Internal` where one is computed: the engine computes those itself.
    pub(crate) fn select(&self, indices: &[usize]) -> Result<Vec<ReadColumn>> {
        let column = |&i: &usize| {
            self.column(i).cloned().ok_or_else(|| Error::internal(format!("column {i} of {} is not read", self.key())))
        };
        indices.iter().map(column).collect()
    }
}

/// Rows beyond the bounds of `scan.partition.*` are not read; Flink's readers take `BETWEEN` the bounds, each a part.
fn limits(table: &OutsideTable, partition: &Partition) -> Result<String> {
    let column = find_column(table, &partition.column)?;
    if !matches!(column.class, PgClass::Whole(_) | PgClass::Numeric | PgClass::Float(_)) {
        return Err(Error::invalid(format!(
            "option 'scan.partition.column' names {}.{}, which has the type {}",
            table.key(),
            column.name,
            column.type_name
        ))
        .hint("name a column with numbers, or leave the options 'scan.partition.*' out: one reader reads all"));
    }
    let name = always_quoted(&column.name);
    Ok(format!("{name} >= '{}' AND {name} <= '{}'", partition.lower, partition.upper))
}

async fn find_table(client: &Client, options: &ReadOptions) -> Result<OutsideTable> {
    let place = &options.place;
    let listed = catalog::list(client, Relations::Readable).await?;
    let schema = place.schema.as_deref().unwrap_or("public");
    let here: Vec<_> = listed.iter().filter(|table| table.schema.eq_ignore_ascii_case(schema)).collect();
    if let Some(found) = catalog::find(&here, &place.table, |table| &table.name) {
        let tables = catalog::describe(client, &[found.oid]).await?;
        if let Some(table) = tables.into_iter().next() {
            return Ok(table);
        }
    }
    let error = Error::not_found(format!(
        "{} has no table '{schema}.{}' in the database '{}'",
        place.target.place(),
        place.table,
        place.target.database
    ));
    if here.is_empty() {
        let mut schemas: Vec<&str> = listed.iter().map(|table| table.schema.as_str()).collect();
        schemas.dedup();
        return Err(error.hint(format!("its schemas with tables: {}", listing(&schemas))));
    }
    let names: Vec<&str> = here.iter().map(|table| table.name.as_str()).collect();
    Err(match nearest(&place.table, names.iter().copied()) {
        Some(near) => error.hint(format!("did you mean 'table-name' = '{}.{}'?", ident(schema), ident(near))),
        None => error.hint(format!("tables of this schema: {}", listing(&names))),
    })
}
