//! Proof that a query gives the same rows whichever way its input came: one corpus of `.slt` files, replayed in many ways,
//! and the law of stream = batch on drawn queries and drawn changes.
//!
//! A [`House`] is an engine on a simulated disk, with an outside that feeds its tables by transactions and collects what its
//! jobs give out. [`replay`] carries a file of the corpus through it; [`law`] does the same with drawn queries, compares after
//! every tick with the query run at once, and shrinks what fails. Nothing here is part of the product.

pub mod draws;
pub mod format;
pub mod generate;

pub mod house;
pub mod law;

pub mod outside;
pub mod psql;
pub mod replay;
pub mod rows;
pub mod tables;
pub mod ways;

pub use house::House;
pub use outside::Outside;
