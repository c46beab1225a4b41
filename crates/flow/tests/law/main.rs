//! The law of change streams, operator by operator: after every tick the sum of what a dataflow has given out equals the
//! answer of a naive, row-by-row query over the sum of what it was given. Changes, their order and their cuts into ticks
//! and batches are drawn from a seed, which a failure prints.

mod aggregate;
mod check;
mod draw;
mod edges;
mod enrich;
mod event_time;
mod failing;
mod frozen;
mod heavy;
mod join;
mod kept;
mod memory;
mod nested;
mod plans;
mod set_operation;
mod single;
mod topn;
mod unnest;
