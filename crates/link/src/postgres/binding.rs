//! What the contents of a table are of, kept with them.
//!
//! A stream tells of rows, and of little that is done to whole tables: another one that takes the name, one that leaves the
//! publication for a while, a column that is dropped and added again, values that `ALTER TABLE` writes anew. So the position of contents has
//! behind it how the outside tables stood when they were read, and each connection and each look compares that with how they stand.
//! What always holds: it is read before the contents are, so that what happens in between is seen as a difference.
//!
//! A column's values change without a word of the stream where another column takes its place (its number), where the labels of
//! an enum are renamed, and where `ALTER COLUMN … TYPE` has the table written anew. For the last the catalog's row of the column is
//! written anew (its `xmin`) *and* the table gets another file: the first alone is a new default or name, the second alone a
//! `TRUNCATE`, which the stream tells, or a `VACUUM FULL`, which changes nothing. Partitions have files of their own, and may come
//! and go each day: of a partitioned table the columns alone decide.
//!
//! What this does not see: attributes that are dropped from a composite type, whose values are read as text.

use std::collections::BTreeMap;

use gridhouse_base::table::{ColumnKind, TableDef};

use super::catalog::OutsideTable;
use super::publication::Publication;
use super::timeline::Place;

/// The outside tables that contents are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Their numbers (oid), each with that of its entry in the publication: another one where the table was taken out and put
    /// back, or the publication made anew; 0 where that is not known.
    pub entries: BTreeMap<u32, u32>,
    /// What earlier versions did not keep.
    pub marks: Option<Marks>,
}

/// More of how the outside stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Which transaction wrote the catalog's row of the publication, and with it what it publishes; 0 where that is not known.
    pub publication: u32,
    /// The mark of each table.
    pub tables: BTreeMap<u32, Mark>,
}

/// How an outside table stood, by numbers that are another one where that is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which columns the declared ones are, and the labels of their enums.
    pub columns: u32,
    /// Which transactions wrote the catalog's rows of these.
    pub written: u32,
    /// Its file; 0 of a partitioned table.
    pub file: u32,
    /// Its name, where the rows show it; else 0.
    pub name: u32,
}

/// Why contents are outdated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They are of other tables.
    Another,
    /// A table was out of the publication for a while.
    HeldAnew,
    /// The publication was changed, and may have left changes out for a while.
    Republished,
    /// Declared columns are others, or their values were changed by a statement that no stream tells of.
    Rewritten,
    /// The rows show another name.
    Renamed,
}

impl Binding {
    /// How the `outside` tables of `definition` stand now.
    pub(crate) fn of(definition: &TableDef, outside: &[OutsideTable], publication: &Publication) -> Self {
        let entry = |oid: u32| publication.tables.get(&oid).map_or(0, |entry| entry.number);
        let tables = outside.iter().map(|table| (table.oid, Mark::of(definition, table))).collect();
        Self {
            entries: outside.iter().map(|table| (table.oid, entry(table.oid))).collect(),
            marks: Some(Marks { publication: publication.written, tables }),
        }
    }

    /// Why contents of `self` are outdated where the tables stand as `now`. What is not known is not compared.
    pub(crate) fn change(&self, now: &Self, publication: &Publication) -> Option<Change> {
        if !self.entries.keys().eq(now.entries.keys()) {
            return Some(Change::Another);
        }
        // Earlier versions, which kept no marks, took the publication's own number for the entry of a schema.
        let of_schema = |before: u32| self.marks.is_none() && before == publication.oid;
        let is_anew = |(before, now): (&u32, &u32)| *now != 0 && before != now && !of_schema(*before);
        if self.entries.values().zip(now.entries.values()).any(is_anew) {
            return Some(Change::HeldAnew);
        }
        let (before, now) = (self.marks.as_ref()?, now.marks.as_ref()?);
        let pairs = || before.tables.values().zip(now.tables.values());
        if pairs().any(|(before, now)| before.is_rewritten(now)) {
            return Some(Change::Rewritten);
        }
        if pairs().any(|(before, now)| before.name != now.name) {
            return Some(Change::Renamed);
        }
        let both_known = before.publication != 0 && now.publication != 0;
        (both_known && before.publication != now.publication).then_some(Change::Republished)
    }

    /// The position of contents that were read at `place` from these tables: behind the place both numbers of each, of four bytes,
    /// ascending; then, in front of the marks, 0 (which no table has) and the publication's; then the four numbers of each mark.
    pub(crate) fn position(&self, place: Place) -> Vec<u8> {
        let mut bytes = place.position();
        if place.timeline.is_none() {
            return bytes;
        }
        let mut put = |number: u32| bytes.extend(number.to_be_bytes());
        self.entries.iter().for_each(|(oid, entry)| [*oid, *entry].into_iter().for_each(&mut put));
        if let Some(marks) = self.marks.as_ref().filter(|_| !self.entries.is_empty()) {
            [0, marks.publication].into_iter().for_each(&mut put);
            for Mark { columns, written, file, name } in marks.tables.values() {
                [*columns, *written, *file, *name].into_iter().for_each(&mut put);
            }
        }
        bytes
    }

    /// What contents at this position are of; `None` where that is not known.
    pub(crate) fn from_position(position: &[u8]) -> Option<Self> {
        let (numbers, _) = position.get(20..)?.as_chunks::<4>();
        let numbers: Vec<u32> = numbers.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
        let (pairs, _) = numbers.as_chunks::<2>();
        let tables = pairs.iter().take_while(|[oid, _]| *oid != 0).count();
        let entries: BTreeMap<u32, u32> = pairs[..tables].iter().map(|[oid, entry]| (*oid, *entry)).collect();
        let marks = pairs.get(tables).and_then(|[_, publication]| {
            let (marks, _) = numbers[2 * tables + 2..].as_chunks::<4>();
            let mark = |[columns, written, file, name]: &[u32; 4]| Mark {
                columns: *columns,
                written: *written,
                file: *file,
                name: *name,
            };
            let tables: BTreeMap<u32, Mark> = entries.keys().copied().zip(marks.iter().map(mark)).collect();
            (tables.len() == entries.len()).then_some(Marks { publication: *publication, tables })
        });
        (!entries.is_empty()).then_some(Self { entries, marks })
    }
}

impl Mark {
    fn of(definition: &TableDef, table: &OutsideTable) -> Self {
        let (mut columns, mut written, mut name) = (Vec::new(), Vec::new(), Vec::new());
        let text = |bytes: &mut Vec<u8>, text: &str| bytes.extend(text.bytes().chain([0]));
        for i in definition.physical() {
            if let ColumnKind::Metadata { key, .. } = &definition.column_kinds[i] {
                match key.as_str() {
                    "table_name" => text(&mut name, &table.name),
                    "schema_name" => text(&mut name, &table.schema),
                    _ => {}
                }
                continue;
            }
            let found = table.column(&definition.schema.columns[i].name);
            columns.extend(found.map_or(0, |column| column.number).to_be_bytes());
            text(&mut columns, found.and_then(|column| column.labels.as_deref()).unwrap_or_default());
            written.extend(found.map_or(0, |column| column.written).to_be_bytes());
        }
        let shown = if name.is_empty() { 0 } else { crc32c::crc32c(&name) };
        Self { columns: crc32c::crc32c(&columns), written: crc32c::crc32c(&written), file: table.file, name: shown }
    }

    fn is_rewritten(&self, now: &Self) -> bool {
        let has_other_file = now.file == 0 || self.file != now.file;
        self.columns != now.columns || self.written != now.written && has_other_file
    }
}

impl Change {
    /// What is said of the table that `name` calls, held by `publication`.
    pub(crate) fn told(self, publication: &str, name: &str) -> String {
        match self {
            Self::Another => {
                format!("table {name} is another one than before: it was replaced, or more or fewer match")
            }
            Self::HeldAnew => format!("publication '{publication}' did not hold table {name} for a while"),
            Self::Republished => {
                format!(
                    "publication '{publication}' was altered, and may have left out changes of table {name} for a while"
                )
            }
            Self::Rewritten => {
                format!("columns of table {name} were altered, and with them values that no change tells")
            }
            Self::Renamed => format!("table {name} is called otherwise than before, and its rows show the name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pgoutput::Lsn;
    use super::super::timeline::Timeline;
    use super::*;

    fn binding(marks: Option<Marks>) -> Binding {
        Binding { entries: BTreeMap::from([(7, 16_390), (16_384, 16_391)]), marks }
    }

    fn marks(mark: Mark) -> Option<Marks> {
        Some(Marks { publication: 700, tables: BTreeMap::from([(7, Mark::default()), (16_384, mark)]) })
    }

    #[test]
    fn positions_of_contents_tell_what_these_are_of() {
        let place = Place { lsn: Lsn(0x17_0000_0001), timeline: Some(Timeline { id: 3, begin: Lsn(5) }) };
        let mark = Mark { columns: 1, written: 2, file: 3, name: 4 };
        for binding in [binding(None), binding(marks(mark))] {
            let position = binding.position(place);
            assert_eq!(Place::from_position(&position).unwrap(), place);
            assert_eq!(Binding::from_position(&position).unwrap(), binding);
        }
        assert_eq!(Binding::default().position(place), place.position());
        let unknown = Place { timeline: None, ..place };
        assert_eq!(binding(None).position(unknown), unknown.position());
        assert_eq!((Binding::from_position(&place.position()), Binding::from_position(&[0; 8])), (None, None));
        // Marks that are cut off tell nothing; the numbers in front of them do.
        let whole = binding(marks(mark)).position(place);
        assert_eq!(Binding::from_position(&whole[..whole.len() - 8]), Some(binding(None)));
    }

    #[test]
    fn contents_are_outdated_by_what_no_change_tells() {
        let now = Mark { columns: 1, written: 2, file: 3, name: 4 };
        let publication = Publication { oid: 9, ..Publication::default() };
        let change = |before: Mark| binding(marks(before)).change(&binding(marks(now)), &publication);
        assert_eq!(change(now), None);
        assert_eq!(change(Mark { columns: 8, ..now }), Some(Change::Rewritten));
        assert_eq!(change(Mark { written: 8, file: 8, ..now }), Some(Change::Rewritten));
        assert_eq!(change(Mark { written: 8, ..now }), None, "a new default");
        assert_eq!(change(Mark { file: 8, ..now }), None, "a truncate, which the stream tells");
        assert_eq!(change(Mark { name: 8, ..now }), Some(Change::Renamed));
        let old = binding(None);
        assert_eq!(old.change(&binding(marks(now)), &publication), None, "nothing is known of before");
        let other = Binding { entries: BTreeMap::from([(7, 9), (16_384, 16_391)]), marks: None };
        assert_eq!(old.change(&other, &publication), Some(Change::HeldAnew));
        assert_eq!(other.change(&old, &publication), None, "an entry of the whole publication, as it was kept once");
        let unread = Binding { entries: BTreeMap::from([(7, 0), (16_384, 0)]), marks: None };
        assert_eq!(old.change(&unread, &publication), None);
        let fewer = Binding { entries: BTreeMap::from([(7, 16_390)]), marks: None };
        assert_eq!(old.change(&fewer, &publication), Some(Change::Another));
        let mut altered = binding(marks(now));
        altered.marks.as_mut().unwrap().publication = 701;
        assert_eq!(binding(marks(now)).change(&altered, &publication), Some(Change::Republished));
    }
}
