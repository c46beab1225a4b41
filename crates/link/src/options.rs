//! The `WITH` options of connectors: which keys exist, which have an effect here, and typed reading of their values.
//!
//! An unknown key is an error that names the nearest known one. A key that Flink knows and that has nothing to do here is
//! accepted with a notice, so that scripts run unchanged and nobody believes in an effect that is not there. Values are
//! never put into messages unless the key is harmless: a password must not show.

use std::collections::BTreeMap;
use std::time::Duration;

use gridhouse_base::error::nearest;
use gridhouse_base::quantity::{bytes, duration};
use gridhouse_base::{Error, Result};

/// What a known key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It has its effect, or its effect is how things always are here.
    Effect,
    /// It is accepted and does nothing; why.
    Noted(&'static str),
}

/// The keys of one connector.
pub(crate) struct Keys {
    /// The connector's name.
    pub connector: &'static str,
    /// Full keys.
    pub known: &'static [(&'static str, Use)],
    /// Beginnings of keys that are all accepted and noted.
    pub prefixes: &'static [(&'static str, &'static str)],
}

/// The options of one table, checked against the connector's keys.
pub(crate) struct Options<'a> {
    keys: &'static Keys,
    options: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    /// Checks that every key is known.
    pub(crate) fn check(
        keys: &'static Keys,
        options: &'a BTreeMap<String, String>,
        notices: &mut Vec<String>,
    ) -> Result<Self> {
        for key in options.keys().filter(|key| *key != "connector") {
            let known = keys.known.iter().find(|(name, _)| name == key).map(|(_, used)| *used);
            let by_prefix =
                || keys.prefixes.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, why)| Use::Noted(why));
            match known.or_else(by_prefix) {
                Some(Use::Effect) => {}
                Some(Use::Noted(why)) => notices.push(format!("option '{key}' has no effect: {why}")),
                None => {
                    let error = Error::invalid(format!("connector '{}' has no option '{key}'", keys.connector));
                    let names = keys.known.iter().map(|(name, _)| *name);
                    return Err(match nearest(key, names.clone()) {
                        Some(name) => error.hint(format!("did you mean '{name}'?")),
                        None => error.hint(format!("known options: {}", names.collect::<Vec<_>>().join(", "))),
                    });
                }
            }
        }
        Ok(Self { keys, options })
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        debug_assert!(self.keys.known.iter().any(|(name, _)| *name == key), "only known keys are read");
        self.options.get(key).map(String::as_str)
    }

    /// The value of `key`, which must be there and not empty.
    pub(crate) fn required(&self, key: &str) -> Result<&'a str> {
        self.get(key).filter(|value| !value.is_empty()).ok_or_else(|| {
            Error::invalid(format!("connector '{}' needs the option '{key}'", self.keys.connector))
                .hint(format!("add '{key}' = '…' to WITH (…)"))
        })
    }

    /// The number at `key`.
    pub(crate) fn number(&self, key: &str, default: u64) -> Result<u64> {
        let Some(text) = self.get(key) else { return Ok(default) };
        text.trim().parse().map_err(|_| self.misfit(key, text, "a whole number, as in '5432'"))
    }

    /// The number at `key`, which may be negative.
    pub(crate) fn integer(&self, key: &str, default: i64) -> Result<i64> {
        let Some(text) = self.get(key) else { return Ok(default) };
        text.trim().parse().map_err(|_| self.misfit(key, text, "a whole number, as in '-1'"))
    }

    /// The truth value at `key`.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key).map(|text| text.trim().to_lowercase()).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(text) => Err(self.misfit(key, text, "'true' or 'false'")),
        }
    }

    /// The duration at `key` in Flink's form: a number and a unit, milliseconds where the unit is left out.
    pub(crate) fn duration(&self, key: &str, default: Duration) -> Result<Duration> {
        let Some(text) = self.get(key) else { return Ok(default) };
        duration(text).ok_or_else(|| self.misfit(key, text, "a duration, as in '500 ms', '30 s', '5 min'"))
    }

    /// The number of bytes at `key` in Flink's form: a number and a unit, bytes where the unit is left out.
    pub(crate) fn bytes(&self, key: &str, default: u64) -> Result<u64> {
        let Some(text) = self.get(key) else { return Ok(default) };
        bytes(text).ok_or_else(|| self.misfit(key, text, "a number of bytes, as in '128MB'"))
    }

    /// One of the `allowed` words at `key`.
    pub(crate) fn word(&self, key: &str, default: &'static str, allowed: &[&'static str]) -> Result<&'static str> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let found = allowed.iter().find(|word| word.eq_ignore_ascii_case(text.trim())).copied();
        found.ok_or_else(|| self.misfit(key, text, &format!("one of '{}'", allowed.join("', '"))))
    }

    fn misfit(&self, key: &str, value: &str, wanted: &str) -> Error {
        Error::invalid(format!("option '{key}' of connector '{}' is '{value}'", self.keys.connector))
            .hint(format!("write {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KEYS: Keys = Keys {
        connector: "x",
        known: &[("table-name", Use::Effect), ("scan.parallelism", Use::Noted("there is one reader"))],
        prefixes: &[("debezium.", "there is no Debezium")],
    };

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn unknown_keys_are_errors_and_idle_ones_notices() {
        let mut notices = Vec::new();
        let wrong = options(&[("tabel-name", "secret")]);
        let error = Options::check(&KEYS, &wrong, &mut notices).err().unwrap();
        assert_eq!(error.message(), "connector 'x' has no option 'tabel-name'");
        assert_eq!(error.remedy(), Some("did you mean 'table-name'?"));
        let fine = options(&[("scan.parallelism", "1"), ("debezium.a", "b"), ("connector", "x")]);
        Options::check(&KEYS, &fine, &mut notices).unwrap();
        assert_eq!(notices.len(), 2);
    }
}
