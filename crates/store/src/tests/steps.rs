//! Source commits that a tick takes in steps: the steps come to what one step would have come to, live and replayed.

use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, ErrorKind, RowKind};

use super::*;
use crate::StageUse;

/// Rows with drawn keys and values, some of them deletions.
fn drawn(random: &mut Random, count: u64, keys: u64, deletions: bool) -> Vec<(RowKind, Row)> {
    let row = |random: &mut Random| {
        let kind = if deletions && random.chance(0.2) { RowKind::Delete } else { RowKind::Insert };
        (kind, (random.below(keys) as i64, "r", Some(random.below(4) as i64)))
    };
    (0..count).map(|_| row(random)).collect()
}

/// The same drawn commits into a keyed and a log table, staged and not, replacing and not.
fn fill(store: &mut Store, seed: u64) -> (TableId, TableId) {
    let (t, e) = (create(store, keyed("t")), create(store, log_table("e")));
    let mut random = Random::new(seed);
    for number in 0..12 {
        let mut stages = Vec::new();
        if random.chance(0.5) {
            for _ in 0..random.below(4) {
                let count = random.below(30);
                let replaces = drawn(&mut random, count, 20, false);
                store.stage(number, part(t, &replaces)).unwrap();
                store.stage(number, part(e, &drawn(&mut random, 5, 9, false))).unwrap();
            }
            stages.push((number, if random.chance(0.5) { StageUse::Replace(t) } else { StageUse::Append }));
        }
        let mut parts = Vec::new();
        for _ in 0..random.below(3) {
            let count = random.below(40);
            parts.push(part(t, &drawn(&mut random, count, 20, true)));
            parts.push(part(e, &drawn(&mut random, 7, 9, false)));
        }
        store.append_source(SourceCommit { stages, ..commit(number as u8, parts) }).unwrap();
    }
    (t, e)
}

/// What changes come to in all.
fn net(changes: &[(TableId, ChangeBatch)], table: TableId) -> Vec<String> {
    let mut sums = std::collections::BTreeMap::new();
    for line in changes.iter().filter(|(id, _)| *id == table).flat_map(|(_, batch)| shown(batch)) {
        let (weight, row) = line.split_once(' ').unwrap();
        *sums.entry(row.to_owned()).or_insert(0) += weight.parse::<i32>().unwrap();
    }
    sums.into_iter().filter(|(_, weight)| *weight != 0).map(|(row, weight)| format!("{weight:+} {row}")).collect()
}

#[test]
fn steps_come_to_what_one_step_comes_to() {
    for seed in 0..40 {
        let whole_dir = tempfile::tempdir().unwrap();
        let mut whole = open(whole_dir.path());
        let (t, e) = fill(&mut whole, seed);
        let mut tick = whole.tick().unwrap();
        let expected = tick.apply_pending().unwrap();
        tick.publish().unwrap();
        let whole = whole.ordered_snapshot();

        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        fill(&mut store, seed);
        let needed = store.oldest_needed_frame().unwrap();
        let limit = 1 + seed as usize * 3 % 50;
        let mut tick = store.tick().unwrap();
        if tick.apply_step(limit).unwrap().is_some_and(|step| !step.is_last) {
            let error = tick.publish().unwrap_err();
            assert!(error.message().contains("middle of a source's commit"), "{error}");
            assert_eq!(store.oldest_needed_frame(), Some(needed), "what was given up waits again");
            tick = store.tick().unwrap();
        } else {
            drop(tick);
            tick = store.tick().unwrap();
        }
        let mut changes = Vec::new();
        let mut commits_of_log = Vec::new();
        while let Some(step) = tick.apply_step(limit).unwrap() {
            let rows: usize = step.changes.iter().map(|change| change.rows.len()).sum();
            assert!(rows <= 2 * limit, "seed {seed}: {rows} changed rows in a step of {limit}");
            for change in step.changes {
                if change.table == e {
                    match change.continues {
                        true => *commits_of_log.last_mut().unwrap() += change.rows.len(),
                        false => commits_of_log.push(change.rows.len()),
                    }
                }
                changes.push((change.table, change.rows));
            }
        }
        assert_eq!(tick.as_of(), CommitId(tick.commit().0 - 1));
        tick.publish().unwrap();
        assert_eq!(store.oldest_needed_frame(), None);
        for table in [t, e] {
            assert_eq!(net(&changes, table), net(&expected, table), "seed {seed}, limit {limit}");
            let there = store.ordered_snapshot().table(table).unwrap();
            assert_eq!(live(&there), live(&whole.table(table).unwrap()), "seed {seed}, limit {limit}");
        }
        let by_commit: Vec<usize> = expected.iter().filter(|(id, _)| *id == e).map(|(_, rows)| rows.len()).collect();
        assert_eq!(commits_of_log, by_commit, "seed {seed}: rows of a log table are known by commit");

        let before = store.ordered_snapshot();
        drop(store);
        let after = open(dir.path()).ordered_snapshot();
        for table in [t, e] {
            let (before, after) = (before.table(table).unwrap(), after.table(table).unwrap());
            assert_eq!(log(&after, after.log_start().0), log(&before, before.log_start().0), "seed {seed}: row ids");
        }
    }
}

#[test]
fn commits_of_a_dropped_table_wait_in_the_log_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (t, u) = (create(&mut store, keyed("t")), create(&mut store, keyed("u")));
    let row = |id| (RowKind::Insert, (id, "a", None));
    for table in [t, u] {
        store.stage(1, part(table, &[row(1)])).unwrap();
    }
    let parts = vec![part(t, &[row(2)]), part(u, &[row(3)])];
    let stages = vec![(1, StageUse::Replace(t))];
    store.append_source(SourceCommit { stages, ..commit(1, parts) }).unwrap();
    let mut tick = store.tick().unwrap();
    tick.drop_table(t).unwrap();
    tick.publish().unwrap();
    drop(store);
    let mut store = open(dir.path());
    // As if too much had been waiting to be kept in memory.
    store.state.pending.iter_mut().for_each(|pending| pending.parts = None);
    let mut tick = store.tick().unwrap();
    assert_eq!(shown(&tick.apply_pending().unwrap()[0].1), ["+1 1 a NULL", "+1 3 a NULL"]);
    tick.publish().unwrap();
}

#[test]
fn damage_in_what_waits_is_found_and_the_tick_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let t = create(&mut store, keyed("t"));
    store.stage(1, part(t, &[(RowKind::Insert, (1, "staged", None))])).unwrap();
    store.append_source(SourceCommit { stages: vec![(1, StageUse::Append)], ..commit(1, vec![]) }).unwrap();
    let path = dir.path().join("wal-0000000001");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"staged").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut tick = store.tick().unwrap();
    let error = tick.apply_step(10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("wal-0000000001 at offset"), "{error}");
    assert_eq!(tick.publish().unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(store.pending_count(), 1);
}

#[test]
fn a_table_can_be_taken_back_within_a_tick() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (t, e) = (create(&mut store, keyed("t")), create(&mut store, log_table("e")));
    let mut tick = store.tick().unwrap();
    for table in [t, e] {
        tick.write(table, &change(&[(1, (1, "a", None)), (1, (2, "b", None))])).unwrap();
    }
    let first = tick.publish().unwrap();
    let mut tick = store.tick().unwrap();
    tick.write(t, &change(&[(1, (1, "A", None)), (-1, (2, "b", None)), (1, (3, "c", None))])).unwrap();
    tick.write(e, &change(&[(1, (3, "c", None))])).unwrap();
    tick.restore(t).unwrap();
    tick.restore(e).unwrap();
    let effect = tick.write(t, &change(&[(1, (2, "B", None))])).unwrap();
    assert_eq!(shown(&effect), ["+1 2 B NULL", "-1 2 b NULL"], "the index is right again");
    tick.write(e, &change(&[(1, (4, "d", None))])).unwrap();
    let made = tick.create_table(keyed("made")).unwrap();
    assert_eq!(tick.restore(made).unwrap_err().kind(), ErrorKind::Invalid);
    tick.publish().unwrap();
    let before = store.ordered_snapshot();
    drop(store);
    for snapshot in [before, open(dir.path()).ordered_snapshot()] {
        assert_eq!(live(&snapshot.table(t).unwrap()), ["+1 1 a NULL", "+1 2 B NULL"]);
        assert_eq!(live(&snapshot.table(e).unwrap()), ["+1 1 a NULL", "+1 2 b NULL", "+1 4 d NULL"]);
        assert_eq!(log(&snapshot.table(e).unwrap(), first.0), [format!("c{} +I 4", first.0 + 1)]);
    }
}
