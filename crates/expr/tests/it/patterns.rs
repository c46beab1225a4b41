//! LIKE, SIMILAR TO and regular expressions.

use crate::{call, check_values, int, null, text, try_show};

#[test]
fn like_knows_wildcards_and_escapes() {
    check_values(vec![
        (call("LIKE", [text("abc"), text("abc")]), "TRUE"),
        (call("LIKE", [text("abc"), text("ab%")]), "TRUE"),
        (call("LIKE", [text("abc"), text("%bc")]), "TRUE"),
        (call("LIKE", [text("xabcx"), text("%abc%")]), "TRUE"),
        (call("LIKE", [text("abc"), text("a_c")]), "TRUE"),
        (call("LIKE", [text("电力网"), text("电_网")]), "TRUE"),
        (call("LIKE", [text("aXbXc"), text("a%X%c")]), "TRUE"),
        (call("LIKE", [text("aaab"), text("%a_b")]), "TRUE"),
        (call("LIKE", [text("ab"), text("a_b")]), "FALSE"),
        (call("LIKE", [text("a\nb"), text("a%b")]), "TRUE"),
        (call("LIKE", [text("50%"), text("50#%"), text("#")]), "TRUE"),
        (call("LIKE", [text("500"), text("50#%"), text("#")]), "FALSE"),
        (call("LIKE", [text(r"a\b"), text(r"a\b")]), "TRUE"),
        (call("NOT LIKE", [text("abc"), text("b%")]), "TRUE"),
        (call("LIKE", [null(), text("b%")]), "NULL"),
    ]);
    let error = try_show(&call("LIKE", [text("a"), text("a#b"), text("#")])).unwrap_err();
    assert_eq!(error.message(), "the pattern 'a#b' escapes nothing");
}

#[test]
fn similar_to_is_anchored() {
    check_values(vec![
        (call("SIMILAR TO", [text("abc"), text("a(b|c)+")]), "TRUE"),
        (call("SIMILAR TO", [text("abcd"), text("a(b|c)+")]), "FALSE"),
        (call("SIMILAR TO", [text("a.c"), text("a.%")]), "TRUE"),
        (call("SIMILAR TO", [text("abc"), text("a.%")]), "TRUE"),
        (call("NOT SIMILAR TO", [text("x1"), text("x[0-9]")]), "FALSE"),
    ]);
}

#[test]
fn regular_expressions_find_extract_and_replace() {
    check_values(vec![
        (call("REGEXP", [text("region-12"), text("^region-\\d+$")]), "TRUE"),
        (call("REGEXP_EXTRACT", [text("foothebar"), text("foo(.*?)(bar)"), int(2)]), "bar"),
        (call("REGEXP_EXTRACT", [text("foothebar"), text("foo(.*?)(bar)")]), "foothebar"),
        (call("REGEXP_EXTRACT", [text("foo"), text("x(.)"), int(1)]), "NULL"),
        (call("REGEXP_EXTRACT", [text("foo"), text("f(.)"), int(7)]), "NULL"),
        (call("REGEXP_REPLACE", [text("foobar"), text("oo|ar"), text("")]), "fb"),
        (call("REGEXP_REPLACE", [text("fooobar"), text("oo"), text("$1")]), "f$1obar"),
        (call("REGEXP_REPLACE", [text("foobar"), text("oo"), text("\\")]), "f\\bar"),
        (call("REGEXP_REPLACE", [text("foobar"), text("^f*.*r$"), text("")]), ""),
        (call("REGEXP_EXTRACT", [text("foothebar"), text("foo([\\w]+)"), int(1)]), "thebar"),
        (call("SIMILAR TO", [text("This is a test String."), text("This (is)? a (test)+ Strin_*")]), "TRUE"),
        (call("SIMILAR TO", [text("*_This"), text("&*&__*"), text("&")]), "TRUE"),
        (call("LIKE", [text("%This is a test String."), text("&%Th_s%"), text("&")]), "TRUE"),
        (call("LIKE", [text("abcxxxdef"), text("%abc%def%")]), "TRUE"),
        (call("LIKE", [text("abcxxxdef"), text("abc%qef%")]), "FALSE"),
    ]);
    let error = try_show(&call("REGEXP", [text("a"), text("(a")])).unwrap_err();
    assert_eq!(error.message(), "'(a' is not a regular expression");
}
