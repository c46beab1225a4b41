//! Definitions of tables: types, kinds of columns, keys, LIKE, and back to text.

use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_sql::show_create_table;

use crate::house::{House, shown};

fn defined(script: &str) -> TableDef {
    let mut house = House::furnished();
    for given in house.run(script) {
        if let Err(error) = given {
            panic!("{script}\n{}", shown(&error));
        }
    }
    house.table("t").clone()
}

fn types(table: &TableDef) -> Vec<String> {
    table.schema.columns.iter().map(|column| format!("{} {}", column.name, column.sql_type)).collect()
}

#[test]
fn types_are_flinks() {
    let cases = [
        ("BOOLEAN", "BOOLEAN"),
        ("INTEGER NOT NULL", "INT NOT NULL"),
        ("INT NULL", "INT"),
        ("DEC", "DECIMAL(10, 0)"),
        ("NUMERIC(5)", "DECIMAL(5, 0)"),
        ("DECIMAL(38, 18)", "DECIMAL(38, 18)"),
        ("DOUBLE PRECISION", "DOUBLE"),
        ("REAL", "FLOAT"),
        ("CHAR", "CHAR(1)"),
        ("VARCHAR", "STRING"),
        ("VARCHAR(20)", "VARCHAR(20)"),
        ("BINARY(3)", "BINARY(3)"),
        ("BYTES", "BYTES"),
        ("TIME", "TIME(0)"),
        ("TIME(3) WITHOUT TIME ZONE", "TIME(3)"),
        ("TIMESTAMP", "TIMESTAMP(6)"),
        ("TIMESTAMP(3) WITHOUT TIME ZONE", "TIMESTAMP(3)"),
        ("TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(3)"),
        ("TIMESTAMP_LTZ", "TIMESTAMP_LTZ(6)"),
        ("INTERVAL DAY TO SECOND(3)", "INTERVAL DAY TO SECOND(3)"),
        ("INTERVAL YEAR(2) TO MONTH", "INTERVAL YEAR TO MONTH"),
        ("ARRAY<ARRAY<INT NOT NULL>>", "ARRAY<ARRAY<INT NOT NULL>>"),
        ("INT ARRAY", "ARRAY<INT>"),
        ("INT NOT NULL ARRAY NOT NULL", "ARRAY<INT NOT NULL> NOT NULL"),
        ("MAP<STRING, ROW<a INT, `b c` ARRAY<INT>>>", "MAP<STRING, ROW<`a` INT, `b c` ARRAY<INT>>>"),
        ("ROW(a INT 'the a', b STRING)", "ROW<`a` INT, `b` STRING>"),
    ];
    for (written, expected) in cases {
        let table = defined(&format!("CREATE TABLE t (x {written})"));
        assert_eq!(types(&table), [format!("x {expected}")], "{written}");
    }
}

#[test]
fn every_part_of_a_table() {
    let table = defined(
        "CREATE TEMPORARY TABLE IF NOT EXISTS t (
           id BIGINT COMMENT 'the id', day STRING, cost DECIMAL(10, 2), `数量` INT,
           total AS cost * `数量`, op STRING METADATA FROM 'row_kind' VIRTUAL, event_time TIMESTAMP_LTZ(3) METADATA,
           WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND,
           CONSTRAINT pk PRIMARY KEY (id, day) NOT ENFORCED
         ) COMMENT 'it''s a table' DISTRIBUTED BY HASH (id) INTO 4 BUCKETS PARTITIONED BY (day)
         WITH ('table.log.ttl' = '1d', 'password' = 'secret')",
    );
    assert_eq!(
        types(&table),
        [
            "id BIGINT NOT NULL",
            "day STRING NOT NULL",
            "cost DECIMAL(10, 2)",
            "数量 INT",
            "total DECIMAL(21, 2)",
            "op STRING",
            "event_time TIMESTAMP_LTZ(3)"
        ]
    );
    assert_eq!(table.primary_key, [0, 1]);
    assert_eq!(table.partitioned_by, [1]);
    assert_eq!(table.options["bucket.num"], "4");
    assert_eq!(table.options["bucket.key"], "id");
    assert_eq!(table.column_kinds[4], ColumnKind::Computed { expression: "cost * `数量`".into() });
    assert_eq!(table.column_kinds[5], ColumnKind::Metadata { key: "row_kind".into(), is_virtual: true });
    assert_eq!(
        table.watermark.as_ref().map(|w| (w.column, w.expression.as_str())),
        Some((6, "event_time - INTERVAL '5' SECOND"))
    );
    let text = show_create_table(&table, false);
    assert_eq!(
        text,
        "CREATE TABLE default_catalog.default_database.t (
  id BIGINT NOT NULL,
  day STRING NOT NULL,
  cost DECIMAL(10, 2),
  数量 INT,
  total AS cost * `数量`,
  op STRING METADATA FROM 'row_kind' VIRTUAL,
  event_time TIMESTAMP_LTZ(3) METADATA,
  WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND,
  PRIMARY KEY (id, day) NOT ENFORCED
)
COMMENT 'it''s a table'
PARTITIONED BY (day)
WITH (
  'bucket.key' = 'id',
  'bucket.num' = '4',
  'password' = '****',
  'table.log.ttl' = '1d'
)"
    );
    let mut again = defined(&text);
    again.options.insert("password".into(), "secret".into());
    assert_eq!(again, table, "the text gives the table again");
}

#[test]
fn like_takes_what_it_includes() {
    let source =
        "CREATE TABLE s (a INT, ts TIMESTAMP(3), twice AS a * 2, WATERMARK FOR ts AS ts, PRIMARY KEY (a) NOT ENFORCED)
                  WITH ('x' = '1', 'y' = '2');";
    let all = defined(&format!("{source} CREATE TABLE t (b STRING) WITH ('x' = '3') LIKE s"));
    assert_eq!(types(&all), ["a INT NOT NULL", "ts TIMESTAMP(3)", "twice INT NOT NULL", "b STRING"]);
    assert_eq!((all.options["x"].as_str(), all.options["y"].as_str()), ("3", "2"));
    assert!(all.watermark.is_some() && all.primary_key == [0]);
    let few = defined(&format!("{source} CREATE TABLE t (b INT, PRIMARY KEY (b) NOT ENFORCED) LIKE s (EXCLUDING ALL)"));
    assert_eq!(types(&few), ["a INT", "ts TIMESTAMP(3)", "b INT NOT NULL"]);
    assert!(few.options.is_empty() && few.watermark.is_none() && few.primary_key == [2]);
    let other = "CREATE TABLE t (twice AS CAST(a AS STRING)) LIKE s (OVERWRITING GENERATED EXCLUDING CONSTRAINTS)";
    assert_eq!(types(&defined(&format!("{source} {other}"))), ["a INT", "ts TIMESTAMP(3)", "twice STRING"]);
}
