//! Ticks larger than they may hold in memory: what they hold, what readers and restarts find, and what becomes of their files.

use gridhouse_base::CommitId;
use gridhouse_base::random::Random;

use super::*;
use crate::{Limits, StageUse};

/// Bytes of a tick's rows in memory.
const TICK_BYTES: usize = 20_000;

fn small(dir: &Path) -> StoreOptions {
    let limits = Limits { tick_bytes: TICK_BYTES, ..Limits::default() };
    StoreOptions { limits, ..options(dir) }
}

/// A change of `count` rows with drawn keys; some go where the table has keys.
fn drawn(random: &mut Random, count: u64, withdraws: bool) -> ChangeBatch {
    let rows: Vec<(i32, Row)> = (0..count)
        .map(|_| {
            let weight = if withdraws && random.chance(0.2) { -1 } else { 1 };
            (weight, (random.below(3_000) as i64, "a text of some length", Some(random.below(9) as i64)))
        })
        .collect();
    change(&rows)
}

/// What the tables hold in memory.
fn held(tick: &crate::Tick<'_>, tables: &[TableId]) -> usize {
    tables.iter().map(|id| tick.table(*id).unwrap().bytes() as usize).sum()
}

fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("seg-")).collect();
    names.sort();
    names
}

/// The same ticks in two stores, of which one seals ahead.
fn fill(store: &mut Store, check: bool) -> [TableId; 2] {
    let tables = [create(store, keyed("t")), create(store, log_table("e"))];
    let mut random = Random::new(5);
    for round in 0..3 {
        for number in 0..40 {
            let rows: Vec<(RowKind, Row)> =
                (0..100).map(|i| (RowKind::Insert, (i64::from(number) * 70 + i, "staged", Some(round)))).collect();
            store.stage(1, part(tables[0], &rows)).unwrap();
        }
        let stage_use = if round == 1 { StageUse::Replace(tables[0]) } else { StageUse::Append };
        store.append_source(SourceCommit { stages: vec![(1, stage_use)], ..commit(round as u8, vec![]) }).unwrap();
        let mut tick = store.tick().unwrap();
        while let Some(step) = tick.apply_step(250).unwrap() {
            assert!(step.changes.iter().all(|change| change.rows.len() <= 500));
            if check {
                assert!(tick.bytes_in_memory() <= TICK_BYTES, "{} bytes", tick.bytes_in_memory());
            }
        }
        for _ in 0..60 {
            for id in tables {
                tick.write(id, &drawn(&mut random, 100, id == tables[0])).unwrap();
                if check {
                    assert!(tick.bytes_in_memory() <= TICK_BYTES, "{} bytes", tick.bytes_in_memory());
                    // Earlier ticks hold what they held, or less.
                    assert!(held(&tick, &tables) <= 2 * TICK_BYTES, "{} bytes", held(&tick, &tables));
                }
            }
        }
        tick.publish().unwrap();
    }
    tables
}

#[test]
fn a_tick_of_any_size_holds_little_and_comes_to_the_same() {
    let (whole_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut whole = open(whole_dir.path());
    let tables = fill(&mut whole, false);
    assert_eq!(segments(whole_dir.path()), Vec::<String>::new(), "64 MB are not reached");
    let mut store = Store::open(small(dir.path())).unwrap();
    assert_eq!(fill(&mut store, true), tables);
    assert!(segments(dir.path()).len() > 20, "{:?}", segments(dir.path()));
    let expected = whole.ordered_snapshot();
    let same = |store: &Store| {
        let found = store.ordered_snapshot();
        for id in tables {
            let (found, expected) = (found.table(id).unwrap(), expected.table(id).unwrap());
            assert_eq!(live(&found), live(&expected));
            let from = found.log_start().0.max(expected.log_start().0);
            assert_eq!(log(&found, from), log(&expected, from), "the entries are the same, in the same order");
            assert!(found.check().unwrap().iter().all(|part| part.fault.is_none()), "{:?}", found.check().unwrap());
        }
    };
    same(&store);

    // Killed before any checkpoint: the log says everything, and reading it again holds as little.
    drop(store);
    let left = segments(dir.path());
    let mut store = Store::open(small(dir.path())).unwrap();
    same(&store);
    let bytes: u64 = tables.iter().map(|id| store.ordered_snapshot().table(*id).unwrap().bytes()).sum();
    assert!(bytes <= 2 * TICK_BYTES as u64, "{bytes} bytes are in memory after reading the log");
    assert!(segments(dir.path()).iter().all(|name| !left.contains(name)), "what nobody named is gone");

    store.checkpoint(&mut || None).unwrap();
    same(&store);
    drop(store);
    let store = open(dir.path());
    same(&store);
    store.close().unwrap();
    same(&open(dir.path()));
}

#[test]
fn what_was_sealed_ahead_of_a_tick_that_is_given_up_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(small(dir.path())).unwrap();
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "before", None)), (1, (2, "before", None))])).unwrap();
    tick.publish().unwrap();
    let mut random = Random::new(1);
    let mut tick = store.tick().unwrap();
    for _ in 0..30 {
        tick.write(id, &drawn(&mut random, 200, true)).unwrap();
    }
    assert!(segments(dir.path()).len() > 3);
    drop(tick);
    assert_eq!(segments(dir.path()), Vec::<String>::new());
    let rows = ["+1 1 before NULL", "+1 2 before NULL"];
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), rows);

    // Taken back alone, the others stay.
    let other = create(&mut store, keyed("u"));
    let mut tick = store.tick().unwrap();
    for _ in 0..30 {
        tick.write(id, &drawn(&mut random, 200, true)).unwrap();
        tick.write(other, &drawn(&mut random, 50, false)).unwrap();
    }
    tick.restore(id).unwrap();
    tick.write(id, &change(&[(1, (2, "after", None))])).unwrap();
    let others = live(&tick.table(other).unwrap());
    tick.publish().unwrap();
    for checkpoint in [false, true] {
        if checkpoint {
            store.checkpoint(&mut || None).unwrap();
        }
        drop(store);
        store = Store::open(small(dir.path())).unwrap();
        let snapshot = store.ordered_snapshot();
        assert_eq!(live(&snapshot.table(id).unwrap()), ["+1 1 before NULL", "+1 2 after NULL"]);
        assert_eq!(live(&snapshot.table(other).unwrap()), others);
    }
}

#[test]
fn a_checkpoint_under_way_is_finished_before_a_tick_seals_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { checkpoint_log_bytes: 1, tick_bytes: TICK_BYTES, ..Limits::default() };
    let mut store = Store::open(StoreOptions { limits, ..options(dir.path()) }).unwrap();
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "first", None)), (1, (2, "second", None)), (1, (3, "third", None))])).unwrap();
    let first = tick.publish().unwrap();
    assert!(store.maintain(&mut || None).unwrap(), "a seal is laid out, and nobody carries it out");
    let mut random = Random::new(1);
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "changed", None)), (-1, (2, "second", None))])).unwrap();
    for _ in 0..30 {
        let rows: Vec<(i32, Row)> = (0..200).map(|_| (1, (10 + random.below(900) as i64, "x", None))).collect();
        tick.write(id, &change(&rows)).unwrap();
    }
    let seen = tick.table(id).unwrap();
    let now = live(&seen);
    assert!(now.contains(&"+1 1 changed NULL".into()) && !now.iter().any(|row| row.contains("second")));
    drop(tick);
    // The tick was given up, and the checkpoint is there all the same.
    let rows = ["+1 1 first NULL", "+1 2 second NULL", "+1 3 third NULL"];
    let snapshot = store.ordered_snapshot();
    assert_eq!((snapshot.commit(), live(&snapshot.table(id).unwrap())), (first, rows.map(String::from).to_vec()));
    assert_eq!(store.written().checkpoints, 1);
    drop(store);
    let store = open(dir.path());
    assert_eq!(live(&store.ordered_snapshot().table(id).unwrap()), rows);
}

#[test]
fn wide_rows_end_a_step_before_many_do_and_a_replay_takes_the_same_steps() {
    let wide = "x".repeat(3 << 20);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (t, e) = (create(&mut store, keyed("t")), create(&mut store, log_table("e")));
    let batch = |ids: std::ops::Range<i64>| {
        let rows: Vec<Row> = ids.map(|id| (id, "", None)).collect();
        let mut columns = columns(&rows);
        columns[1] = Arc::new(arrow_array::StringArray::from(vec![wide.as_str(); rows.len()]));
        KindBatch::new(columns, vec![RowKind::Insert; rows.len()])
    };
    for table in [t, e] {
        store.stage(1, Part::new(table, batch(0..7))).unwrap();
    }
    store.append_source(SourceCommit { stages: vec![(1, StageUse::Append)], ..commit(1, vec![]) }).unwrap();
    let mut tick = store.tick().unwrap();
    let mut steps = Vec::new();
    while let Some(step) = tick.apply_step_for(65_536, &|_| true).unwrap() {
        steps.push(step.changes.iter().map(|change| change.rows.len()).sum::<usize>());
    }
    assert_eq!(steps, [5, 5, 4], "16 MB hold five rows of 3 MB");
    tick.publish().unwrap();
    let before = store.ordered_snapshot();
    drop(store);
    let after = open(dir.path()).ordered_snapshot();
    for table in [t, e] {
        let (before, after) = (before.table(table).unwrap(), after.table(table).unwrap());
        assert_eq!(log(&after, 0), log(&before, 0), "row ids agree");
        assert_eq!(after.row_count(), 7);
    }
}

#[test]
fn the_last_changes_of_a_log_are_its_living_rows_and_deletions() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = create(&mut store, keyed("t"));
    let mut tick = store.tick().unwrap();
    tick.set_cursor("sink", id, CommitId(0)).unwrap();
    tick.write(id, &change(&[(1, (1, "a", None)), (1, (2, "b", None)), (1, (3, "c", None))])).unwrap();
    let first = tick.publish().unwrap();
    let mut tick = store.tick().unwrap();
    tick.write(id, &change(&[(1, (1, "A", None)), (-1, (2, "b", None)), (-1, (3, "c", None))])).unwrap();
    tick.write(id, &change(&[(1, (2, "B", None)), (1, (1, "AA", None)), (1, (4, "d", None))])).unwrap();
    tick.write(id, &change(&[(-1, (4, "d", None))])).unwrap();
    tick.publish().unwrap();
    for sealed in [false, true] {
        if sealed {
            store.checkpoint(&mut || None).unwrap();
        }
        let table = store.ordered_snapshot().table(id).unwrap();
        let last = |after: CommitId| {
            let mut told = Vec::new();
            for entry in table.last_changes(after).unwrap() {
                let (_, batch) = entry.unwrap();
                for (row, kind) in batch.kinds.iter().enumerate() {
                    let id = Value::from_array(&batch.columns[0], row, &TypeKind::BigInt);
                    let Value::Integer(id) = id else { panic!("the key is never NULL") };
                    told.push((id, kind.short()));
                }
            }
            told.sort_by_key(|(id, _)| *id);
            told
        };
        assert_eq!(last(first), [(1, "+U"), (2, "-D"), (2, "+I"), (3, "-D"), (4, "-D")]);
        assert_eq!(last(CommitId(0)), [(1, "+U"), (2, "-D"), (2, "+I"), (3, "-D"), (4, "-D")]);
    }
}
