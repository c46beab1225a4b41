//! A life of the chain: drawn steps, crashes and recoveries, and the comparison after each.
//!
//! What is checked: once everything has been taken in, each layer and each outside table is what [`crate::answer::Answer`] says; the source
//! was never told to forget what a crash can still take away, nor the outside anything of it ([`Life::probe`]); what went
//! wrong was the simulated world's doing, and the message says what to do.

use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_base::{Error, ErrorKind};
use gridhouse_engine::Tuning;
use gridhouse_engine::worker::Turn;
use gridhouse_flow::HashMode;
use gridhouse_sim::{Cut, SimFileSystem};
use gridhouse_store::Limits;

use crate::chain::{BOARD, Form, TYPED};
use crate::faults::Faults;
use crate::house::House;
use crate::outside::{Outside, Row};
use crate::tally::Tally;

/// The jobs that are stopped now and then, by their numbers. Not those that read the source, since a log without key would be
/// read anew; nor the one whose outside has no key and follows every change: what comes to be while it rests passes it by.
const MAY_REST: [u64; 6] = [4, 5, 6, 7, 8, 10];

/// After how many of the writes outside the disk is looked at.
const PROBED: f64 = 0.1;

/// A life of the chain.
pub struct Life {
    /// The engine and what it stands on.
    pub house: House,
    /// Whether each step is told on standard error.
    pub is_told: bool,
    /// What it came to so far.
    pub tally: Tally,
    pub(crate) random: Random,
    pub(crate) form: Form,
    /// Whether the chain is known to stand.
    pub(crate) is_set_up: bool,
    /// Whether jobs are stopped now and then.
    pub(crate) toggles: bool,
    /// The job that was stopped, or was being stopped when the process ended.
    pub(crate) resting: Option<u64>,
    /// What the chain may be instead: a job was being replaced when the process ended.
    pub(crate) replacing: Option<Form>,
    /// Whether the disk has been tampered with, so that a refusal for damage is right.
    pub(crate) is_damaged: bool,
}

/// The machine has stopped, the process is over, or what is damaged was refused.
#[derive(Debug)]
pub struct Over;

/// What a step comes to.
pub type Step<T = ()> = Result<T, Over>;

impl Life {
    /// A life whose every choice comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let fs = SimFileSystem::new(random.bits());
        let outside = Outside::new(random.bits());
        let mut house = House::new(fs, outside, random.bits());
        house.limits = draw_limits(&mut random);
        house.tuning = Tuning {
            hash: if random.chance(0.1) { HashMode::Constant } else { HashMode::Seeded(0) },
            round_rows: *random.pick(&[1, 5, 65_536]),
            state_parts: random.chance(0.2).then_some(2),
        };
        let form = Form::draw(&mut random);
        form.shape(&mut house.outside.world());
        let tally = Tally::default();
        let toggles = random.chance(0.4);
        let (is_told, is_set_up, is_damaged) = (false, false, false);
        let (resting, replacing) = (None, None);
        Self { house, is_told, tally, random, form, is_set_up, toggles, resting, replacing, is_damaged }
    }

    /// Tells a step, with the operations of the disk so far and what the source was told to forget.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            let (operations, confirmed) = (self.house.fs.operations(), self.house.outside.world().database.confirmed);
            eprintln!("{operations:5} {confirmed:5} {}", what());
        }
    }

    /// Does `steps` random things.
    ///
    /// # Errors
    /// `Over` if the process ends.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn run(&mut self, steps: u64) -> Step {
        self.open()?;
        for _ in 0..steps {
            self.step()?;
            self.alive()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Step {
        let outside = self.house.outside.clone();
        match self.random.below(34) {
            0..=6 => {
                self.tell(|| "the source commits".into());
                outside.world().database.commit(&mut self.random);
            }
            7 => outside.world().database.go_on(&mut self.random),
            8..=14 => {
                let count = 1 + self.random.below(8);
                let sent = outside.world().send(count);
                self.tell(|| format!("the source sends {sent} events"));
            }
            15..=23 => {
                for _ in 0..1 + self.random.below(16) {
                    let given = self.house.turns.give_one(&mut self.random);
                    self.tell(|| format!("a turn: {given:?}"));
                    self.alive()?;
                    if given.is_some_and(|(name, turn)| has_written(&name, turn)) && self.random.chance(PROBED) {
                        self.probe();
                    }
                }
            }
            24..=26 => {
                self.tell(|| "all turns".into());
                self.until_quiet();
            }
            27..=28 => {
                let by = Duration::from_micros(self.random.below(4_000_000));
                self.tell(|| format!("{} ms pass", by.as_millis()));
                self.house.clock.advance(by);
            }
            29 => {
                let by = self.random.between(-90_000_000, 90_000_000);
                self.tell(|| format!("the clock is set by {} s", by / 1_000_000));
                self.house.clock.set_by(by);
            }
            30 => self.probe(),
            31 if self.toggles => self.toggle()?,
            32 if self.toggles => self.replace()?,
            31..=32 => self.wake()?,
            _ => self.glance()?,
        }
        Ok(())
    }

    /// Gives all workers turns until they rest, or the process is over.
    pub(crate) fn until_quiet(&mut self) {
        let mut random = Random::new(self.random.bits());
        let life = &*self;
        life.house.turns.until_quiet(None, &mut |name, turn| {
            if has_written(name, turn) && random.chance(PROBED) {
                life.probe();
            }
            life.house.is_over()
        });
    }

    /// Stops a job, or has the one that rests go on.
    fn toggle(&mut self) -> Step {
        if self.resting.is_some() {
            return self.wake();
        }
        let job = *self.random.pick(&MAY_REST);
        self.tell(|| format!("stop job {job}"));
        self.resting = Some(job);
        self.statement(&format!("STOP JOB {job}"))
    }

    /// Puts another query in the place of a job's.
    fn replace(&mut self) -> Step {
        let (job, form) = self.form.replaced(&mut self.random);
        let statement = format!("REPLACE JOB {job} AS {}", form.query(job));
        self.tell(|| statement.clone());
        self.replacing = Some(form);
        match self.house.run(&format!("{}\n{statement}", form.outside())) {
            Ok(_) => {
                self.form = form;
                self.tally.replaced += 1;
                self.resting = self.resting.filter(|resting| *resting != job);
            }
            // The outside has not yet been taken over from the query before the last.
            Err(error) if error.kind() == ErrorKind::Conflict && error.to_string().contains("still has rows") => {}
            Err(error) => return self.ended(&error),
        }
        self.replacing = None;
        self.alive()
    }

    /// A job that was being replaced as the process ended has the one query or the other.
    fn learn_form(&mut self) -> Step {
        let Some(form) = self.replacing else { return Ok(()) };
        let was = self.form;
        for job in [TYPED, BOARD].into_iter().filter(|job| form.query(*job) != was.query(*job)) {
            let of_job = format!("SELECT statement FROM system.status.jobs WHERE job_id = {job}");
            let told = match self.house.run(&of_job) {
                Ok(told) => told.concat().concat(),
                Err(error) => return self.ended(&error),
            };
            let [before, after] = [was, form].map(|form| form.query(job));
            assert!(told == before || told == after, "job {job} is neither {before} nor {after}, but {told}");
            if told == after {
                self.tell(|| format!("job {job} was replaced"));
                self.form = form;
                self.tally.replaced += 1;
            }
        }
        self.replacing = None;
        Ok(())
    }

    /// Has jobs go on that rest, or that failed because the disk or the source did and say what to do.
    pub(crate) fn wake(&mut self) -> Step {
        for job in self.idle_jobs()? {
            let [number, error] = [&job[0], &job[1]];
            let is_of_disk = error.contains("spilled state") && error.contains("START JOB");
            let is_of_source =
                error.ends_with("; mend it, then START JOB") || error.ends_with("; drop it, then START JOB");
            if is_of_disk || is_of_source || self.resting.is_some_and(|resting| resting.to_string() == *number) {
                self.tell(|| format!("start job {number}: {error}"));
                self.statement(&format!("START JOB {number}"))?;
            }
        }
        self.resting = None;
        Ok(())
    }

    /// Jobs that do not run, with why.
    pub(crate) fn idle_jobs(&mut self) -> Step<Vec<Row>> {
        let idle = "SELECT job_id, error FROM system.status.jobs WHERE state <> 'RUNNING' ORDER BY job_id";
        self.house.run(idle).or_else(|error| self.ended(&error))
    }

    /// A statement that must succeed unless the process ends.
    fn statement(&mut self, text: &str) -> Step {
        match self.house.run(text) {
            Ok(_) => self.alive(),
            Err(error) => self.ended(&error),
        }
    }

    /// Opens the engine if it is not open, and has the chain stand.
    ///
    /// # Errors
    /// `Over` if the process ends meanwhile.
    pub fn open(&mut self) -> Step {
        if self.house.is_alive() {
            return Ok(());
        }
        self.tell(|| "open".into());
        if let Err(error) = self.house.open() {
            return self.ended(&error);
        }
        self.alive()?;
        self.learn_form()?;
        if !self.is_set_up || self.random.chance(0.1) {
            self.tell(|| "run the script".into());
            if let Err(error) = self.house.run(&self.form.script()) {
                return self.ended(&error);
            }
            self.is_set_up = true;
        }
        Ok(())
    }

    /// Ends if the process has ended.
    pub(crate) fn alive(&mut self) -> Step {
        if let Some(error) = self.house.take_fatal() {
            self.house.kill();
            return self.ended(&error);
        }
        if self.house.fs.is_crashed() { Err(Over) } else { Ok(()) }
    }

    /// An error that ends the process is right if the machine has stopped or the disk has failed; anything else is a defect.
    pub(crate) fn ended<T>(&mut self, error: &Error) -> Step<T> {
        self.tell(|| format!("an error: {error}"));
        // The statement's own error says little where the process ended beneath it.
        let fatal = self.house.take_fatal();
        let error = fatal.as_ref().unwrap_or(error);
        if self.is_damaged && error.kind() == ErrorKind::Corrupt {
            gridhouse_sim::simulation::assert_tells_damage(error);
            return Err(Over);
        }
        // What a job could not put aside on the disk is said of the job.
        let is_spilled = error.to_string().contains("spilled state") && error.remedy().is_some();
        assert!(error.kind() == ErrorKind::Unavailable || is_spilled, "{:?}: {error}", error.kind());
        Err(Over)
    }

    /// Stops the machine, or only the process. Planned faults are forgotten.
    pub fn crash(&mut self) {
        let is_process_only = !self.house.fs.is_crashed() && self.random.chance(0.3);
        self.house.kill();
        self.house.take_fatal();
        // A process that is killed leaves its writes in the system's memory.
        if is_process_only {
            self.tell(|| "the process is gone".into());
            self.house.fs.clear_faults();
        } else {
            self.tell(|| "the machine restarts".into());
            self.house.fs.restart();
        }
    }

    /// Ends the process without any notice.
    pub fn kill(&mut self) {
        self.tell(|| "the process is gone".into());
        self.house.kill();
        self.house.take_fatal();
    }

    /// Stops cleanly.
    ///
    /// # Errors
    /// `Over` if the process ends before.
    pub fn close(&mut self) -> Step {
        self.tell(|| "stop".into());
        match self.house.stop() {
            Ok(()) => self.alive(),
            Err(error) => self.ended(&error),
        }
    }

    /// Opens again after a crash, however often that takes, and compares everything.
    pub fn recover(&mut self) {
        self.crash();
        while self.open().and_then(|()| self.catch_up()).is_err() {
            self.crash();
        }
        self.tally.recoveries += 1;
    }

    /// Draws what the outside does wrong from now on.
    pub fn draw_faults(&mut self) {
        let faults = Faults::draw(&mut self.random);
        self.tell(|| format!("{faults:?}"));
        self.house.outside.world().faults = faults;
    }

    /// Stops the machine in one of the next `within` operations.
    pub fn plan_crash(&mut self, within: u64) {
        let at = self.house.fs.operations() + 1 + self.random.below(within);
        let cut = *self.random.pick(&Cut::ALL);
        self.tell(|| format!("the machine will stop in operation {at}, {cut:?}"));
        self.house.fs.crash_at(at, cut);
    }
}

/// Whether a worker's turn may have written outside.
fn has_written(name: &str, turn: Turn) -> bool {
    name.starts_with("sink") && turn == Turn::Worked
}

/// Limits so small that a life crosses them, or so large that nothing is ever kept.
fn draw_limits(random: &mut Random) -> Limits {
    Limits {
        checkpoint_log_bytes: *random.pick(&[3_000, 12_000, 64 << 20]),
        index_bytes: *random.pick(&[400, 1 << 20]),
        compaction_factor: *random.pick(&[2, 8]),
        group_rows: *random.pick(&[4, 65_536]),
        tick_bytes: *random.pick(&[500, 1 << 20]),
        ..Limits::default()
    }
}
