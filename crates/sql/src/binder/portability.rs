//! Types that the binder mixes and Flink 1.20 does not. Which functions Flink lacks is known where functions are.

use gridhouse_base::{Position, TypeKind};
use gridhouse_expr::Expr;

use super::Binder;

/// Comparisons.
const COMPARISONS: &[&str] = &["=", "<>", "<", "<=", ">", ">=", "BETWEEN", "IN"];

impl Binder<'_> {
    /// Notes that `operator` compares a text with a number, if it does.
    pub(super) fn note_mixed_comparison(&self, operator: &str, args: &[Expr], at: Position) {
        if COMPARISONS.contains(&operator) {
            self.note_mixed("compare", args, at);
        }
    }

    /// Notes that texts stand beside numbers, where Flink wants one kind.
    pub(super) fn note_mixed(&self, what: &str, exprs: &[Expr], at: Position) {
        let of = |test: fn(&TypeKind) -> bool| exprs.iter().map(Expr::kind).find(|kind| test(kind));
        if let (Some(text), Some(number)) = (of(TypeKind::is_text), of(TypeKind::is_numeric)) {
            self.note(format!("Flink does not {what} {number} with {text}: write a CAST"), at);
        }
    }
}
