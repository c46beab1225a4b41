//! Statements that show what there is, and settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use gridhouse_base::error::nearest;
use gridhouse_base::table::{ColumnKind, ObjectPath};
use gridhouse_base::{ChangeBatch, Column, Error, Result, Schema, TypeKind};
use gridhouse_sql::ast::{Explain, Note, ObjectName, Pattern, SetPair, Show, Statement};
use gridhouse_sql::catalog::{Relation, check_database, resolve};
use gridhouse_sql::explain::redacted;
use gridhouse_sql::plan::Plan;
use gridhouse_sql::{Binder, explain, explain_insert, law_line, show_create_table, show_create_view};

use crate::catalog::Scope;
use crate::dead::{ON_ERROR, ON_ERROR_VALUES};
use crate::keyed::Keyed;
use crate::outcome::Outcome;
use crate::query::zone_of;
use crate::rebuild::GAPS;
use crate::records::ObjectRecord;
use crate::session::{Session, done};

/// The settings of a session that have an effect here.
const EFFECTIVE_SETTINGS: &[&str] =
    &[ON_ERROR, "table.local-time-zone", "execution.runtime-mode", "pipeline.name", "writer", GAPS];

impl Session {
    pub(crate) fn set(&mut self, pair: Option<SetPair>) -> Result<Outcome> {
        let Some(pair) = pair else {
            let shown =
                |(key, value): (&String, &String)| vec![Some(key.clone()), Some(redacted(key, value).to_owned())];
            return Ok(table(&["key", "value"], self.settings.iter().map(shown).collect()));
        };
        let previous = self.settings.insert(pair.key.clone(), pair.value.clone());
        let valid = match pair.key.as_str() {
            "table.local-time-zone" => zone_of(&self.settings).map(|_| ()),
            "execution.runtime-mode" => one_of(&pair, &["streaming", "batch", "automatic"]),
            "writer" => one_of(&pair, &["sole", "additional"]),
            GAPS => one_of(&pair, &["refuse", "accept"]),
            ON_ERROR => one_of(&pair, ON_ERROR_VALUES),
            other => {
                // Flink takes any key, and so do scripts that are written for it; a slip of the pen is told.
                let is_effective = EFFECTIVE_SETTINGS.contains(&other);
                if let Some(near) = nearest(other, EFFECTIVE_SETTINGS.iter().copied()).filter(|_| !is_effective) {
                    self.notice(format!("'{other}' has no effect here; did you mean '{near}'?"));
                }
                Ok(())
            }
        };
        if let Err(error) = valid {
            match previous {
                Some(value) => self.settings.insert(pair.key, value),
                None => self.settings.remove(&pair.key),
            };
            return Err(error.at(pair.at));
        }
        done("SET")
    }

    pub(crate) fn reset(&mut self, key: Option<String>) -> Outcome {
        match key {
            Some(key) => {
                if self.settings.remove(&key).is_none() {
                    self.notice(format!("'{key}' was not set"));
                }
            }
            None => self.settings.clear(),
        }
        Outcome::Done { tag: "RESET".into() }
    }

    pub(crate) fn show(&mut self, show: &Show) -> Result<Outcome> {
        let catalog = self.catalog();
        let scope = Scope { catalog: &catalog, temporary: &self.temporary };
        let listed = |head: &str, names: Vec<String>, like: &Option<Pattern>| {
            let shown = names.into_iter().filter(|name| like.as_ref().is_none_or(|pattern| pattern.shows(name)));
            table(&[head], shown.map(|name| vec![Some(name)]).collect())
        };
        let place = |database: &Option<ObjectName>| -> Result<(String, String)> {
            let Some(name) = database else { return Ok((self.context.catalog.clone(), self.context.database.clone())) };
            let (owner, database) = self.context.database(name)?;
            check_database(&scope, &owner, &database, &name.parts)?;
            Ok((owner, database))
        };
        Ok(match show {
            Show::Catalogs(like) => listed("catalog name", catalog.catalogs.keys().cloned().collect(), like),
            Show::CurrentCatalog => listed("current catalog name", vec![self.context.catalog.clone()], &None),
            Show::CurrentDatabase => listed("current database name", vec![self.context.database.clone()], &None),
            Show::Databases { catalog: owner, like } => {
                let owner_name = owner.as_ref().map_or(&self.context.catalog, |ident| &ident.name);
                if let Some(ident) = owner
                    && !catalog.catalogs.contains_key(&ident.name)
                {
                    check_database(&scope, &ident.name, "", std::slice::from_ref(ident))?;
                }
                listed("database name", catalog.databases_of(owner_name).unwrap_or_default(), like)
            }
            Show::Tables { database, like } => {
                let (owner, database) = place(database)?;
                listed("table name", self.names(&owner, &database, |_| true), like)
            }
            Show::Views { database, like } => {
                let (owner, database) = place(database)?;
                listed("view name", self.names(&owner, &database, |r| matches!(r, ObjectRecord::View(_))), like)
            }
            Show::Columns { table: name, like } => {
                let rows = self.columns(name)?;
                let shown = |row: &Vec<Option<String>>| {
                    like.as_ref().is_none_or(|p| p.shows(row[0].as_deref().unwrap_or_default()))
                };
                table(COLUMN_HEADS, rows.into_iter().filter(shown).collect())
            }
            Show::Functions(like) => {
                let mut names: Vec<String> = gridhouse_expr::functions::all().map(|f| f.name.to_lowercase()).collect();
                names.extend(["count", "sum", "avg", "min", "max"].map(str::to_owned));
                names.sort();
                names.dedup();
                listed("function name", names, like)
            }
            Show::Jobs => crate::system::show_jobs(&self.engine)?,
            Show::CreateTable(name) => match resolve(&scope, &self.context, name)? {
                Relation::Table(definition) => table(
                    &["result"],
                    vec![vec![Some({
                        let path = &definition.path;
                        show_create_table(&definition, self.temporary.contains_key(path))
                    })]],
                ),
                Relation::View(_) => {
                    return Err(Error::invalid(format!("{name} is a view"))
                        .hint(format!("SHOW CREATE VIEW {name}"))
                        .at(name.at()));
                }
            },
            Show::CreateView(name) => match resolve(&scope, &self.context, name)? {
                Relation::View(view) => {
                    let temporary = self.temporary.contains_key(&view.path);
                    table(&["result"], vec![vec![Some(show_create_view(&view, temporary))]])
                }
                Relation::Table(_) => {
                    return Err(Error::invalid(format!("{name} is a table"))
                        .hint(format!("SHOW CREATE TABLE {name}"))
                        .at(name.at()));
                }
            },
        })
    }

    /// Names of a database's objects, temporary ones too.
    fn names(&self, catalog: &str, database: &str, keep: impl Fn(&ObjectRecord) -> bool) -> Vec<String> {
        let all = self.catalog();
        let mut objects: BTreeMap<ObjectPath, bool> = BTreeMap::new();
        for record in all.objects_of(catalog, database) {
            objects.insert(record.path().clone(), keep(record));
        }
        for (path, record) in &self.temporary {
            if path.catalog == catalog && path.database == database {
                objects.insert(path.clone(), keep(record));
            }
        }
        objects.into_iter().filter(|(_, kept)| *kept).map(|(path, _)| path.object).collect()
    }

    pub(crate) fn describe(&mut self, name: &ObjectName) -> Result<Outcome> {
        Ok(table(COLUMN_HEADS, self.columns(name)?))
    }

    fn columns(&self, name: &ObjectName) -> Result<Vec<Vec<Option<String>>>> {
        let catalog = self.catalog();
        let scope = Scope { catalog: &catalog, temporary: &self.temporary };
        let definition = match resolve(&scope, &self.context, name)? {
            Relation::Table(definition) => definition,
            Relation::View(view) => {
                let row = |column: &Column| column_row(column, None, None, None);
                return Ok(view.schema.columns.iter().map(row).collect());
            }
        };
        let key: Vec<&str> =
            definition.primary_key.iter().map(|&i| definition.schema.columns[i].name.as_str()).collect();
        let row = |(i, column): (usize, &Column)| {
            let in_key = definition.primary_key.contains(&i).then(|| format!("PRI({})", key.join(", ")));
            let extra = match &definition.column_kinds[i] {
                ColumnKind::Physical => None,
                ColumnKind::Metadata { key, is_virtual } => {
                    Some(format!("METADATA FROM '{key}'{}", if *is_virtual { " VIRTUAL" } else { "" }))
                }
                ColumnKind::Computed { expression } => Some(format!("AS {expression}")),
            };
            let watermark = definition.watermark.as_ref().filter(|w| w.column == i).map(|w| w.expression.clone());
            column_row(column, in_key, extra, watermark)
        };
        Ok(definition.schema.columns.iter().enumerate().map(row).collect())
    }

    pub(crate) fn explain(&mut self, explain: &Explain, portability: Vec<Note>) -> Result<Outcome> {
        let statement = match explain {
            Explain::Plan(statement) => statement,
            Explain::Portability(statement) => {
                let (_, bound) = self.plan_text(statement)?;
                let mut portability = portability;
                portability.extend(bound);
                portability.sort_by_key(|note| note.at);
                portability.dedup();
                let line = |note: &Note| vec![Some(note.at.to_string()), Some(note.message.clone())];
                let rows: Vec<_> = portability.iter().map(line).collect();
                if rows.is_empty() {
                    self.notice("nothing in this statement is known that Flink would reject");
                }
                return Ok(table(&["position", "what Flink would reject"], rows));
            }
            Explain::AnalyzeJob(job) => return self.analyze_job(job),
        };
        let (text, _) = self.plan_text(statement)?;
        Ok(table(&["result"], text.lines().map(|line| vec![Some(line.to_owned())]).collect()))
    }

    /// The plan as text, and what Flink would reject.
    fn plan_text(&self, statement: &Statement) -> Result<(String, Vec<Note>)> {
        let path = |plan: &Plan| self.path_text(plan);
        self.bind(|binder| {
            let text = Self::plan_of(binder, statement, &path)?;
            Ok((text, binder.take_notes()))
        })
    }

    fn plan_of(binder: &Binder<'_>, statement: &Statement, path: &dyn Fn(&Plan) -> String) -> Result<String> {
        match statement {
            Statement::Query(query) => {
                let plan = binder.query(query)?;
                // What looks rows up by key runs on neither.
                let path = Keyed::of(&plan).map_or_else(|| path(&plan), |keyed| keyed.text());
                Ok(format!(
                    "{}
{path}
{}",
                    law_line(&plan),
                    explain(&plan)
                ))
            }
            Statement::Insert(insert) => {
                let bound = binder.insert(insert)?;
                Ok(format!("{}\n{}", law_line(&bound.plan), explain_insert(&bound)))
            }
            Statement::StatementSet(inserts) => {
                let texts = inserts.iter().map(|insert| {
                    let bound = binder.insert(insert)?;
                    Ok(format!("{}\n{}", law_line(&bound.plan), explain_insert(&bound)))
                });
                Ok(texts.collect::<Result<Vec<_>>>()?.join("\n"))
            }
            _ => Err(Error::invalid("only queries, INSERTs and statement sets can be explained")),
        }
    }
}

const COLUMN_HEADS: &[&str] = &["name", "type", "null", "key", "extras", "watermark"];

fn column_row(
    column: &Column,
    key: Option<String>,
    extra: Option<String>,
    watermark: Option<String>,
) -> Vec<Option<String>> {
    let nullable = if column.sql_type.nullable { "TRUE" } else { "FALSE" };
    let kind = column.sql_type.kind.to_string();
    vec![Some(column.name.clone()), Some(kind), Some(nullable.into()), key, extra, watermark]
}

fn one_of(pair: &SetPair, allowed: &[&str]) -> Result<()> {
    if allowed.iter().any(|value| value.eq_ignore_ascii_case(&pair.value)) {
        return Ok(());
    }
    Err(Error::invalid(format!("'{}' cannot be '{}'", pair.key, pair.value))
        .hint(format!("one of: {}", allowed.join(", "))))
}

/// A result of text columns.
pub(crate) fn table(heads: &[&str], rows: Vec<Vec<Option<String>>>) -> Outcome {
    let columns = heads.iter().map(|head| Column::new(*head, TypeKind::STRING.nullable())).collect();
    let column = |i: usize| -> ArrayRef { Arc::new(StringArray::from_iter(rows.iter().map(|row| row[i].as_deref()))) };
    let arrays = (0..heads.len()).map(column).collect();
    Outcome::Rows { schema: Schema::new(columns).into(), batches: vec![ChangeBatch::insertions(arrays, rows.len())] }
}
