//! The shared cluster, databases, and definitions of tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{Column, Schema, SqlType, TypeKind};
use gridhouse_link::testing::{Cluster, SUPERUSER};
use gridhouse_link::{HostMap, LinkContext, Owner};

/// The cluster of all tests that run now; the last one stops it.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

pub fn shared_cluster() -> Arc<Cluster> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Cluster::start(&[]));
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

/// A database of a test.
#[derive(Clone)]
pub struct Db {
    pub cluster: Arc<Cluster>,
    pub name: String,
}

impl Db {
    pub fn new(name: &str) -> Self {
        Self::within(shared_cluster(), name)
    }

    pub fn within(cluster: Arc<Cluster>, name: &str) -> Self {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        Self { cluster, name: name.to_owned() }
    }

    pub fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql)
    }

    /// Waits until a query that counts gives 1.
    pub fn until_one(&self, sql: &str) {
        let clock = SystemClock::new();
        while self.sql(sql) != "1" {
            assert!(clock.monotonic() < Duration::from_secs(30), "{sql} does not give 1");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// A `postgres-cdc` table; the slot is named after the database.
    pub fn cdc(&self, table: &str, columns: &[(&str, TypeKind)], key: &[&str]) -> TableDef {
        let port = self.cluster.port().to_string();
        let slot = format!("{}_slot", self.name);
        let options = [
            ("connector", "postgres-cdc"),
            ("hostname", "source-host"),
            ("port", port.as_str()),
            ("username", SUPERUSER.0),
            ("password", SUPERUSER.1),
            ("database-name", &self.name),
            ("schema-name", "public"),
            ("table-name", table),
            ("slot.name", &slot),
            ("decoding.plugin.name", "pgoutput"),
            ("scan.incremental.snapshot.enabled", "true"),
        ];
        definition(table, columns, key, &options)
    }
}

pub fn definition(name: &str, columns: &[(&str, TypeKind)], key: &[&str], options: &[(&str, &str)]) -> TableDef {
    let column = |(name, kind): &(&str, TypeKind)| {
        Column::new(*name, SqlType { kind: kind.clone(), nullable: !key.contains(name) })
    };
    let schema = Schema::new(columns.iter().map(column).collect());
    let primary_key = key.iter().map(|name| schema.index_of(name).unwrap()).collect();
    TableDef {
        path: ObjectPath::new("default_catalog", "default_database", name.replace(|c: char| !c.is_alphanumeric(), "_")),
        column_kinds: vec![ColumnKind::Physical; schema.len()],
        schema,
        primary_key,
        partitioned_by: Vec::new(),
        watermark: None,
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
        comment: None,
    }
}

/// Adds a metadata column.
pub fn with_metadata(mut definition: TableDef, name: &str, kind: TypeKind, key: &str) -> TableDef {
    definition.schema.columns.push(Column::new(name, kind.nullable()));
    definition.column_kinds.push(ColumnKind::Metadata { key: key.to_owned(), is_virtual: true });
    definition
}

pub fn with(mut definition: TableDef, key: &str, value: &str) -> TableDef {
    definition.options.insert(key.to_owned(), value.to_owned());
    definition
}

pub fn without(mut definition: TableDef, key: &str) -> TableDef {
    definition.options.remove(key);
    definition
}

/// Scripts of these tests call the machine `source-host`; the map says where it is.
pub fn context() -> LinkContext {
    LinkContext {
        hosts: HostMap::new([("source-host".to_owned(), "127.0.0.1".to_owned())]).unwrap(),
        clock: Arc::new(SystemClock::new()),
        fs: Arc::new(DiskFileSystem),
        seed: 7,
        print: Arc::new(Mutex::new(std::io::stdout())),
        owner: Owner { host: "here".into(), process: 7, data_dir: "/data".into() },
    }
}

pub fn decimal(precision: u8, scale: u8) -> TypeKind {
    TypeKind::Decimal { precision, scale }
}
