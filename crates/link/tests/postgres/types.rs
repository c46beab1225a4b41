//! Every type: from PostgreSQL through the stream, contents and changes alike, and back into PostgreSQL.

use std::sync::Arc;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::{CommitId, TypeKind, Value};
use gridhouse_flow::connector::{SinkConnector, SinkWriter};
use gridhouse_link::JdbcWriter;

use crate::describe::report;
use crate::engine::{Durable, Engine};
use crate::setup::{Db, context, decimal};

/// PostgreSQL type, declared type, and values as PostgreSQL literals.
fn columns() -> Vec<(&'static str, &'static str, TypeKind, [&'static str; 2])> {
    let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
    vec![
        ("c_bool", "boolean", TypeKind::Boolean, ["true", "false"]),
        ("c_int2", "smallint", TypeKind::SmallInt, ["-32768", "32767"]),
        ("c_int4", "integer", TypeKind::Int, ["-2147483648", "7"]),
        ("c_int8", "bigint", TypeKind::BigInt, ["-9223372036854775808", "9223372036854775807"]),
        ("c_real", "real", TypeKind::Float, ["'NaN'", "1.5"]),
        ("c_double", "double precision", TypeKind::Double, ["0.1", "'-Infinity'"]),
        ("c_num", "numeric(12,2)", decimal(12, 2), ["-1234567890.12", "0.00"]),
        ("c_wide", "numeric", decimal(38, 10), ["1234567890123456789012345678.0123456789", "0.0000000001"]),
        ("c_text", "text", TypeKind::STRING, ["E'线路\\n\\t\\\\ \"q\"'", "''"]),
        ("c_varchar", "varchar(20)", TypeKind::Varchar(20), ["'x'", "'y z'"]),
        ("c_char", "char(5)", TypeKind::Char(5), ["'ab'", "'abcde'"]),
        ("c_name", "name", TypeKind::STRING, ["'n1'", "'n2'"]),
        ("c_bytes", "bytea", TypeKind::BYTES, ["'\\x00ff10'", "'\\x'"]),
        ("c_date", "date", TypeKind::Date, ["'2026-11-23'", "'0044-03-15 BC'"]),
        ("c_time", "time", TypeKind::Time(3), ["'23:59:59.999'", "'00:00'"]),
        ("c_ts3", "timestamp(3)", TypeKind::Timestamp(3), ["'2026-01-01 00:00:01.234'", "'1969-12-31 23:59:59.999'"]),
        ("c_ts6", "timestamp", TypeKind::Timestamp(6), ["'2026-01-01 00:00:01.234567'", "'0001-01-01'"]),
        ("c_ts9", "timestamp", TypeKind::Timestamp(9), ["'2026-01-01 00:00:01.234567'", "'1700-01-01'"]),
        ("c_ltz", "timestamptz", TypeKind::TimestampLtz(6), ["'2026-01-01 08:00+08'", "'1970-01-01 00:00:00.000001Z'"]),
        ("c_year", "interval", TypeKind::IntervalYearMonth, ["'1 year 2 mons'", "'-5 mons'"]),
        ("c_day", "interval", TypeKind::IntervalDayTime, ["'-26:00:00.5'", "'90 min'"]),
        (
            "c_uuid",
            "uuid",
            TypeKind::STRING,
            ["'11111111-2222-3333-4444-555555555555'", "'00000000-0000-0000-0000-000000000000'"],
        ),
        ("c_json", "json", TypeKind::STRING, ["'{\"a\": [1, 2]}'", "'null'"]),
        ("c_jsonb", "jsonb", TypeKind::STRING, ["'{\"a\": \"b\"}'", "'[]'"]),
        ("c_enum", "mood", TypeKind::STRING, ["'happy'", "'sad'"]),
        ("c_domain", "positive", TypeKind::Int, ["5", "6"]),
        ("c_inet", "inet", TypeKind::STRING, ["'10.0.0.1/24'", "'::1'"]),
        ("c_bit", "bit(3)", TypeKind::STRING, ["'101'", "'000'"]),
        ("c_money", "money", TypeKind::STRING, ["'12.50'", "'0'"]),
        ("c_xml", "xml", TypeKind::STRING, ["'<a/>'", "'<b>1</b>'"]),
        ("c_range", "int4range", TypeKind::STRING, ["'[1,5)'", "'empty'"]),
        ("c_ints", "int[]", array(TypeKind::Int), ["'{1,NULL,3}'", "'{}'"]),
        ("c_texts", "text[]", array(TypeKind::STRING), ["'{\"a,b\",\"c\\\"d\",NULL}'", "'{x}'"]),
        ("c_decimals", "numeric[]", array(decimal(10, 2)), ["'{1.50}'", "'{-2.00}'"]),
        ("c_stamps", "timestamp[]", array(TypeKind::Timestamp(3)), ["'{\"2026-01-01 00:00:00\"}'", "'{}'"]),
        ("c_blobs", "bytea[]", array(TypeKind::BYTES), ["'{\"\\\\x01\"}'", "'{}'"]),
        ("c_astext", "int[]", TypeKind::STRING, ["'{1,2}'", "'{}'"]),
    ]
}

#[test]
fn every_type_survives_the_way_in_and_out() {
    let db = Db::new("all_types");
    let columns = columns();
    let ddl: Vec<String> = columns.iter().map(|(name, pg, ..)| format!("{name} {pg}")).collect();
    db.sql(&format!(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE TABLE source (id int PRIMARY KEY, {0}); CREATE TABLE report (LIKE source INCLUDING ALL);
         ALTER TABLE report REPLICA IDENTITY FULL",
        ddl.join(", ")
    ));
    let row = |id: usize| columns.iter().map(|c| c.3[id].to_owned()).collect::<Vec<_>>().join(", ");
    let nulls = vec!["NULL"; columns.len()].join(", ");
    let insert =
        |id: usize| format!("INSERT INTO source VALUES ({id}, {})", if id == 2 { nulls.clone() } else { row(id) });
    (0..3).for_each(|id| drop(db.sql(&insert(id))));
    let mut declared = vec![("id", TypeKind::Int)];
    declared.extend(columns.iter().map(|(name, _, kind, _)| (*name, kind.clone())));
    let mut engine = Engine::start(&[db.cdc("source", &declared, &["id"])], Durable::default());
    engine.until("the contents", |e| e.rows(1).len() == 3 && e.connected == 1);
    let contents = engine.rows(1);
    // The same rows as changes.
    db.sql(&format!("DELETE FROM source; {}; {}; {}", insert(0), insert(1), insert(2)));
    engine.until("the changes", |e| e.commits >= 1 && e.rows(1).len() == 3);
    assert_eq!(engine.rows(1), contents, "contents and changes read alike");
    let rows: Vec<Vec<Value>> = engine.durable.tables[&1].rows.values().map(|(row, _)| row.clone()).collect();
    engine.stop();

    // And out again, by a sink of the same declaration.
    let definition = Arc::new(report(&db, &declared, &["id"]));
    let jdbc = JdbcWriter::new(&context());
    jdbc.describe(&definition).unwrap();
    let mut sink = jdbc
        .open(definition.clone(), SinkWriter { store: 1, sink: "report".into(), history: 1, written: false })
        .unwrap();
    let position = sink.position().unwrap();
    sink.write(position, CommitId(1), &[batch(&declared, &rows, RowKind::Insert)]).unwrap();
    let of = |table: &str| db.sql(&format!("SELECT t::text FROM {table} t ORDER BY id"));
    assert_eq!(of("report"), of("source"));
    sink.write(CommitId(1), CommitId(2), &[batch(&declared, &rows, RowKind::Delete)]).unwrap();
    assert_eq!(of("report"), "");
}

pub fn batch(declared: &[(&str, TypeKind)], rows: &[Vec<Value>], kind: RowKind) -> KindBatch {
    let column = |i: usize| {
        let values: Vec<&Value> = rows.iter().map(|row| &row[i]).collect();
        Value::array_of(&values, &declared[i].1)
    };
    KindBatch::new((0..declared.len()).map(column).collect(), vec![kind; rows.len()])
}

#[test]
fn infinity_becomes_the_end_of_the_range() {
    let db = Db::new("infinity");
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a timestamp, b date); INSERT INTO t VALUES (1, 'infinity', '-infinity')",
    );
    let declared = [("id", TypeKind::Int), ("a", TypeKind::Timestamp(3)), ("b", TypeKind::Date)];
    let mut engine = Engine::start(&[db.cdc("t", &declared, &["id"])], Durable::default());
    engine.until_rows(1, &["1|253402300799999|-719162"]);
    engine.stop();
}
