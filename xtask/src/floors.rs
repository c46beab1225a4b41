//! The floors: a crate imports only from floors below its own, and heavy dependencies only where they belong.
//!
//! The table is the one of `ARCHITECTURE.md`. A crate without a floor is a complaint: whoever adds one decides where it
//! stands.

use crate::tree::Tree;

/// Crate directory and floor. Development crates stand above everything, because they may look at everything.
const FLOORS: [(&str, u8); 15] = [
    ("crates/base", 0),
    ("crates/expr", 1),
    ("crates/store", 2),
    ("crates/flow", 2),
    ("crates/sql", 2),
    ("crates/engine", 3),
    ("crates/serve", 4),
    ("crates/link", 4),
    ("crates/app", 5),
    ("bench/store", 6),
    ("sim", 6),
    ("sim/chain", 7),
    ("tests/slt", 7),
    ("tests/fuzz", 8),
    ("xtask", 6),
];

/// Heavy dependencies and the crates that may name them. `tokio-postgres` is also in `app` for the solutions' databases.
const HEAVY: [(&str, &[&str]); 13] = [
    ("axum", &["crates/serve"]),
    ("clap", &["crates/app", "sim"]),
    ("datafusion", &["crates/engine"]),
    ("fluss-rs", &["crates/link"]),
    ("object_store", &["crates/store"]),
    ("paimon", &["crates/link"]),
    ("pg_walstream", &["crates/link"]),
    ("pgwire", &["crates/serve"]),
    ("postgres-protocol", &["crates/link"]),
    ("rustyline", &["crates/app"]),
    ("sqlparser", &["crates/sql"]),
    ("tokio", &["crates/engine", "crates/link", "crates/serve", "crates/app"]),
    ("tokio-postgres", &["crates/link", "crates/app"]),
];

/// Complaints about imports.
pub fn check(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let floor_of = |directory: &str| FLOORS.iter().find(|(known, _)| *known == directory).map(|(_, floor)| *floor);
    for krate in &tree.crates {
        let directory = &krate.directory;
        let Some(floor) = floor_of(directory) else {
            found.push(format!("{directory}/Cargo.toml: the crate has no floor in xtask/src/floors.rs"));
            continue;
        };
        for dependency in &krate.dependencies {
            if let Some(other) = tree.crates.iter().find(|other| other.name == *dependency) {
                let below = floor_of(&other.directory).is_some_and(|other| other < floor);
                if !below {
                    let path = &other.directory;
                    found.push(format!("{directory}/Cargo.toml: {path} does not stand on a floor below"));
                }
            }
            let allowed = HEAVY.iter().find(|(name, _)| name == dependency).map(|(_, allowed)| *allowed);
            if allowed.is_some_and(|allowed| !allowed.contains(&directory.as_str())) {
                found.push(format!("{directory}/Cargo.toml: {dependency} is heavy and belongs elsewhere"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(manifests: &[(&str, &str)]) -> Vec<String> {
        let files = manifests.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        check(&Tree::of(files).unwrap())
    }

    const BASE: (&str, &str) = ("crates/base/Cargo.toml", "[package]\nname = 'gridhouse-base'");

    #[test]
    fn imports_go_down_only() {
        let flow =
            ("crates/flow/Cargo.toml", "[package]\nname = 'gridhouse-flow'\n[dependencies]\ngridhouse-base = '1'");
        assert_eq!(complaints(&[BASE, flow]), Vec::<String>::new());
        let beside = (
            "crates/store/Cargo.toml",
            "[package]\nname = 'gridhouse-store'\n[dependencies]\nx = { package = 'gridhouse-flow' }",
        );
        assert!(complaints(&[BASE, flow, beside])[0].contains("crates/flow does not stand on a floor below"));
        let tests = ("crates/store/Cargo.toml", "[package]\nname = 's'\n[dev-dependencies]\ngridhouse-flow = '1'");
        assert_eq!(complaints(&[BASE, flow, tests]), Vec::<String>::new(), "tests may look anywhere");
    }

    #[test]
    fn heavy_dependencies_stay_where_they_belong() {
        let flow = ("crates/flow/Cargo.toml", "[package]\nname = 'f'\n[dependencies]\ntokio.workspace = true");
        assert!(complaints(&[flow])[0].contains("tokio is heavy"));
        let target = ("crates/base/Cargo.toml", "[package]\nname = 'b'\n[target.'cfg(unix)'.dependencies]\nclap = '4'");
        assert!(complaints(&[target])[0].contains("clap is heavy"));
        assert!(complaints(&[("crates/new/Cargo.toml", "[package]\nname = 'n'")])[0].contains("no floor"));
    }
}
