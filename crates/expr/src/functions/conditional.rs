//! Choices: CASE, IF, COALESCE, NULLIF, GREATEST, LEAST and ELT. All but the last three are lowered to CASE, so that what is
//! not chosen is not evaluated.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, cast::AsArray, types as at};
use arrow_ord::ord::make_comparator;
use arrow_schema::SortOptions;
use arrow_select::interleave::interleave;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::kernel::{numbers, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Volatility, lowered, resolve};
use crate::cast::{cast, implicit_cast};
use crate::expr::Expr;
use crate::types::{common_type, merged_type};

const fn function(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Conditional,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    function("COALESCE", &[], &["COALESCE(a, b, …)"], bind_coalesce, lowered),
    function("IFNULL", &["NVL"], &["IFNULL(a, b)"], bind_ifnull, lowered),
    function("NULLIF", &[], &["NULLIF(a, b)"], bind_nullif, lowered),
    function("IF", &[], &["IF(condition, a, b)"], bind_if, lowered),
    function("GREATEST", &[], &["GREATEST(a, b, …)"], bind_extreme, |c| extreme(c, Ordering::Greater)),
    function("ELT", &[], &["ELT(index, a, b, …)"], bind_elt, elt),
    function("LEAST", &[], &["LEAST(a, b, …)"], bind_extreme, |c| extreme(c, Ordering::Less)),
];

/// `CASE WHEN … THEN … ELSE … END`: conditions are BOOLEAN, results are cast to their common type, a missing ELSE is NULL.
///
/// # Errors
/// `Invalid` where a condition is not BOOLEAN or the results have no common type.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Result<Expr> {
    let otherwise = otherwise.unwrap_or_else(|| Expr::null(TypeKind::Null));
    let mut types: Vec<SqlType> = branches.iter().map(|(_, then)| then.sql_type().clone()).collect();
    types.push(otherwise.sql_type().clone());
    let Some(sql_type) = common_type(&types) else {
        let shown: Vec<String> = types.iter().map(|t| t.kind.to_string()).collect();
        return Err(Error::invalid(format!("the results of CASE have no common type: {}", shown.join(", ")))
            .hint("cast them to one type"));
    };
    let branch = |(when, then): (Expr, Expr)| {
        if !matches!(when.kind(), TypeKind::Boolean | TypeKind::Null) {
            let error = Error::invalid(format!("a condition of CASE is {}, not BOOLEAN: {when}", when.kind()));
            return Err(error.hint("compare it with something"));
        }
        Ok((cast(when, &TypeKind::Boolean.nullable(), false)?, fitted(then, &sql_type)?))
    };
    let branches = branches.into_iter().map(branch).collect::<Result<Vec<_>>>()?;
    let otherwise = Box::new(fitted(otherwise, &sql_type)?);
    Ok(Expr::Case { branches, otherwise, sql_type })
}

/// `CASE operand WHEN value THEN … END`.
///
/// # Errors
/// As [`case`], and where a value cannot be compared with the operand.
pub fn case_of(operand: &Expr, branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Result<Expr> {
    let compared = |(value, then)| Ok((resolve("=", vec![operand.clone(), value])?, then));
    case(branches.into_iter().map(compared).collect::<Result<Vec<_>>>()?, otherwise)
}

/// Common types are found without loss, except that text is a home for everything.
fn fitted(expr: Expr, to: &SqlType) -> Result<Expr> {
    implicit_cast(expr, to)
}

fn bind_coalesce(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() {
        return Err(function.wrong_count(0));
    }
    // What follows an operand that is never NULL is never reached.
    let reached = args.iter().position(|arg| !arg.sql_type().nullable).map_or(args.len(), |i| i + 1);
    let types: Vec<SqlType> = args.iter().map(|arg| arg.sql_type().clone()).collect();
    let common = merged_type(&types).ok_or_else(|| function.wrong_types(&args))?;
    let nullable = args[..reached].iter().all(|arg| arg.sql_type().nullable);
    let mut args = args.into_iter().take(reached).map(|arg| fitted(arg, &common)).collect::<Result<Vec<_>>>()?;
    let Some(last) = args.pop() else { return Err(function.wrong_count(0)) };
    if args.is_empty() {
        return Ok(last);
    }
    let branches = args.into_iter().map(|arg| Ok((resolve("IS NOT NULL", vec![arg.clone()])?, arg)));
    let branches = branches.collect::<Result<Vec<_>>>()?;
    Ok(Expr::Case { branches, otherwise: Box::new(last), sql_type: common.with_nullable(nullable) })
}

fn bind_ifnull(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 {
        return Err(function.wrong_count(args.len()));
    }
    // A text that is never NULL keeps its length, too; numbers become alike.
    let never_null = args.first().filter(|arg| !arg.sql_type().nullable && arg.kind().is_text()).cloned();
    let bound = bind_coalesce(function, args)?;
    Ok(never_null.unwrap_or(bound))
}

fn bind_nullif(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [a, b] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let equal = resolve("=", vec![a.clone(), b])?;
    let null = Expr::null(a.kind().clone());
    case(vec![(equal, null)], Some(a))
}

fn bind_if(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [condition, then, otherwise] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let unknown = condition.sql_type().nullable;
    let mut chosen = case(vec![(condition, then)], Some(otherwise))?;
    // It is not, but Flink says so: a condition that may be NULL makes the result's type nullable.
    if let Expr::Case { sql_type, .. } = &mut chosen {
        sql_type.nullable |= unknown;
    }
    Ok(chosen)
}

fn bind_extreme(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() {
        return Err(function.wrong_count(0));
    }
    let types: Vec<SqlType> = args.iter().map(|arg| arg.sql_type().clone()).collect();
    let common = merged_type(&types)
        .filter(|t| !matches!(t.kind, TypeKind::Map(..)))
        .ok_or_else(|| function.wrong_types(&args))?;
    let args = args.into_iter().map(|arg| fitted(arg, &common)).collect::<Result<Vec<_>>>()?;
    Ok(function.call(args, common))
}

/// The largest (or smallest) operand of each row; NULL where one of them is NULL, as in Flink.
fn extreme(call: &Call<'_>, wanted: Ordering) -> Result<ArrayRef> {
    let failed = |e| Error::internal(format!("{} failed", call.function.name)).caused_by(e);
    let valid = valid_rows(call.args, call.len);
    let mut places: Vec<(usize, usize)> = (0..call.len).map(|i| (0, call.args[0].at(i))).collect();
    for (a, left) in call.args.iter().enumerate() {
        for (b, right) in call.args.iter().enumerate().skip(a + 1) {
            let order = make_comparator(&right.array, &left.array, SortOptions::default()).map_err(failed)?;
            for (i, place) in places.iter_mut().enumerate() {
                if place.0 == a && order(right.at(i), left.at(i)) == wanted {
                    *place = (b, right.at(i));
                }
            }
        }
    }
    if let Some(valid) = valid {
        // A row with a NULL takes the NULL itself.
        for i in (0..call.len).filter(|&i| valid.is_null(i)) {
            let null = call.args.iter().position(|arg| arg.array.is_null(arg.at(i)));
            places[i] = null.map_or(places[i], |a| (a, call.args[a].at(i)));
        }
    }
    let arrays: Vec<&dyn Array> = call.args.iter().map(|arg| arg.array.as_ref()).collect();
    interleave(&arrays, &places).map_err(failed)
}

/// The text at a place, counted from 1.
fn bind_elt(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.len() < 2 {
        return Err(function.wrong_count(args.len()));
    }
    let textual = |arg: &Expr| arg.kind().is_text() || *arg.kind() == TypeKind::Null;
    if !(args[0].kind().is_integer() || *args[0].kind() == TypeKind::Null) || !args[1..].iter().all(textual) {
        return Err(function.wrong_types(&args));
    }
    args[0] = implicit_cast(args[0].clone(), &TypeKind::BigInt.nullable())?;
    for arg in &mut args[1..] {
        *arg = implicit_cast(arg.clone(), &TypeKind::STRING.nullable())?;
    }
    Ok(function.call(args, TypeKind::STRING.nullable()))
}

fn elt(call: &Call<'_>) -> Result<ArrayRef> {
    let (index, operand) = (numbers::<at::Int64Type>(call, 0), &call.args[0]);
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 16);
    for i in 0..call.len {
        let known = operand.array.is_valid(operand.at(i));
        let chosen = usize::try_from(index.at(i)).ok().filter(|&at| known && at > 0).and_then(|at| call.args.get(at));
        builder.append_option(chosen.and_then(|arg| {
            let row = arg.at(i);
            arg.array.is_valid(row).then(|| arg.array.as_string::<i32>().value(row))
        }));
    }
    Ok(Arc::new(builder.finish()))
}
