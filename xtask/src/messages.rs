//! The messages that docs/troubleshooting.md explains are those that the program gives: the pieces of each, between two `…`, stand
//! in this order in one string literal of a crate's code.
//!
//! So are the names in its remedies: of settings, options, columns and tables, whole words with a `.`, `_` or `-` in backticks. Each
//! stands in a literal too, alone or in a message. Statements are not read here; tests of the program type them.
//!
//! Comments and tests say nothing. A piece without a letter (`: `) is what joins a message with its cause, and stands between
//! literals. What follows `{}` in a literal may be anything, so this finds a message that was reworded, not one that has another value.

use crate::tree::Tree;

const PAGE: &str = "docs/troubleshooting.md";

/// What the page names of others: the program need not know it.
const OTHERS: [&str; 1] = ["After=time-sync.target"];

/// Complaints about messages that nobody gives any more.
pub fn check(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let is_said = |path: &str| path.starts_with("crates/") && path.contains("/src/") && !path.ends_with("tests.rs");
    let sources = tree.rust().filter(|(path, _)| is_said(path));
    let said: Vec<String> = sources.flat_map(|(_, text)| literals(without_tests(text))).collect();
    let mut found = Vec::new();
    for (number, message) in (1..).zip(page.lines()).filter_map(|(number, line)| Some((number, quoted(line)?))) {
        let has_letter = |piece: &&str| piece.contains(char::is_alphabetic);
        let pieces: Vec<&str> = message.split('…').map(str::trim).filter(has_letter).collect();
        if !said.iter().any(|literal| holds(literal, &pieces)) {
            found.push(format!("{PAGE}:{number}: nothing says `{message}`"));
        }
    }
    for (number, line) in (1..).zip(page.lines()).filter(|(_, line)| quoted(line).is_none()) {
        let quotes = line.split('`').skip(1).step_by(2).filter(|quote| !OTHERS.contains(quote));
        for name in quotes.flat_map(names) {
            if !said.iter().any(|literal| words(literal).any(|word| word == name)) {
                found.push(format!("{PAGE}:{number}: nothing is called `{name}`"));
            }
        }
    }
    found
}

/// The names in a quotation: of `'on-error' = 'dead-letter'` both, of `START JOB` and of `gridhouse status` none.
fn names(quote: &str) -> impl Iterator<Item = &str> {
    words(quote).filter(|word| word.contains(['.', '_', '-']))
}

/// The words of a text: what may stand within a name does not end one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !"._-".contains(c)).map(|word| word.trim_matches(['.', '-']))
}

/// The message of a line `> \`message\``.
fn quoted(line: &str) -> Option<&str> {
    line.strip_prefix("> `")?.strip_suffix('`')
}

/// Whether all pieces stand in a text, one behind the other.
fn holds(text: &str, pieces: &[&str]) -> bool {
    let mut rest = text;
    pieces.iter().all(|piece| match rest.split_once(piece) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// A file up to its tests, which stand last.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

/// The string literals of Rust code as the program has them: continued lines joined, quotation marks and braces unescaped.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
        } else if let Some(behind) = raw(rest, &mut found) {
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('"') {
            let (literal, behind) = plain(behind);
            found.push(literal.replace("{{", "{").replace("}}", "}"));
            rest = behind;
        } else if let Some(behind) = character(rest) {
            rest = behind;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// What follows a literal `r"…"` or `r#"…"#` at the beginning of a text, which is noted; `None` where there is none.
fn raw<'a>(text: &'a str, found: &mut Vec<String>) -> Option<&'a str> {
    let behind = text.strip_prefix('r')?;
    let body = behind.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(behind.len() - body.len()));
    let (literal, behind) = body.strip_prefix('"')?.split_once(&end)?;
    found.push(literal.to_owned());
    Some(behind)
}

/// What follows a character literal at the beginning of a text: its quotation mark begins no string. `None` where there is none,
/// or a lifetime.
fn character(text: &str) -> Option<&str> {
    let body = text.strip_prefix('\'')?;
    let mut chars = body.chars();
    let escaped = chars.next()? == '\\';
    if escaped {
        chars.next()?;
        return chars.as_str().split_once('\'').map(|(_, behind)| behind);
    }
    chars.as_str().strip_prefix('\'')
}

/// A string literal behind its first quotation mark, unescaped, and what follows it.
fn plain(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('\n') => {
                    let behind = chars.as_str().trim_start();
                    chars = behind.chars();
                }
                Some('n') => literal.push('\n'),
                Some(other) => literal.push(other),
                None => break,
            },
            other => literal.push(other),
        }
    }
    (literal, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str, source: &str) -> Vec<String> {
        let files = [(PAGE, page), ("crates/a/src/lib.rs", source)].map(|(path, text)| (path.into(), text.into()));
        check(&Tree::of(files.into()).unwrap())
    }

    #[test]
    fn every_piece_of_a_message_must_be_said_by_one_literal() {
        let page =
            "# Page\n> `slot '…' is gone; go \"on\" by …`\n> `the moon is blue: …`\nplain `text that nobody says`\n";
        let source = "fn f() { say(format!(\"slot '{}' is \\\n        gone; go \\\"on\\\" by {}\"), '\"') }";
        assert_eq!(found(page, source), [format!("{PAGE}:3: nothing says `the moon is blue: …`")]);
        let both = format!("{source}\nfn g(s: &'static str) {{ say(\"the moon is blue: {{}}\") }}");
        assert!(found(page, &both).is_empty());
        let raw = format!("{source} fn g() {{ say(r#\"\"the\" moon is blue; the moon is blue: \"#) }}");
        assert!(found(page, &raw).is_empty());
    }

    #[test]
    fn every_name_in_a_remedy_must_be_known() {
        let page = "> `it is_no name: …`\n*Remedy:* `START JOB`, set `'slot.name'`, `cap_size`\nor `lost.name = 'on-error'`; `gridhouse --wait`\n";
        let source = "fn f() { say(\"it is_no name: {}\", \"slot.name\", \"beyond `cap_size`\", \"on-errors\", \"a.lost.name\") }";
        let missing = ["lost.name", "on-error"].map(|name| format!("{PAGE}:3: nothing is called `{name}`"));
        assert_eq!(found(page, source), missing);
    }

    #[test]
    fn comments_tests_two_literals_and_another_order_say_nothing() {
        let page = "> `table … has no key … at all`\n";
        for source in [
            "// table {} has no key {} at all\n",
            "fn f() {}\n\n#[cfg(test)]\nmod tests { fn f() { say(\"table {} has no key {} at all\") } }",
            "fn f() { say(\"table {} has no key\"); say(\"{} at all\") }",
            "fn f() { say(\"at all has no key table\") }",
        ] {
            assert_eq!(found(page, source).len(), 1, "{source}");
        }
    }
}
