//! What queries and inserts are bound to, as `EXPLAIN` shows it.

use crate::corpus::check;
use crate::house::{Given, House};

#[test]
fn plans_are_as_recorded() {
    check("plans.txt", |statement| House::furnished().plan(statement));
}

fn prints(scripts: &[&str]) -> Vec<u128> {
    let print = |script: &&str| match House::furnished().run(script).pop() {
        Some(Ok(Given::Insert(insert))) => gridhouse_sql::fingerprint_insert(&insert, &gridhouse_sql::table_identity),
        Some(Ok(Given::Query(plan))) => gridhouse_sql::fingerprint(&plan, &gridhouse_sql::table_identity),
        other => panic!("{script}: {other:?}"),
    };
    scripts.iter().map(print).collect()
}

#[test]
fn a_statement_keeps_its_identity() {
    let same = prints(&[
        "INSERT INTO small SELECT a, b, c FROM small WHERE a > 1 + 1",
        "insert into small -- again\n select s.a, b, `c` from default_catalog.default_database.small as s where (a > 2)",
        "USE default_database; INSERT INTO default_database.small SELECT * FROM (SELECT * FROM small WHERE a > 2)",
    ]);
    assert!(same.windows(2).all(|pair| pair[0] == pair[1]), "{same:x?}");
    let mut other = prints(&[
        "INSERT INTO small SELECT a, b, c FROM small WHERE a > 2",
        "INSERT INTO small SELECT a, b, c FROM small WHERE a > 3",
        "INSERT INTO small SELECT a, b, c FROM small WHERE a >= 2",
        "INSERT INTO small SELECT b, b, c FROM small WHERE a > 2",
        "INSERT INTO small SELECT a, 2, c FROM other WHERE a > 2",
        "INSERT INTO other SELECT a, b, c FROM small WHERE a > 2",
        "INSERT INTO small SELECT a, b, c FROM small /*+ OPTIONS('x' = 'y') */ WHERE a > 2",
        "SELECT a, b, c FROM small WHERE a > 2",
    ]);
    let count = other.len();
    other.sort_unstable();
    other.dedup();
    assert_eq!(other.len(), count, "different statements differ");
}

#[test]
fn an_identity_does_not_depend_on_addresses() {
    let table = |host: &str, port: &str, table: &str| {
        format!(
            "CREATE TABLE s (a INT PRIMARY KEY NOT ENFORCED) WITH ('connector' = 'postgres-cdc', 'hostname' = '{host}', 'port' = '{port}',
             'username' = 'u', 'password' = '{host}', 'database-name' = 'd', 'schema-name' = 'public', 'table-name' = '{table}');
             CREATE TABLE t (a INT PRIMARY KEY NOT ENFORCED) WITH ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://{host}:{port}/d',
             'table-name' = 't'); INSERT INTO t SELECT a FROM s"
        )
    };
    let texts = [table("a", "1", "x"), table("b", "2", "x"), table("a", "1", "y")];
    let prints = prints(&texts.each_ref().map(String::as_str));
    assert_eq!(prints[0], prints[1]);
    assert_ne!(prints[0], prints[2]);
}
