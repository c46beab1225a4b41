//! The comparison: what must be true once everything has been taken in, at a moment when nothing is under way, and of what a
//! crash at any moment would leave.

use std::time::Duration;

use gridhouse_base::SourceId;
use gridhouse_store::Store;

use crate::answer::{Answer, Rows};
use crate::life::{Life, Over, Step};
use crate::outside::{Row, decode, is_fit};

/// Longer than the longest pause of a sink that was not answered.
const LONGER_THAN_PAUSES: Duration = Duration::from_secs(6);

/// How many such pauses catching up may take: with the outside back, far fewer are needed.
const MOST_PAUSES: usize = 20;

impl Life {
    /// Lets everything be taken in with the outside at its best, and compares.
    ///
    /// # Errors
    /// `Over` if the process ends.
    ///
    /// # Panics
    /// If a layer or an outside table is not what it must be.
    pub fn catch_up(&mut self) -> Step {
        self.tell(|| "catch up".into());
        let outside = self.house.outside.clone();
        let faults = std::mem::take(&mut outside.world().faults);
        for pause in 0.. {
            // A failure of the disk that was drawn may meet a job now.
            self.wake()?;
            while outside.world().send(16) > 0 {
                self.until_quiet();
                self.alive()?;
            }
            self.until_quiet();
            self.alive()?;
            let (is_told, end, confirmed, expected) = {
                let world = outside.world();
                let database = &world.database;
                // Contents that the engine has asked for may have yet to come.
                (world.delivered().is_some(), database.end, database.confirmed, Answer::of(&database.now, self.form))
            };
            let wrong = self.wrong_targets(&expected);
            if is_told && confirmed == end && wrong.is_empty() && self.idle_jobs()?.is_empty() {
                break;
            }
            if pause == MOST_PAUSES {
                for table in OUTSIDE {
                    self.excused(table)?;
                }
                let (state, layers) = (self.state(), self.wrong_layers(&expected));
                panic!("the source was told {confirmed} of {end}, outside: {wrong:#?}, layers: {layers:#?}\n{state}");
            }
            self.house.clock.advance(LONGER_THAN_PAUSES);
            // A source that stands still tells nobody to forget anything that was found after a crash.
            outside.world().database.go_on(&mut self.random);
        }
        let expected = Answer::of(&outside.world().database.now, self.form);
        self.compare_layers(&expected)?;
        self.compare_letters()?;
        self.note_starts()?;
        outside.world().faults = faults;
        Ok(())
    }

    /// Which outside tables differ, and how.
    fn wrong_targets(&self, expected: &Answer) -> Vec<String> {
        let world = self.house.outside.world();
        let differs = |(name, rows): (&&str, &Rows)| {
            let there = world.targets.get(*name).map(|target| target.all_rows()).unwrap_or_default();
            (there != *rows).then(|| format!("{name} holds {there:?}, not {rows:?}"))
        };
        expected.targets.iter().filter_map(differs).collect()
    }

    /// Which layers differ, and how.
    fn wrong_layers(&self, expected: &Answer) -> Vec<String> {
        let differs = |(name, rows): (&&str, &Rows)| {
            let mut there = self.house.run(&format!("SELECT * FROM {name}")).ok()?;
            there.sort();
            (there != *rows).then(|| format!("{name} holds {there:?}, not {rows:?}"))
        };
        expected.layers.iter().filter_map(differs).collect()
    }

    /// Each layer holds what it must.
    fn compare_layers(&mut self, expected: &Answer) -> Step {
        for (name, rows) in &expected.layers {
            let mut there = match self.house.run(&format!("SELECT * FROM {name}")) {
                Ok(there) => there,
                Err(error) => return self.ended(&error),
            };
            there.sort();
            if there != *rows {
                self.excused(name)?;
            }
            let is_right = there == *rows;
            assert!(is_right, "layers: {:#?}\n{:?}\n{}", self.wrong_layers(expected), self.form, self.state());
        }
        Ok(())
    }

    /// Orders that cannot be read as they are declared are kept apart: those that stand at the source now, and none that never did.
    fn compare_letters(&mut self) -> Step {
        if !self.form.keeps_letters {
            return Ok(());
        }
        let letters = match self.house.run("SELECT row_text FROM ods_orders_dead_letter") {
            Ok(letters) => letters.concat(),
            Err(error) => return self.ended(&error),
        };
        let (now, ever) = {
            let database = &self.house.outside.world().database;
            let text = |row: &Row| row.join("|");
            let now: Vec<Row> = database.now.rows("orders").into_iter().filter(|row| !is_fit(row)).collect();
            (now.iter().map(text).collect::<Vec<_>>(), database.unfit.iter().map(text).collect::<Vec<_>>())
        };
        let lost = now.iter().find(|row| !letters.contains(row));
        if lost.is_some() {
            self.excused("ods_orders")?;
        }
        assert_eq!(lost, None, "is not among the dead letters {letters:?}\n{}", self.state());
        assert_eq!(letters.iter().find(|row| !ever.contains(row)), None, "never was at the source");
        Ok(())
    }

    /// Where the rows of `table` are not as they must be: right only if the disk has been tampered with, and the job that makes them,
    /// or one whose rows it takes in, has failed and says where and what to do.
    fn excused(&mut self, table: &str) -> Step {
        let told = self.house.run("SELECT name, state, error FROM system.status.jobs").unwrap_or_default();
        let makers = makers_of(table);
        let is_of = |job: &&Row| makers.iter().any(|maker| job[0].ends_with(&format!(".{maker}")));
        if self.is_damaged && told.iter().filter(is_of).any(|job| job[1] == "FAILED" && tells_damage(&job[2])) {
            return Err(Over);
        }
        Ok(())
    }

    /// How jobs, sources and sinks say they are, for a message.
    fn state(&self) -> String {
        let of = |query: &str| match self.house.run(query) {
            Ok(rows) => rows.iter().map(|row| row.join("|")).collect::<Vec<_>>().join("\n"),
            Err(error) => error.to_string(),
        };
        let jobs = of("SELECT job_id, state, error, began FROM system.status.jobs");
        let sinks = of("SELECT state, error FROM system.status.sinks");
        let books = self
            .house
            .outside
            .world()
            .targets
            .iter()
            .map(|(name, t)| format!("{name} {:?}", t.books))
            .collect::<Vec<_>>();
        let fs = self.house.fs.fork();
        let store = Store::open(self.house.store_options(fs));
        let histories = store.map(|store| store.ordered_snapshot().list("histories"));
        format!("jobs:\n{jobs}\nsinks:\n{sinks}\noutside:\n{}\nhistories: {histories:?}", books.join("\n"))
    }

    /// Counts which jobs were restored and which rebuilt.
    fn note_starts(&mut self) -> Step {
        let began = match self.house.run("SELECT state, began FROM system.status.jobs") {
            Ok(began) => began,
            Err(error) => return self.ended(&error),
        };
        if began.iter().any(|job| job[0] != "RUNNING") {
            for table in OUTSIDE {
                self.excused(table)?;
            }
        }
        for job in &began {
            assert_eq!(job[0], "RUNNING", "{}", self.state());
            self.tally.restored += u64::from(job[1].starts_with("restored"));
            self.tally.rebuilt += u64::from(job[1].starts_with("rebuilt"));
        }
        let world = self.house.outside.world();
        self.tally.writes = world.targets.values().map(|target| target.writes).sum();
        self.tally.told = world.told;
        Ok(())
    }

    /// If nothing is under way and all jobs run, the layers agree with each other and with what the source has sent.
    pub(crate) fn glance(&mut self) -> Step {
        self.until_quiet();
        self.alive()?;
        if !self.idle_jobs()?.is_empty() {
            return Ok(());
        }
        let outside = self.house.outside.clone();
        let Some(delivered) = outside.world().delivered() else { return Ok(()) };
        self.tell(|| format!("look at the layers as of {delivered}"));
        let expected = Answer::of(&outside.world().database.at(delivered), self.form);
        self.compare_layers(&expected)
    }

    /// What a machine that stopped now would keep holds everything that has left the house: what the source was told to forget,
    /// and what the outside was written.
    pub(crate) fn probe(&self) {
        // What has been tampered with need not hold anything, and what has stopped tells nothing new.
        if self.is_damaged || self.house.is_over() {
            return;
        }
        self.tell(|| "look at what a crash would leave".into());
        let fs = self.house.fs.fork();
        fs.restart();
        fs.set_capacity(None);
        let (confirmed, written) = {
            let world = self.house.outside.world();
            let books = world.targets.values().flat_map(|target| target.books.values());
            (world.database.confirmed, books.map(|book| book.upto).max().unwrap_or(0))
        };
        let store = Store::open(self.house.store_options(fs)).expect("what a crash leaves can be opened");
        let sources = (1..=4).filter_map(|source| store.source_position(SourceId(source)));
        let kept = sources.map(|at| decode(&at.position)).max().unwrap_or(0);
        assert!(kept >= confirmed, "the source was told to forget up to {confirmed}, but a crash would leave {kept}");
        let tick = store.ordered_snapshot().commit().0;
        assert!(tick >= written, "the outside was written up to {written}, but a crash would leave {tick}");
    }
}

/// The outside tables.
const OUTSIDE: [&str; 3] = ["board", "counts", "trail"];

/// The tables whose jobs make the rows of `table`, itself among them.
fn makers_of(table: &str) -> &'static [&'static str] {
    const CUSTOMERS: &[&str] = &["ods_customers"];
    const ORDERS: &[&str] = &["ods_orders"];
    const READINGS: &[&str] = &["ods_readings"];
    const CLEAN: &[&str] = &["dwd_orders", "ods_orders"];
    const REGIONS: &[&str] = &["dws_regions", "dwd_orders", "ods_orders", "ods_customers"];
    const DEVICES: &[&str] = &["dws_devices", "ods_readings"];
    const BOARD: &[&str] = &[
        "board",
        "ads_board",
        "dws_regions",
        "dwd_orders",
        "ods_orders",
        "ods_customers",
        "dws_devices",
        "ods_readings",
    ];
    match table {
        "ods_customers" => CUSTOMERS,
        "ods_orders" => ORDERS,
        "ods_readings" => READINGS,
        "dwd_orders" => CLEAN,
        "dws_regions" => REGIONS,
        "dws_devices" => DEVICES,
        "counts" => &["counts", "dws_regions", "dwd_orders", "ods_orders", "ods_customers"],
        "trail" => &["trail", "ods_readings"],
        _ => BOARD,
    }
}

/// Whether a message names the file that is damaged, the place in it, and a way back.
fn tells_damage(told: &str) -> bool {
    let names = ["seg-", "wal-", "checkpoint-"].iter().any(|name| told.contains(name));
    names
        && told.contains("offset")
        && ["START JOB", "restore", "back-up", "remove"].iter().any(|way| told.contains(way))
}
