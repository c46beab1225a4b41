//! Scalar functions and operators: the registry, and how a name and arguments become a typed expression.
//!
//! Each family has a file with its table of functions. A function either names fixed parameters, or has a binder of its
//! own that derives types, inserts casts, or lowers the call to simpler nodes (CASE where evaluation must be lazy).
//! Names are matched without regard to case. Aggregates are not here, see [`crate::aggregate`].

pub mod arithmetic;
pub mod array;
pub mod clock;
pub mod comparison;
pub mod conditional;
pub mod conversion;
pub mod datetime;
pub mod encoding;
pub(crate) mod format;
pub mod hash;
pub(crate) mod interval;
pub mod json;
pub mod jsonmake;
pub(crate) mod kernel;
pub(crate) mod lists;
pub mod logical;
pub mod map;
pub mod math;
pub mod nested;
pub mod portability;
pub mod regexp;
pub mod string;
pub mod texttest;
pub mod timetext;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use arrow_array::{ArrayRef, UInt32Array};
use gridhouse_base::{Error, Result, SqlType, TypeKind, error::nearest};

use crate::cast::implicit_cast;
use crate::eval::Operand;
use crate::expr::{EvalContext, Expr};
pub use conditional::{case, case_of};
pub use portability::{beyond_flink, only_here};

/// What a value depends on besides the arguments. Ordered from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volatility {
    /// Nothing.
    Pure,
    /// The clock of the tick, or of the query.
    Clock,
    /// The operator's seed, the row's number, and the place of the call in its expression (so that `RAND() + RAND()` is not
    /// twice the same). Whoever evaluates several expressions over the same rows gives each a seed of its own.
    Random,
}

/// The family of a function, as in the documentation's chapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Comparisons; they never fail.
    Comparison,
    /// AND, OR, NOT and the truth tests.
    Logical,
    /// Numbers.
    Arithmetic,
    /// Text.
    String,
    /// Regular expressions.
    Regexp,
    /// Dates, times and intervals.
    Datetime,
    /// Choices.
    Conditional,
    /// Changes of type.
    Conversion,
    /// Rows, arrays and maps.
    Collection,
    /// JSON.
    Json,
    /// Digests.
    Hash,
}

/// How a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// `NAME(a, b)`
    Call,
    /// `a NAME b`
    Infix,
    /// The sign, then the operand.
    Prefix(&'static str),
    /// `a NAME`
    Postfix,
}

/// What a fixed parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// CHAR or VARCHAR.
    Text,
    /// Anything that has a text form.
    AnyText,
    /// Any integer, as INT.
    Int,
    /// Any integer, as BIGINT.
    BigInt,
    /// Any number, as DOUBLE.
    Double,
}

/// When the result of a fixed signature may be NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Where an argument is NULL.
    Strict,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a call is typed.
pub(crate) enum Binding {
    /// Fixed parameters, to which arguments are cast.
    Fixed {
        /// The parameters; the last one repeats where `variadic`.
        params: &'static [Param],
        /// How many must be given.
        required: usize,
        /// Whether the last parameter may be given any number of times.
        variadic: bool,
        /// The result's kind, from the cast arguments.
        returns: fn(&[Expr]) -> TypeKind,
        /// When the result may be NULL.
        nulls: Nulls,
    },
    /// A binder of the function's own.
    Custom(fn(&'static Function, Vec<Expr>) -> Result<Expr>),
}

/// A scalar function or operator.
pub struct Function {
    /// The name in capitals; operators have theirs (`+`, `IS NULL`).
    pub name: &'static str,
    /// Other names of the same function.
    pub aliases: &'static [&'static str],
    /// The family.
    pub family: Family,
    /// What the value depends on besides the arguments.
    pub volatility: Volatility,
    /// How a call is written.
    pub notation: Notation,
    /// How it is called, for documentation and messages.
    pub signatures: &'static [&'static str],
    pub(crate) binding: Binding,
    pub(crate) eval: fn(&Call<'_>) -> Result<ArrayRef>,
}

impl Function {
    /// Whether one evaluation serves all rows of a batch when the arguments are constant.
    pub(crate) fn is_constant_over_rows(&self) -> bool {
        self.volatility != Volatility::Random
    }

    fn signature_hint(&self) -> String {
        format!("use {}", self.signatures.join(", or "))
    }

    /// The error for arguments of wrong types.
    pub(crate) fn wrong_types(&self, args: &[Expr]) -> Error {
        let types: Vec<String> = args.iter().map(|arg| arg.sql_type().kind.to_string()).collect();
        let given = match (self.notation, types.as_slice()) {
            (Notation::Infix, [left, right]) => format!("{left} {} {right}", self.name),
            _ => format!("{}({})", self.name, types.join(", ")),
        };
        Error::invalid(format!("{} does not take these types: {given}", self.name)).hint(self.signature_hint())
    }

    /// The error for a wrong number of arguments.
    pub(crate) fn wrong_count(&self, count: usize) -> Error {
        let plural = if count == 1 { "" } else { "s" };
        Error::invalid(format!("{} does not take {count} argument{plural}", self.name)).hint(self.signature_hint())
    }

    /// A call of this function whose arguments are cast already.
    pub(crate) fn call(&'static self, args: Vec<Expr>, sql_type: SqlType) -> Expr {
        Expr::Call { function: self, args, sql_type }
    }
}

/// The name identifies a function.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One evaluation of a function over a batch.
pub(crate) struct Call<'a> {
    pub function: &'static Function,
    pub args: &'a [Operand],
    pub exprs: &'a [Expr],
    pub sql_type: &'a SqlType,
    /// How many values to yield.
    pub len: usize,
    /// Where the rows stand in the operator's batch; `None` means in order.
    pub numbers: Option<&'a UInt32Array>,
    /// Where the call stands in its expression; see [`Volatility::Random`].
    pub place: u64,
    pub ctx: &'a EvalContext,
}

impl Call<'_> {
    /// The SQL kind of argument `i`.
    pub fn kind(&self, i: usize) -> &TypeKind {
        self.exprs[i].kind()
    }
}

/// The kernel of a function whose binder always lowers it to other nodes.
pub(crate) fn lowered(call: &Call<'_>) -> Result<ArrayRef> {
    Err(Error::internal(format!("{} reached the evaluator instead of being lowered", call.function.name)))
}

static FAMILIES: &[&[Function]] = &[
    comparison::FUNCTIONS,
    logical::FUNCTIONS,
    arithmetic::FUNCTIONS,
    math::FUNCTIONS,
    conditional::FUNCTIONS,
    conversion::FUNCTIONS,
    string::FUNCTIONS,
    texttest::FUNCTIONS,
    regexp::FUNCTIONS,
    encoding::FUNCTIONS,
    hash::FUNCTIONS,
    json::FUNCTIONS,
    jsonmake::FUNCTIONS,
    nested::FUNCTIONS,
    array::FUNCTIONS,
    map::FUNCTIONS,
    clock::FUNCTIONS,
    datetime::FUNCTIONS,
    timetext::FUNCTIONS,
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let functions = FAMILIES.iter().flat_map(|family| family.iter());
    functions.flat_map(|f| f.aliases.iter().chain([&f.name]).map(move |name| (*name, f))).collect()
});

/// What functions of other systems are called in Flink; for messages.
const ELSEWHERE: &[(&str, &str)] = &[
    ("GROUP_CONCAT", "LISTAGG(text, separator)"),
    ("STRING_AGG", "LISTAGG(text, separator)"),
    ("ARRAY_TO_STRING", "ARRAY_JOIN(array, separator)"),
    ("TO_CHAR", "DATE_FORMAT(timestamp, 'yyyy-MM-dd') for times, CAST(x AS STRING) for numbers"),
    ("TO_NUMBER", "CAST(x AS DECIMAL(p, s))"),
    ("STR_TO_DATE", "TO_TIMESTAMP(text, 'yyyy-MM-dd HH:mm:ss') or TO_DATE(text)"),
    ("LEN", "CHAR_LENGTH(text)"),
    ("RANDOM", "RAND()"),
    ("GETDATE", "CURRENT_TIMESTAMP"),
    ("CONVERT", "CAST(x AS type)"),
    ("DATE_PART", "EXTRACT(unit FROM x)"),
];

/// All functions and operators, family by family.
pub fn all() -> impl Iterator<Item = &'static Function> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The function or operator called `name`, ignoring case.
pub fn find(name: &str) -> Option<&'static Function> {
    BY_NAME.get(name.to_uppercase().as_str()).copied()
}

/// A call of the function or operator `name`: arguments counted, cast to what the function takes, and the result typed.
/// Units and sides (`EXTRACT(DAY FROM x)`, `TRIM(BOTH x FROM y)`) come first, as a text literal.
///
/// # Errors
/// `NotFound` where no function has the name, with the nearest name; `Invalid` where number or types of the arguments do
/// not fit, with the signatures.
pub fn resolve(name: &str, args: Vec<Expr>) -> Result<Expr> {
    let Some(function) = find(name) else {
        let error = Error::not_found(format!("no function is called {name}"));
        if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| name.eq_ignore_ascii_case(theirs)) {
            return Err(error.hint(format!("in Flink it is {ours}")));
        }
        let names = BY_NAME.keys().copied().filter(|known| known.chars().all(|c| c.is_alphanumeric() || c == '_'));
        if name.eq_ignore_ascii_case("CURRENT_WATERMARK") {
            return Err(
                error.hint("Flink's CURRENT_WATERMARK is not here: compare the row's time with CURRENT_TIMESTAMP")
            );
        }
        return Err(match nearest(name, names) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("SHOW FUNCTIONS lists what there is"),
        });
    };
    match &function.binding {
        Binding::Custom(bind) => bind(function, args),
        Binding::Fixed { params, required, variadic, returns, nulls } => {
            if args.len() < *required || (args.len() > params.len() && !variadic) {
                return Err(function.wrong_count(args.len()));
            }
            let fits = args.iter().enumerate().all(|(i, arg)| accepts(param(params, i), arg.kind()));
            if !fits {
                return Err(function.wrong_types(&args));
            }
            let cast = |(i, arg)| cast_to(param(params, i), arg);
            let args = args.into_iter().enumerate().map(cast).collect::<Result<Vec<_>>>()?;
            let nullable = match nulls {
                Nulls::Strict => args.iter().any(|arg| arg.sql_type().nullable),
                Nulls::Always => true,
                Nulls::Never => false,
            };
            let kind = returns(&args);
            Ok(function.call(args, SqlType { kind, nullable }))
        }
    }
}

fn param(params: &[Param], i: usize) -> Param {
    params.get(i).or(params.last()).copied().unwrap_or(Param::AnyText)
}

fn accepts(param: Param, kind: &TypeKind) -> bool {
    if *kind == TypeKind::Null {
        return true;
    }
    match param {
        Param::Text => kind.is_text(),
        Param::AnyText => kind.is_text() || kind.is_numeric() || kind.is_datetime() || *kind == TypeKind::Boolean,
        Param::Int | Param::BigInt => kind.is_integer() || matches!(kind, TypeKind::Decimal { scale: 0, .. }),
        Param::Double => kind.is_numeric(),
    }
}

fn cast_to(param: Param, arg: Expr) -> Result<Expr> {
    let kind = match param {
        Param::Text | Param::AnyText if !arg.kind().is_text() => TypeKind::STRING,
        Param::Int => TypeKind::Int,
        Param::BigInt => TypeKind::BigInt,
        Param::Double => TypeKind::Double,
        _ => return Ok(arg),
    };
    implicit_cast(arg, &kind.nullable())
}

/// Result kinds of fixed signatures.
pub(crate) mod returns {
    use gridhouse_base::TypeKind;
    use gridhouse_base::types::MAX_LENGTH;

    use crate::expr::Expr;

    /// The kind of the first argument.
    pub fn same(args: &[Expr]) -> TypeKind {
        args.first().map_or(TypeKind::STRING, |arg| arg.kind().clone())
    }

    /// A text of at most the first argument's length.
    pub fn part(args: &[Expr]) -> TypeKind {
        TypeKind::Varchar(length(args.first()))
    }

    /// A text of at most the length of the first two arguments together.
    pub fn both(args: &[Expr]) -> TypeKind {
        TypeKind::Varchar(length(args.first()).saturating_add(length(args.get(1))).min(MAX_LENGTH))
    }

    fn length(arg: Option<&Expr>) -> u32 {
        match arg.map(Expr::kind) {
            Some(TypeKind::Char(n) | TypeKind::Varchar(n)) => *n,
            _ => MAX_LENGTH,
        }
    }

    pub fn string(_: &[Expr]) -> TypeKind {
        TypeKind::STRING
    }

    pub fn int(_: &[Expr]) -> TypeKind {
        TypeKind::Int
    }

    pub fn double(_: &[Expr]) -> TypeKind {
        TypeKind::Double
    }

    pub fn boolean(_: &[Expr]) -> TypeKind {
        TypeKind::Boolean
    }
}
