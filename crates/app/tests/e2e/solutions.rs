//! Solutions as their users run them: prepared, fed, checked; together, under kill -9, and where something is wrong.

use std::path::{Path, PathBuf};
use std::process::Output;

use gridhouse_link::testing::SUPERUSER;

use crate::program::{Program, database, postgres, text};

/// The size of the sources: small, so that a test takes seconds.
const SIZE: &str = "200";

/// Steps of each generator: some of every kind.
const STEPS: &str = "250";

/// The URL of the databases that begin with `prefix`.
fn url(prefix: &str, ending: &str) -> String {
    let (user, password) = SUPERUSER;
    format!("postgres://{user}:{password}@127.0.0.1:{}/{prefix}{{database}}{ending}", postgres().port())
}

/// A program and the databases of its solutions, whose names begin with a prefix of the test's own.
struct Desk {
    program: Program,
    prefix: &'static str,
    source: String,
    sink: String,
}

impl Desk {
    fn new(prefix: &'static str, databases: &[&str]) -> Self {
        for name in databases {
            database(&format!("{prefix}{name}"));
            database(&format!("{prefix}{name}_boards"));
        }
        Self { program: Program::new(), prefix, source: url(prefix, ""), sink: url(prefix, "_boards") }
    }

    /// Runs a command with both databases.
    fn run(&self, arguments: &[&str]) -> Output {
        self.program.run(&[arguments, &["--source", &self.source, "--sink", &self.sink]].concat())
    }

    /// Prepares a solution and gives its script.
    fn prepare(&self, name: &str) -> PathBuf {
        let script = self.program.path(&format!("{name}.sql"));
        let output = self.run(&[
            "solution",
            "prepare",
            name,
            "--size",
            SIZE,
            "--seed",
            "7",
            "--output",
            &script.display().to_string(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        // Slots belong to the server, which the tests share.
        let own = std::fs::read_to_string(&script).expect("the script");
        let slot = format!("'slot.name' = '{}", self.prefix);
        std::fs::write(&script, own.replace("'slot.name' = '", &slot)).expect("the script can be changed");
        script
    }

    /// Runs some steps of the generators.
    fn generate(&self, names: &[&str], steps: &str) -> String {
        let fixed = ["--source", &self.source, "--seed", "7", "--rate", "0", "--steps", steps];
        let output = self.program.run(&[&["solution", "generate"], names, &fixed].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    }
}

/// The names and databases of what is built in.
fn built_in() -> Vec<(String, String)> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(here.join("../../solutions")).expect("the solutions") {
        let path = entry.expect("an entry").path();
        let Ok(definition) = std::fs::read_to_string(path.join("solution.toml")) else { continue };
        let value = |key: &str| {
            let line = definition.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
            line.map(|value| value.trim().trim_matches('"').to_owned()).unwrap_or_else(|| panic!("{key} of {path:?}"))
        };
        found.push((value("name"), value("database")));
    }
    found.sort();
    found
}

#[test]
fn all_solutions_run_in_one_process_and_agree_with_their_sources_also_after_kill_minus_nine() {
    let all = built_in();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let databases: Vec<&str> = all.iter().map(|(_, database)| database.as_str()).collect();
    let mut desk = Desk::new("all_", &databases);
    let scripts: Vec<PathBuf> = names.iter().map(|name| desk.prepare(name)).collect();
    desk.program.start_all(&scripts);
    desk.program.await_log("Ctrl-C stops");
    std::thread::scope(|scope| {
        let fixed = ["--source", &desk.source, "--seed", "7", "--rate", "0", "--steps", STEPS];
        let arguments = [&["solution", "generate"], names.as_slice(), &fixed].concat();
        let command = desk.program.command(&arguments);
        let generator = scope.spawn(move || {
            let mut command = command;
            command.output().expect("the program runs")
        });
        // The moment of the kill is no matter of correctness; the generator is at work.
        std::thread::park_timeout(std::time::Duration::from_millis(700));
        desk.program.kill();
        desk.program.start_all(&scripts);
        let output = generator.join().expect("the generator ends");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for name in &names {
            assert!(text(&output.stdout).contains(&format!("{name}: ")), "{}", text(&output.stdout));
        }
    });
    // A program that is just starting is waited for.
    desk.program.query("SELECT COUNT(*) FROM system.status.jobs");
    // The check makes each source stand still in turn, under the feet of its generator.
    let verified = std::thread::scope(|scope| {
        let fixed = ["--source", &desk.source, "--seed", "7", "--rate", "200", "--duration", "3"];
        let mut command = desk.program.command(&[&["solution", "generate"], names.as_slice(), &fixed].concat());
        let generator = scope.spawn(move || command.output().expect("the program runs"));
        let verified = desk.run(&["verify", "--lang", "en", "--timeout", "60"]);
        let output = generator.join().expect("the generator ends");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        verified
    });
    let shown = text(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{shown}\n{}\n{}", text(&verified.stderr), desk.program.log());
    assert_eq!(shown.matches("everything agrees").count(), names.len(), "{shown}");
    assert!(!shown.contains("WRONG"), "{shown}");
    let watched = desk.run(&["solution", "watch", "--plain", "--duration", "0", "--lang", "zh"]);
    let shown = text(&watched.stdout);
    assert_eq!(watched.status.code(), Some(0), "{}", text(&watched.stderr));
    for name in &names {
        let line = shown.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
        assert!(
            line.contains("ODS ") && line.contains("sink ") && !line.contains('–'),
            "every figure has a value: {line}"
        );
    }
    assert_eq!(desk.program.interrupt(), Some(0), "{}", desk.program.log());
}

/// A copy of the first chain in which something is wrong.
struct Wrong {
    folder: &'static str,
    /// File, what stands there, what stands there instead.
    change: (&'static str, &'static str, &'static str),
    /// What the program says to it.
    says: &'static [&'static str],
}

/// Makes the copy and gives its directory.
fn copy(program: &Program, folder: &str, (file, from, to): (&str, &str, &str)) -> String {
    let dir = program.path(folder).join("first-chain");
    let exported = program.run(&["solution", "export", "first-chain", "--output", &dir.display().to_string()]);
    assert_eq!(exported.status.code(), Some(0), "{}", text(&exported.stderr));
    let path = dir.join(file);
    let before = std::fs::read_to_string(&path).expect("the file");
    assert!(before.contains(from), "{file} holds {from}");
    std::fs::write(&path, before.replace(from, to)).expect("the file can be changed");
    dir.display().to_string()
}

#[test]
fn verify_names_what_is_wrong() {
    let mut desk = Desk::new("wrong_", &["grid"]);
    let script = desk.prepare("first-chain");
    desk.program.start(&script);
    desk.program.await_log("Ctrl-C stops");
    let told = desk.generate(&["first-chain"], STEPS);
    assert!(told.contains(&format!("up to step {STEPS}")) && told.contains("rows/s"), "{told}");

    let well = desk.run(&["verify", "first-chain", "--lang", "zh"]);
    let shown = text(&well.stdout);
    assert_eq!(well.status.code(), Some(0), "{shown}\n{}", text(&well.stderr));
    for part in
        ["全部一致", "源库", "ODS", "DWD", "DWS", "ADS", "目标库", "fluss.grid.dws_region_alarms", "一次变更的用时"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("未到达") && !shown.contains("不一致"), "{shown}");

    // A row of a board is falsified, another is taken away, a third is made up.
    let boards = "wrong_grid_boards";
    postgres().sql(boards, "UPDATE region_board SET readings = 4711 WHERE region = '华东'");
    postgres().sql(boards, "DELETE FROM region_board WHERE region = '华北'");
    postgres().sql(boards, "INSERT INTO type_board VALUES ('风机', 1, 2, 0.5)");
    let wrong = desk.run(&["verify", "first-chain", "--lang", "en", "--timeout", "1"]);
    let shown = text(&wrong.stdout);
    assert_eq!(wrong.status.code(), Some(1), "{shown}");
    for part in [
        "region_board: 2 rows differ",
        "region = 华东 │ readings: source ",
        "here 4711",
        "missing here │ region = 华北",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(
        shown.contains("type_board: 1 row differ") && shown.contains("not in the source │ device_type = 风机"),
        "{shown}"
    );
    assert!(!shown.contains("a change on its way"), "nothing is timed where something is wrong: {shown}");

    // A layer that somebody wrote into.
    postgres().sql(boards, "DELETE FROM type_board WHERE device_type = '风机'");
    desk.program
        .query("INSERT INTO fluss.grid.ods_alarms VALUES (-1, 1, 3, '过载', TRUE, TIMESTAMP '2026-01-01 00:00:00')");
    let wrong = desk.run(&["verify", "first-chain", "--lang", "en", "--timeout", "1"]);
    let line = text(&wrong.stdout).lines().find(|line| line.contains("fluss.grid.ods_alarms")).map(str::to_owned);
    assert!(line.as_ref().is_some_and(|line| line.contains("WRONG")), "{line:?}");

    // Files that do not fit: file, line and what to do.
    let cases = [
        Wrong {
            folder: "query",
            change: ("expected.sql", "JOIN devices d ON r.device_id", "JOIN device d ON r.device_id"),
            says: &["expected.sql:7:24", "\"device\""],
        },
        Wrong {
            folder: "column",
            change: ("expected.sql", "AS overloads,", "AS overlords,"),
            says: &["expected.sql:", "overloads"],
        },
        Wrong {
            folder: "board",
            change: ("expected.sql", "l.overloads,", "l.overloads AS overlords,"),
            says: &["expected.sql:4", "`region_board`", "overlords"],
        },
        Wrong {
            folder: "mark",
            change: ("solution.toml", "active_kw + 1 ", "active_kw + 0 "),
            says: &["solution.toml", "does not reach any board"],
        },
    ];
    postgres().sql(boards, "DELETE FROM region_board");
    for Wrong { folder, change, says } in cases {
        let dir = copy(&desk.program, folder, change);
        if folder == "mark" {
            mend(&desk);
        }
        let wrong = desk.run(&["verify", "first-chain", "--dir", &dir, "--timeout", "1"]);
        let said = text(&wrong.stderr);
        assert_eq!(wrong.status.code(), Some(1), "{folder}: {said}\n{}", text(&wrong.stdout));
        for part in says {
            assert!(said.contains(part), "{folder}: {part}: {said}");
        }
    }
    assert_eq!(desk.program.interrupt(), Some(0), "{}", desk.program.log());
    let nobody = desk.run(&["verify", "first-chain"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", text(&nobody.stderr));
    let sink = desk.run(&["verify", "first-chain", "--sink-only", "--lang", "en"]);
    assert_eq!(sink.status.code(), Some(0), "{}", text(&sink.stdout));
    assert!(text(&sink.stdout).contains("the layers were not compared"), "{}", text(&sink.stdout));
}

/// Brings boards and layers of the first chain back to what the source says.
fn mend(desk: &Desk) {
    desk.program.query("DELETE FROM fluss.grid.ods_alarms WHERE alarm_id = -1");
    // Every row of the boards is written again where its ADS row changes.
    postgres().sql(
        "wrong_grid",
        "UPDATE readings SET active_kw = active_kw + 1, temperature_c = 20; UPDATE devices SET rated_kw = rated_kw + 1",
    );
    let settled = desk.run(&["verify", "first-chain", "--no-change"]);
    assert_eq!(settled.status.code(), Some(0), "{}", text(&settled.stdout));
}

#[test]
fn what_a_solution_lacks_is_said_before_anything_runs() {
    let desk = Desk::new("lacks_", &["grid"]);
    let output = desk.program.path("script.sql").display().to_string();
    let prepare = |dir: Option<&str>| {
        let fixed = ["solution", "prepare", "first-chain", "--size", "10", "--output", &output];
        let dir: Vec<&str> = dir.map(|dir| vec!["--dir", dir]).unwrap_or_default();
        let output = desk.run(&[&fixed, dir.as_slice()].concat());
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = {
        let output =
            desk.program.run(&["solution", "generate", "first-chain", "--source", &desk.source, "--steps", "1"]);
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("first-chain") && said.contains("gridhouse solution prepare first-chain"), "{said}");
    let cases = [
        Wrong {
            folder: "syntax",
            change: ("source.sql", "device_name TEXT NOT NULL", "device_name TXET NOT NULL"),
            says: &["source.sql:5:", "txet"],
        },
        Wrong {
            folder: "function",
            change: ("source.sql", "FUNCTION solution_step(", "FUNCTION solution_stop("),
            says: &["no function solution_step(integer, bigint)"],
        },
        Wrong {
            folder: "open",
            change: ("pipeline.sql", "'@SOURCE_HOST@'", "'@SOURCE_HOTS@'"),
            says: &["pipeline.sql:", "@SOURCE_HOTS@"],
        },
        Wrong {
            folder: "key",
            change: ("solution.toml", "size = 2000", "sise = 2000"),
            says: &["solution.toml:7:1", "unknown field `sise`"],
        },
    ];
    for Wrong { folder, change, says } in cases {
        let dir = copy(&desk.program, folder, change);
        let (code, said) = prepare(Some(&dir));
        assert_eq!(code, Some(1), "{folder}: {said}");
        for part in says {
            assert!(said.contains(part), "{folder}: {part}: {said}");
        }
    }
    assert!(!Path::new(&output).exists(), "no script was written");
    let own = desk.program.path("my-grid").display().to_string();
    assert_eq!(desk.program.run(&["solution", "export", "first-chain", "--output", &own]).status.code(), Some(0));
    let listed = desk.program.run(&["solution", "list", "--plain", "--dir", &own]);
    assert_eq!(text(&listed.stdout), "my-grid\tgrid\n", "a copy is called as its folder");
    let unknown = desk.program.run(&["solution", "prepare", "frist-chain", "--output", &output]);
    assert!(text(&unknown.stderr).contains("did you mean `first-chain`?"), "{}", text(&unknown.stderr));
    let nowhere = desk.program.run(&["solution", "prepare", "first-chain", "--output", &output]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", text(&nowhere.stderr));
    let (code, said) = prepare(None);
    assert_eq!(code, Some(0), "{said}");
    let missing = desk.program.run(&[
        "solution",
        "prepare",
        "first-chain",
        "--output",
        &output,
        "--sink",
        &desk.sink,
        "--source",
        &url("nobody_made_", ""),
    ]);
    assert!(text(&missing.stderr).contains("CREATE DATABASE nobody_made_grid;"), "{}", text(&missing.stderr));
}

#[test]
fn the_same_seed_and_steps_give_the_same_rows_however_often_the_generator_stops() {
    let state = |prefix: &str| {
        let tables = ["devices", "readings", "alarms"];
        let sql = tables
            .map(|t| format!("SELECT md5(string_agg(r::text, ',' ORDER BY r::text)) FROM {t} r"))
            .join(" UNION ALL ");
        postgres().sql(&format!("{prefix}grid"), &sql)
    };
    let once = Desk::new("once_", &["grid"]);
    once.prepare("first-chain");
    once.generate(&["first-chain"], "120");
    let pieces = Desk::new("pieces_", &["grid"]);
    for _ in 0..3 {
        // Prepared again, the source keeps its rows and its place.
        pieces.prepare("first-chain");
        pieces.generate(&["first-chain"], "40");
    }
    assert_eq!(state("once_"), state("pieces_"));
    let before = state("once_");
    once.generate(&["first-chain"], "20");
    assert_ne!(state("once_"), before, "the steps change something");
}
