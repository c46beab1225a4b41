//! Written expressions to typed ones. Every error carries the place of the innermost expression that it is about.

use std::cell::RefCell;

use gridhouse_base::table::quoted;
use gridhouse_base::{Error, Position, Result, TypeKind};
use gridhouse_expr::functions::conditional::{case, case_of};
use gridhouse_expr::functions::{self, beyond_flink, resolve};
use gridhouse_expr::{Expr, cast};

use super::aggregate::{Aggregates, is_aggregate};
use super::on_key::EXCLUDED;
use super::over::{is_window_function, over_aggregate};
use super::pending::Nest;
use super::scope::Scope;
use super::{Binder, literal};
use crate::ast::{self, Call, ExprKind, Ident, IsWhat, Literal};

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(super) struct Env<'s> {
    /// What names mean.
    pub scope: &'s Scope<'s>,
    /// Where aggregates go; `None` where none may stand.
    pub aggregates: Option<&'s RefCell<Aggregates>>,
    /// Where subqueries and window functions go; `None` where none may stand.
    pub nest: Option<Nest<'s>>,
    /// The clause, for messages: `WHERE`.
    pub clause: &'static str,
    /// Whether it is a filter, to which a value that is unknown is as good as one that is false.
    pub truth: bool,
}

impl<'s> Env<'s> {
    /// An expression without aggregates and subqueries.
    pub fn plain(scope: &'s Scope<'s>, clause: &'static str) -> Self {
        Self { scope, aggregates: None, nest: None, clause, truth: false }
    }
}

/// Units of time that may be the first argument of a call though they are written without quotes: `DATE_TRUNC(DAY, x)`.
const UNIT_WORDS: &[&str] = &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"];

impl Binder<'_> {
    /// The typed form of `expr`.
    pub(super) fn expr(&self, expr: &ast::Expr, env: Env<'_>) -> Result<Expr> {
        self.expr_kind(&expr.kind, expr.at, env).map_err(|error| named(error, env.scope).at(expr.at))
    }

    /// A condition: BOOLEAN.
    pub(super) fn condition(&self, expr: &ast::Expr, env: Env<'_>) -> Result<Expr> {
        let bound = self.expr(expr, env)?;
        match bound.kind() {
            TypeKind::Boolean => Ok(bound),
            TypeKind::Null => Ok(Expr::null(TypeKind::Boolean)),
            other => Err(Error::invalid(format!("{} wants a BOOLEAN condition, not {other}", env.clause))
                .hint("compare it with something: … = …, … > 0, … IS NOT NULL")
                .at(expr.at)),
        }
    }

    fn exprs(&self, exprs: &[ast::Expr], env: Env<'_>) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.expr(expr, env)).collect()
    }

    fn expr_kind(&self, kind: &ExprKind, at: Position, env: Env<'_>) -> Result<Expr> {
        // Only through AND and OR a filter is as good as its parts.
        let env = match kind {
            ExprKind::And(_) | ExprKind::Or(_) | ExprKind::InQuery { .. } => env,
            _ => Env { truth: false, ..env },
        };
        match kind {
            ExprKind::Name(parts) => self.name(parts, env),
            ExprKind::Literal(value) => {
                let bound = literal::literal(value, self.zone)?;
                self.note_long(&bound, at);
                Ok(bound)
            }
            ExprKind::And(operands) => self.resolved("AND", self.exprs(operands, env)?, at),
            ExprKind::Or(operands) => self.resolved("OR", self.exprs(operands, env)?, at),
            ExprKind::Not(operand) => self.resolved("NOT", vec![self.expr(operand, env)?], at),
            ExprKind::Sign { negative, operand } => self.sign(*negative, operand, at, env),
            ExprKind::Binary { operator, left, right } => {
                self.resolved(operator, vec![self.expr(left, env)?, self.expr(right, env)?], at)
            }
            ExprKind::Is { operand, what, negated } => {
                let name = match (what, negated) {
                    (IsWhat::Null, false) => "IS NULL",
                    (IsWhat::Null, true) => "IS NOT NULL",
                    (IsWhat::True, false) => "IS TRUE",
                    (IsWhat::True, true) => "IS NOT TRUE",
                    (IsWhat::False, false) => "IS FALSE",
                    (IsWhat::False, true) => "IS NOT FALSE",
                    (IsWhat::Unknown, false) => "IS UNKNOWN",
                    (IsWhat::Unknown, true) => "IS NOT UNKNOWN",
                };
                resolve(name, vec![self.expr(operand, env)?])
            }
            ExprKind::IsDistinct { left, right, negated } => {
                let name = if *negated { "IS NOT DISTINCT FROM" } else { "IS DISTINCT FROM" };
                self.resolved(name, vec![self.expr(left, env)?, self.expr(right, env)?], at)
            }
            ExprKind::Between { operand, low, high, negated, symmetric } => {
                let (x, low, high) = (self.expr(operand, env)?, self.expr(low, env)?, self.expr(high, env)?);
                let name = if *negated { "NOT BETWEEN" } else { "BETWEEN" };
                if !symmetric {
                    return self.resolved(name, vec![x, low, high], at);
                }
                let both = vec![
                    resolve(name, vec![x.clone(), low.clone(), high.clone()])?,
                    resolve(name, vec![x, high, low])?,
                ];
                resolve(if *negated { "AND" } else { "OR" }, both)
            }
            ExprKind::InList { operand, list, negated } => {
                let mut args = vec![self.expr(operand, env)?];
                args.extend(self.exprs(list, env)?);
                self.resolved(if *negated { "NOT IN" } else { "IN" }, args, at)
            }
            ExprKind::Like { operand, pattern, escape, negated, similar } => {
                let mut args = vec![self.expr(operand, env)?, self.expr(pattern, env)?];
                if let Some(escape) = escape {
                    args.push(self.expr(escape, env)?);
                }
                let name = match (similar, negated) {
                    (false, false) => "LIKE",
                    (false, true) => "NOT LIKE",
                    (true, false) => "SIMILAR TO",
                    (true, true) => "NOT SIMILAR TO",
                };
                resolve(name, args)
            }
            ExprKind::Case { operand, branches, otherwise } => {
                let branch = |(when, then): &(ast::Expr, ast::Expr)| Ok((self.expr(when, env)?, self.expr(then, env)?));
                let branches = branches.iter().map(branch).collect::<Result<Vec<_>>>()?;
                let otherwise = otherwise.as_ref().map(|expr| self.expr(expr, env)).transpose()?;
                let results: Vec<Expr> =
                    branches.iter().map(|(_, then): &(Expr, Expr)| then).chain(&otherwise).cloned().collect();
                self.note_beyond("CASE", &results, at);
                match operand {
                    Some(operand) => {
                        let operand = self.expr(operand, env)?;
                        for (value, _) in &branches {
                            self.note_beyond("=", &[operand.clone(), value.clone()], at);
                        }
                        case_of(&operand, branches, otherwise)
                    }
                    None => case(branches, otherwise),
                }
            }
            ExprKind::Cast { input, to, safe } => cast::cast(self.expr(input, env)?, to, *safe),
            ExprKind::Call(call) => self.call(call, env),
            ExprKind::InQuery { operand, query, negated } => self.in_value(operand, query, *negated, at, env),
            ExprKind::Exists(query) => self.exists_value(query, at, env),
            ExprKind::Subquery(query) => self.scalar_subquery(query, at, env),
            ExprKind::Row(items) => resolve("ROW", self.exprs(items, env)?),
            ExprKind::Array(items) => resolve("ARRAY", self.exprs(items, env)?),
            ExprKind::Map(items) => resolve("MAP", self.exprs(items, env)?),
            ExprKind::Index { operand, index } => {
                resolve("ITEM", vec![self.expr(operand, env)?, self.expr(index, env)?])
            }
            ExprKind::Field { operand, name } => field(self.expr(operand, env)?, name),
        }
    }

    /// A call of the function or operator `name`, written at `at`; what Flink would refuse is noted.
    fn resolved(&self, name: &str, args: Vec<Expr>, at: Position) -> Result<Expr> {
        let bound = resolve(name, args.clone())?;
        self.note_beyond(name, &args, at);
        Ok(bound)
    }

    fn note_beyond(&self, name: &str, args: &[Expr], at: Position) {
        if let Some(note) = beyond_flink(name, args) {
            self.note(note, at);
        }
    }

    /// A column, and the fields of it that are named behind it.
    fn name(&self, parts: &[Ident], env: Env<'_>) -> Result<Expr> {
        let found = env.scope.find(parts)?;
        parts[found.parts..].iter().try_fold(env.scope.expr(found.index), field)
    }

    fn note_long(&self, number: &Expr, at: Position) {
        if literal::is_long(number) {
            self.note("Flink takes no number of more digits than BIGINT has: write CAST('…' AS DECIMAL(38, 0))", at);
        }
    }

    fn sign(&self, negative: bool, operand: &ast::Expr, at: Position, env: Env<'_>) -> Result<Expr> {
        // The signs belong to the number: -2147483648 is an INT though 2147483648 is none, and - -2147483648 is none.
        let (mut all, mut inner) = (negative, operand);
        while let ExprKind::Sign { negative, operand } = &inner.kind {
            (all, inner) = (all != *negative, operand);
        }
        if let ExprKind::Literal(Literal::Number(text)) = &inner.kind {
            let number = literal::number(text, all)?;
            self.note_long(&number, at);
            return Ok(number);
        }
        let bound = self.expr(operand, env)?;
        if negative {
            return resolve("UNARY MINUS", vec![bound]);
        }
        if bound.kind().is_numeric() || bound.kind().is_interval() || *bound.kind() == TypeKind::Null {
            return Ok(bound);
        }
        Err(Error::invalid(format!("+ wants a number, not {}", bound.kind())).hint("remove the +"))
    }

    fn call(&self, call: &Call, env: Env<'_>) -> Result<Expr> {
        if is_window_function(&call.name) && (call.over.is_some() || !is_aggregate(&call.name)) {
            return self.window_call(call, env);
        }
        if is_aggregate(&call.name) {
            return if call.over.is_some() { Err(over_aggregate(call)) } else { self.aggregate_call(call, env) };
        }
        if call.name == "VALUES" {
            return inserted_value(call, env);
        }
        if let Some(over) = &call.over {
            return Err(Error::invalid(format!("{} is no window function", call.name))
                .hint("remove OVER (…)")
                .at(over.at));
        }
        if call.distinct || call.star || call.filter.is_some() {
            let what = if call.star {
                "(*)"
            } else if call.distinct {
                "DISTINCT"
            } else {
                "FILTER"
            };
            let error = Error::invalid(format!("{what} goes with aggregates, and {} is none", call.name));
            return Err(error.hint("aggregates are COUNT, SUM, AVG, MIN and MAX").at(call.written.at));
        }
        let mut args = Vec::with_capacity(call.args.len());
        for (i, arg) in call.args.iter().enumerate() {
            match &arg.kind {
                ExprKind::Name(parts) if i == 0 && is_unit_word(call, parts) && env.scope.find(parts).is_err() => {
                    args.push(Expr::text(&parts[0].name.to_uppercase()));
                }
                _ => args.push(self.expr(arg, env)?),
            }
        }
        if functions::find(&call.name).is_none() && WINDOW_WORDS.contains(&call.name.as_str()) {
            return Err(Error::invalid(format!("{}(…) is not supported yet", call.name))
                .hint("group by a computed start of the window instead")
                .at(call.written.at));
        }
        self.resolved(&call.name, args, call.written.at).map_err(|error| error.at(call.written.at))
    }
}

/// `error` with the names of columns for the numbers (`$2`) by which typed expressions show them.
fn named(error: Error, scope: &Scope<'_>) -> Error {
    if error.position().is_some() || !error.message().contains('$') {
        return error;
    }
    let mut parts = error.message().split('$');
    let mut message = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match part[..digits].parse::<usize>().ok().and_then(|index| scope.columns.get(index)) {
            Some(column) => message.push_str(&format!("{}{}", quoted(&column.name), &part[digits..])),
            None if digits > 0 => message.push_str(&format!("…{}", &part[digits..])),
            None => message.push_str(&format!("${part}")),
        }
    }
    let renamed = Error::new(error.kind(), message);
    match error.remedy() {
        Some(hint) => renamed.hint(hint),
        None => renamed,
    }
}

/// Flink's older group windows and window properties.
const WINDOW_WORDS: &[&str] = &[
    "TUMBLE",
    "HOP",
    "SESSION",
    "CUMULATE",
    "TUMBLE_START",
    "TUMBLE_END",
    "HOP_START",
    "HOP_END",
    "SESSION_START",
    "SESSION_END",
    "TUMBLE_ROWTIME",
    "TUMBLE_PROCTIME",
    "HOP_ROWTIME",
    "HOP_PROCTIME",
    "SESSION_ROWTIME",
    "SESSION_PROCTIME",
];

fn is_unit_word(call: &Call, parts: &[Ident]) -> bool {
    let takes_unit = ["DATE_TRUNC", "DATE_ADD", "DATEDIFF", "DATE_DIFF"].contains(&call.name.as_str());
    takes_unit && parts.len() == 1 && UNIT_WORDS.contains(&parts[0].name.to_uppercase().as_str())
}

/// `VALUES(column)`: the value that was to be inserted.
fn inserted_value(call: &Call, env: Env<'_>) -> Result<Expr> {
    let at = call.written.at;
    let excluded = Ident { name: EXCLUDED.to_owned(), at };
    if env.scope.of_qualifier(std::slice::from_ref(&excluded)).is_empty() {
        return Err(Error::invalid("VALUES(…) stands in ON DUPLICATE KEY UPDATE only")
            .hint("name the column, or write (VALUES …) AS t (a, b) behind FROM")
            .at(at));
    }
    match call.args.as_slice() {
        [ast::Expr { kind: ExprKind::Name(parts), .. }] if parts.len() == 1 => {
            let found = env.scope.find(&[excluded, parts[0].clone()])?;
            Ok(env.scope.expr(found.index))
        }
        _ => Err(Error::invalid("VALUES(…) takes one column").hint("write c = VALUES(c)").at(at)),
    }
}

/// `row.name`
fn field(row: Expr, name: &Ident) -> Result<Expr> {
    resolve("FIELD", vec![row, Expr::text(&name.name)]).map_err(|error| error.at(name.at))
}
