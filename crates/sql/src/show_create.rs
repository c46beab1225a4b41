//! Definitions as statements, for `SHOW CREATE TABLE` and `SHOW CREATE VIEW`. Secrets are redacted.

use std::fmt::Write;

use gridhouse_base::table::{ColumnKind, TableDef, quoted};

use crate::catalog::ViewDef;
use crate::explain::redacted;

/// The `CREATE TABLE` statement that gives `table`.
pub fn show_create_table(table: &TableDef, temporary: bool) -> String {
    let names = |indices: &[usize]| {
        indices.iter().map(|&i| quoted(&table.schema.columns[i].name)).collect::<Vec<_>>().join(", ")
    };
    let mut elements: Vec<String> = Vec::new();
    for (column, kind) in table.schema.columns.iter().zip(&table.column_kinds) {
        let name = quoted(&column.name);
        elements.push(match kind {
            ColumnKind::Physical => format!("{name} {}", column.sql_type),
            ColumnKind::Metadata { key, is_virtual } => {
                let from = if *key == column.name { String::new() } else { format!(" FROM {}", text(key)) };
                let is_virtual = if *is_virtual { " VIRTUAL" } else { "" };
                format!("{name} {} METADATA{from}{is_virtual}", column.sql_type)
            }
            ColumnKind::Computed { expression } => format!("{name} AS {expression}"),
        });
    }
    if let Some(watermark) = &table.watermark {
        elements.push(format!("WATERMARK FOR {} AS {}", names(&[watermark.column]), watermark.expression));
    }
    if !table.primary_key.is_empty() {
        elements.push(format!("PRIMARY KEY ({}) NOT ENFORCED", names(&table.primary_key)));
    }
    let temporary = if temporary { "TEMPORARY " } else { "" };
    let mut out = format!("CREATE {temporary}TABLE {} (\n  {}\n)", table.path, elements.join(",\n  "));
    // Writing to a String cannot fail.
    if let Some(comment) = &table.comment {
        let _ = write!(out, "\nCOMMENT {}", text(comment));
    }
    if !table.partitioned_by.is_empty() {
        let _ = write!(out, "\nPARTITIONED BY ({})", names(&table.partitioned_by));
    }
    if !table.options.is_empty() {
        let pair = |(key, value): (&String, &String)| format!("{} = {}", text(key), text(redacted(key, value)));
        let _ = write!(out, "\nWITH (\n  {}\n)", table.options.iter().map(pair).collect::<Vec<_>>().join(",\n  "));
    }
    out
}

/// The `CREATE VIEW` statement that gives `view`.
pub fn show_create_view(view: &ViewDef, temporary: bool) -> String {
    let names: Vec<_> = view.schema.columns.iter().map(|column| quoted(&column.name)).collect();
    let temporary = if temporary { "TEMPORARY " } else { "" };
    let comment = view.comment.as_ref().map(|comment| format!("\nCOMMENT {}", text(comment))).unwrap_or_default();
    format!("CREATE {temporary}VIEW {} ({}){comment}\nAS {}", view.path, names.join(", "), view.text)
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
