//! `docs/functions.md` names every function as it is registered.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use gridhouse_expr::functions::{self, Family, only_here};

const BEGIN: &str = "<!-- the tables of functions: made by the test `documents` of crates/expr -->\n";
const END: &str = "<!-- end of the tables -->\n";

const CHAPTERS: &[(Family, &str)] = &[
    (Family::Comparison, "Comparison"),
    (Family::Logical, "Logic"),
    (Family::Conditional, "Choices"),
    (Family::Arithmetic, "Numbers"),
    (Family::String, "Text"),
    (Family::Regexp, "Patterns and regular expressions"),
    (Family::Datetime, "Dates, times and intervals"),
    (Family::Collection, "Arrays, maps and rows"),
    (Family::Json, "JSON"),
    (Family::Hash, "Digests"),
    (Family::Conversion, "Conversion"),
];

fn tables() -> String {
    let mut out = String::new();
    for (family, title) in CHAPTERS {
        let _ =
            write!(out, "\n## {title}\n\n| function | how it is called | beyond Flink 1.20 |\n| --- | --- | --- |\n");
        for function in functions::all().filter(|function| function.family == *family) {
            let names: Vec<&str> = [function.name].iter().chain(function.aliases).copied().collect();
            let cell = |text: &str| text.replace('|', "\\|");
            let shown = names.iter().map(|name| format!("`{}`", cell(name))).collect::<Vec<_>>().join(", ");
            let calls = function.signatures.iter().map(|s| format!("`{}`", cell(s))).collect::<Vec<_>>().join(", ");
            let notes: Vec<&str> = names.iter().filter_map(|name| only_here(name)).collect();
            let _ = writeln!(out, "| {shown} | {calls} | {} |", cell(&notes.join("; ")));
        }
    }
    out + "\n"
}

#[test]
fn every_function_is_in_the_documentation() {
    for function in functions::all() {
        assert!(CHAPTERS.iter().any(|(family, _)| *family == function.family), "{} has no chapter", function.name);
    }
    let own = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is");
    let path = Path::new(&own).join("../../docs/functions.md");
    let text = fs::read_to_string(&path).expect("the documentation can be read");
    let (head, rest) = text.split_once(BEGIN).expect("the tables have a beginning");
    let (found, tail) = rest.split_once(END).expect("the tables have an end");
    if std::env::var_os("GRIDHOUSE_REWRITE").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", tables())).expect("the documentation can be written");
        return;
    }
    assert!(
        found == tables(),
        "docs/functions.md is not up to date: GRIDHOUSE_REWRITE=1 cargo test -p gridhouse-expr documents"
    );
}
