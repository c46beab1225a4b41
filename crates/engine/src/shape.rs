//! A look-up whose constants can be replaced: what two texts that differ in their constants alone have in common.
//!
//! From one text it is not known where in the plan its constants went; from two it is. Both have been read, bound and optimised
//! as any statement. A constant that differs between them must be one that the query compares a column with
//! ([`gridhouse_sql::Compared`]), and must be found in the conditions of both plans at one place, as it stands there or in a
//! wider type of whole numbers; with these places put right, the two plans must be equal. A constant that is the same in both
//! must be so in every further text. The type of a constant decides how a condition is bound, so it must be that of the
//! example; only the length of a text does not matter to a comparison of texts.

use std::sync::Arc;

use chrono_tz::Tz;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Position, TypeKind, Value};
use gridhouse_expr::Expr;
use gridhouse_sql::{Compared, Plan};

use crate::catalog::Catalog;
use crate::cut::{Cut, unquoted};

/// A text that was a look-up, with its plan, and what of it may be replaced.
pub(crate) struct Shape {
    /// The catalog that the plan was bound over.
    pub(crate) catalog: Arc<Catalog>,
    /// Where the statement begins.
    pub(crate) position: Position,
    /// The bytes before the statement, and those behind it.
    around: (usize, usize),
    constants: Vec<Constant>,
    /// The plan of the text that `constants` are of.
    plan: Arc<Plan>,
    /// The plan of the newest text of this shape: as `plan`, with other constants.
    newest: Arc<Plan>,
    /// Where the constants that may be replaced stand, by the number of the literal in the plan's conditions; none as long as
    /// only one text of this shape is known.
    places: Option<Vec<Place>>,
}

/// A constant of the text.
struct Constant {
    text: String,
    /// If a column is compared with it: how it is written, and the typed form of `text`.
    compared: Option<(Compared, Expr)>,
    /// Whether it may be replaced.
    is_free: bool,
}

/// Which literal is which constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    literal: usize,
    constant: usize,
}

impl Shape {
    /// The look-up that `script` was: one statement `statement` at `position`.
    pub(crate) fn new(
        script: &str,
        cut: &Cut,
        (position, statement): (Position, &str),
        catalog: Arc<Catalog>,
        plan: Arc<Plan>,
        compared: &[Compared],
        zone: Tz,
    ) -> Option<Self> {
        let start = offset_of(script, position)?;
        let end = start + statement.len();
        if script.get(start..end) != Some(statement) {
            return None;
        }
        let within = |range: &std::ops::Range<usize>| range.start >= start && range.end <= end;
        if !cut.constants().iter().all(within) {
            return None;
        }
        let mut constants: Vec<Constant> = Vec::with_capacity(cut.constants().len());
        for range in cut.constants() {
            constants.push(Constant { text: script[range.clone()].to_owned(), compared: None, is_free: false });
        }
        for compared in compared {
            let at = offset_of(script, compared.at)?;
            // A word may stand before it: DATE '2026-01-31'.
            let index = cut.constants().partition_point(|range| range.start < at);
            let Some(range) = cut.constants().get(index) else { continue };
            let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte.is_ascii_whitespace();
            let constant = &mut constants[index];
            if script[at..range.start].bytes().all(is_word) && said(&constant.text) == compared.text {
                let bound = compared.with(&compared.text, zone).ok()?;
                constant.compared = Some((compared.clone(), bound));
            }
        }
        let around = (start, script.len() - end);
        Some(Self { catalog, position, around, constants, newest: plan.clone(), plan, places: None })
    }

    /// What this text and `other`, which has the same mask, have in common, if it is known by now which constants went where.
    pub(crate) fn learnt(mut self, other: &Self) -> Self {
        self.places = self.places_beside(other);
        if let Some(places) = &self.places {
            for place in places {
                self.constants[place.constant].is_free = true;
            }
        }
        self
    }

    fn places_beside(&self, other: &Self) -> Option<Vec<Place>> {
        if self.constants.len() != other.constants.len() || !Arc::ptr_eq(&self.catalog, &other.catalog) {
            return None;
        }
        let differs = |i: &usize| self.constants[*i].text != other.constants[*i].text;
        let free: Vec<usize> = (0..self.constants.len()).filter(differs).collect();
        let (own, others) = (literals(&self.plan), literals(&other.plan));
        if own.len() != others.len() {
            return None;
        }
        let mut places = Vec::new();
        for (literal, (own, others)) in own.iter().zip(&others).enumerate() {
            if own == others {
                continue;
            }
            let is_here = |i: &usize| {
                let (own_constant, other_constant) = (&self.constants[*i], &other.constants[*i]);
                let (Some((_, a)), Some((_, b))) = (&own_constant.compared, &other_constant.compared) else {
                    return false;
                };
                brought_to(own, a, a).as_ref() == Some(own) && brought_to(own, a, b).as_ref() == Some(others)
            };
            let mut found = free.iter().copied().filter(is_here);
            // Two constants that changed in the same way cannot be told apart; others will show.
            let (Some(constant), None) = (found.next(), found.next()) else { return None };
            places.push(Place { literal, constant });
        }
        let is_placed = |constant: &usize| places.iter().any(|place| place.constant == *constant);
        if free.is_empty() || !free.iter().all(is_placed) {
            return None;
        }
        // Nothing else may differ.
        let mut moved = (*other.plan).clone();
        let mut next = 0;
        each_literal(&mut moved, &mut |expr| {
            if places.iter().any(|place| place.literal == next) {
                expr.clone_from(own[next]);
            }
            next += 1;
        });
        (moved == *self.plan).then_some(places)
    }

    /// The statement's text and plan if `script`, which has this mask, is this look-up with other constants.
    pub(crate) fn with(&mut self, script: &str, cut: &Cut, zone: Tz) -> Option<(String, Arc<Plan>)> {
        let places = self.places.as_ref()?;
        let mut bound = Vec::with_capacity(self.constants.len());
        for (constant, range) in self.constants.iter().zip(cut.constants()) {
            let text = &script[range.clone()];
            match &constant.compared {
                Some((compared, example)) if constant.is_free => {
                    let given = if text.starts_with('\'') {
                        compared.with(&unquoted(text), zone)
                    } else {
                        compared.with(text, zone)
                    };
                    bound.push(Some(given.ok().filter(|given| is_like(given, example))?));
                }
                _ if text == constant.text => bound.push(None),
                _ => return None,
            }
        }
        let plan = Arc::make_mut(&mut self.newest);
        let (mut next, mut is_whole) = (0, true);
        each_literal(plan, &mut |expr| {
            if let Some(place) = places.iter().find(|place| place.literal == next) {
                let given = bound[place.constant].as_ref();
                let example = self.constants[place.constant].compared.as_ref().map(|(_, example)| example);
                match given.zip(example).and_then(|(given, example)| brought_to(expr, example, given)) {
                    Some(brought) => *expr = brought,
                    None => is_whole = false,
                }
            }
            next += 1;
        });
        let statement = &script[self.around.0..script.len() - self.around.1];
        is_whole.then(|| (statement.to_owned(), self.newest.clone()))
    }
}

/// What a constant says: a number as it stands, a text without its quotes.
fn said(text: &str) -> String {
    if text.starts_with('\'') { unquoted(text) } else { text.to_owned() }
}

/// Whether `given` is bound wherever `example` is as that is.
fn is_like(given: &Expr, example: &Expr) -> bool {
    given.sql_type() == example.sql_type()
        || matches!((given.kind(), example.kind()), (TypeKind::Char(_), TypeKind::Char(_)))
}

/// What stands at the place of `literal` if the constant there, which was `example`, is `given`: itself, or the same whole
/// number or moment in the wider type that the place has.
fn brought_to(literal: &Expr, example: &Expr, given: &Expr) -> Option<Expr> {
    let (Expr::Literal { sql_type, .. }, Expr::Literal { value, sql_type: own }) = (literal, given) else {
        return None;
    };
    if is_like(literal, example) {
        return Some(given.clone());
    }
    let Value::Integer(value) = *value else { return None };
    let value = match (&own.kind, &sql_type.kind) {
        (TypeKind::Int, TypeKind::BigInt) => Value::Integer(value),
        (TypeKind::Int | TypeKind::BigInt, TypeKind::Decimal { scale: 0, .. }) => Value::Decimal(value.into()),
        (TypeKind::Timestamp(own), TypeKind::Timestamp(wider))
        | (TypeKind::TimestampLtz(own), TypeKind::TimestampLtz(wider))
            if own <= wider =>
        {
            let finer = timestamp_units_per_second(*wider) / timestamp_units_per_second(*own);
            Value::Integer(value.checked_mul(finer)?)
        }
        _ => return None,
    };
    Some(Expr::literal(value, sql_type.clone()))
}

/// The literals in the conditions of a plan that is a look-up, in a fixed order.
fn literals(plan: &Plan) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut plan = plan;
    loop {
        plan = match plan {
            Plan::Filter(node) => {
                within(&node.predicate, &mut found);
                &node.input
            }
            Plan::Project(node) => &node.input,
            Plan::Limit(node) => &node.input,
            Plan::Sort(node) => &node.input,
            _ => return found,
        };
    }
}

fn within<'e>(expr: &'e Expr, found: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Literal { .. } => found.push(expr),
        other => other.children().into_iter().for_each(|child| within(child, found)),
    }
}

/// As [`literals`], to be changed.
fn each_literal(plan: &mut Plan, f: &mut dyn FnMut(&mut Expr)) {
    let mut plan = plan;
    loop {
        plan = match plan {
            Plan::Filter(node) => {
                each_within(&mut node.predicate, f);
                &mut node.input
            }
            Plan::Project(node) => &mut node.input,
            Plan::Limit(node) => &mut node.input,
            Plan::Sort(node) => &mut node.input,
            _ => return,
        };
    }
}

fn each_within(expr: &mut Expr, f: &mut dyn FnMut(&mut Expr)) {
    match expr {
        Expr::Column { .. } => {}
        Expr::Literal { .. } => f(expr),
        Expr::Call { args, .. } | Expr::And(args) | Expr::Or(args) => {
            args.iter_mut().for_each(|arg| each_within(arg, f))
        }
        Expr::Cast { input, .. } => each_within(input, f),
        Expr::Case { branches, otherwise, .. } => {
            for (when, then) in branches {
                each_within(when, f);
                each_within(then, f);
            }
            each_within(otherwise, f);
        }
    }
}

/// The byte of `text` that stands at `position`.
fn offset_of(text: &str, position: Position) -> Option<usize> {
    let mut start = 0;
    for _ in 1..position.line {
        start += text[start..].find('\n')? + 1;
    }
    let (offset, _) = text[start..].char_indices().nth(position.column.checked_sub(1)? as usize)?;
    Some(start + offset)
}
