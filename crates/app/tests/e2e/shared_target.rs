//! Several tables of a source that one table here takes in: which rows came from which is not known any more when one is emptied.

use crate::faults::await_failure;
use crate::layers::{await_said, rows};
use crate::program::{Program, address, await_equal, database, postgres};

#[test]
fn a_table_that_is_truncated_beside_another_with_the_same_target_goes_on_after_what_the_message_says() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "shared_target");
    database(name);
    let mut script = "CREATE TABLE sites (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED);\n".to_owned();
    for (table, first) in [("north", 1), ("south", 1001)] {
        let ids = format!("generate_series({first}, {}) i", first + 99);
        cluster.sql(
            name,
            &format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, v text); INSERT INTO {table} SELECT i, '{table}' FROM {ids}"
            ),
        );
        script += &format!(
            "CREATE TEMPORARY TABLE {table} (id INT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'postgres-cdc', {}, \
             'database-name' = '{name}', 'schema-name' = 'public', 'table-name' = '{table}', 'slot.name' = '{name}_slot');\n\
             INSERT INTO sites SELECT * FROM {table};\n",
            address()
        );
    }
    let script = program.script("sites.sql", &script);
    program.start(&script);
    let sites = || program.query("SELECT id, v FROM sites");
    let await_both = || {
        let both = "SELECT id, v FROM north UNION ALL SELECT id, v FROM south";
        await_equal("the sites", sites, || rows(cluster, name, both));
    };
    await_both();

    let from = program.log().len();
    cluster.sql(name, "TRUNCATE north; UPDATE south SET v = 'moved' WHERE id = 1001");
    let told = await_failure(program, "sites");
    let truncated = "public.north was truncated at the source, but others write into its target too, so which rows to withdraw is not known";
    assert!(told.contains(truncated), "{told}");
    await_said(program, from, truncated);
    // The other table goes on, and nothing of what is there is taken away by guess.
    let states = "SELECT state, COUNT(*) FROM system.status.jobs GROUP BY state";
    assert_eq!(program.query(states), ["FAILED|1", "RUNNING|1"]);
    let moved = "SELECT COUNT(*) FROM sites WHERE v = 'moved'";
    await_equal("the other table", || program.query(moved), || vec!["1".to_owned()]);
    assert_eq!(program.query("SELECT COUNT(*) FROM sites WHERE v = 'north'"), ["100"]);
    cluster.sql(name, "INSERT INTO north VALUES (500, 'north'); DELETE FROM south WHERE id = 1002");
    let (_, rest) = told.split_once("type DELETE FROM ").unwrap_or_else(|| panic!("{told}"));
    let (table, rest) =
        rest.split_once(" WHERE … for the rows that came from it, then ").unwrap_or_else(|| panic!("{told}"));
    let start = rest.split([';', '\n']).next().unwrap_or_default();
    assert!(start.starts_with("START JOB "), "{told}");
    program.query(&format!("DELETE FROM {table} WHERE id < 1000"));
    program.query(start);
    await_both();
    cluster.sql(name, "UPDATE north SET v = 'again'; INSERT INTO north VALUES (501, 'north')");
    await_both();
    assert_eq!(program.query("SELECT DISTINCT state FROM system.status.jobs"), ["RUNNING"]);
    assert!(matches!(program.interrupt(), Some(0 | 3)), "{}", program.log());
}
