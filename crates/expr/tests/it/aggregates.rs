//! Names and types of aggregate functions.

use gridhouse_base::TypeKind;
use gridhouse_expr::aggregate::resolve;

#[test]
fn result_types_are_flinks() {
    let dec = |precision, scale| TypeKind::Decimal { precision, scale };
    let cases = [
        ("SUM", TypeKind::Int, true, "INT NOT NULL"),
        ("SUM", TypeKind::Int, false, "INT"),
        ("sum", TypeKind::BigInt, true, "BIGINT NOT NULL"),
        ("SUM", dec(12, 2), true, "DECIMAL(38, 2) NOT NULL"),
        ("AVG", TypeKind::Int, true, "INT NOT NULL"),
        ("AVG", TypeKind::Double, true, "DOUBLE NOT NULL"),
        ("AVG", dec(12, 2), true, "DECIMAL(38, 6) NOT NULL"),
        ("AVG", dec(20, 8), true, "DECIMAL(38, 8) NOT NULL"),
        ("MIN", TypeKind::Char(3), true, "CHAR(3) NOT NULL"),
        ("MAX", TypeKind::Timestamp(3), false, "TIMESTAMP(3)"),
        ("COUNT", TypeKind::STRING, false, "BIGINT NOT NULL"),
    ];
    for (name, kind, grouped, expected) in cases {
        let resolved = resolve(name, &[kind.clone().not_null()], false, grouped).unwrap();
        assert_eq!(resolved.sql_type.to_string(), expected, "{name}({kind})");
    }
    assert_eq!(resolve("COUNT", &[], false, false).unwrap().sql_type.to_string(), "BIGINT NOT NULL");
}

#[test]
fn misuse_is_explained() {
    assert_eq!(
        resolve("SUM", &[TypeKind::STRING.nullable()], false, true).unwrap_err().message(),
        "SUM does not take STRING"
    );
    assert_eq!(
        resolve("SUN", &[TypeKind::Int.nullable()], false, true).unwrap_err().remedy(),
        Some("did you mean SUM?")
    );
    assert!(resolve("COUNT", &[], true, true).is_err());
    assert!(resolve("SUM", &[], false, true).is_err());
}
