//! Jobs that wait for an outside which their rows are looked up in.
//!
//! Where it does not answer, the job leaves the ticks as one that failed does, from the last tick before; all others go on. A
//! thread of its own then asks whether the outside is there again, so that no tick waits for that, and the job goes on by itself
//! with what has gathered meanwhile, as `START JOB` would have it. It is on record as waiting, also over restarts.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Error, ErrorKind, JobId, Result};
use gridhouse_flow::connector::{LookupConnector, LookupRequest};

use crate::boot::bind;
use crate::core::{Core, Message};
use crate::job::Job;
use crate::rebuild::Gaps;
use crate::records::JobState;
use crate::shared::{Shared, lock};
use crate::stream::with_remedy;

/// The pause before the outside is asked for the first time; doubles up to [`LONGEST_PAUSE`], also where it answers and the job has to
/// wait again at once.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: a server that comes back is used again within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a pause looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// An outside that did not answer, and how it is asked.
pub(crate) struct Away {
    pub(crate) connector: Arc<dyn LookupConnector>,
    pub(crate) definition: Arc<TableDef>,
    pub(crate) request: LookupRequest,
}

impl Away {
    fn is_there(&self) -> bool {
        let asked = self.connector.open(self.definition.clone(), self.request.clone());
        asked.and_then(|mut lookup| lookup.check()).is_ok()
    }
}

/// What did not answer last in an operator of a job. Whoever takes care of the operator's error takes it.
#[derive(Clone, Default)]
pub(crate) struct LastAway(Arc<Mutex<Option<Away>>>);

impl LastAway {
    pub(crate) fn set(&self, away: Away) {
        *lock(&self.0) = Some(away);
    }

    pub(crate) fn take(&self) -> Option<Away> {
        lock(&self.0).take()
    }
}

/// That a job waits: the thread that asks ends once this is dropped.
pub(crate) struct Wait {
    away: Option<Away>,
    token: Arc<()>,
    pause: Duration,
}

impl Wait {
    pub(crate) fn new(away: Away) -> Self {
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
        self.away.take();
        let begun = bind(self, &record).and_then(|inserts| self.resume(id, inserts, Gaps::Refused));
        let Err(error) = begun else {
            tracing::info!(job = record.name, "what it waited for answers again; it goes on");
            return Ok(());
        };
        self.rest(id, error, pause)
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
            return Err(error);
        }
        let Some(away) = self.away.take() else { return self.fail_job(id, error) };
        self.halt(id, JobState::Waiting(with_remedy(&error)))?;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.wait = Some(Wait { pause, ..Wait::new(away) });
        }
        self.begin_asking(id)
    }

    /// Starts the thread that asks for a job that has begun to wait.
    ///
    /// # Errors
    /// `Unavailable` where there is no thread to be had.
    pub(crate) fn begin_asking(&mut self, id: JobId) -> Result<()> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        let name = job.record.name.clone();
        let Some(wait) = &mut job.wait else { return Ok(()) };
        let Some(away) = wait.away.take() else { return Ok(()) };
        let (wanted, mut pause) = (Arc::downgrade(&wait.token), wait.pause);
        let (shared, messages) = (self.shared.clone(), self.messages.clone());
        let thread = std::thread::Builder::new().name(format!("await for {name}")).spawn(move || {
            loop {
                if !still_wanted(&wanted, &shared, pause) {
                    return;
                }
                if away.is_there() {
                    let call = Message::Call(Box::new(move |core: &mut Core| core.is_there_again(id, &wanted)));
                    // A core that is gone has no jobs.
                    let _ = messages.send(call);
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        thread.map(|_| ()).map_err(|error| Error::unavailable("no thread for a job that waits").caused_by(error))
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

/// Whether the answer is still wanted after a pause.
fn still_wanted(wanted: &Weak<()>, shared: &Shared, pause: Duration) -> bool {
    let mut left = pause;
    while !left.is_zero() && wanted.strong_count() > 0 && !shared.is_closed() {
        let now = left.min(LOOK);
        std::thread::park_timeout(now);
        left -= now;
    }
    wanted.strong_count() > 0 && !shared.is_closed()
}
