//! What a table's old rows tell, by which an update or delete is known to be of which row.
//!
//! PostgreSQL writes of an old row what the replica identity of the table says that holds it. Of partitions that is each leaf, for
//! itself: a new one begins with `DEFAULT`, whatever its root and its neighbours have. `pgoutput` publishes their changes under the
//! name of the root, and by the root it marks them (`O` for whole old rows, `K` for the others, which columns are part of them), though the
//! leaf wrote them: so the marks of a root say nothing. What does is the description of the leaf, which is sent behind that of
//! the root, before the first change of the leaf and again after each change of its definition.
//!
//! What always holds: a column that some leaf does not tell is told for none, since a change does not say which leaf it is of.

use std::collections::BTreeMap;

use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result};

use super::catalog::{OutsideTable, find};
use super::client::{ident, literal};
use super::pgoutput::{Cell, Lsn, OldRow, Relation, Tuple};

/// For how many partitions a message has a statement each; for more one statement sees to all of them.
const STATEMENTS: usize = 8;

/// What holds rows: a plain table, or a leaf of a partitioned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its number (oid).
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether its old rows are told with all columns (`REPLICA IDENTITY FULL`).
    pub tells_all: bool,
    /// The columns that its old rows tell, where it is not all of them.
    pub told: Vec<String>,
}

impl Holder {
    fn of(relation: &Relation) -> Self {
        let told = relation.columns.iter().filter(|column| column.is_identity);
        Self {
            oid: relation.oid,
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            tells_all: relation.tells_all,
            told: told.map(|column| column.name.clone()).collect(),
        }
    }

    fn tells(&self, column: &str) -> bool {
        self.tells_all || find(&self.told, column, |told| told).is_some()
    }

    fn key(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// The leaves of a root that the stream has described, each with where that was.
#[derive(Default)]
pub(crate) struct Described(BTreeMap<u32, (Holder, Lsn)>);

impl Described {
    /// Takes in how `leaf` was described in the transaction that was committed at `at`.
    pub(crate) fn put(&mut self, leaf: &Relation, at: Lsn) {
        self.0.insert(leaf.oid, (Holder::of(leaf), at));
    }

    /// The holders of `table`, whose catalog was read as of `read_at`: what the stream has told since then is newer.
    pub(crate) fn holders<'a>(
        &'a self,
        table: &'a OutsideTable,
        read_at: Lsn,
    ) -> impl Iterator<Item = &'a Holder> + Clone {
        let newer = move |oid: &u32| self.0.get(oid).filter(|(_, at)| *at >= read_at).map(|(holder, _)| holder);
        let known = table.holders.iter().filter(move |holder| newer(&holder.oid).is_none());
        known.chain(self.0.keys().filter_map(newer))
    }
}

/// What the old rows of a relation of the stream tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// A column of the declared key that they do not, as its place among the key's.
    untold: Option<usize>,
    /// Whether they are whole, where the stream does not mark that.
    whole: Option<bool>,
}

impl Told {
    /// What a plain table tells, of the columns `key`: what `relation` says.
    pub(crate) fn by_relation(relation: &Relation, key: &[Option<usize>]) -> Self {
        let told = |attribute: &Option<usize>| attribute.is_none_or(|a| relation.columns[a].is_identity);
        Self { untold: key.iter().position(|attribute| !told(attribute)), whole: None }
    }

    /// What a partitioned table tells: what all of its holders do.
    pub(crate) fn by_holders<'a>(
        holders: impl Iterator<Item = &'a Holder>,
        relation: &Relation,
        key: &[Option<usize>],
    ) -> Self {
        let mut all = Self { untold: None, whole: Some(true) };
        for holder in holders.filter(|holder| !holder.tells_all) {
            all.whole = Some(false);
            let told = |attribute: &Option<usize>| attribute.is_none_or(|a| holder.tells(&relation.columns[a].name));
            all.untold = all.untold.or_else(|| key.iter().position(|attribute| !told(attribute)));
        }
        all
    }

    /// The place of a column of the key that `old` does not tell, which [`Told::of`] says of it.
    pub(crate) fn lacks(self, key: &[Option<usize>], old: Option<(&Tuple, OldRow)>) -> Option<usize> {
        let untold = self.untold?;
        let is_there = |attribute: &Option<usize>| {
            let cell = |a: usize| old.and_then(|(tuple, _)| tuple.cells.get(a));
            attribute.is_none_or(|a| matches!(cell(a), Some(Cell::Text(_))))
        };
        match old {
            Some((_, OldRow::Whole)) => None,
            // Some leaf does not tell it; the one that this row is of does, where it is there.
            _ if key.iter().all(is_there) => None,
            _ => Some(untold),
        }
    }

    /// What an old row tells that is marked as `marked`.
    pub(crate) fn of(self, marked: OldRow) -> OldRow {
        match self.whole {
            Some(true) => OldRow::Whole,
            Some(false) => OldRow::Key,
            None => marked,
        }
    }
}

/// Old rows must tell what deletes and updates need: the declared key, or the whole row where there is none.
///
/// # Errors
/// `Invalid`, with the statements that set it right.
pub(crate) fn check<'a>(
    definition: &TableDef,
    table: &OutsideTable,
    holders: impl Iterator<Item = &'a Holder> + Clone,
) -> Result<()> {
    // Metadata is known of every row.
    let is_column = |i: &&usize| !matches!(definition.column_kinds[**i], ColumnKind::Metadata { .. });
    let key = definition.primary_key.iter().filter(is_column).map(|&i| definition.schema.columns[i].name.as_str());
    if definition.primary_key.is_empty() {
        let lacking: Vec<&Holder> = holders.filter(|holder| !holder.tells_all).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let declare = match table.primary_key.as_slice() {
            [] => String::new(),
            key => format!("; or declare PRIMARY KEY ({}) NOT ENFORCED", key.join(", ")),
        };
        let whose = match (table.partitioned, lacking.len()) {
            (false, _) => "its replica identity does".to_owned(),
            (true, 1) => partitions(&lacking) + " does",
            (true, _) => partitions(&lacking) + " do",
        };
        return Err(Error::invalid(format!(
            "table {} is declared without a primary key, and {whose} not tell whole old rows",
            table.key()
        ))
        .hint(full_of(table, &lacking) + &declare));
    }
    for column in key {
        let lacking: Vec<&Holder> = holders.clone().filter(|holder| !holder.tells(column)).collect();
        if lacking.is_empty() {
            continue;
        }
        let which = match lacking.iter().all(|holder| holder.told.is_empty()) {
            true => "no replica identity",
            false => "a replica identity without it",
        };
        let whose = if table.partitioned { partitions(&lacking) + " of " } else { String::new() };
        let has = if lacking.len() == 1 { "has" } else { "have" };
        return Err(Error::invalid(format!(
            "the declared key column '{column}' is not told by deletes and updates: {whose}table {} {has} {which}",
            table.key()
        ))
        .hint(full_of(table, &lacking)));
    }
    Ok(())
}

fn partitions(holders: &[&Holder]) -> String {
    let [first, rest @ ..] = holders else { return "no partition".into() };
    match rest.len() {
        0 => format!("partition {}", first.key()),
        more => format!("partition {} and {more} more", first.key()),
    }
}

/// The statements that have those of `holders` tell whole old rows that do not.
pub(crate) fn full_where_lacking<'a>(table: &OutsideTable, holders: impl Iterator<Item = &'a Holder>) -> String {
    full_of(table, &holders.filter(|holder| !holder.tells_all).collect::<Vec<_>>())
}

/// The statement that has a plain table tell whole old rows.
pub(crate) fn full(schema: &str, name: &str) -> String {
    format!("ALTER TABLE {}.{} REPLICA IDENTITY FULL", ident(schema), ident(name))
}

/// The statements that have `holders` of `table` tell whole old rows.
fn full_of(table: &OutsideTable, holders: &[&Holder]) -> String {
    if holders.len() <= STATEMENTS {
        return holders.iter().map(|holder| full(&holder.schema, &holder.name)).collect::<Vec<_>>().join("; ");
    }
    let root = literal(&format!("{}.{}", ident(&table.schema), ident(&table.name)));
    format!(
        "DO $$ BEGIN EXECUTE (SELECT string_agg(format('ALTER TABLE %s REPLICA IDENTITY FULL', relid::regclass), '; ') \
         FROM pg_partition_tree({root}) JOIN pg_class ON oid = relid WHERE isleaf AND relkind = 'r'); END $$"
    )
}
