//! Functions of text.

use gridhouse_base::TypeKind;

use crate::{call, check, check_values, date, decimal, int, null, refused, text, try_show, value};

#[test]
fn texts_are_cut_and_joined() {
    check_values(vec![
        (call("CONCAT", [text("AA"), text("BB"), text("CC")]), "AABBCC"),
        (call("CONCAT", [text("第"), int(3), text("区")]), "第3区"),
        (call("CONCAT", [text("a"), decimal(5, 2, "1.50"), date("2024-01-01")]), "a1.502024-01-01"),
        (call("CONCAT", [text("a"), null()]), "NULL"),
        (call("||", [text("a"), text("b")]), "ab"),
        (call("CONCAT_WS", [text("~"), text("AA"), null(), text("BB"), text(""), text("CC")]), "AA~BB~~CC"),
        (call("CONCAT_WS", [null(), text("AA")]), "NULL"),
        (call("SUBSTRING", [text("hello world"), int(1), int(5)]), "hello"),
        (call("SUBSTRING", [text("hello"), int(2)]), "ello"),
        (call("SUBSTRING", [text("hello"), int(-3), int(2)]), "ll"),
        (call("SUBSTRING", [text("hello"), int(-9)]), ""),
        (call("SUBSTRING", [text("hello"), int(0), int(2)]), "he"),
        (call("SUBSTR", [text("国家电网"), int(2), int(2)]), "家电"),
        (call("LEFT", [text("电网abc"), int(3)]), "电网a"),
        (call("RIGHT", [text("abc电网"), int(3)]), "c电网"),
        (call("RIGHT", [text("abc"), int(-1)]), ""),
        (call("UPPER", [text("aBc")]), "ABC"),
        (call("LOWER", [text("ABC")]), "abc"),
        (call("INITCAP", [text("hello bIG-world 中文a")]), "Hello Big-World 中文A"),
        (call("REVERSE", [text("电网ab")]), "ba网电"),
        (call("REPEAT", [text("ab"), int(3)]), "ababab"),
        (call("REPEAT", [text("ab"), int(-1)]), ""),
        (call("LPAD", [text("hi"), int(4), text("??")]), "??hi"),
        (call("LPAD", [text("hi"), int(1), text("??")]), "h"),
        (call("RPAD", [text("hi"), int(5), text("xy")]), "hixyx"),
        (call("LPAD", [text("hi"), int(-1), text("x")]), "NULL"),
        (call("OVERLAY", [text("This is an old string"), text(" new"), int(10), int(5)]), "This is a new string"),
        (call("OVERLAY", [text("xxxxxtest"), text("xxxx"), int(6)]), "xxxxxxxxx"),
        (call("REPLACE", [text("hello world"), text("world"), text("flink")]), "hello flink"),
        (call("OVERLAY", [text("xxxxxtest"), text("xxxx"), int(6), int(2)]), "xxxxxxxxxst"),
        (call("OVERLAY", [text("123456789"), text("It"), int(-1), int(4)]), "123456789"),
        (call("OVERLAY", [text("123456789"), text("abc"), int(2), int(100)]), "1abc"),
        (call("OVERLAY", [text("123456789"), text("abc"), int(2), int(-1)]), "1abc"),
        (call("SUBSTRING", [text("hello"), int(2), int(100)]), "ello"),
        (call("SUBSTRING", [text("hello"), int(100), int(10)]), ""),
        (call("LPAD", [text("äää"), int(13), text("12345")]), "1234512345äää"),
        (call("LPAD", [text("ab"), int(5), gridhouse_expr::Expr::text("")]), "NULL"),
        (call("TRANSLATE", [text("a-b"), text("-b"), text("_")]), "a_"),
    ]);
}

#[test]
fn blanks_and_characters_are_trimmed() {
    check_values(vec![
        (call("TRIM", [text("  a b ")]), "a b"),
        (call("TRIM", [text("BOTH"), text("x"), text("xxaxx")]), "a"),
        (call("TRIM", [text("LEADING"), text("x"), text("xxaxx")]), "axx"),
        (call("TRIM", [text("TRAILING"), text("x"), text("xxaxx")]), "xxa"),
        (call("LTRIM", [text("  a ")]), "a "),
        (call("RTRIM", [text(" a  ")]), " a"),
        (call("BTRIM", [text("abcab"), text("ab")]), "c"),
        (call("TRIM", [text("BOTH"), text("开心"), text("心情开开心心")]), "情"),
        (call("LTRIM", [text("abcddcba"), text("abd")]), "cddcba"),
        (call("RTRIM", [text("心情开开心心"), text("开心")]), "心情"),
        (call("TRIM", [text("TRAILING"), text("  example  ")]), "  example"),
    ]);
}

#[test]
fn places_and_lengths_count_characters() {
    check(vec![
        (call("CHAR_LENGTH", [text("国家abc")]), "INT NOT NULL", "5"),
        (call("OCTET_LENGTH", [text("国a")]), "INT NOT NULL", "4"),
        (call("POSITION", [text("网"), text("电网网")]), "INT NOT NULL", "2"),
        (call("POSITION", [text("x"), text("abc")]), "INT NOT NULL", "0"),
        (call("LOCATE", [text("b"), text("abcb"), int(3)]), "INT NOT NULL", "4"),
        (call("INSTR", [text("abc"), text("c")]), "INT NOT NULL", "3"),
        (call("INSTR", [text("Corporate Floor"), text("or"), int(3), int(2)]), "INT NOT NULL", "14"),
        (call("INSTR", [text("Corporate Floor"), text("or"), int(-3), int(2)]), "INT NOT NULL", "2"),
        (call("INSTR", [text("Tech on the net"), text("e"), int(1), int(3)]), "INT NOT NULL", "14"),
        (call("INSTR", [text("Tech on the net"), text("e"), int(-3), int(2)]), "INT NOT NULL", "2"),
        (call("LOCATE", [text("aa"), text("aaads"), int(2)]), "INT NOT NULL", "2"),
        (call("ASCII", [text("abc")]), "INT NOT NULL", "97"),
        (call("ASCII", [value(TypeKind::STRING, "")]), "INT NOT NULL", "0"),
        (call("CHR", [int(353)]), "STRING", "a"),
        (call("SPLIT_INDEX", [text("a,b,,c"), text(","), int(2)]), "STRING", ""),
        (call("SPLIT_INDEX", [text("a,b,,c"), text(","), int(3)]), "STRING", "c"),
        (call("SPLIT_INDEX", [text("a,b"), text(","), int(2)]), "STRING", "NULL"),
        (call("SPLIT_INDEX", [text("AQIDBA=="), int(73), int(0)]), "STRING", "AQ"),
        (call("SPLIT_INDEX", [text("AQIDBA=="), int(256), int(0)]), "STRING", "NULL"),
        (call("SPLIT_INDEX", [text("AQIDBA=="), int(0), int(0)]), "STRING", "NULL"),
        (call("SPLIT_INDEX", [text("a,b"), text(","), int(-1)]), "STRING", "NULL"),
        (call("STARTSWITH", [text("电网"), text("电")]), "BOOLEAN NOT NULL", "TRUE"),
    ]);
}

#[test]
fn a_text_too_long_to_make_is_refused() {
    let error = try_show(&call("REPEAT", [text("abc"), int(i32::MAX.into())])).unwrap_err();
    assert!(error.message().contains("REPEAT would make a text of 6442450941 bytes"), "{error}");
    let error = refused("UPPER", [int(1)]);
    assert_eq!(error.message(), "UPPER does not take these types: UPPER(INT)");
    assert_eq!(error.remedy(), Some("use UPPER(text)"));
    let error = refused("UPPER", []);
    assert_eq!(error.message(), "UPPER does not take 0 arguments");
}
