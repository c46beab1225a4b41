//! Aggregate functions inside DataFusion: its own where they mean what ours do (COUNT; MIN and MAX of what is ordered alike),
//! ours for the rest.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Column, Result as DfResult, exec_err};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::expr::AggregateFunction as DfAggregate;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr as DfExpr, GroupsAccumulator, Signature, Volatility, lit,
};
use gridhouse_base::{Schema, TypeKind};
use gridhouse_expr::{AggregateCall, AggregateFunction};

use super::cells::{Cell, Cells, Total};
use super::single::{ExtremeOf, FloatExtreme, SingleValue};
use super::sums::{DecimalSum, FloatSum, IntegerSum, SumOf};

/// `call` over `columns`, which are those of `input`.
pub(super) fn aggregate(call: &AggregateCall, input: &Schema, columns: &[Column]) -> DfExpr {
    let column = |index: usize| DfExpr::Column(columns[index].clone());
    let kind = |index: usize| &input.columns[index].sql_type.kind;
    let filter = call.filter.map(|filter| Box::new(column(filter)));
    let args: Vec<DfExpr> = call.args.iter().map(|&arg| column(arg)).collect();
    // Values of extremes count once or often alike.
    let distinct = call.distinct && call.function == AggregateFunction::Count;
    let fold = |what, arg: usize| {
        let (argument, result) = (kind(arg).arrow(), call.sql_type.kind.arrow());
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Fold { what, argument, result, signature }))
    };
    let is_float = |arg: usize| matches!(kind(arg), TypeKind::Float | TypeKind::Double);
    let (function, args) = match (call.function, call.args.as_slice()) {
        (AggregateFunction::Sum, &[arg]) => (fold(What::Sum, arg), args),
        (AggregateFunction::Avg, &[arg]) => (fold(What::Mean, arg), args),
        (AggregateFunction::Min, &[arg]) if is_float(arg) => (fold(What::Least, arg), args),
        (AggregateFunction::Max, &[arg]) if is_float(arg) => (fold(What::Largest, arg), args),
        (AggregateFunction::SingleValue, &[arg]) => (fold(What::Single, arg), args),
        (AggregateFunction::Min, _) => (min_udaf(), args),
        (AggregateFunction::Max, _) => (max_udaf(), args),
        (_, []) => (count_udaf(), vec![lit(1_i64)]),
        _ => (count_udaf(), args),
    };
    DfExpr::AggregateFunction(DfAggregate::new_udf(function, args, distinct, filter, Vec::new(), None))
}

/// Which function of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Sum,
    Mean,
    Least,
    Largest,
    Single,
}

/// A function of ours over one argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fold {
    what: What,
    argument: DataType,
    result: DataType,
    signature: Signature,
}

/// Does something for the kind of cell that a function needs.
macro_rules! with_cell {
    ($fold:expr, $f:ident) => {{
        let sum =
            SumOf { mean: $fold.what == What::Mean, argument: $fold.argument.clone(), result: $fold.result.clone() };
        match ($fold.what, &$fold.argument) {
            (What::Single, argument) => Ok($f::<SingleValue>(argument.clone())),
            (What::Least | What::Largest, argument) => {
                let largest = $fold.what == What::Largest;
                Ok($f::<FloatExtreme>(ExtremeOf { largest, data_type: argument.clone() }))
            }
            (_, DataType::Decimal128(..)) => Ok($f::<DecimalSum>(sum)),
            (_, DataType::Float32 | DataType::Float64) => Ok($f::<FloatSum>(sum)),
            (_, argument) if argument.is_signed_integer() => Ok($f::<IntegerSum>(sum)),
            (what, argument) => exec_err!("{what:?} does not take {argument}"),
        }
    }};
}

fn total<C: Cell>(rule: C::Rule) -> Box<dyn Accumulator> {
    Box::new(Total::<C>::new(rule))
}

fn groups<C: Cell>(rule: C::Rule) -> Box<dyn GroupsAccumulator> {
    Box::new(Cells::<C>::new(rule))
}

fn state_types<C: Cell>(rule: C::Rule) -> Vec<DataType> {
    C::state_types(&rule)
}

impl AggregateUDFImpl for Fold {
    fn name(&self) -> &str {
        match self.what {
            What::Sum => "our_sum",
            What::Mean => "our_avg",
            What::Least => "our_min",
            What::Largest => "our_max",
            What::Single => "single_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let types: DfResult<Vec<DataType>> = with_cell!(self, state_types);
        let field = |(i, data_type): (usize, DataType)| {
            Arc::new(Field::new(format_state_name(args.name, &i.to_string()), data_type, true))
        };
        Ok(types?.into_iter().enumerate().map(field).collect())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        with_cell!(self, total)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> DfResult<Box<dyn GroupsAccumulator>> {
        with_cell!(self, groups)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
