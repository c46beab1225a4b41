//! Functions of maps. The entries of a map keep the order in which they came.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{Array, ArrayRef, ListArray, StructArray, cast::AsArray};
use arrow_schema::DataType;
use gridhouse_base::{Error, Field, Result, SqlType, TypeKind};

use super::kernel::{texts, valid_rows};
use super::lists::{Keys, ListBuilder, failed, has_keys, lists};
use super::nested::collection;
use super::{Call, Function};
use crate::cast::implicit_cast;
use crate::expr::Expr;
use crate::text::javaregex::Regex;
use crate::types::common_type;

pub(crate) static FUNCTIONS: &[Function] = &[
    collection("MAP_KEYS", &[], &["MAP_KEYS(map)"], bind_keys, |c| items(c, true)),
    collection("MAP_VALUES", &[], &["MAP_VALUES(map)"], bind_values, |c| items(c, false)),
    collection("MAP_ENTRIES", &[], &["MAP_ENTRIES(map)"], bind_entries, entries),
    collection("MAP_FROM_ARRAYS", &[], &["MAP_FROM_ARRAYS(keys, values)"], bind_from_arrays, from_arrays),
    collection("MAP_UNION", &[], &["MAP_UNION(map, map, …)"], bind_union, union),
    collection("STR_TO_MAP", &[], STR_TO_MAP, bind_str_to_map, str_to_map),
];

const STR_TO_MAP: &[&str] = &["STR_TO_MAP(text)", "STR_TO_MAP(text, between_pairs, between_key_and_value)"];

/// The only argument, a map, with the types of its keys and values.
fn one_map(function: &'static Function, args: Vec<Expr>) -> Result<(Expr, SqlType, SqlType)> {
    let [map] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    match map.kind().clone() {
        TypeKind::Map(key, value) => Ok((map, *key, *value)),
        _ => Err(function.wrong_types(&[map])),
    }
}

fn array_of(element: SqlType, nullable: bool) -> SqlType {
    SqlType { kind: TypeKind::Array(Box::new(element)), nullable }
}

fn bind_keys(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let (map, key, _) = one_map(function, args)?;
    let nullable = map.sql_type().nullable;
    Ok(function.call(vec![map], array_of(key, nullable)))
}

fn bind_values(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let (map, _, value) = one_map(function, args)?;
    let nullable = map.sql_type().nullable;
    Ok(function.call(vec![map], array_of(value, nullable)))
}

fn bind_entries(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let (map, key, value) = one_map(function, args)?;
    let nullable = map.sql_type().nullable;
    let fields = vec![Field { name: "key".into(), sql_type: key }, Field { name: "value".into(), sql_type: value }];
    Ok(function.call(vec![map], array_of(TypeKind::Row(fields).nullable(), nullable)))
}

fn bind_from_arrays(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [keys, values] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let (TypeKind::Array(key), TypeKind::Array(value)) = (keys.kind().clone(), values.kind().clone()) else {
        return Err(function.wrong_types(&[keys, values]));
    };
    if !has_keys(&key.kind) {
        return Err(function.wrong_types(&[keys, values]));
    }
    let nullable = keys.sql_type().nullable || values.sql_type().nullable;
    Ok(function.call(vec![keys, values], SqlType { kind: TypeKind::Map(key, value), nullable }))
}

fn bind_union(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let types: Vec<SqlType> = args.iter().map(|arg| arg.sql_type().clone()).collect();
    let maps = types.iter().all(|t| matches!(&t.kind, TypeKind::Map(key, _) if has_keys(&key.kind)));
    let Some(common) = common_type(&types).filter(|_| maps) else {
        return Err(if args.is_empty() { function.wrong_count(0) } else { function.wrong_types(&args) });
    };
    let args = args.into_iter().map(|arg| implicit_cast(arg, &common)).collect::<Result<_>>()?;
    Ok(function.call(args, common))
}

fn bind_str_to_map(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.len() != 1 && args.len() != 3 {
        return Err(function.wrong_count(args.len()));
    }
    if !args.iter().all(|arg| arg.kind().is_text() || *arg.kind() == TypeKind::Null) {
        return Err(function.wrong_types(&args));
    }
    if args.len() == 1 {
        args.extend([Expr::text(","), Expr::text("=")]);
    }
    let args = args.into_iter().map(|arg| implicit_cast(arg, &TypeKind::STRING.nullable())).collect::<Result<_>>()?;
    let text = Box::new(TypeKind::STRING.nullable());
    Ok(function.call(args, TypeKind::Map(text.clone(), text).nullable()))
}

fn element<'a>(call: &Call<'a>) -> Result<&'a SqlType> {
    match &call.sql_type.kind {
        TypeKind::Array(element) => Ok(element),
        other => Err(Error::internal(format!("{} gives {other}, not an array", call.function.name))),
    }
}

/// The keys, or the values, of each map.
fn items(call: &Call<'_>, keys: bool) -> Result<ArrayRef> {
    let map = call.args[0].array.as_map();
    let items = if keys { map.keys() } else { map.values() };
    let field = Arc::new(element(call)?.arrow_field("element"));
    Ok(Arc::new(ListArray::try_new(field, map.offsets().clone(), items.clone(), map.nulls().cloned()).map_err(failed)?))
}

fn entries(call: &Call<'_>) -> Result<ArrayRef> {
    let map = call.args[0].array.as_map();
    let element = element(call)?;
    let DataType::Struct(fields) = element.kind.arrow() else {
        return Err(Error::internal("an entry is a row"));
    };
    let columns = vec![map.keys().clone(), map.values().clone()];
    let rows = Arc::new(StructArray::try_new(fields, columns, None).map_err(failed)?);
    let field = Arc::new(element.arrow_field("element"));
    Ok(Arc::new(ListArray::try_new(field, map.offsets().clone(), rows, map.nulls().cloned()).map_err(failed)?))
}

fn from_arrays(call: &Call<'_>) -> Result<ArrayRef> {
    let (keys, values) = (lists(call, 0), lists(call, 1));
    let (mut places, mut partners) = (ListBuilder::new(call.len), Vec::new());
    for i in 0..call.len {
        let (Some(own), Some(other)) = (keys.at(i), values.at(i)) else {
            places.close(false)?;
            continue;
        };
        if own.len() != other.len() {
            return Err(Error::invalid(format!(
                "MAP_FROM_ARRAYS is given {} keys and {} values",
                own.len(),
                other.len()
            ))
            .hint("both arrays must have the same length"));
        }
        own.for_each(|at| places.push(0, at));
        partners.extend(other.map(|at| (0, at)));
        places.close(true)?;
    }
    places.maps_of(&call.sql_type.kind, &[keys.items], &[values.items], partners)
}

/// Later maps win over earlier ones.
fn union(call: &Call<'_>) -> Result<ArrayRef> {
    let all: Vec<_> = (0..call.args.len()).map(|i| lists(call, i)).collect();
    let keys: Vec<&ArrayRef> = all.iter().map(|map| map.items).collect();
    let values: Vec<&ArrayRef> = all.iter().map(|map| map.values).collect();
    let known = Keys::new(&keys)?;
    let mut builder = ListBuilder::new(call.len);
    for i in 0..call.len {
        let mut seen: HashMap<&[u8], usize> = HashMap::new();
        let ranges: Vec<_> = all.iter().map(|map| map.at(i)).collect();
        let valid = ranges.iter().all(Option::is_some);
        for (source, range) in ranges.into_iter().enumerate() {
            for at in range.into_iter().flatten() {
                let next = seen.len();
                match seen.entry(known.at(source, at)) {
                    Entry::Occupied(entry) => builder.row()[*entry.get()] = (source, at),
                    Entry::Vacant(entry) => {
                        entry.insert(next);
                        builder.push(source, at);
                    }
                }
            }
        }
        builder.close(valid)?;
    }
    builder.maps(&call.sql_type.kind, &keys, &values)
}

/// The separators are regular expressions, as in Flink; a pair without its separator has the value NULL.
fn str_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, between, inside) = (texts(call, 0), texts(call, 1), texts(call, 2));
    let valid = valid_rows(call.args, call.len);
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    let mut compiled: Option<(&str, &str, Regex, Regex)> = None;
    for i in 0..call.len {
        let known = valid.as_ref().is_none_or(|valid| valid.is_valid(i));
        if known {
            let (between, inside) = (between.at(i), inside.at(i));
            let (pairs, parts) = match &compiled {
                Some((a, b, pairs, parts)) if (*a, *b) == (between, inside) => (pairs, parts),
                _ => {
                    let new = (between, inside, Regex::new(between)?, Regex::new(inside)?);
                    let new = compiled.insert(new);
                    (&new.2, &new.3)
                }
            };
            let mut found: Vec<(&str, Option<&str>)> = Vec::new();
            let text = text.at(i);
            let split = if text.is_empty() { Vec::new() } else { pairs.split(text, usize::MAX)? };
            for pair in split {
                let halves = parts.split(pair, 2)?;
                let (key, value) = (halves.first().copied().unwrap_or_default(), halves.get(1).copied());
                match found.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, old)) => *old = value,
                    None => found.push((key, value)),
                }
            }
            for (key, value) in found {
                builder.keys().append_value(key);
                builder.values().append_option(value);
            }
        }
        builder.append(known).map_err(failed)?;
    }
    let built = builder.finish();
    debug_assert_eq!(built.data_type(), &call.sql_type.kind.arrow(), "the builder's field names are ours");
    Ok(Arc::new(built))
}
