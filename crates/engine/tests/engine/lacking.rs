//! Part of a row that is not here is left out until the contents bring the row; nothing is made up.

use gridhouse_base::{Error, RowKind};
use gridhouse_flow::connector::SourceEvent;

use crate::house::{House, await_rows, await_that, batch_of, encode, ok, rows};

const TAP: &str = "
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
  WITH ('connector' = 'tap', 'on-error' = 'dead-letter');
CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
INSERT INTO t SELECT * FROM tap;
";

/// Contents as of `position`.
fn contents(house: &House, position: u64, of: &[(i64, &str)]) {
    house.outside.send(|table| {
        let rows: Vec<_> = of.iter().map(|(key, value)| (*key, Some((*value).to_owned()))).collect();
        let mut batch = batch_of(&rows);
        batch.kinds = vec![RowKind::Insert; rows.len()].into();
        SourceEvent::SnapshotRows { table, batch }
    });
    house.outside.send(|table| SourceEvent::SnapshotDone { table, position: encode(position) });
}

fn commit(house: &House, position: u64) {
    let position = encode(position);
    house.outside.send_one(SourceEvent::Commit { position, event_time_micros: 1, received_micros: 1 });
}

/// A row that goes.
fn gone(house: &House, key: i64) {
    house.outside.send(|table| SourceEvent::Rows { table, columns: None, batch: batch_of(&[(key, None)]) });
}

/// An update that leaves the value as it was, and does not tell it.
fn touched(house: &House, key: i64) {
    house.outside.send(|table| {
        let mut batch = batch_of(&[(key, None)]);
        batch.kinds = vec![RowKind::UpdateAfter].into();
        SourceEvent::Rows { table, columns: Some(vec![0]), batch }
    });
}

/// A row that takes the place of `key` and cannot be read.
fn misread(house: &House, key: i64) {
    house.outside.send(|table| {
        let error = Error::invalid("'x' is no number");
        SourceEvent::Rejected { table, row: format!("id = '{key}'"), error }
    });
    gone(house, key);
}

/// The same in a transaction of its own.
fn rejected(house: &House, key: i64, position: u64) {
    misread(house, key);
    commit(house, position);
}

#[test]
fn a_row_kept_apart_and_mended_without_its_large_value_comes_with_the_contents() {
    let mut house = House::new();
    house.outside.deliver_by_hand();
    let mut session = house.session();
    ok(&mut session, TAP);
    await_that(|| house.outside.tables().len() == 1).expect("the table is wanted");
    contents(&house, 1, &[(1, "a"), (2, "b")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b"]);
    rejected(&house, 2, 2);
    await_rows(&mut session, "SELECT * FROM t", &["1|a"]);

    // Across a restart: which tables may lack rows is on record.
    house.restart();
    let mut session = house.session();
    await_that(|| house.outside.tables().len() == 1).expect("the table is wanted");
    touched(&house, 1);
    touched(&house, 2);
    commit(&house, 3);
    await_that(|| house.outside.asked_again() == 1).expect("the contents are asked for");
    assert_eq!(rows(&mut session, "SELECT * FROM t"), ["1|a"]);
    contents(&house, 3, &[(1, "a"), (2, "b")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b"]);

    // Wrong and mended again, in one transaction.
    rejected(&house, 2, 4);
    touched(&house, 2);
    commit(&house, 5);
    await_that(|| house.outside.asked_again() == 2).expect("the contents are asked for again");
    contents(&house, 5, &[(1, "a")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a"]);
    // They do not bring it: it is its large value that cannot be read. It stands apart, and nothing is read again for it.
    touched(&house, 2);
    commit(&house, 6);
    let letters = "SELECT row_text, error FROM t_dead_letter WHERE error LIKE '%large value%'";
    await_that(|| rows(&mut session, letters).len() == 1).expect("it is kept apart");
    assert!(rows(&mut session, letters)[0].starts_with("(2)|an update does not tell a large value"));
    assert_eq!(house.outside.asked_again(), 2);
    assert_eq!(rows(&mut session, "SELECT * FROM t"), ["1|a"]);
}

#[test]
fn a_row_that_was_deleted_here_is_not_made_up() {
    let house = House::new();
    house.outside.deliver_by_hand();
    let mut session = house.session();
    ok(&mut session, &TAP.replace(", 'on-error' = 'dead-letter'", ""));
    await_that(|| house.outside.tables().len() == 1).expect("the table is wanted");
    contents(&house, 1, &[(1, "a"), (2, "b"), (3, "c")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b", "3|c"]);
    ok(&mut session, "DELETE FROM t WHERE id = 2");
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "3|c"]);
    touched(&house, 2);
    commit(&house, 2);
    await_that(|| house.outside.asked_again() == 1).expect("the contents are asked for");
    assert_eq!(rows(&mut session, "SELECT * FROM t"), ["1|a", "3|c"]);
    contents(&house, 2, &[(1, "a"), (2, "b"), (3, "c")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b", "3|c"]);

    ok(&mut session, "TRUNCATE TABLE t");
    touched(&house, 1);
    commit(&house, 3);
    await_that(|| house.outside.asked_again() == 2).expect("the contents are asked for");
    await_rows(&mut session, "SELECT * FROM t", &[]);
    contents(&house, 3, &[(1, "a")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|a"]);
}

/// What the open transaction brings and takes counts, too.
#[test]
fn within_a_transaction_it_is_known_what_is_here() {
    let house = House::new();
    house.outside.deliver_by_hand();
    let mut session = house.session();
    ok(&mut session, TAP);
    await_that(|| house.outside.tables().len() == 1).expect("the table is wanted");
    contents(&house, 1, &[(1, "a")]);
    let put = |key: i64, value: &str| {
        let batch = batch_of(&[(key, Some(value.to_owned()))]);
        house.outside.send(|table| SourceEvent::Rows { table, columns: None, batch: batch.clone() });
    };
    put(2, "b");
    rejected(&house, 9, 2);
    touched(&house, 2);
    touched(&house, 1);
    commit(&house, 3);
    await_rows(&mut session, "SELECT * FROM t", &["1|a", "2|b"]);
    assert_eq!(house.outside.asked_again(), 0);
    house.outside.send(|table| SourceEvent::Truncate { table });
    put(2, "c");
    touched(&house, 2);
    commit(&house, 4);
    await_rows(&mut session, "SELECT * FROM t", &["2|c"]);
    assert_eq!(house.outside.asked_again(), 0);
    gone(&house, 2);
    touched(&house, 2);
    commit(&house, 5);
    await_that(|| house.outside.asked_again() == 1).expect("the contents are asked for");
    await_rows(&mut session, "SELECT * FROM t", &[]);
}

#[test]
fn a_row_that_is_misread_and_mended_in_one_transaction_is_not_made_up() {
    let house = House::new();
    house.outside.deliver_by_hand();
    let mut session = house.session();
    ok(&mut session, TAP);
    await_that(|| house.outside.tables().len() == 1).expect("the table is wanted");
    contents(&house, 1, &[(1, "a")]);
    misread(&house, 1);
    touched(&house, 1);
    commit(&house, 2);
    await_that(|| house.outside.asked_again() == 1).expect("the contents are asked for");
    await_rows(&mut session, "SELECT * FROM t", &[]);
}

/// An `INSERT` that writes some columns of a wide table is told all of its rows.
#[test]
fn a_row_is_whole_where_the_insert_writes_some_columns_alone() {
    let house = House::new();
    house.outside.deliver_by_hand();
    let mut session = house.session();
    ok(
        &mut session,
        &TAP.replace(
            "v STRING, PRIMARY KEY (id) NOT ENFORCED);\nINSERT INTO t",
            "w INT, v STRING, PRIMARY KEY (id) NOT ENFORCED);\nINSERT INTO t (id, v)",
        ),
    );
    await_that(|| house.outside.tables().len() == 1).expect("the table is wanted");
    contents(&house, 1, &[(1, "a"), (2, "b")]);
    await_rows(&mut session, "SELECT * FROM t", &["1|NULL|a", "2|NULL|b"]);
    ok(&mut session, "DELETE FROM t WHERE id = 2");
    house.outside.send(|table| SourceEvent::Rows {
        table,
        columns: None,
        batch: batch_of(&[(3, Some("c".to_owned()))]),
    });
    commit(&house, 2);
    await_rows(&mut session, "SELECT * FROM t", &["1|NULL|a", "3|NULL|c"]);
    assert_eq!(house.outside.asked_again(), 0);
    touched(&house, 2);
    commit(&house, 3);
    await_that(|| house.outside.asked_again() == 1).expect("the contents are asked for");
}
