//! Look-ups by key that a session has been asked for: by the text of the whole script, and by what it looks like without its
//! constants.
//!
//! Reading, binding and optimising a look-up takes several times as long as finding the row. A plan is used again only over the
//! catalog that it was bound over; any statement that is no query forgets all of them, since it may change what the text
//! means to this session. A text that was never seen goes by the plan of a text that differs from it in constants alone, once
//! two of them have shown where in the plan these stand (`shape.rs`); whatever is doubtful is read as any statement.

use std::collections::HashMap;
use std::sync::Arc;

use chrono_tz::Tz;
use gridhouse_base::Position;
use gridhouse_sql::{Compared, Plan};

use crate::catalog::Catalog;
use crate::cut::Cut;
use crate::shape::Shape;

/// How many look-ups a session remembers of either kind: some kilobytes each. When there are more, all are forgotten; what is
/// asked for often is soon there again.
const MOST: usize = 256;

/// A longer text is not remembered: an `IN` list of a thousand keys is hardly written twice.
const LONGEST_TEXT: usize = 4_096;

/// The remembered look-ups.
#[derive(Default)]
pub(crate) struct Known {
    by_text: HashMap<String, LookUp>,
    by_mask: HashMap<Vec<u8>, Shape>,
    /// The script under way without its constants, if it could be cut.
    cut: Cut,
    is_cut: bool,
    /// What the statement under way turned out to be.
    noted: Option<Noted>,
    /// Whether a statement of the script under way has been run.
    begun: bool,
}

/// A script that is one look-up by key.
#[derive(Clone)]
pub(crate) struct LookUp {
    /// Where the statement begins.
    pub(crate) position: Position,
    /// The statement's text.
    pub(crate) text: String,
    /// The catalog that the plan was bound over.
    pub(crate) catalog: Arc<Catalog>,
    /// Its plan.
    pub(crate) plan: Arc<Plan>,
}

/// A statement that turned out to be a look-up by key.
pub(crate) struct Noted {
    /// A catalog that is not newer than the one that the plan was bound over.
    pub(crate) catalog: Arc<Catalog>,
    /// Its plan.
    pub(crate) plan: Plan,
    /// The constants that it compares columns with.
    pub(crate) compared: Vec<Compared>,
    /// The zone that it was bound in.
    pub(crate) zone: Tz,
}

impl Known {
    /// The look-up that `script` is, as far as that is known.
    pub(crate) fn of(&mut self, script: &str, catalog: &Arc<Catalog>, zone: Tz) -> Option<LookUp> {
        (self.begun, self.noted, self.is_cut) = (false, None, false);
        if script.len() > LONGEST_TEXT {
            return None;
        }
        self.is_cut = self.cut.read(script);
        if self.is_cut
            && let Some(shape) = self.by_mask.get_mut(self.cut.mask())
        {
            if !Arc::ptr_eq(&shape.catalog, catalog) {
                self.forget();
                return None;
            }
            if let Some((text, plan)) = shape.with(script, &self.cut, zone) {
                return Some(LookUp { position: shape.position, text, catalog: catalog.clone(), plan });
            }
        }
        let found = self.by_text.get(script)?;
        if !Arc::ptr_eq(&found.catalog, catalog) {
            self.forget();
            return None;
        }
        Some(found.clone())
    }

    /// A statement of the script begins; gives whether it is the first.
    pub(crate) fn begin(&mut self) -> bool {
        self.noted = None;
        !std::mem::replace(&mut self.begun, true)
    }

    /// The statement under way is a look-up.
    pub(crate) fn note(&mut self, noted: Noted) {
        self.noted = Some(noted);
    }

    /// The script was the one statement at `position`.
    pub(crate) fn keep(&mut self, script: &str, position: Position, text: String) {
        let Some(noted) = self.noted.take().filter(|_| script.len() <= LONGEST_TEXT) else { return };
        let Noted { catalog, plan, compared, zone } = noted;
        let plan = Arc::new(plan);
        if self.is_cut && !compared.is_empty() {
            let at = (position, text.as_str());
            if let Some(shape) = Shape::new(script, &self.cut, at, catalog.clone(), plan.clone(), &compared, zone) {
                let mask = self.cut.mask();
                let shape = match self.by_mask.get(mask) {
                    Some(before) => shape.learnt(before),
                    None => shape,
                };
                if self.by_mask.len() >= MOST {
                    self.by_mask.clear();
                }
                self.by_mask.insert(mask.to_vec(), shape);
            }
        }
        if self.by_text.len() >= MOST {
            self.by_text.clear();
        }
        self.by_text.insert(script.to_owned(), LookUp { position, text, catalog, plan });
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&mut self) {
        self.by_text.clear();
        self.by_mask.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridhouse_base::TableId;
    use gridhouse_base::random::Random;
    use gridhouse_sql::ast::Statement;
    use gridhouse_sql::{Binder, NameContext, parse_script};

    use super::*;
    use crate::catalog::{DEFAULT_CATALOG, DEFAULT_DATABASE, Scope};
    use crate::keyed::Keyed;
    use crate::records::{CatalogRecord, DatabaseRecord, ObjectRecord};

    const TABLES: &str = "
        CREATE TABLE b (id BIGINT, v INT, note STRING, PRIMARY KEY (id) NOT ENFORCED);
        CREATE TABLE i (v INT, id INT, PRIMARY KEY (id) NOT ENFORCED);
        CREATE TABLE n (name STRING, at_ts TIMESTAMP(3), v INT, PRIMARY KEY (name, at_ts) NOT ENFORCED);
        CREATE TABLE d (k DECIMAL(12, 2), c CHAR(3), PRIMARY KEY (k) NOT ENFORCED);
        CREATE TABLE c (v INT, c CHAR(3), PRIMARY KEY (c) NOT ENFORCED);
        CREATE TABLE y (day_of DATE, small SMALLINT, PRIMARY KEY (day_of, small) NOT ENFORCED);
        CREATE VIEW w AS SELECT id, 5 AS five, v + 1 AS more FROM b;";

    fn names() -> NameContext {
        NameContext { catalog: DEFAULT_CATALOG.into(), database: DEFAULT_DATABASE.into() }
    }

    fn catalog(script: &str) -> Arc<Catalog> {
        let mut catalog = Catalog::default();
        let record = CatalogRecord { options: BTreeMap::new(), default_database: DEFAULT_DATABASE.into() };
        catalog.catalogs.insert(DEFAULT_CATALOG.into(), record);
        catalog.databases.insert((DEFAULT_CATALOG.into(), DEFAULT_DATABASE.into()), DatabaseRecord::default());
        for (parsed, id) in parse_script(script).zip(1..) {
            let scope = Scope { catalog: &catalog, temporary: &BTreeMap::new() };
            let binder = Binder::new(&scope, names(), Tz::UTC);
            let record = match parsed.unwrap().statement {
                Statement::CreateTable(create) => ObjectRecord::Table {
                    definition: Arc::new(binder.define_table(&create).unwrap()),
                    table: Some(TableId(id)),
                },
                Statement::CreateView(create) => ObjectRecord::View(binder.define_view(&create).unwrap()),
                other => panic!("{other:?}"),
            };
            catalog.objects.insert(record.path().clone(), record);
        }
        Arc::new(catalog)
    }

    /// What a session does with a script of one statement: its place, text and plan, or the error, and whether it was known.
    fn ask(known: &mut Known, catalog: &Arc<Catalog>, script: &str) -> (Result<LookUp, String>, bool) {
        if let Some(found) = known.of(script, catalog, Tz::UTC).filter(|found| Keyed::of(&found.plan).is_some()) {
            return (Ok(found), true);
        }
        let parsed = parse_script(script).next().unwrap();
        known.begin();
        let read = parsed.map_err(|error| format!("{error:?}")).and_then(|parsed| {
            let Statement::Query(query) = &parsed.statement else { panic!("a query") };
            let scope = Scope { catalog, temporary: &BTreeMap::new() };
            let plan = Binder::new(&scope, names(), Tz::UTC).query(query).map_err(|error| format!("{error:?}"))?;
            if Keyed::of(&plan).is_some() {
                let compared = gridhouse_sql::compared(query);
                known.note(Noted { catalog: catalog.clone(), plan: plan.clone(), compared, zone: Tz::UTC });
            }
            let (position, text) = (parsed.position, parsed.text);
            Ok(LookUp { position, text, catalog: catalog.clone(), plan: Arc::new(plan) })
        });
        if let Ok(read) = &read {
            known.keep(script, read.position, gridhouse_sql::redact(&read.text));
        }
        (read, false)
    }

    /// Asks for `scripts` and holds every answer against one that is read anew; gives which were known.
    fn hold(known: &mut Known, catalog: &Arc<Catalog>, scripts: &[&str]) -> Vec<bool> {
        let one = |script: &&str| {
            let (given, was_known) = ask(known, catalog, script);
            let (expected, _) = ask(&mut Known::default(), catalog, script);
            match (given, expected) {
                (Ok(given), Ok(expected)) => {
                    assert_eq!(given.plan, expected.plan, "{script}");
                    assert_eq!((given.position, given.text), (expected.position, expected.text), "{script}");
                }
                (given, expected) => assert_eq!(given.err(), expected.err(), "{script}"),
            }
            was_known
        };
        scripts.iter().map(one).collect()
    }

    #[test]
    fn a_third_text_of_a_shape_is_known() {
        let catalog = catalog(TABLES);
        for (scripts, expected) in [
            // Whole numbers, of the column's type, wider and narrower.
            (
                vec!["SELECT * FROM b WHERE id = 1", "SELECT * FROM b WHERE id = 27", "SELECT * FROM b WHERE id = 3"],
                true,
            ),
            (vec!["SELECT v FROM b WHERE id=-1", "SELECT v FROM b WHERE id=-2", "SELECT v FROM b WHERE id=-3"], true),
            (
                vec![
                    "SELECT v FROM b WHERE id = 5000000000",
                    "SELECT v FROM b WHERE id = 6000000000",
                    "SELECT v FROM b WHERE id = 7000000000",
                ],
                true,
            ),
            (
                vec!["SELECT v FROM i WHERE 1 = id", "SELECT v FROM i WHERE 2 = id", "SELECT v FROM i WHERE 3 = id"],
                true,
            ),
            // Texts of any length, with quotes; and what stands around.
            (
                vec![
                    "  SELECT v\nFROM n WHERE name = 'a' AND at_ts = TIMESTAMP '2026-01-01 00:00:00' LIMIT 7 ;\n",
                    "  SELECT v\nFROM n WHERE name = 'it''s' AND at_ts = TIMESTAMP '2026-01-02 00:00:00' LIMIT 7 ;\n",
                    "  SELECT v\nFROM n WHERE name = '' AND at_ts = TIMESTAMP '2026-01-03 00:00:00' LIMIT 7 ;\n",
                ],
                true,
            ),
            (
                vec!["SELECT k FROM d WHERE k = 1.5", "SELECT k FROM d WHERE k = 2.5", "SELECT k FROM d WHERE k = 3.5"],
                true,
            ),
            (vec!["SELECT k FROM d WHERE k = 1", "SELECT k FROM d WHERE k = 2", "SELECT k FROM d WHERE k = 3"], true),
            (
                vec![
                    "SELECT * FROM y WHERE day_of = DATE '2026-01-01' AND small = 1",
                    "SELECT * FROM y WHERE day_of = DATE '2026-01-02' AND small = 2",
                    "SELECT * FROM y WHERE day_of = DATE '2026-01-03' AND small = 1",
                ],
                true,
            ),
            // Lists, and a constant that stays.
            (
                vec![
                    "SELECT 1, v FROM b WHERE id IN (1, 2, 3) AND v = 1",
                    "SELECT 1, v FROM b WHERE id IN (4, 7, 9) AND v = 1",
                    "SELECT 1, v FROM b WHERE id IN (4, 4, 1) AND v = 1",
                ],
                true,
            ),
            (
                vec![
                    "SELECT 1, v FROM b WHERE id = 1 LIMIT 1",
                    "SELECT 1, v FROM b WHERE id = 2 LIMIT 1",
                    "SELECT 1, v FROM b WHERE id = 3 LIMIT 2",
                ],
                false,
            ),
            // Constants of other types than the examples'.
            (
                vec![
                    "SELECT v FROM b WHERE id = 1000000000",
                    "SELECT v FROM b WHERE id = 2000000000",
                    "SELECT v FROM b WHERE id = 3000000000",
                ],
                false,
            ),
            (
                vec![
                    "SELECT v FROM c WHERE c = 'abc'",
                    "SELECT v FROM c WHERE c = 'abd'",
                    "SELECT v FROM c WHERE c = 'ab'",
                ],
                false,
            ),
            // A text that is read as another type, one that is no value of it, and numbers that no type holds.
            (
                vec![
                    "SELECT v FROM b WHERE id = '1'",
                    "SELECT v FROM b WHERE id = '2'",
                    "SELECT v FROM b WHERE id = 'x'",
                ],
                false,
            ),
            (
                vec![
                    "SELECT * FROM y WHERE day_of = DATE '2026-01-01' AND small = 1",
                    "SELECT * FROM y WHERE day_of = DATE '2026-01-02' AND small = 2",
                    "SELECT * FROM y WHERE day_of = DATE '2026-02-30' AND small = 1",
                ],
                false,
            ),
            // What becomes one constant with another, and two that change alike.
            (
                vec![
                    "SELECT more FROM w WHERE id = 1 AND five = 5",
                    "SELECT more FROM w WHERE id = 2 AND five = 5",
                    "SELECT more FROM w WHERE id = 3 AND five = 6",
                ],
                false,
            ),
            (
                vec![
                    "SELECT more FROM w WHERE id = 1 AND more = 1",
                    "SELECT more FROM w WHERE id = 2 AND more = 2",
                    "SELECT more FROM w WHERE id = 3 AND more = 4",
                ],
                false,
            ),
        ] {
            let known = hold(&mut Known::default(), &catalog, &scripts);
            assert_eq!(known, [false, false, expected], "{scripts:?}");
        }
    }

    /// What is learnt from a text is learnt beside the example, whatever was asked for since.
    #[test]
    fn a_text_that_was_known_does_not_teach_what_is_not_so() {
        let catalog = catalog(TABLES);
        let asked = |id: i32, v: i32| format!("SELECT v FROM i WHERE id = {id} AND v = {v}");
        let scripts = [asked(7, 3), asked(1, 3), asked(3, 3), asked(1, 1), asked(1, 9)];
        let scripts: Vec<&str> = scripts.iter().map(String::as_str).collect();
        hold(&mut Known::default(), &catalog, &scripts);
    }

    #[test]
    fn nothing_is_known_over_another_catalog() {
        let (first, second) = (catalog(TABLES), catalog(&TABLES.replace("id BIGINT", "id INT")));
        let mut known = Known::default();
        let scripts = ["SELECT * FROM b WHERE id = 1", "SELECT * FROM b WHERE id = 2", "SELECT * FROM b WHERE id = 3"];
        assert_eq!(hold(&mut known, &first, &scripts), [false, false, true]);
        assert_eq!(hold(&mut known, &second, &scripts), [false, false, true]);
        known.forget();
        assert_eq!(hold(&mut known, &second, &scripts), [false, false, true]);
    }

    /// Texts put together at random: what is known has the plan, the place and the text that reading it gives.
    #[test]
    fn drawn_texts_have_the_plans_that_reading_gives() {
        let catalog = catalog(TABLES);
        let mut random = Random::new(11);
        let mut known = Known::default();
        let mut was_known = 0;
        for _ in 0..4_000 {
            let random = &mut random;
            let script = drawn(random);
            was_known += usize::from(hold(&mut known, &catalog, &[&script])[0]);
        }
        assert!(was_known > 1_000, "{was_known} of the texts were known");
    }

    fn drawn(random: &mut Random) -> String {
        let number = |random: &mut Random| match random.below(16) {
            0 => format!("-{}", random.below(5)),
            1 => (random.below(1 << 33)).to_string(),
            2 => "2147483648".to_owned(),
            3 => format!("- {}", 1_u64 << (29 + random.below(4))),
            4 => format!("{}.{}", random.below(20), random.below(20)),
            5 => ["007", "1e3", "'12'", "' 3 '", "NULL", "99999999999999999999"][random.below(6) as usize].to_owned(),
            _ => random.below(40).to_string(),
        };
        let text = |random: &mut Random| {
            ["'a'", "'b'", "'it''s'", "''", "'abc'", "'5'", "'--'", "'表'", "7"][random.below(9) as usize].to_owned()
        };
        let table = *random.pick(&["b", "i", "d", "c", "w", "n"]);
        let key = match table {
            "d" => "k",
            "c" => "c",
            "n" => "name",
            _ => "id",
        };
        let value = |random: &mut Random| if matches!(table, "c" | "n") { text(random) } else { number(random) };
        let mut condition = match random.below(4) {
            0 => format!("{key} IN ({}, {})", value(random), value(random)),
            1 => format!("{} = {key}", value(random)),
            _ => format!("{key} = {}", value(random)),
        };
        if table == "n" {
            let day = random.below(32);
            condition.push_str(&format!(" AND at_ts = TIMESTAMP '2026-01-{day:02} 00:00:00'"));
        }
        let more = match (table, random.below(5)) {
            ("b" | "i", 0) => format!(" AND v = {}", number(random)),
            ("w", 0) => format!(" AND five = {}", number(random)),
            ("w", 1) => format!(" AND more = {}", number(random)),
            _ => String::new(),
        };
        let around = [("", ""), ("\n ", " ;"), ("", " LIMIT 1"), ("", " ORDER BY 1")];
        let (start, end) = if random.chance(0.7) { around[0] } else { *random.pick(&around) };
        format!("{start}SELECT * FROM {table} WHERE {condition}{more}{end}")
    }
}
