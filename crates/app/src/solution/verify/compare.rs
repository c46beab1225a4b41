//! Compares the rows that the source says with the rows that are there, without regard to order.
//!
//! Values are compared as texts; what only the writing differs in (zeros behind the point of a number or a second) is equal, and
//! so are inexact numbers whose last digits differ by the order of additions.

use std::cmp::Ordering;
use std::collections::HashMap;

use tokio_postgres::types::Type;

use crate::solution::database::Row;

/// Inexact numbers may differ by this share: a thousand additions in another order lose less.
const TOLERANCE: f64 = 1e-9;

/// What NULL looks like.
const NULL: &str = "NULL";

/// How the values of a column are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    Instant,
    Inexact,
}

/// A column of an expected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    form: Form,
}

impl Column {
    /// A column called `name` of a PostgreSQL type.
    pub fn new(name: &str, kind: &Type) -> Self {
        let form = match *kind {
            Type::FLOAT4 | Type::FLOAT8 => Form::Inexact,
            Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC => Form::Number,
            Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => Form::Instant,
            _ => Form::Text,
        };
        Self { name: name.into(), form }
    }
}

/// A row that should be another, be there, or not be there.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the source says.
    pub wanted: Option<Row>,
    /// What is there.
    pub found: Option<Row>,
}

impl Difference {
    /// The columns that differ, with the two values; all of them where one row is missing.
    pub fn cells<'a>(
        &'a self,
        columns: &'a [Column],
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>, Option<&'a str>)> {
        let shown = |row: &'a Option<Row>, i: usize| row.as_ref().map(|row| row[i].as_deref().unwrap_or(NULL));
        columns.iter().enumerate().filter_map(move |(i, column)| {
            let (wanted, found) = (shown(&self.wanted, i), shown(&self.found, i));
            let differs = match (&self.wanted, &self.found) {
                (Some(wanted), Some(found)) => !same_value(column.form, &wanted[i], &found[i]),
                _ => true,
            };
            differs.then_some((column.name.as_str(), wanted, found))
        })
    }
}

/// One row, ready to be compared.
struct Comparable<'a> {
    exact: Vec<Option<String>>,
    inexact: Vec<Option<f64>>,
    row: &'a Row,
}

impl<'a> Comparable<'a> {
    fn sorted(columns: &[Column], rows: &'a [Row]) -> Vec<Self> {
        let comparable = |row: &'a Row| {
            let (mut exact, mut inexact) = (Vec::new(), Vec::new());
            for (column, value) in columns.iter().zip(row) {
                match column.form {
                    Form::Inexact => inexact.push(value.as_ref().map(|text| text.parse().unwrap_or(f64::NAN))),
                    form => exact.push(value.as_ref().map(|text| canonical(form, text))),
                }
            }
            Self { exact, inexact, row }
        };
        let mut all: Vec<Self> = rows.iter().map(comparable).collect();
        all.sort_by(|a, b| a.exact.cmp(&b.exact).then_with(|| order(&a.inexact, &b.inexact)));
        all
    }
}

fn order(a: &[Option<f64>], b: &[Option<f64>]) -> Ordering {
    let value = |x: &Option<f64>| x.unwrap_or(f64::NEG_INFINITY);
    a.iter().zip(b).map(|(a, b)| value(a).total_cmp(&value(b))).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// A text that equal values share.
fn canonical(form: Form, text: &str) -> String {
    let (text, zone) = match form {
        Form::Instant => text.find('+').map_or((text, ""), |at| text.split_at(at)),
        _ => (text, ""),
    };
    if matches!(form, Form::Number | Form::Instant) && text.contains('.') {
        return format!("{}{zone}", text.trim_end_matches('0').trim_end_matches('.'));
    }
    format!("{text}{zone}")
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn same_value(form: Form, a: &Option<String>, b: &Option<String>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) if form == Form::Inexact => close(a.parse().ok(), b.parse().ok()) || a == b,
        (Some(a), Some(b)) => canonical(form, a) == canonical(form, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// The rows in which `found` differs from `wanted`, both with `columns`; rows that share the values of the columns `key` stand
/// side by side.
pub fn differences(columns: &[Column], key: &[String], wanted: &[Row], found: &[Row]) -> Vec<Difference> {
    let (wanted, found) = (Comparable::sorted(columns, wanted), Comparable::sorted(columns, found));
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (wanted.get(i), found.get(j)) {
        match a.exact.cmp(&b.exact) {
            Ordering::Less => {
                missing.push(a);
                i += 1;
            }
            Ordering::Greater => {
                extra.push(b);
                j += 1;
            }
            Ordering::Equal => {
                if !a.inexact.iter().zip(&b.inexact).all(|(a, b)| close(*a, *b)) {
                    missing.push(a);
                    extra.push(b);
                }
                i += 1;
                j += 1;
            }
        }
    }
    missing.extend(&wanted[i..]);
    extra.extend(&found[j..]);
    side_by_side(columns, key, &missing, &extra)
}

fn side_by_side(
    columns: &[Column],
    key: &[String],
    missing: &[&Comparable<'_>],
    extra: &[&Comparable<'_>],
) -> Vec<Difference> {
    let places: Vec<usize> = (0..columns.len()).filter(|&i| key.contains(&columns[i].name)).collect();
    let key_of = |row: &Row| places.iter().map(|&i| row[i].clone()).collect::<Vec<_>>();
    let mut waiting: HashMap<Vec<Option<String>>, Vec<&Row>> = HashMap::new();
    for row in extra {
        waiting.entry(key_of(row.row)).or_default().push(row.row);
    }
    let mut found = Vec::new();
    for row in missing {
        let partner = if places.is_empty() { None } else { waiting.get_mut(&key_of(row.row)).and_then(Vec::pop) };
        found.push(Difference { wanted: Some(row.row.clone()), found: partner.cloned() });
    }
    // In the order of the rows, not of the hash table.
    for row in extra {
        if let Some(rows) = waiting.get_mut(&key_of(row.row)).filter(|rows| !rows.is_empty()) {
            rows.pop();
            found.push(Difference { wanted: None, found: Some(row.row.clone()) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Row {
        values.iter().map(|&value| (value != NULL).then(|| value.to_owned())).collect()
    }

    fn columns() -> Vec<Column> {
        let kinds = [("region", Type::TEXT), ("kw", Type::NUMERIC), ("rate", Type::FLOAT8), ("at", Type::TIMESTAMP)];
        kinds.iter().map(|(name, kind)| Column::new(name, kind)).collect()
    }

    fn differ(wanted: &[&[&str]], found: &[&[&str]]) -> Vec<Difference> {
        let rows = |rows: &[&[&str]]| rows.iter().map(|values| row(values)).collect::<Vec<_>>();
        differences(&columns(), &["region".into()], &rows(wanted), &rows(found))
    }

    #[test]
    fn order_and_writing_do_not_matter() {
        let wanted: [&[&str]; 3] = [
            &["a", "1.50", "0.30000000000000004", "2026-01-01 00:00:00"],
            &["b", "2", "1e22", "2026-01-01 00:00:00.12"],
            &["b", "2", NULL, NULL],
        ];
        let found: [&[&str]; 3] = [
            &["b", "2.00", NULL, NULL],
            &["b", "2.0", "10000000000000000000000", "2026-01-01 00:00:00.120"],
            &["a", "1.5", "0.3", "2026-01-01 00:00:00.000"],
        ];
        assert_eq!(differ(&wanted, &found), []);
    }

    #[test]
    fn texts_are_not_numbers() {
        let column = [Column::new("code", &Type::TEXT)];
        assert_eq!(differences(&column, &[], &[row(&["1.0"])], &[row(&["1"])]).len(), 2);
    }

    #[test]
    fn rows_with_one_key_stand_side_by_side() {
        let found = differ(
            &[&["a", "1", "1", NULL], &["b", "2", "2", NULL]],
            &[&["b", "2", "2.5", NULL], &["c", "3", "3", NULL]],
        );
        assert_eq!(found.len(), 3, "{found:?}");
        let pair = found.iter().find(|d| d.wanted.is_some() && d.found.is_some()).unwrap();
        let columns = columns();
        assert_eq!(pair.cells(&columns).collect::<Vec<_>>(), [("rate", Some("2"), Some("2.5"))]);
        assert!(found.contains(&Difference { wanted: Some(row(&["a", "1", "1", NULL])), found: None }));
        assert!(found.contains(&Difference { wanted: None, found: Some(row(&["c", "3", "3", NULL])) }));
    }

    #[test]
    fn a_row_that_is_there_twice_is_one_too_many() {
        let found = differ(&[&["a", "1", "1", NULL]], &[&["a", "1", "1", NULL], &["a", "1", "1", NULL]]);
        assert_eq!(found, [Difference { wanted: None, found: Some(row(&["a", "1", "1", NULL])) }]);
    }

    #[test]
    fn null_is_no_value() {
        assert_eq!(differ(&[&["a", NULL, "1", NULL]], &[&["a", "0", "1", NULL]]).len(), 1);
        assert_eq!(differ(&[&["a", "0", NULL, NULL]], &[&["a", "0", "0", NULL]]).len(), 1);
    }
}
