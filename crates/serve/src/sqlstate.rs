//! Error kinds as SQLSTATE codes and back.

use gridhouse_base::ErrorKind;

/// The SQLSTATE that stands for `kind`.
///
/// Class 58 ("errors external to PostgreSQL itself") stands for what is outside; class 08 would tell drivers that the
/// connection to this process is broken.
pub(crate) fn of_kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "42000",
        ErrorKind::NotFound => "42704",
        ErrorKind::Conflict => "55000",
        ErrorKind::Unavailable => "58000",
        ErrorKind::Corrupt => "XX001",
        ErrorKind::Internal => "XX000",
    }
}

/// The kind that `code` stands for.
pub(crate) fn to_kind(code: &str) -> ErrorKind {
    match code {
        "42704" => ErrorKind::NotFound,
        "55000" => ErrorKind::Conflict,
        "XX001" => ErrorKind::Corrupt,
        // A shutdown, too many connections: try again later.
        _ if code.starts_with("58") || code.starts_with("57") || code.starts_with("53") => ErrorKind::Unavailable,
        _ if code.starts_with("XX") => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_way_through_its_code() {
        use ErrorKind::{Conflict, Corrupt, Internal, Invalid, NotFound, Unavailable};
        for kind in [Invalid, NotFound, Conflict, Unavailable, Corrupt, Internal] {
            assert_eq!(to_kind(of_kind(kind)), kind);
        }
    }
}
