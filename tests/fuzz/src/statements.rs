//! SQL text carried out by an engine: everything behind the binder, as ad-hoc queries and as jobs.
//!
//! The texts are those of `sql.rs`, run on a stack like that of a client's thread. Every statement is answered or refused; what
//! is told as a defect of ours is one.

use gridhouse_base::TypeKind;
use gridhouse_base::random::Random;
use gridhouse_slt::House;
use gridhouse_slt::generate;

use crate::corpus::texts;
use crate::sql::{Rooms, drawn_text};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "statements",
    cases: 15_000,
    few: 200,
    batch: 100,
    // Of all threads: a query's own, the jobs' state, and the tables.
    memory: Memory { bytes: 256 << 20, per_byte: 40_000 },
    begin: || Box::new(Running { house: None, rooms: Vec::new(), of: 0, jobs: 0 }),
};

/// A query that names more relations, or has more commas, is not run but explained: their rows multiply, and it would be right
/// that it took for ever.
const MOST_RELATIONS: usize = 6;
const MOST_COMMAS: usize = 40;

/// The files of the corpus whose tables need nothing from outside.
fn own_files() -> usize {
    texts().len() - 4
}

struct Running {
    house: Option<House>,
    rooms: Vec<Rooms>,
    of: usize,
    jobs: usize,
}

impl Running {
    /// The house of this batch; all its cases are about one file's tables.
    fn house(&mut self) -> &mut House {
        let of = self.of;
        self.house.get_or_insert_with(|| {
            let mut house = House::new(of as u64, false, 0);
            house.hold_clock();
            house.run(generate::TABLES).expect("the drawn tables can be made");
            for table in &texts()[of].tables {
                // Some need a source.
                let _ = house.run(table);
            }
            house
        })
    }

    fn run(&mut self, text: &str) -> bool {
        match self.house().run(text) {
            Ok(_) => true,
            Err(told) => {
                assert!(!told.starts_with("internal") && !told.contains("a defect of Gridhouse"), "{told}");
                false
            }
        }
    }
}

impl Decoder for Running {
    fn draw(&mut self, random: &mut Random) -> Input {
        let text = loop {
            let (of, text) = drawn_text(random);
            if self.house.is_some() && of == self.of || self.house.is_none() && of < own_files() {
                self.of = of;
                break text;
            }
        };
        vec![text.into_bytes()]
    }

    fn decode(&mut self, input: &Input) -> bool {
        let text = std::str::from_utf8(&input[0]).expect("texts are changed by tokens").to_owned();
        self.house();
        if self.rooms.is_empty() {
            self.rooms.push(Rooms::of(self.of));
        }
        let upper = text.to_uppercase();
        let relations = upper.matches("FROM").count() + upper.matches("JOIN").count();
        let is_wide = relations > MOST_RELATIONS || text.matches(',').count() > MOST_COMMAS;
        let Some(columns) = self.rooms[0].columns(&text) else {
            // No query: it changes something, or is no statement.
            return !is_wide && self.run(&text);
        };
        let explained = self.run(&format!("EXPLAIN {text}"));
        if is_wide {
            return explained;
        }
        let taken = self.run(&text);
        // The same as a job, into a table of the same types.
        self.jobs += 1;
        let types: Vec<String> =
            (1..).zip(&columns.columns).map(|(i, column)| format!("c{i} {}", column.sql_type)).collect();
        let has_type = columns.columns.iter().all(|column| column.sql_type.kind != TypeKind::Null);
        if has_type && self.run(&format!("CREATE TABLE fuzzed_{} ({})", self.jobs, types.join(", "))) {
            self.run(&format!("INSERT INTO fuzzed_{} {}", self.jobs, text.trim_end().trim_end_matches(';')));
        }
        taken
    }
}
