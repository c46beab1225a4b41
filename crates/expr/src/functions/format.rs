//! PRINTF: a text with places for values, in the form of C and Java (`%d`, `%05.2f`, `%-10s`, `%x`, `%%`).
//!
//! NULL where format and values do not fit, as in Flink 2.0.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::StringBuilder;
use gridhouse_base::{Result, TypeKind, Value};

use super::{Call, Function};
use crate::cast::implicit_cast;
use crate::expr::Expr;

/// How wide a place may be: a mistyped width must not eat the machine's memory.
const MAX_WIDTH: usize = 4_096;

/// The format and any values: whole numbers as BIGINT, other numbers as DOUBLE, all else as text.
pub(super) fn bind(function: &'static Function, mut args: Vec<Expr>) -> Result<Expr> {
    let Some(format) = args.first() else { return Err(function.wrong_count(0)) };
    if !format.kind().is_text() && *format.kind() != TypeKind::Null {
        return Err(function.wrong_types(&args));
    }
    for (i, arg) in args.iter_mut().enumerate() {
        let kind = match arg.kind() {
            kind if i > 0 && kind.is_integer() => TypeKind::BigInt,
            kind if i > 0 && kind.is_numeric() => TypeKind::Double,
            _ => TypeKind::STRING,
        };
        *arg = implicit_cast(arg.clone(), &kind.nullable())?;
    }
    Ok(function.call(args, TypeKind::STRING.nullable()))
}

pub(super) fn printf(call: &Call<'_>) -> Result<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 16);
    for i in 0..call.len {
        let value = |arg: usize| {
            let operand = &call.args[arg];
            Value::from_array(operand.array.as_ref(), operand.at(i), call.kind(arg))
        };
        let made = match value(0) {
            Value::Text(format) => formatted(&format, &mut (1..call.args.len()).map(value)),
            _ => None,
        };
        builder.append_option(made);
    }
    Ok(Arc::new(builder.finish()))
}

/// One place of a format: `%-08.2f`.
#[derive(Default)]
struct Place {
    left: bool,
    zeros: bool,
    sign: bool,
    width: usize,
    precision: Option<usize>,
}

fn formatted(format: &str, values: &mut dyn Iterator<Item = Value>) -> Option<String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut place = Place::default();
        while let Some(flag) = chars.next_if(|c| "-0+".contains(*c)) {
            place.left |= flag == '-';
            place.zeros |= flag == '0';
            place.sign |= flag == '+';
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            if digits.is_empty() { Some(0) } else { digits.parse().ok().filter(|&n| n <= MAX_WIDTH) }
        };
        place.width = number(&mut chars)?;
        if chars.next_if_eq(&'.').is_some() {
            place.precision = Some(number(&mut chars)?);
        }
        match chars.next()? {
            '%' => out.push('%'),
            'n' => out.push('\n'),
            conversion => out.push_str(&place.fill(conversion, values.next()?)?),
        }
    }
    Some(out)
}

impl Place {
    fn fill(&self, conversion: char, value: Value) -> Option<String> {
        let plus = |negative: bool| if self.sign && !negative { "+" } else { "" };
        let text = match (conversion, value) {
            (_, Value::Null) => "null".to_owned(),
            ('d', Value::Integer(n)) => format!("{}{n}", plus(n < 0)),
            ('x', Value::Integer(n)) => format!("{n:x}"),
            ('X', Value::Integer(n)) => format!("{n:X}"),
            ('o', Value::Integer(n)) => format!("{n:o}"),
            ('c', Value::Integer(n)) => char::from_u32(u32::try_from(n).ok()?)?.to_string(),
            ('f', Value::Double(x)) => format!("{}{x:.*}", plus(x < 0.0), self.precision.unwrap_or(6)),
            ('e', Value::Double(x)) => exponent(x, self.precision.unwrap_or(6)),
            ('s' | 'S', value) => {
                let text = match value {
                    Value::Integer(n) => n.to_string(),
                    Value::Double(x) => {
                        let mut out = String::new();
                        crate::text::number::write_double(&mut out, x);
                        out
                    }
                    Value::Text(text) => text.to_string(),
                    _ => return None,
                };
                let text: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
                if conversion == 'S' { text.to_uppercase() } else { text }
            }
            _ => return None,
        };
        Some(self.padded(text, conversion != 's' && conversion != 'S'))
    }

    fn padded(&self, text: String, number: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            return text + &" ".repeat(missing);
        }
        if self.zeros && number {
            let signed = text.starts_with(['-', '+']);
            let (sign, digits) = text.split_at(usize::from(signed));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        " ".repeat(missing) + &text
    }
}

/// `1.500000e+00`: two digits of exponent at least, unlike Rust's.
fn exponent(x: f64, precision: usize) -> String {
    let shown = format!("{x:.precision$e}");
    match shown.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => shown,
    }
}
