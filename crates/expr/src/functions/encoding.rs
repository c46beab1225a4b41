//! Texts in other forms: bytes of a character set, base 64, hexadecimal digits, URL escapes and the parts of a URL.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, cast::AsArray, types as at};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use encoding_rs::Encoding;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

use super::kernel::{make_texts, numbers, texts, valid_rows};
use super::string::fixed;
use super::{Binding, Call, Family, Function, Notation, Nulls, Param, Volatility, returns};
use crate::cast::implicit_cast;
use crate::expr::Expr;

const fn custom(
    name: &'static str,
    signatures: &'static [&'static str],
    bind: fn(&'static Function, Vec<Expr>) -> Result<Expr>,
    eval: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        aliases: &[],
        family: Family::String,
        volatility: Volatility::Pure,
        notation: Notation::Call,
        signatures,
        binding: Binding::Custom(bind),
        eval,
    }
}

use Nulls::{Always, Strict};
use Param::{AnyText, Text};

pub(crate) static FUNCTIONS: &[Function] = &[
    custom("HEX", &["HEX(number)", "HEX(text)"], bind_hex, hex),
    fixed("UNHEX", &[], &["UNHEX(text)"], &[Text], 1, |_| TypeKind::BYTES, Always, unhex),
    fixed("ENCODE", &[], &["ENCODE(text, charset)"], &[Text, Text], 2, |_| TypeKind::BYTES, Always, encode),
    custom("DECODE", &["DECODE(bytes, charset)"], bind_decode, decode),
    custom("TO_BASE64", &["TO_BASE64(text)", "TO_BASE64(bytes)"], bind_to_base64, to_base64),
    fixed("FROM_BASE64", &[], &["FROM_BASE64(text)"], &[Text], 1, returns::string, Strict, from_base64),
    fixed("URL_ENCODE", &[], &["URL_ENCODE(text)"], &[Text], 1, returns::string, Strict, url_encode),
    fixed("URL_DECODE", &[], &["URL_DECODE(text)"], &[Text], 1, returns::string, Always, url_decode),
    fixed(
        "PARSE_URL",
        &[],
        &["PARSE_URL(url, part)", "PARSE_URL(url, 'QUERY', key)"],
        &[AnyText, Text, Text],
        2,
        returns::string,
        Always,
        parse_url,
    ),
];

fn one_argument(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [arg] = <[Expr; 1]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    Ok(arg)
}

fn bind_hex(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let arg = one_argument(function, args)?;
    let arg = match arg.kind() {
        kind if kind.is_text() => arg,
        kind if kind.is_integer() => implicit_cast(arg, &TypeKind::BigInt.nullable())?,
        TypeKind::Null => implicit_cast(arg, &TypeKind::STRING.nullable())?,
        _ => return Err(function.wrong_types(&[arg])),
    };
    let nullable = arg.sql_type().nullable;
    Ok(function.call(vec![arg], SqlType { kind: TypeKind::STRING, nullable }))
}

fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0).is_text() {
        let text = texts(call, 0);
        let made = make_texts(call, |i, out| {
            for byte in text.at(i).bytes() {
                let _ = write!(out, "{byte:02X}");
            }
            Ok(true)
        })?;
        return Ok(Arc::new(made));
    }
    let number = numbers::<at::Int64Type>(call, 0);
    let made = make_texts(call, |i, out| {
        let _ = write!(out, "{:X}", number.at(i));
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

/// Byte strings made row by row; `None` is NULL, as is a row with a NULL argument.
fn make_bytes(call: &Call<'_>, mut f: impl FnMut(usize) -> Result<Option<Vec<u8>>>) -> Result<ArrayRef> {
    let valid = valid_rows(call.args, call.len);
    let mut builder = BinaryBuilder::new();
    for i in 0..call.len {
        let known = valid.as_ref().is_none_or(|valid| valid.is_valid(i));
        builder.append_option(if known { f(i)? } else { None });
    }
    Ok(Arc::new(builder.finish()))
}

/// An odd digit stands alone at the front; what is no digit makes NULL.
fn unhex(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    make_bytes(call, |i| {
        let text = text.at(i);
        let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
        Ok(crate::text::parse_hex(&padded))
    })
}

/// A character set by its name.
enum Charset {
    Ascii,
    Latin1,
    /// Big end first where true; with a mark in front where the second is true.
    Utf16(bool, bool),
    Other(&'static Encoding),
}

fn charset(name: &str) -> Result<Charset> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "US-ASCII" | "ASCII" => Charset::Ascii,
        "ISO-8859-1" | "LATIN1" => Charset::Latin1,
        "UTF-16" | "UTF16" => Charset::Utf16(true, true),
        "UTF-16BE" => Charset::Utf16(true, false),
        "UTF-16LE" => Charset::Utf16(false, false),
        other => match Encoding::for_label(other.as_bytes()) {
            Some(encoding) => Charset::Other(encoding),
            None => {
                return Err(Error::invalid(format!("there is no character set '{name}'"))
                    .hint("use UTF-8, UTF-16, GBK, GB18030, US-ASCII or ISO-8859-1"));
            }
        },
    })
}

impl Charset {
    /// What the set lacks becomes `?`.
    fn encode(&self, text: &str) -> Vec<u8> {
        let single = |limit: u32| text.chars().map(|c| if (c as u32) < limit { c as u8 } else { b'?' }).collect();
        match self {
            Self::Ascii => single(0x80),
            Self::Latin1 => single(0x100),
            Self::Utf16(big, marked) => {
                let mark = marked.then_some(0xFEFF);
                let units = mark.into_iter().chain(text.encode_utf16());
                units.flat_map(|unit: u16| if *big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
            }
            Self::Other(encoding) => {
                let mut out = Vec::new();
                for c in text.chars() {
                    let mut buffer = [0; 4];
                    let (bytes, _, failed) = encoding.encode(c.encode_utf8(&mut buffer));
                    if failed { out.push(b'?') } else { out.extend_from_slice(&bytes) }
                }
                out
            }
        }
    }

    /// What is no character becomes `�`.
    fn decode(&self, bytes: &[u8]) -> String {
        match self {
            Self::Ascii => {
                bytes.iter().map(|&b| if b < 0x80 { char::from(b) } else { char::REPLACEMENT_CHARACTER }).collect()
            }
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
            Self::Utf16(big, marked) => {
                let (bytes, big) = match (marked, bytes) {
                    (true, [0xFE, 0xFF, rest @ ..]) => (rest, true),
                    (true, [0xFF, 0xFE, rest @ ..]) => (rest, false),
                    _ => (bytes, *big),
                };
                let units: Vec<u16> = bytes
                    .chunks(2)
                    .map(|pair| match *pair {
                        [a, b] if big => u16::from_be_bytes([a, b]),
                        [a, b] => u16::from_le_bytes([a, b]),
                        _ => 0xFFFD,
                    })
                    .collect();
                String::from_utf16_lossy(&units)
            }
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        }
    }
}

fn encode(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, name) = (texts(call, 0), texts(call, 1));
    make_bytes(call, |i| Ok(Some(charset(name.at(i))?.encode(text.at(i)))))
}

fn bind_decode(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let [bytes, name] = <[Expr; 2]>::try_from(args).map_err(|args| function.wrong_count(args.len()))?;
    let textual = |arg: &Expr| arg.kind().is_text() || *arg.kind() == TypeKind::Null;
    if !(bytes.kind().is_bytes() || *bytes.kind() == TypeKind::Null) || !textual(&name) {
        return Err(function.wrong_types(&[bytes, name]));
    }
    let bytes = implicit_cast(bytes, &TypeKind::BYTES.nullable())?;
    let name = implicit_cast(name, &TypeKind::STRING.nullable())?;
    Ok(function.call(vec![bytes, name], TypeKind::STRING.nullable()))
}

fn decode(call: &Call<'_>) -> Result<ArrayRef> {
    let (operand, name) = (&call.args[0], texts(call, 1));
    let made = make_texts(call, |i, out| {
        out.push_str(&charset(name.at(i))?.decode(operand.array.as_binary::<i32>().value(operand.at(i))));
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

fn bind_to_base64(function: &'static Function, args: Vec<Expr>) -> Result<Expr> {
    let arg = one_argument(function, args)?;
    if !(arg.kind().is_text() || arg.kind().is_bytes() || *arg.kind() == TypeKind::Null) {
        return Err(function.wrong_types(&[arg]));
    }
    let arg = if *arg.kind() == TypeKind::Null { implicit_cast(arg, &TypeKind::STRING.nullable())? } else { arg };
    let nullable = arg.sql_type().nullable;
    Ok(function.call(vec![arg], SqlType { kind: TypeKind::STRING, nullable }))
}

/// Appends the base 64 form of `bytes`.
pub(super) fn write_base64(bytes: &[u8], out: &mut String) {
    STANDARD.encode_string(bytes, out);
}

fn to_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let operand = &call.args[0];
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 16);
    let mut out = String::new();
    for i in 0..call.len {
        let row = operand.at(i);
        if operand.array.is_null(row) {
            builder.append_null();
            continue;
        }
        out.clear();
        match operand.array.as_string_opt::<i32>() {
            Some(texts) => write_base64(texts.value(row).as_bytes(), &mut out),
            None => write_base64(operand.array.as_binary::<i32>().value(row), &mut out),
        }
        builder.append_value(&out);
    }
    Ok(Arc::new(builder.finish()))
}

/// Java's decoder: padding may be left out, and bits that are left over do not matter.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let made = make_texts(call, |i, out| {
        let bytes = LENIENT.decode(text.at(i)).map_err(|error| {
            Error::invalid(format!("'{}' is not base 64: {error}", text.at(i)))
                .hint("it is made of A-Z a-z 0-9 + / and =")
        })?;
        out.push_str(&String::from_utf8_lossy(&bytes));
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

/// As HTML forms are sent: letters, digits and `-_.*` stay, a blank becomes `+`.
fn url_encode(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let made = make_texts(call, |i, out| {
        for byte in text.at(i).bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
                b' ' => out.push('+'),
                byte => {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

/// NULL where a `%` is not followed by two digits, or the bytes are no text.
fn url_decode(call: &Call<'_>) -> Result<ArrayRef> {
    let text = texts(call, 0);
    let made = make_texts(call, |i, out| {
        let bytes = text.at(i).as_bytes();
        let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while at < bytes.len() {
            match bytes[at] {
                b'+' => decoded.push(b' '),
                b'%' => {
                    let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
                    let Some(Some(byte)) = digits.map(crate::text::parse_hex) else { return Ok(false) };
                    decoded.extend(byte);
                    at += 2;
                }
                byte => decoded.push(byte),
            }
            at += 1;
        }
        match String::from_utf8(decoded) {
            Ok(decoded) => out.push_str(&decoded),
            Err(_) => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Arc::new(made))
}

/// The parts of a URL, as `java.net.URL` finds them.
#[derive(Debug, Default)]
struct Url<'a> {
    protocol: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

/// The protocols that Java knows; any other is no URL.
const PROTOCOLS: &[&str] = &["http", "https", "ftp", "file", "mailto", "jar"];

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let (protocol, rest) = text.split_once(':')?;
        if !PROTOCOLS.iter().any(|known| protocol.eq_ignore_ascii_case(known)) {
            return None;
        }
        let (rest, reference) = match rest.split_once('#') {
            Some((rest, reference)) => (rest, Some(reference)),
            None => (rest, None),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        // A port that is no number makes the whole no URL.
        let host = authority.map(|authority| authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        let port = host.and_then(|host| host.rsplit_once(':')).map_or("", |(_, port)| port);
        (port.ends_with(']') || port.bytes().all(|b| b.is_ascii_digit())).then_some(Self {
            protocol,
            authority,
            path,
            query,
            reference,
        })
    }

    fn part(&self, name: &str) -> Option<String> {
        let user = || self.authority?.rsplit_once('@').map(|(user, _)| user.to_owned());
        match name {
            "HOST" => {
                let host = self.authority?.rsplit_once('@').map_or(self.authority?, |(_, host)| host);
                let host = match host.rsplit_once(':') {
                    Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
                    _ => host,
                };
                Some(host.to_owned())
            }
            "PATH" => Some(self.path.to_owned()),
            "QUERY" => self.query.map(str::to_owned),
            "REF" => self.reference.map(str::to_owned),
            "PROTOCOL" => Some(self.protocol.to_lowercase()),
            "FILE" => Some(match self.query {
                Some(query) => format!("{}?{query}", self.path),
                None => self.path.to_owned(),
            }),
            "AUTHORITY" => self.authority.map(str::to_owned),
            "USERINFO" => user(),
            _ => None,
        }
    }
}

fn parse_url(call: &Call<'_>) -> Result<ArrayRef> {
    let (url, part) = (texts(call, 0), texts(call, 1));
    let key = (call.args.len() == 3).then(|| texts(call, 2));
    let made = make_texts(call, |i, out| {
        let found = Url::parse(url.at(i)).and_then(|parsed| match &key {
            None => parsed.part(part.at(i)),
            Some(key) if part.at(i) == "QUERY" => {
                let pairs = parsed.query?.split('&').filter_map(|pair| pair.split_once('='));
                pairs.into_iter().find(|(name, _)| *name == key.at(i)).map(|(_, value)| value.to_owned())
            }
            Some(_) => None,
        });
        out.push_str(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    })?;
    Ok(Arc::new(made))
}
