//! Checkpoints, segments and compaction: what readers see must not change by them, and a restart reads the log's end only.

use std::collections::BTreeMap;

use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, RowKind};

use super::*;
use crate::Limits;

fn names(dir: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Lets the store and its keeper do all that is due.
fn settle(store: &mut Store) {
    let keeper = store.keeper();
    while store.maintain(&mut || None).unwrap() | keeper.work() {}
    assert!(store.take_trouble().is_none());
}

fn get(table: &TableSnapshot, id: i64) -> Option<String> {
    table.get(&[Value::Integer(id)]).unwrap().map(|row| format!("{row:?}"))
}

fn ids_by_key(table: &TableSnapshot, keys: i64) -> BTreeMap<i64, Option<String>> {
    (0..keys).map(|id| (id, get(table, id))).collect()
}

#[test]
fn a_checkpoint_holds_everything_and_the_log_below_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(StoreOptions { wal_file_bytes: 4096, ..options(dir.path()) }).unwrap();
    let t = create(&mut store, keyed("t"));
    let e = create(&mut store, log_table("e"));
    let gone = create(&mut store, keyed("gone"));
    for i in 0..200 {
        let id = i % 40;
        store.append_source(commit(i as u8, vec![part(t, &[(RowKind::Insert, (id, "s", Some(i)))])])).unwrap();
        let mut tick = store.tick().unwrap();
        tick.apply_pending().unwrap();
        tick.write(e, &change(&[(1, (i, "e", None))])).unwrap();
        tick.write(gone, &change(&[(1, (i, "g", None))])).unwrap();
        tick.put("jobs", &format!("{}", i % 7), Some(&format!("{i}")));
        tick.set_cursor("sink", t, CommitId(390)).unwrap();
        tick.publish().unwrap();
    }
    let files_before = names(dir.path(), "wal-").len();
    assert!(files_before > 3, "{files_before} log files");
    store.checkpoint(&mut || None).unwrap();
    assert_eq!(names(dir.path(), "checkpoint-").len(), 1);
    assert_eq!(names(dir.path(), "seg-").len(), 1);
    assert!(names(dir.path(), "wal-").len() <= 2, "{:?}", names(dir.path(), "wal-"));
    assert_eq!(store.ordered_snapshot().table(t).unwrap().bytes(), 0, "nothing is left in memory");

    // The tail behind the checkpoint: updates and deletions of sealed rows, new ones, a dropped table.
    store.append_source(commit(201, vec![part(t, &[(RowKind::Delete, (3, "", None))])])).unwrap();
    let mut tick = store.tick().unwrap();
    tick.apply_pending().unwrap();
    tick.write(t, &change(&[(1, (5, "new", Some(-5))), (1, (99, "new", None))])).unwrap();
    tick.drop_table(gone).unwrap();
    tick.put("jobs", "3", None);
    tick.publish().unwrap();
    store.append_source(commit(202, vec![part(t, &[(RowKind::Delete, (7, "", None))])])).unwrap();
    store.sync().unwrap();
    let before = store.ordered_snapshot();
    let was = (ids_by_key(&before.table(t).unwrap(), 100), log(&before.table(t).unwrap(), 390));
    assert_eq!(was.0[&3], None);
    assert!(was.0[&5].as_ref().unwrap().contains("-5"));
    // Twice: once as after a kill, once after a clean stop.
    for round in 0..2 {
        if round == 0 {
            drop(store);
        } else {
            store.close().unwrap();
        }
        store = open(dir.path());
        let after = store.ordered_snapshot();
        assert_eq!((after.commit(), after.as_of()), (before.commit(), before.as_of()));
        for id in [t, e] {
            assert_eq!(live(&after.table(id).unwrap()), live(&before.table(id).unwrap()));
        }
        assert_eq!(log(&after.table(t).unwrap(), 390), was.1);
        assert_eq!(ids_by_key(&after.table(t).unwrap(), 100), was.0);
        assert_eq!(after.list("jobs"), before.list("jobs"));
        assert_eq!(after.cursor("sink", t), Some(CommitId(390)));
        assert!(after.table(gone).is_err());
        assert_eq!(store.source_position(SourceId(1)).unwrap().position, [202]);
        assert_eq!(store.pending_count(), 1, "a commit that no tick had applied still waits");
    }
    let mut tick = store.tick().unwrap();
    let applied = tick.apply_pending().unwrap();
    assert_eq!(shown(&applied[0].1), [format!("-1 7 s {}", 7 + 160)]);
    tick.publish().unwrap();
}

#[test]
fn rows_are_sealed_sooner_where_their_keys_exceed_the_budget_of_the_index() {
    let dir = tempfile::tempdir().unwrap();
    // Each bucket of an empty index takes some room; beyond that, all keys of rows in memory are there.
    let (log_bytes, budget) = (1 << 20, 40_000);
    let limits = Limits { checkpoint_log_bytes: log_bytes, index_bytes: budget, ..Limits::default() };
    let mut store = Store::open(StoreOptions { limits, ..options(dir.path()) }).unwrap();
    let t = create(&mut store, keyed("t"));
    let mut most = 0;
    for start in (0..24_000).step_by(100) {
        let rows: Vec<(i32, Row)> = (start..start + 100).map(|id| (1, (id, "x", None))).collect();
        let mut tick = store.tick().unwrap();
        tick.write(t, &change(&rows)).unwrap();
        tick.publish().unwrap();
        store.maintain(&mut || None).unwrap();
        store.keeper().work();
        most = most.max(store.index_bytes());
    }
    assert!(store.written().log_bytes < log_bytes, "the log alone makes no checkpoint due");
    assert!(store.written().checkpoints >= 2);
    // The rows that an eighth of the log's share holds, and a tick before and behind; a key takes 32 bytes at most.
    let row_bytes = store.written().log_bytes / 24_000;
    let rows = log_bytes / 8 / row_bytes + 200;
    assert!(most as u64 <= budget as u64 + rows * 32, "{most} bytes, {rows} rows");
    assert!(most < 24_000 * 16, "{most} bytes");
    for id in (0..24_000).step_by(997) {
        let row = store.ordered_snapshot().table(t).unwrap().get(&[Value::Integer(id)]).unwrap();
        assert_eq!(row.map(|row| row[0].clone()), Some(Value::Integer(id)));
    }
}

#[test]
fn readers_keep_what_they_saw_while_segments_are_made_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 2_000, index_bytes: 600, ..Limits::default() };
    let with = |limits: Limits| StoreOptions { limits, ..options(dir.path()) };
    let mut store = Store::open(with(limits)).unwrap();
    let t = create(&mut store, keyed("t"));
    let e = create(&mut store, log_table("e"));
    let mut random = Random::new(5);
    let mut model: BTreeMap<i64, Option<i64>> = BTreeMap::new();
    let mut held = Vec::new();
    for i in 0..600 {
        let mut tick = store.tick().unwrap();
        let mut rows = Vec::new();
        for _ in 0..=random.below(8) {
            let id = random.below(200) as i64;
            if random.chance(0.3) && model.remove(&id).is_some() {
                rows.push((-1, (id, "x", None)));
            } else if !rows.iter().any(|row: &(i32, Row)| row.1.0 == id) {
                model.insert(id, Some(i));
                rows.push((1, (id, "x", Some(i))));
            }
        }
        // The last change of a key within one write counts; deletions come first where both are there.
        let mut last: BTreeMap<i64, (i32, Row)> = BTreeMap::new();
        for row in rows {
            last.insert(row.1.0, row);
        }
        for (id, row) in &last {
            if row.0 > 0 {
                model.insert(*id, Some(i));
            } else {
                model.remove(id);
            }
        }
        let changes: Vec<(i32, Row)> = last.into_values().collect();
        tick.write(t, &change(&changes)).unwrap();
        tick.write(e, &change(&[(1, (i, "e", None))])).unwrap();
        tick.publish().unwrap();
        store.sync().unwrap();
        if i % 3 == 0 {
            settle(&mut store);
        } else {
            store.maintain(&mut || None).unwrap();
        }
        if i % 50 == 7 {
            let snapshot = store.ordered_snapshot();
            held.push((live(&snapshot.table(t).unwrap()), live(&snapshot.table(e).unwrap()), snapshot));
        }
        if i % 150 == 100 {
            drop(store);
            store = Store::open(with(limits)).unwrap();
        }
        let table = store.ordered_snapshot().table(t).unwrap();
        assert_eq!(table.row_count(), model.len() as u64, "tick {i}");
        for _ in 0..5 {
            let id = random.below(210) as i64;
            assert_eq!(get(&table, id).is_some(), model.contains_key(&id), "key {id} after tick {i}");
        }
    }
    settle(&mut store);
    assert!(store.written().compacted_bytes > 0, "{:?}", store.written());
    for (rows, entries, snapshot) in &held {
        assert_eq!(live(&snapshot.table(t).unwrap()), *rows);
        assert_eq!(live(&snapshot.table(e).unwrap()), *entries);
    }
    let table = store.ordered_snapshot().table(t).unwrap();
    let expected: Vec<String> = model.iter().map(|(id, v)| format!("+1 {id} x {}", v.unwrap())).collect();
    let mut expected = expected;
    expected.sort();
    assert_eq!(live(&table), expected);
    assert!(table.entry_count() < 2_000, "{} entries for {} rows", table.entry_count(), table.row_count());
    drop(held);
    store.close().unwrap();
    let store = Store::open(with(limits)).unwrap();
    let table = store.ordered_snapshot().table(t).unwrap();
    assert_eq!(live(&table), expected);
    let segments = names(dir.path(), "seg-").len();
    assert!(segments < 24, "{segments} segments are left");
}

#[test]
fn a_log_that_is_read_from_segments_is_the_log_that_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let t = create(&mut store, keyed("t"));
    for i in 0..300_i64 {
        let mut tick = store.tick().unwrap();
        tick.set_cursor("reader", t, CommitId(10)).unwrap();
        let id = i % 11;
        tick.write(t, &change(&[(if i % 5 == 4 { -1 } else { 1 }, (id, "x", Some(i)))])).unwrap();
        tick.publish().unwrap();
        if i % 60 == 59 {
            store.checkpoint(&mut || None).unwrap();
        }
    }
    let before = log(&store.ordered_snapshot().table(t).unwrap(), 10);
    assert!(before.len() > 250, "a cursor keeps every entry");
    store.close().unwrap();
    let mut store = open(dir.path());
    assert_eq!(log(&store.ordered_snapshot().table(t).unwrap(), 10), before);
    let mut tick = store.tick().unwrap();
    tick.set_cursor("reader", t, CommitId(200)).unwrap();
    tick.publish().unwrap();
    let later: Vec<String> = log(&store.ordered_snapshot().table(t).unwrap(), 200);
    assert!(before.ends_with(&later) && later.len() > 90);
}

#[test]
fn what_goes_to_disk_is_told_by_table() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (t, u) = (create(&mut store, keyed("t")), create(&mut store, keyed("u")));
    assert_eq!(store.written().amplification(), Some(1.0), "there is nothing but the log");
    for i in 0..300 {
        let mut tick = store.tick().unwrap();
        tick.write(t, &change(&[(1, (i % 200, "a row", Some(i)))])).unwrap();
        tick.publish().unwrap();
    }
    store.checkpoint(&mut || None).unwrap();
    let (written, of_t) = (store.written(), store.written_of(t));
    assert!(of_t.sealed_bytes > 0 && of_t.compacted_bytes == 0 && of_t.sealed_bytes < written.sealed_bytes);
    assert_eq!(store.written_of(u), crate::TableWritten::default());
    assert!(written.amplification().unwrap() > 1.0);
    let storage = store.ordered_snapshot().table(t).unwrap().storage();
    assert_eq!(storage.disk_bytes, of_t.sealed_bytes, "all of it is still there, key runs too");
    assert!(storage.live_bytes > 0 && storage.live_bytes < storage.disk_bytes);
}

#[test]
fn a_damaged_checkpoint_or_segment_is_refused_with_its_file() {
    use std::os::unix::fs::FileExt;
    for prefix in ["checkpoint-", "seg-"] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(StoreOptions { wal_file_bytes: 4096, ..options(dir.path()) }).unwrap();
        let t = create(&mut store, keyed("t"));
        for i in 0..100 {
            let mut tick = store.tick().unwrap();
            tick.write(t, &change(&[(1, (i, "a text that fills the log's files", Some(i)))])).unwrap();
            tick.publish().unwrap();
        }
        store.close().unwrap();
        let name = names(dir.path(), prefix).pop().unwrap();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join(&name)).unwrap();
        let at = file.metadata().unwrap().len() - 10;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        let error = Store::open(options(dir.path())).err().unwrap();
        assert_eq!(error.kind(), gridhouse_base::ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert!(error.remedy().is_some());
        // Nothing is begun anew where a log is missing too, and nothing is removed.
        for log in names(dir.path(), "wal-") {
            std::fs::remove_file(dir.path().join(log)).unwrap();
        }
        let error = Store::open(options(dir.path())).err().unwrap();
        assert_eq!(error.kind(), gridhouse_base::ErrorKind::Corrupt, "{error}");
        assert_eq!(names(dir.path(), prefix), std::slice::from_ref(&name));
        std::fs::remove_file(dir.path().join(&name)).unwrap();
        let error = Store::open(options(dir.path())).err().unwrap();
        assert_eq!(error.kind(), gridhouse_base::ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_checkpoint_after_a_restart_without_a_new_tick_says_where_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 1_000, ..Limits::default() };
    let with = || StoreOptions { limits, ..options(dir.path()) };
    let mut store = Store::open(with()).unwrap();
    let t = create(&mut store, keyed("t"));
    store.close().unwrap();
    let mut store = Store::open(with()).unwrap();
    for i in 0..20 {
        store.append_source(commit(i, vec![part(t, &[(RowKind::Insert, (i64::from(i), "waits", None))])])).unwrap();
    }
    settle(&mut store);
    assert!(store.written().checkpoints > 0, "the log has grown enough for one");
    drop(store);
    let store = Store::open(with()).unwrap();
    assert_eq!(store.pending_count(), 20);
}

#[test]
fn who_begins_to_read_a_log_while_it_is_sealed_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 1, ..Limits::default() };
    let mut store = Store::open(StoreOptions { limits, ..options(dir.path()) }).unwrap();
    let t = create(&mut store, TableSpec { bucket_count: 1, ..keyed("t") });
    let write = |store: &mut Store, rows: &[(i32, Row)]| {
        let mut tick = store.tick().unwrap();
        tick.write(t, &change(rows)).unwrap();
        tick.publish().unwrap();
    };
    write(&mut store, &[(1, (1, "a", None)), (1, (2, "a", None)), (1, (3, "a", None))]);
    write(&mut store, &[(1, (1, "b", None)), (1, (4, "a", None)), (1, (5, "a", None))]);
    write(&mut store, &[(1, (4, "b", None))]);
    assert!(store.maintain(&mut || None).unwrap(), "a checkpoint is begun");
    let mut tick = store.tick().unwrap();
    let start = tick.set_cursor("late", t, CommitId(0)).unwrap();
    tick.publish().unwrap();
    settle(&mut store);
    for round in 0..2 {
        let table = store.ordered_snapshot().table(t).unwrap();
        assert!(table.changes(start).is_ok(), "round {round}: from {start}, the log begins at {}", table.log_start());
        drop(store);
        store = open(dir.path());
    }
}

#[test]
fn whoever_registers_late_keeps_what_it_is_promised_after_a_restart_that_merges_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 1_000, ..Limits::default() };
    let with = || StoreOptions { limits, ..options(dir.path()) };
    let mut store = Store::open(with()).unwrap();
    let t = create(&mut store, TableSpec { bucket_count: 1, ..keyed("t") });
    let e = create(&mut store, log_table("e"));
    let write = |store: &mut Store, tick: i64, updated: i64| {
        let mut rows: Vec<(i32, Row)> = (0..6).map(|row| (1, (tick * 10 + row, "new", None))).collect();
        rows.push((1, (updated, "again", Some(tick))));
        let mut under_way = store.tick().unwrap();
        under_way.write(t, &change(&rows)).unwrap();
        under_way.write(e, &change(&rows)).unwrap();
        under_way.publish().unwrap();
    };
    (1..5).for_each(|tick| write(&mut store, tick, 900 + tick));
    assert!(store.maintain(&mut || None).unwrap(), "a checkpoint is begun, so these batches stay as they are");
    (5..9).for_each(|tick| write(&mut store, tick, tick * 10 - 40));
    let last = store.ordered_snapshot().commit();
    assert_eq!(store.ordered_snapshot().table(t).unwrap().log_start(), CommitId(0), "the log is still whole");
    let mut tick = store.tick().unwrap();
    assert_eq!(tick.set_cursor("late", t, CommitId(0)).unwrap(), last, "nobody has kept it until now");
    assert_eq!(tick.set_cursor("late", e, CommitId(3)).unwrap(), CommitId(3), "a log table keeps its log by itself");
    let made = tick.create_table(keyed("made")).unwrap();
    assert_eq!(tick.set_cursor("late", made, CommitId(0)).unwrap(), CommitId(0), "it has all of it");
    tick.publish().unwrap();
    write(&mut store, 9, 50);
    let before = log(&store.ordered_snapshot().table(t).unwrap(), last.0);
    drop(store);
    let mut store = Store::open(with()).unwrap();
    let snapshot = store.ordered_snapshot();
    let table = snapshot.table(t).unwrap();
    assert!(table.log_start() > CommitId(0), "the restart has merged what was not merged before");
    assert!(table.log_start() <= last && snapshot.cursor("late", t) == Some(last));
    assert_eq!(log(&table, last.0), before);
    let mut tick = store.tick().unwrap();
    assert_eq!(tick.set_cursor("late", t, CommitId(1)).unwrap(), last, "a cursor does not go back");
    assert_eq!(tick.set_cursor("other", t, last.next()).unwrap(), last.next());
    assert_eq!(tick.trim_log(e, tick.commit()).unwrap_err().kind(), gridhouse_base::ErrorKind::Invalid);
}

/// Without a keeper at work: who writes does not leave it behind for ever.
#[test]
fn a_log_grows_only_so_far_ahead_of_its_keeper() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 4_096, ..Limits::default() };
    let mut store = Store::open(StoreOptions { wal_file_bytes: 4_096, limits, ..options(dir.path()) }).unwrap();
    let e = create(&mut store, log_table("e"));
    for i in 0..1_000 {
        let mut tick = store.tick().unwrap();
        tick.write(e, &change(&[(1, (i, "a row that takes its place", None))])).unwrap();
        tick.publish().unwrap();
        store.maintain(&mut || None).unwrap();
        let logs = names(dir.path(), "wal-").len();
        assert!(logs <= 8, "{logs} log files after {i} ticks");
    }
    assert!(store.written().checkpoints > 5, "{:?}", store.written());
    assert_eq!(live(&store.ordered_snapshot().table(e).unwrap()).len(), 1_000);
}
