//! Scans of a table's live rows: some columns, the rows that meet some conditions, in parts that can be read side by side.
//!
//! A scan goes piece by piece; a piece is some thousand neighbouring entries whose columns can be read one by one. Pieces whose
//! statistics rule a condition out are not looked at; of the others the columns with conditions are read first, and the
//! columns asked for only where a row has passed. What comes out is exact: the rows that are alive and for which every
//! condition is TRUE, in order of bucket and sequence number.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, downcast_primitive};
use arrow_buffer::{ArrowNativeType, BooleanBuffer};
use arrow_select::filter::{FilterBuilder, FilterPredicate};
use gridhouse_base::{ChangeBatch, Result};

use crate::bucket_view::BatchRef;
use crate::condition::{ColumnStatistics, Conjunct, order_of};
use crate::snapshot::TableSnapshot;
use crate::tail::rearrange_error;

/// Entries of a piece of the hot tail. Its columns stay in the caches of a core while the conditions go over them, and the
/// chunks of segments have as many.
const PIECE_ROWS: usize = 8_192;

/// Below this many entries a batch's statistics cost more than looking at its rows.
const MIN_STATISTICS_ROWS: usize = 1_024;

/// What a scan gives.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    /// The table's columns, in the order wanted; `None`: all.
    pub projection: Option<Vec<usize>>,
    /// What must be TRUE of a row.
    pub conjuncts: Vec<Conjunct>,
}

impl TableSnapshot {
    /// The live rows that meet `request`, in batches of at most 8,192.
    ///
    /// # Errors
    /// `Invalid` where the request does not fit the table's columns.
    pub fn scan_where(&self, request: &ScanRequest) -> Result<Scan> {
        let mut parts = self.partitions(request, 1)?;
        Ok(parts.pop().unwrap_or_else(|| Scan::new(Vec::new(), &Arc::default())))
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
        let pieces: Vec<Piece> = self.pieces(&request.conjuncts).collect();
        let rows: usize = pieces.iter().map(|piece| piece.len).sum();
        let share = rows.div_ceil(count.max(1)).max(1);
        let request = Arc::new(request.clone());
        let (mut parts, mut part, mut filled) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            filled += piece.len;
            part.push(piece);
            if filled >= share {
                parts.push(Scan::new(std::mem::take(&mut part), &request));
                filled = 0;
            }
        }
        if !part.is_empty() {
            parts.push(Scan::new(part, &request));
        }
        Ok(parts)
    }

    /// Where live rows that may meet `conjuncts` are.
    fn pieces(&self, conjuncts: &[Conjunct]) -> impl Iterator<Item = Piece> {
        let batches = self.view.batches().filter(|batch| batch.alive.count() > 0);
        let may = |batch: &&BatchRef| {
            let may = |conjunct: &Conjunct| {
                batch.statistics(conjunct.column()).is_none_or(|statistics| conjunct.may_match(statistics))
            };
            conjuncts.iter().all(may)
        };
        batches.filter(may).flat_map(|batch| {
            let len = batch.data.len;
            (0..len).step_by(PIECE_ROWS).map(move |start| Piece::new(batch, start, PIECE_ROWS.min(len - start)))
        })
    }

    /// What is known of `column` over all entries of the table, dead ones included; without bounds where a part of the table
    /// does not know its own.
    pub fn column_statistics(&self, column: usize) -> ColumnStatistics {
        let mut sum = ColumnStatistics { rows: 0, nulls: 0, min: None, max: None, is_sorted: true };
        let mut bounded = true;
        for batch in self.view.batches() {
            sum.rows += batch.data.len;
            sum.nulls += batch.data.columns[column].logical_null_count();
            let part = batch.statistics(column);
            sum.is_sorted &= part.is_some_and(|part| {
                let (Some(last), Some(next)) = (&sum.max, &part.min) else {
                    return part.is_sorted && sum.max.is_none();
                };
                part.is_sorted && order_of(last, 0, next, 0).is_some_and(Ordering::is_le)
            });
            let Some(part) = part.filter(|part| part.nulls == part.rows || part.min.is_some()) else {
                bounded = false;
                continue;
            };
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

/// Some neighbouring entries whose columns are read one by one.
#[derive(Clone, Debug)]
struct Piece {
    batch: BatchRef,
    start: usize,
    len: usize,
}

impl Piece {
    fn new(batch: &BatchRef, start: usize, len: usize) -> Self {
        Self { batch: batch.clone(), start, len }
    }

    /// Which entries are alive; `None`: all.
    fn alive(&self) -> Option<BooleanBuffer> {
        (!self.batch.alive.is_full()).then(|| self.batch.alive.range(self.start, self.len))
    }

    /// All values of a column.
    fn column(&self, column: usize) -> Result<ArrayRef> {
        Ok(self.batch.data.columns[column].slice(self.start, self.len))
    }

    /// The values of a column at the rows that have passed.
    fn passed(&self, column: usize, passed: &FilterPredicate) -> Result<ArrayRef> {
        passed.filter(&self.column(column)?).map_err(rearrange_error)
    }

    /// The rows that meet `request`; `None` where none does.
    fn read(&self, request: &ScanRequest, width: usize) -> Result<Option<ChangeBatch>> {
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
            None => wanted.iter().map(|&column| self.column(column)).collect::<Result<Vec<_>>>()?,
            Some(passed) => {
                let filter = FilterBuilder::new(&BooleanArray::new(passed, None)).optimize().build();
                wanted.iter().map(|&column| self.passed(column, &filter)).collect::<Result<Vec<_>>>()?
            }
        };
        Ok(Some(ChangeBatch::insertions(columns, count)))
    }
}

/// Live rows, batch by batch; made by [`TableSnapshot::scan`], [`TableSnapshot::scan_where`] and
/// [`TableSnapshot::partitions`].
#[derive(Debug)]
pub struct Scan {
    pieces: std::vec::IntoIter<Piece>,
    request: Arc<ScanRequest>,
}

impl Scan {
    fn new(pieces: Vec<Piece>, request: &Arc<ScanRequest>) -> Self {
        Self { pieces: pieces.into_iter(), request: request.clone() }
    }

    /// All live rows of `batches`, a batch of them at a time.
    pub(crate) fn whole<'a>(batches: impl Iterator<Item = &'a BatchRef>, projection: Option<&[usize]>) -> Self {
        let alive = batches.filter(|batch| batch.alive.count() > 0);
        let pieces = alive.map(|batch| Piece::new(batch, 0, batch.data.len)).collect();
        let request = ScanRequest { projection: projection.map(<[usize]>::to_vec), conjuncts: Vec::new() };
        Self::new(pieces, &Arc::new(request))
    }
}

impl Iterator for Scan {
    type Item = Result<ChangeBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let piece = self.pieces.next()?;
            if let Some(rows) = piece.read(&self.request, piece.batch.data.columns.len()).transpose() {
                return Some(rows);
            }
        }
    }
}

impl BatchRef {
    /// What is known of a column, dead entries included; looked up once. `None` where knowing it does not pay.
    fn statistics(&self, column: usize) -> Option<&ColumnStatistics> {
        if self.data.len < MIN_STATISTICS_ROWS {
            return None;
        }
        let known = self.data.statistics.get_or_init(|| self.data.columns.iter().map(|_| Default::default()).collect());
        known[column].get_or_init(|| statistics_of(&self.data.columns[column])).as_ref()
    }
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
