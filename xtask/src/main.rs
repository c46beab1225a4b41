//! Tasks of the workspace itself: `cargo xtask tidy` checks the rules that a program can check.
fn main() {}
