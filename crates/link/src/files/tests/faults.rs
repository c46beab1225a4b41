//! What cannot be written, read or found is told with its cause and remedy.

use std::io;

use super::super::layout::cannot;
use super::*;

#[test]
fn what_stops_the_disk_is_told_with_its_remedy_and_waited_for() {
    let told = |kind: io::ErrorKind| {
        let error = cannot(Path::new("/lake/part"), kind.into());
        assert!(error.message().contains("/lake/part"), "{error}");
        (error.kind(), error.remedy().unwrap().to_owned())
    };
    for (kind, remedy) in [
        (io::ErrorKind::StorageFull, "make room on its disk"),
        (io::ErrorKind::QuotaExceeded, "quota"),
        (io::ErrorKind::ReadOnlyFilesystem, "for writing"),
        (io::ErrorKind::PermissionDenied, "let the user"),
        (io::ErrorKind::NotFound, "make the directory"),
        (io::ErrorKind::Other, "check the disk"),
    ] {
        let told = told(kind);
        assert!(told.0 == ErrorKind::Unavailable && told.1.contains(remedy), "{kind}: {told:?}");
    }
}

#[test]
fn a_partition_whose_name_no_disk_takes_fails_and_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut definition =
        table(directory.path(), &[("id", TypeKind::Int), ("region", TypeKind::STRING)], &[("format", "json")]);
    definition.partitioned_by = vec![1];
    let mut sink = open(&definition);
    sink.position().unwrap();
    let rows = [vec![Value::Integer(1), text(&"x".repeat(300))]];
    let error = sink.write(CommitId(0), CommitId(1), &[batch(&definition, &rows)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("partition column")), "{error:?}");
}

#[test]
fn a_hidden_file_that_is_gone_is_told_and_one_that_was_renamed_or_taken_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it's a lake");
    let mut definition = table(&path, &[("id", TypeKind::Int), ("region", TypeKind::STRING)], &[("format", "json")]);
    definition.partitioned_by = vec![1];
    let row = |id| vec![Value::Integer(id), text("north")];
    let count = || scan(&definition).unwrap().len();
    let mut sink = open(&definition);
    sink.position().unwrap();
    sink.write(CommitId(0), CommitId(1), &[batch(&definition, &[row(1)])]).unwrap();
    let book = book_in(&path);
    let name = book.file_name().unwrap().to_str().unwrap().to_owned();
    let visible = path.join("region=north").join(format!("part-{name}-1-0"));

    // Once it is written, whoever reads the file may take it.
    let bytes = std::fs::read(&visible).unwrap();
    std::fs::remove_dir_all(visible.parent().unwrap()).unwrap();
    assert_eq!(open(&definition).position().unwrap(), CommitId(1));

    // A book of a write that was cut short asks for it: it was renamed, or it is gone.
    let text = std::fs::read_to_string(&book).unwrap();
    let pending = format!("[\"region=north\",\".part-{name}-1-0.inprogress\",\"part-{name}-1-0\"]");
    let asks = text.lines().next().unwrap().replace("\"pending\":[]", &format!("\"pending\":[{pending}]"));
    let cut_short = || {
        std::fs::write(&book, &asks).unwrap();
        open(&definition).position()
    };
    let error = cut_short().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for named in [&visible, &book] {
        assert!(error.message().contains(named.to_str().unwrap()), "{error}");
    }
    let remedy = error.remedy().unwrap();
    let typed: Vec<&str> = remedy.split('`').skip(1).step_by(2).collect();
    let shell = |typed: &str| std::process::Command::new("sh").args(["-c", typed]).status().unwrap().success();

    // Taken by its reader: the rows are not here, and the sink goes on.
    assert!(shell(typed[0]), "{remedy}");
    assert_eq!((cut_short().unwrap(), count()), (CommitId(1), 0));
    // Put back.
    std::fs::write(&visible, &bytes).unwrap();
    assert_eq!((cut_short().unwrap(), count()), (CommitId(1), 1));
    // Written anew.
    std::fs::remove_file(&visible).unwrap();
    cut_short().unwrap_err();
    assert!(shell(typed[1]), "{remedy}");
    let mut anew = open(&definition);
    assert_eq!(anew.position().unwrap(), CommitId(0));
    anew.write(CommitId(0), CommitId(2), &[batch(&definition, &[row(1), row(2)])]).unwrap();
    assert_eq!(count(), 2);
}
