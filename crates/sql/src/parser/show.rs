//! `SHOW …`, `DESCRIBE …`, `EXPLAIN …`.

use gridhouse_base::{Error, Result};

use super::Parser;
use crate::ast::{Explain, ObjectName, Pattern, Show, Statement};

impl Parser<'_> {
    pub(super) fn show(&mut self) -> Result<Statement> {
        self.expect("SHOW")?;
        let word = self.peek_word().unwrap_or_default();
        let at = self.at();
        self.advance();
        let show = match word.as_str() {
            "CATALOGS" => Show::Catalogs(self.pattern()?),
            "CURRENT" if self.accept("CATALOG") => Show::CurrentCatalog,
            "CURRENT" if self.accept("DATABASE") => Show::CurrentDatabase,
            "CURRENT" => return Err(self.unexpected("`CATALOG` or `DATABASE`")),
            "DATABASES" => {
                let catalog = if self.accept_from_or_in() { Some(self.ident("a catalog's name")?) } else { None };
                Show::Databases { catalog, like: self.pattern()? }
            }
            "TABLES" => Show::Tables { database: self.within()?, like: self.pattern()? },
            "VIEWS" => Show::Views { database: self.within()?, like: self.pattern()? },
            "COLUMNS" => {
                if !self.accept_from_or_in() {
                    return Err(self.unexpected("`FROM`"));
                }
                Show::Columns { table: self.object_name("a table's name")?, like: self.pattern()? }
            }
            "FUNCTIONS" => Show::Functions(self.pattern()?),
            "USER" if self.accept("FUNCTIONS") => Show::Functions(self.pattern()?),
            "JOBS" => Show::Jobs,
            "CREATE" if self.accept("TABLE") => Show::CreateTable(self.object_name("a table's name")?),
            "CREATE" if self.accept("VIEW") => Show::CreateView(self.object_name("a view's name")?),
            "CREATE" => return Err(self.unexpected("`TABLE` or `VIEW`")),
            "PARTITIONS" | "MODULES" | "FULL" | "PROCEDURES" | "JARS" | "INDEXES" => {
                let hint = "CATALOGS, DATABASES, TABLES, VIEWS, COLUMNS, FUNCTIONS, JOBS and CREATE TABLE can be shown";
                return Err(Error::invalid(format!("SHOW {word} is not supported yet")).hint(hint).at(at));
            }
            _ => {
                self.index -= usize::from(self.index > 0 && !word.is_empty());
                let things =
                    "`CATALOGS`, `DATABASES`, `TABLES`, `VIEWS`, `COLUMNS`, `FUNCTIONS`, `JOBS`, `CURRENT` or `CREATE`";
                return Err(self.unexpected(things));
            }
        };
        Ok(Statement::Show(show))
    }

    fn accept_from_or_in(&mut self) -> bool {
        self.accept("FROM") || self.accept("IN")
    }

    fn within(&mut self) -> Result<Option<ObjectName>> {
        if !self.accept_from_or_in() {
            return Ok(None);
        }
        let name = self.object_name("a database's name")?;
        if name.parts.len() > 2 {
            let hint = "a database is named catalog.database or database";
            return Err(Error::invalid(format!("{name} has too many parts")).hint(hint).at(name.at()));
        }
        Ok(Some(name))
    }

    fn pattern(&mut self) -> Result<Option<Pattern>> {
        let negated = self.accept("NOT");
        let ignore_case = self.peek_is("ILIKE");
        if self.accept("LIKE") || self.accept("ILIKE") {
            let text = self.text_literal("a pattern in quotes")?;
            return Ok(Some(Pattern { text, negated, ignore_case }));
        }
        if negated { Err(self.unexpected("`LIKE` or `ILIKE`")) } else { Ok(None) }
    }

    pub(super) fn describe(&mut self) -> Result<Statement> {
        self.advance();
        for other in ["CATALOG", "DATABASE", "JOB", "FUNCTION"] {
            if self.peek_is(other) && !self.is_symbol_after(1, ".") && !self.is_symbol_after(1, ";") {
                let hint = "tables and views can be described";
                return Err(Error::invalid(format!("DESCRIBE {other} is not supported yet")).hint(hint).at(self.at()));
            }
        }
        self.accept("EXTENDED");
        self.accept("TABLE");
        self.object_name("a table's name").map(Statement::Describe)
    }

    pub(super) fn explain(&mut self) -> Result<Statement> {
        self.expect("EXPLAIN")?;
        if self.accept("ANALYZE") {
            self.expect("JOB")?;
            return Ok(Statement::Explain(Explain::AnalyzeJob(self.job_name()?)));
        }
        let portability = self.accept("PORTABILITY");
        if !portability {
            if self.accept("PLAN") {
                self.expect("FOR")?;
            }
            while ["ESTIMATED_COST", "CHANGELOG_MODE", "JSON_EXECUTION_PLAN", "PLAN_ADVICE"]
                .iter()
                .any(|d| self.peek_is(d))
            {
                self.advance();
                self.accept_symbol(",");
            }
        }
        let body = self.explained()?;
        let explain = if portability { Explain::Portability(Box::new(body)) } else { Explain::Plan(Box::new(body)) };
        Ok(Statement::Explain(explain))
    }

    fn explained(&mut self) -> Result<Statement> {
        match self.peek_word().unwrap_or_default().as_str() {
            "INSERT" => Ok(Statement::Insert(Box::new(self.insert()?))),
            "EXECUTE" => self.execute(),
            "BEGIN" => self.begin_statement_set(),
            "STATEMENT" => {
                self.expect_all(&["STATEMENT", "SET", "BEGIN"])?;
                self.accept_symbol(";");
                self.statement_set_body()
            }
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(Statement::Query(Box::new(self.query()?))),
            _ if self.peek_symbol("(") => Ok(Statement::Query(Box::new(self.query()?))),
            _ => Err(self.unexpected("`SELECT`, `INSERT` or `EXECUTE STATEMENT SET`")),
        }
    }
}
