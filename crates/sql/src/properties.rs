//! What streams through a plan: whether rows are ever withdrawn, and which columns tell rows apart.
//!
//! Both follow from the tables (a log table only grows; a primary key is unique) and from the nodes. Whether a plan ends by
//! itself depends on its sources and is for whoever runs them to say.

use gridhouse_base::table::TableDef;
use gridhouse_expr::Expr;

use crate::plan::{JoinKind, Plan, Scan};

/// How many upsert keys of one relation are followed. More than a few are never asked for, and joins multiply them.
const MAX_KEYS: usize = 8;

/// Which changes a relation is made of when it is read as a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangelogMode {
    /// Rows come and stay.
    InsertOnly,
    /// Rows are withdrawn too.
    Retracting,
}

impl ChangelogMode {
    /// Flink's notation.
    pub fn shown(self) -> &'static str {
        match self {
            Self::InsertOnly => "[I]",
            Self::Retracting => "[I,UB,UA,D]",
        }
    }

    fn of(insert_only: bool) -> Self {
        if insert_only { Self::InsertOnly } else { Self::Retracting }
    }
}

/// Whether a table's rows are never withdrawn.
///
/// A managed table with a key is updated, unless it keeps the first row of a key. An outside table is taken to be a log or a
/// bounded set of rows, unless its connector delivers changes.
pub fn is_append_only(table: &TableDef) -> bool {
    let first_row = table.options.get("table.merge-engine").is_some_and(|engine| engine == "first_row");
    match table.connector() {
        None | Some("fluss") => table.primary_key.is_empty() || first_row,
        Some(connector) => {
            let changes = connector.ends_with("-cdc") || connector == "upsert-kafka";
            let format = ["format", "value.format"].iter().filter_map(|key| table.options.get(*key));
            let change_format =
                format.into_iter().any(|format| format.contains("debezium") || format.contains("canal"));
            !changes && !change_format
        }
    }
}

/// Which changes `plan` is made of.
pub fn changelog_mode(plan: &Plan) -> ChangelogMode {
    let input = |plan: &Plan| changelog_mode(plan) == ChangelogMode::InsertOnly;
    ChangelogMode::of(match plan {
        Plan::Scan(node) => is_append_only(&node.table),
        Plan::Values(_) => true,
        Plan::Filter(node) => input(&node.input),
        Plan::Project(node) => input(&node.input),
        Plan::UnionAll(node) => node.inputs.iter().all(input),
        // The first of equal rows is told at once; every other aggregate is corrected.
        Plan::Aggregate(node) => node.calls.is_empty() && !node.grand_total && input(&node.input),
        Plan::Join(node) => {
            matches!(node.kind, JoinKind::Inner | JoinKind::Semi) && input(&node.left) && input(&node.right)
        }
        Plan::Sort(node) => input(&node.input),
        // The first rows by some order change; any rows do not.
        Plan::Limit(node) => !matches!(*node.input, Plan::Sort(_)) && node.offset == 0 && input(&node.input),
    })
}

/// Sets of columns each of which tells the rows of `plan` apart, smaller sets first. The empty set: there is at most one row.
pub fn upsert_keys(plan: &Plan) -> Vec<Vec<usize>> {
    let mut keys = match plan {
        Plan::Scan(node) => scan_keys(node),
        Plan::Values(node) => {
            if node.rows.len() <= 1 {
                vec![vec![]]
            } else {
                vec![]
            }
        }
        Plan::Filter(node) => upsert_keys(&node.input),
        Plan::Project(node) => {
            let place = |column: &usize| node.exprs.iter().position(|expr| expr.as_column() == Some(*column));
            let moved = |key: &Vec<usize>| key.iter().map(place).collect::<Option<Vec<_>>>();
            upsert_keys(&node.input).iter().filter_map(moved).collect()
        }
        Plan::UnionAll(node) => {
            if let [only] = node.inputs.as_slice() {
                upsert_keys(only)
            } else {
                vec![]
            }
        }
        Plan::Aggregate(node) => {
            let mut keys = vec![(0..node.keys.len()).collect()];
            if !node.grand_total {
                // A key of the input that is grouped by is one of the groups.
                let place = |column: &usize| node.keys.iter().position(|key| key == column);
                keys.extend(
                    upsert_keys(&node.input).iter().filter_map(|key| key.iter().map(place).collect::<Option<Vec<_>>>()),
                );
            }
            keys
        }
        Plan::Join(node) => join_keys(node),
        Plan::Sort(node) => upsert_keys(&node.input),
        Plan::Limit(node) => {
            if node.fetch == Some(1) {
                vec![vec![]]
            } else {
                upsert_keys(&node.input)
            }
        }
    };
    for key in &mut keys {
        key.sort_unstable();
        key.dedup();
    }
    keys.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    keys.dedup();
    keys.truncate(MAX_KEYS);
    keys
}

fn scan_keys(node: &Scan) -> Vec<Vec<usize>> {
    if node.table.primary_key.is_empty() {
        return vec![];
    }
    let place = |column: &usize| node.columns.iter().position(|read| read == column);
    node.table.primary_key.iter().map(place).collect::<Option<Vec<_>>>().into_iter().collect()
}

fn join_keys(node: &crate::plan::Join) -> Vec<Vec<usize>> {
    let left = upsert_keys(&node.left);
    if matches!(node.kind, JoinKind::Semi | JoinKind::Anti) {
        return left;
    }
    let offset = node.left.schema().len();
    let right = upsert_keys(&node.right);
    let has_partner_at_most_once =
        |keys: &[Vec<usize>], joined: &dyn Fn(usize) -> bool| keys.iter().any(|key| key.iter().all(|&c| joined(c)));
    let right_once = has_partner_at_most_once(&right, &|c| node.keys.iter().any(|&(_, r)| r == c));
    let left_once = has_partner_at_most_once(&left, &|c| node.keys.iter().any(|&(l, _)| l == c));
    let moved = |key: &Vec<usize>| key.iter().map(|c| c + offset).collect::<Vec<_>>();
    let mut keys = Vec::new();
    // A filled-up row has NULL on its other side, so a side's key alone tells rows apart only where that side is never filled.
    if right_once && matches!(node.kind, JoinKind::Inner | JoinKind::Left) {
        keys.extend(left.iter().cloned());
    }
    if left_once && matches!(node.kind, JoinKind::Inner | JoinKind::Right) {
        keys.extend(right.iter().map(moved));
    }
    // Filled on both sides, a row whose key is NULL could be taken for one that is filled up.
    let strict = |plan: &Plan, key: &[usize]| {
        key.iter().all(|&c| !plan.schema().columns[c].sql_type.nullable) && !key.is_empty()
    };
    for l in &left {
        for r in &right {
            if node.kind != JoinKind::Full || (strict(&node.left, l) && strict(&node.right, r)) {
                keys.push(l.iter().copied().chain(moved(r)).collect());
            }
        }
    }
    keys
}

/// Whether `plan` computes with the clock or with random values.
pub fn is_deterministic(plan: &Plan) -> bool {
    let mut pure = true;
    plan.visit(&mut |node| {
        let mut see = |expr: &Expr| pure &= expr.is_deterministic();
        match node {
            Plan::Filter(node) => see(&node.predicate),
            Plan::Project(node) => node.exprs.iter().for_each(see),
            Plan::Join(node) => node.residual.iter().for_each(see),
            Plan::Values(node) => node.rows.iter().flatten().for_each(see),
            _ => {}
        }
    });
    pure
}
