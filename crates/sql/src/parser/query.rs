//! Queries: `WITH`, `SELECT`, `VALUES`, set operations, `FROM`, `ORDER BY`, `LIMIT`.

use gridhouse_base::{Error, Result};

use super::{Parser, TokenKind};
use crate::ast::{
    Cte, Expr, ExprKind, Ident, Join, JoinCondition, JoinType, Literal, OrderItem, Query, QueryBody, Select,
    SelectItem, SetOperator, TableKind, TableRef, ValuesRow,
};
use crate::keywords::RESERVED;

impl Parser<'_> {
    /// A whole query.
    pub(super) fn query(&mut self) -> Result<Query> {
        self.nested(Self::query_unchecked)
    }

    fn query_unchecked(&mut self) -> Result<Query> {
        let at = self.at();
        let mut with = Vec::new();
        if self.accept("WITH") {
            if self.peek_is("RECURSIVE") {
                let error = Error::invalid("WITH RECURSIVE is not supported, as in Flink").at(self.at());
                return Err(error.hint("join the table with itself for a fixed number of levels"));
            }
            loop {
                with.push(self.cte()?);
                if !self.accept_symbol(",") {
                    break;
                }
            }
        }
        let body = self.set_expression()?;
        let mut query = Query { with, body, order_by: Vec::new(), limit: None, offset: None, at };
        if self.accept("ORDER") {
            self.expect("BY")?;
            loop {
                query.order_by.push(self.order_item()?);
                if !self.accept_symbol(",") {
                    break;
                }
            }
        }
        loop {
            let at = self.at();
            if self.accept("LIMIT") {
                if !self.accept("ALL") {
                    query.limit = Some(self.once(query.limit.is_some(), "LIMIT", at, Self::expr)?);
                    if self.peek_symbol(",") {
                        let hint = "write LIMIT count OFFSET start";
                        return Err(Error::invalid("LIMIT start, count is not accepted").hint(hint).at(self.at()));
                    }
                }
            } else if self.accept("OFFSET") {
                query.offset = Some(self.once(query.offset.is_some(), "OFFSET", at, Self::expr)?);
                let _ = self.accept("ROWS") || self.accept("ROW");
            } else if self.accept("FETCH") {
                if !self.accept("FIRST") {
                    self.expect("NEXT")?;
                }
                let implicit = self.peek_is("ROW") || self.peek_is("ROWS");
                let one = Expr { kind: ExprKind::Literal(Literal::Number("1".into())), at };
                let count = if implicit { one } else { self.expr()? };
                query.limit = Some(self.once(query.limit.is_some(), "FETCH", at, |_| Ok(count))?);
                if !self.accept("ROWS") {
                    self.expect("ROW")?;
                }
                self.expect("ONLY")?;
            } else {
                return Ok(query);
            }
        }
    }

    fn once<T>(
        &mut self,
        again: bool,
        clause: &str,
        at: gridhouse_base::Position,
        parse: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if again {
            return Err(Error::invalid(format!("the query has {clause} twice")).hint("keep one").at(at));
        }
        parse(self)
    }

    fn cte(&mut self) -> Result<Cte> {
        let name = self.ident("a name")?;
        let columns = if self.peek_symbol("(") { self.idents("a column's name")? } else { Vec::new() };
        self.expect("AS")?;
        self.expect_symbol("(")?;
        let query = self.query()?;
        self.expect_symbol(")")?;
        Ok(Cte { name, columns, query })
    }

    pub(super) fn order_item(&mut self) -> Result<OrderItem> {
        let expr = self.expr()?;
        let descending = self.choose("DESC", "ASC");
        let mut nulls_first = None;
        if self.accept("NULLS") {
            nulls_first = Some(self.accept("FIRST"));
            if nulls_first == Some(false) {
                self.expect("LAST")?;
            }
        }
        Ok(OrderItem { expr, descending, nulls_first })
    }

    /// `term [UNION|EXCEPT|MINUS term]…`; INTERSECT binds tighter.
    fn set_expression(&mut self) -> Result<QueryBody> {
        let mut left = self.set_term()?;
        let mut links = 0;
        loop {
            let at = self.at();
            let operator = if self.accept("UNION") {
                SetOperator::Union
            } else if self.accept("EXCEPT") || self.accept("MINUS") {
                SetOperator::Except
            } else {
                return Ok(left);
            };
            links += 1;
            self.check_chain(links)?;
            let all = self.all_or_distinct();
            let right = self.set_term()?;
            left = QueryBody::SetOperation { operator, all, left: Box::new(left), right: Box::new(right), at };
        }
    }

    fn set_term(&mut self) -> Result<QueryBody> {
        let mut left = self.query_primary()?;
        let mut links = 0;
        loop {
            let at = self.at();
            if !self.accept("INTERSECT") {
                return Ok(left);
            }
            links += 1;
            self.check_chain(links)?;
            let all = self.all_or_distinct();
            let right = self.query_primary()?;
            let operator = SetOperator::Intersect;
            left = QueryBody::SetOperation { operator, all, left: Box::new(left), right: Box::new(right), at };
        }
    }

    fn all_or_distinct(&mut self) -> bool {
        self.choose("ALL", "DISTINCT")
    }

    fn query_primary(&mut self) -> Result<QueryBody> {
        match self.peek_word().unwrap_or_default().as_str() {
            "SELECT" => Ok(QueryBody::Select(Box::new(self.select()?))),
            "VALUES" => self.values(),
            "TABLE" => {
                self.advance();
                self.object_name("a table's name").map(QueryBody::Table)
            }
            _ if self.accept_symbol("(") => {
                let query = self.query()?;
                self.expect_symbol(")")?;
                Ok(QueryBody::Query(Box::new(query)))
            }
            _ => Err(self.unexpected("`SELECT`, `VALUES` or `(`")),
        }
    }

    fn values(&mut self) -> Result<QueryBody> {
        self.expect("VALUES")?;
        let mut rows = Vec::new();
        loop {
            let at = self.at();
            let row = self.peek_is("ROW") && self.is_symbol_after(1, "(");
            if row {
                self.advance();
            }
            let values = if self.accept_symbol("(") { self.expr_list()? } else { vec![self.expr()?] };
            rows.push(ValuesRow { values, at });
            if !self.accept_symbol(",") {
                return Ok(QueryBody::Values(rows));
            }
        }
    }

    /// Expressions up to the closing parenthesis; the opening one has been read.
    pub(super) fn expr_list(&mut self) -> Result<Vec<Expr>> {
        let mut exprs = vec![self.expr()?];
        while self.list_goes_on()? {
            exprs.push(self.expr()?);
        }
        Ok(exprs)
    }

    fn select(&mut self) -> Result<Select> {
        let at = self.at();
        self.expect("SELECT")?;
        if self.token().kind == TokenKind::HintOpen {
            let error = Error::invalid("hints behind SELECT are not supported yet").at(self.at());
            return Err(error.hint("a table may have /*+ OPTIONS('key' = 'value') */ behind its name"));
        }
        let distinct = self.choose("DISTINCT", "ALL");
        let mut items = Vec::new();
        loop {
            if self.peek_is("FROM") {
                let error = Error::invalid("the select list ends with a comma, or is empty").at(self.at());
                return Err(error.hint("name what is to be selected before FROM, without a comma behind the last"));
            }
            items.push(self.select_item()?);
            if !self.accept_symbol(",") {
                break;
            }
        }
        let mut select = Select {
            distinct,
            items,
            from: Vec::new(),
            selection: None,
            group_by: None,
            having: None,
            windows: Vec::new(),
            at,
        };
        if self.accept("FROM") {
            loop {
                select.from.push(self.table_ref()?);
                if !self.accept_symbol(",") {
                    break;
                }
            }
        }
        if self.accept("WHERE") {
            select.selection = Some(self.expr()?);
        }
        if self.accept("GROUP") {
            self.expect("BY")?;
            select.group_by = Some(self.group_by()?);
        }
        if self.accept("HAVING") {
            select.having = Some(self.expr()?);
        }
        select.windows = self.named_windows()?;
        if self.peek_is("QUALIFY") {
            let hint = "filter in a query around it: SELECT … FROM (SELECT …, ROW_NUMBER() OVER (…) AS rn FROM t) WHERE rn = 1";
            return Err(Error::invalid("QUALIFY is not supported, as in Flink 1.20").hint(hint).at(self.at()));
        }
        Ok(select)
    }

    fn select_item(&mut self) -> Result<SelectItem> {
        let at = self.at();
        if self.accept_symbol("*") {
            return Ok(SelectItem::Star(at));
        }
        let expr = self.expr()?;
        if let ExprKind::Name(parts) = &expr.kind
            && self.peek_symbol(".")
            && self.is_symbol_after(1, "*")
        {
            self.advance();
            self.advance();
            return Ok(SelectItem::QualifiedStar(crate::ast::ObjectName { parts: parts.clone() }));
        }
        Ok(SelectItem::Expr { expr, alias: self.alias()? })
    }

    /// `AS name`, or a bare name that is not reserved.
    fn alias(&mut self) -> Result<Option<Ident>> {
        if self.accept("AS") {
            return self.ident("an alias").map(Some);
        }
        match &self.token().kind {
            TokenKind::Word { quoted: true, .. } => self.ident("an alias").map(Some),
            TokenKind::Word { value, .. } => {
                let upper = value.to_uppercase();
                // What may follow a select item or a table and is not reserved.
                let follows = ["QUALIFY", "TABLESAMPLE", "PIVOT"].contains(&upper.as_str());
                let reserved = RESERVED.binary_search(&upper.as_str()).is_ok();
                if reserved || follows { Ok(None) } else { self.ident("an alias").map(Some) }
            }
            _ => Ok(None),
        }
    }

    fn group_by(&mut self) -> Result<Vec<Expr>> {
        let _ = self.accept("DISTINCT") || self.accept("ALL");
        if self.peek_symbol("(") && self.is_symbol_after(1, ")") {
            self.advance();
            self.advance();
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        loop {
            let sets = self.peek_all(&["GROUPING", "SETS"]);
            if sets || ((self.peek_is("CUBE") || self.peek_is("ROLLUP")) && self.is_symbol_after(1, "(")) {
                return Err(Error::invalid("GROUPING SETS, CUBE and ROLLUP are not supported yet")
                    .hint("write one SELECT … GROUP BY per grouping and join them with UNION ALL")
                    .at(self.at()));
            }
            let expr = self.expr()?;
            match expr.kind {
                ExprKind::Row(exprs) => items.extend(exprs),
                _ => items.push(expr),
            }
            if !self.accept_symbol(",") {
                return Ok(items);
            }
        }
    }

    fn table_ref(&mut self) -> Result<TableRef> {
        let mut left = self.table_primary()?;
        let mut links = 0;
        loop {
            let at = self.at();
            let natural = self.peek_is("NATURAL");
            let kind = match self.join_kind(natural)? {
                Some(kind) => kind,
                None => return Ok(left),
            };
            links += 1;
            self.check_chain(links)?;
            let right = self.table_primary()?;
            let condition = if natural {
                JoinCondition::Natural
            } else if kind == JoinType::Cross {
                JoinCondition::None
            } else if self.accept("ON") {
                JoinCondition::On(self.expr()?)
            } else if self.accept("USING") {
                JoinCondition::Using(self.idents("a column")?)
            } else {
                return Err(self.unexpected("`ON` or `USING`"));
            };
            let join = Join { left, right, kind, condition, at };
            left =
                TableRef { at: join.left.at, kind: TableKind::Join(Box::new(join)), alias: None, columns: Vec::new() };
        }
    }

    /// The words of a join, where one stands here.
    fn join_kind(&mut self, natural: bool) -> Result<Option<JoinType>> {
        if natural {
            self.advance();
        }
        let kind = match self.peek_word().unwrap_or_default().as_str() {
            "JOIN" => JoinType::Inner,
            "INNER" => JoinType::Inner,
            "LEFT" => JoinType::Left,
            "RIGHT" => JoinType::Right,
            "FULL" => JoinType::Full,
            "CROSS" if !natural => JoinType::Cross,
            _ if natural => return Err(self.unexpected("`JOIN`")),
            _ => return Ok(None),
        };
        if !self.peek_is("JOIN") {
            self.advance();
            if matches!(kind, JoinType::Left | JoinType::Right | JoinType::Full) {
                self.accept("OUTER");
            }
        }
        if self.peek_is("SEMI") || self.peek_is("ANTI") {
            let hint = "write WHERE x IN (SELECT …) or WHERE NOT EXISTS (SELECT …)";
            return Err(Error::invalid("SEMI and ANTI joins have no syntax of their own, as in Flink")
                .hint(hint)
                .at(self.at()));
        }
        self.expect("JOIN")?;
        Ok(Some(kind))
    }

    fn table_primary(&mut self) -> Result<TableRef> {
        let at = self.at();
        if self.peek_is("LATERAL") {
            return self.lateral();
        }
        if self.peek_is("UNNEST") && self.is_symbol_after(1, "(") {
            return self.unnest();
        }
        if self.peek_is("TABLE") && self.is_symbol_after(1, "(") {
            return Err(Error::invalid("table functions are not supported yet")
                .hint("TUMBLE, HOP, CUMULATE and SESSION windows come later; GROUP BY a computed start of the window instead")
                .at(at));
        }
        if self.peek_symbol("(") {
            return self.table_in_parentheses();
        }
        if self.accept("TABLE") {
            // `FROM TABLE t` is the same as `FROM t`.
        }
        let name = self.object_name("a table's name")?;
        if self.peek_symbol("(") {
            return Err(Error::invalid(format!("{name}(…): table functions are not supported yet"))
                .hint("name a table or view, or a query in parentheses")
                .at(at));
        }
        let hints = self.hints()?;
        let mut as_of = None;
        if self.accept("FOR") {
            self.expect_all(&["SYSTEM_TIME", "AS", "OF"])?;
            as_of = Some(self.expr()?);
        }
        for other in ["MATCH_RECOGNIZE", "TABLESAMPLE", "PIVOT"] {
            if self.peek_is(other) && (self.is_symbol_after(1, "(") || other == "TABLESAMPLE") {
                return Err(Error::invalid(format!("{other} is not supported yet")).at(self.at()));
            }
        }
        let alias = self.alias()?;
        let columns = self.alias_columns(&alias)?;
        let mut hints = hints;
        if hints.is_empty() {
            hints = self.hints()?;
        }
        Ok(TableRef { kind: TableKind::Named { name, hints, as_of }, alias, columns, at })
    }

    /// `LATERAL (query)`
    fn lateral(&mut self) -> Result<TableRef> {
        let at = self.at();
        self.expect("LATERAL")?;
        if self.peek_is("TABLE") {
            return Err(Error::invalid("table functions are not supported yet")
                .hint("UNNEST(…) unfolds an array or a map")
                .at(self.at()));
        }
        if self.peek_is("UNNEST") {
            return self.unnest();
        }
        if !self.query_in_parentheses() {
            return Err(self.unexpected("`(SELECT`"));
        }
        self.expect_symbol("(")?;
        let query = self.query()?;
        self.expect_symbol(")")?;
        let alias = self.alias()?;
        let columns = self.alias_columns(&alias)?;
        Ok(TableRef { kind: TableKind::Lateral(Box::new(query)), alias, columns, at })
    }

    /// `UNNEST(expr) [WITH ORDINALITY]`
    fn unnest(&mut self) -> Result<TableRef> {
        let at = self.at();
        self.expect("UNNEST")?;
        self.expect_symbol("(")?;
        let expr = self.expr()?;
        if self.peek_symbol(",") {
            return Err(Error::invalid("UNNEST of several arrays at once is not supported, as in Flink")
                .hint("unfold one after the other: CROSS JOIN UNNEST(a) … CROSS JOIN UNNEST(b) …")
                .at(self.at()));
        }
        self.expect_symbol(")")?;
        let ordinality = self.accept_all(&["WITH", "ORDINALITY"]);
        let alias = self.alias()?;
        let columns = self.alias_columns(&alias)?;
        Ok(TableRef { kind: TableKind::Unnest { expr, ordinality }, alias, columns, at })
    }

    fn alias_columns(&mut self, alias: &Option<Ident>) -> Result<Vec<Ident>> {
        if alias.is_some() && self.peek_symbol("(") { self.idents("a column's name") } else { Ok(Vec::new()) }
    }

    /// `(query)` or `(a JOIN b …)`, with an alias.
    fn table_in_parentheses(&mut self) -> Result<TableRef> {
        let at = self.at();
        if self.query_in_parentheses() {
            self.expect_symbol("(")?;
            let query = self.query()?;
            self.expect_symbol(")")?;
            let alias = self.alias()?;
            let columns = self.alias_columns(&alias)?;
            return Ok(TableRef { kind: TableKind::Query(Box::new(query)), alias, columns, at });
        }
        self.expect_symbol("(")?;
        let inner = self.nested(Self::table_ref)?;
        self.expect_symbol(")")?;
        Ok(inner)
    }

    /// Whether the parentheses that open here hold a query.
    pub(super) fn query_in_parentheses(&self) -> bool {
        let mut n = 0;
        while self.is_symbol_after(n, "(") && n < super::MAX_DEPTH {
            n += 1;
        }
        n > 0 && ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|word| self.is_word_after(n, word)) && self.closes(n)
    }

    /// Whether what the `open` parentheses here hold goes on as a query does, not as an expression: `((SELECT 1) UNION …)` is one,
    /// `((SELECT 1) + 2)` only has one in it.
    fn closes(&self, open: usize) -> bool {
        let (mut depth, mut n) = (open, open);
        // A parenthesis that was not open at first belongs to the innermost query.
        let mut inner = 0;
        while depth > 1 {
            if matches!(self.token_after(n).kind, TokenKind::End | TokenKind::Broken) {
                return true;
            }
            if self.is_symbol_after(n, "(") {
                inner += 1;
            } else if self.is_symbol_after(n, ")") && inner > 0 {
                inner -= 1;
            } else if self.is_symbol_after(n, ")") {
                depth -= 1;
                let goes_on = |word: &&str| self.is_word_after(n + 1, word);
                if ["UNION", "INTERSECT", "EXCEPT", "MINUS", "ORDER", "LIMIT", "OFFSET", "FETCH"].iter().any(goes_on) {
                    return true;
                }
                if !self.is_symbol_after(n + 1, ")") {
                    return false;
                }
            }
            n += 1;
        }
        true
    }
}
