//! The text of an expression, for EXPLAIN, plan identity and messages.
//!
//! Stable: the same expression always has the same text. Expressions of different shape have different texts (nested
//! operands are parenthesised, types of casts written out); the types of columns, and the lengths and precisions of
//! literals, do not show. It is close to SQL, but not meant to be parsed again.

use std::fmt;

use gridhouse_base::{Schema, Value};

use crate::expr::Expr;
use crate::functions::{Notation, conversion::CHECKED_CAST};
use crate::text::format_literal;

/// Columns appear as `$0`, `$1`, ….
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_expr(f, self, None, false)
    }
}

/// An expression whose columns appear by name.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    expr: &'a Expr,
    schema: &'a Schema,
}

impl Expr {
    /// The text with the column names of `schema` in place of `$0`, `$1`, ….
    pub fn display_with<'a>(&'a self, schema: &'a Schema) -> Named<'a> {
        Named { expr: self, schema }
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_expr(f, self.expr, Some(self.schema), false)
    }
}

fn write_expr(f: &mut fmt::Formatter<'_>, expr: &Expr, schema: Option<&Schema>, nested: bool) -> fmt::Result {
    match expr {
        Expr::Column { index, .. } => match schema.and_then(|schema| schema.columns.get(*index)) {
            Some(column) => write!(f, "`{}`", column.name.replace('`', "``")),
            None => write!(f, "${index}"),
        },
        Expr::Literal { value: Value::Null, .. } => f.write_str("NULL"),
        Expr::Literal { value, sql_type } => f.write_str(&format_literal(value, &sql_type.kind)),
        Expr::Cast { input, safe, sql_type } => {
            f.write_str(if *safe { "TRY_CAST(" } else { "CAST(" })?;
            write_expr(f, input, schema, false)?;
            write!(f, " AS {})", sql_type.kind)
        }
        Expr::Case { branches, otherwise, .. } => {
            f.write_str("CASE")?;
            for (when, then) in branches {
                f.write_str(" WHEN ")?;
                write_expr(f, when, schema, false)?;
                f.write_str(" THEN ")?;
                write_expr(f, then, schema, false)?;
            }
            f.write_str(" ELSE ")?;
            write_expr(f, otherwise, schema, false)?;
            f.write_str(" END")
        }
        Expr::And(operands) => write_chain(f, operands, " AND ", schema, nested),
        Expr::Or(operands) => write_chain(f, operands, " OR ", schema, nested),
        // The only function whose result's type does not follow from its arguments.
        Expr::Call { function, args, sql_type } if **function == CHECKED_CAST => {
            write!(f, "{}(", function.name)?;
            args.iter().try_for_each(|arg| write_expr(f, arg, schema, false))?;
            write!(f, " AS {})", sql_type.kind)
        }
        Expr::Call { function, args, .. } => match (function.notation, args.as_slice()) {
            (Notation::Infix, [_, _]) => write_chain(f, args, &format!(" {} ", function.name), schema, nested),
            (Notation::Prefix(sign), [arg]) => {
                f.write_str(sign)?;
                write_expr(f, arg, schema, true)
            }
            (Notation::Postfix, [arg]) => {
                f.write_str(if nested { "(" } else { "" })?;
                write_expr(f, arg, schema, true)?;
                write!(f, " {}{}", function.name, if nested { ")" } else { "" })
            }
            _ => {
                write!(f, "{}(", function.name)?;
                for (i, arg) in args.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    write_expr(f, arg, schema, false)?;
                }
                f.write_str(")")
            }
        },
    }
}

fn write_chain(
    f: &mut fmt::Formatter<'_>,
    operands: &[Expr],
    separator: &str,
    schema: Option<&Schema>,
    nested: bool,
) -> fmt::Result {
    f.write_str(if nested { "(" } else { "" })?;
    for (i, operand) in operands.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { separator })?;
        write_expr(f, operand, schema, true)?;
    }
    f.write_str(if nested { ")" } else { "" })
}
