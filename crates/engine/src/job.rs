//! A job at work: its record and, while it runs, one branch per `INSERT`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int8Array, new_null_array};
use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ChangeBatch, Error, ErrorKind, Result, Schema, TableId};
use gridhouse_flow::{Dataflow, NodeId, Piece, TickContext};
use gridhouse_sql::plan::BoundInsert;
use gridhouse_store::Tick;

use crate::awaiting::Wait;
use crate::dead::Letter;
use crate::history::{Counts, History};
use crate::kept::LastKept;
use crate::lower::PlanLine;
use crate::records::{JobRecord, JobState};
use crate::retire::REPLACED;
use crate::sink::SinkHandle;
use crate::wiring::stored_key;

/// A job.
pub(crate) struct Job {
    pub(crate) record: JobRecord,
    /// One per `INSERT` while it runs; empty while it does not.
    pub(crate) branches: Vec<Branch>,
    /// The threads that bring outside targets up to date, with the branch that each belongs to.
    pub(crate) sinks: Vec<SinkHandle>,
    /// The run of a script that made it; other statements of the same run may write into the same target.
    pub(crate) script: u64,
    /// Changes written since the process started.
    pub(crate) rows_out: u64,
    /// How its operators came by what they hold.
    pub(crate) began: Began,
    /// When what they hold was last written down.
    pub(crate) last_kept: Arc<LastKept>,
    /// What it waits for, where it does.
    pub(crate) wait: Option<Wait>,
}

/// How a running job began in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Began {
    /// It was made in this process, or has not run in it.
    #[default]
    New,
    /// It goes on and holds nothing: its rows land, or are only carried out.
    Resumed,
    /// With the state that was kept beside the last checkpoint.
    Restored,
    /// From its inputs, and why.
    Rebuilt(String),
}

impl Began {
    /// In a few words.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::New => "new".into(),
            Self::Resumed => "resumed".into(),
            Self::Restored => "restored from its kept state".into(),
            Self::Rebuilt(why) => format!("rebuilt: {why}"),
        }
    }
}

/// How one `INSERT` is carried out.
pub(crate) enum Branch {
    /// By the source stream, on the way in; rows that the source cannot read are kept in `letters`.
    Landing { letters: Option<TableId> },
    /// By the sink's thread, on the way out.
    Relay { table: TableId },
    /// By operators.
    Flow(Box<Flow>),
}

/// An `INSERT` carried out by operators.
pub(crate) struct Flow {
    pub(crate) dataflow: Dataflow,
    pub(crate) inputs: Vec<Input>,
    /// What the nodes stand for.
    pub(crate) lines: BTreeMap<NodeId, PlanLine>,
    pub(crate) target: Target,
    /// Where rows that cannot be computed go, if not into the job's failure.
    pub(crate) dead_letters: Option<TableId>,
    pub(crate) zone: chrono_tz::Tz,
    /// What the nodes had counted in the last minute.
    pub(crate) history: History,
    /// Rows that belong to what it was given last may follow in the same tick.
    pub(crate) is_open: bool,
}

impl Flow {
    /// Lays up changes of an input for the tick.
    ///
    /// # Errors
    /// The operators' own; never `Unavailable`.
    pub(crate) fn push(&mut self, input: usize, batch: ChangeBatch, piece: Piece) -> Result<()> {
        self.dataflow.push_piece(input, batch, piece).map_err(of_operators)
    }

    /// Ends the tick of the operators: what is to be written, and the rows that cannot be.
    ///
    /// # Errors
    /// Where no dead letters are kept, what is wrong with the first such row. Never `Unavailable`.
    pub(crate) fn finish(&mut self, context: &TickContext) -> Result<(Vec<ChangeBatch>, Vec<Letter>)> {
        let (out, mut letters) = self.finish_unchecked(context)?;
        let (out, unsound) = self.checked(out)?;
        letters.extend(unsound);
        Ok((out, letters))
    }

    /// As [`Flow::finish`], but whether the rows can be written is not looked at.
    ///
    /// # Errors
    /// Those of operators.
    pub(crate) fn finish_unchecked(&mut self, context: &TickContext) -> Result<(Vec<ChangeBatch>, Vec<Letter>)> {
        let out = self.dataflow.finish_tick(context).map_err(of_operators)?.into_iter().next().unwrap_or_default();
        Ok((out, self.dataflow.take_errors().into_iter().map(Letter::from).collect()))
    }

    /// The rows that can be written, and those that cannot.
    ///
    /// # Errors
    /// Where no dead letters are kept, what is wrong with the first such row.
    pub(crate) fn checked(&self, out: Vec<ChangeBatch>) -> Result<(Vec<ChangeBatch>, Vec<Letter>)> {
        if self.dead_letters.is_none() {
            self.target.check(&out)?;
            return Ok((out, Vec::new()));
        }
        self.target.sound(out)
    }

    /// Takes what was laid up through the operators without ending the tick.
    ///
    /// # Errors
    /// The operators' own; never `Unavailable`.
    pub(crate) fn work(&mut self, context: &TickContext) -> Result<()> {
        self.dataflow.work(context).map_err(of_operators)
    }

    /// The state of these operators for `fresh` ones, if they are built from the same, read and write the same tables, and no
    /// input `is_corrected`.
    ///
    /// # Errors
    /// Why it is of no use.
    pub(crate) fn go_on(self, fresh: &Self, is_corrected: impl Fn(TableId) -> bool) -> Result<Dataflow, &'static str> {
        if self.inputs != fresh.inputs || self.target.table != fresh.target.table || self.zone != fresh.zone {
            return Err("its tables are not those that it had");
        }
        if !fresh.dataflow.is_like(&self.dataflow) {
            return Err("its plan is not the one that it had");
        }
        if self.inputs.iter().any(|input| is_corrected(input.table)) {
            return Err("one of its inputs was corrected");
        }
        Ok(self.dataflow)
    }

    /// Notes what the nodes have counted up to `now`, of a monotonic clock.
    pub(crate) fn note(&mut self, now: std::time::Duration) {
        let counts = self.dataflow.counters().map(|(rows_in, rows_out)| Counts { rows_in, rows_out });
        self.history.note(now, counts.collect());
    }
}

/// An error of operators. `Unavailable` in a tick means that the disk cannot be relied upon, which ends the process; what an
/// operator cannot do ends its job.
pub(crate) fn of_operators(error: Error) -> Error {
    if error.kind() != ErrorKind::Unavailable {
        return error;
    }
    let told = Error::new(ErrorKind::Conflict, error.to_string());
    match error.remedy() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// What a dataflow reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    /// The name under which the plan reads it.
    pub(crate) path: ObjectPath,
    pub(crate) table: TableId,
    /// The columns of the stored table, in the order in which the dataflow wants them.
    pub(crate) columns: Vec<usize>,
    /// Whether it matters which rows came together, and in which order: late rows are left out.
    pub(crate) in_order: bool,
}

/// Where a dataflow writes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) table: TableId,
    /// The target's name, for messages.
    pub(crate) name: String,
    /// The columns that the rows bring, where the others are to keep their values.
    pub(crate) columns: Option<Vec<usize>>,
    /// The key of the stored table; empty for a log table.
    pub(crate) key: Vec<usize>,
    /// The schema of the rows that are written.
    pub(crate) schema: Arc<Schema>,
    /// Columns of those rows that must not hold NULL.
    pub(crate) not_null: Vec<usize>,
    /// Whether withdrawn rows are kept as rows too, with the kind in a last column.
    pub(crate) kinds_inside: bool,
}

impl Job {
    /// A job that does not run.
    pub(crate) fn resting(record: JobRecord) -> Self {
        Self {
            record,
            branches: Vec::new(),
            sinks: Vec::new(),
            script: 0,
            rows_out: 0,
            began: Began::New,
            last_kept: Arc::default(),
            wait: None,
        }
    }

    /// Whether it rests only until another is in its place.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(&self.record.state, JobState::Waiting(why) if why == REPLACED)
    }

    /// Tables that the job reads.
    pub(crate) fn read(&self) -> BTreeSet<TableId> {
        // What an outside is yet to be taken over from, too.
        let before = self.record.inserts.iter().filter_map(|insert| insert.before.as_ref());
        let mut tables: BTreeSet<TableId> = before.filter(|before| before.is_owed).map(|before| before.table).collect();
        for branch in &self.branches {
            match branch {
                Branch::Landing { .. } => {}
                Branch::Relay { table } => {
                    tables.insert(*table);
                }
                Branch::Flow(flow) => tables.extend(flow.inputs.iter().map(|input| input.table)),
            }
        }
        tables
    }

    /// Tables that the job's operators read.
    pub(crate) fn flow_inputs(&self) -> impl Iterator<Item = TableId> + '_ {
        let flows = self.branches.iter().filter_map(|branch| match branch {
            Branch::Flow(flow) => Some(flow),
            _ => None,
        });
        flows.flat_map(|flow| flow.inputs.iter().map(|input| input.table))
    }

    /// Tables that the job's operators write, dead letters left out.
    pub(crate) fn targets(&self) -> impl Iterator<Item = TableId> + '_ {
        self.branches.iter().filter_map(|branch| match branch {
            Branch::Flow(flow) => Some(flow.target.table),
            _ => None,
        })
    }

    /// Tables that the job writes in a tick.
    pub(crate) fn written(&self) -> BTreeSet<TableId> {
        let targets = |branch: &Branch| match branch {
            Branch::Flow(flow) => [Some(flow.target.table), flow.dead_letters],
            Branch::Landing { letters } => [*letters, None],
            Branch::Relay { .. } => [None, None],
        };
        self.branches.iter().flat_map(targets).flatten().collect()
    }

    /// Leaves the ticks: state and sinks are dropped; the record says why.
    pub(crate) fn detach(&mut self, state: JobState) {
        self.record.state = state;
        self.wait = None;
        self.branches.clear();
        self.stop_sinks();
    }

    /// Tells the sinks' threads to stop, without waiting for them.
    pub(crate) fn stop_sinks(&mut self) {
        self.sinks.clear();
    }

    /// Bytes of operator state that lie in files.
    pub(crate) fn spilled_bytes(&self) -> u64 {
        let bytes = |branch: &Branch| if let Branch::Flow(flow) = branch { flow.dataflow.spilled_bytes() } else { 0 };
        self.branches.iter().map(bytes).sum()
    }

    /// Bytes of memory that operator state takes.
    pub(crate) fn state_bytes(&self) -> usize {
        let bytes = |branch: &Branch| if let Branch::Flow(flow) = branch { flow.dataflow.state_bytes() } else { 0 };
        self.branches.iter().map(bytes).sum()
    }
}

impl Target {
    /// The target of an `INSERT` into the stored table `table`.
    pub(crate) fn of(insert: &BoundInsert, table: TableId) -> Self {
        let definition = &insert.target;
        let stored: Vec<usize> = definition.physical().collect();
        let position = |c: &usize| stored.iter().position(|s| s == c).expect("only stored columns are written");
        Self {
            table,
            name: definition.path.to_string(),
            columns: insert.columns.as_ref().map(|columns| columns.iter().map(position).collect()),
            key: stored_key(definition),
            schema: insert.plan.schema().clone(),
            not_null: insert.not_null.clone(),
            kinds_inside: false,
        }
    }

    /// A target that takes whole rows; only for checking and writing those.
    pub(crate) fn plain(table: TableId, name: String, schema: Arc<Schema>, not_null: Vec<usize>) -> Self {
        Self { table, name, columns: None, key: Vec::new(), schema, not_null, kinds_inside: false }
    }

    /// Checks what the table does not: NULL where it must not be.
    ///
    /// # Errors
    /// `Invalid`, naming the column and a row.
    pub(crate) fn check(&self, out: &[ChangeBatch]) -> Result<()> {
        for batch in out {
            for &column in &self.not_null {
                let values = batch.column(column);
                if values.null_count() == 0 {
                    continue;
                }
                let Some(row) = (0..batch.len()).find(|&i| values.is_null(i) && batch.weight(i) > 0) else { continue };
                let name = &self.schema.columns[column].name;
                return Err(Error::invalid(format!(
                    "column {name} of {} is NOT NULL, but this row holds NULL there: {}",
                    self.name,
                    describe_row(batch, row, &self.schema)
                ))
                .hint("filter such rows out, or give a value with COALESCE"));
            }
        }
        Ok(())
    }

    /// The rows that can be written, and those that cannot, since a column that must not hold NULL does.
    ///
    /// # Errors
    /// Only defects of ours.
    pub(crate) fn sound(&self, out: Vec<ChangeBatch>) -> Result<(Vec<ChangeBatch>, Vec<Letter>)> {
        let (mut kept, mut letters) = (Vec::with_capacity(out.len()), Vec::new());
        for batch in out {
            if self.not_null.iter().all(|&column| batch.column(column).null_count() == 0) {
                kept.push(batch);
                continue;
            }
            let null = |row: usize| self.not_null.iter().find(|&&column| batch.column(column).is_null(row));
            for row in 0..batch.len() {
                let Some(&column) = null(row) else { continue };
                letters.push(Letter {
                    operator: format!("Insert {}", self.name),
                    row: describe_row(&batch, row, &self.schema),
                    error: format!("column {} is NOT NULL", self.schema.columns[column].name),
                    weight: batch.weight(row).into(),
                });
            }
            kept.push(batch.filter(&(0..batch.len()).map(|row| Some(null(row).is_none())).collect())?);
        }
        Ok((kept, letters))
    }

    /// Writes rows into the table; gives what changed in effect.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn write(&self, tick: &mut Tick<'_>, batch: &ChangeBatch) -> Result<ChangeBatch> {
        if self.kinds_inside {
            return tick.write(self.table, &with_kinds(batch)?);
        }
        match &self.columns {
            Some(columns) => tick.upsert_columns(self.table, columns, &self.partial(batch, columns)?),
            None => tick.write(self.table, batch),
        }
    }

    /// The rows of a partial update: a withdrawn row without a successor leaves NULL in the columns that it had brought.
    fn partial(&self, batch: &ChangeBatch, columns: &[usize]) -> Result<KindBatch> {
        let order = |i: &u32| batch.weight(*i as usize) > 0;
        // Withdrawals first, so that a row's successor in the same tick has the last word.
        let (new, old): (Vec<u32>, Vec<u32>) = (0..batch.len() as u32).partition(order);
        let olds = batch.take(&old.clone().into())?;
        let news = batch.take(&new.into())?;
        let rows = olds.len() + news.len();
        let mut out: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (i, column) in columns.iter().enumerate() {
            let first: ArrayRef = if self.key.contains(column) {
                olds.column(i).clone()
            } else {
                new_null_array(olds.column(i).data_type(), olds.len())
            };
            let joined = arrow_select::concat::concat(&[first.as_ref(), news.column(i).as_ref()]);
            out.push(joined.map_err(|error| Error::internal("rows could not be joined").caused_by(error))?);
        }
        Ok(KindBatch::new(out, vec![RowKind::UpdateAfter; rows]))
    }
}

/// Every change as a row of its own, its kind in a last column: `+I` or `-D`, as often as it weighs; withdrawals first.
fn with_kinds(batch: &ChangeBatch) -> Result<ChangeBatch> {
    let mut rows: Vec<(RowKind, u32)> = Vec::with_capacity(batch.len());
    for i in 0..batch.len() {
        let weight = batch.weight(i);
        let kind = if weight > 0 { RowKind::Insert } else { RowKind::Delete };
        rows.extend(std::iter::repeat_n((kind, i as u32), weight.unsigned_abs() as usize));
    }
    rows.sort_by_key(|(kind, i)| (*kind == RowKind::Insert, *i));
    let indices: arrow_array::UInt32Array = rows.iter().map(|(_, i)| *i).collect::<Vec<_>>().into();
    let plain = ChangeBatch::insertions(batch.columns().to_vec(), batch.len()).take(&indices)?;
    let mut columns = plain.columns().to_vec();
    columns.push(Arc::new(Int8Array::from_iter_values(rows.iter().map(|(kind, _)| *kind as u8 as i8))));
    Ok(ChangeBatch::insertions(columns, rows.len()))
}

/// A row in words, for a message: `(1, north, NULL)`.
pub(crate) fn describe_row(batch: &ChangeBatch, row: usize, schema: &Schema) -> String {
    let text = |(column, array): (&gridhouse_base::Column, &ArrayRef)| {
        gridhouse_expr::text::format_value(array, row, &column.sql_type.kind, chrono_tz::UTC)
            .unwrap_or_else(|| "NULL".into())
    };
    let values: Vec<String> = schema.columns.iter().zip(batch.columns()).map(text).collect();
    format!("({})", values.join(", "))
}
