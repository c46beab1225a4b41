//! What users are told: place, kind, message and remedy of wrong statements.

use crate::corpus::check;
use crate::house::House;

#[test]
fn messages_are_as_recorded() {
    check("errors.txt", |statement| House::furnished().error(statement));
}

#[test]
fn messages_for_what_people_type_are_as_recorded() {
    check("mistakes.txt", |statement| House::furnished().error(statement));
}
