//! Where the hosts of a script really are.
//!
//! A script written for containers names hosts that exist only there. The map turns `host` or `host:port` of a script into
//! the real one when a connection is made; nothing else (job identity, messages about options) knows of it.

use std::collections::BTreeMap;

use gridhouse_base::{Error, Result};

/// Script `host[:port]` → real `host[:port]`. An entry with a port wins over one without.
#[derive(Clone, Debug, Default)]
pub struct HostMap {
    entries: BTreeMap<String, String>,
}

impl HostMap {
    /// A map of the given entries.
    ///
    /// # Errors
    /// `Invalid` where a side is empty or its port is not a number.
    pub fn new(entries: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (from, to) in entries {
            for side in [&from, &to] {
                split(side).ok_or_else(|| {
                    Error::invalid(format!("'{side}' in the host mapping is not host or host:port"))
                        .hint("write entries as 'postgres' = '127.0.0.1' or 'postgres:5432' = '127.0.0.1:15432'")
                })?;
            }
            map.insert(from.to_lowercase(), to);
        }
        Ok(Self { entries: map })
    }

    /// Where `host:port` of a script really is.
    pub fn resolve(&self, host: &str, port: u16) -> (String, u16) {
        let exact = format!("{}:{port}", host.to_lowercase());
        let to = self.entries.get(&exact).or_else(|| self.entries.get(&host.to_lowercase()));
        match to.and_then(|to| split(to)) {
            Some((real, real_port)) => (real.to_owned(), real_port.unwrap_or(port)),
            None => (host.to_owned(), port),
        }
    }
}

/// Splits `host[:port]`; a bare IPv6 address has no port, one in brackets may have.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Some((text, None)),
        Some((host, port)) => (!host.is_empty()).then_some((host, Some(port.parse().ok()?))),
        None => (!text.is_empty()).then_some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_with_a_port_wins() {
        let entries = [("postgres", "10.0.0.1"), ("Postgres:5433", "127.0.0.1:15433"), ("six", "[::1]:7")];
        let map = HostMap::new(entries.map(|(a, b)| (a.to_owned(), b.to_owned()))).unwrap();
        assert_eq!(map.resolve("postgres", 5432), ("10.0.0.1".into(), 5432));
        assert_eq!(map.resolve("POSTGRES", 5433), ("127.0.0.1".into(), 15433));
        assert_eq!(map.resolve("six", 1), ("::1".into(), 7));
        assert_eq!(map.resolve("elsewhere", 1), ("elsewhere".into(), 1));
        assert!(HostMap::new([("a".to_owned(), "b:x".to_owned())]).is_err());
    }
}
