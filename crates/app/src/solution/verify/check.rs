//! One solution under check: its two databases, the process that holds its layers, and what each of them says.

use std::time::Duration;

use gridhouse_base::{Error, Result};
use gridhouse_serve::Client as House;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::solution::database::{self, Databases, Row};
use crate::solution::definition::Board;
use crate::solution::expected::{Kind, Query};
use crate::solution::folder::Solution;
use crate::solution::generate::LOCK;
use crate::solution::verify::compare::{self, Column, Difference};

/// A solution with its connections. While it lives, the source stands still.
pub struct Check<'a> {
    /// What is checked.
    pub solution: &'a Solution,
    databases: &'a Databases,
    from: Client,
    to: Client,
}

/// Rows as they should be.
pub struct Wanted {
    /// The columns that are compared.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// The outcome of comparing rows.
pub struct Outcome {
    /// The columns that were compared.
    pub columns: Vec<Column>,
    /// Rows that the source says.
    pub wanted: usize,
    /// Rows that are there.
    pub found: usize,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

impl<'a> Check<'a> {
    /// Connects to both databases and makes the source stand still: waits for the steps that run, lets no other begin. The lock
    /// is released with the connection, however this ends.
    ///
    /// # Errors
    /// `Unavailable` where a database does not answer, or something else makes the source stand still for longer than
    /// `patience`.
    pub async fn begin(solution: &'a Solution, databases: &'a Databases, patience: Duration) -> Result<Self> {
        let Databases { source, sink } = databases;
        let (from, to) = (source.connect().await?, sink.connect().await?);
        let limit = patience.as_millis().clamp(1, i32::MAX as u128);
        let lock = format!("SET lock_timeout = {limit}; SELECT pg_advisory_lock({LOCK}); SET lock_timeout = 0");
        from.batch_execute(&lock).await.map_err(|error| {
            let failed = source.failed(&error);
            match error.code() {
                Some(&SqlState::LOCK_NOT_AVAILABLE) => failed.hint(
                    "another check or a very long step holds the source; wait for it, or give more time by --timeout",
                ),
                _ => failed,
            }
        })?;
        Ok(Self { solution, databases, from, to })
    }

    /// The rows that `query` gives in the source.
    ///
    /// # Errors
    /// With file and line where it does not run there.
    pub async fn wanted(&self, query: &Query) -> Result<Wanted> {
        let failed = |error| {
            let path = self.solution.path("expected.sql");
            self.databases.source.failed_in(&error, &path, query.line + 1, &query.sql)
        };
        let statement = self.from.prepare(&query.sql).await.map_err(failed)?;
        let columns = statement.columns().iter().map(|column| Column::new(column.name(), column.type_())).collect();
        let (_, rows) = database::rows(&self.from, &query.sql).await.map_err(failed)?;
        Ok(Wanted { columns, rows })
    }

    /// The number of rows that a layer's table should hold.
    ///
    /// # Errors
    /// As [`Check::wanted`]; `Invalid` where the query does not give one whole number.
    pub async fn wanted_count(&self, table: &str) -> Result<u64> {
        let query = self.solution.expected.needed(Kind::Layer, table)?;
        let Wanted { rows, .. } = self.wanted(query).await?;
        let count = match rows.as_slice() {
            [row] => row.first().filter(|_| row.len() == 1).and_then(|value| value.as_deref()?.parse().ok()),
            _ => None,
        };
        count.ok_or_else(|| {
            let place = format!("{}:{}", self.solution.path("expected.sql"), query.line);
            let error = Error::invalid(format!("{place}: the query for `{table}` does not give one number"));
            error.hint("it should be like SELECT COUNT(*) FROM …; rows go below a heading `-- rows:`")
        })
    }

    /// The number of rows of a table of the source.
    ///
    /// # Errors
    /// What the server says.
    pub async fn source_count(&self, table: &str) -> Result<u64> {
        let source = &self.databases.source;
        let count = source.value(&self.from, &format!("SELECT COUNT(*) FROM {table}")).await?;
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// The rows of a board in the sink, with the columns of `wanted`.
    ///
    /// # Errors
    /// `Invalid` where the board lacks one of the columns.
    pub async fn board_rows(&self, board: &Board, wanted: &Wanted) -> Result<Vec<Row>> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns: Vec<String> = wanted.columns.iter().map(|column| quoted(&column.name)).collect();
        let sql = format!("SELECT {} FROM {}", columns.join(", "), quoted(&board.table));
        let (_, rows) = database::rows(&self.to, &sql).await.map_err(|error| {
            let path = self.solution.path("expected.sql");
            let line = self.solution.expected.find(Kind::Board, &board.table).map_or(1, |query| query.line);
            self.databases.sink.failed(&error).context(format!("{path}:{line}: the board `{}`", board.table))
        })?;
        Ok(rows)
    }

    /// A board in the sink against the source.
    ///
    /// # Errors
    /// As [`Check::wanted`] and [`Check::board_rows`].
    pub async fn board(&self, board: &Board) -> Result<Outcome> {
        // Somebody may change the source by hand meanwhile: it is asked each time.
        let wanted = self.wanted(self.solution.expected.needed(Kind::Board, &board.table)?).await?;
        let found = self.board_rows(board, &wanted).await?;
        Ok(Outcome::of(wanted, &board.key, &found))
    }

    /// What can be compared row by row of a layer's table: its own query, or that of the board it feeds; `None` where there is
    /// only its count.
    ///
    /// # Errors
    /// As [`Check::wanted`].
    pub async fn layer_rows(&self, house: &mut House, table: &str) -> Result<Option<Outcome>> {
        let definition = &self.solution.definition;
        let board = definition.board.iter().find(|board| board.ads == table);
        let own = self.solution.expected.find(Kind::Rows, table);
        let query = match (own, board) {
            (Some(query), _) => query,
            (None, Some(board)) => self.solution.expected.needed(Kind::Board, &board.table)?,
            (None, None) => return Ok(None),
        };
        let wanted = self.wanted(query).await?;
        let path = quoted_path(table);
        let (there, _) = house.table(&format!("SELECT * FROM {path} LIMIT 0"))?;
        let lacks = wanted.columns.iter().find(|column| there.iter().all(|known| known.name != column.name));
        match lacks {
            // An ADS table may call its columns as it likes; a query of its own should know them.
            Some(_) if own.is_none() => return Ok(None),
            Some(column) => {
                let place = format!("{}:{}", self.solution.path("expected.sql"), query.line);
                return Err(Error::invalid(format!("{place}: the table {table} has no column `{}`", column.name)));
            }
            None => {}
        }
        let columns: Vec<String> = wanted.columns.iter().map(|column| quoted_name(&column.name)).collect();
        let found = house.rows(&format!("SELECT {} FROM {path}", columns.join(", ")))?;
        let key = board.map(|board| board.key.as_slice()).unwrap_or_default();
        Ok(Some(Outcome::of(wanted, key, &found)))
    }

    /// Begins a transaction in the source and makes a change in it.
    ///
    /// # Errors
    /// `Invalid` where the statement does not run; nothing is changed then.
    pub async fn change(&self, key: &str, sql: &str) -> Result<()> {
        let changed = self.from.batch_execute(&format!("BEGIN; {sql}")).await;
        match changed {
            Ok(()) => Ok(()),
            Err(error) => {
                self.roll_back().await?;
                let place = format!("{}: `mark.{key}`", self.solution.path("solution.toml"));
                Err(self.databases.source.failed(&error).context(place))
            }
        }
    }

    /// Commits what [`Check::change`] began.
    ///
    /// # Errors
    /// What the server says.
    pub async fn commit(&self) -> Result<()> {
        self.from.batch_execute("COMMIT").await.map_err(|error| self.databases.source.failed(&error))
    }

    /// Takes back what [`Check::change`] began.
    ///
    /// # Errors
    /// What the server says.
    pub async fn roll_back(&self) -> Result<()> {
        self.from.batch_execute("ROLLBACK").await.map_err(|error| self.databases.source.failed(&error))
    }
}

impl Outcome {
    fn of(wanted: Wanted, key: &[String], found: &[Row]) -> Self {
        let differences = compare::differences(&wanted.columns, key, &wanted.rows, found);
        Self { columns: wanted.columns, wanted: wanted.rows.len(), found: found.len(), differences }
    }

    /// Whether nothing differs.
    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }
}

/// A table's path as it stands in SQL.
pub fn quoted_path(table: &str) -> String {
    table.split('.').map(quoted_name).collect::<Vec<_>>().join(".")
}

fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
