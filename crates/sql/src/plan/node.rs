//! The nodes of a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::Schema;
use gridhouse_base::table::TableDef;
use gridhouse_expr::{AggregateCall, Expr};

use super::Plan;

/// Rows of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The table.
    pub table: Arc<TableDef>,
    /// The columns that are read, as indices into the table's schema: physical and metadata columns only.
    pub columns: Vec<usize>,
    /// `/*+ OPTIONS(…) */`; they win over the table's own.
    pub hints: BTreeMap<String, String>,
    /// The columns' schema.
    pub schema: Arc<Schema>,
}

/// Rows given in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Rows of expressions without columns; each has the type of its column, NOT NULL or not.
    pub rows: Vec<Vec<Expr>>,
    /// The schema.
    pub schema: Arc<Schema>,
}

/// The rows where a predicate is true.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The input.
    pub input: Box<Plan>,
    /// A BOOLEAN expression.
    pub predicate: Expr,
}

/// Expressions per row.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The input.
    pub input: Box<Plan>,
    /// One expression per column.
    pub exprs: Vec<Expr>,
    /// The schema.
    pub schema: Arc<Schema>,
}

/// All rows of all inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct UnionAll {
    /// At least one input; their columns have the same kinds as the schema's.
    pub inputs: Vec<Plan>,
    /// The schema: names of the first input, nullable where any input is.
    pub schema: Arc<Schema>,
}

/// Groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The input, projected to keys, arguments and filters.
    pub input: Box<Plan>,
    /// Indices of the key columns in the input.
    pub keys: Vec<usize>,
    /// The aggregates; none for `DISTINCT`.
    pub calls: Vec<AggregateCall>,
    /// One row even over no input: there is no key, and no `GROUP BY` either.
    pub grand_total: bool,
    /// The schema: keys, then calls.
    pub schema: Arc<Schema>,
}

/// Pairs of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// Which rows stay.
    pub kind: JoinKind,
    /// The left input.
    pub left: Box<Plan>,
    /// The right input.
    pub right: Box<Plan>,
    /// What must be equal. Without keys every row meets every row.
    pub keys: Vec<JoinKey>,
    /// What must also be true of a pair; over left columns, then right columns.
    pub residual: Option<Expr>,
    /// How far the row times of a pair may lie apart; follows from keys and residual, and tells when state may go.
    pub time: Option<TimeBound>,
    /// The schema: left columns, then right columns, made nullable on the side that is filled up; for `Semi` and `Anti` the
    /// left columns.
    pub schema: Arc<Schema>,
}

/// A left and a right column of the same kind that must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JoinKey {
    /// The left column.
    pub left: usize,
    /// The right column.
    pub right: usize,
    /// Whether NULL equals NULL; else NULL equals nothing.
    pub null_safe: bool,
}

/// `right + lower <= left <= right + upper`, of two row times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeBound {
    /// The left row time.
    pub left: usize,
    /// The right row time, a column of the right input.
    pub right: usize,
    /// The least distance, in milliseconds.
    pub lower_millis: i64,
    /// The greatest distance, in milliseconds.
    pub upper_millis: i64,
}

/// Which rows of a join stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without partner filled up with NULL.
    Left,
    /// Pairs, and right rows without partner filled up with NULL.
    Right,
    /// Pairs, and rows of both sides without partner filled up with NULL.
    Full,
    /// Left rows with a partner, once each.
    Semi,
    /// Left rows without a partner.
    Anti,
}

/// Rows in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// The input.
    pub input: Box<Plan>,
    /// The keys, most significant first; never empty.
    pub keys: Vec<SortKey>,
}

/// One key of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// The column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// NULL before everything else.
    pub nulls_first: bool,
}

/// Some of the rows; over a `Sort`, the first ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// The input.
    pub input: Box<Plan>,
    /// How many rows at most.
    pub fetch: Option<u64>,
    /// How many rows are left out before.
    pub offset: u64,
}

/// Rows of two inputs compared as wholes; NULL equals NULL.
#[derive(Clone, Debug, PartialEq)]
pub struct SetOperation {
    /// Which.
    pub kind: SetKind,
    /// Whether equal rows count one by one.
    pub all: bool,
    /// The left input.
    pub left: Box<Plan>,
    /// The right input; its columns have the same kinds as the schema's.
    pub right: Box<Plan>,
    /// The schema: names of the left input, nullable where any input is.
    pub schema: Arc<Schema>,
}

/// Which rows a set operation keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Rows of both inputs.
    Intersect,
    /// Rows of the left input that the right one has not.
    Except,
}

/// The places of rows within their partitions, or the first rows of every partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Rank {
    /// The input.
    pub input: Box<Plan>,
    /// The columns whose equal values form a partition; none: all rows are one.
    pub partition: Vec<usize>,
    /// The order within a partition; where it leaves a tie, the row itself decides.
    pub order: Vec<SortKey>,
    /// How many places are left out before.
    pub offset: u64,
    /// How many places follow at most.
    pub limit: Option<u64>,
    /// Whether a row's place (BIGINT, from 1) follows its columns.
    pub rank: bool,
    /// The schema.
    pub schema: Arc<Schema>,
}

/// A row per element of an ARRAY or MAP.
#[derive(Clone, Debug, PartialEq)]
pub struct Unnest {
    /// The input.
    pub input: Box<Plan>,
    /// The ARRAY or MAP column.
    pub column: usize,
    /// Whether a row without elements stays, filled up with NULL.
    pub outer: bool,
    /// Whether the element's place (INT, from 1) follows it.
    pub ordinality: bool,
    /// The schema: the input's columns, then the element (the fields of a ROW each a column; key and value of a MAP).
    pub schema: Arc<Schema>,
}

/// Rows that each meet a table of ours as it is when they come, and never again: a look-up join.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The rows that look up.
    pub left: Box<Plan>,
    /// The table.
    pub right: Box<Plan>,
    /// Whether a row that finds nothing stays, filled up with NULL.
    pub outer: bool,
    /// What must be equal.
    pub keys: Vec<JoinKey>,
    /// What must also be true of a pair; over left columns, then right columns.
    pub residual: Option<Expr>,
    /// The schema: left columns, then right columns.
    pub schema: Arc<Schema>,
}

/// Rows that each meet an outside table as it is when they come: a look-up join.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// The rows that look up.
    pub input: Box<Plan>,
    /// The table.
    pub table: Arc<TableDef>,
    /// The columns that are read, as indices into the table's schema.
    pub columns: Vec<usize>,
    /// `/*+ OPTIONS(…) */`; they win over the table's own.
    pub hints: BTreeMap<String, String>,
    /// Whether a row that finds nothing stays, filled up with NULL.
    pub outer: bool,
    /// Pairs of an input column and a column of the table's schema of the same kind that must be equal; never empty.
    pub keys: Vec<(usize, usize)>,
    /// What must also be true of a pair; over the input's columns, then those that are read.
    pub residual: Option<Expr>,
    /// The schema: the input's columns, then those that are read.
    pub schema: Arc<Schema>,
}
