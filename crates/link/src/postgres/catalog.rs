//! What PostgreSQL's catalog tells of tables, columns and keys.

use gridhouse_base::Result;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::client::outside;
use super::identity::Holder;
use super::types::PgClass;

/// A table of the outside.
#[derive(Clone, Debug)]
pub(crate) struct OutsideTable {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The number of its file (`relfilenode`): another one once it was truncated or written anew; 0 where it is the root of partitions.
    pub file: u32,
    /// Whether it is the root of partitions.
    pub partitioned: bool,
    /// What holds its rows: itself, or its leaves where it is the root of partitions.
    pub holders: Vec<Holder>,
    /// Whether the role owns it (or is a superuser).
    pub owned: bool,
    /// Whether the role may read it.
    pub readable: bool,
    /// Whether the role may use its schema.
    pub reachable: bool,
    /// Whether row-level security may hide rows of it from the role.
    pub filtered: bool,
    /// Its columns, in order.
    pub columns: Vec<OutsideColumn>,
    /// The columns of its primary key.
    pub primary_key: Vec<String>,
}

/// A column of the outside.
#[derive(Clone, Debug)]
pub(crate) struct OutsideColumn {
    /// The name.
    pub name: String,
    /// The type as PostgreSQL writes it, with its modifiers.
    pub type_name: String,
    /// What the type is to the mapping.
    pub class: PgClass,
    /// The oid of the type without domains.
    pub base_oid: u32,
    /// The type without domains and modifiers, as it is written in a cast.
    pub base_name: String,
    /// `NOT NULL`
    pub not_null: bool,
    /// Whether it has a value where an `INSERT` leaves it out.
    pub has_default: bool,
    /// `GENERATED ALWAYS AS (…)`
    pub generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`
    pub identity_always: bool,
    /// Its number within the table, which no other column ever had or gets.
    pub number: i16,
    /// The modifiers of its type as the catalog keeps them; -1 where there are none.
    pub modifiers: i32,
    /// Which transaction wrote the catalog's row of it.
    pub written: u32,
    /// The labels of an enum, by their numbers.
    pub labels: Option<String>,
}

/// Gives, for a row `c` of `pg_class`, a text that another one follows when the table is truncated, rewritten (which every change
/// of a type that may change a value does) or given a column; and seldom else. Partitions keep the rows of a root.
pub(crate) const MARK: &str = "concat(c.relnatts, '/', CASE c.relkind WHEN 'p' THEN \
     (SELECT md5(string_agg(l.oid || ':' || l.relfilenode, ',' ORDER BY l.oid)) \
     FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid) ELSE c.relfilenode::text END)";

/// The [`MARK`] of the table `oid`; empty where there is none.
pub(crate) async fn mark(client: &Client, oid: u32) -> Result<String> {
    let sql = format!("SELECT {MARK} FROM pg_class c WHERE c.oid = $1");
    let row = client.query_opt(&sql, &[&oid]).await.map_err(outside("the table's place cannot be read"))?;
    Ok(row.map(|row| row.get(0)).unwrap_or_default())
}

impl OutsideTable {
    /// `schema.name`
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The column called `name`: exactly, else the only one that differs in case.
    pub(crate) fn column(&self, name: &str) -> Option<&OutsideColumn> {
        find(&self.columns, name, |column| &column.name)
    }
}

/// The item called `name`: exactly, else the only one that differs in case.
pub(crate) fn find<'a, T>(items: &'a [T], name: &str, of: impl Fn(&T) -> &str) -> Option<&'a T> {
    if let Some(item) = items.iter().find(|item| of(item) == name) {
        return Some(item);
    }
    let lower = name.to_lowercase();
    let mut alike = items.iter().filter(|item| of(item).to_lowercase() == lower);
    alike.next().filter(|_| alike.next().is_none())
}

/// Schema, name and oid of every table that may be read or written. A partition counts as a table of its own only where
/// its root is not asked for: `root` is the oid of the topmost table.
pub(crate) struct Listed {
    /// The oid.
    pub oid: u32,
    /// The oid of the partitioned table above all, its own where there is none.
    pub root: u32,
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
}

/// Which relations a listing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relations {
    /// Logged tables: what has changes, and what a sink writes.
    Tables,
    /// Everything that can be selected from: views, foreign and unlogged tables too.
    Readable,
}

/// All user tables of the database.
pub(crate) async fn list(client: &Client, relations: Relations) -> Result<Vec<Listed>> {
    let sql = "SELECT c.oid, CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END, \
               n.nspname::text, c.relname::text \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE (c.relkind IN ('r', 'p') AND c.relpersistence = 'p' \
               OR $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't') \
               AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 3, 4";
    let readable = relations == Relations::Readable;
    let rows = client.query(sql, &[&readable]).await.map_err(outside("the list of tables cannot be read"))?;
    Ok(rows.iter().map(|r| Listed { oid: r.get(0), root: r.get(1), schema: r.get(2), name: r.get(3) }).collect())
}

/// What is known of the tables `oids`, in no order.
pub(crate) async fn describe(client: &Client, oids: &[u32]) -> Result<Vec<OutsideTable>> {
    let tables = "SELECT c.oid, n.nspname::text, c.relname::text, \
                  pg_has_role(c.relowner, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), c.relkind = 'p', \
                  has_schema_privilege(n.oid, 'USAGE'), row_security_active(c.oid), c.relfilenode \
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY($1) ORDER BY 2, 3";
    let columns = "SELECT a.attrelid, a.attname::text, format_type(a.atttypid, a.atttypmod), b.oid, \
                   format_type(b.oid, -1), b.typelem, b.typcategory, COALESCE(NULLIF(e.typbasetype, 0), e.oid, 0::oid), \
                   a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', a.attidentity = 'a', a.attnum, \
                   GREATEST(a.atttypmod, t.typtypmod, d.typtypmod), a.xmin::text, \
                   (SELECT string_agg(l.oid || ' ' || l.enumlabel, chr(10) ORDER BY l.oid) FROM pg_enum l \
                   WHERE l.enumtypid IN (b.oid, e.oid, e.typbasetype)) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   LEFT JOIN pg_type d ON d.oid = t.typbasetype \
                   JOIN pg_type b ON b.oid = COALESCE(NULLIF(d.typbasetype, 0), NULLIF(t.typbasetype, 0), t.oid) \
                   LEFT JOIN pg_type e ON e.oid = b.typelem \
                   WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";
    let keys = "SELECT i.indrelid, a.attname::text \
                FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                WHERE i.indrelid = ANY($1) AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY i.indrelid, k.place";
    let context = "the definition of the tables cannot be read";
    let parameters: [&(dyn ToSql + Sync); 1] = [&oids];
    let (tables, columns, keys, holders) = tokio::try_join!(
        client.query(tables, &parameters),
        client.query(columns, &parameters),
        client.query(keys, &parameters),
        client.query(HOLDERS, &parameters)
    )
    .map_err(outside(context))?;
    let mut found: Vec<OutsideTable> = tables.iter().map(table).collect();
    for row in &columns {
        if let Some(table) = found.iter_mut().find(|table| table.oid == row.get::<_, u32>(0)) {
            table.columns.push(column(row));
        }
    }
    for row in &keys {
        if let Some(table) = found.iter_mut().find(|table| table.oid == row.get::<_, u32>(0)) {
            table.primary_key.push(row.get(1));
        }
    }
    hold(&mut found, &holders);
    Ok(found)
}

/// Who holds the rows of the tables `$1`, and what they tell of old ones: as the server decides it (`RelationGetReplicaIndex`). The
/// leaves are looked for without locks, so that what is done to one of them for long holds nobody up.
const HOLDERS: &str = "WITH RECURSIVE tree AS (\
     SELECT c.oid AS root, c.oid, c.relkind FROM pg_class c WHERE c.oid = ANY($1) \
     UNION ALL SELECT t.root, c.oid, c.relkind FROM tree t \
     JOIN pg_inherits i ON i.inhparent = t.oid AND t.relkind = 'p' JOIN pg_class c ON c.oid = i.inhrelid) \
     SELECT t.root, c.oid, n.nspname::text, c.relname::text, c.relreplident = 'f', \
     ARRAY(SELECT a.attname::text FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
     WHERE i.indrelid = c.oid AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident) \
     AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND k.place <= i.indnkeyatts ORDER BY k.place) \
     FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE t.relkind = 'r' ORDER BY 3, 4";

/// Looks again at who holds the rows of `tables`.
pub(crate) async fn hold_anew(client: &Client, tables: &mut [OutsideTable]) -> Result<()> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let rows = client.query(HOLDERS, &[&oids]).await.map_err(outside("the partitions cannot be read"))?;
    hold(tables, &rows);
    Ok(())
}

fn hold(tables: &mut [OutsideTable], rows: &[Row]) {
    for table in tables {
        let of_table = rows.iter().filter(|row| row.get::<_, u32>(0) == table.oid);
        let holder = |row: &Row| Holder {
            oid: row.get(1),
            schema: row.get(2),
            name: row.get(3),
            tells_all: row.get(4),
            told: row.get(5),
        };
        table.holders = of_table.map(holder).collect();
    }
}

/// The column sets that are unique in the table `oid`, fit for `ON CONFLICT`.
pub(crate) async fn unique_keys(client: &Client, oid: u32) -> Result<Vec<Vec<String>>> {
    let sql = "SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_index i \
               CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
               WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL \
               AND i.indexprs IS NULL AND k.place <= i.indnkeyatts GROUP BY i.indexrelid";
    let rows = client.query(sql, &[&oid]).await.map_err(outside("the keys of the table cannot be read"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn table(row: &Row) -> OutsideTable {
    OutsideTable {
        oid: row.get(0),
        schema: row.get(1),
        name: row.get(2),
        holders: Vec::new(),
        owned: row.get(3),
        readable: row.get(4),
        partitioned: row.get(5),
        reachable: row.get(6),
        filtered: row.get(7),
        file: row.get(8),
        columns: Vec::new(),
        primary_key: Vec::new(),
    }
}

fn column(row: &Row) -> OutsideColumn {
    let (oid, element): (u32, u32) = (row.get(3), row.get(7));
    let is_array = row.get::<_, i8>(6) as u8 == b'A';
    let class = PgClass::of_builtin(oid).unwrap_or_else(|| {
        if is_array {
            PgClass::Array(Box::new(PgClass::of_builtin(element).unwrap_or(PgClass::Other)))
        } else {
            PgClass::Other
        }
    });
    OutsideColumn {
        name: row.get(1),
        type_name: row.get(2),
        class,
        base_oid: oid,
        base_name: row.get(4),
        not_null: row.get(8),
        has_default: row.get(9),
        generated: row.get(10),
        identity_always: row.get(11),
        number: row.get(12),
        modifiers: row.get(13),
        written: row.get::<_, &str>(14).parse().unwrap_or_default(),
        labels: row.get(15),
    }
}
