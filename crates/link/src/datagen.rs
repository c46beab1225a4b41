//! The source `datagen`: rows made up, with Flink's own option keys.
//!
//! Row n of a table is a function of (seed, table, n), except times, which are those of the clock: a stream that resumes at
//! a position goes on with the rows that would have come. The position is the number of rows delivered. With
//! `number-of-rows`, or a sequence, the source is bounded.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::batch::{KindBatch, RowKind};
use gridhouse_base::clock::Clock;
use gridhouse_base::random::Random;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::types::timestamp_units_per_second;
use gridhouse_base::{Error, Result, SourceId, TypeKind, Value};
use gridhouse_flow::connector::{
    ChangelogMode, SourceConnector, SourceDescription, SourceEvent, SourceEvents, SourcePosition, SourceStream,
    SourceTable,
};

use crate::LinkContext;
use crate::stop::Stop;

/// Flink's default rate.
const ROWS_PER_SECOND: u64 = 10_000;

/// How often rows are delivered: often enough to look steady, rare enough that a commit has many rows.
const EVERY: Duration = Duration::from_millis(20);

/// Rows of one commit at most: one chunk of the engine.
const BATCH_ROWS: u64 = 16_384;

/// Flink's default length of random texts.
const TEXT_LENGTH: u64 = 100;

/// `'connector' = 'datagen'`
pub struct Datagen {
    clock: Arc<dyn Clock>,
    seed: u64,
}

impl fmt::Debug for Datagen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagen {{ seed: {} }}", self.seed)
    }
}

impl Datagen {
    /// A connector within `context`.
    pub fn new(context: &LinkContext) -> Self {
        Self { clock: context.clock.clone(), seed: context.seed }
    }
}

/// How one column's values come about.
#[derive(Clone, Debug)]
enum Make {
    Sequence {
        start: i64,
    },
    Whole {
        min: i64,
        max: i64,
    },
    Real {
        min: f64,
        max: f64,
    },
    Text {
        length: u64,
    },
    Bytes {
        length: u64,
    },
    Truth,
    /// The clock's time less up to so many milliseconds.
    Past {
        max_millis: i64,
    },
}

#[derive(Clone, Debug)]
struct Field {
    kind: TypeKind,
    make: Make,
    null_rate: f64,
}

/// What the options of a table say.
#[derive(Clone, Debug)]
struct Plan {
    fields: Vec<Field>,
    rate: u64,
    rows: Option<u64>,
    salt: u64,
}

impl Plan {
    fn read(definition: &TableDef, seed: u64, notices: &mut Vec<String>) -> Result<Self> {
        let number = |key: &str| definition.options.get(key).map(|text| parse::<u64>(key, text)).transpose();
        let mut rows = number("number-of-rows")?;
        for key in definition.options.keys() {
            check_key(definition, key, notices)?;
        }
        let mut fields = Vec::new();
        for i in definition.physical() {
            let column = &definition.schema.columns[i];
            if matches!(definition.column_kinds[i], ColumnKind::Metadata { .. }) {
                return Err(Error::invalid(format!(
                    "connector 'datagen' has no metadata for the column '{}'",
                    column.name
                ))
                .hint("leave the column out"));
            }
            let (field, length) = field(definition, &column.name, &column.sql_type.kind)?;
            rows = match (rows, length) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            fields.push(field);
        }
        let mut hasher = DefaultHasher::new();
        (seed, definition.path.to_string()).hash(&mut hasher);
        Ok(Self {
            fields,
            rate: number("rows-per-second")?.unwrap_or(ROWS_PER_SECOND).max(1),
            rows,
            salt: hasher.finish(),
        })
    }

    /// Rows `from..to`, made at `now_micros`.
    fn batch(&self, from: u64, to: u64, now_micros: i64) -> KindBatch {
        let mut columns: Vec<Vec<Value>> = vec![Vec::with_capacity((to - from) as usize); self.fields.len()];
        for row in from..to {
            // Golden-ratio steps keep neighbouring rows' generators apart.
            let mut random = Random::new(self.salt ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for (field, column) in self.fields.iter().zip(&mut columns) {
                let value = field.value(row, &mut random, now_micros);
                column.push(value);
            }
        }
        let array =
            |(field, column): (&Field, &Vec<Value>)| Value::array_of(&column.iter().collect::<Vec<_>>(), &field.kind);
        let arrays = self.fields.iter().zip(&columns).map(array).collect();
        KindBatch::new(arrays, vec![RowKind::Insert; (to - from) as usize])
    }
}

impl Field {
    fn value(&self, row: u64, random: &mut Random, now_micros: i64) -> Value {
        if self.null_rate > 0.0 && random.chance(self.null_rate) {
            return Value::Null;
        }
        match (&self.make, &self.kind) {
            (Make::Sequence { start }, kind) => {
                let n = start.wrapping_add(row as i64);
                match kind {
                    TypeKind::Char(_) | TypeKind::Varchar(_) => Value::Text(n.to_string().into()),
                    TypeKind::Float => Value::Float(n as f32),
                    TypeKind::Double => Value::Double(n as f64),
                    TypeKind::Decimal { scale, .. } => Value::Decimal(i128::from(n) * 10_i128.pow(u32::from(*scale))),
                    _ => Value::Integer(n),
                }
            }
            (Make::Whole { min, max }, TypeKind::Decimal { .. }) => Value::Decimal(random.between(*min, *max).into()),
            (Make::Whole { min, max }, _) => Value::Integer(random.between(*min, *max)),
            (Make::Real { min, max }, TypeKind::Float) => Value::Float((min + random.unit() * (max - min)) as f32),
            (Make::Real { min, max }, _) => Value::Double(min + random.unit() * (max - min)),
            (Make::Text { length }, _) => {
                let digits = (0..*length).map(|_| char::from_digit(random.below(16) as u32, 16).unwrap_or('0'));
                Value::Text(digits.collect::<String>().into())
            }
            (Make::Bytes { length }, _) => Value::Bytes((0..*length).map(|_| random.bits() as u8).collect()),
            (Make::Truth, _) => Value::Boolean(random.chance(0.5)),
            (Make::Past { max_millis }, kind) => {
                let millis =
                    now_micros.div_euclid(1000) - if *max_millis > 0 { random.between(0, *max_millis) } else { 0 };
                Value::Integer(match kind {
                    TypeKind::Date => millis.div_euclid(86_400_000),
                    TypeKind::Time(_) => millis.rem_euclid(86_400_000),
                    TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
                        millis * (timestamp_units_per_second(*p) / 1000)
                    }
                    _ => millis,
                })
            }
        }
    }
}

fn check_key(definition: &TableDef, key: &str, notices: &mut Vec<String>) -> Result<()> {
    const KEYS: [&str; 3] = ["rows-per-second", "number-of-rows", "scan.parallelism"];
    const FIELD_KEYS: [&str; 9] = ["kind", "min", "max", "start", "end", "length", "max-past", "null-rate", "var-len"];
    if key == "connector" || KEYS.contains(&key) {
        if key == "scan.parallelism" {
            notices.push("option 'scan.parallelism' has no effect: there is one reader".into());
        }
        return Ok(());
    }
    let unknown = || Error::invalid(format!("connector 'datagen' has no option '{key}'"));
    let Some((column, what)) = key.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.')) else {
        return Err(match gridhouse_base::error::nearest(key, KEYS) {
            Some(near) => unknown().hint(format!("did you mean '{near}'?")),
            None => {
                unknown().hint("known options: rows-per-second, number-of-rows, fields.<column>.kind, .min, .max, …")
            }
        });
    };
    if definition.schema.index_of(column).is_none() {
        let names = definition.schema.columns.iter().map(|column| column.name.as_str());
        return Err(match gridhouse_base::error::nearest(column, names) {
            Some(near) => unknown().hint(format!("did you mean 'fields.{near}.{what}'?")),
            None => unknown().hint(format!("the table has no column '{column}'")),
        });
    }
    if !FIELD_KEYS.contains(&what) {
        return Err(unknown().hint(format!("known: fields.{column}.{{{}}}", FIELD_KEYS.join(", "))));
    }
    if what == "var-len" {
        notices.push(format!("option '{key}' has no effect: texts have one length"));
    }
    Ok(())
}

/// How a column comes about, and how many rows its sequence has.
fn field(definition: &TableDef, name: &str, kind: &TypeKind) -> Result<(Field, Option<u64>)> {
    let key = |what: &str| format!("fields.{name}.{what}");
    let get = |what: &str| definition.options.get(&key(what)).map(String::as_str);
    let whole = |what: &str, default: i64| get(what).map_or(Ok(default), |text| parse(&key(what), text));
    let real = |what: &str, default: f64| get(what).map_or(Ok(default), |text| parse::<f64>(&key(what), text));
    let null_rate = real("null-rate", 0.0)?;
    if get("kind").unwrap_or("random") == "sequence" {
        if !(kind.is_numeric() || kind.is_text()) {
            return Err(Error::invalid(format!("a sequence cannot fill the column '{name}' of type {kind}"))
                .hint("leave 'kind' out"));
        }
        let needed = |what: &str| {
            get(what).map_or_else(
                || {
                    Err(Error::invalid(format!("a sequence needs the option '{}'", key(what)))
                        .hint("name its start and its end"))
                },
                |text| parse::<i64>(&key(what), text),
            )
        };
        let (start, end) = (needed("start")?, needed("end")?);
        let length = u64::try_from(i128::from(end) - i128::from(start) + 1).unwrap_or(0);
        return Ok((Field { kind: kind.clone(), make: Make::Sequence { start }, null_rate }, Some(length)));
    }
    let range = |low: i64, high: i64| -> Result<Make> {
        let (min, max) = (whole("min", low)?.max(low), whole("max", high)?.min(high));
        if min > max {
            return Err(
                Error::invalid(format!("option '{}' is larger than '{}'", key("min"), key("max"))).hint("swap them")
            );
        }
        Ok(Make::Whole { min, max })
    };
    let make = match kind {
        TypeKind::Boolean => Make::Truth,
        TypeKind::TinyInt => range(i8::MIN.into(), i8::MAX.into())?,
        TypeKind::SmallInt => range(i16::MIN.into(), i16::MAX.into())?,
        TypeKind::Int => range(i32::MIN.into(), i32::MAX.into())?,
        TypeKind::BigInt => range(i64::MIN, i64::MAX)?,
        TypeKind::Float => Make::Real { min: real("min", f32::MIN.into())?, max: real("max", f32::MAX.into())? },
        // Half of the range, so that the width of the range is a number.
        TypeKind::Double => Make::Real { min: real("min", f64::MIN / 2.0)?, max: real("max", f64::MAX / 2.0)? },
        TypeKind::Decimal { precision, scale } => {
            let widest = 10_i64.pow(u32::from(*precision).min(18)) - 1;
            let unit = 10_f64.powi(i32::from(*scale));
            let bound = |what: &str, default: i64| real(what, default as f64 / unit).map(|x| (x * unit).round() as i64);
            let (min, max) = (bound("min", -widest)?.max(-widest), bound("max", widest)?.min(widest));
            Make::Whole { min: min.min(max), max }
        }
        TypeKind::Char(n) => Make::Text { length: u64::from(*n) },
        TypeKind::Varchar(n) => Make::Text { length: parse_length(get("length"), &key("length"), *n)? },
        TypeKind::Binary(n) => Make::Bytes { length: u64::from(*n) },
        TypeKind::Varbinary(n) => Make::Bytes { length: parse_length(get("length"), &key("length"), *n)? },
        TypeKind::Date | TypeKind::Time(_) | TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            Make::Past { max_millis: whole("max-past", 0)? }
        }
        other => {
            return Err(Error::invalid(format!("datagen cannot fill the column '{name}' of type {other}"))
                .hint("leave the column out, or compute it from others"));
        }
    };
    Ok((Field { kind: kind.clone(), make, null_rate }, None))
}

fn parse_length(text: Option<&str>, key: &str, limit: u32) -> Result<u64> {
    let length = text.map_or(Ok(TEXT_LENGTH), |text| parse::<u64>(key, text))?;
    Ok(length.min(u64::from(limit)).min(1 << 20))
}

fn parse<T: std::str::FromStr>(key: &str, text: &str) -> Result<T> {
    text.trim()
        .parse()
        .map_err(|_| Error::invalid(format!("option '{key}' is '{text}'")).hint("write a number, as in '100'"))
}

impl SourceConnector for Datagen {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let mut notices = Vec::new();
        let plan = Plan::read(definition, self.seed, &mut notices)?;
        Ok(SourceDescription {
            stream_key: format!("datagen/{}", definition.path),
            table_key: definition.path.to_string(),
            shared: false,
            bounded: plan.rows.is_some(),
            mode: ChangelogMode::InsertOnly,
            notices,
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: &str,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let [table] = <[SourceTable; 1]>::try_from(tables)
            .map_err(|_| Error::invalid("generated tables do not share a stream").hint("start each by itself"))?;
        let plan = Plan::read(&table.definition, self.seed, &mut Vec::new())?;
        let from = match position {
            None => 0,
            Some(bytes) => u64::from_be_bytes(
                bytes
                    .try_into()
                    .map_err(|_| Error::corrupt("a stored position of a generated source is not 8 bytes long"))?,
            ),
        };
        let stop = Stop::default();
        let generator = Generator { source, table, plan, from, events, clock: self.clock.clone(), stop: stop.clone() };
        let thread = std::thread::Builder::new().name(format!("datagen-{}", source.0)).spawn(move || generator.run());
        let thread = thread
            .map_err(|error| Error::unavailable("the thread of a generated source could not start").caused_by(error))?;
        Ok(Box::new(DatagenStream { stop, thread: Some(thread) }))
    }
}

struct Generator {
    source: SourceId,
    table: SourceTable,
    plan: Plan,
    from: u64,
    events: SourceEvents,
    clock: Arc<dyn Clock>,
    stop: Stop,
}

impl Generator {
    /// Delivers rows at the rate until the end or the stop; a receiver that is gone is a stop too.
    fn run(self) {
        let send = |event| self.events.send((self.source, event)).is_ok();
        let table = self.table.id;
        let position = |row: u64| row.to_be_bytes().to_vec();
        if self.table.snapshot.is_none() && !send(SourceEvent::SnapshotDone { table, position: position(self.from) }) {
            return;
        }
        if !send(SourceEvent::Connected) {
            return;
        }
        let end = self.plan.rows.unwrap_or(u64::MAX);
        let started = self.clock.monotonic();
        let (mut row, mut due) = (self.from, self.from);
        while row < end {
            if row == due {
                if self.stop.wait(EVERY) {
                    return;
                }
                let elapsed = self.clock.monotonic().saturating_sub(started).as_millis();
                let made = elapsed.saturating_mul(u128::from(self.plan.rate)) / 1000;
                due = self.from.saturating_add(u64::try_from(made).unwrap_or(u64::MAX)).min(end).max(row);
                continue;
            }
            let to = due.min(row + BATCH_ROWS);
            let now = self.clock.now_micros();
            let batch = self.plan.batch(row, to, now);
            let sent = send(SourceEvent::Rows { table, columns: None, batch })
                && send(SourceEvent::Commit { position: position(to), event_time_micros: now });
            if !sent || self.stop.stopped() {
                return;
            }
            row = to;
        }
        send(SourceEvent::Finished);
    }
}

struct DatagenStream {
    stop: Stop,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SourceStream for DatagenStream {
    fn add_table(&self, _: SourceTable) {}

    fn remove_table(&self, _: u32) {
        self.stop.signal();
    }

    fn acknowledge(&self, _: SourcePosition) {}

    fn stop(mut self: Box<Self>) {
        self.stop.signal();
        // A generator that waits for room in the queue ends when the queue is read or dropped; it is not waited for.
        drop(self.thread.take());
    }

    fn forget(self: Box<Self>) -> Result<()> {
        self.stop();
        Ok(())
    }
}

impl Drop for DatagenStream {
    fn drop(&mut self) {
        self.stop.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridhouse_base::clock::SystemClock;
    use gridhouse_base::table::ObjectPath;
    use gridhouse_base::{Column, Schema};
    use std::sync::mpsc::sync_channel;

    fn table(options: &[(&str, &str)]) -> TableDef {
        let columns = [
            ("id", TypeKind::BigInt),
            ("load_mw", TypeKind::Double),
            ("name", TypeKind::STRING),
            ("price", TypeKind::Decimal { precision: 6, scale: 2 }),
        ];
        TableDef {
            path: ObjectPath::new("c", "d", "meters"),
            column_kinds: vec![ColumnKind::Physical; columns.len()],
            schema: Schema::new(columns.map(|(name, kind)| Column::new(name, kind.nullable())).into()),
            primary_key: vec![],
            partitioned_by: vec![],
            watermark: None,
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            comment: None,
        }
    }

    const OPTIONS: [(&str, &str); 9] = [
        ("connector", "datagen"),
        ("rows-per-second", "100000"),
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "1"),
        ("fields.id.end", "500"),
        ("fields.load_mw.min", "10"),
        ("fields.load_mw.max", "20"),
        ("fields.name.length", "8"),
        ("fields.price.max", "5.00"),
    ];

    fn run(position: Option<SourcePosition>) -> Vec<Vec<Value>> {
        let connector = Datagen { clock: Arc::new(SystemClock::new()), seed: 3 };
        let definition = Arc::new(table(&OPTIONS));
        let (sender, events) = sync_channel(2);
        let source = SourceTable { id: 1, definition: definition.clone(), snapshot: position.clone() };
        let _stream = connector.start(SourceId(1), "", vec![source], position, sender).unwrap();
        let mut rows = Vec::new();
        loop {
            match events.recv_timeout(Duration::from_secs(20)).unwrap().1 {
                SourceEvent::Finished => return rows,
                SourceEvent::Rows { batch, .. } => {
                    for row in 0..batch.len() {
                        let columns = batch.columns.iter().zip(&definition.schema.columns);
                        rows.push(columns.map(|(array, c)| Value::from_array(array, row, &c.sql_type.kind)).collect());
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_bounded_source_ends_and_resumes_with_the_same_rows() {
        let connector = Datagen { clock: Arc::new(SystemClock::new()), seed: 3 };
        assert!(connector.describe(&table(&OPTIONS)).unwrap().bounded);
        let rows = run(None);
        assert_eq!(rows.len(), 500);
        assert_eq!((&rows[0][0], &rows[499][0]), (&Value::Integer(1), &Value::Integer(500)));
        for row in &rows {
            let [_, Value::Double(load), Value::Text(name), Value::Decimal(price)] = row.as_slice() else {
                panic!("{row:?}")
            };
            assert!((10.0..=20.0).contains(load) && name.len() == 8 && *price <= 500, "{row:?}");
        }
        assert_eq!(run(Some(200_u64.to_be_bytes().to_vec())), rows[200..]);
    }

    #[test]
    fn wrong_options_name_the_nearest() {
        let connector = Datagen { clock: Arc::new(SystemClock::new()), seed: 3 };
        let hint = |key| connector.describe(&table(&[(key, "1")])).unwrap_err().remedy().unwrap_or_default().to_owned();
        assert_eq!(hint("row-per-second"), "did you mean 'rows-per-second'?");
        assert_eq!(hint("fields.nam.length"), "did you mean 'fields.name.length'?");
    }
}
