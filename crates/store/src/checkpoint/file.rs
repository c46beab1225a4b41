//! The bytes of a checkpoint file: encoding, and decoding that believes nothing before the checksum is right.
//!
//! `docs/formats.md` has the byte table. Everything fits memory: definitions, cursors and positions are few, and a bitmap has
//! a bit for every entry.

use gridhouse_base::{CommitId, Error, Result, SourceId, TableId};

use super::ReplayStart;
use crate::bits::Bits;
use crate::codec::{Input, damaged, put_bytes, put_u32, put_u64};
use crate::source::SourcePosition;
use crate::spec::TableSpec;
use crate::wal::place::LogPlace;

/// The first bytes of a checkpoint file.
const MAGIC: [u8; 8] = *b"GRIDCKP\0";
/// The version of checkpoint files.
const VERSION: u32 = 2;
/// Magic, version, checksum, length.
const HEAD_BYTES: usize = 24;

const NONE_ALIVE: u8 = 0;
const ALL_ALIVE: u8 = 1;
const SOME_ALIVE: u8 = 2;

/// What a checkpoint says.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub number: u64,
    pub store: u128,
    /// The secrets of key hashing, which the key runs of segments were made with.
    pub secret: [u64; 2],
    pub commit: CommitId,
    pub as_of: CommitId,
    pub time_micros: i64,
    pub start: ReplayStart,
    pub next_table: u32,
    pub next_segment: u64,
    /// Number and level, in the order of their entries.
    pub segments: Vec<(u64, u8)>,
    pub tables: Vec<SavedTable>,
    pub cursors: Vec<(String, TableId, CommitId)>,
    pub positions: Vec<(SourceId, SourcePosition)>,
    /// The files that are attached, by number; the last is the checkpoint's own.
    pub attached: Vec<AttachedEntry>,
}

/// A file that is attached to a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttachedEntry {
    /// The number of the checkpoint that it was written with.
    pub number: u64,
    pub length: u64,
    /// The CRC-32C of all of it.
    pub checksum: u32,
}

/// A table in a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct SavedTable {
    pub id: TableId,
    pub spec: TableSpec,
    pub live_rows: u64,
    pub buckets: Vec<SavedBucket>,
}

/// A bucket in a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct SavedBucket {
    pub next_seq: u64,
    pub reclaimed: CommitId,
    /// Segment, number of the group in this bucket's section of it, and which of its entries live.
    pub groups: Vec<(u64, u32, Bits)>,
}

impl Checkpoint {
    /// The whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEAD_BYTES];
        put_u64(&mut out, self.number);
        put_u64(&mut out, self.store as u64);
        put_u64(&mut out, (self.store >> 64) as u64);
        let numbers = [
            self.secret[0],
            self.secret[1],
            self.commit.0,
            self.as_of.0,
            self.time_micros as u64,
            self.start.first.file,
            self.start.first.offset,
            self.start.first.frame,
            self.start.tick_frame,
            self.next_segment,
        ];
        numbers.into_iter().for_each(|number| put_u64(&mut out, number));
        put_u32(&mut out, self.next_table);
        put_u32(&mut out, self.segments.len() as u32);
        for &(number, level) in &self.segments {
            put_u64(&mut out, number);
            out.push(level);
        }
        put_u32(&mut out, self.tables.len() as u32);
        self.tables.iter().for_each(|table| table.encode(&mut out));
        put_u32(&mut out, self.cursors.len() as u32);
        for (consumer, table, upto) in &self.cursors {
            put_bytes(&mut out, consumer.as_bytes());
            put_u32(&mut out, table.0);
            put_u64(&mut out, upto.0);
        }
        put_u32(&mut out, self.positions.len() as u32);
        for (source, position) in &self.positions {
            put_u32(&mut out, source.0);
            put_u64(&mut out, position.event_time_micros as u64);
            put_u64(&mut out, position.commit.0);
            put_bytes(&mut out, &position.position);
        }
        put_u32(&mut out, self.attached.len() as u32);
        for file in &self.attached {
            put_u64(&mut out, file.number);
            put_u64(&mut out, file.length);
            put_u32(&mut out, file.checksum);
        }

        let length = (out.len() - HEAD_BYTES) as u64;
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum_of(&out);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged, `Conflict` if another version wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let head = bytes.get(..HEAD_BYTES).ok_or_else(|| damaged_at(bytes.len(), "it ends within its head"))?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let length = u64::from_le_bytes(head[16..24].try_into().expect("8 bytes"));
        if head[..8] != MAGIC {
            return Err(damaged_at(0, "it does not begin as a checkpoint does"));
        }
        let follow = (bytes.len() - HEAD_BYTES) as u64;
        if length != follow {
            return Err(damaged_at(16, &format!("{length} bytes are to follow its head, and {follow} do")));
        }
        if u32_at(12) != checksum_of(bytes) {
            return Err(damaged_at(
                12,
                "the checksum of the whole file is another one, so the damage may be anywhere in it",
            ));
        }
        if u32_at(8) != VERSION {
            let version = u32_at(8);
            return Err(Error::conflict(format!(
                "the checkpoint has format version {version}, which this program does not read"
            ))
            .hint("open the data directory with the version of gridhouse that wrote it"));
        }
        let mut input = Input::new(&bytes[HEAD_BYTES..]);
        let input = &mut input;
        let number = input.u64()?;
        let store = u128::from(input.u64()?) | u128::from(input.u64()?) << 64;
        let secret = [input.u64()?, input.u64()?];
        let (commit, as_of, time_micros) = (CommitId(input.u64()?), CommitId(input.u64()?), input.u64()? as i64);
        let first = LogPlace { file: input.u64()?, offset: input.u64()?, frame: input.u64()? };
        let start = ReplayStart { first, tick_frame: input.u64()? };
        let (next_segment, next_table) = (input.u64()?, input.u32()?);
        let segments = list(input, |input| Ok((input.u64()?, input.u8()?)))?;
        let tables = list(input, SavedTable::decode)?;
        let cursors =
            list(input, |input| Ok((input.text()?.to_owned(), TableId(input.u32()?), CommitId(input.u64()?))))?;
        let positions = list(input, |input| {
            let source = SourceId(input.u32()?);
            let (event_time_micros, commit) = (input.u64()? as i64, CommitId(input.u64()?));
            Ok((source, SourcePosition { position: input.sized()?.to_vec(), event_time_micros, commit }))
        })?;
        let attached = list(input, |input| {
            Ok(AttachedEntry { number: input.u64()?, length: input.u64()?, checksum: input.u32()? })
        })?;
        if !input.is_at_end() {
            return Err(damaged("it has bytes behind its end"));
        }
        Ok(Self {
            number,
            store,
            secret,
            commit,
            as_of,
            time_micros,
            start,
            next_table,
            next_segment,
            segments,
            tables,
            cursors,
            positions,
            attached,
        })
    }
}

/// `Corrupt` with the offset; the caller puts the file in front of it.
fn damaged_at(offset: usize, what: &str) -> Error {
    damaged(&format!("at offset {offset}: {what}"))
}

/// The checksum of a file: all of it but the checksum itself.
fn checksum_of(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

fn list<T>(input: &mut Input<'_>, mut item: impl FnMut(&mut Input<'_>) -> Result<T>) -> Result<Vec<T>> {
    // The count is not believed: memory grows with what is really there.
    (0..input.u32()?).map(|_| item(input)).collect()
}

impl SavedTable {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.id.0);
        put_bytes(out, &serde_json::to_vec(&self.spec).expect("a table's definition is plain data"));
        put_u64(out, self.live_rows);
        put_u32(out, self.buckets.len() as u32);
        for bucket in &self.buckets {
            put_u64(out, bucket.next_seq);
            put_u64(out, bucket.reclaimed.0);
            put_u32(out, bucket.groups.len() as u32);
            for (segment, group, alive) in &bucket.groups {
                put_u64(out, *segment);
                put_u32(out, *group);
                put_bits(out, alive);
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Result<Self> {
        let id = TableId(input.u32()?);
        let spec: TableSpec = serde_json::from_slice(input.sized()?)
            .map_err(|error| damaged("a table's definition is not readable").caused_by(error))?;
        let live_rows = input.u64()?;
        let buckets = list(input, |input| {
            let (next_seq, reclaimed) = (input.u64()?, CommitId(input.u64()?));
            let groups = list(input, |input| Ok((input.u64()?, input.u32()?, bits(input)?)))?;
            Ok(SavedBucket { next_seq, reclaimed, groups })
        })?;
        if buckets.len() != usize::from(spec.bucket_count) {
            return Err(damaged("a table has another number of buckets than its definition says"));
        }
        Ok(Self { id, spec, live_rows, buckets })
    }
}

fn put_bits(out: &mut Vec<u8>, bits: &Bits) {
    put_u32(out, bits.len() as u32);
    if bits.count() == 0 {
        out.push(NONE_ALIVE);
    } else if bits.is_full() {
        out.push(ALL_ALIVE);
    } else {
        out.push(SOME_ALIVE);
        bits.words().iter().for_each(|&word| put_u64(out, word));
    }
}

fn bits(input: &mut Input<'_>) -> Result<Bits> {
    let len = input.u32()? as usize;
    if len > crate::tail::MAX_BATCH_ROWS {
        return Err(damaged("a group has too many entries"));
    }
    Ok(match input.u8()? {
        NONE_ALIVE => Bits::filled(len, false),
        ALL_ALIVE => Bits::filled(len, true),
        SOME_ALIVE => {
            let words = (0..len.div_ceil(64)).map(|_| input.u64()).collect::<Result<Vec<_>>>()?;
            Bits::of_words(words, len).ok_or_else(|| damaged("a bitmap is longer than its group"))?
        }
        _ => return Err(damaged("a bitmap has an unknown form")),
    })
}

#[cfg(test)]
mod tests {
    use gridhouse_base::{Column, ErrorKind, Schema, TypeKind};

    use super::*;

    fn checkpoint() -> Checkpoint {
        let schema = Schema::new(vec![Column::new("id", TypeKind::BigInt.not_null())]);
        let spec = TableSpec::primary_key("t", schema, vec![0]);
        let groups = vec![
            (3, 0, Bits::filled(5, true)),
            (3, 1, Bits::filled(64, false)),
            (4, 0, Bits::from_fn(70, |i| i % 3 == 0)),
        ];
        let bucket = SavedBucket { next_seq: 139, reclaimed: CommitId(2), groups };
        Checkpoint {
            number: 7,
            store: 1 << 100 | 5,
            secret: [1, u64::MAX],
            commit: CommitId(12),
            as_of: CommitId(11),
            time_micros: -4,
            start: ReplayStart { first: LogPlace { file: 2, offset: 800, frame: 30 }, tick_frame: 33 },
            next_table: 3,
            next_segment: 5,
            segments: vec![(3, 1), (4, 0)],
            tables: vec![SavedTable { id: TableId(2), spec, live_rows: 29, buckets: vec![bucket] }],
            cursors: vec![("sink".into(), TableId(2), CommitId(9))],
            positions: vec![(
                SourceId(1),
                SourcePosition { position: b"0/16".to_vec(), event_time_micros: 5, commit: CommitId(11) },
            )],
            attached: vec![
                AttachedEntry { number: 4, length: 100, checksum: 0xdead },
                AttachedEntry { number: 7, length: 1, checksum: 3 },
            ],
        }
    }

    #[test]
    fn a_checkpoint_survives_its_bytes() {
        let checkpoint = checkpoint();
        let read = Checkpoint::decode(&checkpoint.encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{checkpoint:?}"));
    }

    #[test]
    fn damage_anywhere_is_refused() {
        let bytes = checkpoint().encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(Checkpoint::decode(&bad).is_err(), "a flipped bit in byte {at}");
            assert_eq!(Checkpoint::decode(&bytes[..at]).unwrap_err().kind(), ErrorKind::Corrupt, "cut at {at}");
        }
        // With a good checksum, nonsense is still refused without a panic.
        for at in HEAD_BYTES..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] = bad[at].wrapping_add(1 + (at % 200) as u8);
            let checksum = checksum_of(&bad);
            bad[12..16].copy_from_slice(&checksum.to_le_bytes());
            let _ = Checkpoint::decode(&bad);
        }
    }
}
