//! Scripts as Flink's users write them, and what a shell asks of a text.

use gridhouse_base::Position;
use gridhouse_sql::ast::{DropKind, Explain, Show, Statement};
use gridhouse_sql::{Parsed, is_complete, keywords, parse_script, redact};

use crate::house::shown;

fn all(text: &str) -> Vec<Parsed> {
    parse_script(text).map(|parsed| parsed.unwrap_or_else(|error| panic!("{text}\n{}", shown(&error)))).collect()
}

fn one(text: &str) -> Statement {
    let mut parsed = all(text);
    assert_eq!(parsed.len(), 1, "{text}");
    parsed.remove(0).statement
}

#[test]
fn statements_know_their_text_and_place() {
    let parsed = all("-- 注释 ; '\nSELECT 1;\n\n  /* 中文 ' */ SELECT `城市` FROM 表格 ;;");
    let texts: Vec<&str> = parsed.iter().map(|parsed| parsed.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 1", "SELECT `城市` FROM 表格"]);
    assert_eq!(parsed[1].position, Position { line: 4, column: 14 });
}

#[test]
fn settings_need_no_quotes() {
    let text = "SET execution.checkpointing.interval = 10s; SET 'a.b' = 'c;d'; SET x = hdfs:/a/b-c_1 ; SET; RESET; RESET a.b; RESET 'a.b';";
    let pair = |statement: &Statement| match statement {
        Statement::Set(Some(pair)) => format!("{}={}", pair.key, pair.value),
        Statement::Set(None) => "set".into(),
        Statement::Reset(key) => format!("reset {}", key.clone().unwrap_or_default()),
        other => format!("{other:?}"),
    };
    let pairs: Vec<String> = all(text).iter().map(|parsed| pair(&parsed.statement)).collect();
    let expected = [
        "execution.checkpointing.interval=10s",
        "a.b=c;d",
        "x=hdfs:/a/b-c_1",
        "set",
        "reset ",
        "reset a.b",
        "reset a.b",
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn an_open_comment_ends_the_script() {
    let text = "SELECT 1;\n/* and so on\nSELECT 2;";
    let mut script = parse_script(text);
    assert_eq!(script.by_ref().filter(Result::is_ok).count(), 1);
    let notices = script.notices();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].at, Position { line: 2, column: 1 });
}

#[test]
fn statements_before_an_error_are_delivered() {
    let mut script = parse_script("SELECT 1; SELECT FROM; SELECT 2;");
    assert!(script.next().is_some_and(|parsed| parsed.is_ok()));
    assert!(script.next().is_some_and(|parsed| parsed.is_err()));
    assert!(script.next().is_none());
}

#[test]
fn statement_sets_have_two_spellings() {
    for text in [
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; INSERT INTO b SELECT CASE WHEN TRUE THEN 1 END; END;",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END;",
        "EXECUTE STATEMENT SET\nBEGIN\n  INSERT INTO a SELECT 1;\n  INSERT INTO b SELECT 2;\nEND",
    ] {
        let Statement::StatementSet(inserts) = one(text) else { panic!("{text}") };
        assert_eq!(inserts.len(), 2);
        assert!(inserts[0].text.starts_with("INSERT INTO a"));
    }
}

#[test]
fn small_statements() {
    assert!(matches!(one("USE CATALOG fluss"), Statement::UseCatalog(name) if name.name == "fluss"));
    assert!(matches!(one("USE fluss.shop"), Statement::Use(name) if name.parts.len() == 2));
    assert!(
        matches!(one("SHOW TABLES FROM a.b NOT LIKE 'x%'"), Statement::Show(Show::Tables { database: Some(_), like: Some(like) })
        if !like.shows("xyz") && like.shows("abc"))
    );
    assert!(matches!(one("SHOW DATABASES IN c"), Statement::Show(Show::Databases { catalog: Some(_), like: None })));
    assert!(matches!(one("show jobs"), Statement::Show(Show::Jobs)));
    assert!(matches!(one("SHOW CREATE TABLE a.b.c"), Statement::Show(Show::CreateTable(_))));
    assert!(matches!(one("DESC t"), Statement::Describe(_)));
    assert!(
        matches!(one("DROP TEMPORARY VIEW IF EXISTS v"), Statement::Drop(drop) if drop.temporary && drop.kind == DropKind::View)
    );
    assert!(
        matches!(one("DROP DATABASE IF EXISTS c.d CASCADE"), Statement::Drop(drop) if drop.cascade && drop.if_exists)
    );
    assert!(
        matches!(one("STOP JOB 'a-b' WITH SAVEPOINT"), Statement::StopJob(stop) if stop.job.name == "a-b" && stop.savepoint)
    );
    assert!(matches!(one("START JOB ods"), Statement::StartJob(job) if job.name == "ods"));
    assert!(matches!(one("DROP JOB IF EXISTS 7"), Statement::DropJob { if_exists: true, .. }));
    assert!(matches!(one("REPLACE JOB dwd AS INSERT INTO t SELECT 1"), Statement::ReplaceJob { job: Some(_), .. }));
    assert!(matches!(one("REPLACE JOB INSERT INTO t SELECT 1"), Statement::ReplaceJob { job: None, .. }));
    assert!(matches!(one("EXPLAIN SELECT 1"), Statement::Explain(Explain::Plan(_))));
    assert!(matches!(one("EXPLAIN PLAN FOR INSERT INTO t SELECT 1"), Statement::Explain(Explain::Plan(_))));
    assert!(matches!(one("EXPLAIN CHANGELOG_MODE, PLAN_ADVICE SELECT 1"), Statement::Explain(Explain::Plan(_))));
    assert!(matches!(one("EXPLAIN PORTABILITY SELECT 1"), Statement::Explain(Explain::Portability(_))));
    assert!(matches!(one("EXPLAIN ANALYZE JOB dws"), Statement::Explain(Explain::AnalyzeJob(_))));
    assert!(matches!(one("EXPLAIN STATEMENT SET BEGIN INSERT INTO a SELECT 1; END"), Statement::Explain(_)));
    assert!(matches!(one("TRUNCATE TABLE t"), Statement::Truncate(_)));
    assert!(matches!(one("CHECK TABLE a.b.t"), Statement::Check(Some(_))));
    assert!(matches!(one("CHECK TABLES"), Statement::Check(None)));
    let Statement::CreateCatalog(catalog) =
        one("CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = 'somewhere:9123')")
    else {
        panic!("a catalog")
    };
    assert_eq!(catalog.options[1].value, "somewhere:9123");
}

#[test]
fn a_shell_waits_for_the_end() {
    for complete in [
        "",
        "  -- only a comment",
        "SELECT 1;",
        "SELECT ';' ;",
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;",
        "SELECT \"x\";",
    ] {
        assert!(is_complete(complete), "{complete}");
    }
    for open in [
        "SELECT 1",
        "SELECT 1; SELECT",
        "SELECT 'a;",
        "SELECT `a;",
        "SELECT 1; /* a",
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1;",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE WHEN TRUE THEN 1 END;",
    ] {
        assert!(!is_complete(open), "{open}");
    }
}

#[test]
fn what_flink_would_reject_is_noted() {
    let notes = |text: &str| {
        all(text)[0].portability.iter().map(|note| format!("{} {}", note.at, note.message)).collect::<Vec<_>>()
    };
    assert_eq!(notes("SELECT a FROM t WHERE a <> 1"), Vec::<String>::new());
    assert_eq!(notes("SELECT a FROM t WHERE a != 1"), ["1:25 Flink writes <> for !="]);
    assert_eq!(notes("SELECT value FROM t"), ["1:8 `value` is reserved in Flink: write it in back-quotes"]);
    assert_eq!(notes("SELECT `value` FROM t"), Vec::<String>::new());
    let text = "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)";
    assert_eq!(notes(text), ["1:26 Flink has no ON DUPLICATE KEY UPDATE: INSERT INTO a table with a key is an upsert"]);
}

#[test]
fn secrets_are_redacted() {
    let text =
        "CREATE TABLE t (a INT) WITH ('connector' = 'jdbc', 'password' = 'it''s 秘密', 'url' = 'x') -- 'password'";
    assert_eq!(
        redact(text),
        "CREATE TABLE t (a INT) WITH ('connector' = 'jdbc', 'password' = '****', 'url' = 'x') -- 'password'"
    );
}

#[test]
fn keywords_can_be_completed() {
    let words = keywords();
    assert!(words.is_sorted());
    assert!(["SELECT", "WATERMARK", "JOBS", "ENFORCED"].iter().all(|word| words.contains(word)));
}
