//! What the layers and sinks of [`chain`](crate::faults::chain) hold beside their source, to the row and column, and which rows of
//! the sinks were written.

use std::collections::BTreeMap;

use gridhouse_link::testing::Cluster;

use crate::faults::await_sink_of;
use crate::program::{Program, await_equal, sorted_lines};

/// Notes from now on which rows of the sinks are written (tables, and the columns that name their rows): what is compared and equal
/// must not be.
pub fn note_writes(sink: &Cluster, name: &str, tables: &[(&str, &str)]) {
    sink.sql(
        name,
        "CREATE TABLE writes (what text); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN \
           INSERT INTO writes VALUES (TG_TABLE_NAME || '' '' || (to_jsonb(COALESCE(NEW, OLD)) ->> TG_ARGV[0])); \
           RETURN NULL; END'",
    );
    for (table, column) in tables {
        let each = format!("ON {table} FOR EACH ROW EXECUTE FUNCTION note('{column}')");
        sink.sql(name, &format!("CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE {each}"));
    }
}

/// The sinks of [`chain`](crate::faults::chain), for [`note_writes`].
pub const SINKS: [(&str, &str); 2] = [("copy", "id"), ("board", "region")];

/// The rows of the sinks that were written since the last call, and how often each.
pub fn writes(sink: &Cluster, name: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for what in sink.sql(name, "DELETE FROM writes RETURNING what").lines() {
        *counts.entry(what.to_owned()).or_default() += 1;
    }
    counts
}

/// These rows of `copy` and these regions of `board`, each written once.
pub fn each_once(ids: impl IntoIterator<Item = u32>, regions: &[&str]) -> BTreeMap<String, usize> {
    let rows = ids.into_iter().map(|id| format!("copy {id}"));
    rows.chain(regions.iter().map(|region| format!("board {region}"))).map(|what| (what, 1)).collect()
}

/// Rows of a query at a server, as [`Program::query`] gives its own.
pub fn rows(cluster: &Cluster, name: &str, sql: &str) -> Vec<String> {
    sorted_lines(&cluster.sql(name, sql))
}

/// What is asked of each layer of [`chain`](crate::faults::chain), and of its source.
pub const LAYERS: [(&str, &str); 2] = [
    ("SELECT id, region, amount FROM ods", "SELECT id, region, amount FROM orders"),
    ("SELECT region, n, amount FROM dws", "SELECT region, count(*), sum(amount) FROM orders GROUP BY 1"),
];

/// Waits until the sinks hold what the source says; the layers then do too, since a sink gets what is durable in them.
pub fn await_layers(program: &Program, source: &Cluster, sink: &Cluster, name: &str) {
    await_sink_of(source, sink, name);
    for (layer, truth) in LAYERS {
        assert_eq!(program.query(layer), rows(source, name, truth), "{layer}");
    }
}

/// Waits until the program has said `words` behind the first `from` bytes of its log; gives the line.
pub fn await_said(program: &Program, from: usize, words: &str) -> String {
    let line = || program.log()[from..].lines().find(|line| line.contains(words)).map(str::to_owned);
    await_equal(&format!("`{words}`\n{}", program.log()), || line().is_some(), || true);
    line().unwrap_or_default()
}

/// The text between two others of a message.
pub fn between<'a>(told: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = told.split_once(before).unwrap_or_else(|| panic!("`{before}` is not in {told}"));
    rest.split_once(after).unwrap_or_else(|| panic!("`{after}` is not in {told}")).0
}

/// The statement that a message tells to type.
pub fn statement<'a>(told: &'a str, begins: &str) -> &'a str {
    let at = told.find(begins).unwrap_or_else(|| panic!("no `{begins}` in: {told}"));
    told[at..].split([';', '\n']).next().unwrap_or_default()
}
