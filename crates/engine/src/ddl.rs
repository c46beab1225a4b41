//! Statements that make and drop catalogs, databases, tables and views.
//!
//! A script can be run again: making what is there already, exactly so, is done with a notice; making something else under
//! its name is a conflict. Definitions of the store's tables and their rows come and go in one tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::error::nearest;
use gridhouse_base::quantity::duration;
use gridhouse_base::table::{ObjectPath, TableDef, quoted};
use gridhouse_base::{CommitId, Error, Result, TableId};
use gridhouse_sql::ast::{
    CreateCatalog, CreateDatabase, CreateTable, CreateView, Drop, DropKind, Ident, ObjectName, OptionPair, Statement,
};
use gridhouse_sql::catalog::{ViewDef, check_database};
use gridhouse_store::{TableKind, TableSpec};

use crate::catalog::{Catalog, SYSTEM_CATALOG, Scope};
use crate::core::Core;
use crate::dead::{self, ON_ERROR};
use crate::outcome::Outcome;
use crate::query::zone_of;
use crate::records::{
    CATALOGS, CatalogRecord, DATABASES, DatabaseRecord, OBJECTS, ObjectRecord, database_key, encode, object_key,
};
use crate::session::{Session, done};
use crate::wiring::{physical_schema, stored_key};

/// Options of the store's own tables that have an effect.
const EFFECTIVE_OPTIONS: &[&str] = &["bucket.num", "bucket.key", "table.merge-engine", LOG_TTL, ON_ERROR];

/// How long a log table keeps its rows.
const LOG_TTL: &str = "table.log.ttl";

/// Fluss's options that need nothing done here, or whose effect comes with tiers and replicas.
const ACCEPTED_OPTIONS: &[&str] = &[
    "bootstrap.servers",
    "table.replication.factor",
    "table.log.format",
    "table.log.arrow.compression.type",
    "table.log.arrow.compression.zstd.level",
    "table.log.tiered.local-segments",
    "table.kv.format",
    "table.changelog.image",
    "table.delete.behavior",
    "table.datalake.enabled",
    "table.datalake.freshness",
    "table.datalake.format",
    "table.datalake.auto-compaction",
    "table.auto-partition.enabled",
    "table.auto-partition.key",
    "table.auto-partition.time-unit",
    "table.auto-partition.num-precreate",
    "table.auto-partition.num-retention",
    "table.auto-partition.time-zone",
    "scan.startup.mode",
    "scan.startup.timestamp",
    "scan.partition.discovery.interval",
    "lookup.async",
    "lookup.cache",
    "lookup.max-retries",
    "sink.ignore-delete",
    "sink.bucket-shuffle",
];

impl Session {
    pub(crate) fn create_catalog(&mut self, create: &CreateCatalog) -> Result<Outcome> {
        let name = create.name.name.clone();
        let options = options_of(&create.options);
        let kind = options.get("type").map(String::as_str);
        let default_database = match kind {
            Some("fluss") => "fluss",
            Some("generic_in_memory") => "default",
            other => {
                let what = other.map_or("a catalog needs a 'type'".to_owned(), |other| {
                    format!("there is no catalog type '{other}'")
                });
                return Err(Error::invalid(what)
                    .hint("give 'type' = 'fluss' with 'bootstrap.servers', or 'type' = 'generic_in_memory'")
                    .at(create.name.at));
            }
        };
        if kind == Some("fluss") && !options.contains_key("bootstrap.servers") {
            return Err(Error::invalid(format!("catalog {} names no 'bootstrap.servers'", quoted(&name)))
                .hint("add 'bootstrap.servers' = 'host:9123'; where no cluster is behind it, the tables are kept here")
                .at(create.name.at));
        }
        let default_database = options.get("default-database").map_or(default_database, String::as_str).to_owned();
        let record = CatalogRecord { options, default_database };
        if let Some(existing) = self.catalog().catalogs.get(&name) {
            if *existing == record {
                self.notice(format!("catalog {} is there already", quoted(&name)));
            } else if create.if_not_exists {
                self.notice(format!("catalog {} is there already, with other options", quoted(&name)));
            } else if existing.options.get("type") == record.options.get("type") {
                // An address is not what a catalog is: the same tables may be reached under another name tomorrow.
                self.notice(format!("catalog {} is there already; its options are replaced", quoted(&name)));
                return self.put_catalog(name, record);
            } else {
                return Err(Error::conflict(format!("catalog {} is there already, of another type", quoted(&name)))
                    .hint(format!("choose another name, or DROP CATALOG {} first", quoted(&name)))
                    .at(create.name.at));
            }
            return done("CREATE CATALOG");
        }
        self.put_catalog(name, record)
    }

    fn put_catalog(&mut self, name: String, record: CatalogRecord) -> Result<Outcome> {
        self.change(move |core| {
            let database = (name.clone(), record.default_database.clone());
            let fresh = !core.catalog.databases.contains_key(&database);
            let commit = core.tick_writing(|tick, _| {
                tick.put(CATALOGS, &name, Some(&encode(&record)));
                if fresh {
                    tick.put(
                        DATABASES,
                        &database_key(&database.0, &database.1),
                        Some(&encode(&DatabaseRecord::default())),
                    );
                }
                Ok(())
            })?;
            core.catalog.databases.entry(database).or_default();
            core.catalog.catalogs.insert(name, record);
            Ok(commit)
        })?;
        done("CREATE CATALOG")
    }

    pub(crate) fn create_database(&mut self, create: &CreateDatabase) -> Result<Outcome> {
        let (owner, name) = self.context.database(&create.name)?;
        self.require_catalog(&owner, &create.name.parts)?;
        let record = DatabaseRecord { options: options_of(&create.options), comment: create.comment.clone() };
        if let Some(existing) = self.catalog().databases.get(&(owner.clone(), name.clone())) {
            let what = format!("database {}.{} is there already", quoted(&owner), quoted(&name));
            if *existing != record && !create.if_not_exists {
                return Err(Error::conflict(what)
                    .hint("add IF NOT EXISTS, or choose another name")
                    .at(create.name.last().at));
            }
            self.notice(what);
            return done("CREATE DATABASE");
        }
        self.change(move |core| {
            let commit = core.tick_writing(|tick, _| {
                tick.put(DATABASES, &database_key(&owner, &name), Some(&encode(&record)));
                Ok(())
            })?;
            core.catalog.databases.insert((owner, name), record);
            Ok(commit)
        })?;
        done("CREATE DATABASE")
    }

    pub(crate) fn create_table(&mut self, create: &CreateTable) -> Result<Outcome> {
        let at = create.name.last().at;
        self.require_database(&self.context.path(&create.name)?, &create.name)?;
        let definition = self.bind(|binder| binder.define_table(create))?;
        let path = definition.path.clone();
        let tag = if create.temporary { "CREATE TEMPORARY TABLE" } else { "CREATE TABLE" };
        let existing =
            if create.temporary { self.temporary.get(&path).cloned() } else { self.catalog().object(&path).cloned() };
        if let Some(existing) = existing {
            let same = matches!(&existing, ObjectRecord::Table { definition: there, .. } if **there == definition);
            if same {
                self.notice(format!("table {path} is there already, just so"));
            } else if create.if_not_exists {
                self.notice(format!("table {path} is there already, but is defined otherwise; nothing was changed"));
            } else {
                let drop = if create.temporary { "DROP TEMPORARY TABLE" } else { "DROP TABLE" };
                return Err(Error::conflict(format!(
                    "{path} is there already and is defined otherwise: {}",
                    difference(&existing, &definition)
                ))
                .hint(format!("{drop} {path} first, or choose another name"))
                .at(at));
            }
            return done(tag);
        }
        if create.temporary {
            if definition.connector().is_none() {
                return Err(Error::invalid(format!("temporary table {path} names no connector"))
                    .hint("add 'connector' = '…' to its options, or leave out TEMPORARY to keep its rows here")
                    .at(at));
            }
            self.temporary.insert(path, ObjectRecord::Table { definition: Arc::new(definition), table: None });
            return done(tag);
        }
        if definition.connector().is_some() {
            let record = ObjectRecord::Table { definition: Arc::new(definition), table: None };
            self.change(move |core| core.put_object(record))?;
            return done(tag);
        }
        let spec = spec_of(&definition).map_err(|error| error.at(at))?;
        self.note_options(&definition);
        self.keep_table(definition, spec)?;
        done(tag)
    }

    /// Makes the table for the dead letters of `target`, unless it is there.
    ///
    /// # Errors
    /// `Conflict` where something else has its name.
    pub(crate) fn make_dead_letter_table(&mut self, target: &ObjectPath) -> Result<()> {
        let definition = dead::table_of(target);
        let path = definition.path.clone();
        match self.catalog().object(&path) {
            None => {
                let spec = spec_of(&definition)?;
                self.keep_table(definition, spec)?;
            }
            Some(ObjectRecord::Table { definition: there, table: Some(_) }) if there.schema == definition.schema => {}
            Some(_) => {
                return Err(Error::conflict(format!(
                    "the dead letters of {target} would go into {path}, which is there already and is something else"
                ))
                .hint("rename it, or SET 'on-error' = 'fail'"));
            }
        }
        self.notice(format!("rows that cannot be computed go into {path}"));
        Ok(())
    }

    /// Makes a table whose rows are kept here.
    fn keep_table(&self, definition: TableDef, spec: TableSpec) -> Result<()> {
        let path = definition.path.clone();
        self.change(move |core| {
            if core.catalog.object(&path).is_some() {
                return Err(Error::conflict(format!("{path} has been made by another session meanwhile")));
            }
            let mut table = None;
            let mut record = ObjectRecord::Table { definition: Arc::new(definition), table };
            let commit = core.tick_writing(|tick, _| {
                let id = tick.create_table(spec)?;
                table = Some(id);
                if let ObjectRecord::Table { table, .. } = &mut record {
                    *table = Some(id);
                }
                tick.put(OBJECTS, &object_key(&path), Some(&encode(&record)));
                Ok(())
            })?;
            core.catalog.objects.insert(path, record);
            Ok(commit)
        })
    }

    /// Says which accepted options change nothing yet.
    fn note_options(&mut self, definition: &TableDef) {
        if definition.options.get("table.datalake.enabled").is_some_and(|value| value == "true") {
            self.notice(format!(
                "table {} is not tiered to a lake by this version; its rows stay here",
                definition.path
            ));
        }
        if definition.options.contains_key(LOG_TTL) && !definition.primary_key.is_empty() {
            self.notice(format!(
                "the change log of {} is kept as long as a reader needs it, whatever its '{LOG_TTL}': its rows stand by their key",
                definition.path
            ));
        }
        if !definition.partitioned_by.is_empty() {
            self.notice(format!(
                "table {} is kept in one piece; its partitions make no difference to a query",
                definition.path
            ));
        }
    }

    pub(crate) fn create_view(&mut self, create: &CreateView) -> Result<Outcome> {
        self.require_database(&self.context.path(&create.name)?, &create.name)?;
        let view = self.bind(|binder| binder.define_view(create))?;
        let path = view.path.clone();
        let tag = if create.temporary { "CREATE TEMPORARY VIEW" } else { "CREATE VIEW" };
        let existing =
            if create.temporary { self.temporary.get(&path).cloned() } else { self.catalog().object(&path).cloned() };
        if let Some(existing) = existing {
            let same = |there: &ViewDef| {
                there.text == view.text && there.schema == view.schema && there.context == view.context
            };
            if matches!(&existing, ObjectRecord::View(there) if same(there)) {
                self.notice(format!("view {path} is there already, just so"));
            } else if create.if_not_exists {
                self.notice(format!("{path} is there already, but is defined otherwise; nothing was changed"));
            } else {
                return Err(Error::conflict(format!("{path} is there already and is defined otherwise"))
                    .hint(format!("DROP VIEW {path} first, or choose another name"))
                    .at(create.name.last().at));
            }
            return done(tag);
        }
        if create.temporary {
            self.temporary.insert(path, ObjectRecord::View(view));
        } else {
            self.check_durable(&view)?;
            self.change(move |core| core.put_object(ObjectRecord::View(view)))?;
        }
        done(tag)
    }

    /// A view that outlives the session may only name what does.
    fn check_durable(&self, view: &ViewDef) -> Result<()> {
        let none = BTreeMap::new();
        let catalog = self.catalog();
        let scope = Scope { catalog: &catalog, temporary: &none };
        let binder = gridhouse_sql::Binder::new(&scope, view.context.clone(), zone_of(&self.settings)?);
        let parsed = gridhouse_sql::parse_script(&view.text).next().transpose()?;
        let Some(Statement::Query(query)) = parsed.map(|parsed| parsed.statement) else { return Ok(()) };
        match binder.query(&query) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::invalid(format!("view {} names something temporary: {error}", view.path))
                .hint("make it a TEMPORARY VIEW, or make the table that it names durable")),
        }
    }

    pub(crate) fn use_catalog(&mut self, name: &Ident) -> Result<Outcome> {
        self.require_catalog(&name.name, std::slice::from_ref(name))?;
        let catalog = self.catalog();
        self.context.catalog = name.name.clone();
        self.context.database = catalog.catalogs[&name.name].default_database.clone();
        done("USE CATALOG")
    }

    pub(crate) fn use_database(&mut self, name: &ObjectName) -> Result<Outcome> {
        let (owner, database) = self.context.database(name)?;
        let catalog = self.catalog();
        check_database(&Scope { catalog: &catalog, temporary: &self.temporary }, &owner, &database, &name.parts)?;
        self.context.catalog = owner;
        self.context.database = database;
        done("USE")
    }

    pub(crate) fn drop_object(&mut self, drop: &Drop) -> Result<Outcome> {
        match drop.kind {
            DropKind::Table | DropKind::View => self.drop_relation(drop),
            DropKind::Database => self.drop_database(drop),
            DropKind::Catalog => self.drop_catalog(drop),
        }
    }

    fn drop_relation(&mut self, drop: &Drop) -> Result<Outcome> {
        let path = self.context.path(&drop.name)?;
        let (word, is_view) = if drop.kind == DropKind::View { ("VIEW", true) } else { ("TABLE", false) };
        let fits = |record: &ObjectRecord| matches!(record, ObjectRecord::View(_)) == is_view;
        if let Some(record) = self.temporary.get(&path) {
            if !fits(record) {
                return Err(wrong_kind(&path, is_view).at(drop.name.last().at));
            }
            self.temporary.remove(&path);
            return done(&format!("DROP {word}"));
        }
        let catalog = self.catalog();
        let found = if drop.temporary { None } else { catalog.object(&path) };
        let Some(record) = found else {
            if drop.if_exists {
                self.notice(format!("{path} does not exist"));
                return done(&format!("DROP {word}"));
            }
            let scope = Scope { catalog: &catalog, temporary: &self.temporary };
            let missing = gridhouse_sql::catalog::resolve(&scope, &self.context, &drop.name).err();
            return Err(missing.unwrap_or_else(|| Error::not_found(format!("there is no temporary {path}"))));
        };
        if !fits(record) {
            return Err(wrong_kind(&path, is_view).at(drop.name.last().at));
        }
        if path.catalog == SYSTEM_CATALOG {
            return Err(Error::invalid(format!("{path} belongs to the system and stays")).at(drop.name.at()));
        }
        self.change(move |core| core.drop_objects(vec![path]))?;
        done(&format!("DROP {word}"))
    }

    fn drop_database(&mut self, drop: &Drop) -> Result<Outcome> {
        let (owner, name) = self.context.database(&drop.name)?;
        let catalog = self.catalog();
        let key = (owner.clone(), name.clone());
        if !catalog.databases.contains_key(&key) {
            if drop.if_exists {
                self.notice(format!("there is no database {}.{}", quoted(&owner), quoted(&name)));
                return done("DROP DATABASE");
            }
            let scope = Scope { catalog: &catalog, temporary: &self.temporary };
            check_database(&scope, &owner, &name, &drop.name.parts)?;
        }
        if owner == SYSTEM_CATALOG {
            return Err(Error::invalid("the system's databases stay").at(drop.name.at()));
        }
        let cascade = drop.cascade;
        let dropped = self.change(move |core| {
            let inside: Vec<ObjectPath> =
                core.catalog.objects_of(&key.0, &key.1).map(|record| record.path().clone()).collect();
            if let Some(first) = inside.first()
                && !cascade
            {
                let database = format!("{}.{}", quoted(&key.0), quoted(&key.1));
                return Err(Error::conflict(format!("database {database} is not empty: it holds {first}"))
                    .hint("add CASCADE to drop what it holds too"));
            }
            core.drop_objects(inside)?;
            let commit = core.tick_writing(|tick, _| {
                tick.put(DATABASES, &database_key(&key.0, &key.1), None);
                Ok(())
            })?;
            core.catalog.databases.remove(&key);
            Ok(commit)
        });
        dropped.map_err(|error| error.at(drop.name.last().at))?;
        self.temporary.retain(|path, _| (&path.catalog, &path.database) != (&owner, &name));
        done("DROP DATABASE")
    }

    fn drop_catalog(&mut self, drop: &Drop) -> Result<Outcome> {
        let name = drop.name.last().name.clone();
        if drop.if_exists && !self.catalog().catalogs.contains_key(&name) {
            self.notice(format!("there is no catalog {}", quoted(&name)));
            return done("DROP CATALOG");
        }
        self.require_catalog(&name, &drop.name.parts)?;
        if name == self.context.catalog {
            return Err(Error::conflict(format!("catalog {} is the current one", quoted(&name)))
                .hint("USE CATALOG another one first")
                .at(drop.name.at()));
        }
        let catalog = self.catalog();
        if let Some(path) = catalog.objects.keys().find(|path| path.catalog == name) {
            return Err(Error::conflict(format!("catalog {} is not empty: it holds {path}", quoted(&name)))
                .hint("drop its databases first, with DROP DATABASE … CASCADE")
                .at(drop.name.at()));
        }
        self.change(move |core| {
            let databases: Vec<String> = core.catalog.databases_of(&name).unwrap_or_default();
            let commit = core.tick_writing(|tick, _| {
                tick.put(CATALOGS, &name, None);
                for database in &databases {
                    tick.put(DATABASES, &database_key(&name, database), None);
                }
                Ok(())
            })?;
            core.catalog.catalogs.remove(&name);
            core.catalog.databases.retain(|(owner, _), _| *owner != name);
            Ok(commit)
        })?;
        done("DROP CATALOG")
    }

    fn require_catalog(&self, name: &str, parts: &[Ident]) -> Result<()> {
        let catalog = self.catalog();
        if catalog.catalogs.contains_key(name) {
            return Ok(());
        }
        check_database(&Scope { catalog: &catalog, temporary: &self.temporary }, name, "", parts)
    }

    fn require_database(&self, path: &ObjectPath, name: &ObjectName) -> Result<()> {
        if path.catalog == SYSTEM_CATALOG {
            return Err(Error::invalid("the catalog `system` only holds the engine's own tables").at(name.at()));
        }
        let catalog = self.catalog();
        let scope = Scope { catalog: &catalog, temporary: &self.temporary };
        let missing = check_database(&scope, &path.catalog, &path.database, &name.parts);
        missing.map_err(|error| match error.remedy() {
            Some(hint) if hint.starts_with("SHOW") && catalog.catalogs.contains_key(&path.catalog) => {
                let database = format!("{}.{}", quoted(&path.catalog), quoted(&path.database));
                error.hint(format!("CREATE DATABASE {database}"))
            }
            _ => error,
        })
    }

    /// Has the core change something, and waits until it is durable and visible.
    pub(crate) fn change(&self, what: impl FnOnce(&mut Core) -> Result<CommitId> + Send + 'static) -> Result<()> {
        let commit = self.engine.call(move |core| {
            let commit = what(core)?;
            core.shared.set_catalog(core.catalog.clone(), commit);
            Ok::<_, Error>(commit)
        })??;
        self.wait(commit)
    }
}

impl Core {
    /// Keeps an object that has no rows here.
    pub(crate) fn put_object(&mut self, record: ObjectRecord) -> Result<CommitId> {
        let path = record.path().clone();
        if self.catalog.object(&path).is_some() {
            return Err(Error::conflict(format!("{path} has been made by another session meanwhile")));
        }
        let commit = self.tick_writing(|tick, _| {
            tick.put(OBJECTS, &object_key(&path), Some(&encode(&record)));
            Ok(())
        })?;
        self.catalog.objects.insert(path, record);
        Ok(commit)
    }

    /// Drops tables and views with their rows.
    ///
    /// # Errors
    /// `Conflict` where a job works with one of them.
    pub(crate) fn drop_objects(&mut self, paths: Vec<ObjectPath>) -> Result<CommitId> {
        for path in &paths {
            self.check_unused(path)?;
        }
        let tables: Vec<TableId> = paths.iter().filter_map(|path| self.catalog.table_id(path)).collect();
        let commit = self.tick_writing(|tick, _| {
            for path in &paths {
                tick.put(OBJECTS, &object_key(path), None);
            }
            for table in &tables {
                tick.drop_table(*table)?;
            }
            Ok(())
        })?;
        for path in &paths {
            self.catalog.objects.remove(path);
        }
        Ok(commit)
    }

    fn check_unused(&self, path: &ObjectPath) -> Result<()> {
        let table = self.catalog.table_id(path);
        for job in self.jobs.values() {
            let writes = job.record.inserts.iter().any(|insert| insert.target == *path)
                || table.is_some_and(|table| job.written().contains(&table));
            let reads = table.is_some_and(|table| self.read_by(job).contains(&table))
                || job.record.inserts.iter().any(|insert| insert.sources.iter().any(|source| source.path == *path));
            let temporary = job.record.environment.temporary.iter().any(|object| object.path() == path);
            let live = job.record.state.is_wanted();
            if (reads && live || writes) && !temporary {
                let (name, id) = (&job.record.name, job.record.id.0);
                let what = if writes { "writes into" } else { "reads" };
                return Err(
                    Error::conflict(format!("job {name} ({id}) {what} {path}")).hint(format!("DROP JOB {id} first"))
                );
            }
        }
        Ok(())
    }
}

pub(crate) fn options_of(pairs: &[OptionPair]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

fn wrong_kind(path: &ObjectPath, wanted_view: bool) -> Error {
    let (is, statement) = if wanted_view { ("table", "DROP TABLE") } else { ("view", "DROP VIEW") };
    Error::invalid(format!("{path} is a {is}")).hint(format!("write {statement} {path}"))
}

/// In a few words, how the wanted definition differs from the one that is there.
fn difference(existing: &ObjectRecord, wanted: &TableDef) -> String {
    let ObjectRecord::Table { definition: there, .. } = existing else { return "it is a view".into() };
    for column in &wanted.schema.columns {
        match there.schema.index_of(&column.name) {
            None => return format!("it has no column {}", quoted(&column.name)),
            Some(i) if there.schema.columns[i].sql_type != column.sql_type => {
                return format!("its column {} is {}", quoted(&column.name), there.schema.columns[i].sql_type);
            }
            Some(_) => {}
        }
    }
    if there.schema.len() != wanted.schema.len() {
        return format!("it has {} columns", there.schema.len());
    }
    if there.primary_key != wanted.primary_key {
        return "its primary key is another".into();
    }
    let keys = there.options.keys().chain(wanted.options.keys());
    let other = keys.into_iter().find(|key| there.options.get(*key) != wanted.options.get(*key));
    match other {
        Some(key) => format!("its option '{key}' is another"),
        None => "its column order, watermark, partitions or comment are others".into(),
    }
}

/// How the store keeps a table.
fn spec_of(definition: &TableDef) -> Result<TableSpec> {
    let options = &definition.options;
    for key in options.keys() {
        let known = EFFECTIVE_OPTIONS.iter().chain(ACCEPTED_OPTIONS);
        if known.clone().any(|known| known == key) || key.starts_with("client.") {
            continue;
        }
        let error = Error::invalid(format!("table {}: there is no option '{key}'", definition.path));
        return Err(match nearest(key, known.copied()) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("options of a table that is kept here are Fluss's, such as 'bucket.num'; other systems need a 'connector'"),
        });
    }
    if let Some(engine) = options.get("table.merge-engine") {
        return Err(Error::invalid(format!("table {}: the merge engine '{engine}' is not there yet", definition.path))
            .hint("leave the option out: the last row of a key stands"));
    }
    let bucket_count = match options.get("bucket.num") {
        None => 1,
        Some(text) => text.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(|| {
            Error::invalid(format!("table {}: 'bucket.num' = '{text}' is not a number of buckets", definition.path))
                .hint("a whole number from 1 to 4096")
        })?,
    };
    let stored: Vec<usize> = definition.physical().collect();
    let primary_key = stored_key(definition);
    let mut bucket_key = Vec::new();
    if let Some(text) = options.get("bucket.key") {
        for name in text.split(',').map(str::trim) {
            let column = stored.iter().position(|&i| definition.schema.columns[i].name == name).ok_or_else(|| {
                let names = definition.schema.columns.iter().map(|c| c.name.as_str());
                let error =
                    Error::invalid(format!("table {}: 'bucket.key' names no column {}", definition.path, quoted(name)));
                match nearest(name, names) {
                    Some(near) => error.hint(format!("did you mean {}?", quoted(near))),
                    None => error.hint("name columns of the table, with commas between"),
                }
            })?;
            if !primary_key.is_empty() && !primary_key.contains(&column) {
                return Err(Error::invalid(format!(
                    "table {}: the bucket key {} is not in the primary key",
                    definition.path,
                    quoted(name)
                ))
                .hint("a bucket key is part of the primary key, so that all rows of a key share a bucket"));
            }
            bucket_key.push(column);
        }
    }
    let kind = if primary_key.is_empty() { TableKind::Log } else { TableKind::PrimaryKey };
    let schema = physical_schema(definition);
    Ok(TableSpec {
        name: definition.path.to_string(),
        schema,
        kind,
        primary_key,
        bucket_key,
        bucket_count,
        hidden: false,
        log_ttl_ms: if kind == TableKind::Log { log_ttl_ms(definition)? } else { None },
    })
}

/// How long the rows of a log table are kept; -1 is for ever, as in Fluss.
fn log_ttl_ms(definition: &TableDef) -> Result<Option<u64>> {
    let Some(text) = definition.options.get(LOG_TTL).filter(|text| text.trim() != "-1") else { return Ok(None) };
    let ttl = duration(text).and_then(|ttl| u64::try_from(ttl.as_millis()).ok()).filter(|ms| *ms > 0);
    let misfit = || {
        Error::invalid(format!("table {}: '{LOG_TTL}' = '{text}' is not a time to live", definition.path))
            .hint("a number and a unit, as in '7 d', '12 h', '30 min'; '-1' keeps every row")
    };
    ttl.map(Some).ok_or_else(misfit)
}

/// Whether a path has rows in the store.
pub(crate) fn stored(catalog: &Catalog, definition: &Arc<TableDef>) -> Result<TableId> {
    catalog.table_id(&definition.path).ok_or_else(|| {
        Error::invalid(format!("the rows of {} are not kept here", definition.path))
            .hint("only tables without connector can be changed in place")
    })
}
