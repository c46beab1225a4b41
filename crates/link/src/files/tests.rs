//! Files written and read, whole and after crashes; bad rows; hostile bytes.

mod book;
mod crashes;
mod faults;
mod owners;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::clock::SystemClock;
use gridhouse_base::fs::{DiskFileSystem, FileSystem};
use gridhouse_base::random::Random;
use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{Column, CommitId, Error, ErrorKind, Field, Schema, SourceId, TypeKind, Value};
use gridhouse_flow::connector::{
    ScanConnector, ScanRequest, Sink, SinkConnector, SinkWriter, SourceConnector, SourceEvent, SourcePosition,
    SourceStream, SourceTable, StreamPlace,
};

use super::{FilesReader, FilesWriter};
use crate::{HostMap, LinkContext, Owner};

fn context(fs: impl FileSystem + 'static) -> LinkContext {
    LinkContext {
        hosts: HostMap::default(),
        clock: Arc::new(SystemClock::new()),
        fs: Arc::new(fs),
        seed: 1,
        print: Arc::new(Mutex::new(Vec::new())),
        owner: Owner { host: "here".into(), process: 1, data_dir: "/data".into() },
    }
}

fn reader() -> FilesReader {
    FilesReader::new(&context(DiskFileSystem))
}

fn table(path: &Path, columns: &[(&str, TypeKind)], options: &[(&str, &str)]) -> TableDef {
    let mut all = vec![("connector", "filesystem"), ("path", path.to_str().unwrap())];
    all.extend(options);
    TableDef {
        path: ObjectPath::new("c", "d", "t"),
        column_kinds: vec![ColumnKind::Physical; columns.len()],
        schema: Schema::new(columns.iter().map(|(name, kind)| Column::new(*name, kind.clone().nullable())).collect()),
        primary_key: vec![],
        partitioned_by: vec![],
        watermark: None,
        options: all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        comment: None,
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn scan(definition: &TableDef) -> Result<Vec<Vec<Value>>, Error> {
    let request = ScanRequest { columns: (0..definition.schema.len()).collect(), ..ScanRequest::default() };
    let mut rows = Vec::new();
    for batch in reader().scan(definition, &request)? {
        let batch = batch?;
        for row in 0..batch.len() {
            let columns = batch.columns().iter().zip(&definition.schema.columns);
            rows.push(columns.map(|(array, column)| Value::from_array(array, row, &column.sql_type.kind)).collect());
        }
    }
    Ok(rows)
}

/// A file with this content, read.
fn read(content: &[u8], columns: &[(&str, TypeKind)], options: &[(&str, &str)]) -> Result<Vec<Vec<Value>>, Error> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rows"), content).unwrap();
    scan(&table(directory.path(), columns, options))
}

fn batch(definition: &TableDef, rows: &[Vec<Value>]) -> KindBatch {
    let column = |i: usize| {
        Value::array_of(
            &rows.iter().map(|row| &row[i]).collect::<Vec<_>>(),
            &definition.schema.columns[i].sql_type.kind,
        )
    };
    KindBatch::new((0..definition.schema.len()).map(column).collect(), vec![RowKind::Insert; rows.len()])
}

fn open(definition: &TableDef) -> Box<dyn Sink> {
    open_on(DiskFileSystem, definition)
}

fn open_on(fs: impl FileSystem + 'static, definition: &TableDef) -> Box<dyn Sink> {
    let writer = SinkWriter { store: 7, sink: "ads".into(), history: 1, written: false };
    FilesWriter::new(&context(fs)).open(Arc::new(definition.clone()), writer).unwrap()
}

/// The book of the only sink of a table, beside which its lock lies.
fn book_in(directory: &Path) -> PathBuf {
    let mut books = std::fs::read_dir(directory.join("_gridhouse")).unwrap().flatten().map(|entry| entry.path());
    books.find(|path| path.extension().is_none()).unwrap()
}

/// Every type that a format has, with values at its edges.
fn types(nested: bool) -> Vec<(&'static str, TypeKind)> {
    let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
    let row = TypeKind::Row(vec![
        Field { name: "a".into(), sql_type: TypeKind::Int.nullable() },
        Field { name: "b".into(), sql_type: TypeKind::Date.nullable() },
    ]);
    let mut types = vec![
        ("b", TypeKind::Boolean),
        ("i1", TypeKind::TinyInt),
        ("i4", TypeKind::Int),
        ("i8", TypeKind::BigInt),
        ("f4", TypeKind::Float),
        ("f8", TypeKind::Double),
        ("n", TypeKind::Decimal { precision: 38, scale: 10 }),
        ("t", TypeKind::STRING),
        ("y", TypeKind::BYTES),
        ("d", TypeKind::Date),
        ("tm", TypeKind::Time(0)),
        ("s3", TypeKind::Timestamp(3)),
        ("s9", TypeKind::Timestamp(9)),
        ("l6", TypeKind::TimestampLtz(6)),
        ("ym", TypeKind::IntervalYearMonth),
        ("ds", TypeKind::IntervalDayTime),
        ("a", array(TypeKind::Int)),
        ("r", row.clone()),
    ];
    if nested {
        types.push(("m", TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(array(row).nullable()))));
    }
    types
}

fn drawn(kind: &TypeKind, random: &mut Random) -> Value {
    let texts = [
        "",
        "a",
        "a,b",
        "say \"x\"",
        "line\nend",
        "two\r\nlines",
        "线路",
        "\\",
        "#no",
        " blank ",
        "a;b",
        "null",
        "\u{1}\t\r",
    ];
    match kind {
        _ if random.chance(0.1) => Value::Null,
        TypeKind::Boolean => Value::Boolean(random.chance(0.5)),
        TypeKind::TinyInt => Value::Integer(*random.pick(&[-128, 0, 127])),
        TypeKind::Int | TypeKind::IntervalYearMonth => Value::Integer(*random.pick(&[i32::MIN.into(), 0, 5])),
        TypeKind::BigInt | TypeKind::IntervalDayTime => Value::Integer(*random.pick(&[i64::MIN, 7, i64::MAX])),
        TypeKind::Float => Value::Float(*random.pick(&[0.1, -1e10, f32::INFINITY, 3.0])),
        TypeKind::Double => Value::Double(*random.pick(&[0.1, 1e-9, f64::NEG_INFINITY, 1e300])),
        TypeKind::Decimal { .. } => Value::Decimal(*random.pick(&[0, -1, 10_i128.pow(38) - 1, 10_i128.pow(20), 12])),
        TypeKind::Varchar(_) => text(random.pick::<&str>(&texts)),
        TypeKind::Varbinary(_) => Value::Bytes(random.pick(&[&b""[..], b"\0\xff", b"abc"])[..].into()),
        TypeKind::Date => Value::Integer(random.between(-719_162, 2_932_896)),
        TypeKind::Time(_) => Value::Integer(random.between(0, 86_399) * 1000),
        TypeKind::Timestamp(3) => Value::Integer(random.between(-62_135_596_800_000, 253_402_300_799_999)),
        TypeKind::Timestamp(_) => Value::Integer(random.between(0, 4_000_000_000_000_000_000)),
        TypeKind::TimestampLtz(_) => Value::Integer(random.between(-1_000_000_000, 1_000_000_000)),
        TypeKind::Array(element) => {
            Value::Array((0..random.below(3) + 1).map(|_| drawn(&element.kind, random)).collect())
        }
        TypeKind::Map(_, value) => {
            let keys = &texts[..random.below(4) as usize];
            Value::Map(keys.iter().map(|key| (text(key), drawn(&value.kind, random))).collect())
        }
        TypeKind::Row(fields) => Value::Row(fields.iter().map(|field| drawn(&field.sql_type.kind, random)).collect()),
        other => panic!("{other} is not drawn"),
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut random = Random::new(21);
    let csv: &[(&str, &str)] = &[("format", "csv"), ("csv.null-literal", "N/A")];
    let cases: [(&[(&str, &str)], bool); 6] = [
        (&[("format", "json")], true),
        (
            &[
                ("format", "json"),
                ("json.timestamp-format.standard", "ISO-8601"),
                ("json.encode.ignore-null-fields", "true"),
            ],
            true,
        ),
        (&[("format", "json"), ("json.encode.decimal-as-plain-number", "true")], true),
        (csv, false),
        (
            &[
                ("format", "csv"),
                ("csv.null-literal", "N/A"),
                ("csv.field-delimiter", "\\t"),
                ("csv.escape-character", "\\"),
            ],
            false,
        ),
        (
            &[
                ("format", "csv"),
                ("csv.null-literal", "N/A"),
                ("csv.quote-character", "'"),
                ("csv.array-element-delimiter", "|"),
                ("csv.write-bigdecimal-in-scientific-notation", "false"),
            ],
            false,
        ),
    ];
    for (options, nested) in cases {
        let directory = tempfile::tempdir().unwrap();
        let definition = table(directory.path(), &types(nested), options);
        let row =
            |random: &mut Random| definition.schema.columns.iter().map(|c| drawn(&c.sql_type.kind, random)).collect();
        let mut rows: Vec<Vec<Value>> = (0..300).map(|_| row(&mut random)).collect();
        // In CSV an array of one NULL looks like NULL.
        rows.retain(|row| nested || !row.contains(&Value::Array(vec![Value::Null])));
        let mut sink = open(&definition);
        sink.position().unwrap();
        sink.write(CommitId(0), CommitId(1), &[batch(&definition, &rows)]).unwrap();
        let found = scan(&definition).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(found.len(), rows.len(), "{options:?}");
        for (found, row) in found.iter().zip(&rows) {
            assert_eq!(found, row, "{options:?}");
        }
    }
}

#[test]
fn rows_have_flinks_form() {
    let directory = tempfile::tempdir().unwrap();
    let columns = [
        ("id", TypeKind::Int),
        ("n", TypeKind::Decimal { precision: 10, scale: 2 }),
        ("s", TypeKind::Timestamp(3)),
        ("t", TypeKind::STRING),
    ];
    let row = vec![Value::Integer(1), Value::Decimal(10_000), Value::Integer(1_500), text("a \"b\"")];
    let written = |name: &str, options: &[(&str, &str)]| {
        let definition = table(&directory.path().join(name), &columns, options);
        let mut sink = open(&definition);
        sink.position().unwrap();
        sink.write(CommitId(0), CommitId(1), &[batch(&definition, std::slice::from_ref(&row))]).unwrap();
        let file = std::fs::read_dir(directory.path().join(name)).unwrap().flatten();
        let file = file.map(|entry| entry.path()).find(|path| path.is_file()).unwrap();
        std::fs::read_to_string(file).unwrap()
    };
    assert_eq!(
        written("j", &[("format", "json")]),
        "{\"id\":1,\"n\":1E+2,\"s\":\"1970-01-01 00:00:01.5\",\"t\":\"a \\\"b\\\"\"}\n"
    );
    assert_eq!(written("c", &[("format", "csv")]), "1,\"1E+2\",\"1970-01-01 00:00:01.5\",\"a \"\"b\"\"\"\n");
}

#[test]
fn json_is_read_as_flink_reads_it() {
    let columns = [
        ("i", TypeKind::Int),
        ("n", TypeKind::Decimal { precision: 20, scale: 2 }),
        ("t", TypeKind::STRING),
        ("b", TypeKind::Boolean),
    ];
    let rows = read(
        b"\xef\xbb\xbf{\"t\": {\"x\": [1, 2 ], \"y\": \"a b\"}, \"i\": 1.9, \"n\": 123456789012345678.905}\n\n{\"i\":\"7\",\"t\":true,\"b\":\"TRUE\",\"i\":8}\r\n{\"t\":1.50}",
        &columns,
        &[("format", "json")],
    );
    let expected = vec![
        vec![
            Value::Integer(1),
            Value::Decimal(12_345_678_901_234_567_891),
            text("{\"x\":[1,2],\"y\":\"a b\"}"),
            Value::Null,
        ],
        vec![Value::Integer(8), Value::Null, text("true"), Value::Boolean(true)],
        vec![Value::Null, Value::Null, text("1.50"), Value::Null],
    ];
    assert_eq!(rows.unwrap(), expected);
    let strict = read(b"{\"i\":1}", &columns, &[("format", "json"), ("json.fail-on-missing-field", "true")]);
    assert!(strict.unwrap_err().message().contains("line 1, column n: the field is missing"));
}

/// What Flink 1.20.3 gave for these files with `ignore-parse-errors`, shown as its client shows rows. One row differs on
/// purpose: after `{"id":7}` Flink reads over what else stands in the line.
#[test]
fn rows_as_a_real_flink_read_them() {
    let columns = [
        ("id", TypeKind::Int),
        ("i", TypeKind::Int),
        ("b", TypeKind::Boolean),
        ("s", TypeKind::Timestamp(3)),
        ("n", TypeKind::Decimal { precision: 8, scale: 2 }),
        ("x", TypeKind::STRING),
    ];
    let shown = |rows: Vec<Vec<Value>>| {
        let cell = |(value, (_, kind)): (&Value, &(&str, TypeKind))| {
            let mut out = String::new();
            crate::show::value(value, kind, &mut out);
            out
        };
        rows.iter().map(|row| row.iter().zip(&columns).map(cell).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let csv = r#"1,1.7,yes,2026-01-31 10:00:00.1234,12345.678,a\,b
2,,true,2026-01-31T10:00:00,99999999999,"q""x"

3,x,TRUE ,2026-1-3 1:02:03,1e2, lead
4,5
5,6,true,2026-01-31 10:00:00,1,a,extra
6,7,true,2026-01-31 10:00,1,"multi
line"
7, 8 ,t,2026-01-31 10:00:00, 1.5 ,"a"b
8,9,f,2026-01-31 10:00:00.123456789,-1.005,"z" 
"#;
    let options = [("format", "csv"), ("csv.ignore-parse-errors", "true"), ("csv.escape-character", "\\")];
    assert_eq!(
        shown(read(csv.as_bytes(), &columns, &options).unwrap()),
        [
            "1 null false 2026-01-31T10:00:00.123 12345.68 a,b",
            "2 null true null null q\"x",
            "null null null null null null",
            "3 null true null 100.00  lead",
            "4 5 null null null null",
            "6 7 true null 1.00 multi\nline",
            "8 9 false 2026-01-31T10:00:00.123 -1.01 z",
        ]
    );
    let json = r#"{"id":1,"i":1.7,"b":"yes","s":"2026-01-31 10:00:00.1234","n":12345.678,"x":{"a":[1, 2.50],"é":"\u00e9"}}
{"id":2,"i":"1.7","b":1,"s":"2026-01-31T10:00:00","n":"99999999999","x":[1, {"k" : null}]}

garbage
{"id":3,"i":99999999999,"b":"TRUE ","s":"2026-01-31 10:00","n":"abc","x":1.50}
{"id":4,"i":true,"b":true,"n":1e2,"x":true}
{"id":5,"i":" 7 ","n":" 1.5 ","x":"plain","s":"2026-02-30 10:00:00"}
[{"id":6,"i":6}]
{"id":7} trailing
{"id":8,"i":-0.5,"n":0.005,"x":"","i":9}"#;
    assert_eq!(
        shown(read(json.as_bytes(), &columns, &[("format", "json"), ("json.ignore-parse-errors", "true")]).unwrap()),
        [
            "1 1 false 2026-01-31T10:00:00.123 12345.68 {\"a\":[1,2.5],\"é\":\"é\"}",
            "2 null false null null [1,{\"k\":null}]",
            "3 null true null null 1.50",
            "4 null true null 100.00 true",
            "5 7 null 2026-02-28T10:00 1.50 plain",
            "8 9 null null 0.01 ",
        ]
    );
}

#[test]
fn bad_rows_fail_are_left_out_or_kept_apart() {
    let columns = [("id", TypeKind::Int), ("day", TypeKind::Date)];
    let csv = b"1,2026-01-01\n# note\n2,yesterday\n3\n\"4,x\n5,2026-01-05\n6,\"2026-01-06\"x\n7,2026-01-07\n";
    let comments = ("csv.allow-comments", "true");
    let error = read(csv, &columns, &[("format", "csv"), comments]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let message = error.message();
    assert!(
        message.starts_with("file ")
            && message.ends_with(
                "rows, line 3, column day: 'yesterday' is not a value of DATE as '2026-01-31'; the row is: 2,yesterday"
            ),
        "{message}"
    );
    let ids = |rows: Vec<Vec<Value>>| {
        rows.iter().map(|row| if let Value::Integer(n) = row[0] { n } else { -1 }).collect::<Vec<_>>()
    };
    let lenient = read(csv, &columns, &[("format", "csv"), comments, ("csv.ignore-parse-errors", "true")]).unwrap();
    assert_eq!(ids(lenient.clone()), [1, 2, 3, 5, 7], "a value that does not fit is NULL, a row that is none goes");
    assert_eq!((&lenient[1][1], &lenient[2][1]), (&Value::Null, &Value::Null));
    let apart = read(csv, &columns, &[("format", "csv"), comments, ("on-error", "dead-letter")]).unwrap();
    assert_eq!(ids(apart), [1, 5, 7]);
    let json =
        read(b"{\"id\":1}\n{\"id\":\n[1]\n{\"id\":2}", &columns, &[("format", "json"), ("on-error", "dead-letter")]);
    assert_eq!(ids(json.unwrap()), [1, 2]);
    let both = [("format", "csv"), ("on-error", "dead-letter"), ("csv.ignore-parse-errors", "true")];
    assert!(read(b"", &columns, &both).is_err());
    let unknown = read(b"", &columns, &[("format", "csv"), ("csv.field-delimeter", ";")]).unwrap_err();
    assert_eq!(unknown.remedy(), Some("did you mean 'csv.field-delimiter'?"));
}

#[test]
fn partitions_metadata_and_patterns() {
    let directory = tempfile::tempdir().unwrap();
    let columns = [("id", TypeKind::Int), ("region", TypeKind::STRING), ("day", TypeKind::Date)];
    let mut definition = table(directory.path(), &columns, &[("format", "csv")]);
    definition.partitioned_by = vec![1, 2];
    let rows = vec![
        vec![Value::Integer(1), text("华东/1"), Value::Integer(20_000)],
        vec![Value::Integer(2), Value::Null, Value::Integer(20_001)],
        vec![Value::Integer(3), text("华东/1"), Value::Integer(20_000)],
    ];
    let mut sink = open(&definition);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(3), &[batch(&definition, &rows)]).unwrap();
    assert!(directory.path().join("region=华东%2F1/day=2024-10-04").is_dir());
    let sorted = |mut rows: Vec<Vec<Value>>| {
        rows.sort_by_key(|row| format!("{:?}", row[0]));
        rows
    };
    assert_eq!(sorted(scan(&definition).unwrap()), rows);
    definition.schema.columns.push(Column::new("path", TypeKind::STRING.nullable()));
    definition.column_kinds.push(ColumnKind::Metadata { key: "file.path".into(), is_virtual: true });
    definition.schema.columns.push(Column::new("size", TypeKind::BigInt.nullable()));
    definition.column_kinds.push(ColumnKind::Metadata { key: "file.size".into(), is_virtual: true });
    let with_meta = sorted(scan(&definition).unwrap());
    assert!(matches!(&with_meta[0][3], Value::Text(path) if path.contains("/day=2024-10-04/part-")), "{with_meta:?}");
    assert_eq!(with_meta[0][4], Value::Integer(4));
    definition.options.insert("source.path.regex-pattern".into(), ".*__DEFAULT_PARTITION__.*".into());
    assert_eq!(scan(&definition).unwrap().len(), 1);
    definition.column_kinds[4] = ColumnKind::Metadata { key: "file.sise".into(), is_virtual: true };
    assert_eq!(scan(&definition).unwrap_err().remedy(), Some("did you mean METADATA FROM 'file.size'?"));
}

#[test]
fn a_write_happens_once_whatever_crashes() {
    let directory = tempfile::tempdir().unwrap();
    let definition = table(directory.path(), &[("id", TypeKind::Int)], &[("format", "json")]);
    let rows =
        |ids: std::ops::Range<i64>| batch(&definition, &ids.map(|id| vec![Value::Integer(id)]).collect::<Vec<_>>());
    let count = || scan(&definition).unwrap().len();
    let mut sink = open(&definition);
    assert_eq!(sink.position().unwrap(), CommitId(0));
    sink.write(CommitId(0), CommitId(4), &[rows(0..3)]).unwrap();
    // A crash before the book is replaced leaves hidden files, which go.
    let book = book_in(directory.path());
    let before = std::fs::read(&book).unwrap();
    let name = book.file_name().unwrap().to_str().unwrap().to_owned();
    let stray = directory.path().join(format!(".part-{name}-9-0.inprogress"));
    std::fs::write(&stray, "{\"id\":99}\n").unwrap();
    assert_eq!(count(), 3, "hidden files are not read");
    let mut again = open(&definition);
    assert_eq!((again.position().unwrap(), stray.exists()), (CommitId(4), false));
    // A claim that is refused changes nothing.
    let refused = open(&definition).claim(&|standing| {
        assert_eq!((standing.upto, standing.history), (CommitId(4), Some(1)));
        Err(Error::conflict("an older copy"))
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    again.write(CommitId(4), CommitId(5), &[]).expect("nobody has fenced it");
    // The older writer is fenced.
    assert_eq!(sink.write(CommitId(4), CommitId(5), &[rows(3..4)]).unwrap_err().kind(), ErrorKind::Conflict);
    again.write(CommitId(5), CommitId(6), &[rows(3..5)]).unwrap();
    assert_eq!(count(), 5);
    // A crash after the book was replaced and before the files were renamed: the next opening renames them.
    let visible = directory.path().join(format!("part-{name}-6-0"));
    std::fs::rename(&visible, directory.path().join(format!(".part-{name}-6-0.inprogress"))).unwrap();
    let text = std::fs::read_to_string(&book).unwrap();
    let pending = format!("\"pending\":[[\"\",\".part-{name}-6-0.inprogress\",\"part-{name}-6-0\"]]");
    std::fs::write(&book, text.lines().next().unwrap().replace("\"pending\":[]", &pending)).unwrap();
    assert_eq!(count(), 3);
    let mut third = open(&definition);
    assert_eq!((third.position().unwrap(), count()), (CommitId(6), 5));
    assert_ne!(std::fs::read(&book).unwrap(), before);
    // The same stretch again is refused.
    assert_eq!(third.write(CommitId(4), CommitId(6), &[rows(3..5)]).unwrap_err().kind(), ErrorKind::Conflict);
    // Large writes are split.
    let small = table(
        directory.path(),
        &[("id", TypeKind::Int)],
        &[("format", "json"), ("sink.rolling-policy.file-size", "1kb")],
    );
    let mut split = open(&small);
    split.position().unwrap();
    split.write(CommitId(6), CommitId(7), &[rows(5..1005)]).unwrap();
    assert_eq!(count(), 1005);
    assert!(std::fs::read_dir(directory.path()).unwrap().count() > 8);
}

/// Starts a source at `position`.
fn start(
    definition: &TableDef,
    position: Option<SourcePosition>,
) -> (Box<dyn SourceStream>, Receiver<(SourceId, SourceEvent)>) {
    start_holding(definition, position.clone(), position)
}

/// Starts a source at `position` whose contents are held as of `snapshot`.
fn start_holding(
    definition: &TableDef,
    snapshot: Option<SourcePosition>,
    position: Option<SourcePosition>,
) -> (Box<dyn SourceStream>, Receiver<(SourceId, SourceEvent)>) {
    let (sender, events) = sync_channel(1);
    let table = SourceTable { id: 2, definition: Arc::new(definition.clone()), snapshot };
    let place = StreamPlace { key: "", definition, store: 7 };
    let stream = reader().start(SourceId(1), place, vec![table], position, sender).unwrap();
    (stream, events)
}

/// What a source delivers up to its end, or up to `commits` commits: ids, rejected rows, and the last position.
fn take(
    events: &Receiver<(SourceId, SourceEvent)>,
    commits: usize,
) -> (Vec<i64>, Vec<String>, Option<SourcePosition>, bool) {
    let (mut ids, mut rejected, mut position, mut seen) = (Vec::new(), Vec::new(), None, 0);
    let mut open = Vec::new();
    while seen < commits {
        match events.recv_timeout(Duration::from_secs(20)).unwrap().1 {
            SourceEvent::Rows { batch, .. } => {
                open.extend((0..batch.len()).map(|row| {
                    match Value::from_array(&batch.columns[0], row, &TypeKind::Int) {
                        Value::Integer(id) => id,
                        other => panic!("{other:?}"),
                    }
                }));
            }
            SourceEvent::Rejected { row, .. } => rejected.push(row),
            SourceEvent::Commit { position: at, .. } => {
                ids.append(&mut open);
                (position, seen) = (Some(at), seen + 1);
            }
            SourceEvent::Idle { position: at } => position = Some(at),
            SourceEvent::Finished => return (ids, rejected, position, true),
            SourceEvent::SnapshotDone { .. } | SourceEvent::Connected => {}
            other => panic!("{other:?}"),
        }
    }
    (ids, rejected, position, false)
}

#[test]
fn a_source_goes_on_with_the_next_row() {
    let directory = tempfile::tempdir().unwrap();
    let lines = |ids: std::ops::Range<i64>| ids.map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>();
    std::fs::write(directory.path().join("b"), lines(40_000..50_000)).unwrap();
    std::fs::write(directory.path().join("a"), lines(0..40_000) + "bad\n").unwrap();
    std::fs::write(directory.path().join(".hidden"), "nothing").unwrap();
    let definition =
        table(directory.path(), &[("id", TypeKind::Int)], &[("format", "json"), ("on-error", "dead-letter")]);
    assert!(reader().describe(&definition).unwrap().bounded);
    let (mut all, mut position, mut rejected) = (Vec::new(), None, Vec::new());
    // Killed after each commit, started again where it was.
    loop {
        let (_stream, events) = start(&definition, position.clone());
        let (ids, bad, at, finished) = take(&events, 1);
        all.extend(ids);
        rejected.extend(bad);
        position = at.or(position);
        if finished {
            break;
        }
    }
    assert_eq!(all, (0..50_000).collect::<Vec<_>>());
    assert_eq!(rejected, ["bad"]);
}

#[test]
fn a_watched_directory_gives_each_file_once() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, id: i64| {
        let hidden = directory.path().join(format!(".{name}"));
        std::fs::write(&hidden, format!("{id}\n")).unwrap();
        std::fs::rename(hidden, directory.path().join(name)).unwrap();
    };
    let options = [("format", "csv"), ("source.monitor-interval", "5 ms")];
    let definition = table(directory.path(), &[("id", TypeKind::Int)], &options);
    assert!(!reader().describe(&definition).unwrap().bounded);
    put("m", 1);
    let (stream, events) = start(&definition, None);
    let (ids, _, position, _) = take(&events, 1);
    assert_eq!(ids, [1]);
    put("a", 2);
    let (ids, _, _, _) = take(&events, 1);
    assert_eq!(ids, [2], "a file that comes later, before the others by name");
    drop((stream, events));
    // From the first position: what came after it, and only that.
    put("z", 3);
    let (_stream, events) = start(&definition, position.clone());
    let (ids, ..) = take(&events, 2);
    assert_eq!(ids, [2, 3]);
    // Another query in the place of one that had come so far holds nothing yet.
    let (_stream, events) = start_holding(&definition, None, position);
    let (ids, ..) = take(&events, 3);
    assert_eq!(ids, [2, 1, 3]);
}

#[test]
fn a_row_that_cannot_be_read_stops_the_source() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a"), "1\nx\n").unwrap();
    let definition = table(directory.path(), &[("id", TypeKind::Int)], &[("format", "csv")]);
    let (_stream, events) = start(&definition, None);
    let failed =
        std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(20)).ok()).find_map(|(_, event)| match event {
            SourceEvent::Failed { error } => Some(error),
            SourceEvent::Commit { .. } => panic!("rows before the bad one are not committed without it"),
            _ => None,
        });
    assert!(failed.unwrap().message().contains("line 2, column id: 'x' is not a value of INT"));
}

#[test]
fn hostile_bytes_never_panic() {
    let mut random = Random::new(77);
    let pieces: [&[u8]; 24] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b",",
        b":",
        b"\n",
        b"\r\n",
        b"\"i4\":",
        b"\"m\":",
        b"\"r\":{\"a\":",
        b"null",
        b"1e999",
        b"-9223372036854775808",
        b"\xff\xfe",
        b"\xe7\xba\xbf",
        b"\"2026-13-45 99:99:99\"",
        b"\\u12",
        b"0.1",
        b"true",
        b";",
        b"#",
    ];
    for round in 0..4_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(40) {
            if random.chance(0.1) {
                bytes.push(random.bits() as u8)
            } else {
                bytes.extend_from_slice(random.pick::<&[u8]>(&pieces))
            }
        }
        let errors = random.pick::<&[(&str, &str)]>(&[&[("on-error", "dead-letter")], &[]]);
        let (mut options, nested): (Vec<_>, bool) = match round % 3 {
            0 => (vec![("format", "json")], true),
            1 => (vec![("format", "csv"), ("csv.escape-character", "\\"), ("csv.allow-comments", "true")], false),
            _ => {
                (vec![("format", "csv"), ("csv.disable-quote-character", "true"), ("csv.field-delimiter", ";")], false)
            }
        };
        options.extend(errors.iter());
        if random.chance(0.3) && errors.is_empty() {
            options.push((if nested { "json.ignore-parse-errors" } else { "csv.ignore-parse-errors" }, "true"));
            read(&bytes, &types(nested), &options).expect("nothing is an error");
        } else {
            let _ = read(&bytes, &types(nested), &options);
        }
    }
    // Depth beyond all measure, in a value that is not wanted and in one that is.
    let deep = "[".repeat(200_000);
    let columns = [("t", TypeKind::STRING), ("a", TypeKind::Array(Box::new(TypeKind::Int.nullable())))];
    for name in ["x", "t", "a"] {
        assert!(read(format!("{{\"{name}\":{deep}").as_bytes(), &columns, &[("format", "json")]).is_err());
    }
}

#[test]
fn quotes_that_each_line_leaves_open_are_looked_through_once() {
    // Each line ends within quotes, whether it begins within some or not: read to the end for each line, this would take hours.
    let open = "x\",\"\n".repeat(300_000);
    let columns = [("a", TypeKind::STRING), ("b", TypeKind::STRING)];
    let options = [("format", "csv"), ("csv.ignore-parse-errors", "true")];
    assert_eq!(read((open.clone() + "\"y\n1,2\n").as_bytes(), &columns, &options).unwrap().len(), 1);
    // Where the quote is closed at last all of it is one row, though not one of this table.
    let rows = read((open.clone() + "y\"\n1,2\n").as_bytes(), &columns, &options).unwrap();
    assert_eq!(rows, [[text("1"), text("2")]]);
    let told = read((open + "y\"\n").as_bytes(), &columns, &options[..1]).unwrap_err();
    assert!(told.message().contains("300001 fields where 2 are declared"), "{}", &told.message()[..200]);
}

#[test]
fn many_keys_and_many_fields_cost_what_they_weigh() {
    let map = TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(TypeKind::Int.nullable()));
    let entries: Vec<String> = (0..200_000).map(|i| format!("\"k{}\":{i}", i % 150_000)).collect();
    let row = format!("{{\"m\":{{{}}}}}\n", entries.join(","));
    let rows = read(row.as_bytes(), &[("m", map)], &[("format", "json")]).unwrap();
    let Value::Map(entries) = &rows[0][0] else { panic!("a map is read") };
    assert_eq!(entries.len(), 150_000);
    assert_eq!(entries[7], (text("k7"), Value::Integer(150_007)), "of several with one key the last counts");
    let told = read(",".repeat(3_000_000).as_bytes(), &[("a", TypeKind::STRING)], &[("format", "csv")]).unwrap_err();
    assert!(told.message().contains("3000001 fields where 1 are declared"), "{}", &told.message()[..200]);
}
