//! Look-ups by key that a session knows already: whatever the texts are, the answer is that of a session that knows nothing.
//!
//! Two engines hold the same rows. One is asked text after text, so that it comes to know them; the other forgets between two.

use gridhouse_base::random::Random;
use gridhouse_slt::House;
use gridhouse_slt::rows::shown;

use crate::mutate::{NUMBERS, one_of};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "lookups",
    cases: 20_000,
    few: 300,
    batch: 200,
    memory: Memory { bytes: 64 << 20, per_byte: 20_000 },
    begin: || Box::new(Asking::new()),
};

const TABLES: &str = "
CREATE TABLE a (id INT, s STRING, d DECIMAL(8, 2), x DOUBLE, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE b (s STRING, n BIGINT, PRIMARY KEY (s) NOT ENFORCED);
CREATE TABLE c (n BIGINT, s STRING, ts TIMESTAMP(3), PRIMARY KEY (n, s) NOT ENFORCED);
CREATE TABLE e (ts TIMESTAMP(3), dt DATE, n INT, PRIMARY KEY (ts) NOT ENFORCED);
CREATE TABLE g (d DECIMAL(8, 2), dt DATE, PRIMARY KEY (d) NOT ENFORCED);
CREATE VIEW v AS SELECT id, s AS t, d * 2 AS dd FROM a;
INSERT INTO a VALUES (1, 'x', 1.50, 0.1), (2, 'it''s', 2.00, 1e10), (7, '', NULL, NULL), (10, '中文', -3.25, -0.0);
INSERT INTO b VALUES ('x', 1), ('it''s', 2), ('', 3), ('中文', NULL), ('1', 5);
INSERT INTO c VALUES (1, 'x', TIMESTAMP '2026-01-31 12:00:00.123'), (1, '', NULL), (9999999999, 'x', TIMESTAMP '1970-01-01 00:00:00');
INSERT INTO e VALUES (TIMESTAMP '2026-01-31 12:00:00.123', DATE '2026-01-31', 1), (TIMESTAMP '1970-01-01 00:00:00', NULL, 2);
INSERT INTO g VALUES (1.50, DATE '2026-01-31'), (2.00, NULL), (-3.25, DATE '1969-12-31');";

/// `#` is a whole number, `$` a text, `@` a moment, `%` a number with a fraction.
const SHAPES: [&str; 30] = [
    "SELECT * FROM a WHERE id = #",
    "SELECT s, d FROM a WHERE id = # AND s = $",
    "SELECT * FROM a WHERE # = id",
    "SELECT id + #, $ FROM a WHERE id = #",
    "SELECT * FROM a WHERE id = # LIMIT #",
    "SELECT * FROM a WHERE id = # AND d > %",
    "SELECT * FROM a WHERE id = # AND (s = $ OR s = $)",
    "SELECT * FROM a WHERE id = -#",
    "SELECT * FROM a WHERE id = %",
    "SELECT * FROM a WHERE id = $",
    "SELECT * FROM a WHERE id IN (#, #)",
    "SELECT * FROM a WHERE id = # AND x BETWEEN # AND %",
    "SELECT * FROM v WHERE id = #",
    "SELECT t FROM v WHERE id = # AND dd = %",
    "SELECT n FROM b WHERE s = $",
    "SELECT n FROM b WHERE s = $ AND s = $",
    "SELECT n AS m FROM b WHERE $ = s AND n < #",
    "SELECT * FROM b WHERE s LIKE $",
    "SELECT * FROM c WHERE n = # AND s = $",
    "SELECT * FROM c WHERE s = $ AND n = # AND ts < TIMESTAMP @",
    "SELECT * FROM c WHERE n = #",
    "SELECT * FROM e WHERE ts = TIMESTAMP @",
    "SELECT * FROM e WHERE ts = @",
    "SELECT * FROM e WHERE ts = TIMESTAMP @ AND dt = DATE '2026-01-31'",
    "SELECT * FROM g WHERE d = %",
    "SELECT * FROM g WHERE d = #",
    "SELECT dt FROM g WHERE d = CAST($ AS DECIMAL(8, 2))",
    "SELECT x.* FROM a AS x WHERE x.id = # AND x.s <> $",
    "SELECT CASE WHEN s = $ THEN # ELSE # END FROM a WHERE id = #",
    "SELECT DISTINCT s FROM a WHERE id = # ORDER BY s LIMIT #",
];

const TEXTS: [&str; 10] = ["'x'", "'it''s'", "''", "'中文'", "'1'", "'x '", "' OR 1=1 --'", "'a''''b'", "'\\'", "'%'"];

const MOMENTS: [&str; 7] = [
    "'2026-01-31 12:00:00.123'",
    "'2026-01-31 12:00:00.123000'",
    "'2026-01-31 12:00:00.123456'",
    "'1970-01-01 00:00:00'",
    "'1970-01-01'",
    "'2026-02-30 00:00:00'",
    "'x'",
];

/// Strewn between two tokens.
const STREWN: [&str; 16] =
    ["  ", "\n", " /* 1 */ ", " -- 2\n", "'", "1", ".", ".5", "e1", "-", "(", ")", ";", "\"s\"", "`id`", " UESCAPE "];

struct Asking {
    warm: House,
    cold: House,
}

impl Asking {
    fn new() -> Self {
        let house = || {
            let mut house = House::new(3, false, 0);
            house.hold_clock();
            house.run(TABLES).expect("the tables can be made and filled");
            house
        };
        Self { warm: house(), cold: house() }
    }
}

fn filled(shape: &str, random: &mut Random) -> String {
    let mut text = String::new();
    for c in shape.chars() {
        match c {
            '#' if random.chance(0.15) => text.push_str(one_of(&NUMBERS, random)),
            '#' => text.push_str(one_of(&["1", "2", "7", "10", "3", "0", "9999999999", "2147483648"], random)),
            '$' => text.push_str(one_of(&TEXTS, random)),
            '@' => text.push_str(one_of(&MOMENTS, random)),
            '%' => text.push_str(one_of(&["1.50", "1.5", "2.00", "2.0", "0.1", "3.25", "1.505", "00.1"], random)),
            c => text.push(c),
        }
    }
    text
}

impl Decoder for Asking {
    fn draw(&mut self, random: &mut Random) -> Input {
        let shape = one_of(&SHAPES, random);
        let mut texts = Vec::new();
        for _ in 0..2 + random.below(5) {
            let mut text = filled(shape, random);
            if random.chance(0.15) {
                let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                text.insert_str(*random.pick(&places), one_of(&STREWN, random));
            }
            texts.push(text.into_bytes());
        }
        texts
    }

    fn decode(&mut self, input: &Input) -> bool {
        let mut answered = false;
        for text in input {
            let text = std::str::from_utf8(text).expect("texts are put together from texts");
            // Any statement that is no query has a session forget.
            self.cold.run("SHOW DATABASES").expect("databases can be shown");
            let [warm, cold] = [&mut self.warm, &mut self.cold].map(|house| {
                let answer = house.run(text)?;
                let mut rows: Vec<String> = answer.rows.iter().map(|row| shown(&row.text)).collect();
                rows.sort();
                Ok::<_, String>((answer.types, rows))
            });
            assert_eq!(warm, cold, "{text}");
            if let Err(told) = &warm {
                assert!(!told.starts_with("internal"), "{told}");
            }
            answered |= warm.is_ok();
        }
        answered
    }
}
