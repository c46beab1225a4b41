//! `EXPLAIN ANALYZE JOB`: what each part of a job has taken and given out since it began here and in the last minute, what it
//! holds, and how long it has worked, so that an empty board leads to the filter or the join that drops everything.
//!
//! Counted are changed rows: an update that is withdrawn and given out anew counts twice. A filter or join that has let nothing
//! pass is looked at more closely: the values that its columns hold are named beside the condition that none of them meets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::table::{ObjectPath, quoted};
use gridhouse_base::{ChangeBatch, JobId, Result, TableId, TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_flow::TickContext;
use gridhouse_sql::ast::JobName;
use gridhouse_sql::plan::{Aggregate, Join, JoinKind, Limit, Plan, Project};

use crate::boot::{bind, find_job};
use crate::core::Core;
use crate::history::{Counts, History};
use crate::job::{Branch, Flow, Job};
use crate::outcome::Outcome;
use crate::query::{Reading, execute, zone_of};
use crate::records::{InsertRecord, JobState, SourceUse};
use crate::session::Session;
use crate::shared::lock;
use crate::system::{batch_of, optional, schema_of, text};

/// How many values of a column are named beside a condition that none of them meets.
const NAMED_VALUES: u64 = 5;

const COLUMNS: &[(&str, TypeKind, bool)] = &[
    ("operator", TypeKind::STRING, false),
    ("rows_in", TypeKind::BigInt, false),
    ("rows_out", TypeKind::BigInt, false),
    ("in_last_minute", TypeKind::BigInt, false),
    ("out_last_minute", TypeKind::BigInt, false),
    ("state_rows", TypeKind::BigInt, true),
    ("state_bytes", TypeKind::BigInt, true),
    ("busy_ms", TypeKind::BigInt, true),
    ("remark", TypeKind::STRING, true),
];

/// One part of a job.
#[derive(Default)]
struct Line {
    depth: usize,
    text: String,
    counts: Counts,
    lately: Counts,
    /// Rows and bytes held, and time worked; for operators.
    work: Option<(usize, usize, Duration)>,
    remark: Option<String>,
    /// The part of which `INSERT`'s plan it carries out.
    plan: Option<(usize, usize)>,
    /// It was given rows and let none pass.
    drops_all: bool,
}

/// What a closer look at a plan needs.
struct Look {
    plans: Vec<Plan>,
    /// The stored table of every table that a plan reads, by `INSERT` and name.
    tables: BTreeMap<(usize, ObjectPath), TableId>,
    zone: chrono_tz::Tz,
}

impl Session {
    /// Answers `EXPLAIN ANALYZE JOB`.
    ///
    /// # Errors
    /// `NotFound` where there is no such job.
    pub(crate) fn analyze_job(&mut self, name: &JobName) -> Result<Outcome> {
        let wanted = name.name.clone();
        let id = self.engine.call(move |core| find_job(core, &wanted))?.map_err(|error| error.at(name.at))?;
        let (lines, state) = self.engine.call(move |core| {
            let lines = core.jobs.get(&id).map(|job| lines_of(core, job)).unwrap_or_default();
            (lines, core.jobs.get(&id).map(|job| job.record.state.clone()))
        })?;
        match state {
            Some(JobState::Failed(why)) => self.notice(format!("job {} has failed: {why}", id.0)),
            Some(JobState::Waiting(why)) => self.notice(format!("job {} waits, and goes on by itself: {why}", id.0)),
            Some(JobState::Running) | None => {}
            Some(other) => self.notice(format!("job {} does not run: {}", id.0, other.word())),
        }
        for notice in self.closer_look(id, &lines)? {
            self.notice(notice);
        }
        let batch = batch_of(COLUMNS, lines.iter().map(row_of).collect());
        Ok(Outcome::Rows { schema: schema_of(COLUMNS).into(), batches: vec![batch] })
    }

    /// Why the parts that let nothing pass do so.
    fn closer_look(&self, id: JobId, lines: &[Line]) -> Result<Vec<String>> {
        let dropping: Vec<&Line> = lines.iter().filter(|line| line.drops_all).collect();
        if dropping.is_empty() {
            return Ok(Vec::new());
        }
        let look = self.engine.call(move |core| {
            let job = core.jobs.get(&id)?;
            // A table may have been dropped meanwhile; then the counts alone have to do.
            let inserts = bind(core, &job.record).ok()?;
            let zone = zone_of(&job.record.environment.settings).ok()?;
            let plans: Vec<Plan> = inserts.into_iter().map(|insert| insert.bound.plan).collect();
            let mut tables = BTreeMap::new();
            for (i, branch) in job.branches.iter().enumerate() {
                let Branch::Flow(flow) = branch else { continue };
                tables.extend(flow.inputs.iter().map(|input| ((i, input.path.clone()), input.table)));
            }
            Some(Look { plans, tables, zone })
        })?;
        let Some(look) = look else { return Ok(Vec::new()) };
        let mut notices = Vec::new();
        for line in dropping {
            let Some((insert, number)) = line.plan else { continue };
            let Some(node) = look.plans.get(insert).and_then(|plan| nth(plan, number)) else { continue };
            let what = match node {
                Plan::Filter(filter) => {
                    let mut used = BTreeSet::new();
                    filter.predicate.for_each_column(|column| {
                        used.insert(column);
                    });
                    self.values_of(&look, insert, &filter.input, &used)
                }
                Plan::Join(join) if !join.keys.is_empty() && join.kind != JoinKind::Anti => {
                    self.keys_of(&look, insert, join)
                }
                _ => continue,
            };
            // A row that cannot be computed may stand in the way of the closer look; the counts are the answer all the same.
            if let Ok(what) = what
                && !what.is_empty()
            {
                notices.push(format!("{}: no row meets this; {what}", line.text));
            }
        }
        Ok(notices)
    }

    /// What both sides of a join hold in its key columns.
    fn keys_of(&self, look: &Look, insert: usize, join: &Join) -> Result<String> {
        let left = self.values_of(look, insert, &join.left, &join.keys.iter().map(|key| key.left).collect())?;
        let right = self.values_of(look, insert, &join.right, &join.keys.iter().map(|key| key.right).collect())?;
        Ok(format!("left {left}; right {right}"))
    }

    /// Some of the values that columns of a plan hold, in words.
    fn values_of(&self, look: &Look, insert: usize, plan: &Plan, columns: &BTreeSet<usize>) -> Result<String> {
        let mut words = Vec::new();
        for &column in columns {
            let name = &plan.schema().columns[column].name;
            let kind = &plan.schema().columns[column].sql_type.kind;
            let batches = self.some_values(look, insert, plan, column)?;
            let mut values = Vec::new();
            for batch in &batches {
                for row in 0..batch.len() {
                    let value = gridhouse_expr::text::format_value(batch.column(0), row, kind, look.zone);
                    values.push(match value {
                        Some(value) if kind.is_text() => format!("'{value}'"),
                        Some(value) => value,
                        None => "NULL".into(),
                    });
                }
            }
            values.sort();
            let more = if values.len() as u64 > NAMED_VALUES { ", …" } else { "" };
            values.truncate(NAMED_VALUES as usize);
            let name = quoted(name);
            words.push(match values.len() {
                0 => format!("{name} has no value"),
                _ => format!("{name} is {}{more}", values.join(", ")),
            });
        }
        Ok(words.join(", "))
    }

    fn some_values(&self, look: &Look, insert: usize, plan: &Plan, column: usize) -> Result<Vec<ChangeBatch>> {
        let schema = Arc::new(plan.schema().project(&[column]));
        let sql_type = schema.columns[0].sql_type.clone();
        let exprs = vec![Expr::column(column, sql_type)];
        let project = Plan::Project(Project { input: Box::new(plan.clone()), exprs, schema: schema.clone() });
        let (keys, calls) = (vec![0], Vec::new());
        let values = Plan::Aggregate(Aggregate { input: Box::new(project), keys, calls, grand_total: false, schema });
        let some = Plan::Limit(Limit { input: Box::new(values), fetch: Some(NAMED_VALUES + 1), offset: 0 });
        let snapshot = self.snapshot()?;
        let table_of = |path: &ObjectPath| look.tables.get(&(insert, path.clone())).copied();
        let context = TickContext { now_micros: self.engine.inner.clock.now_micros(), zone: look.zone };
        let connectors = &self.engine.inner.connectors;
        let reading = Reading {
            snapshot: &snapshot,
            table_of: &table_of,
            given: &|_| None,
            connectors,
            context: &context,
            running: None,
        };
        execute(&some, None, reading)
    }
}

/// The node of a plan with a number, counted with each node before its inputs.
fn nth(plan: &Plan, number: usize) -> Option<&Plan> {
    fn walk<'p>(plan: &'p Plan, left: &mut usize) -> Option<&'p Plan> {
        if *left == 0 {
            return Some(plan);
        }
        *left -= 1;
        plan.inputs().into_iter().find_map(|input| walk(input, left))
    }
    walk(plan, &mut number.clone())
}

fn row_of(line: &Line) -> Vec<Value> {
    let number = |n: u64| Value::Integer(n as i64);
    let work = |pick: fn(&(usize, usize, Duration)) -> u64| line.work.as_ref().map_or(Value::Null, |w| number(pick(w)));
    vec![
        text(format!("{}{}", "  ".repeat(line.depth), line.text)),
        number(line.counts.rows_in),
        number(line.counts.rows_out),
        number(line.lately.rows_in),
        number(line.lately.rows_out),
        work(|w| w.0 as u64),
        work(|w| w.1 as u64),
        work(|w| w.2.as_millis() as u64),
        optional(line.remark.as_ref()),
    ]
}

/// The parts of a job, each `INSERT` from its target down to its sources.
fn lines_of(core: &Core, job: &Job) -> Vec<Line> {
    let mut lines = Vec::new();
    let now = core.clock.monotonic();
    let mut sinks = job.sinks.iter();
    for (i, insert) in job.record.inserts.iter().enumerate() {
        let sink = if insert.sink.is_some() { sinks.next() } else { None };
        lines.push(match sink {
            Some(sink) => {
                let status = lock(&sink.status).clone();
                let counts = Counts { rows_in: status.rows_out, rows_out: status.rows_out };
                let lately = status.history.lately(0, counts, now);
                Line {
                    text: format!("Sink {}", insert.target),
                    counts,
                    lately,
                    remark: status.error,
                    ..Line::default()
                }
            }
            None => Line { text: format!("Insert {}", insert.target), ..Line::default() },
        });
        let head = lines.len() - 1;
        match job.branches.get(i) {
            Some(Branch::Flow(flow)) => {
                let root = flow_lines(&mut lines, core, insert, i, flow, now);
                if sink.is_none() {
                    let out = |c: Counts| Counts { rows_in: c.rows_out, rows_out: c.rows_out };
                    (lines[head].counts, lines[head].lately) = (out(root.0), out(root.1));
                }
            }
            Some(Branch::Landing { .. }) => {
                for used in &insert.sources {
                    let line = source_line(core, used, 1, now);
                    let out = |c: Counts| Counts { rows_in: c.rows_out, rows_out: c.rows_out };
                    (lines[head].counts, lines[head].lately) = (out(line.counts), out(line.lately));
                    lines.push(line);
                }
            }
            Some(Branch::Relay { table }) => {
                let name = name_of(core, *table);
                lines.push(Line { depth: 1, text: format!("Changes of {name}"), ..Line::default() });
                let (counts, lately) = (lines[head].counts, lines[head].lately);
                let last = lines.len() - 1;
                (lines[last].counts, lines[last].lately) = (counts, lately);
            }
            None => {}
        }
    }
    lines
}

/// The operators of a flow, from its output to its inputs; gives what the last one has counted.
fn flow_lines(
    lines: &mut Vec<Line>,
    core: &Core,
    insert: &InsertRecord,
    i: usize,
    flow: &Flow,
    now: Duration,
) -> (Counts, Counts) {
    let stats = flow.dataflow.stats();
    let Some(root) = stats.len().checked_sub(1) else { return Default::default() };
    let mut input_of = BTreeMap::new();
    for (number, node) in flow.dataflow.input_nodes().enumerate() {
        input_of.insert(node, number);
    }
    let plan_lines: BTreeMap<usize, _> = flow.lines.iter().map(|(node, line)| (node.number(), line)).collect();
    let mut waiting = vec![(root, 1)];
    let mut first = None;
    while let Some((node, depth)) = waiting.pop() {
        let stat = &stats[node];
        let counts = Counts { rows_in: stat.rows_in, rows_out: stat.rows_out };
        let lately = flow.history.lately(node, counts, now);
        first.get_or_insert((counts, lately));
        let is_input = stat.inputs.is_empty();
        let drops_all = !is_input
            && stat.rows_out == 0
            && stat.rows_in > 0
            && stat.inputs.iter().all(|&input| stats[input].rows_out > 0);
        let mut remarks = Vec::new();
        if drops_all {
            remarks.push("lets no row pass".to_owned());
        }
        if is_input && stat.rows_out == 0 {
            remarks.push("no row has come from here".to_owned());
        }
        if stat.errors > 0 {
            remarks.push(format!("cannot compute {} rows, see the dead letters", stat.errors));
        }
        if stat.late_rows > 0 {
            remarks.push(format!("left out {} rows that came after the watermark", stat.late_rows));
        }
        let remark = (!remarks.is_empty()).then(|| remarks.join("; "));
        let plan_line = plan_lines.get(&node);
        lines.push(Line {
            depth,
            text: plan_line.map_or_else(|| stat.name.clone(), |line| line.text.clone()),
            // An input takes what it gives.
            counts: if is_input { Counts { rows_in: counts.rows_out, ..counts } } else { counts },
            lately: if is_input { Counts { rows_in: lately.rows_out, ..lately } } else { lately },
            work: (!is_input).then(|| (stat.state.rows, stat.state.bytes, Duration::from_nanos(stat.busy_nanos))),
            remark,
            plan: plan_line.map(|line| (i, line.number)),
            drops_all,
        });
        if let Some(input) = input_of.get(&node).and_then(|number| flow.inputs.get(*number)) {
            let hidden = insert.sources.iter().find(|used| landing_of(core, used) == Some(input.table));
            lines.extend(hidden.map(|used| source_line(core, used, depth + 1, now)));
        }
        waiting.extend(stat.inputs.iter().rev().map(|&input| (input, depth + 1)));
    }
    first.unwrap_or_default()
}

/// The table in which a source lands.
fn landing_of(core: &Core, used: &SourceUse) -> Option<TableId> {
    let stream = core.streams.get(&used.source)?;
    stream.record.tables.iter().find(|table| table.id == used.table).map(|table| table.landing)
}

/// What has come in from an outside table.
fn source_line(core: &Core, used: &SourceUse, depth: usize, now: Duration) -> Line {
    let name = format!("Source {}", used.path);
    let Some(stream) = core.streams.get(&used.source) else {
        return Line { depth, text: name, remark: Some("its stream is gone".into()), ..Line::default() };
    };
    let landed = stream.landed(used.table);
    let counts = landed.map(|landed| landed.counts).unwrap_or_default();
    let history = History::default();
    let lately = landed.map_or(&history, |landed| &landed.history).lately(0, counts, now);
    let drops = counts.rows_in > 0 && counts.rows_out == 0;
    let remark = match stream.state.error() {
        Some(error) => Some(format!("{}: {error}", stream.state.word())),
        None if drops => Some("the condition lets no row pass".to_owned()),
        None if counts.rows_in == 0 => Some(format!("no row has come yet; the stream is {}", stream.state.word())),
        None => None,
    };
    Line { depth, text: name, counts, lately, remark, ..Line::default() }
}

fn name_of(core: &Core, table: TableId) -> String {
    let named = core.catalog.objects.keys().find(|path| core.catalog.table_id(path) == Some(table));
    named.map_or_else(|| "a table that is gone".to_owned(), ToString::to_string)
}
