//! CASE and what is lowered to it.

use gridhouse_base::TypeKind;
use gridhouse_expr::functions::{case, case_of};

use crate::{big, call, check, check_values, decimal, int, null, text, truth};

#[test]
fn results_have_a_common_type() {
    check(vec![
        (case(vec![(truth(true), int(1))], Some(int(0))).unwrap(), "INT NOT NULL", "1"),
        (case(vec![(truth(false), int(1))], None).unwrap(), "INT", "NULL"),
        (case(vec![(null(), int(1)), (truth(true), big(2))], Some(int(3))).unwrap(), "BIGINT NOT NULL", "2"),
        (case(vec![(truth(true), text("a"))], Some(text("bcd"))).unwrap(), "VARCHAR(3) NOT NULL", "a"),
        (case(vec![(truth(true), decimal(5, 2, "1.50"))], Some(int(0))).unwrap(), "DECIMAL(12, 2) NOT NULL", "1.50"),
        (case_of(&int(2), vec![(int(1), text("x")), (int(2), text("y"))], None).unwrap(), "CHAR(1)", "y"),
        (call("IF", [truth(false), int(1), int(2)]), "INT NOT NULL", "2"),
        (call("COALESCE", [null(), int(3)]), "INT NOT NULL", "3"),
        (call("COALESCE", [int(1), call("/", [int(1), int(0)])]), "INT NOT NULL", "1"),
        (call("IFNULL", [null(), text("x")]), "CHAR(1) NOT NULL", "x"),
        (call("NULLIF", [int(1), int(1)]), "INT", "NULL"),
        (call("NULLIF", [int(1), int(2)]), "INT", "1"),
    ]);
    assert!(case(vec![(int(1), int(1))], None).is_err(), "a condition is BOOLEAN");
}

#[test]
fn what_is_not_chosen_is_not_evaluated() {
    let guarded = |d: i64| {
        let divide = call("/", [int(6), int(d)]);
        case(vec![(call("<>", [int(d), int(0)]), divide)], Some(int(-1))).unwrap()
    };
    check_values(vec![
        (guarded(0), "-1"),
        (guarded(2), "3"),
        (call("AND", [call("<>", [int(0), int(0)]), call(">", [call("/", [int(6), int(0)]), int(1)])]), "FALSE"),
        (call("OR", [call("=", [int(0), int(0)]), call(">", [call("/", [int(6), int(0)]), int(1)])]), "TRUE"),
    ]);
    assert_eq!(*guarded(1).kind(), TypeKind::Int);
}
