//! The program itself against a real PostgreSQL: the chain, kill -9, solutions, scripts as
//! users write them, and wrong input.

mod chain;
mod faults;
mod fencing;
mod lookups;
mod program;
mod recorded;
mod scripts;
mod solutions;
mod source_disk;
mod trace;
mod wrong;
