//! No text panics the lexer, the parser or the binder. Texts are whole scripts with parts cut out, doubled, swapped and strewn
//! with odd characters, by a generator that always does the same.

use gridhouse_sql::{is_complete, parse_script, redact};

use crate::house::House;

const MUTATIONS: u32 = 6_000;

/// Enough of a generator for mutations: 64 bits, always the same sequence.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

const STREWN: &[&str] = &[
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
    "0",
    "1e999",
    "99999999999999999999",
    "NULL",
    "NOT",
    "SELECT",
    "FROM",
    "(SELECT",
    "JOIN",
    "GROUP BY",
    "IN",
    "EXISTS",
    "CASE",
    "END",
    "INTERVAL '1' DAY",
    "X'0'",
    "<",
    ">>",
    "ARRAY<",
    "ROW(",
    "[",
    "]",
    "*",
    "-",
    "\u{0}",
    "\u{feff}",
    "😀",
    "\n",
    "::",
    "=>",
    "U&'\\",
    "$$",
    "@",
    "#",
    "{",
    "}",
];

fn mutated(text: &str, dice: &mut Dice) -> String {
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', '(', ')', ',']).collect();
    for _ in 0..=dice.roll(4) {
        if words.is_empty() {
            break;
        }
        let at = dice.roll(words.len());
        match dice.roll(5) {
            0 => {
                words.remove(at);
            }
            1 => words.insert(at, words[at]),
            2 => {
                let other = dice.roll(words.len());
                words.swap(at, other);
            }
            3 => words.insert(at, STREWN[dice.roll(STREWN.len())]),
            _ => words.truncate(at + 1),
        }
    }
    words.concat()
}

const SEEDS: &[&str] = &[
    include_str!("../../../../tests/reference/pipeline/pipeline.sql"),
    include_str!("smoke.sql"),
    "WITH x AS (SELECT region, SUM(amount) AS total FROM orders WHERE status <> 'void' GROUP BY region HAVING COUNT(*) > 1)
     SELECT DISTINCT x.region, c.* FROM x LEFT JOIN customers AS c ON x.total > c.level AND c.name LIKE 'a%' ESCAPE '!'
     WHERE x.region IN (SELECT region FROM orders WHERE orders.customer_id = c.customer_id) AND NOT EXISTS (SELECT 1 FROM small)
     ORDER BY 1 DESC NULLS LAST, total LIMIT 10 OFFSET 2;",
    "CREATE TABLE t (a INT, b ARRAY<ROW<x INT NOT NULL, y MAP<STRING, DECIMAL(3, 2)>>>, c AS a + 1 COMMENT 'x', m STRING METADATA FROM 'k'
     VIRTUAL, ts TIMESTAMP(3) WITH LOCAL TIME ZONE, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND, PRIMARY KEY (a) NOT ENFORCED)
     COMMENT 'it''s' PARTITIONED BY (a) WITH ('bucket.num' = '1') LIKE small (INCLUDING ALL EXCLUDING OPTIONS);",
    "SELECT CASE a WHEN 1 THEN 'x' ELSE CAST(b AS STRING) END, TRIM(BOTH ' ' FROM c), EXTRACT(DAY FROM at_time), COUNT(DISTINCT a) FILTER
     (WHERE b > 1), -1.5, x'0aff', DATE '2026-01-01', a BETWEEN 1 AND 2, c IS NOT DISTINCT FROM NULL FROM small, readings GROUP BY a, b;",
    "INSERT INTO orders (order_id, region) VALUES (1, 'x'), (2, NULL) ON DUPLICATE KEY UPDATE region = VALUES(region);
     UPDATE orders SET amount = amount * 2 WHERE order_id = 1; BEGIN STATEMENT SET; INSERT INTO small SELECT 1, 2, 'x'; END;
     EXECUTE STATEMENT SET BEGIN INSERT INTO small TABLE small; END; SET a.b = c; SHOW TABLES LIKE '%';",
    "(SELECT a FROM small UNION ALL SELECT d FROM other) UNION SELECT level FROM customers ORDER BY a LIMIT ALL;",
];

#[test]
fn no_text_panics() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut bound = 0;
    for round in 0..MUTATIONS {
        let text = mutated(SEEDS[dice.roll(SEEDS.len())], &mut dice);
        let _ = is_complete(&text);
        let _ = redact(&text);
        for parsed in parse_script(&text) {
            if let Ok(parsed) = &parsed {
                assert_eq!(text[parsed.range.clone()], parsed.text, "round {round}");
            }
            if let Err(error) = &parsed {
                assert!(error.position().is_some(), "round {round}: {error} has no position in\n{text}");
            }
        }
        let mut house = if round % 3 == 0 { House::empty() } else { House::furnished() };
        bound += house.run(&text).into_iter().filter(Result::is_ok).count();
    }
    assert!(bound > 1_000, "the mutations leave statements that can be bound: {bound}");
}

#[test]
fn depth_is_limited_not_the_stack() {
    let mut house = House::furnished();
    for deep in [
        format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1", "- ".repeat(3_000)),
        format!("SELECT {}TRUE", "NOT ".repeat(3_000)),
        format!("SELECT * FROM {}small{}", "(SELECT * FROM ".repeat(500), ")".repeat(500)),
        format!("SELECT {}1{}", "CASE WHEN TRUE THEN ".repeat(500), " END".repeat(500)),
        format!("SELECT 1{}", " + 1".repeat(3_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(3_000)),
        format!("CREATE TABLE t (a {}INT{})", "ARRAY<".repeat(1_000), ">".repeat(1_000)),
        format!("SELECT * FROM small {}", "JOIN small ON TRUE ".repeat(1_000)),
        format!("SELECT a{} FROM small", "[1]".repeat(10_000)),
    ] {
        let given = house.run(&deep);
        assert!(given.iter().any(Result::is_err), "{} is refused", &deep[..60]);
    }
    for wide in [
        format!("SELECT 1{}", " + 1".repeat(400)),
        format!("SELECT a FROM small WHERE {} a = 1", "a = 2 OR ".repeat(5_000)),
        format!("SELECT {}1{}", "(".repeat(97), ")".repeat(97)),
        format!("SELECT {}1{}", "CASE WHEN TRUE THEN ".repeat(95), " END".repeat(95)),
        format!("SELECT a FROM {}small{}", "(SELECT * FROM ".repeat(90), ") x".repeat(90)),
        format!("SELECT {}TRUE", "NOT ".repeat(95)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(400)),
        format!("INSERT INTO small VALUES {} (1, 2, 'x')", "(1, 2, 'x'),".repeat(5_000)),
    ] {
        let given = house.run(&wide);
        assert!(given.iter().all(Result::is_ok), "{} is accepted: {given:?}", &wide[..60]);
    }
}
