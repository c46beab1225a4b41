//! Outside tables in bounded queries: each is read once, on the session's thread, and then queried like a table of ours.
//!
//! A reference to an outside table in a plan becomes one to a table of the query's own, whose rows are what the connector gave:
//! only the columns that the query uses, and, where the connector can, only the rows that the filter right above lets pass or
//! that a limit asks for. The plan keeps filter and limit, so a connector that cannot apply them changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef};
use gridhouse_base::{ChangeBatch, Error, Result, TableId};
use gridhouse_expr::Expr;
use gridhouse_flow::connector::ScanRequest;
use gridhouse_sql::plan::{Plan, Scan, conjuncts};

use crate::catalog::SYSTEM_CATALOG;
use crate::prepare::{Connectors, with_hints};

/// The database, within the system's catalog, in which the read tables of a query are named.
const OUTSIDE: &str = "outside";
/// Ids of read tables are counted down from here: below those of the virtual tables, far above those of the store.
const FIRST_ID: u32 = u32::MAX - (1 << 16);

/// The rows of outside tables for one query.
#[derive(Default)]
pub(crate) struct OutsideRows {
    ids: BTreeMap<ObjectPath, TableId>,
    rows: BTreeMap<TableId, Vec<ChangeBatch>>,
}

impl OutsideRows {
    /// The table that stands for a reference, if `path` is one.
    pub(crate) fn table_id(&self, path: &ObjectPath) -> Option<TableId> {
        self.ids.get(path).copied()
    }

    /// The rows that were read for a table, if it is one of these.
    pub(crate) fn rows(&self, table: TableId) -> Option<&[ChangeBatch]> {
        self.rows.get(&table).map(Vec::as_slice)
    }

    /// Reads every outside table of `plan`; gives the plan over what was read.
    ///
    /// # Errors
    /// `Invalid` for a table that has no end, or cannot be read; those of the connectors.
    pub(crate) fn read(plan: Plan, connectors: &Connectors) -> Result<(Plan, Self)> {
        if plan.tables().iter().all(|table| table.connector().is_none()) {
            return Ok((plan, Self::default()));
        }
        let mut reading = Reading { connectors, read: Self::default(), failed: None };
        let plan = reading.node(plan, None);
        match reading.failed {
            Some(error) => Err(error),
            None => Ok((plan, reading.read)),
        }
    }
}

struct Reading<'a> {
    connectors: &'a Connectors,
    read: OutsideRows,
    /// The first error; nothing is read after it.
    failed: Option<Error>,
}

impl Reading<'_> {
    /// `plan` over what is read; `limit` rows of it are enough.
    fn node(&mut self, plan: Plan, limit: Option<u64>) -> Plan {
        match plan {
            Plan::Scan(scan) if scan.table.connector().is_some() => self.scan(scan, &[], limit),
            Plan::Filter(mut filter) => {
                filter.input = Box::new(match *filter.input {
                    Plan::Scan(scan) if scan.table.connector().is_some() => {
                        let columns: Vec<Expr> = (scan.columns.iter().enumerate())
                            .map(|(i, &index)| Expr::Column {
                                index,
                                sql_type: scan.schema.columns[i].sql_type.clone(),
                            })
                            .collect();
                        let over_table = filter.predicate.substitute(&columns);
                        self.scan(scan, &conjuncts(over_table), None)
                    }
                    input => self.node(input, None),
                });
                Plan::Filter(filter)
            }
            Plan::Project(mut project) => {
                project.input = Box::new(self.node(*project.input, limit));
                Plan::Project(project)
            }
            Plan::Limit(mut node) => {
                let enough = node.fetch.map(|fetch| fetch.saturating_add(node.offset));
                node.input = Box::new(self.node(*node.input, enough));
                Plan::Limit(node)
            }
            other => other.map_inputs(&mut |input| self.node(input, None)),
        }
    }

    fn scan(&mut self, scan: Scan, filters: &[Expr], limit: Option<u64>) -> Plan {
        if self.failed.is_some() {
            return Plan::Scan(scan);
        }
        match self.rows_of(&scan, filters, limit) {
            Ok(rows) => self.stand_in(scan, rows),
            Err(error) => {
                self.failed = Some(error.context(format!("table {}", scan.table.path)));
                Plan::Scan(scan)
            }
        }
    }

    fn rows_of(&self, scan: &Scan, filters: &[Expr], limit: Option<u64>) -> Result<Vec<ChangeBatch>> {
        let definition = with_hints(&scan.table, &scan.hints);
        let connector = self.connectors.scan(&definition)?;
        let filters = filters.iter().filter(|filter| filter.is_deterministic()).cloned().collect();
        let request = ScanRequest { columns: scan.columns.clone(), filters, limit };
        connector.scan(&definition, &request)?.collect()
    }

    /// The reference to the rows that were read in place of the outside table.
    fn stand_in(&mut self, scan: Scan, rows: Vec<ChangeBatch>) -> Plan {
        let number = self.read.ids.len() as u32;
        let id = TableId(FIRST_ID - number);
        let path = ObjectPath::new(SYSTEM_CATALOG, OUTSIDE, format!("{}/{number}", scan.table.path));
        self.read.ids.insert(path.clone(), id);
        self.read.rows.insert(id, rows);
        let definition = TableDef {
            path,
            schema: (*scan.schema).clone(),
            column_kinds: vec![ColumnKind::Physical; scan.schema.len()],
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            watermark: None,
            options: BTreeMap::new(),
            comment: None,
        };
        let columns = (0..scan.columns.len()).collect();
        Plan::Scan(Scan { table: Arc::new(definition), columns, hints: BTreeMap::new(), schema: scan.schema })
    }
}
