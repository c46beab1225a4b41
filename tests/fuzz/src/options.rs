//! The options of outside tables: URLs, durations, numbers, names and patterns of tables.

use gridhouse_base::random::Random;
use gridhouse_base::table::TableDef;
use gridhouse_link::testing::read_options;

use crate::corpus::tables;
use crate::mutate::{NUMBERS, mutate, one_of};
use crate::{Decoder, Input, Kind, Memory};

pub(crate) static KIND: Kind = Kind {
    name: "options",
    cases: 1_000_000,
    few: 20_000,
    batch: 10_000,
    // A pattern of names becomes an automaton, which is refused above a megabyte or so.
    memory: Memory { bytes: 16 << 20, per_byte: 2_000 },
    begin: || Box::new(Reading),
};

type Named = (&'static str, &'static [&'static str]);

const URL: Named = (
    "url",
    &[
        "jdbc:postgresql://localhost:5432/grid",
        "jdbc:postgresql:grid",
        "jdbc:postgresql://a:1,b:2,[::1]:3/grid?targetServerType=primary&currentSchema=ads,public",
        "jdbc:postgresql://db/grid?user=me&password=p%40ss&socketTimeout=30&sslmode=disable",
        "jdbc:postgresql://db/%E7%94%B5?ssl=true",
        "jdbc:mysql://db/grid",
    ],
);

const JDBC: [Named; 9] = [
    ("table-name", &["ads.board", "board", "\"A\".\"b.\"\"c\""]),
    ("username", &["me"]),
    ("driver", &["org.postgresql.Driver", "x"]),
    ("lookup.cache", &["NONE", "PARTIAL", "FULL"]),
    ("lookup.partial-cache.max-rows", &["100"]),
    ("lookup.partial-cache.expire-after-write", &["10 min", "1 h", "30s", "5"]),
    ("lookup.max-retries", &["3"]),
    ("scan.partition.column", &["id"]),
    ("scan.partition.num", &["4"]),
];

const CDC: [Named; 12] = [
    ("hostname", &["localhost"]),
    ("port", &["5432"]),
    ("username", &["me"]),
    ("password", &["secret"]),
    ("database-name", &["grid"]),
    ("schema-name", &["public", "(ods|dwd)", "[a-z]{1,3}"]),
    ("table-name", &["readings", "readings_[0-9]+", "(a|b|c)*", "a{1000}{1000}", "电.*"]),
    ("slot.name", &["gridhouse", "Grid House", ""]),
    ("heartbeat.interval.ms", &["30s", "500 ms", "1 min"]),
    ("connect.timeout", &["30s", "0"]),
    ("scan.startup.mode", &["initial", "latest-offset", "committed-offset", "never"]),
    ("changelog-mode", &["all", "upsert"]),
];

const BOUNDS: [Named; 2] = [("scan.partition.lower-bound", &["0"]), ("scan.partition.upper-bound", &["1000"])];

const WORDS: [&[u8]; 20] = [
    b"jdbc:postgresql:",
    b"//",
    b"/",
    b":",
    b",",
    b"?",
    b"&",
    b"=",
    b"%",
    b"%4",
    b"%00",
    b"[",
    b"]",
    b"::",
    b".",
    b"\"",
    b" ms",
    b" d",
    b"{99999}",
    b"(?i)",
];

/// Keys and values, one after the other.
struct Reading;

fn value(words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut value = match random.chance(0.05) {
        true => one_of(&NUMBERS, random),
        false => one_of(words, random),
    }
    .as_bytes()
    .to_vec();
    if random.chance(0.15) {
        let other = one_of(words, random).as_bytes();
        mutate(&mut value, other, &WORDS, random);
    }
    value
}

impl Decoder for Reading {
    fn draw(&mut self, random: &mut Random) -> Input {
        let (connector, mut keys): (&str, Vec<Named>) = match random.chance(0.5) {
            true => ("jdbc", [&[URL][..], &JDBC, &BOUNDS].concat()),
            false => ("postgres-cdc", CDC.to_vec()),
        };
        if random.chance(0.3) {
            let left_out = random.below(keys.len() as u64) as usize;
            keys.remove(left_out);
        }
        let option = |(key, words): Named| [key.as_bytes().to_vec(), value(words, random)];
        let options: Vec<Vec<u8>> = keys.into_iter().flat_map(option).collect();
        [vec![b"connector".to_vec(), connector.into()], options].concat()
    }

    fn decode(&mut self, input: &Input) -> bool {
        let [readings, _] = tables(true, false);
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let options = input.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        let definition = TableDef { options, ..TableDef::clone(&readings) };
        match read_options(&definition) {
            Ok(()) => true,
            Err(error) => {
                let told = error.to_string();
                assert!(!told.is_empty() && !told.starts_with("internal"), "{told}");
                false
            }
        }
    }
}
