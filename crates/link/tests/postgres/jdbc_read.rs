//! `jdbc` tables that are read: scans whose conditions the server evaluates too, look-ups by key, contents for a job.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use arrow_array::ArrayRef;
use gridhouse_base::clock::ManualClock;
use gridhouse_base::random::Random;
use gridhouse_base::table::TableDef;
use gridhouse_base::{ErrorKind, SourceId, SqlType, TypeKind, Value};
use gridhouse_expr::functions::resolve;
use gridhouse_expr::{EvalContext, Expr};
use gridhouse_flow::connector::{
    Found, Lookup, LookupConnector, LookupRequest, ScanConnector, ScanRequest, SourceConnector, SourceEvent,
    SourceTable, StreamPlace,
};
use gridhouse_link::{JdbcReader, LinkContext};

use crate::describe::report;
use crate::setup::{Db, context, decimal, with};

const EVAL: EvalContext = EvalContext { now_micros: 0, zone: chrono_tz::UTC, seed: 0, first_row: 0 };

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// The rows of a scan with all columns of `definition`.
fn scan(definition: &TableDef, filters: Vec<Expr>, limit: Option<u64>) -> Vec<Vec<Value>> {
    let columns = (0..definition.schema.len()).collect();
    let request = ScanRequest { columns, filters, limit };
    let rows = JdbcReader::new(&context()).scan(definition, &request).unwrap();
    rows.flat_map(|batch| {
        let batch = batch.unwrap();
        (0..batch.len()).map(|row| values(batch.columns(), definition, row)).collect::<Vec<_>>()
    })
    .collect()
}

fn values(columns: &[ArrayRef], definition: &TableDef, row: usize) -> Vec<Value> {
    let value =
        |(array, column): (&ArrayRef, &gridhouse_base::Column)| Value::from_array(array, row, &column.sql_type.kind);
    columns.iter().zip(&definition.schema.columns).map(value).collect()
}

/// The rows that a filter keeps, by our own evaluation.
fn kept(rows: &[Vec<Value>], definition: &TableDef, filter: &Expr) -> Vec<Vec<Value>> {
    let column = |(i, column): (usize, &gridhouse_base::Column)| {
        let values: Vec<&Value> = rows.iter().map(|row| &row[i]).collect();
        Value::array_of(&values, &column.sql_type.kind)
    };
    let columns: Vec<ArrayRef> = definition.schema.columns.iter().enumerate().map(column).collect();
    let mask = filter.eval_mask(&columns, rows.len(), &EVAL).unwrap();
    let mut kept: Vec<_> =
        rows.iter().enumerate().filter(|(i, _)| mask.value(*i)).map(|(_, row)| row.clone()).collect();
    kept.sort_by_key(|row| format!("{row:?}"));
    kept
}

/// The columns of the table `report` of these tests, and values as PostgreSQL literals.
fn columns() -> Vec<(&'static str, &'static str, TypeKind, Vec<&'static str>)> {
    let texts = vec!["''", "'a'", "'A'", "'ab'", "'a b'", "'线路'", "'线_%'", "'z'", "E'a\\\\b'", "'ä'"];
    vec![
        ("id", "int", TypeKind::BigInt, vec!["0"]),
        ("b", "boolean", TypeKind::Boolean, vec!["true", "false"]),
        ("i2", "smallint", TypeKind::Int, vec!["-1", "0", "5", "6"]),
        ("i8", "bigint", TypeKind::BigInt, vec!["-1", "5", "9223372036854775807"]),
        ("f4", "real", TypeKind::Float, vec!["0.1", "'NaN'", "-0.0", "1e10", "5"]),
        ("f8", "double precision", TypeKind::Double, vec!["0.1", "'NaN'", "'Infinity'", "-0.0", "5"]),
        ("n2", "numeric(10,2)", decimal(10, 2), vec!["0.10", "5", "-1.25", "99999999.99"]),
        ("nr", "numeric", decimal(10, 2), vec!["0.104", "0.105", "5.004", "-1.255", "5"]),
        ("t", "text", TypeKind::STRING, texts.clone()),
        ("c", "char(3)", TypeKind::STRING, vec!["'a'", "'ab'"]),
        ("u", "uuid", TypeKind::STRING, vec!["'11111111-2222-3333-4444-555555555555'", "gen_random_uuid()"]),
        ("ip", "inet", TypeKind::STRING, vec!["'10.0.0.1'", "'10.0.0.0/8'"]),
        ("y", "bytea", TypeKind::BYTES, vec!["'\\x00ff'", "'\\x'", "'\\x61'"]),
        (
            "d",
            "date",
            TypeKind::Date,
            vec!["'2026-01-01'", "'infinity'", "'-infinity'", "'9999-12-31'", "'1970-01-02'"],
        ),
        ("tm", "time", TypeKind::Time(3), vec!["'00:00:05.0009'", "'00:00:05'", "'23:59:59.9999'"]),
        (
            "s3",
            "timestamp",
            TypeKind::Timestamp(3),
            vec!["'1970-01-01 00:00:05.0009'", "'1970-01-01 00:00:05'", "'infinity'", "'1970-01-01 00:00:05.001'"],
        ),
        ("s6", "timestamp", TypeKind::Timestamp(6), vec!["'1970-01-01 00:00:05.000001'", "'1970-01-01 00:00:05'"]),
        ("l0", "timestamptz", TypeKind::TimestampLtz(0), vec!["'1970-01-01 00:00:05.9Z'", "'1970-01-01 00:00:05Z'"]),
        ("w", "varchar(9)", TypeKind::Varchar(9), texts),
    ]
}

fn prepared(name: &str, rows: usize, random: &mut Random) -> (Db, TableDef) {
    let db = Db::new(name);
    let columns = columns();
    let ddl: Vec<String> = columns.iter().map(|(name, pg, ..)| format!("{name} {pg}")).collect();
    let row = |id: usize, random: &mut Random| {
        let value = |(i, (_, _, _, values)): (usize, &(&str, &str, TypeKind, Vec<&'static str>))| match i {
            0 => id.to_string(),
            _ if random.chance(0.1) => "NULL".to_owned(),
            _ => (*random.pick(values)).to_owned(),
        };
        format!("({})", columns.iter().enumerate().map(value).collect::<Vec<_>>().join(", "))
    };
    let rows: Vec<String> = (0..rows).map(|id| row(id, random)).collect();
    db.sql(&format!("CREATE TABLE report ({}); INSERT INTO report VALUES {}", ddl.join(", "), rows.join(", ")));
    let declared: Vec<(&str, TypeKind)> = columns.iter().map(|(name, _, kind, _)| (*name, kind.clone())).collect();
    let definition = report(&db, &declared, &[]);
    (db, definition)
}

/// A constant that meets `kind` in comparisons.
fn constant(kind: &TypeKind, random: &mut Random) -> Expr {
    let literal = |value: Value, kind: TypeKind| Expr::literal(value, SqlType { kind, nullable: false });
    let number = *random.pick(&[-1_i64, 0, 5, 6, 100]);
    match kind {
        _ if random.chance(0.05) => Expr::null(kind.clone()),
        TypeKind::Boolean => Expr::boolean(random.chance(0.5)),
        kind if kind.is_numeric() => match random.below(4) {
            0 => literal(Value::Integer(number), TypeKind::Int),
            1 => literal(Value::Integer(number), TypeKind::BigInt),
            2 => literal(Value::Decimal((number * 100 + random.between(0, 11)).into()), decimal(8, 2)),
            _ => literal(Value::Double(*random.pick(&[0.1, 5.0, -0.0, 1e10])), TypeKind::Double),
        },
        TypeKind::Varbinary(_) => {
            literal(Value::Bytes(random.pick(&[&b"\0\xff"[..], b"", b"a"])[..].into()), kind.clone())
        }
        TypeKind::Date => literal(Value::Integer(*random.pick(&[20_454, 1, 2_932_896, -719_162])), TypeKind::Date),
        TypeKind::Time(_) => literal(Value::Integer(*random.pick(&[5_000, 5_001, 0])), kind.clone()),
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            let (p, unit) = *random.pick(&[(0_u8, 1_000_i64), (3, 1_000), (6, 1_000_000)]);
            let step = if p == 0 { 1000 } else { 1 };
            let value = 5 * unit + step * random.between(-1, 1);
            let kind =
                if matches!(kind, TypeKind::Timestamp(_)) { TypeKind::Timestamp(p) } else { TypeKind::TimestampLtz(p) };
            literal(Value::Integer(value), kind)
        }
        _ => Expr::text(random.pick::<&str>(&[
            "",
            "a",
            "A",
            "ab",
            "a  ",
            "线路",
            "z",
            "a\\b",
            "11111111-2222-3333-4444-555555555555",
        ])),
    }
}

fn filter(definition: &TableDef, random: &mut Random, depth: u32) -> Option<Expr> {
    let several =
        |random: &mut Random| (0..2 + random.below(2)).map(|_| filter(definition, random, depth + 1)).collect();
    match random.below(if depth > 2 { 7 } else { 10 }) {
        7 => return Some(Expr::And(Option::<Vec<Expr>>::from_iter::<Vec<_>>(several(random))?)),
        8 => return Some(Expr::Or(Option::<Vec<Expr>>::from_iter::<Vec<_>>(several(random))?)),
        9 => return resolve("NOT", vec![filter(definition, random, depth + 1)?]).ok(),
        _ => {}
    }
    let index = random.below(definition.schema.len() as u64) as usize;
    let sql_type = definition.schema.columns[index].sql_type.clone();
    let kind = sql_type.kind.clone();
    let column = Expr::column(index, sql_type);
    match random.below(10) {
        0 => resolve(random.pick::<&str>(&["IS NULL", "IS NOT NULL"]), vec![column]).ok(),
        1 | 2 => {
            let mut args = vec![column];
            args.extend((0..2 + random.below(3)).map(|_| constant(&kind, random)));
            resolve(random.pick::<&str>(&["IN", "NOT IN"]), args).ok()
        }
        3 | 4 if kind.is_text() => {
            let pattern = Expr::text(random.pick::<&str>(&["a%", "%b", "_", "线_", "%\\%", "a\\b", "", "%"]));
            resolve(random.pick::<&str>(&["LIKE", "NOT LIKE"]), vec![column, pattern]).ok()
        }
        5 => resolve("=", vec![constant(&kind, random), column]).ok(),
        6 => resolve("<", vec![constant(&kind, random), column]).ok(),
        _ => {
            let operator = *random.pick(&["=", "<>", "<", "<=", ">", ">="]);
            resolve(operator, vec![column, constant(&kind, random)]).ok()
        }
    }
}

#[test]
fn what_the_server_filters_is_what_we_would() {
    let seed = std::env::var("GRIDHOUSE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let (_db, definition) = prepared("jdbc_pushdown", 300, &mut random);
    let all = scan(&definition, Vec::new(), None);
    assert_eq!(all.len(), 300);
    let (mut drawn, mut fewer) = (0, 0);
    while drawn < 200 {
        let Some(filter) = filter(&definition, &mut random, 0).map(|filter| filter.fold(&EVAL)) else { continue };
        drawn += 1;
        let found = scan(&definition, vec![filter.clone()], None);
        fewer += usize::from(found.len() < all.len());
        let shown = filter.display_with(&definition.schema).to_string();
        let (ours, theirs) = (kept(&all, &definition, &filter), kept(&found, &definition, &filter));
        assert_eq!(theirs.len(), ours.len(), "GRIDHOUSE_SEED={seed}: {shown}");
        assert_eq!(format!("{theirs:?}"), format!("{ours:?}"), "GRIDHOUSE_SEED={seed}: {shown}");
    }
    assert!(fewer > drawn / 3, "only {fewer} of {drawn} conditions reached the server");
}

#[test]
fn conditions_columns_and_limits_reach_the_server() {
    let (_db, definition) = prepared("jdbc_reaches", 200, &mut Random::new(3));
    let column = |i: usize| Expr::column(i, definition.schema.columns[i].sql_type.clone());
    let below = |n| resolve("<", vec![column(0), Expr::int(n)]).unwrap();
    // Each is decided by the server alone: no other rows come.
    assert_eq!(scan(&definition, vec![below(17)], None).len(), 17);
    assert!(
        scan(
            &definition,
            vec![resolve("=", vec![column(0), Expr::column(2, TypeKind::Int.nullable())]).unwrap()],
            None
        )
        .len()
            == 200
    );
    let like = resolve("LIKE", vec![column(8), Expr::text("a%")]).unwrap();
    let found = scan(&definition, vec![like], None);
    assert!(!found.is_empty() && found.iter().all(|row| matches!(&row[8], Value::Text(t) if t.starts_with('a'))));
    let one = resolve("=", vec![column(15), Expr::literal(Value::Integer(5_000), TypeKind::Timestamp(3).not_null())]);
    let found = scan(&definition, vec![one.unwrap()], None);
    assert!(!found.is_empty() && found.iter().all(|row| row[15] == Value::Integer(5_000)));
    assert_eq!(scan(&definition, Vec::new(), Some(3)).len(), 3);
    // Some columns in another order, and none at all.
    let request = ScanRequest { columns: vec![8, 0], ..ScanRequest::default() };
    let mut rows = JdbcReader::new(&context()).scan(&definition, &request).unwrap();
    assert_eq!(rows.next().unwrap().unwrap().columns().len(), 2);
    let rows = JdbcReader::new(&context()).scan(&definition, &ScanRequest::default()).unwrap();
    assert_eq!(rows.map(|batch| batch.unwrap().len()).sum::<usize>(), 200);
    // Flink reads only what is within the bounds of its partitions.
    let mut parted = definition.clone();
    for (key, value) in [("column", "i2"), ("num", "4"), ("lower-bound", "5"), ("upper-bound", "5")] {
        parted = with(parted, &format!("scan.partition.{key}"), value);
    }
    let found = scan(&parted, Vec::new(), None);
    assert!(!found.is_empty() && found.iter().all(|row| row[2] == Value::Integer(5)));
}

#[test]
fn large_tables_stream_and_misfits_are_named() {
    let db = Db::new("jdbc_large");
    db.sql("CREATE VIEW report AS SELECT n AS id, repeat('x', 100) AS v FROM generate_series(1, 100000) n");
    let definition = report(&db, &[("id", TypeKind::Int), ("v", TypeKind::STRING)], &[]);
    let request = ScanRequest { columns: vec![0, 1], ..ScanRequest::default() };
    let connector = JdbcReader::new(&context());
    let batches: Vec<usize> = connector.scan(&definition, &request).unwrap().map(|b| b.unwrap().len()).collect();
    assert!(batches.len() > 5 && batches.iter().sum::<usize>() == 100_000, "{batches:?}");
    // Dropping it in the midst ends the reading at the server.
    let mut rows = connector.scan(&definition, &request).unwrap();
    rows.next().unwrap().unwrap();
    drop(rows);
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'jdbc_large' AND query LIKE 'COPY%'";
    let deadline = (0..2_000).find(|_| db.sql(running) == "0");
    assert!(deadline.is_some(), "the statement runs on");

    db.sql("DROP VIEW report; CREATE TABLE report (id bigint, v text); INSERT INTO report VALUES (7, NULL), (5000000000, 'x')");
    let error = connector.scan(&definition, &request).unwrap().find_map(Result::err).unwrap();
    assert_eq!(
        error.message(),
        "table public.report, column id: the value '5000000000' is outside the range of the declared type"
    );
    let strict = report(&db, &[("id", TypeKind::BigInt), ("v", TypeKind::STRING)], &["v"]);
    let error = connector.scan(&strict, &request).unwrap().find_map(Result::err).unwrap();
    assert_eq!(error.message(), "table public.report, column v: NULL stands in a column that is declared NOT NULL");
    let missing = with(definition.clone(), "table-name", "public.reprot");
    let error = connector.scan(&missing, &request).err().unwrap();
    assert_eq!(
        (error.kind(), error.remedy()),
        (ErrorKind::NotFound, Some("did you mean 'table-name' = 'public.report'?"))
    );
    let wrong = report(&db, &[("id", TypeKind::Date)], &[]);
    let error = connector.scan(&wrong, &ScanRequest::default()).err().unwrap();
    assert_eq!(error.message(), "column public.report.id has the type bigint, which cannot be read as DATE");
}

fn open(definition: &TableDef, context: &LinkContext, keys: &[usize], columns: &[usize]) -> Box<dyn Lookup> {
    let request = LookupRequest { keys: keys.to_vec(), columns: columns.to_vec() };
    JdbcReader::new(context).open(Arc::new(definition.clone()), request).unwrap()
}

/// Number of the key and values, per row found.
fn found(
    lookup: &mut dyn Lookup,
    definition: &TableDef,
    request: (&[usize], &[usize]),
    keys: &[Vec<Value>],
) -> Vec<(u32, Vec<Value>)> {
    let kind = |i: usize| &definition.schema.columns[i].sql_type.kind;
    let column =
        |(at, &i): (usize, &usize)| Value::array_of(&keys.iter().map(|key| &key[at]).collect::<Vec<_>>(), kind(i));
    let arrays: Vec<ArrayRef> = request.0.iter().enumerate().map(column).collect();
    let Found { keys, columns } = lookup.lookup(&arrays, keys.len()).unwrap();
    let value =
        |row: usize| columns.iter().zip(request.1).map(|(array, &i)| Value::from_array(array, row, kind(i))).collect();
    (0..keys.len()).map(|row| (keys.value(row), value(row))).collect()
}

#[test]
fn every_row_is_found_by_what_it_is_read_as() {
    let mut random = Random::new(9);
    let (_db, definition) = prepared("jdbc_lookup_types", 120, &mut random);
    let all = scan(&definition, Vec::new(), None);
    let width = definition.schema.len();
    for index in 1..width {
        let mut lookup = open(&definition, &context(), &[index], &[0, index]);
        let keys: Vec<Vec<Value>> = all.iter().map(|row| vec![row[index].clone()]).collect();
        let found = found(lookup.as_mut(), &definition, (&[index], &[0, index]), &keys);
        let nan = |value: &Value| {
            matches!(value, Value::Float(x) if x.is_nan()) || matches!(value, Value::Double(x) if x.is_nan())
        };
        let equal = |a: &Value, b: &Value| !a.is_null() && !nan(a) && a == b;
        let mut expected: Vec<(u32, Vec<Value>)> = Vec::new();
        for (number, key) in (0_u32..).zip(&keys) {
            let rows = all.iter().filter(|row| equal(&key[0], &row[index]));
            expected.extend(rows.map(|row| (number, vec![row[0].clone(), row[index].clone()])));
        }
        let sorted = |mut rows: Vec<(u32, Vec<Value>)>| {
            assert!(rows.is_sorted_by_key(|(number, _)| *number), "in the order of the keys");
            rows.sort_by_key(|(number, row)| (*number, format!("{row:?}")));
            rows
        };
        assert_eq!(sorted(found), sorted(expected), "column {}", definition.schema.columns[index].name);
    }
}

#[test]
fn composite_keys_and_caches() {
    let db = Db::new("jdbc_lookup");
    db.sql(
        "CREATE TABLE report (region text, device int, name text, PRIMARY KEY (region, device, name)); \
            INSERT INTO report SELECT r, d, r || d FROM unnest(ARRAY['华东', 'a\"b', 'c']) r, generate_series(1, 3) d; \
            INSERT INTO report VALUES ('c', 3, 'again')",
    );
    let columns = [("region", TypeKind::STRING), ("device", TypeKind::BigInt), ("name", TypeKind::STRING)];
    let definition = report(&db, &columns, &[]);
    let clock = Arc::new(ManualClock::new(0));
    let context = LinkContext { clock: clock.clone(), ..context() };
    let request: (&[usize], &[usize]) = (&[0, 1], &[2]);
    let keys = vec![
        vec![text("c"), Value::Integer(3)],
        vec![text("华东"), Value::Integer(1)],
        vec![text("华东"), Value::Null],
        vec![text("a\"b"), Value::Integer(2)],
        vec![text("c"), Value::Integer(99)],
        vec![text("华东"), Value::Integer(1)],
    ];
    let names = |rows: Vec<(u32, Vec<Value>)>| {
        let mut names: Vec<String> = rows.iter().map(|(n, row)| format!("{n}:{:?}", row[0])).collect();
        names.sort();
        names.join(" ").replace("Text(\"", "").replace("\")", "")
    };
    let mut plain = open(&definition, &context, request.0, request.1);
    let expected = "0:again 0:c3 1:华东1 3:a\\\"b2 5:华东1";
    assert_eq!(names(found(plain.as_mut(), &definition, request, &keys)), expected);

    let cached = with(with(definition.clone(), "lookup.cache", "PARTIAL"), "lookup.partial-cache.max-rows", "100");
    let cached = with(cached, "lookup.partial-cache.expire-after-write", "10 s");
    let mut cache = open(&cached, &context, request.0, request.1);
    assert_eq!(names(found(cache.as_mut(), &definition, request, &keys)), expected);
    db.sql("DELETE FROM report WHERE device = 1; INSERT INTO report VALUES ('c', 99, 'new')");
    assert_eq!(names(found(plain.as_mut(), &definition, request, &keys)), "0:again 0:c3 3:a\\\"b2 4:new");
    assert_eq!(names(found(cache.as_mut(), &definition, request, &keys)), expected, "as remembered, the missing too");
    clock.advance(Duration::from_secs(11));
    assert_eq!(names(found(cache.as_mut(), &definition, request, &keys)), "0:again 0:c3 3:a\\\"b2 4:new");

    // A lost connection is made anew; where nobody answers, that is told after the retries.
    db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'jdbc_lookup' AND application_name = 'gridhouse'");
    assert_eq!(names(found(plain.as_mut(), &definition, request, &keys)), "0:again 0:c3 3:a\\\"b2 4:new");
    let gone = with(with(definition, "url", "jdbc:postgresql://127.0.0.1:1/x"), "lookup.max-retries", "0");
    let error = open(&gone, &context, request.0, request.1);
    let key: ArrayRef = Value::array_of(&[&text("c")], &TypeKind::STRING);
    let number: ArrayRef = Value::array_of(&[&Value::Integer(1)], &TypeKind::BigInt);
    let error = { error }.lookup(&[key, number], 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn a_table_that_somebody_locks_is_told_and_not_waited_for_for_ever() {
    let db = Db::new("jdbc_lookup_locked");
    db.sql("CREATE TABLE report (id int, v int); INSERT INTO report VALUES (1, 2)");
    let definition = report(&db, &[("id", TypeKind::Int), ("v", TypeKind::Int)], &[]);
    let mut lookup = open(&with(definition.clone(), "lookup.max-retries", "0"), &context(), &[0], &[1]);
    let key = || vec![Value::array_of(&[&Value::Integer(1)], &TypeKind::Int)];
    assert_eq!(lookup.lookup(&key(), 1).unwrap().keys.len(), 1);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            db.sql("BEGIN; LOCK TABLE report IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(30); COMMIT");
        });
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                    AND relation = 'report'::regclass";
        while db.sql(held).trim() != "1" {
            std::thread::yield_now();
        }
        let error = lookup.lookup(&key(), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("has not answered within"), "{error}");
        db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()");
        // The session that held the lock was ended; what it says of that is no matter here.
        let _ = holder.join();
    });
    assert_eq!(lookup.lookup(&key(), 1).unwrap().keys.len(), 1, "it answers again");
}

#[test]
fn many_keys_are_found_at_once() {
    let db = Db::new("jdbc_lookup_many");
    db.sql(
        "CREATE TABLE report AS SELECT n AS id, n * 2 AS v FROM generate_series(0, 49999) n; \
            CREATE INDEX ON report (id)",
    );
    let definition = report(&db, &[("id", TypeKind::Int), ("v", TypeKind::Int)], &[]);
    let request: (&[usize], &[usize]) = (&[0], &[1]);
    let keys: Vec<Vec<Value>> = (0..20_000).map(|n| vec![Value::Integer(n * 3)]).collect();
    let mut lookup = open(&definition, &context(), request.0, request.1);
    let found = found(lookup.as_mut(), &definition, request, &keys);
    assert_eq!(found.len(), 16_667);
    assert!(found.iter().all(|(n, row)| row[0] == Value::Integer(i64::from(*n) * 6)));
}

#[test]
fn a_job_reads_the_contents_once() {
    let db = Db::new("jdbc_source");
    db.sql("CREATE TABLE report AS SELECT n AS id FROM generate_series(1, 40000) n");
    let definition = report(&db, &[("id", TypeKind::Int)], &[]);
    let connector = JdbcReader::new(&context());
    let described = SourceConnector::describe(&connector, &definition).unwrap();
    assert!(described.bounded && !described.shared && described.stream_key.ends_with("/jdbc_source/public.report"));
    let run = |snapshot: Option<Vec<u8>>| {
        let (sender, events) = sync_channel(2);
        let table = SourceTable { id: 4, definition: Arc::new(definition.clone()), snapshot };
        let place = StreamPlace { key: &described.stream_key, definition: &definition, store: 7 };
        let _stream = connector.start(SourceId(1), place, vec![table], None, sender).unwrap();
        let (mut rows, mut done) = (0, None);
        loop {
            match events.recv_timeout(Duration::from_secs(20)).unwrap().1 {
                SourceEvent::SnapshotRows { table: 4, batch } => rows += batch.len(),
                SourceEvent::SnapshotDone { table: 4, position } => done = Some(position),
                SourceEvent::Connected => {}
                SourceEvent::Finished => return (rows, done),
                other => panic!("{other:?}"),
            }
        }
    };
    let (rows, done) = run(None);
    assert_eq!(rows, 40_000);
    assert_eq!(run(Some(done.expect("the contents are complete"))), (0, None), "after that a restart reads nothing");
}
