//! Drawn entries through segment files and back; keys through runs; hostile bytes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow_select::take::take;
use gridhouse_base::fs::{DiskFileSystem, FileSystem};
use gridhouse_base::random::Random;
use gridhouse_base::{Column, CommitId, Error, ErrorKind, Field, Result, Schema, TableId, TypeKind, Value};

use super::encoding::CHUNK_ROWS;
use super::{GROUP_ROWS, Group, Segment, SegmentWriter};
use crate::bits::Bits;
use crate::spec::TableSpec;
use crate::table::TableShape;
use crate::tail::{NO_ROW, TailBatch};

const STORE: u128 = 77;
const SECRET: [u64; 2] = [5, 6];

/// One column of every type, after the key.
fn kinds() -> Vec<TypeKind> {
    let int = TypeKind::Int.nullable();
    vec![
        TypeKind::BigInt,
        TypeKind::Boolean,
        TypeKind::TinyInt,
        TypeKind::SmallInt,
        TypeKind::Int,
        TypeKind::Float,
        TypeKind::Double,
        TypeKind::Decimal { precision: 38, scale: 6 },
        TypeKind::STRING,
        TypeKind::BYTES,
        TypeKind::Date,
        TypeKind::Time(3),
        TypeKind::Timestamp(6),
        TypeKind::TimestampLtz(3),
        TypeKind::IntervalYearMonth,
        TypeKind::IntervalDayTime,
        TypeKind::Array(Box::new(int.clone())),
        TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(int.clone())),
        TypeKind::Row(vec![Field { name: "a".into(), sql_type: int }]),
    ]
}

fn value(random: &mut Random, kind: &TypeKind, i: i64) -> Value {
    if random.chance(0.05) {
        return Value::Null;
    }
    match kind {
        TypeKind::Boolean => Value::Boolean(random.chance(0.3)),
        TypeKind::TinyInt => Value::Integer(random.between(-128, 127)),
        TypeKind::Float => Value::Float([0.0, -0.0, f32::NAN, 1.5][random.below(4) as usize]),
        TypeKind::Double => Value::Double(random.between(0, 10_000) as f64 / 100.0),
        TypeKind::Decimal { .. } => Value::Decimal(i128::from(random.between(-5, 5)) << 70),
        TypeKind::Varchar(_) => Value::Text(format!("变电站 {}", random.below(40)).into()),
        TypeKind::Varbinary(_) => Value::Bytes(vec![i as u8; random.below(9) as usize].into()),
        TypeKind::Array(_) => Value::Array(vec![Value::Integer(i % 1000), Value::Null]),
        TypeKind::Map(..) => Value::Map(vec![(Value::Text("k".into()), Value::Integer(i % 7))]),
        TypeKind::Row(_) => Value::Row(vec![Value::Integer(i % 100)]),
        _ => Value::Integer(i % 120),
    }
}

fn shape(id: u32, kinds: &[TypeKind], key: &[usize]) -> Arc<TableShape> {
    let columns = kinds.iter().enumerate();
    let columns = columns.map(|(i, kind)| Column::new(format!("c{i}"), kind.clone().nullable())).collect();
    let name = format!("t{id}");
    let spec = match key {
        [] => TableSpec::log(name, Schema::new(columns)),
        key => TableSpec::primary_key(name, Schema::new(columns), key.to_vec()),
    };
    Arc::new(TableShape::new(TableId(id), spec, SECRET).unwrap())
}

/// Draws the entries of a bucket as its writer would leave them.
struct Bucket {
    shape: Arc<TableShape>,
    next_seq: u64,
    commit: u64,
    /// Key → sequence number of the live row.
    live: HashMap<i64, u64>,
}

impl Bucket {
    fn new(shape: &Arc<TableShape>) -> Self {
        Self { shape: shape.clone(), next_seq: 0, commit: 1, live: HashMap::new() }
    }

    /// `len` entries; after each the next commit begins with probability `ends`, and entries are missing with probability `gap`.
    fn draw(&mut self, random: &mut Random, len: usize, ends: f64, gap: f64) -> TailBatch {
        let keyed = self.shape.is_keyed();
        let kinds: Vec<_> = self.shape.spec.schema.columns.iter().map(|c| c.sql_type.kind.clone()).collect();
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(len);
        let (mut seqs, mut prev, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        let mut commits: Vec<(u32, CommitId)> = Vec::new();
        for i in 0..len {
            let key = random.below(len as u64 * 2) as i64;
            let old = self.live.get(&key).copied();
            let is_delete = keyed && old.is_some() && random.chance(0.3);
            let mut row: Vec<Value> = kinds.iter().map(|kind| value(random, kind, i as i64)).collect();
            if is_delete {
                row.fill(Value::Null);
            }
            row[0] = Value::Integer(key);
            if self.shape.spec.primary_key.len() == 2 {
                row[1] = Value::Text(format!("设备 {key}").into());
            }
            rows.push(row);
            if commits.last().is_none_or(|&(_, last)| last.0 != self.commit) {
                commits.push((i as u32, CommitId(self.commit)));
            }
            seqs.push(self.next_seq);
            prev.push(old.unwrap_or(NO_ROW));
            deletes.push(is_delete);
            match is_delete {
                true => drop(self.live.remove(&key)),
                false => drop(self.live.insert(key, self.next_seq)),
            }
            self.next_seq += 1 + if random.chance(gap) { random.below(5) } else { 0 };
            self.commit += u64::from(random.chance(ends));
        }
        self.commit += 1;
        let column =
            |(c, kind): (usize, &TypeKind)| Value::array_of(&rows.iter().map(|row| &row[c]).collect::<Vec<_>>(), kind);
        let columns = kinds.iter().enumerate().map(column).collect();
        let has_gaps = seqs[len - 1] - seqs[0] != len as u64 - 1;
        let deletes = deletes.contains(&true).then(|| Bits::from_fn(len, |i| deletes[i]));
        let first = seqs[0];
        let seqs = has_gaps.then(|| seqs.into());
        TailBatch::build(first, seqs, columns, len, deletes, keyed.then(|| prev.into()), commits)
    }
}

fn same_rows(given: &ArrayRef, expected: &ArrayRef, kind: &TypeKind) {
    assert_eq!(given.len(), expected.len());
    for i in 0..expected.len() {
        // As text, because NaN differs from NaN.
        let [given, expected] = [given, expected].map(|column| format!("{:?}", Value::from_array(column, i, kind)));
        assert_eq!(given, expected, "row {i} of a column of type {kind}");
    }
}

fn same_batch(expected: &TailBatch, group: &Group) {
    let back = group.to_batch().unwrap();
    assert_eq!(back.len, expected.len);
    for i in 0..expected.len {
        assert_eq!(
            (back.seq(i), back.kind(i), back.commit_at(i), back.prev.as_ref().map(|prev| prev[i])),
            (expected.seq(i), expected.kind(i), expected.commit_at(i), expected.prev.as_ref().map(|prev| prev[i]))
        );
        assert_eq!(
            (group.seq(i), group.kind(i), group.commit_at(i), group.is_delete(i), group.prev(i).unwrap()),
            (
                expected.seq(i),
                expected.kind(i),
                expected.commit_at(i),
                expected.is_delete(i),
                expected.prev.as_ref().map_or(NO_ROW, |prev| prev[i])
            )
        );
    }
    for ((given, wanted), column) in back.columns.iter().zip(&expected.columns).zip(&group.shape().spec.schema.columns)
    {
        same_rows(given, wanted, &column.sql_type.kind);
    }
    let runs: Vec<_> = group.runs().collect();
    assert_eq!(runs, expected.runs().collect::<Vec<_>>());
    assert_eq!((group.first_commit(), group.last_commit()), (expected.first_commit(), expected.last_commit()));
    let first = expected.seq(0).saturating_sub(3);
    for seq in first..expected.seq(expected.len - 1) + 3 {
        assert_eq!(group.position(seq), expected.position(seq), "number {seq}");
    }
}

fn open(dir: &Path, number: u64, shapes: &[Arc<TableShape>]) -> Result<Arc<Segment>> {
    Segment::open(&DiskFileSystem, dir, number, STORE, &|id| shapes.iter().find(|shape| shape.id == id).cloned())
}

#[test]
fn entries_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let shapes =
        [shape(1, &kinds(), &[0]), shape(2, &kinds(), &[]), shape(3, &[TypeKind::BigInt, TypeKind::STRING], &[0, 1])];
    for seed in 0..6 {
        let random = &mut Random::new(seed);
        let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), seed, STORE).unwrap();
        let mut written = Vec::new();
        for shape in &shapes {
            for bucket in [0, 7] {
                writer.begin_section(shape, bucket).unwrap();
                let mut entries = Bucket::new(shape);
                let mut batches = Vec::new();
                for _ in 0..1 + random.below(3) {
                    let len = [1, 70, 3000, CHUNK_ROWS, 2 * CHUNK_ROWS + 5][random.below(5) as usize];
                    let (ends, gap) = (*random.pick(&[0.0, 0.01, 1.0]), *random.pick(&[0.0, 0.2]));
                    let batch = entries.draw(random, len, ends, gap);
                    writer.push(&batch, (batch.seq(0) as i64, 9)).unwrap();
                    batches.push(batch);
                }
                written.push((shape.clone(), bucket, batches, entries.live));
            }
        }
        writer.finish().unwrap().verify().unwrap();
        let segment = open(dir.path(), seed, &shapes).unwrap();
        assert_eq!(segment.sections().len(), written.len());
        for (s, (shape, bucket, batches, live)) in written.iter().enumerate() {
            let section = segment.section(s);
            assert_eq!((section.meta().table(), section.meta().bucket), (shape.id, *bucket));
            assert_eq!(section.groups().len(), batches.len());
            for (g, batch) in batches.iter().enumerate() {
                let group = section.group(g);
                same_batch(batch, &group);
                assert_eq!(group.time_micros(), (batch.seq(0) as i64, 9));
                for (c, column) in batch.columns.iter().enumerate() {
                    let positions: Vec<u32> = (0..50).map(|_| random.below(batch.len as u64) as u32).collect();
                    let rows = group.rows(&[c], &positions).unwrap();
                    let expected = take(column, &UInt32Array::from(positions), None).unwrap();
                    same_rows(&rows[0], &expected, &shape.spec.schema.columns[c].sql_type.kind);
                }
            }
            if shape.is_keyed() && shape.spec.primary_key.len() == 1 {
                finds_what_lives(&section, live);
            }
        }
        // Tables that are gone are left out, and what is left is whole.
        let segment = open(dir.path(), seed, &shapes[1..]).unwrap();
        assert_eq!(segment.sections().len(), 4);
        same_batch(&written[2].2[0], &segment.section(0).group(0));
        segment.verify().unwrap();
    }
}

fn finds_what_lives(section: &super::Section, live: &HashMap<i64, u64>) {
    let keys: Vec<i64> = (0..40_000).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys.clone()))];
    let numbers = section.meta().shape.codec.keys(&columns).unwrap();
    let alive: std::collections::HashSet<u64> = live.values().copied().collect();
    let mut found = HashMap::new();
    section
        .find(&numbers, &|group, i| alive.contains(&section.group(group).seq(i)), &mut |candidate| {
            let seq = section.group(candidate.group).seq(candidate.position);
            assert_eq!(found.insert(keys[candidate.key], seq), None, "a key is found once");
        })
        .unwrap();
    assert_eq!(&found, live);
}

/// A batch of insertions with the keys `keys`.
fn insertions(first_seq: u64, keys: impl Iterator<Item = i64>) -> TailBatch {
    let keys: Int64Array = keys.map(Some).collect();
    let len = keys.len();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys)];
    TailBatch::new(first_seq, columns, len, false, Some(vec![NO_ROW; len].into()), CommitId(1 + first_seq))
}

#[test]
fn a_large_section_is_cut_into_groups_and_all_its_keys_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(1, &[TypeKind::BigInt], &[0]);
    let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 1, STORE).unwrap();
    writer.begin_section(&shape, 0).unwrap();
    let keys = 200_000_u64;
    writer.push(&insertions(0, (0..keys as i64).map(|key| key * 3)), (0, 0)).unwrap();
    let segment = writer.finish().unwrap();
    let section = segment.section(0);
    assert_eq!(section.groups().len(), keys.div_ceil(GROUP_ROWS as u64) as usize);
    let numbers: Vec<u128> = (0..3 * u128::from(keys)).collect();
    let mut tried = 0;
    let mut found = Vec::new();
    let is_alive = |_, _| true;
    section.find(&numbers, &is_alive, &mut |candidate| found.push(candidate)).unwrap();
    let hasher = shape.codec.hasher();
    for number in &numbers {
        section.candidates(hasher.hash(*number), &mut |_, _| tried += 1).unwrap();
    }
    found.sort_by_key(|candidate| candidate.key);
    assert_eq!(found.len(), keys as usize);
    for (i, candidate) in found.iter().enumerate() {
        assert_eq!((candidate.key, candidate.group * GROUP_ROWS + candidate.position), (3 * i, i));
    }
    // 400,000 absent keys and 200,000 present ones meet eight entries of another key each, one in 65,536 of which looks right.
    assert!(tried - keys < 150, "{} wrong candidates", tried - keys);
    segment.verify().unwrap();
}

#[test]
fn a_row_that_is_updated_again_and_again_has_one_candidate() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(1, &[TypeKind::BigInt], &[0]);
    let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 1, STORE).unwrap();
    writer.begin_section(&shape, 0).unwrap();
    let rows = 10_000_u64;
    for first in [0, rows] {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![42; rows as usize]))];
        let prev = (first..first + rows).map(|seq| seq.checked_sub(1).unwrap_or(NO_ROW)).collect();
        let batch = TailBatch::new(first, columns, rows as usize, false, Some(prev), CommitId(1 + first));
        writer.push(&batch, (0, 0)).unwrap();
    }
    let segment = writer.finish().unwrap();
    let mut seen = Vec::new();
    let hash = shape.codec.hasher().hash(42);
    segment.section(0).candidates(hash, &mut |group, position| seen.push((group, position))).unwrap();
    assert_eq!(seen, [(1, rows as usize - 1)]);
    segment.verify().unwrap();
}

#[test]
fn a_key_run_under_another_secret_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(1, &[TypeKind::BigInt], &[0]);
    let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 1, STORE).unwrap();
    writer.begin_section(&shape, 0).unwrap();
    writer.push(&insertions(0, 0..10), (0, 0)).unwrap();
    drop(writer.finish().unwrap());
    let other = Arc::new(TableShape::new(shape.id, shape.spec.clone(), [1, 1]).unwrap());
    assert_eq!(open(dir.path(), 1, &[other]).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn a_file_that_is_given_up_vanishes_and_a_leftover_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(super::file_name(3));
    std::fs::write(&path, b"left by a crash").unwrap();
    let error = open(dir.path(), 3, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 3, STORE).unwrap();
    drop(writer);
    assert!(!path.exists());
    let writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 3, STORE).unwrap();
    assert!(writer.finish().unwrap().sections().is_empty(), "a segment may be empty");
    assert_eq!(open(dir.path(), 4, &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    std::fs::rename(&path, dir.path().join(super::file_name(4))).unwrap();
    assert!(open(dir.path(), 4, &[]).unwrap_err().message().contains("its head says that it is segment 3"));
}

/// Does with an opened segment whatever its readers do.
fn use_all(segment: &Arc<Segment>) -> Result<()> {
    for s in 0..segment.sections().len() {
        let section = segment.section(s);
        for g in 0..section.groups().len() {
            let group = section.group(g);
            group.runs().for_each(|(_, from, to)| assert!(from <= to && to <= group.len()));
            for i in [0, group.len() / 2, group.len() - 1] {
                let _ = (group.position(group.seq(i)), group.kind(i), group.commit_at(i), group.prev(i)?);
            }
            for c in 0..group.shape().types.len() {
                (0..group.chunks()).try_for_each(|k| group.stats(c, k).map(|_| ()))?;
                group.rows(&[c], &[0, group.len() as u32 - 1])?;
            }
            let batch = group.to_batch()?;
            assert_eq!(batch.len, group.len());
        }
        section.find(&(0..50).collect::<Vec<u128>>(), &|_, _| true, &mut |_| ())?;
    }
    segment.verify()
}

fn is_told_apart(error: &Error) -> bool {
    let names_the_place =
        error.message().contains("seg-") && error.message().contains("offset") && error.remedy().is_some();
    error.kind() == ErrorKind::Conflict || error.kind() == ErrorKind::Corrupt && names_the_place
}

#[test]
fn hostile_bytes_are_refused_without_panic() {
    let dir = tempfile::tempdir().unwrap();
    let shapes = [shape(1, &kinds(), &[0]), shape(2, &kinds(), &[])];
    let random = &mut Random::new(1);
    let mut writer = SegmentWriter::create(Arc::new(DiskFileSystem), dir.path(), 1, STORE).unwrap();
    for shape in &shapes {
        writer.begin_section(shape, 0).unwrap();
        let mut entries = Bucket::new(shape);
        for (len, ends, gap) in [(40, 0.2, 0.2), (25, 0.0, 0.0), (60, 1.0, 0.1)] {
            writer.push(&entries.draw(random, len, ends, gap), (0, 0)).unwrap();
        }
    }
    drop(writer.finish().unwrap());
    let path = dir.path().join(super::file_name(1));
    let good = std::fs::read(&path).unwrap();
    let attempt = |bytes: &[u8], what: &str| {
        DiskFileSystem.remove(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        match open(dir.path(), 1, &shapes).and_then(|segment| use_all(&segment)) {
            Ok(()) => false,
            Err(error) => {
                assert!(is_told_apart(&error), "{what}: {error:?}");
                true
            }
        }
    };
    for _ in 0..300 {
        let end = random.below(good.len() as u64) as usize;
        assert!(attempt(&good[..end], &format!("cut at {end}")), "a file of {} bytes is cut at {end}", good.len());
    }
    let mut unnoticed = 0;
    for _ in 0..1500 {
        let mut bytes = good.clone();
        let bit = random.below(good.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        unnoticed += usize::from(!attempt(&bytes, &format!("bit {bit}")));
    }
    // Only padding between pieces and unused bytes of the head may change without being noticed.
    assert!(unnoticed < 75, "{unnoticed} of 1,500 flipped bits were not noticed");
    // Whoever gets the checksums right is still not believed.
    for _ in 0..4000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = *random.pick(&[0, 1, 0x7f, 0xff, random.clone().bits() as u8]);
        }
        forge_checksums(&mut bytes, random.chance(0.5));
        attempt(&bytes, "forged checksums");
    }
    for length in [0, 1, 63, 64, 104, 5000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
        attempt(&bytes, "noise");
    }
}

/// Makes the checksums of a damaged file right: of the footer, and of the pieces and blocks that it points to.
fn forge_checksums(bytes: &mut [u8], pieces_too: bool) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = bytes.len() - 40;
    let footer = word(bytes, end);
    if footer + 24 > end || footer < 64 {
        return;
    }
    let counts: Vec<usize> = (0..6).map(|i| word(bytes, footer + i * 4)).collect();
    let runs = footer + 24 + counts[0] * 16 + counts[1] * 64;
    let blocks = runs + counts[2] * 40;
    let pieces = blocks + counts[3] * 4;
    if pieces_too && pieces + counts[4] * 24 <= end {
        for piece in (0..counts[4]).map(|i| pieces + i * 24) {
            let (from, length) = (word(bytes, piece), word(bytes, piece + 8));
            if let Some(data) = bytes.get(from..from.saturating_add(length)) {
                let checksum = crc32c::crc32c(data);
                bytes[piece + 12..piece + 16].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        // The runs of a small file have one block each.
        for i in 0..counts[2].min(counts[3]) {
            let (from, length) = (word(bytes, runs + i * 40), word(bytes, runs + i * 40 + 8));
            if let Some(data) = bytes.get(from..from.saturating_add(length)) {
                let checksum = crc32c::crc32c(data);
                bytes[blocks + i * 4..blocks + i * 4 + 4].copy_from_slice(&checksum.to_le_bytes());
            }
        }
    }
    let checksum = crc32c::crc32c(&bytes[footer..end]);
    bytes[end + 16..end + 20].copy_from_slice(&checksum.to_le_bytes());
    let (before, after) = bytes[end..].split_at(20);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(before), &after[4..]);
    bytes[end + 20..end + 24].copy_from_slice(&checksum.to_le_bytes());
}
