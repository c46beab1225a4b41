//! Every wrong option, name, right or setting is answered with cause and remedy.

use gridhouse_base::table::TableDef;
use gridhouse_base::{ErrorKind, TypeKind};
use gridhouse_flow::connector::{ChangelogMode, SinkConnector, SourceConnector};
use gridhouse_link::testing::Cluster;
use gridhouse_link::{JdbcWriter, PostgresCdc};

use crate::setup::{Db, context, decimal, definition, with, with_metadata, without};

/// Kind, message and remedy of a refused source; the port of the cluster reads as PORT.
fn refused(db: &Db, definition: &TableDef) -> (ErrorKind, String) {
    let error = PostgresCdc::new(&context()).describe(definition).expect_err("the definition is wrong");
    told(db, &error)
}

fn told(db: &Db, error: &gridhouse_base::Error) -> (ErrorKind, String) {
    let text = format!("{error} [{}]", error.remedy().unwrap_or("no remedy"));
    assert!(!text.contains("secret"), "a password is never shown: {text}");
    (error.kind(), text.replace(&db.cluster.port().to_string(), "PORT"))
}

fn orders(db: &Db) -> TableDef {
    db.cdc("orders", &[("id", TypeKind::BigInt), ("region", TypeKind::STRING), ("amount", decimal(12, 2))], &["id"])
}

#[test]
fn wrong_sources_are_refused_with_the_remedy() {
    let db = Db::new("describe_source");
    db.sql("CREATE TABLE orders (id bigint PRIMARY KEY, region text, amount numeric(12,2), tags bytea,
                                 total numeric GENERATED ALWAYS AS (amount * 2) STORED);
            CREATE TABLE keyless (id int); CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
            CREATE ROLE reader LOGIN PASSWORD 'reader'; CREATE ROLE stranger LOGIN REPLICATION PASSWORD 'stranger'");
    let fine = orders(&db);
    let described = PostgresCdc::new(&context()).describe(&fine).unwrap();
    assert_eq!(described.table_key, "public.orders");
    assert_eq!(described.mode, ChangelogMode::Upsert);
    assert!(described.stream_key.starts_with("postgres-cdc/") && described.stream_key.ends_with("/describe_source"));
    assert!(described.notices.iter().any(|n| n.contains("max_slot_wal_keep_size")), "{:?}", described.notices);
    let own = PostgresCdc::new(&context()).describe(&with(fine.clone(), "slot.sharing", "false")).unwrap();
    assert!(own.stream_key.ends_with("/describe_source/describe_source_slot"));

    let place = "postgresql at source-host:PORT (mapped to 127.0.0.1:PORT)";
    let invalid = ErrorKind::Invalid;
    let cases: Vec<(TableDef, ErrorKind, String)> = vec![
        (with(fine.clone(), "tabel-name", "x"), invalid, "connector 'postgres-cdc' has no option 'tabel-name' [did you mean 'table-name'?]".into()),
        (without(fine.clone(), "hostname"), invalid, "connector 'postgres-cdc' needs the option 'hostname' [add 'hostname' = '…' to WITH (…)]".into()),
        (with(fine.clone(), "password", "secret"), invalid, format!("{place} refuses the password of role 'postgres' [correct 'username' and 'password', or set it there: ALTER ROLE postgres PASSWORD '…']")),
        (without(fine.clone(), "password"), invalid, format!("{place} asks for a password of role 'postgres' and none is given [set the option 'password']")),
        (with(fine.clone(), "database-name", "nowhere"), invalid, format!("{place} has no database 'nowhere' [correct the name, or create it there: CREATE DATABASE nowhere]")),
        (with(fine.clone(), "schema-name", "publik"), ErrorKind::NotFound, "database 'describe_source' has no table in a schema 'publik' [did you mean 'schema-name' = 'public'?]".into()),
        (with(fine.clone(), "table-name", "order"), ErrorKind::NotFound, "database 'describe_source' has no table 'public.order' [did you mean 'table-name' = 'orders'?]".into()),
        (with(fine.clone(), "table-name", "(?=x)"), invalid, "option 'table-name' is '(?=x)', which is not a pattern that can be used [write a name, or a short regular expression without look-around and back-references]".into()),
        (with(fine.clone(), "slot.name", "Bad-Slot"), invalid, "'Bad-Slot' is not a name for a replication slot ['slot.name' takes 1 to 63 lower-case letters, digits and underscores]".into()),
        (with(fine.clone(), "scan.startup.mode", "snapshot"), invalid, "'scan.startup.mode' = 'snapshot' is not supported [write 'initial' (contents, then changes), 'latest-offset' or 'committed-offset']".into()),
        (with(fine.clone(), "decoding.plugin.name", "oracle"), invalid, "option 'decoding.plugin.name' is 'oracle' [write 'pgoutput']".into()),
        (db.cdc("orders", &[("id", TypeKind::BigInt), ("regoin", TypeKind::STRING)], &["id"]), invalid, "table public.orders has no column 'regoin' [did you mean `region`?]".into()),
        (db.cdc("orders", &[("id", TypeKind::BigInt), ("region", TypeKind::Int)], &["id"]), invalid, "column public.orders.region has the type text, which cannot be read as INT [declare `region` as STRING]".into()),
        (db.cdc("orders", &[("id", TypeKind::BigInt), ("tags", TypeKind::STRING)], &["id"]), invalid, "column public.orders.tags has the type bytea, which cannot be read as STRING [declare `tags` as BYTES]".into()),
        (db.cdc("orders", &[("id", TypeKind::BigInt), ("total", decimal(12, 2))], &["id"]), invalid, "column public.orders.total is generated, and postgresql does not publish generated columns [leave `total` out, or compute it: `total` AS …]".into()),
        (with_metadata(fine.clone(), "x", TypeKind::STRING, "tabel_name"), invalid, "connector 'postgres-cdc' has no metadata 'tabel_name' [did you mean METADATA FROM 'table_name'?]".into()),
        (with_metadata(fine.clone(), "x", TypeKind::STRING, "op_ts"), invalid, "metadata column 'x' is declared as STRING [declare it as TIMESTAMP_LTZ(3) METADATA FROM 'op_ts']".into()),
        (db.cdc("keyless", &[("id", TypeKind::Int)], &[]), invalid, "table public.keyless is declared without a primary key, and its replica identity does not tell whole old rows [ALTER TABLE public.keyless REPLICA IDENTITY FULL]".into()),
        (db.cdc("keyless", &[("id", TypeKind::Int)], &["id"]), invalid, "the declared key column 'id' is not told by deletes and updates: table public.keyless has no replica identity [ALTER TABLE public.keyless REPLICA IDENTITY FULL]".into()),
        (db.cdc("nothing", &[("id", TypeKind::Int)], &["id"]), invalid, "the declared key column 'id' is not told by deletes and updates: table public.nothing has no replica identity [ALTER TABLE public.nothing REPLICA IDENTITY FULL]".into()),
        (db.cdc("orders", &[("id", TypeKind::BigInt), ("region", TypeKind::STRING)], &["region"]), invalid, "the declared key column 'region' is not told by deletes and updates: table public.orders has a replica identity without it [ALTER TABLE public.orders REPLICA IDENTITY FULL]".into()),
        (with(with(fine.clone(), "username", "reader"), "password", "reader"), invalid, "role 'reader' may not read the stream of changes [ALTER ROLE reader REPLICATION]".into()),
        (with(with(fine.clone(), "username", "stranger"), "password", "stranger"), invalid, "role 'stranger' may not read table public.orders [GRANT SELECT ON public.orders TO stranger]".into()),
    ];
    for (definition, kind, message) in cases {
        assert_eq!(refused(&db, &definition), (kind, message));
    }
    db.sql("GRANT SELECT ON orders TO stranger");
    let stranger = with(with(fine.clone(), "username", "stranger"), "password", "stranger");
    assert_eq!(
        refused(&db, &stranger).1,
        "role 'stranger' may not create the publication 'gridhouse_describe_source_slot' [GRANT CREATE ON DATABASE describe_source TO stranger]"
    );
    db.sql("GRANT CREATE ON DATABASE describe_source TO stranger");
    assert!(refused(&db, &stranger).1.starts_with("role 'stranger' does not own table public.orders and cannot publish it [type as its owner `CREATE PUBLICATION gridhouse_describe_source_slot FOR TABLE public.orders"));
    db.sql(
        "CREATE PUBLICATION gridhouse_describe_source_slot FOR TABLE orders WITH (publish_via_partition_root = true)",
    );
    PostgresCdc::new(&context()).describe(&stranger).unwrap();

    db.sql("SELECT pg_create_logical_replication_slot('describe_taken', 'test_decoding')");
    let taken = with(fine.clone(), "slot.name", "describe_taken");
    assert_eq!(
        refused(&db, &taken).1,
        "replication slot 'describe_taken' has the plug-in 'test_decoding' instead of pgoutput [choose another 'slot.name' in the script, and run it again]"
    );
    db.sql("SELECT pg_drop_replication_slot('describe_taken')");
    let noted =
        PostgresCdc::new(&context()).describe(&with(fine.clone(), "decoding.plugin.name", "decoderbufs")).unwrap();
    assert!(noted.notices.iter().any(|n| n.contains("pgoutput is used in place of the plug-in 'decoderbufs'")));
    let silent = refused(&db, &with(fine, "port", "1"));
    assert_eq!(silent.0, ErrorKind::Unavailable);
    assert!(silent.1.contains("source-host:1") && silent.1.contains("does not answer"), "{}", silent.1);
}

#[test]
fn a_server_that_cannot_replicate_is_refused() {
    let cluster = std::sync::Arc::new(Cluster::start(&["wal_level = replica"]));
    let db = Db::within(cluster, "replica_level");
    db.sql("CREATE TABLE orders (id bigint PRIMARY KEY, region text, amount numeric)");
    let (kind, message) = refused(&db, &orders(&db));
    assert_eq!(kind, ErrorKind::Invalid);
    assert_eq!(
        message,
        "postgresql at source-host:PORT (mapped to 127.0.0.1:PORT) has wal_level 'replica', and changes can be read only \
         with 'logical' [ALTER SYSTEM SET wal_level = 'logical'; then restart the server]"
    );
}

pub fn report(db: &Db, columns: &[(&str, TypeKind)], key: &[&str]) -> TableDef {
    let url = format!("jdbc:postgresql://source-host:{}/{}", db.cluster.port(), db.name);
    let options = [
        ("connector", "jdbc"),
        ("url", &url),
        ("table-name", "report"),
        ("username", "postgres"),
        ("password", "postgres"),
    ];
    definition("report", columns, key, &options)
}

#[test]
fn wrong_sinks_are_refused_with_the_remedy() {
    let db = Db::new("describe_sink");
    let columns = [("region", TypeKind::STRING), ("orders", TypeKind::BigInt), ("amount", decimal(20, 2))];
    let fine = report(&db, &columns, &["region"]);
    let refused =
        |definition: &TableDef| told(&db, &JdbcWriter::new(&context()).describe(definition).expect_err("it is wrong"));
    let place = "postgresql at source-host:PORT (mapped to 127.0.0.1:PORT)";
    assert_eq!(
        refused(&fine),
        (
            ErrorKind::NotFound,
            format!(
                "{place} has no table 'public.report' in the database 'describe_sink' [create it there: CREATE TABLE public.report \
             (region text, orders bigint, amount numeric(20, 2), PRIMARY KEY (region))]"
            )
        )
    );
    db.sql("CREATE TABLE report (region text, orders bigint, amount numeric(20,2))");
    assert_eq!(
        refused(&fine).1,
        "table public.report has no primary key and no unique index over exactly the declared key (region) [ALTER TABLE public.report ADD PRIMARY KEY (region)]"
    );
    db.sql("ALTER TABLE report ADD PRIMARY KEY (region)");
    let described = JdbcWriter::new(&context()).describe(&fine).unwrap();
    assert!(described.exactly_once && described.mode == ChangelogMode::Upsert);
    assert!(described.target_key.ends_with("/describe_sink/public.report"));
    let two = [("region", TypeKind::STRING), ("ordres", TypeKind::BigInt)];
    assert_eq!(
        refused(&report(&db, &two, &["region"])).1,
        "table public.report has no column 'ordres' [did you mean `orders`? else: ALTER TABLE public.report ADD COLUMN ordres bigint]"
    );
    let two = [("region", TypeKind::STRING), ("orders", TypeKind::Double)];
    assert_eq!(
        refused(&report(&db, &two, &["region"])).1,
        "column public.report.orders has the type bigint, to which DOUBLE cannot be written [ALTER TABLE public.report ALTER COLUMN orders TYPE double precision, or CAST the value in the query and declare `orders` accordingly]"
    );
    assert_eq!(
        refused(&with(fine.clone(), "sink.paralelism", "1")).1,
        "connector 'jdbc' has no option 'sink.paralelism' [did you mean 'sink.parallelism'?]"
    );
    assert_eq!(
        refused(&with(fine.clone(), "url", "jdbc:mysql://h/d")).1,
        "connector 'jdbc' is for PostgreSQL, not for 'mysql' [write 'jdbc:postgresql://host:5432/database']"
    );
    assert_eq!(
        refused(&with(fine.clone(), "driver", "com.mysql.Driver")).1,
        "option 'driver' is 'com.mysql.Driver', and connector 'jdbc' is for PostgreSQL only [leave 'driver' out, or write 'org.postgresql.Driver']"
    );
    assert!(refused(&with(fine.clone(), "password", "secret")).1.contains("refuses the password of role 'postgres'"));
    db.sql("ALTER TABLE report ADD COLUMN needed int NOT NULL");
    assert_eq!(
        refused(&fine).1,
        "column public.report.needed is NOT NULL without a default, and default_catalog.default_database.report does not declare it [declare it, or ALTER TABLE public.report ALTER COLUMN needed DROP NOT NULL]"
    );
}
