//! Aggregate functions: names, argument and result types. Their accumulators live with the operators that keep them.

use gridhouse_base::SqlType;

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
