//! The plan: typed relational algebra, the one form that both readings (stream and batch) are lowered from.
//!
//! What always holds: every node knows its schema; expressions address the columns of their node's input by index (those of a
//! join's residual: left columns, then right columns); all casts are explicit; scalar work stands in `Project` and `Filter`
//! only, so that aggregates, joins and sorts address plain columns. Nothing here knows of operators, state or time.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Column, Schema, SqlType};
use gridhouse_expr::{AggregateCall, Expr};

/// A relation.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Rows of a table.
    Scan(Scan),
    /// Rows given in the text.
    Values(Values),
    /// The rows where a predicate is true.
    Filter(Filter),
    /// Expressions per row.
    Project(Project),
    /// All rows of all inputs.
    UnionAll(UnionAll),
    /// Groups; without calls, distinct rows.
    Aggregate(Aggregate),
    /// Pairs of rows, or rows with or without a partner.
    Join(Join),
    /// Rows in order.
    Sort(Sort),
    /// Some of the rows.
    Limit(Limit),
}

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
    /// Pairs of a left and a right column of the same kind that must be equal (NULL equals nothing). Without pairs every row
    /// meets every row.
    pub keys: Vec<(usize, usize)>,
    /// What must also be true of a pair; over left columns, then right columns.
    pub residual: Option<Expr>,
    /// The schema: left columns, then right columns, made nullable on the side that is filled up; for `Semi` and `Anti` the
    /// left columns.
    pub schema: Arc<Schema>,
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

impl Plan {
    /// The columns of the relation.
    pub fn schema(&self) -> &Arc<Schema> {
        match self {
            Self::Scan(node) => &node.schema,
            Self::Values(node) => &node.schema,
            Self::Filter(node) => node.input.schema(),
            Self::Project(node) => &node.schema,
            Self::UnionAll(node) => &node.schema,
            Self::Aggregate(node) => &node.schema,
            Self::Join(node) => &node.schema,
            Self::Sort(node) => node.input.schema(),
            Self::Limit(node) => node.input.schema(),
        }
    }

    /// The inputs, left to right.
    pub fn inputs(&self) -> Vec<&Plan> {
        match self {
            Self::Scan(_) | Self::Values(_) => vec![],
            Self::Filter(node) => vec![&node.input],
            Self::Project(node) => vec![&node.input],
            Self::UnionAll(node) => node.inputs.iter().collect(),
            Self::Aggregate(node) => vec![&node.input],
            Self::Join(node) => vec![&node.left, &node.right],
            Self::Sort(node) => vec![&node.input],
            Self::Limit(node) => vec![&node.input],
        }
    }

    /// The same node over other inputs, which have the schemas of those that they replace.
    pub fn map_inputs(self, f: &mut impl FnMut(Plan) -> Plan) -> Self {
        crate::optimizer::map_inputs(self, f)
    }

    /// Every table that is read, each once, in order of first use.
    pub fn tables(&self) -> Vec<Arc<TableDef>> {
        let mut tables: Vec<Arc<TableDef>> = Vec::new();
        self.visit(&mut |plan| {
            if let Self::Scan(scan) = plan
                && !tables.iter().any(|table| table.path == scan.table.path)
            {
                tables.push(scan.table.clone());
            }
        });
        tables
    }

    /// Calls `seen` for this node and every node below it, a node before its inputs.
    pub fn visit(&self, seen: &mut impl FnMut(&Plan)) {
        seen(self);
        for input in self.inputs() {
            input.visit(seen);
        }
    }

    /// The column `index` of this relation as an expression.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn column(&self, index: usize) -> Expr {
        Expr::Column { index, sql_type: self.schema().columns[index].sql_type.clone() }
    }

    /// A filter over `self`.
    pub(crate) fn filter(self, predicate: Expr) -> Self {
        Self::Filter(Filter { input: Box::new(self), predicate })
    }

    /// A projection of `self` to named expressions.
    pub(crate) fn project(self, named: Vec<(String, Expr)>) -> Self {
        let columns = named.iter().map(|(name, expr)| Column::new(name.clone(), expr_type(expr))).collect();
        let exprs = named.into_iter().map(|(_, expr)| expr).collect();
        Self::Project(Project { input: Box::new(self), exprs, schema: Arc::new(Schema::new(columns)) })
    }

    /// The columns of `self` at `indices`, or `self` where that is all of them in order.
    pub(crate) fn select(self, indices: &[usize]) -> Self {
        if indices.len() == self.schema().len() && indices.iter().enumerate().all(|(i, &index)| i == index) {
            return self;
        }
        let named = indices.iter().map(|&i| (self.schema().columns[i].name.clone(), self.column(i))).collect();
        self.project(named)
    }

    /// A scan of `columns` of `table`.
    pub(crate) fn scan(table: Arc<TableDef>, columns: Vec<usize>, hints: BTreeMap<String, String>) -> Self {
        let schema = Arc::new(table.schema.project(&columns));
        Self::Scan(Scan { table, columns, hints, schema })
    }

    /// A join of `left` and `right`, with the schema that its kind gives.
    pub(crate) fn join(
        kind: JoinKind,
        left: Plan,
        right: Plan,
        keys: Vec<(usize, usize)>,
        residual: Option<Expr>,
    ) -> Self {
        let fill = |plan: &Plan, filled: bool| {
            let nullable = move |t: &SqlType| t.with_nullable(t.nullable || filled);
            plan.schema().columns.iter().map(|c| Column::new(c.name.clone(), nullable(&c.sql_type))).collect::<Vec<_>>()
        };
        let mut columns = fill(&left, matches!(kind, JoinKind::Right | JoinKind::Full));
        if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            columns.extend(fill(&right, matches!(kind, JoinKind::Left | JoinKind::Full)));
        }
        let schema = Arc::new(Schema::new(columns));
        Self::Join(Join { kind, left: Box::new(left), right: Box::new(right), keys, residual, schema })
    }

    /// An aggregation of `input`; `names` are those of the calls.
    pub(crate) fn aggregate(
        input: Plan,
        keys: Vec<usize>,
        calls: Vec<(String, AggregateCall)>,
        grand_total: bool,
    ) -> Self {
        let mut columns = input.schema().project(&keys).columns;
        columns.extend(calls.iter().map(|(name, call)| Column::new(name.clone(), call.sql_type.clone())));
        let calls = calls.into_iter().map(|(_, call)| call).collect();
        let schema = Arc::new(Schema::new(columns));
        Self::Aggregate(Aggregate { input: Box::new(input), keys, calls, grand_total, schema })
    }
}

/// The type of an expression.
pub(crate) fn expr_type(expr: &Expr) -> SqlType {
    expr.sql_type().clone()
}

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
