//! Which plans DataFusion takes, and why others are left to the streaming operators.
//!
//! Only what means the same in both is handed over. What is left: looking up rows as they come, unnesting, keys whose
//! equality is another there (floating-point numbers by their bits, nested values), values that are drawn anew, and a few
//! forms that are rare.

use arrow_schema::DataType;
use gridhouse_base::TypeKind;
use gridhouse_expr::functions::Volatility;
use gridhouse_expr::{AggregateCall, AggregateFunction};
use gridhouse_sql::plan::{Aggregate, Plan};

/// Why `plan` is not for DataFusion; `None` where it is.
pub(crate) fn obstacle(plan: &Plan) -> Option<&'static str> {
    own(plan).or_else(|| plan.inputs().into_iter().find_map(obstacle))
}

fn own(plan: &Plan) -> Option<&'static str> {
    let kind = |plan: &Plan, column: usize| plan.schema().columns[column].sql_type.kind.clone();
    let mut draws = false;
    if !matches!(plan, Plan::Scan(_)) {
        own_exprs(plan, &mut |expr| draws |= expr.volatility() > Volatility::Clock);
    }
    if draws {
        return Some("a random value");
    }
    if plan.schema().columns.iter().any(|column| column.sql_type.kind == TypeKind::Null) {
        return Some("a column without type");
    }
    match plan {
        Plan::Scan(_) | Plan::Values(_) | Plan::Filter(_) | Plan::Project(_) | Plan::UnionAll(_) | Plan::Sort(_) => {
            None
        }
        Plan::Unnest(_) => Some("the elements of an ARRAY or MAP"),
        Plan::Probe(_) | Plan::Lookup(_) => Some("a look-up join"),
        Plan::Aggregate(aggregate) => aggregation(aggregate),
        Plan::Join(join) => {
            if join.keys.iter().any(|key| key.null_safe != join.keys[0].null_safe) {
                return Some("a join by IS NOT DISTINCT FROM and by =");
            }
            join.keys.iter().find_map(|key| key_obstacle(&kind(&join.left, key.left)))
        }
        Plan::SetOperation(operation) if operation.all => Some("INTERSECT ALL or EXCEPT ALL"),
        Plan::SetOperation(operation) => {
            operation.schema.columns.iter().find_map(|column| key_obstacle(&column.sql_type.kind))
        }
        Plan::Rank(rank) => {
            let partition = rank.partition.iter().find_map(|&column| key_obstacle(&kind(&rank.input, column)));
            partition.or_else(|| order_obstacle(&rank.input))
        }
        Plan::Limit(limit) => order_obstacle(&limit.input),
    }
}

fn own_exprs(plan: &Plan, seen: &mut impl FnMut(&gridhouse_expr::Expr)) {
    match plan {
        Plan::Filter(node) => seen(&node.predicate),
        Plan::Project(node) => node.exprs.iter().for_each(seen),
        Plan::Join(node) => node.residual.iter().for_each(seen),
        Plan::Values(node) => node.rows.iter().flatten().for_each(seen),
        _ => {}
    }
}

/// Whether keys of `kind` are equal by other rules.
fn key_obstacle(kind: &TypeKind) -> Option<&'static str> {
    match kind.arrow() {
        DataType::Float32 | DataType::Float64 => Some("floating-point keys"),
        other if other.is_nested() => Some("keys of several values"),
        _ => None,
    }
}

/// Whether rows of `input`, of which every column settles ties, are ordered by other rules.
fn order_obstacle(input: &Plan) -> Option<&'static str> {
    let nested = |column: &gridhouse_base::Column| column.sql_type.kind.arrow().is_nested();
    input.schema().columns.iter().any(nested).then_some("an order of nested values")
}

fn aggregation(node: &Aggregate) -> Option<&'static str> {
    if node.keys.is_empty() && (!node.grand_total || node.calls.is_empty()) {
        return Some("groups without keys");
    }
    if node.keys.iter().enumerate().any(|(i, key)| node.keys[..i].contains(key)) {
        return Some("a key that is there twice");
    }
    let kind = |column: usize| &node.input.schema().columns[column].sql_type.kind;
    let keys = node.keys.iter().find_map(|&key| key_obstacle(kind(key)));
    keys.or_else(|| node.calls.iter().find_map(|call| call_obstacle(call, &kind)))
}

fn call_obstacle<'a>(call: &AggregateCall, kind: &impl Fn(usize) -> &'a TypeKind) -> Option<&'static str> {
    match (call.function, call.args.as_slice()) {
        (AggregateFunction::Count, [arg]) if call.distinct => key_obstacle(kind(*arg)),
        (AggregateFunction::Count, _) if call.distinct => Some("COUNT(DISTINCT …) of several columns"),
        (AggregateFunction::Sum | AggregateFunction::Avg | AggregateFunction::SingleValue, _) if call.distinct => {
            Some("SUM or AVG of DISTINCT values")
        }
        (AggregateFunction::SingleValue, _) => None,
        (_, args) if args.iter().any(|&arg| kind(arg).arrow().is_nested()) => Some("an aggregate of nested values"),
        _ => None,
    }
}
