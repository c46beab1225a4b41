//! How a declared table is written to a PostgreSQL table: columns, casts, key, statements.
//!
//! Made anew at each connection, because the outside table may change. Every message has the statement that mends it.

use gridhouse_base::error::nearest;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result, TypeKind};
use tokio_postgres::Client;

use super::books;
use super::catalog::{self, OutsideColumn, OutsideTable, Relations};
use super::client::{Target, always_quoted, ident, outside};
use super::jdbc_options::JdbcOptions;
use super::types::PgClass;

/// A column that is written.
#[derive(Clone, Debug)]
pub(crate) struct PlanColumn {
    /// Its index among the physical columns of the definition: the index in batches.
    pub index: usize,
    /// The declared kind.
    pub kind: TypeKind,
    /// The outside column's name.
    pub name: String,
    /// The cast of the parameter's elements, where assignment alone does not do.
    cast: Option<String>,
    /// The type that keys are compared as.
    compared_as: String,
}

/// How the table is written.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// What is written.
    pub columns: Vec<PlanColumn>,
    /// The key, as indices of `columns`; empty for a table that is only added to.
    pub key: Vec<usize>,
    /// The table's oid: another one under the same name is another table.
    pub oid: u32,
    /// The table's mark: with another one it was emptied, rewritten or given a column.
    pub mark: String,
}

/// The table that is to be written.
pub(crate) struct Found {
    /// What the catalog says of it.
    pub table: OutsideTable,
    /// Its mark, read before all else, so that nothing of what is known of the table is older than it.
    mark: String,
}

impl Plan {
    /// The table's name in statements.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", always_quoted(&self.schema), always_quoted(&self.table))
    }

    /// The bookkeeping table's name in statements.
    pub(crate) fn bookkeeping(&self) -> String {
        books::name_in(&self.schema)
    }

    /// Deletes the rows whose keys are in the arrays `$1 …`, one per key column.
    pub(crate) fn delete_sql(&self) -> String {
        let places: Vec<String> = (1..=self.key.len()).map(|i| format!("${i}")).collect();
        let names: Vec<String> = (1..=self.key.len()).map(|i| format!("k{i}")).collect();
        let equal: Vec<String> = (1..)
            .zip(&self.key)
            .map(|(i, &k)| {
                format!("t.{} = u.k{i}::{}", always_quoted(&self.columns[k].name), self.columns[k].compared_as)
            })
            .collect();
        format!(
            "DELETE FROM {} AS t USING unnest({}) AS u({}) WHERE {}",
            self.name(),
            places.join(", "),
            names.join(", "),
            equal.join(" AND ")
        )
    }

    /// Inserts the rows in the arrays `$1 …`, one per column; with a key, rows that are there are replaced.
    pub(crate) fn insert_sql(&self) -> String {
        let count = self.columns.len();
        let quoted: Vec<String> = self.columns.iter().map(|column| always_quoted(&column.name)).collect();
        let selected: Vec<String> = (1..)
            .zip(&self.columns)
            .map(|(i, column)| column.cast.as_ref().map_or_else(|| format!("u.c{i}"), |cast| format!("u.c{i}::{cast}")))
            .collect();
        let places: Vec<String> = (1..=count).map(|i| format!("${i}")).collect();
        let names: Vec<String> = (1..=count).map(|i| format!("c{i}")).collect();
        let mut sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM unnest({}) AS u({})",
            self.name(),
            quoted.join(", "),
            selected.join(", "),
            places.join(", "),
            names.join(", ")
        );
        if !self.key.is_empty() {
            let key: Vec<&str> = self.key.iter().map(|&k| quoted[k].as_str()).collect();
            let rest = (0..count).filter(|i| !self.key.contains(i));
            let set: Vec<String> = rest.map(|i| format!("{} = EXCLUDED.{}", quoted[i], quoted[i])).collect();
            sql.push_str(&format!(" ON CONFLICT ({}) DO ", key.join(", ")));
            sql.push_str(&if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) });
        }
        sql
    }
}

/// Checks that every declared column can be written to the table that was found.
pub(crate) async fn plan(
    client: &Client,
    definition: &TableDef,
    options: &JdbcOptions,
    Found { table, mark }: Found,
    notices: &mut Vec<String>,
) -> Result<Plan> {
    let mut columns = Vec::new();
    for (index, i) in definition.physical().enumerate() {
        if let ColumnKind::Metadata { key, is_virtual } = &definition.column_kinds[i] {
            if *is_virtual {
                continue;
            }
            return Err(Error::invalid(format!("connector 'jdbc' has no metadata '{key}'"))
                .hint("declare the column without METADATA, or as METADATA VIRTUAL"));
        }
        let (name, kind) = (&definition.schema.columns[i].name, &definition.schema.columns[i].sql_type.kind);
        let outside = table.column(name).ok_or_else(|| no_column(&table, name, kind))?;
        columns.push(column(&table, outside, index, name, kind, notices)?);
    }
    check_unwritten(definition, &table, &columns)?;
    let key = key(client, definition, &table, &columns).await?;
    check_rights(client, &table, &options.target, !key.is_empty()).await?;
    Ok(Plan { oid: table.oid, mark, schema: table.schema, table: table.name, columns, key })
}

/// Finds the table.
pub(crate) async fn find(client: &Client, definition: &TableDef, options: &JdbcOptions) -> Result<Found> {
    let listed = catalog::list(client, Relations::Tables).await?;
    let schema = options.schema.as_deref().unwrap_or("public");
    // The schema as it is written comes before others that differ in case alone.
    let exact: Vec<_> = listed.iter().filter(|table| table.schema == schema).collect();
    let here: Vec<_> = listed.iter().filter(|table| table.schema.eq_ignore_ascii_case(schema)).collect();
    let found = catalog::find(&exact, &options.table, |table| &table.name);
    if let Some(found) = found.or_else(|| catalog::find(&here, &options.table, |table| &table.name)) {
        let mark = catalog::mark(client, found.oid).await?;
        let tables = catalog::describe(client, &[found.oid]).await?;
        if let Some(table) = tables.into_iter().next() {
            return Ok(Found { table, mark });
        }
    }
    check_no_other(client, schema, &options.table).await?;
    let error = Error::not_found(format!(
        "{} has no table '{schema}.{}' in the database '{}'",
        options.target.place(),
        options.table,
        options.target.database
    ));
    let create = create_statement(definition, schema, &options.table);
    let near = nearest(&options.table, here.iter().map(|table| table.name.as_str()));
    Err(match near {
        Some(near) => {
            error.hint(format!("did you mean 'table-name' = '{schema}.{near}'? else create it there: {create}"))
        }
        None => error.hint(format!("create it there: {create}")),
    })
}

/// Nothing else stands under the name that a table is to have.
async fn check_no_other(client: &Client, schema: &str, table: &str) -> Result<()> {
    let sql = "SELECT c.relpersistence = 'u', c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2";
    let row = client.query_opt(sql, &[&schema, &table]).await;
    let Some(row) = row.map_err(outside("what stands under the table's name cannot be read"))? else { return Ok(()) };
    let is_table = matches!(row.get(1), "r" | "p");
    let name = format!("{}.{}", ident(schema), ident(table));
    if is_table && row.get(0) {
        return Err(Error::invalid(format!("table {schema}.{table} is unlogged: a crash of its server empties it"))
            .hint(format!("ALTER TABLE {name} SET LOGGED")));
    }
    if is_table {
        // It has come while it was looked for.
        return Ok(());
    }
    Err(Error::invalid(format!("{schema}.{table} is no table, and a sink writes tables alone"))
        .hint("write the table behind it, or give 'table-name' another name"))
}

/// The statement that makes a table that fits `definition`.
fn create_statement(definition: &TableDef, schema: &str, table: &str) -> String {
    let column = |i: usize| {
        let column = &definition.schema.columns[i];
        format!("{} {}", ident(&column.name), pg_type(&column.sql_type.kind))
    };
    let mut parts: Vec<String> = definition.physical().map(column).collect();
    if !definition.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", key_list(definition)));
    }
    format!("CREATE TABLE {}.{} ({})", ident(schema), ident(table), parts.join(", "))
}

fn key_list(definition: &TableDef) -> String {
    definition.primary_key.iter().map(|&k| ident(&definition.schema.columns[k].name)).collect::<Vec<_>>().join(", ")
}

/// The PostgreSQL type that holds every value of `kind`.
pub(crate) fn pg_type(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Boolean => "boolean".into(),
        TypeKind::TinyInt | TypeKind::SmallInt => "smallint".into(),
        TypeKind::Int => "integer".into(),
        TypeKind::BigInt => "bigint".into(),
        TypeKind::Float => "real".into(),
        TypeKind::Double => "double precision".into(),
        TypeKind::Decimal { precision, scale } => format!("numeric({precision}, {scale})"),
        TypeKind::Binary(_) | TypeKind::Varbinary(_) => "bytea".into(),
        TypeKind::Date => "date".into(),
        TypeKind::Time(_) => "time(3)".into(),
        TypeKind::Timestamp(p) => format!("timestamp({})", p.min(&6)),
        TypeKind::TimestampLtz(p) => format!("timestamptz({})", p.min(&6)),
        TypeKind::IntervalYearMonth | TypeKind::IntervalDayTime => "interval".into(),
        TypeKind::Array(element) => format!("{}[]", pg_type(&element.kind)),
        _ => "text".into(),
    }
}

fn no_column(table: &OutsideTable, name: &str, kind: &TypeKind) -> Error {
    let error = Error::invalid(format!("table {} has no column '{name}'", table.key()));
    let add = format!(
        "ALTER TABLE {}.{} ADD COLUMN {} {}",
        ident(&table.schema),
        ident(&table.name),
        ident(name),
        pg_type(kind)
    );
    match nearest(name, table.columns.iter().map(|column| column.name.as_str())) {
        Some(near) => error.hint(format!("did you mean `{near}`? else: {add}")),
        None => error.hint(add),
    }
}

/// How a value is written.
#[derive(Debug, PartialEq, Eq)]
enum Write {
    Assigned,
    Cast,
    Noted(&'static str),
    Refused,
}

const NARROW: &str = "a value that does not fit stops the sink with an error";

/// Digits before and after the point that every value of an exact numeric kind fits in.
fn digits_of(kind: &TypeKind) -> Option<(i32, i32)> {
    Some(match kind {
        TypeKind::TinyInt => (3, 0),
        TypeKind::SmallInt => (5, 0),
        TypeKind::Int => (10, 0),
        TypeKind::BigInt => (19, 0),
        TypeKind::Decimal { precision, scale } => (i32::from(*precision) - i32::from(*scale), i32::from(*scale)),
        _ => return None,
    })
}

/// Digits before and after the point that a `numeric` with such modifiers keeps; `None`: any number. The scale is signed, of 11
/// bits (PostgreSQL `numeric.c`, `make_numeric_typmod`).
fn digits_kept(modifiers: i32) -> Option<(i32, i32)> {
    let packed = modifiers.checked_sub(4).filter(|packed| *packed >= 0)?;
    let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    Some((((packed >> 16) & 0xffff) - scale, scale))
}

/// How values of `kind` are written to a `numeric`: PostgreSQL rounds silently to the scale, and refuses what is too large.
fn as_numeric(kind: &TypeKind, modifiers: i32) -> Write {
    match (digits_of(kind), digits_kept(modifiers)) {
        (_, None) => Write::Assigned,
        (None, Some(_)) => Write::Noted("digits beyond the scale of the column are rounded"),
        (Some((_, scale)), Some((_, kept))) if kept < scale => Write::Refused,
        (Some((whole, _)), Some((kept, _))) if kept < whole => Write::Noted(NARROW),
        _ => Write::Assigned,
    }
}

/// Whether a time of `digits` after the second loses some in a column with such modifiers, which rounds silently; none stand
/// for `most`.
fn loses_fractions(digits: u8, most: u8, modifiers: i32) -> bool {
    modifiers >= 0 && modifiers < i32::from(digits.min(most))
}

/// Whether every value of `kind` that was written to the column is still in it.
pub(crate) fn keeps_values(kind: &TypeKind, outside: &OutsideColumn) -> bool {
    match writable(kind, &outside.class, outside.modifiers) {
        Write::Assigned | Write::Cast => true,
        Write::Noted(what) => what == NARROW,
        Write::Refused => false,
    }
}

/// Whether values of `kind` may be written to a column of `class` with such modifiers.
fn writable(kind: &TypeKind, class: &PgClass, modifiers: i32) -> Write {
    use PgClass as P;
    use TypeKind as K;
    match (kind, class) {
        (K::Boolean, P::Bool) => Write::Assigned,
        (K::TinyInt | K::SmallInt | K::Int | K::BigInt, P::Whole(bits)) => {
            let wide = match kind {
                K::TinyInt | K::SmallInt => 16,
                K::Int => 32,
                _ => 64,
            };
            if *bits >= wide { Write::Assigned } else { Write::Noted(NARROW) }
        }
        (K::Decimal { scale: 0, .. }, P::Whole(_)) => Write::Noted(NARROW),
        (K::Double, P::Float(32)) => Write::Noted("digits beyond the precision of real are lost"),
        (kind, P::Float(_)) if kind.is_numeric() => Write::Assigned,
        (kind, P::Numeric) if kind.is_numeric() => as_numeric(kind, modifiers),
        (K::Timestamp(p) | K::TimestampLtz(p), P::Timestamp | P::Timestamptz) if loses_fractions(*p, 6, modifiers) => {
            Write::Refused
        }
        (K::Time(p), P::Time) if loses_fractions(*p, 3, modifiers) => Write::Refused,
        (K::Char(_) | K::Varchar(_), P::Text) => Write::Assigned,
        (K::Char(_) | K::Varchar(_), P::Other | P::Bit | P::Interval | P::Array(_)) => Write::Cast,
        (K::Binary(_) | K::Varbinary(_), P::Bytea) => Write::Assigned,
        (K::Date, P::Date | P::Timestamp) | (K::Time(_), P::Time) | (K::Timestamp(_), P::Timestamp) => Write::Assigned,
        (K::TimestampLtz(_), P::Timestamptz) => Write::Assigned,
        (K::Timestamp(_) | K::Date, P::Timestamptz) => Write::Noted("date and time are written as an instant in UTC"),
        (K::TimestampLtz(_), P::Timestamp) => Write::Noted("the instant is written as date and time in UTC"),
        (K::IntervalYearMonth | K::IntervalDayTime, P::Interval) => Write::Cast,
        (K::Array(element), P::Array(class)) => match writable(&element.kind, class, modifiers) {
            Write::Refused => Write::Refused,
            _ => Write::Cast,
        },
        _ => Write::Refused,
    }
}

fn column(
    table: &OutsideTable,
    outside: &OutsideColumn,
    index: usize,
    name: &str,
    kind: &TypeKind,
    notices: &mut Vec<String>,
) -> Result<PlanColumn> {
    let full = format!("{}.{}", table.key(), outside.name);
    if outside.generated || outside.identity_always {
        return Err(Error::invalid(format!("column {full} is generated and cannot be written"))
            .hint(format!("declare the table without `{name}`")));
    }
    // Casts carry no modifiers: an explicit cast to varchar(5) would cut silently, an assignment refuses.
    let cast_type = match outside.base_oid {
        1560 => "varbit".to_owned(),
        1042 => "bpchar".to_owned(),
        _ => outside.base_name.clone(),
    };
    let cast = match writable(kind, &outside.class, outside.modifiers) {
        Write::Assigned => None,
        Write::Cast => Some(cast_type.clone()),
        Write::Noted(what) => {
            notices.push(format!("column {full}: {kind} is written as {}: {what}", outside.type_name));
            None
        }
        Write::Refused => {
            return Err(Error::invalid(format!(
                "column {full} has the type {}, to which {kind} cannot be written",
                outside.type_name
            ))
            .hint(format!(
                "ALTER TABLE {}.{} ALTER COLUMN {} TYPE {}, or CAST the value in the query and declare `{name}` accordingly",
                ident(&table.schema),
                ident(&table.name),
                ident(&outside.name),
                pg_type(kind)
            )));
        }
    };
    Ok(PlanColumn { index, kind: kind.clone(), name: outside.name.clone(), cast, compared_as: cast_type })
}

/// A column that is not declared must have a value of its own.
fn check_unwritten(definition: &TableDef, table: &OutsideTable, columns: &[PlanColumn]) -> Result<()> {
    let written = |name: &str| columns.iter().any(|column| column.name == name);
    match table.columns.iter().find(|c| c.not_null && !c.has_default && !c.generated && !written(&c.name)) {
        None => Ok(()),
        Some(column) => Err(Error::invalid(format!(
            "column {}.{} is NOT NULL without a default, and {} does not declare it",
            table.key(),
            column.name,
            definition.path
        ))
        .hint(format!(
            "declare it, or ALTER TABLE {}.{} ALTER COLUMN {} DROP NOT NULL",
            ident(&table.schema),
            ident(&table.name),
            ident(&column.name)
        ))),
    }
}

async fn key(
    client: &Client,
    definition: &TableDef,
    table: &OutsideTable,
    columns: &[PlanColumn],
) -> Result<Vec<usize>> {
    if definition.primary_key.is_empty() {
        return Ok(Vec::new());
    }
    let physical: Vec<usize> = definition.physical().collect();
    let place = |k: &usize| columns.iter().position(|column| physical[column.index] == *k);
    let key: Vec<usize> = definition.primary_key.iter().filter_map(place).collect();
    let mut wanted: Vec<&str> = key.iter().map(|&k| columns[k].name.as_str()).collect();
    wanted.sort_unstable();
    let unique = catalog::unique_keys(client, table.oid).await?;
    let covered = unique.iter().any(|names| {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names == wanted
    });
    if covered {
        return Ok(key);
    }
    let names: Vec<String> = key.iter().map(|&k| ident(&columns[k].name)).collect();
    Err(Error::invalid(format!(
        "table {} has no primary key and no unique index over exactly the declared key ({})",
        table.key(),
        names.join(", ")
    ))
    .hint(if table.primary_key.is_empty() {
        format!("ALTER TABLE {}.{} ADD PRIMARY KEY ({})", ident(&table.schema), ident(&table.name), names.join(", "))
    } else {
        format!("CREATE UNIQUE INDEX ON {}.{} ({})", ident(&table.schema), ident(&table.name), names.join(", "))
    }))
}

async fn check_rights(client: &Client, table: &OutsideTable, target: &Target, keyed: bool) -> Result<()> {
    let needed: &[&str] = if keyed { &["SELECT", "INSERT", "UPDATE", "DELETE"] } else { &["INSERT"] };
    for right in needed {
        let row = client.query_one("SELECT has_table_privilege($1::oid, $2::text)", &[&table.oid, right]).await;
        if !row.map_err(outside("the rights on the table cannot be read"))?.get::<_, bool>(0) {
            return Err(Error::invalid(format!("role '{}' lacks {right} on table {}", target.username, table.key()))
                .hint(format!(
                    "GRANT {} ON {}.{} TO {}",
                    needed.join(", "),
                    ident(&table.schema),
                    ident(&table.name),
                    ident(&target.username)
                )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_never_cut_silently() {
        let decimal = |scale| TypeKind::Decimal { precision: 10, scale };
        let free = |kind: &TypeKind, class: &PgClass| writable(kind, class, -1);
        assert_eq!(free(&decimal(2), &PgClass::Whole(64)), Write::Refused);
        assert_eq!(free(&TypeKind::Double, &PgClass::Whole(64)), Write::Refused);
        assert_eq!(free(&decimal(0), &PgClass::Whole(64)), Write::Noted(NARROW));
        assert_eq!(free(&TypeKind::Timestamp(3), &PgClass::Date), Write::Refused);
        assert_eq!(free(&TypeKind::STRING, &PgClass::Other), Write::Cast);
        assert_eq!(free(&TypeKind::STRING, &PgClass::Whole(32)), Write::Refused);
        let numeric = |kind: &TypeKind, precision: i32, scale: i32| {
            writable(kind, &PgClass::Numeric, ((precision << 16) | (scale & 0x7ff)) + 4)
        };
        assert_eq!(free(&decimal(2), &PgClass::Numeric), Write::Assigned);
        assert_eq!(numeric(&decimal(2), 10, 2), Write::Assigned);
        assert_eq!(numeric(&decimal(2), 12, 0), Write::Refused);
        assert_eq!(numeric(&decimal(2), 10, 3), Write::Noted(NARROW));
        assert_eq!(numeric(&TypeKind::Int, 10, 0), Write::Assigned);
        assert_eq!(numeric(&TypeKind::Int, 12, -2), Write::Refused);
        assert!(matches!(numeric(&TypeKind::Double, 12, 2), Write::Noted(_)));
        assert_eq!(writable(&TypeKind::Timestamp(3), &PgClass::Timestamp, 0), Write::Refused);
        assert_eq!(writable(&TypeKind::Timestamp(9), &PgClass::Timestamp, 6), Write::Assigned);
        assert_eq!(writable(&TypeKind::Time(0), &PgClass::Time, 0), Write::Assigned);
    }
}
