//! The constants that a query compares columns with, for whoever wants to run a query again with others.
//!
//! `WHERE k = 5 AND name IN ('a', 'b')`: what such a constant is becomes part of the plan, and of nothing else; how the query is
//! bound depends on the constant's type alone. All other constants (of a select list, a LIMIT, an ORDER BY, a condition of any
//! other form) may shape a query, and are not told of.

use chrono_tz::Tz;
use gridhouse_base::{Position, Result};
use gridhouse_expr::Expr;

use super::literal;
use crate::ast::{self, ExprKind, Literal, Query, QueryBody, TableKind};

/// How a constant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Number { negative: bool },
    Text,
    Date,
    Time,
    Timestamp,
    TimestampLtz,
}

/// A constant that a query compares a column with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Where it begins: its first digit, its quote, or the word before that (`DATE '…'`).
    pub at: Position,
    /// Its digits, or what stands between the quotes, `''` as one quote.
    pub text: String,
    form: Form,
}

impl Compared {
    /// The typed constant that the query would have if `text` were written in place of [`Compared::text`].
    ///
    /// # Errors
    /// `Invalid` where `text` is not a value of such a constant's type.
    pub fn with(&self, text: &str, zone: Tz) -> Result<Expr> {
        match self.form {
            Form::Number { negative } => literal::number(text, negative),
            Form::Text => Ok(Expr::text(text)),
            Form::Date => literal::literal(&Literal::Date(text.to_owned()), zone),
            Form::Time => literal::literal(&Literal::Time(text.to_owned()), zone),
            Form::Timestamp => literal::literal(&Literal::Timestamp(text.to_owned()), zone),
            Form::TimestampLtz => literal::literal(&Literal::TimestampLtz(text.to_owned()), zone),
        }
    }
}

/// The constants that `query` compares columns with, in the order in which they are written; none unless it is one `SELECT`
/// from one name, with nothing but an order and a limit around it.
pub fn compared(query: &Query) -> Vec<Compared> {
    let mut found = Vec::new();
    let QueryBody::Select(select) = &query.body else { return found };
    let is_plain = query.with.is_empty()
        && !select.distinct
        && select.group_by.is_none()
        && select.having.is_none()
        && select.windows.is_empty();
    let from_one_name = match select.from.as_slice() {
        [table] => matches!(&table.kind, TableKind::Named { hints, as_of: None, .. } if hints.is_empty()),
        _ => false,
    };
    if let Some(condition) = select.selection.as_ref().filter(|_| is_plain && from_one_name) {
        of_condition(condition, &mut found);
    }
    found
}

fn of_condition(condition: &ast::Expr, found: &mut Vec<Compared>) {
    let is_name = |expr: &ast::Expr| matches!(expr.kind, ExprKind::Name(_));
    match &condition.kind {
        ExprKind::And(operands) => operands.iter().for_each(|operand| of_condition(operand, found)),
        ExprKind::Binary { operator: "=", left, right } if is_name(left) => found.extend(constant(right)),
        ExprKind::Binary { operator: "=", left, right } if is_name(right) => found.extend(constant(left)),
        ExprKind::InList { operand, list, negated: false } if is_name(operand) => {
            found.extend(list.iter().filter_map(constant));
        }
        _ => {}
    }
}

fn constant(expr: &ast::Expr) -> Option<Compared> {
    // As the binder reads signs: they belong to the number.
    let (mut negative, mut is_signed, mut inner) = (false, false, expr);
    while let ExprKind::Sign { negative: minus, operand } = &inner.kind {
        (negative, is_signed, inner) = (negative != *minus, true, operand);
    }
    let ExprKind::Literal(literal) = &inner.kind else { return None };
    let (text, form) = match literal {
        Literal::Number(text) => (text, Form::Number { negative }),
        _ if is_signed => return None,
        Literal::Text(text) => (text, Form::Text),
        Literal::Date(text) => (text, Form::Date),
        Literal::Time(text) => (text, Form::Time),
        Literal::Timestamp(text) => (text, Form::Timestamp),
        Literal::TimestampLtz(text) => (text, Form::TimestampLtz),
        Literal::Null | Literal::Boolean(_) | Literal::Hex(_) | Literal::Interval { .. } => return None,
    };
    Some(Compared { at: inner.at, text: text.clone(), form })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::parse_query;

    fn texts(sql: &str) -> Vec<String> {
        let found = compared(&parse_query(sql).unwrap());
        found.iter().map(|c| format!("{} {}", c.at, c.text)).collect()
    }

    #[test]
    fn constants_that_only_a_condition_sees() {
        let sql = "SELECT a, 7 FROM t WHERE k = -5 AND 'it''s' = name AND d IN (1.5, 2) AND at_day = DATE '2026-01-31' LIMIT 3";
        let expected = ["1:31 5", "1:37 it's", "1:62 1.5", "1:67 2", "1:83 2026-01-31"];
        assert_eq!(texts(sql), expected);
        for other in [
            "SELECT k FROM t WHERE k + 1 = 5",
            "SELECT k FROM t WHERE k > 5 OR k = 5",
            "SELECT k FROM t WHERE NOT k = 5",
            "SELECT k FROM t WHERE k NOT IN (5, 6)",
            "SELECT k FROM t WHERE k = NULL AND 1 = 1 AND b = TRUE AND x = X'0a'",
            "SELECT k FROM t, u WHERE k = 5",
            "SELECT k FROM t /*+ OPTIONS('a' = 'b') */ WHERE k = 5",
            "SELECT DISTINCT k FROM t WHERE k = 5",
            "SELECT k FROM t WHERE k = 5 GROUP BY k",
            "WITH t AS (SELECT 1 AS k) SELECT k FROM t WHERE k = 5",
            "SELECT k FROM t WHERE k = 5 UNION ALL SELECT k FROM u WHERE k = 5",
        ] {
            assert_eq!(texts(other), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn another_text_has_the_type_that_it_would_have_there() {
        let found =
            compared(&parse_query("SELECT k FROM t WHERE k = - 5 AND d = 1.5 AND day = DATE '2026-01-31'").unwrap());
        let with = |i: usize, text: &str| found[i].with(text, Tz::UTC).map(|expr| expr.sql_type().to_string());
        assert_eq!(with(0, "2147483648").unwrap(), "INT NOT NULL");
        assert_eq!(with(0, "2147483649").unwrap(), "BIGINT NOT NULL");
        assert_eq!(with(1, "22.75").unwrap(), "DECIMAL(4, 2) NOT NULL");
        assert_eq!(with(2, "2026-02-01").unwrap(), "DATE NOT NULL");
        assert!(with(2, "2026-02-31").is_err() && with(0, "1x").is_err());
    }
}
