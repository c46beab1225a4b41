//! The plan: typed relational algebra, the one form that both readings (stream and batch) are lowered from.
//!
//! What always holds: every node knows its schema; expressions address the columns of their node's input by index (those of a
//! join's residual: left columns, then right columns); all casts are explicit; scalar work stands in `Project` and `Filter`
//! only, so that aggregates, joins and sorts address plain columns. Nothing here knows of operators, state or time.

mod build;
mod node;
mod write;

use std::sync::Arc;

use gridhouse_base::Schema;
use gridhouse_base::table::TableDef;
use gridhouse_expr::Expr;

pub use node::*;
pub use write::*;

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
    /// Rows that both inputs have, or only one.
    SetOperation(SetOperation),
    /// Rows with their places, or the first ones of every partition.
    Rank(Rank),
    /// A row per element of an ARRAY or MAP.
    Unnest(Unnest),
    /// Rows with what a table of ours holds for them as they come.
    Probe(Probe),
    /// Rows with what an outside table holds for them as they come.
    Lookup(Lookup),
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
            Self::SetOperation(node) => &node.schema,
            Self::Rank(node) => &node.schema,
            Self::Unnest(node) => &node.schema,
            Self::Probe(node) => &node.schema,
            Self::Lookup(node) => &node.schema,
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
            Self::SetOperation(node) => vec![&node.left, &node.right],
            Self::Rank(node) => vec![&node.input],
            Self::Unnest(node) => vec![&node.input],
            Self::Probe(node) => vec![&node.left, &node.right],
            Self::Lookup(node) => vec![&node.input],
        }
    }

    /// Every table that is read or looked up in, each once, in order of first use.
    pub fn tables(&self) -> Vec<Arc<TableDef>> {
        let mut tables: Vec<Arc<TableDef>> = Vec::new();
        self.visit(&mut |plan| {
            let table = match plan {
                Self::Scan(scan) => &scan.table,
                Self::Lookup(lookup) => &lookup.table,
                _ => return,
            };
            if !tables.iter().any(|known| known.path == table.path) {
                tables.push(table.clone());
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

    /// Calls `seen` for every expression of this node and of every node below it.
    pub fn for_each_expr(&self, seen: &mut impl FnMut(&Expr)) {
        self.visit(&mut |node| node.own_exprs(seen));
    }

    fn own_exprs(&self, seen: &mut impl FnMut(&Expr)) {
        match self {
            Self::Filter(node) => seen(&node.predicate),
            Self::Project(node) => node.exprs.iter().for_each(seen),
            Self::Join(node) => node.residual.iter().for_each(seen),
            Self::Probe(node) => node.residual.iter().for_each(seen),
            Self::Lookup(node) => node.residual.iter().for_each(seen),
            Self::Values(node) => node.rows.iter().flatten().for_each(seen),
            Self::Scan(_)
            | Self::UnionAll(_)
            | Self::Aggregate(_)
            | Self::Sort(_)
            | Self::Limit(_)
            | Self::SetOperation(_)
            | Self::Rank(_)
            | Self::Unnest(_) => {}
        }
    }

    /// The same node over other inputs, which have the schemas of those that they replace.
    pub fn map_inputs(self, f: &mut impl FnMut(Self) -> Self) -> Self {
        let mut map = |input: Box<Self>| Box::new(f(*input));
        match self {
            Self::Scan(_) | Self::Values(_) => self,
            Self::Filter(node) => Self::Filter(Filter { input: map(node.input), ..node }),
            Self::Project(node) => Self::Project(Project { input: map(node.input), ..node }),
            Self::UnionAll(node) => {
                Self::UnionAll(UnionAll { inputs: node.inputs.into_iter().map(f).collect(), ..node })
            }
            Self::Aggregate(node) => Self::Aggregate(Aggregate { input: map(node.input), ..node }),
            Self::Join(node) => Self::Join(Join { left: map(node.left), right: map(node.right), ..node }),
            Self::Sort(node) => Self::Sort(Sort { input: map(node.input), ..node }),
            Self::Limit(node) => Self::Limit(Limit { input: map(node.input), ..node }),
            Self::SetOperation(node) => {
                Self::SetOperation(SetOperation { left: map(node.left), right: map(node.right), ..node })
            }
            Self::Rank(node) => Self::Rank(Rank { input: map(node.input), ..node }),
            Self::Unnest(node) => Self::Unnest(Unnest { input: map(node.input), ..node }),
            Self::Probe(node) => Self::Probe(Probe { left: map(node.left), right: map(node.right), ..node }),
            Self::Lookup(node) => Self::Lookup(Lookup { input: map(node.input), ..node }),
        }
    }

    /// The same plan with every expression mapped by `f`, which keeps types.
    pub(crate) fn map_exprs(self, f: &impl Fn(&Expr) -> Expr) -> Self {
        match self.map_inputs(&mut |input| input.map_exprs(f)) {
            Self::Filter(node) => Self::Filter(Filter { predicate: f(&node.predicate), ..node }),
            Self::Project(node) => Self::Project(Project { exprs: node.exprs.iter().map(f).collect(), ..node }),
            Self::Join(node) => Self::Join(Join { residual: node.residual.as_ref().map(f), ..node }),
            Self::Probe(node) => Self::Probe(Probe { residual: node.residual.as_ref().map(f), ..node }),
            Self::Lookup(node) => Self::Lookup(Lookup { residual: node.residual.as_ref().map(f), ..node }),
            Self::Values(node) => {
                let rows = node.rows.iter().map(|row| row.iter().map(f).collect()).collect();
                Self::Values(Values { rows, ..node })
            }
            plan => plan,
        }
    }
}

/// The operands of the AND that `expr` is.
pub fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::And(operands) => operands.into_iter().flat_map(conjuncts).collect(),
        other => vec![other],
    }
}

/// The AND of `exprs`; `None` where there are none.
pub(crate) fn conjunction(mut exprs: Vec<Expr>) -> Option<Expr> {
    match exprs.len() {
        0 | 1 => exprs.pop(),
        _ => Some(Expr::And(exprs)),
    }
}

/// `plan` under a filter of all `predicates`.
pub(crate) fn filtered(plan: Plan, predicates: Vec<Expr>) -> Plan {
    match conjunction(predicates) {
        Some(predicate) => plan.filter(predicate),
        None => plan,
    }
}
