//! Function calls, with arguments written with words instead of commas put into plain ones.

use gridhouse_base::{Error, Result};

use super::Parser;
use super::expr::RANGE;
use crate::ast::{Call, Expr, ExprKind, Ident, Literal};

impl Parser<'_> {
    /// A call of `written`, which is the next token.
    pub(super) fn call_named(&mut self, written: Ident) -> Result<Expr> {
        let at = written.at;
        let name = written.name.to_uppercase();
        self.advance();
        self.expect_symbol("(")?;
        let mut call = Call { name, written, args: Vec::new(), distinct: false, star: false, filter: None, over: None };
        if !self.special_arguments(&mut call)? {
            self.plain_arguments(&mut call)?;
        }
        for word in ["WITHIN", "RESPECT", "IGNORE"] {
            let follows = if word == "WITHIN" { "GROUP" } else { "NULLS" };
            if self.peek_all(&[word, follows]) {
                return Err(Error::invalid(format!("{word} {follows} is not supported yet")).at(self.at()));
            }
        }
        if self.peek_is("FILTER") && self.is_symbol_after(1, "(") {
            self.advance();
            self.expect_symbol("(")?;
            self.expect("WHERE")?;
            call.filter = Some(self.expr()?);
            self.expect_symbol(")")?;
        }
        if self.peek_is("OVER") {
            call.over = Some(Box::new(self.over()?));
        }
        Ok(Expr { kind: ExprKind::Call(Box::new(call)), at })
    }

    fn plain_arguments(&mut self, call: &mut Call) -> Result<()> {
        if self.accept_symbol(")") {
            return Ok(());
        }
        if self.accept_symbol("*") {
            call.star = true;
            return self.expect_symbol(")");
        }
        call.distinct = self.choose("DISTINCT", "ALL");
        if call.distinct && self.peek_symbol("*") {
            let hint = "name the columns: COUNT(DISTINCT a), or count a SELECT DISTINCT";
            return Err(Error::invalid(format!("{}(DISTINCT *) has no meaning", call.name)).hint(hint).at(self.at()));
        }
        loop {
            if self.is_symbol_after(1, "=>") {
                return Err(Error::invalid("named arguments are not supported yet")
                    .hint("give them in order")
                    .at(self.at()));
            }
            call.args.push(self.expr()?);
            if self.peek_is("ORDER") {
                return Err(Error::invalid("ORDER BY inside a call is not supported, as in Flink").at(self.at()));
            }
            if !self.list_goes_on()? {
                return Ok(());
            }
        }
    }

    /// Arguments written with words instead of commas; whether they were.
    fn special_arguments(&mut self, call: &mut Call) -> Result<bool> {
        let text = |value: &str, at| Expr { kind: ExprKind::Literal(Literal::Text(value.into())), at };
        let at = self.at();
        match call.name.as_str() {
            "EXTRACT" => {
                let unit = self.time_unit()?;
                self.expect("FROM")?;
                call.args = vec![text(unit, at), self.expr()?];
            }
            "TIMESTAMPDIFF" | "TIMESTAMPADD" => {
                let unit = self.time_unit()?;
                self.expect_symbol(",")?;
                call.args = vec![text(unit, at), self.expr()?];
                self.expect_symbol(",")?;
                call.args.push(self.expr()?);
            }
            "TRIM" => return self.trim(call),
            "JSON_EXISTS" | "JSON_VALUE" | "JSON_QUERY" | "JSON_OBJECT" | "JSON_ARRAY" => {
                return self.json_arguments(call).map(|()| true);
            }
            "FLOOR" | "CEIL" | "CEILING" => {
                call.args = vec![self.expr()?];
                if self.accept("TO") {
                    let at = self.at();
                    let unit = self.time_unit()?;
                    call.args.insert(0, text(unit, at));
                }
            }
            "SUBSTRING" | "OVERLAY" => {
                call.args = vec![self.expr()?];
                if self.accept("PLACING") {
                    call.args.push(self.expr()?);
                }
                if !self.accept("FROM") {
                    if self.accept_symbol(",") {
                        loop {
                            call.args.push(self.expr()?);
                            if !self.list_goes_on()? {
                                return Ok(true);
                            }
                        }
                    }
                    self.expect_symbol(")")?;
                    return Ok(true);
                }
                call.args.push(self.expr()?);
                if self.accept("FOR") {
                    call.args.push(self.expr()?);
                }
            }
            "POSITION" => {
                call.args = vec![*self.boxed_above(RANGE)?];
                if !self.accept("IN") {
                    self.expect_symbol(",")?;
                }
                call.args.push(self.expr()?);
            }
            _ => return Ok(false),
        }
        self.expect_symbol(")")?;
        Ok(true)
    }

    /// `TRIM([BOTH|LEADING|TRAILING] [chars] FROM text)`; `TRIM(text)` is a plain call.
    fn trim(&mut self, call: &mut Call) -> Result<bool> {
        let at = self.at();
        let text = |value: &str| Expr { kind: ExprKind::Literal(Literal::Text(value.into())), at };
        let side = ["BOTH", "LEADING", "TRAILING"]
            .into_iter()
            .find(|side| self.peek_is(side) && !self.is_symbol_after(1, ")"));
        if side.is_some() {
            self.advance();
        }
        let chars = if self.peek_is("FROM") { text(" ") } else { self.expr()? };
        if self.accept("FROM") {
            call.args = vec![text(side.unwrap_or("BOTH")), chars, self.expr()?];
        } else if side.is_some() {
            return Err(self.unexpected("`FROM`"));
        } else {
            call.args = vec![chars];
            while self.accept_symbol(",") {
                call.args.push(self.expr()?);
            }
        }
        self.expect_symbol(")")?;
        Ok(true)
    }
}
