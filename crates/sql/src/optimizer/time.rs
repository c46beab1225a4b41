//! Joins bounded in time: how far the row times of two rows that meet may lie apart.
//!
//! The condition stays as it is; the bound only says when a row can meet no other one any more, so that its state may go. It
//! may therefore be wider than the condition, never narrower.

use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::Expr;

use super::conjuncts;
use crate::plan::{Join, Plan, TimeBound};
use crate::properties::{TimeAttribute, time_attribute};

/// `plan` with a bound on every join that has one.
pub(super) fn bound(plan: Plan) -> Plan {
    match plan.map_inputs(&mut bound) {
        Plan::Join(mut node) => {
            node.time = time_bound(&node);
            Plan::Join(node)
        }
        plan => plan,
    }
}

/// `right + lower <= left <= right + upper`, either side perhaps missing.
struct Distance {
    left: usize,
    right: usize,
    lower: Option<i64>,
    upper: Option<i64>,
}

fn time_bound(node: &Join) -> Option<TimeBound> {
    let width = node.left.schema().len();
    let is_row_time = |left: usize, right: usize| {
        time_attribute(&node.left, left) == Some(TimeAttribute::Row)
            && time_attribute(&node.right, right) == Some(TimeAttribute::Row)
    };
    let mut known: Vec<Distance> = Vec::new();
    let same = node.keys.iter().filter(|key| !key.null_safe);
    known.extend(same.map(|key| Distance { left: key.left, right: key.right, lower: Some(0), upper: Some(0) }));
    for conjunct in node.residual.clone().into_iter().flat_map(conjuncts) {
        let Some(found) = distance(&conjunct, width) else { continue };
        match known.iter_mut().find(|d| (d.left, d.right) == (found.left, found.right)) {
            Some(d) => {
                d.lower = d.lower.max(found.lower);
                d.upper = [d.upper, found.upper].into_iter().flatten().min();
            }
            None => known.push(found),
        }
    }
    known
        .into_iter()
        .filter(|d| is_row_time(d.left, d.right))
        .find_map(|d| Some(TimeBound { left: d.left, right: d.right, lower_millis: d.lower?, upper_millis: d.upper? }))
}

/// What a comparison says of the distance of a left and a right column.
fn distance(conjunct: &Expr, width: usize) -> Option<Distance> {
    let Expr::Call { function, args, .. } = conjunct else { return None };
    let [a, b] = args.as_slice() else { return None };
    let ((first, x), (second, y)) = (moved(a)?, moved(b)?);
    // first + x op second + y, so that first lies after second by y - x at most (<=) or at least (>=).
    let far = y.checked_sub(x)?;
    let (mut lower, mut upper) = match function.name {
        "<" | "<=" => (None, Some(far)),
        ">" | ">=" => (Some(far), None),
        "=" => (Some(far), Some(far)),
        _ => return None,
    };
    let (left, right) = match (first < width, second < width) {
        (true, false) => (first, second - width),
        (false, true) => {
            // The same distance seen from the other side.
            (lower, upper) = (upper.map(i64::wrapping_neg), lower.map(i64::wrapping_neg));
            (second, first - width)
        }
        _ => return None,
    };
    Some(Distance { left, right, lower, upper })
}

/// A column and the milliseconds that are added to it.
fn moved(expr: &Expr) -> Option<(usize, i64)> {
    match expr {
        Expr::Column { index, .. } => Some((*index, 0)),
        Expr::Cast { input, sql_type, .. } if keeps_millis(input.kind(), &sql_type.kind) => moved(input),
        Expr::Call { function, args, .. } => {
            let [a, b] = args.as_slice() else { return None };
            let (time, interval) = match (millis(a), millis(b)) {
                (None, Some(interval)) => (a, interval),
                (Some(interval), None) if function.name == "+" => (b, interval),
                _ => return None,
            };
            let (column, known) = moved(time)?;
            let by = match function.name {
                "+" => interval,
                "-" => interval.checked_neg()?,
                _ => return None,
            };
            Some((column, known.checked_add(by)?))
        }
        _ => None,
    }
}

/// The value of an interval of days and less.
fn millis(expr: &Expr) -> Option<i64> {
    match (expr.kind(), expr.as_literal()) {
        (TypeKind::IntervalDayTime, Some(Value::Integer(millis))) => Some(*millis),
        _ => None,
    }
}

fn keeps_millis(from: &TypeKind, to: &TypeKind) -> bool {
    match (from, to) {
        (TypeKind::Timestamp(_), TypeKind::Timestamp(digits))
        | (TypeKind::TimestampLtz(_), TypeKind::TimestampLtz(digits)) => *digits >= 3,
        _ => false,
    }
}
