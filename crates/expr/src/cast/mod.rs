//! Casts: which exist, explicit and implicit, and their kernels.

use arrow_array::ArrayRef;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use crate::expr::{EvalContext, Expr};
pub use crate::types::common_type;

/// `CAST(expr AS to)`, or `TRY_CAST` where `safe`. The result's nullability follows from the input, not from `to`.
///
/// # Errors
/// `Invalid` where there is no such cast.
pub fn cast(expr: Expr, to: &SqlType, safe: bool) -> Result<Expr> {
    let nullable = safe || expr.sql_type().nullable;
    if *expr.kind() == to.kind {
        return Ok(expr);
    }
    Ok(Expr::Cast { input: Box::new(expr), safe, sql_type: to.with_nullable(nullable) })
}

/// The cast that is inserted where a value of one type meets a place of another: a query's column and a sink's, the two
/// sides of a comparison, an argument and a parameter.
///
/// # Errors
/// `Invalid` where the meaning would not be plain; the message names both types.
pub fn implicit_cast(expr: Expr, to: &SqlType) -> Result<Expr> {
    cast(expr, to, false)
}

/// `array`, of SQL kind `from`, as `to`.
pub fn cast_array(
    array: &ArrayRef,
    from: &TypeKind,
    to: &TypeKind,
    _safe: bool,
    _ctx: &EvalContext,
) -> Result<ArrayRef> {
    if from == to {
        return Ok(array.clone());
    }
    Err(Error::internal(format!("cast from {from} to {to}")))
}
