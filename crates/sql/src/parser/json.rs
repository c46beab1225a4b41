//! The clauses of JSON functions, put into plain arguments.
//!
//! `JSON_EXISTS(x, p, on_error)`, `JSON_VALUE(x, p, type, on_empty, default, on_error, default)`,
//! `JSON_QUERY(x, p, type, wrapper, on_empty, on_error)`, `JSON_OBJECT(on_null, key, value, …)`, `JSON_ARRAY(on_null, value, …)`;
//! `x IS JSON OBJECT` is `IS JSON(x, 'OBJECT')`. Clauses become text literals, a missing default is NULL.

use gridhouse_base::{Position, Result};

use super::Parser;
use crate::ast::{Call, Expr, ExprKind, Ident, Literal};

fn text(value: &str, at: Position) -> Expr {
    Expr { kind: ExprKind::Literal(Literal::Text(value.into())), at }
}

fn null(at: Position) -> Expr {
    Expr { kind: ExprKind::Literal(Literal::Null), at }
}

impl Parser<'_> {
    /// The arguments of `call`, a JSON function whose opening parenthesis is read.
    pub(super) fn json_arguments(&mut self, call: &mut Call) -> Result<()> {
        match call.name.as_str() {
            "JSON_OBJECT" => self.json_object(call)?,
            "JSON_ARRAY" => self.json_array(call)?,
            _ => {
                call.args.push(self.expr()?);
                self.expect_symbol(",")?;
                call.args.push(self.expr()?);
                match call.name.as_str() {
                    "JSON_EXISTS" => self.json_exists(call)?,
                    "JSON_VALUE" => self.json_value(call)?,
                    _ => self.json_query(call)?,
                }
            }
        }
        self.expect_symbol(")")
    }

    fn json_exists(&mut self, call: &mut Call) -> Result<()> {
        let at = self.at();
        let answers = ["TRUE", "FALSE", "UNKNOWN", "ERROR"];
        let answer = answers.into_iter().find(|answer| self.accept(answer));
        if answer.is_some() {
            self.expect_all(&["ON", "ERROR"])?;
        }
        call.args.push(text(answer.unwrap_or("FALSE"), at));
        Ok(())
    }

    /// `RETURNING type`, as the type's text. A NULL behind it begins the next clause.
    fn returning(&mut self) -> Result<Expr> {
        let at = self.at();
        let kind = if self.accept("RETURNING") { self.type_kind()?.to_string() } else { "STRING".into() };
        // Any length of text is a text.
        let kind = if kind.starts_with("VARCHAR") { "STRING".into() } else { kind };
        Ok(text(&kind, at))
    }

    fn json_value(&mut self, call: &mut Call) -> Result<()> {
        call.args.push(self.returning()?);
        let at = self.at();
        let mut clauses = [(text("", at), null(at)), (text("", at), null(at))];
        while !self.peek_symbol(")") {
            let at = self.at();
            let (answer, default) = if self.accept("DEFAULT") {
                (text("DEFAULT", at), self.expr()?)
            } else {
                match ["NULL", "ERROR"].into_iter().find(|answer| self.accept(answer)) {
                    Some(answer) => (text(answer, at), null(at)),
                    None => return Err(self.unexpected("`NULL`, `ERROR` or `DEFAULT`")),
                }
            };
            self.expect("ON")?;
            let slot = if self.accept("EMPTY") {
                0
            } else {
                self.expect("ERROR")?;
                1
            };
            clauses[slot] = (answer, default);
        }
        call.args.extend(clauses.into_iter().flat_map(|(answer, default)| [answer, default]));
        Ok(())
    }

    fn json_query(&mut self, call: &mut Call) -> Result<()> {
        call.args.push(self.returning()?);
        let at = self.at();
        let wrapper = if self.accept("WITHOUT") {
            "WITHOUT"
        } else if self.accept("WITH") {
            if self.choose("CONDITIONAL", "UNCONDITIONAL") { "CONDITIONAL" } else { "UNCONDITIONAL" }
        } else {
            ""
        };
        if !wrapper.is_empty() {
            self.accept("ARRAY");
            self.expect("WRAPPER")?;
        }
        call.args.push(text(if wrapper.is_empty() { "WITHOUT" } else { wrapper }, at));
        let mut clauses = [text("NULL", at), text("NULL", at)];
        while !self.peek_symbol(")") {
            let at = self.at();
            let answer = if self.accept("NULL") {
                "NULL"
            } else if self.accept("ERROR") {
                "ERROR"
            } else if self.accept("EMPTY") {
                if self.choose("OBJECT", "ARRAY") { "EMPTY OBJECT" } else { "EMPTY ARRAY" }
            } else {
                return Err(self.unexpected("`NULL`, `ERROR`, `EMPTY ARRAY` or `EMPTY OBJECT`"));
            };
            self.expect("ON")?;
            let slot = if self.accept("EMPTY") {
                0
            } else {
                self.expect("ERROR")?;
                1
            };
            clauses[slot] = text(answer, at);
        }
        call.args.extend(clauses);
        Ok(())
    }

    /// `NULL ON NULL` or `ABSENT ON NULL`.
    fn on_null(&mut self) -> Option<&'static str> {
        if self.accept_all(&["NULL", "ON", "NULL"]) {
            return Some("NULL");
        }
        self.accept_all(&["ABSENT", "ON", "NULL"]).then_some("ABSENT")
    }

    fn json_object(&mut self, call: &mut Call) -> Result<()> {
        let at = self.at();
        let mut clause = self.on_null();
        while clause.is_none() && !self.peek_symbol(")") {
            if self.peek_is("KEY") && !self.is_symbol_after(1, ":") && !self.is_word_after(1, "VALUE") {
                self.advance();
            }
            call.args.push(self.expr()?);
            if !self.accept_symbol(":") && !self.accept("VALUE") {
                return Err(self.unexpected("`VALUE` or `:`").hint("write JSON_OBJECT('key' VALUE x)"));
            }
            call.args.push(self.expr()?);
            clause = self.on_null();
            if !self.accept_symbol(",") {
                break;
            }
        }
        call.args.insert(0, text(clause.unwrap_or("NULL"), at));
        Ok(())
    }

    fn json_array(&mut self, call: &mut Call) -> Result<()> {
        let at = self.at();
        let mut clause = self.on_null();
        while clause.is_none() && !self.peek_symbol(")") {
            call.args.push(self.expr()?);
            clause = self.on_null();
            if !self.accept_symbol(",") {
                break;
            }
        }
        call.args.insert(0, text(clause.unwrap_or("ABSENT"), at));
        Ok(())
    }

    /// `IS [NOT] JSON [VALUE|SCALAR|ARRAY|OBJECT]` behind `operand`, from the kind on.
    pub(super) fn is_json(&mut self, operand: Expr, negated: bool, at: Position) -> Expr {
        let kind = ["VALUE", "SCALAR", "ARRAY", "OBJECT"].into_iter().find(|kind| self.accept(kind)).unwrap_or("VALUE");
        let written = Ident { name: "IS JSON".into(), at };
        let args = vec![operand, text(kind, at)];
        let call =
            Call { name: "IS JSON".into(), written, args, distinct: false, star: false, filter: None, over: None };
        let test = Expr { kind: ExprKind::Call(Box::new(call)), at };
        if negated { Expr { kind: ExprKind::Not(Box::new(test)), at } } else { test }
    }
}
