//! The typed expression: what the binder builds, plans carry and operators evaluate.
//!
//! Every node knows its SQL type; implicit casts are explicit nodes. Columns are addressed by index into the input.

use gridhouse_base::{SqlType, Value};

use crate::functions::Function;

/// A typed scalar expression over the columns of one input.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Column `index` of the input.
    Column {
        /// The index into the input's columns.
        index: usize,
        /// The column's type.
        sql_type: SqlType,
    },
    /// A constant.
    Literal {
        /// The value; it belongs to `sql_type`.
        value: Value,
        /// The literal's type.
        sql_type: SqlType,
    },
    /// A function or operator; the arguments already have the types that it wants.
    Call {
        /// The function.
        function: &'static Function,
        /// The arguments.
        args: Vec<Expr>,
        /// The result's type.
        sql_type: SqlType,
    },
    /// `CAST`, or `TRY_CAST` where `safe`.
    Cast {
        /// What is cast.
        input: Box<Expr>,
        /// NULL instead of an error.
        safe: bool,
        /// The type wanted.
        sql_type: SqlType,
    },
    /// `CASE WHEN condition THEN result … ELSE otherwise END`; only the rows that need a branch evaluate it.
    Case {
        /// Conditions (BOOLEAN) and results (of `sql_type`), in order.
        branches: Vec<(Expr, Expr)>,
        /// The result where no condition is true.
        otherwise: Box<Expr>,
        /// The common type.
        sql_type: SqlType,
    },
    /// Conjunction; a later operand is evaluated only where the earlier ones are not false.
    And(Vec<Expr>),
    /// Disjunction; a later operand is evaluated only where the earlier ones are not true.
    Or(Vec<Expr>),
}

/// What an evaluation may know besides its input.
#[derive(Clone, Debug)]
pub struct EvalContext {
    /// The clock of the tick (or of the query's start), microseconds since the epoch.
    pub now_micros: i64,
    /// The session's time zone.
    pub zone: chrono_tz::Tz,
    /// The seed of `RAND`, `UUID` and the like for this operator.
    pub seed: u64,
    /// The number of the input's first row within the operator's life; with the seed it fixes random values.
    pub first_row: u64,
}
