//! Where solutions come from: the folders that were built into the program, or a directory of one's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gridhouse_base::error::nearest;
use gridhouse_base::{Error, Result};

use crate::solution::definition::Definition;
use crate::solution::expected::Expected;

/// The folders of `solutions/` as they were when the program was built: name, then file names with contents.
const BUILT_IN: &[(&str, &[(&str, &str)])] = include!(concat!(env!("OUT_DIR"), "/solutions.rs"));

/// The files that every solution has.
const FILES: [&str; 5] = ["solution.toml", "source.sql", "sink.sql", "pipeline.sql", "expected.sql"];

/// Where solutions are looked for.
pub struct Folder {
    /// A directory with a folder for each solution, or the folder of one; `None`: what was built in.
    directory: Option<PathBuf>,
}

/// A solution with everything that its folder holds.
pub struct Solution {
    /// `solution.toml`.
    pub definition: Definition,
    /// `expected.sql`.
    pub expected: Expected,
    /// The path of the folder for messages.
    shown: String,
    files: BTreeMap<String, String>,
}

impl Folder {
    /// What was built in.
    #[cfg(test)]
    pub fn built_in() -> Self {
        Self { directory: None }
    }

    /// What lies in `directory`, or what was built in.
    pub fn at(directory: Option<&Path>) -> Self {
        Self { directory: directory.map(Path::to_owned) }
    }

    /// The names of all solutions, in order.
    ///
    /// # Errors
    /// `NotFound` where the directory cannot be read or holds no solution.
    pub fn names(&self) -> Result<Vec<String>> {
        let Some(directory) = &self.directory else {
            return Ok(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect());
        };
        if directory.join(FILES[0]).is_file() {
            return Ok(vec![folder_name(directory)?]);
        }
        let shown = directory.display();
        let unreadable = |error| Error::not_found(format!("the directory {shown} cannot be read")).caused_by(error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.join(FILES[0]).is_file() {
                names.push(folder_name(&path)?);
            }
        }
        if names.is_empty() {
            let error = Error::not_found(format!("there is no solution in {shown}"));
            return Err(error.hint(
                "a solution is a folder with a file solution.toml; `gridhouse solution export` gives one to start from",
            ));
        }
        names.sort();
        Ok(names)
    }

    /// The files of the solution `name`, with the path for messages.
    ///
    /// # Errors
    /// `NotFound` with the nearest name where there is no such solution.
    pub fn files(&self, name: &str) -> Result<(String, BTreeMap<String, String>)> {
        let names = self.names()?;
        if !names.iter().any(|known| known == name) {
            let error = Error::not_found(format!("there is no solution `{name}`"));
            return Err(match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there are {}; --dir names a directory of your own", names.join(", "))),
            });
        }
        let Some(directory) = &self.directory else {
            let files = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, files)| *files).unwrap_or_default();
            let owned = files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned()));
            return Ok((format!("solutions/{name}"), owned.collect()));
        };
        let path = if directory.join(FILES[0]).is_file() { directory.clone() } else { directory.join(name) };
        let mut files = BTreeMap::new();
        for file in FILES {
            let path = path.join(file);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Error::not_found(format!("the file {} cannot be read", path.display())).caused_by(error)
            })?;
            files.insert(file.to_owned(), text);
        }
        Ok((path.display().to_string(), files))
    }

    /// The solution `name`.
    ///
    /// # Errors
    /// As [`Folder::files`]; `Invalid` with file and line where a file does not have the form of `solutions/README.md`.
    pub fn open(&self, name: &str) -> Result<Solution> {
        let (shown, files) = self.files(name)?;
        let text = |file: &str| {
            files.get(file).ok_or_else(|| Error::not_found(format!("the solution `{name}` has no file {file}")))
        };
        for file in FILES {
            text(file)?;
        }
        let path = |file: &str| format!("{shown}/{file}");
        let definition = Definition::parse(text(FILES[0])?, &path(FILES[0]), name)?;
        let expected = Expected::parse(text("expected.sql")?, &path("expected.sql"), &definition)?;
        Ok(Solution { definition, expected, shown, files })
    }

    /// The solutions `names`; all where there are none.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_all(&self, names: &[String]) -> Result<Vec<Solution>> {
        let all = if names.is_empty() { self.names()? } else { names.to_vec() };
        all.iter().map(|name| self.open(name)).collect()
    }
}

impl Solution {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// A file's contents.
    ///
    /// # Errors
    /// `NotFound` where the folder has no such file.
    pub fn text(&self, file: &str) -> Result<&str> {
        let text = self.files.get(file).map(String::as_str);
        text.ok_or_else(|| Error::not_found(format!("the solution `{}` has no file {file}", self.name())))
    }

    /// The path of a file for messages.
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.shown)
    }
}

/// The name that a solution in the folder `path` has.
///
/// # Errors
/// `Invalid` where the folder has no name.
pub fn folder_name(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| Error::invalid(format!("the folder {} has no name in UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_solution_has_the_form_that_the_readme_says() {
        let folder = Folder::built_in();
        let names = folder.names().unwrap();
        assert!(names.iter().any(|name| name == "first-chain"), "{names:?}");
        for name in &names {
            folder.open(name).unwrap_or_else(|error| panic!("{error} {:?}", error.remedy()));
        }
        let error = folder.open("frist-chain").map(drop).unwrap_err();
        assert_eq!(error.remedy(), Some("did you mean `first-chain`?"));
    }

    #[test]
    fn a_folder_of_ones_own_is_read_alone_or_among_others() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("my-grid");
        std::fs::create_dir(&own).unwrap();
        let (_, files) = Folder::built_in().files("first-chain").unwrap();
        for (name, text) in files {
            std::fs::write(own.join(&name), text.replace("name = \"first-chain\"", "name = \"my-grid\"")).unwrap();
        }
        for path in [dir.path(), &own] {
            let folder = Folder::at(Some(path));
            assert_eq!(folder.names().unwrap(), ["my-grid"]);
            assert_eq!(folder.open("my-grid").unwrap().name(), "my-grid");
        }
        std::fs::write(own.join("solution.toml"), "name = \"my-grid\"\nnaem_en = \"x\"\n").unwrap();
        let error = Folder::at(Some(&own)).open("my-grid").map(drop).unwrap_err();
        assert!(error.message().contains("my-grid/solution.toml:2:1: unknown field `naem_en`"), "{error}");
        std::fs::remove_file(own.join("sink.sql")).unwrap();
        let error = Folder::at(Some(&own)).open("my-grid").map(drop).unwrap_err();
        assert!(error.message().contains("sink.sql cannot be read"), "{error}");
    }
}
