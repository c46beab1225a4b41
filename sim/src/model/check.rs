//! Comparing what a store shows with the model, by every way of reading.
//!
//! A wrong answer panics. A read that fails is returned: whether it may is for the caller to say.

use gridhouse_base::random::Random;
use gridhouse_base::{CommitId, ErrorKind, Result, Value};
use gridhouse_store::{Snapshot, TableKind, TableSnapshot};

use super::rows::{Key, NAMES, Projected, Row, SMALL_IDS, columns, from_values, project, projected, rows};
use super::scan::{PROJECTIONS, check_scans};
use super::table::{Entry, ModelTable};
use super::{Model, SPACE};

impl Model {
    /// Checks that `snapshot` shows exactly this; `random` chooses what is asked for.
    ///
    /// # Errors
    /// What the store gives.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self, snapshot: &Snapshot, random: &mut Random) -> Result<()> {
        assert_eq!(snapshot.as_of().0, self.as_of, "the snapshot reflects the right source commits");
        assert_eq!(snapshot.time_micros(), self.time_micros, "the snapshot has the tick's time");
        let mut names: Vec<String> = snapshot.tables().map(|t| t.spec().name.clone()).collect();
        names.retain(|name| !name.starts_with("sys."));
        names.sort();
        assert_eq!(names, self.tables.keys().cloned().collect::<Vec<_>>(), "the same tables exist");
        let list: Vec<(String, String)> = snapshot.list(SPACE).into_iter().map(|(k, v)| (k, v.to_string())).collect();
        assert_eq!(list, self.meta.clone().into_iter().collect::<Vec<_>>(), "the same metadata exists");
        let mut cursors: Vec<_> = snapshot.cursors().map(|(name, id, upto)| ((name.to_string(), id), upto.0)).collect();
        cursors.sort();
        assert_eq!(cursors, self.cursors.clone().into_iter().collect::<Vec<_>>(), "the same cursors exist");
        self.tables.iter().try_for_each(|(name, expected)| check_table(&snapshot.table_named(name)?, expected, random))
    }
}

/// Insists that two lists of rows, in any order, are equal, and names what one has and the other has not.
///
/// # Panics
/// If they differ.
pub fn assert_rows<R: Ord + Clone + std::fmt::Debug>(found: &[R], expected: &[R], what: &str) {
    assert_between(found, expected, expected, what);
}

/// Insists that `found` has all rows of `required`, and none but those of `possible`.
fn assert_between<R: Ord + Clone + std::fmt::Debug>(found: &[R], required: &[R], possible: &[R], what: &str) {
    let without = |rows: &[R], others: &[R]| {
        let mut others = others.to_vec();
        others.sort();
        let mut others = others.into_iter().peekable();
        let mut rows = rows.to_vec();
        rows.sort();
        rows.retain(|row| {
            while others.next_if(|other| other < row).is_some() {}
            others.next_if_eq(row).is_none()
        });
        rows
    };
    let (missing, extra) = (without(required, found), without(found, possible));
    assert!(missing.is_empty() && extra.is_empty(), "{what}: missing {missing:?}, too many {extra:?}");
}

/// Checks that `table` shows exactly the rows of `expected`: by scans, by key and by its log.
///
/// # Errors
/// What the store gives.
///
/// # Panics
/// If it does not.
pub fn check_table(table: &TableSnapshot, expected: &ModelTable, random: &mut Random) -> Result<()> {
    let name = &table.spec().name;
    assert_eq!(table.id(), expected.id, "table {name} is the one that was created last");
    let start = table.log_start().0;
    let (required, possible) = (expected.required(start), expected.sorted());
    let mut found: Vec<Row> = Vec::new();
    for batch in table.scan(None) {
        found.extend(rows(batch?.columns()));
    }
    assert_between(&found, &required, &possible, &format!("table {name} has the rows of the model"));
    assert_eq!(table.row_count(), found.len() as u64, "table {name} counts its rows");
    assert_eq!(table.storage().live_rows, found.len() as u64, "table {name} tells how many rows it has");
    check_scans(table, &found, random)?;
    if expected.kind == TableKind::PrimaryKey {
        check_lookups(table, expected, random)?;
    }
    check_log(table, expected, random)?;
    check_lag(table, expected, random);
    Ok(())
}

/// What a check of all tables finds wrong.
///
/// # Errors
/// What the store gives.
pub fn faults(snapshot: &Snapshot) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for table in snapshot.tables() {
        let name = table.spec().name.clone();
        let parts = table.check()?.into_iter();
        faults.extend(parts.filter_map(|part| Some(format!("table {name}, {}: {}", part.what, part.fault?))));
    }
    Ok(faults)
}

/// Every key is found that has a row, and no other.
fn check_lookups(table: &TableSnapshot, expected: &ModelTable, random: &mut Random) -> Result<()> {
    let spec = table.spec();
    let mut keys: Vec<Row> =
        (0..SMALL_IDS as i64).flat_map(|id| NAMES.map(|name| (id, Some(name.to_string()), None))).collect();
    if random.chance(0.5) {
        keys = (0..1 + random.below(6)).map(|_| random.pick(&keys).clone()).collect();
    }
    if expected.keyed.len() > keys.len() {
        let there: Vec<&Row> = expected.keyed.values().collect();
        keys.extend((0..100).map(|_| (*random.pick(&there)).clone()));
    }
    let hit = |key: &Row| expected.keyed.get(&expected.key(key)).cloned();
    let projection = *random.pick(&PROJECTIONS);
    let listed = projection.unwrap_or(&[0, 1, 2]);
    let (positions, hits) = table.get_columns(&columns(&keys, Some(&spec.primary_key)), projection)?;
    let expected_hits: Vec<(u32, Projected)> =
        keys.iter().enumerate().filter_map(|(i, key)| hit(key).map(|row| (i as u32, project(&row, listed)))).collect();
    let hits: Vec<(u32, Projected)> = positions.into_iter().zip(projected(hits.columns(), listed)).collect();
    assert_eq!(hits, expected_hits, "table {} finds columns {listed:?} of rows by key", spec.name);
    let key = random.pick(&keys);
    let value = |column: &usize| match column {
        0 => Value::Integer(key.0),
        _ => Value::Text(key.1.clone().expect("drawn keys are whole").into()),
    };
    let values: Vec<Value> = spec.primary_key.iter().map(value).collect();
    let found = table.get(&values)?.map(|values| from_values(&values));
    assert_eq!(found, hit(key), "table {} finds {values:?}", spec.name);
    Ok(())
}

/// From where the log begins on it is whole; before that, it says so.
fn check_log(table: &TableSnapshot, expected: &ModelTable, random: &mut Random) -> Result<()> {
    let name = &table.spec().name;
    let start = table.log_start().0;
    assert!(start >= expected.begins, "the log of table {name} begins at {start}, but was cut at {}", expected.begins);
    if expected.kind == TableKind::Log && !expected.is_queue {
        assert_eq!(start, expected.begins, "the log of table {name} loses nothing by itself");
    }
    let last = expected.log.keys().next_back().copied().unwrap_or_default().max(start);
    for after in [start, start + random.below(last - start + 1)] {
        let mut found: Vec<(u64, Vec<Entry>)> = Vec::new();
        for run in table.changes(CommitId(after))? {
            let (commit, batch) = run?;
            let entries = batch.kinds.iter().copied().zip(rows(&batch.columns));
            match found.last_mut() {
                Some((last, all)) if *last == commit.0 => all.extend(entries),
                Some((last, _)) => {
                    assert!(commit.0 > *last, "table {name} has its log in order");
                    found.push((commit.0, entries.collect()));
                }
                None => found.push((commit.0, entries.collect())),
            }
        }
        let expected: Vec<(u64, Vec<Entry>)> =
            expected.log.range(after + 1..).map(|(commit, entries)| (*commit, entries.to_vec())).collect();
        let in_order = |log: Vec<(u64, Vec<Entry>)>| -> Vec<(u64, Vec<Entry>)> {
            let sorted = |(commit, mut entries): (u64, Vec<Entry>)| {
                // Entries of one key keep their order; those of others may stand anywhere.
                entries.sort_by_key(|(_, row)| order_key(table.spec().primary_key.as_slice(), row));
                (commit, entries)
            };
            log.into_iter().map(sorted).collect()
        };
        let (found, expected) = (in_order(found), in_order(expected));
        assert_eq!(found, expected, "the log of table {name} after {after}");
    }
    if start > 0 {
        let before = CommitId(random.below(start));
        let error = table.changes(before).err().unwrap_or_else(|| panic!("the log of {name} after {before} is gone"));
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    Ok(())
}

/// A reader is as far behind as there are entries that it has not read, and lost where some of them are gone.
fn check_lag(table: &TableSnapshot, expected: &ModelTable, random: &mut Random) {
    let name = &table.spec().name;
    let start = table.log_start().0;
    let last = expected.log.keys().next_back().copied().unwrap_or_default().max(start);
    let after = start + random.below(last - start + 1);
    let unread = || expected.log.range(after + 1..);
    let rows = unread().map(|(_, entries)| entries.len() as u64).sum::<u64>();
    let lag = table.lag(CommitId(after));
    let found = (lag.rows, lag.oldest.map(|commit| commit.0), lag.bytes > 0, lag.is_lost);
    let oldest = unread().next().map(|(commit, _)| *commit);
    assert_eq!(found, (rows, oldest, rows > 0, false), "how far a reader of {name} at {after} is behind");
    if start > 0 {
        let before = random.below(start);
        assert!(table.lag(CommitId(before)).is_lost, "a reader of {name} at {before} is lost, it begins at {start}");
    }
}

/// What decides the order of entries within a commit: the key, or the whole row of a log.
fn order_key(primary_key: &[usize], row: &Row) -> (Key, Option<i32>) {
    match primary_key.len() {
        0 => ((row.1.clone().unwrap_or_default(), row.0), row.2),
        1 => ((String::new(), row.0), None),
        _ => ((row.1.clone().unwrap_or_default(), row.0), None),
    }
}
