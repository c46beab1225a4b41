//! `solution.toml`: what a program must know of a solution to run, show and check it. The keys are explained in
//! `solutions/README.md`.

use gridhouse_base::error::nearest;
use gridhouse_base::{Error, Result};
use serde::Deserialize;

use crate::language::Language;

/// The layers, in the order in which a change travels.
pub const LAYERS: [&str; 4] = ["ODS", "DWD", "DWS", "ADS"];

/// What a solution is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The folder's name.
    pub name: String,
    name_en: String,
    name_zh: String,
    summary_en: String,
    summary_zh: String,
    /// The Fluss database of its tables, and the usual name of its source database.
    pub database: String,
    /// The size that `solution_fill` gets unless somebody says otherwise.
    pub size: u32,
    size_en: String,
    size_zh: String,
    /// The tables of the source.
    pub source: Vec<SourceTable>,
    /// ODS, DWD, DWS, ADS.
    pub layer: Vec<Layer>,
    /// The tables of the sink.
    pub board: Vec<Board>,
    /// The key figures.
    pub figure: Vec<Figure>,
    /// A change that passes every layer, to measure how long it takes.
    pub mark: Option<Mark>,
}

/// A table of the source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// Its name.
    pub table: String,
    title_en: String,
    title_zh: String,
}

/// The tables of a layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// One of [`LAYERS`].
    pub name: String,
    /// The tables in full: `fluss.grid.ods_devices`.
    pub tables: Vec<String>,
}

/// A table of the sink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name.
    pub table: String,
    /// The ADS table that feeds it.
    pub ads: String,
    /// Its key columns.
    pub key: Vec<String>,
    title_en: String,
    title_zh: String,
    /// A query on the sink that shows it to people.
    pub shown: String,
}

/// A key figure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    title_en: String,
    title_zh: String,
    unit_en: String,
    unit_zh: String,
    /// A query on the sink that gives one value.
    pub sql: String,
}

/// A change in the source that passes every layer, and the one that takes it back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    title_en: String,
    title_zh: String,
    /// The change, as SQL on the source.
    pub change: String,
    /// What takes it back.
    pub undo: String,
}

/// Gives a type with `title_en` and `title_zh` its title.
macro_rules! titled {
    ($($kind:ty),*) => {$(
        impl $kind {
            /// Its title.
            pub fn title(&self, language: Language) -> &str {
                language.pick(&self.title_en, &self.title_zh)
            }
        }
    )*};
}

titled!(SourceTable, Board, Figure, Mark);

impl Figure {
    /// Its unit; may be empty.
    pub fn unit(&self, language: Language) -> &str {
        language.pick(&self.unit_en, &self.unit_zh)
    }
}

impl Definition {
    /// The definition that `text` holds, the contents of the file `path`; `folder` is its folder's name.
    ///
    /// # Errors
    /// `Invalid` with line and column where a key is missing, unknown or of another type, or where names do not fit together.
    pub fn parse(text: &str, path: &str, folder: &str) -> Result<Self> {
        let definition: Self = toml::from_str(text).map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            Error::invalid(format!("{path}:{line}:{column}: {}", error.message()))
        })?;
        definition.check(folder).map_err(|error| error.context(path))?;
        Ok(definition)
    }

    fn check(&self, folder: &str) -> Result<()> {
        if self.name != folder {
            let error = Error::invalid(format!("`name` is `{}`, but the folder is called `{folder}`", self.name));
            return Err(error.hint("give both the same name"));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !self.database.starts_with(|c: char| c.is_ascii_lowercase()) || !self.database.chars().all(plain) {
            let error = Error::invalid(format!("`database` is `{}`", self.database));
            return Err(error.hint("take lower-case letters, digits and `_`, a letter first"));
        }
        let layers: Vec<&str> = self.layer.iter().map(|layer| layer.name.as_str()).collect();
        if layers != LAYERS {
            let error = Error::invalid(format!("the layers are {}", layers.join(", ")));
            return Err(error.hint(format!("they should be {}, in this order", LAYERS.join(", "))));
        }
        if let Some(table) = self.tables().find(|table| table.split('.').filter(|part| !part.is_empty()).count() != 3) {
            let error = Error::invalid(format!("the table `{table}` is not named in full"));
            return Err(error.hint(format!("write it as `fluss.{}.TABLE`", self.database)));
        }
        if self.source.is_empty() || self.board.is_empty() || self.layer.iter().any(|layer| layer.tables.is_empty()) {
            return Err(Error::invalid("the source, each layer and the boards need at least one table"));
        }
        for board in &self.board {
            let ads = &self.layer[LAYERS.len() - 1].tables;
            if !ads.contains(&board.ads) {
                let error = Error::invalid(format!(
                    "the board `{}` is fed by `{}`, which is no table of the layer ADS",
                    board.table, board.ads
                ));
                return Err(match nearest(&board.ads, ads.iter().map(String::as_str)) {
                    Some(name) => error.hint(format!("did you mean `{name}`?")),
                    None => error.hint(format!("it has {}", ads.join(", "))),
                });
            }
            if board.key.is_empty() {
                return Err(Error::invalid(format!("the board `{}` has no key columns", board.table)));
            }
        }
        Ok(())
    }

    /// The tables of every layer.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.layer.iter().flat_map(|layer| &layer.tables).map(String::as_str)
    }

    /// The title.
    pub fn title(&self, language: Language) -> &str {
        language.pick(&self.name_en, &self.name_zh)
    }

    /// One sentence.
    pub fn summary(&self, language: Language) -> &str {
        language.pick(&self.summary_en, &self.summary_zh)
    }

    /// What the size counts.
    pub fn size_unit(&self, language: Language) -> &str {
        language.pick(&self.size_en, &self.size_zh)
    }
}
