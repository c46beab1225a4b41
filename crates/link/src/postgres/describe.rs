//! Checks a `postgres-cdc` table against the server before it is used: every message has the cause and the exact remedy.

use gridhouse_base::error::nearest;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result, TypeKind};
use gridhouse_flow::connector::{ChangelogMode, SourceDescription};
use tokio_postgres::Client;

use super::catalog::{self, Listed, OutsideColumn, OutsideTable, Relations};
use super::cdc_options::{CdcOptions, Startup};
use super::client::{ident, outside};
use super::identity;
use super::publication;
use super::types::{Fit, readable};

/// The metadata columns of Flink CDC's `postgres-cdc`.
pub(crate) const METADATA: [&str; 5] = ["table_name", "schema_name", "database_name", "op_ts", "row_kind"];

/// Settings of the server and rights of the role.
pub(crate) struct Server {
    /// Names the cluster, the same after a restore or a fail-over.
    pub system_identifier: String,
    version: i32,
    wal_level: String,
    max_slots: i64,
    used_slots: i64,
    slot_keep_mb: i64,
    may_replicate: bool,
    /// Whether the role may make publications.
    pub may_create: bool,
    /// Whether it is a standby.
    pub in_recovery: bool,
}

/// The key of the stream that `options` come through.
pub(crate) fn stream_key(server: &Server, options: &CdcOptions) -> String {
    let own = if options.sharing { String::new() } else { format!("/{}", options.slot) };
    format!("postgres-cdc/{}/{}{own}", server.system_identifier, options.target.database)
}

/// Reads what `describe` and the stream need to know of the server.
pub(crate) async fn server(client: &Client) -> Result<Server> {
    let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_setting('server_version_num')::int, \
               current_setting('wal_level'), current_setting('max_replication_slots')::bigint, \
               (SELECT count(*) FROM pg_replication_slots), \
               COALESCE((SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), -1), \
               (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), \
               has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery()";
    let row = client.query_one(sql, &[]).await.map_err(outside("the server's settings cannot be read"))?;
    Ok(Server {
        system_identifier: row.get(0),
        version: row.get(1),
        wal_level: row.get(2),
        max_slots: row.get(3),
        used_slots: row.get(4),
        slot_keep_mb: row.get(5),
        may_replicate: row.get(6),
        may_create: row.get(7),
        in_recovery: row.get(8),
    })
}

/// The oids of the `listed` tables that the options name; at least one.
pub(crate) fn chosen(listed: &[Listed], options: &CdcOptions) -> Result<Vec<u32>> {
    let pattern = options.pattern()?;
    let choose = |matches: &dyn Fn(&Listed) -> bool| -> Vec<u32> {
        let root_too = |root: u32| listed.iter().any(|table| table.oid == root && matches(table));
        listed.iter().filter(|t| matches(t) && (t.root == t.oid || !root_too(t.root))).map(|t| t.oid).collect()
    };
    let mut oids = choose(&|table| pattern.exact(&table.schema, &table.name));
    if oids.is_empty() {
        oids = choose(&|table| pattern.ignoring_case(&table.schema, &table.name));
    }
    if oids.is_empty() {
        return Err(no_table(options, &pattern, listed));
    }
    Ok(oids)
}

fn no_table(options: &CdcOptions, pattern: &super::cdc_options::Pattern, listed: &[Listed]) -> Error {
    let database = &options.target.database;
    if !listed.iter().any(|table| pattern.schema(&table.schema)) {
        let mut schemas: Vec<&str> = listed.iter().map(|table| table.schema.as_str()).collect();
        schemas.dedup();
        let error = Error::not_found(format!("database '{database}' has no table in a schema '{}'", options.schemas));
        return match nearest(&options.schemas, schemas.iter().copied()) {
            Some(name) => error.hint(format!("did you mean 'schema-name' = '{name}'?")),
            None => error.hint(format!("its schemas with tables: {}", listing(&schemas))),
        };
    }
    let tables: Vec<&str> = listed.iter().filter(|t| pattern.schema(&t.schema)).map(|t| t.name.as_str()).collect();
    let error =
        Error::not_found(format!("database '{database}' has no table '{}.{}'", options.schemas, options.tables));
    match nearest(&options.tables, tables.iter().copied()) {
        Some(name) => error.hint(format!("did you mean 'table-name' = '{name}'?")),
        None => error.hint(format!("tables of this schema: {}", listing(&tables))),
    }
}

/// The first names of a list, for hints.
pub(crate) fn listing(names: &[&str]) -> String {
    const SHOWN: usize = 10;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    if names.is_empty() { "none".into() } else { format!("{}{more}", names[..names.len().min(SHOWN)].join(", ")) }
}

/// Checks everything; the names of the stream and of the table in it.
pub(crate) async fn describe(
    definition: &TableDef,
    options: &CdcOptions,
    mut notices: Vec<String>,
) -> Result<SourceDescription> {
    let client = options.target.connect().await?;
    let server = server(&client).await?;
    check_server(&server, options, &mut notices)?;
    let listed = catalog::list(&client, Relations::Tables).await?;
    let tables = catalog::describe(&client, &chosen(&listed, options)?).await?;
    for table in &tables {
        check_columns(definition, table, &mut notices)?;
        identity::check(definition, table, table.holders.iter())?;
        let check_rows = if options.startup == Startup::Initial { check_contents } else { check_select };
        check_rows(table, &options.target.username)?;
    }
    check_slot(&client, &server, options, &mut notices).await?;
    publication::check(&client, &server, options, definition, &tables).await?;
    let table_key = match tables.as_slice() {
        [only] => only.key(),
        _ => format!("{}.{}", options.schemas, options.tables),
    };
    let mode = if definition.primary_key.is_empty() { ChangelogMode::All } else { ChangelogMode::Upsert };
    Ok(SourceDescription {
        stream_key: stream_key(&server, options),
        table_key,
        shared: true,
        bounded: false,
        mode,
        notices,
    })
}

/// The server can be read from by this role.
pub(crate) fn check_server(server: &Server, options: &CdcOptions, notices: &mut Vec<String>) -> Result<()> {
    let place = options.target.place();
    if server.version < 130_000 {
        return Err(Error::invalid(format!(
            "{place} has version {}, and 13 is the oldest that is supported",
            server.version / 10_000
        ))
        .hint("upgrade the server"));
    }
    if server.in_recovery {
        return Err(Error::invalid(format!("{place} is a standby")).hint("name the primary in 'hostname'"));
    }
    if server.wal_level != "logical" {
        return Err(Error::invalid(format!(
            "{place} has wal_level '{}', and changes can be read only with 'logical'",
            server.wal_level
        ))
        .hint("ALTER SYSTEM SET wal_level = 'logical'; then restart the server"));
    }
    if !server.may_replicate {
        let user = &options.target.username;
        return Err(Error::invalid(format!("role '{user}' may not read the stream of changes"))
            .hint(format!("ALTER ROLE {} REPLICATION", ident(user))));
    }
    if server.slot_keep_mb < 0 {
        notices.push(format!(
            "{place} keeps WAL for a stopped reader without limit; to protect its disk: \
             type there `ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'`, and by itself `SELECT pg_reload_conf()`"
        ));
    }
    Ok(())
}

/// Every declared column exists and can be read as declared.
pub(crate) fn check_columns(definition: &TableDef, table: &OutsideTable, notices: &mut Vec<String>) -> Result<()> {
    for i in definition.physical() {
        let column = &definition.schema.columns[i];
        let kind = &column.sql_type.kind;
        if let ColumnKind::Metadata { key, .. } = &definition.column_kinds[i] {
            check_metadata(key, &column.name, kind)?;
            continue;
        }
        let outside = find_column(table, &column.name)?;
        if outside.generated {
            return Err(Error::invalid(format!(
                "column {}.{} is generated, and postgresql does not publish generated columns",
                table.key(),
                outside.name
            ))
            .hint(format!("leave `{}` out, or compute it: `{}` AS …", column.name, column.name)));
        }
        check_fit(table, outside, &column.name, kind, notices)?;
    }
    Ok(())
}

/// The outside column that is declared as `name`.
pub(crate) fn find_column<'a>(table: &'a OutsideTable, name: &str) -> Result<&'a OutsideColumn> {
    table.column(name).ok_or_else(|| {
        let error = Error::invalid(format!("table {} has no column '{name}'", table.key()));
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        match nearest(name, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("its columns: {}", listing(&names))),
        }
    })
}

/// The outside column can be read as declared.
pub(crate) fn check_fit(
    table: &OutsideTable,
    outside: &OutsideColumn,
    name: &str,
    kind: &TypeKind,
    notices: &mut Vec<String>,
) -> Result<()> {
    match readable(&outside.class, kind) {
        Fit::Exact => Ok(()),
        Fit::Noted(what) => {
            notices.push(format!(
                "column {}.{}: {} is read as {kind}: {what}",
                table.key(),
                outside.name,
                outside.type_name
            ));
            Ok(())
        }
        Fit::Refused => Err(Error::invalid(format!(
            "column {}.{} has the type {}, which cannot be read as {kind}",
            table.key(),
            outside.name,
            outside.type_name
        ))
        .hint(format!("declare `{name}` as {}", outside.class.suggestion()))),
    }
}

/// The role may read all rows of the table. The stream tells changes of all of them, whatever the role may see.
pub(crate) fn check_contents(table: &OutsideTable, username: &str) -> Result<()> {
    check_select(table, username)?;
    if !table.filtered {
        return Ok(());
    }
    Err(Error::invalid(format!("row-level security may hide rows of table {} from role '{username}'", table.key()))
        .hint(format!("ALTER ROLE {} BYPASSRLS", ident(username))))
}

/// The role may read the table.
pub(crate) fn check_select(table: &OutsideTable, username: &str) -> Result<()> {
    if !table.reachable {
        return Err(Error::invalid(format!("role '{username}' lacks USAGE on schema {}", table.schema)).hint(format!(
            "GRANT USAGE ON SCHEMA {} TO {}",
            ident(&table.schema),
            ident(username)
        )));
    }
    if table.readable {
        return Ok(());
    }
    Err(Error::invalid(format!("role '{username}' may not read table {}", table.key())).hint(format!(
        "GRANT SELECT ON {} TO {}",
        statement_name(table),
        ident(username)
    )))
}

fn check_metadata(key: &str, column: &str, kind: &TypeKind) -> Result<()> {
    if !METADATA.contains(&key) {
        let error = Error::invalid(format!("connector 'postgres-cdc' has no metadata '{key}'"));
        return Err(match nearest(key, METADATA) {
            Some(name) => error.hint(format!("did you mean METADATA FROM '{name}'?")),
            None => error.hint(format!("its metadata: {}", METADATA.join(", "))),
        });
    }
    let (fits, wanted) = match key {
        "op_ts" => {
            (matches!(kind, TypeKind::TimestampLtz(_) | TypeKind::Timestamp(_) | TypeKind::BigInt), "TIMESTAMP_LTZ(3)")
        }
        _ => (kind.is_text(), "STRING"),
    };
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!("metadata column '{column}' is declared as {kind}"))
        .hint(format!("declare it as {wanted} METADATA FROM '{key}'")))
}

async fn check_slot(client: &Client, server: &Server, options: &CdcOptions, notices: &mut Vec<String>) -> Result<()> {
    let sql =
        "SELECT plugin::text, database::text, active_pid, wal_status FROM pg_replication_slots WHERE slot_name = $1";
    let found =
        client.query_opt(sql, &[&options.slot]).await.map_err(outside("the replication slots cannot be read"))?;
    let Some(slot) = found else {
        if server.used_slots >= server.max_slots {
            return Err(no_free_slot(client, options).await);
        }
        return Ok(());
    };
    foreign_slot(&options.slot, slot.get(0), slot.get(1), &options.target.database, false)?;
    if let Some(pid) = slot.get::<_, Option<i32>>(2) {
        notices.push(format!("replication slot '{}' is in use now by the process {pid} of the server", options.slot));
    }
    Ok(())
}

/// All slots of the server are used: which of them nobody reads now, and how to make room.
pub(crate) async fn no_free_slot(client: &Client, options: &CdcOptions) -> Error {
    let sql = "SELECT current_setting('max_replication_slots')::bigint, \
               (SELECT string_agg(quote_literal(slot_name), ', ' ORDER BY slot_name) FROM pg_replication_slots WHERE NOT active)";
    let row = match client.query_one(sql, &[]).await.map_err(outside("the replication slots cannot be read")) {
        Ok(row) => row,
        Err(error) => return error,
    };
    let (limit, idle): (i64, Option<&str>) = (row.get(0), row.get(1));
    let raise = format!("ALTER SYSTEM SET max_replication_slots = {}; then restart the server", limit * 2);
    let place = options.target.place();
    Error::invalid(format!("{place} has no free replication slot: all {limit} are used")).hint(match idle {
        Some(idle) => format!(
            "drop one that is not needed (nobody reads {idle} now): SELECT pg_drop_replication_slot('…'); or {raise}"
        ),
        None => raise,
    })
}

/// How a stream comes to read another slot: what it has had it keeps.
pub(crate) fn another_slot(is_bound: bool) -> &'static str {
    match is_bound {
        true => {
            "DROP JOB for the jobs that read it (SHOW JOBS has their numbers), and run the script with another 'slot.name'"
        }
        false => "choose another 'slot.name' in the script, and run it again",
    }
}

/// A slot of that name that is not ours to use.
pub(crate) fn foreign_slot(
    slot: &str,
    plugin: Option<&str>,
    database: Option<&str>,
    wanted: &str,
    is_bound: bool,
) -> Result<()> {
    let what = match (plugin, database) {
        (Some("pgoutput"), Some(database)) if database == wanted => return Ok(()),
        (Some("pgoutput"), Some(database)) => format!("belongs to the database '{database}'"),
        (Some(plugin), _) => format!("has the plug-in '{plugin}' instead of pgoutput"),
        (None, _) => "is a physical one".to_owned(),
    };
    Err(Error::invalid(format!("replication slot '{slot}' {what}")).hint(another_slot(is_bound)))
}

/// A table's name as it is written in a statement.
pub(crate) fn statement_name(table: &OutsideTable) -> String {
    format!("{}.{}", ident(&table.schema), ident(&table.name))
}
