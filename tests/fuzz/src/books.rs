//! The book of a sink of files: damaged, or forged with a good checksum, beside files that may not have been made visible yet.
//!
//! Whatever it says, the sink is claimed and written on, or refused with what to do. What was visible stays as it is, and
//! nothing but the writer's own files is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::random::Random;
use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{Column, CommitId, Error, ErrorKind, Schema, TypeKind, Value};
use gridhouse_flow::connector::{Sink, SinkConnector, SinkWriter};
use gridhouse_link::FilesWriter;

use crate::files::context;
use crate::mutate::mutate;
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "books",
    // Every book that is taken is written to the disk, and waited for.
    cases: 6_000,
    few: 150,
    batch: 1_000,
    // The names of the table's files and a buffer for the rows, whatever the book is.
    memory: Memory { bytes: 1 << 20, per_byte: 200 },
    begin: || Box::new(Tables::new()),
};

/// Tables that are there; every second one has partitions.
const TABLES: u64 = 8;

const WORDS: [&[u8]; 22] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"",
    b"\\",
    b"null",
    b"\\u0000",
    b"..",
    b"/",
    b"\"..\"",
    b"\"upto\":",
    b"\"epoch\":18446744073709551615,",
    b"\"upto\":18446744073709551615,",
    b"\"history\":",
    b"\"pending\":[]",
    b"[\"\",\"",
    b"part-",
    b".inprogress",
    b"\xff\xfe",
    "线".as_bytes(),
];

/// Bytes of the second line, with the end of the first.
const SUM_BYTES: usize = 10;

/// What lies beside a writer's files is somebody else's.
const THEIRS: [&str; 2] = ["theirs", "table/_theirs"];

/// A table of files as its writer has left it.
struct Table {
    /// Where the table and what lies beside it is.
    around: PathBuf,
    definition: Arc<TableDef>,
    /// All its files but the book, with what is in them.
    files: Vec<(PathBuf, Vec<u8>)>,
    book: PathBuf,
    text: Vec<u8>,
}

struct Tables {
    _directory: tempfile::TempDir,
    tables: Vec<Table>,
}

impl Tables {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tables = (0..TABLES).map(|number| Table::new(directory.path().join(number.to_string()), number)).collect();
        Self { _directory: directory, tables }
    }
}

impl Table {
    fn new(around: PathBuf, number: u64) -> Self {
        let root = around.join("table");
        fs::create_dir_all(&root).expect("a directory can be made");
        THEIRS.iter().for_each(|name| fs::write(around.join(name), "theirs").expect("a file can be written"));
        let mut made = Self {
            definition: Arc::new(definition(&root, number % 2 == 1)),
            around,
            files: Vec::new(),
            book: PathBuf::new(),
            text: Vec::new(),
        };
        let mut random = Random::new(number);
        let mut upto = CommitId(0);
        for _ in 0..=number / 2 {
            let mut sink = made.open(1 + number);
            assert_eq!(sink.position().expect("the table is as it was left"), upto);
            for _ in 0..random.below(3) {
                let next = CommitId(upto.0 + 1 + random.below(1_000));
                sink.write(upto, next, &[rows(&mut random)]).expect("rows can be written");
                upto = next;
            }
        }
        let mut books = files_in(&root.join("_gridhouse")).into_iter();
        made.book = books.find(|path| path.extension().is_none()).expect("the writer has a book");
        let files = files_in(&root).into_iter().filter(|path| *path != made.book);
        made.files = files.map(|path| (path.clone(), fs::read(path).expect("a file can be read"))).collect();
        let text = fs::read_to_string(&made.book).expect("the book can be read");
        made.text = asking(&text, &root, made.files.iter().map(|(path, _)| path.as_path()), upto);
        made
    }

    fn open(&self, history: u64) -> Box<dyn Sink> {
        let writer = SinkWriter { store: 7, sink: "电网".into(), history, written: true };
        FilesWriter::new(&context()).open(self.definition.clone(), writer).expect("the options are right")
    }

    /// Puts everything back, with this book; `is_cut`: as if the last write had not come to make its files visible. Gives the
    /// files that are visible.
    fn lay_out(&self, is_cut: bool, book: &[u8]) -> Vec<&(PathBuf, Vec<u8>)> {
        for path in files_in(&self.around.join("table")) {
            fs::remove_file(path).expect("a file can be removed");
        }
        let good = String::from_utf8_lossy(&self.text);
        let mut visible = Vec::new();
        for file in &self.files {
            let (path, bytes) = file;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hidden = format!(".{name}.inprogress");
            let is_hidden = is_cut && good.contains(&format!("\"{hidden}\""));
            let path = if is_hidden { path.with_file_name(hidden) } else { path.clone() };
            fs::write(path, bytes).expect("a file can be written");
            if !is_hidden {
                visible.push(file);
            }
        }
        fs::write(&self.book, book).expect("the book can be written");
        visible
    }
}

/// The book as it is before the files of the last write have their names.
fn asking<'a>(text: &str, root: &Path, files: impl Iterator<Item = &'a Path>, upto: CommitId) -> Vec<u8> {
    let pending = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let below = path.parent()?.strip_prefix(root).ok()?.to_str()?;
        let is_last = name.starts_with("part-") && name.contains(&format!("-{}-", upto.0));
        is_last.then(|| format!("[\"{below}\",\".{name}.inprogress\",\"{name}\"]"))
    });
    let pending = pending.collect::<Vec<_>>().join(",");
    let line = text.lines().next().expect("a book has a line");
    assert!(line.contains("\"pending\":[]"), "the last write has made its files visible: {line}");
    forged(line.replace("\"pending\":[]", &format!("\"pending\":[{pending}]")).into_bytes())
}

/// All files below a directory.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn definition(root: &Path, has_partitions: bool) -> TableDef {
    let columns = [("id", TypeKind::Int), ("region", TypeKind::STRING)];
    let options = [("connector", "filesystem"), ("format", "json"), ("path", &root.to_string_lossy())];
    TableDef {
        path: ObjectPath::new("c", "d", "t"),
        column_kinds: vec![ColumnKind::Physical; columns.len()],
        schema: Schema::new(columns.into_iter().map(|(name, kind)| Column::new(name, kind.nullable())).collect()),
        primary_key: Vec::new(),
        partitioned_by: if has_partitions { vec![1] } else { Vec::new() },
        watermark: None,
        options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        comment: None,
    }
}

fn rows(random: &mut Random) -> KindBatch {
    let ids: Vec<Value> = (0..1 + random.below(5)).map(|_| Value::Integer(random.below(100) as i64)).collect();
    let regions: Vec<Value> =
        ids.iter().map(|_| Value::Text((*random.pick(&["north", "华东", "a/b"])).into())).collect();
    let column = |values: &[Value], kind| Value::array_of(&values.iter().collect::<Vec<_>>(), &kind);
    let columns = vec![column(&ids, TypeKind::Int), column(&regions, TypeKind::STRING)];
    KindBatch::new(columns, vec![RowKind::Insert; ids.len()])
}

/// A book with the checksum that belongs to it.
fn forged(mut line: Vec<u8>) -> Vec<u8> {
    line.retain(|byte| *byte != b'\n');
    let sum = crc32c::crc32c(&line);
    line.extend_from_slice(format!("\n{sum:08x}\n").as_bytes());
    line
}

fn check_refusal(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict), "{:?}: {error}", error.kind());
    assert!(error.remedy().is_some(), "what to do about it: {error}");
    assert!(error.message().len() < 20_000, "a message is short whatever the book is");
}

impl Decoder for Tables {
    fn draw(&mut self, random: &mut Random) -> Input {
        let number = random.below(TABLES);
        let line = |table: &Table| table.text[..table.text.len() - SUM_BYTES].to_vec();
        let mut book = line(&self.tables[number as usize]);
        let other = line(random.pick(&self.tables));
        let book = match random.below(10) {
            0 => forged(book),
            // As an earlier version wrote it.
            1 => book,
            2 => {
                let mut book = forged(book);
                mutate(&mut book, &other, &WORDS, random);
                book
            }
            3 => {
                mutate(&mut book, &other, &WORDS, random);
                book
            }
            _ => {
                mutate(&mut book, &other, &WORDS, random);
                forged(book)
            }
        };
        vec![vec![number as u8, random.below(2) as u8], book]
    }

    fn decode(&mut self, input: &Input) -> bool {
        let table = &self.tables[usize::from(input[0][0])];
        let visible = table.lay_out(input[0][1] > 0, &input[1]);
        let mut sink = table.open(9);
        let position = sink.position();
        match &position {
            Err(error) => check_refusal(error),
            // Further than this no store gets.
            Ok(CommitId(u64::MAX)) => {}
            Ok(from) => {
                let upto = CommitId(from.0 + 1);
                sink.write(*from, upto, &[rows(&mut Random::new(from.0))])
                    .expect("whoever has claimed a sink writes it");
                assert_eq!(sink.history(), Some(9));
                assert_eq!(table.open(10).position().expect("what was written is there"), upto);
            }
        }
        for (path, bytes) in visible {
            assert!(fs::read(path).is_ok_and(|now| now == *bytes), "{} stays as it is", path.display());
        }
        for name in THEIRS {
            let theirs = fs::read_to_string(table.around.join(name));
            assert!(theirs.is_ok_and(|text| text == "theirs"), "{name} is somebody else's");
        }
        position.is_ok()
    }
}
