//! SQL text: read, bound, optimised, explained, fingerprinted, without running it.
//!
//! Texts are the statements of this repository, and drawn queries, with tokens left out, doubled, swapped, replaced, put
//! together from two of them, nested and repeated. A text is read or refused with a place in it; what is read is explained.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gridhouse_base::random::Random;
use gridhouse_base::table::ObjectPath;
use gridhouse_base::{ErrorKind, Result, Schema};
use gridhouse_slt::draws::Draws;
use gridhouse_slt::generate;
use gridhouse_sql::ast::Statement;
use gridhouse_sql::{
    Binder, BoundInsert, Catalog, NameContext, Plan, Relation, changelog_mode, explain, explain_insert, fingerprint,
    fingerprint_insert, is_complete, law_class, parse_script, redact, show_create_table, show_create_view,
    table_identity, upsert_keys,
};

use crate::corpus::texts;
use crate::mutate::{NUMBERS, one_of};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "sql",
    cases: 60_000,
    few: 2_000,
    batch: 1,
    // A column of a wide view in the text `*` is a typed expression for each of its columns, and a plan, its explanation and
    // its fingerprint name each of them again.
    memory: Memory { bytes: 32 << 20, per_byte: 4_000 },
    begin: || Box::new(Reading { of: 0 }),
};

/// Texts do not become longer than this by themselves.
const MAX_BYTES: usize = 48 << 10;

/// What is strewn in.
const STREWN: [&str; 72] = [
    "(",
    ")",
    ",",
    ";",
    "'",
    "`",
    "\"",
    "/*",
    "*/",
    "/*+",
    "--",
    ".",
    "..",
    "中文",
    "，",
    "；",
    "NULL",
    "NOT",
    "SELECT",
    "FROM",
    "WHERE",
    "(SELECT",
    "JOIN",
    "LEFT JOIN",
    "ON TRUE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "UNION ALL",
    "EXCEPT",
    "IN",
    "IN (",
    "EXISTS (",
    "CASE WHEN",
    "THEN",
    "ELSE",
    "END",
    "AND",
    "OR",
    "IS",
    "BETWEEN",
    "LIKE",
    "CAST(",
    "AS INT",
    "AS STRING",
    "INTERVAL '1' DAY",
    "DATE '2026-13-45'",
    "TIMESTAMP '2026-01-01 00:00:00'",
    "X'0'",
    "<",
    ">>",
    "<>",
    "ARRAY<",
    "ARRAY[",
    "ROW(",
    "MAP[",
    "[",
    "]",
    "*",
    "-",
    "+",
    "/",
    "%",
    "||",
    "\u{0}",
    "\u{feff}",
    "😀",
    "COUNT(DISTINCT",
    "OVER (PARTITION BY",
    "EXPLAIN ANALYZE JOB 1",
    "WITH x AS (",
];

/// Pairs that may be nested, with what stands in the middle.
const NESTS: [(&str, &str, &str); 18] = [
    ("(", "1", ")"),
    ("- ", "1", ""),
    ("NOT ", "TRUE", ""),
    ("(SELECT ", "1", ")"),
    ("SELECT * FROM (", "SELECT 1", ") x"),
    ("CASE WHEN TRUE THEN ", "1", " ELSE 2 END"),
    ("1 + ", "1", ""),
    ("a = 1 OR ", "a = 2", ""),
    ("a = 1 AND (b = 2 OR ", "TRUE", ")"),
    ("CAST(", "1", " AS STRING)"),
    ("COALESCE(", "NULL", ", 1)"),
    ("ARRAY[", "1", "]"),
    ("ROW(", "1", ")"),
    ("'x' || ", "'y'", ""),
    ("SELECT 1 UNION ALL ", "SELECT 2", ""),
    ("SELECT 1 WHERE EXISTS (", "SELECT 1", ")"),
    ("WITH x AS (", "SELECT 1", ") SELECT * FROM x"),
    ("ARRAY<", "INT", ">"),
];

/// A text, and the number of the tables that it is about.
pub(crate) fn drawn_text(random: &mut Random) -> (usize, String) {
    let all = texts();
    let of = random.below(all.len() as u64) as usize;
    let statement = |random: &mut Random| -> String {
        if random.chance(0.3) {
            return generate::query(&mut Draws::new(random.bits()));
        }
        random.pick(&all[of].statements).clone()
    };
    let mut text = statement(random);
    let other = statement(random);
    if random.chance(0.9) {
        let mut tokens: Vec<String> = cut(&text).into_iter().map(str::to_owned).collect();
        let others = cut(&other);
        for _ in 0..=random.below(4) {
            change(&mut tokens, &others, random);
        }
        text = tokens.concat();
    }
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    (of, text)
}

/// Cuts a text into words, numbers, quoted texts, blanks and single symbols; put together they are the text.
fn cut(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()),
            '\'' | '`' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn change(tokens: &mut Vec<String>, others: &[&str], random: &mut Random) {
    if tokens.is_empty() || others.is_empty() {
        tokens.push(one_of(&STREWN, random).to_owned());
        return;
    }
    let at = random.below(tokens.len() as u64) as usize;
    let upto = (at + 1 + random.below(12) as usize).min(tokens.len());
    let from = random.below(others.len() as u64) as usize;
    let piece = &others[from..(from + 1 + random.below(30) as usize).min(others.len())];
    let spaced = |text: &str| format!(" {text} ");
    match random.below(13) {
        0 => drop(tokens.drain(at..upto)),
        1 => drop(tokens.splice(at..at, tokens[at..upto].to_vec())),
        2 => {
            let other = random.below(tokens.len() as u64) as usize;
            tokens.swap(at, other);
        }
        3 => tokens.insert(at, spaced(one_of(&STREWN, random))),
        4 => tokens[at] = spaced(one_of(&STREWN, random)),
        5 => drop(tokens.splice(at..at, piece.iter().map(|token| (*token).to_owned()))),
        6 => drop(tokens.splice(at..upto, piece.iter().map(|token| (*token).to_owned()))),
        7 => tokens.truncate(at),
        8 | 9 => {
            // A word takes the place of a word, a number that of a number.
            let class = |token: &str| token.chars().next().map(|c| (c.is_alphabetic(), c.is_numeric()));
            let wanted = class(&tokens[at]);
            if wanted == Some((false, true)) {
                tokens[at] = one_of(&NUMBERS, random).to_owned();
            } else if let Some(other) = others[from..].iter().find(|token| class(token) == wanted) {
                tokens[at] = (*other).to_owned();
            }
        }
        10 => {
            let most = *random.pick(&[4, 400]);
            let times = 1 + random.below(most) as usize;
            let piece = tokens[at..upto].concat();
            let room = MAX_BYTES.saturating_sub(tokens.iter().map(String::len).sum()) / piece.len().max(1);
            tokens.insert(at, piece.repeat(times.min(room)));
        }
        11 => {
            let (open, middle, close) = random.pick(&NESTS);
            let times = *random.pick(&[1, 5, 60, 90, 99, 120, 2_000]);
            tokens[at] = spaced(&format!("{}{middle}{}", open.repeat(times), close.repeat(times)));
        }
        _ => {
            let (open, _, close) = random.pick(&NESTS);
            let times = *random.pick(&[1, 3, 50, 98]);
            tokens.insert(upto, close.repeat(times));
            tokens.insert(at, open.repeat(times));
        }
    }
}

/// What is there: the tables of a corpus file, and what names mean.
#[derive(Clone)]
pub(crate) struct Rooms {
    databases: Vec<(String, String)>,
    relations: BTreeMap<ObjectPath, Relation>,
    names: NameContext,
}

impl Catalog for Rooms {
    fn relation(&self, path: &ObjectPath) -> Result<Option<Relation>> {
        Ok(self.relations.get(path).cloned())
    }

    fn catalogs(&self) -> Vec<String> {
        self.databases.iter().map(|(catalog, _)| catalog.clone()).collect()
    }

    fn databases(&self, catalog: &str) -> Option<Vec<String>> {
        let own: Vec<String> = self.databases.iter().filter(|(c, _)| c == catalog).map(|(_, d)| d.clone()).collect();
        (!own.is_empty()).then_some(own)
    }

    fn relations(&self, catalog: &str, database: &str) -> Option<Vec<String>> {
        let of = |path: &&ObjectPath| path.catalog == catalog && path.database == database;
        Some(self.relations.keys().filter(of).map(|path| path.object.clone()).collect())
    }
}

impl Rooms {
    /// The rooms of the corpus file `of`.
    pub(crate) fn of(of: usize) -> Self {
        static ALL: OnceLock<Vec<Rooms>> = OnceLock::new();
        ALL.get_or_init(|| (0..texts().len()).map(Self::furnished).collect())[of].clone()
    }

    fn furnished(of: usize) -> Self {
        let names = NameContext { catalog: "default_catalog".into(), database: "default_database".into() };
        let databases = vec![("default_catalog".to_owned(), "default_database".to_owned())];
        let mut rooms = Self { databases, relations: BTreeMap::new(), names };
        for script in texts()[of].tables.iter().map(String::as_str).chain([generate::TABLES]) {
            rooms.run(script);
        }
        rooms
    }

    /// Reads and binds a script; how many of its statements were taken, and whether all.
    fn run(&mut self, script: &str) -> bool {
        for parsed in parse_script(script) {
            let taken = match &parsed {
                Ok(parsed) => {
                    assert_eq!(script[parsed.range.clone()], parsed.text, "a statement's text is that of its place");
                    self.statement(&parsed.statement)
                }
                Err(error) => {
                    assert!(error.position().is_some(), "{error} has no place in the text");
                    return false;
                }
            };
            if let Err(error) = taken {
                assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
                return false;
            }
        }
        true
    }

    /// The columns of the rows that `text` gives, if it is one query.
    pub(crate) fn columns(&self, text: &str) -> Option<Schema> {
        let mut statements = parse_script(text);
        let (Some(Ok(parsed)), None) = (statements.next(), statements.next()) else { return None };
        let Statement::Query(query) = &parsed.statement else { return None };
        let plan = Binder::new(self, self.names.clone(), chrono_tz::Tz::UTC).query(query).ok()?;
        Some((**plan.schema()).clone())
    }

    fn statement(&mut self, statement: &Statement) -> Result<()> {
        let utc = chrono_tz::Tz::UTC;
        let binder = || Binder::new(self, self.names.clone(), utc);
        match statement {
            Statement::CreateTable(create) => {
                let table = binder().define_table(create)?;
                show_create_table(&table, false);
                self.relations.insert(table.path.clone(), Relation::Table(Arc::new(table)));
            }
            Statement::CreateView(create) => {
                let view = binder().define_view(create)?;
                show_create_view(&view, true);
                self.relations.insert(view.path.clone(), Relation::View(Arc::new(view)));
            }
            Statement::CreateCatalog(create) => self.databases.push((create.name.name.clone(), "fluss".into())),
            Statement::CreateDatabase(create) => {
                let database = self.names.database(&create.name)?;
                self.databases.push(database);
            }
            Statement::UseCatalog(catalog) => {
                if let Some(databases) = self.databases(&catalog.name) {
                    self.names = NameContext { catalog: catalog.name.clone(), database: databases[0].clone() };
                }
            }
            Statement::Use(database) => {
                let (catalog, database) = self.names.database(database)?;
                self.names = NameContext { catalog, database };
            }
            Statement::Query(query) => {
                about_plan(&binder().query(query)?);
                about_plan(&binder().optimizing(false).query(query)?);
            }
            Statement::Insert(insert) => about_insert(&binder().insert(insert)?),
            Statement::StatementSet(inserts) => {
                for insert in inserts {
                    about_insert(&binder().insert(insert)?);
                }
            }
            Statement::Update(update) => drop(binder().update(update)?),
            Statement::Delete(delete) => drop(binder().delete(delete)?),
            _ => {}
        }
        Ok(())
    }
}

fn about_plan(plan: &Plan) {
    explain(plan);
    assert_eq!(fingerprint(plan, &table_identity), fingerprint(&plan.clone(), &table_identity));
    let _ = (changelog_mode(plan), upsert_keys(plan), law_class(plan));
}

fn about_insert(insert: &BoundInsert) {
    explain_insert(insert);
    fingerprint_insert(insert, &table_identity);
    about_plan(&insert.plan);
}

struct Reading {
    of: usize,
}

impl Decoder for Reading {
    fn draw(&mut self, random: &mut Random) -> Input {
        let (of, text) = drawn_text(random);
        self.of = of;
        vec![text.into_bytes()]
    }

    fn decode(&mut self, input: &Input) -> bool {
        let text = std::str::from_utf8(&input[0]).expect("texts are changed by tokens");
        is_complete(text);
        redact(text);
        Rooms::of(self.of).run(text)
    }
}
