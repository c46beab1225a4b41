//! What the terminal is: whether there is one, how wide it is, and how wide a text is on it.

use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cells of standard output's terminal; `None` where it is a file or a pipe.
pub fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
    // A terminal that does not tell its size is as wide as terminals used to be.
    Some(size.filter(|&columns| columns > 0).unwrap_or(80))
}

/// Lines of standard output's terminal; `None` where it is a file or a pipe, or does not tell.
pub fn height() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_row));
    size.filter(|&rows| rows > 0)
}

/// Cells that `text` takes: a Chinese character takes two.
pub fn cells(text: &str) -> usize {
    text.width()
}

/// `text` cut to `limit` cells, with an ellipsis where something is missing.
pub fn cut(text: &str, limit: usize) -> String {
    if cells(text) <= limit {
        return text.into();
    }
    let mut shown = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > limit {
            break;
        }
        shown.push(c);
        used += wide;
    }
    shown.push('…');
    shown
}

/// `text` on one line: every run of white space becomes one blank, control characters become visible.
pub fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.replace(|c: char| c.is_control(), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_cells_not_by_characters() {
        assert_eq!(cells("区域a"), 5);
        assert_eq!(cut("区域a", 5), "区域a");
        assert_eq!(cut("区域abc", 5), "区域…");
        assert_eq!(cut("区域abc", 4), "区…", "half a character is not shown");
        assert_eq!(one_line(" a\n\t b \u{1b}[2J"), "a b \u{fffd}[2J");
    }
}
