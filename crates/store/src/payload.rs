//! The payloads of frames: parts with rows, source commits, and the operations of a tick.
//!
//! Encoding is total; decoding needs the tables' types, so the operations of a tick are decoded and applied one at a time.
//! `docs/formats.md` has the byte tables.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use gridhouse_base::batch::KindBatch;
use gridhouse_base::{CommitId, Result, RowKind, TableId};

use crate::codec::{Input, damaged, decode_columns, encode_columns, put_bytes, put_u16, put_u32, put_u64};
use crate::source::{Part, SourceCommit, StageUse};
use crate::spec::TableSpec;

/// The part lists its columns.
const HAS_COLUMNS: u8 = 1;
/// The part has a kind per row; without, all rows are insertions.
const HAS_KINDS: u8 = 2;
/// All rows are deletions.
const ALL_DELETE: u8 = 4;

/// One operation of a tick.
#[derive(Debug)]
pub(crate) enum Op {
    /// Up to which commit, and how many rows at most.
    ApplyPending(CommitId, usize),
    CreateTable(TableId, TableSpec),
    DropTable(TableId),
    Rows(Part),
    Truncate(TableId),
    Restore(TableId),
    TrimLog(TableId, CommitId),
    SetCursor(String, TableId, CommitId),
    ForgetCursor(String, Option<TableId>),
}

const APPLY_PENDING: u8 = 1;
const CREATE_TABLE: u8 = 2;
const DROP_TABLE: u8 = 3;
const ROWS: u8 = 4;
const TRUNCATE: u8 = 5;
const SET_CURSOR: u8 = 6;
const FORGET_CURSOR: u8 = 7;
const RESTORE: u8 = 8;
const TRIM_LOG: u8 = 9;

/// "Every table", where a table is optional.
const EVERY_TABLE: u32 = u32::MAX;

/// The types of a table's columns, or `None` if there is no such table.
pub(crate) type TypesOf<'a> = &'a dyn Fn(TableId) -> Option<Vec<DataType>>;

/// The same for rows that waited in the log: `None` if the table has been dropped since, an error if it was never there.
pub(crate) type LoggedTypesOf<'a> = &'a dyn Fn(TableId) -> Result<Option<Vec<DataType>>>;

/// Appends rows of a table; `listed` names their columns, `None` means all.
pub(crate) fn put_rows(
    out: &mut Vec<u8>,
    table: TableId,
    columns: &[ArrayRef],
    listed: Option<&[usize]>,
    kinds: &[RowKind],
) {
    let all_insert = kinds.iter().all(|kind| *kind == RowKind::Insert);
    let all_delete = !all_insert && kinds.iter().all(|kind| *kind == RowKind::Delete);
    let mut flags = if listed.is_some() { HAS_COLUMNS } else { 0 };
    flags |= if all_insert {
        0
    } else if all_delete {
        ALL_DELETE
    } else {
        HAS_KINDS
    };
    put_u32(out, table.0);
    put_u32(out, kinds.len() as u32);
    out.push(flags);
    if let Some(listed) = listed {
        put_u16(out, listed.len() as u16);
        listed.iter().for_each(|&column| put_u16(out, column as u16));
    }
    if flags & HAS_KINDS != 0 {
        out.extend(kinds.iter().map(|kind| *kind as u8));
    }
    encode_columns(columns, out);
}

/// Appends a part.
pub(crate) fn put_part(out: &mut Vec<u8>, part: &Part) {
    put_rows(out, part.table, &part.batch.columns, part.columns.as_deref(), &part.batch.kinds);
}

fn part(input: &mut Input<'_>, types_of: TypesOf<'_>) -> Result<Part> {
    let table = TableId(input.u32()?);
    let rows = input.u32()? as usize;
    let flags = input.u8()?;
    if flags & !(HAS_COLUMNS | HAS_KINDS | ALL_DELETE) != 0 {
        return Err(damaged("rows have unknown flags"));
    }
    let types = types_of(table).ok_or_else(|| damaged("rows belong to a table that does not exist"))?;
    let mut columns = None;
    let mut listed_types = types;
    if flags & HAS_COLUMNS != 0 {
        let count = input.u16()? as usize;
        let listed = (0..count).map(|_| input.u16().map(usize::from)).collect::<Result<Vec<_>>>()?;
        let type_at =
            |&c: &usize| listed_types.get(c).cloned().ok_or_else(|| damaged("rows name a column that is not there"));
        listed_types = listed.iter().map(type_at).collect::<Result<_>>()?;
        columns = Some(listed);
    }
    let kinds: Option<Arc<[RowKind]>> = if flags & HAS_KINDS != 0 {
        let kind = |&byte: &u8| RowKind::from_byte(byte).ok_or_else(|| damaged("a row has an unknown kind"));
        Some(input.bytes(rows)?.iter().map(kind).collect::<Result<_>>()?)
    } else {
        None
    };
    let arrays = decode_columns(&listed_types, rows, input)?;
    if arrays.is_empty() && rows > 0 {
        return Err(damaged("rows have no columns"));
    }
    let fill = if flags & ALL_DELETE != 0 { RowKind::Delete } else { RowKind::Insert };
    let kinds = kinds.unwrap_or_else(|| vec![fill; rows].into());
    Ok(Part { table, batch: KindBatch::new(arrays, kinds), columns })
}

/// The payload of a source commit.
pub(crate) fn source_payload(commit: &SourceCommit) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, commit.event_time_micros as u64);
    put_bytes(&mut out, &commit.position);
    put_u32(&mut out, commit.stages.len() as u32);
    for (stage, stage_use) in &commit.stages {
        put_u64(&mut out, *stage);
        put_u32(&mut out, if let StageUse::Replace(table) = stage_use { table.0 } else { EVERY_TABLE });
    }
    put_u32(&mut out, commit.parts.len() as u32);
    for part in &commit.parts {
        let at = out.len();
        put_u32(&mut out, 0);
        put_part(&mut out, part);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    out
}

/// The next part, which is `length` bytes long; `None` if its table has been dropped since.
fn logged_part(input: &mut Input<'_>, length: usize, types_of: LoggedTypesOf<'_>) -> Result<Option<Part>> {
    let mut peeked = input.clone();
    let table = TableId(peeked.u32()?);
    let Some(types) = types_of(table)? else {
        input.bytes(length)?;
        return Ok(None);
    };
    let before = input.left();
    let part = part(input, &|_| Some(types.clone()))?;
    if before - input.left() != length {
        return Err(damaged("rows are not as long as they say"));
    }
    Ok(Some(part))
}

/// What a source commit's payload says; the source itself is in the frame's head.
pub(crate) struct SourceRecord {
    pub event_time_micros: i64,
    pub position: Vec<u8>,
    pub stages: Vec<(u64, StageUse)>,
    pub parts: Vec<Part>,
}

/// Reads the payload of a source commit.
///
/// Rows of tables that have been dropped since are left out.
pub(crate) fn read_source(payload: &[u8], types_of: LoggedTypesOf<'_>) -> Result<SourceRecord> {
    let mut input = Input::new(payload);
    let event_time_micros = input.u64()? as i64;
    let position = input.sized()?.to_vec();
    let mut stages = Vec::new();
    for _ in 0..input.u32()? {
        let stage = input.u64()?;
        let stage_use = match input.u32()? {
            EVERY_TABLE => StageUse::Append,
            table => StageUse::Replace(TableId(table)),
        };
        stages.push((stage, stage_use));
    }
    let mut parts = Vec::new();
    for _ in 0..input.u32()? {
        let length = input.u32()? as usize;
        parts.extend(logged_part(&mut input, length, types_of)?);
    }
    at_end(&input)?;
    Ok(SourceRecord { event_time_micros, position, stages, parts })
}

/// The payload of a stage's rows.
pub(crate) fn stage_payload(stage: u64, part: &Part) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, stage);
    put_part(&mut out, part);
    out
}

/// Reads the payload of a stage's rows; `None` if their table has been dropped since.
pub(crate) fn read_stage(payload: &[u8], types_of: LoggedTypesOf<'_>) -> Result<(u64, Option<Part>)> {
    let mut input = Input::new(payload);
    let stage = input.u64()?;
    let length = input.left();
    let part = logged_part(&mut input, length, types_of)?;
    at_end(&input)?;
    Ok((stage, part))
}

/// The payload of a dropped stage.
pub(crate) fn drop_stage_payload(stage: u64) -> Vec<u8> {
    stage.to_le_bytes().to_vec()
}

/// Reads the payload of a dropped stage.
pub(crate) fn read_drop_stage(payload: &[u8]) -> Result<u64> {
    Input::new(payload).u64()
}

fn at_end(input: &Input<'_>) -> Result<()> {
    if input.is_at_end() { Ok(()) } else { Err(damaged("a frame has bytes behind its end")) }
}

/// Appends the operations of a tick to its payload.
pub(crate) mod put {
    use super::*;

    pub fn apply_pending(out: &mut Vec<u8>, upto: CommitId, limit: usize) {
        out.push(APPLY_PENDING);
        put_u64(out, upto.0);
        put_u64(out, limit as u64);
    }

    pub fn create_table(out: &mut Vec<u8>, id: TableId, spec: &TableSpec) {
        out.push(CREATE_TABLE);
        put_u32(out, id.0);
        put_bytes(out, &serde_json::to_vec(spec).expect("a table's definition is plain data"));
    }

    pub fn drop_table(out: &mut Vec<u8>, id: TableId) {
        out.push(DROP_TABLE);
        put_u32(out, id.0);
    }

    pub fn rows(out: &mut Vec<u8>, table: TableId, columns: &[ArrayRef], listed: Option<&[usize]>, kinds: &[RowKind]) {
        out.push(ROWS);
        put_rows(out, table, columns, listed, kinds);
    }

    pub fn truncate(out: &mut Vec<u8>, id: TableId) {
        out.push(TRUNCATE);
        put_u32(out, id.0);
    }

    pub fn restore(out: &mut Vec<u8>, id: TableId) {
        out.push(RESTORE);
        put_u32(out, id.0);
    }

    pub fn trim_log(out: &mut Vec<u8>, id: TableId, upto: CommitId) {
        out.push(TRIM_LOG);
        put_u32(out, id.0);
        put_u64(out, upto.0);
    }

    pub fn set_cursor(out: &mut Vec<u8>, consumer: &str, table: TableId, upto: CommitId) {
        out.push(SET_CURSOR);
        put_bytes(out, consumer.as_bytes());
        put_u32(out, table.0);
        put_u64(out, upto.0);
    }

    pub fn forget_cursor(out: &mut Vec<u8>, consumer: &str, table: Option<TableId>) {
        out.push(FORGET_CURSOR);
        put_bytes(out, consumer.as_bytes());
        put_u32(out, table.map_or(EVERY_TABLE, |table| table.0));
    }
}

/// The next operation of a tick. Operations follow each other without padding between them, and rows are aligned from the
/// start of the payload.
pub(crate) fn read_op(input: &mut Input<'_>, types_of: TypesOf<'_>) -> Result<Op> {
    Ok(match input.u8()? {
        APPLY_PENDING => {
            let upto = CommitId(input.u64()?);
            Op::ApplyPending(upto, usize::try_from(input.u64()?).unwrap_or(usize::MAX))
        }
        CREATE_TABLE => {
            let id = TableId(input.u32()?);
            let spec = serde_json::from_slice(input.sized()?);
            Op::CreateTable(id, spec.map_err(|error| damaged("a table's definition is not readable").caused_by(error))?)
        }
        DROP_TABLE => Op::DropTable(TableId(input.u32()?)),
        ROWS => Op::Rows(part(input, types_of)?),
        TRUNCATE => Op::Truncate(TableId(input.u32()?)),
        RESTORE => Op::Restore(TableId(input.u32()?)),
        TRIM_LOG => {
            let table = TableId(input.u32()?);
            Op::TrimLog(table, CommitId(input.u64()?))
        }
        SET_CURSOR => {
            let consumer = input.text()?.to_string();
            Op::SetCursor(consumer, TableId(input.u32()?), CommitId(input.u64()?))
        }
        FORGET_CURSOR => {
            let consumer = input.text()?.to_string();
            let table = input.u32()?;
            Op::ForgetCursor(consumer, (table != EVERY_TABLE).then_some(TableId(table)))
        }
        _ => return Err(damaged("a tick has an unknown operation")),
    })
}
