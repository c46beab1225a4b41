//! How far a watermark stays behind the largest row time.

use gridhouse_base::table::TableDef;
use gridhouse_base::{TypeKind, Value};

use crate::ast::{ExprKind, Literal};
use crate::binder::interval;
use crate::script::parse_expression;

/// The delay of a table's watermark in milliseconds, where it is declared as the row time itself or as the row time less an
/// `INTERVAL` of days to milliseconds. `None` where the table has no watermark, or one of another form, which says nothing of
/// when a row can still come.
pub fn watermark_delay_millis(table: &TableDef) -> Option<i64> {
    let watermark = table.watermark.as_ref()?;
    let column = &table.schema.columns[watermark.column].name;
    let expression = parse_expression(&watermark.expression).ok()?;
    let names_it =
        |kind: &ExprKind| matches!(kind, ExprKind::Name(parts) if parts.len() == 1 && parts[0].name == *column);
    match &expression.kind {
        kind if names_it(kind) => Some(0),
        ExprKind::Binary { operator: "-", left, right } if names_it(&left.kind) => {
            let ExprKind::Literal(Literal::Interval { negative, value, from, to }) = &right.kind else { return None };
            let delay = interval(*negative, value, from, *to).ok()?;
            match (delay.kind(), delay.as_literal()) {
                // A negative delay would promise rows that have not come.
                (TypeKind::IntervalDayTime, Some(Value::Integer(millis))) if *millis >= 0 => Some(*millis),
                _ => None,
            }
        }
        _ => None,
    }
}
