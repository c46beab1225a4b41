//! Scans of a table's live rows: some columns, the rows that meet some conditions, in parts that can be read side by side.
//!
//! A scan goes piece by piece; a piece is some thousand neighbouring entries whose columns can be read one by one. Pieces whose
//! statistics rule a condition out are not looked at; of the others the columns with conditions are read first, and the
//! columns asked for only where a row has passed. What comes out is exact: the rows that are alive and for which every
//! condition is TRUE, in order of bucket and sequence number.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, downcast_primitive};
use arrow_buffer::{ArrowNativeType, BooleanBuffer};
use arrow_select::filter::FilterBuilder;
use gridhouse_base::{ChangeBatch, Result};

use crate::condition::{ColumnStatistics, Conjunct, order_of};
use crate::group::{Entries, LiveGroup};
use crate::segment::{KnownTexts, Picks};
use crate::snapshot::{TableSnapshot, TableView};
use crate::tail::{TailBatch, rearrange_error};

/// Entries of a piece of the hot tail. Its columns stay in the caches of a core while the conditions go over them, and the
/// chunks of segments have as many.
const PIECE_ROWS: usize = 8_192;

/// Below this many entries a batch's statistics cost more than looking at its rows.
const MIN_STATISTICS_ROWS: usize = 1_024;

/// How many groups of entries tell whether a column is stored as codes.
const CODED_SAMPLE: usize = 32;

/// Where at most one of this many rows of a chunk has passed, the values are picked out one by one: decoding a value among others
/// takes about a nanosecond, picking one out some ten to a hundred.
const FEW_SHARE: usize = 64;

/// What a scan gives.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    /// The table's columns, in the order wanted; `None`: all.
    pub projection: Option<Vec<usize>>,
    /// What must be TRUE of a row.
    pub conjuncts: Vec<Conjunct>,
    /// Columns of texts that may come as Arrow's dictionaries, with codes of 32 bits, where they are stored so; batches that
    /// share a dictionary have the same array of texts. Texts of a dictionary may be those of no row.
    pub coded: Vec<usize>,
}

impl TableSnapshot {
    /// The live rows that meet `request`, in batches of at most 8,192.
    ///
    /// # Errors
    /// `Invalid` where the request does not fit the table's columns.
    pub fn scan_where(&self, request: &ScanRequest) -> Result<Scan> {
        let mut parts = self.partitions(request, 1)?;
        Ok(parts.pop().unwrap_or_else(|| Scan::new(Vec::new(), &Arc::default(), 0)))
    }

    /// The rows of [`TableSnapshot::scan_where`] in at most `count` parts of about as many rows each; one after the other they
    /// are the whole.
    ///
    /// # Errors
    /// `Invalid` where the request does not fit the table's columns.
    pub fn partitions(&self, request: &ScanRequest, count: usize) -> Result<Vec<Scan>> {
        let types = &self.view.shape.types;
        for conjunct in &request.conjuncts {
            conjunct.check(types)?;
        }
        if let Some(column) = request.projection.iter().flatten().find(|&&column| column >= types.len()) {
            let (name, columns) = (&self.spec().name, types.len());
            return Err(gridhouse_base::Error::invalid(format!(
                "table {name} has {columns} columns, number {column} is asked for"
            )));
        }
        let pieces = self.pieces(&request.conjuncts)?;
        let rows: usize = pieces.iter().map(|piece| piece.len).sum();
        let share = rows.div_ceil(count.max(1)).max(1);
        let request = Arc::new(request.clone());
        let (mut parts, mut part, mut filled) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            filled += piece.len;
            part.push(piece);
            if filled >= share {
                parts.push(Scan::new(std::mem::take(&mut part), &request, types.len()));
                filled = 0;
            }
        }
        if !part.is_empty() {
            parts.push(Scan::new(part, &request, types.len()));
        }
        Ok(parts)
    }

    /// Where live rows that may meet `conjuncts` are.
    fn pieces(&self, conjuncts: &[Conjunct]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for group in self.view.groups().filter(|group| group.alive.count() > 0) {
            for piece in Piece::all_of(group) {
                if piece.has_rows() && piece.may_match(conjuncts)? {
                    pieces.push(piece);
                }
            }
        }
        Ok(pieces)
    }

    /// Whether most rows of `column`, texts, are stored as codes of a dictionary. A few chunks tell.
    pub fn has_codes(&self, column: usize) -> bool {
        let groups = self.view.groups().count();
        let step = groups.div_ceil(CODED_SAMPLE).max(1);
        let (mut rows, mut coded) = (0, 0);
        for group in self.view.groups().step_by(step) {
            rows += group.entries.len();
            if let Entries::Sealed(sealed) = &group.entries
                && sealed.has_codes(column, sealed.chunks() / 2)
            {
                coded += sealed.len();
            }
        }
        coded * 2 > rows
    }

    /// What is known of `column` over all entries of the table, dead ones included; without bounds where a part of the table
    /// does not know its own.
    pub fn column_statistics(&self, column: usize) -> ColumnStatistics {
        let mut sum = ColumnStatistics { rows: 0, nulls: 0, min: None, max: None, is_sorted: true };
        let mut bounded = true;
        for part in self.view.groups().flat_map(|group| parts_of(group, column)) {
            let Some(part) = part else {
                bounded = false;
                continue;
            };
            sum.rows += part.rows;
            sum.nulls += part.nulls;
            sum.is_sorted &= match (&sum.max, &part.min) {
                (Some(last), Some(next)) => part.is_sorted && order_of(last, 0, next, 0).is_some_and(Ordering::is_le),
                _ => part.is_sorted && sum.max.is_none(),
            };
            if part.nulls < part.rows && part.min.is_none() {
                bounded = false;
                continue;
            }
            merge_bound(&mut sum.min, &part.min, Ordering::Less, &mut bounded);
            merge_bound(&mut sum.max, &part.max, Ordering::Greater, &mut bounded);
        }
        if !bounded {
            (sum.min, sum.max, sum.is_sorted) = (None, None, false);
        }
        sum
    }

    /// The columns by each of which the rows of a scan ascend, none of them NULL: those of a time that only goes on, mostly.
    pub fn ordering(&self) -> Vec<usize> {
        (0..self.view.shape.types.len()).filter(|&column| self.column_statistics(column).is_sorted).collect()
    }
}

/// Makes `bound` that of `part` where that is further out.
fn merge_bound(bound: &mut Option<ArrayRef>, part: &Option<ArrayRef>, further: Ordering, bounded: &mut bool) {
    let Some(part) = part else { return };
    match bound.as_ref().map(|bound| order_of(part, 0, bound, 0)) {
        None => *bound = Some(part.clone()),
        Some(Some(order)) if order == further => *bound = Some(part.clone()),
        Some(Some(_)) => {}
        // A bound that is NaN has no order.
        Some(None) => *bounded = false,
    }
}

/// What is known of a column in each part of a group that keeps statistics of its own; `None` where nothing is.
fn parts_of(group: &LiveGroup, column: usize) -> Vec<Option<ColumnStatistics>> {
    match &group.entries {
        Entries::Tail(batch) => vec![statistics(batch, column).cloned()],
        Entries::Sealed(_) => (0..group.entries.chunks()).map(|k| group.entries.statistics(column, k).ok()).collect(),
    }
}

impl Entries {
    /// What is known of a column of a chunk of a segment.
    fn statistics(&self, column: usize, chunk: usize) -> Result<ColumnStatistics> {
        let Self::Sealed(group) = self else { unreachable!("asked of segments only") };
        let known = group.stats(column, chunk)?;
        let rows = group.chunk_rows(chunk);
        Ok(ColumnStatistics { rows, nulls: known.nulls, min: known.min, max: known.max, is_sorted: known.is_sorted })
    }
}

/// Some neighbouring entries whose columns are read one by one.
#[derive(Clone, Debug)]
struct Piece {
    group: LiveGroup,
    chunk: usize,
    /// Where in the group the piece begins.
    start: usize,
    len: usize,
}

impl Piece {
    /// A group in pieces: the chunks of a segment's, stretches of a batch in memory.
    fn all_of(group: &LiveGroup) -> impl Iterator<Item = Self> {
        let is_sealed = matches!(group.entries, Entries::Sealed(_));
        let step = if is_sealed { crate::segment::encoding::CHUNK_ROWS } else { PIECE_ROWS };
        let len = group.entries.len();
        (0..len).step_by(step).map(move |start| {
            let chunk = if is_sealed { start / step } else { 0 };
            Self { group: group.clone(), chunk, start, len: step.min(len - start) }
        })
    }

    /// Whether any of its entries lives.
    fn has_rows(&self) -> bool {
        self.alive().is_none_or(|alive| alive.count_set_bits() > 0)
    }

    /// Whether the statistics leave it open that a row meets all of `conjuncts`.
    fn may_match(&self, conjuncts: &[Conjunct]) -> Result<bool> {
        for conjunct in conjuncts {
            let column = conjunct.column();
            let may = match &self.group.entries {
                Entries::Tail(batch) => statistics(batch, column).is_none_or(|known| conjunct.may_match(known)),
                Entries::Sealed(_) => conjunct.may_match(&self.group.entries.statistics(column, self.chunk)?),
            };
            if !may {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which entries are alive; `None`: all.
    fn alive(&self) -> Option<BooleanBuffer> {
        (!self.group.alive.is_full()).then(|| self.group.alive.range(self.start, self.len))
    }

    /// All values of a column.
    fn column(&self, column: usize) -> Result<ArrayRef> {
        match &self.group.entries {
            Entries::Tail(batch) => Ok(batch.columns[column].slice(self.start, self.len)),
            Entries::Sealed(group) => group.column(column, self.chunk),
        }
    }

    /// The values of some columns at the `count` rows that have passed.
    fn passed(
        &self,
        columns: &[usize],
        passed: BooleanBuffer,
        count: usize,
        coded: &mut Coded,
    ) -> Result<Vec<ArrayRef>> {
        if let Entries::Sealed(group) = &self.group.entries
            && count * FEW_SHARE <= self.len
        {
            let mut picks = Picks::default();
            passed.set_indices().for_each(|row| picks.push(group, (self.start + row) as u32));
            return picks.columns(columns);
        }
        let filter = FilterBuilder::new(&BooleanArray::new(passed.clone(), None)).optimize().build();
        let filtered = |&column: &usize| match (&self.group.entries, coded.of(column)) {
            (Entries::Tail(_), _) => filter.filter(&self.column(column)?).map_err(rearrange_error),
            (Entries::Sealed(group), None) => group.column_where(column, self.chunk, &passed, &filter),
            (Entries::Sealed(group), Some(known)) => {
                group.coded_column(column, self.chunk, Some((&passed, &filter)), known)
            }
        };
        columns.iter().map(filtered).collect()
    }

    /// The rows that meet `request`; `None` where none does.
    fn read(&self, request: &ScanRequest, width: usize, coded: &mut Coded) -> Result<Option<ChangeBatch>> {
        let mut passed = self.alive();
        for conjunct in &request.conjuncts {
            if passed.as_ref().is_some_and(|passed| passed.count_set_bits() == 0) {
                return Ok(None);
            }
            let (true_for, _) = conjunct.mask(&self.column(conjunct.column())?)?.into_parts();
            passed = Some(match passed {
                Some(passed) => &passed & &true_for,
                None => true_for,
            });
        }
        let all: Vec<usize>;
        let wanted = match &request.projection {
            Some(columns) => columns,
            None => {
                all = (0..width).collect();
                &all
            }
        };
        let count = passed.as_ref().map_or(self.len, BooleanBuffer::count_set_bits);
        if count == 0 {
            return Ok(None);
        }
        let columns = match passed.filter(|_| count < self.len) {
            None => {
                let whole = |&column: &usize| match (&self.group.entries, coded.of(column)) {
                    (Entries::Sealed(group), Some(known)) => group.coded_column(column, self.chunk, None, known),
                    _ => self.column(column),
                };
                wanted.iter().map(whole).collect::<Result<Vec<_>>>()?
            }
            Some(passed) => self.passed(wanted, passed, count, coded)?,
        };
        Ok(Some(ChangeBatch::insertions(columns, count)))
    }
}

/// The columns of a scan that may come as codes, each with the dictionary that was read last.
#[derive(Clone, Debug, Default)]
struct Coded(Vec<(usize, Option<KnownTexts>)>);

impl Coded {
    fn of(&mut self, column: usize) -> Option<&mut Option<KnownTexts>> {
        self.0.iter_mut().find(|(coded, _)| *coded == column).map(|(_, known)| known)
    }
}

/// Live rows, batch by batch; made by [`TableSnapshot::scan`], [`TableSnapshot::scan_where`] and
/// [`TableSnapshot::partitions`]. A clone begins where this one stands.
#[derive(Clone, Debug)]
pub struct Scan {
    pieces: std::vec::IntoIter<Piece>,
    request: Arc<ScanRequest>,
    /// The number of the table's columns.
    width: usize,
    coded: Coded,
}

impl Scan {
    fn new(pieces: Vec<Piece>, request: &Arc<ScanRequest>, width: usize) -> Self {
        let coded = Coded(request.coded.iter().map(|&column| (column, None)).collect());
        Self { pieces: pieces.into_iter(), request: request.clone(), width, coded }
    }

    /// All live rows of a table; a batch in memory is not cut.
    pub(crate) fn whole(table: &TableView, projection: Option<&[usize]>) -> Self {
        let mut pieces = Vec::new();
        for group in table.groups().filter(|group| group.alive.count() > 0) {
            match &group.entries {
                Entries::Tail(batch) => {
                    pieces.push(Piece { group: group.clone(), chunk: 0, start: 0, len: batch.len });
                }
                Entries::Sealed(_) => pieces.extend(Piece::all_of(group).filter(Piece::has_rows)),
            }
        }
        let request = ScanRequest { projection: projection.map(<[usize]>::to_vec), ..ScanRequest::default() };
        Self::new(pieces, &Arc::new(request), table.shape.types.len())
    }
}

impl Iterator for Scan {
    type Item = Result<ChangeBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let piece = self.pieces.next()?;
            if let Some(rows) = piece.read(&self.request, self.width, &mut self.coded).transpose() {
                return Some(rows);
            }
        }
    }
}

/// What is known of a column of a batch in memory, dead entries included; looked up once. `None` where knowing it does not
/// pay.
fn statistics(batch: &TailBatch, column: usize) -> Option<&ColumnStatistics> {
    if batch.len < MIN_STATISTICS_ROWS {
        return None;
    }
    let known = batch.statistics.get_or_init(|| batch.columns.iter().map(|_| OnceLock::new()).collect());
    known[column].get_or_init(|| statistics_of(&batch.columns[column])).as_ref()
}

/// The statistics of a column of numbers, dates or times; `None` for others.
fn statistics_of(column: &ArrayRef) -> Option<ColumnStatistics> {
    macro_rules! of {
        ($t:ty) => {
            bounds::<$t>(column)
        };
    }
    downcast_primitive! {
        column.data_type() => (of),
        _ => None
    }
}

fn bounds<T: ArrowPrimitiveType>(column: &ArrayRef) -> Option<ColumnStatistics>
where
    T::Native: PartialOrd + ArrowNativeType,
{
    let array = column.as_any().downcast_ref::<PrimitiveArray<T>>()?;
    let nulls = array.null_count();
    // NaN has no place among the others.
    let mut values =
        array.iter().enumerate().filter_map(|(i, value)| Some((i, value?))).filter(|(_, v)| v.partial_cmp(v).is_some());
    let first = values.next();
    let (mut least, mut largest) = (first, first);
    for (i, value) in values {
        if least.is_some_and(|(_, least)| value < least) {
            least = Some((i, value));
        }
        if largest.is_some_and(|(_, largest)| value > largest) {
            largest = Some((i, value));
        }
    }
    let is_sorted = nulls == 0 && array.values().windows(2).all(|pair| pair[0] <= pair[1]);
    let row = |found: Option<(usize, T::Native)>| found.map(|(i, _)| column.slice(i, 1));
    Some(ColumnStatistics { rows: array.len(), nulls, min: row(least), max: row(largest), is_sorted })
}
