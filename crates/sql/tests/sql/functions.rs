//! Every expression of `tests/reference/functions` gives the type and the value that a real Flink gave, in two session zones,
//! as a constant and over columns.
//!
//! How the files are made and read: `tests/reference/functions.py`. What Flink refuses is refused here too, or noted for
//! `EXPLAIN PORTABILITY`, or told with a reason in the case file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use gridhouse_base::{Error, Result, SqlType, Value};
use gridhouse_expr::text::format_value;
use gridhouse_expr::{EvalContext, Expr};
use gridhouse_sql::ast::Statement;
use gridhouse_sql::{Binder, Plan, parse_script};

use crate::house::House;

/// 2024-03-05 14:07:09.123456 UTC.
const NOW: i64 = 1_709_647_629_123_456;

/// What an expression gives: its type and value, or its refusal.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Given { sql_type: String, value: String },
    Refused(String),
}

/// One recorded line.
struct Recorded {
    expression: String,
    /// In UTC and in Asia/Shanghai.
    answers: [Answer; 2],
}

/// A difference on purpose.
struct Difference {
    given: Option<Answer>,
}

fn folder() -> PathBuf {
    let own = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is");
    Path::new(&own).join("../../tests/reference/functions")
}

fn answer(sql_type: &str, value: &str) -> Answer {
    if sql_type.starts_with("error") {
        Answer::Refused(value.to_owned())
    } else {
        Answer::Given { sql_type: sql_type.to_owned(), value: value.to_owned() }
    }
}

fn recorded(path: &Path) -> Vec<Recorded> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [expression, sql_type, utc, rest @ ..] = fields.as_slice() else {
            panic!("{}: {line}", path.display());
        };
        let other = rest.first().unwrap_or(utc);
        Recorded { expression: (*expression).to_owned(), answers: [answer(sql_type, utc), answer(sql_type, other)] }
    };
    fs::read_to_string(path).expect("what was recorded can be read").lines().map(line).collect()
}

/// The differences on purpose of a case file, by expression.
fn differences(path: &Path) -> BTreeMap<String, Difference> {
    let mut found = BTreeMap::new();
    let mut next: Option<Difference> = None;
    for line in fs::read_to_string(path).expect("the case file can be read").lines().map(str::trim) {
        if let Some(reason) = line.strip_prefix("-- differs:") {
            assert!(!reason.trim().is_empty(), "{}: a difference without a reason", path.display());
            next = Some(Difference { given: None });
        } else if let Some(given) = line.strip_prefix("-- gives:") {
            let (sql_type, value) = given.trim().split_once(" | ").unwrap_or((given.trim(), ""));
            let difference = next.as_mut().unwrap_or_else(|| panic!("{}: `gives` goes with `differs`", path.display()));
            difference.given = Some(answer(sql_type, value));
        } else if !line.starts_with("--")
            && !line.is_empty()
            && let Some(difference) = next.take()
        {
            found.insert(line.to_owned(), difference);
        }
    }
    found
}

fn escaped(value: Option<String>) -> String {
    let escape =
        |value: String| value.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
    value.map_or_else(|| "\\N".to_owned(), escape)
}

/// What a `SELECT` of one expression is bound to.
struct Selected {
    expr: Expr,
    /// The type before anything was folded away.
    sql_type: SqlType,
    /// The columns that the input reads.
    columns: Vec<usize>,
    /// Whether something was noted for EXPLAIN PORTABILITY.
    noted: bool,
}

fn selected(plan: Plan, noted: bool) -> Selected {
    let sql_type = plan.schema().columns[0].sql_type.clone();
    let (expr, columns) = match plan {
        Plan::Project(mut project) => match *project.input {
            Plan::Scan(scan) => (project.exprs.remove(0), scan.columns),
            _ => (project.exprs.remove(0), Vec::new()),
        },
        Plan::Values(mut values) => (values.rows.remove(0).remove(0), Vec::new()),
        Plan::Scan(scan) => (Expr::column(0, sql_type.clone()), scan.columns),
        other => panic!("a SELECT of one expression is {other:?}"),
    };
    Selected { expr, sql_type, columns, noted }
}

/// The bound form of `SELECT …`.
fn bound(house: &House, select: &str, zone: Tz) -> Result<Selected> {
    let parsed = parse_script(select).next().expect("there is a statement")?;
    let Statement::Query(query) = &parsed.statement else { panic!("{select} is no query") };
    let binder = Binder::new(house, house.names.clone(), zone);
    let plan = binder.query(query)?;
    Ok(selected(plan, !parsed.portability.is_empty() || !binder.take_notes().is_empty()))
}

fn context(zone: Tz) -> EvalContext {
    EvalContext { now_micros: NOW, zone, seed: 7, first_row: 0 }
}

fn shown(error: &Error) -> Answer {
    Answer::Refused(format!("{error} | {}", error.remedy().unwrap_or("no hint")))
}

/// What the expression gives here, and whether it was noted.
fn given(expression: &str, zone: Tz) -> (Answer, bool) {
    let Selected { expr, sql_type, noted, .. } = match bound(&House::empty(), &format!("SELECT {expression}"), zone) {
        Ok(bound) => bound,
        Err(error) => return (shown(&error), false),
    };
    let answer = match expr.eval(&[], 1, &context(zone)) {
        Ok(array) => {
            let value = escaped(format_value(&array, 0, expr.kind(), zone));
            Answer::Given { sql_type: sql_type.to_string(), value }
        }
        Err(error) => shown(&error),
    };
    (answer, noted)
}

/// `expression` with names `c0`, `c1`, … for its texts and numbers, and those. What is part of a type, of an interval or of a
/// date stays; the rest that must stay (units, JSON paths) makes binding fail, and the expression is left out.
fn with_columns(expression: &str) -> (String, Vec<String>) {
    let (mut out, mut literals) = (String::new(), Vec::new());
    let mut rest = expression;
    let mut word = String::new();
    while let Some(c) = rest.chars().next() {
        let length = if c == '\'' {
            let mut end = 1;
            while let Some(at) = rest[end..].find('\'') {
                end += at + 1;
                if !rest[end..].starts_with('\'') {
                    break;
                }
                end += 1;
            }
            end
        } else if c.is_ascii_digit() {
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())
        } else if c.is_alphabetic() || c == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        let typed = ["DATE", "TIME", "TIMESTAMP", "TIMESTAMP_LTZ", "INTERVAL", "X", "x"].contains(&word.as_str());
        let sized = ["CHAR", "VARCHAR", "DECIMAL", "NUMERIC", "BINARY", "VARBINARY", "TIMESTAMP_LTZ"].iter().any(|t| {
            out.trim_end().ends_with(&format!("{t}(")) || out.contains(&format!("{t}(")) && out.ends_with(", ")
        });
        if (c == '\'' || c.is_ascii_digit()) && !typed && !sized && !after.starts_with(['e', 'E']) {
            out.push_str(&format!("c{}", literals.len()));
            literals.push(token.to_owned());
        } else {
            out.push_str(token);
        }
        if !token.trim().is_empty() {
            word = token.to_owned();
        }
        rest = after;
    }
    (out, literals)
}

/// What the expression gives in the first and last of three rows of columns with its literals, and NULL in between; `None`
/// where it cannot be written so, or has another type then.
fn over_columns(expression: &str, zone: Tz, sql_type: &SqlType) -> Option<Result<[String; 2]>> {
    let (rewritten, literals) = with_columns(expression);
    let mut house = House::empty();
    let values: Vec<Expr> = literals
        .iter()
        .map(|l| bound(&house, &format!("SELECT {l}"), zone).ok().map(|b| b.expr))
        .collect::<Option<_>>()?;
    let columns: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("c{i} {}", v.kind())).collect();
    if columns.is_empty() {
        return None;
    }
    house.run(&format!("CREATE TABLE t ({})", columns.join(", "))).pop()?.ok()?;
    let Selected { expr, columns: used, .. } = bound(&house, &format!("SELECT {rewritten} FROM t"), zone).ok()?;
    if expr.kind() != &sql_type.kind {
        return None;
    }
    let column = |i: &usize| {
        let Expr::Literal { value, sql_type } = &values[*i] else { return None };
        Some(Value::array_of(&[value, &Value::Null, value], &sql_type.kind))
    };
    let columns: Vec<_> = used.iter().map(column).collect::<Option<_>>()?;
    // The row of NULLs may be refused where the others are not; it is evaluated on its own first.
    let nulls: Vec<_> = columns.iter().map(|column| column.slice(1, 1)).collect();
    let evaluate = |columns: &[_], rows: usize| expr.eval(columns, rows, &context(zone));
    let alone = evaluate(&nulls, 1);
    let array = match evaluate(&columns, 3) {
        Ok(array) => array,
        Err(_) if alone.is_err() => return None,
        Err(error) => return Some(Err(error)),
    };
    Some(Ok([0, 2].map(|row| escaped(format_value(&array, row, expr.kind(), zone)))))
}

fn fits(recorded: &Answer, given: &Answer, noted: bool) -> bool {
    match (recorded, given) {
        (Answer::Refused(_), Answer::Refused(_)) => true,
        (Answer::Refused(_), Answer::Given { .. }) => noted,
        (Answer::Given { sql_type, value }, Answer::Given { sql_type: own_type, value: own }) => {
            sql_type == own_type && (value == own || value == "…")
        }
        (Answer::Given { .. }, Answer::Refused(_)) => false,
    }
}

#[test]
fn functions_answer_as_flink_does() {
    let only = std::env::var("FAMILY").ok();
    let (mut wrong, mut count, mut in_columns) = (Vec::new(), 0, 0);
    let mut families: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the case files can be listed")
        .map(|entry| entry.expect("a case file can be named").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    families.sort();
    for cases in families {
        let family = cases.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| *only != family) {
            continue;
        }
        let mut differences = differences(&cases);
        for line in recorded(&folder().join("expected").join(format!("{family}.tsv"))) {
            let expression = &line.expression;
            let difference = differences.remove(expression);
            for (zone, expected) in [Tz::UTC, Tz::Asia__Shanghai].into_iter().zip(&line.answers) {
                count += 1;
                let known = wrong.len();
                let (given, noted) = given(expression, zone);
                let same = fits(expected, &given, noted);
                match &difference {
                    Some(_) if same => wrong.push(format!("{family}: {expression}: does not differ any more")),
                    Some(Difference { given: Some(own) }) if fits(own, &given, false) => {}
                    Some(Difference { given: Some(own) }) => {
                        wrong.push(format!("{family}: {expression}\n  said  {own:?}\n  given {given:?}"));
                    }
                    Some(Difference { given: None }) => {}
                    None if same => {}
                    None => {
                        wrong.push(format!("{family}: {expression} in {zone}\n  Flink {expected:?}\n  given {given:?}"))
                    }
                }
                if wrong.len() > known {
                    break;
                }
                let Answer::Given { value, .. } = &given else { continue };
                let Ok(constant) = bound(&House::empty(), &format!("SELECT {expression}"), zone) else { continue };
                let expr = &constant.expr;
                match over_columns(expression, zone, expr.sql_type()) {
                    // The type of a column says less than that of a literal.
                    _ if !expr.is_deterministic() || expression.contains("TYPEOF") => {}
                    None => {}
                    Some(Ok(both)) if both.iter().all(|own| own == value) => in_columns += 1,
                    Some(other) => {
                        wrong.push(format!("{family}: {expression}\n  constant {value}\n  columns  {other:?}"))
                    }
                }
            }
        }
        for expression in differences.keys() {
            wrong.push(format!("{family}: {expression}: not recorded; run tests/reference/functions.py"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(only.is_some() || in_columns * 3 > count, "only {in_columns} of {count} were checked over columns");
}

#[test]
fn every_difference_is_documented() {
    let documented =
        fs::read_to_string(folder().join("../../../docs/functions.md")).expect("the documentation can be read");
    for entry in fs::read_dir(folder()).expect("the case files can be listed") {
        let path = entry.expect("a case file can be named").path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the case file can be read");
        for reason in text.lines().filter_map(|line| line.trim().strip_prefix("-- differs:")) {
            let reason = reason.trim();
            assert!(documented.contains(reason), "docs/functions.md lacks the difference: {reason}");
        }
    }
}

#[test]
fn every_case_is_recorded() {
    for entry in fs::read_dir(folder()).expect("the case files can be listed") {
        let path = entry.expect("a case file can be named").path();
        let Some(family) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".sql")) else { continue };
        let text = fs::read_to_string(&path).expect("the case file can be read");
        let cases: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--")).collect();
        let lines = recorded(&folder().join("expected").join(format!("{family}.tsv")));
        let known: Vec<&str> = lines.iter().map(|line| line.expression.as_str()).collect();
        assert_eq!(cases, known, "{family}: run tests/reference/functions.py CLUSTER_SH {family}");
    }
}
