//! Kept states of jobs: damaged, mostly with good checksums, thawed into the operators that they belong to.
//!
//! A state is refused, or taken; then the job goes on with it for a tick and is kept and thawed again. And whatever stands in the
//! files of an earlier checkpoint, what is kept beside it is the state to the letter.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gridhouse_base::random::Random;
use gridhouse_base::{ChangeBatch, Column, ErrorKind, Schema, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction as F, Expr, functions};
use gridhouse_flow::{
    Dataflow, DataflowBuilder, Earlier, FilePlaces, Frozen, Governor, JoinKey, JoinKind, JoinSpec, KeptWriter, NodeId,
    ProbeSpec, SetKind, SetOperation, SortKey, Span, TickContext, TimeBound, TopN,
};
use gridhouse_sim::SimFileSystem;

use crate::mutate::{mutate, shuffle};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "states",
    cases: 60_000,
    few: 1_500,
    batch: 1_000,
    memory: Memory { bytes: 4 << 20, per_byte: 200 },
    begin: || Box::new(Thawing::default()),
};

/// Jobs that are drawn.
const JOBS: u64 = 400;

const WORDS: [&[u8]; 14] = [
    b"\0",
    b"\x01",
    b"\x02",
    b"\x7f",
    b"\x80\x01",
    b"\xff\x7f",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\x80",
    b"\x02\x03ab\0\0\0\0\0\0\x02",
    b"\xff\xfe",
];

/// A state that was kept.
struct Kept {
    frozen: Frozen,
    bytes: Vec<u8>,
    /// What changes after it.
    next: Vec<(usize, ChangeBatch)>,
}

#[derive(Default)]
struct Thawing {
    kept: BTreeMap<u64, Kept>,
}

impl Thawing {
    fn kept(&mut self, job: u64) -> &Kept {
        self.kept.entry(job).or_insert_with(|| live(job))
    }
}

fn kinds() -> Vec<TypeKind> {
    let decimal = TypeKind::Decimal { precision: 12, scale: 2 };
    let map = TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(TypeKind::Int.nullable()));
    vec![TypeKind::Int, TypeKind::STRING, TypeKind::BigInt, decimal, TypeKind::Double, TypeKind::Timestamp(3), map]
}

/// The column of a row's time.
const TIME: usize = 5;

fn value(column: usize, random: &mut Random) -> Value {
    let small = random.between(-2, 4);
    let text =
        |random: &mut Random| Value::Text((*random.pick(&["", "a", "变电站 110kV", "a longer one than that"])).into());
    if column == TIME {
        return Value::Integer(1_700_000_000_000 + small);
    }
    match column {
        _ if random.chance(0.1) => Value::Null,
        0 => Value::Integer(small),
        1 => text(random),
        2 => Value::Integer(small << 40),
        3 => Value::Decimal(i128::from(small) * 333),
        4 => Value::Double(*random.pick(&[f64::NAN, f64::INFINITY, -0.0, small as f64 / 4.0])),
        _ if small < 0 => Value::Map(Vec::new()),
        _ => Value::Map(vec![(text(random), Value::Integer(small))]),
    }
}

/// A dataflow of some operators. It has two inputs of rows that may be withdrawn, and two of rows with a time.
fn dataflow(job: u64) -> Dataflow {
    let mut random = Random::new(job);
    let mut b = DataflowBuilder::new(job);
    if random.chance(0.4) {
        let disk = Arc::new(SimFileSystem::new(job));
        let starved = Governor::cut_into(disk, Path::new("/spill"), 0, 1 + random.below(4) as u32, 1);
        b = b.governor(starved.expect("an empty disk can be read"));
    }
    if random.chance(0.5) {
        b = b.keep_errors();
    }
    let columns = || {
        Schema::new(kinds().into_iter().enumerate().map(|(i, k)| Column::new(format!("c{i}"), k.nullable())).collect())
    };
    let mut inputs =
        [b.input(columns()), b.input(columns()), b.append_only_input(columns()), b.append_only_input(columns())];
    for timed in &mut inputs[2..] {
        *timed = b.event_time(*timed, TIME, 2).expect("the column is one of times");
    }
    for _ in 0..=random.below(3) {
        let node = operator(&mut b, inputs, &mut random);
        b.output(node);
    }
    b.build()
}

fn operator(b: &mut DataflowBuilder, [left, right, one, other]: [NodeId; 4], random: &mut Random) -> NodeId {
    let kind = *random.pick(&[
        JoinKind::Inner,
        JoinKind::Left,
        JoinKind::Right,
        JoinKind::Full,
        JoinKind::Semi,
        JoinKind::Anti,
    ]);
    let column = |i: usize, kind: TypeKind| Expr::column(i, kind.nullable());
    let positive = || functions::resolve(">", vec![column(0, TypeKind::Int), Expr::int(0)]);
    let residual = random.chance(0.4).then(|| positive().expect("numbers can be compared"));
    let key = *random.pick(&[0, 1, 3, 6]);
    let node = match random.below(9) {
        0..3 => {
            let input = *random.pick(&[left, right, one]);
            let keys = random.pick(&[vec![], vec![0], vec![1], vec![0, 2, 5], vec![4, 6]]).clone();
            b.aggregate(input, keys, calls(random))
        }
        3 => {
            let order = [1, 2, 4].map(|column| SortKey {
                column,
                descending: random.chance(0.5),
                nulls_first: random.chance(0.5),
            });
            let partition = random.pick(&[vec![], vec![0], vec![1]]).clone();
            let limit = random.chance(0.8).then(|| 1 + random.below(4));
            let offset = random.below(2);
            let spec = TopN {
                partition,
                order: order[..1 + random.below(3) as usize].to_vec(),
                offset,
                limit,
                rank: random.chance(0.5),
            };
            b.top_n(*random.pick(&[left, one]), spec)
        }
        4 | 5 => b.join(left, right, JoinSpec::on(kind, &[(key, key)]).with_residual(residual)),
        6 => {
            let kind = *random.pick(&[JoinKind::Inner, JoinKind::Left]);
            b.probe(left, right, ProbeSpec { kind, keys: vec![JoinKey::equal(key, key)], residual })
        }
        7 => {
            let time = Some(TimeBound { left: TIME, right: TIME, lower_millis: -1, upper_millis: 2 });
            let keys = if random.chance(0.5) { vec![JoinKey::equal(0, 0)] } else { Vec::new() };
            let residual = Some(positive().expect("numbers can be compared"));
            b.join(one, other, JoinSpec { kind, keys, residual, time })
        }
        _ if random.chance(0.3) => b.distinct(left),
        _ => {
            let kind = *random.pick(&[SetKind::Intersect, SetKind::Except]);
            b.set_operation(left, right, SetOperation { kind, all: random.chance(0.5) })
        }
    };
    node.expect("the operator fits its inputs")
}

/// Some aggregates, over the columns that they are for.
fn calls(random: &mut Random) -> Vec<AggregateCall> {
    let decimal = |scale| TypeKind::Decimal { precision: 38, scale };
    let all = [
        (F::Count, 1, TypeKind::BigInt),
        (F::Count, 6, TypeKind::BigInt),
        (F::Sum, 2, TypeKind::BigInt),
        (F::Sum, 3, decimal(2)),
        (F::Avg, 3, decimal(6)),
        (F::Sum, 4, TypeKind::Double),
        (F::Avg, 4, TypeKind::Double),
        (F::Min, 1, TypeKind::STRING),
        (F::Max, 1, TypeKind::STRING),
        (F::Max, 0, TypeKind::Int),
        (F::Min, 4, TypeKind::Double),
        (F::Max, 5, TypeKind::Timestamp(3)),
    ];
    let mut calls = Vec::new();
    for (function, argument, kind) in all {
        if random.chance(0.3) {
            let distinct = random.chance(0.3);
            let sql_type = kind.nullable();
            calls.push(AggregateCall { function, args: vec![argument], distinct, filter: None, sql_type });
        }
    }
    calls
}

/// A table as it stands.
type Rows = Vec<Vec<Value>>;

/// Changes of the inputs.
fn changes(tables: &mut [Rows; 4], random: &mut Random) -> Vec<(usize, ChangeBatch)> {
    let mut batches = Vec::new();
    for (input, rows) in tables.iter_mut().enumerate() {
        let mut changed: Vec<(Vec<Value>, i32)> = Vec::new();
        for _ in 0..random.below(14) {
            if input < 2 && !rows.is_empty() && random.chance(0.3) {
                changed.push((rows.swap_remove(random.below(rows.len() as u64) as usize), -1));
            } else {
                let row: Vec<Value> = (0..kinds().len()).map(|column| value(column, random)).collect();
                rows.push(row.clone());
                changed.push((row, 1));
            }
        }
        if !changed.is_empty() {
            batches.push((input, batch(&changed)));
        }
    }
    batches
}

fn batch(rows: &[(Vec<Value>, i32)]) -> ChangeBatch {
    let column =
        |(i, kind): (usize, TypeKind)| Value::array_of(&rows.iter().map(|(row, _)| &row[i]).collect::<Vec<_>>(), &kind);
    let columns = kinds().into_iter().enumerate().map(column).collect();
    ChangeBatch::new(columns, rows.len(), Some(rows.iter().map(|(_, weight)| *weight).collect()))
}

fn push(flow: &mut Dataflow, batches: &[(usize, ChangeBatch)]) {
    for (input, batch) in batches {
        flow.push(*input, batch.clone()).expect("the batch fits the input");
    }
}

/// Carries out a tick; false where the job fails in it.
fn tick(flow: &mut Dataflow) -> bool {
    let context = TickContext { now_micros: 1_700_000_000_000_000, zone: chrono_tz::Tz::UTC };
    let is_done = flow.finish_tick(&context).is_ok();
    flow.take_errors();
    is_done && flow.relieve().is_ok()
}

/// The state of a job after some ticks.
fn live(job: u64) -> Kept {
    let mut random = Random::new(job ^ 0x11fe);
    let (mut flow, mut tables) = (dataflow(job), <[Rows; 4]>::default());
    for _ in 0..=random.below(3) {
        push(&mut flow, &changes(&mut tables, &mut random));
        assert!(tick(&mut flow), "rows that are drawn can be computed");
    }
    let frozen = flow.freeze().expect("a job is frozen between ticks");
    Kept { bytes: written(&frozen), frozen, next: changes(&mut tables, &mut random) }
}

fn written(frozen: &Frozen) -> Vec<u8> {
    let mut bytes = Vec::new();
    frozen.write(&mut bytes).expect("memory takes it");
    bytes
}

/// Keeps a state beside an earlier one, which may be anything.
fn check_kept(frozen: &Frozen, earlier: &[u8]) {
    let (mut file, known) = (Vec::new(), FilePlaces::new());
    let spans = [Span { file: 0, at: 0, len: earlier.len() as u64 }];
    let kept = {
        let earlier = Earlier::of(&spans[..usize::from(!earlier.is_empty())], &|_| Some(earlier), &|_| true);
        let earlier = earlier.expect("the span is within its file");
        frozen.keep(KeptWriter::new(earlier, &known, &mut file, (1, 0))).expect("memory takes it")
    };
    let of = |span: &Span| &[earlier, &file][span.file as usize][span.at as usize..][..span.len as usize];
    let whole: Vec<u8> = kept.spans.iter().flat_map(of).copied().collect();
    assert!(whole == written(frozen), "what is kept is the state, whatever was kept before");
}

impl Decoder for Thawing {
    fn draw(&mut self, random: &mut Random) -> Input {
        let job = random.below(JOBS);
        let other = self.kept(random.below(JOBS)).bytes.clone();
        let mut bytes = self.kept(job).bytes.clone();
        match random.below(10) {
            0 => {}
            1 => mutate(&mut bytes, &other, &WORDS, random),
            _ => {
                let mut pieces = frame::apart(&bytes);
                if random.chance(0.1) {
                    shuffle(&mut pieces, random);
                }
                let others = frame::apart(&other);
                for _ in 0..=random.below(2) {
                    if pieces.is_empty() {
                        break;
                    }
                    let at = random.below(pieces.len() as u64) as usize;
                    if let (frame::Piece::Block(block), frame::Piece::Block(other)) =
                        (&mut pieces[at], random.pick(&others))
                    {
                        mutate(block, other, &WORDS, random);
                    }
                }
                bytes = frame::together(&bytes, &pieces);
            }
        }
        vec![job.to_le_bytes().to_vec(), bytes]
    }

    fn decode(&mut self, input: &Input) -> bool {
        let job = input[0].first_chunk().map_or(0, |job| u64::from_le_bytes(*job));
        let bytes = &input[1];
        let kept = self.kept(job);
        check_kept(&kept.frozen, bytes);
        let mut flow = dataflow(job);
        let (one, rest) = bytes.split_at(bytes.len() / 3);
        if let Err(error) = flow.thaw_parts(&[one, &[], rest]) {
            let is_told = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict);
            assert!(is_told, "{:?}: {error}", error.kind());
            return false;
        }
        push(&mut flow, &kept.next);
        if tick(&mut flow)
            && let Ok(frozen) = flow.freeze()
        {
            check_kept(&frozen, bytes);
            dataflow(job).thaw(&written(&frozen)).expect("what a job has made of a state it takes again");
        }
        true
    }
}

/// The frame around the blocks of a state, as `docs/formats.md` has it.
mod frame {
    /// Magic and version.
    const HEAD_BYTES: usize = 12;

    /// Stands in the place of a length where a whole state follows.
    const NESTED: u32 = u32::MAX;

    /// What stands in a frame.
    #[derive(Clone)]
    pub enum Piece {
        Block(Vec<u8>),
        /// Where a state within the state begins.
        Begin,
        /// Where it ends.
        End,
    }

    /// The pieces of a state that is whole.
    pub fn apart(bytes: &[u8]) -> Vec<Piece> {
        let (mut at, mut is_within, mut pieces) = (HEAD_BYTES, false, Vec::new());
        loop {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            at += 8;
            match length {
                NESTED => {
                    pieces.push(Piece::Begin);
                    at += HEAD_BYTES;
                }
                0 if is_within => pieces.push(Piece::End),
                0 => return pieces,
                length => {
                    pieces.push(Piece::Block(bytes[at..at + length as usize].to_vec()));
                    at += length as usize;
                }
            }
            is_within = length == NESTED || is_within && length != 0;
        }
    }

    /// The pieces in a frame with the head of the state `of`, and good checksums.
    pub fn together(of: &[u8], pieces: &[Piece]) -> Vec<u8> {
        let head = &of[..HEAD_BYTES];
        let mut bytes = head.to_vec();
        // The number of the next block, and of the next one around it.
        let (mut number, mut around) = (0, 0);
        let put = |bytes: &mut Vec<u8>, number: &mut u64, length: u32, block: &[u8]| {
            let sum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), block);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&sum.to_le_bytes());
            bytes.extend_from_slice(block);
            *number += 1;
        };
        for piece in pieces {
            match piece {
                Piece::Block(block) => put(&mut bytes, &mut number, block.len() as u32, block),
                Piece::Begin => {
                    put(&mut bytes, &mut number, NESTED, &[]);
                    around = std::mem::take(&mut number);
                    bytes.extend_from_slice(head);
                }
                Piece::End => {
                    put(&mut bytes, &mut number, 0, &[]);
                    number = around;
                }
            }
        }
        put(&mut bytes, &mut number, 0, &[]);
        bytes
    }
}
