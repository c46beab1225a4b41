//! What ticks do to tables, and what readers see of it.

use gridhouse_base::{CommitId, ErrorKind, RowKind, Value};

use super::*;
use crate::StageUse;

#[test]
fn upserts_and_deletes_give_effective_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    let first =
        tick.write(id, &change(&[(1, (1, "a", Some(10))), (1, (2, "b", None)), (1, (1, "a2", Some(11)))])).unwrap();
    assert_eq!(shown(&first), ["+1 1 a2 11", "+1 2 b NULL"], "the last row of a key wins");
    tick.publish().unwrap();
    store.sync().unwrap();

    let reader = store.reader();
    let mut tick = store.tick().unwrap();
    let second =
        change(&[(1, (1, "a2", Some(11))), (1, (3, "c", Some(3))), (-1, (2, "b", None)), (-1, (9, "x", None))]);
    let effect = tick.write(id, &second).unwrap();
    assert_eq!(shown(&effect), ["+1 3 c 3", "-1 2 b NULL"], "the same row and an absent key change nothing");
    let third = change(&[(1, (3, "c", Some(4))), (-1, (3, "c", Some(3)))]);
    assert_eq!(shown(&tick.write(id, &third).unwrap()), ["+1 3 c 4", "-1 3 c 3"], "an upsert beats a deletion");
    assert_eq!(live(&tick.table(id).unwrap()), ["+1 1 a2 11", "+1 3 c 4"]);
    assert_eq!(
        live(&reader.snapshot().table(id).unwrap()),
        ["+1 1 a2 11", "+1 2 b NULL"],
        "a tick is not seen before its end"
    );
    tick.publish().unwrap();
    store.sync().unwrap();

    let snapshot = store.reader().snapshot();
    let table = snapshot.table_named("t").unwrap();
    assert_eq!(live(&table), ["+1 1 a2 11", "+1 3 c 4"]);
    let row = table.get(&[Value::Integer(3)]).unwrap().unwrap();
    assert_eq!(row, [Value::Integer(3), Value::Text("c".into()), Value::Integer(4)]);
    assert_eq!(table.get(&[Value::Integer(2)]).unwrap(), None);
    let error = table.get(&[Value::Text("3".into())]).unwrap_err();
    assert_eq!(error.message(), "table t: Text(\"3\") is no value of id BIGINT");
    let keys = columns(&[(9, "", None), (1, "", None), (3, "", None)]);
    let (found, rows) = table.get_batch(&keys[..1]).unwrap();
    assert_eq!(found, [1, 2]);
    assert_eq!(shown(&rows), ["+1 1 a2 11", "+1 3 c 4"]);
}

#[test]
fn readers_see_only_durable_ticks_and_keep_what_they_saw() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    store.sync().unwrap();
    let reader = store.reader();
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "a", None))])).unwrap();
    let commit = tick.publish().unwrap();
    assert_eq!(reader.snapshot().table(id).unwrap().row_count(), 0, "ordered is not durable");
    assert_eq!(store.ordered_snapshot().table(id).unwrap().row_count(), 1);
    let waiting = std::thread::spawn({
        let reader = reader.clone();
        move || reader.wait_durable(commit)
    });
    assert_eq!(store.syncer().sync().unwrap(), commit);
    waiting.join().unwrap().unwrap();
    let before = reader.snapshot();
    assert_eq!((before.commit(), reader.durable()), (commit, commit));

    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "b", None)), (1, (2, "c", None))])).unwrap();
    tick.publish().unwrap();
    store.sync().unwrap();
    assert_eq!(live(&before.table(id).unwrap()), ["+1 1 a NULL"], "a snapshot does not change");
    assert_eq!(live(&reader.snapshot().table(id).unwrap()), ["+1 1 b NULL", "+1 2 c NULL"]);
    let next = store.last_commit().next();
    drop(store);
    assert_eq!(reader.wait_durable(next).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn source_commits_wait_for_the_tick_and_are_consolidated() {
    use RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("ods"));
    store.append_source(commit(1, vec![part(id, &[(Insert, (1, "a", None)), (Insert, (2, "b", None))])])).unwrap();
    let move_key = [(UpdateBefore, (2, "b", None)), (UpdateAfter, (3, "b", None))];
    let last =
        store.append_source(commit(2, vec![part(id, &move_key), part(id, &[(UpdateAfter, (1, "z", None))])])).unwrap();
    assert_eq!(store.ordered_snapshot().table(id).unwrap().row_count(), 0);

    let mut tick = store.tick().unwrap();
    let changes = tick.apply_pending().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(shown(&changes[0].1), ["+1 1 z NULL", "+1 3 b NULL"], "what came and went within the tick is not seen");
    tick.set_cursor("job", id, CommitId(0)).unwrap();
    tick.publish().unwrap();
    let snapshot = store.ordered_snapshot();
    assert_eq!(snapshot.as_of(), last);
    let entries = log(&snapshot.table(id).unwrap(), 0);
    assert_eq!(entries.len(), 5, "the log has the entries of both commits: {entries:?}");
    assert!(entries.iter().all(|entry| entry.starts_with("c4 ")), "they belong to the tick that showed them");

    let back = vec![part(id, &[(Delete, (1, "z", None))]), part(id, &[(Insert, (1, "z", None))])];
    store.append_source(commit(3, back)).unwrap();
    let mut tick = store.tick().unwrap();
    assert!(tick.apply_pending().unwrap().is_empty(), "a row that went and came back is no change");
    tick.publish().unwrap();
    assert_eq!(store.source_position(SourceId(1)), None, "nothing is durable yet");
    store.sync().unwrap();
    assert_eq!(store.source_position(SourceId(1)).unwrap().position, [3]);
}

#[test]
fn partial_updates_keep_or_null_the_other_columns() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "a", Some(10)))])).unwrap();
    tick.publish().unwrap();
    let rows = columns(&[(1, "", Some(99)), (2, "", Some(5))]);
    let batch = KindBatch::new(vec![rows[2].clone(), rows[0].clone()], vec![RowKind::Insert; 2]);
    let mut tick = store.tick().unwrap();
    let effect = tick.upsert_columns(id, &[2, 0], &batch).unwrap();
    assert_eq!(shown(&effect), ["+1 1 a 99", "+1 2 NULL 5", "-1 1 a 10"]);
    let error =
        tick.upsert_columns(id, &[2], &KindBatch::new(vec![rows[2].clone()], vec![RowKind::Insert; 2])).unwrap_err();
    assert_eq!(error.message(), "table t: key column id is not among the given columns");
    tick.publish().unwrap();

    let partial = Part { table: id, batch, columns: Some(vec![2, 0]) };
    let toast = Part {
        batch: KindBatch::new(vec![rows[0].slice(0, 1)], vec![RowKind::UpdateAfter]),
        columns: Some(vec![0]),
        ..partial
    };
    store.append_source(commit(1, vec![toast])).unwrap();
    let mut tick = store.tick().unwrap();
    assert!(tick.apply_pending().unwrap().is_empty());
    tick.publish().unwrap();
    store.close().unwrap();
    let store = open(dir.path());
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), ["+1 1 a 99", "+1 2 NULL 5"]);
}

#[test]
fn stages_append_and_replace() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("ods"));
    store.stage(7, part(id, &[(RowKind::Insert, (1, "a", None)), (RowKind::Insert, (2, "b", None))])).unwrap();
    store.stage(8, part(id, &[(RowKind::Insert, (5, "never", None))])).unwrap();
    store.drop_stage(8).unwrap();
    let append = SourceCommit { stages: vec![(7, StageUse::Append), (8, StageUse::Append)], ..commit(1, vec![]) };
    store.append_source(append).unwrap();
    let mut tick = store.tick().unwrap();
    assert_eq!(shown(&tick.apply_pending().unwrap()[0].1), ["+1 1 a NULL", "+1 2 b NULL"]);
    tick.publish().unwrap();

    store.stage(9, part(id, &[(RowKind::Insert, (2, "b", None)), (RowKind::Insert, (3, "c", None))])).unwrap();
    let replace = SourceCommit { stages: vec![(9, StageUse::Replace(id))], ..commit(2, vec![]) };
    store.append_source(replace).unwrap();
    let mut tick = store.tick().unwrap();
    assert_eq!(shown(&tick.apply_pending().unwrap()[0].1), ["+1 3 c NULL", "-1 1 a NULL"], "only the differences");
    tick.publish().unwrap();
    store.stage(10, part(id, &[(RowKind::Insert, (100, "left open", None))])).unwrap();
    store.close().unwrap();

    let mut store = open(dir.path());
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), ["+1 2 b NULL", "+1 3 c NULL"]);
    store.stage(10, part(id, &[(RowKind::Insert, (4, "d", None))])).unwrap();
    store.append_source(SourceCommit { stages: vec![(10, StageUse::Append)], ..commit(3, vec![]) }).unwrap();
    let mut tick = store.tick().unwrap();
    assert_eq!(shown(&tick.apply_pending().unwrap()[0].1), ["+1 4 d NULL"], "the number is free again");
}

#[test]
fn a_log_table_appends_and_refuses_to_take_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, log_table("events"));
    let mut tick = store.tick().unwrap();
    let effect = tick.write(id, &change(&[(2, (1, "a", None)), (0, (3, "c", None)), (1, (1, "a", None))])).unwrap();
    assert_eq!(effect.len(), 3);
    let error = tick.write(id, &change(&[(-1, (1, "a", None))])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.remedy().unwrap().contains("primary key"));
    tick.publish().unwrap();
    let error = store.append_source(commit(1, vec![part(id, &[(RowKind::Delete, (1, "a", None))])])).unwrap_err();
    assert_eq!(error.message(), "table events is append-only, -D cannot be applied");
    let table = store.ordered_snapshot().table(id).unwrap();
    assert_eq!(live(&table), ["+1 1 a NULL"; 3]);
    assert_eq!(log(&table, 1), ["c2 +I 1"; 3]);
    let mut tick = store.tick().unwrap();
    assert_eq!(shown(&tick.truncate(id).unwrap()), ["-1 1 a NULL"; 3]);
    tick.publish().unwrap();
    assert_eq!(store.ordered_snapshot().table(id).unwrap().row_count(), 0);
}

#[test]
fn a_dropped_tick_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "a", None)), (1, (2, "b", None))])).unwrap();
    tick.put("jobs", "1", Some("{}"));
    tick.publish().unwrap();
    store.append_source(commit(1, vec![part(id, &[(RowKind::Insert, (7, "s", None))])])).unwrap();

    let mut tick = store.tick().unwrap();
    assert_eq!(tick.apply_pending().unwrap().len(), 1);
    tick.write(id, &change(&[(-1, (1, "a", None)), (1, (2, "B", None)), (1, (3, "c", None))])).unwrap();
    tick.put("jobs", "1", None);
    assert_eq!(tick.get("jobs", "1"), None);
    tick.create_table(log_table("new")).unwrap();
    tick.drop_table(id).unwrap();
    drop(tick);

    let snapshot = store.ordered_snapshot();
    assert_eq!(live(&snapshot.table(id).unwrap()), ["+1 1 a NULL", "+1 2 b NULL"]);
    assert_eq!(snapshot.get("jobs", "1").as_deref(), Some("{}"));
    let mut tick = store.tick().unwrap();
    assert_eq!(tick.table_id("new"), None);
    assert_eq!(shown(&tick.apply_pending().unwrap()[0].1), ["+1 7 s NULL"], "the source commit waits again");
    let effect = tick.write(id, &change(&[(1, (2, "B", None)), (-1, (1, "a", None))])).unwrap();
    assert_eq!(shown(&effect), ["+1 2 B NULL", "-1 1 a NULL", "-1 2 b NULL"], "the index is right again");
    tick.publish().unwrap();
    let expected = ["+1 2 B NULL", "+1 7 s NULL"];
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), expected);
    store.close().unwrap();
    assert_eq!(live(&open(dir.path()).ordered_snapshot().table(id).unwrap()), expected);
}

#[test]
fn the_log_is_kept_for_cursors_and_refused_below_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut last = CommitId(0);
    for i in 0..200 {
        let mut tick = store.tick().unwrap();
        if i == 100 {
            tick.set_cursor("sink", id, last).unwrap();
        }
        tick.write(id, &change(&[(1, (1, "a", Some(i))), (1, (2, "b", Some(i / 100)))])).unwrap();
        last = tick.publish().unwrap();
    }
    let table = store.ordered_snapshot().table(id).unwrap();
    assert_eq!(live(&table), ["+1 1 a 199", "+1 2 b 1"]);
    let error = table.changes(CommitId(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().starts_with("the log of table t after c0 is gone"), "{error}");
    assert_eq!(log(&table, last.0 - 100).len(), 101, "100 updates of key 1, and one of key 2");
    assert!(table.entry_count() < 150, "what no cursor needs is reclaimed: {}", table.entry_count());
    let mut tick = store.tick().unwrap();
    tick.forget_cursor("sink", None).unwrap();
    tick.write(id, &change(&[(1, (1, "a", Some(-1)))])).unwrap();
    tick.publish().unwrap();
    assert!(store.ordered_snapshot().table(id).unwrap().entry_count() < 20);
}

#[test]
fn names_and_definitions_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    assert_eq!(tick.create_table(keyed("t")).unwrap_err().kind(), ErrorKind::Conflict);
    let error = tick.create_table(TableSpec { bucket_key: vec![1], ..keyed("u") }).unwrap_err();
    assert_eq!(error.message(), "table u: 'bucket.key' column name does not belong to the primary key");
    let array = Column::new("a", TypeKind::Array(Box::new(TypeKind::Int.nullable())).not_null());
    let error = tick.create_table(TableSpec::primary_key("v", Schema::new(vec![array]), vec![0])).unwrap_err();
    assert_eq!(error.message(), "table v: column a of type ARRAY<INT> cannot be part of a primary key");
    drop(tick);
    assert_eq!(store.ordered_snapshot().tables().filter(|table| !table.spec().hidden).count(), 1);
    let error = Store::open(options(dir.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("in use by another process"), "{error}");
}
