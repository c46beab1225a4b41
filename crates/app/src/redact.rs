//! Keeps passwords out of whatever is shown.
//!
//! Works on any text, SQL or not, and looks for the two places where passwords stand: the value of an option whose name
//! speaks of a secret, and the user part of a URL.

/// Option names that hold secrets, in lower case; any name that ends so counts.
const SECRET_NAMES: [&str; 4] = ["password", "passwd", "secret", "token"];

const MASK: &str = "****";

/// Byte ranges of the secrets in `text`, in order.
pub fn secrets(text: &str) -> Vec<std::ops::Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for name in SECRET_NAMES {
        for (at, _) in lower.match_indices(name) {
            found.extend(value_after(text, at + name.len()));
        }
    }
    for (at, _) in text.match_indices("://") {
        found.extend(url_password(text, at + 3));
    }
    found.sort_by_key(|range| range.start);
    found.dedup_by(|later, earlier| later.start < earlier.end);
    found
}

/// The value that follows a name which ends at `at`: `' = 'value'`, `=value`.
fn value_after(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let rest = &text[at..];
    let rest = rest.strip_prefix(['\'', '"', '`']).unwrap_or(rest).trim_start().strip_prefix('=')?.trim_start();
    let start = text.len() - rest.len();
    if let Some(quoted) = rest.strip_prefix('\'') {
        // A doubled quote is part of the value.
        let mut end = 0;
        while let Some(quote) = quoted[end..].find('\'') {
            end += quote;
            if !quoted[end..].starts_with("''") {
                return Some(start + 1..start + 1 + end);
            }
            end += 2;
        }
        return Some(start + 1..text.len());
    }
    let end = rest.find(|c: char| c.is_whitespace() || "&;,'\")".contains(c)).unwrap_or(rest.len());
    (end > 0).then_some(start..start + end)
}

/// The password in `user:password@host`, which begins at `at`.
fn url_password(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let rest = &text[at..];
    let end = rest.find(|c: char| c.is_whitespace() || "/'\"".contains(c)).unwrap_or(rest.len());
    let host = rest[..end].rfind('@')?;
    let colon = rest[..host].find(':')?;
    Some(at + colon + 1..at + host)
}

/// `text` with a mask in place of every secret.
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for range in secrets(text) {
        shown.push_str(&text[from..range.start]);
        shown.push_str(MASK);
        from = range.end;
    }
    shown.push_str(&text[from..]);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let cases = [
            ("'password' = 'it''s', 'port' = '1'", "'password' = '****', 'port' = '1'"),
            ("  'ssl.key-password'='x'", "  'ssl.key-password'='****'"),
            ("PASSWORD = 'unfinished", "PASSWORD = '****"),
            (
                "'url' = 'jdbc:postgresql://h/db?user=u&password=p&x=1'",
                "'url' = 'jdbc:postgresql://h/db?user=u&password=****&x=1'",
            ),
            ("postgres://u:p@ss@h:1/db", "postgres://u:****@h:1/db"),
            ("SELECT password FROM t", "SELECT password FROM t"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("中文 'token' = '密码'", "中文 'token' = '****'"),
        ];
        for (text, expected) in cases {
            assert_eq!(redacted(text), expected);
        }
    }
}
