//! The tidy plan gives the rows of the plan that was bound: both are computed by the plainest interpreter there is, over small
//! tables full of NULLs and duplicates.

use std::cmp::Ordering;
use std::sync::Arc;

use chrono_tz::Tz;
use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{Column, Result, Schema, TypeKind, Value};
use gridhouse_expr::{AggregateCall, AggregateFunction, EvalContext, Expr};

use super::optimize;
use crate::ast::Statement;
use crate::binder::Binder;
use crate::catalog::{Catalog, NameContext, Relation};
use crate::plan::{JoinKey, JoinKind, Plan, Rank, SetKind, SortKey};
use crate::script::parse_script;

type Row = Vec<Value>;

/// `t (a, b, s)`, `u (a, d, s)`, `k (id NOT NULL key, a)`.
struct Tables;

fn rows(table: &str) -> Vec<Row> {
    let int = |n: i64| if n < 0 { Value::Null } else { Value::Integer(n) };
    let text = |t: &str| if t.is_empty() { Value::Null } else { Value::Text(t.into()) };
    match table {
        "t" => [(1, 10, "x"), (1, 10, "x"), (2, 20, ""), (-1, 30, "y"), (3, -1, "z"), (4, 40, "y"), (-1, -1, "")]
            .map(|(a, b, s)| vec![int(a), int(b), text(s)])
            .into(),
        "u" => [(1, 1, "x"), (2, 5, "y"), (2, 6, ""), (-1, 7, "x"), (5, -1, "z"), (4, 40, "y")]
            .map(|(a, d, s)| vec![int(a), int(d), text(s)])
            .into(),
        _ => [(1, 1), (2, 1), (3, -1), (10, 4), (40, 2)].map(|(id, a)| vec![int(id), int(a)]).into(),
    }
}

impl Catalog for Tables {
    fn relation(&self, path: &ObjectPath) -> Result<Option<Relation>> {
        let (columns, primary_key) = match path.object.as_str() {
            "t" => (vec![("a", TypeKind::Int), ("b", TypeKind::Int), ("s", TypeKind::STRING)], vec![]),
            "u" => (vec![("a", TypeKind::Int), ("d", TypeKind::BigInt), ("s", TypeKind::STRING)], vec![]),
            "k" => (vec![("id", TypeKind::Int), ("a", TypeKind::Int)], vec![0]),
            _ => return Ok(None),
        };
        let typed = |(i, (name, kind)): (usize, (&str, TypeKind))| {
            let sql_type = if primary_key.contains(&i) { kind.not_null() } else { kind.nullable() };
            Column::new(name, sql_type)
        };
        let schema = Schema::new(columns.into_iter().enumerate().map(typed).collect());
        let column_kinds = vec![ColumnKind::Physical; schema.len()];
        Ok(Some(Relation::Table(Arc::new(TableDef {
            path: path.clone(),
            schema,
            column_kinds,
            primary_key,
            partitioned_by: vec![],
            watermark: None,
            options: Default::default(),
            comment: None,
        }))))
    }

    fn catalogs(&self) -> Vec<String> {
        vec!["c".into()]
    }

    fn databases(&self, _: &str) -> Option<Vec<String>> {
        Some(vec!["d".into()])
    }

    fn relations(&self, _: &str, _: &str) -> Option<Vec<String>> {
        Some(vec!["t".into(), "u".into(), "k".into()])
    }
}

fn evaluate(expr: &Expr, row: &Row, schema: &[Column]) -> Value {
    let context = EvalContext { now_micros: 0, zone: Tz::UTC, seed: 0, first_row: 0 };
    let columns: Vec<_> = row.iter().zip(schema).map(|(value, c)| value.to_array(&c.sql_type.kind, 1)).collect();
    let array = expr.eval(&columns, 1, &context).expect("the expressions of the tests do not fail");
    Value::from_array(&array, 0, expr.kind())
}

fn holds(expr: &Expr, row: &Row, schema: &[Column]) -> bool {
    evaluate(expr, row, schema) == Value::Boolean(true)
}

fn run(plan: &Plan) -> Vec<Row> {
    match plan {
        Plan::Scan(node) => {
            let all = rows(&node.table.path.object);
            all.into_iter().map(|row| node.columns.iter().map(|&i| row[i].clone()).collect()).collect()
        }
        Plan::Values(node) => {
            node.rows.iter().map(|row| row.iter().map(|expr| evaluate(expr, &vec![], &[])).collect()).collect()
        }
        Plan::Filter(node) => {
            let schema = &node.input.schema().columns;
            run(&node.input).into_iter().filter(|row| holds(&node.predicate, row, schema)).collect()
        }
        Plan::Project(node) => {
            let schema = &node.input.schema().columns;
            let project = |row: Row| node.exprs.iter().map(|expr| evaluate(expr, &row, schema)).collect();
            run(&node.input).into_iter().map(project).collect()
        }
        Plan::UnionAll(node) => node.inputs.iter().flat_map(run).collect(),
        Plan::Aggregate(node) => {
            let mut groups: Vec<(Row, Vec<Row>)> = if node.grand_total { vec![(vec![], vec![])] } else { vec![] };
            for row in run(&node.input) {
                let key: Row = node.keys.iter().map(|&i| row[i].clone()).collect();
                match groups.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, members)) => members.push(row),
                    None => groups.push((key, vec![row])),
                }
            }
            let result = |(key, members): (Row, Vec<Row>)| {
                key.into_iter().chain(node.calls.iter().map(|call| aggregate(call, &members))).collect()
            };
            groups.into_iter().map(result).collect()
        }
        Plan::Join(node) => {
            let (left, right) = (run(&node.left), run(&node.right));
            let schema: Vec<Column> =
                node.left.schema().columns.iter().chain(&node.right.schema().columns).cloned().collect();
            let meet = |l: &Row, r: &Row| {
                let both: Row = l.iter().chain(r).cloned().collect();
                let equal = |key: &JoinKey| l[key.left] == r[key.right] && (key.null_safe || !l[key.left].is_null());
                node.keys.iter().all(equal) && node.residual.as_ref().is_none_or(|expr| holds(expr, &both, &schema))
            };
            let nulls = |plan: &Plan| vec![Value::Null; plan.schema().len()];
            let mut out = Vec::new();
            let mut met = vec![false; right.len()];
            for l in &left {
                let partners: Vec<usize> = (0..right.len()).filter(|&i| meet(l, &right[i])).collect();
                partners.iter().for_each(|&i| met[i] = true);
                match node.kind {
                    JoinKind::Semi if !partners.is_empty() => out.push(l.clone()),
                    JoinKind::Anti if partners.is_empty() => out.push(l.clone()),
                    JoinKind::Semi | JoinKind::Anti => {}
                    JoinKind::Left | JoinKind::Full if partners.is_empty() => {
                        out.push([l.clone(), nulls(&node.right)].concat());
                    }
                    _ => out.extend(partners.iter().map(|&i| [l.clone(), right[i].clone()].concat())),
                }
            }
            if matches!(node.kind, JoinKind::Right | JoinKind::Full) {
                let alone = right.iter().zip(&met).filter(|(_, met)| !**met);
                out.extend(alone.map(|(r, _)| [nulls(&node.left), r.clone()].concat()));
            }
            out
        }
        Plan::Sort(node) => run(&node.input),
        Plan::SetOperation(node) => {
            let mut right = run(&node.right);
            let mut out: Vec<Row> = Vec::new();
            for row in run(&node.left) {
                let partner = right.iter().position(|other| *other == row);
                if !node.all {
                    let kept = partner.is_some() == (node.kind == SetKind::Intersect);
                    if kept && !out.contains(&row) {
                        out.push(row);
                    }
                    continue;
                }
                if let Some(partner) = partner {
                    right.remove(partner);
                }
                if partner.is_some() == (node.kind == SetKind::Intersect) {
                    out.push(row);
                }
            }
            out
        }
        Plan::Rank(node) => ranked(node),
        Plan::Limit(node) => {
            let (input, order) = match node.input.as_ref() {
                Plan::Sort(sort) => (run(&sort.input), sort.keys.as_slice()),
                other => (run(other), [].as_slice()),
            };
            first(input, order, node.offset, node.fetch).into_iter().map(|(_, row)| row).collect()
        }
        Plan::Unnest(_) | Plan::Probe(_) | Plan::Lookup(_) => unreachable!("no query of the tests has one"),
    }
}

fn ranked(node: &Rank) -> Vec<Row> {
    let mut partitions: Vec<(Row, Vec<Row>)> = Vec::new();
    for row in run(&node.input) {
        let key: Row = node.partition.iter().map(|&i| row[i].clone()).collect();
        match partitions.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(row),
            None => partitions.push((key, vec![row])),
        }
    }
    let shown = |(place, mut row): (usize, Row)| {
        row.extend(node.rank.then(|| Value::Integer(place as i64 + 1)));
        row
    };
    let places = |(_, members)| first(members, &node.order, node.offset, node.limit).into_iter().map(shown);
    partitions.into_iter().flat_map(places).collect()
}

/// Rows with their places, in order; queries of the tests order by all that they show.
fn first(mut rows: Vec<Row>, order: &[SortKey], offset: u64, limit: Option<u64>) -> Vec<(usize, Row)> {
    let compare = |a: &Value, b: &Value, key: &SortKey| {
        let number = |value: &Value| if let Value::Integer(n) = value { *n } else { 0 };
        let nulls = b.is_null().cmp(&a.is_null());
        let nulls = if key.nulls_first { nulls } else { nulls.reverse() };
        let values = number(a).cmp(&number(b));
        nulls.then(if key.descending { values.reverse() } else { values })
    };
    rows.sort_by(|a, b| {
        order.iter().fold(Ordering::Equal, |known, key| known.then(compare(&a[key.column], &b[key.column], key)))
    });
    let places = rows.into_iter().enumerate().skip(offset as usize);
    places.take(limit.map_or(usize::MAX, |limit| limit as usize)).collect()
}

fn aggregate(call: &AggregateCall, members: &[Row]) -> Value {
    let counts = |row: &&Row| call.filter.is_none_or(|i| row[i] == Value::Boolean(true));
    let members: Vec<&Row> = members.iter().filter(counts).collect();
    let Some(&arg) = call.args.first() else { return Value::Integer(members.len() as i64) };
    let mut values: Vec<&Value> = members.iter().map(|row| &row[arg]).filter(|value| !value.is_null()).collect();
    if call.distinct {
        let mut once: Vec<&Value> = Vec::new();
        values.retain(|value| {
            !once.contains(value) && {
                once.push(value);
                true
            }
        });
    }
    let number = |value: &Value| if let Value::Integer(n) = value { *n } else { 0 };
    let numbers = values.iter().map(|value| number(value));
    match call.function {
        AggregateFunction::CountStar | AggregateFunction::Count => Value::Integer(values.len() as i64),
        _ if values.is_empty() => Value::Null,
        AggregateFunction::Sum => Value::Integer(numbers.sum()),
        AggregateFunction::Min => numbers.min().map_or(Value::Null, Value::Integer),
        AggregateFunction::Max => numbers.max().map_or(Value::Null, Value::Integer),
        AggregateFunction::SingleValue => {
            assert!(values.len() == 1, "no query of the tests gives more than one value");
            values[0].clone()
        }
        AggregateFunction::Avg => Value::Integer(numbers.clone().sum::<i64>() / values.len() as i64),
    }
}

/// Conditions that are put behind every join and every filter.
const CONDITIONS: &[&str] = &[
    "t.a = u.a",
    "t.a = u.d",
    "t.a = u.a AND t.s = u.s",
    "t.a = u.a AND t.b > 10",
    "t.a = u.a AND u.d > 1",
    "t.a + 1 = u.d - 1 AND u.s = 'x'",
    "t.a = u.a AND t.b < u.d * 10",
    "t.b > 10 AND u.d > 1",
    "t.a < u.d",
    "t.s IS NULL OR u.s IS NULL",
    "u.a = t.a AND 1 = 1",
    "1 = 0",
    "TRUE",
];

const FILTERS: &[&str] = &[
    "TRUE",
    "t.a > 1",
    "u.d > 1",
    "t.a IS NULL",
    "u.a IS NULL",
    "t.a = u.a",
    "t.b = 10 AND u.s = 'x'",
    "COALESCE(t.a, u.a) = 2",
];

const QUERIES: &[&str] = &[
    "SELECT b FROM (SELECT a + 1 AS x, b FROM t) q WHERE x > 2",
    "SELECT x FROM (SELECT a AS x FROM t UNION ALL SELECT d FROM u) q WHERE x > 1",
    "SELECT s, n FROM (SELECT s, COUNT(*) AS n, SUM(b) AS m FROM t GROUP BY s) q WHERE s = 'x' AND n > 1",
    "SELECT n FROM (SELECT COUNT(*) AS n, MAX(a) AS m FROM t WHERE a > 100) q WHERE n < 5",
    "SELECT COUNT(*) FROM (SELECT DISTINCT a, s FROM t) q",
    "SELECT s, COUNT(DISTINCT a), SUM(b) FILTER (WHERE a > 1), MIN(b), AVG(b) FROM t GROUP BY s HAVING COUNT(*) > 0",
    "SELECT a FROM t WHERE a IN (SELECT a FROM u WHERE d > 1)",
    "SELECT a FROM t WHERE a NOT IN (SELECT a FROM u)",
    "SELECT a FROM t WHERE a NOT IN (SELECT a FROM u WHERE a IS NOT NULL)",
    "SELECT a FROM t WHERE a NOT IN (SELECT a FROM u WHERE a > 100)",
    "SELECT id FROM k WHERE id NOT IN (SELECT id FROM k WHERE a = 1)",
    "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND u.d < t.b AND u.s = 'y')",
    "SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND t.b > 10 AND u.d > 1)",
    "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.d > 30) AND NOT EXISTS (SELECT 1 FROM u WHERE u.d > 100)",
    "SELECT a FROM t WHERE a IN (SELECT a FROM u WHERE EXISTS (SELECT 1 FROM k WHERE k.a = u.d))",
    "SELECT a FROM t WHERE a IN (SELECT MAX(a) FROM u GROUP BY s) AND b > 1",
    "SELECT t.b, q.n FROM t JOIN (SELECT a, COUNT(*) AS n FROM u GROUP BY a) q ON t.a = q.a WHERE q.n > 1 AND q.a < 3",
    "SELECT * FROM t FULL JOIN u USING (a, s) WHERE a > 1",
    "SELECT * FROM t RIGHT JOIN u USING (a)",
    "SELECT t.s, x.d, k.id FROM t, u AS x, k WHERE t.a = x.a AND x.d = k.id AND k.a > 0",
    "SELECT v.b FROM (VALUES (1, 'p'), (2, 'q')) AS v (a, b) LEFT JOIN t ON t.a = v.a AND t.b = 10 WHERE t.s IS NULL OR v.b = 'p'",
];

/// The plan of a query as it was bound, and the tidy one.
fn plans(text: &str) -> (Plan, Plan) {
    let names = NameContext { catalog: "c".into(), database: "d".into() };
    let parsed = parse_script(text).next().expect("there is a statement").unwrap_or_else(|e| panic!("{text}: {e}"));
    let Statement::Query(query) = parsed.statement else { panic!("{text} is a query") };
    let plain = Binder::new(&Tables, names, Tz::UTC).plain(&query).unwrap_or_else(|e| panic!("{text}: {e}"));
    let tidy = optimize(plain.clone(), Tz::UTC, true);
    (plain, tidy)
}

/// Subqueries, set operations and places: what PostgreSQL 16 answered over the same rows is kept beside this file.
#[test]
fn answers_are_those_of_postgresql() {
    let shown = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Text(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    let mut wrong = Vec::new();
    let blocks = include_str!("answers.txt").split("\n\n").filter(|block| !block.starts_with('#'));
    for block in blocks {
        let (query, expected) = block.split_once("\n----").expect("a query and its rows");
        let (plain, tidy) = plans(query);
        for (which, plan) in [("bound", &plain), ("tidy", &tidy)] {
            let text = |row: &Row| row.iter().map(shown).collect::<Vec<_>>().join("|");
            let mut rows: Vec<String> = run(plan).iter().map(text).collect();
            rows.sort();
            let given = rows.join("\n");
            if given != expected.trim() {
                wrong.push(format!("{query}\n{which} plan gives\n{given}\nnot{expected}\n{}", crate::explain(plan)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} plans are wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn tidy_plans_give_the_same_rows() {
    let mut queries: Vec<String> = QUERIES.iter().map(|query| (*query).to_owned()).collect();
    for kind in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        for condition in CONDITIONS {
            for filter in FILTERS {
                queries.push(format!("SELECT t.b, u.d, t.s FROM t {kind} u ON {condition} WHERE {filter}"));
            }
        }
    }
    let mut some = 0;
    for text in &queries {
        let (plain, tidy) = plans(text);
        assert_eq!(plain.schema(), tidy.schema(), "{text}");
        let sorted = |plan: &Plan| {
            let mut rows: Vec<String> = run(plan).iter().map(|row| format!("{row:?}")).collect();
            rows.sort();
            rows
        };
        let (expected, given) = (sorted(&plain), sorted(&tidy));
        some += expected.len();
        assert_eq!(expected, given, "{text}\n{}\n{}", crate::explain(&plain), crate::explain(&tidy));
    }
    assert!(some > 1_000, "the queries give rows: {some}");
}
