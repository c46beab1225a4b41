//! What users are told: place, kind, message and remedy of wrong statements.

use crate::corpus::check;
use crate::house::House;

#[test]
fn messages_are_as_recorded() {
    check("errors.txt", |statement| House::furnished().error(statement));
}
