//! Rows as tests see them: values beside their text, and bags of rows.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow_array::ArrayRef;
use gridhouse_base::{Schema, SqlType, Value};

/// The text of a row, value by value; `None` is NULL. What makes two rows the same row.
pub type Text = Vec<Option<String>>;

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The values, for writing the row again.
    pub values: Vec<Value>,
    /// Their text, for comparing.
    pub text: Text,
}

/// The row at place `i` of `columns`.
pub fn row_at(columns: &[ArrayRef], types: &[SqlType], i: usize) -> Row {
    let values = columns.iter().zip(types).map(|(column, t)| Value::from_array(column, i, &t.kind)).collect();
    Row { values, text: text_at(columns, types, i) }
}

/// The text of the row at place `i` of `columns`.
pub fn text_at(columns: &[ArrayRef], types: &[SqlType], i: usize) -> Text {
    let text =
        |(column, t): (&ArrayRef, &SqlType)| gridhouse_expr::text::format_value(column, i, &t.kind, chrono_tz::UTC);
    columns.iter().zip(types).map(text).collect()
}

/// The types of a schema's columns.
pub fn types_of(schema: &Schema) -> Vec<SqlType> {
    schema.columns.iter().map(|column| column.sql_type.clone()).collect()
}

/// Rows with how often each is there, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bag(BTreeMap<Text, i64>);

impl Bag {
    /// The bag of `rows`.
    pub fn of(rows: impl IntoIterator<Item = Text>) -> Self {
        let mut bag = Self::default();
        rows.into_iter().for_each(|row| bag.add(row, 1));
        bag
    }

    /// Adds `row` `times` times, or takes it away.
    pub fn add(&mut self, row: Text, times: i64) {
        let entry = self.0.entry(row).or_insert(0);
        *entry += times;
        if *entry == 0 {
            self.0.retain(|_, times| *times != 0);
        }
    }

    /// The rows that are there fewer times than never.
    pub fn negative(&self) -> Vec<&Text> {
        self.0.iter().filter(|(_, times)| **times < 0).map(|(row, _)| row).collect()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.values().sum::<i64>().max(0) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where `got` differs, a line per row: what is missing and what is too much.
    pub fn difference(&self, got: &Self) -> String {
        let mut lines = String::new();
        for (row, times) in &self.0 {
            let has = got.0.get(row).copied().unwrap_or(0);
            if has < *times {
                let _ = writeln!(lines, "  missing {} × {}", times - has, shown(row));
            }
        }
        for (row, times) in &got.0 {
            let has = self.0.get(row).copied().unwrap_or(0);
            if has < *times {
                let _ = writeln!(lines, "  surplus {} × {}", times - has, shown(row));
            }
        }
        lines
    }
}

/// A row as a corpus file writes it: values between tabs, NULL as `NULL`, no characters as `(empty)`.
pub fn shown(row: &Text) -> String {
    let value = |value: &Option<String>| match value.as_deref() {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t"),
    };
    row.iter().map(value).collect::<Vec<_>>().join("\t")
}
