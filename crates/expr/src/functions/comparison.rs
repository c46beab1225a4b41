//! Comparisons: `=` and its kin, the NULL tests, `IS DISTINCT FROM`, BETWEEN and IN.
//!
//! They never fail; the evaluator relies on it. Exact numbers of any types are compared exactly, floating-point numbers by
//! IEEE 754 (`NaN = NaN` is false, `-0.0 = 0.0` is true), texts by their bytes. A text that meets another type is read as
//! that type, as if CAST were written.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Datum, cast::AsArray, types as at};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_ord::{cmp, ord::make_comparator};
use arrow_schema::{DataType, SortOptions};
use gridhouse_base::types::MAX_DECIMAL_PRECISION;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::kernel::valid_rows;
use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::cast::{cast, implicit_cast, literal_cast};
use crate::decimal;
use crate::eval::{Operand, combine};
use crate::expr::Expr;
use crate::types::{as_decimal, merged_type};

const fn operator(
    name: &'static str,
    aliases: &'static [&'static str],
    notation: Notation,
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Comparison,
        volatility: Volatility::Pure,
        notation,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    operator("=", &["=="], Notation::Infix, &["a = b"], bind_pair, |c| compare(c, Ordering::is_eq)),
    operator("<>", &["!="], Notation::Infix, &["a <> b"], bind_pair, |c| compare(c, Ordering::is_ne)),
    operator("<", &[], Notation::Infix, &["a < b"], bind_pair, |c| compare(c, Ordering::is_lt)),
    operator("<=", &[], Notation::Infix, &["a <= b"], bind_pair, |c| compare(c, Ordering::is_le)),
    operator(">", &[], Notation::Infix, &["a > b"], bind_pair, |c| compare(c, Ordering::is_gt)),
    operator(">=", &[], Notation::Infix, &["a >= b"], bind_pair, |c| compare(c, Ordering::is_ge)),
    operator("IS NULL", &[], Notation::Postfix, &["a IS NULL"], bind_test, |c| Ok(null_test(c, true))),
    operator("IS NOT NULL", &[], Notation::Postfix, &["a IS NOT NULL"], bind_test, |c| Ok(null_test(c, false))),
    operator("IS DISTINCT FROM", &[], Notation::Infix, &["a IS DISTINCT FROM b"], bind_pair, |c| distinct(c, true)),
    operator("IS NOT DISTINCT FROM", &[], Notation::Infix, &["a IS NOT DISTINCT FROM b"], bind_pair, |c| {
        distinct(c, false)
    }),
    operator("BETWEEN", &[], Notation::Call, &["x BETWEEN low AND high"], bind_between, |c| between(c, false)),
    operator("NOT BETWEEN", &[], Notation::Call, &["x NOT BETWEEN low AND high"], bind_between, |c| between(c, true)),
    operator("IN", &[], Notation::Call, &["x IN (a, b, …)"], bind_in, |c| is_in(c, false)),
    operator("NOT IN", &[], Notation::Call, &["x NOT IN (a, b, …)"], bind_in, |c| is_in(c, true)),
];

fn boolean(nullable: bool) -> SqlType {
    SqlType { kind: TypeKind::Boolean, nullable }
}

fn any_nullable(args: &[Expr]) -> bool {
    args.iter().any(|arg| arg.sql_type().nullable)
}

fn bind_test(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 1 {
        return Err(function.wrong_count(args.len()));
    }
    Ok(function.call(args, boolean(false)))
}

fn bind_pair(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 {
        return Err(function.wrong_count(args.len()));
    }
    if let Some(fields) = field_by_field(function, &args) {
        return fields;
    }
    let args = comparable(function, args)?;
    let nullable = any_nullable(&args) && !function.name.contains("DISTINCT");
    Ok(function.call(args, boolean(nullable)))
}

/// `(a, b) = (c, d)` as `a = c AND b = d`, where both sides are written as rows: then a NULL in a field is an unknown one.
/// Rows that come as values are compared whole, and NULL in them equals NULL, as in Flink.
fn field_by_field(function: &'static Function, args: &[Expr]) -> Option<Result<Expr>> {
    let (test, join) = match function.name {
        "=" => ("=", "AND"),
        "<>" => ("<>", "OR"),
        _ => return None,
    };
    let fields = |arg: &Expr| match arg {
        Expr::Call { function, args, .. } if function.name == "ROW" => Some(args.clone()),
        _ => None,
    };
    let (left, right) = (fields(args.first()?)?, fields(args.get(1)?)?);
    if left.len() != right.len() {
        return Some(Err(function.wrong_types(args)));
    }
    let pairs = left.into_iter().zip(right).map(|(a, b)| super::resolve(test, vec![a, b]));
    Some(pairs.collect::<Result<Vec<_>>>().and_then(|mut pairs| match pairs.len() {
        1 => Ok(pairs.remove(0)),
        _ => super::resolve(join, pairs),
    }))
}

/// The operands in types that the kernel compares: all of one kind, but exact numbers may be decimals of different scales.
fn comparable(function: &'static Function, args: Vec<Expr>) -> Result<Vec<Expr>> {
    let others: Vec<SqlType> = args.iter().map(Expr::sql_type).filter(|t| !t.kind.is_text()).cloned().collect();
    let texts = args.len() - others.len();
    if texts == args.len() {
        return Ok(args);
    }
    let Some(common) = merged_type(&others).filter(|t| texts == 0 || t.kind == TypeKind::Null || !t.kind.is_bytes())
    else {
        return Err(function.wrong_types(&args));
    };
    if !has_order(&common.kind) && !is_equality(function) {
        return Err(function.wrong_types(&args));
    }
    let all_decimal = args.iter().all(|arg| as_decimal(arg.kind()).is_some() || arg.kind().is_text());
    let exact = all_decimal && (matches!(common.kind, TypeKind::Decimal { .. }) || texts > 0);
    let coerce = |arg: Expr| {
        if *arg.kind() == TypeKind::Null {
            let kind = if common.kind == TypeKind::Null && texts > 0 { TypeKind::STRING } else { common.kind.clone() };
            return cast(arg, &kind.nullable(), false);
        }
        if arg.kind().is_text() {
            return match (&common.kind, exact) {
                (TypeKind::Null, _) => Ok(arg),
                // Wide enough for every whole number, with a fraction so that '1.5' is not 1.
                (_, true) => literal_cast(arg, &TypeKind::Decimal { precision: 38, scale: 18 }.nullable()),
                (kind, false) => literal_cast(arg, &kind.clone().nullable()),
            };
        }
        match as_decimal(arg.kind()) {
            Some((precision, scale)) if exact => cast(arg, &TypeKind::Decimal { precision, scale }.nullable(), false),
            _ => implicit_cast(arg, &common),
        }
    };
    args.into_iter().map(coerce).collect()
}

fn is_equality(function: &Function) -> bool {
    matches!(function.name, "=" | "<>" | "IS DISTINCT FROM" | "IS NOT DISTINCT FROM" | "IN" | "NOT IN")
}

fn has_order(kind: &TypeKind) -> bool {
    !matches!(kind, TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_))
}

fn bind_between(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [x, low, high] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if matches!(x, Expr::Column { .. } | Expr::Literal { .. }) {
        // The two halves are worth more to a planner than one call, and the operand costs nothing twice.
        let negated = function.name == "NOT BETWEEN";
        let (first, second) = if negated { ("<", ">") } else { (">=", "<=") };
        let halves = vec![super::resolve(first, vec![x.clone(), low])?, super::resolve(second, vec![x, high])?];
        return Ok(if negated { Expr::Or(halves) } else { Expr::And(halves) });
    }
    let args = comparable(function, vec![x, low, high])?;
    let nullable = any_nullable(&args);
    Ok(function.call(args, boolean(nullable)))
}

fn bind_in(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() < 2 {
        return Err(function.wrong_count(args.len()));
    }
    if args.len() == 2 {
        return super::resolve(if function.name == "IN" { "=" } else { "<>" }, args);
    }
    let args = comparable(function, args)?;
    let nullable = any_nullable(&args);
    Ok(function.call(args, boolean(nullable)))
}

fn compare(call: &Call<'_>, test: fn(Ordering) -> bool) -> Result<ArrayRef> {
    Ok(Arc::new(compare_operands(&call.args[0], &call.args[1], call.len, test)?))
}

fn failed(error: arrow_schema::ArrowError) -> Error {
    Error::internal("a comparison failed").caused_by(error)
}

/// `test` of the order of two operands, `len` rows, NULL where one of them is.
fn compare_operands(left: &Operand, right: &Operand, len: usize, test: fn(Ordering) -> bool) -> Result<BooleanArray> {
    match (left.array.data_type(), right.array.data_type()) {
        (DataType::Null, _) | (_, DataType::Null) => Ok(BooleanArray::new_null(len)),
        (DataType::Float32, _) => Ok(floats::<at::Float32Type>(left, right, len, test)),
        (DataType::Float64, _) => Ok(floats::<at::Float64Type>(left, right, len, test)),
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) if (p, s) != (q, t) => {
            let (s, t) = (*s as u8, *t as u8);
            let common = s.max(t);
            if p + (common - s) <= MAX_DECIMAL_PRECISION && q + (common - t) <= MAX_DECIMAL_PRECISION {
                // Both fit 128 bits at the common scale, which is the usual case and a multiplication each.
                let (x, y) = (decimal::power(common - s), decimal::power(common - t));
                return Ok(pairs::<at::Decimal128Type>(left, right, len, |a, b| {
                    test(a.wrapping_mul(x).cmp(&b.wrapping_mul(y)))
                }));
            }
            Ok(pairs::<at::Decimal128Type>(left, right, len, |a, b| test(decimal::compare(a, s, b, t))))
        }
        (kind, _) if has_map(kind) => {
            let equal = |i| same(&left.array, left.at(i), &right.array, right.at(i));
            // Maps have no order, so only equality is asked for; see `has_order`.
            let order = |i| if equal(i) { Ordering::Equal } else { Ordering::Less };
            let values = BooleanBuffer::collect_bool(len, |i| test(order(i)));
            Ok(BooleanArray::new(values, nulls(left, right, len)))
        }
        (DataType::List(_) | DataType::Struct(_), _) => {
            let order = make_comparator(&left.array, &right.array, SortOptions::default()).map_err(failed)?;
            let values = BooleanBuffer::collect_bool(len, |i| test(order(left.at(i), right.at(i))));
            Ok(BooleanArray::new(values, nulls(left, right, len)))
        }
        _ => {
            let kernel: fn(&dyn Datum, &dyn Datum) -> _ =
                match [Ordering::Less, Ordering::Equal, Ordering::Greater].map(test) {
                    [false, true, false] => cmp::eq,
                    [true, false, true] => cmp::neq,
                    [true, false, false] => cmp::lt,
                    [true, true, false] => cmp::lt_eq,
                    [false, false, true] => cmp::gt,
                    _ => cmp::gt_eq,
                };
            let result = kernel(left.datum().as_ref(), right.datum().as_ref()).map_err(failed)?;
            Ok(spread(result, len))
        }
    }
}

fn has_map(kind: &DataType) -> bool {
    match kind {
        DataType::Map(..) => true,
        DataType::List(field) => has_map(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

/// Whether two values are equal; NULL inside them equals NULL, and the order of a map's entries does not count.
fn same(a: &ArrayRef, i: usize, b: &ArrayRef, j: usize) -> bool {
    if a.is_null(i) || b.is_null(j) {
        return a.is_null(i) && b.is_null(j);
    }
    match a.data_type() {
        DataType::Map(..) => {
            let (left, right) = (a.as_map().value(i), b.as_map().value(j));
            let pair = |x: usize, y: usize| (0..2).all(|c| same(left.column(c), x, right.column(c), y));
            left.len() == right.len() && (0..left.len()).all(|x| (0..right.len()).any(|y| pair(x, y)))
        }
        DataType::List(_) => {
            let (left, right) = (a.as_list::<i32>().value(i), b.as_list::<i32>().value(j));
            left.len() == right.len() && (0..left.len()).all(|k| same(&left, k, &right, k))
        }
        DataType::Struct(_) => {
            let columns = a.as_struct().columns().iter().zip(b.as_struct().columns());
            columns.into_iter().all(|(x, y)| same(x, i, y, j))
        }
        _ => a.slice(i, 1).as_ref() == b.slice(j, 1).as_ref(),
    }
}

/// Arrow answers two scalars with one row.
fn spread(result: BooleanArray, len: usize) -> BooleanArray {
    if result.len() == len {
        return result;
    }
    let value = result.is_valid(0).then(|| result.value(0));
    std::iter::repeat_n(value, len).collect()
}

fn nulls(left: &Operand, right: &Operand, len: usize) -> Option<NullBuffer> {
    valid_rows(&[left.clone(), right.clone()], len)
}

fn pairs<T: ArrowPrimitiveType>(
    left: &Operand,
    right: &Operand,
    len: usize,
    test: impl Fn(T::Native, T::Native) -> bool,
) -> BooleanArray {
    let (a, b) = (left.array.as_primitive::<T>().values(), right.array.as_primitive::<T>().values());
    let values = match (left.constant, right.constant) {
        (false, true) => {
            let b = b[0];
            BooleanBuffer::collect_bool(len, |i| test(a[i], b))
        }
        (false, false) => BooleanBuffer::collect_bool(len, |i| test(a[i], b[i])),
        _ => BooleanBuffer::collect_bool(len, |i| test(a[left.at(i)], b[right.at(i)])),
    };
    BooleanArray::new(values, nulls(left, right, len))
}

fn floats<T: ArrowPrimitiveType>(
    left: &Operand,
    right: &Operand,
    len: usize,
    test: fn(Ordering) -> bool,
) -> BooleanArray
where
    T::Native: PartialOrd,
{
    // Of NaN only "not equal" is true: no other test accepts both directions.
    let unordered = test(Ordering::Less) && test(Ordering::Greater);
    pairs::<T>(left, right, len, |a, b| a.partial_cmp(&b).map_or(unordered, test))
}

fn null_test(call: &Call<'_>, wanted: bool) -> ArrayRef {
    let result = match call.args[0].array.logical_nulls() {
        Some(nulls) => {
            let valid = nulls.inner();
            if wanted { !valid } else { valid.clone() }
        }
        None => {
            if wanted {
                BooleanBuffer::new_unset(call.args[0].array.len())
            } else {
                BooleanBuffer::new_set(call.args[0].array.len())
            }
        }
    };
    Arc::new(spread(BooleanArray::new(result, None), call.len))
}

/// Comparison in which NULL equals NULL.
fn distinct(call: &Call<'_>, wanted: bool) -> Result<ArrayRef> {
    let (left, right) = (&call.args[0], &call.args[1]);
    let equal = compare_operands(left, right, call.len, Ordering::is_eq)?;
    let (a, b) = (left.array.logical_nulls(), right.array.logical_nulls());
    let null = |nulls: &Option<NullBuffer>, row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let values = BooleanBuffer::collect_bool(call.len, |i| {
        let same = match (null(&a, left.at(i)), null(&b, right.at(i))) {
            (false, false) => equal.value(i),
            (x, y) => x && y,
        };
        same != wanted
    });
    Ok(Arc::new(BooleanArray::new(values, None)))
}

fn negated(result: BooleanArray, negate: bool) -> ArrayRef {
    let (values, nulls) = result.into_parts();
    Arc::new(BooleanArray::new(if negate { !&values } else { values }, nulls))
}

fn between(call: &Call<'_>, negate: bool) -> Result<ArrayRef> {
    let above = compare_operands(&call.args[0], &call.args[1], call.len, Ordering::is_ge)?;
    let below = compare_operands(&call.args[0], &call.args[2], call.len, Ordering::is_le)?;
    Ok(negated(combine(&above, &below, false), negate))
}

fn is_in(call: &Call<'_>, negate: bool) -> Result<ArrayRef> {
    let mut found = compare_operands(&call.args[0], &call.args[1], call.len, Ordering::is_eq)?;
    for item in &call.args[2..] {
        let equal = compare_operands(&call.args[0], item, call.len, Ordering::is_eq)?;
        found = combine(&found, &equal, true);
    }
    Ok(negated(found, negate))
}
