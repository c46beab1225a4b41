//! The sinks `print` and `blackhole`: every row as Flink prints it, or nowhere.
//!
//! Neither keeps a position, so after a crash rows may be printed again.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(test)]
use gridhouse_base::batch::KindBatch;
use gridhouse_base::table::TableDef;
use gridhouse_base::{CommitId, Error, Result, Value};
use gridhouse_flow::connector::{
    ChangelogMode, MayGoOn, Sink, SinkChanges, SinkConnector, SinkDescription, SinkWriter,
};

use crate::options::{Keys, Options, Use};
use crate::show;

static PRINT_KEYS: Keys = Keys {
    connector: "print",
    known: &[
        ("print-identifier", Use::Effect),
        ("standard-error", Use::Noted("rows go where the program's output goes")),
        ("sink.parallelism", Use::Noted("a sink has one writer")),
    ],
    prefixes: &[],
};

static BLACKHOLE_KEYS: Keys = Keys { connector: "blackhole", known: &[], prefixes: &[] };

/// Where rows are printed.
pub(crate) type Printer = Arc<Mutex<dyn Write + Send>>;

/// `'connector' = 'print'`
pub struct Print {
    to: Printer,
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Print")
    }
}

impl Print {
    /// Prints to `to`.
    pub fn new(to: Arc<Mutex<dyn Write + Send>>) -> Self {
        Self { to }
    }
}

impl SinkConnector for Print {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mut notices = Vec::new();
        Options::check(&PRINT_KEYS, &definition.options, &mut notices)?;
        Ok(description(definition, "print", notices))
    }

    fn open(&self, definition: Arc<TableDef>, _: SinkWriter) -> Result<Box<dyn Sink>> {
        let options = Options::check(&PRINT_KEYS, &definition.options, &mut Vec::new())?;
        let prefix = options.get("print-identifier").filter(|id| !id.is_empty()).map(|id| format!("{id}> "));
        Ok(Box::new(OpenPrint {
            definition: definition.clone(),
            prefix: prefix.unwrap_or_default(),
            to: self.to.clone(),
            upto: CommitId(0),
        }))
    }
}

/// `'connector' = 'blackhole'`
#[derive(Debug, Default)]
pub struct Blackhole;

impl SinkConnector for Blackhole {
    fn describe(&self, definition: &TableDef) -> Result<SinkDescription> {
        let mut notices = Vec::new();
        Options::check(&BLACKHOLE_KEYS, &definition.options, &mut notices)?;
        Ok(description(definition, "blackhole", notices))
    }

    fn open(&self, _: Arc<TableDef>, _: SinkWriter) -> Result<Box<dyn Sink>> {
        Ok(Box::new(OpenBlackhole { upto: CommitId(0) }))
    }
}

fn description(definition: &TableDef, connector: &str, notices: Vec<String>) -> SinkDescription {
    let target_key = format!("{connector}/{}", definition.path);
    SinkDescription { target_key, mode: ChangelogMode::All, exactly_once: false, notices }
}

struct OpenPrint {
    definition: Arc<TableDef>,
    prefix: String,
    to: Printer,
    upto: CommitId,
}

impl Sink for OpenPrint {
    fn claim(&mut self, _: MayGoOn<'_>) -> Result<CommitId> {
        Ok(self.upto)
    }

    fn write_changes(&mut self, _: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        let kinds: Vec<_> =
            self.definition.physical().map(|i| &self.definition.schema.columns[i].sql_type.kind).collect();
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for batch in changes {
            let batch = batch?;
            text.clear();
            for row in 0..batch.len() {
                text.push_str(&self.prefix);
                text.push_str(batch.kinds[row].short());
                text.push('[');
                for (i, (column, kind)) in batch.columns.iter().zip(&kinds).enumerate() {
                    if i > 0 {
                        text.push_str(", ");
                    }
                    show::value(&Value::from_array(column, row, kind), kind, &mut text);
                }
                text.push_str("]\n");
            }
            to.write_all(text.as_bytes()).map_err(unwritten)?;
        }
        to.flush().map_err(unwritten)?;
        self.upto = upto;
        Ok(())
    }
}

fn unwritten(error: std::io::Error) -> Error {
    Error::unavailable("the output of 'print' cannot be written").caused_by(error)
}

struct OpenBlackhole {
    upto: CommitId,
}

impl Sink for OpenBlackhole {
    fn claim(&mut self, _: MayGoOn<'_>) -> Result<CommitId> {
        Ok(self.upto)
    }

    fn write_changes(&mut self, _: CommitId, upto: CommitId, changes: &mut SinkChanges<'_>) -> Result<()> {
        for batch in changes {
            batch?;
        }
        self.upto = upto;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int32Array, StringArray};
    use gridhouse_base::batch::RowKind;
    use gridhouse_base::table::{ColumnKind, ObjectPath};
    use gridhouse_base::{Column, Schema, TypeKind};

    #[test]
    fn rows_print_as_flink_prints_them() {
        let columns =
            vec![Column::new("id", TypeKind::Int.nullable()), Column::new("name", TypeKind::STRING.nullable())];
        let definition = Arc::new(TableDef {
            path: ObjectPath::new("c", "d", "t"),
            column_kinds: vec![ColumnKind::Physical; 2],
            schema: Schema::new(columns),
            primary_key: vec![],
            partitioned_by: vec![],
            watermark: None,
            options: [("print-identifier".to_owned(), "out".to_owned())].into(),
            comment: None,
        });
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let print = Print::new(buffer.clone());
        let writer = SinkWriter { store: 1, sink: "t".into(), history: 1, written: false };
        let mut sink = print.open(definition, writer).unwrap();
        let columns =
            vec![Arc::new(Int32Array::from(vec![1, 2])) as _, Arc::new(StringArray::from(vec![Some("a"), None])) as _];
        let batch = KindBatch::new(columns, vec![RowKind::Insert, RowKind::Delete]);
        sink.write(CommitId(0), CommitId(5), &[batch]).unwrap();
        assert_eq!(String::from_utf8(buffer.lock().unwrap().clone()).unwrap(), "out> +I[1, a]\nout> -D[2, null]\n");
        assert_eq!(sink.position().unwrap(), CommitId(5));
    }
}
