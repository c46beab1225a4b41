//! Messages of PostgreSQL's `pgoutput` plug-in, read from bytes without copying.
//!
//! Formats: PostgreSQL documentation, "Logical Replication Message Formats", protocol versions 1 and 2. Streamed and
//! prepared transactions are not asked for, so their messages are errors that say so. Every length is checked: damaged
//! bytes give `Corrupt`, never a panic, and nothing is allocated by an unchecked count.

use std::ops::Range;

use gridhouse_base::{Error, Result};

/// A place in PostgreSQL's WAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub u64);

impl Lsn {
    /// Reads PostgreSQL's text form `16/B374D848`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let high = u32::from_str_radix(high, 16).ok()?;
        Some(Self(u64::from(high) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?)))
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

/// Microseconds between 1970-01-01 and PostgreSQL's epoch, 2000-01-01.
pub(crate) const PG_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A message inside the copy stream of a replication connection.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// `XLogData`: a message of the plug-in.
    Data {
        /// The message.
        payload: &'a [u8],
    },
    /// The server is alive and has sent everything up to `end`.
    KeepAlive {
        /// How far the server is.
        end: Lsn,
        /// Whether it wants a status at once.
        reply: bool,
    },
}

/// Reads one frame.
pub(crate) fn frame(bytes: &[u8]) -> Result<Frame<'_>> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        b'w' => {
            reader.skip(24)?;
            Ok(Frame::Data { payload: reader.rest() })
        }
        b'k' => {
            let end = Lsn(reader.u64()?);
            reader.skip(8)?;
            Ok(Frame::KeepAlive { end, reply: reader.u8()? != 0 })
        }
        tag => Err(unknown("replication frame", tag)),
    }
}

/// A value of a tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// NULL, or not part of the replica identity in an old key.
    Null,
    /// A large value that the update left as it was and that was not sent.
    Unchanged,
    /// Text form, at this place of the message.
    Text(Range<usize>),
}

/// The values of a row; reused from message to message.
#[derive(Debug, Default)]
pub(crate) struct Tuple {
    /// One per column of the relation.
    pub cells: Vec<Cell>,
}

/// What an update or delete tells of the old row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldRow {
    /// Nothing: the key did not change.
    Absent,
    /// The columns of the replica identity.
    Key,
    /// All columns (`REPLICA IDENTITY FULL`).
    Whole,
}

/// A column as a relation message tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    /// The name.
    pub name: String,
    /// The type's oid.
    pub type_oid: u32,
    /// Whether old rows tell it: it is part of the replica identity.
    pub is_identity: bool,
}

/// A table as the stream describes it before its first change and after each change of its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The table's oid.
    pub oid: u32,
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// Whether its old rows are told with all columns (`REPLICA IDENTITY FULL`).
    pub tells_all: bool,
    /// The columns that are published, in order.
    pub columns: Vec<RelationColumn>,
}

/// A message of the plug-in. The values of rows are in the tuples given to [`message`].
#[derive(Debug)]
pub(crate) enum Message {
    /// A transaction begins.
    Begin {
        /// Where its commit record stands.
        commit: Lsn,
        /// When it was committed, microseconds since 1970.
        time_micros: i64,
    },
    /// The transaction ends.
    Commit {
        /// Where its commit record ends.
        end: Lsn,
    },
    /// A table's definition.
    Relation(Relation),
    /// A new row, in `new`.
    Insert {
        /// The table.
        oid: u32,
    },
    /// A changed row, in `new`; `old` as told.
    Update {
        /// The table.
        oid: u32,
        /// What `old` holds.
        old: OldRow,
    },
    /// A deleted row, in `old`.
    Delete {
        /// The table.
        oid: u32,
        /// What `old` holds.
        old: OldRow,
    },
    /// Tables were emptied.
    Truncate {
        /// The tables.
        oids: Vec<u32>,
    },
    /// Type, origin or logical message: nothing to do.
    Ignored,
}

/// Reads a message of the plug-in; the ranges of cells refer to `bytes`.
pub(crate) fn message(bytes: &[u8], old: &mut Tuple, new: &mut Tuple) -> Result<Message> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        b'B' => {
            let commit = Lsn(reader.u64()?);
            let time_micros = (reader.u64()? as i64).saturating_add(PG_EPOCH_MICROS);
            Ok(Message::Begin { commit, time_micros })
        }
        b'C' => {
            reader.skip(1 + 8)?;
            Ok(Message::Commit { end: Lsn(reader.u64()?) })
        }
        b'R' => relation(&mut reader).map(Message::Relation),
        b'I' => {
            let oid = reader.u32()?;
            match reader.u8()? {
                b'N' => tuple(&mut reader, new)?,
                tag => return Err(unknown("row of an insert", tag)),
            }
            Ok(Message::Insert { oid })
        }
        b'U' => {
            let oid = reader.u32()?;
            let (old_row, tag) = match reader.u8()? {
                tag @ (b'K' | b'O') => {
                    tuple(&mut reader, old)?;
                    (if tag == b'K' { OldRow::Key } else { OldRow::Whole }, reader.u8()?)
                }
                tag => (OldRow::Absent, tag),
            };
            match tag {
                b'N' => tuple(&mut reader, new)?,
                tag => return Err(unknown("row of an update", tag)),
            }
            Ok(Message::Update { oid, old: old_row })
        }
        b'D' => {
            let oid = reader.u32()?;
            let old_row = match reader.u8()? {
                b'K' => OldRow::Key,
                b'O' => OldRow::Whole,
                tag => return Err(unknown("row of a delete", tag)),
            };
            tuple(&mut reader, old)?;
            Ok(Message::Delete { oid, old: old_row })
        }
        b'T' => {
            let count = reader.u32()? as usize;
            reader.skip(1)?;
            if count > reader.left() / 4 {
                return Err(short());
            }
            Ok(Message::Truncate { oids: (0..count).map(|_| reader.u32()).collect::<Result<_>>()? })
        }
        b'Y' | b'O' | b'M' => Ok(Message::Ignored),
        b'S' | b'E' | b'c' | b'A' => {
            Err(Error::internal("postgresql streams a transaction in progress though it was not asked to"))
        }
        b'b' | b'P' | b'K' | b'r' | b'p' => {
            Err(Error::internal("postgresql sends a prepared transaction though it was not asked to"))
        }
        tag => Err(unknown("pgoutput message", tag)),
    }
}

fn relation(reader: &mut Reader<'_>) -> Result<Relation> {
    let oid = reader.u32()?;
    let schema = match reader.text()? {
        "" => "pg_catalog".to_owned(),
        schema => schema.to_owned(),
    };
    let name = reader.text()?.to_owned();
    let tells_all = reader.u8()? == b'f';
    let count = usize::from(reader.u16()?);
    let mut columns = Vec::new();
    for _ in 0..count {
        let is_identity = reader.u8()? & 1 != 0;
        let name = reader.text()?.to_owned();
        let type_oid = reader.u32()?;
        reader.skip(4)?;
        columns.push(RelationColumn { name, type_oid, is_identity });
    }
    Ok(Relation { oid, schema, name, tells_all, columns })
}

fn tuple(reader: &mut Reader<'_>, tuple: &mut Tuple) -> Result<()> {
    let count = usize::from(reader.u16()?);
    tuple.cells.clear();
    for _ in 0..count {
        let cell = match reader.u8()? {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => {
                let len = reader.u32()? as usize;
                let start = reader.at;
                reader.skip(len)?;
                Cell::Text(start..start + len)
            }
            tag => return Err(unknown("value of a row", tag)),
        };
        tuple.cells.push(cell);
    }
    Ok(())
}

/// Reads big-endian numbers and texts, checking that they are there.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.rest().first_chunk::<N>().copied().ok_or_else(short)?;
        self.at += N;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        if len > self.left() {
            return Err(short());
        }
        self.at += len;
        Ok(())
    }

    /// A text that ends with a zero byte.
    fn text(&mut self) -> Result<&'a str> {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| byte == 0).ok_or_else(short)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| Error::corrupt("a name in the replication stream is not UTF-8"))
    }
}

fn short() -> Error {
    Error::corrupt("a message of the replication stream ends too early")
}

fn unknown(what: &str, tag: u8) -> Error {
    Error::corrupt(format!("unknown {what} '{}' in the replication stream", tag.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridhouse_base::random::Random;

    /// An update of relation 7 with an old key, in protocol version 1.
    fn update() -> Vec<u8> {
        let mut bytes = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x03t\0\0\0\x012un".to_vec();
        bytes.extend_from_slice(b"trailing");
        bytes
    }

    #[test]
    fn an_update_tells_old_key_and_new_row() {
        let (mut old, mut new) = (Tuple::default(), Tuple::default());
        let bytes = update();
        let message = message(&bytes, &mut old, &mut new).unwrap();
        assert!(matches!(message, Message::Update { oid: 7, old: OldRow::Key }));
        let Cell::Text(range) = &old.cells[0] else { panic!("the key is text") };
        assert_eq!(&bytes[range.clone()], b"1");
        assert_eq!(new.cells[1..], [Cell::Unchanged, Cell::Null]);
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let relation = b"R\0\0\0\x07public\0orders\0d\0\x01\x01id\0\0\0\0\x14\xff\xff\xff\xff".to_vec();
        let begin = [b"B".to_vec(), vec![1; 20]].concat();
        let truncate = b"T\0\0\0\x02\0\0\0\0\x01\0\0\0\x02".to_vec();
        let mut random = Random::new(7);
        for seed in [update(), relation, begin, truncate, b"k12345678123456780".to_vec()] {
            for _ in 0..20_000 {
                let mut bytes = seed.clone();
                for _ in 0..random.between(1, 4) {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] = random.bits() as u8;
                }
                bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
                let (mut old, mut new) = (Tuple::default(), Tuple::default());
                let _ = message(&bytes, &mut old, &mut new);
                let _ = frame(&bytes);
                for cell in old.cells.iter().chain(&new.cells) {
                    if let Cell::Text(range) = cell {
                        assert!(range.end <= bytes.len());
                    }
                }
            }
        }
    }

    #[test]
    fn places_are_read_and_written_as_postgresql_does() {
        let lsn = Lsn::parse("16/B374D848").unwrap();
        assert_eq!((lsn.0, lsn.to_string().as_str()), (0x16_B374_D848, "16/B374D848"));
        assert_eq!(Lsn::parse("16"), None);
    }
}
