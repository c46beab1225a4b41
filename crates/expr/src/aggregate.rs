//! Aggregate functions: names, argument and result types. Their accumulators live with the operators that keep them.

use gridhouse_base::error::nearest;
use gridhouse_base::types::MAX_DECIMAL_PRECISION;
use gridhouse_base::{Error, Result, SqlType, TypeKind};

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// `COUNT(*)`: rows.
    CountStar,
    /// `COUNT(x)`: rows where x is not NULL.
    Count,
    /// `SUM(x)`, NULL over no value.
    Sum,
    /// `AVG(x)`
    Avg,
    /// `MIN(x)`
    Min,
    /// `MAX(x)`
    Max,
    /// `SINGLE_VALUE(x)`: the value of the only row, NULL over none, an error over more; what a scalar subquery is made of.
    SingleValue,
}

/// One aggregate of an aggregation: a function over input columns.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// Indices of the argument columns in the aggregation's input; they have the types that the function wants.
    pub args: Vec<usize>,
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// Index of a BOOLEAN input column; only rows where it is true count.
    pub filter: Option<usize>,
    /// The result's type.
    pub sql_type: SqlType,
}

/// An aggregate function with the types that its arguments and its result have.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedAggregate {
    /// The function.
    pub function: AggregateFunction,
    /// The types to which the arguments are cast.
    pub arg_types: Vec<SqlType>,
    /// The result's type.
    pub sql_type: SqlType,
}

/// The aggregate `name` over arguments of `arg_types` (none for `COUNT(*)`). Where `grouped`, a group has at least one
/// row, so that a result over a NOT NULL argument is NOT NULL too.
///
/// # Errors
/// `NotFound` where no aggregate has the name; `Invalid` where number or types of the arguments do not fit.
pub fn resolve(name: &str, arg_types: &[SqlType], distinct: bool, grouped: bool) -> Result<ResolvedAggregate> {
    use AggregateFunction::{Avg, Count, CountStar, Max, Min, SingleValue, Sum};
    let upper = name.to_uppercase();
    let function = match (upper.as_str(), arg_types.len()) {
        ("COUNT", 0) => CountStar,
        ("COUNT", _) => Count,
        ("SUM", _) => Sum,
        ("AVG", _) => Avg,
        ("MIN", _) => Min,
        ("MAX", _) => Max,
        ("SINGLE_VALUE", _) => SingleValue,
        _ => {
            let error = Error::not_found(format!("no aggregate function is called {name}"));
            return Err(match nearest(name, NAMES.iter().copied()) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint(format!("there are {}", NAMES.join(", "))),
            });
        }
    };
    if function == CountStar {
        if distinct {
            return Err(Error::invalid("COUNT(DISTINCT *) has no meaning").hint("name the columns: COUNT(DISTINCT a)"));
        }
        return Ok(ResolvedAggregate { function, arg_types: vec![], sql_type: TypeKind::BigInt.not_null() });
    }
    if function == Count && !arg_types.is_empty() {
        let sql_type = TypeKind::BigInt.not_null();
        return Ok(ResolvedAggregate { function, arg_types: arg_types.to_vec(), sql_type });
    }
    let [arg] = arg_types else {
        return Err(Error::invalid(format!("{upper} takes one argument, not {}", arg_types.len()))
            .hint(format!("use {upper}(x)")));
    };
    let kind = match (function, &arg.kind) {
        (Sum, TypeKind::Decimal { scale, .. }) => TypeKind::Decimal { precision: MAX_DECIMAL_PRECISION, scale: *scale },
        (Avg, TypeKind::Decimal { scale, .. }) => {
            TypeKind::Decimal { precision: MAX_DECIMAL_PRECISION, scale: (*scale).max(6) }
        }
        (Sum | Avg, kind) if kind.is_numeric() => kind.clone(),
        (Min | Max, kind) if is_ordered(kind) => kind.clone(),
        (SingleValue, kind) => kind.clone(),
        (_, kind) => {
            let hint =
                if matches!(function, Sum | Avg) { "cast it to a number" } else { "choose a value with an order" };
            return Err(Error::invalid(format!("{upper} does not take {kind}")).hint(hint));
        }
    };
    let sql_type = SqlType { kind, nullable: arg.nullable || !grouped };
    Ok(ResolvedAggregate { function, arg_types: vec![arg.clone()], sql_type })
}

/// The names of all aggregate functions.
pub const NAMES: [&str; 6] = ["COUNT", "SUM", "AVG", "MIN", "MAX", "SINGLE_VALUE"];

/// Whether values of `kind` have an order.
fn is_ordered(kind: &TypeKind) -> bool {
    kind.is_numeric() || kind.is_text() || kind.is_datetime() || kind.is_interval() || *kind == TypeKind::Boolean
}
