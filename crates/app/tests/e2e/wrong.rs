//! Wrong input: the message names file, line, column, cause and remedy; what ran before stays; the exit code is true.

use gridhouse_link::testing::SUPERUSER;

use crate::program::{Program, database, postgres, text};

/// A CDC source with some options replaced.
fn source(changes: &[(&str, &str)]) -> String {
    let port = postgres().port().to_string();
    let mut options = vec![
        ("connector", "postgres-cdc"),
        ("hostname", "127.0.0.1"),
        ("port", &port),
        ("username", SUPERUSER.0),
        ("password", SUPERUSER.1),
        ("database-name", "wrong"),
        ("schema-name", "public"),
        ("table-name", "t"),
        ("slot.name", "wrong_slot"),
    ];
    for (key, value) in changes {
        match options.iter_mut().find(|(known, _)| known == key) {
            Some(option) => option.1 = value,
            None => options.push((key, value)),
        }
    }
    options.iter().map(|(key, value)| format!("'{key}' = '{value}'")).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_is_wrong_with_a_source_or_sink_is_said_with_its_remedy() {
    database("wrong");
    postgres().sql(
        "wrong",
        "CREATE TABLE t (id bigint PRIMARY KEY, v text); CREATE TABLE nokey (id bigint, v text); CREATE TABLE plain (id bigint, v text)",
    );
    let program = Program::new();
    let columns = "id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED";
    let run = |columns: &str, options: &str, insert: &str| {
        let script = format!(
            "CREATE TABLE IF NOT EXISTS ods ({columns_of_ods});\nCREATE TEMPORARY TABLE outside ({columns}) WITH ({options});\n{insert}\n",
            columns_of_ods = "id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED"
        );
        let path = program.script("wrong.sql", &script);
        let output = program.run(&["run", "-f", &path.display().to_string()]);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let read = "INSERT INTO ods SELECT * FROM outside;";
    let write = "INSERT INTO outside SELECT * FROM ods;";
    let url = format!("jdbc:postgresql://127.0.0.1:{}/wrong", postgres().port());
    let sink = |table: &str, url: &str| {
        format!(
            "'connector' = 'jdbc', 'url' = '{url}', 'table-name' = '{table}', 'username' = '{}', 'password' = '{}'",
            SUPERUSER.0, SUPERUSER.1
        )
    };
    let cases: Vec<(&str, String, &str, &[&str])> = vec![
        (columns, source(&[("password", "not this")]), read, &["password"]),
        (columns, source(&[("database-name", "wrnog")]), read, &["wrnog"]),
        (columns, source(&[("table-name", "tt")]), read, &["tt"]),
        (columns, source(&[("tabel-name", "t")]), read, &["tabel-name", "table-name"]),
        ("id BIGINT, w STRING, PRIMARY KEY (id) NOT ENFORCED", source(&[]), read, &["w"]),
        (columns, source(&[("table-name", "nokey")]), read, &["REPLICA IDENTITY"]),
        (
            "id BIGINT, v BYTES, PRIMARY KEY (id) NOT ENFORCED",
            source(&[]),
            "INSERT INTO ods SELECT id, CAST(v AS STRING) FROM outside;",
            &["v"],
        ),
        (columns, sink("missing", &url), write, &["missing", "CREATE TABLE"]),
        (columns, sink("plain", &url), write, &["plain"]),
        (columns, sink("t", &url.replace("/wrong", "/nowhere")), write, &["nowhere"]),
        (columns, sink("t", "jdbc:mysql://127.0.0.1/x"), write, &["jdbc:postgresql"]),
    ];
    for (columns, options, insert, parts) in cases {
        let (code, out, err) = run(columns, &options, insert);
        assert!(matches!(code, Some(1 | 4)), "{options}: exit {code:?}\n{out}\n{err}");
        for part in parts.iter().copied().chain(["wrong.sql:3:"]) {
            assert!(err.contains(part), "{options}\nlacks `{part}`:\n{err}");
        }
        assert!(!err.contains("not this"), "a password is shown: {err}");
        assert!(out.contains("CREATE TEMPORARY TABLE outside"), "what ran before is reported: {out}");
    }
}

#[test]
fn wrong_statements_name_their_place() {
    let program = Program::new();
    let cases = [
        ("CREATE TABLE a (id BIGINT);\nSELECT idd FROM a;\n", "2:8"),
        ("CREATE TABLE a (id BIGINT);\n\nINSERT INTO a VALUES (1, 2);\n", "3:"),
        ("CREATE TABLE a (id BIGINT);\nSELECT * FROM a WHERE id = 'x' AND", "2:"),
        ("CREATE TABLE a (id BIGINT);\nSELECT a.id FROM a JOIN a b ON a.id = b.id WHERE id = 1;\n", "2:50"),
        ("CREATE TABLE a (id BIGINT);\nCREATE TABLE b (order BIGINT);\n", "2:17"),
    ];
    for (script, place) in cases {
        let path = program.script("bad.sql", script);
        let output = program.run(&["run", "-f", &path.display().to_string()]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{script}\n{err}");
        assert!(err.contains(&format!("bad.sql:{place}")), "{script}\nis not placed at {place}:\n{err}");
    }
    // What ran before stays.
    let kept = program.run(&["run", "-e", "SELECT COUNT(*) FROM a;"]);
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept.stderr));
}

#[test]
fn a_server_without_logical_decoding_is_told_how() {
    let cluster = gridhouse_link::testing::Cluster::start(&["wal_level = replica"]);
    cluster.sql("postgres", "CREATE TABLE t (id bigint PRIMARY KEY)");
    let program = Program::new();
    let script = format!(
        "CREATE TABLE ods (id BIGINT, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TEMPORARY TABLE s (id BIGINT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'postgres-cdc', 'hostname' = '127.0.0.1',
           'port' = '{}', 'username' = '{}', 'password' = '{}', 'database-name' = 'postgres', 'schema-name' = 'public',
           'table-name' = 't', 'slot.name' = 's');
         INSERT INTO ods SELECT * FROM s;",
        cluster.port(),
        SUPERUSER.0,
        SUPERUSER.1
    );
    let output = program.run(&["run", "-e", &script]);
    let err = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 4)), "{err}");
    assert!(err.contains("wal_level") && err.contains("ALTER SYSTEM SET wal_level"), "{err}");
}
