//! How fast segments are written, opened and looked into. Not a test: it asserts little and takes a minute.
//!
//! `cargo test --release -p gridhouse-store measure_segments -- --ignored --nocapture`

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_base::fs::DiskFileSystem;
use gridhouse_base::random::Random;
use gridhouse_base::{Column, CommitId, Schema, TableId, TypeKind};

use super::{GROUP_ROWS, Section, Segment, SegmentWriter};
use crate::spec::TableSpec;
use crate::table::TableShape;
use crate::tail::{NO_ROW, TailBatch};

const ROWS: u64 = 10_000_000;
const BATCH: usize = 10_000;

/// Spreads the keys over the section: an odd factor is a permutation of 2^64 numbers.
fn key(row: u64) -> i64 {
    row.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn batch(first: u64, len: usize, gaps: bool) -> TailBatch {
    let rows = first..first + len as u64;
    let column = |of: &dyn Fn(u64) -> i64| Arc::new(rows.clone().map(|row| Some(of(row))).collect::<Int64Array>());
    let texts: StringArray =
        rows.clone().map(|row| Some(format!("transformer {} of feeder {}", row % 977, row % 31))).collect();
    let columns: Vec<ArrayRef> = vec![
        column(&key),
        column(&|row| 1_700_000_000_000 + row as i64 * 1000 + (row % 7) as i64),
        column(&|row| key(row) >> 44),
        column(&|row| (row % 3) as i64),
        Arc::new(texts),
    ];
    let seqs = gaps.then(|| rows.clone().map(|row| row * 3 + row % 2).collect::<Arc<[u64]>>());
    let first_seq = seqs.as_ref().map_or(first, |seqs| seqs[0]);
    TailBatch::build(first_seq, seqs, columns, len, None, Some(vec![NO_ROW; len].into()), vec![(0, CommitId(1))])
}

fn time<T>(clock: &SystemClock, what: &str, count: u64, act: impl FnOnce() -> T) -> T {
    let start = clock.monotonic();
    let result = act();
    let taken = clock.monotonic() - start;
    let each = Duration::from_nanos((taken.as_nanos() / u128::from(count.max(1))) as u64);
    println!("{what:<60} {taken:>12.3?} {each:>10.1?} each");
    result
}

fn look_up(section: &Section, numbers: &[u128]) -> usize {
    let mut found = 0;
    section.find(numbers, &|_, _| true, &mut |_| found += 1).unwrap();
    found
}

#[test]
#[ignore = "measures; see the head of the file"]
fn measure_segments() {
    let clock = &SystemClock::new();
    let dir = tempfile::tempdir().unwrap();
    let columns = [TypeKind::BigInt, TypeKind::BigInt, TypeKind::BigInt, TypeKind::BigInt, TypeKind::STRING];
    let columns = columns.into_iter().enumerate().map(|(i, kind)| Column::new(format!("c{i}"), kind.nullable()));
    let spec = TableSpec::primary_key("t", Schema::new(columns.collect()), vec![0]);
    let shape = Arc::new(TableShape::new(TableId(1), spec, [1, 2]).unwrap());
    let batches: Vec<TailBatch> = (0..8).map(|i| batch(i * GROUP_ROWS as u64, GROUP_ROWS, false)).collect();
    let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 1, 1).unwrap();
    writer.begin_section(&shape, 0).unwrap();
    time(clock, "write groups, without syncing", 8 * GROUP_ROWS as u64, || {
        batches.iter().for_each(|batch| writer.push(batch, (0, 0)).unwrap());
    });
    time(clock, "the run, footer and sync of them", 8 * GROUP_ROWS as u64, || writer.finish().unwrap());

    let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 2, 1).unwrap();
    writer.begin_section(&shape, 0).unwrap();
    let write = |writer: &mut SegmentWriter, gaps| {
        for first in (0..ROWS).step_by(GROUP_ROWS) {
            let len = (ROWS - first).min(GROUP_ROWS as u64) as usize;
            writer.push(&batch(first, len, gaps), (0, 0)).unwrap();
        }
    };
    write(&mut writer, false);
    writer.begin_section(&shape, 1).unwrap();
    write(&mut writer, true);
    drop(writer.finish().unwrap());
    let shape_of = |_| Some(shape.clone());
    let segment = time(clock, "open 20 M entries, half with gaps", 1, || {
        Segment::open(&DiskFileSystem, dir.path(), 2, 1, &shape_of).unwrap()
    });
    let section = segment.section(0);
    let run_bytes: u64 = section.meta().runs.iter().map(|run| run.bytes).sum();
    println!(
        "{} bytes, {} runs of {:.2} bytes an entry",
        segment.file_bytes(),
        section.meta().runs.len(),
        run_bytes as f64 / ROWS as f64
    );
    let random = &mut Random::new(1);
    let drawn = |random: &mut Random, present: bool| {
        let number = |random: &mut Random| u128::from(key(random.below(ROWS) + if present { 0 } else { ROWS }) as u64);
        (0..BATCH).map(|_| number(random)).collect::<Vec<u128>>()
    };
    for (name, present) in [("present", true), ("absent", false)] {
        for i in 0..4 {
            let numbers = drawn(random, present);
            let found = time(clock, &format!("find {BATCH} {name} keys at once, time {i}"), BATCH as u64, || {
                look_up(&section, &numbers)
            });
            assert_eq!(found, if present { BATCH } else { 0 });
        }
        let numbers = drawn(random, present);
        let hasher = shape.codec.hasher();
        let mut candidates = 0;
        time(clock, &format!("candidates of {BATCH} {name} keys, at once"), BATCH as u64, || {
            let hashes: Vec<u64> = numbers.iter().map(|&number| hasher.hash(number)).collect();
            section.candidates_of(&hashes, &mut |_, _, _| candidates += 1).unwrap();
        });
        let numbers = drawn(random, present);
        time(clock, &format!("candidates of {BATCH} {name} keys, one by one"), BATCH as u64, || {
            for &number in &numbers {
                section.candidates(hasher.hash(number), &mut |_, _| candidates += 1).unwrap();
            }
        });
        let numbers = drawn(random, present);
        time(clock, &format!("find {BATCH} {name} keys one by one"), BATCH as u64, || {
            numbers.iter().map(|&number| look_up(&section, &[number])).sum::<usize>()
        });
        println!("{candidates} candidates");
    }
    let rows: Vec<u64> = (0..BATCH).map(|_| random.below(ROWS)).collect();
    let gapped = segment.section(1);
    for i in 0..2 {
        time(clock, &format!("position of {BATCH} entries, numbers with gaps, time {i}"), BATCH as u64, || {
            for &row in &rows {
                let group = gapped.group(row as usize / GROUP_ROWS);
                assert_eq!(group.position(row * 3 + row % 2), Some(row as usize % GROUP_ROWS));
            }
        });
    }
    for i in 0..2 {
        time(clock, &format!("all 5 columns of {BATCH} rows, one by one, time {i}"), BATCH as u64, || {
            for &row in &rows {
                section
                    .group(row as usize / GROUP_ROWS)
                    .rows(&[0, 1, 2, 3, 4], &[(row as usize % GROUP_ROWS) as u32])
                    .unwrap();
            }
        });
    }
    let mut sorted = rows.clone();
    sorted.sort_unstable();
    time(clock, &format!("all 5 columns of {BATCH} rows, by group"), BATCH as u64, || {
        for rows in sorted.chunk_by(|a, b| a / GROUP_ROWS as u64 == b / GROUP_ROWS as u64) {
            let positions: Vec<u32> = rows.iter().map(|row| (*row as usize % GROUP_ROWS) as u32).collect();
            section.group(rows[0] as usize / GROUP_ROWS).rows(&[0, 1, 2, 3, 4], &positions).unwrap();
        }
    });
    time(clock, "decode a column", ROWS, || {
        for group in section.groups().map(|group| segment.group(group)) {
            (0..group.chunks()).for_each(|chunk| drop(group.column(1, chunk).unwrap()));
        }
    });
    time(clock, "verify both sections", 2 * ROWS, || segment.verify().unwrap());
}
