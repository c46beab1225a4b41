//! The source `datagen`: rows made up, with Flink's own option keys.
//!
//! Row n of a table is a function of (seed, table, n), except times, which are those of the clock: a stream that resumes at
//! a position goes on with the rows that would have come. The position is the number of rows delivered. With
//! `number-of-rows`, or a sequence, the source is bounded.

mod make;
mod plan;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gridhouse_base::clock::Clock;
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, Error, Result, SourceId};
use gridhouse_flow::connector::{
    ChangelogMode, ScanConnector, ScanRequest, ScanRows, SourceConnector, SourceDescription, SourceEvent, SourceEvents,
    SourcePosition, SourceStream, SourceTable, StreamPlace,
};

use self::plan::Plan;
use crate::LinkContext;
use crate::stop::Stop;

/// How often rows are delivered: often enough to look steady, rare enough that a commit has many rows.
const EVERY: Duration = Duration::from_millis(20);

/// Rows of one commit at most: one chunk of the engine.
const BATCH_ROWS: u64 = 16_384;

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

impl SourceConnector for Datagen {
    fn describe(&self, definition: &TableDef) -> Result<SourceDescription> {
        let mut notices = Vec::new();
        let plan = Plan::read(definition, self.seed, &mut notices)?;
        Ok(SourceDescription {
            stream_key: format!("datagen/{}", definition.path),
            table_key: definition.path.to_string(),
            shared: false,
            bounded: plan.rows.is_some(),
            // Rows of one key follow each other: the last stands.
            mode: if definition.primary_key.is_empty() { ChangelogMode::InsertOnly } else { ChangelogMode::Upsert },
            notices,
        })
    }

    fn start(
        &self,
        source: SourceId,
        _: StreamPlace<'_>,
        tables: Vec<SourceTable>,
        position: Option<SourcePosition>,
        events: SourceEvents,
    ) -> Result<Box<dyn SourceStream>> {
        let [table] = <[SourceTable; 1]>::try_from(tables)
            .map_err(|_| Error::invalid("generated tables do not share a stream").hint("start each by itself"))?;
        let plan = Plan::read(&table.definition, self.seed, &mut Vec::new())?;
        // Where nothing of it is held, all of it is made, wherever an earlier generator stood.
        let from = match position.filter(|_| table.snapshot.is_some()) {
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

impl ScanConnector for Datagen {
    fn scan(&self, definition: &TableDef, request: &ScanRequest) -> Result<ScanRows> {
        let plan = Plan::read(definition, self.seed, &mut Vec::new())?;
        let limit = request.limit.filter(|_| request.filters.is_empty());
        let Some(end) = plan.rows.into_iter().chain(limit).min() else {
            return Err(Error::invalid(format!("the rows of {} have no end", definition.path)).hint(
                "add LIMIT, set 'number-of-rows', make a column a sequence, or read the table with a continuous INSERT",
            ));
        };
        let physical: Vec<usize> = definition.physical().collect();
        let place = |i: &usize| {
            physical.iter().position(|p| p == i).ok_or_else(|| Error::internal(format!("column {i} is not made up")))
        };
        let columns: Vec<usize> = request.columns.iter().map(place).collect::<Result<_>>()?;
        let clock = self.clock.clone();
        let batches = (0..end).step_by(BATCH_ROWS as usize).map(move |from| {
            let to = end.min(from + BATCH_ROWS);
            let batch = plan.batch(from, to, clock.now_micros());
            let columns = columns.iter().map(|&at| batch.columns[at].clone()).collect();
            Ok(ChangeBatch::insertions(columns, (to - from) as usize))
        });
        Ok(Box::new(batches))
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
                && send(SourceEvent::Commit { position: position(to), event_time_micros: now, received_micros: now });
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

    fn read_again(&self, _: u32) {}

    fn remove_table(&self, _: u32) {
        self.stop.signal();
    }

    fn acknowledge(&self, _: SourcePosition) {}

    fn stop(mut self: Box<Self>) {
        self.stop.signal();
        // A generator that waits for room in the queue ends when the queue is read or dropped; it is not waited for.
        drop(self.thread.take());
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
    use gridhouse_base::table::{ColumnKind, ObjectPath};
    use gridhouse_base::{Column, Field, Schema, TypeKind, Value};
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
        run_holding(position.clone(), position)
    }

    fn run_holding(snapshot: Option<SourcePosition>, position: Option<SourcePosition>) -> Vec<Vec<Value>> {
        let connector = Datagen { clock: Arc::new(SystemClock::new()), seed: 3 };
        let definition = Arc::new(table(&OPTIONS));
        let (sender, events) = sync_channel(2);
        let source = SourceTable { id: 1, definition: definition.clone(), snapshot };
        let place = StreamPlace { key: "", definition: &definition, store: 7 };
        let _stream = connector.start(SourceId(1), place, vec![source], position, sender).unwrap();
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
        let position = Some(200_u64.to_be_bytes().to_vec());
        assert_eq!(run(position.clone()), rows[200..]);
        assert_eq!(run_holding(None, position), rows, "another query in the place of one that had come so far");
    }

    fn scan(definition: &TableDef, limit: Option<u64>) -> Result<Vec<Vec<Value>>> {
        let connector = Datagen { clock: Arc::new(SystemClock::new()), seed: 3 };
        let columns = (0..definition.schema.len()).collect();
        let batches = connector.scan(definition, &ScanRequest { columns, limit, ..ScanRequest::default() })?;
        let mut rows = Vec::new();
        for batch in batches {
            let batch = batch?;
            for row in 0..batch.len() {
                let columns = batch.columns().iter().zip(&definition.schema.columns);
                rows.push(columns.map(|(array, c)| Value::from_array(array, row, &c.sql_type.kind)).collect());
            }
        }
        Ok(rows)
    }

    #[test]
    fn a_query_reads_what_a_job_reads() {
        assert_eq!(scan(&table(&OPTIONS), None).unwrap(), run(None));
        let endless = table(&OPTIONS[..2]);
        assert_eq!(scan(&endless, Some(20_000)).unwrap().len(), 20_000);
        let error = scan(&endless, None).unwrap_err();
        assert_eq!(error.message(), "the rows of c.d.meters have no end");
    }

    #[test]
    fn every_type_has_values_within_its_bounds() {
        let array = |kind: TypeKind| TypeKind::Array(Box::new(kind.nullable()));
        let row = TypeKind::Row(vec![Field { name: "x".into(), sql_type: TypeKind::Int.nullable() }]);
        let columns = [
            ("s", TypeKind::Varchar(5)),
            ("v", TypeKind::STRING),
            ("c", TypeKind::Char(4)),
            ("y", TypeKind::BYTES),
            ("n", TypeKind::Decimal { precision: 38, scale: 2 }),
            ("t", TypeKind::Timestamp(0)),
            ("d", TypeKind::Date),
            ("m", TypeKind::IntervalYearMonth),
            ("a", array(row)),
            ("p", TypeKind::Map(Box::new(TypeKind::STRING.not_null()), Box::new(TypeKind::TinyInt.nullable()))),
        ];
        let options = [
            ("number-of-rows", "500"),
            ("fields.v.length", "9"),
            ("fields.v.var-len", "true"),
            ("fields.y.length", "3"),
            ("fields.n.min", "-99999999999999999999999999999999999.99"),
            ("fields.n.max", "0.01"),
            ("fields.t.max-past", "1 h"),
            ("fields.m.max", "12"),
            ("fields.a.length", "2"),
            ("fields.a.null-rate", "0.5"),
            ("fields.a.element.x.min", "7"),
            ("fields.a.element.x.max", "7"),
            ("fields.p.key.length", "6"),
            ("fields.p.value.max", "1"),
        ];
        let mut definition = table(&options);
        definition.schema = Schema::new(columns.map(|(name, kind)| Column::new(name, kind.nullable())).into());
        definition.column_kinds = vec![ColumnKind::Physical; definition.schema.len()];
        let rows = scan(&definition, None).unwrap();
        assert_eq!(rows.len(), 500);
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        assert!(rows.iter().all(|row| text(&row[0]) == 5 && text(&row[2]) == 4));
        let lengths: std::collections::BTreeSet<usize> = rows.iter().map(|row| text(&row[1])).collect();
        assert!(lengths.iter().eq(&(1..=9).collect::<Vec<_>>()), "{lengths:?}");
        assert!(rows.iter().all(|row| matches!(&row[4], Value::Decimal(n) if *n <= 1)));
        assert!(rows.iter().any(|row| matches!(&row[4], Value::Decimal(n) if *n < -10_i128.pow(36))));
        assert!(rows.iter().all(|row| matches!(&row[5], Value::Integer(t) if t % 1000 == 0)), "whole seconds");
        assert!(rows.iter().all(|row| matches!(&row[7], Value::Integer(0..=12))));
        let sevens = Value::Array(vec![Value::Row(vec![Value::Integer(7)]); 2]);
        assert!(rows.iter().all(|row| row[8] == sevens || row[8].is_null()));
        assert!((100..400).contains(&rows.iter().filter(|row| row[8].is_null()).count()));
        for row in &rows {
            let Value::Map(entries) = &row[9] else { panic!("{row:?}") };
            assert!(entries.iter().all(|(key, value)| text(key) == 6 && matches!(value, Value::Integer(-128..=1))));
        }
    }

    #[test]
    fn wrong_options_name_the_nearest() {
        let connector = Datagen { clock: Arc::new(SystemClock::new()), seed: 3 };
        let hint = |key| connector.describe(&table(&[(key, "1")])).unwrap_err().remedy().unwrap_or_default().to_owned();
        assert_eq!(hint("row-per-second"), "did you mean 'rows-per-second'?");
        assert_eq!(hint("fields.nam.length"), "did you mean 'fields.name.length'?");
        assert_eq!(
            hint("fields.name.distribution"),
            "known options: fields.name.null-rate, fields.name.kind, fields.name.length, fields.name.var-len"
        );
        let wrong = |options: &[(&str, &str)]| connector.describe(&table(options)).unwrap_err().message().to_owned();
        assert_eq!(
            wrong(&[("fields.price.max", "99999")]),
            "option 'fields.price.max' is '99999', which does not fit DECIMAL(6, 2)"
        );
        assert_eq!(
            wrong(&[("fields.id.min", "3"), ("fields.id.max", "1")]),
            "option 'fields.id.min' is larger than 'fields.id.max'"
        );
    }
}
