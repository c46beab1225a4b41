//! What streams through a plan: whether rows are ever withdrawn, and which columns tell rows apart.
//!
//! Both follow from the tables (a log table only grows; a primary key is unique) and from the nodes. Whether a plan ends by
//! itself depends on its sources and is for whoever runs them to say.

use gridhouse_base::table::TableDef;
use gridhouse_expr::Expr;

use crate::plan::{JoinKind, Plan, Rank, Scan, SetKind, SetOperation};

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
        // A row is in both as soon as the other input has it too; it is withdrawn from one only when the other gets it.
        Plan::SetOperation(node) => node.kind == SetKind::Intersect && input(&node.left) && input(&node.right),
        // Without bounds and without places every row stays.
        Plan::Rank(node) => node.limit.is_none() && node.offset == 0 && !node.rank && input(&node.input),
        Plan::Unnest(node) => input(&node.input),
        // What the table does afterwards changes nothing.
        Plan::Probe(node) => input(&node.left),
        Plan::Lookup(node) => input(&node.input),
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
        Plan::SetOperation(node) => set_keys(node),
        Plan::Rank(node) => rank_keys(node),
        Plan::Unnest(node) => {
            let place = node.schema.len() - 1;
            let with_place = |key: Vec<usize>| key.into_iter().chain([place]).collect();
            if node.ordinality { upsert_keys(&node.input).into_iter().map(with_place).collect() } else { vec![] }
        }
        Plan::Probe(node) => looked_up_keys(&node.left, &upsert_keys(&node.right), &|column| {
            node.keys.iter().any(|key| key.right == column)
        }),
        Plan::Lookup(node) => {
            let key = &node.table.primary_key;
            let own = if key.is_empty() { vec![] } else { vec![key.clone()] };
            looked_up_keys(&node.input, &own, &|column| node.keys.iter().any(|(_, of_table)| *of_table == column))
        }
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

/// Rows that look up stay apart where each finds one row at most.
fn looked_up_keys(left: &Plan, right: &[Vec<usize>], joined: &dyn Fn(usize) -> bool) -> Vec<Vec<usize>> {
    let once = right.iter().any(|key| key.iter().all(|&column| joined(column)));
    if once { upsert_keys(left) } else { vec![] }
}

fn set_keys(node: &SetOperation) -> Vec<Vec<usize>> {
    let mut keys = upsert_keys(&node.left);
    if node.kind == SetKind::Intersect {
        keys.extend(upsert_keys(&node.right));
    }
    if !node.all {
        keys.push((0..node.schema.len()).collect());
    }
    keys
}

fn rank_keys(node: &Rank) -> Vec<Vec<usize>> {
    let mut keys = upsert_keys(&node.input);
    if node.limit == Some(1) {
        keys.push(node.partition.clone());
    }
    if node.rank {
        keys.push(node.partition.iter().copied().chain([node.input.schema().len()]).collect());
    }
    keys
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
    let right_once = has_partner_at_most_once(&right, &|c| node.keys.iter().any(|key| key.right == c));
    let left_once = has_partner_at_most_once(&left, &|c| node.keys.iter().any(|key| key.left == c));
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

/// What a column says of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeAttribute {
    /// When the row comes: `PROCTIME()`.
    Processing,
    /// When what the row tells happened: a column with `WATERMARK`.
    Row,
}

/// The time attribute that column `index` of `plan` is, if it is one. As in Flink only plain columns keep it.
pub fn time_attribute(plan: &Plan, index: usize) -> Option<TimeAttribute> {
    match plan {
        Plan::Scan(node) => {
            let watermark = node.table.watermark.as_ref()?;
            (node.columns.get(index) == Some(&watermark.column)).then_some(TimeAttribute::Row)
        }
        Plan::Project(node) => match node.exprs.get(index)? {
            Expr::Column { index, .. } => time_attribute(&node.input, *index),
            Expr::Call { function, .. } if function.name == "PROCTIME" => Some(TimeAttribute::Processing),
            _ => None,
        },
        Plan::Filter(node) => time_attribute(&node.input, index),
        Plan::UnionAll(node) => {
            let first = time_attribute(node.inputs.first()?, index);
            first.filter(|_| node.inputs.iter().all(|input| time_attribute(input, index) == first))
        }
        Plan::Unnest(node) => time_attribute(&node.input, index),
        Plan::Probe(node) => time_attribute(&node.left, index),
        Plan::Lookup(node) => time_attribute(&node.input, index),
        Plan::Join(node) => {
            let width = node.left.schema().len();
            let left = matches!(node.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti);
            match index.checked_sub(width) {
                None if left => time_attribute(&node.left, index),
                Some(index) if matches!(node.kind, JoinKind::Inner | JoinKind::Right) => {
                    time_attribute(&node.right, index)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether `plan` gives the same rows over the same input at any time: no clock, no random values, no look-ups.
pub fn is_deterministic(plan: &Plan) -> bool {
    let mut pure = true;
    plan.for_each_expr(&mut |expr| pure &= expr.is_deterministic());
    plan.visit(&mut |node| pure &= !matches!(node, Plan::Probe(_) | Plan::Lookup(_)));
    pure
}
