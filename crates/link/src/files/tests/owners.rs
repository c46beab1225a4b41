//! Two that write one table of files at the same time, as a process and the one that takes its place: each row is there once.

use super::*;

fn numbered(definition: &TableDef, ids: std::ops::Range<i64>) -> KindBatch {
    batch(definition, &ids.map(|id| vec![Value::Integer(id)]).collect::<Vec<_>>())
}

#[test]
fn a_claim_in_the_midst_of_a_write_neither_loses_nor_repeats_it() {
    let directory = tempfile::tempdir().unwrap();
    let definition = table(directory.path(), &[("id", TypeKind::Int)], &[("format", "json")]);
    let count = || scan(&definition).unwrap().len();
    let (mut old, mut new) = (open(&definition), open(&definition));
    assert_eq!(old.position().unwrap(), CommitId(0));
    old.write(CommitId(0), CommitId(4), &[numbered(&definition, 0..3)]).unwrap();
    let rows = numbered(&definition, 3..5);
    let in_the_midst = || {
        let claim = new.position().unwrap_err();
        assert_eq!(claim.kind(), ErrorKind::Unavailable, "{claim}");
        Ok(rows.clone())
    };
    old.write_changes(CommitId(4), CommitId(5), &mut std::iter::once_with(in_the_midst)).unwrap();
    assert_eq!((new.position().unwrap(), count()), (CommitId(5), 5));

    // And the other way round: the older one comes while the newer one writes.
    let mut midst = std::iter::once_with(|| {
        let late = old.write(CommitId(5), CommitId(6), &[numbered(&definition, 5..6)]).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict, "{late}");
        Ok(numbered(&definition, 5..6))
    });
    new.write_changes(CommitId(5), CommitId(6), &mut midst).unwrap();
    assert_eq!((open(&definition).position().unwrap(), count()), (CommitId(6), 6));
}

#[test]
fn a_write_whose_book_is_gone_when_it_is_through_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let definition = table(directory.path(), &[("id", TypeKind::Int)], &[("format", "json")]);
    let mut sink = open(&definition);
    sink.position().unwrap();
    let mut midst = std::iter::once_with(|| {
        std::fs::remove_dir_all(directory.path().join("_gridhouse")).unwrap();
        Ok(numbered(&definition, 0..3))
    });
    let error = sink.write_changes(CommitId(0), CommitId(1), &mut midst).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!((sink.position().unwrap(), scan(&definition).unwrap().len()), (CommitId(0), 0));
}

#[test]
fn a_book_tells_the_history_that_wrote_it_and_an_earlier_version_s_tells_none() {
    let directory = tempfile::tempdir().unwrap();
    let definition = table(directory.path(), &[("id", TypeKind::Int)], &[("format", "json")]);
    let mut sink = open(&definition);
    assert_eq!((sink.position().unwrap(), sink.history()), (CommitId(0), None));
    sink.write(CommitId(0), CommitId(4), &[numbered(&definition, 0..3)]).unwrap();
    assert_eq!(sink.history(), Some(1));
    let mut again = open(&definition);
    assert_eq!((again.position().unwrap(), again.history()), (CommitId(4), Some(1)));
    let book = book_in(directory.path());
    let text = std::fs::read_to_string(&book).unwrap();
    let line = text.lines().next().unwrap().replace("\"history\":1,", "");
    std::fs::write(&book, line).unwrap();
    let mut earlier = open(&definition);
    assert_eq!((earlier.position().unwrap(), earlier.history()), (CommitId(4), None));
    earlier.write(CommitId(4), CommitId(5), &[]).unwrap();
    assert_eq!(earlier.history(), Some(1));
}
