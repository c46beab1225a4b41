//! Metadata rows (catalog objects, jobs, settings …): text values under a space and a key.
//!
//! They are rows of the system table [`SYSTEM_TABLE`], logged, replayed and kept like any other; this mirror of its live
//! rows answers look-ups and listings without touching columns. Spaces are copied on write, so a view keeps its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, cast::AsArray};
use gridhouse_base::{ChangeBatch, Column, Schema, TableId, TypeKind};

use crate::spec::TableSpec;

/// The table that holds metadata rows.
pub const SYSTEM_TABLE: TableId = TableId(0);

/// The definition of [`SYSTEM_TABLE`].
pub(crate) fn system_spec() -> TableSpec {
    let text = |name: &str| Column::new(name, TypeKind::STRING.not_null());
    let schema = Schema::new(vec![text("space"), text("key"), text("value")]);
    TableSpec { hidden: true, ..TableSpec::primary_key("sys.metadata", schema, vec![0, 1]) }
}

/// A space's entries.
pub(crate) type Space = BTreeMap<String, Arc<str>>;

/// The live metadata rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    spaces: BTreeMap<String, Arc<Space>>,
}

impl Meta {
    pub fn get(&self, space: &str, key: &str) -> Option<Arc<str>> {
        self.spaces.get(space)?.get(key).cloned()
    }

    pub fn space(&self, space: &str) -> Option<&Arc<Space>> {
        self.spaces.get(space)
    }

    /// Follows an effective change of the system table.
    pub fn follow(&mut self, change: &ChangeBatch) {
        let [spaces, keys, values] = [0, 1, 2].map(|c| change.column(c).as_string::<i32>());
        for deletions in [true, false] {
            for row in (0..change.len()).filter(|&row| (change.weight(row) < 0) == deletions) {
                let (space, key) = (spaces.value(row), keys.value(row));
                if deletions {
                    if let Some(entries) = self.spaces.get_mut(space) {
                        Arc::make_mut(entries).remove(key);
                    }
                } else {
                    let entries = self.spaces.entry(space.to_string()).or_default();
                    Arc::make_mut(entries).insert(key.to_string(), values.value(row).into());
                }
            }
        }
        self.spaces.retain(|_, entries| !entries.is_empty());
    }
}

/// Rows of the system table; an entry without value is a deletion.
pub(crate) fn meta_columns(puts: &BTreeMap<(String, String), Option<String>>) -> Vec<ArrayRef> {
    let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    vec![
        column(puts.keys().map(|(space, _)| space.as_str()).collect()),
        column(puts.keys().map(|(_, key)| key.as_str()).collect()),
        column(puts.values().map(|value| value.as_deref().unwrap_or_default()).collect()),
    ]
}
