//! Plans as text, for `EXPLAIN` and for tests.

use std::collections::BTreeMap;
use std::fmt::Write;

use gridhouse_base::table::quoted;
use gridhouse_base::{Column, Schema, SqlType};
use gridhouse_expr::{AggregateCall, AggregateFunction, Expr};

use crate::plan::{BoundInsert, JoinKey, JoinKind, Plan, Rank, SetKind, SortKey};
use crate::properties::{changelog_mode, upsert_keys};

/// An indented tree: per node what it does, its columns with their types, its changes and its upsert keys.
pub fn explain(plan: &Plan) -> String {
    let mut out = String::new();
    write_node(&mut out, plan, 0);
    out
}

/// The tree of an insert, under its target.
pub fn explain_insert(insert: &BoundInsert) -> String {
    let schema = &insert.target.schema;
    let mut out = format!("Insert {}", insert.target.path);
    if let Some(columns) = &insert.columns {
        let _ = write!(out, " partial({})", names(schema, columns));
    }
    if !insert.not_null.is_empty() {
        let _ = write!(out, " not-null({})", names(insert.plan.schema(), &insert.not_null));
    }
    if !insert.target.primary_key.is_empty() {
        let _ = write!(out, " key({})", names(schema, &insert.target.primary_key));
    }
    if let Some(assignments) = &insert.on_key {
        let given = schema
            .columns
            .iter()
            .map(|column| Column::new(format!("VALUES({})", column.name), column.sql_type.clone()));
        let both = Schema::new(schema.columns.iter().cloned().chain(given).collect());
        let set =
            |(column, value): &(usize, Expr)| format!("{}={}", names(schema, &[*column]), value.display_with(&both));
        let set = assignments.iter().map(set).collect::<Vec<_>>().join(", ");
        let _ = write!(out, " on-key({})", if set.is_empty() { "stays" } else { &set });
    }
    out.push('\n');
    write_node(&mut out, &insert.plan, 1);
    out
}

fn write_node(out: &mut String, plan: &Plan, depth: usize) {
    let keys: Vec<String> = upsert_keys(plan).iter().map(|key| format!("({})", names(plan.schema(), key))).collect();
    let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(" ") };
    let indent = "  ".repeat(depth);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{indent}{}", line(plan));
    let _ =
        writeln!(out, "{indent}  : [{}] changes={} key={keys}", columns(plan.schema()), changelog_mode(plan).shown());
    for input in plan.inputs() {
        write_node(out, input, depth + 1);
    }
}

/// What one node does, in a line.
pub fn node_text(plan: &Plan) -> String {
    line(plan)
}

pub(crate) fn line(plan: &Plan) -> String {
    match plan {
        Plan::Scan(node) => {
            let hints = hints_text(&node.hints);
            format!("Scan {}({}){hints}", node.table.path, names(&node.table.schema, &node.columns))
        }
        Plan::Values(node) => {
            let shown = node.rows.iter().take(SHOWN_ROWS).map(|row| {
                let values: Vec<String> = row.iter().map(ToString::to_string).collect();
                format!("({})", values.join(", "))
            });
            let more =
                if node.rows.len() > SHOWN_ROWS { format!(", … {} rows", node.rows.len()) } else { String::new() };
            format!("Values {}{more}", shown.collect::<Vec<_>>().join(", "))
        }
        Plan::Filter(node) => format!("Filter {}", node.predicate.display_with(node.input.schema())),
        Plan::Project(node) => {
            let exprs = node.exprs.iter().zip(&node.schema.columns).map(|(expr, column)| {
                let text = expr.display_with(node.input.schema()).to_string();
                let name = quoted(&column.name);
                if text == format!("`{}`", column.name) { name.into_owned() } else { format!("{name}={text}") }
            });
            format!("Project {}", exprs.collect::<Vec<_>>().join(", "))
        }
        Plan::UnionAll(_) => "UnionAll".into(),
        Plan::Aggregate(node) => {
            let keys = names(node.input.schema(), &node.keys);
            let calls: Vec<String> = node.calls.iter().map(|call| call_text(call, node.input.schema())).collect();
            match (node.grand_total, calls.is_empty()) {
                (true, _) => format!("Aggregate total {}", calls.join(", ")),
                (false, true) => format!("Distinct {keys}"),
                (false, false) => format!("Aggregate by {keys}: {}", calls.join(", ")),
            }
        }
        Plan::Join(node) => {
            let kind = match node.kind {
                JoinKind::Inner => "inner",
                JoinKind::Left => "left",
                JoinKind::Right => "right",
                JoinKind::Full => "full",
                JoinKind::Semi => "semi",
                JoinKind::Anti => "anti",
            };
            let pair = pair_text(&node.left, &node.right, &node.keys, node.residual.as_ref());
            let time = node.time.map(|time| {
                let (left, right) =
                    (names(node.left.schema(), &[time.left]), names(node.right.schema(), &[time.right]));
                let (lower, upper) = (time.lower_millis, time.upper_millis);
                format!(" within {left} - {right} from {lower} ms to {upper} ms")
            });
            format!("Join {kind} {pair}{}", time.unwrap_or_default())
        }
        Plan::SetOperation(node) => {
            let kind = match node.kind {
                SetKind::Intersect => "Intersect",
                SetKind::Except => "Except",
            };
            format!("{kind}{}", if node.all { " all" } else { "" })
        }
        Plan::Rank(node) => rank_text(node),
        Plan::Unnest(node) => {
            let kind = if node.outer { "left" } else { "inner" };
            let place = if node.ordinality { " with place" } else { "" };
            format!("Unnest {kind} {}{place}", names(node.input.schema(), &[node.column]))
        }
        Plan::Probe(node) => {
            let kind = if node.outer { "left" } else { "inner" };
            format!("Lookup {kind} {}", pair_text(&node.left, &node.right, &node.keys, node.residual.as_ref()))
        }
        Plan::Lookup(node) => {
            let kind = if node.outer { "left" } else { "inner" };
            let read = names(&node.table.schema, &node.columns);
            let key = |&(input, of_table): &(usize, usize)| {
                format!("{}={}", names(node.input.schema(), &[input]), names(&node.table.schema, &[of_table]))
            };
            let keys = node.keys.iter().map(key).collect::<Vec<_>>().join(", ");
            let residual = node.residual.as_ref().map(|expr| format!(" where {}", expr.display_with(&node.schema)));
            let hints = hints_text(&node.hints);
            format!(
                "Lookup {kind} outside {}({read}){hints} on {keys}{}",
                node.table.path,
                residual.unwrap_or_default()
            )
        }
        Plan::Sort(node) => {
            let keys: Vec<String> = node.keys.iter().map(|key| sort_text(key, plan.schema())).collect();
            format!("Sort {}", keys.join(", "))
        }
        Plan::Limit(node) => {
            let fetch = node.fetch.map_or_else(|| "all".to_owned(), |n| n.to_string());
            let offset = if node.offset > 0 { format!(" offset {}", node.offset) } else { String::new() };
            format!("Limit {fetch}{offset}")
        }
    }
}

/// How many rows of `VALUES` are shown.
const SHOWN_ROWS: usize = 5;

fn hints_text(hints: &BTreeMap<String, String>) -> String {
    let hints: Vec<String> = hints.iter().map(|(key, value)| format!("'{key}'='{}'", redacted(key, value))).collect();
    if hints.is_empty() { String::new() } else { format!(" options({})", hints.join(", ")) }
}

/// What must hold between two inputs.
fn pair_text(left: &Plan, right: &Plan, keys: &[JoinKey], residual: Option<&Expr>) -> String {
    let key = |key: &JoinKey| {
        let equals = if key.null_safe { " is " } else { "=" };
        format!("{}{equals}{}", names(left.schema(), &[key.left]), names(right.schema(), &[key.right]))
    };
    let both = Schema::new(left.schema().columns.iter().chain(&right.schema().columns).cloned().collect());
    let residual = residual.map(|expr| format!(" where {}", expr.display_with(&both)));
    let keys = match keys {
        [] => "every pair".to_owned(),
        keys => format!("on {}", keys.iter().map(key).collect::<Vec<_>>().join(", ")),
    };
    format!("{keys}{}", residual.unwrap_or_default())
}

fn rank_text(node: &Rank) -> String {
    let schema = node.input.schema();
    let partition = match node.partition.as_slice() {
        [] => String::new(),
        columns => format!(" by {}", names(schema, columns)),
    };
    let order = node.order.iter().map(|key| sort_text(key, schema)).collect::<Vec<_>>().join(", ");
    let order = if order.is_empty() { String::new() } else { format!(" order {order}") };
    let places = match (node.offset, node.limit) {
        (0, None) => "all".to_owned(),
        (offset, None) => format!("from {}", offset + 1),
        (offset, Some(limit)) => format!("{} to {}", offset + 1, offset.saturating_add(limit)),
    };
    let shown = if node.rank { " with place" } else { "" };
    format!("Rank {places}{partition}{order}{shown}")
}

fn call_text(call: &AggregateCall, schema: &Schema) -> String {
    let function = match call.function {
        AggregateFunction::CountStar => return format!("COUNT(*){}", filter_text(call, schema)),
        AggregateFunction::Count => "COUNT",
        AggregateFunction::Sum => "SUM",
        AggregateFunction::Avg => "AVG",
        AggregateFunction::Min => "MIN",
        AggregateFunction::Max => "MAX",
        AggregateFunction::SingleValue => "SINGLE_VALUE",
    };
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    format!("{function}({distinct}{}){}", names(schema, &call.args), filter_text(call, schema))
}

fn filter_text(call: &AggregateCall, schema: &Schema) -> String {
    call.filter.map(|filter| format!(" FILTER({})", names(schema, &[filter]))).unwrap_or_default()
}

fn sort_text(key: &SortKey, schema: &Schema) -> String {
    let direction = if key.descending { "desc" } else { "asc" };
    let nulls = if key.nulls_first { "first" } else { "last" };
    format!("{} {direction} nulls {nulls}", names(schema, &[key.column]))
}

fn names(schema: &Schema, indices: &[usize]) -> String {
    indices.iter().map(|&i| quoted(&schema.columns[i].name)).collect::<Vec<_>>().join(", ")
}

fn columns(schema: &Schema) -> String {
    let column = |(name, sql_type): (&str, &SqlType)| format!("{} {sql_type}", quoted(name));
    schema.columns.iter().map(|c| column((&c.name, &c.sql_type))).collect::<Vec<_>>().join(", ")
}

/// `value`, unless the option's key says that it is a secret.
pub fn redacted<'v>(key: &str, value: &'v str) -> &'v str {
    let key = key.to_lowercase();
    let secret = ["password", "secret", "token", "access-key", "access.key", "credential", "passphrase"];
    if secret.iter().any(|word| key.contains(word)) { "****" } else { value }
}
