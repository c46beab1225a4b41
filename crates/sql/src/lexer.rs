//! Tokens of the Flink dialect, with positions and byte ranges in the whole text.
//!
//! sqlparser's tokenizer does the cutting under a dialect of our own: back-quoted names, letters of any script in unquoted
//! names, no backslash escapes. Blank space and comments are left out, hints (`/*+ … */`) are kept. A comment that is never
//! closed ends the text with a notice, as the users of Flink's shell are used to; any other broken token is kept as an
//! error that waits at its place, so that what stands before it can still be read.

use gridhouse_base::{Error, Position};
use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Location, Token as Raw, TokenWithSpan, Tokenizer};

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or keyword.
    Word {
        /// The name without its quotes.
        value: String,
        /// Whether it stood in back-quotes; then it is never a keyword.
        quoted: bool,
    },
    /// A number as written.
    Number,
    /// `'text'`, unescaped.
    Text(String),
    /// `X'0aff'`, the digits.
    Hex(String),
    /// An operator or punctuation mark as written.
    Symbol,
    /// `/*+`
    HintOpen,
    /// `*/` of a hint
    HintClose,
    /// The tokenizer failed here; the error is in [`Lexed::error`].
    Broken,
    /// The end of the text.
    End,
}

/// A token with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it starts.
    pub at: Position,
    /// Byte offset of its start.
    pub start: usize,
    /// Byte offset after its end.
    pub end: usize,
}

/// A text cut into tokens. The last token is always `End` or `Broken`.
#[derive(Debug)]
pub(crate) struct Lexed {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// Why the last token is `Broken`.
    pub error: Option<Broken>,
    /// Where a comment starts that is never closed.
    pub open_comment: Option<Position>,
}

/// A broken token: kept apart from [`Error`], which cannot be cloned.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    message: String,
    hint: String,
    at: Position,
    /// Whether more text could mend it (an open quote).
    pub open: bool,
}

impl Broken {
    pub fn error(&self) -> Error {
        Error::invalid(self.message.clone()).hint(self.hint.clone()).at(self.at)
    }
}

#[derive(Debug)]
struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }
}

/// Walks the text beside the tokenizer, whose locations count lines and characters, to find byte offsets.
struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: u64,
    column: u64,
}

impl Cursor<'_> {
    fn advance_to(&mut self, location: Location) -> usize {
        for c in self.text[self.offset..].chars() {
            if (self.line, self.column) >= (location.line, location.column) {
                break;
            }
            self.offset += c.len_utf8();
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset
    }

    fn position(&self) -> Position {
        Position { line: self.line as u32, column: self.column as u32 }
    }
}

/// Cuts `text` into tokens.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexed = Lexed { tokens: Vec::new(), error: None, open_comment: None };
    lex_from(text, 0, Position { line: 1, column: 1 }, &mut lexed);
    lexed
}

/// Cuts `text`, which starts at byte `base` and at `origin` of the whole text.
fn lex_from(text: &str, base: usize, origin: Position, lexed: &mut Lexed) {
    let mut raw: Vec<TokenWithSpan> = Vec::new();
    let outcome = Tokenizer::new(&FlinkDialect, text).tokenize_with_location_into_buf(&mut raw);
    let mut cursor = Cursor { text, offset: 0, line: 1, column: 1 };
    let place = |p: Position| Position {
        line: origin.line + p.line - 1,
        column: if p.line == 1 { origin.column + p.column - 1 } else { p.column },
    };
    for TokenWithSpan { token, span } in raw {
        let start = cursor.advance_to(span.start);
        let at = place(cursor.position());
        let end = cursor.advance_to(span.end);
        let mut push = |kind, start, end| lexed.tokens.push(Token { kind, at, start: base + start, end: base + end });
        match token {
            Raw::Whitespace(_) => {
                let comment = &text[start..end];
                if comment.len() >= 5 && comment.starts_with("/*+") && comment.ends_with("*/") {
                    push(TokenKind::HintOpen, start, start + 3);
                    let inner = Position { line: at.line, column: at.column + 3 };
                    lex_from(&text[start + 3..end - 2], base + start + 3, inner, lexed);
                    if let Some(last) = lexed.tokens.pop() {
                        if last.kind == TokenKind::Broken {
                            lexed.tokens.push(last);
                            return;
                        }
                        let close =
                            Token { kind: TokenKind::HintClose, start: base + end - 2, end: base + end, ..last };
                        lexed.tokens.push(close);
                    }
                }
            }
            Raw::Char(c) if c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}' => {}
            Raw::Word(word) => {
                let quoted = word.quote_style.is_some();
                let value = if quoted { word.value.replace("``", "`") } else { word.value };
                push(TokenKind::Word { value, quoted }, start, end);
            }
            Raw::Number(..) => push(TokenKind::Number, start, end),
            Raw::SingleQuotedString(value) | Raw::UnicodeStringLiteral(value) => {
                push(TokenKind::Text(value), start, end)
            }
            Raw::HexStringLiteral(value) => push(TokenKind::Hex(value), start, end),
            _ => push(TokenKind::Symbol, start, end),
        }
    }
    let start = cursor.offset;
    let at = place(cursor.position());
    let mut kind = TokenKind::End;
    if let Err(error) = outcome {
        let rest = &text[start..];
        if rest.starts_with("/*") {
            lexed.open_comment = Some(at);
        } else {
            kind = TokenKind::Broken;
            lexed.error = Some(broken(rest, at, &error.message));
        }
    }
    lexed.tokens.push(Token { kind, at, start: base + start, end: base + start });
}

fn broken(rest: &str, at: Position, message: &str) -> Broken {
    let (message, hint, open) = match rest.chars().next() {
        Some('\'') => {
            ("text opened here is never closed".into(), "close it with ', and write '' for a quote inside it", true)
        }
        Some('`') => (
            "name opened here is never closed".into(),
            "close it with ` , and write `` for a back-quote inside it",
            true,
        ),
        Some('"') => (
            "double quotes do not open a name or a text".into(),
            "write `name` in back-quotes, 'text' in single quotes",
            false,
        ),
        _ => (message.to_lowercase(), "check the characters at this place", false),
    };
    Broken { message, hint: hint.into(), at, open }
}
