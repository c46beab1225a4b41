//! Typed expressions, Flink's scalar functions as kernels over Arrow arrays, and their vectorised evaluator.
//!
//! One evaluator serves streams and ad-hoc queries, so a function means the same in both. Aggregates are named and typed
//! here; their state lives with the operators that keep it.

pub mod aggregate;
pub mod expr;

pub use aggregate::{AggregateCall, AggregateFunction};
pub use expr::{EvalContext, Expr};
