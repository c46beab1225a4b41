//! The crate from outside: texts in, definitions, plans and messages out.

mod errors;
mod fuzz;
mod house;
mod pipeline;
mod plans;
mod scripts;
mod tables;
