//! Rust files: a head, a module that names them, a bearable length, nothing left open.

use std::collections::BTreeSet;

use crate::tree::Tree;

/// A longer file has a second idea in it; the style asks to look for it at 600 lines already.
const MAX_LINES: usize = 800;

/// Marks of unfinished work. In pieces, so that this file does not complain about itself.
const OPEN_MARKS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];

/// Complaints about Rust files.
pub fn check(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.rust() {
        if !text.trim_start().starts_with("//!") {
            found.push(format!("{path}: the file has no `//!` head"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{path}: {lines} lines, more than {MAX_LINES}: look for the second idea"));
        }
    }
    for (path, text) in tree.files.iter().filter(|(path, _)| is_code(path)) {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(mark) = OPEN_MARKS.iter().find(|mark| line.contains(*mark)) {
                found.push(format!("{path}:{number}: {mark}: finish it, or say in words what is missing"));
            }
        }
    }
    found.extend(orphans(tree));
    found
}

fn is_code(path: &str) -> bool {
    [".rs", ".sql", ".sh", ".toml"].iter().any(|ending| path.ends_with(ending)) || ["run", "test"].contains(&path)
}

/// Rust files that no `mod` reaches: they are never compiled.
fn orphans(tree: &Tree) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = tree.rust().map(|(path, _)| path.to_owned()).filter(|path| is_root(path)).collect();
    while let Some(path) = waiting.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        let Some(text) = tree.file(&path) else { continue };
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let stem = file.trim_end_matches(".rs");
        // `lib.rs`, `main.rs`, `mod.rs` and roots name files beside them, other files those in a directory of their name.
        let beside = ["lib", "main", "mod", "build"].contains(&stem) || is_root(&path);
        let base = if beside { directory.to_owned() } else { format!("{directory}/{stem}") };
        for name in modules(text) {
            match name {
                Module::Named(name) => {
                    waiting.push(format!("{base}/{name}.rs"));
                    waiting.push(format!("{base}/{name}/mod.rs"));
                }
                Module::At(path) => waiting.push(format!("{directory}/{path}")),
            }
        }
    }
    let unreached = tree.rust().filter(|(path, _)| !reached.contains(*path));
    unreached.map(|(path, _)| format!("{path}: no `mod` names the file, so it is never compiled")).collect()
}

/// Whether Cargo compiles the file on its own.
fn is_root(path: &str) -> bool {
    let Some((directory, file)) = path.rsplit_once('/') else { return true };
    let parent = directory.rsplit('/').next().unwrap_or(directory);
    match parent {
        "src" => ["lib.rs", "main.rs"].contains(&file),
        "tests" | "benches" | "examples" | "bin" => true,
        _ => {
            file == "build.rs"
                || (file == "main.rs"
                    && ["tests", "benches", "examples", "bin"]
                        .iter()
                        .any(|kind| directory.contains(&format!("/{kind}/"))))
        }
    }
}

enum Module {
    Named(String),
    At(String),
}

/// The files that `text` names by `mod name;`, also with `#[path = "…"]` in the line above.
fn modules(text: &str) -> Vec<Module> {
    let mut found = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.split('"').next().map(str::to_owned);
            continue;
        }
        let declared = ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "];
        let name = declared.iter().find_map(|start| line.strip_prefix(start)).and_then(|rest| rest.strip_suffix(';'));
        match (name, path.take()) {
            (Some(_), Some(path)) => found.push(Module::At(path)),
            (Some(name), None) => found.push(Module::Named(name.trim_start_matches("r#").to_owned())),
            // Attributes may stand between `#[path]` and `mod`.
            (None, kept) if line.starts_with("#[") => path = kept,
            (None, _) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        check(&Tree::of(files).unwrap())
    }

    #[test]
    fn files_that_no_module_names_are_found() {
        let tidy = [
            ("crates/a/src/lib.rs", "//! a\nmod b;\npub mod c;\n#[path = \"odd/e.rs\"]\nmod e;\n"),
            ("crates/a/src/b.rs", "//! b\n    pub(crate) mod d;\n"),
            ("crates/a/src/b/d.rs", "//! d\n"),
            ("crates/a/src/c/mod.rs", "//! c\nmod f;\n"),
            ("crates/a/src/c/f.rs", "//! f\n"),
            ("crates/a/src/odd/e.rs", "//! e\n"),
            ("crates/a/tests/t.rs", "//! t\n"),
        ];
        assert_eq!(complaints(&tidy), Vec::<String>::new());
        let orphan = ("crates/a/src/lost.rs", "//! lost\n");
        assert!(complaints(&[&tidy[..], &[orphan]].concat())[0].contains("lost.rs: no `mod`"));
    }

    #[test]
    fn heads_lengths_and_open_marks_are_checked() {
        assert!(complaints(&[("crates/a/src/lib.rs", "fn a() {}\n")])[0].contains("no `//!` head"));
        let long = format!("//! a\n{}", "// x\n".repeat(MAX_LINES));
        assert!(complaints(&[("crates/a/src/lib.rs", &long)])[0].contains("801 lines"));
        let open = format!("//! a\n// {}: later\n", OPEN_MARKS[0]);
        assert!(complaints(&[("crates/a/src/lib.rs", &open)])[0].contains("lib.rs:2"));
    }
}
