//! `INSERT`, statement sets, `UPDATE`, `DELETE`, `TRUNCATE`, `CHECK`, `SET`, `RESET` and jobs.

use gridhouse_base::{Error, Result};

use super::{Parser, TokenKind};
use crate::ast::{Assignment, Delete, Insert, OnConflict, SetPair, Statement, StopJob, Update};

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Result<Insert> {
        let at = self.at();
        let from = self.index();
        self.expect("INSERT")?;
        if self.peek_is("OVERWRITE") {
            return Err(Error::invalid("INSERT OVERWRITE is not supported yet")
                .hint("TRUNCATE TABLE or DELETE FROM the table, then INSERT INTO it")
                .at(self.at()));
        }
        if !self.accept("INTO") {
            return Err(self.unexpected("`INTO`"));
        }
        self.accept("TABLE");
        let table = self.object_name("a table's name")?;
        let hints = self.hints()?;
        if self.peek_is("PARTITION") {
            return Err(Error::invalid("INSERT … PARTITION (…) is not supported yet")
                .hint("give the partition column like any other column")
                .at(self.at()));
        }
        let columns =
            if self.peek_symbol("(") && !self.query_in_parentheses() { Some(self.idents("a column")?) } else { None };
        if self.peek_is("VALUE") {
            return Err(self.unexpected("`VALUES`"));
        }
        let query = match self.peek_word().unwrap_or_default().as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => self.query()?,
            _ if self.peek_symbol("(") => self.query()?,
            _ => return Err(self.unexpected("`SELECT`, `VALUES` or `WITH`")),
        };
        let on_conflict = self.on_conflict()?;
        Ok(Insert { table, hints, columns, query, on_conflict, at, text: self.text_since(from) })
    }

    fn on_conflict(&mut self) -> Result<Option<OnConflict>> {
        let at = self.at();
        if self.accept_all(&["ON", "DUPLICATE"]) {
            self.expect_all(&["KEY", "UPDATE"])?;
            self.note("Flink has no ON DUPLICATE KEY UPDATE: INSERT INTO a table with a key is an upsert".into(), at);
            return Ok(Some(OnConflict { keys: Vec::new(), update: Some(self.assignments()?), at }));
        }
        if !self.accept_all(&["ON", "CONFLICT"]) {
            return Ok(None);
        }
        self.note("Flink has no ON CONFLICT: INSERT INTO a table with a key is an upsert".into(), at);
        let keys = if self.peek_symbol("(") { self.idents("a key column")? } else { Vec::new() };
        self.expect("DO")?;
        if self.accept("NOTHING") {
            return Ok(Some(OnConflict { keys, update: None, at }));
        }
        self.expect_all(&["UPDATE", "SET"])?;
        Ok(Some(OnConflict { keys, update: Some(self.assignments()?), at }))
    }

    fn assignments(&mut self) -> Result<Vec<Assignment>> {
        let mut assignments = Vec::new();
        loop {
            let column = self.ident("a column")?;
            if self.peek_symbol(".") {
                return Err(self.unexpected("`=`").hint("name the column without its table"));
            }
            self.expect_symbol("=")?;
            assignments.push(Assignment { column, value: self.expr()? });
            if !self.accept_symbol(",") {
                return Ok(assignments);
            }
        }
    }

    /// `EXECUTE STATEMENT SET BEGIN … END`, or `EXECUTE` before an insert or a query.
    pub(super) fn execute(&mut self) -> Result<Statement> {
        self.expect("EXECUTE")?;
        match self.peek_word().unwrap_or_default().as_str() {
            "STATEMENT" => {
                self.expect_all(&["STATEMENT", "SET", "BEGIN"])?;
                self.accept_symbol(";");
                self.statement_set_body()
            }
            "INSERT" => self.insert().map(|insert| Statement::Insert(Box::new(insert))),
            "SELECT" | "WITH" | "VALUES" => Ok(Statement::Query(Box::new(self.query()?))),
            _ => Err(self.unexpected("`STATEMENT SET`, `INSERT` or `SELECT`")),
        }
    }

    pub(super) fn begin_statement_set(&mut self) -> Result<Statement> {
        self.expect_all(&["BEGIN", "STATEMENT", "SET"])?;
        if !self.peek_symbol(";") {
            return Err(self.unexpected("`;`"));
        }
        self.advance();
        self.statement_set_body()
    }

    pub(super) fn statement_set_body(&mut self) -> Result<Statement> {
        let mut inserts = Vec::new();
        loop {
            while self.accept_symbol(";") {}
            let at = self.at();
            if self.accept("END") {
                if inserts.is_empty() {
                    return Err(Error::invalid("the statement set is empty").hint("put an INSERT INTO between").at(at));
                }
                return Ok(Statement::StatementSet(inserts));
            }
            if !self.peek_is("INSERT") && self.token().kind != TokenKind::End {
                return Err(self.unexpected("`INSERT` or `END`").hint("a statement set holds INSERT statements only"));
            }
            if self.token().kind == TokenKind::End {
                return Err(self.unexpected("`END`"));
            }
            inserts.push(self.insert()?);
            if !self.peek_symbol(";") && !self.peek_is("END") {
                return Err(self.trailing());
            }
        }
    }

    pub(super) fn update(&mut self) -> Result<Statement> {
        self.expect("UPDATE")?;
        let table = self.object_name("a table's name")?;
        self.expect("SET")?;
        let assignments = self.assignments()?;
        if self.peek_is("FROM") {
            return Err(Error::invalid("UPDATE … FROM is not supported, as in Flink")
                .hint("write the joined rows with INSERT INTO … SELECT: into a table with a key it is an upsert")
                .at(self.at()));
        }
        let selection = if self.accept("WHERE") { Some(self.expr()?) } else { None };
        Ok(Statement::Update(Box::new(Update { table, assignments, selection })))
    }

    pub(super) fn delete(&mut self) -> Result<Statement> {
        self.expect_all(&["DELETE", "FROM"])?;
        let table = self.object_name("a table's name")?;
        let selection = if self.accept("WHERE") { Some(self.expr()?) } else { None };
        Ok(Statement::Delete(Box::new(Delete { table, selection })))
    }

    pub(super) fn truncate(&mut self) -> Result<Statement> {
        self.expect_all(&["TRUNCATE", "TABLE"])?;
        self.object_name("a table's name").map(Statement::Truncate)
    }

    pub(super) fn check(&mut self) -> Result<Statement> {
        self.expect("CHECK")?;
        if self.accept("TABLES") {
            return Ok(Statement::Check(None));
        }
        self.expect("TABLE")?;
        self.object_name("a table's name").map(|name| Statement::Check(Some(name)))
    }

    pub(super) fn stop_job(&mut self) -> Result<Statement> {
        self.expect_all(&["STOP", "JOB"])?;
        let mut stop = StopJob { job: self.job_name()?, savepoint: false, drain: false };
        while self.accept("WITH") {
            match self.peek_word().unwrap_or_default().as_str() {
                "SAVEPOINT" => stop.savepoint = true,
                "DRAIN" => stop.drain = true,
                _ => return Err(self.unexpected("`SAVEPOINT` or `DRAIN`")),
            }
            self.advance();
        }
        Ok(Statement::StopJob(stop))
    }

    pub(super) fn start_job(&mut self) -> Result<Statement> {
        self.expect_all(&["START", "JOB"])?;
        self.job_name().map(Statement::StartJob)
    }

    pub(super) fn replace_job(&mut self) -> Result<Statement> {
        self.expect_all(&["REPLACE", "JOB"])?;
        let mut job = None;
        if !self.peek_is("INSERT") && !self.peek_is("EXECUTE") && !self.peek_all(&["BEGIN", "STATEMENT"]) {
            job = Some(self.job_name()?);
            self.expect("AS")?;
        }
        let body = match self.peek_word().unwrap_or_default().as_str() {
            "INSERT" => Statement::Insert(Box::new(self.insert()?)),
            "EXECUTE" => self.execute()?,
            "BEGIN" => self.begin_statement_set()?,
            _ => return Err(self.unexpected("`INSERT` or `EXECUTE STATEMENT SET`")),
        };
        if let Statement::Query(query) = &body {
            return Err(Error::invalid("a job writes to a table").hint("write INSERT INTO …").at(query.at));
        }
        Ok(Statement::ReplaceJob { job, body: Box::new(body) })
    }

    /// `SET`, `SET 'key' = 'value'`, `SET key = value` with the value up to the semicolon.
    pub(super) fn set(&mut self) -> Result<Statement> {
        self.expect("SET")?;
        if self.at_statement_end() {
            return Ok(Statement::Set(None));
        }
        let at = self.at();
        let key = self.setting("=")?;
        if !self.accept_symbol("=") {
            return Err(self.unexpected("`=`").hint("write SET 'key' = 'value'"));
        }
        if self.at_statement_end() {
            return Err(self.unexpected("a value").hint(format!("write SET '{key}' = 'value', or RESET '{key}'")));
        }
        let value = self.setting(";")?;
        Ok(Statement::Set(Some(SetPair { key, value, at })))
    }

    pub(super) fn reset(&mut self) -> Result<Statement> {
        self.expect("RESET")?;
        if self.at_statement_end() {
            return Ok(Statement::Reset(None));
        }
        self.setting(";").map(|key| Statement::Reset(Some(key)))
    }

    /// One text literal, or the bare text up to `end` or the statement's end.
    fn setting(&mut self, end: &str) -> Result<String> {
        if let TokenKind::Text(value) = &self.token().kind {
            self.advance();
            return Ok(value.clone());
        }
        let from = self.index();
        while !self.at_statement_end() && !self.peek_symbol(end) {
            if self.token().kind == TokenKind::Broken {
                return Err(self.unexpected("a key or value"));
            }
            if self.index() > from && self.starts_a_line() {
                return Err(Error::invalid("the setting is not ended")
                    .hint("end the statement before this line with `;`")
                    .at(self.at()));
            }
            self.advance();
        }
        if from == self.index() {
            return Err(self.unexpected("a key or value"));
        }
        Ok(self.text_since(from))
    }

    /// Whether the next token stands on another line than the one before: then a `;` was forgotten.
    fn starts_a_line(&self) -> bool {
        self.index() > 0 && self.lexed.tokens[self.index() - 1].at.line < self.at().line
    }
}
