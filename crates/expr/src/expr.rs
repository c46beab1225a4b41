//! The typed expression: what the binder builds, plans carry and operators evaluate.
//!
//! Every node knows its SQL type; implicit casts are explicit nodes. Columns are addressed by index into the input. This
//! file holds the shape and the questions asked of it; [`crate::eval`] evaluates, [`crate::display`] prints.

use gridhouse_base::{SqlType, TypeKind, Value};

use crate::functions::{Function, Volatility};

/// A typed scalar expression over the columns of one input.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Column `index` of the input.
    Column {
        /// The index into the input's columns.
        index: usize,
        /// The column's type.
        sql_type: SqlType,
    },
    /// A constant.
    Literal {
        /// The value; it belongs to `sql_type`.
        value: Value,
        /// The literal's type.
        sql_type: SqlType,
    },
    /// A function or operator; the arguments already have the types that it wants.
    Call {
        /// The function.
        function: &'static Function,
        /// The arguments.
        args: Vec<Expr>,
        /// The result's type.
        sql_type: SqlType,
    },
    /// `CAST`, or `TRY_CAST` where `safe`.
    Cast {
        /// What is cast.
        input: Box<Expr>,
        /// NULL instead of an error.
        safe: bool,
        /// The type wanted.
        sql_type: SqlType,
    },
    /// `CASE WHEN condition THEN result … ELSE otherwise END`; only the rows that need a branch evaluate it.
    Case {
        /// Conditions (BOOLEAN) and results (of `sql_type`), in order.
        branches: Vec<(Expr, Expr)>,
        /// The result where no condition is true.
        otherwise: Box<Expr>,
        /// The common type.
        sql_type: SqlType,
    },
    /// Conjunction; a later operand is evaluated only where the earlier ones are not false.
    And(Vec<Expr>),
    /// Disjunction; a later operand is evaluated only where the earlier ones are not true.
    Or(Vec<Expr>),
}

/// What an evaluation may know besides its input.
#[derive(Clone, Debug)]
pub struct EvalContext {
    /// The clock of the tick (or of the query's start), microseconds since the epoch.
    pub now_micros: i64,
    /// The session's time zone.
    pub zone: chrono_tz::Tz,
    /// The seed of `RAND`, `UUID` and the like for this operator.
    pub seed: u64,
    /// The number of the input's first row within the operator's life; with the seed it fixes random values.
    pub first_row: u64,
}

static BOOLEAN: SqlType = SqlType { kind: TypeKind::Boolean, nullable: true };
static BOOLEAN_NOT_NULL: SqlType = SqlType { kind: TypeKind::Boolean, nullable: false };

impl Expr {
    /// Column `index` of the input.
    pub fn column(index: usize, sql_type: SqlType) -> Self {
        Self::Column { index, sql_type }
    }

    /// A constant; `value` belongs to `sql_type`.
    pub fn literal(value: Value, sql_type: SqlType) -> Self {
        Self::Literal { value, sql_type }
    }

    /// NULL of `kind`.
    pub fn null(kind: TypeKind) -> Self {
        Self::Literal { value: Value::Null, sql_type: kind.nullable() }
    }

    /// A constant truth value.
    pub fn boolean(value: bool) -> Self {
        Self::Literal { value: Value::Boolean(value), sql_type: BOOLEAN_NOT_NULL.clone() }
    }

    /// An INT constant.
    pub fn int(value: i32) -> Self {
        Self::Literal { value: Value::Integer(value.into()), sql_type: TypeKind::Int.not_null() }
    }

    /// A text constant; as in Flink its type is `CHAR(n)`, and `CHAR(0)`, which no column has, where it is empty.
    pub fn text(value: &str) -> Self {
        let kind = TypeKind::Char(value.chars().count() as u32);
        Self::Literal { value: Value::Text(value.into()), sql_type: kind.not_null() }
    }

    /// The type of the result.
    pub fn sql_type(&self) -> &SqlType {
        match self {
            Self::Column { sql_type, .. }
            | Self::Literal { sql_type, .. }
            | Self::Call { sql_type, .. }
            | Self::Cast { sql_type, .. }
            | Self::Case { sql_type, .. } => sql_type,
            Self::And(operands) | Self::Or(operands) => {
                if operands.iter().any(|operand| operand.sql_type().nullable) {
                    &BOOLEAN
                } else {
                    &BOOLEAN_NOT_NULL
                }
            }
        }
    }

    /// The kind of the result's type.
    pub fn kind(&self) -> &TypeKind {
        match self {
            Self::And(_) | Self::Or(_) => &BOOLEAN.kind,
            other => &other.sql_type().kind,
        }
    }

    /// The value, if this is a literal.
    pub fn as_literal(&self) -> Option<&Value> {
        match self {
            Self::Literal { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The column's index, if this is a column.
    pub fn as_column(&self) -> Option<usize> {
        match self {
            Self::Column { index, .. } => Some(*index),
            _ => None,
        }
    }

    /// The direct operands, in the order in which they are written.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Column { .. } | Self::Literal { .. } => Vec::new(),
            Self::Call { args, .. } | Self::And(args) | Self::Or(args) => args.iter().collect(),
            Self::Cast { input, .. } => vec![input],
            Self::Case { branches, otherwise, .. } => {
                branches.iter().flat_map(|(when, then)| [when, then]).chain([otherwise.as_ref()]).collect()
            }
        }
    }

    /// The same node over other operands.
    pub fn map_children(&self, f: &mut impl FnMut(&Self) -> Self) -> Self {
        match self {
            Self::Column { .. } | Self::Literal { .. } => self.clone(),
            Self::Call { function, args, sql_type } => {
                Self::Call { function, args: args.iter().map(f).collect(), sql_type: sql_type.clone() }
            }
            Self::Cast { input, safe, sql_type } => {
                Self::Cast { input: Box::new(f(input)), safe: *safe, sql_type: sql_type.clone() }
            }
            Self::Case { branches, otherwise, sql_type } => Self::Case {
                branches: branches.iter().map(|(when, then)| (f(when), f(then))).collect(),
                otherwise: Box::new(f(otherwise)),
                sql_type: sql_type.clone(),
            },
            Self::And(operands) => Self::And(operands.iter().map(f).collect()),
            Self::Or(operands) => Self::Or(operands.iter().map(f).collect()),
        }
    }

    /// Calls `f` with the index of every column that occurs, as often as it occurs.
    pub fn for_each_column(&self, mut f: impl FnMut(usize)) {
        self.visit_columns(&mut f);
    }

    fn visit_columns(&self, f: &mut dyn FnMut(usize)) {
        match self {
            Self::Column { index, .. } => f(*index),
            Self::Literal { .. } => {}
            Self::Call { args, .. } | Self::And(args) | Self::Or(args) => {
                args.iter().for_each(|arg| arg.visit_columns(f))
            }
            Self::Cast { input, .. } => input.visit_columns(f),
            Self::Case { branches, otherwise, .. } => {
                for (when, then) in branches {
                    when.visit_columns(f);
                    then.visit_columns(f);
                }
                otherwise.visit_columns(f);
            }
        }
    }

    /// The same expression where column `i` is column `f(i)`.
    pub fn map_columns(&self, f: impl Fn(usize) -> usize) -> Self {
        self.rewrite_columns(&|index, sql_type| Self::Column { index: f(index), sql_type: sql_type.clone() })
    }

    /// The same expression where column `i` is `columns[i]`; a column beyond the end of `columns` stays.
    pub fn substitute(&self, columns: &[Self]) -> Self {
        self.rewrite_columns(&|index, sql_type| match columns.get(index) {
            Some(expr) => expr.clone(),
            None => Self::Column { index, sql_type: sql_type.clone() },
        })
    }

    fn rewrite_columns(&self, f: &dyn Fn(usize, &SqlType) -> Self) -> Self {
        match self {
            Self::Column { index, sql_type } => f(*index, sql_type),
            other => other.map_children(&mut |child| child.rewrite_columns(f)),
        }
    }

    /// What the value depends on besides the input: the strongest of all functions that occur.
    pub fn volatility(&self) -> Volatility {
        let own = match self {
            Self::Call { function, .. } => function.volatility,
            _ => Volatility::Pure,
        };
        self.children().into_iter().map(Self::volatility).fold(own, Volatility::max)
    }

    /// Whether equal inputs always give equal values.
    pub fn is_deterministic(&self) -> bool {
        self.volatility() == Volatility::Pure
    }

    /// Whether the value is the same for every row and at every time: no column occurs, and nothing volatile.
    pub fn is_constant(&self) -> bool {
        let mut columns = false;
        self.for_each_column(|_| columns = true);
        !columns && self.is_deterministic()
    }

    /// The same value with what is constant computed once. What cannot be computed (`1 / 0`) stays, so that it fails only
    /// where a row needs it.
    pub fn fold(&self, ctx: &EvalContext) -> Self {
        if matches!(self, Self::Column { .. } | Self::Literal { .. }) {
            return self.clone();
        }
        let folded = self.map_children(&mut |child| child.fold(ctx));
        if let Some(simpler) = folded.simplified() {
            return simpler;
        }
        if !folded.is_constant() {
            return folded;
        }
        match folded.eval(&[], 1, ctx) {
            Ok(array) => Self::Literal {
                value: Value::from_array(&array, 0, folded.kind()),
                sql_type: folded.sql_type().clone(),
            },
            Err(_) => folded,
        }
    }

    /// A smaller form of an AND, OR or CASE some of whose conditions are literals.
    fn simplified(&self) -> Option<Self> {
        match self {
            Self::And(operands) => Self::without_neutral(operands, true, Self::And),
            Self::Or(operands) => Self::without_neutral(operands, false, Self::Or),
            Self::Case { branches, otherwise, sql_type } => {
                let unreachable = |when: &Self| matches!(when.as_literal(), Some(Value::Null | Value::Boolean(false)));
                if let Some((Self::Literal { value: Value::Boolean(true), .. }, then)) = branches.first() {
                    return Some(then.clone().typed(sql_type));
                }
                if !branches.iter().any(|(when, _)| unreachable(when)) {
                    return None;
                }
                let branches: Vec<_> = branches.iter().filter(|(when, _)| !unreachable(when)).cloned().collect();
                if branches.is_empty() {
                    return Some(otherwise.as_ref().clone().typed(sql_type));
                }
                let rest = Self::Case { branches, otherwise: otherwise.clone(), sql_type: sql_type.clone() };
                Some(rest.simplified().unwrap_or(rest))
            }
            _ => None,
        }
    }

    /// The same value as nullable as `declared` is, so that what is chosen in advance keeps the type of the choice.
    fn typed(mut self, declared: &SqlType) -> Self {
        if let Self::Literal { sql_type, .. } | Self::Call { sql_type, .. } | Self::Cast { sql_type, .. } = &mut self {
            sql_type.nullable = declared.nullable;
        }
        self
    }

    fn without_neutral(operands: &[Self], neutral: bool, build: fn(Vec<Self>) -> Self) -> Option<Self> {
        let is = |operand: &Self, value: bool| operand.as_literal() == Some(&Value::Boolean(value));
        // An operand before the deciding one may fail; only a leading decider is safe to keep alone.
        if operands.first().is_some_and(|first| is(first, !neutral)) {
            return Some(Self::boolean(!neutral));
        }
        let mut rest: Vec<Self> = operands.iter().filter(|operand| !is(operand, neutral)).cloned().collect();
        if rest.len() == operands.len() {
            return None;
        }
        Some(match rest.len() {
            0 => Self::boolean(neutral),
            1 => rest.remove(0),
            _ => build(rest),
        })
    }
}
