//! What the sink's own database refuses while a chain runs: rules of the table, and rights that were taken back. Each is told
//! with its remedy, which heals when it is carried out; everything else goes on.

use gridhouse_link::testing::Cluster;

use crate::faults::{await_failure, await_sink, chain, prepared};
use crate::layers::statement;
use crate::program::{Program, await_equal, postgres};

/// What is set up at the sink, what it says of row 8, and what takes the rule back.
const RULES: [(&str, &str, &str); 4] = [
    (
        "ALTER TABLE copy ADD CONSTRAINT small CHECK (amount < 5000)",
        "new row for relation \"copy\" violates check constraint \"small\"",
        "ALTER TABLE copy DROP CONSTRAINT small",
    ),
    (
        "ALTER TABLE copy ALTER amount SET NOT NULL",
        "null value in column \"amount\" of relation \"copy\" violates not-null constraint",
        "ALTER TABLE copy ALTER amount DROP NOT NULL",
    ),
    (
        "CREATE TABLE regions AS SELECT DISTINCT region FROM copy; ALTER TABLE regions ADD PRIMARY KEY (region); \
         ALTER TABLE copy ADD CONSTRAINT known FOREIGN KEY (region) REFERENCES regions",
        "insert or update on table \"copy\" violates foreign key constraint \"known\"",
        "ALTER TABLE copy DROP CONSTRAINT known; DROP TABLE regions",
    ),
    (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.amount > 5000 THEN RAISE ''more than 5000 is not taken''; END IF; RETURN NEW; END'; \
         CREATE TRIGGER refuses BEFORE INSERT OR UPDATE ON copy FOR EACH ROW EXECUTE FUNCTION refuse()",
        "more than 5000 is not taken",
        "DROP TRIGGER refuses ON copy",
    ),
];

/// The rows around row 8 that were to be written in the same transaction.
fn neighbours(cluster: &Cluster, name: &str, table: &str) -> String {
    cluster.sql(name, &format!("SELECT id, region, amount FROM {table} WHERE id IN (7, 9) ORDER BY id"))
}

#[test]
fn a_row_that_breaks_a_rule_of_the_sinks_table_is_named_and_written_once_the_rule_is_mended() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "sink_rules");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(cluster, name);
    for (rule, refusal, mend) in RULES {
        cluster.sql(name, rule);
        // Row 8 breaks every rule; those beside it, in the same transaction, none.
        let before = neighbours(cluster, name, "copy");
        let breaks = if rule.contains("NOT NULL") { "amount = NULL" } else { "region = 'none', amount = 6000" };
        cluster.sql(
            name,
            &format!(
                "BEGIN; UPDATE orders SET amount = amount + 1 WHERE id IN (7, 9); UPDATE orders SET {breaks} WHERE id = 8; COMMIT"
            ),
        );
        let told = await_failure(program, "copy");
        assert!(
            told.contains("sink public.copy") && told.contains("row (id = 8): ") && told.contains(refusal),
            "{told}"
        );
        let remedy = "table \"public\".\"copy\" itself refuses the row: mend its rule there or the row in the query; then START JOB";
        assert!(told.contains(remedy), "{told}");
        assert_eq!(neighbours(cluster, name, "copy"), before, "nothing of the transaction stays");
        // The other sink of the same layers goes on.
        let board = || cluster.sql(name, "SELECT region, n, amount FROM board ORDER BY 1");
        await_equal("the board", board, || {
            cluster.sql(name, "SELECT region, count(*), sum(amount) FROM orders GROUP BY 1 ORDER BY 1")
        });
        assert_eq!(
            program.query("SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state"),
            ["FAILED|1", "RUNNING|3"]
        );
        cluster.sql(name, mend);
        program.query("START JOB 4");
        await_sink(cluster, name);
        cluster.sql(name, "UPDATE orders SET region = 'region-3', amount = 8 WHERE id = 8");
        await_sink(cluster, name);
    }
    // As the message also offers: the row is mended instead, at its source.
    cluster.sql(
        name,
        "ALTER TABLE copy ADD CONSTRAINT small CHECK (amount < 5000); UPDATE orders SET amount = 6000 WHERE id = 8",
    );
    await_failure(program, "copy");
    cluster.sql(name, "UPDATE orders SET amount = 8 WHERE id = 8");
    program.query("START JOB 4");
    await_sink(cluster, name);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}

#[test]
fn rights_that_are_taken_back_are_told_with_the_statement_that_gives_them() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "sink_rights");
    prepared(cluster, name);
    cluster.sql(
        name,
        "CREATE ROLE sink_rights_writer LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO sink_rights_writer; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON copy, board TO sink_rights_writer",
    );
    let script = chain(program, name, cluster.port(), cluster.port());
    let text = std::fs::read_to_string(&script).expect("the script is there");
    // The sinks come as the role, the source stays as it is.
    let as_role = |line: &str| match line.contains("'connector' = 'jdbc'") {
        true => {
            let (url, _) = line.split_once(", 'username'").expect("the sink names its user");
            let (_, table) = line.split_once("'table-name'").expect("the sink names its table");
            format!("{url}, 'username' = 'sink_rights_writer', 'password' = 'secret', 'table-name'{table}\n")
        }
        false => format!("{line}\n"),
    };
    let script = program.script("chain.sql", &text.lines().map(as_role).collect::<String>());
    program.start(&script);
    await_sink(cluster, name);

    cluster.sql(
        name,
        "REVOKE UPDATE ON copy FROM sink_rights_writer; UPDATE orders SET amount = amount + 1 WHERE id < 10",
    );
    let told = await_failure(program, "copy");
    assert!(told.contains("role 'sink_rights_writer' lacks UPDATE on table public.copy"), "{told}");
    cluster.sql(name, statement(&told, "GRANT SELECT"));
    program.query("START JOB 4");
    await_sink(cluster, name);

    // Without the right to move the commit nothing is written; it heals by itself.
    cluster.sql(
        name,
        "REVOKE UPDATE ON gridhouse_sink FROM sink_rights_writer; UPDATE orders SET amount = amount + 1 WHERE id < 20",
    );
    let waits = || program.query("SELECT error FROM system.status.sinks WHERE state = 'WAITING'").join("\n");
    let lacks = "role 'sink_rights_writer' lacks UPDATE on table public.gridhouse_sink";
    await_equal("the wait", || waits().contains(lacks), || true);
    cluster.sql(name, statement(&waits(), "GRANT SELECT"));
    await_sink(cluster, name);
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
    cluster.sql(name, "DROP OWNED BY sink_rights_writer CASCADE; DROP ROLE sink_rights_writer");
}
