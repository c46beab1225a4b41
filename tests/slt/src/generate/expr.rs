//! Drawn expressions. None of them can fail: no division, no cast of a text, numbers that stay small.

use super::{Column, Generator, Type};

/// What a predicate may ask a subquery for, and how deep expressions nest.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Levels of expressions.
    pub(super) depth: u32,
    /// Levels of subqueries; 0 for none.
    pub(super) queries: u32,
}

impl Room {
    fn less(self) -> Self {
        Self { depth: self.depth.saturating_sub(1), ..self }
    }
}

impl Generator<'_> {
    /// An expression of type `of` over `columns`.
    pub(super) fn expr(&mut self, of: Type, columns: &[Column], room: Room) -> String {
        let fitting: Vec<&Column> = columns.iter().filter(|column| column.of == of).collect();
        if room.depth == 0 || self.draws.below(3) == 0 {
            if !fitting.is_empty() && !self.draws.chance(1, 6) {
                return self.draws.pick(&fitting).sql.clone();
            }
            return self.literal(of);
        }
        let less = room.less();
        match self.draws.below(8) {
            0 => {
                let condition = self.predicate(columns, less);
                let (yes, no) = (self.expr(of, columns, less), self.expr(of, columns, less));
                if self.draws.chance(1, 3) {
                    return format!("CASE WHEN {condition} THEN {yes} END");
                }
                format!("CASE WHEN {condition} THEN {yes} ELSE {no} END")
            }
            1 => {
                let (first, second) = (self.expr(of, columns, less), self.expr(of, columns, less));
                format!("COALESCE({first}, {second})")
            }
            2 => {
                let (first, second) = (self.expr(of, columns, less), self.expr(of, columns, less));
                format!("NULLIF({first}, {second})")
            }
            3 if room.queries > 0 => self.scalar_query(of, columns, room),
            _ => self.special(of, columns, less),
        }
    }

    /// What only this type has.
    fn special(&mut self, of: Type, columns: &[Column], less: Room) -> String {
        let choice = self.draws.below(6);
        match of {
            Type::Int => match choice {
                0 => self.binary("+", Type::Int, columns, less),
                1 => self.binary("-", Type::Int, columns, less),
                2 => format!("({} * {})", self.expr(of, columns, less), self.draws.below(3)),
                3 => format!("ABS({})", self.expr(of, columns, less)),
                4 => format!("CHAR_LENGTH({})", self.expr(Type::Str, columns, less)),
                _ => format!("MOD({}, 3)", self.expr(of, columns, less)),
            },
            Type::Big => match choice {
                0 | 1 => self.binary("+", Type::Big, columns, less),
                2 => format!("CAST({} AS BIGINT)", self.expr(Type::Int, columns, less)),
                3 => format!("EXTRACT(DAY FROM {})", self.expr(Type::Date, columns, less)),
                _ => format!("({} - 1)", self.expr(of, columns, less)),
            },
            Type::Dec => match choice {
                0 | 1 => self.binary("+", Type::Dec, columns, less),
                2 => format!("CAST({} AS DECIMAL(10, 2))", self.expr(Type::Int, columns, less)),
                3 => format!("ABS({})", self.expr(of, columns, less)),
                _ => self.binary("-", Type::Dec, columns, less),
            },
            Type::Dbl => match choice {
                0 | 1 => self.binary("+", Type::Dbl, columns, less),
                2 => format!("CAST({} AS DOUBLE)", self.expr(Type::Int, columns, less)),
                _ => format!("({} * CAST(2 AS DOUBLE))", self.expr(of, columns, less)),
            },
            Type::Str => match choice {
                0 => format!("UPPER({})", self.expr(of, columns, less)),
                1 => self.binary("||", Type::Str, columns, less),
                2 => format!("SUBSTRING({} FROM 1 FOR 1)", self.expr(of, columns, less)),
                3 => format!("CAST({} AS STRING)", self.expr(Type::Int, columns, less)),
                4 => format!("REPLACE({}, 'a', 'z')", self.expr(of, columns, less)),
                _ => format!("CAST({} AS STRING)", self.expr(Type::Date, columns, less)),
            },
            Type::Bool => format!("({})", self.predicate(columns, less)),
            Type::Ts => match choice {
                0..=2 => format!("({} + INTERVAL '1' DAY)", self.expr(of, columns, less)),
                3 => format!("({} - INTERVAL '90' MINUTE)", self.expr(of, columns, less)),
                _ => format!("CAST({} AS TIMESTAMP(3))", self.expr(Type::Date, columns, less)),
            },
            Type::Date => format!("CAST({} AS DATE)", self.expr(Type::Ts, columns, less)),
        }
    }

    fn binary(&mut self, operator: &str, of: Type, columns: &[Column], room: Room) -> String {
        format!("({} {operator} {})", self.expr(of, columns, room), self.expr(of, columns, room))
    }

    pub(super) fn literal(&mut self, of: Type) -> String {
        let n = self.draws.below(4);
        match of {
            Type::Int => ["0", "1", "2", "-1"][n as usize].into(),
            Type::Big => format!("CAST({n} AS BIGINT)"),
            Type::Dec => ["0.00", "1.00", "1.50", "-2.25"][n as usize].into(),
            Type::Dbl => format!("CAST({} AS DOUBLE)", ["0", "1", "0.5", "-2"][n as usize]),
            Type::Str => ["'a'", "''", "'b'", "'北'"][n as usize].into(),
            Type::Bool => ["TRUE", "FALSE", "TRUE", "FALSE"][n as usize].into(),
            Type::Ts => format!("TIMESTAMP '2026-03-0{} 0{n}:30:00'", n + 1),
            Type::Date => format!("DATE '2026-03-0{}'", n + 1),
        }
    }

    /// A BOOLEAN expression over `columns`.
    pub(super) fn predicate(&mut self, columns: &[Column], room: Room) -> String {
        let less = room.less();
        let kind = if room.depth == 0 { self.draws.below(3) } else { self.draws.below(15) };
        match kind {
            0 | 1 | 9 => self.comparison(columns, less),
            2 => {
                let flags: Vec<&Column> = columns.iter().filter(|column| column.of == Type::Bool).collect();
                match flags.is_empty() {
                    true => self.comparison(columns, less),
                    false => self.draws.pick(&flags).sql.clone(),
                }
            }
            3 => self.joined("AND", columns, less),
            4 => self.joined("OR", columns, less),
            5 => format!("NOT ({})", self.predicate(columns, less)),
            6 => {
                let of = *self.draws.pick(&super::TYPES);
                let what = *self.draws.pick(&["IS NULL", "IS NOT NULL"]);
                format!("{} {what}", self.expr(of, columns, less))
            }
            7 => {
                let what = *self.draws.pick(&["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE"]);
                format!("({}) {what}", self.predicate(columns, less))
            }
            8 => self.list(columns, less),
            10 => {
                let of = *self.draws.pick(&[Type::Int, Type::Str, Type::Dec, Type::Ts]);
                let not = *self.draws.pick(&["", "NOT "]);
                let (value, low, high) =
                    (self.expr(of, columns, less), self.expr(of, columns, less), self.expr(of, columns, less));
                format!("{value} {not}BETWEEN {low} AND {high}")
            }
            11 => {
                let pattern = *self.draws.pick(&["'a%'", "'%b'", "'_'", "'%'", "''"]);
                let not = *self.draws.pick(&["", "NOT "]);
                format!("{} {not}LIKE {pattern}", self.expr(Type::Str, columns, less))
            }
            12 | 13 if room.queries > 0 => self.asks(columns, room),
            _ => {
                let of = *self.draws.pick(&[Type::Int, Type::Str, Type::Dec]);
                let not = *self.draws.pick(&["NOT ", ""]);
                format!("{} IS {not}DISTINCT FROM {}", self.expr(of, columns, less), self.expr(of, columns, less))
            }
        }
    }

    fn comparison(&mut self, columns: &[Column], room: Room) -> String {
        let of = *self.draws.pick(&super::TYPES);
        let operator = *self.draws.pick(&["=", "<>", "<", "<=", ">", ">="]);
        // Numbers of different types meet, too.
        let other = match of {
            Type::Int => *self.draws.pick(&[Type::Int, Type::Int, Type::Big, Type::Dec]),
            Type::Big => *self.draws.pick(&[Type::Big, Type::Int, Type::Dbl]),
            other => other,
        };
        format!("{} {operator} {}", self.expr(of, columns, room), self.expr(other, columns, room))
    }

    fn joined(&mut self, word: &str, columns: &[Column], room: Room) -> String {
        let (first, second) = (self.predicate(columns, room), self.predicate(columns, room));
        format!("({first} {word} {second})")
    }

    fn list(&mut self, columns: &[Column], room: Room) -> String {
        let of = *self.draws.pick(&[Type::Int, Type::Str, Type::Date]);
        let not = *self.draws.pick(&["", "NOT "]);
        let value = self.expr(of, columns, room);
        let mut items: Vec<String> = (0..=self.draws.below(3)).map(|_| self.literal(of)).collect();
        if self.draws.chance(1, 5) {
            items.push("NULL".into());
        }
        format!("{value} {not}IN ({})", items.join(", "))
    }

    /// A predicate with a subquery in it.
    fn asks(&mut self, columns: &[Column], room: Room) -> String {
        let inner = room.queries - 1;
        let not = *self.draws.pick(&["", "NOT "]);
        if self.draws.chance(1, 2) {
            let (from, found) = self.from(inner);
            let condition = self.correlated(columns, &found);
            return format!("{not}EXISTS (SELECT 1 FROM {from} WHERE {condition})");
        }
        let of = *self.draws.pick(&[Type::Int, Type::Str]);
        let value = self.expr(of, columns, Room { depth: 1, queries: 0 });
        let (from, found) = self.from(inner);
        let item = self.expr(of, &found, Room { depth: 1, queries: 0 });
        let condition = match self.draws.below(3) {
            0 => String::new(),
            1 => format!(" WHERE {}", self.predicate(&found, Room { depth: 1, queries: 0 })),
            _ => format!(" WHERE {}", self.correlated(columns, &found)),
        };
        format!("{value} {not}IN (SELECT {item} FROM {from}{condition})")
    }

    /// A condition between what is outside a subquery and what is inside.
    fn correlated(&mut self, outside: &[Column], inside: &[Column]) -> String {
        let of = *self.draws.pick(&[Type::Int, Type::Str, Type::Big, Type::Ts]);
        let flat = Room { depth: 0, queries: 0 };
        let (left, right) = (self.expr(of, inside, flat), self.expr(of, outside, flat));
        let operator = *self.draws.pick(&["=", "=", "=", "<", "<>"]);
        let first = format!("{left} {operator} {right}");
        if self.draws.chance(1, 3) {
            return format!("{first} AND {}", self.predicate(inside, Room { depth: 1, queries: 0 }));
        }
        first
    }

    /// A subquery that gives one value.
    fn scalar_query(&mut self, of: Type, columns: &[Column], room: Room) -> String {
        let (from, found) = self.from(room.queries - 1);
        let flat = Room { depth: 1, queries: 0 };
        let value = match of {
            Type::Bool => format!("(MAX({}) > 0)", self.expr(Type::Int, &found, flat)),
            Type::Big => "COUNT(*)".into(),
            of => {
                let function = *self.draws.pick(&["MAX", "MIN"]);
                format!("{function}({})", self.expr(of, &found, flat))
            }
        };
        let condition = match self.draws.below(3) {
            0 => String::new(),
            1 => format!(" WHERE {}", self.predicate(&found, flat)),
            _ => format!(" WHERE {}", self.correlated(columns, &found)),
        };
        format!("(SELECT {value} FROM {from}{condition})")
    }
}
