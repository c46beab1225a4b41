//! `OVER (…)` and `WINDOW w AS (…)`.

use gridhouse_base::{Error, Result};

use super::Parser;
use super::expr::RANGE;
use crate::ast::{Frame, FrameBound, NamedWindow, Over};

impl Parser<'_> {
    /// `OVER (…)` or `OVER w`; the word is the next token.
    pub(super) fn over(&mut self) -> Result<Over> {
        self.expect("OVER")?;
        if self.peek_symbol("(") {
            return self.window_in_parentheses();
        }
        let at = self.at();
        let window = Some(self.ident("`(` or a window's name")?);
        Ok(Over { window, partition_by: Vec::new(), order_by: Vec::new(), frame: None, at })
    }

    /// `WINDOW w AS (…), …`, where one stands here.
    pub(super) fn named_windows(&mut self) -> Result<Vec<NamedWindow>> {
        let mut windows: Vec<NamedWindow> = Vec::new();
        if !self.accept("WINDOW") {
            return Ok(windows);
        }
        loop {
            let name = self.ident("a window's name")?;
            if windows.iter().any(|window| window.name.name == name.name) {
                return Err(Error::invalid(format!("WINDOW names {name} twice"))
                    .hint("rename one of the two")
                    .at(name.at));
            }
            self.expect("AS")?;
            let over = self.window_in_parentheses()?;
            windows.push(NamedWindow { name, over });
            if !self.accept_symbol(",") {
                return Ok(windows);
            }
        }
    }

    fn window_in_parentheses(&mut self) -> Result<Over> {
        let at = self.at();
        self.expect_symbol("(")?;
        let mut over = Over { window: None, partition_by: Vec::new(), order_by: Vec::new(), frame: None, at };
        let clause = ["PARTITION", "ORDER", "ROWS", "RANGE"].iter().any(|word| self.peek_is(word));
        if !clause && !self.peek_symbol(")") {
            over.window = Some(self.ident("`PARTITION BY`, `ORDER BY` or a window's name")?);
        }
        if self.accept("PARTITION") {
            self.expect("BY")?;
            loop {
                over.partition_by.push(self.expr()?);
                if !self.accept_symbol(",") {
                    break;
                }
            }
        }
        if self.accept("ORDER") {
            self.expect("BY")?;
            loop {
                over.order_by.push(self.order_item()?);
                if !self.accept_symbol(",") {
                    break;
                }
            }
        }
        if self.peek_is("ROWS") || self.peek_is("RANGE") {
            over.frame = Some(self.frame()?);
        }
        if !self.accept_symbol(")") {
            return Err(self.unexpected("`PARTITION BY`, `ORDER BY`, `ROWS`, `RANGE` or `)`"));
        }
        Ok(over)
    }

    fn frame(&mut self) -> Result<Frame> {
        let at = self.at();
        let range = self.choose("RANGE", "ROWS");
        let (start, end) = if self.accept("BETWEEN") {
            let start = self.frame_bound()?;
            self.expect("AND")?;
            (start, self.frame_bound()?)
        } else {
            (self.frame_bound()?, FrameBound::CurrentRow)
        };
        Ok(Frame { range, start, end, at })
    }

    fn frame_bound(&mut self) -> Result<FrameBound> {
        if self.accept_all(&["CURRENT", "ROW"]) {
            return Ok(FrameBound::CurrentRow);
        }
        if self.accept("UNBOUNDED") {
            let preceding = self.accept("PRECEDING");
            if !preceding {
                self.expect("FOLLOWING")?;
            }
            return Ok(if preceding { FrameBound::UnboundedPreceding } else { FrameBound::UnboundedFollowing });
        }
        let distance = *self.boxed_above(RANGE)?;
        if self.accept("PRECEDING") {
            return Ok(FrameBound::Preceding(distance));
        }
        if self.accept("FOLLOWING") {
            return Ok(FrameBound::Following(distance));
        }
        Err(self.unexpected("`PRECEDING` or `FOLLOWING`"))
    }
}
