//! What expressions of a query level ask that is no expression: subqueries and window functions.
//!
//! While the expressions of a clause are bound, each of these is noted here and stands in the expression as a column of
//! [`SUBQUERY`] or [`WINDOW`] and more. Then the plan gets what answers it, and the columns are replaced.

use std::cell::RefCell;

use gridhouse_base::{Position, SqlType, TypeKind};
use gridhouse_expr::Expr;

use super::around::Around;
use super::correlate::replaced;
use crate::ast::NamedWindow;
use crate::plan::Plan;
use crate::properties::is_deterministic;

/// Column indices from here on mean answers of subqueries.
pub(super) const SUBQUERY: usize = 1 << 42;

/// Column indices from here on mean values of window functions.
pub(super) const WINDOW: usize = 1 << 43;

/// Where expressions may ask.
#[derive(Clone, Copy)]
pub(super) struct Nest<'s> {
    /// What was asked.
    pub pending: &'s RefCell<Pending>,
    /// What subqueries see besides the columns of this level.
    pub around: &'s Around<'s>,
    /// The windows of the `WINDOW` clause, where window functions may stand.
    pub windows: Option<&'s [NamedWindow]>,
}

/// What the expressions of a query level ask.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Subqueries, in the order in which they were bound: one may be asked with the answer of an earlier one.
    pub asked: Vec<Asked>,
    /// The answers found so far, over the plan as it is then.
    pub answers: Vec<Option<Expr>>,
    /// Window functions.
    pub windows: Vec<Window>,
}

/// A subquery in an expression.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// What is asked of it.
    pub question: Question,
    /// The subquery.
    pub plan: Plan,
    /// Where it stands.
    pub at: Position,
}

/// What is asked of a subquery.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// Its one value.
    Value,
    /// Whether it has rows.
    Exists,
    /// Whether these values are one of its rows.
    In {
        /// One value per column.
        operands: Vec<Expr>,
        /// Whether it matters that an answer is unknown, not false.
        exact: bool,
    },
}

/// A window function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    /// `PARTITION BY`
    pub partition: Vec<Expr>,
    /// `ORDER BY`: the expression, whether descending, whether NULL comes first.
    pub order: Vec<(Expr, bool, bool)>,
}

impl Pending {
    /// Notes a subquery; gives the column that stands for its answer.
    pub fn ask(&mut self, asked: Asked, sql_type: SqlType) -> Expr {
        // Two draws are two draws, however alike they are written.
        let pure = is_deterministic(&asked.plan);
        let same = |known: &Asked| pure && known.question == asked.question && known.plan == asked.plan;
        let index = match self.asked.iter().position(same) {
            Some(index) => index,
            None => {
                self.asked.push(asked);
                self.answers.push(None);
                self.asked.len() - 1
            }
        };
        Expr::Column { index: SUBQUERY + index, sql_type }
    }

    /// The same questions, none of them answered.
    pub fn unanswered(&self) -> Self {
        Self { asked: self.asked.clone(), answers: vec![None; self.asked.len()], windows: Vec::new() }
    }

    /// Notes a window; gives the column that stands for the row's place in it.
    pub fn place(&mut self, window: Window) -> Expr {
        let index = match self.windows.iter().position(|known| *known == window) {
            Some(index) => index,
            None => {
                self.windows.push(window);
                self.windows.len() - 1
            }
        };
        Expr::Column { index: WINDOW + index, sql_type: TypeKind::BigInt.not_null() }
    }

    /// `expr` with the answers that there are.
    pub fn answered(&self, expr: &Expr) -> Expr {
        replaced(expr, &|index, _| self.answers.get(index.checked_sub(SUBQUERY)?).cloned().flatten())
    }

    /// The subqueries that `exprs` ask, and those whose answers these are asked with.
    pub fn asked_by<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> Vec<bool> {
        let mut wanted = vec![false; self.asked.len()];
        let see = |wanted: &mut Vec<bool>, expr: &Expr| {
            expr.for_each_column(|index| {
                if let Some(asked) = index.checked_sub(SUBQUERY).and_then(|index| wanted.get_mut(index)) {
                    *asked = true;
                }
            });
        };
        exprs.into_iter().for_each(|expr| see(&mut wanted, expr));
        for (index, asked) in self.asked.iter().enumerate().rev() {
            if let (true, Question::In { operands, .. }) = (wanted[index], &asked.question) {
                operands.iter().for_each(|operand| see(&mut wanted, operand));
            }
        }
        wanted
    }
}
