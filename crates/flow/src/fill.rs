//! Filling a dataflow with what its inputs hold, in one tick that does not hold all of it in memory at once.
//!
//! What is laid up goes through the operators piece by piece, and the tick is ended once: operators must not depend on how
//! their input is cut, so this gives what one push of everything gives, and what fails on the way and is taken back before
//! the end does not count. What is laid up is what inputs hold, so no row is withdrawn before it is there. Only look-up joins want
//! to see their table before the rows that ask; for them inputs have an order ([`Dataflow::fill_order`]).

use std::collections::BTreeSet;

use gridhouse_base::{ChangeBatch, Result};

use crate::dataflow::{Dataflow, new_version};
use crate::operator::TickContext;

impl Dataflow {
    /// Takes what is laid up through the operators, without ending the tick.
    ///
    /// # Errors
    /// As [`Dataflow::finish_tick`].
    pub fn work(&mut self, ctx: &TickContext) -> Result<()> {
        self.check_alive()?;
        self.failed = true;
        self.version = new_version();
        self.is_within = true;
        for node in 0..self.nodes.len() {
            self.work_node(node, ctx).map_err(|error| error.context(self.nodes[node].title()))?;
        }
        self.failed = false;
        Ok(())
    }

    /// Takes what an output has been given in this tick so far, not summed up. Whoever does so sums it up with what the end of
    /// the tick gives.
    pub fn take_given(&mut self, output: usize) -> Vec<ChangeBatch> {
        self.produced.get_mut(output).map(std::mem::take).unwrap_or_default()
    }

    /// An order of the inputs in which each may be worked off before the next is laid up; `None` where there is none, so that
    /// all of them have to be laid up before anything is worked off.
    pub fn fill_order(&self) -> Option<Vec<usize>> {
        self.order(true).or_else(|| self.order(false))
    }

    /// As [`Dataflow::fill_order`]; only if `kindly`, operators also get first what spares them changes that are taken back.
    fn order(&self, kindly: bool) -> Option<Vec<usize>> {
        // The inputs that each node is made from.
        let mut from: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.nodes.len()];
        let mut before: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if let Some(input) = self.inputs.iter().position(|&input| input == number) {
                from[number].insert(input);
            }
            for &input in &node.inputs {
                let of_input = from[input].clone();
                from[number].extend(of_input);
            }
            let Some(operator) = &node.operator else { continue };
            if !operator.answers_at_once() && !kindly {
                continue;
            }
            for (one, &first) in node.inputs.iter().enumerate() {
                for (other, &second) in node.inputs.iter().enumerate() {
                    if operator.turn(one) < operator.turn(other) {
                        before.extend(from[first].iter().flat_map(|&a| from[second].iter().map(move |&b| (a, b))));
                    }
                }
            }
        }
        let mut rest: BTreeSet<usize> = (0..self.inputs.len()).collect();
        let mut order = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let is_free = |input: &usize| before.iter().all(|(a, b)| b != input || !rest.contains(a));
            let next = rest.iter().copied().find(is_free)?;
            rest.remove(&next);
            order.push(next);
        }
        Some(order)
    }
}
