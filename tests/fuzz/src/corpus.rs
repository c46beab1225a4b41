//! Valid inputs: what a real PostgreSQL sent (`corpus/record.sql`), and the SQL of this repository.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{Column, Schema, TypeKind};
use gridhouse_slt::format;

/// The numbers of the two tables in the recorded stream.
pub(crate) const READINGS_OID: u32 = 16_384;
pub(crate) const NOTES_OID: u32 = 16_391;

/// What PostgreSQL sent.
pub(crate) struct Recorded {
    /// The messages of the stream, a list for each transaction.
    pub transactions: Vec<Vec<Vec<u8>>>,
    /// Rows as COPY gives them, with their newlines.
    pub rows: Vec<Vec<u8>>,
}

/// The recorded stream and rows.
pub(crate) fn recorded() -> &'static Recorded {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let mut recorded = Recorded { transactions: Vec::new(), rows: Vec::new() };
        for line in include_str!("../corpus/postgres.txt").lines() {
            match line.strip_prefix("stream ") {
                Some(hex) => {
                    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
                    let message: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
                    if message[0] == b'B' {
                        recorded.transactions.push(Vec::new());
                    }
                    recorded
                        .transactions
                        .last_mut()
                        .expect("a transaction begins with its first message")
                        .push(message);
                }
                None if line == "rows" => {}
                None => recorded.rows.push(format!("{line}\n").into_bytes()),
            }
        }
        recorded
    })
}

/// The recorded tables as they are declared: with every type that is read, and one that keeps every row.
pub(crate) fn tables(has_key: bool, dead_letters: bool) -> [Arc<TableDef>; 2] {
    let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
    let columns = [
        ("id", TypeKind::BigInt),
        ("is_live", TypeKind::Boolean),
        ("small", TypeKind::SmallInt),
        ("amount", TypeKind::Decimal { precision: 38, scale: 10 }),
        ("load_mw", TypeKind::Double),
        ("share", TypeKind::Float),
        ("name", TypeKind::STRING),
        ("code", TypeKind::Varchar(8)),
        ("raw", TypeKind::BYTES),
        ("day", TypeKind::Date),
        ("clock", TypeKind::Time(3)),
        ("at_time", TypeKind::Timestamp(6)),
        ("seen", TypeKind::TimestampLtz(3)),
        ("age", TypeKind::IntervalYearMonth),
        ("lapse", TypeKind::IntervalDayTime),
        ("tags", array(TypeKind::STRING)),
        ("grid", array(if has_key { array(TypeKind::Int) } else { TypeKind::Int })),
        ("extra", TypeKind::STRING),
        ("big", TypeKind::STRING),
    ];
    let key = if has_key { vec![0] } else { Vec::new() };
    let readings = table("readings", &columns, key, dead_letters);
    [Arc::new(readings), Arc::new(table("notes", &[("note", TypeKind::STRING)], Vec::new(), dead_letters))]
}

fn table(name: &str, columns: &[(&str, TypeKind)], primary_key: Vec<usize>, dead_letters: bool) -> TableDef {
    let options = [
        ("hostname", "h"),
        ("username", "u"),
        ("database-name", "d"),
        ("schema-name", "public"),
        ("table-name", name),
        ("on-error", if dead_letters { "dead-letter" } else { "fail" }),
    ];
    TableDef {
        path: ObjectPath::new("c", "d", name),
        column_kinds: vec![ColumnKind::Physical; columns.len()],
        schema: Schema::new(columns.iter().map(|(name, kind)| Column::new(*name, kind.clone().nullable())).collect()),
        primary_key,
        partitioned_by: Vec::new(),
        watermark: None,
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        comment: None,
    }
}

/// A file of SQL: what makes its tables, and all its statements.
pub(crate) struct Texts {
    /// Statements that make and fill tables.
    pub tables: Vec<String>,
    /// Every statement.
    pub statements: Vec<String>,
}

/// The SQL of the `.slt` files, of the solutions and of the reference pipeline.
pub(crate) fn texts() -> &'static [Texts] {
    static TEXTS: OnceLock<Vec<Texts>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut all = Vec::new();
        for path in paths(&root.join("tests/slt/corpus"), ".slt") {
            let file = format::parse(&read(&path)).expect("the corpus is well-formed");
            let is_query = |record: &format::Record| matches!(record.expect, format::Expect::Rows { .. });
            let is_right = |record: &&format::Record| matches!(record.expect, format::Expect::Ok);
            let tables = file.records.iter().filter(is_right).map(|record| record.sql.clone()).collect();
            let mut statements: Vec<String> = file.records.iter().map(|record| record.sql.clone()).collect();
            statements.sort_by_key(|sql| sql.len());
            debug_assert!(file.records.iter().any(is_query), "a file has queries");
            all.push(Texts { tables, statements });
        }
        for solution in ["first-chain", "commerce", "customer-service", "power-equipment"] {
            let script = read(&root.join("solutions").join(solution).join("pipeline.sql"));
            let statements: Vec<String> =
                gridhouse_sql::parse_script(&script).map(|parsed| parsed.expect("solutions are right").text).collect();
            all.push(Texts { tables: vec![script], statements });
        }
        all
    })
}

fn paths(directory: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the corpus is there").flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
