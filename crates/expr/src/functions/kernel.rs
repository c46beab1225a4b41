//! The loops that kernels share: over one, two or several operands, constant or not, NULL in, NULL out.

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray, StringArray, cast::AsArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder, ScalarBuffer};
use gridhouse_base::Result;

use super::Call;
use crate::eval::Operand;

/// Which of `len` rows have no NULL among `args`; `None` means all.
pub(crate) fn valid_rows(args: &[Operand], len: usize) -> Option<NullBuffer> {
    args.iter().fold(None, |valid, arg| {
        let own = match arg.array.logical_nulls() {
            Some(nulls) if !arg.constant => Some(nulls),
            Some(nulls) if nulls.null_count() > 0 => Some(NullBuffer::new_null(len)),
            _ => None,
        };
        NullBuffer::union(valid.as_ref(), own.as_ref())
    })
}

fn values<T: ArrowPrimitiveType>(operand: &Operand) -> &[T::Native] {
    operand.array.as_primitive::<T>().values()
}

/// `f` of one operand; it must not care what stands at a NULL.
pub(crate) fn unary<A: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    call: &Call<'_>,
    f: impl Fn(A::Native) -> O::Native,
) -> PrimitiveArray<O> {
    let spread: PrimitiveArray<O> = call.args[0].array.as_primitive::<A>().unary(f);
    debug_assert!(!call.args[0].constant || call.len == 1, "a function of one constant is constant");
    spread
}

/// `f` of two operands; it must not care what stands at a NULL.
pub(crate) fn binary<A: ArrowPrimitiveType, B: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    call: &Call<'_>,
    f: impl Fn(A::Native, B::Native) -> O::Native,
) -> PrimitiveArray<O> {
    let (left, right) = (&call.args[0], &call.args[1]);
    let (a, b) = (values::<A>(left), values::<B>(right));
    let result: ScalarBuffer<O::Native> = match (left.constant, right.constant) {
        (false, false) => a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect(),
        (false, true) => {
            let b = b[0];
            a.iter().map(|&a| f(a, b)).collect()
        }
        (true, false) => {
            let a = a[0];
            b.iter().map(|&b| f(a, b)).collect()
        }
        (true, true) => std::iter::repeat_n(f(a[0], b[0]), call.len).collect(),
    };
    PrimitiveArray::new(result, valid_rows(call.args, call.len))
}

/// `f` of two operands where neither is NULL; `Ok(None)` is NULL.
pub(crate) fn try_binary<A: ArrowPrimitiveType, B: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    call: &Call<'_>,
    f: impl Fn(A::Native, B::Native) -> Result<Option<O::Native>>,
) -> Result<PrimitiveArray<O>> {
    let (left, right) = (&call.args[0], &call.args[1]);
    let (a, b) = (values::<A>(left), values::<B>(right));
    let valid = valid_rows(call.args, call.len);
    rows(call.len, valid.as_ref(), |i| f(a[left.at(i)], b[right.at(i)]))
}

/// `f` of every row that `valid` names; `Ok(None)` is NULL.
pub(crate) fn rows<O: ArrowPrimitiveType>(
    len: usize,
    valid: Option<&NullBuffer>,
    mut f: impl FnMut(usize) -> Result<Option<O::Native>>,
) -> Result<PrimitiveArray<O>> {
    let mut values = Vec::with_capacity(len);
    let mut nulls = NullBufferBuilder::new(len);
    for i in 0..len {
        let is_valid = valid.is_none_or(|valid| valid.is_valid(i));
        let value = if is_valid { f(i)? } else { None };
        nulls.append(value.is_some());
        values.push(value.unwrap_or_default());
    }
    Ok(PrimitiveArray::new(values.into(), nulls.finish()))
}

/// A text operand.
pub(crate) struct Texts<'a> {
    array: &'a StringArray,
    constant: bool,
}

impl<'a> Texts<'a> {
    /// The text at row `i`, which is not NULL.
    pub fn at(&self, i: usize) -> &'a str {
        self.array.value(if self.constant { 0 } else { i })
    }
}

/// Argument `i` as texts.
pub(crate) fn texts<'a>(call: &'a Call<'_>, i: usize) -> Texts<'a> {
    Texts { array: call.args[i].array.as_string::<i32>(), constant: call.args[i].constant }
}

/// A numeric operand.
pub(crate) struct Numbers<'a, T: ArrowPrimitiveType> {
    values: &'a [T::Native],
    constant: bool,
}

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    /// The number at row `i`, which is not NULL.
    pub fn at(&self, i: usize) -> T::Native {
        self.values[if self.constant { 0 } else { i }]
    }
}

/// Argument `i` as numbers.
pub(crate) fn numbers<'a, T: ArrowPrimitiveType>(call: &'a Call<'_>, i: usize) -> Numbers<'a, T> {
    Numbers { values: values::<T>(&call.args[i]), constant: call.args[i].constant }
}

/// Texts made row by row: `f` appends to the buffer and says whether there is a text (else NULL). Rows with a NULL
/// argument are NULL.
pub(crate) fn make_texts(
    call: &Call<'_>,
    mut f: impl FnMut(usize, &mut String) -> Result<bool>,
) -> Result<StringArray> {
    let valid = valid_rows(call.args, call.len);
    let mut builder = StringBuilder::with_capacity(call.len, call.len * 16);
    let mut scratch = String::new();
    for i in 0..call.len {
        scratch.clear();
        if valid.as_ref().is_none_or(|valid| valid.is_valid(i)) && f(i, &mut scratch)? {
            builder.append_value(&scratch);
        } else {
            builder.append_null();
        }
    }
    Ok(builder.finish())
}
