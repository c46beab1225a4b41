//! A session: current catalog and database, settings, temporary objects, and the way of a statement through it.
//!
//! Statements run on the session's own thread; only what changes something is handed to the core. A statement that has been
//! reported as done is durable.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gridhouse_base::panics::contained;
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{CommitId, Error, Position, Result};
use gridhouse_sql::ast::Statement;
use gridhouse_sql::script::Parsed;
use gridhouse_sql::{Binder, NameContext, parse_script, redact};
use gridhouse_store::Snapshot;

use crate::batch::QueryPath;
use crate::catalog::{Catalog, Scope};
use crate::engine::Engine;
use crate::known::{Known, LookUp};
use crate::outcome::{Outcome, StatementReport};
use crate::query::zone_of;
use crate::records::ObjectRecord;

/// A place to run SQL.
pub struct Session {
    pub(crate) engine: Engine,
    pub(crate) context: NameContext,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) temporary: BTreeMap<ObjectPath, ObjectRecord>,
    /// The run of a script that is under way.
    pub(crate) script: u64,
    /// What the user should know of the statement under way.
    pub(crate) notices: Vec<String>,
    /// Whether queries are optimised.
    optimizing: bool,
    /// Look-ups by key that were asked for, ready to be asked for again.
    pub(crate) known: Known,
    /// On what queries run.
    path: QueryPath,
    /// Whether nobody waits for the statement under way any more.
    cancelled: Arc<AtomicBool>,
}

impl Session {
    pub(crate) fn new(engine: Engine, context: NameContext) -> Self {
        let (settings, temporary) = (BTreeMap::new(), BTreeMap::new());
        Self {
            engine,
            context,
            settings,
            temporary,
            script: 0,
            notices: Vec::new(),
            optimizing: true,
            known: Known::default(),
            path: QueryPath::Chosen,
            cancelled: Arc::default(),
        }
    }

    /// Has queries run as they are bound, or optimised as usual; tests compare the answers.
    pub fn set_optimizing(&mut self, optimizing: bool) {
        self.known.forget();
        self.optimizing = optimizing;
    }

    /// Has queries run on DataFusion or on the operators of jobs, or as usual; tests compare the answers.
    pub fn set_query_path(&mut self, path: QueryPath) {
        self.path = path;
    }

    /// Has a query on DataFusion end when `cancelled` becomes true; who sets it clears it.
    pub fn cancel_by(&mut self, cancelled: Arc<AtomicBool>) {
        self.cancelled = cancelled;
    }

    /// Whether nobody waits for the statement under way any more.
    pub(crate) fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// On what queries run.
    pub(crate) fn query_path(&self) -> QueryPath {
        self.path
    }

    /// Runs the statements of `script` one after the other and reports each; stops at the first that fails, or where `each`
    /// breaks. What ran before stays.
    pub fn run(&mut self, script: &str, each: &mut dyn FnMut(StatementReport) -> ControlFlow<()>) {
        // What panics there is found out below.
        if let Ok(Some(report)) = contained(|| Ok(self.known_answer(script))) {
            let _ = each(report);
            return;
        }
        self.script = self.engine.next_script();
        let mut statements = parse_script(script);
        let mut notices: Vec<String> = Vec::new();
        for note in statements.notices() {
            notices.push(format!("{}: {}", note.at, note.message));
        }
        let mut only = None;
        loop {
            let started = self.engine.inner.clock.monotonic();
            let parsed = contained(|| Ok(statements.next())).unwrap_or_else(|defect| Some(Err(defect)));
            let Some(parsed) = parsed else {
                if let Some((position, text)) = only {
                    self.known.keep(script, position, text);
                }
                return;
            };
            let is_first = self.known.begin();
            let (position, text, outcome) = match parsed {
                Ok(parsed) => {
                    self.notices = std::mem::take(&mut notices);
                    let (position, text) = (parsed.position, parsed.text.clone());
                    let outcome = contained(|| self.execute(parsed));
                    (position, text, outcome.map_err(|error| error.at(position)))
                }
                Err(error) => {
                    let position = error.position().unwrap_or(Position { line: 1, column: 1 });
                    (position, line_at(script, position), Err(error))
                }
            };
            let failed = outcome.is_err();
            let elapsed = self.engine.inner.clock.monotonic().saturating_sub(started);
            let notices = std::mem::take(&mut self.notices);
            let text = redact(&text);
            only = (is_first && notices.is_empty()).then(|| (position, text.clone()));
            let report = StatementReport { position, text, notices, outcome, elapsed };
            if each(report).is_break() || failed {
                return;
            }
        }
    }

    /// The answer to a script that is one look-up by key, where it has been read and bound before.
    fn known_answer(&mut self, script: &str) -> Option<StatementReport> {
        let started = self.engine.inner.clock.monotonic();
        let zone = zone_of(&self.settings).ok()?;
        let LookUp { position, text, catalog, plan } = self.known.of(script, &self.catalog(), zone)?;
        let outcome = self.look_up(&plan, &catalog)?.map_err(|error| error.at(position));
        let outcome = outcome.map(|batches| Outcome::Rows { schema: plan.schema().clone(), batches });
        let elapsed = self.engine.inner.clock.monotonic().saturating_sub(started);
        Some(StatementReport { position, text, notices: Vec::new(), outcome, elapsed })
    }

    fn execute(&mut self, parsed: Parsed) -> Result<Outcome> {
        let text = parsed.text;
        if !matches!(parsed.statement, Statement::Query(_)) {
            // It may change what a name means.
            self.known.forget();
        }
        match parsed.statement {
            Statement::CreateTable(create) => self.create_table(&create),
            Statement::CreateView(create) => self.create_view(&create),
            Statement::CreateCatalog(create) => self.create_catalog(&create),
            Statement::CreateDatabase(create) => self.create_database(&create),
            Statement::UseCatalog(name) => self.use_catalog(&name),
            Statement::Use(name) => self.use_database(&name),
            Statement::Drop(drop) => self.drop_object(&drop),
            Statement::Set(pair) => self.set(pair),
            Statement::Reset(key) => Ok(self.reset(key)),
            Statement::Show(show) => self.show(&show),
            Statement::Describe(name) => self.describe(&name),
            Statement::Explain(explain) => self.explain(&explain, parsed.portability),
            Statement::Query(query) => self.query(&query),
            Statement::Insert(insert) => self.insert(std::slice::from_ref(&insert), None),
            Statement::StatementSet(inserts) => self.insert(&inserts, None),
            Statement::ReplaceJob { job, body } => self.replace_job(job.as_ref(), *body),
            Statement::Update(update) => self.update(&update),
            Statement::Delete(delete) => self.delete(&delete),
            Statement::Truncate(name) => self.truncate(&name),
            Statement::Check(name) => self.check(name.as_ref()),
            Statement::StopJob(stop) => self.stop_job(&stop.job),
            Statement::StartJob(job) => self.start_job(&job),
            Statement::DropJob { job, if_exists } => self.drop_job(&job, if_exists),
        }
        .inspect_err(|_| tracing::debug!(statement = redact(&text), "failed"))
    }

    /// Runs `f` with a binder over what the session sees.
    pub(crate) fn bind<T>(&self, f: impl FnOnce(&Binder<'_>) -> Result<T>) -> Result<T> {
        let catalog = self.catalog();
        let scope = Scope { catalog: &catalog, temporary: &self.temporary };
        f(&Binder::new(&scope, self.context.clone(), zone_of(&self.settings)?).optimizing(self.optimizing))
    }

    /// The catalog as of the last tick.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.engine.inner.shared.catalog()
    }

    /// Waits until `commit` is on disk.
    ///
    /// # Errors
    /// `Unavailable` where the engine stopped before.
    pub(crate) fn wait(&self, commit: CommitId) -> Result<()> {
        if self.engine.inner.shared.wait_durable(commit) {
            return Ok(());
        }
        Err(Error::unavailable("the engine stopped before this was durable")
            .hint("start it again and look whether it is there"))
    }

    /// The last durable tick, once that has all tables of the catalog: another session may have made one just now.
    ///
    /// # Errors
    /// `Unavailable` where the engine stops before.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let (reader, since) = (&self.engine.inner.reader, self.engine.inner.shared.catalog_since());
        let snapshot = reader.snapshot();
        if snapshot.commit() >= since {
            return Ok(snapshot);
        }
        self.wait(since)?;
        Ok(reader.snapshot())
    }

    /// Tells the user something about the statement under way.
    pub(crate) fn notice(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }
}

/// A statement that only says that it is done.
pub(crate) fn done(tag: &str) -> Result<Outcome> {
    Ok(Outcome::Done { tag: tag.to_owned() })
}

fn line_at(script: &str, position: Position) -> String {
    script.lines().nth(position.line as usize - 1).unwrap_or_default().trim().to_owned()
}
