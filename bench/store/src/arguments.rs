//! The command line of both programs: a command, then `--name value` pairs.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug)]
pub struct Arguments {
    /// The command.
    pub command: String,
    values: BTreeMap<String, String>,
    /// What follows the pairs.
    pub rest: Vec<String>,
}

impl Arguments {
    /// Reads the process's own.
    ///
    /// # Panics
    /// If a name has no value; the driver is the only caller.
    pub fn read() -> Self {
        let mut given = std::env::args().skip(1);
        let command = given.next().unwrap_or_default();
        let mut values = BTreeMap::new();
        let mut rest = Vec::new();
        while let Some(argument) = given.next() {
            match argument.strip_prefix("--") {
                Some(name) => {
                    let value = given.next().unwrap_or_else(|| panic!("--{name} needs a value"));
                    values.insert(name.to_owned(), value);
                }
                None => rest.push(argument),
            }
        }
        Self { command, values, rest }
    }

    /// The value of `--name`, or `default`.
    ///
    /// # Panics
    /// If it is no number.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        let parse = |text: &String| text.parse().unwrap_or_else(|_| panic!("--{name} {text} is no number"));
        self.values.get(name).map_or(default, parse)
    }

    /// The text of `--name`, if it is given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The directory of `--dir`.
    ///
    /// # Panics
    /// If it is not given.
    pub fn dir(&self) -> PathBuf {
        self.text("dir").expect("--dir names the data directory").into()
    }
}
