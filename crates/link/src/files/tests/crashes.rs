//! Lives of a sink of files on a disk that keeps only what was synced: whatever crashes, is killed, fails or is full, and whenever,
//! the files that are visible, and those that their reader has taken, hold each row once, up to the commit that the sink tells.
//!
//! A seed decides everything; a failure prints it, and `GRIDHOUSE_FILE_LIVES` asks for more of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use gridhouse_sim::{Cut, SimFileSystem};

use super::*;

/// The directory of the table: some of it the sink makes itself.
const ROOT: &str = "/disk/lake/readings";

type Row = Vec<Value>;

/// Files by what was read from them: in the lives of one seed most are the same.
type Known = BTreeMap<(PathBuf, Vec<u8>), Vec<Row>>;

/// A table, what is to be written to it, and the disk on which it is.
struct Life {
    fs: SimFileSystem,
    definition: TableDef,
    /// The rows of commit 1, 2, …
    commits: Vec<Vec<Row>>,
    /// What decides how the sink is driven.
    random: Random,
    /// Files that their reader has moved on.
    taken: BTreeMap<PathBuf, Vec<u8>>,
    known: Rc<RefCell<Known>>,
    /// Up to which commit a write was answered.
    answered: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let columns =
            [("id", TypeKind::Int), ("note", TypeKind::STRING), ("region", TypeKind::STRING), ("day", TypeKind::Date)];
        let format = ["json", "csv"][(seed % 2) as usize];
        let mut options = vec![("format", format)];
        if format == "csv" {
            options.push(("csv.null-literal", "N/A"));
        }
        if random.chance(0.5) {
            options.push(("sink.rolling-policy.file-size", "100b"));
        }
        let mut definition = table(Path::new(ROOT), &columns, &options);
        definition.partitioned_by = [vec![], vec![2], vec![2, 3]][(seed / 2 % 3) as usize].clone();
        let mut next = 0;
        let mut row = |random: &mut Random| {
            next += 1;
            let region = random.pick(&[text("north"), text("华东/1"), text("a=b"), Value::Null]).clone();
            let note = text(&"x".repeat(random.below(60) as usize));
            vec![Value::Integer(next), note, region, Value::Integer(random.between(20_000, 20_002))]
        };
        let mut commit = |random: &mut Random| (0..random.below(7)).map(|_| row(random)).collect();
        let commits = (0..5).map(|_| commit(&mut random)).collect();
        Self {
            fs: SimFileSystem::new(seed),
            definition,
            commits,
            random,
            taken: BTreeMap::new(),
            known: Rc::default(),
            answered: 0,
        }
    }

    /// Drives the sink as the engine does, from where it says that it is until all is written, or the machine stops.
    fn run(&mut self) {
        let mut sink = open_on(self.fs.clone(), &self.definition);
        let mut at = None;
        let mut failures = 0;
        while !self.fs.is_crashed() && at != Some(self.commits.len() as u64) {
            let done = match at {
                None => sink.position().inspect(|position| self.check(position.0)),
                Some(from) => self.write(&mut *sink, from),
            };
            at = match done {
                Ok(position) => Some(position.0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    failures += 1;
                    if failures == 5 {
                        self.fs.set_capacity(None);
                        self.fs.set_failing_removes(0.0);
                    }
                    assert!(failures < 10 || self.fs.is_crashed(), "it is not over: {error}");
                    None
                }
            };
        }
    }

    /// Writes the next commits.
    fn write(&mut self, sink: &mut dyn Sink, from: u64) -> Result<CommitId, Error> {
        let upto = self.random.between(from as i64 + 1, self.commits.len() as i64) as u64;
        let rows = self.rows_of(from, upto);
        let size = 1 + self.random.below(9) as usize;
        let batches: Vec<KindBatch> = rows.chunks(size).map(|rows| batch(&self.definition, rows)).collect();
        sink.write(CommitId(from), CommitId(upto), &batches)?;
        self.answered = upto;
        self.check(upto);
        if self.random.chance(0.3) {
            self.take();
        }
        Ok(CommitId(upto))
    }

    fn rows_of(&self, from: u64, upto: u64) -> Vec<Row> {
        self.commits[from as usize..upto as usize].concat()
    }

    /// The reader of the files moves some of them on.
    fn take(&mut self) {
        for (path, bytes) in self.visible() {
            if self.random.chance(0.5) {
                let directory = path.parent().unwrap();
                // Whoever is stopped in this has the file, and it may still be there.
                self.taken.insert(path.clone(), bytes);
                let _ = self.fs.remove(&path).and_then(|()| self.fs.sync_dir(directory));
            }
        }
    }

    /// The files whose names are not hidden.
    fn visible(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let is_hidden = |path: &Path| {
            path.components().any(|part| part.as_os_str().as_encoded_bytes().first().is_some_and(|b| b"._".contains(b)))
        };
        let paths = self.fs.files().into_iter().map(|(path, _)| path).filter(|path| !is_hidden(path));
        paths.map(|path| (path.clone(), self.fs.bytes_of(&path))).collect()
    }

    /// What the files hold, in the order of the first column.
    fn found(&self) -> Vec<Row> {
        let mut files = self.taken.clone();
        for (path, bytes) in self.visible() {
            assert_eq!(*files.entry(path).or_insert_with(|| bytes.clone()), bytes, "no name is used for two files");
        }
        let mut known = self.known.borrow_mut();
        let rows = |(path, bytes): (PathBuf, Vec<u8>)| {
            known.entry((path, bytes)).or_insert_with_key(|(path, bytes)| self.read(path, bytes)).clone()
        };
        let mut rows: Vec<Row> = files.into_iter().flat_map(rows).collect();
        rows.sort_by_key(|row| match row[0] {
            Value::Integer(id) => id,
            _ => panic!("{row:?}"),
        });
        rows
    }

    /// The rows of a file, as the connector reads them.
    fn read(&self, path: &Path, bytes: &[u8]) -> Vec<Row> {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join(path.strip_prefix(ROOT).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, bytes).unwrap();
        let mut definition = self.definition.clone();
        definition.options.insert("path".into(), directory.path().to_str().unwrap().into());
        scan(&definition).unwrap()
    }

    fn check(&self, upto: u64) {
        assert!(upto >= self.answered, "a write up to {} was answered, and the sink is at {upto}", self.answered);
        assert_eq!(self.found(), self.rows_of(0, upto), "up to commit {upto}");
    }

    /// Whoever comes after a crash has it all written.
    fn recover(&mut self) {
        self.fs.set_capacity(None);
        self.run();
        assert!(!self.fs.is_crashed());
        self.check(self.commits.len() as u64);
    }
}

/// What happens in one operation of the disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    PowerCut(Cut),
    Killed(Cut),
    Fails,
}

/// The life of `seed`, which without a fault is `whole`, in which operation `at` goes wrong; within the recovery from a kill there is a power cut too.
fn with_fault(whole: &Life, seed: u64, at: u64, fault: Fault) {
    let mut life = Life { known: whole.known.clone(), ..Life::new(seed) };
    match fault {
        Fault::PowerCut(cut) | Fault::Killed(cut) => life.fs.crash_at(at, cut),
        Fault::Fails => life.fs.fail_at(at),
    }
    life.run();
    match fault {
        Fault::PowerCut(_) => life.fs.restart(),
        Fault::Killed(_) => {
            life.fs.kill();
            let later = life.fs.operations() + 1 + life.random.below(12);
            life.fs.crash_at(later, *life.random.pick(&Cut::ALL));
            life.run();
            life.fs.restart();
        }
        // A power cut after all is done: what is answered stays.
        Fault::Fails => life.fs.restart(),
    }
    life.recover();
}

/// A life of several processes with faults of all kinds.
fn at_random(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..life.random.below(6) {
        let now = life.fs.operations();
        let later = |random: &mut Random| now + 1 + random.below(60);
        if life.random.chance(0.3) {
            life.fs.fail_at(later(&mut life.random));
        }
        if life.random.chance(0.2) {
            life.fs.set_failing_removes(life.random.unit());
        }
        if life.random.chance(0.3) {
            life.fs.set_capacity(Some(life.fs.used() + life.random.below(600)));
        }
        life.fs.crash_at(later(&mut life.random), *life.random.pick(&Cut::ALL));
        life.run();
        if life.random.chance(0.5) { life.fs.kill() } else { life.fs.restart() }
    }
    life.recover();
}

/// How many seeds of a kind are tried.
fn lives(otherwise: u64) -> u64 {
    let Ok(asked) = std::env::var("GRIDHOUSE_FILE_LIVES") else { return otherwise };
    asked.parse().unwrap_or_else(|_| panic!("GRIDHOUSE_FILE_LIVES is '{asked}', which is no number"))
}

/// Says which life it was that went wrong.
fn told(life: std::fmt::Arguments<'_>, lived: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(lived)) {
        eprintln!("in the life of {life}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_crash_a_kill_or_a_fault_in_any_operation_neither_loses_nor_repeats_a_row() {
    let mut faults: Vec<Fault> =
        Cut::ALL.into_iter().flat_map(|cut| [Fault::PowerCut(cut), Fault::Killed(cut)]).collect();
    faults.push(Fault::Fails);
    for seed in 0..lives(12) {
        let mut whole = Life::new(seed);
        whole.run();
        whole.check(whole.commits.len() as u64);
        for at in 1..=whole.fs.operations() {
            for &fault in &faults {
                told(format_args!("seed {seed}, operation {at}: {fault:?}"), || with_fault(&whole, seed, at, fault));
            }
        }
    }
}

#[test]
fn many_crashes_kills_faults_and_full_disks_neither_lose_nor_repeat_a_row() {
    for seed in 0..lives(400) {
        told(format_args!("seed {seed}"), || at_random(seed));
    }
}
