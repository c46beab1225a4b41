//! Deterministic simulation of the whole chain: a simulated database, the real engine with real SQL, simulated outside tables.
//!
//! One seed draws everything: what is committed at the source, which worker of the engine has the next turn, what the disk
//! loses, what the outside answers, what the clock shows. After every recovery each layer and each outside table is compared
//! with an answer that plain Rust computes from what the source has accepted ([`answer`]). [`runs`] are whole runs, each named
//! by what repeats it. The turns of the engine's workers are taken here, one after the other on one thread ([`turns`]), so a
//! run repeats itself to the byte; what real threads do to each other is left to `bench/kills` and the engine's own tests.

pub mod answer;
pub mod chain;
mod check;
pub mod clock;
pub mod faults;
pub mod house;
pub mod life;
pub mod outside;
pub mod runs;
mod scenes;
pub mod tally;
pub mod turns;

pub use house::House;
pub use life::Life;
