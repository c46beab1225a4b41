//! What a row of a file is made of, and where each column of a table comes from.

use gridhouse_base::error::nearest;
use gridhouse_base::table::{ColumnKind, TableDef};
use gridhouse_base::{Error, Result, TypeKind};

use super::options::{FileOptions, Format};

/// A field of a file's rows.
#[derive(Clone, Debug)]
pub(crate) struct RowField {
    /// The name.
    pub name: String,
    /// The kind.
    pub kind: TypeKind,
}

/// Why a row cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    /// The column, where it is one.
    pub column: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Misread {
    /// `column x: what`
    pub(crate) fn text(&self) -> String {
        match &self.column {
            Some(column) => format!("column {column}: {}", self.what),
            None => self.what.clone(),
        }
    }
}

/// Where a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The field of the row with this place.
    Field(usize),
    /// The partition column with this place.
    Partition(usize),
    /// The file's whole path.
    Path,
    /// Its name.
    Name,
    /// Its length in bytes.
    Size,
    /// When it was last changed.
    Modified,
}

/// The metadata of files.
const METADATA: [&str; 4] = ["file.path", "file.name", "file.size", "file.modification-time"];

/// The fields of a file's rows: the physical columns that the path does not tell.
pub(crate) fn fields(definition: &TableDef) -> Vec<RowField> {
    let own =
        |&i: &usize| definition.column_kinds[i] == ColumnKind::Physical && !definition.partitioned_by.contains(&i);
    let field = |i: usize| {
        let column = &definition.schema.columns[i];
        RowField { name: column.name.clone(), kind: column.sql_type.kind.clone() }
    };
    (0..definition.schema.len()).filter(own).map(field).collect()
}

/// Where the columns at `indices` of the definition come from.
///
/// # Errors
/// `Invalid` for metadata that files do not have.
pub(crate) fn origins(definition: &TableDef, indices: &[usize]) -> Result<Vec<Origin>> {
    let fields = fields(definition);
    let origin = |&i: &usize| {
        let column = &definition.schema.columns[i];
        if let Some(at) = definition.partitioned_by.iter().position(|&p| p == i) {
            return Ok(Origin::Partition(at));
        }
        let ColumnKind::Metadata { key, .. } = &definition.column_kinds[i] else {
            let at = fields.iter().position(|field| field.name == column.name);
            return at.map(Origin::Field).ok_or_else(|| Error::internal(format!("column {} is not read", column.name)));
        };
        let (origin, fits, wanted) = match key.as_str() {
            "file.path" => (Origin::Path, column.sql_type.kind.is_text(), "STRING"),
            "file.name" => (Origin::Name, column.sql_type.kind.is_text(), "STRING"),
            "file.size" => (Origin::Size, column.sql_type.kind == TypeKind::BigInt, "BIGINT"),
            "file.modification-time" => {
                (Origin::Modified, matches!(column.sql_type.kind, TypeKind::TimestampLtz(_)), "TIMESTAMP_LTZ(3)")
            }
            other => {
                let error = Error::invalid(format!("connector 'filesystem' has no metadata '{other}'"));
                return Err(match nearest(other, METADATA) {
                    Some(near) => error.hint(format!("did you mean METADATA FROM '{near}'?")),
                    None => error.hint(format!("its metadata: {}", METADATA.join(", "))),
                });
            }
        };
        if fits {
            return Ok(origin);
        }
        Err(Error::invalid(format!("metadata column '{}' is declared as {}", column.name, column.sql_type.kind))
            .hint(format!("declare it as {wanted} METADATA FROM '{key}'")))
    };
    indices.iter().map(origin).collect()
}

/// Every declared type has a form in the format.
pub(crate) fn check_types(definition: &TableDef, options: &FileOptions) -> Result<()> {
    for field in fields(definition) {
        let refused = match &options.format {
            Format::Json(_) => json_refuses(&field.kind),
            Format::Csv(_) => csv_refuses(&field.kind, 0),
        };
        if let Some(why) = refused {
            return Err(Error::invalid(format!("column '{}' of type {}: {why}", field.name, field.kind))
                .hint("declare the column as STRING, or leave it out"));
        }
    }
    for &i in &definition.partitioned_by {
        let column = &definition.schema.columns[i];
        let kind = &column.sql_type.kind;
        if matches!(kind, TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_)) {
            return Err(Error::invalid(format!(
                "a directory cannot tell the partition column '{}' of type {kind}",
                column.name
            ))
            .hint("partition by columns with plain types"));
        }
    }
    if !definition.partitioned_by.is_empty() && fields(definition).is_empty() {
        return Err(Error::invalid("all columns are partition columns, and files need at least one of their own")
            .hint("take a column out of PARTITIONED BY"));
    }
    Ok(())
}

fn json_refuses(kind: &TypeKind) -> Option<String> {
    match kind {
        TypeKind::Map(key, _) if !key.kind.is_text() => Some("JSON has only texts as keys of a map".into()),
        TypeKind::Map(_, value) => json_refuses(&value.kind),
        TypeKind::Array(element) => json_refuses(&element.kind),
        TypeKind::Row(fields) => fields.iter().find_map(|field| json_refuses(&field.sql_type.kind)),
        _ => None,
    }
}

fn csv_refuses(kind: &TypeKind, depth: usize) -> Option<String> {
    match kind {
        TypeKind::Map(..) => Some("CSV has no maps".into()),
        TypeKind::Array(_) | TypeKind::Row(_) if depth > 0 => Some("CSV has no nesting within arrays and rows".into()),
        TypeKind::Array(element) => csv_refuses(&element.kind, depth + 1),
        TypeKind::Row(fields) => fields.iter().find_map(|field| csv_refuses(&field.sql_type.kind, depth + 1)),
        _ => None,
    }
}
