//! What the storage benchmarks of `bench/tables` share: made-up rows, which the peers' side makes alike, and a meter.
//!
//! `figures.py` beside this crate drives the programs `bench-store` (the store alone) and `bench-session` (through SQL) and
//! their peers, each in a process of its own, and sets the figures side by side.

pub mod arguments;
pub mod devices;
pub mod draw;
pub mod meter;
pub mod readings;
