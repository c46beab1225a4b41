//! The check of the example: every figure of the sink against the source, row by row, and the counts of the layers.

use std::io::Write;
use std::time::Duration;

use gridhouse_base::{Error, Result};
use gridhouse_serve::{Client, ResultColumn};

use crate::demo::chain::Database;
use crate::demo::generate::LOCK;
use crate::script::duration;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::table::TablePrinter;
use crate::terminal;

const EXPECTED_SQL: &str = include_str!("../../../../solutions/first-chain/expected.sql");

/// The board tables, in the order of the queries in `expected.sql`, with their keys.
const BOARDS: [(&str, &str); 2] = [("region_board", "region"), ("type_board", "device_type")];

/// What a board shows of each table; shares are rounded for people.
const SHOWN: [(&str, &str); 2] = [
    (
        "region_board",
        "SELECT region, devices, readings, active_kw, round(load_rate::numeric, 3) AS load_rate, overloads,
           max_temperature_c AS max_c, open_alarms AS open, severe_alarms AS severe, grade
         FROM region_board ORDER BY region",
    ),
    (
        "type_board",
        "SELECT device_type, devices, active_kw, round(load_rate::numeric, 3) AS load_rate
         FROM type_board ORDER BY device_type",
    ),
];

/// The layers whose rows can be counted in the source.
const LAYERS: [(&str, &str); 5] = [
    ("fluss.grid.ods_devices", "SELECT COUNT(*) FROM devices"),
    ("fluss.grid.ods_readings", "SELECT COUNT(*) FROM readings"),
    ("fluss.grid.ods_alarms", "SELECT COUNT(*) FROM alarms"),
    (
        "fluss.grid.dwd_readings",
        "SELECT COUNT(*) FROM readings r JOIN devices d ON r.device_id = d.device_id WHERE d.status <> 'retired'",
    ),
    ("fluss.grid.dwd_alarms", "SELECT COUNT(*) FROM alarms"),
];

/// How often the sink is looked at until it agrees.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Differing rows that are shown of a table.
const SHOWN_DIFFERENCES: usize = 5;

type Rows = Vec<Vec<Option<String>>>;

/// The board tables as text.
///
/// # Errors
/// `Unavailable` where the sink does not answer.
pub async fn board(sink: &Database) -> Result<String> {
    let client = sink.connect().await?;
    let mut text = Vec::new();
    for (table, query) in SHOWN {
        let (names, rows) = sink.rows(&client, query).await?;
        let is_number = |i: usize| rows.iter().all(|row| row[i].as_ref().is_none_or(|v| v.parse::<f64>().is_ok()));
        let column = |(i, name): (usize, String)| ResultColumn { is_number: is_number(i), name };
        let mut printer = TablePrinter::new(names.into_iter().enumerate().map(column).collect(), terminal::width());
        let in_memory = "memory takes every byte";
        writeln!(text, "{table}").expect(in_memory);
        for row in rows {
            printer.row(row, &mut text).expect(in_memory);
        }
        printer.finish(&mut text).expect(in_memory);
        text.push(b'\n');
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What each region carries, in kW: the figure of the board that everybody knows first.
///
/// # Errors
/// `Unavailable` where the sink does not answer.
pub async fn loads(sink: &Database) -> Result<Vec<(String, String)>> {
    let client = sink.connect().await?;
    let (_, rows) = sink.rows(&client, "SELECT region, active_kw FROM region_board ORDER BY region").await?;
    let pair = |row: Vec<Option<String>>| {
        let mut values = row.into_iter().map(Option::unwrap_or_default);
        Some((values.next()?, values.next()?))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// Makes the source stand still, waits until the sink agrees (at most `patience`), and says what was compared; whether
/// everything agrees.
///
/// # Errors
/// `Unavailable` where a database does not answer.
pub async fn verify(
    settings: &Settings,
    source: &Database,
    sink: &Database,
    patience: Duration,
    signals: &Signals,
) -> Result<bool> {
    let (from, to) = (source.connect().await?, sink.connect().await?);
    // The lock is released with the connection, however this ends.
    source.rows(&from, &format!("SELECT pg_advisory_lock({LOCK})")).await?;
    let queries: Vec<&str> = EXPECTED_SQL.split_inclusive(';').filter(|query| query.contains("-- board:")).collect();
    assert_eq!(queries.len(), BOARDS.len(), "expected.sql has a query for each board");
    let started = tokio::time::Instant::now();
    let mut agree = true;
    for ((table, key), query) in BOARDS.into_iter().zip(queries) {
        let (wanted, found) = loop {
            // Somebody may change the source by hand meanwhile: it is asked again each time.
            let (columns, wanted) = source.rows(&from, query).await?;
            let sql = format!("SELECT {} FROM {table} ORDER BY {key}", columns.join(", "));
            let (_, found) = sink.rows(&to, &sql).await?;
            if same(&wanted, &found) || started.elapsed() > patience || signals.stop() {
                break (wanted, found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        if same(&wanted, &found) {
            let passed = duration(started.elapsed());
            println!("ok    {table}: {} rows agree with the source, {passed} after it stood still", found.len());
        } else {
            agree = false;
            println!("WRONG {table}: {} rows, the source says {}", found.len(), wanted.len());
            show_differences(&wanted, &found);
        }
    }
    agree &= layers(settings, source, &from).await?;
    Ok(agree)
}

/// Equal as sets of rows: the two servers may order text differently.
fn same(a: &Rows, b: &Rows) -> bool {
    let sorted = |rows: &Rows| {
        let mut rows = rows.clone();
        rows.sort();
        rows
    };
    sorted(a) == sorted(b)
}

fn show_differences(wanted: &Rows, found: &Rows) {
    let text = |row: &[Option<String>]| {
        row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(" | ")
    };
    for row in wanted.iter().filter(|row| !found.contains(row)).take(SHOWN_DIFFERENCES) {
        println!("      source: {}", text(row));
    }
    for row in found.iter().filter(|row| !wanted.contains(row)).take(SHOWN_DIFFERENCES) {
        println!("      sink:   {}", text(row));
    }
}

/// Counts the layers through the running process; nothing to compare where none runs.
async fn layers(settings: &Settings, source: &Database, from: &tokio_postgres::Client) -> Result<bool> {
    let Some(mut house) = Client::connect(&settings.data_dir)? else {
        println!("      no process holds {}: the layers are not counted", crate::house::shown(&settings.data_dir));
        return Ok(true);
    };
    let mut agree = true;
    for (table, query) in LAYERS {
        let wanted = source.value(from, query).await?;
        let rows = house.rows(&format!("SELECT COUNT(*) FROM {table}"))?;
        let found = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        let found = found.ok_or_else(|| Error::internal(format!("COUNT(*) of {table} gave no row")))?;
        let verdict = if found == wanted { "ok   " } else { "WRONG" };
        println!("{verdict} {table}: {found} rows, the source says {wanted}");
        agree &= found == wanted;
    }
    Ok(agree)
}
