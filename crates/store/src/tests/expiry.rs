//! Logs whose beginning is dropped, how far readers are behind, and the check of a table.

use gridhouse_base::{CommitId, ErrorKind};

use super::*;
use crate::Limits;

#[test]
fn a_trimmed_log_begins_behind_its_cut_now_and_after_a_restart() {
    for rows_per_commit in [1, 7, 300] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let spec = TableSpec { bucket_count: 2, ..log_table("readings") };
        let id = create(&mut store, spec);
        let mut commits = Vec::new();
        for i in 0..40 {
            let mut tick = store.tick().unwrap();
            let rows: Vec<_> = (0..rows_per_commit).map(|row| (1, (i * 1_000 + row, "r", None))).collect();
            tick.write(id, &change(&rows)).unwrap();
            commits.push(tick.publish().unwrap());
            if i % 10 == 9 {
                let cut = commits[commits.len() - 4];
                let mut tick = store.tick().unwrap();
                tick.trim_log(id, cut).unwrap();
                assert_eq!(tick.trim_log(id, cut).unwrap(), 0, "what is gone is gone");
                tick.publish().unwrap();
                let table = store.ordered_snapshot().table(id).unwrap();
                assert_eq!(live(&table).len() as i64, 3 * rows_per_commit);
                assert_eq!(table.log_start(), cut);
                assert_eq!(log(&table, cut.0).len() as i64, 3 * rows_per_commit);
                assert_eq!(table.changes(CommitId(cut.0 - 1)).err().unwrap().kind(), ErrorKind::Conflict);
                assert!(table.check().unwrap().iter().all(|part| part.fault.is_none()), "{:?}", table.check());
            }
        }
        let before = store.ordered_snapshot().table(id).unwrap();
        drop(store);
        let after = open(dir.path()).ordered_snapshot().table(id).unwrap();
        assert_eq!(live(&after), live(&before));
        assert_eq!((after.log_start(), after.oldest_commit()), (before.log_start(), before.oldest_commit()));
        assert_eq!(log(&after, after.log_start().0), log(&before, before.log_start().0));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    assert_eq!(tick.trim_log(id, CommitId(1)).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn what_has_not_expired_stays_in_the_log_when_it_is_sealed_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 1, compaction_factor: 2, ..Limits::default() };
    let with = || StoreOptions { limits, ..options(dir.path()) };
    let mut store = Store::open(with()).unwrap();
    let id = create(&mut store, log_table("readings"));
    let mut cut = CommitId(0);
    let rows: Vec<_> = (0..10).map(|row| (1, (row, "r", None))).collect();
    for _ in 0..6 {
        let mut commits = Vec::new();
        // Eight commits come to lie in one batch, which the cut below divides.
        for _ in 0..8 {
            let mut tick = store.tick().unwrap();
            tick.write(id, &change(&rows)).unwrap();
            commits.push(tick.publish().unwrap());
        }
        let mut tick = store.tick().unwrap();
        cut = commits[4];
        tick.trim_log(id, cut).unwrap();
        tick.publish().unwrap();
        while store.maintain(&mut || None).unwrap() | store.keeper().work() {}
        let table = store.ordered_snapshot().table(id).unwrap();
        assert_eq!((table.log_start(), log(&table, cut.0).len()), (cut, 30));
    }
    assert!(store.written().compacted_bytes > 0, "{:?}", store.written());
    drop(store);
    let table = open(dir.path()).ordered_snapshot().table(id).unwrap();
    assert_eq!((table.log_start(), log(&table, cut.0).len()), (cut, 30));
}

#[test]
fn a_reader_knows_how_far_it_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, log_table("readings"));
    let mut commits = vec![store.ordered_snapshot().commit()];
    for i in 0..10 {
        let mut tick = store.tick().unwrap();
        tick.write(id, &change(&[(1, (i, "a", None)), (1, (i, "b", None))])).unwrap();
        commits.push(tick.publish().unwrap());
    }
    let table = store.ordered_snapshot().table(id).unwrap();
    for (read, commit) in commits.iter().enumerate() {
        let lag = table.lag(*commit);
        assert_eq!((lag.rows, lag.oldest, lag.is_lost), (20 - 2 * read as u64, commits.get(read + 1).copied(), false));
        assert_eq!(lag.bytes > 0, lag.rows > 0);
    }
    let mut tick = store.tick().unwrap();
    assert_eq!(tick.trim_log(id, commits[5]).unwrap(), 10);
    tick.publish().unwrap();
    let table = store.ordered_snapshot().table(id).unwrap();
    assert!(table.lag(commits[4]).is_lost && !table.lag(commits[5]).is_lost);
    let storage = table.storage();
    assert_eq!(storage.live_rows, 10);
    assert!(storage.memory_bytes > 0 && storage.segments == 0);
}

#[test]
fn a_check_finds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    for i in 0..50 {
        let mut tick = store.tick().unwrap();
        tick.write(id, &change(&[(1, (i % 20, "a", Some(i))), (-1, ((i + 7) % 20, "", None))])).unwrap();
        tick.publish().unwrap();
    }
    let sound = store.ordered_snapshot().table(id).unwrap();
    let parts = sound.check().unwrap();
    assert!(parts.iter().all(|part| part.fault.is_none()), "{parts:?}");
    assert_eq!(parts.iter().filter(|part| part.what == "keys").map(|part| part.rows).sum::<u64>(), sound.row_count());
    let faults = |harm: &dyn Fn(&mut crate::snapshot::TableView)| {
        let mut view = (*sound.view).clone();
        harm(&mut view);
        let parts = TableSnapshot { view: Arc::new(view) }.check().unwrap();
        parts.into_iter().filter_map(|part| part.fault).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(faults(&|_| {}), "");
    assert!(faults(&|view| view.live_rows += 1).contains("bitmaps have"));
    let bucket =
        sound.view.buckets.iter().position(|bucket| bucket.groups.iter().any(|g| g.alive.count() > 0)).unwrap();
    let with_row = |view: &mut crate::snapshot::TableView, harm: &dyn Fn(&mut crate::bucket_view::BucketView)| {
        harm(Arc::make_mut(&mut view.buckets[bucket]));
    };
    let twice = |bucket: &mut crate::bucket_view::BucketView| {
        let group = bucket.groups.iter().find(|group| group.alive.count() > 0).unwrap().clone();
        bucket.groups.push(group);
    };
    let found = faults(&|view| with_row(view, &twice));
    assert!(found.contains("stands behind entry") && found.contains("a key lives twice"), "{found}");
    assert!(faults(&|view| with_row(view, &|bucket| bucket.next_seq = 0)).contains("is to come next"));
    let elsewhere = |view: &mut crate::snapshot::TableView| view.buckets.rotate_left(1);
    assert!(faults(&elsewhere).contains("belongs to bucket"));
}
