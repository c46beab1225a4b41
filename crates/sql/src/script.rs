//! A script: statements one after the other, each read when its turn comes.
//!
//! A statement that cannot be read ends the script; everything before it has been delivered by then. Positions are those in
//! the whole text.

use std::ops::Range;

use gridhouse_base::{Error, Position, Result};

use crate::ast::{Expr, Note, Query, Statement};
use crate::explain::redacted;
use crate::lexer::{Lexed, Token, TokenKind, lex};
use crate::parser::Parser;

/// A statement with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// Its text, from its first to its last token, without the semicolon.
    pub text: String,
    /// Where it starts.
    pub position: Position,
    /// Its bytes in the whole text.
    pub range: Range<usize>,
    /// What in it Flink would reject.
    pub portability: Vec<Note>,
}

/// The statements of a text, in order; ends after the first error.
#[derive(Debug)]
pub struct Script<'a> {
    text: &'a str,
    lexed: Lexed,
    index: usize,
    failed: bool,
}

/// The statements of `text`.
pub fn parse_script(text: &str) -> Script<'_> {
    Script { text, lexed: lex(text), index: 0, failed: false }
}

impl Script<'_> {
    /// What the user should know of the text as a whole: a comment that is never closed.
    pub fn notices(&self) -> Vec<Note> {
        let note =
            |at| Note { message: "the comment opened here is never closed: all behind it is left out".into(), at };
        self.lexed.open_comment.map(note).into_iter().collect()
    }
}

impl Iterator for Script<'_> {
    type Item = Result<Parsed>;

    fn next(&mut self) -> Option<Result<Parsed>> {
        if self.failed {
            return None;
        }
        while is_symbol(self.text, &self.lexed.tokens[self.index], ";") {
            self.index += 1;
        }
        let first = &self.lexed.tokens[self.index];
        if first.kind == TokenKind::End {
            return None;
        }
        let mut parser = Parser::new(self.text, &self.lexed, self.index);
        match parser.statement() {
            Ok(statement) => {
                self.index = parser.index();
                let range = first.start..self.lexed.tokens[self.index - 1].end;
                let text = self.text[range.clone()].to_owned();
                Some(Ok(Parsed { statement, text, position: first.at, range, portability: parser.take_notes() }))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error.at(first.at)))
            }
        }
    }
}

fn is_symbol(text: &str, token: &Token, symbol: &str) -> bool {
    token.kind == TokenKind::Symbol && &text[token.start..token.end] == symbol
}

/// Whether a shell can run what was typed: nothing but blank space and comments, or whole statements that end in `;`.
/// Inside `BEGIN STATEMENT SET` the closing `END;` is waited for.
pub fn is_complete(text: &str) -> bool {
    let lexed = lex(text);
    if let Some(error) = &lexed.error {
        return !error.open;
    }
    if lexed.open_comment.is_some() {
        return false;
    }
    let word = |token: &Token, word: &str| matches!(&token.kind, TokenKind::Word { value, quoted: false } if value.eq_ignore_ascii_case(word));
    let tokens = &lexed.tokens[..lexed.tokens.len() - 1];
    let mut in_set = false;
    for (i, token) in tokens.iter().enumerate() {
        if word(token, "STATEMENT") && tokens.get(i + 1).is_some_and(|next| word(next, "SET")) {
            in_set = true;
        }
        // CASE … END is followed by something else than a semicolon or stands behind one.
        let starts = i == 0 || is_symbol(text, &tokens[i - 1], ";");
        if in_set && starts && word(token, "END") {
            in_set = false;
        }
    }
    !in_set && tokens.last().is_none_or(|token| is_symbol(text, token, ";"))
}

/// `text` with the values of secret options (`'password' = '…'`) replaced, for wherever a statement is shown.
pub fn redact(text: &str) -> String {
    if !text.contains('\'') {
        return text.to_owned();
    }
    let lexed = lex(text);
    let mut out = String::with_capacity(text.len());
    let mut shown = 0;
    for window in lexed.tokens.windows(3) {
        let [key, equals, value] = window else { continue };
        let (TokenKind::Text(key), TokenKind::Text(secret)) = (&key.kind, &value.kind) else { continue };
        if is_symbol(text, equals, "=") && redacted(key, secret) != secret {
            out.push_str(&text[shown..value.start]);
            out.push_str("'****'");
            shown = value.end;
        }
    }
    out.push_str(&text[shown..]);
    out
}

/// The one expression that `text` is; for texts that a definition keeps (computed columns, watermarks).
///
/// # Errors
/// `Invalid` where the text is not one expression.
pub fn parse_expression(text: &str) -> Result<Expr> {
    let lexed = lex(text);
    Parser::new(text, &lexed, 0).only_expression()
}

/// The one query that `text` is; for the texts of views.
///
/// # Errors
/// `Invalid` where the text is not one query.
pub fn parse_query(text: &str) -> Result<Query> {
    match parse_script(text).next() {
        Some(Ok(Parsed { statement: Statement::Query(query), .. })) => Ok(*query),
        Some(Err(error)) => Err(error),
        _ => Err(Error::invalid("the text is not a query")),
    }
}
