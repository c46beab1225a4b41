//! The messages that docs/troubleshooting.md explains are those that the program gives: each piece between two `…` stands in
//! the source of a crate.

use crate::tree::Tree;

const PAGE: &str = "docs/troubleshooting.md";

/// Pieces shorter than this are words that stand everywhere.
const SHORTEST_PIECE: usize = 6;

/// Complaints about messages that nobody gives any more.
pub fn check(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let is_said = |path: &str| path.starts_with("crates/") && path.contains("/src/") && !path.ends_with("tests.rs");
    let sources: Vec<String> = tree.rust().filter(|(path, _)| is_said(path)).map(|(_, text)| joined(text)).collect();
    let mut found = Vec::new();
    for (number, message) in (1..).zip(page.lines()).filter_map(|(number, line)| Some((number, quoted(line)?))) {
        for piece in message.split('…').map(str::trim).filter(|piece| piece.len() >= SHORTEST_PIECE) {
            if !sources.iter().any(|source| source.contains(piece)) {
                found.push(format!("{PAGE}:{number}: nothing says `{piece}`"));
            }
        }
    }
    found
}

/// The message of a line `> \`message\``.
fn quoted(line: &str) -> Option<&str> {
    line.strip_prefix("> `")?.strip_suffix('`')
}

/// Source text with string literals in one piece: continued lines joined, quotation marks unescaped.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        while let Some(begun) = out.strip_suffix('\\') {
            out.truncate(begun.len());
            out.push_str(lines.next().unwrap_or("").trim_start());
        }
        out.push('\n');
    }
    out.replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_a_message_must_be_said_somewhere() {
        let page =
            "# Page\n> `slot '…' is gone; go \"on\" by …`\n> `the moon is blue`\nplain `text that nobody says`\n";
        let source = "fn f() { say(format!(\"slot '{}' is \\\n        gone; go \\\"on\\\" by {}\")) }";
        let files = [(PAGE, page), ("crates/a/src/lib.rs", source)].map(|(path, text)| (path.into(), text.into()));
        let found = check(&Tree::of(files.into()).unwrap());
        assert_eq!(found, ["docs/troubleshooting.md:3: nothing says `the moon is blue`"]);
    }
}
