//! `jdbc:postgresql:` URLs, as PostgreSQL's JDBC driver reads them.
//!
//! Source: PostgreSQL JDBC documentation, "Connecting to the Database". TLS is refused rather than ignored; parameters that
//! have no meaning here are accepted.

use std::time::Duration;

use gridhouse_base::{Error, Result};

use super::client::{SILENCE, Target};
use crate::hosts::HostMap;

/// What a URL says.
#[derive(Debug)]
pub(crate) struct JdbcUrl {
    /// The server and the database; user and password where the URL has them.
    pub target: Target,
    /// The schema of tables that are named without one.
    pub schema: Option<String>,
}

const FORM: &str = "write 'jdbc:postgresql://host:5432/database'";

/// Reads `url`; `username` and `password` are the options, which win over the URL's parameters.
pub(crate) fn read(url: &str, username: Option<&str>, password: Option<&str>, hosts: &HostMap) -> Result<JdbcUrl> {
    let Some(rest) = url.strip_prefix("jdbc:postgresql:") else {
        let driver = url.split(':').nth(1).filter(|_| url.starts_with("jdbc:")).unwrap_or("unknown");
        return Err(Error::invalid(format!("connector 'jdbc' is for PostgreSQL, not for '{driver}'")).hint(FORM));
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = match place.strip_prefix("//") {
        Some(place) => place.split_once('/').unwrap_or((place, "")),
        None => ("localhost", place.trim_start_matches('/')),
    };
    let (mut user, mut secret, mut schema, mut writable) = (None, None, None, false);
    let mut silence = SILENCE;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let value = decoded(value)?;
        match key {
            "user" => user = Some(value),
            "password" => secret = Some(value),
            "currentSchema" => schema = value.split(',').next().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()),
            "targetServerType" => writable = matches!(value.as_str(), "primary" | "master"),
            "socketTimeout" => {
                let seconds = value.parse().map_err(|_| {
                    Error::invalid(format!("'socketTimeout={value}' in the url is not a number of seconds"))
                })?;
                // The driver's 0 means without limit; then ours stands, which asks before it gives up.
                silence = if seconds == 0 { SILENCE } else { Duration::from_secs(seconds) };
            }
            "ssl" if value == "false" => {}
            "sslmode" if matches!(value.as_str(), "disable" | "allow" | "prefer") => {}
            "ssl" | "sslmode" => {
                return Err(Error::invalid(format!(
                    "the url asks for TLS ('{key}={value}'), which is not supported yet"
                ))
                .hint("use a connection without TLS ('sslmode=disable') within a network that you trust"));
            }
            _ => {}
        }
    }
    let username = username.map(str::to_owned).or(user).ok_or_else(|| {
        Error::invalid("connector 'jdbc' needs the option 'username'").hint("add 'username' = '…' to WITH (…)")
    })?;
    let database = decoded(database)?;
    let database = if database.is_empty() { username.clone() } else { database };
    let mut real = Vec::new();
    for host in authority.split(',') {
        let (host, port) = host_and_port(host)?;
        real.push(hosts.resolve(if host.is_empty() { "localhost" } else { host }, port));
    }
    let shown = if authority.is_empty() { "localhost".to_owned() } else { authority.to_owned() };
    let password = password.map(str::to_owned).or(secret);
    Ok(JdbcUrl { target: Target { hosts: real, shown, username, password, database, writable, silence }, schema })
}

fn host_and_port(text: &str) -> Result<(&str, u16)> {
    let wrong = || Error::invalid(format!("'{text}' in the url is not host:port")).hint(FORM);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    Ok((host, port.map_or(Ok(5432), str::parse).map_err(|_| wrong())?))
}

/// Undoes percent encoding.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|c| char::from(c).to_digit(16)).map(|d| d as u8);
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push(high << 4 | low),
            _ => {
                return Err(Error::invalid("the url has a '%' that is not followed by two hexadecimal digits")
                    .hint("write '%25' for '%'"));
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("the url is not UTF-8 once its percent signs are read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<JdbcUrl> {
        read(url, Some("me"), None, &HostMap::new([("pg:5432".to_owned(), "127.0.0.1:15432".to_owned())]).unwrap())
    }

    #[test]
    fn urls_of_the_driver() {
        let url =
            parse("jdbc:postgresql://pg:5432/grid?currentSchema=ads,public&password=a%26b&reWriteBatchedInserts=true")
                .unwrap();
        assert_eq!(url.target.hosts, [("127.0.0.1".to_owned(), 15432)]);
        assert_eq!((url.target.database.as_str(), url.schema.as_deref()), ("grid", Some("ads")));
        assert_eq!(url.target.password.as_deref(), Some("a&b"));
        assert!(!format!("{url:?}").contains("a&b"), "the password is never shown");
        assert_eq!(parse("jdbc:postgresql:grid").unwrap().target.hosts, [("localhost".to_owned(), 5432)]);
        assert_eq!(parse("jdbc:postgresql://a:1,b:2/").unwrap().target.database, "me");
        for wrong in
            ["jdbc:mysql://h/d", "postgresql://h/d", "jdbc:postgresql://h:x/d", "jdbc:postgresql://h/d?sslmode=require"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
