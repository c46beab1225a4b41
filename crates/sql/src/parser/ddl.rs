//! `CREATE …`, `DROP …`, `USE …`.

use gridhouse_base::{Error, Position, Result};

use super::Parser;
use crate::ast::{
    ColumnDef, ColumnDefKind, CreateCatalog, CreateDatabase, CreateTable, CreateView, Distribution, Drop, DropKind,
    Ident, LikeAction, LikeChoice, LikePart, Statement, TableLike, Watermark,
};

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        let at = self.at();
        self.expect("CREATE")?;
        if self.peek_all(&["OR", "REPLACE"]) || self.peek_all(&["OR", "ALTER"]) {
            let hint = "DROP it first, or use CREATE … IF NOT EXISTS";
            return Err(Error::invalid("CREATE OR REPLACE is not supported yet").hint(hint).at(at));
        }
        let temporary = self.accept("TEMPORARY");
        let word = self.peek_word().unwrap_or_default();
        if temporary && matches!(word.as_str(), "CATALOG" | "DATABASE") {
            return Err(Error::invalid(format!("a {word} cannot be temporary")).hint("remove TEMPORARY").at(at));
        }
        match word.as_str() {
            "TABLE" => self.create_table(temporary),
            "VIEW" => self.create_view(temporary),
            "CATALOG" => self.create_catalog(),
            "DATABASE" => self.create_database(),
            "FUNCTION" | "SYSTEM" | "MODEL" | "INDEX" | "MATERIALIZED" | "SCHEMA" | "ROLE" | "USER" => {
                let hint = match word.as_str() {
                    "SCHEMA" => "write CREATE DATABASE",
                    "MATERIALIZED" => "create a table and fill it with INSERT INTO … SELECT: it is kept up to date",
                    _ => "TABLE, VIEW, CATALOG and DATABASE can be created",
                };
                Err(Error::invalid(format!("CREATE {word} is not supported")).hint(hint).at(self.at()))
            }
            _ => Err(self.unexpected("`TABLE`, `VIEW`, `CATALOG` or `DATABASE`")),
        }
    }

    fn create_table(&mut self, temporary: bool) -> Result<Statement> {
        self.expect("TABLE")?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.object_name("a table's name")?;
        let mut table = CreateTable {
            temporary,
            if_not_exists,
            name,
            columns: Vec::new(),
            primary_key: None,
            watermark: None,
            comment: None,
            partitioned_by: Vec::new(),
            distribution: None,
            options: Vec::new(),
            like: None,
        };
        if self.accept_symbol("(") && !self.accept_symbol(")") {
            loop {
                self.table_element(&mut table)?;
                if !self.list_goes_on()? {
                    break;
                }
            }
        }
        table.comment = self.comment()?;
        if self.peek_is("DISTRIBUTED") {
            table.distribution = Some(self.distribution()?);
        }
        if self.accept("PARTITIONED") {
            self.expect("BY")?;
            table.partitioned_by = self.idents("a column")?;
        }
        table.options = self.with_options()?;
        if self.accept("LIKE") {
            table.like = Some(self.table_like()?);
        }
        if self.peek_is("AS") {
            return Err(Error::invalid("CREATE TABLE … AS SELECT is not supported yet")
                .hint("create the table with its columns, then INSERT INTO it")
                .at(self.at()));
        }
        if !self.at_statement_end() {
            for clause in ["COMMENT", "DISTRIBUTED", "PARTITIONED", "WITH"] {
                if self.peek_is(clause) {
                    let hint = "the order is: columns, COMMENT, DISTRIBUTED BY, PARTITIONED BY, WITH, LIKE";
                    return Err(Error::invalid(format!("{clause} stands in the wrong place")).hint(hint).at(self.at()));
                }
            }
        }
        Ok(Statement::CreateTable(Box::new(table)))
    }

    /// A column, a key or a watermark.
    fn table_element(&mut self, table: &mut CreateTable) -> Result<()> {
        let at = self.at();
        if self.peek_all(&["WATERMARK", "FOR"]) {
            self.expect_all(&["WATERMARK", "FOR"])?;
            let column = self.ident("a column")?;
            self.expect("AS")?;
            let from = self.index();
            let expr = self.expr()?;
            if table.watermark.is_some() {
                return Err(Error::invalid("a table has one watermark at most").hint("remove one").at(at));
            }
            table.watermark = Some(Watermark { column, expr, text: self.text_since(from) });
            return Ok(());
        }
        if self.peek_is("CONSTRAINT") || self.peek_all(&["PRIMARY", "KEY"]) {
            if self.accept("CONSTRAINT") {
                self.ident("a constraint's name")?;
            }
            self.expect_all(&["PRIMARY", "KEY"])?;
            let columns = self.idents("a key column")?;
            self.not_enforced(at)?;
            return set_key(table, columns, at);
        }
        if self.peek_is("UNIQUE") || self.peek_is("FOREIGN") || self.peek_is("CHECK") {
            let hint = "a table has a PRIMARY KEY (…) NOT ENFORCED and no other constraint";
            return Err(Error::invalid(format!("{} is not supported, as in Flink", self.shown())).hint(hint).at(at));
        }
        self.column_def(table)
    }

    fn column_def(&mut self, table: &mut CreateTable) -> Result<()> {
        let name = self.ident("a column's name")?;
        if self.accept("AS") {
            let from = self.index();
            let expr = self.expr()?;
            let text = self.text_since(from);
            let comment = self.comment()?;
            table.columns.push(ColumnDef { name, kind: ColumnDefKind::Computed { expr, text }, comment });
            return Ok(());
        }
        if self.peek_symbol(",") || self.peek_symbol(")") {
            return Err(Error::invalid(format!("column {name} has no type"))
                .hint(format!("write {name} STRING, or another type"))
                .at(name.at));
        }
        let sql_type = self.sql_type()?;
        let kind = if self.accept("METADATA") {
            let key = if self.accept("FROM") { Some(self.text_literal("a metadata key in quotes")?) } else { None };
            let is_virtual = self.accept("VIRTUAL");
            ColumnDefKind::Metadata { sql_type, key, is_virtual }
        } else {
            ColumnDefKind::Physical(sql_type)
        };
        let at = self.at();
        if self.peek_is("CONSTRAINT") {
            self.advance();
            self.ident("a constraint's name")?;
        }
        if self.accept_all(&["PRIMARY", "KEY"]) {
            self.not_enforced(at)?;
            set_key(table, vec![name.clone()], at)?;
        }
        for other in ["DEFAULT", "UNIQUE", "REFERENCES", "CHECK", "GENERATED", "AUTO_INCREMENT"] {
            if self.peek_is(other) {
                let hint = "a column has a type, NOT NULL, PRIMARY KEY NOT ENFORCED and a COMMENT";
                return Err(Error::invalid(format!("{other} is not supported, as in Flink")).hint(hint).at(self.at()));
            }
        }
        let comment = self.comment()?;
        table.columns.push(ColumnDef { name, kind, comment });
        Ok(())
    }

    fn not_enforced(&mut self, at: Position) -> Result<()> {
        if self.accept_all(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        if self.peek_is("ENFORCED") {
            let error = Error::invalid("a key cannot be ENFORCED, as in Flink");
            return Err(error.hint("write PRIMARY KEY (…) NOT ENFORCED").at(self.at()));
        }
        self.note("Flink wants NOT ENFORCED behind PRIMARY KEY".into(), at);
        Ok(())
    }

    fn distribution(&mut self) -> Result<Distribution> {
        let at = self.at();
        self.expect("DISTRIBUTED")?;
        let mut columns = Vec::new();
        if self.accept("BY") {
            if self.peek_is("RANGE") {
                return Err(Error::invalid("DISTRIBUTED BY RANGE is not supported").hint("use BY HASH").at(self.at()));
            }
            self.accept("HASH");
            columns = self.idents("a column")?;
        }
        let mut buckets = None;
        if self.accept("INTO") {
            buckets = Some(self.whole_number("a number of buckets")?);
            self.expect("BUCKETS")?;
        }
        Ok(Distribution { columns, buckets, at })
    }

    fn table_like(&mut self) -> Result<TableLike> {
        let name = self.object_name("a table's name")?;
        let mut choices = Vec::new();
        if self.accept_symbol("(") {
            while !self.accept_symbol(")") {
                choices.push(self.like_choice()?);
            }
        }
        Ok(TableLike { name, choices })
    }

    fn like_choice(&mut self) -> Result<LikeChoice> {
        let at = self.at();
        let action = match self.peek_word().unwrap_or_default().as_str() {
            "INCLUDING" => LikeAction::Including,
            "EXCLUDING" => LikeAction::Excluding,
            "OVERWRITING" => LikeAction::Overwriting,
            _ => return Err(self.unexpected("`INCLUDING`, `EXCLUDING` or `OVERWRITING`")),
        };
        self.advance();
        let part = match self.peek_word().unwrap_or_default().as_str() {
            "ALL" => LikePart::All,
            "CONSTRAINTS" => LikePart::Constraints,
            "GENERATED" => LikePart::Generated,
            "METADATA" => LikePart::Metadata,
            "OPTIONS" => LikePart::Options,
            "PARTITIONS" => LikePart::Partitions,
            "WATERMARKS" => LikePart::Watermarks,
            "DISTRIBUTION" => LikePart::Distribution,
            _ => {
                let parts = "`ALL`, `CONSTRAINTS`, `DISTRIBUTION`, `GENERATED`, `METADATA`, `OPTIONS`, `PARTITIONS` or `WATERMARKS`";
                return Err(self.unexpected(parts));
            }
        };
        self.advance();
        if action == LikeAction::Overwriting
            && matches!(part, LikePart::All | LikePart::Constraints | LikePart::Partitions)
        {
            let hint = "GENERATED, METADATA, OPTIONS and WATERMARKS can be overwritten";
            return Err(Error::invalid("this part cannot be overwritten, as in Flink").hint(hint).at(at));
        }
        Ok(LikeChoice { action, part, at })
    }

    fn create_view(&mut self, temporary: bool) -> Result<Statement> {
        self.expect("VIEW")?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.object_name("a view's name")?;
        let mut columns = Vec::new();
        if self.accept_symbol("(") {
            loop {
                columns.push(self.ident("a column's name")?);
                self.comment()?;
                if !self.list_goes_on()? {
                    break;
                }
            }
        }
        let comment = self.comment()?;
        self.expect("AS")?;
        let from = self.index();
        let query = self.query()?;
        let text = self.text_since(from);
        let view = CreateView { temporary, if_not_exists, name, columns, comment, query, text };
        Ok(Statement::CreateView(Box::new(view)))
    }

    fn create_catalog(&mut self) -> Result<Statement> {
        self.expect("CATALOG")?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.ident("a catalog's name")?;
        let comment = self.comment()?;
        let options = self.with_options()?;
        Ok(Statement::CreateCatalog(CreateCatalog { name, if_not_exists, comment, options }))
    }

    fn create_database(&mut self) -> Result<Statement> {
        self.expect("DATABASE")?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.database_name()?;
        let comment = self.comment()?;
        let options = self.with_options()?;
        Ok(Statement::CreateDatabase(CreateDatabase { name, if_not_exists, comment, options }))
    }

    fn database_name(&mut self) -> Result<crate::ast::ObjectName> {
        let name = self.object_name("a database's name")?;
        if name.parts.len() > 2 {
            let hint = "a database is named catalog.database or database";
            return Err(Error::invalid(format!("{name} has too many parts")).hint(hint).at(name.at()));
        }
        Ok(name)
    }

    pub(super) fn drop_statement(&mut self) -> Result<Statement> {
        self.expect("DROP")?;
        if self.accept("JOB") {
            let if_exists = self.if_exists()?;
            return Ok(Statement::DropJob { job: self.job_name()?, if_exists });
        }
        let temporary = self.accept("TEMPORARY");
        let kind = match self.peek_word().unwrap_or_default().as_str() {
            "TABLE" => DropKind::Table,
            "VIEW" => DropKind::View,
            "CATALOG" if !temporary => DropKind::Catalog,
            "DATABASE" if !temporary => DropKind::Database,
            _ if temporary => return Err(self.unexpected("`TABLE` or `VIEW`")),
            _ => return Err(self.unexpected("`TABLE`, `VIEW`, `CATALOG`, `DATABASE` or `JOB`")),
        };
        self.advance();
        let if_exists = self.if_exists()?;
        let name = match kind {
            DropKind::Table => self.object_name("a table's name")?,
            DropKind::View => self.object_name("a view's name")?,
            DropKind::Catalog => crate::ast::ObjectName { parts: vec![self.ident("a catalog's name")?] },
            DropKind::Database => self.database_name()?,
        };
        let cascade = self.accept("CASCADE");
        if !cascade {
            self.accept("RESTRICT");
        }
        Ok(Statement::Drop(Drop { kind, temporary, if_exists, name, cascade }))
    }

    pub(super) fn use_statement(&mut self) -> Result<Statement> {
        self.expect("USE")?;
        if self.accept("CATALOG") {
            return self.ident("a catalog's name").map(Statement::UseCatalog);
        }
        if self.peek_is("MODULES") {
            return Err(Error::invalid("USE MODULES is not supported")
                .hint("all functions are there always")
                .at(self.at()));
        }
        self.accept("DATABASE");
        self.database_name().map(Statement::Use)
    }
}

fn set_key(table: &mut CreateTable, columns: Vec<Ident>, at: Position) -> Result<()> {
    if table.primary_key.is_some() {
        let hint = "a key of several columns is written once: PRIMARY KEY (a, b) NOT ENFORCED";
        return Err(Error::invalid("the table has two primary keys").hint(hint).at(at));
    }
    table.primary_key = Some(columns);
    Ok(())
}
