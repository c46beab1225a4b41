//! Queries and expressions as they are written.

use gridhouse_base::{Position, SqlType};

use super::{Ident, ObjectName, OptionPair};

/// A query: `[WITH …] body [ORDER BY …] [LIMIT …] [OFFSET …]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// `WITH name AS (query), …`
    pub with: Vec<Cte>,
    /// What is ordered and limited.
    pub body: QueryBody,
    /// `ORDER BY`
    pub order_by: Vec<OrderItem>,
    /// `LIMIT n` or `FETCH FIRST n ROWS ONLY`; `LIMIT ALL` is none.
    pub limit: Option<Expr>,
    /// `OFFSET n`
    pub offset: Option<Expr>,
    /// Where it starts.
    pub at: Position,
}

/// A common table expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Cte {
    /// Its name.
    pub name: Ident,
    /// `name (a, b)`; empty where not given.
    pub columns: Vec<Ident>,
    /// The query.
    pub query: Query,
}

/// What a query is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryBody {
    /// `SELECT …`
    Select(Box<Select>),
    /// `VALUES (…), (…)`
    Values(Vec<ValuesRow>),
    /// `TABLE t`
    Table(ObjectName),
    /// `(query)`
    Query(Box<Query>),
    /// `left UNION right`
    SetOperation {
        /// Which.
        operator: SetOperator,
        /// `ALL`
        all: bool,
        /// The left side.
        left: Box<QueryBody>,
        /// The right side.
        right: Box<QueryBody>,
        /// Where the operator stands.
        at: Position,
    },
}

/// One row of `VALUES`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValuesRow {
    /// The values.
    pub values: Vec<Expr>,
    /// Where the row starts.
    pub at: Position,
}

/// A set operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOperator {
    /// `UNION`
    Union,
    /// `INTERSECT`
    Intersect,
    /// `EXCEPT` or `MINUS`
    Except,
}

/// `SELECT …`
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// `DISTINCT`
    pub distinct: bool,
    /// The select list, never empty.
    pub items: Vec<SelectItem>,
    /// `FROM a, b`; empty for a query without tables.
    pub from: Vec<TableRef>,
    /// `WHERE`
    pub selection: Option<Expr>,
    /// `GROUP BY`; `None` where there is no such clause, empty for `GROUP BY ()`.
    pub group_by: Option<Vec<Expr>>,
    /// `HAVING`
    pub having: Option<Expr>,
    /// `WINDOW w AS (…), …`
    pub windows: Vec<NamedWindow>,
    /// Where it starts.
    pub at: Position,
}

/// One item of a select list.
#[derive(Clone, Debug, PartialEq)]
pub enum SelectItem {
    /// `*`
    Star(Position),
    /// `t.*`
    QualifiedStar(ObjectName),
    /// `expr [AS alias]`
    Expr {
        /// The expression.
        expr: Expr,
        /// The alias.
        alias: Option<Ident>,
    },
}

/// One item of `ORDER BY`.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderItem {
    /// The expression; a whole number is a position in the select list.
    pub expr: Expr,
    /// `DESC`
    pub descending: bool,
    /// `NULLS FIRST` (true), `NULLS LAST` (false).
    pub nulls_first: Option<bool>,
}

/// One item of `FROM`.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRef {
    /// What it is.
    pub kind: TableKind,
    /// `AS alias`
    pub alias: Option<Ident>,
    /// `alias (a, b)`; empty where not given.
    pub columns: Vec<Ident>,
    /// Where it starts.
    pub at: Position,
}

/// What an item of `FROM` is.
#[derive(Clone, Debug, PartialEq)]
pub enum TableKind {
    /// A table, view or common table expression.
    Named {
        /// Its name.
        name: ObjectName,
        /// `/*+ OPTIONS(…) */`
        hints: Vec<OptionPair>,
        /// `FOR SYSTEM_TIME AS OF expr`
        as_of: Option<Expr>,
    },
    /// `(query)` or `(VALUES …)`
    Query(Box<Query>),
    /// `LATERAL (query)`: a query that may name columns of the tables before it.
    Lateral(Box<Query>),
    /// `UNNEST(expr) [WITH ORDINALITY]`
    Unnest {
        /// The ARRAY or MAP.
        expr: Expr,
        /// `WITH ORDINALITY`
        ordinality: bool,
    },
    /// `a JOIN b …`
    Join(Box<Join>),
}

/// A join of two items of `FROM`.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// The left side.
    pub left: TableRef,
    /// The right side.
    pub right: TableRef,
    /// Which rows stay.
    pub kind: JoinType,
    /// `ON` or `USING`.
    pub condition: JoinCondition,
    /// Where the word `JOIN` clause starts.
    pub at: Position,
}

/// Which rows of a join stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinType {
    /// `[INNER] JOIN`
    Inner,
    /// `LEFT [OUTER] JOIN`
    Left,
    /// `RIGHT [OUTER] JOIN`
    Right,
    /// `FULL [OUTER] JOIN`
    Full,
    /// `CROSS JOIN` or a comma
    Cross,
}

/// The condition of a join.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinCondition {
    /// None: a cross join.
    None,
    /// `ON expr`
    On(Expr),
    /// `USING (a, b)`
    Using(Vec<Ident>),
    /// `NATURAL JOIN`
    Natural,
}

/// An expression as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it starts; for an operator, where the operator stands.
    pub at: Position,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `a`, `t.a`, `t.row.field`
    Name(Vec<Ident>),
    /// A constant.
    Literal(Literal),
    /// `a AND b AND …`
    And(Vec<Expr>),
    /// `a OR b OR …`
    Or(Vec<Expr>),
    /// `NOT a`
    Not(Box<Expr>),
    /// `-a`, `+a`
    Sign {
        /// `-`
        negative: bool,
        /// The operand.
        operand: Box<Expr>,
    },
    /// `a op b` with an arithmetic, comparison or text operator, named by its symbol (`<>` for `!=`).
    Binary {
        /// The operator's symbol.
        operator: &'static str,
        /// The left operand.
        left: Box<Expr>,
        /// The right operand.
        right: Box<Expr>,
    },
    /// `a IS [NOT] NULL/TRUE/FALSE/UNKNOWN`
    Is {
        /// The operand.
        operand: Box<Expr>,
        /// What it is compared with.
        what: IsWhat,
        /// `NOT`
        negated: bool,
    },
    /// `a IS [NOT] DISTINCT FROM b`
    IsDistinct {
        /// The left operand.
        left: Box<Expr>,
        /// The right operand.
        right: Box<Expr>,
        /// `NOT`
        negated: bool,
    },
    /// `a [NOT] BETWEEN [SYMMETRIC] low AND high`
    Between {
        /// The operand.
        operand: Box<Expr>,
        /// The lower bound.
        low: Box<Expr>,
        /// The upper bound.
        high: Box<Expr>,
        /// `NOT`
        negated: bool,
        /// `SYMMETRIC`
        symmetric: bool,
    },
    /// `a [NOT] IN (b, c)`
    InList {
        /// The operand.
        operand: Box<Expr>,
        /// The list, never empty.
        list: Vec<Expr>,
        /// `NOT`
        negated: bool,
    },
    /// `a [NOT] IN (query)`
    InQuery {
        /// The operand.
        operand: Box<Expr>,
        /// The query.
        query: Box<Query>,
        /// `NOT`
        negated: bool,
    },
    /// `EXISTS (query)`
    Exists(Box<Query>),
    /// `(query)` as a value
    Subquery(Box<Query>),
    /// `a [NOT] LIKE b [ESCAPE c]`, or `SIMILAR TO`
    Like {
        /// The operand.
        operand: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
        /// `ESCAPE`
        escape: Option<Box<Expr>>,
        /// `NOT`
        negated: bool,
        /// `SIMILAR TO`
        similar: bool,
    },
    /// `CASE [operand] WHEN … THEN … [ELSE …] END`
    Case {
        /// The operand that each `WHEN` is compared with.
        operand: Option<Box<Expr>>,
        /// `WHEN … THEN …`, never empty.
        branches: Vec<(Expr, Expr)>,
        /// `ELSE`
        otherwise: Option<Box<Expr>>,
    },
    /// `CAST(a AS t)`, `TRY_CAST(a AS t)`
    Cast {
        /// What is cast.
        input: Box<Expr>,
        /// The type wanted.
        to: SqlType,
        /// `TRY_CAST`
        safe: bool,
    },
    /// `name(args)` with everything that may follow.
    Call(Box<Call>),
    /// `ROW(a, b)` or `(a, b)`
    Row(Vec<Expr>),
    /// `ARRAY[a, b]`
    Array(Vec<Expr>),
    /// `MAP[k, v, …]`
    Map(Vec<Expr>),
    /// `a[b]`
    Index {
        /// The array or map.
        operand: Box<Expr>,
        /// The index or key.
        index: Box<Expr>,
    },
    /// `(a).field`
    Field {
        /// The row.
        operand: Box<Expr>,
        /// The field.
        name: Ident,
    },
}

/// What `IS` compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsWhat {
    /// `NULL`
    Null,
    /// `TRUE`
    True,
    /// `FALSE`
    False,
    /// `UNKNOWN`
    Unknown,
}

/// A constant as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `NULL`
    Null,
    /// `TRUE`, `FALSE`
    Boolean(bool),
    /// `1`, `1.5`, `1e3`
    Number(String),
    /// `'text'`
    Text(String),
    /// `X'0aff'`, the digits
    Hex(String),
    /// `DATE '…'`
    Date(String),
    /// `TIME '…'`
    Time(String),
    /// `TIMESTAMP '…'`
    Timestamp(String),
    /// `TIMESTAMP_LTZ '…'`
    TimestampLtz(String),
    /// `INTERVAL '1' DAY`, `INTERVAL -'1 10:00' DAY TO MINUTE`
    Interval {
        /// A minus sign before the text.
        negative: bool,
        /// The text.
        value: String,
        /// The first unit, upper-case singular.
        from: &'static str,
        /// `TO` unit.
        to: Option<&'static str>,
    },
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function's name, upper-case. Special forms are put into plain ones: `EXTRACT(DAY FROM x)` is `EXTRACT('DAY', x)`,
    /// `FLOOR(x TO DAY)` is `FLOOR('DAY', x)`, `TRIM(BOTH a FROM x)` is `TRIM('BOTH', a, x)`, `POSITION(a IN b)` is
    /// `POSITION(a, b)`, `TIMESTAMPDIFF(DAY, a, b)` is `TIMESTAMPDIFF('DAY', a, b)`.
    pub name: String,
    /// The name as written, with its place.
    pub written: Ident,
    /// The arguments.
    pub args: Vec<Expr>,
    /// `DISTINCT`
    pub distinct: bool,
    /// `COUNT(*)`
    pub star: bool,
    /// `FILTER (WHERE …)`
    pub filter: Option<Expr>,
    /// `OVER (…)`
    pub over: Option<Box<Over>>,
}

/// `OVER (PARTITION BY … ORDER BY … ROWS …)` or `OVER w`.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// A window of the `WINDOW` clause that this one is, or begins with.
    pub window: Option<Ident>,
    /// `PARTITION BY`
    pub partition_by: Vec<Expr>,
    /// `ORDER BY`
    pub order_by: Vec<OrderItem>,
    /// `ROWS …` or `RANGE …`
    pub frame: Option<Frame>,
    /// Where it starts.
    pub at: Position,
}

/// `ROWS BETWEEN a AND b`, `RANGE a`
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// `RANGE`, not `ROWS`.
    pub range: bool,
    /// Where the frame begins.
    pub start: FrameBound,
    /// Where it ends; the current row where not given.
    pub end: FrameBound,
    /// Where it stands in the text.
    pub at: Position,
}

/// An end of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameBound {
    /// `UNBOUNDED PRECEDING`
    UnboundedPreceding,
    /// `n PRECEDING`
    Preceding(Expr),
    /// `CURRENT ROW`
    CurrentRow,
    /// `n FOLLOWING`
    Following(Expr),
    /// `UNBOUNDED FOLLOWING`
    UnboundedFollowing,
}

/// `WINDOW name AS (…)`
#[derive(Clone, Debug, PartialEq)]
pub struct NamedWindow {
    /// Its name.
    pub name: Ident,
    /// What it is.
    pub over: Over,
}
