//! Drawn queries over four small tables: what the dialect has, in combinations that nobody would write.
//!
//! Queries are typed as they are drawn, so that nearly all of them can be bound. They stay within what PostgreSQL means by the
//! same text (see [`crate::psql`]): order of NULL is always said, ties cannot be seen, and no expression can fail.

mod expr;
mod query;

use crate::draws::Draws;

/// The tables: two with a key of one column, one with a key of two, one that keeps every row; and a view.
pub const TABLES: &str = "
CREATE TABLE t (id INT, a INT, b INT, s STRING, d DECIMAL(8, 2), x DOUBLE, f BOOLEAN, ts TIMESTAMP(3), dt DATE, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE u (k INT, s STRING, n BIGINT, a INT, d DECIMAL(6, 1), PRIMARY KEY (k, s) NOT ENFORCED);
CREATE TABLE v (id INT, a INT, s STRING, ts TIMESTAMP(3), g INT, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE l (a INT, s STRING, n BIGINT);
CREATE VIEW w AS SELECT a, s, COUNT(*) AS n FROM t GROUP BY a, s;";

/// The type of a drawn expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `INT`
    Int,
    /// `BIGINT`
    Big,
    /// `DECIMAL`
    Dec,
    /// `DOUBLE`
    Dbl,
    /// `STRING`
    Str,
    /// `BOOLEAN`
    Bool,
    /// `TIMESTAMP(3)`
    Ts,
    /// `DATE`
    Date,
}

/// All types, the simplest first.
const TYPES: [Type; 8] = [Type::Int, Type::Str, Type::Big, Type::Dec, Type::Bool, Type::Dbl, Type::Ts, Type::Date];

/// A column in scope.
#[derive(Clone, Debug)]
struct Column {
    /// How it is written.
    sql: String,
    /// Its type.
    of: Type,
}

/// A drawn relation.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The text.
    pub sql: String,
    /// The columns' types; they are called `c0`, `c1`, …
    pub types: Vec<Type>,
}

/// Draws one query.
pub struct Generator<'a> {
    draws: &'a mut Draws,
    /// Counts aliases, so that none hides another.
    aliases: usize,
    /// Common table expressions that may be named.
    named: Vec<(String, Vec<Type>)>,
}

/// A query of the tape that `draws` gives.
pub fn query(draws: &mut Draws) -> String {
    Generator { draws, aliases: 0, named: Vec::new() }.statement()
}

/// The parts of a query whose rows a predicate splits in three: select list with FROM, and the predicate.
pub fn partition(draws: &mut Draws) -> (String, String, String) {
    Generator { draws, aliases: 0, named: Vec::new() }.partition()
}

impl Generator<'_> {
    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("q{}", self.aliases)
    }

    /// The columns of the relation that is called `alias`.
    fn columns(alias: &str, names: &[(&str, Type)]) -> Vec<Column> {
        names.iter().map(|(name, of)| Column { sql: format!("{alias}.{name}"), of: *of }).collect()
    }
}

/// The columns of a table or view.
fn table_columns(table: &str) -> &'static [(&'static str, Type)] {
    use Type::{Big, Bool, Date, Dbl, Dec, Int, Str, Ts};
    match table {
        "t" => &[
            ("id", Int),
            ("a", Int),
            ("b", Int),
            ("s", Str),
            ("d", Dec),
            ("x", Dbl),
            ("f", Bool),
            ("ts", Ts),
            ("dt", Date),
        ],
        "u" => &[("k", Int), ("s", Str), ("n", Big), ("a", Int), ("d", Dec)],
        "v" => &[("id", Int), ("a", Int), ("s", Str), ("ts", Ts), ("g", Int)],
        "l" => &[("a", Int), ("s", Str), ("n", Big)],
        _ => &[("a", Int), ("s", Str), ("n", Big)],
    }
}
