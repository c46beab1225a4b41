//! From tokens to statements: recursive descent, one statement at a time.
//!
//! The grammar of queries is our own as well. sqlparser's was weighed: it accepts and keeps much that Flink has not (every such
//! field of its tree would have to be refused one by one, or it is dropped silently), gives many nodes no position, and has no
//! place for hints. Here a thing that is not understood is an error at its place, by construction.

mod call;
mod ddl;
mod dml;
mod expr;
mod habits;
mod json;
mod over;
mod query;
mod show;
mod types;

use gridhouse_base::{Error, Position, Result};

use crate::ast::{Ident, JobName, Note, ObjectName, OptionPair, Statement};
use crate::keywords::{CLAUSES, RESERVED, RESERVED_IN_FLINK, STATEMENTS, near};
use crate::lexer::{Lexed, Token, TokenKind};

/// How deep queries and expressions may nest. Derivation: a level passes through a handful of frames of the parser, or of the
/// binder, which take at most 10 KiB of stack together, and threads have 2 MiB: 100 levels stay below half of it. A test
/// nests to the limit on such a thread.
pub(crate) const MAX_DEPTH: usize = 100;

/// How many operators may stand in one chain (`a + b + …`, `q UNION ALL q …`): such a chain is a tree as deep as it is long,
/// walked with one smaller frame (below 1 KiB) per link.
pub(crate) const MAX_CHAIN: usize = 500;

pub(crate) struct Parser<'a> {
    text: &'a str,
    lexed: &'a Lexed,
    index: usize,
    depth: usize,
    /// Half of a `>>` has closed a type; the other half is still to be read.
    half_angle: bool,
    notes: Vec<Note>,
}

impl<'a> Parser<'a> {
    /// A parser of the tokens from `index` on.
    pub fn new(text: &'a str, lexed: &'a Lexed, index: usize) -> Self {
        Self { text, lexed, index, depth: 0, half_angle: false, notes: Vec::new() }
    }

    /// The next token's index.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What was accepted beyond Flink's grammar since the parser was made.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Reads one statement, up to but without its semicolon.
    pub fn statement(&mut self) -> Result<Statement> {
        let statement = self.statement_body()?;
        if !self.at_statement_end() {
            return Err(self.trailing());
        }
        Ok(statement)
    }

    /// Reads an expression that is the whole text.
    pub fn only_expression(&mut self) -> Result<crate::ast::Expr> {
        let expr = self.expr()?;
        if self.at_statement_end() { Ok(expr) } else { Err(self.trailing()) }
    }

    fn statement_body(&mut self) -> Result<Statement> {
        if self.peek_symbol("(") {
            return Ok(Statement::Query(Box::new(self.query()?)));
        }
        match self.peek_word().unwrap_or_default().as_str() {
            "CREATE" => self.create(),
            "DROP" => self.drop_statement(),
            "USE" => self.use_statement(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "EXPLAIN" => self.explain(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "INSERT" => self.insert().map(|insert| Statement::Insert(Box::new(insert))),
            "EXECUTE" => self.execute(),
            "BEGIN" => self.begin_statement_set(),
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(Statement::Query(Box::new(self.query()?))),
            "UPDATE" => self.update(),
            "DELETE" => self.delete(),
            "TRUNCATE" => self.truncate(),
            "CHECK" => self.check(),
            "STOP" => self.stop_job(),
            "START" => self.start_job(),
            "REPLACE" => self.replace_job(),
            "END" => {
                let hint = "END closes BEGIN STATEMENT SET; remove it, or write the BEGIN before";
                Err(Error::invalid("there is no open statement set to end").hint(hint).at(self.at()))
            }
            word @ ("ALTER" | "CALL" | "ANALYZE" | "SUBSCRIBE" | "LOAD" | "UNLOAD" | "ADD" | "REMOVE" | "COMPILE") => {
                let hint = match word {
                    "ALTER" => "create the table anew under another name, or DROP it and CREATE it again",
                    "SUBSCRIBE" => "read the rows as they stand with SELECT, or write them on with INSERT INTO",
                    _ => {
                        "CREATE, DROP, USE, SHOW, DESCRIBE, EXPLAIN, SET, RESET, INSERT, SELECT, UPDATE, DELETE, TRUNCATE, \
                          CHECK TABLE, STOP JOB, START JOB, DROP JOB and REPLACE JOB are accepted"
                    }
                };
                Err(Error::invalid(format!("{word} is not supported yet")).hint(hint).at(self.at()))
            }
            _ => Err(self.unknown_statement()),
        }
    }

    fn unknown_statement(&self) -> Error {
        let Some(word) = self.peek_word() else {
            return self.unexpected("a statement");
        };
        let error = Error::invalid(format!("{} does not begin a statement", self.shown())).at(self.at());
        if let Some(remedy) = habits::statement(&word) {
            return error.hint(remedy);
        }
        match near(&word, STATEMENTS.iter().copied()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => {
                error.hint("a statement begins with CREATE, INSERT, SELECT, SHOW, SET, USE, DROP, EXPLAIN or the like")
            }
        }
    }

    // Tokens.

    fn token(&self) -> &'a Token {
        self.token_after(0)
    }

    fn token_after(&self, n: usize) -> &'a Token {
        let last = self.lexed.tokens.len() - 1;
        &self.lexed.tokens[(self.index + n).min(last)]
    }

    /// Where the next token stands.
    pub(crate) fn at(&self) -> Position {
        self.token().at
    }

    fn advance(&mut self) {
        if self.index + 1 < self.lexed.tokens.len() {
            self.index += 1;
        }
    }

    fn text_of(&self, token: &Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    /// The text from the token at `from` to the last one that was read.
    fn text_since(&self, from: usize) -> String {
        let start = self.lexed.tokens[from].start;
        let end = self.lexed.tokens[self.index.max(1) - 1].end;
        self.text.get(start..end).unwrap_or_default().to_owned()
    }

    fn word_after(&self, n: usize) -> Option<String> {
        match &self.token_after(n).kind {
            TokenKind::Word { value, quoted: false } => Some(value.to_uppercase()),
            _ => None,
        }
    }

    /// The next token as a keyword, upper-case.
    fn peek_word(&self) -> Option<String> {
        self.word_after(0)
    }

    fn is_word_after(&self, n: usize, word: &str) -> bool {
        matches!(&self.token_after(n).kind, TokenKind::Word { value, quoted: false } if value.eq_ignore_ascii_case(word))
    }

    fn peek_is(&self, word: &str) -> bool {
        self.is_word_after(0, word)
    }

    fn peek_all(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, word)| self.is_word_after(i, word))
    }

    fn is_symbol_after(&self, n: usize, symbol: &str) -> bool {
        let token = self.token_after(n);
        token.kind == TokenKind::Symbol && self.text_of(token) == symbol
    }

    fn peek_symbol(&self, symbol: &str) -> bool {
        self.is_symbol_after(0, symbol)
    }

    fn accept(&mut self, word: &str) -> bool {
        self.accept_all(&[word])
    }

    fn accept_all(&mut self, words: &[&str]) -> bool {
        let found = self.peek_all(words);
        if found {
            words.iter().for_each(|_| self.advance());
        }
        found
    }

    fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = self.peek_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    /// Takes `word` (true), or `otherwise`, the default that may be left out (false).
    fn choose(&mut self, word: &str, otherwise: &str) -> bool {
        let chosen = self.accept(word);
        if !chosen {
            self.accept(otherwise);
        }
        chosen
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.unexpected(&format!("`{word}`"))) }
    }

    fn expect_all(&mut self, words: &[&str]) -> Result<()> {
        words.iter().try_for_each(|word| self.expect(word))
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// After an item of a list in parentheses: whether another follows.
    fn list_goes_on(&mut self) -> Result<bool> {
        if self.accept_symbol(",") {
            if self.peek_symbol(")") {
                return Err(Error::invalid("a comma before `)` has nothing behind it")
                    .hint("remove the comma")
                    .at(self.at()));
            }
            return Ok(true);
        }
        if self.accept_symbol(")") { Ok(false) } else { Err(self.unexpected("`,` or `)`")) }
    }

    fn at_statement_end(&self) -> bool {
        self.peek_symbol(";") || self.token().kind == TokenKind::End
    }

    // Names and constants.

    /// A name: any word that is not reserved, or a back-quoted one.
    fn ident(&mut self, what: &str) -> Result<Ident> {
        let token = self.token();
        match &token.kind {
            TokenKind::Word { value, quoted } => {
                if !quoted {
                    let upper = value.to_uppercase();
                    if RESERVED.binary_search(&upper.as_str()).is_ok() {
                        let error = Error::invalid(format!("expected {what} but found the reserved word `{value}`"));
                        let hint = if what == "an expression" && habits::joins_expressions(&upper) {
                            format!("write an expression before {upper}, or remove what wants one")
                        } else {
                            format!("if it is meant as a name, write it in back-quotes: `{value}`")
                        };
                        return Err(error.hint(hint).at(token.at));
                    }
                    self.note_reserved(&upper, value, token.at);
                }
                self.advance();
                Ok(Ident { name: value.clone(), at: token.at })
            }
            TokenKind::Text(value) => Err(Error::invalid(format!("expected {what} but found the text '{value}'"))
                .hint(format!("names stand in back-quotes or bare: `{value}`"))
                .at(token.at)),
            _ => Err(self.unexpected(what)),
        }
    }

    fn note_reserved(&mut self, upper: &str, written: &str, at: Position) {
        if RESERVED_IN_FLINK.binary_search(&upper).is_ok() {
            self.note(format!("`{written}` is reserved in Flink: write it in back-quotes"), at);
        }
    }

    fn note(&mut self, message: String, at: Position) {
        self.notes.push(Note { message, at });
    }

    fn idents(&mut self, what: &str) -> Result<Vec<Ident>> {
        self.expect_symbol("(")?;
        let mut idents = vec![self.ident(what)?];
        while self.list_goes_on()? {
            idents.push(self.ident(what)?);
        }
        Ok(idents)
    }

    fn object_name(&mut self, what: &str) -> Result<ObjectName> {
        let mut parts = vec![self.ident(what)?];
        while self.accept_symbol(".") {
            parts.push(self.ident(what)?);
        }
        if parts.len() > 3 {
            return Err(Error::invalid("the name has more than three parts")
                .hint("a table is named catalog.database.table; a part that contains a dot stands in back-quotes")
                .at(parts[0].at));
        }
        Ok(ObjectName { parts })
    }

    fn text_literal(&mut self, what: &str) -> Result<String> {
        let token = self.token();
        match &token.kind {
            TokenKind::Text(value) => {
                self.advance();
                Ok(value.clone())
            }
            TokenKind::Word { value, .. } => Err(self.unexpected(what).hint(format!("write it in quotes: '{value}'"))),
            _ => Err(self.unexpected(what)),
        }
    }

    fn whole_number(&mut self, what: &str) -> Result<u32> {
        let token = self.token();
        if token.kind == TokenKind::Number
            && let Ok(number) = self.text_of(token).parse()
        {
            self.advance();
            return Ok(number);
        }
        Err(self.unexpected(what))
    }

    /// `('key' = 'value', …)`
    fn option_pairs(&mut self) -> Result<Vec<OptionPair>> {
        self.expect_symbol("(")?;
        let mut pairs: Vec<OptionPair> = Vec::new();
        if self.accept_symbol(")") {
            return Ok(pairs);
        }
        loop {
            let at = self.at();
            let key = self.text_literal("an option's key in quotes")?;
            self.expect_symbol("=")?;
            let value = self.text_literal("an option's value in quotes")?;
            if pairs.iter().any(|pair| pair.key == key) {
                return Err(Error::invalid(format!("option '{key}' is given twice"))
                    .hint("keep one of the two")
                    .at(at));
            }
            pairs.push(OptionPair { key, value, at });
            if !self.list_goes_on()? {
                return Ok(pairs);
            }
        }
    }

    fn with_options(&mut self) -> Result<Vec<OptionPair>> {
        if self.accept("WITH") { self.option_pairs() } else { Ok(Vec::new()) }
    }

    /// `/*+ OPTIONS('k' = 'v') */`, where one stands here.
    fn hints(&mut self) -> Result<Vec<OptionPair>> {
        if self.token().kind != TokenKind::HintOpen {
            return Ok(Vec::new());
        }
        self.advance();
        if !self.peek_is("OPTIONS") {
            return Err(self
                .unexpected("`OPTIONS`")
                .hint("the only hint accepted here is /*+ OPTIONS('key' = 'value') */"));
        }
        self.advance();
        let pairs = self.option_pairs()?;
        if self.token().kind != TokenKind::HintClose {
            return Err(self.unexpected("`*/`"));
        }
        self.advance();
        Ok(pairs)
    }

    fn job_name(&mut self) -> Result<JobName> {
        let token = self.token();
        let name = match &token.kind {
            TokenKind::Text(value) => value.clone(),
            TokenKind::Number => self.text_of(token).to_owned(),
            TokenKind::Word { .. } => {
                return self.ident("a job").map(|ident| JobName { name: ident.name, at: ident.at });
            }
            _ => return Err(self.unexpected("a job's name or id")),
        };
        self.advance();
        Ok(JobName { name, at: token.at })
    }

    fn if_not_exists(&mut self) -> Result<bool> {
        if !self.accept("IF") {
            return Ok(false);
        }
        self.expect_all(&["NOT", "EXISTS"])?;
        Ok(true)
    }

    fn if_exists(&mut self) -> Result<bool> {
        if !self.accept("IF") {
            return Ok(false);
        }
        self.expect("EXISTS")?;
        Ok(true)
    }

    fn comment(&mut self) -> Result<Option<String>> {
        if self.accept("COMMENT") { self.text_literal("a comment in quotes").map(Some) } else { Ok(None) }
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::invalid(format!("the statement nests deeper than {MAX_DEPTH} levels"))
                .hint("name parts of it with WITH or CREATE VIEW")
                .at(self.at()));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn check_chain(&self, links: usize) -> Result<()> {
        if links <= MAX_CHAIN {
            return Ok(());
        }
        Err(Error::invalid(format!("more than {MAX_CHAIN} operators in one chain"))
            .hint("split the statement, or put parts of the chain in parentheses")
            .at(self.at()))
    }

    // Errors.

    /// The next token as an error names it.
    fn shown(&self) -> String {
        let token = self.token();
        match &token.kind {
            TokenKind::End => "the end of the text".into(),
            TokenKind::Text(value) => format!("the text '{value}'"),
            _ => format!("`{}`", self.text_of(token)),
        }
    }

    /// That something else stands here than `expected`, whose back-quoted words are proposed where one is near.
    fn unexpected(&self, expected: &str) -> Error {
        let token = self.token();
        if token.kind == TokenKind::Broken
            && let Some(broken) = &self.lexed.error
        {
            return broken.error();
        }
        if self.at_statement_end() {
            let what = if token.kind == TokenKind::End { "the text ends" } else { "the statement ends" };
            let error =
                Error::invalid(format!("unfinished statement: {what} where {expected} is expected")).at(token.at);
            return match self.lexed.open_comment {
                Some(open) if token.kind == TokenKind::End => {
                    error.hint(format!("the comment opened at {open} is never closed: close it with */"))
                }
                _ => error.hint(format!("add {expected}")),
            };
        }
        let error = Error::invalid(format!("expected {expected} but found {}", self.shown())).at(token.at);
        if let Some(hint) = self.foreign_character() {
            return error.hint(hint);
        }
        let words: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        if let Some(near) = self.peek_word().and_then(|word| near(&word, words.iter().copied()).map(str::to_owned)) {
            return error.hint(format!("did you mean {near}?"));
        }
        match self.open_parenthesis() {
            Some(open) if words.contains(&")") => error.hint(format!("close the parenthesis that is opened at {open}")),
            _ => error.hint(format!("write {expected} before {}", self.shown())),
        }
    }

    /// What to write for a character that Flink's SQL has no use for.
    fn foreign_character(&self) -> Option<String> {
        let text = self.text_of(self.token());
        if let Some(plain) = full_width(text) {
            return Some(format!("this is a full-width character: write {plain}"));
        }
        let inner = text.strip_prefix('"')?.trim_end_matches('"');
        Some(format!("double quotes are not used: write '{inner}' for a text, `{inner}` for a name"))
    }

    /// Where the innermost parenthesis stands that is open here.
    fn open_parenthesis(&self) -> Option<Position> {
        let mut closed = 0;
        for token in self.lexed.tokens[..self.index].iter().rev().filter(|token| token.kind == TokenKind::Symbol) {
            match self.text_of(token) {
                ";" => return None,
                ")" => closed += 1,
                "(" if closed == 0 => return Some(token.at),
                "(" => closed -= 1,
                _ => {}
            }
        }
        None
    }

    /// That the statement should have ended here.
    fn trailing(&self) -> Error {
        let token = self.token();
        if token.kind == TokenKind::Broken {
            return self.unexpected("`;`");
        }
        let error = Error::invalid(format!("expected `;` but found {}", self.shown())).at(token.at);
        if let Some(hint) = self.foreign_character() {
            return error.hint(hint);
        }
        if self.text_of(token) == ")" {
            return error.hint("there is no `(` for it: remove it");
        }
        let before = self.index.checked_sub(1).map(|i| &self.lexed.tokens[i]);
        let upper = |token: &Token| self.text_of(token).to_uppercase();
        if let Some(remedy) = habits::remedy(&before.map(upper).unwrap_or_default(), &upper(token)) {
            return error.hint(remedy);
        }
        if let Some(Token { kind: TokenKind::Text(_), .. }) = before
            && matches!(&token.kind, TokenKind::Word { quoted: false, .. })
        {
            return error.hint("a quote inside a text is written twice: 'it''s'");
        }
        // A misspelt clause was taken for an alias just before, or stands here.
        let before = before.filter(|_| !CLAUSES.contains(&upper(token).as_str()));
        for candidate in [before, Some(token)].into_iter().flatten() {
            if let TokenKind::Word { value, quoted: false } = &candidate.kind {
                let upper = value.to_uppercase();
                if std::ptr::eq(candidate, token) && STATEMENTS.contains(&upper.as_str()) {
                    return error.hint(format!("end the statement before {upper} with `;`"));
                }
                let clause = CLAUSES.contains(&upper.as_str());
                if let Some(near) = near(&upper, CLAUSES.iter().copied()).filter(|_| !clause) {
                    return error.hint(format!("did you mean {near} instead of {value}?"));
                }
            }
        }
        error.hint("end the statement with `;`, or remove what follows")
    }
}

/// The plain character for one that Chinese input methods write instead.
fn full_width(text: &str) -> Option<char> {
    let first = text.chars().next()?;
    let pairs = [
        '，', ',', '；', ';', '（', '(', '）', ')', '‘', '\'', '’', '\'', '“', '"', '”', '"', '＝', '=', '。', '.',
        '：', ':',
    ];
    if let Some(i) = pairs.iter().step_by(2).position(|&wide| wide == first) {
        return Some(pairs[2 * i + 1]);
    }
    let code = first as u32;
    (0xff01..=0xff5e).contains(&code).then(|| char::from_u32(code - 0xfee0)).flatten()
}
