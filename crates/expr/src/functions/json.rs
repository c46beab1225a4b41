//! Reading JSON: IS JSON, JSON_EXISTS, JSON_VALUE and JSON_QUERY, with SQL/JSON paths.
//!
//! The clauses behind a path arrive as text literals: the parser makes plain calls of them. What a malformed text, or a path
//! that leads to nothing, gives is said by `ON EMPTY` and `ON ERROR`; without them it is NULL (FALSE for JSON_EXISTS).

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int32Builder, ListBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, BooleanArray, cast::AsArray, types as at};
use gridhouse_base::{Error, Result, SqlType, TypeKind, Value};

use super::kernel::{Texts, texts, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::cast::implicit_cast;
use crate::expr::Expr;
use crate::text::json::Json;
use crate::text::jsonpath::{Found, Path};

pub(super) const fn json(
    name: &'static str,
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::Json,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    json("IS JSON", &["text IS JSON", "text IS JSON VALUE|SCALAR|ARRAY|OBJECT"], bind_is_json, is_json),
    json("JSON_EXISTS", &["JSON_EXISTS(text, path [TRUE|FALSE|UNKNOWN|ERROR ON ERROR])"], bind_exists, exists),
    json("JSON_VALUE", VALUE, bind_value, value),
    json("JSON_QUERY", QUERY, bind_query, query),
];

const VALUE: &[&str] =
    &["JSON_VALUE(text, path [RETURNING type] [NULL|ERROR|DEFAULT x ON EMPTY] [NULL|ERROR|DEFAULT x ON ERROR])"];
const QUERY: &[&str] = &[
    "JSON_QUERY(text, path [RETURNING type] [WITH|WITHOUT [CONDITIONAL] ARRAY WRAPPER] [NULL|EMPTY ARRAY|EMPTY OBJECT|ERROR ON EMPTY] [… ON ERROR])",
];

/// The text of a clause, which the parser gives as a literal.
fn clause(exprs: &[Expr], i: usize) -> &str {
    match exprs.get(i).and_then(Expr::as_literal) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// The first two arguments as texts, with `clauses` behind them where the call is a plain one.
fn with_clauses(function: &'static Function, mut args: Vec<Expr>, clauses: Vec<Expr>) -> Result<Vec<Expr>> {
    let wanted = 2 + clauses.len();
    if args.len() == 2 {
        args.extend(clauses);
    }
    if args.len() != wanted {
        return Err(function.wrong_count(args.len()));
    }
    if !args[..2].iter().all(|arg| arg.kind().is_text() || *arg.kind() == TypeKind::Null) {
        return Err(function.wrong_types(&args[..2]));
    }
    for arg in &mut args[..2] {
        *arg = implicit_cast(arg.clone(), &TypeKind::STRING.nullable())?;
    }
    if let Some(Value::Text(path)) = args[1].as_literal()
        && let Err(error) = Path::new(path)
        && clause(&args, args.len() - 1) == "ERROR"
    {
        return Err(error);
    }
    Ok(args)
}

fn bind_is_json(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    if args.len() == 1 {
        args.push(Expr::text("VALUE"));
    }
    let [text, kind] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    if !text.kind().is_text() {
        return Err(function.wrong_types(&[text]));
    }
    let text = implicit_cast(text, &TypeKind::STRING.nullable())?;
    Ok(function.call(vec![text, kind], TypeKind::Boolean.not_null()))
}

fn is_json(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, kind) = (&call.args[0], clause(call.exprs, 1));
    let texts = text.array.as_string::<i32>();
    let fits = |value: Json| match kind {
        "OBJECT" => matches!(value, Json::Object(_)),
        "ARRAY" => matches!(value, Json::Array(_)),
        "SCALAR" => value.is_scalar(),
        _ => true,
    };
    let test = |i| {
        let row = text.at(i);
        Some(texts.is_valid(row) && Json::parse(texts.value(row)).is_some_and(fits))
    };
    Ok(Arc::new((0..call.len).map(test).collect::<BooleanArray>()))
}

/// The texts and paths of a call; the last path is kept compiled, as it is nearly always the same for all rows.
struct Reader<'a> {
    text: Texts<'a>,
    path: Texts<'a>,
    compiled: Option<(&'a str, std::result::Result<Path, Error>)>,
}

impl<'a> Reader<'a> {
    fn new(call: &'a Call<'_>) -> Self {
        Self { text: texts(call, 0), path: texts(call, 1), compiled: None }
    }

    /// What the path of row `i` finds in its text, and whether it is lax.
    fn find(&mut self, i: usize) -> (bool, Found) {
        let source = self.path.at(i);
        if self.compiled.as_ref().is_none_or(|(known, _)| *known != source) {
            self.compiled = Some((source, Path::new(source)));
        }
        let Some((_, Ok(path))) = &self.compiled else {
            return (false, Err(format!("'{source}' is not a JSON path")));
        };
        let found = match Json::parse(self.text.at(i)) {
            Some(value) => path.find(&value),
            None if path.lax => Ok(None),
            None => Err("the text is not JSON".into()),
        };
        // A null is nothing to a lax path, and no value to a strict one.
        let found = match found {
            Ok(None | Some(Json::Null)) if !path.lax => Err("the path leads to null".into()),
            Ok(Some(Json::Null)) => Ok(None),
            found => found,
        };
        (path.lax, found)
    }
}

fn refused(call: &Call<'_>, why: &str) -> Error {
    Error::invalid(format!("{}: {why}", call.function.name)).hint("NULL ON EMPTY NULL ON ERROR gives NULL instead")
}

fn bind_exists(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let args = with_clauses(function, args, vec![Expr::text("FALSE")])?;
    Ok(function.call(args, TypeKind::Boolean.nullable()))
}

fn exists(call: &Call<'_>) -> Result<ArrayRef> {
    let (mut reader, valid) = (Reader::new(call), valid_rows(call.args, call.len));
    let mut builder = BooleanBuilder::with_capacity(call.len);
    for i in 0..call.len {
        if valid.as_ref().is_some_and(|valid| valid.is_null(i)) {
            builder.append_null();
            continue;
        }
        match (reader.find(i).1, clause(call.exprs, 2)) {
            (Ok(found), _) => builder.append_value(found.is_some()),
            (Err(why), "ERROR") => return Err(refused(call, &why)),
            (Err(_), "UNKNOWN") => builder.append_null(),
            (Err(_), answer) => builder.append_value(answer == "TRUE"),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The arguments of JSON_VALUE: text, path, type, what on empty, its default, what on error, its default.
fn bind_value(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let none = || Expr::null(TypeKind::Null);
    let clauses = vec![Expr::text("STRING"), Expr::text(""), none(), Expr::text(""), none()];
    let mut args = with_clauses(function, args, clauses)?;
    let kind = match clause(&args, 2) {
        "BOOLEAN" => TypeKind::Boolean,
        "INT" => TypeKind::Int,
        "DOUBLE" => TypeKind::Double,
        "STRING" => TypeKind::STRING,
        other => {
            return Err(Error::invalid(format!("JSON_VALUE does not return {other}"))
                .hint("it returns STRING, BOOLEAN, INTEGER or DOUBLE; cast a STRING to other types"));
        }
    };
    for i in [4, 6] {
        args[i] = implicit_cast(args[i].clone(), &kind.clone().nullable())?;
    }
    Ok(function.call(args, kind.nullable()))
}

/// What becomes of a row.
enum Outcome {
    Value(Json),
    /// The value of this argument.
    Argument(usize),
    Null,
}

fn on(call: &Call<'_>, what: usize, why: &str) -> Result<Outcome> {
    match clause(call.exprs, what) {
        "ERROR" => Err(refused(call, why)),
        "DEFAULT" => Ok(Outcome::Argument(what + 1)),
        _ => Ok(Outcome::Null),
    }
}

/// Whether `value` has a form in the type returned; a number without fraction is a DOUBLE too.
fn returnable(value: &Json, kind: &TypeKind) -> bool {
    match (value, kind) {
        (Json::Boolean(_), TypeKind::Boolean) | (Json::Integer(_) | Json::Double(_), TypeKind::Double) => true,
        (Json::Integer(digits), TypeKind::Int) => digits.parse::<i32>().is_ok(),
        (value, kind) => kind.is_text() && value.is_scalar(),
    }
}

fn value_of_row(call: &Call<'_>, reader: &mut Reader<'_>, i: usize) -> Result<Outcome> {
    let (lax, found) = reader.find(i);
    match found {
        Err(why) => on(call, 5, &why),
        Ok(Some(value)) if value.is_scalar() => {
            let kind = &call.sql_type.kind;
            if returnable(&value, kind) {
                return Ok(Outcome::Value(value));
            }
            let mut shown = String::new();
            value.write(&mut shown);
            let why = format!("{shown} is not {kind}");
            // Only an explicit clause makes it anything but an error: the type asked for is wrong.
            if clause(call.exprs, 5).is_empty() { Err(refused(call, &why)) } else { on(call, 5, &why) }
        }
        Ok(_) if lax => on(call, 3, "the path leads to no scalar value"),
        Ok(_) => on(call, 5, "the path leads to no scalar value"),
    }
}

fn value(call: &Call<'_>) -> Result<ArrayRef> {
    let mut reader = Reader::new(call);
    let valid = valid_rows(&call.args[..2], call.len);
    let mut outcomes = Vec::with_capacity(call.len);
    for i in 0..call.len {
        let known = valid.as_ref().is_none_or(|valid| valid.is_valid(i));
        outcomes.push(if known { value_of_row(call, &mut reader, i)? } else { Outcome::Null });
    }
    macro_rules! build {
        ($builder:expr, $json:ident => $value:expr, $argument:expr) => {{
            let mut builder = $builder;
            for (i, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Outcome::Null => builder.append_null(),
                    Outcome::Value($json) => builder.append_option($value),
                    Outcome::Argument(a) => {
                        let (operand, row) = (&call.args[*a], call.args[*a].at(i));
                        builder
                            .append_option(operand.array.is_valid(row).then(|| $argument(operand.array.as_ref(), row)));
                    }
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match &call.sql_type.kind {
        TypeKind::Boolean => build!(
            BooleanBuilder::new(),
            json => Some(*json == Json::Boolean(true)),
            |array: &dyn Array, row| array.as_boolean().value(row)
        ),
        TypeKind::Int => build!(
            Int32Builder::new(),
            json => if let Json::Integer(digits) = json { digits.parse().ok() } else { None },
            |array: &dyn Array, row| array.as_primitive::<at::Int32Type>().value(row)
        ),
        TypeKind::Double => build!(
            Float64Builder::new(),
            json => json.as_number(),
            |array: &dyn Array, row| array.as_primitive::<at::Float64Type>().value(row)
        ),
        _ => build!(
            StringBuilder::new(),
            json => {
                let mut text = String::new();
                json.write_scalar(&mut text);
                Some(text)
            },
            |array: &dyn Array, row| array.as_string::<i32>().value(row).to_owned()
        ),
    })
}

/// The arguments of JSON_QUERY: text, path, type, wrapper, what on empty, what on error.
fn bind_query(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let clauses = vec![Expr::text("STRING"), Expr::text("WITHOUT"), Expr::text("NULL"), Expr::text("NULL")];
    let args = with_clauses(function, args, clauses)?;
    let kind = match clause(&args, 2) {
        "STRING" => TypeKind::STRING,
        "ARRAY<STRING>" => TypeKind::Array(Box::new(TypeKind::STRING.nullable())),
        other => {
            return Err(Error::invalid(format!("JSON_QUERY does not return {other}"))
                .hint("it returns STRING or ARRAY<STRING>; cast the elements"));
        }
    };
    Ok(function.call(args, kind.nullable()))
}

fn query_of_row(call: &Call<'_>, reader: &mut Reader<'_>, i: usize) -> Result<Option<Json>> {
    let (lax, found) = reader.find(i);
    let answer = |what: usize, why: &str| match clause(call.exprs, what) {
        "ERROR" => Err(refused(call, why)),
        "EMPTY ARRAY" => Ok(Some(Json::Array(Vec::new()))),
        "EMPTY OBJECT" => Ok(Some(Json::Object(Vec::new()))),
        _ => Ok(None),
    };
    match (found, clause(call.exprs, 3)) {
        (Err(why), _) => answer(5, &why),
        (Ok(None), _) => answer(4, "the path leads to nothing"),
        (Ok(Some(list @ Json::Array(_))), "CONDITIONAL") => Ok(Some(list)),
        (Ok(Some(value)), "CONDITIONAL" | "UNCONDITIONAL") => Ok(Some(Json::Array(vec![value]))),
        (Ok(Some(value)), _) if !value.is_scalar() => Ok(Some(value)),
        (Ok(Some(_)), _) if lax => answer(4, "the path leads to a scalar value"),
        (Ok(Some(_)), _) => answer(5, "the path leads to a scalar value"),
    }
}

fn query(call: &Call<'_>) -> Result<ArrayRef> {
    let (mut reader, valid) = (Reader::new(call), valid_rows(call.args, call.len));
    let mut found = Vec::with_capacity(call.len);
    for i in 0..call.len {
        let known = valid.as_ref().is_none_or(|valid| valid.is_valid(i));
        found.push(if known { query_of_row(call, &mut reader, i)? } else { None });
    }
    let mut scratch = String::new();
    let TypeKind::Array(element) = &call.sql_type.kind else {
        let mut builder = StringBuilder::with_capacity(call.len, call.len * 16);
        for value in found {
            scratch.clear();
            if let Some(value) = &value {
                value.write(&mut scratch);
            }
            builder.append_option(value.is_some().then_some(&scratch));
        }
        return Ok(Arc::new(builder.finish()));
    };
    let field = Arc::new(element.arrow_field("element"));
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for value in found {
        let Some(Json::Array(items)) = value else {
            builder.append(false);
            continue;
        };
        for item in items {
            scratch.clear();
            item.write_scalar(&mut scratch);
            builder.values().append_option((item != Json::Null).then_some(&scratch));
        }
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}

/// The type of a text argument that may be NULL.
pub(super) fn text_result(args: &[Expr]) -> SqlType {
    SqlType { kind: TypeKind::STRING, nullable: args.iter().any(|arg| arg.sql_type().nullable) }
}
