//! The texts beside the code: ARCHITECTURE.md names every crate, DEPENDENCIES.md every direct dependency, links lead
//! somewhere, and nothing holds a path of somebody's machine.

use std::collections::BTreeSet;

use crate::tree::Tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const DEPENDENCIES: &str = "docs/DEPENDENCIES.md";

/// Beginnings of paths that exist on one machine only. In pieces, so that this file does not complain about itself.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Complaints about texts.
pub fn check(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let architecture = tree.file(ARCHITECTURE).unwrap_or("");
    for krate in &tree.crates {
        if !architecture.contains(&format!("`{}`", krate.directory)) {
            found.push(format!("{ARCHITECTURE}: does not name `{}`", krate.directory));
        }
    }
    let listed = tree.file(DEPENDENCIES).unwrap_or("");
    let own: BTreeSet<&str> = tree.crates.iter().map(|krate| krate.name.as_str()).collect();
    let all = tree.crates.iter().flat_map(|krate| krate.dependencies.iter().chain(&krate.dev_dependencies));
    for name in all.map(String::as_str).filter(|name| !own.contains(name)).collect::<BTreeSet<_>>() {
        if !listed.contains(&format!("`{name}`")) {
            found.push(format!("{DEPENDENCIES}: has no line for `{name}`"));
        }
    }
    for (path, text) in &tree.files {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(start) = MACHINE_PATHS.iter().find(|start| names_path(line, start)) {
                found.push(format!("{path}:{number}: {start}… is a path of one machine"));
            }
        }
        if path.ends_with(".md") {
            found.extend(dead_links(tree, path, text));
        }
    }
    found
}

/// Whether `line` holds a path that begins with `start`; within a longer path or a URL it is another one.
fn names_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"./_-$}*".contains(c))
    })
}

/// Links to files of the repository that are not there.
fn dead_links(tree: &Tree, path: &str, text: &str) -> Vec<String> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut found = Vec::new();
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = target.split('#').next().unwrap_or("");
        if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let wanted = parts.join("/");
        let there = tree.files.iter().any(|(known, _)| *known == wanted || known.starts_with(&format!("{wanted}/")));
        if !there {
            found.push(format!("{path}: the link to {target} leads nowhere"));
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
    fn crates_and_dependencies_must_be_named() {
        let manifest =
            ("crates/a/Cargo.toml", "[package]\nname = 'a'\n[dependencies]\nb = '1'\n[dev-dependencies]\nc = '1'");
        let found = complaints(&[manifest, (ARCHITECTURE, "`crates/other`"), (DEPENDENCIES, "- `b`: why")]);
        assert_eq!(found, ["ARCHITECTURE.md: does not name `crates/a`", "docs/DEPENDENCIES.md: has no line for `c`"]);
    }

    #[test]
    fn machine_paths_and_dead_links_are_found() {
        let path = format!("see {}x/y", MACHINE_PATHS[1]);
        assert!(complaints(&[("a.txt", &path)])[0].starts_with("a.txt:1:"));
        let fine = format!("https://example.org{}x and \"$HOME{}\"", MACHINE_PATHS[1], MACHINE_PATHS[0]);
        assert_eq!(complaints(&[("a.txt", &fine)]), Vec::<String>::new());
        let links = ("docs/a.md", "[x](b.md) [y](../c) [z](https://x.y) [w](#here) [v](gone.md)");
        let found = complaints(&[links, ("docs/b.md", ""), ("c/d.txt", "")]);
        assert_eq!(found, ["docs/a.md: the link to gone.md leads nowhere"]);
    }
}
