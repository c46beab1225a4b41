//! Books of writers to files that are damaged, gone, of another time or forged: rows are neither lost nor there twice.

use std::process::Command;

use super::*;

/// A sink of numbered rows, its book, and its whole directory as bytes.
struct Kept {
    directory: tempfile::TempDir,
    definition: TableDef,
    book: PathBuf,
}

impl Kept {
    /// Written up to 4 in two files, and claimed again.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it's written");
        let definition = table(&path, &[("id", TypeKind::Int)], &[("format", "json")]);
        let mut sink = open(&definition);
        assert_eq!(sink.position().unwrap(), CommitId(0));
        sink.write(CommitId(0), CommitId(3), &[numbered(&definition, 0..3)]).unwrap();
        sink.write(CommitId(3), CommitId(4), &[numbered(&definition, 3..5)]).unwrap();
        let book = book_in(&path);
        Self { directory, definition, book }
    }

    fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = scan(&self.definition).unwrap().iter().map(|row| integer(&row[0])).collect();
        ids.sort_unstable();
        ids
    }

    /// What it is refused with, that it is so with book and remedy named, and that nothing was written or lost meanwhile.
    fn refused(&self, kind: ErrorKind, told: &str) -> Error {
        let error = open(&self.definition).position().unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == kind && text.contains(told), "{error:?}");
        assert!(text.contains(self.book.to_str().unwrap()), "{text}");
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("START JOB")), "{error:?}");
        assert_eq!(self.ids(), [0, 1, 2, 3, 4]);
        error
    }

    /// Types what the remedy says, and writes what the sink is then given anew.
    fn write_anew(&self, error: &Error) {
        let remedy = error.remedy().unwrap();
        let typed = remedy.split('`').nth(1).unwrap();
        assert!(Command::new("sh").args(["-c", typed]).status().unwrap().success(), "{typed}");
        assert_eq!(self.ids(), [0; 0]);
        let mut sink = open(&self.definition);
        assert_eq!(sink.position().unwrap(), CommitId(0));
        sink.write(CommitId(0), CommitId(9), &[numbered(&self.definition, 0..5)]).unwrap();
        assert_eq!(self.ids(), [0, 1, 2, 3, 4]);
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(id) => *id,
        other => panic!("{other:?}"),
    }
}

fn numbered(definition: &TableDef, ids: std::ops::Range<i64>) -> KindBatch {
    batch(definition, &ids.map(|id| vec![Value::Integer(id)]).collect::<Vec<_>>())
}

#[test]
fn a_damaged_book_is_refused_whatever_is_damaged() {
    let kept = Kept::new();
    let good = std::fs::read(&kept.book).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&kept.book, bad).unwrap();
        kept.refused(ErrorKind::Corrupt, "is not the book of a sink");
    }
    // Without its whole second line it is one of an earlier version, which had none, or none at all.
    let line = good.iter().position(|byte| *byte == b'\n').unwrap();
    for len in (0..good.len()).filter(|len| *len != line) {
        std::fs::write(&kept.book, &good[..len]).unwrap();
        kept.refused(ErrorKind::Corrupt, "is not the book of a sink");
    }
    std::fs::write(&kept.book, &good[..line]).unwrap();
    assert_eq!(open(&kept.definition).position().unwrap(), CommitId(4));
    assert_eq!(kept.ids(), [0, 1, 2, 3, 4]);
    std::fs::write(&kept.book, "x").unwrap();
    kept.write_anew(&kept.refused(ErrorKind::Corrupt, "it cannot be read"));
}

#[test]
fn a_book_that_is_gone_or_older_than_the_files_is_refused() {
    let kept = Kept::new();
    let good = std::fs::read(&kept.book).unwrap();
    let mut sink = open(&kept.definition);
    sink.position().unwrap();
    let newer = std::fs::read(&kept.book).unwrap();
    std::fs::remove_file(&kept.book).unwrap();
    // The writer that is at work notices it too.
    assert_eq!(sink.look(CommitId(4)).unwrap_err().kind(), ErrorKind::Unavailable);
    let write = sink.write(CommitId(4), CommitId(5), &[numbered(&kept.definition, 5..6)]);
    assert_eq!(write.unwrap_err().kind(), ErrorKind::Unavailable);
    let gone = kept.refused(ErrorKind::Conflict, "is gone");
    // Restored as it was, or as it was when the newest file was written, it goes on.
    for book in [newer, good] {
        std::fs::write(&kept.book, book).unwrap();
        assert_eq!(open(&kept.definition).position().unwrap(), CommitId(4));
    }
    // As it was before that, it does not.
    let text = std::fs::read_to_string(&kept.book).unwrap();
    let line = text.lines().next().unwrap().replace("\"upto\":4", "\"upto\":3");
    std::fs::write(&kept.book, line).unwrap();
    kept.refused(ErrorKind::Conflict, "only goes to c3");
    std::fs::remove_file(&kept.book).unwrap();
    kept.write_anew(&gone);
}

#[test]
fn a_forged_book_moves_no_files_but_its_own() {
    let kept = Kept::new();
    let outside = kept.directory.path().join("theirs");
    std::fs::write(&outside, "theirs").unwrap();
    std::fs::write(kept.directory.path().join("it's written/_theirs"), "theirs").unwrap();
    let text = std::fs::read_to_string(&kept.book).unwrap();
    let line = text.lines().next().unwrap();
    let name = kept.book.file_name().unwrap().to_str().unwrap();
    let (hidden, visible) = (format!(".part-{name}-4-0.inprogress"), format!("part-{name}-4-0"));
    let theirs = |below: &str, from: &str, to: &str| format!("[[\"{below}\",\"{from}\",\"{to}\"]]");
    let above = kept.directory.path().to_str().unwrap();
    for pending in [
        theirs("..", "theirs", "taken"),
        theirs(above, "theirs", "taken"),
        theirs("", "../theirs", &visible),
        theirs("", "_theirs", &visible),
        theirs("", &hidden, "../taken"),
        theirs("..", &hidden, &visible),
        theirs("", &hidden, &format!("part-{name}-4-0/../../taken")),
    ] {
        let pending_at = line.find("\"pending\":").unwrap() + 10;
        std::fs::write(&kept.book, format!("{}{pending}}}", &line[..pending_at])).unwrap();
        kept.refused(ErrorKind::Corrupt, "files that this sink does not write");
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "theirs", "{pending}");
    }
    let epoch = line.replace("\"epoch\":1", &format!("\"epoch\":{}", u64::MAX));
    assert_ne!(epoch, line);
    std::fs::write(&kept.book, epoch).unwrap();
    kept.refused(ErrorKind::Corrupt, "claimed oftener");
}
