//! Puts the folders of `solutions/` into the program, so that it runs them where there is no checkout.
//!
//! Writes `solutions.rs` with one entry per folder that holds a `solution.toml`; a folder that is added later is found by the
//! next build.

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let root = here.join("../../solutions").canonicalize().expect("the folder solutions/ stands beside crates/");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut text = String::from("&[\n");
    for folder in sorted(&root) {
        if !folder.join("solution.toml").is_file() {
            continue;
        }
        writeln!(text, "  ({:?}, &[", name(&folder)).expect("memory takes every byte");
        for file in sorted(&folder).into_iter().filter(|file| is_text(file)) {
            println!("cargo::rerun-if-changed={}", file.display());
            let path = file.to_str().expect("the checkout has a path in UTF-8");
            writeln!(text, "    ({:?}, include_str!({path:?})),", name(&file)).expect("memory takes every byte");
        }
        text.push_str("  ]),\n");
    }
    text.push(']');
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where results go"));
    std::fs::write(out.join("solutions.rs"), text).expect("the build directory can be written");
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("names in solutions/ are UTF-8")
}

fn is_text(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|end| ["toml", "sql", "md"].iter().any(|known| end == *known))
}
