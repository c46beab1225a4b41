//! `CHECK TABLE`: everything that must be true of a table's rows on disk and in memory, and of the log that a restart would read,
//! looked at while the engine works.

use std::sync::Arc;

use gridhouse_base::{Error, Result, TableId, TypeKind, Value};
use gridhouse_sql::ast::ObjectName;
use gridhouse_sql::catalog::{Relation, resolve};
use gridhouse_store::Checked;

use crate::catalog::{SYSTEM_CATALOG, Scope};
use crate::outcome::Outcome;
use crate::session::Session;
use crate::system::{batch_of, schema_of, text};

const COLUMNS: &[(&str, TypeKind, bool)] = &[
    ("table_name", TypeKind::STRING, false),
    ("bucket", TypeKind::Int, true),
    ("what", TypeKind::STRING, false),
    ("rows", TypeKind::BigInt, false),
    ("bytes", TypeKind::BigInt, false),
    ("verdict", TypeKind::STRING, false),
];

/// What stands for a table's name in the parts that concern the log.
const LOG: &str = "(log)";

/// The verdict where nothing is wrong.
const SOUND: &str = "ok";

impl Session {
    /// Checks a table, or all of them, hidden ones too, over the last durable tick.
    ///
    /// # Errors
    /// `NotFound` where there is no such table, `Invalid` where its rows are not kept here. What is wrong with a table is told in
    /// the answer.
    pub(crate) fn check(&mut self, name: Option<&ObjectName>) -> Result<Outcome> {
        let catalog = self.catalog();
        let snapshot = self.snapshot()?;
        let tables: Vec<(String, TableId)> = match name {
            Some(name) => {
                let scope = Scope { catalog: &catalog, temporary: &self.temporary };
                let not_here = |what: &str| {
                    Err(Error::invalid(format!("{name} {what}"))
                        .hint("a table without connector can be checked; CHECK TABLES checks all of them")
                        .at(name.at()))
                };
                match resolve(&scope, &self.context, name)? {
                    Relation::View(_) => return not_here("is a view: it holds no rows"),
                    Relation::Table(definition) => match catalog.table_id(&definition.path) {
                        Some(id) if definition.path.catalog != SYSTEM_CATALOG => {
                            vec![(definition.path.to_string(), id)]
                        }
                        _ => return not_here("has no rows here"),
                    },
                }
            }
            None => snapshot.tables().map(|table| (table.spec().name.clone(), table.id())).collect(),
        };
        let mut rows = Vec::new();
        let mut faults = 0;
        let mut take = |name: &str, part: Checked| {
            faults += usize::from(part.fault.is_some());
            let verdict: Arc<str> = part.fault.as_deref().unwrap_or(SOUND).into();
            rows.push(vec![
                text(name),
                part.bucket.map_or(Value::Null, |bucket| Value::Integer(bucket.into())),
                text(part.what),
                Value::Integer(part.rows as i64),
                Value::Integer(part.bytes as i64),
                text(verdict),
            ]);
        };
        for (name, id) in tables {
            for part in snapshot.table(id)?.check()? {
                take(&name, part);
            }
        }
        // What a table has taken since the last checkpoint is durable in the log alone. The core says where that is; it is read here.
        let log = self.engine.call(|core| core.store.log_span())??;
        for part in log.check()? {
            take(LOG, part);
        }
        if faults > 0 {
            self.notice(format!(
                "{faults} checks have failed: restore the data directory from a backup, and look at the machine's memory and disk"
            ));
        }
        Ok(Outcome::Rows { schema: schema_of(COLUMNS).into(), batches: vec![batch_of(COLUMNS, rows)] })
    }
}
