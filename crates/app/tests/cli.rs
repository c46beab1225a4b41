//! The program as a user meets it: its output, its exit codes, its processes.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A working directory of a test; the data directory is the default one in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridhouse"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for name in ["GRIDHOUSE_CONFIG", "GRIDHOUSE_DATA_DIR", "GRIDHOUSE_HOSTS", "GRIDHOUSE_LOG", "GRIDHOUSE_SEED"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Starts a command and reads its output up to a line that contains `ready`.
    fn start(&self, args: &[&str], ready: &str) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            seen.push_str(&line);
            seen.push('\n');
            if line.contains(ready) {
                return Running { child, lines, seen };
            }
        }
        panic!("it ended before it was ready: {:?}\n{seen}", child.wait());
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.0.path().join("gridhouse-data")
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "out:\n{}err:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, expected: &[&str]) -> Self {
        for text in expected {
            assert!(self.out.contains(text), "{text} is missing in:\n{}{}", self.out, self.err);
        }
        self
    }

    #[track_caller]
    fn complains(self, expected: &[&str]) -> Self {
        for text in expected {
            assert!(self.err.contains(text), "{text} is missing in:\n{}", self.err);
        }
        self
    }
}

/// A command that runs; it is killed where a test ends early.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: String,
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code and the rest of its output.
    fn end(mut self) -> (Option<i32>, String) {
        let rest: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        (self.child.wait().unwrap().code(), rest.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself in a test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TABLES: &str = "CREATE TABLE readings (id BIGINT, region STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE regions (region STRING, devices BIGINT, PRIMARY KEY (region) NOT ENFORCED);
SET 'pipeline.name' = 'by region';
INSERT INTO regions SELECT region, COUNT(*) FROM readings GROUP BY region;
INSERT INTO readings VALUES (1, '华东'), (2, '华东'), (3, '东北');
";

#[test]
fn a_script_says_what_became_of_each_statement_and_shows_tables() {
    let place = Place::new();
    let script = "CREATE TABLE t (id BIGINT, 名称 STRING, PRIMARY KEY (id) NOT ENFORCED);\nINSERT INTO t VALUES (1, '变压器'), (2, NULL);\n";
    place.write("a.sql", script);
    let ran = place.run(&["run", "-f", "a.sql", "-e", "SELECT * FROM t"]).ended(0);
    ran.says(&[
        "ok  a.sql:1  CREATE TABLE t",
        "ok  a.sql:2  INSERT INTO t",
        "2 rows",
        " 1 │ 变压器",
        " 2 │ NULL",
        "(2 rows",
    ]);
    place.run(&["run", "-f", "a.sql"]).ended(0).says(&["note:"]);
    place.run(&["sql", "-e", "SELECT COUNT(*) AS n FROM t"]).ended(0).says(&[" n", " 2", "(1 row"]);
}

#[test]
fn a_failed_statement_names_its_place_and_what_ran_before_stays() {
    let place = Place::new();
    place.write(
        "b.sql",
        "CREATE TABLE t (id BIGINT);\n-- 注释\nSELECT '中文', nope FROM t;\nCREATE TABLE u (id BIGINT);\n",
    );
    let ran = place.run(&["run", "-f", "b.sql"]).ended(1).says(&["ok  b.sql:1"]);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines[0].starts_with("b.sql:3:14: ") && lines[0].contains("nope"), "{}", ran.err);
    assert_eq!(lines[1], " 3 | SELECT '中文', nope FROM t;");
    assert_eq!(lines[2].find('^'), Some(" 3 | SELECT '????', ".len()), "{}", ran.err);
    place.run(&["run", "-e", "SELECT * FROM t"]).ended(0);
    place.run(&["run", "-e", "SELECT * FROM u"]).ended(1);
}

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new();
    place.run(&["run", "--bogus"]).ended(2).complains(&["--bogus"]);
    place.run(&["run", "-f", "missing.sql"]).ended(2).complains(&["missing.sql cannot be read"]);
    place.run(&["--set", "data_dri=x", "jobs"]).ended(2).complains(&["did you mean `data_dir`?"]);
    place.write("gridhouse.toml", "log = \"loud\"\n");
    place.run(&["jobs"]).ended(2).complains(&["gridhouse.toml:1:1", "`loud` is not one of"]);
}

#[test]
fn what_is_outside_and_does_not_answer_ends_with_4_and_passwords_stay_hidden() {
    let place = Place::new();
    place.run(&["status"]).ended(4).complains(&["no process holds gridhouse-data", "gridhouse serve"]);
    // Nobody listens on port 1.
    let source = "CREATE TABLE t (id BIGINT, PRIMARY KEY (id) NOT ENFORCED);
CREATE TEMPORARY TABLE s (id BIGINT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'postgres-cdc', 'hostname' = \
'127.0.0.1', 'port' = '1', 'username' = 'u', 'password' = 'geheim', 'database-name' = 'd', 'schema-name' = 'public', \
'table-name' = 't', 'slot.name' = 'x'); INSERT INTO t SELECT id FROM s;\n";
    place.write("c.sql", source);
    let ran =
        place.run(&["run", "--wait", "0", "-f", "c.sql"]).ended(4).complains(&["c.sql:2:", "127.0.0.1:1", "hint:"]);
    assert!(!ran.err.contains("geheim") && !ran.out.contains("geheim"), "{}{}", ran.out, ran.err);
}

#[test]
fn a_damaged_directory_ends_with_5_and_says_the_way_back() {
    let place = Place::new();
    place.run(&["run", "-e", "CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1)"]).ended(0);
    place.run(&["run", "-e", "SELECT * FROM t"]).ended(0);
    // A log that the last checkpoint does not need may rot without harm.
    let damage = |prefix: &str| {
        for entry in std::fs::read_dir(place.data_dir()).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_string_lossy().starts_with(prefix) {
                let mut bytes = std::fs::read(&entry).unwrap();
                bytes[80] ^= 0xff;
                std::fs::write(&entry, bytes).unwrap();
            }
        }
    };
    damage("wal-0000000001");
    place.run(&["run", "-e", "SELECT * FROM t"]).ended(0).says(&["1"]);
    damage("checkpoint-");
    place.run(&["run", "-e", "SELECT * FROM t"]).ended(5).complains(&["checkpoint-", "hint:"]);
}

#[test]
fn a_directory_is_held_once_and_others_talk_to_its_holder() {
    let place = Place::new();
    let serving = place.start(&["serve"], "Ctrl-C stops it");
    let pid = serving.child.id().to_string();
    place.run(&["serve"]).ended(5).complains(&[&pid, "stop"]);
    place.run(&["run", "-e", "CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (7)"]).ended(0);
    place.run(&["sql", "-e", "SELECT * FROM t"]).ended(0).says(&["7"]);
    place.run(&["tables"]).ended(0).says(&["default_catalog.default_database.t"]);
    let mut psql = Command::new("psql");
    psql.arg("-XAt").arg("-h").arg(place.data_dir()).args(["-U", "anyone", "-d", "any", "-c", "SELECT id FROM t"]);
    let ran = Ran::from(psql.output().expect("psql is installed")).ended(0);
    assert_eq!(ran.out, "7\n");
    place.run(&["stop"]).ended(0).says(&[&pid, "has stopped"]);
    assert_eq!(serving.end().0, Some(0));
    assert!(!place.data_dir().join(gridhouse_serve::SOCKET_NAME).exists());
    place.run(&["stop"]).ended(0).says(&["no process holds"]);
}

#[test]
fn jobs_go_on_until_ctrl_c_and_again_with_the_next_run() {
    let place = Place::new();
    place.write("d.sql", TABLES);
    let running = place.start(&["run", "-f", "d.sql"], "Ctrl-C stops cleanly");
    assert!(running.seen.contains("job j1 by region runs"), "{}", running.seen);
    place.run(&["jobs"]).ended(0).says(&["by region", "RUNNING"]);
    place.run(&["sql", "-e", "SELECT devices FROM regions WHERE region = '华东'"]).ended(0).says(&[" 2"]);
    running.signal(Signal::INT);
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");

    let running = place.start(&["run", "-f", "d.sql"], "Ctrl-C stops cleanly");
    assert!(running.seen.contains("job j1 by region goes on"), "{}", running.seen);
    place.run(&["run", "-e", "STOP JOB 1"]).ended(0);
    let (code, rest) = running.end();
    assert_eq!(code, Some(0));
    assert!(rest.contains("job j1 by region has ended"), "{rest}");
}

#[test]
fn a_job_that_fails_ends_the_run_with_3() {
    let place = Place::new();
    place.write("h.sql", TABLES);
    // The key of the target cannot be NULL.
    let ran = place.run(&["run", "-f", "h.sql", "-e", "INSERT INTO readings VALUES (4, NULL)"]).ended(3);
    ran.complains(&["job j1 by region failed", "NOT NULL", "START JOB"]);
}

#[test]
fn a_killed_process_leaves_a_directory_that_can_be_used() {
    let place = Place::new();
    place.write("e.sql", TABLES);
    for round in 0..3 {
        let running = place.start(&["run", "-f", "e.sql"], "Ctrl-C stops cleanly");
        let update = format!("INSERT INTO readings VALUES ({}, '西北')", 10 + round);
        place.run(&["sql", "-e", &update]).ended(0);
        running.signal(Signal::KILL);
        assert_eq!(running.end().0, None);
    }
    place
        .run(&["sql", "-e", "SELECT region, devices FROM regions ORDER BY region"])
        .ended(0)
        .says(&["西北   │       3"]);
}

#[test]
fn a_detached_run_leaves_its_jobs_to_a_process_in_the_background() {
    let place = Place::new();
    place.write("f.sql", TABLES);
    let ran = place.run(&["run", "--detach", "-f", "f.sql"]).ended(0).says(&["1 job runs in process"]);
    drop(ran);
    let stopping = Stopping(&place);
    place.run(&["jobs"]).ended(0).says(&["by region"]);
    place.run(&["run", "-f", "f.sql", "--detach"]).ended(0).says(&["goes on"]);
    assert!(Path::new(&place.data_dir().join("gridhouse.log")).exists());
    place.run(&["stop"]).ended(0).says(&["has stopped"]);
    drop(stopping);
}

/// Stops the process in the background also where the test fails before it does.
struct Stopping<'a>(&'a Place);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        let _ = self.0.command(&["stop"]).output();
    }
}

#[test]
fn standard_input_is_a_script_too() {
    let place = Place::new();
    place.write("g.sql", "SELECT 1 + 1 AS two;\nSELECT oops;\n");
    let input = std::fs::File::open(place.0.path().join("g.sql")).unwrap();
    let ran = Ran::from(place.command(&["run", "-"]).stdin(input).output().unwrap());
    ran.ended(1).says(&["two", " 2"]).complains(&["<stdin>:2:8"]);
}
