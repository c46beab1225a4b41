//! Makes a solution's tables and functions, fills its source, and writes its script with the databases' names filled in.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use gridhouse_base::{Error, Result};
use tokio_postgres::Client;

use crate::language::Language;
use crate::solution::database::{Database, Databases};
use crate::solution::folder::Solution;
use crate::solution::generate::PROGRESS;
use crate::status::thousands;

/// A Fluss address at which nothing needs to be: the catalog is a name for the embedded store.
pub const FLUSS: &str = "fluss-coordinator:9123";

/// The functions that a source has.
const FUNCTIONS: [&str; 2] = ["solution_fill(integer, integer)", "solution_step(integer, bigint)"];

/// What is asked for.
pub struct Wanted<'a> {
    /// The size that `solution_fill` gets.
    pub size: u32,
    /// The seed of the first contents.
    pub seed: i32,
    /// Where the script is written.
    pub output: &'a Path,
    /// `host:port` of a Fluss cluster.
    pub fluss: &'a str,
    /// The language of what is said.
    pub language: Language,
}

/// Prepares `solution` in its databases.
///
/// # Errors
/// `Unavailable` where a database or the disk refuses; `Invalid` where the source does not allow logical decoding, or with file
/// and line where a file of the solution does not run.
pub async fn prepare(solution: &Solution, databases: &Databases, wanted: &Wanted<'_>) -> Result<()> {
    let Databases { source, sink } = databases;
    let client = source.connect().await?;
    let wal_level = source.value(&client, "SHOW wal_level").await?.unwrap_or_default();
    if wal_level != "logical" {
        let error = Error::invalid(format!("wal_level of the {} is {wal_level}, not logical", source.shown()));
        return Err(error.hint("run `ALTER SYSTEM SET wal_level = logical` there as superuser and restart the server"));
    }
    run_file(solution, "source.sql", source, &client).await?;
    functions(solution, source, &client).await?;
    client.batch_execute(PROGRESS).await.map_err(|error| source.failed(&error))?;
    let fill = format!("SELECT solution_fill({}, {})", wanted.size, wanted.seed);
    let filled = source.value(&client, &fill).await.map_err(|error| {
        error.context(format!("{}: solution_fill({}, {})", solution.path("source.sql"), wanted.size, wanted.seed))
    })?;
    // The planner knows nothing of fresh rows.
    client.batch_execute("ANALYZE").await.map_err(|error| source.failed(&error))?;
    let (name, definition, language) = (solution.name(), &solution.definition, wanted.language);
    match filled.as_deref() {
        Some("0") => {
            let first = &definition.source[0];
            let count = source.value(&client, &format!("SELECT COUNT(*) FROM {}", first.table)).await?;
            let count = thousands(&count.unwrap_or_default());
            match language {
                Language::English => {
                    println!("{name}: the {} holds rows already: {} {count}", source.shown(), first.title(language));
                }
                Language::Chinese => {
                    println!("{name}：源库 {} 已有数据：{} {count} 行", source.name(), first.title(language));
                }
            }
        }
        Some(rows) => {
            let (size, rows, unit) =
                (thousands(&wanted.size.to_string()), thousands(rows), definition.size_unit(language));
            match language {
                Language::English => println!("{name}: filled the {} with {size} {unit}, {rows} rows", source.shown()),
                Language::Chinese => println!("{name}：源库 {} 已写入 {size} {unit}，共 {rows} 行", source.name()),
            }
        }
        None => {
            let error = Error::invalid(format!("{}: solution_fill gave NULL", solution.path("source.sql")));
            return Err(error.hint("it should give the number of rows that it added"));
        }
    }
    let client = sink.connect().await?;
    run_file(solution, "sink.sql", sink, &client).await?;
    let text = script(solution.text("pipeline.sql")?, databases, wanted.fluss);
    if let Some(place) = left_open(&text) {
        let error = Error::invalid(format!("{}:{place}", solution.path("pipeline.sql")));
        return Err(error.hint("solutions/README.md lists the names that are filled in"));
    }
    let unwritable =
        |error| Error::unavailable(format!("{} cannot be written", wanted.output.display())).caused_by(error);
    write(&text, wanted.output).map_err(unwritable)
}

async fn run_file(solution: &Solution, file: &str, database: &Database, client: &Client) -> Result<()> {
    let sql = solution.text(file)?;
    let run = client.batch_execute(sql).await;
    run.map_err(|error| database.failed_in(&error, &solution.path(file), 1, sql))
}

/// Checks that the source has the functions that generator and filling call.
async fn functions(solution: &Solution, source: &Database, client: &Client) -> Result<()> {
    for function in FUNCTIONS {
        let found = source.value(client, &format!("SELECT to_regprocedure('{function}')")).await?;
        if found.is_none() {
            let error = Error::invalid(format!("{} defines no function {function}", solution.path("source.sql")));
            return Err(error.hint("solutions/README.md says what it does; see solutions/first-chain/source.sql"));
        }
    }
    Ok(())
}

/// The script with the databases' names in place of its `@…@`.
fn script(pipeline: &str, databases: &Databases, fluss: &str) -> String {
    let mut text = pipeline.replace("@FLUSS@", &fluss.replace('\'', "''"));
    for (prefix, database) in [("SOURCE", &databases.source), ("SINK", &databases.sink)] {
        let parts = [
            ("HOST", database.host().to_owned()),
            ("PORT", database.port().to_string()),
            ("USER", database.user().to_owned()),
            ("PASSWORD", database.password()),
            ("DATABASE", database.name().to_owned()),
        ];
        for (part, value) in parts {
            text = text.replace(&format!("@{prefix}_{part}@"), &value.replace('\'', "''"));
        }
    }
    text
}

/// The first `@NAME@` that nothing was filled into, as `line: …`.
fn left_open(text: &str) -> Option<String> {
    let is_name = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    (1..).zip(text.lines()).find_map(|(number, line)| {
        let pieces: Vec<&str> = line.split('@').collect();
        let inner = pieces.get(1..pieces.len().saturating_sub(1)).unwrap_or_default();
        inner.iter().find(|word| is_name(word)).map(|word| format!("{number}: nothing is filled in for @{word}@"))
    })
}

/// Writes the script, readable by the owner alone: it holds passwords.
fn write(text: &str, output: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(output)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solution::folder::Folder;

    #[test]
    fn every_script_gets_every_name_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("pipeline.sql");
        let databases = Databases {
            source: Database::parse("source", "postgres://u:it's@h1:6543/grid").unwrap(),
            sink: Database::parse("sink", "postgresql://v@h2/boards").unwrap(),
        };
        let folder = Folder::built_in();
        for solution in folder.open_all(&[]).unwrap() {
            let text = script(solution.text("pipeline.sql").unwrap(), &databases, FLUSS);
            assert_eq!(left_open(&text), None, "{}", solution.name());
            assert!(text.contains("'it''s'") && text.contains("jdbc:postgresql://h2:5432/boards"), "{text}");
            write(&text, &output).unwrap();
            assert_eq!(std::fs::read_to_string(&output).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_name_that_nothing_is_filled_into_is_found() {
        assert_eq!(left_open("a\n'@SOURCE_HOTS@'\n").as_deref(), Some("2: nothing is filled in for @SOURCE_HOTS@"));
        assert_eq!(left_open("-- @…@ is filled in; a@b.c and x@Y\n"), None);
    }
}
