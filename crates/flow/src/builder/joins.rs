//! The nodes that bring rows together: joins, look-up joins, set operations, unnesting.

use gridhouse_base::{Column, Result, Schema};
use gridhouse_expr::Expr;

use super::{DataflowBuilder, NodeId};
use crate::connector::Lookup;
use crate::enrich::lookup::{self, LookupSpec};
use crate::enrich::probe::{self, ProbeSpec};
use crate::enrich::{Enrich, EnrichSpec};
use crate::hash::HashMode;
use crate::join::{Join, JoinKey, JoinKind, JoinSpec};
use crate::operator::Operator;
use crate::set_operation::{SetKind, SetOperation, SetOperator};
use crate::unnest::{Unnest, UnnestOperator};

impl DataflowBuilder {
    /// Rows of `left` and `right` that match as `spec` says: the columns of both sides, or of the left one (semi, anti).
    ///
    /// # Errors
    /// `Internal` where key columns do not exist or differ in type.
    pub fn join(&mut self, left: NodeId, right: NodeId, spec: JoinSpec) -> Result<NodeId> {
        let (a, b) = (&self.nodes[left.0], &self.nodes[right.0]);
        let (kind, without_keys) = (spec.kind, spec.keys.is_empty());
        let timed = spec.time.is_some_and(|time| a.has_watermark(time.left) && b.has_watermark(time.right));
        let (schemas, hash, seed) = ([a.schema.clone(), b.schema.clone()], self.hash, self.node_seed());
        let columns = |side: fn(&JoinKey) -> usize| spec.keys.iter().map(side).collect::<Vec<usize>>();
        let keys = [(left, columns(|key| key.left)), (right, columns(|key| key.right))];
        let fresh = move |part| {
            let [left, right] = &schemas;
            let operator = Join::new([left, right], spec.clone(), timed, hash, part_seed(seed, part))?;
            Ok(Box::new(operator) as Box<dyn Operator>)
        };
        let operator = self.keyed(fresh, &keys).map_err(|error| error.context("join"))?;
        let mut columns = a.schema.columns.clone();
        if kind.gives_pairs() {
            let padded = |columns: &mut [Column]| columns.iter_mut().for_each(|c| c.sql_type.nullable = true);
            let mut others = b.schema.columns.clone();
            if kind.gives_unmatched(0) {
                padded(&mut others);
            }
            if kind.gives_unmatched(1) {
                padded(&mut columns);
            }
            columns.extend(others);
        }
        let append_only = a.append_only && b.append_only && matches!(kind, JoinKind::Inner | JoinKind::Semi);
        let name = match kind {
            JoinKind::Inner if without_keys => "cross join",
            JoinKind::Inner => "join",
            JoinKind::Left => "left join",
            JoinKind::Right => "right join",
            JoinKind::Full => "full join",
            JoinKind::Semi => "semi join",
            JoinKind::Anti => "anti join",
        };
        let schema = Schema::new(columns);
        Ok(self.add(name.into(), Some(operator), schema, append_only, &[left, right]))
    }

    /// Rows of `left` with the rows of the table `right` that match at the moment in which they come; later changes of the
    /// table give no output. See [`crate::enrich`].
    ///
    /// # Errors
    /// `Internal` where key columns do not exist or differ in type, or the kind is neither inner nor left.
    pub fn probe(&mut self, left: NodeId, right: NodeId, spec: ProbeSpec) -> Result<NodeId> {
        let (a, b) = (&self.nodes[left.0], &self.nodes[right.0]);
        let ProbeSpec { kind, keys, residual } = spec;
        let (schemas, common) = ([a.schema.clone(), b.schema.clone()], self.enrich_spec(left, kind, residual));
        let columns = |side: fn(&JoinKey) -> usize| keys.iter().map(side).collect::<Vec<usize>>();
        let inputs = [(left, columns(|key| key.left)), (right, columns(|key| key.right))];
        let fresh = move |part| {
            let [left, right] = &schemas;
            let table = probe::Table::new([left, right], &keys, common.mode)?;
            let spec = EnrichSpec { seed: part_seed(common.seed, part), ..common.clone() };
            Ok(Box::new(Enrich::new(left, right, table, spec)?) as Box<dyn Operator>)
        };
        let operator = self.keyed(fresh, &inputs)?;
        let schema = with_partner(&a.schema, &b.schema, kind);
        let append_only = a.append_only;
        Ok(self.add(look_up_name(kind).into(), Some(operator), schema, append_only, &[left, right]))
    }

    /// Rows of `left` with what `lookup` finds at the moment in which they come. See [`crate::enrich`].
    ///
    /// # Errors
    /// `Internal` where key columns do not exist, or the kind is neither inner nor left.
    pub fn lookup(&mut self, left: NodeId, lookup: Box<dyn Lookup>, spec: LookupSpec) -> Result<NodeId> {
        let node = &self.nodes[left.0];
        let outside = lookup::Outside::new(&node.schema, &spec.keys, &spec.schema, lookup, self.hash)?;
        let common = self.enrich_spec(left, spec.kind, spec.residual);
        let operator = self.anchored(Box::new(Enrich::new(&node.schema, &spec.schema, outside, common)?));
        let schema = with_partner(&node.schema, &spec.schema, spec.kind);
        let append_only = node.append_only;
        Ok(self.add(look_up_name(spec.kind).into(), Some(operator), schema, append_only, &[left]))
    }

    fn enrich_spec(&self, left: NodeId, kind: JoinKind, residual: Option<Expr>) -> EnrichSpec {
        let append_only = self.nodes[left.0].append_only;
        EnrichSpec { kind, residual, append_only, mode: self.hash, seed: self.node_seed() }
    }

    /// Rows of `input` with each element of a collection that they hold; the element's columns are appended.
    ///
    /// # Errors
    /// `Internal` where the column holds no collection or its elements are of other types.
    pub fn unnest(&mut self, input: NodeId, spec: Unnest) -> Result<NodeId> {
        let node = &self.nodes[input.0];
        let schema = with_partner(&node.schema, &spec.schema, spec.kind);
        let append_only = node.append_only;
        let operator = UnnestOperator::new(&node.schema, spec)?;
        Ok(self.add("unnest".into(), Some(Box::new(operator)), schema, append_only, &[input]))
    }

    /// The rows that `INTERSECT` or `EXCEPT` of two inputs gives; whole rows are compared, and NULL equals NULL.
    ///
    /// # Errors
    /// `Internal` where the inputs' columns differ in type.
    pub fn set_operation(&mut self, left: NodeId, right: NodeId, spec: SetOperation) -> Result<NodeId> {
        let schema = self.common_schema(spec.name(), &[left, right])?;
        let (rows, hash) = (schema.clone(), self.hash);
        let fresh = move |_| Ok(Box::new(SetOperator::new(&rows, spec, hash)?) as Box<dyn Operator>);
        let all: Vec<usize> = (0..schema.len()).collect();
        let operator = self.keyed(fresh, &[(left, all.clone()), (right, all)]);
        let operator = operator.map_err(|error| error.context(spec.name()))?;
        // More rows on either side only ever make more rows of an intersection.
        let append_only = spec.kind == SetKind::Intersect && self.is_append_only(left) && self.is_append_only(right);
        Ok(self.add(spec.name().into(), Some(operator), schema, append_only, &[left, right]))
    }
}

/// The columns of a row and of its partner, which a left join may lack.
fn with_partner(own: &Schema, partner: &Schema, kind: JoinKind) -> Schema {
    let mut partner = partner.columns.clone();
    if kind == JoinKind::Left {
        partner.iter_mut().for_each(|column| column.sql_type.nullable = true);
    }
    Schema::new(own.columns.iter().cloned().chain(partner).collect())
}

/// The seed of random functions in a part of an operator, so that parts do not draw the same; the whole has its own.
fn part_seed(seed: u64, part: u32) -> u64 {
    if part == 0 { seed } else { HashMode::Seeded(seed).words([part.into()]) }
}

fn look_up_name(kind: JoinKind) -> &'static str {
    if kind == JoinKind::Left { "left look-up join" } else { "look-up join" }
}
