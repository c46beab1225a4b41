//! Outside tables in bounded statements: read once, with what the query needs.

use crate::house::{House, await_that, fails, ok, rows};

const SHELF: &str = "
CREATE TEMPORARY TABLE shelf (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'shelf');
CREATE TABLE kept (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
CREATE TEMPORARY TABLE tap (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
";

fn house() -> House {
    let house = House::new();
    house.outside.commit(&[(1, Some("a")), (2, Some("b")), (3, Some("a")), (4, None)]);
    house
}

#[test]
fn a_query_reads_what_it_needs() {
    let house = house();
    let mut session = house.session();
    ok(&mut session, SHELF);
    assert_eq!(rows(&mut session, "SELECT * FROM shelf"), ["1|a", "2|b", "3|a"]);
    assert!(house.outside.asked()[0].filters.is_empty());

    assert_eq!(rows(&mut session, "SELECT v FROM shelf WHERE v <> 'b' AND id > 1"), ["a"]);
    let asked = house.outside.asked();
    assert_eq!(asked[0].columns, [0, 1]);
    let filters: Vec<String> = asked[0].filters.iter().map(ToString::to_string).collect();
    assert_eq!(filters, ["$1 <> 'b'", "$0 > 1:BIGINT"]);

    assert_eq!(rows(&mut session, "SELECT v FROM shelf LIMIT 2 OFFSET 1").len(), 2);
    assert_eq!((house.outside.asked()[0].limit, house.outside.asked().len()), (Some(3), 0));

    // A limit over groups asks for every row.
    assert_eq!(rows(&mut session, "SELECT v, COUNT(*) FROM shelf GROUP BY v ORDER BY v LIMIT 1"), ["a|2"]);
    let asked = house.outside.asked();
    assert_eq!((asked[0].limit, asked[0].columns.as_slice()), (None, [1].as_slice()));

    // Two references are two readings, each with its own filter.
    let query = "SELECT a.id, b.id FROM shelf a JOIN shelf b ON a.v = b.v AND a.id < b.id WHERE a.id = 1";
    assert_eq!(rows(&mut session, query), ["1|3"]);
    assert_eq!(house.outside.asked().len(), 2);
}

#[test]
fn bounded_inserts_read_the_outside_once() {
    let house = house();
    let mut session = house.session();
    ok(&mut session, SHELF);
    ok(&mut session, "SET 'execution.runtime-mode' = 'batch'");
    assert_eq!(ok(&mut session, "INSERT INTO kept SELECT id, UPPER(v) FROM shelf"), "INSERT 3");
    assert_eq!(rows(&mut session, "SELECT * FROM kept"), ["1|A", "2|B", "3|A"]);
    // From outside to outside, together with a table of ours.
    ok(&mut session, "INSERT INTO drain SELECT s.v, COUNT(*) FROM shelf s JOIN kept k ON s.id = k.id GROUP BY s.v");
    assert_eq!(house.outside.sink("drain"), ["a=a|2", "b=b|1"]);
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM system.status.jobs"), ["0"], "nothing goes on");
}

#[test]
fn one_result_may_go_where_only_new_rows_go() {
    let house = house();
    let mut session = house.session();
    ok(&mut session, SHELF);
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE once (v STRING, n BIGINT) WITH ('connector' = 'drain', 'mode' = 'insert-only');
         CREATE TEMPORARY TABLE keyed (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED)
           WITH ('connector' = 'drain', 'mode' = 'insert-only');
         INSERT INTO kept VALUES (1, 'a'), (2, 'b'), (3, 'a')",
    );
    for target in ["once", "keyed"] {
        let message = fails(&mut session, &format!("INSERT INTO {target} SELECT v, COUNT(*) FROM kept GROUP BY v"));
        assert!(message.contains("only takes new rows") && message.contains("batch"), "{message}");
    }
    ok(&mut session, "SET 'execution.runtime-mode' = 'batch'");
    ok(&mut session, "INSERT INTO once SELECT v, COUNT(*) FROM kept GROUP BY v");
    let held = house.outside.sink("once").join(" ");
    assert!(held.contains("+Ia|2") && held.contains("+Ib|1"), "{held}");
    assert!(ok(&mut session, "SET 'on-eror' = 'dead-letter'").contains("did you mean 'on-error'"));
}

#[test]
fn what_has_no_end_or_does_not_answer_is_said() {
    let house = house();
    let mut session = house.session();
    ok(&mut session, SHELF);
    let message = fails(&mut session, "SELECT * FROM tap");
    assert!(message.contains("a query over a 'tap' table has no end"), "{message}");
    ok(&mut session, "SET 'execution.runtime-mode' = 'batch'");
    let message = fails(&mut session, "INSERT INTO kept SELECT * FROM tap");
    assert!(message.contains("tap") && message.contains("streaming"), "{message}");
    house.outside.set_absent(true);
    let message = fails(&mut session, "SELECT * FROM shelf");
    assert!(message.contains("shelf") && message.contains("does not answer"), "{message}");
    house.outside.set_absent(false);
    await_that(|| !rows(&mut session, "SELECT * FROM shelf").is_empty()).expect("it answers again");
    let message =
        fails(&mut session, "CREATE TEMPORARY TABLE odd (id BIGINT) WITH ('connector' = 'shelff'); SELECT * FROM odd");
    assert!(message.contains("did you mean 'shelf'"), "{message}");
}

#[test]
fn a_panic_fails_its_statement_and_nothing_else() {
    let house = house();
    let mut session = house.session();
    ok(&mut session, SHELF);
    ok(&mut session, "INSERT INTO kept SELECT * FROM tap");
    house.outside.break_once();
    let error = fails(&mut session, "SELECT * FROM shelf");
    assert!(error.contains("a defect of Gridhouse: the shelf has come down"), "{error}");
    assert_eq!(rows(&mut session, "SELECT * FROM shelf"), ["1|a", "2|b", "3|a"]);
    house.outside.commit(&[(4, Some("d"))]);
    await_that(|| rows(&mut session, "SELECT v FROM kept WHERE id = 4") == ["d"]).expect("the job goes on");
}

#[test]
fn an_outside_that_keeps_no_position_goes_on_where_it_was() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE kept (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         CREATE TEMPORARY TABLE told (v STRING, n BIGINT) WITH ('connector' = 'drain', 'forgets' = 'true');
         INSERT INTO told SELECT v, COUNT(*) FROM kept GROUP BY v",
    );
    let state = "SELECT state, error FROM system.status.jobs";
    let last = |house: &House| house.outside.sink("told").last().map(|row| row.split_once('=').unwrap().1.to_owned());
    for n in 1..=4_i64 {
        let mut session = house.session();
        ok(&mut session, &format!("INSERT INTO kept VALUES ({n}, 'a')"));
        await_that(|| last(&house) == Some(format!("+Ia|{n}"))).expect("it is told");
        // The row is outside before the sink has noted that.
        await_that(|| rows(&mut session, "SELECT rows_out > 0 FROM system.status.sinks") == ["TRUE"])
            .expect("it is noted");
        // What was told is not kept: each start finds less of it.
        house.restart();
        assert_eq!(rows(&mut house.session(), state), ["RUNNING|NULL"]);
    }
    let mut session = house.session();
    ok(&mut session, "INSERT INTO kept VALUES (5, 'b')");
    await_that(|| last(&house) == Some("+Ib|1".into())).expect("it is told");
    let told = house.outside.sink("told").iter().filter(|row| row.ends_with("+Ia|4")).count();
    assert_eq!(told, 1, "after a clean stop nothing is told again: {:?}", house.outside.sink("told"));
    // What came to be while it rested is told too, with all that stands.
    ok(&mut session, "STOP JOB 1; INSERT INTO kept VALUES (6, 'b'), (7, 'c'); START JOB 1");
    await_that(|| {
        ["+Ia|4", "+Ib|2", "+Ic|1"].iter().all(|row| house.outside.sink("told").iter().any(|told| told.ends_with(row)))
    })
    .expect("all of it is told");
    ok(&mut session, "INSERT INTO kept VALUES (8, 'c')");
    await_that(|| last(&house) == Some("+Ic|2".into())).expect("it goes on");
}
