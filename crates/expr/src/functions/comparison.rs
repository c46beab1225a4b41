//! Comparisons.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_ord::cmp;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::cast::{common_type, implicit_cast};
use crate::expr::Expr;

pub(crate) static FUNCTIONS: &[Function] = &[
    compare("=", &["=="], &["a = b"]),
    compare("<>", &["!="], &["a <> b"]),
    compare("<", &[], &["a < b"]),
    compare("<=", &[], &["a <= b"]),
    compare(">", &[], &["a > b"]),
    compare(">=", &[], &["a >= b"]),
];

const fn compare(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Comparison,
        volatility: Volatility::Pure,
        notation: Notation::Infix,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

fn bind(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [left, right] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let types = [left.sql_type().clone(), right.sql_type().clone()];
    let common = common_type(&types).ok_or_else(|| function.wrong_types(&[left.clone(), right.clone()]))?;
    let args = vec![implicit_cast(left, &common)?, implicit_cast(right, &common)?];
    Ok(function.call(args, SqlType { kind: TypeKind::Boolean, nullable: common.nullable }))
}

fn eval(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, right) = (call.args[0].datum(), call.args[1].datum());
    let (left, right) = (left.as_ref(), right.as_ref());
    let result = match call.function.name {
        "=" => cmp::eq(left, right),
        "<>" => cmp::neq(left, right),
        "<" => cmp::lt(left, right),
        "<=" => cmp::lt_eq(left, right),
        ">" => cmp::gt(left, right),
        _ => cmp::gt_eq(left, right),
    };
    Ok(Arc::new(result.map_err(|e| Error::internal("a comparison failed").caused_by(e))?))
}
