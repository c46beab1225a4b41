//! The Flink SQL dialect: from text to statements, from names to definitions, from queries to the plan IR.
//!
//! The way of a statement: [`parse_script`] cuts a text into statements ([`ast`]), [`Binder`] resolves names through a
//! [`Catalog`] and types every expression, the optimiser tidies the [`Plan`], [`properties`] says what streams through it.
//! Nothing here runs anything, keeps anything, or touches the outside.

pub mod ast;
mod binder;
pub mod catalog;
pub mod explain;
pub mod fingerprint;
mod keywords;
pub mod law;
mod lexer;
mod optimizer;
mod parser;
pub mod plan;
pub mod properties;
pub mod script;
mod show_create;
mod watermark;

pub use binder::{Binder, Compared, compared};
pub use catalog::{Catalog, NameContext, Relation, ViewDef};
pub use explain::{explain, explain_insert};
pub use fingerprint::{fingerprint, fingerprint_insert, table_identity};
pub use keywords::keywords;
pub use law::{LawClass, law_class, law_line};
pub use plan::{BoundDelete, BoundInsert, BoundUpdate, Plan};
pub use properties::{ChangelogMode, changelog_mode, upsert_keys};
pub use script::{Parsed, Script, is_complete, parse_script, redact};
pub use show_create::{show_create_table, show_create_view};
pub use watermark::watermark_delay_millis;
