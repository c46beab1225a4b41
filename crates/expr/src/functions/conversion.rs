//! Conversions that are functions: the checked cast that the program inserts itself, and TYPEOF.

use arrow_array::{Array, ArrayRef};
use gridhouse_base::{Error, Result, TypeKind, Value};

use super::{Binding, Call, Family, Function, Notation, Volatility, lowered};
use crate::cast::cast_array;
use crate::expr::Expr;
use crate::text::format_value;

pub(crate) static FUNCTIONS: &[Function] = &[Function {
    name: "TYPEOF",
    aliases: &[],
    family: Family::Conversion,
    volatility: Volatility::Pure,
    notation: Notation::Call,
    signatures: &["TYPEOF(x)", "TYPEOF(x, with_full_names)"],
    binding: Binding::Custom(bind_typeof),
    eval: lowered,
}];

/// The type's text; with full names `STRING` is `VARCHAR(2147483647)`, as where a type must be read again.
fn bind_typeof(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let full = match (args.get(1).map(Expr::as_literal), args.len()) {
        (None, 1) => false,
        (Some(Some(Value::Boolean(full))), 2) => *full,
        (_, 2) => return Err(function.wrong_types(&args)),
        (_, n) => return Err(function.wrong_count(n)),
    };
    let mut text = args[0].sql_type().to_string();
    if full {
        text = text.replace("STRING", "VARCHAR(2147483647)").replace("BYTES", "VARBINARY(2147483647)");
    }
    Ok(Expr::literal(Value::Text(text.into()), TypeKind::STRING.nullable()))
}

/// Narrows a whole number, and fails where the value would change. A user who wants Flink's wrapping writes CAST.
pub(crate) static CHECKED_CAST: Function = Function {
    name: "CHECKED_CAST",
    aliases: &[],
    family: Family::Conversion,
    volatility: Volatility::Pure,
    notation: Notation::Call,
    signatures: &["CAST(x AS type)"],
    binding: Binding::Custom(|function, args| Err(function.wrong_types(&args))),
    eval: checked_cast,
};

fn checked_cast(call: &Call<'_>) -> Result<ArrayRef> {
    let (from, to) = (call.kind(0), &call.sql_type.kind);
    let source = &call.args[0].spread(call.len)?;
    let narrow = cast_array(source, from, to, false, call.ctx)?;
    let back = cast_array(&narrow, to, from, false, call.ctx)?;
    if source.as_ref() == back.as_ref() {
        return Ok(narrow);
    }
    let differs = |row: &usize| source.slice(*row, 1).as_ref() != back.slice(*row, 1).as_ref();
    let row = (0..source.len()).find(differs).unwrap_or(0);
    let value = format_value(source, row, from, call.ctx.zone).unwrap_or_else(|| "NULL".into());
    Err(Error::invalid(format!("{from} value {value} does not fit {to}"))
        .hint(format!("widen the target to {from}, or write CAST(… AS {to}) where wrapping is meant")))
}
