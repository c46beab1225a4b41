//! Bound statements that write.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::TableDef;
use gridhouse_expr::Expr;

use super::Plan;

/// A bound `INSERT`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundInsert {
    /// The target.
    pub target: Arc<TableDef>,
    /// `/*+ OPTIONS(…) */` behind the target; they win over the table's own.
    pub hints: BTreeMap<String, String>,
    /// `Some` for a partial update: the target's column of each plan column; the other columns of the row keep their values.
    /// `None`: the plan delivers every column that [`written_columns`] names, in that order.
    pub columns: Option<Vec<usize>>,
    /// Plan columns that may hold NULL where the target's column may not: to be checked per row.
    pub not_null: Vec<usize>,
    /// What becomes of a row whose key is there already, where it is not just replaced: columns of the target and their new
    /// values; none: the row stays. The values are over the columns of the target as they are there, then as they were given.
    /// The plan then delivers whole rows.
    pub on_key: Option<Vec<(usize, Expr)>>,
    /// The rows, in the target's types.
    pub plan: Plan,
}

/// A bound `UPDATE`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundUpdate {
    /// The table.
    pub table: Arc<TableDef>,
    /// Column of the table and its new value over the table's columns, in the column's type.
    pub assignments: Vec<(usize, Expr)>,
    /// Which rows; over the table's columns. `None`: all.
    pub predicate: Option<Expr>,
}

/// A bound `DELETE`.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundDelete {
    /// The table.
    pub table: Arc<TableDef>,
    /// Which rows; over the table's columns. `None`: all.
    pub predicate: Option<Expr>,
}

/// The columns of `table` that an `INSERT` writes: physical ones and metadata columns that are not virtual.
pub fn written_columns(table: &TableDef) -> Vec<usize> {
    use gridhouse_base::table::ColumnKind;
    let written = |kind: &ColumnKind| {
        !matches!(kind, ColumnKind::Computed { .. } | ColumnKind::Metadata { is_virtual: true, .. })
    };
    (0..table.schema.len()).filter(|&i| written(&table.column_kinds[i])).collect()
}
