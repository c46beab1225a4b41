//! A subquery computed for every different row of the columns that it names of the query around.
//!
//! `spread(p)` has the columns of the domain, then those of `p`, and for every row `d` of the domain the rows that `p` gives
//! with `d` in place of the query around. It goes down to the nodes that name nothing, which meet the whole domain.

use std::sync::Arc;

use gridhouse_base::{Schema, TypeKind, Value};
use gridhouse_expr::functions::{case, resolve};
use gridhouse_expr::{AggregateFunction, Expr};

use super::pull::{aggregated, looked_up, placed, probed, unnested};
use super::{OUTER, conjunction, filtered, is_correlated, level, lifted_plan, named};
use crate::plan::{Join, JoinKind, Plan, SetOperation, SortKey, UnionAll};

/// `plan` for every row of `domain`, whose column `i` is column `columns[i]` of the query around. Names of queries further out
/// come one level nearer.
pub(super) fn spread(plan: Plan, domain: &Plan, columns: &[usize]) -> Plan {
    Spread { domain, columns }.node(plan)
}

struct Spread<'a> {
    domain: &'a Plan,
    columns: &'a [usize],
}

impl Spread<'_> {
    fn width(&self) -> usize {
        self.columns.len()
    }

    fn node(&self, plan: Plan) -> Plan {
        if !is_correlated(&plan) {
            return Plan::join(JoinKind::Inner, self.domain.clone(), lifted_plan(plan), vec![], None);
        }
        let width = self.width();
        match plan {
            Plan::Filter(node) => {
                let input = self.node(*node.input);
                let predicate = self.fixed(&node.predicate, &|i| i + width);
                filtered(input, vec![predicate])
            }
            Plan::Project(node) => {
                let input = self.node(*node.input);
                let names = node.schema.columns.iter().map(|column| column.name.clone());
                let own: Vec<_> = names.zip(node.exprs.iter().map(|expr| self.fixed(expr, &|i| i + width))).collect();
                let columns = named(&input).take(width).chain(own).collect();
                input.project(columns)
            }
            Plan::Aggregate(mut node) => {
                let input = std::mem::replace(&mut node.input, Box::new(self.domain.clone()));
                let groups = aggregated(&node, self.node(*input), width);
                if !node.grand_total {
                    return groups;
                }
                let functions: Vec<AggregateFunction> = node.calls.iter().map(|call| call.function).collect();
                self.with_empty(groups, &functions)
            }
            Plan::Rank(node) => {
                let input = self.node((*node.input).clone());
                placed(&node, input, width)
            }
            Plan::Limit(node) => {
                let (below, order) = match *node.input {
                    Plan::Sort(sort) => (*sort.input, sort.keys),
                    other => (other, Vec::new()),
                };
                let order = order.iter().map(|key| SortKey { column: key.column + width, ..*key }).collect();
                Plan::rank(self.node(below), (0..width).collect(), order, (node.offset, node.fetch), None)
            }
            Plan::Sort(node) => self.node(*node.input),
            Plan::Join(node) => self.join(node),
            Plan::UnionAll(node) => {
                let inputs: Vec<Plan> = node.inputs.into_iter().map(|input| self.node(input)).collect();
                let schema = self.widened(&node.schema);
                Plan::UnionAll(UnionAll { inputs, schema })
            }
            Plan::SetOperation(SetOperation { kind, all, left, right, schema }) => {
                let schema = self.widened(&schema);
                Plan::set_operation(kind, all, self.node(*left), self.node(*right), schema)
            }
            Plan::Unnest(node) => {
                let input = self.node((*node.input).clone());
                unnested(&node, input, width)
            }
            Plan::Probe(mut node) => {
                node.residual = node.residual.map(|residual| self.outer_as_own(&residual));
                let left = self.node((*node.left).clone());
                node.right = Box::new(lifted_plan(*node.right));
                self.own_again(probed(&node, left, width))
            }
            Plan::Lookup(mut node) => {
                node.residual = node.residual.map(|residual| self.outer_as_own(&residual));
                let input = self.node((*node.input).clone());
                self.own_again(looked_up(&node, input, width))
            }
            // They hold no names but in expressions of their own, which `VALUES` that name columns have not.
            leaf @ (Plan::Scan(_) | Plan::Values(_)) => leaf,
        }
    }

    /// `expr` over an input with the domain before it; own columns go where `moved` says.
    fn fixed(&self, expr: &Expr, moved: &dyn Fn(usize) -> usize) -> Expr {
        expr.map_columns(|i| match level(i) {
            0 => moved(i),
            1 => self.place(i - OUTER),
            _ => i - OUTER,
        })
    }

    /// Columns of the query around are marked by a place in the domain that survives a move of the own ones.
    fn outer_as_own(&self, expr: &Expr) -> Expr {
        expr.map_columns(|i| match level(i) {
            1 => OUTER + self.place(i - OUTER),
            _ => i,
        })
    }

    /// Marked places of the domain become columns again.
    fn own_again(&self, plan: Plan) -> Plan {
        let fix = |expr: Expr| expr.map_columns(|i| if level(i) > 0 { i - OUTER } else { i });
        match plan {
            Plan::Probe(mut node) => {
                node.residual = node.residual.map(fix);
                Plan::Probe(node)
            }
            Plan::Lookup(mut node) => {
                node.residual = node.residual.map(fix);
                Plan::Lookup(node)
            }
            other => other,
        }
    }

    fn place(&self, column: usize) -> usize {
        self.columns.iter().position(|known| *known == column).unwrap_or_default()
    }

    /// An aggregation without keys has a row where it has no input: groups per row of the domain, with those that are missing.
    fn with_empty(&self, groups: Plan, functions: &[AggregateFunction]) -> Plan {
        let width = self.width();
        let own = groups.schema().clone();
        let ties = (0..width).map(|i| same(self.domain, i, &groups, i, width)).collect();
        let joined = Plan::join(JoinKind::Left, self.domain.clone(), groups, vec![], conjunction(ties));
        let mut columns: Vec<(String, Expr)> = named(&joined).take(width).collect();
        for (i, function) in functions.iter().enumerate() {
            let call = joined.column(2 * width + i);
            columns.push((own.columns[width + i].name.clone(), or_zero(*function, call)));
        }
        joined.project(columns)
    }

    fn join(&self, node: Join) -> Plan {
        let (width, left_width) = (self.width(), node.left.schema().len());
        debug_assert!(node.keys.is_empty(), "keys are found by the optimiser");
        let conditions: Vec<Expr> = node.residual.into_iter().collect();
        let one_sided = matches!(node.kind, JoinKind::Right | JoinKind::Full) || is_correlated(&node.right);
        let left = self.node(*node.left);
        if !one_sided {
            let residual = conditions.iter().map(|condition| self.fixed(condition, &|i| i + width)).collect();
            return Plan::join(node.kind, left, lifted_plan(*node.right), vec![], conjunction(residual));
        }
        let right = self.node(*node.right);
        let both = |i: usize| if i < left_width { i + width } else { i + 2 * width };
        let mut residual: Vec<Expr> = (0..width).map(|i| same(&left, i, &right, i, left.schema().len())).collect();
        residual.extend(conditions.iter().map(|condition| self.fixed(condition, &both)));
        let joined = Plan::join(node.kind, left, right, vec![], conjunction(residual));
        if matches!(node.kind, JoinKind::Semi | JoinKind::Anti) {
            return joined;
        }
        let second = width + left_width;
        let mut columns: Vec<(String, Expr)> = named(&joined).collect();
        for i in 0..width {
            // A filled-up side has NULL where the other one has the domain's value.
            let (of_left, of_right) = (columns[i].1.clone(), columns[second + i].1.clone());
            columns[i].1 = match node.kind {
                JoinKind::Right => of_right,
                JoinKind::Full => resolve("COALESCE", vec![of_left.clone(), of_right]).unwrap_or(of_left),
                _ => of_left,
            };
        }
        columns.drain(second..second + width);
        joined.project(columns)
    }

    fn widened(&self, schema: &Schema) -> Arc<Schema> {
        let domain = self.domain.schema().columns.iter();
        Arc::new(Schema::new(domain.chain(&schema.columns).cloned().collect()))
    }
}

/// `left.i` is `right.j`, NULL being NULL, over the columns of both.
fn same(left: &Plan, i: usize, right: &Plan, j: usize, left_width: usize) -> Expr {
    let (a, b) = (left.column(i), super::shifted_column(right, j, left_width));
    // Columns of one kind can always be compared.
    resolve("IS NOT DISTINCT FROM", vec![a, b]).unwrap_or_else(|_| Expr::boolean(true))
}

/// A count that is missing is zero; any other aggregate over no rows is NULL.
pub(in crate::binder) fn or_zero(function: AggregateFunction, call: Expr) -> Expr {
    if !matches!(function, AggregateFunction::CountStar | AggregateFunction::Count) {
        return call;
    }
    let Some(index) = call.as_column() else { return call };
    let count = TypeKind::BigInt.not_null();
    let zero = Expr::literal(Value::Integer(0), count.clone());
    match resolve("IS NOT NULL", vec![call.clone()]) {
        Ok(known) => case(vec![(known, Expr::Column { index, sql_type: count })], Some(zero)).unwrap_or(call),
        Err(_) => call,
    }
}
