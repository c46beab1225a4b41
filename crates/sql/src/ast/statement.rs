//! Statements as they are written.

use gridhouse_base::{Position, SqlType};

use super::{Expr, Ident, ObjectName, OptionPair, Query};

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `CREATE [TEMPORARY] TABLE …`
    CreateTable(Box<CreateTable>),
    /// `CREATE [TEMPORARY] VIEW … AS …`
    CreateView(Box<CreateView>),
    /// `CREATE CATALOG …`
    CreateCatalog(CreateCatalog),
    /// `CREATE DATABASE …`
    CreateDatabase(CreateDatabase),
    /// `USE CATALOG c`
    UseCatalog(Ident),
    /// `USE [c.]d`
    Use(ObjectName),
    /// `SHOW …`
    Show(Show),
    /// `DESCRIBE t`
    Describe(ObjectName),
    /// `EXPLAIN …`
    Explain(Explain),
    /// `SET`, or `SET key = value`
    Set(Option<SetPair>),
    /// `RESET`, or `RESET key`
    Reset(Option<String>),
    /// `DROP TABLE/VIEW/CATALOG/DATABASE …`
    Drop(Drop),
    /// `INSERT INTO …`
    Insert(Box<Insert>),
    /// `EXECUTE STATEMENT SET BEGIN … END` or `BEGIN STATEMENT SET; … END`
    StatementSet(Vec<Insert>),
    /// A query.
    Query(Box<Query>),
    /// `UPDATE t SET … WHERE …`
    Update(Box<Update>),
    /// `DELETE FROM t WHERE …`
    Delete(Box<Delete>),
    /// `TRUNCATE TABLE t`
    Truncate(ObjectName),
    /// `CHECK TABLE t`, or `CHECK TABLES` for all of them
    Check(Option<ObjectName>),
    /// `STOP JOB j`
    StopJob(StopJob),
    /// `START JOB j`
    StartJob(JobName),
    /// `DROP JOB [IF EXISTS] j`
    DropJob {
        /// The job.
        job: JobName,
        /// `IF EXISTS`
        if_exists: bool,
    },
    /// `REPLACE JOB [j AS] INSERT …`
    ReplaceJob {
        /// The job; without it, the one that writes to the target.
        job: Option<JobName>,
        /// An `Insert` or a `StatementSet`.
        body: Box<Statement>,
    },
}

/// `CREATE [TEMPORARY] TABLE …`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// `TEMPORARY`
    pub temporary: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The name.
    pub name: ObjectName,
    /// The columns in order.
    pub columns: Vec<ColumnDef>,
    /// `PRIMARY KEY (…) NOT ENFORCED`, at a column or at the table.
    pub primary_key: Option<Vec<Ident>>,
    /// `WATERMARK FOR column AS expression`
    pub watermark: Option<Watermark>,
    /// `COMMENT '…'`
    pub comment: Option<String>,
    /// `PARTITIONED BY (…)`
    pub partitioned_by: Vec<Ident>,
    /// `DISTRIBUTED BY (…) INTO n BUCKETS`
    pub distribution: Option<Distribution>,
    /// `WITH (…)`
    pub options: Vec<OptionPair>,
    /// `LIKE t (…)`
    pub like: Option<TableLike>,
}

/// A column of `CREATE TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// The name.
    pub name: Ident,
    /// How it comes to its value.
    pub kind: ColumnDefKind,
    /// `COMMENT '…'`
    pub comment: Option<String>,
}

/// How a declared column comes to its value.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnDefKind {
    /// `name type`
    Physical(SqlType),
    /// `name type METADATA [FROM 'key'] [VIRTUAL]`
    Metadata {
        /// The type.
        sql_type: SqlType,
        /// `FROM 'key'`; else the column's name.
        key: Option<String>,
        /// `VIRTUAL`
        is_virtual: bool,
    },
    /// `name AS expression`
    Computed {
        /// The expression.
        expr: Expr,
        /// Its text.
        text: String,
    },
}

/// `WATERMARK FOR column AS expression`
#[derive(Clone, Debug, PartialEq)]
pub struct Watermark {
    /// The row-time column.
    pub column: Ident,
    /// The expression.
    pub expr: Expr,
    /// Its text.
    pub text: String,
}

/// `DISTRIBUTED BY [HASH] (a, b) INTO n BUCKETS`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The columns; empty for `DISTRIBUTED INTO n BUCKETS`.
    pub columns: Vec<Ident>,
    /// `INTO n BUCKETS`
    pub buckets: Option<u32>,
    /// Where it starts.
    pub at: Position,
}

/// `LIKE t [(INCLUDING … EXCLUDING … OVERWRITING …)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLike {
    /// The table whose definition is taken.
    pub name: ObjectName,
    /// The choices in order.
    pub choices: Vec<LikeChoice>,
}

/// One choice of a `LIKE` clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LikeChoice {
    /// What is done with the part.
    pub action: LikeAction,
    /// The part.
    pub part: LikePart,
    /// Where it stands.
    pub at: Position,
}

/// What a `LIKE` choice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LikeAction {
    /// `INCLUDING`: taken; the same thing declared twice is an error.
    Including,
    /// `EXCLUDING`: left out.
    Excluding,
    /// `OVERWRITING`: taken; what is declared here wins.
    Overwriting,
}

/// A part of a table's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LikePart {
    /// `ALL`
    All,
    /// `CONSTRAINTS`
    Constraints,
    /// `GENERATED`
    Generated,
    /// `METADATA`
    Metadata,
    /// `OPTIONS`
    Options,
    /// `PARTITIONS`
    Partitions,
    /// `WATERMARKS`
    Watermarks,
    /// `DISTRIBUTION`
    Distribution,
}

/// `CREATE [TEMPORARY] VIEW …`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// `TEMPORARY`
    pub temporary: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The name.
    pub name: ObjectName,
    /// `(a, b)`; empty where not given.
    pub columns: Vec<Ident>,
    /// `COMMENT '…'`
    pub comment: Option<String>,
    /// The query.
    pub query: Query,
    /// The query's text.
    pub text: String,
}

/// `CREATE CATALOG c WITH (…)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateCatalog {
    /// The name.
    pub name: Ident,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// `COMMENT '…'`
    pub comment: Option<String>,
    /// `WITH (…)`
    pub options: Vec<OptionPair>,
}

/// `CREATE DATABASE [c.]d`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateDatabase {
    /// The name, one or two parts.
    pub name: ObjectName,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// `COMMENT '…'`
    pub comment: Option<String>,
    /// `WITH (…)`
    pub options: Vec<OptionPair>,
}

/// `SHOW …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `SHOW CATALOGS`
    Catalogs(Option<Pattern>),
    /// `SHOW CURRENT CATALOG`
    CurrentCatalog,
    /// `SHOW CURRENT DATABASE`
    CurrentDatabase,
    /// `SHOW DATABASES [FROM c]`
    Databases {
        /// The catalog.
        catalog: Option<Ident>,
        /// `LIKE`
        like: Option<Pattern>,
    },
    /// `SHOW TABLES [FROM [c.]d]`
    Tables {
        /// The database.
        database: Option<ObjectName>,
        /// `LIKE`
        like: Option<Pattern>,
    },
    /// `SHOW VIEWS [FROM [c.]d]`
    Views {
        /// The database.
        database: Option<ObjectName>,
        /// `LIKE`
        like: Option<Pattern>,
    },
    /// `SHOW COLUMNS FROM t`
    Columns {
        /// The table.
        table: ObjectName,
        /// `LIKE`
        like: Option<Pattern>,
    },
    /// `SHOW FUNCTIONS`
    Functions(Option<Pattern>),
    /// `SHOW JOBS`
    Jobs,
    /// `SHOW CREATE TABLE t`
    CreateTable(ObjectName),
    /// `SHOW CREATE VIEW v`
    CreateView(ObjectName),
}

/// `[NOT] LIKE 'pattern'` of a `SHOW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The SQL pattern: `%` any text, `_` any character.
    pub text: String,
    /// `NOT`
    pub negated: bool,
    /// `ILIKE`
    pub ignore_case: bool,
}

impl Pattern {
    /// Whether `name` is shown.
    pub fn shows(&self, name: &str) -> bool {
        let fold = |text: &str| if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        let (pattern, name): (Vec<char>, Vec<char>) =
            (fold(&self.text).chars().collect(), fold(name).chars().collect());
        matches(&pattern, &name) != self.negated
    }
}

/// SQL `LIKE` without escapes, going back only to the last `%`: linear in the product of the lengths.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '%' {
            back = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '_' || pattern[p] == name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((percent, from)) = back {
            back = Some((percent, from + 1));
            (p, n) = (percent + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '%')
}

/// `EXPLAIN …`
#[derive(Clone, Debug, PartialEq)]
pub enum Explain {
    /// `EXPLAIN [PLAN FOR] statement`: a query, an insert or a statement set.
    Plan(Box<Statement>),
    /// `EXPLAIN PORTABILITY statement`: what Flink would reject.
    Portability(Box<Statement>),
    /// `EXPLAIN ANALYZE JOB j`
    AnalyzeJob(JobName),
}

/// `SET key = value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where the key stands.
    pub at: Position,
}

/// `DROP …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop {
    /// What kind of object.
    pub kind: DropKind,
    /// `TEMPORARY`
    pub temporary: bool,
    /// `IF EXISTS`
    pub if_exists: bool,
    /// The name: up to three parts for tables and views, two for databases, one for catalogs.
    pub name: ObjectName,
    /// `CASCADE`; `RESTRICT` is the default.
    pub cascade: bool,
}

/// What `DROP` drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// `TABLE`
    Table,
    /// `VIEW`
    View,
    /// `CATALOG`
    Catalog,
    /// `DATABASE`
    Database,
}

/// `INSERT INTO t [(columns)] query`
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The target.
    pub table: ObjectName,
    /// `/*+ OPTIONS(…) */` behind the target.
    pub hints: Vec<OptionPair>,
    /// `(a, b)`
    pub columns: Option<Vec<Ident>>,
    /// The rows.
    pub query: Query,
    /// `ON DUPLICATE KEY UPDATE …` or `ON CONFLICT …`
    pub on_conflict: Option<OnConflict>,
    /// Where it starts.
    pub at: Position,
    /// Its text.
    pub text: String,
}

/// What an insert does with a key that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct OnConflict {
    /// `ON CONFLICT (a, b)`; empty where not given.
    pub keys: Vec<Ident>,
    /// `DO UPDATE SET …`; `None` for `DO NOTHING`.
    pub update: Option<Vec<Assignment>>,
    /// Where it stands.
    pub at: Position,
}

/// `column = expression`
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The column.
    pub column: Ident,
    /// The value.
    pub value: Expr,
}

/// `UPDATE t SET … WHERE …`
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The table.
    pub table: ObjectName,
    /// `SET`, never empty.
    pub assignments: Vec<Assignment>,
    /// `WHERE`
    pub selection: Option<Expr>,
}

/// `DELETE FROM t WHERE …`
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// The table.
    pub table: ObjectName,
    /// `WHERE`
    pub selection: Option<Expr>,
}

/// A job's name or id as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobName {
    /// The name or id.
    pub name: String,
    /// Where it stands.
    pub at: Position,
}

/// `STOP JOB j [WITH SAVEPOINT] [WITH DRAIN]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopJob {
    /// The job.
    pub job: JobName,
    /// `WITH SAVEPOINT`; every job can be started again from where it was, so this changes nothing here.
    pub savepoint: bool,
    /// `WITH DRAIN`
    pub drain: bool,
}
