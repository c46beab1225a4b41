//! The clock of the tick: CURRENT_TIMESTAMP and its kin. All of them show the same moment within one evaluation.

use arrow_array::ArrayRef;
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Result, TypeKind, Value};

use super::{Binding, Call, Family, Function, Notation, Nulls, Volatility};
use crate::calendar::Zone;
use crate::expr::Expr;

const fn clock(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [&'static str],
    returns: fn(&[Expr]) -> TypeKind,
) -> Function {
    Function {
        name,
        aliases,
        family: Family::Datetime,
        volatility: Volatility::Clock,
        notation: Notation::Call,
        signatures,
        binding: Binding::Fixed { params: &[], required: 0, variadic: false, returns, nulls: Nulls::Never },
        eval: now,
    }
}

pub(crate) static FUNCTIONS: &[Function] = &[
    clock("CURRENT_TIMESTAMP", &["NOW", "CURRENT_ROW_TIMESTAMP"], &["CURRENT_TIMESTAMP", "NOW()"], |_| {
        TypeKind::TimestampLtz(3)
    }),
    clock("PROCTIME", &[], &["PROCTIME()"], |_| TypeKind::TimestampLtz(3)),
    clock("LOCALTIMESTAMP", &[], &["LOCALTIMESTAMP"], |_| TypeKind::Timestamp(3)),
    clock("CURRENT_DATE", &[], &["CURRENT_DATE"], |_| TypeKind::Date),
    clock("LOCALTIME", &["CURRENT_TIME"], &["LOCALTIME", "CURRENT_TIME"], |_| TypeKind::Time(0)),
];

/// The moment in the type of the result, one row that stands for all.
fn now(call: &Call<'_>) -> Result<ArrayRef> {
    let micros = call.ctx.now_micros;
    let local = Zone::new(call.ctx.zone).to_local(micros, 1_000_000);
    let value = match &call.sql_type.kind {
        TypeKind::TimestampLtz(p) => micros.div_euclid(1_000_000 / timestamp_units_per_second(*p)),
        TypeKind::Timestamp(p) => local.div_euclid(1_000_000 / timestamp_units_per_second(*p)),
        TypeKind::Date => local.div_euclid(86_400_000_000),
        // TIME(0) has no fraction.
        _ => local.rem_euclid(86_400_000_000) / 1_000_000 * 1_000,
    };
    Ok(Value::Integer(value).to_array(&call.sql_type.kind, call.len))
}
