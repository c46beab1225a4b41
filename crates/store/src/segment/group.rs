//! A group of a segment: entries of one bucket in order of sequence number, read where they lie.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray};
use arrow_buffer::BooleanBuffer;
use arrow_select::concat::concat;
use arrow_select::filter::FilterPredicate;
use bytes::Bytes;
use gridhouse_base::{CommitId, Error, Result, RowKind};

use super::encoding::{CHUNK_ROWS, EncodedColumn};
use super::file::{GroupState, SectionMeta, Segment, place_of};
use super::footer::Spread;
use super::section::Section;
use super::statistics::{ChunkStats, decode_bounds};
use crate::bits::Bits;
use crate::codec::damaged;
use crate::table::TableShape;
use crate::tail::{NO_ROW, TailBatch, rearrange_error};

/// A group of a segment, which it keeps open.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    segment: Arc<Segment>,
    index: usize,
}

/// The texts of the dictionary that was read last.
#[derive(Clone, Debug)]
pub(crate) struct KnownTexts {
    group: Group,
    /// The column, and the chunk that they stand in.
    place: (usize, usize),
    texts: ArrayRef,
}

impl Group {
    /// Group number `index` of `segment`.
    pub(super) fn new(segment: Arc<Segment>, index: usize) -> Self {
        assert!(index < segment.groups.len(), "a segment has {} groups, not {index}", segment.groups.len());
        Self { segment, index }
    }

    fn state(&self) -> &GroupState {
        &self.segment.groups[self.index]
    }

    fn section(&self) -> &SectionMeta {
        &self.segment.sections()[self.state().section]
    }

    /// The segment.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The group's number in its segment.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The number of the group's section in its segment.
    pub fn section_index(&self) -> usize {
        self.state().section
    }

    /// The section that the group belongs to.
    pub fn home(&self) -> Section {
        self.segment().section(self.section_index())
    }

    /// The number of the group in its section.
    pub fn index_in_section(&self) -> usize {
        self.index() - self.home().groups().start
    }

    /// The shape of the group's table.
    pub fn shape(&self) -> &Arc<TableShape> {
        &self.section().shape
    }

    /// The number of entries, at least 1.
    pub fn len(&self) -> usize {
        self.state().record.len
    }

    /// The first entry's sequence number.
    pub fn first_seq(&self) -> u64 {
        self.state().record.first_seq
    }

    /// The last entry's sequence number.
    pub fn last_seq(&self) -> u64 {
        self.state().record.last_seq
    }

    /// The sequence number of entry `i`.
    pub fn seq(&self, i: usize) -> u64 {
        let state = self.state();
        assert!(i < state.record.len, "a group of {} entries has no entry {i}", state.record.len);
        if state.seqs.is_empty() { state.record.first_seq + i as u64 } else { number_at(&state.seqs, i) }
    }

    /// Where the entry with sequence number `seq` is, if the group has it.
    pub fn position(&self, seq: u64) -> Option<usize> {
        let GroupState { record, seqs, chunk_firsts, .. } = self.state();
        if seq < record.first_seq || seq > record.last_seq {
            return None;
        }
        if seqs.is_empty() {
            return Some((seq - record.first_seq) as usize);
        }
        let chunk = chunk_firsts.partition_point(|&first| first <= seq).checked_sub(1)?;
        let next = chunk_firsts.get(chunk + 1).map_or(record.last_seq + 1, |&next| next);
        let at = find(&seqs[chunk], self.chunk_rows(chunk), seq, chunk_firsts[chunk]..next)?;
        Some(chunk * CHUNK_ROWS + at)
    }

    /// Whether entry `i` is a deletion.
    pub fn is_delete(&self, i: usize) -> bool {
        is_set(self.state().record.deletes, self.state().deletes.as_ref(), i)
    }

    /// Whether the group has deletions.
    pub fn has_deletes(&self) -> bool {
        self.state().record.deletes != Spread::None
    }

    /// The kind of entry `i`: an entry that killed another one is an update.
    pub fn kind(&self, i: usize) -> RowKind {
        if self.is_delete(i) {
            RowKind::Delete
        } else if is_set(self.state().record.updates, self.state().updates.as_ref(), i) {
            RowKind::UpdateAfter
        } else {
            RowKind::Insert
        }
    }

    /// The sequence number of the entry that entry `i` killed, or [`NO_ROW`]; always that for a log table.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn prev(&self, i: usize) -> Result<u64> {
        Ok(self.prevs()?.map_or(NO_ROW, |prevs| number_at(prevs, i)))
    }

    fn prevs(&self) -> Result<Option<&[EncodedColumn]>> {
        let GroupState { record, prev, .. } = self.state();
        if !record.has_prev {
            return Ok(None);
        }
        if let Some(prevs) = prev.get() {
            return Ok(Some(prevs));
        }
        let places = record.places(self.shape().types.len());
        let read = self.segment.numbers(self.section(), places.prev..places.end, record.len, "replaced entries")?;
        Ok(Some(prev.get_or_init(|| read)))
    }

    /// The commit of entry `i`.
    pub fn commit_at(&self, i: usize) -> CommitId {
        let GroupState { record, starts, commits, .. } = self.state();
        if starts.is_empty() {
            return record.first_commit;
        }
        let chunk = starts.partition_point(|chunk| chunk.u64_at(0) <= i as u64).saturating_sub(1);
        let runs = (record.commits - chunk * CHUNK_ROWS).min(CHUNK_ROWS);
        let run = partition_point(runs, |run| starts[chunk].u64_at(run) <= i as u64).saturating_sub(1);
        CommitId(commits[chunk].u64_at(run))
    }

    /// The oldest commit.
    pub fn first_commit(&self) -> CommitId {
        self.state().record.first_commit
    }

    /// The newest commit.
    pub fn last_commit(&self) -> CommitId {
        self.state().record.last_commit
    }

    /// The commits with the entries `from..to` of each, ascending.
    pub fn runs(&self) -> impl Iterator<Item = (CommitId, usize, usize)> + '_ {
        let GroupState { record, starts, commits, .. } = self.state();
        // A damaged file may hold any numbers; what is given out still lies within the group.
        let start = |run: usize| if starts.is_empty() { 0 } else { number_at(starts, run) as usize };
        let end = move |run: usize| if run < record.commits { start(run).min(record.len) } else { record.len };
        (0..record.commits).map(move |run| {
            let commit = if commits.is_empty() { record.first_commit } else { CommitId(number_at(commits, run)) };
            (commit, end(run).min(end(run + 1)), end(run + 1))
        })
    }

    /// When the oldest and the newest commit were made, in microseconds since the epoch.
    pub fn time_micros(&self) -> (i64, i64) {
        self.state().record.time_micros
    }

    /// The encoded size in the file.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// The number of chunks of each column.
    pub fn chunks(&self) -> usize {
        self.state().record.chunks()
    }

    /// The number of rows in chunk `chunk`.
    pub fn chunk_rows(&self, chunk: usize) -> usize {
        (self.len() - chunk * CHUNK_ROWS).min(CHUNK_ROWS)
    }

    fn piece(&self, column: usize, chunk: usize) -> usize {
        assert!(column < self.shape().types.len() && chunk < self.chunks(), "no column {column} or chunk {chunk}");
        self.state().record.pieces + column * self.chunks() + chunk
    }

    /// Reads the first byte of column `column` of chunk `chunk`, so that it is at hand when the column is read.
    pub(super) fn touch(&self, column: usize, chunk: usize) -> u8 {
        self.segment.touch_piece(self.piece(column, chunk))
    }

    /// Where column `column` of chunk `chunk`, which has been touched, leads to the first chunk of the group, touches that.
    pub(super) fn touch_first(&self, column: usize, chunk: usize) -> u8 {
        let leads = chunk > 0 && self.segment.begins_with(self.piece(column, chunk), EncodedColumn::leads_to_first);
        if leads { self.touch(column, 0) } else { 0 }
    }

    /// Whether column `column` of chunk `chunk` is kept as codes of texts.
    pub fn has_codes(&self, column: usize, chunk: usize) -> bool {
        self.segment.begins_with(self.piece(column, chunk), EncodedColumn::is_coded)
    }

    /// Whether `other` is the same group.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.index == other.index && Arc::ptr_eq(&self.segment, &other.segment)
    }

    /// Puts file and place in front of an error that was found in column `column` of chunk `chunk`.
    pub(super) fn located(&self, error: Error, column: usize, chunk: usize) -> Error {
        self.segment.located(error, self.piece(column, chunk), &self.place(column, chunk))
    }

    /// Column `column` of chunk `chunk`, to be decoded or read value by value.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn encoded(&self, column: usize, chunk: usize) -> Result<EncodedColumn> {
        let data_type = &self.shape().types[column];
        let (piece, first) = (self.piece(column, chunk), self.piece(column, 0));
        let place = |which: usize| self.place(column, which - first);
        self.segment.parse_chunk((piece, first), data_type, self.chunk_rows(chunk), place)
    }

    /// Column `column` of chunk `chunk`.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn column(&self, column: usize, chunk: usize) -> Result<ArrayRef> {
        let decoded = self.encoded(column, chunk)?.decode();
        decoded.map_err(|error| self.located(error, column, chunk))
    }

    /// Of chunk `chunk` of column `column` the rows of which the bits in `wanted` are 1, which `filter` was made of.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn column_where(
        &self,
        column: usize,
        chunk: usize,
        wanted: &BooleanBuffer,
        filter: &FilterPredicate,
    ) -> Result<ArrayRef> {
        let decoded = self.encoded(column, chunk)?.decode_where(wanted, filter);
        decoded.map_err(|error| self.segment.located(error, self.piece(column, chunk), &self.place(column, chunk)))
    }

    /// Of chunk `chunk` of column `column` the rows that `filter` leaves, all without one: as codes and texts if they are kept
    /// so, else as they are. The texts of one dictionary are the same array each time, as long as `known` is handed on.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn coded_column(
        &self,
        column: usize,
        chunk: usize,
        wanted: Option<(&BooleanBuffer, &FilterPredicate)>,
        known: &mut Option<KnownTexts>,
    ) -> Result<ArrayRef> {
        let encoded = self.encoded(column, chunk)?;
        let located = |error| self.located(error, column, chunk);
        let Some(codes) = encoded.codes().map_err(located)? else {
            let rows = match wanted {
                None => encoded.decode(),
                Some((wanted, filter)) => encoded.decode_where(wanted, filter),
            };
            return rows.map_err(located);
        };
        let home = if encoded.has_group_codes() { 0 } else { chunk };
        let is_known = |known: &KnownTexts| known.place == (column, home) && known.group.is_same(self);
        let texts = match known.take().filter(is_known) {
            Some(known) => known.texts,
            None => {
                let texts = encoded.dictionary().map_err(located)?;
                texts.ok_or_else(|| Error::internal("codes have no texts"))?
            }
        };
        *known = Some(KnownTexts { group: self.clone(), place: (column, home), texts: texts.clone() });
        let codes: ArrayRef = Arc::new(codes);
        let codes = match wanted {
            None => codes,
            Some((_, filter)) => filter.filter(&codes).map_err(rearrange_error)?,
        };
        let coded = DictionaryArray::try_new(codes.as_primitive::<Int32Type>().clone(), texts);
        let coded = coded.map_err(|error| damaged("a code is not in its dictionary").caused_by(error));
        Ok(Arc::new(coded.map_err(located)?))
    }

    /// The whole of column `column`.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn whole_column(&self, column: usize) -> Result<ArrayRef> {
        let mut chunks = (0..self.chunks()).map(|chunk| self.column(column, chunk)).collect::<Result<Vec<_>>>()?;
        if chunks.len() == 1 {
            return Ok(chunks.remove(0));
        }
        let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
        concat(&chunks).map_err(rearrange_error)
    }

    /// Names a column chunk, for messages.
    pub(super) fn place(&self, column: usize, chunk: usize) -> String {
        let name = &self.shape().spec.schema.columns[column].name;
        let first = self.seq(chunk * CHUNK_ROWS);
        place_of(self.section(), &format!("column {name}, rows from number {first} on,"))
    }

    /// What is known of column `column` of chunk `chunk` without reading it.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn stats(&self, column: usize, chunk: usize) -> Result<ChunkStats> {
        let piece = self.segment.footer.piece(self.piece(column, chunk));
        let mut stats =
            ChunkStats { nulls: usize::from(piece.nulls), is_sorted: piece.is_sorted, ..ChunkStats::default() };
        if let Some(bytes) = self.segment.footer.bounds(&piece) {
            let bounds = decode_bounds(bytes, &self.shape().types[column]);
            let [min, max] = bounds.map_err(|error| self.located(error, column, chunk))?;
            (stats.min, stats.max) = (Some(min), Some(max));
        }
        Ok(stats)
    }

    /// The rows at `positions` of the columns `columns`.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    #[cfg(test)]
    pub fn rows(&self, columns: &[usize], positions: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut picks = super::pick::Picks::default();
        positions.iter().for_each(|&position| picks.push(self, position));
        picks.columns(columns)
    }

    /// All entries, in memory.
    ///
    /// # Errors
    /// `Corrupt` if the segment is damaged there.
    pub fn to_batch(&self) -> Result<TailBatch> {
        let GroupState { record, seqs, .. } = self.state();
        let columns = (0..self.shape().types.len()).map(|c| self.whole_column(c)).collect::<Result<Vec<_>>>()?;
        let seqs = (!seqs.is_empty()).then(|| (0..record.len).map(|i| self.seq(i)).collect());
        let deletes = self.has_deletes().then(|| Bits::from_fn(record.len, |i| self.is_delete(i)));
        let prevs = self.prevs()?;
        let prev = prevs.map(|prevs| (0..record.len).map(|i| number_at(prevs, i)).collect());
        let commits = self.runs().map(|(commit, from, _)| (from as u32, commit)).collect();
        Ok(TailBatch::build(record.first_seq, seqs, columns, record.len, deletes, prev, commits))
    }
}

/// Number `i` of a column of our own.
fn number_at(chunks: &[EncodedColumn], i: usize) -> u64 {
    chunks[i / CHUNK_ROWS].u64_at(i % CHUNK_ROWS)
}

fn is_set(spread: Spread, bitmap: Option<&Bytes>, i: usize) -> bool {
    match (spread, bitmap) {
        (Spread::Some, Some(bits)) => bits[i / 8] >> (i % 8) & 1 == 1,
        (spread, _) => spread == Spread::All,
    }
}

/// How often a guess is tried before halves are: numbers that go on evenly are found by three or four.
const GUESSES: usize = 6;

/// Where `seq`, which lies in `span`, is among `rows` ascending numbers of `span`.
fn find(numbers: &EncodedColumn, rows: usize, seq: u64, mut span: Range<u64>) -> Option<usize> {
    let (mut from, mut to) = (0, rows);
    let mut guesses = 0;
    while from < to {
        let middle = if guesses < GUESSES {
            // Sequence numbers have 48 bits and rows 13; what damaged files hold beyond that only makes bad guesses.
            let share =
                (seq - span.start).wrapping_mul((to - from) as u64) / span.end.saturating_sub(span.start).max(1);
            (from + share as usize).min(to - 1)
        } else {
            from + (to - from) / 2
        };
        guesses += 1;
        match numbers.u64_at(middle) {
            number if number == seq => return Some(middle),
            number if number < seq => (from, span.start) = (middle + 1, number + 1),
            number => (to, span.end) = (middle, number),
        }
    }
    None
}

/// The first of `0..len` for which `is_before` is not true.
fn partition_point(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, len);
    while from < to {
        let middle = from + (to - from) / 2;
        if is_before(middle) { from = middle + 1 } else { to = middle }
    }
    from
}
