//! The Flink SQL dialect: from text to statements, from names to definitions, from queries to the plan IR.
//!
//! The way of a statement: [`parse_script`] cuts a text into statements ([`ast`]), [`Binder`] resolves names through a
//! [`Catalog`] and types every expression, the optimiser tidies the [`Plan`], [`properties`] says what streams through it.
//! Nothing here runs anything, keeps anything, or touches the outside.

pub mod ast;
pub mod catalog;
mod keywords;
mod lexer;
mod parser;
pub mod plan;
pub mod script;

pub use catalog::{Catalog, NameContext, Relation, ViewDef};
pub use keywords::keywords;
pub use plan::{BoundDelete, BoundInsert, BoundUpdate, Plan};
pub use script::{Parsed, Script, is_complete, parse_script};
