//! Drawn relations: FROM with joins, SELECT with and without groups, set operations, Top-N, WITH.

use super::expr::Room;
use super::{Column, Drawn, Generator, TYPES, Type, table_columns};

/// What is read most, the simplest first.
const TABLES: [&str; 6] = ["t", "v", "u", "t", "l", "w"];

impl Generator<'_> {
    /// A whole query.
    pub(super) fn statement(&mut self) -> String {
        let mut with = Vec::new();
        if self.draws.chance(1, 8) {
            for _ in 0..=self.draws.below(2) {
                let inner = self.relation(1);
                let name = self.alias();
                with.push(format!("{name} AS ({})", inner.sql));
                self.named.push((name, inner.types));
            }
        }
        let query = self.relation(2);
        let mut sql = if with.is_empty() { query.sql } else { format!("WITH {} {}", with.join(", "), query.sql) };
        if self.draws.chance(1, 10) {
            sql += &format!(" ORDER BY {} LIMIT {}", self.total_order("", query.types.len()), self.draws.below(6));
        }
        sql
    }

    /// A relation with `room` levels of relations inside.
    pub(super) fn relation(&mut self, room: u32) -> Drawn {
        match self.draws.below(if room == 0 { 12 } else { 16 }) {
            12 | 13 => self.set_operation(room - 1),
            14 => self.top_n(room - 1),
            15 => self.lone_aggregate(room - 1),
            0..=6 => self.select(room),
            _ => self.groups(room),
        }
    }

    /// `SELECT … FROM … WHERE …`
    fn select(&mut self, room: u32) -> Drawn {
        let (from, columns) = self.from(room);
        let expressions = Room { depth: 2, queries: room.min(1) };
        let types: Vec<Type> = (0..=self.draws.below(3)).map(|_| *self.draws.pick(&TYPES)).collect();
        let items: Vec<String> = types.iter().map(|of| self.expr(*of, &columns, expressions)).collect();
        let distinct = if self.draws.chance(1, 6) { "DISTINCT " } else { "" };
        let filter = self.filter(&columns, expressions);
        Drawn { sql: format!("SELECT {distinct}{} FROM {from}{filter}", named(&items)), types }
    }

    fn filter(&mut self, columns: &[Column], room: Room) -> String {
        if self.draws.chance(2, 3) { format!(" WHERE {}", self.predicate(columns, room)) } else { String::new() }
    }

    /// `SELECT … GROUP BY … HAVING …`
    fn groups(&mut self, room: u32) -> Drawn {
        let (from, columns) = self.from(room);
        let flat = Room { depth: 1, queries: 0 };
        let mut types: Vec<Type> = (0..=self.draws.below(2)).map(|_| *self.draws.pick(&TYPES)).collect();
        // Constants in GROUP BY mean positions, so keys are columns or made of them.
        let mut keys: Vec<String> = Vec::new();
        types.retain(|of| {
            let fitting: Vec<&Column> = columns.iter().filter(|column| column.of == *of).collect();
            if fitting.is_empty() {
                return false;
            }
            keys.push(self.draws.pick(&fitting).sql.clone());
            true
        });
        let mut items = keys.clone();
        for _ in 0..=self.draws.below(2) {
            let (sql, of) = self.aggregate(&columns, flat);
            items.push(sql);
            types.push(of);
        }
        let filter = self.filter(&columns, Room { depth: 1, queries: room.min(1) });
        let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        let having =
            if self.draws.chance(1, 4) { format!(" HAVING {}", self.having(&columns, flat)) } else { String::new() };
        Drawn { sql: format!("SELECT {} FROM {from}{filter}{group}{having}", named(&items)), types }
    }

    fn having(&mut self, columns: &[Column], flat: Room) -> String {
        let (value, of) = self.aggregate(columns, flat);
        match of {
            Type::Int | Type::Big | Type::Dec => format!("{value} > {}", self.draws.below(3)),
            _ => format!("{value} IS NOT NULL"),
        }
    }

    fn aggregate(&mut self, columns: &[Column], flat: Room) -> (String, Type) {
        let (call, of) = match self.draws.below(8) {
            0 | 1 => return (self.filtered("COUNT(*)".into(), columns), Type::Big),
            2 => {
                let of = *self.draws.pick(&TYPES);
                (format!("COUNT({})", self.expr(of, columns, flat)), Type::Big)
            }
            3 => {
                let of = *self.draws.pick(&TYPES);
                (format!("COUNT(DISTINCT {})", self.expr(of, columns, flat)), Type::Big)
            }
            4 => {
                let of = *self.draws.pick(&[Type::Int, Type::Dec, Type::Dbl]);
                (format!("SUM({})", self.expr(of, columns, flat)), of)
            }
            5 => {
                let of = *self.draws.pick(&[Type::Int, Type::Dec]);
                (format!("SUM(DISTINCT {})", self.expr(of, columns, flat)), of)
            }
            n => {
                let of =
                    *self.draws.pick(&[Type::Int, Type::Str, Type::Dec, Type::Ts, Type::Date, Type::Big, Type::Dbl]);
                (format!("{}({})", if n == 6 { "MAX" } else { "MIN" }, self.expr(of, columns, flat)), of)
            }
        };
        (self.filtered(call, columns), of)
    }

    fn filtered(&mut self, call: String, columns: &[Column]) -> String {
        if !self.draws.chance(1, 6) {
            return call;
        }
        format!("{call} FILTER (WHERE {})", self.predicate(columns, Room { depth: 1, queries: 0 }))
    }

    /// Aggregates over everything.
    fn lone_aggregate(&mut self, room: u32) -> Drawn {
        let inner = self.relation(room);
        let alias = self.alias();
        let columns = columns_of(&alias, &inner.types);
        let mut types = Vec::new();
        let mut items = Vec::new();
        for _ in 0..=self.draws.below(2) {
            let (sql, of) = self.aggregate(&columns, Room { depth: 1, queries: 0 });
            items.push(sql);
            types.push(of);
        }
        Drawn { sql: format!("SELECT {} FROM ({}) AS {alias}", named(&items), inner.sql), types }
    }

    fn set_operation(&mut self, room: u32) -> Drawn {
        let word = *self.draws.pick(&[
            "UNION ALL",
            "UNION",
            "INTERSECT",
            "EXCEPT",
            "INTERSECT ALL",
            "EXCEPT ALL",
            "UNION ALL",
        ]);
        let first = self.relation(room);
        // The other side is a selection from a relation with the same types.
        let (from, columns) = self.from(room);
        let flat = Room { depth: 1, queries: 0 };
        let items: Vec<String> = first.types.iter().map(|of| self.expr(*of, &columns, flat)).collect();
        let filter = self.filter(&columns, flat);
        let second = format!("SELECT {} FROM {from}{filter}", named(&items));
        let (a, b) = (self.alias(), self.alias());
        let sql = format!("SELECT * FROM ({}) AS {a} {word} SELECT * FROM ({second}) AS {b}", first.sql);
        // Its columns take the names of the first side; wrapped, so that it can stand anywhere.
        let outer = self.alias();
        Drawn { sql: format!("SELECT * FROM ({sql}) AS {outer}"), types: first.types }
    }

    /// The first rows of each group, in an order without ties.
    fn top_n(&mut self, room: u32) -> Drawn {
        let inner = self.relation(room);
        let (a, b) = (self.alias(), self.alias());
        let partition = match self.draws.below(3) {
            0 => String::new(),
            n => format!("PARTITION BY {a}.c{} ", (n as usize - 1).min(inner.types.len() - 1)),
        };
        let order = self.total_order(&format!("{a}."), inner.types.len());
        let rows = 1 + self.draws.below(3);
        let mut types = inner.types.clone();
        let mut items: Vec<String> = (0..types.len()).map(|i| format!("{b}.c{i}")).collect();
        if self.draws.chance(1, 3) {
            items.push(format!("{b}.place"));
            types.push(Type::Big);
        }
        let sql = format!(
            "SELECT {} FROM (SELECT {a}.*, ROW_NUMBER() OVER ({partition}ORDER BY {order}) AS place FROM ({}) AS {a}) AS {b} WHERE {b}.place <= {rows}",
            named(&items),
            inner.sql
        );
        Drawn { sql, types }
    }

    /// An order by all of `c0`, `c1`, …, one of them first.
    fn total_order(&mut self, prefix: &str, columns: usize) -> String {
        let first = self.draws.below(columns as u32) as usize;
        let places = std::iter::once(first).chain((0..columns).filter(|i| *i != first));
        let places: Vec<usize> = places.collect();
        let item = |i: usize, direction: &str| format!("{prefix}c{i} {direction}");
        let directions = ["ASC NULLS FIRST", "DESC NULLS LAST"];
        places.into_iter().map(|i| item(i, self.draws.pick::<&str>(&directions))).collect::<Vec<_>>().join(", ")
    }

    /// `FROM`, with up to two joins.
    pub(super) fn from(&mut self, room: u32) -> (String, Vec<Column>) {
        let (mut sql, mut columns) = self.item(room);
        let joins = if room == 0 { self.draws.below(4) / 3 } else { self.draws.below(6) / 3 + self.draws.below(8) / 7 };
        for _ in 0..joins {
            let (item, more) = self.item(room.saturating_sub(1));
            let word = *self.draws.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN", "LEFT JOIN"]);
            let condition = self.join_condition(&columns, &more, word == "FULL JOIN");
            sql = format!("{sql} {word} {item} ON {condition}");
            columns.extend(more);
        }
        (sql, columns)
    }

    fn item(&mut self, room: u32) -> (String, Vec<Column>) {
        let alias = self.alias();
        match self.draws.below(if room == 0 { 5 } else { 8 }) {
            4 if !self.named.is_empty() => {
                let (name, types) = self.draws.pick(&self.named).clone();
                (format!("{name} AS {alias}"), columns_of(&alias, &types))
            }
            5 if self.draws.chance(1, 2) => {
                let types = [Type::Int, Type::Str];
                let row = |g: &mut Self| format!("({}, {})", g.literal(Type::Int), g.literal(Type::Str));
                let rows: Vec<String> = (0..=self.draws.below(3)).map(|_| row(self)).collect();
                (format!("(VALUES {}) AS {alias} (c0, c1)", rows.join(", ")), columns_of(&alias, &types))
            }
            6 | 7 => {
                let inner = self.relation(room - 1);
                (format!("({}) AS {alias}", inner.sql), columns_of(&alias, &inner.types))
            }
            _ => {
                let table = *self.draws.pick(&TABLES);
                (format!("{table} AS {alias}"), Self::columns(&alias, table_columns(table)))
            }
        }
    }

    /// Mostly an equality, often with something more. PostgreSQL joins FULL by equalities only.
    fn join_condition(&mut self, left: &[Column], right: &[Column], full: bool) -> String {
        let of = *self.draws.pick(&[Type::Int, Type::Str, Type::Int, Type::Big, Type::Dec, Type::Ts]);
        let all: Vec<Column> = left.iter().chain(right).cloned().collect();
        let column = |g: &mut Self, side: &[Column]| {
            let fitting: Vec<&Column> = side.iter().filter(|column| column.of == of).collect();
            (!fitting.is_empty()).then(|| g.draws.pick(&fitting).sql.clone())
        };
        let (Some(a), Some(b)) = (column(self, left), column(self, right)) else {
            // Nothing to compare: every row meets every row.
            return "1 = 1".into();
        };
        let flat = Room { depth: 1, queries: 0 };
        match self.draws.below(8) {
            5 | 6 if !full => format!("{a} = {b} AND {}", self.predicate(&all, flat)),
            7 if !full => {
                let operator = *self.draws.pick(&["<", ">=", "<>"]);
                format!("{a} {operator} {b}")
            }
            4 if !full && of == Type::Int => format!("{a} + 1 = {b}"),
            _ => format!("{a} = {b}"),
        }
    }

    /// Select list with FROM, the same with a count instead, and a predicate.
    pub(super) fn partition(&mut self) -> (String, String, String) {
        let (from, columns) = self.from(1);
        let flat = Room { depth: 1, queries: 0 };
        let items: Vec<String> = [Type::Int, Type::Str].iter().map(|of| self.expr(*of, &columns, flat)).collect();
        let predicate = self.predicate(&columns, Room { depth: 3, queries: 1 });
        (format!("SELECT {} FROM {from}", named(&items)), from, predicate)
    }
}

/// Items with their names.
fn named(items: &[String]) -> String {
    items.iter().enumerate().map(|(i, item)| format!("{item} AS c{i}")).collect::<Vec<_>>().join(", ")
}

fn columns_of(alias: &str, types: &[Type]) -> Vec<Column> {
    types.iter().enumerate().map(|(i, of)| Column { sql: format!("{alias}.c{i}"), of: *of }).collect()
}
