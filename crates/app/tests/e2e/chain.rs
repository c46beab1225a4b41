//! The chain of `tests/reference/pipeline`, compared with what a real Fluss and Flink made of it, and under kill -9.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_link::testing::{Cluster, SUPERUSER};

use crate::events;
use crate::program::{Program, await_equal, postgres, sorted_lines};

/// How often program, source and sink are killed each; the environment may ask for more.
const KILLS: u64 = 3;

fn reference(name: &str) -> String {
    let path = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let path = path.join("../../tests/reference/pipeline").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The recorded rows, values between `|`, in the wire protocol's words for booleans.
fn recorded(stage: &str, table: &str) -> Vec<String> {
    let text = reference(&format!("expected/{stage}/{table}.tsv"));
    let word = |value: &str| match value {
        "TRUE" => "t".to_owned(),
        "FALSE" => "f".to_owned(),
        "<NULL>" => String::new(),
        // PostgreSQL's wire format writes a whole double without point.
        other => other.strip_suffix(".0").unwrap_or(other).to_owned(),
    };
    let mut lines: Vec<String> =
        text.lines().map(|line| line.split('\t').map(word).collect::<Vec<_>>().join("|")).collect();
    lines.sort();
    lines
}

/// The reference pipeline over databases of its own: source, sink and script.
fn pipeline(program: &Program, source: (&Cluster, &str), sink: (&Cluster, &str)) -> PathBuf {
    let schema = reference("source.sql");
    let (head, rest) = schema.split_once("\\c source").expect("the schema connects to the source");
    let (source_schema, sink_schema) = rest.split_once("\\c sink").expect("the schema connects to the sink");
    assert!(head.contains("CREATE DATABASE source"), "the schema makes its databases");
    for ((cluster, name), schema) in [(source, source_schema), (sink, sink_schema)] {
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        cluster.sql(name, schema);
    }
    let text = reference("pipeline.sql")
        .replace("@PG_PORT@/sink'", &format!("{}/{}'", sink.0.port(), sink.1))
        .replace("@PG_PORT@", &source.0.port().to_string())
        .replace("@FLUSS_PORT@", "9123")
        .replace("'database-name' = 'source'", &format!("'database-name' = '{}'", source.1))
        .replace("orders_slot", &format!("{}_slot", source.1));
    assert!(text.contains(&format!("'password' = '{}'", SUPERUSER.1)), "the script has the cluster's password");
    program.script("pipeline.sql", &text)
}

const REPORT: &str = "SELECT region, orders, amount, paid_share FROM region_report";
const TRUTH: &str =
    "SELECT region, count(*), sum(amount)::numeric(20,2), sum((status = 'paid')::int)::float8 / count(*)
                     FROM orders GROUP BY region";

fn sink_rows(sink: &str) -> Vec<String> {
    sorted_lines(&postgres().sql(sink, REPORT))
}

/// The rows of the sink that is killed.
fn sink_rows_of(sink: &Cluster) -> Vec<String> {
    sorted_lines(&sink.sql("kill_sink", REPORT))
}

#[test]
fn the_pipeline_gives_the_rows_of_a_real_fluss_and_flink() {
    let mut program = Program::new();
    let script = pipeline(&program, (postgres(), "ref_source"), (postgres(), "ref_sink"));
    program.start(&script);
    let agree = |program: &Program, stage: &str, layers: &[&str]| {
        await_equal(stage, || sink_rows("ref_sink"), || recorded(stage, "region_report"));
        for layer in layers {
            assert_eq!(
                program.query(&format!("SELECT * FROM fluss.shop.{layer}")),
                recorded(stage, layer),
                "{stage} {layer}"
            );
        }
    };
    let all = ["ods_orders", "dwd_orders", "dws_region_status", "ads_region"];
    agree(&program, "0-start", &all);
    postgres().sql("ref_source", &reference("changes-1.sql"));
    agree(&program, "1-changes", &all);
    postgres().sql("ref_source", &reference("changes-2.sql"));
    agree(&program, "2-bulk", &all[2..]);
    for (layer, table) in [("ods_count", "ods_orders"), ("dwd_count", "dwd_orders")] {
        assert_eq!(program.query(&format!("SELECT COUNT(*) FROM fluss.shop.{table}")), recorded("2-bulk", layer));
    }
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

/// Random transactions of a living source, in one script.
fn load(random: &mut Random, round: u64) -> String {
    let mut sql = String::new();
    for i in 0..20 {
        let id = random.below(2_000) + 1;
        sql += "BEGIN;";
        match random.below(4) {
            0 => {
                let first = 100_000 + round * 10_000 + i * 100;
                sql += &format!(
                    "INSERT INTO orders SELECT {first} + i, i, 'region-' || i % 23, 'new', i + 0.5, now() FROM generate_series(1, {}) i;",
                    random.below(50) + 1
                );
            }
            1 => sql += &format!("DELETE FROM orders WHERE order_id BETWEEN {id} AND {};", id + random.below(5)),
            2 => {
                sql += &format!(
                    "UPDATE orders SET status = 'paid', amount = amount + 1 WHERE order_id % 97 = {};",
                    id % 97
                )
            }
            _ => sql += &format!("UPDATE orders SET region = 'region-{}' WHERE order_id = {id};", id % 29),
        }
        sql += "COMMIT;";
    }
    sql
}

/// The pipeline with [`events`](crate::events) beside it.
fn pipeline_with_events(program: &Program, source: (&Cluster, &str), sink: (&Cluster, &str)) -> PathBuf {
    let script = pipeline(program, source, sink);
    let text = std::fs::read_to_string(&script).expect("the script can be read");
    events::table(sink.0, sink.1);
    let beside = events::script(sink.0.port(), sink.1).replace(" ods_events", " fluss.shop.ods_events");
    program.script("pipeline.sql", &(text + &beside))
}

/// Every layer and the orders that it must come from, all columns, the same text on both sides.
const LAYERS: [(&str, &str); 4] = [
    (
        "SELECT order_id, customer_id, region, status, amount, DATE_FORMAT(updated_at, 'yyyy-MM-dd HH:mm:ss.SSS') FROM fluss.shop.ods_orders",
        "SELECT order_id, customer_id, region, status, amount, to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS.MS') FROM orders",
    ),
    (
        "SELECT order_id, region, status, amount, order_day, is_large FROM fluss.shop.dwd_orders",
        "SELECT order_id, region, status, amount, to_char(updated_at, 'YYYY-MM-DD'), amount > 500 FROM orders",
    ),
    (
        "SELECT region, status, orders, amount, large_orders FROM fluss.shop.dws_region_status",
        "SELECT region, status, count(*), sum(amount)::numeric(20,2), sum((amount > 500)::int) FROM orders GROUP BY 1, 2",
    ),
    ("SELECT region, orders, amount, paid_share FROM fluss.shop.ads_region", TRUTH),
];

/// A file in the directory that the server keeps for a slot. It survives kills of the server, and goes with the slot alone.
struct SlotMark(PathBuf);

impl SlotMark {
    fn on(cluster: &Cluster, slot: &str) -> Self {
        let directory = cluster.directory().join("data/pg_replslot").join(slot);
        await_equal("the slot", || directory.is_dir(), || true);
        let mark = directory.join("mark");
        std::fs::write(&mark, "").expect("the directory of the slot can be written");
        Self(mark)
    }
}

/// The number that a variable of the environment asks for. One that says something else is not taken for fewer kills than were
/// wanted.
fn asked(variable: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}', which is no number"))
}

/// Who is killed in a round.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Program,
    Source,
    Sink,
}

#[test]
fn kill_minus_nine_under_load_loses_and_repeats_nothing() {
    let kills = asked("GRIDHOUSE_KILLS", KILLS);
    assert!(kills > 0, "something is to be killed");
    let seed = asked("GRIDHOUSE_SEED", 1);
    println!("again: GRIDHOUSE_KILLS={kills} GRIDHOUSE_SEED={seed} cargo test -p gridhouse --test e2e kill_minus_nine");
    let mut random = Random::new(seed);
    let mut program = Program::new();
    // Servers that may lose nothing that they confirmed, as they are run in earnest.
    let (source, sink) = (Arc::new(Cluster::start(&["fsync = on"])), Cluster::start(&["fsync = on"]));
    let script = pipeline_with_events(&program, (&source, "kill_source"), (&sink, "kill_sink"));
    program.start(&script);
    await_equal("the first contents", || sink_rows_of(&sink), || sorted_lines(&source.sql("kill_source", TRUTH)));
    let slot = SlotMark::on(&source, "kill_source_slot");
    for round in 0..3 * kills {
        let victim = [Victim::Program, Victim::Source, Victim::Sink][round as usize % 3];
        let sql = load(&mut random, round);
        let pause = Duration::from_millis(random.below(1_500));
        let writing = source.clone();
        let writer = std::thread::spawn(move || {
            for statement in sql.split_inclusive("COMMIT;") {
                // Whether a statement came through is asked of the source alone, in the end.
                let _ = writing.try_sql("kill_source", statement);
            }
        });
        // The moment of the kill is what is drawn here, not something to wait for.
        std::thread::park_timeout(pause);
        match victim {
            Victim::Program => {
                program.kill();
                program.start(&script);
            }
            Victim::Source => {
                source.kill();
                source.up();
            }
            Victim::Sink => {
                sink.kill();
                sink.up();
            }
        }
        writer.join().expect("the load is written");
        events::assert_without_gap(&sink, "kill_sink", &format!("after {victim:?} was killed in round {round}"));
        if round % 30 == 29 || round + 1 == 3 * kills {
            await_equal(
                &format!("the sink after {} kills", round + 1),
                || sink_rows_of(&sink),
                || sorted_lines(&source.sql("kill_source", TRUTH)),
            );
        }
    }
    for (layer, truth) in LAYERS {
        assert_eq!(program.query(layer), sorted_lines(&source.sql("kill_source", truth)), "{layer}");
    }
    events::await_all(&program, &sink, "kill_sink", "fluss.shop.ods_events");
    // The slot is the one that was made first, and everything has been confirmed to it.
    assert!(slot.0.exists(), "the slot was made anew");
    let end = source.sql("kill_source", "SELECT pg_current_wal_lsn()");
    let confirmed = format!("SELECT slot_name, confirmed_flush_lsn >= '{end}', wal_status FROM pg_replication_slots");
    let state = || source.sql("kill_source", &confirmed);
    await_equal("what is confirmed", state, || "kill_source_slot|t|reserved".to_owned());
    // What the slot gives and what the sink holds was enough each time: nothing had to be read again or written anew.
    let log = program.log();
    for words in ["read again", "written again", "claimed anew", "is gone"] {
        assert!(!log.contains(words), "`{words}` is told:\n{log}");
    }
    assert_eq!(program.interrupt(), Some(0), "{log}");
}
