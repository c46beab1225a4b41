//! A text cut at its constants: what is left, the *mask*, is the same for all texts that differ in their constants alone.
//!
//! One pass over the bytes, without the lexer. It need not understand SQL; what it must never do is to give the same mask to two
//! texts that the lexer cuts into different tokens between their constants. So a text with anything in it that could hide a
//! constant, or begin something else than it seems to (comments, hints, double quotes, `$`, `\`, texts with a letter or `&` in
//! front, `UESCAPE`), is not cut at all, and everything that is no plain number and no closed text stays in the mask.

use std::ops::Range;

/// Stands in a mask for a number and for a text; texts with such bytes between their tokens are not cut.
const NUMBER: u8 = 1;
const TEXT: u8 = 2;

/// Whole numbers of up to so many digits are INT, whatever they are.
const INT_DIGITS: usize = 9;

/// A text that has been cut.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    mask: Vec<u8>,
    constants: Vec<Range<usize>>,
}

impl Cut {
    /// Cuts `text`; false where that is not safe, or it has no constants.
    pub(crate) fn read(&mut self, text: &str) -> bool {
        self.mask.clear();
        self.constants.clear();
        self.take(text.as_bytes()).is_some() && !self.constants.is_empty()
    }

    /// The text without its constants, each replaced by what it looks like.
    pub(crate) fn mask(&self) -> &[u8] {
        &self.mask
    }

    /// Where the constants stand, quotes included.
    pub(crate) fn constants(&self) -> &[Range<usize>] {
        &self.constants
    }

    fn take(&mut self, text: &[u8]) -> Option<()> {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let before = at.checked_sub(1).map(|before| text[before]);
            let end = match byte {
                b'\'' => {
                    if before.is_some_and(|before| is_part_of_word(before) || before == b'&') {
                        return None;
                    }
                    let end = end_of_text(text, at + 1)?;
                    self.mask.push(TEXT);
                    self.constants.push(at..end);
                    at = end;
                    continue;
                }
                b'`' => at + 2 + text[at + 1..].iter().position(|&byte| byte == b'`')?,
                b'0'..=b'9' => {
                    let end = end_of_number(text, at);
                    let is_whole = |byte: &u8| !is_part_of_word(*byte) && *byte != b'.';
                    if before.as_ref().is_none_or(is_whole) && text.get(end).is_none_or(is_whole) {
                        self.push_number(&text[at..end]);
                        self.constants.push(at..end);
                        at = end;
                        continue;
                    }
                    end
                }
                b'-' if before == Some(b'-') => return None,
                b'/' | b'*' if before == Some(b'/') => return None,
                b'"' | b'$' | b'\\' | b'#' => return None,
                b'\t' | b'\n' | b'\r' => at + 1,
                0..b' ' => return None,
                b'u' | b'U' if text[at..].get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"uescape")) => {
                    return None;
                }
                _ => at + 1,
            };
            self.mask.extend_from_slice(&text[at..end]);
            at = end;
        }
        Some(())
    }

    /// Numbers that cannot be of one type look different: a text is then less often taken for one that it is not like.
    fn push_number(&mut self, digits: &[u8]) {
        let fraction = digits.iter().position(|&byte| byte == b'.').map_or(0, |point| digits.len() - 1 - point);
        let whole = digits.len() - fraction;
        let size = if fraction == 0 && whole <= INT_DIGITS { 0 } else { whole.min(usize::from(u8::MAX)) as u8 };
        self.mask.extend_from_slice(&[NUMBER, size, fraction.min(usize::from(u8::MAX)) as u8]);
    }
}

/// What the quoted text `quoted` says.
pub(crate) fn unquoted(quoted: &str) -> String {
    quoted[1..quoted.len() - 1].replace("''", "'")
}

/// Whether a byte may go on in a name or number; letters outside ASCII may.
fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The end of a text that is open at `at`, its quote included; `''` does not end it.
fn end_of_text(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1 + text[at..].iter().position(|&byte| byte == b'\'')?;
        if text.get(at) != Some(&b'\'') {
            return Some(at);
        }
        at += 1;
    }
}

/// The end of the digits from `at` on, with a point and digits behind it.
fn end_of_number(text: &[u8], at: usize) -> usize {
    let digits = |from: usize| from + text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(at);
    if text.get(whole) == Some(&b'.') && text.get(whole + 1).is_some_and(u8::is_ascii_digit) {
        return digits(whole + 1);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Option<(Vec<u8>, Vec<&str>)> {
        let mut cut = Cut::default();
        cut.read(text)
            .then(|| (cut.mask().to_vec(), cut.constants().iter().map(|range| &text[range.clone()]).collect()))
    }

    #[test]
    fn constants_are_cut_out() {
        let (mask, constants) =
            cut("SELECT `1 '2`, a3, 4e5 FROM t.6 WHERE k=-7 AND n = 'it''s ; -- 8' AND d IN (1.50,2)").unwrap();
        assert_eq!(constants, ["7", "'it''s ; -- 8'", "1.50", "2"]);
        assert_eq!(
            mask,
            b"SELECT `1 '2`, a3, 4e5 FROM t.6 WHERE k=-\x01\0\0 AND n = \x02 AND d IN (\x01\x02\x02,\x01\0\0)"
        );
        assert_eq!(unquoted(constants[1]), "it's ; -- 8");
        assert_eq!(cut("k = 5;").unwrap().0, cut("k = 123456789;").unwrap().0);
        assert_ne!(cut("k = 5").unwrap().0, cut("k = 1234567890").unwrap().0);
        assert_ne!(cut("k = 5").unwrap().0, cut("k = 5.0").unwrap().0);
        assert_ne!(cut("k = 5").unwrap().0, cut("k = '5'").unwrap().0);
        // What only looks like a number stays.
        for text in ["k = 5x AND a = 1", "k = 5. AND a = 1", "k = .5 AND a = 1", "名5 = 0x5 AND a = 1"] {
            assert_eq!(cut(text).unwrap().1, ["1"], "{text}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_left_alone() {
        for text in [
            "SELECT k FROM t",
            "SELECT k FROM t WHERE k = 'open",
            "SELECT k FROM `open WHERE k = 5",
            "SELECT k FROM t -- comment 5\nWHERE k = 5",
            "SELECT k FROM t /* 5 */ WHERE k = 5",
            "SELECT k FROM t /*+ OPTIONS('a' = 'b') */ WHERE k = 5",
            "SELECT k FROM \"t\" WHERE k = 5",
            "SELECT k FROM t WHERE k = X'05'",
            "SELECT k FROM t WHERE k = U&'!4E2D' UESCAPE '!'",
            "SELECT k FROM t WHERE k = '!4E2D' uescape '!'",
            "SELECT k FROM t WHERE k = $1 AND a = 2",
            "SELECT k FROM t WHERE k = 5 \u{1}",
        ] {
            assert_eq!(cut(text), None, "{text}");
        }
    }
}
