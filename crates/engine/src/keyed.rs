//! Queries that name the whole primary key of the one table that they read: answered by looking the rows up.
//!
//! `WHERE k = 5`, `WHERE a = 1 AND b IN (2, 3) AND …`: nothing is planned, no operator is built, and no row is read that has
//! another key. Every condition of the query is applied to what was found, so a key that is looked up in vain, or found
//! twice over, changes nothing; what must hold is only that every row that meets the conditions is among the candidates. Where
//! the conditions are whole numbers for the key columns and nothing else, what was found meets them as it is. Keys of
//! approximate numbers are left to the scan: equal ones may differ in their bytes.

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_select::{concat::concat, take::take};
use gridhouse_base::table::TableDef;
use gridhouse_base::{ChangeBatch, Error, Result, TypeKind};
use gridhouse_expr::cast::cast_array;
use gridhouse_expr::{EvalContext, Expr};
use gridhouse_sql::plan::{Filter, Plan, Scan};
use gridhouse_store::TableSnapshot;

use crate::query::{cut, sorted};

/// How many keys a query may name: what comes to more is scanned for. One chunk's worth; a scan of as many rows costs less than
/// that many look-ups in any order.
const MOST_KEYS: usize = 65_536;

/// A filter over a table whose whole key it binds.
pub(crate) struct Keyed<'p> {
    pub(crate) scan: &'p Scan,
    filter: &'p Filter,
    /// Per key column the constants that it may be equal to.
    values: Vec<Vec<&'p Expr>>,
    /// Whether the filter says nothing but what the key's columns are equal to, all of them whole numbers.
    is_whole: bool,
}

impl<'p> Keyed<'p> {
    /// What `plan` looks up, if it is a look-up with nothing around it but projections, filters, an order and a limit.
    pub(crate) fn of(plan: &'p Plan) -> Option<Self> {
        match plan {
            Plan::Filter(filter) => match filter.input.as_ref() {
                Plan::Scan(scan) => Self::bound(scan, filter),
                input => Self::of(input),
            },
            Plan::Project(project) => Self::of(&project.input),
            Plan::Limit(limit) => Self::of(&limit.input),
            Plan::Sort(sort) => Self::of(&sort.input),
            _ => None,
        }
    }

    fn bound(scan: &'p Scan, filter: &'p Filter) -> Option<Self> {
        let table = &scan.table;
        if table.primary_key.is_empty() || table.connector().is_some() {
            return None;
        }
        let mut values: Vec<Option<Vec<&Expr>>> = vec![None; table.primary_key.len()];
        let (mut conditions, mut whole) = (0, 0);
        each_conjunct(&filter.predicate, &mut |condition| {
            conditions += 1;
            let Some((column, constants)) = equalities(condition) else { return };
            let Some(key) = scan.columns.get(column).and_then(|c| table.primary_key.iter().position(|k| k == c)) else {
                return;
            };
            let kind = &table.schema.columns[table.primary_key[key]].sql_type.kind;
            whole += usize::from(kind.is_integer() && constants.iter().all(|constant| constant.kind().is_integer()));
            // The fewest constants are the best bound.
            let better = values[key].as_ref().is_none_or(|known| known.len() > constants.len());
            if better && constants.iter().all(|constant| can_find(kind, constant.kind())) {
                values[key] = Some(constants);
            }
        });
        let values = values.into_iter().collect::<Option<Vec<_>>>()?;
        let count = values.iter().try_fold(1_usize, |count, values| count.checked_mul(values.len()))?;
        // As many conditions as columns, which are all bound, are one for each.
        let is_whole = conditions == values.len() && whole == conditions;
        (count <= MOST_KEYS).then_some(Self { scan, filter, values, is_whole })
    }

    /// How many keys it names.
    pub(crate) fn count(&self) -> usize {
        self.values.iter().map(Vec::len).product()
    }

    /// For `EXPLAIN`: what is looked up.
    pub(crate) fn text(&self) -> String {
        let table = &self.scan.table;
        let columns: Vec<&str> = table.primary_key.iter().map(|&k| table.schema.columns[k].name.as_str()).collect();
        let (count, columns) = (self.count(), columns.join(", "));
        let keys = if count == 1 { "key" } else { "keys" };
        format!("Look-up: {count} {keys} ({columns}) of {}", table.path)
    }

    /// The rows of `plan`, which this is the look-up of, from the table that it reads.
    ///
    /// # Errors
    /// What an expression gives for a row that it cannot compute; those of the store.
    pub(crate) fn rows(&self, plan: &Plan, table: &TableSnapshot, context: &EvalContext) -> Result<Vec<ChangeBatch>> {
        match plan {
            Plan::Filter(filter) if std::ptr::eq(filter, self.filter) => {
                let found = self.found(table, context)?;
                if self.is_whole {
                    return Ok(if found.is_empty() { Vec::new() } else { vec![found] });
                }
                Ok(filtered(found, &filter.predicate, context)?.into_iter().collect())
            }
            Plan::Filter(filter) => {
                let rows = self.rows(&filter.input, table, context)?;
                let kept = rows.into_iter().map(|rows| filtered(rows, &filter.predicate, context));
                kept.filter_map(Result::transpose).collect()
            }
            Plan::Project(project) => {
                let rows = self.rows(&project.input, table, context)?;
                let projected = rows.iter().map(|rows| {
                    let column = |expr: &Expr| expr.eval(rows.columns(), rows.len(), context);
                    let columns = project.exprs.iter().map(column).collect::<Result<Vec<_>>>()?;
                    Ok(ChangeBatch::insertions(columns, rows.len()))
                });
                projected.collect()
            }
            Plan::Limit(limit) => Ok(cut(self.rows(&limit.input, table, context)?, limit.offset, limit.fetch)),
            Plan::Sort(sort) => sorted(self.rows(&sort.input, table, context)?, &sort.keys),
            _ => Err(Error::internal("a look-up has lost its plan")),
        }
    }

    /// The rows that have one of the keys: the columns that the scan reads.
    fn found(&self, table: &TableSnapshot, context: &EvalContext) -> Result<ChangeBatch> {
        let definition: &TableDef = &self.scan.table;
        let mut keys: Vec<ArrayRef> = Vec::with_capacity(self.values.len());
        for (key, constants) in definition.primary_key.iter().zip(&self.values) {
            let kind = &definition.schema.columns[*key].sql_type.kind;
            keys.push(key_values(kind, constants, context)?);
        }
        if keys.len() > 1 {
            keys = product(keys)?;
        }
        let stored: Vec<usize> = definition.physical().collect();
        let place = |column: &usize| {
            let place = stored.iter().position(|s| s == column);
            place.ok_or_else(|| Error::internal("a scan reads a column that is not stored"))
        };
        let columns = self.scan.columns.iter().map(place).collect::<Result<Vec<_>>>()?;
        // The definition names the key's columns in its own order, the store in that of its spec: they are the same.
        Ok(table.get_columns(&keys, Some(&columns))?.1)
    }
}

/// Calls `f` with every condition that must hold for `predicate` to.
fn each_conjunct<'p>(predicate: &'p Expr, f: &mut impl FnMut(&'p Expr)) {
    match predicate {
        Expr::And(operands) => operands.iter().for_each(|operand| each_conjunct(operand, f)),
        other => f(other),
    }
}

/// The column that a condition binds, and the constants that it may be equal to.
fn equalities(condition: &Expr) -> Option<(usize, Vec<&Expr>)> {
    match condition {
        Expr::Call { function, args, .. } if function.name == "=" => {
            let [left, right] = args.as_slice() else { return None };
            match (column_of(left), column_of(right)) {
                (Some(column), None) if right.is_constant() => Some((column, vec![right])),
                (None, Some(column)) if left.is_constant() => Some((column, vec![left])),
                _ => None,
            }
        }
        Expr::Call { function, args, .. } if function.name == "IN" => {
            let (operand, list) = args.split_first()?;
            let column = column_of(operand)?;
            list.iter().all(Expr::is_constant).then(|| (column, list.iter().collect()))
        }
        _ => None,
    }
}

/// The column that an operand is, perhaps in a wider type of its family: different values stay different there.
fn column_of(operand: &Expr) -> Option<usize> {
    match operand {
        Expr::Column { index, .. } => Some(*index),
        Expr::Cast { input, sql_type, .. } => {
            let index = input.as_column()?;
            widens(input.kind(), &sql_type.kind).then_some(index)
        }
        _ => None,
    }
}

/// Whether every value of `from` is another value of `to`.
fn widens(from: &TypeKind, to: &TypeKind) -> bool {
    match (from, to) {
        (TypeKind::Decimal { precision, scale }, TypeKind::Decimal { precision: p, scale: s }) => {
            s >= scale && i16::from(*p) - i16::from(*s) >= i16::from(*precision) - i16::from(*scale)
        }
        (TypeKind::Timestamp(from), TypeKind::Timestamp(to))
        | (TypeKind::TimestampLtz(from), TypeKind::TimestampLtz(to)) => to >= from,
        (from, TypeKind::Decimal { precision, scale }) if from.is_integer() => {
            whole_digits(from).is_some_and(|digits| precision.saturating_sub(*scale) >= digits)
        }
        (from, to) => match (whole_digits(from), whole_digits(to)) {
            (Some(from), Some(to)) => to >= from,
            _ => false,
        },
    }
}

/// The digits that a type of whole numbers may need.
fn whole_digits(kind: &TypeKind) -> Option<u8> {
    match kind {
        TypeKind::TinyInt => Some(3),
        TypeKind::SmallInt => Some(5),
        TypeKind::Int => Some(10),
        TypeKind::BigInt => Some(19),
        _ => None,
    }
}

/// Whether a constant of one kind, brought to the kind of a key column, finds every key that is equal to it.
fn can_find(key: &TypeKind, constant: &TypeKind) -> bool {
    let is_exact = |kind: &TypeKind| kind.is_integer() || matches!(kind, TypeKind::Decimal { .. });
    match (key, constant) {
        (_, TypeKind::Null) => true,
        (TypeKind::Varchar(_), constant) => constant.is_text(),
        // Blanks at the end are part of a CHAR.
        (TypeKind::Char(n), TypeKind::Char(m)) => n == m,
        (TypeKind::Timestamp(_), TypeKind::Timestamp(_)) | (TypeKind::TimestampLtz(_), TypeKind::TimestampLtz(_)) => {
            true
        }
        (key, constant) => key == constant || (is_exact(key) && is_exact(constant)),
    }
}

/// The constants as values of a key column, each once. What is no value of the column has no row: it is left out.
fn key_values(kind: &TypeKind, constants: &[&Expr], context: &EvalContext) -> Result<ArrayRef> {
    let mut arrays = Vec::with_capacity(constants.len());
    for constant in constants {
        let array = constant.eval(&[], 1, context)?;
        // Text is looked up as it stands: one that is too long for the column must not be cut to one that is there.
        let array = if kind.is_text() { array } else { cast_array(&array, constant.kind(), kind, true, context)? };
        if array.is_valid(0) && array.data_type() == &kind.arrow() {
            arrays.push(array);
        }
    }
    let all = match arrays.as_slice() {
        [] => return Ok(arrow_array::new_empty_array(&kind.arrow())),
        [one] => return Ok(one.clone()),
        many => concat(&many.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>()).map_err(internal)?,
    };
    let converter = RowConverter::new(vec![SortField::new(all.data_type().clone())]).map_err(internal)?;
    let rows = converter.convert_columns(std::slice::from_ref(&all)).map_err(internal)?;
    let mut order: Vec<u32> = (0..all.len() as u32).collect();
    order.sort_unstable_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
    order.dedup_by(|a, b| rows.row(*a as usize) == rows.row(*b as usize));
    take(&all, &UInt32Array::from(order), None).map_err(internal)
}

/// All combinations of the columns' values.
fn product(columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
    let total: usize = columns.iter().map(|column| column.len()).product();
    let mut repeat = total;
    let mut out = Vec::with_capacity(columns.len());
    for column in columns {
        repeat = repeat.checked_div(column.len()).unwrap_or(0);
        let position = |i: usize| (i / repeat.max(1) % column.len().max(1)) as u32;
        let positions = UInt32Array::from_iter_values((0..total).map(position));
        out.push(take(&column, &positions, None).map_err(internal)?);
    }
    Ok(out)
}

fn filtered(rows: ChangeBatch, predicate: &Expr, context: &EvalContext) -> Result<Option<ChangeBatch>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mask = predicate.eval_mask(rows.columns(), rows.len(), context)?;
    if mask.true_count() == rows.len() {
        return Ok(Some(rows));
    }
    let kept = rows.filter(&mask)?;
    Ok((!kept.is_empty()).then_some(kept))
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal("keys could not be gathered").caused_by(error)
}
