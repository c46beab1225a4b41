//! Corpora: files of blocks, each a statement, a line `----`, and what it must give. Blank lines part the blocks.
//!
//! With `GRIDHOUSE_REWRITE=1` in the environment a file is written anew with what the statements give now; the difference is
//! then reviewed like any other change.

use std::fs;
use std::path::PathBuf;

/// Checks every block of `name` against `give`.
pub fn check(name: &str, mut give: impl FnMut(&str) -> String) {
    let path = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"))
        .join("tests/sql")
        .join(name);
    let text = fs::read_to_string(&path).expect("the corpus can be read");
    let mut rewritten = String::new();
    let mut wrong = Vec::new();
    let mut blocks = 0;
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        if block.starts_with("# ") {
            rewritten.push_str(&format!("{block}\n\n"));
            continue;
        }
        let (statement, expected) = block.split_once("\n----").unwrap_or((block, ""));
        let given = give(statement);
        let given = given.trim_end();
        blocks += 1;
        if given != expected.trim_matches('\n') {
            wrong.push(format!("{statement}\n---- expected{expected}\n---- given\n{given}\n"));
        }
        rewritten.push_str(&format!("{statement}\n----\n{given}\n\n"));
    }
    if std::env::var_os("GRIDHOUSE_REWRITE").is_some() {
        fs::write(&path, rewritten.trim_end().to_owned() + "\n").expect("the corpus can be written");
        return;
    }
    assert!(blocks > 10, "{name} has {blocks} blocks");
    let again = format!("GRIDHOUSE_REWRITE=1 cargo test -p gridhouse-sql --test sql, then review {}", path.display());
    assert!(wrong.is_empty(), "{} of {blocks} differ:\n\n{}\n{again}", wrong.len(), wrong.join("\n"));
}

/// Checks that `given` is what the file `name` holds.
pub fn compare(name: &str, given: &str) {
    let path = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"))
        .join("tests/sql")
        .join(name);
    if std::env::var_os("GRIDHOUSE_REWRITE").is_some() {
        fs::write(&path, given).expect("the file can be written");
        return;
    }
    let expected = fs::read_to_string(&path).expect("the file can be read");
    assert_eq!(given, expected, "{} differs", path.display());
}
