//! A log without a key, from made-up rows that are numbered without a gap to a table outside that is only added to. There a row
//! that is written twice stays twice, and one that is lost leaves a gap.

use gridhouse_link::testing::Cluster;

use crate::program::{Program, await_equal, sorted_lines};

const EVENTS: &str = "
CREATE TEMPORARY TABLE events_source (n BIGINT, device INT, note VARCHAR(12)) WITH
  ('connector' = 'datagen', 'rows-per-second' = '100', 'fields.n.kind' = 'sequence', 'fields.n.start' = '1',
   'fields.n.end' = '1000000000');
CREATE TABLE IF NOT EXISTS ods_events (n BIGINT, device INT, note VARCHAR(12));
CREATE TEMPORARY TABLE events_sink (n BIGINT, device INT, note VARCHAR(12)) WITH
  ('connector' = 'jdbc', 'url' = '@URL@', 'table-name' = 'events', 'username' = 'postgres', 'password' = 'postgres');
SET 'pipeline.name' = 'events';
INSERT INTO ods_events SELECT * FROM events_source;
SET 'pipeline.name' = 'events_sink';
INSERT INTO events_sink SELECT * FROM ods_events;
";

/// The jobs from the made-up rows to the table of a server at `port`.
pub fn script(port: u16, database: &str) -> String {
    EVENTS.replace("@URL@", &format!("jdbc:postgresql://127.0.0.1:{port}/{database}"))
}

/// Makes the table outside.
pub fn table(sink: &Cluster, database: &str) {
    sink.sql(database, "CREATE TABLE events (n bigint, device int, note text)");
}

/// The numbers of the rows that were only added have no gap and none twice, at whatever moment they are looked at.
pub fn assert_without_gap(sink: &Cluster, database: &str, when: &str) {
    let doubled = "SELECT count(*), count(DISTINCT n), coalesce(min(n), 1), coalesce(max(n), 0) FROM events";
    let told = sink.sql(database, doubled);
    let numbers: Vec<&str> = told.trim().split('|').collect();
    let rows = numbers[0];
    assert_eq!(numbers, [rows, rows, "1", rows], "rows, different ones, the first and the last {when}");
}

/// Waits until what `log` holds now is outside, row by row, and nothing twice. It goes on meanwhile.
pub fn await_all(program: &Program, sink: &Cluster, database: &str, log: &str) {
    let last = program.query(&format!("SELECT MAX(n) FROM {log}")).concat();
    let is_there = format!("SELECT count(*) > 0 FROM events WHERE n = {last}");
    await_equal("the events", || sink.sql(database, &is_there), || "t".to_owned());
    let rows = format!("SELECT n, device, note FROM events WHERE n <= {last}");
    let kept = program.query(&rows.replace("FROM events", &format!("FROM {log}")));
    assert_eq!(kept.len().to_string(), last, "the log has each number once");
    assert_eq!(sorted_lines(&sink.sql(database, &rows)), kept);
    assert_without_gap(sink, database, "in the end");
}
