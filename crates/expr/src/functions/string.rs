//! Functions of text. Positions and lengths count characters, from 1; NULL in, NULL out, except CONCAT_WS.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, cast::AsArray, types as at};
use gridhouse_base::types::MAX_LENGTH;
use gridhouse_base::{Error, Result, SqlType, TypeKind, Value};

use super::kernel::{make_texts, numbers, rows, texts, valid_rows};
use super::{Binding, Call, Family, Function, Notation, Nulls, Param, Volatility, format, returns};
use crate::cast::implicit_cast;
use crate::expr::Expr;

/// The largest text that REPEAT, LPAD and RPAD make: a mistyped length must not eat the machine's memory, and no column of
/// a table is meant to hold more.
const MAX_MADE_BYTES: usize = 16 << 20;

#[expect(clippy::too_many_arguments, reason = "a row of the tables below has as many columns")]
pub(super) const fn fixed(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
    params: &'static [Param],
    required: usize,
    returns: fn(&[Expr]) -> TypeKind,
    nulls: Nulls,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::String,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Fixed { params, required, variadic: false, returns, nulls },
        eval,
    }
}

const fn custom(
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
        family: Family::String,
        volatility: Volatility::Pure,
        notation,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

use Nulls::{Always, Strict};
use Param::{AnyText, Int, Text};

pub(crate) static FUNCTIONS: &[Function] = &[
    fixed("UPPER", &["UCASE"], &["UPPER(text)"], &[Text], 1, returns::same, Strict, |c| {
        each(c, |text, out| out.extend(text.chars().flat_map(char::to_uppercase)))
    }),
    fixed("LOWER", &["LCASE"], &["LOWER(text)"], &[Text], 1, returns::same, Strict, |c| {
        each(c, |text, out| out.push_str(&text.to_lowercase()))
    }),
    fixed(
        "CHAR_LENGTH",
        &["CHARACTER_LENGTH", "LENGTH"],
        &["CHAR_LENGTH(text)"],
        &[AnyText],
        1,
        returns::int,
        Strict,
        |c| measure(c, |text| text.chars().count()),
    ),
    fixed("OCTET_LENGTH", &[], &["OCTET_LENGTH(text)"], &[AnyText], 1, returns::int, Strict, |c| measure(c, str::len)),
    fixed(
        "SUBSTRING",
        &["SUBSTR"],
        &["SUBSTRING(text FROM start)", "SUBSTRING(text FROM start FOR length)"],
        &[AnyText, Int, Int],
        2,
        returns::part,
        Always,
        substring,
    ),
    custom("TRIM", &[], Notation::Call, &["TRIM(text)", "TRIM(BOTH characters FROM text)"], bind_trim, |c| {
        trim(c, None)
    }),
    fixed("LTRIM", &[], TRIM2, &[AnyText, Text], 1, returns::part, Strict, |c| trim(c, Some((true, false)))),
    fixed("RTRIM", &[], TRIM2, &[AnyText, Text], 1, returns::part, Strict, |c| trim(c, Some((false, true)))),
    fixed("BTRIM", &[], TRIM2, &[AnyText, Text], 1, returns::part, Strict, |c| trim(c, Some((true, true)))),
    custom("CONCAT", &[], Notation::Call, &["CONCAT(a, b, …)"], bind_concat, concat),
    custom("||", &[], Notation::Infix, &["a || b"], bind_concat, concat),
    custom("CONCAT_WS", &[], Notation::Call, &["CONCAT_WS(separator, a, b, …)"], bind_concat, concat_ws),
    fixed("REPLACE", &[], &["REPLACE(text, from, to)"], &[AnyText, Text, Text], 3, returns::string, Strict, replace),
    fixed("POSITION", &[], &["POSITION(part IN text)"], &[Text, AnyText], 2, returns::int, Strict, |c| {
        position(c, 0, 1)
    }),
    fixed(
        "LOCATE",
        &[],
        &["LOCATE(part, text)", "LOCATE(part, text, start)"],
        &[Text, AnyText, Int],
        2,
        returns::int,
        Strict,
        |c| position(c, 0, 1),
    ),
    fixed(
        "INSTR",
        &[],
        &["INSTR(text, part)", "INSTR(text, part, start, occurrence)"],
        &[AnyText, Text, Int, Int],
        2,
        returns::int,
        Strict,
        instr,
    ),
    custom("LPAD", &[], Notation::Call, &["LPAD(text, length, pad)"], bind_pad, |c| pad(c, true)),
    custom("RPAD", &[], Notation::Call, &["RPAD(text, length, pad)"], bind_pad, |c| pad(c, false)),
    fixed("REPEAT", &[], &["REPEAT(text, count)"], &[AnyText, Int], 2, returns::string, Strict, repeat),
    fixed("REVERSE", &[], &["REVERSE(text)"], &[AnyText], 1, returns::string, Always, |c| {
        each(c, |text, out| out.extend(text.chars().rev()))
    }),
    fixed("LEFT", &[], &["LEFT(text, count)"], &[AnyText, Int], 2, returns::part, Always, left),
    fixed("RIGHT", &[], &["RIGHT(text, count)"], &[AnyText, Int], 2, returns::part, Always, right),
    custom("SPLIT_INDEX", &[], Notation::Call, SPLIT, bind_split, split_index),
    fixed("INITCAP", &[], &["INITCAP(text)"], &[Text], 1, returns::same, Strict, |c| each(c, initcap)),
    fixed("ASCII", &[], &["ASCII(text)"], &[AnyText], 1, returns::int, Strict, ascii),
    fixed("CHR", &[], &["CHR(number)"], &[Param::BigInt], 1, returns::string, Always, chr),
    fixed(
        "OVERLAY",
        &[],
        &["OVERLAY(text PLACING new FROM start)", "OVERLAY(text PLACING new FROM start FOR length)"],
        &[AnyText, Text, Int, Int],
        3,
        returns::both,
        Strict,
        overlay,
    ),
    fixed(
        "TRANSLATE",
        &[],
        &["TRANSLATE(text, from, to)"],
        &[AnyText, Text, Text],
        3,
        returns::string,
        Strict,
        translate,
    ),
    custom("PRINTF", &[], Notation::Call, &["PRINTF(format, a, b, …)"], format::bind, format::printf),
];

const SPLIT: &[&str] = &["SPLIT_INDEX(text, separator, index)", "SPLIT_INDEX(text, character_code, index)"];

const TRIM2: &[&str] = &["LTRIM(text), RTRIM(text), BTRIM(text)", "LTRIM(text, characters)"];

fn each(call: &Call<'_>, f: impl Fn(&str, &mut String)) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let result = make_texts(call, |i, out| {
        f(text.at(i), out);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn measure(call: &Call<'_>, f: impl Fn(&str) -> usize) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let valid = valid_rows(call.args, call.len);
    Ok(Arc::new(rows::<at::Int32Type>(call.len, valid.as_ref(), |i| Ok(Some(f(text.at(i)) as i32)))?))
}

/// The part of `text` from character `start` (from 0), `count` characters long.
fn characters(text: &str, start: usize, count: usize) -> &str {
    if text.is_ascii() {
        let start = start.min(text.len());
        return &text[start..start + count.min(text.len() - start)];
    }
    let mut places = text.char_indices().map(|(at, _)| at);
    let from = places.by_ref().nth(start).unwrap_or(text.len());
    let to = match count {
        0 => from,
        _ => places.nth(count - 1).unwrap_or(text.len()),
    };
    &text[from..to]
}

fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, start) = (texts(call, 0), numbers::<at::Int32Type>(call, 1));
    let length = (call.args.len() == 3).then(|| numbers::<at::Int32Type>(call, 2));
    let result = make_texts(call, |i, out| {
        let text = text.at(i);
        let count = match length.as_ref().map(|length| length.at(i)) {
            Some(length) if length < 0 => return Ok(false),
            Some(length) => length as usize,
            None => usize::MAX,
        };
        let start = match start.at(i) {
            start if start > 0 => start as usize - 1,
            0 => 0,
            // From the end; a start before the text's beginning leaves nothing.
            start => match text.chars().count().checked_sub(start.unsigned_abs() as usize) {
                Some(start) => start,
                None => return Ok(true),
            },
        };
        out.push_str(characters(text, start, count));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn bind_trim(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    const SIDES: [&str; 3] = ["BOTH", "LEADING", "TRAILING"];
    let side = match args.first().and_then(Expr::as_literal) {
        Some(Value::Text(side)) if args.len() > 1 => SIDES.into_iter().find(|known| side.eq_ignore_ascii_case(known)),
        _ => None,
    };
    if side.is_some() {
        args.remove(0);
    }
    let (characters, text) = match args.len() {
        1 => (Expr::text(" "), args.remove(0)),
        // SQL names the characters first, a plain call the text.
        2 if side.is_some() => (args.remove(0), args.remove(0)),
        2 => (args.remove(1), args.remove(0)),
        n => return Err(function.wrong_count(n)),
    };
    let name = match side {
        Some("LEADING") => "LTRIM",
        Some("TRAILING") => "RTRIM",
        _ => "BTRIM",
    };
    super::resolve(name, vec![text, characters])
}

fn trim(call: &Call<'_>, sides: Option<(bool, bool)>) -> Result<ArrayRef> {
    let (leading, trailing) = sides.unwrap_or((true, true));
    let text = texts(call, 0);
    let characters = (call.args.len() == 2).then(|| texts(call, 1));
    let result = make_texts(call, |i, out| {
        let unwanted = characters.as_ref().map_or(" ", |characters| characters.at(i));
        let mut text = text.at(i);
        if leading {
            text = text.trim_start_matches(|c| unwanted.contains(c));
        }
        if trailing {
            text = text.trim_end_matches(|c| unwanted.contains(c));
        }
        out.push_str(text);
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// Operands as texts; whatever has a text form is welcome.
fn bind_concat(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    if args.is_empty() || (args.len() < 2 && function.name == "||") {
        return Err(function.wrong_count(args.len()));
    }
    let text = |arg: Expr| {
        if arg.kind().is_text() { Ok(arg) } else { implicit_cast(arg, &TypeKind::STRING.nullable()) }
    };
    let args = args.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    let kind = if function.name == "||" { joined(&args) } else { TypeKind::STRING };
    Ok(function.call(args, SqlType { kind, nullable }))
}

/// The operator adds lengths up: CHAR(1) and CHAR(2) make CHAR(3).
fn joined(args: &[Expr]) -> TypeKind {
    let fixed = args.iter().all(|arg| matches!(arg.kind(), TypeKind::Char(_)));
    let lengths = args.iter().map(|arg| match arg.kind() {
        TypeKind::Char(n) | TypeKind::Varchar(n) => *n,
        _ => MAX_LENGTH,
    });
    let length = lengths.fold(0, u32::saturating_add).min(MAX_LENGTH);
    if fixed { TypeKind::Char(length) } else { TypeKind::Varchar(length) }
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts: Vec<_> = (0..call.args.len()).map(|i| texts(call, i)).collect();
    let result = make_texts(call, |i, out| {
        parts.iter().for_each(|part| out.push_str(part.at(i)));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let (separator, parts) = (&call.args[0], &call.args[1..]);
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 16);
    let mut scratch = String::new();
    for i in 0..call.len {
        let row = separator.at(i);
        if separator.array.is_null(row) {
            builder.append_null();
            continue;
        }
        scratch.clear();
        let mut first = true;
        for part in parts {
            let at = part.at(i);
            if part.array.is_valid(at) {
                if !first {
                    scratch.push_str(separator.array.as_string::<i32>().value(row));
                }
                first = false;
                scratch.push_str(part.array.as_string::<i32>().value(at));
            }
        }
        builder.append_value(&scratch);
    }
    Ok(Arc::new(builder.finish()))
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (texts(call, 0), texts(call, 1), texts(call, 2));
    let result = make_texts(call, |i, out| {
        out.push_str(&text.at(i).replace(from.at(i), to.at(i)));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// The place of argument `part` in argument `text`, counted from 1; 0 where it does not occur.
fn position(call: &Call<'_>, part: usize, text: usize) -> Result<ArrayRef> {
    let (part, text) = (texts(call, part), texts(call, text));
    let start = (call.args.len() == 3).then(|| numbers::<at::Int32Type>(call, 2));
    let valid = valid_rows(call.args, call.len);
    let result = rows::<at::Int32Type>(call.len, valid.as_ref(), |i| {
        let (text, skipped) = match start.as_ref().map(|start| start.at(i)) {
            // Nothing is found at once, wherever the search starts.
            _ if part.at(i).is_empty() => return Ok(Some(1)),
            Some(start) if start > 1 => (characters(text.at(i), start as usize - 1, usize::MAX), start as usize - 1),
            _ => (text.at(i), 0),
        };
        Ok(Some(text.find(part.at(i)).map_or(0, |at| (skipped + text[..at].chars().count() + 1) as i32)))
    })?;
    Ok(Arc::new(result))
}

/// Where `part` occurs for the n-th time, from a place on; from a negative place the search goes back from the end.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (texts(call, 0), texts(call, 1));
    let start = (call.args.len() > 2).then(|| numbers::<at::Int32Type>(call, 2));
    let count = (call.args.len() > 3).then(|| numbers::<at::Int32Type>(call, 3));
    let valid = valid_rows(call.args, call.len);
    let result = rows::<at::Int32Type>(call.len, valid.as_ref(), |i| {
        let start = start.as_ref().map_or(1, |start| start.at(i));
        let count = count.as_ref().map_or(1, |count| count.at(i));
        if start == 0 || count < 1 {
            return Ok(Some(0));
        }
        let (mut text, mut part): (Vec<char>, Vec<char>) = (text.at(i).chars().collect(), part.at(i).chars().collect());
        if start < 0 {
            text.reverse();
            part.reverse();
        }
        let skipped = start.unsigned_abs() as usize - 1;
        let mut starts = (skipped..text.len()).filter(|&at| text[at..].starts_with(&part));
        Ok(Some(starts.nth(count as usize - 1).map_or(0, |at| {
            let place = if start < 0 { text.len() - at - part.len() + 1 } else { at + 1 };
            place as i32
        })))
    })?;
    Ok(Arc::new(result))
}

fn too_long(call: &Call<'_>, bytes: usize) -> Error {
    Error::invalid(format!("{} would make a text of {bytes} bytes", call.function.name))
        .hint(format!("texts made by functions are at most {MAX_MADE_BYTES} bytes long"))
}

fn pad(call: &Call<'_>, left: bool) -> Result<ArrayRef> {
    let (text, length, pad) = (texts(call, 0), numbers::<at::Int32Type>(call, 1), texts(call, 2));
    let result = make_texts(call, |i, out| {
        let (text, length, pad) = (text.at(i), length.at(i), pad.at(i));
        if length < 0 || pad.is_empty() {
            return Ok(false);
        }
        let length = length as usize;
        if length > MAX_MADE_BYTES {
            return Err(too_long(call, length));
        }
        let text = characters(text, 0, length);
        let missing = length - text.chars().count();
        if !left {
            out.push_str(text);
        }
        out.extend(pad.chars().cycle().take(missing));
        if left {
            out.push_str(text);
        }
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, count) = (texts(call, 0), numbers::<at::Int32Type>(call, 1));
    let result = make_texts(call, |i, out| {
        let (text, count) = (text.at(i), count.at(i).max(0) as usize);
        let bytes = text.len().saturating_mul(count);
        if bytes > MAX_MADE_BYTES {
            return Err(too_long(call, bytes));
        }
        out.push_str(&text.repeat(count));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn left(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, count) = (texts(call, 0), numbers::<at::Int32Type>(call, 1));
    let result = make_texts(call, |i, out| {
        out.push_str(characters(text.at(i), 0, count.at(i).max(0) as usize));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn right(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, count) = (texts(call, 0), numbers::<at::Int32Type>(call, 1));
    let result = make_texts(call, |i, out| {
        let text = text.at(i);
        let skipped = text.chars().count().saturating_sub(count.at(i).max(0) as usize);
        out.push_str(characters(text, skipped, usize::MAX));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// The separator may be given as the code of a character.
fn bind_split(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [text, separator, index] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let textual = |arg: &Expr| arg.kind().is_text() || *arg.kind() == TypeKind::Null;
    let integer = |arg: &Expr| arg.kind().is_integer() || *arg.kind() == TypeKind::Null;
    if !textual(&text) || !(textual(&separator) || integer(&separator)) || !integer(&index) {
        return Err(function.wrong_types(&[text, separator, index]));
    }
    let separator = if separator.kind().is_integer() {
        let known = super::resolve("BETWEEN", vec![separator.clone(), Expr::int(1), Expr::int(255)])?;
        super::conditional::case(vec![(known, super::resolve("CHR", vec![separator])?)], None)?
    } else {
        implicit_cast(separator, &TypeKind::STRING.nullable())?
    };
    let text = implicit_cast(text, &TypeKind::STRING.nullable())?;
    let index = implicit_cast(index, &TypeKind::Int.nullable())?;
    Ok(function.call(vec![text, separator, index], TypeKind::STRING.nullable()))
}

fn split_index(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, separator, index) = (texts(call, 0), texts(call, 1), numbers::<at::Int32Type>(call, 2));
    let result = make_texts(call, |i, out| {
        let (text, separator, index) = (text.at(i), separator.at(i), index.at(i));
        if text.is_empty() || index < 0 {
            return Ok(false);
        }
        let part = if separator.is_empty() {
            text.split(char::is_whitespace).nth(index as usize)
        } else {
            text.split(separator).nth(index as usize)
        };
        out.push_str(part.unwrap_or_default());
        Ok(part.is_some())
    })?;
    Ok(Arc::new(result))
}

/// Letters and digits of ASCII make words; all else parts them.
fn initcap(text: &str, out: &mut String) {
    let mut inside = false;
    for c in text.chars() {
        out.push(if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
        inside = c.is_ascii_alphanumeric();
    }
}

fn ascii(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let valid = valid_rows(call.args, call.len);
    let result = rows::<at::Int32Type>(call.len, valid.as_ref(), |i| {
        // The first byte as Java sees it, with a sign.
        Ok(Some(text.at(i).bytes().next().map_or(0, |byte| i32::from(byte as i8))))
    })?;
    Ok(Arc::new(result))
}

fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let number = numbers::<at::Int64Type>(call, 0);
    let result = make_texts(call, |i, out| {
        let number = number.at(i);
        if number >= 0 {
            out.push(char::from((number % 256) as u8));
        }
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn overlay(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, new, start) = (texts(call, 0), texts(call, 1), numbers::<at::Int32Type>(call, 2));
    let length = (call.args.len() == 4).then(|| numbers::<at::Int32Type>(call, 3));
    let result = make_texts(call, |i, out| {
        let (text, new, start) = (text.at(i), new.at(i), i64::from(start.at(i)));
        let count = text.chars().count() as i64;
        if start < 1 || start > count {
            out.push_str(text);
            return Ok(true);
        }
        let length = length.as_ref().map_or(new.chars().count() as i64, |length| length.at(i).into());
        out.push_str(characters(text, 0, start as usize - 1));
        out.push_str(new);
        // Nothing that is to be replaced means everything, as in Flink.
        let rest = if length < 1 { count } else { (start - 1 + length).min(count) };
        out.push_str(characters(text, rest as usize, usize::MAX));
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

fn translate(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (texts(call, 0), texts(call, 1), texts(call, 2));
    let result = make_texts(call, |i, out| {
        for c in text.at(i).chars() {
            match from.at(i).chars().position(|known| known == c) {
                None => out.push(c),
                Some(at) => out.extend(to.at(i).chars().nth(at)),
            }
        }
        Ok(true)
    })?;
    Ok(Arc::new(result))
}

/// Whether argument `i` is a literal that passes a test.
fn literal_is(args: &[Expr], i: usize, test: impl Fn(&Value) -> bool) -> bool {
    args.get(i).and_then(Expr::as_literal).is_some_and(test)
}

/// A negative length and an empty pad give NULL; where both are written and sound, the result is NULL with its arguments
/// only.
fn bind_pad(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [text, length, pad] = <[Expr; 3]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let whole = length.kind().is_integer() || *length.kind() == TypeKind::Null;
    let textual = pad.kind().is_text() || *pad.kind() == TypeKind::Null;
    let atomic = text.kind().is_text() || text.kind().is_numeric() || text.kind().is_datetime();
    if !whole || !textual || !(atomic || matches!(text.kind(), TypeKind::Null | TypeKind::Boolean)) {
        return Err(function.wrong_types(&[text, length, pad]));
    }
    let args = vec![
        implicit_cast(text, &TypeKind::STRING.nullable())?,
        implicit_cast(length, &TypeKind::Int.nullable())?,
        implicit_cast(pad, &TypeKind::STRING.nullable())?,
    ];
    let sound = literal_is(&args, 1, |length| matches!(length, Value::Integer(n) if *n >= 0));
    let pads = |arg: &Expr| match arg {
        Expr::Cast { input, .. } => literal_is(std::slice::from_ref(input.as_ref()), 0, |pad| !pad.is_null()),
        other => literal_is(std::slice::from_ref(other), 0, |pad| matches!(pad, Value::Text(pad) if !pad.is_empty())),
    };
    let nullable = !sound || !pads(&args[2]) || args.iter().any(|arg| arg.sql_type().nullable);
    Ok(function.call(args, SqlType { kind: TypeKind::STRING, nullable }))
}
