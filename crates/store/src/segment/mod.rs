//! Segments: immutable files of columns.

pub mod encoding;
