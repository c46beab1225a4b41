//! Jobs that wait for an outside which their rows are looked up in.
//!
//! Where it does not answer, the job leaves the ticks as one that failed does, from the last tick before; all others go on. A
//! worker of its own then asks whether the outside is there again, so that no tick waits for that, and the job goes on by itself
//! with what has gathered meanwhile, as `START JOB` would have it. It is on record as waiting, also over restarts.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, ErrorKind, JobId, Result};
use gridhouse_flow::connector::{Lookup, LookupConnector, LookupRequest};
use gridhouse_sql::plan::{self, Plan};

use crate::boot::bind;
use crate::core::{Core, Message};
use crate::job::Job;
use crate::prepare::{Connectors, Prepared, with_hints};
use crate::rebuild::Gaps;
use crate::records::JobState;
use crate::shared::{Shared, lock};
use crate::stream::with_remedy;
use crate::worker::{Outgoing, Turn, Worker};

/// The pause before the outside is asked for the first time; doubles up to [`LONGEST_PAUSE`], also where it answers and the job has to
/// wait again at once.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: a server that comes back is used again within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A pause lasts at least this many times as long as the attempt before it that failed: attempts hold up the ticks of all jobs, for a
/// tenth of the time at most.
const PAUSE_PER_ATTEMPT: u32 = 9;
/// How often a pause looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// A table of the outside that rows are looked up in, and how it is asked.
#[derive(Clone)]
pub(crate) struct LookupPlace {
    connector: Arc<dyn LookupConnector>,
    pub(crate) definition: Arc<TableDef>,
    request: LookupRequest,
}

impl LookupPlace {
    /// What a plan looks up in.
    ///
    /// # Errors
    /// `Invalid` where its connector cannot be looked up in.
    pub(crate) fn of(lookup: &plan::Lookup, connectors: &Connectors) -> Result<Self> {
        let definition = with_hints(&lookup.table, &lookup.hints);
        let keys = lookup.keys.iter().map(|(_, other)| *other).collect();
        let request = LookupRequest { keys, columns: lookup.columns.clone() };
        Ok(Self { connector: connectors.lookup(&definition)?.clone(), definition, request })
    }

    /// The first that `inserts` look rows up in.
    fn first_of(inserts: &[Prepared], connectors: &Connectors) -> Option<Self> {
        let mut first = None;
        let mut look = |plan: &Plan| {
            if let Plan::Lookup(lookup) = plan
                && first.is_none()
            {
                first = Self::of(lookup, connectors).ok();
            }
        };
        inserts.iter().for_each(|insert| insert.bound.plan.visit(&mut look));
        first
    }

    /// Opens it for look-ups.
    ///
    /// # Errors
    /// Those of the connector.
    pub(crate) fn open(&self) -> Result<Box<dyn Lookup>> {
        self.connector.open(self.definition.clone(), self.request.clone())
    }

    /// Whether it answers, be it that it refuses: then the job says so by its name.
    fn is_there(&self) -> bool {
        let answer = self.open().and_then(|mut lookup| lookup.check());
        !answer.is_err_and(|error| error.kind() == ErrorKind::Unavailable)
    }
}

/// What did not answer last in an operator of a job. Whoever takes care of the operator's error takes it.
#[derive(Clone, Default)]
pub(crate) struct LastAway(Arc<Mutex<Option<LookupPlace>>>);

impl LastAway {
    pub(crate) fn set(&self, away: LookupPlace) {
        *lock(&self.0) = Some(away);
    }

    pub(crate) fn take(&self) -> Option<LookupPlace> {
        lock(&self.0).take()
    }
}

/// That a job waits: the worker that asks ends once this is dropped.
pub(crate) struct Wait {
    away: Option<LookupPlace>,
    token: Arc<()>,
    pause: Duration,
}

impl Wait {
    pub(crate) fn new(away: LookupPlace) -> Self {
        Self { away: Some(away), token: Arc::default(), pause: FIRST_PAUSE }
    }
}

impl Core {
    /// Tries to go on with a job that waits, or that did when the last process ended.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn go_on(&mut self, id: JobId) -> Result<()> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        let pause = job.wait.take().map_or(FIRST_PAUSE, |wait| (wait.pause * 2).min(LONGEST_PAUSE));
        let record = job.record.clone();
        let since = self.clock.monotonic();
        let begun = self.resume_as(&record, Gaps::Refused);
        let took = self.clock.monotonic().saturating_sub(since);
        let Err(error) = begun else {
            tracing::info!(job = record.name, "what it waited for answers again; it goes on");
            return Ok(());
        };
        self.rest(id, error, pause.max(took * PAUSE_PER_ATTEMPT))
    }

    /// Has a job wait that did when the last process ended, without asking the outside now. One that only waited for another job to
    /// leave a tick goes on at once.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn wait_on(&mut self, id: JobId) -> Result<()> {
        let Some(job) = self.jobs.get(&id) else { return Ok(()) };
        let inserts = bind(self, &job.record).unwrap_or_default();
        let Some(away) = LookupPlace::first_of(&inserts, &self.connectors) else { return self.go_on(id) };
        if let Some(job) = self.jobs.get_mut(&id) {
            job.wait = Some(Wait::new(away));
        }
        self.begin_asking(id)
    }

    /// Takes a job out that could not be built: until the outside answers, if that is why, else until `START JOB`.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn give_up(&mut self, id: JobId, error: Error) -> Result<()> {
        self.rest(id, error, FIRST_PAUSE)
    }

    fn rest(&mut self, id: JobId, error: Error, pause: Duration) -> Result<()> {
        if error.kind() == ErrorKind::Unavailable {
            // What begins with a job may fail for want of threads; that is on record, and harms nobody else.
            let is_told = self.jobs.get(&id).is_some_and(|job| matches!(job.record.state, JobState::Failed(_)));
            return if is_told { Ok(()) } else { Err(error) };
        }
        let Some(away) = self.away.take() else { return self.fail_job(id, error) };
        self.halt(id, JobState::Waiting(with_remedy(&error)))?;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.wait = Some(Wait { pause, ..Wait::new(away) });
        }
        self.begin_asking(id)
    }

    /// Starts the worker that asks for a job that has begun to wait.
    ///
    /// # Errors
    /// `Unavailable` where nobody is left to work.
    pub(crate) fn begin_asking(&mut self, id: JobId) -> Result<()> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        let name = job.record.name.clone();
        let Some(wait) = &mut job.wait else { return Ok(()) };
        let Some(away) = wait.away.take() else { return Ok(()) };
        let (clock, shared, core) = (self.clock.clone(), self.shared.clone(), self.messages.clone());
        let next = clock.monotonic() + wait.pause;
        let wanted = Arc::downgrade(&wait.token);
        let outgoing = Outgoing::to(core);
        let asker = Asker { id, away, wanted, pause: wait.pause, next, has_told: false, clock, shared, outgoing };
        self.workers.start(format!("await for {name}"), Box::new(asker))
    }

    fn is_there_again(&mut self, id: JobId, wanted: &Weak<()>) {
        let waits = |job: &Job| job.wait.as_ref().is_some_and(|wait| wanted.ptr_eq(&Arc::downgrade(&wait.token)));
        if !self.jobs.get(&id).is_some_and(waits) {
            // It was stopped, dropped or started meanwhile.
            return;
        }
        if let Err(error) = self.go_on(id) {
            self.fatal(error);
        }
    }
}

/// Asks from time to time whether the outside of a job that waits is there again, and tells the core once it is.
struct Asker {
    id: JobId,
    away: LookupPlace,
    /// Whether the job still waits.
    wanted: Weak<()>,
    pause: Duration,
    /// When it is asked next, by the monotonic clock.
    next: Duration,
    has_told: bool,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    outgoing: Outgoing,
}

impl Worker for Asker {
    fn turn(&mut self, may_wait: bool) -> Turn {
        if let Some(turn) = self.outgoing.send_held(may_wait) {
            return turn;
        }
        if self.has_told || self.wanted.strong_count() == 0 || self.shared.is_closed() {
            return Turn::Ended;
        }
        let left = self.next.saturating_sub(self.clock.monotonic());
        if !left.is_zero() {
            if may_wait {
                std::thread::park_timeout(left.min(LOOK));
            }
            return Turn::Idle;
        }
        if !self.away.is_there() {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.next = self.clock.monotonic() + self.pause;
            return Turn::Worked;
        }
        self.has_told = true;
        let (id, wanted) = (self.id, self.wanted.clone());
        let told = Message::Call(Box::new(move |core: &mut Core| core.is_there_again(id, &wanted)));
        self.outgoing.send(told, may_wait)
    }
}
