//! Conditions of a query as the server can evaluate them.
//!
//! What holds: a row that our own evaluation keeps is kept by the server too, whatever its values. The query filters again,
//! so a condition that is weaker here than there is allowed, and one that would be stronger is left out. Only AND and OR
//! join conditions (NOT would turn weaker into stronger). Everything is written into the statement: COPY takes no
//! parameters.

use gridhouse_base::{TypeKind, Value};
use gridhouse_expr::{EvalContext, Expr};

use super::client::literal;
use super::read_plan::{Compared, ReadColumn, ReadPlan};
use crate::show;

/// Literals of an IN list that are sent; a longer one is evaluated here.
const IN_LIST: usize = 1_000;

/// Bytes of a condition that are sent; a longer one is evaluated here.
const CONDITION_BYTES: usize = 256 * 1024;

/// Microseconds of 0001-01-02 and 9999-12-31: between them no value stands for an infinity.
const FIRST_MICROS: i64 = -719_161 * DAY_MICROS;
const LAST_MICROS: i64 = 2_932_896 * DAY_MICROS;
const DAY_MICROS: i64 = 86_400_000_000;

/// The condition that the server may evaluate for `filter`; `None`: nothing of it.
pub(crate) fn condition(filter: &Expr, plan: &ReadPlan) -> Option<String> {
    part(filter, plan).filter(|text| text.len() <= CONDITION_BYTES)
}

fn part(filter: &Expr, plan: &ReadPlan) -> Option<String> {
    match filter {
        Expr::And(operands) => {
            let parts: Vec<String> = operands.iter().filter_map(|operand| part(operand, plan)).collect();
            (!parts.is_empty()).then(|| parts.join(" AND "))
        }
        Expr::Or(operands) => {
            let parts = operands.iter().map(|operand| Some(format!("({})", part(operand, plan)?)));
            Some(format!("({})", parts.collect::<Option<Vec<_>>>()?.join(" OR ")))
        }
        Expr::Literal { value: Value::Boolean(false) | Value::Null, .. } => Some("false".into()),
        Expr::Column { index, .. } => {
            let column = plan.column(*index)?;
            (column.compared() == Compared::Truth).then(|| column.quoted())
        }
        Expr::Call { function, args, .. } => call(function.name, args, plan),
        _ => None,
    }
}

fn call(name: &str, args: &[Expr], plan: &ReadPlan) -> Option<String> {
    match (name, args) {
        ("=" | "<>" | "<" | "<=" | ">" | ">=", [left, right]) => match (term(left, plan), term(right, plan)) {
            (Some(column), None) => comparison(&column, Operator::of(name)?, right, plan),
            (None, Some(column)) => comparison(&column, Operator::of(name)?.flipped(), left, plan),
            _ => None,
        },
        ("IS NULL" | "IS NOT NULL", [operand]) => {
            let column = term(operand, plan)?.column;
            // A composite value is NULL to PostgreSQL when its fields are; only this form asks for the value itself.
            let test = if name == "IS NULL" { "IS NOT DISTINCT FROM NULL" } else { "IS DISTINCT FROM NULL" };
            let test = if column.compared() == Compared::Shown { test } else { name };
            Some(format!("{} {test}", column.quoted()))
        }
        ("IN", [operand, items @ ..]) if items.len() <= IN_LIST => {
            let column = term(operand, plan)?;
            let items = items.iter().filter(|item| item.as_literal() != Some(&Value::Null));
            let parts = items.map(|item| comparison(&column, Operator::Equal, item, plan));
            let parts = parts.collect::<Option<Vec<_>>>()?;
            Some(if parts.is_empty() { "false".into() } else { format!("({})", parts.join(" OR ")) })
        }
        ("NOT IN", [operand, items @ ..]) if items.len() <= IN_LIST => {
            let column = term(operand, plan)?;
            let parts = items.iter().map(|item| comparison(&column, Operator::NotEqual, item, plan));
            Some(parts.collect::<Option<Vec<_>>>()?.join(" AND "))
        }
        ("LIKE" | "NOT LIKE", [text, pattern, escape @ ..]) => like(name, text, pattern, escape.first(), plan),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Operator {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "=" => Self::Equal,
            "<>" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterEqual,
            _ => return None,
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }

    /// The operator that says the same of swapped operands.
    fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            same => same,
        }
    }
}

/// A column as a condition compares it.
struct Term<'a> {
    column: &'a ReadColumn,
    /// The kind to which it is cast, its own where it is not.
    kind: &'a TypeKind,
}

/// A column, or one that is cast to a type that holds all its values as they are.
fn term<'a>(expr: &'a Expr, plan: &'a ReadPlan) -> Option<Term<'a>> {
    match expr {
        Expr::Column { index, .. } => plan.column(*index).map(|column| Term { column, kind: &column.kind }),
        Expr::Cast { input, sql_type, .. } => {
            let column = plan.column(input.as_column()?)?;
            widens(&column.kind, &sql_type.kind).then_some(Term { column, kind: &sql_type.kind })
        }
        _ => None,
    }
}

/// Whether a cast keeps every value and its order.
fn widens(from: &TypeKind, to: &TypeKind) -> bool {
    use TypeKind as K;
    let whole = |kind: &K| match kind {
        K::TinyInt => Some(3),
        K::SmallInt => Some(5),
        K::Int => Some(10),
        K::BigInt => Some(19),
        _ => None,
    };
    match (from, to) {
        (from, to) if from == to => true,
        (K::Decimal { precision: p, scale: s }, K::Decimal { precision: q, scale: t }) => s <= t && p - s <= q - t,
        (from, K::Decimal { precision, scale }) => whole(from).is_some_and(|digits| digits <= precision - scale),
        (from, K::Double) => matches!(from, K::TinyInt | K::SmallInt | K::Int | K::Float),
        (K::Timestamp(p), K::Timestamp(q)) | (K::TimestampLtz(p), K::TimestampLtz(q)) => p <= q,
        // A text may be longer than declared: only a type without limit keeps it.
        (K::Char(_) | K::Varchar(_), to) => *to == K::STRING,
        (from, to) => whole(from).zip(whole(to)).is_some_and(|(from, to)| from <= to),
    }
}

fn comparison(term: &Term<'_>, operator: Operator, constant: &Expr, plan: &ReadPlan) -> Option<String> {
    let folded = constant_of(constant)?;
    let Expr::Literal { value, sql_type } = &folded else { return None };
    if value.is_null() {
        // Never true.
        return Some("false".into());
    }
    let (name, sign) = (term.column.quoted(), operator.sign());
    match (term.column.compared(), value, &sql_type.kind) {
        (Compared::Truth, Value::Boolean(truth), _) if matches!(operator, Operator::Equal | Operator::NotEqual) => {
            Some(format!("{name} {sign} {truth}"))
        }
        (Compared::Whole, Value::Double(number), _) if *term.kind == TypeKind::Double && number.is_finite() => {
            Some(format!("{name}::float8 {sign} '{number:e}'::float8"))
        }
        (Compared::Whole | Compared::Exact, Value::Integer(_), kind) if kind.is_integer() => {
            Some(format!("{name} {sign} {}", shown(value, kind)))
        }
        (Compared::Whole | Compared::Exact, Value::Decimal(_), kind) => {
            Some(format!("{name} {sign} {}", shown(value, kind)))
        }
        // NaN is above all numbers there and beside them here: a weaker condition.
        (Compared::Float, Value::Float(number), _) if number.is_finite() && *term.kind == TypeKind::Float => {
            Some(format!("{name} {sign} '{number:e}'::float4"))
        }
        (Compared::Float, Value::Double(number), _) if number.is_finite() && *term.kind == TypeKind::Double => {
            Some(format!("{name}::float8 {sign} '{number:e}'::float8"))
        }
        (Compared::Text, Value::Text(text), _) if !text.contains('\0') => match operator {
            // Equal bytes are equal under every collation, so that an index of any serves.
            Operator::Equal => Some(format!("{name} = {}", literal(text))),
            Operator::NotEqual => Some(format!("{name} COLLATE \"C\" <> {}", literal(text))),
            _ => plan.utf8.then(|| format!("{name} COLLATE \"C\" {sign} {}", literal(text))),
        },
        (Compared::Uuid, Value::Text(text), _) if operator == Operator::Equal => {
            Some(if is_uuid(text) { format!("{name} = '{text}'::uuid") } else { "false".into() })
        }
        (Compared::Bytes, Value::Bytes(bytes), _) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("{name} {sign} '\\x{digits}'::bytea"))
        }
        (Compared::Day, Value::Integer(days), TypeKind::Date) => {
            let micros = days.checked_mul(DAY_MICROS).filter(|micros| (FIRST_MICROS..LAST_MICROS).contains(micros));
            micros.map(|_| format!("{name} {sign} '{}'::date", shown(value, &TypeKind::Date)))
        }
        (Compared::TimeOfDay, Value::Integer(millis), TypeKind::Time(_)) if (0..86_399_999).contains(millis) => {
            let at = |millis: i64| format!("'{}'::time", shown(&Value::Integer(millis), &TypeKind::Time(3)));
            Some(of_cut(&name, operator, *millis, true, 1, at))
        }
        (Compared::Moment { unit_micros }, Value::Integer(units), kind) if same_family(kind, &term.column.kind) => {
            let nanos = i128::from(*units) * i128::from(nanos_per_unit(kind)?);
            let unit_nanos = i128::from(unit_micros) * 1_000;
            let floor = i64::try_from(nanos.div_euclid(unit_nanos)).ok()?.checked_mul(unit_micros)?;
            let inside = (FIRST_MICROS..LAST_MICROS - DAY_MICROS).contains(&floor);
            let at = |micros: i64| moment(micros, term.column);
            inside.then(|| of_cut(&name, operator, floor, nanos % unit_nanos == 0, unit_micros, at))
        }
        _ => None,
    }
}

/// A constant as a literal. Casts to a wider type of the same family are computed; others may depend on the session's zone.
fn constant_of(constant: &Expr) -> Option<Expr> {
    match constant {
        Expr::Literal { .. } => Some(constant.clone()),
        Expr::Cast { input, sql_type, .. } => {
            let (from, to) = (input.kind(), &sql_type.kind);
            let same = from.is_numeric() && to.is_numeric() || from.is_text() && to.is_text() || same_family(from, to);
            let context = EvalContext { now_micros: 0, zone: chrono_tz::UTC, seed: 0, first_row: 0 };
            (same && matches!(**input, Expr::Literal { .. })).then(|| constant.fold(&context))
        }
        _ => None,
    }
}

/// A comparison of a value that is cut to a multiple of `unit` when it is read, with a constant: `floor` is the constant cut
/// likewise, `whole` says whether nothing was cut off.
fn of_cut(name: &str, operator: Operator, floor: i64, whole: bool, unit: i64, at: impl Fn(i64) -> String) -> String {
    let (low, high) = (at(floor), at(floor + unit));
    match operator {
        Operator::Equal if whole => format!("({name} >= {low} AND {name} < {high})"),
        Operator::Equal => "false".into(),
        Operator::NotEqual if whole => format!("({name} < {low} OR {name} >= {high})"),
        Operator::NotEqual => format!("{name} IS NOT NULL"),
        Operator::Less if whole => format!("{name} < {low}"),
        Operator::GreaterEqual if whole => format!("{name} >= {low}"),
        Operator::Less | Operator::LessEqual => format!("{name} < {high}"),
        Operator::Greater | Operator::GreaterEqual => format!("{name} >= {high}"),
    }
}

fn same_family(a: &TypeKind, b: &TypeKind) -> bool {
    matches!(
        (a, b),
        (TypeKind::Timestamp(_), TypeKind::Timestamp(_)) | (TypeKind::TimestampLtz(_), TypeKind::TimestampLtz(_))
    )
}

fn nanos_per_unit(kind: &TypeKind) -> Option<i64> {
    match kind {
        TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
            Some(1_000_000_000 / gridhouse_base::types::timestamp_units_per_second(*p))
        }
        _ => None,
    }
}

/// A timestamp as a constant of the column's own type.
pub(crate) fn moment(micros: i64, column: &ReadColumn) -> String {
    let text = shown(&Value::Integer(micros), &TypeKind::Timestamp(6));
    match column.outside.class {
        super::types::PgClass::Timestamptz => format!("'{text}+00'::timestamptz"),
        _ => format!("'{text}'::timestamp"),
    }
}

fn shown(value: &Value, kind: &TypeKind) -> String {
    let mut text = String::new();
    show::value(value, kind, &mut text);
    text
}

/// Whether `text` is a uuid in the form that PostgreSQL shows.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == b'-',
            _ => c.is_ascii_digit() || (b'a'..=b'f').contains(&c),
        })
}

fn like(name: &str, text: &Expr, pattern: &Expr, escape: Option<&Expr>, plan: &ReadPlan) -> Option<String> {
    let column = term(text, plan)?.column;
    if column.compared() != Compared::Text || !plan.utf8 {
        return None;
    }
    let Expr::Literal { value: Value::Text(pattern), .. } = pattern else { return None };
    let escape: &str = match escape {
        None => "",
        Some(Expr::Literal { value: Value::Text(escape), .. }) if escape.chars().count() == 1 => escape,
        Some(_) => return None,
    };
    // What is wrong with a pattern is told here, not there.
    if pattern.contains('\0') || escape == "\0" || (!escape.is_empty() && !escapes_well(pattern, escape)) {
        return None;
    }
    Some(format!("{} COLLATE \"C\" {name} {} ESCAPE {}", column.quoted(), literal(pattern), literal(escape)))
}

fn escapes_well(pattern: &str, escape: &str) -> bool {
    let mut rest = pattern;
    while let Some(at) = rest.find(escape) {
        rest = &rest[at + escape.len()..];
        let Some(next) = ["%", "_", escape].iter().find_map(|allowed| rest.strip_prefix(allowed)) else { return false };
        rest = next;
    }
    true
}
