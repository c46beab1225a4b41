//! Typed expressions, Flink's scalar functions as kernels over Arrow arrays, and their vectorised evaluator.
//!
//! One evaluator serves streams and ad-hoc queries, so a function means the same in both. Aggregates are named and typed
//! here, and the arithmetic of their sums is here (`sums`); their state lives with the operators that keep it.

pub mod aggregate;
pub mod calendar;
pub mod cast;
pub mod decimal;
pub mod display;
pub mod eval;
pub mod expr;
pub mod functions;
pub mod sums;
pub mod text;
pub mod types;

pub use aggregate::{AggregateCall, AggregateFunction, ResolvedAggregate};
pub use expr::{EvalContext, Expr};
pub use functions::{Function, Volatility};
