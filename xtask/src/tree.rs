//! The workspace as the checks see it: its crates with their dependencies, and its text files.
//!
//! Files are those that git knows or would take up, so that what is built or left lying about is not judged.

use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

/// The workspace.
pub struct Tree {
    /// The crates.
    pub crates: Vec<Crate>,
    /// Text files: path relative to the workspace, contents.
    pub files: Vec<(String, String)>,
}

/// A crate of the workspace.
pub struct Crate {
    /// The directory, relative to the workspace: `crates/base`.
    pub directory: String,
    /// The crate's name in its manifest.
    pub name: String,
    /// Names of its direct dependencies.
    pub dependencies: Vec<String>,
    /// Names of its direct dependencies for tests.
    pub dev_dependencies: Vec<String>,
}

impl Tree {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub fn read(root: &Path) -> Result<Self, String> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("git ls-files: {error}"))?;
        if !listed.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim()));
        }
        let mut files = Vec::new();
        for path in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()) {
            // Files that were deleted but are still listed, and files that are not text, are not judged.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push((path.to_owned(), text));
            }
        }
        files.sort();
        Self::of(files)
    }

    /// The workspace that consists of `files`.
    ///
    /// # Errors
    /// A manifest that cannot be parsed, in words.
    pub fn of(files: Vec<(String, String)>) -> Result<Self, String> {
        let mut crates = Vec::new();
        for (path, text) in &files {
            let Some(directory) = path.strip_suffix("/Cargo.toml") else { continue };
            let manifest: Table = text.parse().map_err(|error| format!("{path}: {error}"))?;
            let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
            let name = name.ok_or_else(|| format!("{path}: the package has no name"))?.to_owned();
            let mut found = Crate {
                directory: directory.into(),
                name,
                dependencies: names(&manifest, &["dependencies", "build-dependencies"]),
                dev_dependencies: names(&manifest, &["dev-dependencies"]),
            };
            if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
                for target in targets.values().filter_map(Value::as_table) {
                    found.dependencies.extend(names(target, &["dependencies", "build-dependencies"]));
                    found.dev_dependencies.extend(names(target, &["dev-dependencies"]));
                }
            }
            crates.push(found);
        }
        Ok(Self { crates, files })
    }

    /// The contents of the file at `path`.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(known, _)| known == path).map(|(_, text)| text.as_str())
    }

    /// Rust files: path, contents.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(|(path, _)| path.ends_with(".rs"))
    }
}

/// The packages that the tables called `sections` name; a renamed one by its real name.
fn names(manifest: &Table, sections: &[&str]) -> Vec<String> {
    let tables = sections.iter().filter_map(|section| manifest.get(*section).and_then(Value::as_table));
    let name =
        |(name, value): (&String, &Value)| value.get("package").and_then(Value::as_str).unwrap_or(name).to_owned();
    tables.flatten().map(name).collect()
}
