//! Functions of arrays. Elements are equal as values are, and NULL equals NULL; a NULL array gives NULL.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, ListBuilder as TextsBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array, cast::AsArray, types as at};
use arrow_ord::ord::make_comparator;
use arrow_schema::SortOptions;
use arrow_select::take::take;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::kernel::{make_texts, numbers, rows, texts, valid_rows};
use super::lists::{Keys, ListBuilder, failed, has_keys, lists};
use super::nested::collection;
use super::{Call, Function};
use crate::cast::{can_cast_implicitly, implicit_cast};
use crate::expr::Expr;
use crate::types::common_type;

pub(crate) static FUNCTIONS: &[Function] = &[
    collection("ARRAY_CONTAINS", &[], &["ARRAY_CONTAINS(array, element)"], bind_contains, contains),
    collection("ARRAY_POSITION", &[], &["ARRAY_POSITION(array, element)"], bind_position, position),
    collection("ARRAY_REMOVE", &[], &["ARRAY_REMOVE(array, element)"], bind_remove, remove),
    collection("ARRAY_APPEND", &[], &["ARRAY_APPEND(array, element)"], bind_append, |c| append(c, false)),
    collection("ARRAY_PREPEND", &[], &["ARRAY_PREPEND(array, element)"], bind_append, |c| append(c, true)),
    collection("ARRAY_DISTINCT", &[], &["ARRAY_DISTINCT(array)"], bind_distinct, distinct),
    collection("ARRAY_REVERSE", &[], &["ARRAY_REVERSE(array)"], bind_same, reverse),
    collection("ARRAY_SLICE", &[], SLICE, bind_slice, slice),
    collection("ARRAY_SORT", &[], SORT, bind_sort, sort),
    collection("ARRAY_MAX", &[], &["ARRAY_MAX(array)"], bind_extreme, |c| extreme(c, Ordering::Greater)),
    collection("ARRAY_MIN", &[], &["ARRAY_MIN(array)"], bind_extreme, |c| extreme(c, Ordering::Less)),
    collection("ARRAY_CONCAT", &[], &["ARRAY_CONCAT(array, array, …)"], bind_concat, concat),
    collection("ARRAY_UNION", &[], &["ARRAY_UNION(array, array)"], bind_pair, distinct),
    collection("ARRAY_EXCEPT", &[], &["ARRAY_EXCEPT(array, array)"], bind_pair, |c| meet(c, false)),
    collection("ARRAY_INTERSECT", &[], &["ARRAY_INTERSECT(array, array)"], bind_pair, |c| meet(c, true)),
    collection("ARRAY_JOIN", &[], JOIN, bind_join, join),
    collection("SPLIT", &[], &["SPLIT(text, separator)"], bind_split, split),
];

const SLICE: &[&str] = &["ARRAY_SLICE(array, first)", "ARRAY_SLICE(array, first, last)"];
const SORT: &[&str] =
    &["ARRAY_SORT(array)", "ARRAY_SORT(array, ascending)", "ARRAY_SORT(array, ascending, nulls_first)"];
const JOIN: &[&str] = &["ARRAY_JOIN(array, separator)", "ARRAY_JOIN(array, separator, text_for_null)"];

/// The element type of an array.
fn element_of(arg: &Expr) -> Option<&SqlType> {
    match arg.kind() {
        TypeKind::Array(element) => Some(element),
        _ => None,
    }
}

fn array_of(element: SqlType, nullable: bool) -> SqlType {
    SqlType { kind: TypeKind::Array(Box::new(element)), nullable }
}

/// An array and an element of it. Texts of other lengths make the array's longer; other types must go into the array's.
fn with_element(function: &'static Function, args: Vec<Expr>) -> Result<[Expr; 2]> {
    let [array, element] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let Some(own) = element_of(&array).cloned() else { return Err(function.wrong_types(&[array, element])) };
    let texts = own.kind.is_text() && element.kind().is_text();
    if !has_keys(&own.kind) || own.kind.is_text() && !texts && *element.kind() != TypeKind::Null {
        return Err(function.wrong_types(&[array, element]));
    }
    let wanted = if texts { common_type(&[own.clone(), element.sql_type().clone()]) } else { Some(own.clone()) };
    let wanted = wanted.filter(|wanted| {
        *element.kind() == TypeKind::Null
            || can_cast_implicitly(element.kind(), &wanted.kind)
                && common_type(&[own.clone(), element.sql_type().clone()])
                    .is_some_and(|common| common.kind == wanted.kind)
    });
    let Some(wanted) = wanted else { return Err(function.wrong_types(&[array, element])) };
    let array = implicit_cast(array, &array_of(wanted.with_nullable(own.nullable), true))?;
    Ok([array, implicit_cast(element, &wanted)?])
}

fn bind_contains(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = with_element(function, args)?;
    let nullable = args[0].sql_type().nullable;
    Ok(function.call(args.into(), SqlType { kind: TypeKind::Boolean, nullable }))
}

fn bind_position(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = with_element(function, args)?;
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    Ok(function.call(args.into(), SqlType { kind: TypeKind::Int, nullable }))
}

fn bind_remove(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = with_element(function, args)?;
    let sql_type = args[0].sql_type().clone();
    Ok(function.call(args.into(), sql_type))
}

fn bind_append(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [array, element] = with_element(function, args)?;
    let Some(own) = element_of(&array).cloned() else { return Err(function.wrong_types(&[array, element])) };
    let nullable = own.nullable || element.sql_type().nullable;
    // Never NULL for the element's sake, but Flink says so of the whole array.
    let whole = array.sql_type().nullable || element.sql_type().nullable;
    let sql_type = array_of(own.with_nullable(nullable), whole);
    Ok(function.call(vec![array, element], sql_type))
}

/// One array, and a result of its type.
fn bind_same(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [array] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if element_of(&array).is_none() {
        return Err(function.wrong_types(&[array]));
    }
    let sql_type = array.sql_type().clone();
    Ok(function.call(vec![array], sql_type))
}

fn bind_distinct(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let keyed = args.iter().all(|arg| element_of(arg).is_some_and(|element| has_keys(&element.kind)));
    if !keyed {
        return Err(function.wrong_types(&args));
    }
    bind_same(function, args)
}

fn bind_slice(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 && args.len() != 3 {
        return Err(function.wrong_count(args.len()));
    }
    let whole = |arg: &Expr| arg.kind().is_integer() || *arg.kind() == TypeKind::Null;
    if element_of(&args[0]).is_none() || !args[1..].iter().all(whole) {
        return Err(function.wrong_types(&args));
    }
    for arg in &mut args[1..] {
        *arg = implicit_cast(arg.clone(), &TypeKind::Int.nullable())?;
    }
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let sql_type = args[0].sql_type().with_nullable(nullable);
    Ok(function.call(args, sql_type))
}

fn has_order(kind: &TypeKind) -> bool {
    !matches!(kind, TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_))
}

fn bind_sort(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() || args.len() > 3 {
        return Err(function.wrong_count(args.len()));
    }
    let flag = |arg: &Expr| *arg.kind() == TypeKind::Boolean;
    if !element_of(&args[0]).is_some_and(|element| has_order(&element.kind)) || !args[1..].iter().all(flag) {
        return Err(function.wrong_types(&args));
    }
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let sql_type = args[0].sql_type().with_nullable(nullable);
    Ok(function.call(args, sql_type))
}

fn bind_extreme(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [array] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let Some(element) = element_of(&array).filter(|element| has_order(&element.kind)) else {
        return Err(function.wrong_types(&[array]));
    };
    let sql_type = element.with_nullable(true);
    Ok(function.call(vec![array], sql_type))
}

/// Arrays of the type that they have in common.
fn bind_concat(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let elements: Option<Vec<SqlType>> = args.iter().map(|arg| element_of(arg).cloned()).collect();
    let Some(elements) = elements.filter(|elements| !elements.is_empty()) else {
        return Err(if args.is_empty() { function.wrong_count(0) } else { function.wrong_types(&args) });
    };
    let texts = elements.iter().filter(|element| element.kind.is_text()).count();
    let common = common_type(&elements).filter(|_| texts == 0 || texts == elements.len());
    let Some(common) = common else { return Err(function.wrong_types(&args)) };
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let sql_type = array_of(common, nullable);
    let args = args.into_iter().map(|arg| implicit_cast(arg, &sql_type)).collect::<Result<_>>()?;
    Ok(function.call(args, sql_type))
}

fn bind_pair(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 {
        return Err(function.wrong_count(args.len()));
    }
    if args.iter().any(|arg| element_of(arg).is_some_and(|element| !has_keys(&element.kind))) {
        return Err(function.wrong_types(&args));
    }
    bind_concat(function, args)
}

fn bind_join(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 && args.len() != 3 {
        return Err(function.wrong_count(args.len()));
    }
    let text = |arg: &Expr| arg.kind().is_text() || *arg.kind() == TypeKind::Null;
    if !element_of(&args[0]).is_some_and(|element| element.kind.is_text()) || !args[1..].iter().all(text) {
        return Err(function.wrong_types(&args));
    }
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let cast = |arg: Expr| if text(&arg) { implicit_cast(arg, &TypeKind::STRING.nullable()) } else { Ok(arg) };
    let args = args.into_iter().map(cast).collect::<Result<_>>()?;
    Ok(function.call(args, SqlType { kind: TypeKind::STRING, nullable }))
}

fn bind_split(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 2 {
        return Err(function.wrong_count(args.len()));
    }
    if !args.iter().all(|arg| arg.kind().is_text() || *arg.kind() == TypeKind::Null) {
        return Err(function.wrong_types(&args));
    }
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let args = args.into_iter().map(|arg| implicit_cast(arg, &TypeKind::STRING.nullable())).collect::<Result<_>>()?;
    Ok(function.call(args, array_of(TypeKind::STRING.nullable(), nullable)))
}

/// The result's element type.
fn element<'a>(call: &Call<'a>) -> Result<&'a SqlType> {
    match &call.sql_type.kind {
        TypeKind::Array(element) => Ok(element),
        other => Err(Error::internal(format!("{} gives {other}, not an array", call.function.name))),
    }
}

fn contains(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, wanted) = (lists(call, 0), &call.args[1]);
    let keys = Keys::new(&[lists.items, &wanted.array])?;
    let mut builder = BooleanBuilder::with_capacity(call.len);
    for i in 0..call.len {
        let key = keys.at(1, wanted.at(i));
        builder.append_option(lists.at(i).map(|mut range| range.any(|at| keys.at(0, at) == key)));
    }
    Ok(Arc::new(builder.finish()))
}

fn position(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, wanted) = (lists(call, 0), &call.args[1]);
    let keys = Keys::new(&[lists.items, &wanted.array])?;
    let wanted_nulls = wanted.array.logical_nulls();
    let places = rows::<at::Int32Type>(call.len, None, |i| {
        let row = wanted.at(i);
        if wanted_nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        let key = keys.at(1, row);
        Ok(lists.at(i).map(|mut range| range.position(|at| keys.at(0, at) == key).map_or(0, |place| place as i32 + 1)))
    })?;
    Ok(Arc::new(places))
}

fn remove(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, wanted) = (lists(call, 0), &call.args[1]);
    let keys = Keys::new(&[lists.items, &wanted.array])?;
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let (range, key) = (lists.at(i), keys.at(1, wanted.at(i)));
        let valid = range.is_some();
        range.into_iter().flatten().filter(|&at| keys.at(0, at) != key).for_each(|at| builder.push(0, at));
        builder.close(valid)?;
    }
    builder.arrays(element(call)?, &[lists.items])
}

fn append(call: &Call<'_>, first: bool) -> Result<ArrayRef> {
    let (lists, new) = (lists(call, 0), &call.args[1]);
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let range = lists.at(i);
        let valid = range.is_some();
        if first {
            builder.push(1, new.at(i));
        }
        range.into_iter().flatten().for_each(|at| builder.push(0, at));
        if !first {
            builder.push(1, new.at(i));
        }
        builder.close(valid)?;
    }
    builder.arrays(element(call)?, &[lists.items, &new.array])
}

/// The elements of all arguments, each once, where it stands first.
fn distinct(call: &Call<'_>) -> Result<ArrayRef> {
    let all: Vec<_> = (0..call.args.len()).map(|i| lists(call, i)).collect();
    let sources: Vec<&ArrayRef> = all.iter().map(|lists| lists.items).collect();
    let keys = Keys::new(&sources)?;
    let mut builder = ListBuilder::new(call.len);
    let mut seen: HashSet<&[u8]> = HashSet::new();
    for i in 0..call.len {
        seen.clear();
        let mut valid = true;
        for (source, lists) in all.iter().enumerate() {
            let range = lists.at(i);
            valid &= range.is_some();
            range
                .into_iter()
                .flatten()
                .filter(|&at| seen.insert(keys.at(source, at)))
                .for_each(|at| builder.push(source, at));
        }
        builder.close(valid)?;
    }
    builder.arrays(element(call)?, &sources)
}

/// The distinct elements of the first array that are, or are not, in the second.
fn meet(call: &Call<'_>, wanted: bool) -> Result<ArrayRef> {
    let (left, right) = (lists(call, 0), lists(call, 1));
    let keys = Keys::new(&[left.items, right.items])?;
    let mut builder = ListBuilder::new(call.len);
    let mut there: HashMap<&[u8], bool> = HashMap::new();
    for i in 0..call.len {
        there.clear();
        let (Some(own), Some(other)) = (left.at(i), right.at(i)) else {
            builder.close(false)?;
            continue;
        };
        there.extend(other.map(|at| (keys.at(1, at), true)));
        for at in own {
            let key = keys.at(0, at);
            match there.get_mut(key) {
                // Taken once: its next occurrence is one too many.
                Some(open) if wanted && *open => {
                    *open = false;
                    builder.push(0, at);
                }
                Some(_) => {}
                None if wanted => {}
                None => {
                    there.insert(key, false);
                    builder.push(0, at);
                }
            }
        }
        builder.close(true)?;
    }
    builder.arrays(element(call)?, &[left.items])
}

fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0);
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let range = lists.at(i);
        let valid = range.is_some();
        range.into_iter().flatten().rev().for_each(|at| builder.push(0, at));
        builder.close(valid)?;
    }
    builder.arrays(element(call)?, &[lists.items])
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let all: Vec<_> = (0..call.args.len()).map(|i| lists(call, i)).collect();
    let sources: Vec<&ArrayRef> = all.iter().map(|lists| lists.items).collect();
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let ranges: Vec<_> = all.iter().map(|lists| lists.at(i)).collect();
        let valid = ranges.iter().all(Option::is_some);
        for (source, range) in ranges.into_iter().enumerate() {
            range.into_iter().flatten().for_each(|at| builder.push(source, at));
        }
        builder.close(valid)?;
    }
    builder.arrays(element(call)?, &sources)
}

/// Places count from 1, from the end where negative; 0 is the first. What lies outside is left out.
fn slice(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, first) = (lists(call, 0), numbers::<at::Int32Type>(call, 1));
    let last = (call.args.len() == 3).then(|| numbers::<at::Int32Type>(call, 2));
    let valid = valid_rows(call.args, call.len);
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let range = lists.at(i).filter(|_| valid.as_ref().is_none_or(|valid| valid.is_valid(i)));
        let Some(range) = range else {
            builder.close(false)?;
            continue;
        };
        let length = range.len() as i64;
        let place = |given: i32| match i64::from(given) {
            0 => 1,
            given if given < 0 => length + given + 1,
            given => given,
        };
        let from = place(first.at(i)).max(1);
        let to = last.as_ref().map_or(length, |last| place(last.at(i))).min(length);
        for at in from..=to {
            builder.push(0, range.start + at as usize - 1);
        }
        builder.close(true)?;
    }
    builder.arrays(element(call)?, &[lists.items])
}

/// The truth of argument `arg` at row `i`.
fn flag(call: &Call<'_>, arg: usize, i: usize) -> Option<bool> {
    let operand = call.args.get(arg)?;
    let mask: &BooleanArray = operand.array.as_boolean();
    Some(mask.value(operand.at(i)))
}

fn sort(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0);
    let order = make_comparator(lists.items, lists.items, SortOptions::default()).map_err(failed)?;
    let (valid, nulls) = (valid_rows(call.args, call.len), lists.items.logical_nulls());
    let is_null = |at: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let range = lists.at(i).filter(|_| valid.as_ref().is_none_or(|valid| valid.is_valid(i)));
        let valid = range.is_some();
        let ascending = flag(call, 1, i).unwrap_or(true);
        let nulls_first = flag(call, 2, i).unwrap_or(ascending);
        let mut places: Vec<usize> = range.into_iter().flatten().collect();
        places.sort_by(|&a, &b| match (is_null(a), is_null(b)) {
            (false, false) if ascending => order(a, b),
            (false, false) => order(b, a),
            (a, b) if nulls_first => b.cmp(&a),
            (a, b) => a.cmp(&b),
        });
        places.into_iter().for_each(|at| builder.push(0, at));
        builder.close(valid)?;
    }
    builder.arrays(element(call)?, &[lists.items])
}

fn extreme(call: &Call<'_>, wanted: Ordering) -> Result<ArrayRef> {
    let lists = lists(call, 0);
    let order = make_comparator(lists.items, lists.items, SortOptions::default()).map_err(failed)?;
    let nulls = lists.items.logical_nulls();
    let places: UInt32Array = (0..call.len)
        .map(|i| {
            let known = lists.at(i)?.filter(|&at| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(at)));
            known.reduce(|best, at| if order(at, best) == wanted { at } else { best }).map(|at| at as u32)
        })
        .collect();
    take(lists.items, &places, None).map_err(failed)
}

fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, separator) = (lists(call, 0), texts(call, 1));
    let for_null = (call.args.len() == 3).then(|| texts(call, 2));
    let items = lists.items.as_string::<i32>();
    let joined = make_texts(call, |i, out| {
        let mut first = true;
        for at in lists.at(i).into_iter().flatten() {
            let text = match &for_null {
                _ if items.is_valid(at) => items.value(at),
                Some(for_null) => for_null.at(i),
                None => continue,
            };
            if !first {
                out.push_str(separator.at(i));
            }
            first = false;
            out.push_str(text);
        }
        Ok(true)
    })?;
    Ok(Arc::new(joined))
}

/// The parts of a text between separators; its characters where the separator is empty.
fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, separator) = (texts(call, 0), texts(call, 1));
    let valid = valid_rows(call.args, call.len);
    let field = Arc::new(element(call)?.arrow_field("element"));
    let mut builder = TextsBuilder::new(StringBuilder::new()).with_field(field);
    for i in 0..call.len {
        let known = valid.as_ref().is_none_or(|valid| valid.is_valid(i));
        if known {
            let (text, separator) = (text.at(i), separator.at(i));
            if separator.is_empty() {
                text.chars().for_each(|c| builder.values().append_value(c.encode_utf8(&mut [0; 4])));
            } else {
                // An empty text has no parts, as in Flink.
                let parts = text.split(separator).filter(|_| !text.is_empty());
                parts.for_each(|part| builder.values().append_value(part));
            }
        }
        builder.append(known);
    }
    Ok(Arc::new(builder.finish()))
}
