//! Definitions: tables from `CREATE TABLE`, views from `CREATE VIEW`.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridhouse_base::table::{ColumnKind, ObjectPath, TableDef, WatermarkDef, quoted};
use gridhouse_base::{Column, Error, Result, Schema, TypeKind};

use super::Binder;
use super::around::Around;
use super::expr::Env;
use super::from::{renamed, unique};
use super::scope::Scope;
use crate::ast::{
    ColumnDef, ColumnDefKind, CreateTable, CreateView, Distribution, Expr, Ident, LikeAction, LikeChoice, LikePart,
    TableLike,
};
use crate::catalog::{ViewDef, check_database, suggest};
use crate::script::parse_expression;

impl Binder<'_> {
    /// The definition that a `CREATE TABLE` gives. The database must exist; whether the table does is not asked.
    ///
    /// # Errors
    /// `NotFound` for an unknown catalog, database or `LIKE` table; `Invalid` where the definition contradicts itself.
    pub fn define_table(&self, create: &CreateTable) -> Result<TableDef> {
        let path = self.names.path(&create.name)?;
        check_database(self.catalog, &path.catalog, &path.database, &create.name.parts)?;
        let mut draft = Draft::new(path);
        if let Some(like) = &create.like {
            let source = self.table(&like.name)?;
            draft.take_from(&source, like, create)?;
        }
        for column in &create.columns {
            draft.declare(column, create)?;
        }
        self.type_computed(&mut draft)?;
        draft.finish(create, self)
    }

    /// The definition that a `CREATE VIEW` gives.
    ///
    /// # Errors
    /// As [`Binder::query`], and where two columns have one name.
    pub fn define_view(&self, create: &CreateView) -> Result<ViewDef> {
        let path = self.names.path(&create.name)?;
        check_database(self.catalog, &path.catalog, &path.database, &create.name.parts)?;
        let plan = self.bind_query(&create.query, &Around::default())?;
        let plan = renamed(plan, &create.columns, &create.query)?;
        let schema = Schema::clone(plan.schema());
        for (i, column) in schema.columns.iter().enumerate() {
            if schema.columns[..i].iter().any(|earlier| earlier.name == column.name) {
                return Err(Error::invalid(format!("the view has two columns called {}", quoted(&column.name)))
                    .hint("give one another alias: … AS other_name")
                    .at(create.query.at));
            }
        }
        Ok(ViewDef {
            path,
            text: create.text.clone(),
            context: self.names.clone(),
            schema,
            comment: create.comment.clone(),
        })
    }

    /// Finds the types of computed columns, which may use every other column but no computed one.
    fn type_computed(&self, draft: &mut Draft) -> Result<()> {
        let stored = |column: &DraftColumn| !matches!(column.kind, ColumnKind::Computed { .. });
        let columns =
            draft.columns.iter().filter(|column| stored(column)).map(|column| column.column.clone()).collect();
        let scope = Scope::of_relation(&Schema::new(columns), Some(&draft.path.object), None);
        for column in &mut draft.columns {
            let Some(expr) = &column.expr else { continue };
            let bound = self.expr(expr, Env::plain(&scope, "a computed column"))?;
            column.column.sql_type = bound.sql_type().clone();
            if *bound.kind() == TypeKind::Null {
                return Err(Error::invalid(format!("computed column {} has no type", quoted(&column.column.name)))
                    .hint("write CAST(NULL AS STRING), or another type")
                    .at(expr.at));
            }
        }
        Ok(())
    }

    fn watermark(&self, draft: &Draft, column: &Ident, expr: &Expr, text: &str) -> Result<WatermarkDef> {
        let index = draft.index_of(column)?;
        let sql_type = draft.columns[index].column.sql_type.clone();
        if !matches!(sql_type.kind, TypeKind::Timestamp(0..=3) | TypeKind::TimestampLtz(0..=3)) {
            return Err(Error::invalid(format!("{column} is {} and cannot be a row time", sql_type.kind))
                .hint("the row time is a TIMESTAMP(3) or TIMESTAMP_LTZ(3); add a column AS CAST(… AS TIMESTAMP(3))")
                .at(column.at));
        }
        let columns = draft.columns.iter().map(|column| column.column.clone()).collect();
        let scope = Scope::of_relation(&Schema::new(columns), Some(&draft.path.object), None);
        let bound = self.expr(expr, Env::plain(&scope, "WATERMARK"))?;
        if !matches!(bound.kind(), TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_)) {
            return Err(Error::invalid(format!("the watermark is {}, not a timestamp", bound.kind()))
                .hint(format!("write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND"))
                .at(expr.at));
        }
        Ok(WatermarkDef { column: index, expression: text.to_owned(), sql_type })
    }
}

struct DraftColumn {
    column: Column,
    kind: ColumnKind,
    /// What a computed column is computed from.
    expr: Option<Expr>,
}

/// A definition in the making.
struct Draft {
    path: ObjectPath,
    columns: Vec<DraftColumn>,
    primary_key: Vec<String>,
    partitioned_by: Vec<String>,
    watermark: Option<(String, String)>,
    options: BTreeMap<String, String>,
}

impl Draft {
    fn new(path: ObjectPath) -> Self {
        Self {
            path,
            columns: Vec::new(),
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            watermark: None,
            options: BTreeMap::new(),
        }
    }

    fn index_of(&self, ident: &Ident) -> Result<usize> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.column.name.as_str()).collect();
        names.iter().position(|name| *name == ident.name).ok_or_else(|| {
            let error = Error::not_found(format!("there is no column {ident} in {}", self.path.object));
            suggest(error, &ident.name, &names, &format!("the columns are {}", names.join(", "))).at(ident.at)
        })
    }

    /// Takes over the parts of `source` that the `LIKE` clause includes.
    fn take_from(&mut self, source: &Arc<TableDef>, like: &TableLike, create: &CreateTable) -> Result<()> {
        let action = |part| choice(&like.choices, part);
        let redeclared = |name: &str| create.columns.iter().find(|column| column.name.name == name);
        for (column, kind) in source.schema.columns.iter().zip(&source.column_kinds) {
            let part = match kind {
                ColumnKind::Physical => None,
                ColumnKind::Metadata { .. } => Some(LikePart::Metadata),
                ColumnKind::Computed { .. } => Some(LikePart::Generated),
            };
            let overwritten =
                part.is_some_and(|part| action(part) == LikeAction::Overwriting) && redeclared(&column.name).is_some();
            if part.is_some_and(|part| action(part) == LikeAction::Excluding) || overwritten {
                continue;
            }
            let expr = match kind {
                ColumnKind::Computed { expression } => Some(parse_expression(expression)?),
                _ => None,
            };
            let mut column = column.clone();
            if action(LikePart::Constraints) == LikeAction::Excluding {
                // NOT NULL may stem from the key that is left out; nothing tells the two apart.
                column.sql_type.nullable |=
                    source.schema.index_of(&column.name).is_some_and(|i| source.primary_key.contains(&i));
            }
            self.columns.push(DraftColumn { column, kind: kind.clone(), expr });
        }
        let names =
            |indices: &[usize]| indices.iter().map(|&i| source.schema.columns[i].name.clone()).collect::<Vec<_>>();
        if action(LikePart::Constraints) != LikeAction::Excluding {
            if create.primary_key.is_some() && !source.primary_key.is_empty() {
                return Err(Error::invalid(format!("{} has a primary key already", source.path))
                    .hint("write LIKE … (EXCLUDING CONSTRAINTS), or leave the PRIMARY KEY out")
                    .at(like.name.at()));
            }
            self.primary_key = names(&source.primary_key);
        }
        if action(LikePart::Partitions) != LikeAction::Excluding {
            if !create.partitioned_by.is_empty() && !source.partitioned_by.is_empty() {
                return Err(Error::invalid(format!("{} is partitioned already", source.path))
                    .hint("write LIKE … (EXCLUDING PARTITIONS), or leave PARTITIONED BY out")
                    .at(like.name.at()));
            }
            self.partitioned_by = names(&source.partitioned_by);
        }
        if let Some(watermark) = &source.watermark {
            match (action(LikePart::Watermarks), &create.watermark) {
                (LikeAction::Excluding, _) | (LikeAction::Overwriting, Some(_)) => {}
                (_, Some(watermark)) => {
                    return Err(Error::invalid(format!("{} has a watermark already", source.path))
                        .hint("write LIKE … (OVERWRITING WATERMARKS)")
                        .at(watermark.column.at));
                }
                _ => {
                    self.watermark =
                        Some((source.schema.columns[watermark.column].name.clone(), watermark.expression.clone()))
                }
            }
        }
        match action(LikePart::Options) {
            LikeAction::Excluding => {}
            LikeAction::Overwriting => self.options.clone_from(&source.options),
            LikeAction::Including => {
                if let Some(pair) = create.options.iter().find(|pair| source.options.contains_key(&pair.key)) {
                    return Err(Error::invalid(format!("option '{}' is set by {} already", pair.key, source.path))
                        .hint("write LIKE … (OVERWRITING OPTIONS)")
                        .at(pair.at));
                }
                self.options.clone_from(&source.options);
            }
        }
        Ok(())
    }

    fn declare(&mut self, def: &ColumnDef, create: &CreateTable) -> Result<()> {
        if self.columns.iter().any(|column| column.column.name == def.name.name) {
            let hint = if create.like.is_some() {
                "the LIKE table has it already: leave it out"
            } else {
                "rename one of the two"
            };
            return Err(Error::invalid(format!("{} has two columns called {}", self.path.object, def.name))
                .hint(hint)
                .at(def.name.at));
        }
        let (sql_type, kind, expr) = match &def.kind {
            ColumnDefKind::Physical(sql_type) => (sql_type.clone(), ColumnKind::Physical, None),
            ColumnDefKind::Metadata { sql_type, key, is_virtual } => {
                let key = key.clone().unwrap_or_else(|| def.name.name.clone());
                (sql_type.clone(), ColumnKind::Metadata { key, is_virtual: *is_virtual }, None)
            }
            ColumnDefKind::Computed { expr, text } => {
                (TypeKind::Null.nullable(), ColumnKind::Computed { expression: text.clone() }, Some(expr.clone()))
            }
        };
        self.columns.push(DraftColumn { column: Column::new(def.name.name.clone(), sql_type), kind, expr });
        Ok(())
    }

    fn finish(mut self, create: &CreateTable, binder: &Binder<'_>) -> Result<TableDef> {
        let at = create.name.at();
        if self.columns.iter().all(|column| matches!(column.kind, ColumnKind::Computed { .. })) {
            return Err(Error::invalid(format!("{} has no columns", self.path.object))
                .hint("name them: CREATE TABLE t (id BIGINT, name STRING)")
                .at(at));
        }
        if let Some(key) = &create.primary_key {
            unique(key)?;
            self.primary_key = key.iter().map(|ident| ident.name.clone()).collect();
            for ident in key {
                let index = self.index_of(ident)?;
                self.check_key_column(index, ident)?;
            }
        }
        unique(&create.partitioned_by)?;
        for ident in &create.partitioned_by {
            let index = self.index_of(ident)?;
            if !matches!(self.columns[index].kind, ColumnKind::Physical) {
                let error = Error::invalid(format!("{ident} is not stored and cannot be a partition column"));
                return Err(error.hint("partition by a physical column").at(ident.at));
            }
            self.partitioned_by.push(ident.name.clone());
        }
        for pair in &create.options {
            self.options.insert(pair.key.clone(), pair.value.clone());
        }
        if let Some(distribution) = &create.distribution {
            self.distribute(distribution)?;
        }
        let primary_key = self.indices(&self.primary_key);
        let partitioned_by = self.indices(&self.partitioned_by);
        if !primary_key.is_empty()
            && !self.options.contains_key("connector")
            && let Some(&outside) = partitioned_by.iter().find(|column| !primary_key.contains(column))
        {
            let name = quoted(&self.columns[outside].column.name).into_owned();
            return Err(Error::invalid(format!("partition column {name} is not part of the primary key"))
                .hint(format!("add {name} to PRIMARY KEY (…)"))
                .at(create
                    .partitioned_by
                    .iter()
                    .find(|ident| ident.name == self.columns[outside].column.name)
                    .map_or(at, |i| i.at)));
        }
        for &index in &primary_key {
            self.columns[index].column.sql_type.nullable = false;
        }
        let watermark = match (&create.watermark, &self.watermark) {
            (Some(watermark), _) => {
                Some(binder.watermark(&self, &watermark.column, &watermark.expr, &watermark.text)?)
            }
            (None, Some((column, text))) => {
                let column = Ident { name: column.clone(), at };
                Some(binder.watermark(&self, &column, &parse_expression(text)?, text)?)
            }
            (None, None) => None,
        };
        let (columns, column_kinds) = self.columns.into_iter().map(|column| (column.column, column.kind)).unzip();
        Ok(TableDef {
            path: self.path,
            schema: Schema::new(columns),
            column_kinds,
            primary_key,
            partitioned_by,
            watermark,
            options: self.options,
            comment: create.comment.clone(),
        })
    }

    fn check_key_column(&self, index: usize, ident: &Ident) -> Result<()> {
        let column = &self.columns[index];
        if !matches!(column.kind, ColumnKind::Physical) {
            return Err(Error::invalid(format!("{ident} is not stored and cannot be a key column"))
                .hint("take physical columns into the PRIMARY KEY")
                .at(ident.at));
        }
        match &column.column.sql_type.kind {
            kind @ (TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_)) => {
                Err(Error::invalid(format!("{ident} is {kind} and cannot be a key column"))
                    .hint("take columns of simple types into the PRIMARY KEY")
                    .at(ident.at))
            }
            _ => Ok(()),
        }
    }

    /// `DISTRIBUTED BY` is another way to write Fluss's bucket options.
    fn distribute(&mut self, distribution: &Distribution) -> Result<()> {
        let mut pairs = Vec::new();
        if let Some(buckets) = distribution.buckets {
            if buckets == 0 {
                return Err(Error::invalid("a table has at least one bucket")
                    .hint("write INTO 1 BUCKETS")
                    .at(distribution.at));
            }
            pairs.push(("bucket.num", buckets.to_string()));
        }
        if !distribution.columns.is_empty() {
            for ident in &distribution.columns {
                self.index_of(ident)?;
            }
            let names: Vec<&str> = distribution.columns.iter().map(|ident| ident.name.as_str()).collect();
            pairs.push(("bucket.key", names.join(",")));
        }
        for (key, value) in pairs {
            if self.options.get(key).is_some_and(|given| *given != value) {
                return Err(Error::invalid(format!("DISTRIBUTED BY contradicts '{key}'"))
                    .hint("keep one of the two")
                    .at(distribution.at));
            }
            self.options.insert(key.to_owned(), value);
        }
        Ok(())
    }

    fn indices(&self, names: &[String]) -> Vec<usize> {
        let index = |name: &String| self.columns.iter().position(|column| column.column.name == *name);
        names.iter().filter_map(index).collect()
    }
}

/// What the `LIKE` clause does with a part. Flink's default is INCLUDING ALL OVERWRITING OPTIONS.
fn choice(choices: &[LikeChoice], part: LikePart) -> LikeAction {
    let said = |wanted| choices.iter().rev().find(|choice| choice.part == wanted).map(|choice| choice.action);
    let default = if part == LikePart::Options { LikeAction::Overwriting } else { LikeAction::Including };
    said(part).or_else(|| said(LikePart::All)).unwrap_or(default)
}
