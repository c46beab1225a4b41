//! The identity of a plan: what makes a statement that is given again the same job.
//!
//! The text that is hashed holds everything that decides the rows (tables, columns with their types, expressions, targets) and
//! nothing that does not (hosts, passwords, column aliases inside). It is stable across runs and machines, as long as the
//! optimiser gives the same plan.

use std::collections::BTreeMap;

use gridhouse_base::table::TableDef;
use gridhouse_expr::Expr;

use crate::explain::line;
use crate::plan::{BoundInsert, JoinKey, Plan, written_columns};

/// Names a table in a plan's identity.
pub type SourceIdentity<'a> = &'a dyn Fn(&TableDef) -> String;

/// Options that say where an outside table is reached and as whom, or how its job is called, not what it is.
const NOT_IDENTITY: &[&str] = &[
    "hostname",
    "host",
    "port",
    "username",
    "user",
    "bootstrap.servers",
    "properties.bootstrap.servers",
    "slot.name",
    "connect.timeout",
    "connection.pool.size",
    "connect.max-retries",
    "heartbeat.interval.ms",
];

/// The identity of a table by its definition alone: a managed table by its path, an outside one by its options without
/// addresses and secrets.
pub fn table_identity(table: &TableDef) -> String {
    if table.connector().is_none() {
        return table.path.to_string();
    }
    let secret = |key: &str, value: &str| crate::explain::redacted(key, value) != value;
    let mut text = String::from("outside");
    for (key, value) in &table.options {
        if NOT_IDENTITY.contains(&key.as_str()) || secret(key, value) {
            continue;
        }
        // jdbc:postgresql://host:port/database?user=…
        let value = match (key.as_str(), value.split_once("://")) {
            ("url", Some((scheme, rest))) => {
                let path = rest.split_once('/').map_or("", |(_, path)| path);
                format!("{scheme}:{}", path.split('?').next().unwrap_or_default())
            }
            _ => value.clone(),
        };
        text.push_str(&format!(" {key:?}={value:?}"));
    }
    for column in &table.schema.columns {
        text.push_str(&format!(" {:?} {}", column.name, column.sql_type));
    }
    text
}

/// The identity of a query's plan. `identity` names the tables; [`table_identity`] where nothing better is known.
pub fn fingerprint(plan: &Plan, identity: SourceIdentity<'_>) -> u128 {
    let mut text = String::new();
    write(&mut text, plan, identity);
    hash(&text)
}

/// The identity of an insert: its plan, its target and the columns that it writes.
pub fn fingerprint_insert(insert: &BoundInsert, identity: SourceIdentity<'_>) -> u128 {
    let columns = insert.columns.clone().unwrap_or_else(|| written_columns(&insert.target));
    let mut text = format!("into {} {columns:?} {:?}\n", identity(&insert.target), insert.columns.is_some());
    for (key, value) in &insert.hints {
        text.push_str(&format!("{key:?}={value:?}\n"));
    }
    write(&mut text, &insert.plan, identity);
    hash(&text)
}

fn write(out: &mut String, plan: &Plan, identity: SourceIdentity<'_>) {
    match plan {
        Plan::Scan(node) => {
            out.push_str(&format!("Scan {}", identity(&node.table)));
            write_read(out, &node.table, &node.columns, &node.hints);
        }
        Plan::Values(node) => {
            out.push_str("Values");
            for row in &node.rows {
                for expr in row {
                    out.push_str(&format!(" {expr}"));
                }
                out.push(';');
            }
        }
        Plan::Filter(node) => out.push_str(&format!("Filter {}", node.predicate)),
        Plan::Project(node) => {
            out.push_str("Project");
            for expr in &node.exprs {
                out.push_str(&format!(" [{expr}]:{}", expr.sql_type()));
            }
        }
        Plan::Aggregate(node) => {
            out.push_str(&format!("Aggregate {:?} {}", node.keys, node.grand_total));
            for call in &node.calls {
                let parts = (call.function, &call.args, call.distinct, call.filter);
                out.push_str(&format!(" {parts:?}:{}", call.sql_type));
            }
        }
        Plan::Join(node) => {
            out.push_str(&format!("Join {:?} ", node.kind));
            write_condition(out, &node.keys, node.residual.as_ref());
        }
        Plan::Sort(node) => out.push_str(&format!("Sort {:?}", node.keys)),
        Plan::Rank(node) => {
            let places = (node.offset, node.limit, node.rank);
            out.push_str(&format!("Rank {:?} {:?} {places:?}", node.partition, node.order));
        }
        Plan::Unnest(node) => {
            out.push_str(&format!("Unnest {} {} {}", node.column, node.outer, node.ordinality));
        }
        Plan::Probe(node) => {
            out.push_str(&format!("Probe {} ", node.outer));
            write_condition(out, &node.keys, node.residual.as_ref());
        }
        Plan::Lookup(node) => {
            out.push_str(&format!("Lookup {} {} {:?}", identity(&node.table), node.outer, node.keys));
            write_read(out, &node.table, &node.columns, &node.hints);
            write_condition(out, &[], node.residual.as_ref());
        }
        Plan::UnionAll(_) | Plan::Limit(_) | Plan::SetOperation(_) => out.push_str(&line(plan)),
    }
    out.push_str(&format!(" ({})\n", plan.inputs().len()));
    for input in plan.inputs() {
        write(out, input, identity);
    }
}

fn write_read(out: &mut String, table: &TableDef, columns: &[usize], hints: &BTreeMap<String, String>) {
    for &column in columns {
        let column = &table.schema.columns[column];
        out.push_str(&format!(" {:?} {}", column.name, column.sql_type));
    }
    for (key, value) in hints {
        out.push_str(&format!(" {key:?}={value:?}"));
    }
}

fn write_condition(out: &mut String, keys: &[JoinKey], residual: Option<&Expr>) {
    let pairs: Vec<_> = keys.iter().map(|key| (key.left, key.right)).collect();
    out.push_str(&format!("{pairs:?}"));
    let null_safe: Vec<_> = (0..keys.len()).filter(|&i| keys[i].null_safe).collect();
    if !null_safe.is_empty() {
        out.push_str(&format!(" null-safe {null_safe:?}"));
    }
    if let Some(residual) = residual {
        out.push_str(&format!(" {residual}"));
    }
}

/// FNV-1a with 128 bits: spread well enough to tell a few thousand jobs apart, and the same everywhere for ever. It guards
/// against nobody, as the texts are the user's own.
fn hash(text: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}
