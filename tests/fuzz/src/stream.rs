//! PostgreSQL's replication stream: frames, messages of `pgoutput`, rows of declared types.
//!
//! A group of transactions is either made of recorded ones or built message by message, then changed. What comes of it are
//! batches that hold what they say, or an error.

use arrow_array::Array;
use gridhouse_base::random::Random;
use gridhouse_base::{ErrorKind, TypeKind};
use gridhouse_flow::connector::SourceEvent;
use gridhouse_link::testing::StreamDecoder;

use crate::corpus::{NOTES_OID, READINGS_OID, recorded, tables};
use crate::mutate::{mutate, shuffle};
use crate::values::value_text;
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "pgoutput",
    cases: 200_000,
    few: 4_000,
    batch: 1,
    // A NULL is a byte in the stream, and a row of NULLs is as wide as its columns. Builders take 1,024 values at once.
    memory: Memory { bytes: 4 << 20, per_byte: 300 },
    begin: || Box::new(Stream { has_key: true, dead_letters: false }),
};

/// Tags, and what stands in the heads of messages.
const WORDS: [&[u8]; 16] = [
    b"B",
    b"C",
    b"R",
    b"I",
    b"U",
    b"D",
    b"T",
    b"Y",
    b"O",
    b"M",
    b"N",
    b"K",
    b"n",
    b"u",
    b"t\0\0\0\x01x",
    b"\0\0\x40\0",
];

struct Stream {
    has_key: bool,
    dead_letters: bool,
}

impl Decoder for Stream {
    fn draw(&mut self, random: &mut Random) -> Input {
        (self.has_key, self.dead_letters) = (random.chance(0.7), random.chance(0.5));
        let transactions = &recorded().transactions;
        let mut messages: Vec<Vec<u8>> = Vec::new();
        for number in 0..=random.below(3) {
            messages.extend(if random.chance(0.4) {
                random.pick(transactions).clone()
            } else {
                transaction(number + 1, random)
            });
        }
        if random.chance(0.3) {
            shuffle(&mut messages, random);
        }
        let mut frames: Vec<Vec<u8>> = messages.iter().map(|message| framed(message)).collect();
        if random.chance(0.2) {
            let alive = [b"k".as_slice(), &random.bits().to_be_bytes(), &[0; 8], &[1]].concat();
            frames.insert(random.below(frames.len() as u64 + 1) as usize, alive);
        }
        let one = random.pick(transactions);
        let other = framed(&random.pick(one).clone());
        let damaged = random.below(3);
        for _ in 0..damaged {
            if !frames.is_empty() {
                let at = random.below(frames.len() as u64) as usize;
                mutate(&mut frames[at], &other, &WORDS, random);
            }
        }
        frames
    }

    fn decode(&mut self, input: &Input) -> bool {
        let [readings, notes] = tables(self.has_key, self.dead_letters);
        let kinds = [&readings, &notes]
            .map(|table| table.physical().map(|i| table.schema.columns[i].sql_type.kind.clone()).collect::<Vec<_>>());
        let identity = if self.has_key { 'd' } else { 'f' };
        let mut decoder = StreamDecoder::new(&[(readings, READINGS_OID, identity), (notes, NOTES_OID, 'f')])
            .expect("the tables are declared as they should");
        for frame in input {
            let taken = decoder.take(frame);
            check(&decoder.events(), &kinds);
            if let Err(error) = taken {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal), "{error}");
                return false;
            }
        }
        true
    }
}

/// Batches are whole, and a table that failed says why.
fn check(events: &[SourceEvent], kinds: &[Vec<TypeKind>; 2]) {
    for event in events {
        match event {
            SourceEvent::Rows { table, columns, batch } => {
                let kinds = &kinds[*table as usize - 1];
                assert_eq!(batch.columns.len(), kinds.len());
                for (column, kind) in batch.columns.iter().zip(kinds) {
                    assert_eq!((column.len(), column.data_type()), (batch.len(), &kind.arrow()));
                    column.to_data().validate_full().expect("a column holds what it says");
                }
                let known = columns.iter().flatten();
                assert!(known.into_iter().all(|&column| column < kinds.len()), "{columns:?}");
            }
            SourceEvent::TableFailed { error, .. } | SourceEvent::Rejected { error, .. } => {
                assert!(error.kind() == ErrorKind::Invalid && error.remedy().is_some(), "{error}");
            }
            _ => {}
        }
    }
}

/// A frame of the copy stream with a message in it.
fn framed(message: &[u8]) -> Vec<u8> {
    [b"w".as_slice(), &[0; 24], message].concat()
}

/// A transaction of drawn changes of the wide table.
fn transaction(number: u64, random: &mut Random) -> Vec<Vec<u8>> {
    let at = 1_000_000 * number;
    let begin = [b"B".as_slice(), &at.to_be_bytes(), &random.bits().to_be_bytes(), &[0; 4]].concat();
    let commit = [b"C\0".as_slice(), &at.to_be_bytes(), &(at + 100).to_be_bytes(), &[0; 8]].concat();
    let relation = recorded().transactions[0][1].clone();
    let mut messages = vec![begin, relation];
    for _ in 0..random.below(5) {
        let oid = READINGS_OID.to_be_bytes();
        let (old, new) = (tuple(random, 0.0), tuple(random, 0.2));
        let told = *random.pick(b"KO");
        messages.push(match random.below(5) {
            0 | 1 => [b"I".as_slice(), &oid, b"N", &new].concat(),
            2 => [b"U".as_slice(), &oid, b"N", &new].concat(),
            3 => [b"U".as_slice(), &oid, &[told], &old, b"N", &new].concat(),
            _ => [b"D".as_slice(), &oid, &[told], &old].concat(),
        });
    }
    if random.chance(0.1) {
        messages.push([b"T\0\0\0\x01\0".as_slice(), &READINGS_OID.to_be_bytes()].concat());
    }
    messages.push(commit);
    messages
}

/// A row of the wide table; some values are not sent, with the chance `unchanged`.
fn tuple(random: &mut Random, unchanged: f64) -> Vec<u8> {
    let [readings, _] = tables(true, false);
    let mut bytes = (readings.schema.len() as u16).to_be_bytes().to_vec();
    for column in &readings.schema.columns {
        if random.chance(unchanged) {
            bytes.push(b'u');
        } else if random.chance(0.15) {
            bytes.push(b'n');
        } else {
            let text = value_text(&column.sql_type.kind, random);
            bytes.push(b't');
            bytes.extend((text.len() as u32).to_be_bytes());
            bytes.extend(text);
        }
    }
    bytes
}
