//! Expressions, by precedence climbing with Calcite's precedences.
//!
//! From loose to tight: OR, AND, NOT, IS, comparison, BETWEEN/IN/LIKE, `+ -`, `* / % ||`, sign, `[ ] .`.

use gridhouse_base::{Error, Position, Result};

use super::{Parser, TokenKind};
use crate::ast::{Call, Expr, ExprKind, Ident, IsWhat, Literal};

const OR: u8 = 22;
const AND: u8 = 24;
const NOT: u8 = 26;
const IS: u8 = 28;
const COMPARISON: u8 = 30;
pub(super) const RANGE: u8 = 32;
const SUM: u8 = 40;
const PRODUCT: u8 = 60;

/// Functions that are called without parentheses.
const NILADIC: &[&str] = &["CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"];

/// Units of time, singular and plural as they may be written.
const UNITS: &[(&str, &[&str])] = &[
    ("YEAR", &["YEAR", "YEARS", "SQL_TSI_YEAR"]),
    ("QUARTER", &["QUARTER", "QUARTERS", "SQL_TSI_QUARTER"]),
    ("MONTH", &["MONTH", "MONTHS", "SQL_TSI_MONTH"]),
    ("WEEK", &["WEEK", "WEEKS", "SQL_TSI_WEEK"]),
    ("DAY", &["DAY", "DAYS", "SQL_TSI_DAY"]),
    ("HOUR", &["HOUR", "HOURS", "SQL_TSI_HOUR"]),
    ("MINUTE", &["MINUTE", "MINUTES", "SQL_TSI_MINUTE"]),
    ("SECOND", &["SECOND", "SECONDS", "SQL_TSI_SECOND"]),
    ("MILLISECOND", &["MILLISECOND", "MILLISECONDS"]),
    ("MICROSECOND", &["MICROSECOND", "MICROSECONDS"]),
    ("NANOSECOND", &["NANOSECOND", "NANOSECONDS"]),
    ("EPOCH", &["EPOCH"]),
    ("DOW", &["DOW"]),
    ("ISODOW", &["ISODOW"]),
    ("DOY", &["DOY"]),
    ("ISOYEAR", &["ISOYEAR"]),
    ("DECADE", &["DECADE"]),
    ("CENTURY", &["CENTURY"]),
    ("MILLENNIUM", &["MILLENNIUM"]),
];

/// The unit that `word` names.
fn unit(word: &str) -> Option<&'static str> {
    let upper = word.to_uppercase();
    UNITS.iter().find(|(_, spellings)| spellings.contains(&upper.as_str())).map(|(unit, _)| *unit)
}

impl Parser<'_> {
    /// An expression.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.nested(|parser| parser.expr_above(0))
    }

    pub(super) fn boxed_above(&mut self, precedence: u8) -> Result<Box<Expr>> {
        self.nested(|parser| parser.expr_above(precedence)).map(Box::new)
    }

    /// An expression of operators that bind tighter than `floor`.
    fn expr_above(&mut self, floor: u8) -> Result<Expr> {
        let mut left = self.prefix()?;
        let mut links = 0;
        loop {
            let at = self.at();
            let Some(precedence) = self.infix_precedence().filter(|&p| p > floor) else {
                return Ok(left);
            };
            links += 1;
            left = self.infix(left, precedence, at)?;
            // AND and OR chains are flat.
            if !matches!(left.kind, ExprKind::And(_) | ExprKind::Or(_)) {
                self.check_chain(links)?;
            }
        }
    }

    fn prefix(&mut self) -> Result<Expr> {
        let at = self.at();
        if self.peek_is("NOT") {
            self.advance();
            let operand = self.boxed_above(NOT - 1)?;
            return Ok(Expr { kind: ExprKind::Not(operand), at });
        }
        for (symbol, negative) in [("-", true), ("+", false)] {
            if self.accept_symbol(symbol) {
                let operand = Box::new(self.nested(Self::prefix)?);
                return Ok(Expr { kind: ExprKind::Sign { negative, operand }, at });
            }
        }
        let mut expr = self.primary()?;
        let mut links = 0;
        loop {
            let at = self.at();
            links += 1;
            self.check_chain(links)?;
            if self.accept_symbol("[") {
                let index = Box::new(self.expr()?);
                self.expect_symbol("]")?;
                expr = Expr { kind: ExprKind::Index { operand: Box::new(expr), index }, at };
            } else if self.peek_symbol(".")
                && !self.is_symbol_after(1, "*")
                && !matches!(expr.kind, ExprKind::Literal(_))
            {
                self.advance();
                let name = self.ident("a field's name")?;
                expr = Expr { kind: ExprKind::Field { operand: Box::new(expr), name }, at };
            } else {
                return Ok(expr);
            }
        }
    }

    /// How tight the operator that stands here binds.
    fn infix_precedence(&self) -> Option<u8> {
        let token = self.token();
        if token.kind == TokenKind::Symbol {
            return match self.text_of(token) {
                "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" | "==" => Some(COMPARISON),
                "+" | "-" => Some(SUM),
                "*" | "/" | "%" | "||" => Some(PRODUCT),
                _ => None,
            };
        }
        match self.peek_word()?.as_str() {
            "OR" => Some(OR),
            "AND" => Some(AND),
            "IS" => Some(IS),
            "BETWEEN" | "IN" | "LIKE" | "SIMILAR" => Some(RANGE),
            "OVERLAPS" if self.is_symbol_after(1, "(") => Some(COMPARISON),
            "NOT" if ["BETWEEN", "IN", "LIKE", "SIMILAR"].iter().any(|word| self.is_word_after(1, word)) => Some(RANGE),
            _ => None,
        }
    }

    fn infix(&mut self, left: Expr, precedence: u8, at: Position) -> Result<Expr> {
        match precedence {
            OR | AND => self.junction(left, precedence, at),
            IS => self.is_what(left, at),
            RANGE => self.range(left, at),
            COMPARISON if self.peek_is("OVERLAPS") => self.overlaps(left, at),
            _ => {
                let operator = self.operator()?;
                let right = self.boxed_above(precedence)?;
                if matches!(self.peek_word().as_deref(), Some("ANY" | "ALL" | "SOME")) {
                    return Err(self.unexpected("an operand"));
                }
                Ok(Expr { kind: ExprKind::Binary { operator, left: Box::new(left), right }, at })
            }
        }
    }

    fn operator(&mut self) -> Result<&'static str> {
        let at = self.at();
        let written = self.text_of(self.token());
        let all = ["=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||"];
        let operator = match written {
            "!=" => {
                self.note("Flink writes <> for !=".into(), at);
                "<>"
            }
            "==" => return Err(Error::invalid("`==` is no operator").hint("write =").at(at)),
            _ => match all.into_iter().find(|operator| *operator == written) {
                Some(operator) => operator,
                None => return Err(self.unexpected("an operator")),
            },
        };
        self.advance();
        if ["ANY", "ALL", "SOME"].iter().any(|word| self.peek_is(word)) {
            let error = Error::invalid("comparison with ANY, SOME or ALL is not supported yet").at(self.at());
            return Err(error.hint("write x IN (SELECT …), or compare with (SELECT MIN(…)) or (SELECT MAX(…))"));
        }
        Ok(operator)
    }

    /// `(from, to) OVERLAPS (from, to)`.
    fn overlaps(&mut self, left: Expr, at: Position) -> Result<Expr> {
        let written = Ident { name: "OVERLAPS".into(), at: self.at() };
        self.expect("OVERLAPS")?;
        let right = self.boxed_above(COMPARISON)?;
        match (left.kind, right.kind) {
            (ExprKind::Row(mut args), ExprKind::Row(other)) if args.len() == 2 && other.len() == 2 => {
                args.extend(other);
                Ok(plain_call("OVERLAPS", written, args))
            }
            _ => Err(Error::invalid("OVERLAPS stands between two periods")
                .hint("write (from, to) OVERLAPS (from, to), or an interval for the second")
                .at(at)),
        }
    }

    fn junction(&mut self, left: Expr, precedence: u8, at: Position) -> Result<Expr> {
        self.advance();
        let right = *self.boxed_above(precedence)?;
        let and = precedence == AND;
        let mut operands = match left.kind {
            ExprKind::And(operands) if and => operands,
            ExprKind::Or(operands) if !and => operands,
            _ => vec![left],
        };
        operands.push(right);
        Ok(Expr { kind: if and { ExprKind::And(operands) } else { ExprKind::Or(operands) }, at })
    }

    fn is_what(&mut self, left: Expr, at: Position) -> Result<Expr> {
        self.expect("IS")?;
        let negated = self.accept("NOT");
        if self.accept("DISTINCT") {
            self.expect("FROM")?;
            let right = self.boxed_above(IS)?;
            return Ok(Expr { kind: ExprKind::IsDistinct { left: Box::new(left), right, negated }, at });
        }
        if self.accept("JSON") {
            return Ok(self.is_json(left, negated, at));
        }
        let what = match self.peek_word().unwrap_or_default().as_str() {
            "NULL" => IsWhat::Null,
            "TRUE" => IsWhat::True,
            "FALSE" => IsWhat::False,
            "UNKNOWN" => IsWhat::Unknown,
            _ => return Err(self.unexpected("`NULL`, `NOT NULL`, `TRUE`, `FALSE`, `UNKNOWN` or `DISTINCT FROM`")),
        };
        self.advance();
        Ok(Expr { kind: ExprKind::Is { operand: Box::new(left), what, negated }, at })
    }

    /// `[NOT] BETWEEN`, `[NOT] IN`, `[NOT] LIKE`, `[NOT] SIMILAR TO`.
    fn range(&mut self, left: Expr, at: Position) -> Result<Expr> {
        let negated = self.accept("NOT");
        let operand = Box::new(left);
        let kind = if self.accept("BETWEEN") {
            let symmetric = self.choose("SYMMETRIC", "ASYMMETRIC");
            let low = self.boxed_above(RANGE)?;
            self.expect("AND")?;
            let high = self.boxed_above(RANGE)?;
            ExprKind::Between { operand, low, high, negated, symmetric }
        } else if self.accept("IN") {
            if self.query_in_parentheses() {
                self.expect_symbol("(")?;
                let query = Box::new(self.query()?);
                self.expect_symbol(")")?;
                ExprKind::InQuery { operand, query, negated }
            } else {
                self.expect_symbol("(")?;
                if self.peek_symbol(")") {
                    return Err(Error::invalid("the list behind IN is empty")
                        .hint("name at least one value")
                        .at(self.at()));
                }
                ExprKind::InList { operand, list: self.expr_list()?, negated }
            }
        } else {
            let similar = self.accept("SIMILAR");
            if similar {
                self.expect("TO")?;
            } else {
                self.expect("LIKE")?;
            }
            let pattern = self.boxed_above(RANGE)?;
            let escape = if self.accept("ESCAPE") { Some(self.boxed_above(RANGE)?) } else { None };
            ExprKind::Like { operand, pattern, escape, negated, similar }
        };
        Ok(Expr { kind, at })
    }

    fn primary(&mut self) -> Result<Expr> {
        let token = self.token();
        let at = token.at;
        let literal = |literal| Ok(Expr { kind: ExprKind::Literal(literal), at });
        match &token.kind {
            TokenKind::Number => {
                let number = self.text_of(token).to_owned();
                self.advance();
                let next = self.token();
                if matches!(next.kind, TokenKind::Word { .. }) && next.start == token.end {
                    let error = Error::invalid(format!("`{number}{}` is no number and no name", self.text_of(next)));
                    return Err(error.hint("a name that starts with a digit stands in back-quotes").at(at));
                }
                literal(Literal::Number(number))
            }
            TokenKind::Text(value) => {
                self.advance();
                let value = if self.peek_is("UESCAPE") { self.escaped_with(value)? } else { value.clone() };
                literal(Literal::Text(value))
            }
            TokenKind::Hex(digits) => {
                self.advance();
                literal(Literal::Hex(digits.clone()))
            }
            TokenKind::Word { quoted: true, .. } => self.name_or_call(),
            TokenKind::Word { value, .. } => self.word(&value.to_uppercase(), at),
            TokenKind::Symbol if self.peek_symbol("(") => self.parenthesized(at),
            _ => Err(self.unexpected("an expression")),
        }
    }

    /// `U&'text' UESCAPE '!'`: the text with `!4E2D` in place of `\4E2D`.
    fn escaped_with(&mut self, text: &str) -> Result<String> {
        let at = self.at();
        self.expect("UESCAPE")?;
        let escape = self.text_literal("a character")?;
        let malformed = || {
            Error::invalid(format!("'{text}' does not go with UESCAPE '{escape}'"))
                .hint("four hexadecimal digits follow the escape character: U&'!4E2D' UESCAPE '!'")
                .at(at)
        };
        let mut parts = text.split(escape.as_str());
        if escape.chars().count() != 1 {
            return Err(malformed());
        }
        let mut out = parts.next().unwrap_or_default().to_owned();
        while let Some(part) = parts.next() {
            if part.is_empty() {
                // The character twice stands for itself.
                out.push_str(&escape);
                out.push_str(parts.next().unwrap_or_default());
                continue;
            }
            let code = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
            out.push(code.and_then(char::from_u32).ok_or_else(malformed)?);
            out.push_str(&part[4..]);
        }
        Ok(out)
    }

    fn parenthesized(&mut self, at: Position) -> Result<Expr> {
        if self.query_in_parentheses() {
            self.expect_symbol("(")?;
            let query = self.query()?;
            self.expect_symbol(")")?;
            return Ok(Expr { kind: ExprKind::Subquery(Box::new(query)), at });
        }
        self.expect_symbol("(")?;
        let mut exprs = self.expr_list()?;
        if exprs.len() == 1 {
            let expr = exprs.remove(0);
            return if self.interval_unit_follows() { self.difference(expr) } else { Ok(expr) };
        }
        Ok(Expr { kind: ExprKind::Row(exprs), at })
    }

    /// Whether a unit stands here that makes an interval of the difference before it.
    fn interval_unit_follows(&self) -> bool {
        let unit = self.peek_word().as_deref().and_then(unit);
        matches!(unit, Some("YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAY" | "HOUR" | "MINUTE" | "SECOND"))
            && !self.is_symbol_after(1, "(")
    }

    /// `(a - b) DAY`, `(a - b) YEAR TO MONTH`: an interval of that kind. Behind anything but a difference the word is an alias.
    fn difference(&mut self, expr: Expr) -> Result<Expr> {
        let ExprKind::Binary { operator: "-", left, right } = expr.kind else { return Ok(expr) };
        let written = Ident { name: "-".into(), at: expr.at };
        let at = self.at();
        let unit = self.time_unit()?;
        if self.accept("TO") {
            self.time_unit()?;
        }
        let unit = Expr { kind: ExprKind::Literal(Literal::Text(unit.into())), at };
        Ok(plain_call("INTERVAL BETWEEN", written, vec![unit, *left, *right]))
    }

    /// An expression that begins with an unquoted word.
    fn word(&mut self, word: &str, at: Position) -> Result<Expr> {
        let text_follows = matches!(self.token_after(1).kind, TokenKind::Text(_));
        let call = self.is_symbol_after(1, "(");
        let literal = |literal| Ok(Expr { kind: ExprKind::Literal(literal), at });
        match word {
            "NULL" | "TRUE" | "FALSE" => {
                self.advance();
                literal(if word == "NULL" { Literal::Null } else { Literal::Boolean(word == "TRUE") })
            }
            "UNKNOWN" => {
                self.advance();
                let input = Box::new(Expr { kind: ExprKind::Literal(Literal::Null), at });
                let to = gridhouse_base::TypeKind::Boolean.nullable();
                Ok(Expr { kind: ExprKind::Cast { input, to, safe: false }, at })
            }
            "DATE" | "TIME" | "TIMESTAMP" | "TIMESTAMP_LTZ" if text_follows => {
                self.advance();
                if word == "TIMESTAMP_LTZ" {
                    self.note("Flink has no TIMESTAMP_LTZ constants: write CAST('…' AS TIMESTAMP_LTZ(3))".into(), at);
                }
                let text = self.text_literal("a text")?;
                literal(match word {
                    "DATE" => Literal::Date(text),
                    "TIME" => Literal::Time(text),
                    "TIMESTAMP" => Literal::Timestamp(text),
                    _ => Literal::TimestampLtz(text),
                })
            }
            "INTERVAL" if !call && !self.is_symbol_after(1, ".") && !self.is_symbol_after(1, ",") => self.interval(at),
            "CASE" => self.case(at),
            "CAST" | "TRY_CAST" if call => self.cast(word == "TRY_CAST", at),
            "EXISTS" => {
                self.advance();
                if !self.query_in_parentheses() {
                    return Err(self.unexpected("`(SELECT`"));
                }
                self.expect_symbol("(")?;
                let query = self.query()?;
                self.expect_symbol(")")?;
                Ok(Expr { kind: ExprKind::Exists(Box::new(query)), at })
            }
            "ROW" if call => {
                self.advance();
                self.advance();
                let items = if self.accept_symbol(")") { Vec::new() } else { self.expr_list()? };
                Ok(Expr { kind: ExprKind::Row(items), at })
            }
            "ARRAY" | "MAP" if self.is_symbol_after(1, "[") => {
                self.advance();
                self.advance();
                let mut items = Vec::new();
                while !self.accept_symbol("]") {
                    items.push(self.expr()?);
                    if !self.accept_symbol(",") && !self.peek_symbol("]") {
                        return Err(self.unexpected("`,` or `]`"));
                    }
                }
                Ok(Expr { kind: if word == "MAP" { ExprKind::Map(items) } else { ExprKind::Array(items) }, at })
            }
            "SELECT" => Err(Error::invalid("a query inside an expression stands in parentheses")
                .hint("write (SELECT …)")
                .at(at)),
            // Functions whose names are reserved words.
            "LEFT" | "RIGHT" | "VALUES" | "TRUNCATE" | "MINUS" if call => {
                self.call_named(Ident { name: self.text_of(self.token()).into(), at })
            }
            _ if NILADIC.contains(&word) && !call => {
                self.advance();
                let written = Ident { name: word.to_owned(), at };
                Ok(plain_call(word, written, Vec::new()))
            }
            _ => self.name_or_call(),
        }
    }

    fn name_or_call(&mut self) -> Result<Expr> {
        let at = self.at();
        if self.is_symbol_after(1, "(") {
            let TokenKind::Word { value, .. } = &self.token().kind else {
                return Err(self.unexpected("an expression"));
            };
            let upper = value.to_uppercase();
            if crate::keywords::RESERVED.binary_search(&upper.as_str()).is_ok() {
                return Err(self.unexpected("an expression"));
            }
            return self.call_named(Ident { name: value.clone(), at });
        }
        let mut parts = vec![self.ident("an expression")?];
        while self.peek_symbol(".") && !self.is_symbol_after(1, "*") {
            self.advance();
            parts.push(self.ident("a column")?);
        }
        Ok(Expr { kind: ExprKind::Name(parts), at })
    }

    fn interval(&mut self, at: Position) -> Result<Expr> {
        self.expect("INTERVAL")?;
        let negative = self.accept_symbol("-");
        if !negative {
            self.accept_symbol("+");
        }
        let token = self.token();
        let value = match &token.kind {
            TokenKind::Text(value) => value.clone(),
            TokenKind::Number => self.text_of(token).to_owned(),
            _ => return Err(self.unexpected("a text").hint("write INTERVAL '1' DAY")),
        };
        let value_at = token.at;
        self.advance();
        let from = self.time_unit()?;
        let digits = self.precision()?.unwrap_or(2);
        let mut to = None;
        if self.accept("TO") {
            to = Some(self.time_unit()?);
            self.precision()?;
        }
        let first: String =
            value.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let needed = first.trim_start_matches('0').len();
        if !["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"].contains(&from) {
            self.note(format!("Flink has no INTERVAL of {from}"), value_at);
        } else if needed > digits as usize {
            let note =
                format!("Flink wants to know of more than {digits} digits: write INTERVAL '{value}' {from}({needed})");
            self.note(note, value_at);
        }
        Ok(Expr { kind: ExprKind::Literal(Literal::Interval { negative, value, from, to }), at })
    }

    /// `(3)` or `(2, 3)` behind a unit: how many digits may be written; it does not change the value.
    fn precision(&mut self) -> Result<Option<u32>> {
        if !self.accept_symbol("(") {
            return Ok(None);
        }
        let digits = self.whole_number("a number of digits")?;
        if self.accept_symbol(",") {
            self.whole_number("a number of digits")?;
        }
        self.expect_symbol(")")?;
        Ok(Some(digits))
    }

    pub(super) fn time_unit(&mut self) -> Result<&'static str> {
        match self.peek_word().as_deref().and_then(unit) {
            Some(unit) => {
                self.advance();
                Ok(unit)
            }
            None => Err(self.unexpected("a unit of time (`YEAR`, `MONTH`, `DAY`, `HOUR`, `MINUTE`, `SECOND`)")),
        }
    }

    fn case(&mut self, at: Position) -> Result<Expr> {
        self.expect("CASE")?;
        let operand = if self.peek_is("WHEN") { None } else { Some(Box::new(self.expr()?)) };
        let mut branches = Vec::new();
        while self.accept("WHEN") {
            let condition = self.expr()?;
            self.expect("THEN")?;
            branches.push((condition, self.expr()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected("`WHEN`"));
        }
        let otherwise = if self.accept("ELSE") { Some(Box::new(self.expr()?)) } else { None };
        if !self.accept("END") {
            return Err(self.unexpected("`END`, `WHEN` or `ELSE`"));
        }
        Ok(Expr { kind: ExprKind::Case { operand, branches, otherwise }, at })
    }

    fn cast(&mut self, safe: bool, at: Position) -> Result<Expr> {
        self.advance();
        self.expect_symbol("(")?;
        let input = Box::new(self.expr()?);
        self.expect("AS")?;
        let to = self.sql_type()?;
        self.expect_symbol(")")?;
        Ok(Expr { kind: ExprKind::Cast { input, to, safe }, at })
    }
}

fn plain_call(name: &str, written: Ident, args: Vec<Expr>) -> Expr {
    let at = written.at;
    let call = Call { name: name.into(), written, args, distinct: false, star: false, filter: None, over: None };
    Expr { kind: ExprKind::Call(Box::new(call)), at }
}
