//! Inserted rows whose key is there already, where the statement says what becomes of the row that has it.

use std::collections::HashMap;

use gridhouse_base::{ChangeBatch, Error, Result, TableId, Value};
use gridhouse_expr::EvalContext;
use gridhouse_sql::plan::BoundInsert;
use gridhouse_store::Snapshot;

/// The rows to write in place of `rows`, which are whole rows of the target in the order in which they were given: a row whose
/// key is new as it is, else the row that is there with the statement's assignments. Rows of one statement see those before
/// them.
///
/// # Errors
/// What an assignment gives for a row that it cannot compute.
pub(crate) fn settled(
    insert: &BoundInsert,
    table: TableId,
    snapshot: &Snapshot,
    rows: Vec<ChangeBatch>,
    context: &EvalContext,
) -> Result<Vec<ChangeBatch>> {
    let Some(assignments) = &insert.on_key else { return Ok(rows) };
    let definition = &insert.target;
    let stored: Vec<usize> = definition.physical().collect();
    let kind = |column: usize| &definition.schema.columns[column].sql_type.kind;
    let place = |column: usize| stored.iter().position(|s| *s == column).expect("a key's columns are stored");
    let own = snapshot.table(table)?;
    // The rows of this statement as they stand so far, in the order in which they came first.
    let mut settled: Vec<Vec<Value>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for batch in &rows {
        for i in 0..batch.len() {
            let value = |(at, column): (usize, &usize)| Value::from_array(batch.column(at), i, kind(*column));
            let given: Vec<Value> = stored.iter().enumerate().map(value).collect();
            let key: Vec<Value> = definition.primary_key.iter().map(|&column| given[place(column)].clone()).collect();
            let name = format!("{key:?}");
            let old = match known.get(&name) {
                Some(&index) => Some(settled[index].clone()),
                None => own.get(&key)?,
            };
            let row = match old {
                None => given,
                Some(mut row) => {
                    // A column of the row that is there, or, behind those, of the one that was given.
                    let width = definition.schema.len();
                    let columns = (0..2 * width).map(|index| {
                        let (values, column) = if index < width { (&row, index) } else { (&given, index - width) };
                        let value = stored.iter().position(|s| *s == column).map_or(&Value::Null, |at| &values[at]);
                        value.to_array(kind(column), 1)
                    });
                    let columns: Vec<_> = columns.collect();
                    let mut changed = Vec::with_capacity(assignments.len());
                    for (column, expr) in assignments {
                        let array = expr.eval(&columns, 1, context)?;
                        let value = Value::from_array(&array, 0, kind(*column));
                        let declared = &definition.schema.columns[*column];
                        if value.is_null() && !declared.sql_type.nullable {
                            let (name, path) = (&declared.name, &definition.path);
                            return Err(Error::invalid(format!(
                                "column {name} of {path} does not take NULL, and an assignment gives it"
                            ))
                            .hint("give a value with COALESCE"));
                        }
                        changed.push((place(*column), value));
                    }
                    for (at, value) in changed {
                        row[at] = value;
                    }
                    row
                }
            };
            match known.get(&name) {
                Some(&index) => settled[index] = row,
                None => {
                    known.insert(name, settled.len());
                    settled.push(row);
                }
            }
        }
    }
    let column = |(at, column): (usize, &usize)| {
        let values: Vec<&Value> = settled.iter().map(|row| &row[at]).collect();
        Value::array_of(&values, kind(*column))
    };
    let columns = stored.iter().enumerate().map(column).collect();
    Ok(vec![ChangeBatch::insertions(columns, settled.len())])
}
