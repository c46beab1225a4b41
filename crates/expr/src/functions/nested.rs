//! Making rows, arrays and maps, and reaching into them: ROW, ARRAY, MAP, ITEM (`a[1]`, `m['k']`) and FIELD (`r.f`).
//!
//! An index counts from 1; what is not there is NULL. In a map made of pairs the last of equal keys wins.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, StructArray, UInt32Array, cast::AsArray, types as at};
use arrow_buffer::OffsetBuffer;
use arrow_ord::ord::make_comparator;
use arrow_schema::{DataType, SortOptions};
use arrow_select::interleave::interleave;
use arrow_select::nullif::nullif;
use arrow_select::take::take;
use gridhouse_base::error::nearest;
use gridhouse_base::{Error, Field, Result, SqlType, TypeKind, Value};

use super::kernel::{numbers, rows, valid_rows};
use super::lists::{Keys, ListBuilder, failed, has_keys, lists};
use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::cast::implicit_cast;
use crate::expr::Expr;
use crate::types::common_type;

pub(super) const fn collection(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Collection,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    collection("ROW", &[], &["ROW(a, b, …)", "(a, b, …)"], bind_row, row),
    collection("ARRAY", &[], &["ARRAY[a, b, …]"], bind_array, array),
    collection("MAP", &[], &["MAP[key, value, …]"], bind_map, map),
    collection("ITEM", &[], &["array[index]", "map[key]"], bind_item, item),
    collection("FIELD", &[], &["row.field"], bind_field, field),
    collection("CARDINALITY", &[], &["CARDINALITY(array)", "CARDINALITY(map)"], bind_cardinality, cardinality),
    collection("ELEMENT", &[], &["ELEMENT(array)"], bind_element, element),
];

fn bind_row(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() {
        return Err(function.wrong_count(0));
    }
    let named = |(i, arg): (usize, &Expr)| Field { name: format!("EXPR${i}"), sql_type: arg.sql_type().clone() };
    let kind = TypeKind::Row(args.iter().enumerate().map(named).collect());
    Ok(function.call(args, kind.not_null()))
}

fn row(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.sql_type.kind.arrow() else {
        return Err(Error::internal("a row is not made of fields"));
    };
    let columns = call.args.iter().map(|arg| arg.spread(call.len)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(fields, columns, None).map_err(failed)?))
}

/// `items` cast to the type that they have in common.
fn alike(what: &str, items: Vec<Expr>) -> Result<(Vec<Expr>, SqlType)> {
    let types: Vec<SqlType> = items.iter().map(|item| item.sql_type().clone()).collect();
    let mixed =
        types.iter().any(|t| t.kind.is_text()) && types.iter().any(|t| !t.kind.is_text() && t.kind != TypeKind::Null);
    let Some(common) = common_type(&types).filter(|common| !mixed && common.kind != TypeKind::Null) else {
        let shown: Vec<String> = types.iter().map(|t| t.kind.to_string()).collect();
        return Err(
            Error::invalid(format!("{what} have no common type: {}", shown.join(", "))).hint("cast them to one type")
        );
    };
    let items = items.into_iter().map(|item| implicit_cast(item, &common)).collect::<Result<_>>()?;
    Ok((items, common))
}

fn bind_array(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() {
        return Err(Error::invalid("ARRAY[] without elements has no type")
            .hint("write CAST(NULL AS ARRAY<INT>), or name an element"));
    }
    let (args, element) = alike("the elements of an ARRAY", args)?;
    Ok(function.call(args, TypeKind::Array(Box::new(element)).not_null()))
}

fn array(call: &Call<'_>) -> Result<ArrayRef> {
    let TypeKind::Array(element) = &call.sql_type.kind else {
        return Err(Error::internal("an array is not made of elements"));
    };
    let arrays: Vec<&dyn Array> = call.args.iter().map(|arg| arg.array.as_ref()).collect();
    let place = |row: usize| call.args.iter().enumerate().map(move |(i, arg)| (i, arg.at(row)));
    let places: Vec<(usize, usize)> = (0..call.len).flat_map(place).collect();
    let items = interleave(&arrays, &places).map_err(failed)?;
    let offsets = OffsetBuffer::from_repeated_length(call.args.len(), call.len);
    Ok(Arc::new(ListArray::try_new(Arc::new(element.arrow_field("element")), offsets, items, None).map_err(failed)?))
}

fn bind_map(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() || args.len() % 2 == 1 {
        return Err(Error::invalid(format!(
            "MAP[…] is made of pairs of a key and a value, not of {} items",
            args.len()
        ))
        .hint("write MAP['a', 1, 'b', 2]"));
    }
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (i, arg) in args.into_iter().enumerate() {
        if i % 2 == 0 { keys.push(arg) } else { values.push(arg) }
    }
    let (keys, key) = alike("the keys of a MAP", keys)?;
    let (values, value) = alike("the values of a MAP", values)?;
    if !has_keys(&key.kind) || key.kind == TypeKind::Null {
        return Err(Error::invalid(format!("a {} cannot be a key of a MAP", key.kind)).hint("use a text or a number"));
    }
    let args = keys.into_iter().zip(values).flat_map(|(key, value)| [key, value]).collect();
    Ok(function.call(args, TypeKind::Map(Box::new(key), Box::new(value)).not_null()))
}

fn map(call: &Call<'_>) -> Result<ArrayRef> {
    // Keys and values must stand at the same places, so constants are spread out.
    let spread = |first: usize| {
        call.args.iter().skip(first).step_by(2).map(|arg| arg.spread(call.len)).collect::<Result<Vec<_>>>()
    };
    let (keys, values) = (spread(0)?, spread(1)?);
    let (keys, values): (Vec<&ArrayRef>, Vec<&ArrayRef>) = (keys.iter().collect(), values.iter().collect());
    let known = Keys::new(&keys)?;
    let mut builder = ListBuilder::new(call.len);
    for row in 0..call.len {
        let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(keys.len());
        for pair in 0..keys.len() {
            let next = seen.len();
            match seen.entry(known.at(pair, row)) {
                std::collections::hash_map::Entry::Occupied(entry) => {
                    let place = *entry.get();
                    builder.row()[place] = (pair, row);
                }
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(next);
                    builder.push(pair, row);
                }
            }
        }
        builder.close(true)?;
    }
    builder.maps(&call.sql_type.kind, &keys, &values)
}

fn bind_item(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [container, index] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    match container.kind().clone() {
        TypeKind::Array(element) => {
            if !(index.kind().is_integer() || *index.kind() == TypeKind::Null) {
                return Err(Error::invalid(format!("the index of an ARRAY is a whole number, not {}", index.kind()))
                    .hint("the first element is array[1]"));
            }
            if let Some(Value::Integer(index)) = index.as_literal()
                && *index < 1
            {
                return Err(
                    Error::invalid(format!("{index} is no index of an ARRAY")).hint("the first element is array[1]")
                );
            }
            let index = implicit_cast(index, &TypeKind::Int.nullable())?;
            let sql_type = element.with_nullable(true);
            Ok(function.call(vec![container, index], sql_type))
        }
        TypeKind::Map(key, value) => {
            if index.kind().is_text() != key.kind.is_text() && *index.kind() != TypeKind::Null {
                let error = Error::invalid(format!("the keys of this MAP are {}, not {}", key.kind, index.kind()));
                return Err(error.hint("give a key of that type"));
            }
            // A text is compared as it is: cutting it to the keys' length could find another key.
            let wanted = common_type(&[(*key).clone(), index.sql_type().clone()])
                .filter(|wanted| wanted.kind.is_text() && key.kind.is_text())
                .unwrap_or((*key).clone());
            let index = implicit_cast(index, &wanted)?;
            let sql_type = value.with_nullable(true);
            Ok(function.call(vec![container, index], sql_type))
        }
        TypeKind::Row(fields) => {
            let Some(Value::Integer(index)) = index.as_literal() else {
                return Err(Error::invalid("the index into a ROW is a constant").hint("name the field: row.field"));
            };
            match usize::try_from(*index).ok().filter(|i| (1..=fields.len()).contains(i)) {
                Some(i) => bind_field(function, vec![container, Expr::text(&fields[i - 1].name)]),
                None => Err(Error::invalid(format!("the ROW has {} fields, and no field {index}", fields.len()))
                    .hint("the first field is row[1]")),
            }
        }
        other => Err(Error::invalid(format!("{other} has no elements to reach with [ ]"))
            .hint("[ ] goes with an ARRAY or a MAP")),
    }
}

fn item(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0);
    if matches!(call.kind(0), TypeKind::Array(_)) {
        let index = numbers::<at::Int32Type>(call, 1);
        let valid = valid_rows(call.args, call.len);
        let places = rows::<at::UInt32Type>(call.len, valid.as_ref(), |i| {
            let place = lists.at(i).zip(usize::try_from(index.at(i)).ok()).and_then(|(range, index)| {
                let at = range.start + index.checked_sub(1)?;
                (at < range.end).then_some(at as u32)
            });
            Ok(place)
        })?;
        return take(lists.values, &places, None).map_err(failed);
    }
    let wanted = &call.args[1];
    let order = make_comparator(lists.items, &wanted.array, SortOptions::default()).map_err(failed)?;
    let places: UInt32Array = (0..call.len)
        .map(|i| {
            let row = wanted.at(i);
            let mut range = lists.at(i).filter(|_| wanted.array.is_valid(row))?;
            range.find(|&at| order(at, row) == Ordering::Equal).map(|at| at as u32)
        })
        .collect();
    take(lists.values, &places, None).map_err(failed)
}

fn bind_field(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [row, name] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let Some(Value::Text(wanted)) = name.as_literal() else {
        return Err(Error::internal("the name of a field is a text literal"));
    };
    let TypeKind::Row(fields) = row.kind() else {
        return Err(
            Error::invalid(format!("{} has no fields, so no `{wanted}`", row.kind())).hint("only a ROW has fields")
        );
    };
    let Some(found) = fields.iter().find(|field| *field.name == **wanted) else {
        let names = || fields.iter().map(|field| field.name.as_str());
        let error = Error::not_found(format!("the ROW has no field `{wanted}`"));
        return Err(match nearest(wanted, names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("its fields are {}", names().collect::<Vec<_>>().join(", "))),
        });
    };
    let nullable = row.sql_type().nullable || found.sql_type.nullable;
    let sql_type = found.sql_type.with_nullable(nullable);
    let field = super::find("FIELD").ok_or_else(|| Error::internal("FIELD is missing"))?;
    debug_assert!(matches!(function.name, "FIELD" | "ITEM"), "{} reaches into a row", function.name);
    Ok(field.call(vec![row, name], sql_type))
}

fn field(call: &Call<'_>) -> Result<ArrayRef> {
    let (TypeKind::Row(fields), Some(Value::Text(name))) = (call.kind(0), call.exprs[1].as_literal()) else {
        return Err(Error::internal("FIELD names no field of a ROW"));
    };
    let index = fields.iter().position(|field| *field.name == **name);
    let rows = call.args[0].array.as_struct();
    let column = rows.column(index.ok_or_else(|| Error::internal(format!("there is no field {name}")))?);
    let column = match rows.nulls() {
        Some(nulls) if nulls.null_count() > 0 && column.data_type() != &DataType::Null => {
            nullif(column, &BooleanArray::new(!nulls.inner(), None)).map_err(failed)?
        }
        _ => column.clone(),
    };
    // A constant row and its constant name are evaluated once; a row per input row is there already.
    Ok(column)
}

fn bind_cardinality(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if !matches!(arg.kind(), TypeKind::Array(_) | TypeKind::Map(..)) {
        return Err(function.wrong_types(&[arg]));
    }
    let nullable = arg.sql_type().nullable;
    Ok(function.call(vec![arg], SqlType { kind: TypeKind::Int, nullable }))
}

fn cardinality(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0);
    Ok(Arc::new(rows::<at::Int32Type>(call.len, None, |i| Ok(lists.at(i).map(|range| range.len() as i32)))?))
}

fn bind_element(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let TypeKind::Array(element) = arg.kind() else { return Err(function.wrong_types(&[arg])) };
    let sql_type = element.with_nullable(true);
    Ok(function.call(vec![arg], sql_type))
}

fn element(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0);
    let places = rows::<at::UInt32Type>(call.len, None, |i| match lists.at(i) {
        Some(range) if range.len() > 1 => {
            Err(Error::invalid(format!("ELEMENT wants an array of one element, not of {}", range.len()))
                .hint("array[1] is the first"))
        }
        Some(range) if range.len() == 1 => Ok(Some(range.start as u32)),
        _ => Ok(None),
    })?;
    take(lists.values, &places, None).map_err(failed)
}
