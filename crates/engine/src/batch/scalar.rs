//! Our expressions inside DataFusion: each as one function of the columns that it reads, so that it means what it means in a
//! job; and comparisons of columns with constants in DataFusion's own form, so that they can be handed to a table.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Column, DataFusionError, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr as DfExpr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, binary_expr,
};
use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::decimal::power;
use gridhouse_expr::{EvalContext, Expr};

use super::runtime::stopped;

/// An expression of ours as a function of its columns.
#[derive(Debug)]
struct RowFunction {
    /// Tells functions of one query apart.
    number: u64,
    /// The expression; column `i` is argument `i`.
    expr: Expr,
    data_type: DataType,
    context: Arc<EvalContext>,
    stop: Arc<AtomicBool>,
    signature: Signature,
}

impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && self.expr == other.expr
    }
}

impl Eq for RowFunction {}

impl Hash for RowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        "row_function"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(format!("f{}", self.number), self.data_type.clone(), true)))
    }

    fn schema_name(&self, _args: &[DfExpr]) -> DfResult<String> {
        Ok(format!("f{}", self.number))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        stopped(&self.stop)?;
        let rows = args.number_rows;
        let columns = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let values = self.expr.eval(&columns, rows, &self.context);
        Ok(ColumnarValue::Array(values.map_err(|error| DataFusionError::External(Box::new(error)))?))
    }
}

/// `expr` over `columns` as one function; `number` tells it apart from others of the query, `stop` ends it.
pub(super) fn wrapped(
    expr: &Expr,
    columns: &[Column],
    number: u64,
    context: &Arc<EvalContext>,
    stop: &Arc<AtomicBool>,
) -> DfExpr {
    let mut used: Vec<usize> = Vec::new();
    expr.for_each_column(|column| used.push(column));
    used.sort_unstable();
    used.dedup();
    let place = |column: usize| used.binary_search(&column).expect("every column that occurs was gathered");
    let args = used.iter().map(|&column| DfExpr::Column(columns[column].clone())).collect();
    let signature = match used.len() {
        0 => Signature::nullary(Volatility::Immutable),
        count => Signature::any(count, Volatility::Immutable),
    };
    let function = RowFunction {
        number,
        data_type: expr.kind().arrow(),
        expr: expr.map_columns(place),
        context: context.clone(),
        stop: stop.clone(),
        signature,
    };
    DfExpr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), args))
}

/// A condition on one column in DataFusion's form, if it is a comparison with constants that means the same to a table's scan.
/// `columns` are those of the table that the condition is over.
pub(super) fn comparison(expr: &Expr, columns: &[Column]) -> Option<DfExpr> {
    match expr {
        Expr::Column { index, sql_type } if sql_type.kind == TypeKind::Boolean => Some(binary_expr(
            DfExpr::Column(columns[*index].clone()),
            Operator::Eq,
            literal(&Value::Boolean(true), &sql_type.kind)?,
        )),
        Expr::Call { function, args, .. } => match (function.name, args.as_slice()) {
            ("IS NULL", [Expr::Column { index, .. }]) => {
                Some(DfExpr::IsNull(Box::new(DfExpr::Column(columns[*index].clone()))))
            }
            ("IS NOT NULL", [Expr::Column { index, .. }]) => {
                Some(DfExpr::IsNotNull(Box::new(DfExpr::Column(columns[*index].clone()))))
            }
            ("IN", [Expr::Column { index, sql_type }, list @ ..]) => {
                let kind = &sql_type.kind;
                let item = |item: &Expr| match item {
                    Expr::Literal { value, sql_type } if !value.is_null() && sql_type.kind.arrow() == kind.arrow() => {
                        literal(value, kind)
                    }
                    _ => None,
                };
                let list = list.iter().map(item).collect::<Option<Vec<_>>>()?;
                (!kind.arrow().is_nested()).then(|| {
                    DfExpr::InList(InList::new(Box::new(DfExpr::Column(columns[*index].clone())), list, false))
                })
            }
            (name, [left, right]) => {
                let operator = operator(name)?;
                let (column, operator, constant) = match (left, right) {
                    (column, Expr::Literal { .. }) => (column, operator, right),
                    (Expr::Literal { .. }, column) => (column, operator.swap()?, left),
                    _ => return None,
                };
                let Expr::Literal { value, sql_type } = constant else { return None };
                compared(column, operator, value, &sql_type.kind, columns)
            }
            _ => None,
        },
        _ => None,
    }
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        _ => return None,
    })
}

fn literal(value: &Value, kind: &TypeKind) -> Option<DfExpr> {
    Some(DfExpr::Literal(ScalarValue::try_from_array(&value.to_array(kind, 1), 0).ok()?, None))
}

/// `column` compared with a constant of `constant_kind`, where the column's own type can say the same.
fn compared(
    column: &Expr,
    operator: Operator,
    value: &Value,
    constant_kind: &TypeKind,
    columns: &[Column],
) -> Option<DfExpr> {
    if value.is_null() {
        return None;
    }
    // A column that is widened for the comparison can be compared as it is where the constant fits it.
    let (index, kind) = match column {
        Expr::Column { index, sql_type } => (*index, &sql_type.kind),
        Expr::Cast { input, sql_type, .. } => match input.as_ref() {
            Expr::Column { index, sql_type: own } if widens(&own.kind, &sql_type.kind) => (*index, &own.kind),
            _ => return None,
        },
        _ => return None,
    };
    if kind.arrow().is_nested() {
        return None;
    }
    let (operator, value) = if kind.arrow() == constant_kind.arrow() {
        (operator, value.clone())
    } else {
        exact(kind, operator, value, constant_kind)?
    };
    Some(binary_expr(DfExpr::Column(columns[index].clone()), operator, literal(&value, kind)?))
}

/// Whether every value of `from` is the same value in `to`, and in the same order.
fn widens(from: &TypeKind, to: &TypeKind) -> bool {
    let rank = |kind: &TypeKind| match kind {
        TypeKind::TinyInt => Some((1, 3)),
        TypeKind::SmallInt => Some((2, 5)),
        TypeKind::Int => Some((3, 10)),
        TypeKind::BigInt => Some((4, 19)),
        _ => None,
    };
    match (rank(from), rank(to), to) {
        (Some((from, _)), Some((to, _)), _) => from <= to,
        (Some((_, digits)), None, TypeKind::Decimal { precision, scale }) => precision - scale >= digits,
        _ => match (from, to) {
            (TypeKind::Decimal { precision: p, scale: s }, TypeKind::Decimal { precision: q, scale: t }) => {
                t >= s && q - t >= p - s
            }
            (TypeKind::Timestamp(p), TypeKind::Timestamp(q))
            | (TypeKind::TimestampLtz(p), TypeKind::TimestampLtz(q)) => p <= q && from.arrow() == to.arrow(),
            _ => false,
        },
    }
}

/// The comparison with an exact number of another type as one with a number of `kind`, if there is one.
fn exact(kind: &TypeKind, operator: Operator, value: &Value, from: &TypeKind) -> Option<(Operator, Value)> {
    let (unscaled, scale) = match (value, from) {
        (Value::Integer(v), kind) if kind.is_integer() => (i128::from(*v), 0),
        (Value::Decimal(v), TypeKind::Decimal { scale, .. }) => (*v, *scale),
        _ => return None,
    };
    let (wanted, range) = match kind {
        TypeKind::TinyInt => (0, i128::from(i8::MIN)..=i128::from(i8::MAX)),
        TypeKind::SmallInt => (0, i128::from(i16::MIN)..=i128::from(i16::MAX)),
        TypeKind::Int => (0, i128::from(i32::MIN)..=i128::from(i32::MAX)),
        TypeKind::BigInt => (0, i128::from(i64::MIN)..=i128::from(i64::MAX)),
        TypeKind::Decimal { precision, scale } => (*scale, 1 - power(*precision)..=power(*precision) - 1),
        _ => return None,
    };
    let (operator, unscaled) = if wanted >= scale {
        (operator, unscaled.checked_mul(power(wanted - scale))?)
    } else {
        let divisor = power(scale - wanted);
        let (floor, is_exact) = (unscaled.div_euclid(divisor), unscaled.rem_euclid(divisor) == 0);
        match operator {
            _ if is_exact => (operator, floor),
            // Between two neighbouring numbers of the column's type: x < 1.5 is x <= 1.
            Operator::Lt | Operator::LtEq => (Operator::LtEq, floor),
            Operator::Gt | Operator::GtEq => (Operator::Gt, floor),
            _ => return None,
        }
    };
    let value = if range.contains(&unscaled) { unscaled } else { return None };
    match kind {
        TypeKind::Decimal { .. } => Some((operator, Value::Decimal(value))),
        _ => Some((operator, Value::Integer(i64::try_from(value).ok()?))),
    }
}
