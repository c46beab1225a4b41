//! PostgreSQL's COPY text format, split into rows and values.
//!
//! Format: PostgreSQL documentation, COPY, "Text Format": values between tabs, rows between newlines, `\N` for NULL, a
//! backslash before control characters. The values of a row come out as cells over its unescaped bytes, the same form as
//! rows of the stream.

use super::pgoutput::Cell;

/// Splits rows; its buffers are used again for each row.
#[derive(Default)]
pub(crate) struct CopyRow {
    /// The unescaped bytes of the row.
    pub bytes: Vec<u8>,
    /// The values, as ranges of `bytes`.
    pub cells: Vec<Cell>,
}

impl CopyRow {
    /// Reads one row without its newline.
    pub(crate) fn read(&mut self, line: &[u8]) {
        self.bytes.clear();
        self.cells.clear();
        for field in line.split(|&c| c == b'\t') {
            if field == b"\\N" {
                self.cells.push(Cell::Null);
                continue;
            }
            let start = self.bytes.len();
            self.unescape(field);
            self.cells.push(Cell::Text(start..self.bytes.len()));
        }
    }

    fn unescape(&mut self, field: &[u8]) {
        let mut rest = field;
        while let Some(at) = rest.iter().position(|&c| c == b'\\') {
            self.bytes.extend_from_slice(&rest[..at]);
            let Some(&escaped) = rest.get(at + 1) else {
                rest = &rest[at + 1..];
                break;
            };
            self.bytes.push(match escaped {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => other,
            });
            rest = &rest[at + 2..];
        }
        self.bytes.extend_from_slice(rest);
    }
}

/// The rows of a piece of copied data; the server sends whole rows.
pub(crate) fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split_inclusive(|&c| c == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_escapes_and_nulls() {
        let data = b"1\t\\N\ta\\tb\\\\c\\nd\n\\\\N\t\t\\\n";
        let mut row = CopyRow::default();
        let mut all = Vec::new();
        for line in lines(data) {
            row.read(line);
            let text = |cell: &Cell| match cell {
                Cell::Text(range) => Some(row.bytes[range.clone()].to_vec()),
                _ => None,
            };
            all.push(row.cells.iter().map(text).collect::<Vec<_>>());
        }
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(all, [vec![some("1"), None, some("a\tb\\c\nd")], vec![some("\\N"), some(""), some("")]]);
    }
}
