//! Errors as a person reads them: where, what, the line with a caret, the remedy.

use gridhouse_base::{Error, Position};

use crate::redact::{redacted, secrets};
use crate::terminal::cells;

/// A longer source line is cut around the place of the error.
const MAX_LINE_CELLS: usize = 160;
/// How much of a cut line is shown before the place.
const BEFORE_CELLS: usize = 80;

/// The error without a place: message, then the hint on a line of its own.
pub fn plain(error: &Error) -> String {
    with_hint(format!("error: {}", redacted(&error.to_string())), error)
}

/// The error within `text`, which the user knows as `name`; the place is in the first line, as compilers write it.
pub fn in_script(error: &Error, name: &str, text: &str) -> String {
    let Some(position) = error.position() else {
        return with_hint(format!("{name}: {}", redacted(&error.to_string())), error);
    };
    let Position { line, column } = position;
    let mut shown = format!("{name}:{line}:{column}: {}", redacted(&error.to_string()));
    if let Some(source) = text.lines().nth((line as usize).saturating_sub(1)) {
        let (source, before) = excerpt(source, column as usize);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        shown.push_str(&format!("\n {number} | {source}\n {margin} | {}^", " ".repeat(before)));
    }
    with_hint(shown, error)
}

fn with_hint(mut shown: String, error: &Error) -> String {
    if let Some(hint) = error.remedy() {
        shown.push_str(&format!("\n  hint: {}", redacted(hint)));
    }
    shown
}

/// The source line as it can be shown, and the cells in front of the character `column`.
fn excerpt(source: &str, column: usize) -> (String, usize) {
    let hidden = secrets(source);
    let mut pieces: Vec<(String, bool)> = Vec::new();
    for (index, (at, c)) in source.char_indices().enumerate() {
        let here = index + 1 == column;
        let piece = match hidden.iter().find(|range| range.contains(&at)) {
            Some(range) if range.start == at => "****".into(),
            Some(_) => String::new(),
            None if c == '\t' => "    ".into(),
            None if c.is_control() => "\u{fffd}".into(),
            None => c.into(),
        };
        pieces.push((piece, here));
    }
    let before: usize = pieces.iter().take_while(|(_, here)| !here).map(|(piece, _)| cells(piece)).sum();
    let all: String = pieces.iter().map(|(piece, _)| piece.as_str()).collect();
    if cells(&all) <= MAX_LINE_CELLS {
        return (all, before);
    }
    // Cut a window out of the line that begins some way before the place.
    let mut skipped = 0;
    let mut used = 0;
    let mut window = String::from("…");
    for (piece, _) in pieces {
        let wide = cells(&piece);
        if before.saturating_sub(skipped) > BEFORE_CELLS && used == 0 {
            skipped += wide;
            continue;
        }
        used += wide;
        if used > MAX_LINE_CELLS {
            window.push('…');
            break;
        }
        window.push_str(&piece);
    }
    (window, before - skipped + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Error {
        Error::not_found("column `x` does not exist").at(Position { line, column }).hint("did you mean `y`?")
    }

    #[test]
    fn the_caret_stands_under_the_place_also_after_wide_characters() {
        let text = "SELECT 1;\nSELECT '区域', x FROM t\n";
        let expected = "a.sql:2:14: column `x` does not exist\n 2 | SELECT '区域', x FROM t\n   |                ^\n  hint: did you mean `y`?";
        assert_eq!(in_script(&at(2, 14), "a.sql", text), expected);
    }

    #[test]
    fn passwords_in_the_line_are_masked_and_the_caret_follows() {
        let shown = in_script(&at(1, 36), "a.sql", "WITH ('password' = 'geheimgeheim', 'prot' = '1')");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], " 1 | WITH ('password' = '****', 'prot' = '1')");
        assert_eq!(lines[2].find('^'), lines[1].find("'prot'"), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{} here {}", "x, ".repeat(200), "y, ".repeat(200));
        let column = text.find("here").unwrap() as u32 + 1;
        let shown = in_script(&at(1, column), "a.sql", &text);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(cells(lines[1]) < 180, "{}", lines[1]);
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().skip(caret).take(4).collect::<String>(), "here", "{shown}");
    }

    #[test]
    fn a_place_behind_the_end_does_no_harm() {
        assert!(in_script(&at(9, 1), "a.sql", "x").starts_with("a.sql:9:1: column"));
        assert!(in_script(&at(1, 2), "a.sql", "x").contains(" | x\n   |  ^"));
    }
}
