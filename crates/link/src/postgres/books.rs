//! The table `gridhouse_sink`, in which a sink keeps how far its target was written, and who claims it.
//!
//! It stands in the schema of the tables that are written, and is made when the first sink there begins. What always holds: a table of
//! an earlier version, or one that an administrator made for a role that may not make tables, does as long as it has the columns that
//! decide what is written. Who claims a sink is for people: where there is no column for it, nothing but a message is poorer. Where there is
//! none for the shape of the target, columns that are changed there are noticed only while a sink is connected. A table that somebody
//! altered, so that it cannot keep this any more, is told with the statement that mends it; where its entries cannot be trusted any more,
//! that is the one which drops it, and each sink then judges by its rows as one whose entry is gone.

use gridhouse_base::{Error, ErrorKind, Result};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Row};

use super::catalog::{self, OutsideColumn, OutsideTable};
use super::client::{Target, always_quoted, ident, literal, outside};
use super::sink_plan::Plan;
use super::types::PgClass;

/// What a sink does with it.
const NEEDED: [&str; 3] = ["SELECT", "INSERT", "UPDATE"];

/// Its name.
const BOOKKEEPING: &str = "gridhouse_sink";

/// What an entry is found by.
const KEY: [&str; 2] = ["store", "sink"];

/// The columns of which an entry has a value from the start.
const ALWAYS: [&str; 6] = ["store", "sink", "target", "upto", "epoch", "claimed_at"];

/// A column of it.
struct Column {
    name: &'static str,
    type_name: &'static str,
    without: Without,
}

/// What a table without a column is worth.
enum Without {
    /// Its entries tell nothing.
    Entries,
    /// The same, once it is added with this default. Without one the first sink that may adds it.
    Added(&'static str),
    /// A little less.
    Less,
}

const COLUMNS: [Column; 9] = [
    Column { name: "store", type_name: "text", without: Without::Entries },
    Column { name: "sink", type_name: "text", without: Without::Entries },
    Column { name: "target", type_name: "text", without: Without::Entries },
    Column { name: "upto", type_name: "bigint", without: Without::Entries },
    // Above every epoch that was ever counted, so that an older owner is fenced all the same.
    Column {
        name: "epoch",
        type_name: "bigint",
        without: Without::Added(" NOT NULL DEFAULT extract(epoch FROM now())::bigint"),
    },
    Column { name: "claimed_at", type_name: "timestamp with time zone", without: Without::Entries },
    Column { name: "history", type_name: "text", without: Without::Added("") },
    Column { name: "claimed_by", type_name: "text", without: Without::Less },
    Column { name: "shape", type_name: "text", without: Without::Less },
];

/// Its name where it stands in `schema`, as short as it can be typed.
fn plain_name(schema: &str) -> String {
    format!("{}.{BOOKKEEPING}", ident(schema))
}

/// Its name in statements, where it stands in `schema`.
pub(crate) fn name_in(schema: &str) -> String {
    format!("{}.{}", always_quoted(schema), always_quoted(BOOKKEEPING))
}

/// The bookkeeping table of `schema` must be there and the role may use it, or the role may make it.
///
/// # Errors
/// Of the kind `lacking` where the role lacks a right that a `GRANT` gives at any time, or somebody altered the table, which is mended at
/// any time too; with the statement in any case.
pub(crate) async fn check(client: &Client, schema: &str, target: &Target, lacking: ErrorKind) -> Result<()> {
    // A right on some of its columns may be enough: what is refused here, the server refuses for certain.
    let rights = NEEDED.map(|right| format!("has_any_column_privilege(c.oid, '{right}')"));
    let sql = format!(
        "SELECT has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'), c.oid, ARRAY[{}], \
         c.relkind IN ('r', 'p') FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = '{BOOKKEEPING}' \
         WHERE n.nspname = $1",
        rights.join(", ")
    );
    let row = client.query_one(&sql, &[&schema]).await.map_err(outside("the rights on the schema cannot be read"))?;
    let (may_use, may_create, oid): (bool, bool, Option<u32>) = (row.get(0), row.get(1), row.get(2));
    let (role, name) = (&target.username, plain_name(schema));
    if !may_use {
        return Err(Error::new(lacking, format!("role '{role}' lacks USAGE on schema {schema}")).hint(format!(
            "GRANT USAGE ON SCHEMA {} TO {}",
            ident(schema),
            ident(role)
        )));
    }
    let Some(oid) = oid else {
        if may_create {
            return Ok(());
        }
        return Err(Error::invalid(format!(
            "role '{role}' may not create the table {schema}.{BOOKKEEPING}, in which a sink keeps how far it was written"
        ))
        .hint(format!("GRANT CREATE ON SCHEMA {} TO {}", ident(schema), ident(role))));
    };
    let has: Vec<Option<bool>> = row.get(3);
    if let Some((right, _)) = NEEDED.iter().zip(has).find(|(_, has)| *has == Some(false)) {
        let told = format!(
            "role '{role}' lacks {right} on table {schema}.{BOOKKEEPING}, in which a sink keeps how far it was written"
        );
        return Err(Error::new(lacking, told).hint(format!(
            "GRANT {} ON {name} TO {}",
            NEEDED.join(", "),
            ident(role)
        )));
    }
    if row.get::<_, Option<bool>>(4) != Some(true) {
        return Err(Error::new(
            lacking,
            format!("{schema}.{BOOKKEEPING} is no table, and a sink keeps in one of that name how far it was written"),
        )
        .hint(format!("ALTER TABLE {name} RENAME TO {BOOKKEEPING}_other")));
    }
    let Some(table) = catalog::describe(client, &[oid]).await?.into_iter().next() else { return Ok(()) };
    let unique = catalog::unique_keys(client, oid).await?;
    let Some(Mending { told, statement }) = mending(client, &table, &unique).await? else { return Ok(()) };
    Err(Error::new(
        lacking,
        format!("table {schema}.{BOOKKEEPING}, in which a sink keeps how far it was written, {told}"),
    )
    .hint(statement))
}

/// What somebody did to the table, and the statement that undoes it.
struct Mending {
    told: String,
    statement: String,
}

/// What is wrong with the bookkeeping table `table`, whose sets of unique columns are `unique`.
async fn mending(client: &Client, table: &OutsideTable, unique: &[Vec<String>]) -> Result<Option<Mending>> {
    let name = plain_name(&table.schema);
    let there = |name: &str| table.columns.iter().find(|column| column.name == name);
    let (mut told, mut actions, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for Column { name, type_name, without } in &COLUMNS {
        match (there(name), without) {
            (Some(column), _) if is_fit(column, type_name) => {}
            (Some(column), _) => {
                let is = format!("has column {name} of the type {} instead of {type_name}", column.type_name);
                match cast(column, type_name) {
                    None => lost.push(is),
                    Some(cast) => {
                        told.push(is);
                        if column.has_default {
                            actions.push(format!("ALTER COLUMN {name} DROP DEFAULT"));
                        }
                        actions.push(format!("ALTER COLUMN {name} TYPE {type_name} USING {cast}"));
                    }
                }
            }
            (None, Without::Entries) => lost.push(format!("has no column {name}")),
            (None, Without::Added(default)) if default.is_empty() && table.owned => {}
            (None, Without::Added(default)) => {
                told.push(format!("has no column {name}"));
                actions.push(format!("ADD COLUMN {name} {type_name}{default}"));
            }
            (None, Without::Less) => {}
        }
    }
    if !lost.is_empty() {
        let statement = format!(
            "how far its sinks were written is not known any more: type there `DROP TABLE {name}`; a sink whose rows are there then says how \
             they are written anew"
        );
        return Ok(Some(Mending { told: lost.join(" and "), statement }));
    }
    for column in table.columns.iter().filter(|column| column.not_null && !ALWAYS.contains(&column.name.as_str())) {
        // It is set to NULL on purpose; of the others nothing is known here.
        if column.name == "history" || !column.has_default && COLUMNS.iter().all(|own| own.name != column.name) {
            told.push(format!("has column {} that takes no NULL", column.name));
            actions.push(format!("ALTER COLUMN {} DROP NOT NULL", ident(&column.name)));
        }
    }
    let is_key =
        |columns: &[String]| columns.len() == KEY.len() && KEY.iter().all(|part| columns.iter().any(|c| c == part));
    let has_key = unique.iter().any(|columns| is_key(columns));
    let mut before = String::new();
    // One that is checked late is taken for the key by the server, which then refuses to use it.
    for late in deferrable(client, table.oid).await?.into_iter().filter(|late| is_key(&late.columns)) {
        told.push(format!("has the deferrable constraint {}", late.name));
        actions.push(format!("DROP CONSTRAINT {}", ident(&late.name)));
    }
    if !has_key {
        told.push(format!("has no primary key over {}", KEY.join(" and ")));
        let is_free = table.primary_key.is_empty() || is_key(&table.primary_key);
        actions.push(format!("ADD {} ({})", if is_free { "PRIMARY KEY" } else { "UNIQUE" }, KEY.join(", ")));
        before = in_the_way(client, &name, there("epoch").is_some()).await;
    }
    Ok((!actions.is_empty()).then(|| Mending {
        told: told.join(" and "),
        statement: format!("{before}ALTER TABLE {name} {}", actions.join(", ")),
    }))
}

/// A constraint that may be checked as late as the commit.
struct Deferrable {
    name: String,
    columns: Vec<String>,
}

/// Those over unique columns of the table `oid`.
async fn deferrable(client: &Client, oid: u32) -> Result<Vec<Deferrable>> {
    let sql = "SELECT c.conname::text, array_agg(a.attname::text) FROM pg_constraint c \
               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey) \
               WHERE c.conrelid = $1 AND c.condeferrable AND c.contype IN ('p', 'u') GROUP BY c.oid, c.conname";
    let rows = client.query(sql, &[&oid]).await.map_err(outside("the constraints of the table cannot be read"))?;
    Ok(rows.iter().map(|row| Deferrable { name: row.get(0), columns: row.get(1) }).collect())
}

/// Whether the column is as it was made. A text of limited length is not: it refuses what is longer.
fn is_fit(column: &OutsideColumn, type_name: &str) -> bool {
    column.type_name == type_name || type_name == "text" && column.type_name == "character varying"
}

/// The expression that makes the values of `column` those of `type_name` again; none where they are not what was written.
fn cast(column: &OutsideColumn, type_name: &str) -> Option<String> {
    let name = &column.name;
    let keeps = match type_name {
        "bigint" => matches!(column.class, PgClass::Whole(_) | PgClass::Numeric | PgClass::Float(64) | PgClass::Text),
        "timestamp with time zone" => matches!(column.class, PgClass::Timestamp | PgClass::Timestamptz | PgClass::Text),
        _ if column.type_name.starts_with("json") => return Some(format!("{name} #>> '{{}}'")),
        _ => true,
    };
    keeps.then(|| format!("{name}::{type_name}"))
}

/// Statements that take away what no key can be put over: entries without one, and all but the newest of several.
async fn in_the_way(client: &Client, name: &str, has_epoch: bool) -> String {
    let [store, sink] = KEY;
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {name} WHERE {store} IS NULL OR {sink} IS NULL), \
         EXISTS (SELECT FROM {name} GROUP BY {store}, {sink} HAVING count(*) > 1)"
    );
    // A role that may not look at all of it is told of the key alone, and its administrator by the server what is in the way.
    let Ok(row) = client.query_one(&sql, &[]).await else { return String::new() };
    let mut statements = String::new();
    if row.get(0) {
        statements.push_str(&format!("DELETE FROM {name} WHERE {store} IS NULL OR {sink} IS NULL; "));
    }
    if row.get(1) {
        let (older, newer) = if has_epoch { ("a.epoch, a.ctid", "b.epoch, b.ctid") } else { ("a.ctid", "b.ctid") };
        statements.push_str(&format!(
            "DELETE FROM {name} a USING {name} b WHERE a.{store} = b.{store} AND a.{sink} = b.{sink} AND ({older}) < ({newer}); "
        ));
    }
    statements
}

/// The value of `column` in the entry of `sink`, where the statement has it at `index`.
///
/// # Errors
/// `Unavailable` where it is none: the table was altered since it was looked at, which the next claim tells; `Invalid` with the
/// statement that forgets the entry where somebody wrote NULL there.
pub(crate) fn value<'a, T: FromSql<'a>>(row: &'a Row, index: usize, column: &str, entry: Entry<'_>) -> Result<T> {
    let Entry { books, store, sink } = entry;
    match row.try_get::<_, Option<T>>(index) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Error::invalid(format!("the entry of sink {sink} in {books} has NULL in column {column}"))
            .hint(format!(
                "type there `DELETE FROM {books} WHERE store = {} AND sink = {}`; then START JOB here",
                literal(store),
                literal(sink)
            ))),
        Err(error) => {
            Err(Error::unavailable(format!("column {column} of {books} cannot be read; it is looked at again"))
                .caused_by(error))
        }
    }
}

/// The entry of a sink.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The table in statements.
    pub books: &'a str,
    /// The store.
    pub store: &'a str,
    /// The sink's name.
    pub sink: &'a str,
}

/// What a bookkeeping table keeps beside what decides what is written.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Its oid: another one under the same name is another table.
    pub oid: u32,
    /// Who claims a sink.
    pub owner: bool,
    /// The columns of the target as they were written.
    pub shape: bool,
}

/// Makes the bookkeeping table where it is missing, and gives one of an earlier version what it lacks. A table that an
/// administrator made for a role that may only write it is taken as it is.
pub(crate) async fn make(client: &Client, books: &str) -> Result<Kept, tokio_postgres::Error> {
    let has = |column: &str| {
        format!(
            "EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = '{column}' AND NOT attisdropped)"
        )
    };
    let sql = format!(
        "SELECT {}, {}, {}, pg_has_role(c.relowner, 'USAGE'), c.oid FROM pg_class c WHERE c.oid = to_regclass($1::text)",
        has("history"),
        has("claimed_by"),
        has("shape")
    );
    let Some(row) = client.query_opt(&sql, &[&books]).await? else {
        let columns = "store text, sink text, target text NOT NULL, upto bigint NOT NULL, epoch bigint NOT NULL, \
                       claimed_at timestamptz NOT NULL DEFAULT now(), history text, claimed_by text, shape text";
        client.batch_execute(&format!("CREATE TABLE {books} ({columns}, PRIMARY KEY (store, sink))")).await?;
        let made = client.query_one("SELECT to_regclass($1::text)::oid", &[&books]).await?;
        return Ok(Kept { oid: made.get(0), owner: true, shape: true });
    };
    let (has_history, has_owner, has_shape): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let is_ours: bool = row.get(3);
    let add = |column: &str| format!("ALTER TABLE {books} ADD COLUMN {column} text");
    if !has_history {
        client.batch_execute(&add("history")).await?;
    }
    if !has_owner && is_ours {
        client.batch_execute(&add("claimed_by")).await?;
    }
    if !has_shape && is_ours {
        client.batch_execute(&add("shape")).await?;
    }
    Ok(Kept { oid: row.get(4), owner: has_owner || is_ours, shape: has_shape || is_ours })
}

/// Who claimed the target of `plan` last, where they left word of it, and when: the same sink under another process, or a sink of
/// another store. `mine` is the store, the sink and the owner that ask.
pub(crate) async fn newest_owner(
    client: &Client,
    plan: &Plan,
    (store, sink, owner): (String, &str, &str),
) -> Option<(Option<String>, String)> {
    // The column may not be there, and then a row as JSON has no such field.
    let sql = format!(
        "SELECT to_jsonb(b) ->> 'claimed_by', COALESCE(claimed_at::text, '?') FROM {} b WHERE target = $1 AND (store <> $2 OR sink = $3) \
         AND to_jsonb(b) ->> 'claimed_by' IS DISTINCT FROM $4 ORDER BY claimed_at DESC LIMIT 1",
        plan.bookkeeping()
    );
    let row = client.query_opt(&sql, &[&plan.key(), &store, &sink, &owner]).await;
    row.ok()?.map(|row| (row.get(0), row.get(1)))
}
