//! Digests, as lower-case hexadecimal digits.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, cast::AsArray, types as at};
use gridhouse_base::{Error, Result, SqlType, TypeKind, Value};
use sha2::Digest;

use super::kernel::numbers;
use super::{Binding, Call, Family, Function, Notation, Volatility};
use crate::cast::implicit_cast;
use crate::expr::Expr;

const fn digest(
    name: &'static str,
    signatures: &'static [&'static str],
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::Hash,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    digest("MD5", &["MD5(text)", "MD5(bytes)"], |c| each(c, hex::<md5::Md5>)),
    digest("SHA1", &["SHA1(text)", "SHA1(bytes)"], |c| each(c, hex::<sha1::Sha1>)),
    digest("SHA224", &["SHA224(text)", "SHA224(bytes)"], |c| each(c, hex::<sha2::Sha224>)),
    digest("SHA256", &["SHA256(text)", "SHA256(bytes)"], |c| each(c, hex::<sha2::Sha256>)),
    digest("SHA384", &["SHA384(text)", "SHA384(bytes)"], |c| each(c, hex::<sha2::Sha384>)),
    digest("SHA512", &["SHA512(text)", "SHA512(bytes)"], |c| each(c, hex::<sha2::Sha512>)),
    digest("SHA2", &["SHA2(text, 224|256|384|512)"], sha2),
];

/// How many characters the digest has.
fn length(name: &str) -> TypeKind {
    match name {
        "MD5" => TypeKind::Char(32),
        "SHA1" => TypeKind::Char(40),
        "SHA224" => TypeKind::Char(56),
        "SHA256" => TypeKind::Char(64),
        "SHA384" => TypeKind::Char(96),
        "SHA512" => TypeKind::Char(128),
        _ => TypeKind::Varchar(128),
    }
}

fn bind(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    let wanted = if function.name == "SHA2" { 2 } else { 1 };
    if args.len() != wanted {
        return Err(function.wrong_count(args.len()));
    }
    let input = args[0].kind().clone();
    let bits = args.get(1).map(|bits| bits.kind().is_integer() || *bits.kind() == TypeKind::Null);
    if !(input.is_text() || input.is_bytes() || input == TypeKind::Null) || bits == Some(false) {
        return Err(function.wrong_types(&args));
    }
    if input == TypeKind::Null {
        args[0] = implicit_cast(args[0].clone(), &TypeKind::STRING.nullable())?;
    }
    if wanted == 2 {
        args[1] = implicit_cast(args[1].clone(), &TypeKind::Int.nullable())?;
        if let Some(Value::Integer(bits)) = args[1].as_literal() {
            algorithm(*bits)?;
        }
    }
    let nullable = args.iter().any(|arg| arg.sql_type().nullable);
    Ok(function.call(args, SqlType { kind: length(function.name), nullable }))
}

fn hex<D: Digest>(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in D::digest(bytes) {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The bytes of the first argument at row `i`; a text's are its UTF-8.
fn bytes<'a>(call: &'a Call<'_>, i: usize) -> Option<&'a [u8]> {
    let operand = &call.args[0];
    let row = operand.at(i);
    operand.array.is_valid(row).then(|| match operand.array.as_string_opt::<i32>() {
        Some(texts) => texts.value(row).as_bytes(),
        None => operand.array.as_binary::<i32>().value(row),
    })
}

fn each(call: &Call<'_>, f: fn(&[u8], &mut String)) -> Result<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 32);
    let mut out = String::new();
    for i in 0..call.len {
        out.clear();
        let known = bytes(call, i).map(|bytes| f(bytes, &mut out));
        builder.append_option(known.map(|()| &out));
    }
    Ok(Arc::new(builder.finish()))
}

fn algorithm(bits: i64) -> Result<fn(&[u8], &mut String)> {
    match bits {
        224 => Ok(hex::<sha2::Sha224>),
        256 => Ok(hex::<sha2::Sha256>),
        384 => Ok(hex::<sha2::Sha384>),
        512 => Ok(hex::<sha2::Sha512>),
        other => Err(Error::invalid(format!("SHA2 knows no digest of {other} bits")).hint("give 224, 256, 384 or 512")),
    }
}

fn sha2(call: &Call<'_>) -> Result<ArrayRef> {
    let (bits, operand) = (numbers::<at::Int32Type>(call, 1), &call.args[1]);
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 64);
    let mut out = String::new();
    for i in 0..call.len {
        match bytes(call, i).filter(|_| operand.array.is_valid(operand.at(i))) {
            Some(bytes) => {
                out.clear();
                algorithm(bits.at(i).into())?(bytes, &mut out);
                builder.append_value(&out);
            }
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}
