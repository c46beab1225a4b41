//! The crate from outside: texts in, definitions, plans and messages out.

mod corpus;
mod errors;
mod functions;
mod fuzz;
mod house;
mod pipeline;
mod plans;
mod scripts;
mod tables;
