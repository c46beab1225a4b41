//! Questions asked of a text: how it begins and ends, and of what it is made.

use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::{Array, ArrayRef, BooleanArray};
use gridhouse_base::Result;

use super::kernel::{texts, valid_rows};
use super::string::fixed;
use super::{Call, Function, Nulls, Param, returns};

use Nulls::Strict;
use Param::{AnyText, Text};

pub(crate) static FUNCTIONS: &[Function] = &[
    fixed("STARTSWITH", &[], &["STARTSWITH(text, part)"], &[AnyText, Text], 2, returns::boolean, Strict, |c| {
        test(c, |text, part| text.starts_with(part))
    }),
    fixed("ENDSWITH", &[], &["ENDSWITH(text, part)"], &[AnyText, Text], 2, returns::boolean, Strict, |c| {
        test(c, |text, part| text.ends_with(part))
    }),
    fixed("IS_ALPHA", &[], &["IS_ALPHA(text)"], &[AnyText], 1, returns::boolean, Nulls::Never, |c| {
        holds(c, |text| !text.is_empty() && text.chars().all(char::is_alphabetic))
    }),
    fixed("IS_DIGIT", &[], &["IS_DIGIT(text)"], &[AnyText], 1, returns::boolean, Nulls::Never, |c| {
        holds(c, |text| !text.is_empty() && text.chars().all(|c| c.is_numeric() && !c.is_ascii_punctuation()))
    }),
    fixed("IS_DECIMAL", &[], &["IS_DECIMAL(text)"], &[AnyText], 1, returns::boolean, Nulls::Never, |c| {
        holds(c, is_decimal)
    }),
];

fn test(call: &Call<'_>, f: impl Fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (text, part) = (texts(call, 0), texts(call, 1));
    let valid = valid_rows(call.args, call.len);
    let mut builder = BooleanBuilder::with_capacity(call.len);
    for i in 0..call.len {
        let known = valid.as_ref().is_none_or(|valid| valid.is_valid(i));
        builder.append_option(known.then(|| f(text.at(i), part.at(i))));
    }
    Ok(Arc::new(builder.finish()))
}

/// Whether a text passes a test; NULL does not.
fn holds(call: &Call<'_>, test: impl Fn(&str) -> bool) -> Result<ArrayRef> {
    let (operand, text) = (&call.args[0], texts(call, 0));
    let known = |i| operand.array.is_valid(operand.at(i)) && test(text.at(i));
    Ok(Arc::new((0..call.len).map(|i| Some(known(i))).collect::<BooleanArray>()))
}

/// What Java reads as a number: blanks around it, an exponent and a type letter behind it are welcome.
fn is_decimal(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    number.starts_with(|c: char| c.is_ascii_digit() || c == '.') && number.parse::<f64>().is_ok()
}
