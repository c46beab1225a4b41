//! What may be called here that Flink 1.20 does not have, or not in that form: the notes of `EXPLAIN PORTABILITY`.
//!
//! The binder asks [`beyond_flink`] with the name as it is written (an alias may be ours alone) and the bound arguments, before
//! it hands them to [`super::resolve`], and keeps the note with the place of the call. The reference cases in
//! `tests/reference/functions` hold both ways: what Flink refuses is refused here or noted.

use gridhouse_base::TypeKind;

use super::{Binding, Param, find};
use crate::expr::Expr;

/// When a call goes beyond Flink.
enum When {
    /// Whatever the arguments are.
    Always,
    /// Where this holds of the arguments.
    If(fn(&[Expr]) -> bool),
}

use When::{Always, If};

/// Names, when they go beyond Flink, and what to write there. A new function that Flink lacks gets a line here.
static NOTES: &[(&str, When, &str)] = &[
    ("LENGTH", Always, "Flink has no LENGTH: write CHAR_LENGTH(text)"),
    ("OCTET_LENGTH", Always, "Flink has no OCTET_LENGTH"),
    ("UCASE", Always, "Flink has no UCASE: write UPPER(text)"),
    ("LCASE", Always, "Flink has no LCASE: write LOWER(text)"),
    ("BTRIM", Always, "BTRIM is new in Flink 2.0: write TRIM(BOTH characters FROM text)"),
    ("TRANSLATE", Always, "TRANSLATE is new in Flink 2.0: write REPLACE for each character"),
    ("STARTSWITH", Always, "STARTSWITH is new in Flink 2.0: write text LIKE 'part%'"),
    ("ENDSWITH", Always, "ENDSWITH is new in Flink 2.0: write text LIKE '%part'"),
    ("NVL", Always, "Flink has no NVL: write COALESCE(a, b)"),
    ("POW", Always, "Flink has no POW: write POWER(x, y)"),
    ("REGEXP_LIKE", Always, "Flink has no REGEXP_LIKE: write REGEXP(text, regex)"),
    ("RLIKE", Always, "Flink has no RLIKE: write REGEXP(text, regex)"),
    ("TRIM", If(|args| args.len() == 2), "Flink has no TRIM(text, characters): write TRIM(BOTH characters FROM text)"),
    ("CONCAT", If(not_all_text), TEXT_ONLY),
    ("||", If(not_all_text), TEXT_ONLY),
    ("CONCAT_WS", If(not_all_text), TEXT_ONLY),
    ("IF", If(nested_results), "Flink's IF takes no arrays, maps or rows: write CASE WHEN … THEN … ELSE … END"),
    ("NULLIF", If(nested_results), "Flink's NULLIF takes no arrays, maps or rows: write CASE WHEN … THEN … END"),
    ("INSTR", If(|args| args.len() > 2), "INSTR with a start is new in Flink 2.0: write LOCATE(part, text, start)"),
];

const TEXT_ONLY: &str = "Flink wants a text here: write CAST(… AS STRING)";
const TYPED_NULL: &str = "Flink wants a type for NULL: write CAST(NULL AS …)";

/// Functions that take NULL without a type in Flink too.
const UNTYPED_NULLS: &[&str] = &[
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "IS NULL",
    "IS NOT NULL",
    "AND",
    "OR",
    "NOT",
    "ARRAY",
    "MAP",
    "COALESCE",
    "IFNULL",
    "GREATEST",
    "LEAST",
    "IN",
    "NOT IN",
    "CASE",
];

fn not_all_text(args: &[Expr]) -> bool {
    args.iter().any(|arg| !arg.kind().is_text() && *arg.kind() != TypeKind::Null)
}

fn nested_results(args: &[Expr]) -> bool {
    args.iter().any(|arg| matches!(arg.kind(), TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_)))
}

/// What to tell about a call of the function or operator written `name` if Flink 1.20 would refuse it.
pub fn beyond_flink(name: &str, args: &[Expr]) -> Option<&'static str> {
    let upper = name.to_uppercase();
    let applies = |when: &When| match when {
        Always => true,
        If(test) => test(args),
    };
    if let Some((.., note)) = NOTES.iter().find(|(known, when, _)| *known == upper && applies(when)) {
        return Some(note);
    }
    let function = find(&upper)?;
    if let Binding::Fixed { params, .. } = &function.binding {
        let lenient = |i: usize| params.get(i).or(params.last()) == Some(&Param::AnyText);
        let text = |kind: &TypeKind| kind.is_text() || *kind == TypeKind::Null;
        if args.iter().enumerate().any(|(i, arg)| lenient(i) && !text(arg.kind())) {
            return Some(TEXT_ONLY);
        }
    }
    let untyped = args.iter().any(|arg| *arg.kind() == TypeKind::Null);
    (untyped && !UNTYPED_NULLS.contains(&function.name)).then_some(TYPED_NULL)
}
