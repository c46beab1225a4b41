//! How nodes are made: each with the schema that follows from its parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::TableDef;
use gridhouse_base::{Column, Schema, SqlType, TypeKind};
use gridhouse_expr::{AggregateCall, Expr};

use super::{
    Aggregate, Filter, Join, JoinKey, JoinKind, Lookup, Plan, Probe, Project, Rank, Scan, SetKind, SetOperation,
    SortKey,
};

impl Plan {
    /// A filter over `self`.
    pub(crate) fn filter(self, predicate: Expr) -> Self {
        Self::Filter(Filter { input: Box::new(self), predicate })
    }

    /// A projection of `self` to named expressions.
    pub(crate) fn project(self, named: Vec<(String, Expr)>) -> Self {
        let columns = named.iter().map(|(name, expr)| Column::new(name.clone(), expr.sql_type().clone())).collect();
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
    pub(crate) fn join(kind: JoinKind, left: Plan, right: Plan, keys: Vec<JoinKey>, residual: Option<Expr>) -> Self {
        let fill = |plan: &Plan, filled: bool| {
            let nullable = move |t: &SqlType| t.with_nullable(t.nullable || filled);
            plan.schema().columns.iter().map(|c| Column::new(c.name.clone(), nullable(&c.sql_type))).collect::<Vec<_>>()
        };
        let mut columns = fill(&left, matches!(kind, JoinKind::Right | JoinKind::Full));
        if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            columns.extend(fill(&right, matches!(kind, JoinKind::Left | JoinKind::Full)));
        }
        let schema = Arc::new(Schema::new(columns));
        Self::Join(Join { kind, left: Box::new(left), right: Box::new(right), keys, residual, time: None, schema })
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

    /// All rows of `left` and `right` compared as wholes.
    pub(crate) fn set_operation(kind: SetKind, all: bool, left: Plan, right: Plan, schema: Arc<Schema>) -> Self {
        Self::SetOperation(SetOperation { kind, all, left: Box::new(left), right: Box::new(right), schema })
    }

    /// The rows of `input` with their places in a column called `name`; without a name, some of the rows.
    pub(crate) fn rank(
        input: Plan,
        partition: Vec<usize>,
        order: Vec<SortKey>,
        (offset, limit): (u64, Option<u64>),
        name: Option<&str>,
    ) -> Self {
        let mut schema = Schema::clone(input.schema());
        schema.columns.extend(name.map(|name| Column::new(name, TypeKind::BigInt.not_null())));
        let (input, rank) = (Box::new(input), name.is_some());
        Self::Rank(Rank { input, partition, order, offset, limit, rank, schema: Arc::new(schema) })
    }

    /// `left` with what `right` holds for each row as it comes.
    pub(crate) fn probe(left: Plan, right: Plan, outer: bool, keys: Vec<JoinKey>, residual: Option<Expr>) -> Self {
        let kind = if outer { JoinKind::Left } else { JoinKind::Inner };
        match Self::join(kind, left, right, keys, residual) {
            Self::Join(Join { left, right, keys, residual, schema, .. }) => {
                Self::Probe(Probe { left, right, outer, keys, residual, schema })
            }
            other => other,
        }
    }

    /// `node` over another input, reading other columns: its schema follows from them.
    pub(crate) fn lookup(mut node: Lookup) -> Self {
        let mut columns = node.input.schema().columns.clone();
        let found = node.table.schema.project(&node.columns).columns.into_iter();
        columns.extend(found.map(|column| {
            let nullable = column.sql_type.nullable || node.outer;
            Column::new(column.name, column.sql_type.with_nullable(nullable))
        }));
        node.schema = Arc::new(Schema::new(columns));
        Self::Lookup(node)
    }
}
