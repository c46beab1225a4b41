//! The vectorised evaluator.
//!
//! A node yields one array per batch, or one row that stands for all of them where its operands are constant; only the
//! outermost result is spread out. AND, OR and CASE hand a later operand the rows that need it, so an operand that would
//! fail elsewhere (`CASE WHEN d <> 0 THEN n / d END`) does not. Operands that cannot fail and cost next to nothing
//! (columns, literals, comparisons and widening casts of those) are evaluated for all rows instead: gathering rows would cost more.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{Array, ArrayRef, BooleanArray, Datum, Scalar, UInt32Array, cast::AsArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_select::{interleave::interleave, take::take, zip::zip};
use gridhouse_base::{Error, Result, Value};

use crate::cast;
use crate::expr::{EvalContext, Expr};
use crate::functions::{Call, Family};

/// A node's result: an array of as many rows as the input, or one row that stands for all.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The values.
    pub array: ArrayRef,
    /// Whether `array` has a single row that stands for every row.
    pub constant: bool,
}

impl Operand {
    /// One value per row.
    pub fn rows(array: ArrayRef) -> Self {
        Self { array, constant: false }
    }

    /// The row of `array` that holds row `i` of the input.
    #[inline]
    pub fn at(&self, i: usize) -> usize {
        if self.constant { 0 } else { i }
    }

    /// One value per row, `len` of them.
    pub fn spread(&self, len: usize) -> Result<ArrayRef> {
        if !self.constant || len == 1 {
            return Ok(self.array.clone());
        }
        take(&self.array, &UInt32Array::from(vec![0; len]), None).map_err(arrow)
    }

    /// The form that Arrow's own kernels take.
    pub fn datum(&self) -> Box<dyn Datum> {
        if self.constant { Box::new(Scalar::new(self.array.clone())) } else { Box::new(self.array.clone()) }
    }
}

/// The rows under evaluation: all of a batch, or those that an AND, OR or CASE left over.
#[derive(Clone, Copy)]
struct Rows<'a> {
    columns: &'a [ArrayRef],
    len: usize,
    /// Where the rows stand in the batch; `None` means that they are the whole batch.
    numbers: Option<&'a UInt32Array>,
    /// Where the node stands in the expression, so that each RAND() of one expression has values of its own.
    place: u64,
}

impl Rows<'_> {
    /// The same rows, for operand `i` of the node.
    fn for_operand(&self, i: usize) -> Self {
        Self { place: self.place.wrapping_mul(31).wrapping_add(i as u64 + 1), ..*self }
    }
}

impl Expr {
    /// The value for every row of `columns`, which have `len` rows and the types that the column nodes say.
    ///
    /// # Errors
    /// `Invalid` where a row's value has no result (`CAST('x' AS INT)`, `1 / 0`); the message names the value.
    pub fn eval(&self, columns: &[ArrayRef], len: usize, ctx: &EvalContext) -> Result<ArrayRef> {
        match self {
            Self::Column { index, .. } => column(columns, *index).cloned(),
            _ => evaluate(self, &Rows { columns, len, numbers: None, place: 0 }, ctx)?.spread(len),
        }
    }

    /// Where this BOOLEAN expression is true; NULL counts as false. The mask holds no NULL.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn eval_mask(&self, columns: &[ArrayRef], len: usize, ctx: &EvalContext) -> Result<BooleanArray> {
        let result = self.eval(columns, len, ctx)?;
        if result.data_type() == &arrow_schema::DataType::Null {
            return Ok(BooleanArray::new(BooleanBuffer::new_unset(len), None));
        }
        let Some(mask) = result.as_boolean_opt() else {
            return Err(Error::internal(format!("condition {self} is {}, not BOOLEAN", self.sql_type())));
        };
        Ok(BooleanArray::new(truths(mask), None))
    }
}

fn column(columns: &[ArrayRef], index: usize) -> Result<&ArrayRef> {
    let count = columns.len();
    columns.get(index).ok_or_else(|| Error::internal(format!("column ${index} of an input of {count} columns")))
}

fn arrow(error: arrow_schema::ArrowError) -> Error {
    Error::internal("an expression's rows could not be rearranged").caused_by(error)
}

fn evaluate(expr: &Expr, rows: &Rows<'_>, ctx: &EvalContext) -> Result<Operand> {
    match expr {
        Expr::Column { index, .. } => Ok(Operand::rows(column(rows.columns, *index)?.clone())),
        Expr::Literal { value, sql_type } => Ok(Operand { array: value.to_array(&sql_type.kind, 1), constant: true }),
        Expr::Call { function, args, sql_type } => {
            let operand = |(i, arg)| evaluate(arg, &rows.for_operand(i), ctx);
            let operands = args.iter().enumerate().map(operand).collect::<Result<Vec<_>>>()?;
            let constant = operands.iter().all(|operand| operand.constant) && function.is_constant_over_rows();
            let len = if constant { 1 } else { rows.len };
            let call = Call {
                function,
                args: &operands,
                exprs: args,
                sql_type,
                len,
                numbers: rows.numbers,
                place: rows.place,
                ctx,
            };
            let array = (function.eval)(&call)?;
            debug_assert_eq!(array.data_type(), &sql_type.kind.arrow(), "{} yields its type", function.name);
            debug_assert_eq!(array.len(), len, "{} yields a value per row", function.name);
            Ok(Operand { array, constant })
        }
        Expr::Cast { input, safe, sql_type } => {
            let operand = evaluate(input, &rows.for_operand(0), ctx)?;
            let array = cast::cast_array(&operand.array, input.kind(), &sql_type.kind, *safe, ctx)?;
            Ok(Operand { array, constant: operand.constant })
        }
        Expr::Case { branches, otherwise, .. } => case(branches, otherwise, rows, ctx),
        Expr::And(operands) => chain(operands, false, rows, ctx),
        Expr::Or(operands) => chain(operands, true, rows, ctx),
    }
}

/// Whether `expr` cannot fail and costs less than gathering rows for it.
fn is_cheap(expr: &Expr) -> bool {
    match expr {
        Expr::Column { .. } | Expr::Literal { .. } => true,
        Expr::Call { function, args, .. } => function.family == Family::Comparison && args.iter().all(is_cheap),
        Expr::And(operands) | Expr::Or(operands) => operands.iter().all(is_cheap),
        Expr::Cast { input, sql_type, .. } => is_cheap(input) && cast::is_cheap(input.kind(), &sql_type.kind),
        Expr::Case { .. } => false,
    }
}

/// Evaluates `expr` for those of `rows` that `numbers` names (numbers within `rows`).
fn evaluate_at(expr: &Expr, rows: &Rows<'_>, numbers: &UInt32Array, ctx: &EvalContext) -> Result<Operand> {
    if numbers.len() == rows.len {
        return evaluate(expr, rows, ctx);
    }
    let mut used = vec![false; rows.columns.len()];
    expr.for_each_column(|index| {
        if let Some(used) = used.get_mut(index) {
            *used = true;
        }
    });
    // Columns that do not occur keep their place, and their rows: nobody looks at them.
    let gather =
        |(column, used): (&ArrayRef, bool)| if used { take(column, numbers, None) } else { Ok(column.clone()) };
    let columns = rows.columns.iter().zip(used).map(gather).collect::<Result<Vec<_>, _>>().map_err(arrow)?;
    let outer = match rows.numbers {
        Some(outer) => UInt32Array::from_iter_values(numbers.values().iter().map(|&i| outer.value(i as usize))),
        None => numbers.clone(),
    };
    evaluate(expr, &Rows { columns: &columns, len: numbers.len(), numbers: Some(&outer), place: rows.place }, ctx)
}

/// Where `mask` is true (not NULL, not false).
fn truths(mask: &BooleanArray) -> BooleanBuffer {
    match mask.nulls() {
        Some(nulls) => mask.values() & nulls.inner(),
        None => mask.values().clone(),
    }
}

fn booleans(operand: &Operand, len: usize) -> Result<BooleanArray> {
    let array = operand.spread(len)?;
    match array.as_boolean_opt() {
        Some(mask) => Ok(mask.clone()),
        None => Ok(BooleanArray::new_null(len)),
    }
}

/// AND (`decider` false) and OR (`decider` true): an operand equal to `decider` decides.
fn chain(operands: &[Expr], decider: bool, rows: &Rows<'_>, ctx: &EvalContext) -> Result<Operand> {
    let len = rows.len;
    let Some((first, rest)) = operands.split_first() else {
        return Ok(Operand { array: Arc::new(BooleanArray::from(vec![!decider])), constant: true });
    };
    let mut result = booleans(&evaluate(first, &rows.for_operand(0), ctx)?, len)?;
    for (i, operand) in rest.iter().enumerate() {
        let rows = &rows.for_operand(i + 1);
        let open = undecided(&result, decider);
        let next = if open.count_set_bits() == 0 {
            break;
        } else if is_cheap(operand) || open.count_set_bits() == len {
            booleans(&evaluate(operand, rows, ctx)?, len)?
        } else {
            let numbers = UInt32Array::from_iter_values(open.set_indices().map(|i| i as u32));
            let part = booleans(&evaluate_at(operand, rows, &numbers, ctx)?, numbers.len())?;
            scatter(&part, &numbers, len, decider)
        };
        result = combine(&result, &next, decider);
    }
    Ok(Operand::rows(Arc::new(result)))
}

fn undecided(mask: &BooleanArray, decider: bool) -> BooleanBuffer {
    let decided = if decider { mask.values().clone() } else { !mask.values() };
    match mask.nulls() {
        Some(nulls) => !&(&decided & nulls.inner()),
        None => !&decided,
    }
}

/// `part` at the rows `numbers`, `filler` elsewhere.
fn scatter(part: &BooleanArray, numbers: &UInt32Array, len: usize, filler: bool) -> BooleanArray {
    let mut values = BooleanBufferBuilder::new(len);
    values.append_n(len, filler);
    let mut valid = BooleanBufferBuilder::new(len);
    valid.append_n(len, true);
    for (i, &row) in numbers.values().iter().enumerate() {
        values.set_bit(row as usize, part.value(i));
        valid.set_bit(row as usize, part.is_valid(i));
    }
    BooleanArray::new(values.finish(), Some(NullBuffer::new(valid.finish())))
}

/// Three-valued AND or OR of two masks.
pub(crate) fn combine(a: &BooleanArray, b: &BooleanArray, decider: bool) -> BooleanArray {
    if a.null_count() == 0 && b.null_count() == 0 {
        let values = if decider { a.values() | b.values() } else { a.values() & b.values() };
        return BooleanArray::new(values, None);
    }
    let decides = |mask: &BooleanArray| !&undecided(mask, decider);
    let decided = &decides(a) | &decides(b);
    let both_known = match NullBuffer::union(a.nulls(), b.nulls()) {
        Some(nulls) => nulls.into_inner(),
        None => BooleanBuffer::new_set(a.len()),
    };
    let values = if decider { decided.clone() } else { !&decided };
    BooleanArray::new(values, Some(NullBuffer::new(&decided | &both_known)))
}

fn case(branches: &[(Expr, Expr)], otherwise: &Expr, rows: &Rows<'_>, ctx: &EvalContext) -> Result<Operand> {
    let len = rows.len;
    if let [(when, then)] = branches
        && is_cheap(then)
        && is_cheap(otherwise)
    {
        let mask = booleans(&evaluate(when, &rows.for_operand(0), ctx)?, len)?;
        let mask = BooleanArray::new(truths(&mask), None);
        let (then, otherwise) = (evaluate(then, rows, ctx)?, evaluate(otherwise, rows, ctx)?);
        return Ok(Operand::rows(zip(&mask, then.datum().as_ref(), otherwise.datum().as_ref()).map_err(arrow)?));
    }
    // Each row's result stands at (part, row within the part).
    let mut places = vec![(0, 0); len];
    let mut parts: Vec<ArrayRef> = Vec::with_capacity(branches.len() + 1);
    let mut open = UInt32Array::from_iter_values(0..len as u32);
    for (i, (when, then)) in branches.iter().enumerate() {
        if open.is_empty() {
            break;
        }
        let mask = booleans(&evaluate_at(when, &rows.for_operand(2 * i), &open, ctx)?, open.len())?;
        let taken = truths(&mask);
        if taken.count_set_bits() == 0 {
            continue;
        }
        let numbers = UInt32Array::from_iter_values(taken.set_indices().map(|i| open.value(i)));
        add_part(&evaluate_at(then, &rows.for_operand(2 * i + 1), &numbers, ctx)?, &numbers, &mut parts, &mut places);
        open = UInt32Array::from_iter_values((!&taken).set_indices().map(|i| open.value(i)));
    }
    if !open.is_empty() {
        add_part(
            &evaluate_at(otherwise, &rows.for_operand(2 * branches.len()), &open, ctx)?,
            &open,
            &mut parts,
            &mut places,
        );
    }
    if parts.is_empty() {
        return Ok(Operand::rows(Value::Null.to_array(otherwise.kind(), len)));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(Operand::rows(interleave(&parts, &places).map_err(arrow)?))
}

fn add_part(part: &Operand, numbers: &UInt32Array, parts: &mut Vec<ArrayRef>, places: &mut [(usize, usize)]) {
    for (i, &row) in numbers.values().iter().enumerate() {
        places[row as usize] = (parts.len(), part.at(i));
    }
    parts.push(part.array.clone());
}
