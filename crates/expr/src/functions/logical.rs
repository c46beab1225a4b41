//! AND, OR, NOT and the truth tests, in three-valued logic.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, cast::AsArray};
use arrow_buffer::BooleanBuffer;
use gridhouse_base::{Result, SqlType, TypeKind};

use super::{Binding, Call, Family, Function, Notation, Volatility, lowered};
use crate::cast::cast;
use crate::expr::Expr;

const fn operator(
    name: &'static str,
    notation: Notation,
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::Logical,
        volatility: Volatility::Pure,
        notation,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    operator("AND", Notation::Infix, &["a AND b"], bind_and, lowered),
    operator("OR", Notation::Infix, &["a OR b"], bind_or, lowered),
    operator("NOT", Notation::Prefix("NOT "), &["NOT a"], bind_not, |c| Ok(not(c))),
    operator("IS TRUE", Notation::Postfix, &["a IS TRUE"], bind_test, |c| Ok(test(c, true, true))),
    operator("IS NOT TRUE", Notation::Postfix, &["a IS NOT TRUE"], bind_test, |c| Ok(test(c, true, false))),
    operator("IS FALSE", Notation::Postfix, &["a IS FALSE"], bind_test, |c| Ok(test(c, false, true))),
    operator("IS NOT FALSE", Notation::Postfix, &["a IS NOT FALSE"], bind_test, |c| Ok(test(c, false, false))),
    operator("IS UNKNOWN", Notation::Postfix, &["a IS UNKNOWN"], bind_unknown, lowered),
    operator("IS NOT UNKNOWN", Notation::Postfix, &["a IS NOT UNKNOWN"], bind_unknown, lowered),
];

/// Operands as BOOLEAN; a bare NULL becomes one.
fn booleans(function: &'static Function, args: Vec<Expr>) -> Result<Vec<Expr>> {
    if args.iter().any(|arg| !matches!(arg.kind(), TypeKind::Boolean | TypeKind::Null)) {
        return Err(function.wrong_types(&args));
    }
    args.into_iter().map(|arg| cast(arg, &TypeKind::Boolean.nullable(), false)).collect()
}

fn bind_and(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let mut operands = Vec::with_capacity(args.len());
    for arg in booleans(function, args)? {
        match arg {
            Expr::And(inner) => operands.extend(inner),
            other => operands.push(other),
        }
    }
    if operands.len() < 2 {
        return Err(function.wrong_count(operands.len()));
    }
    Ok(Expr::And(operands))
}

fn bind_or(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let mut operands = Vec::with_capacity(args.len());
    for arg in booleans(function, args)? {
        match arg {
            Expr::Or(inner) => operands.extend(inner),
            other => operands.push(other),
        }
    }
    if operands.len() < 2 {
        return Err(function.wrong_count(operands.len()));
    }
    Ok(Expr::Or(operands))
}

fn single(function: &'static Function, args: Vec<Expr>) -> Result<Vec<Expr>> {
    if args.len() != 1 {
        return Err(function.wrong_count(args.len()));
    }
    booleans(function, args)
}

fn bind_not(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = single(function, args)?;
    let sql_type = args[0].sql_type().clone();
    Ok(function.call(args, sql_type))
}

fn bind_test(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = single(function, args)?;
    Ok(function.call(args, SqlType { kind: TypeKind::Boolean, nullable: false }))
}

fn bind_unknown(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = single(function, args)?;
    super::resolve(if function.name == "IS UNKNOWN" { "IS NULL" } else { "IS NOT NULL" }, args)
}

fn not(call: &Call<'_>) -> ArrayRef {
    let mask = call.args[0].array.as_boolean();
    Arc::new(BooleanArray::new(!mask.values(), mask.nulls().cloned()))
}

/// Whether the operand is `wanted` (NULL is not), or the opposite of that.
fn test(call: &Call<'_>, wanted: bool, positive: bool) -> ArrayRef {
    let mask = call.args[0].array.as_boolean();
    let equal = if wanted { mask.values().clone() } else { !mask.values() };
    let is: BooleanBuffer = match mask.nulls() {
        Some(nulls) => &equal & nulls.inner(),
        None => equal,
    };
    Arc::new(BooleanArray::new(if positive { is } else { !&is }, None))
}
