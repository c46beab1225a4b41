//! The chain of `tests/reference/pipeline`, compared with what a real Fluss and Flink made of it, and under kill -9.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::random::Random;
use gridhouse_link::testing::{Cluster, SUPERUSER};

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

/// Beside the pipeline a log without a key, from made-up rows that are numbered without a gap to a table outside that is only
/// added to. There a row that is written twice stays twice, and one that is lost leaves a gap.
const EVENTS: &str = "
CREATE TEMPORARY TABLE events_source (n BIGINT, device INT, note VARCHAR(12)) WITH
  ('connector' = 'datagen', 'rows-per-second' = '100', 'fields.n.kind' = 'sequence', 'fields.n.start' = '1',
   'fields.n.end' = '1000000000');
CREATE TABLE fluss.shop.ods_events (n BIGINT, device INT, note VARCHAR(12));
CREATE TEMPORARY TABLE events_sink (n BIGINT, device INT, note VARCHAR(12)) WITH
  ('connector' = 'jdbc', 'url' = '@URL@', 'table-name' = 'events', 'username' = 'postgres', 'password' = 'postgres');
SET 'pipeline.name' = 'events';
INSERT INTO fluss.shop.ods_events SELECT * FROM events_source;
SET 'pipeline.name' = 'events_sink';
INSERT INTO events_sink SELECT * FROM fluss.shop.ods_events;
";

/// The pipeline with [`EVENTS`] beside it.
fn pipeline_with_events(program: &Program, source: (&Cluster, &str), sink: (&Cluster, &str)) -> PathBuf {
    let script = pipeline(program, source, sink);
    let text = std::fs::read_to_string(&script).expect("the script can be read");
    let url = format!("jdbc:postgresql://127.0.0.1:{}/{}", sink.0.port(), sink.1);
    sink.0.sql(sink.1, "CREATE TABLE events (n bigint, device int, note text)");
    program.script("pipeline.sql", &(text + &EVENTS.replace("@URL@", &url)))
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

/// The numbers of the rows that were only added have no gap and none twice, at whatever moment they are looked at.
fn assert_events_without_gap(sink: &Cluster, when: &str) {
    let doubled = "SELECT count(*), count(DISTINCT n), coalesce(min(n), 1), coalesce(max(n), 0) FROM events";
    let told = sink.sql("kill_sink", doubled);
    let numbers: Vec<&str> = told.trim().split('|').collect();
    let rows = numbers[0];
    assert_eq!(numbers, [rows, rows, "1", rows], "rows, different ones, the first and the last {when}");
}

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

/// Who is killed in a round.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Program,
    Source,
    Sink,
}

#[test]
fn kill_minus_nine_under_load_loses_and_repeats_nothing() {
    let kills = std::env::var("GRIDHOUSE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("GRIDHOUSE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
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
        assert_events_without_gap(&sink, &format!("after {victim:?} was killed in round {round}"));
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
    // The log goes on: what there is of it now must be outside in a moment, row by row.
    let last = program.query("SELECT MAX(n) FROM fluss.shop.ods_events").concat();
    let is_there = format!("SELECT count(*) > 0 FROM events WHERE n = {last}");
    await_equal("the events", || sink.sql("kill_sink", &is_there), || "t".to_owned());
    let rows = format!("SELECT n, device, note FROM events WHERE n <= {last}");
    let kept = program.query(&rows.replace("FROM events", "FROM fluss.shop.ods_events"));
    assert_eq!(kept.len().to_string(), last, "the log has each number once");
    assert_eq!(sorted_lines(&sink.sql("kill_sink", &rows)), kept);
    assert_events_without_gap(&sink, "in the end");
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
