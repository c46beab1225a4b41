//! `expected.sql`: the figures of the boards and the rows of the layers as queries on the source alone, one per heading
//! (`-- board: NAME`, `-- layer: NAME`, `-- rows: NAME`). The form is explained in `solutions/README.md`.

use gridhouse_base::error::nearest;
use gridhouse_base::{Error, Result};

use crate::solution::definition::Definition;

/// What a query gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All rows of a board.
    Board,
    /// The number of rows of a layer's table.
    Layer,
    /// All rows of a layer's table.
    Rows,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Board, Self::Layer, Self::Rows];

    fn word(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Layer => "layer",
            Self::Rows => "rows",
        }
    }
}

/// A query with its heading.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    kind: Kind,
    name: String,
    /// The line of the heading, from 1.
    pub line: usize,
    /// The SQL, without its `;`.
    pub sql: String,
}

/// All queries of the file.
#[derive(Debug)]
pub struct Expected(Vec<Query>);

impl Expected {
    /// Reads the file `path`, which holds `text`, and checks it against the solution's tables.
    ///
    /// # Errors
    /// `Invalid` with the line where a heading has no query or names nothing, or where a board or table has no heading.
    pub fn parse(text: &str, path: &str, definition: &Definition) -> Result<Self> {
        let mut queries: Vec<Query> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some((kind, name)) = heading(line) {
                let known: Vec<&str> = match kind {
                    Kind::Board => definition.board.iter().map(|board| board.table.as_str()).collect(),
                    Kind::Layer | Kind::Rows => definition.tables().collect(),
                };
                check_name(kind, &name, &known, &format!("{path}:{number}"))?;
                if let Some(first) = queries.iter().find(|query| query.kind == kind && query.name == name) {
                    let what =
                        format!("{path}:{number}: `-- {}: {name}` stands in line {} already", kind.word(), first.line);
                    return Err(Error::invalid(what));
                }
                queries.push(Query { kind, name, line: number, sql: String::new() });
            } else if let Some(query) = queries.last_mut() {
                query.sql.push_str(line);
                query.sql.push('\n');
            }
        }
        for query in &mut queries {
            query.sql.truncate(query.sql.trim_end().trim_end_matches(';').len());
            if !query.sql.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--")) {
                let what = format!("{path}:{}: `-- {}: {}` has no query", query.line, query.kind.word(), query.name);
                return Err(Error::invalid(what));
            }
        }
        let expected = Self(queries);
        for board in &definition.board {
            expected.needed(Kind::Board, &board.table).map_err(|error| error.context(path))?;
        }
        for table in definition.tables() {
            expected.needed(Kind::Layer, table).map_err(|error| error.context(path))?;
        }
        Ok(expected)
    }

    /// The query for a board or table.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Query> {
        self.0.iter().find(|query| query.kind == kind && query.name == name)
    }

    /// The query that every solution has.
    ///
    /// # Errors
    /// `Invalid` where it has not.
    pub fn needed(&self, kind: Kind, name: &str) -> Result<&Query> {
        self.find(kind, name).ok_or_else(|| {
            let error = Error::invalid(format!("there is no query for the {} `{name}`", kind.word()));
            error.hint(format!("add one below a line `-- {}: {name}`", kind.word()))
        })
    }
}

fn heading(line: &str) -> Option<(Kind, String)> {
    let words = line.trim().strip_prefix("--")?.trim_start();
    Kind::ALL.into_iter().find_map(|kind| {
        let name = words.strip_prefix(kind.word())?.trim_start().strip_prefix(':')?.trim();
        Some((kind, name.to_owned()))
    })
}

fn check_name(kind: Kind, name: &str, known: &[&str], place: &str) -> Result<()> {
    if known.contains(&name) {
        return Ok(());
    }
    let what = if kind == Kind::Board { "board" } else { "table of a layer" };
    let error = Error::invalid(format!("{place}: `{name}` is no {what} in solution.toml"));
    Err(match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("there are {}", known.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solution::folder::Folder;

    fn parse(change: impl Fn(String) -> String) -> Result<Expected> {
        let solution = Folder::built_in().open("first-chain").unwrap();
        Expected::parse(&change(solution.text("expected.sql").unwrap().to_owned()), "e.sql", &solution.definition)
    }

    #[test]
    fn every_board_and_table_has_its_query() {
        let expected = parse(|text| text).unwrap();
        let query = expected.needed(Kind::Layer, "fluss.grid.ods_devices").unwrap();
        assert_eq!(query.sql.trim(), "SELECT COUNT(*) FROM devices");
        assert!(expected.needed(Kind::Board, "region_board").unwrap().sql.ends_with("ORDER BY l.region"));
    }

    #[test]
    fn what_is_wrong_names_its_line_and_the_way_out() {
        let error = parse(|text| text.replace("-- board: region_board", "-- board: region_bord")).unwrap_err();
        assert!(error.message().contains("e.sql:4: `region_bord` is no board"), "{error}");
        assert_eq!(error.remedy(), Some("did you mean `region_board`?"));
        let error = parse(|text| text.replace("-- layer: fluss.grid.ods_alarms", "-- ")).unwrap_err();
        assert!(error.message().contains("no query for the layer `fluss.grid.ods_alarms`"), "{error}");
        let error = parse(|text| text + "\n-- rows: fluss.grid.dwd_alarms\n-- nothing\n;\n").unwrap_err();
        assert!(error.message().contains("has no query"), "{error}");
        let error = parse(|text| text + "\n-- layer: fluss.grid.ods_alarms\nSELECT 1;\n").unwrap_err();
        assert!(error.message().contains("stands in line"), "{error}");
    }
}
