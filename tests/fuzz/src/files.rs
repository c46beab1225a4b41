//! JSON and CSV files, through the reader of `filesystem`.
//!
//! A file is either read, row by row, or refused with its name and the line. Where it is read strictly, it is read the same
//! leniently; and leniently every file is read to its end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow_array::Array;
use gridhouse_base::clock::SystemClock;
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::random::Random;
use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{ChangeBatch, Column, ErrorKind, Field, Result, Schema, TypeKind};
use gridhouse_flow::connector::{ScanConnector, ScanRequest};
use gridhouse_link::{FilesReader, HostMap, LinkContext, Owner};

use crate::mutate::{NUMBERS, mutate, one_of};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "files",
    cases: 40_000,
    few: 2_000,
    batch: 1_000,
    // `{}` or an empty line is a row of as many NULLs as there are columns, and a row of three bytes within an array has two
    // values. A value takes 40 bytes, and a list of them is made twice as long when it is full.
    memory: Memory { bytes: 4 << 20, per_byte: 1_200 },
    begin: || Box::new(Files::new()),
};

const JSON_WORDS: [&[u8]; 24] = [
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
    b"{}\n",
    b"null",
    b"true",
    b"\"m\":{",
    b"\"r\":{\"a\":",
    b"\"n\":\"t\"",
    b"\\u12",
    b"\\ud800",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "线".as_bytes(),
    b"[[",
    b"\"a\":[",
    b"-",
];

const CSV_WORDS: [&[u8]; 18] = [
    b",",
    b";",
    b"\"",
    b"\"\"",
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b"\r",
    b"#",
    b" ",
    b"\t",
    b"x\",\"\n",
    b"\"\n",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"NULL",
];

struct Files {
    reader: FilesReader,
    directory: tempfile::TempDir,
    definition: TableDef,
}

/// What the connectors of files take from the program.
pub(crate) fn context() -> LinkContext {
    LinkContext {
        hosts: HostMap::default(),
        clock: Arc::new(SystemClock::new()),
        fs: Arc::new(DiskFileSystem),
        seed: 1,
        print: Arc::new(Mutex::new(Vec::new())),
        owner: Owner { host: "here".into(), process: 1, data_dir: "/data".into() },
    }
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let definition = definition(directory.path().join("rows"), true, &[]);
        Self { reader: FilesReader::new(&context()), directory, definition }
    }

    fn read(&self, ignore: bool) -> Result<Vec<ChangeBatch>> {
        let mut definition = self.definition.clone();
        let format = definition.options["format"].clone();
        definition.options.insert(format!("{format}.ignore-parse-errors"), ignore.to_string());
        let request = ScanRequest { columns: (0..definition.schema.len()).collect(), ..ScanRequest::default() };
        self.reader.scan(&definition, &request)?.collect()
    }
}

impl Decoder for Files {
    fn draw(&mut self, random: &mut Random) -> Input {
        let is_json = random.chance(0.5);
        let mut options: Vec<(&str, &str)> = Vec::new();
        if is_json {
            let some = [
                ("json.fail-on-missing-field", "true"),
                ("json.timestamp-format.standard", "ISO-8601"),
                ("json.map-null-key.mode", "DROP"),
            ];
            options.extend(some.iter().filter(|_| random.chance(0.2)));
        } else {
            let some = [
                ("csv.escape-character", "\\"),
                ("csv.allow-comments", "true"),
                ("csv.null-literal", "NULL"),
                ("csv.field-delimiter", ";"),
                ("csv.array-element-delimiter", "|"),
                ("csv.quote-character", "'"),
            ];
            options.extend(some.iter().filter(|_| random.chance(0.3)));
        }
        self.definition = definition(self.directory.path().join("rows"), is_json, &options);
        let said = |key: &str, else_is: char| {
            let value = options.iter().find(|(known, _)| *known == key).and_then(|(_, value)| value.chars().next());
            value.unwrap_or(else_is)
        };
        let (delimiter, quote) = (said("csv.field-delimiter", ','), said("csv.quote-character", '"'));
        let between = said("csv.array-element-delimiter", ';');
        let rows = |random: &mut Random| -> Vec<u8> {
            let mut rows = String::new();
            for _ in 0..=random.below(5) {
                rows.push_str(&if is_json { json_row(random) } else { csv_row(delimiter, quote, between, random) });
            }
            rows.into_bytes()
        };
        let (mut bytes, other) = (rows(random), rows(random));
        if random.chance(0.85) {
            mutate(&mut bytes, &other, if is_json { &JSON_WORDS } else { &CSV_WORDS }, random);
        }
        vec![bytes]
    }

    fn decode(&mut self, input: &Input) -> bool {
        std::fs::write(self.directory.path().join("rows"), &input[0]).expect("the file can be written");
        let lenient = self.read(true).expect("a file that is read leniently is read to its end");
        for batch in &lenient {
            for (column, declared) in batch.columns().iter().zip(&self.definition.schema.columns) {
                assert_eq!((column.len(), column.data_type()), (batch.len(), &declared.sql_type.kind.arrow()));
                column.to_data().validate_full().expect("a column holds what it says");
            }
        }
        match self.read(false) {
            Ok(strict) => {
                let same = strict.len() == lenient.len()
                    && strict.iter().zip(&lenient).all(|(a, b)| a.len() == b.len() && equal(a, b));
                assert!(same, "what is read strictly is read leniently too");
                true
            }
            Err(error) => {
                assert!(error.kind() == ErrorKind::Invalid && error.remedy().is_some(), "{error}");
                assert!(error.message().contains("rows, line "), "{error}");
                assert!(error.message().len() < 4_000, "a message is short whatever the row is");
                false
            }
        }
    }
}

fn equal(a: &ChangeBatch, b: &ChangeBatch) -> bool {
    // NaN is not equal to itself; its text is.
    a.columns() == b.columns() || format!("{:?}", a.columns()) == format!("{:?}", b.columns())
}

fn definition(path: PathBuf, is_json: bool, options: &[(&str, &str)]) -> TableDef {
    let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
    let field = |name: &str, kind: TypeKind| Field { name: name.into(), sql_type: kind.nullable() };
    let row = TypeKind::Row(vec![field("a", TypeKind::Int), field("b", TypeKind::Date)]);
    let mut columns = vec![
        ("b", TypeKind::Boolean),
        ("i", TypeKind::Int),
        ("l", TypeKind::BigInt),
        ("x", TypeKind::Double),
        ("n", TypeKind::Decimal { precision: 20, scale: 4 }),
        ("t", TypeKind::STRING),
        ("y", TypeKind::BYTES),
        ("d", TypeKind::Date),
        ("c", TypeKind::Time(3)),
        ("s", TypeKind::Timestamp(9)),
        ("z", TypeKind::TimestampLtz(3)),
        ("m1", TypeKind::IntervalYearMonth),
        ("a", array(TypeKind::Int)),
        ("r", row.clone()),
    ];
    if is_json {
        columns.push(("m", TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(array(row).nullable()))));
    }
    let mut all = vec![("connector", "filesystem"), ("format", if is_json { "json" } else { "csv" })];
    all.extend_from_slice(options);
    let mut options: std::collections::BTreeMap<String, String> =
        all.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    options.insert("path".to_owned(), path.to_string_lossy().into_owned());
    TableDef {
        path: ObjectPath::new("c", "d", "rows"),
        column_kinds: vec![ColumnKind::Physical; columns.len()],
        schema: Schema::new(columns.into_iter().map(|(name, kind)| Column::new(name, kind.nullable())).collect()),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        watermark: None,
        options,
        comment: None,
    }
}

fn whole(random: &mut Random) -> String {
    if random.chance(0.01) {
        return one_of(&NUMBERS, random).to_owned();
    }
    ((random.bits() >> (40 + random.below(24))) as i64).to_string()
}

fn text(random: &mut Random) -> &'static str {
    one_of(&["", "plain", "中文 🙂", "with, and; and |", "two\\nlines", "quoted ' and", "NULL", "true"], random)
}

fn json_row(random: &mut Random) -> String {
    let date = format!("\"2026-{:02}-{:02}\"", 1 + random.below(12), 1 + random.below(28));
    let fields = [
        format!("\"b\":{}", one_of(&["true", "false", "null", "\"true\"", "1"], random)),
        format!("\"i\":{}", whole(random)),
        format!("\"l\":{}", whole(random)),
        format!("\"x\":{}.{}", whole(random), random.below(1_000)),
        format!("\"n\":{}.5", whole(random)),
        format!(
            "\"t\":{}",
            one_of(&["\"plain\"", "\"\\u4e2d\\n\"", "{\"k\":[1, 2.50e3 ]}", "[]", "7", "null"], random)
        ),
        format!("\"y\":\"{}\"", one_of(&["", "AAEC", "/+8=", "AA"], random)),
        format!("\"d\":{date}"),
        "\"c\":\"23:59:59\"".to_owned(),
        format!("\"s\":\"2026-01-31{}12:00:00.123456789\"", one_of(&[" ", "T"], random)),
        format!("\"z\":\"2026-01-31{}12:00:00.123Z\"", one_of(&[" ", "T"], random)),
        format!("\"m1\":{}", random.below(100)),
        format!("\"a\":[{},null,{}]", whole(random), whole(random)),
        format!("\"r\":{{\"a\":{},\"b\":{date}}}", whole(random)),
        format!("\"m\":{{\"k\":[{{\"a\":1}},null],\"{}\":null}}", text(random)),
    ];
    let kept: Vec<&str> = fields.iter().map(String::as_str).filter(|_| random.chance(0.85)).collect();
    format!("{{{}}}{}", kept.join(","), one_of(&["\n", "\r\n"], random))
}

/// A row of CSV, with the characters that the options say.
fn csv_row(delimiter: char, quote: char, between: char, random: &mut Random) -> String {
    let fields = [
        one_of(&["true", "false", ""], random).to_owned(),
        whole(random),
        whole(random),
        format!("{}.5", whole(random)),
        format!("{}.25", whole(random)),
        format!("{quote}{}{quote}", text(random)),
        "AAEC".to_owned(),
        format!("2026-{}-{}", 1 + random.below(12), 1 + random.below(28)),
        "23:59:59.999".to_owned(),
        "2026-01-31 12:00:00.123456789".to_owned(),
        "2026-01-31 12:00:00.123Z".to_owned(),
        random.below(100).to_string(),
        format!("{}{}{}", whole(random), between, whole(random)),
        format!("{}{}2026-01-31", whole(random), between),
    ];
    fields.join(&delimiter.to_string()) + one_of(&["\n", "\r\n"], random)
}
