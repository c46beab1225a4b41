//! From a bound `INSERT` to how it will be carried out: by its source's stream, by its sink's thread, or by operators.
//!
//! Everything that asks the outside (does the table exist, does the password hold) happens here, on the session's thread, so
//! that the core never waits for a network. See `docs/decisions/0002-sources-land-in-tables-sinks-read-tables.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridhouse_base::error::nearest;
use gridhouse_base::table::{ObjectPath, TableDef};
use gridhouse_base::{Error, Result};
use gridhouse_expr::Expr;
use gridhouse_flow::connector::{
    ChangelogMode, LookupConnector, ScanConnector, SinkConnector, SinkDescription, SourceConnector, SourceDescription,
};
use gridhouse_sql::plan::{BoundInsert, JoinKind, Plan, Scan, SetKind, written_columns};
use gridhouse_sql::properties::is_deterministic;
use gridhouse_sql::{fingerprint_insert, table_identity};

use crate::dead;
use crate::landing::Landing;
use crate::outside::OutsideRows;
use crate::records::{InsertRecord, StreamRecord, WAY_BACK_OF_JOB};
use crate::wiring::{physical_schema, stored_key};

/// An `INSERT` that is ready to become a job, or part of one.
pub(crate) struct Prepared {
    pub(crate) text: String,
    pub(crate) bound: BoundInsert,
    /// The identity of target and plan.
    pub(crate) fingerprint: String,
    pub(crate) route: Route,
    /// The outside tables that the plan reads.
    pub(crate) sources: Vec<PreparedSource>,
    /// The rows of outside tables that were read once, for a plan that is run once.
    pub(crate) outside: OutsideRows,
    /// What the target is, where it is outside.
    pub(crate) sink: Option<SinkDescription>,
    /// Whether rows that cannot be computed are kept in a table of their own.
    pub(crate) dead_letters: bool,
    /// Whether the plan withdraws rows.
    pub(crate) retracts: bool,
    /// The columns of the plan in the target's key, where several rows of the plan may share one.
    pub(crate) unique: Option<Vec<usize>>,
    /// Whether the plan gives the same rows whenever it is run over the same input.
    pub(crate) is_pure: bool,
}

/// How an `INSERT` is carried out.
pub(crate) enum Route {
    /// The source's rows land in the target on the way in.
    Landing(Landing),
    /// The sink reads a table of ours and projects on the way out.
    Relay {
        /// The table.
        path: ObjectPath,
        /// From its rows to the sink's.
        projection: Landing,
    },
    /// By operators.
    Flow,
}

/// An outside table that is read.
pub(crate) struct PreparedSource {
    pub(crate) definition: Arc<TableDef>,
    pub(crate) description: SourceDescription,
}

/// The connectors at hand.
#[derive(Clone)]
pub(crate) struct Connectors {
    pub(crate) sources: BTreeMap<&'static str, Arc<dyn SourceConnector>>,
    pub(crate) sinks: BTreeMap<&'static str, Arc<dyn SinkConnector>>,
    pub(crate) scans: BTreeMap<&'static str, Arc<dyn ScanConnector>>,
    pub(crate) lookups: BTreeMap<&'static str, Arc<dyn LookupConnector>>,
}

impl Connectors {
    /// The source connector that a definition names.
    ///
    /// # Errors
    /// `Invalid` with the nearest name.
    pub(crate) fn source(&self, definition: &TableDef) -> Result<&Arc<dyn SourceConnector>> {
        let name = definition.connector().unwrap_or_default();
        self.sources.get(name).ok_or_else(|| {
            let other = if self.sinks.contains_key(name) { " that can be read" } else { "" };
            self.unknown(definition, other, self.sources.keys())
        })
    }

    /// The sink connector that a definition names.
    ///
    /// # Errors
    /// `Invalid` with the nearest name.
    pub(crate) fn sink(&self, definition: &TableDef) -> Result<&Arc<dyn SinkConnector>> {
        let name = definition.connector().unwrap_or_default();
        self.sinks.get(name).ok_or_else(|| {
            let other = if self.sources.contains_key(name) { " that can be written" } else { "" };
            self.unknown(definition, other, self.sinks.keys())
        })
    }

    /// What looks rows up in the outside table.
    ///
    /// # Errors
    /// `Invalid` where rows of the connector's tables cannot be looked up.
    pub(crate) fn lookup(&self, definition: &TableDef) -> Result<&Arc<dyn LookupConnector>> {
        let name = definition.connector().unwrap_or_default();
        self.lookups.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.lookups.keys().copied().collect();
            Error::invalid(format!("table {}: rows of a '{name}' table cannot be looked up", definition.path)).hint(
                format!("INSERT INTO a table from it and look up in that; directly it goes with: {}", known.join(", ")),
            )
        })
    }

    /// What reads the outside table to its end.
    ///
    /// # Errors
    /// `Invalid` where the connector's tables have no end, or cannot be read.
    pub(crate) fn scan(&self, definition: &TableDef) -> Result<&Arc<dyn ScanConnector>> {
        let name = definition.connector().unwrap_or_default();
        if self.scans.contains_key(name) || !self.sources.contains_key(name) {
            return self.scans.get(name).ok_or_else(|| {
                let other = if self.sinks.contains_key(name) { " that can be read" } else { "" };
                self.unknown(definition, other, self.scans.keys())
            });
        }
        Err(Error::invalid(format!("it is outside, and a query over a '{name}' table has no end"))
            .hint("INSERT INTO a table from it, in streaming mode, then query that table; it is always up to date"))
    }

    /// The error about a connector that is not among the `fit`, with the nearest name. `other` says what it cannot do where there
    /// is one of that name; else any connector may be meant, also one that would be refused for what is wanted here.
    fn unknown<'a>(&self, definition: &TableDef, other: &str, fit: impl Iterator<Item = &'a &'static str>) -> Error {
        let name = definition.connector().unwrap_or_default();
        let all = self.sources.keys().chain(self.sinks.keys()).chain(self.scans.keys()).chain(self.lookups.keys());
        let names: BTreeSet<&str> = if other.is_empty() { all.copied().collect() } else { fit.copied().collect() };
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) if near != name => format!("did you mean '{near}'?"),
            _ => format!("one of: {}", names.into_iter().collect::<Vec<_>>().join(", ")),
        };
        Error::invalid(format!("there is no connector '{name}'{other}")).hint(hint)
    }
}

/// What the outside is asked, or what was found out before.
pub(crate) trait Outside {
    /// What a source table is.
    fn source(&self, definition: &TableDef) -> Result<SourceDescription>;
    /// What a sink table is.
    fn sink(&self, definition: &TableDef) -> Result<SinkDescription>;
}

/// Asks the outside itself.
impl Outside for Connectors {
    fn source(&self, definition: &TableDef) -> Result<SourceDescription> {
        Connectors::source(self, definition)
            .and_then(|source| source.describe(definition))
            .map_err(|e| e.context(format!("table {}", definition.path)))
    }

    fn sink(&self, definition: &TableDef) -> Result<SinkDescription> {
        Connectors::sink(self, definition)
            .and_then(|sink| sink.describe(definition))
            .map_err(|e| e.context(format!("table {}", definition.path)))
    }
}

/// What was found out when the job was made; the outside may be away.
pub(crate) struct Remembered<'a> {
    pub(crate) insert: &'a InsertRecord,
    pub(crate) streams: Vec<&'a StreamRecord>,
}

impl Outside for Remembered<'_> {
    fn source(&self, definition: &TableDef) -> Result<SourceDescription> {
        let lost =
            || Error::corrupt(format!("the stream of {} is not on record", definition.path)).hint(WAY_BACK_OF_JOB);
        let used = self.insert.sources.iter().find(|used| used.path == definition.path).ok_or_else(lost)?;
        let stream = self.streams.iter().find(|stream| stream.id == used.source).ok_or_else(lost)?;
        let table = stream.tables.iter().find(|table| table.id == used.table).ok_or_else(lost)?;
        let keyed = !definition.primary_key.is_empty();
        Ok(SourceDescription {
            stream_key: stream.stream_key.clone(),
            table_key: table.table_key.clone(),
            shared: stream.owner.is_none(),
            bounded: false,
            mode: if keyed { ChangelogMode::Upsert } else { ChangelogMode::InsertOnly },
            notices: Vec::new(),
        })
    }

    fn sink(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mode = self.insert.sink.ok_or_else(|| {
            Error::corrupt(format!("the sink {} is not on record", definition.path)).hint(WAY_BACK_OF_JOB)
        })?;
        let (target_key, exactly_once) = (self.insert.target_key.clone(), !self.insert.forgets);
        Ok(SinkDescription { target_key, mode: mode.into(), exactly_once, notices: Vec::new() })
    }
}

/// Finds out how `bound` will be carried out; `on_error` is the session's setting, `once` says that it is run over its inputs as
/// they stand and never again.
///
/// # Errors
/// What the outside says against it; `Invalid` where the target cannot take what the query gives.
pub(crate) fn prepare(
    text: &str,
    bound: BoundInsert,
    on_error: Option<&str>,
    once: bool,
    outside: &dyn Outside,
) -> Result<Prepared> {
    let dead_letters = dead::is_wanted(&bound, on_error)?;
    if bound.on_key.is_some() {
        let target = &bound.target.path;
        return Err(Error::invalid(format!("what a job inserts into {target} replaces the row that has the key"))
            .hint("leave the clause out, write c = VALUES(c) for every column, or insert VALUES"));
    }
    let mut sources = Vec::new();
    for scan in scans(&bound.plan) {
        if scan.table.connector().is_some()
            && !sources.iter().any(|s: &PreparedSource| s.definition.path == scan.table.path)
        {
            let definition = with_hints(&scan.table, &scan.hints);
            sources.push(PreparedSource { description: outside.source(&definition)?, definition });
        }
    }
    let mut bound = bound;
    bound.target = dead::plain(with_hints(&bound.target, &bound.hints));
    let sink = match bound.target.connector() {
        Some(_) => Some(outside.sink(&bound.target)?),
        None => None,
    };
    // What is run once has one result, which is not changed any more.
    let changes = retracts(&bound.plan, &sources);
    let retracts = !once && changes;
    check_target(&bound, sink.as_ref(), retracts)?;
    let unique = unique_columns(&bound, changes);
    let is_pure = is_deterministic(&bound.plan);
    let route = match route(&bound, &sources, sink.is_some()) {
        Route::Landing(landing) if !dead_letters || landing.computes_nothing() => Route::Landing(landing),
        // Only operators can leave a single row out.
        _ if dead_letters => Route::Flow,
        route => route,
    };
    let identity = |table: &TableDef| match sources.iter().find(|source| source.definition.path == table.path) {
        Some(PreparedSource { description, .. }) => format!("{}/{}", description.stream_key, description.table_key),
        None => table_identity(table),
    };
    let fingerprint = format!("{:032x}", fingerprint_insert(&bound, &identity));
    let outside = OutsideRows::default();
    Ok(Prepared {
        text: text.to_owned(),
        bound,
        fingerprint,
        route,
        sources,
        outside,
        sink,
        dead_letters,
        retracts,
        unique,
        is_pure,
    })
}

/// The columns by which rows must be made unique before they are written by the target's key: a query that changes and
/// withdraws rows, and whose own key is not within the target's, would else leave whatever came last.
pub(crate) fn unique_columns(bound: &BoundInsert, retracts: bool) -> Option<Vec<usize>> {
    let target = &bound.target;
    if !retracts || target.primary_key.is_empty() {
        return None;
    }
    let brought = bound.columns.clone().unwrap_or_else(|| written_columns(target));
    let position = |column: &usize| brought.iter().position(|b| b == column);
    let key: Vec<usize> = target.primary_key.iter().filter_map(position).collect();
    let keys = gridhouse_sql::upsert_keys(&bound.plan);
    let within = keys.iter().any(|own| own.iter().all(|column| key.contains(column)));
    (!within).then_some(key)
}

/// Whether a bounded reading of the plan needs what [`unique_columns`] says.
pub(crate) fn unique_at_once(bound: &BoundInsert) -> Option<Vec<usize>> {
    unique_columns(bound, retracts(&bound.plan, &[]))
}

/// The definition with a reference's `OPTIONS` hints in place of its own.
pub(crate) fn with_hints(definition: &Arc<TableDef>, hints: &BTreeMap<String, String>) -> Arc<TableDef> {
    if hints.is_empty() {
        return definition.clone();
    }
    let mut changed = (**definition).clone();
    changed.options.extend(hints.iter().map(|(key, value)| (key.clone(), value.clone())));
    Arc::new(changed)
}

fn check_target(bound: &BoundInsert, sink: Option<&SinkDescription>, retracts: bool) -> Result<()> {
    let target = &bound.target;
    let name = &target.path;
    if retracts && sink.is_some_and(|sink| sink.mode == ChangelogMode::InsertOnly) {
        return Err(Error::invalid(format!(
            "table {name} only takes new rows, but this query also changes and withdraws rows"
        ))
        .hint(
            "write its result once: SET 'execution.runtime-mode' = 'batch'; or INSERT INTO a table of ours with a key",
        ));
    }
    if !retracts || !target.primary_key.is_empty() {
        return Ok(());
    }
    match sink {
        None => Err(Error::invalid(format!(
            "table {name} only takes new rows, but this query also changes and withdraws rows"
        ))
        .hint("declare a PRIMARY KEY (…) NOT ENFORCED for the table, or insert from tables that only grow")),
        Some(sink) if sink.mode != ChangelogMode::All => {
            Err(Error::invalid(format!("table {name} declares no key, but this query also changes and withdraws rows"))
                .hint("declare PRIMARY KEY (…) NOT ENFORCED with the columns that identify a row of the result"))
        }
        Some(_) => Ok(()),
    }
}

/// The table of ours that an `INSERT` copies to the outside, and how, if that is all it does; also where it has come to be
/// carried out by operators since.
pub(crate) fn relayed(insert: &Prepared) -> Option<(ObjectPath, Landing)> {
    match route(&insert.bound, &insert.sources, insert.sink.is_some()) {
        Route::Relay { path, projection } => Some((path, projection)),
        _ => None,
    }
}

fn route(bound: &BoundInsert, sources: &[PreparedSource], outside_target: bool) -> Route {
    let Some((scan, exprs, filter)) = stateless(&bound.plan) else { return Route::Flow };
    let target = &bound.target;
    if !bound.not_null.is_empty() {
        return Route::Flow;
    }
    let from_source = scan.table.connector().is_some();
    let source_schema = physical_schema(&scan.table);
    let source_key = stored_key(&scan.table);
    if outside_target && !from_source {
        if bound.columns.is_some() {
            return Route::Flow;
        }
        let written = written_columns(target);
        let key: Vec<usize> = target.primary_key.iter().filter_map(|k| written.iter().position(|w| w == k)).collect();
        return match Landing::plan(&source_schema, &source_key, &exprs, &key, filter.as_ref(), None) {
            Some(projection) => Route::Relay { path: scan.table.path.clone(), projection },
            None => Route::Flow,
        };
    }
    let alone = sources.len() == 1 && sources[0].description.mode != ChangelogMode::All;
    if outside_target || !from_source || !alone {
        return Route::Flow;
    }
    // Positions of the target's key among the columns that the plan brings.
    let stored: Vec<usize> = target.physical().collect();
    let brought: Vec<usize> = match &bound.columns {
        Some(columns) => columns.clone(),
        None => stored.clone(),
    };
    let key: Vec<usize> = target.primary_key.iter().filter_map(|k| brought.iter().position(|b| b == k)).collect();
    if key.len() != target.primary_key.len() {
        return Route::Flow;
    }
    let position = |c: &usize| stored.iter().position(|s| s == c).unwrap_or(*c);
    let columns = bound.columns.as_ref().map(|columns| columns.iter().map(position).collect());
    match Landing::plan(&source_schema, &source_key, &exprs, &key, filter.as_ref(), columns) {
        Some(landing) if !landing.may_lack_values(&source_key) => Route::Landing(landing),
        _ => Route::Flow,
    }
}

/// The plan as one scan with expressions over the stored columns of its table, if it is no more than that.
fn stateless(plan: &Plan) -> Option<(&Scan, Vec<Expr>, Option<Expr>)> {
    match plan {
        Plan::Scan(scan) => {
            let stored: Vec<usize> = scan.table.physical().collect();
            let column = |(i, c): (usize, &usize)| {
                let index = stored.iter().position(|s| s == c)?;
                Some(Expr::Column { index, sql_type: scan.schema.columns[i].sql_type.clone() })
            };
            let exprs = scan.columns.iter().enumerate().map(column).collect::<Option<Vec<_>>>()?;
            Some((scan, exprs, None))
        }
        Plan::Filter(node) => {
            let (scan, exprs, filter) = stateless(&node.input)?;
            let predicate = node.predicate.substitute(&exprs);
            let filter = match filter {
                None => predicate,
                Some(first) => Expr::And(vec![first, predicate]),
            };
            Some((scan, exprs, Some(filter)))
        }
        Plan::Project(node) => {
            let (scan, exprs, filter) = stateless(&node.input)?;
            Some((scan, node.exprs.iter().map(|expr| expr.substitute(&exprs)).collect(), filter))
        }
        _ => None,
    }
}

fn scans(plan: &Plan) -> Vec<Scan> {
    let mut found = Vec::new();
    plan.visit(&mut |node| {
        if let Plan::Scan(scan) = node {
            found.push(scan.clone());
        }
    });
    found
}

/// Whether a plan's result loses or changes rows while its inputs go on.
fn retracts(plan: &Plan, sources: &[PreparedSource]) -> bool {
    match plan {
        Plan::Scan(scan) => {
            let source = sources.iter().find(|s| s.definition.path == scan.table.path);
            match source {
                Some(source) => source.description.mode != ChangelogMode::InsertOnly,
                None => !scan.table.primary_key.is_empty(),
            }
        }
        Plan::Values(_) => false,
        Plan::Aggregate(node) => !node.calls.is_empty() || retracts(&node.input, sources),
        Plan::Join(node) => {
            !matches!(node.kind, JoinKind::Inner | JoinKind::Semi)
                || retracts(&node.left, sources)
                || retracts(&node.right, sources)
        }
        Plan::SetOperation(node) => {
            node.kind == SetKind::Except || retracts(&node.left, sources) || retracts(&node.right, sources)
        }
        // What the table does afterwards changes nothing.
        Plan::Probe(node) => retracts(&node.left, sources),
        Plan::Rank(_) | Plan::Limit(_) => true,
        other => other.inputs().iter().any(|input| retracts(input, sources)),
    }
}
