//! An outside that is failed over to a standby without its last transactions gets them again: their log is kept for minutes.

use crate::house::{House, await_rows, await_that, ok};

#[test]
fn a_standby_that_lacks_the_last_transactions_gets_what_it_lacks() {
    let mut house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE a (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED);
         CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TEMPORARY TABLE pipe (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
         INSERT INTO a VALUES ('x', 1), ('y', 2), ('z', 3);
         INSERT INTO drain SELECT * FROM a;
         INSERT INTO pipe SELECT v, COUNT(*) FROM a GROUP BY v;",
    );
    let hold = |house: &House, drain: &[&str], pipe: &[&str]| {
        await_that(|| house.outside.sink("drain") == drain && house.outside.sink("pipe") == pipe)
            .unwrap_or_else(|()| panic!("{:?}\n{}", house.outside.standby(), house.status()));
    };
    hold(&house, &["x=x|1", "y=y|2", "z=z|3"], &["x=x|1", "y=y|1", "z=z|1"]);
    let standby = house.outside.standby();
    for n in 10..30 {
        ok(&mut session, &format!("UPDATE a SET n = {n} WHERE v = 'x'"));
    }
    ok(&mut session, "DELETE FROM a WHERE v = 'y'; INSERT INTO a VALUES ('w', 4)");
    let (drain, pipe) = (["w=w|4", "x=x|29", "z=z|3"], ["w=w|1", "x=x|1", "z=z|1"]);
    hold(&house, &drain, &pipe);
    let consumers = "SELECT DISTINCT state FROM system.status.consumers";
    await_rows(&mut session, consumers, &["CURRENT"]);
    // What no reader needs any more goes with the checkpoint that a stop makes.
    house.outside.set_absent(true);
    house.restart();
    house.outside.fail_over(standby);
    house.outside.set_absent(false);
    ok(&mut house.session(), "INSERT INTO a VALUES ('z', 5)");
    hold(&house, &["w=w|4", "x=x|29", "z=z|5"], &pipe);
    await_rows(&mut house.session(), "SELECT DISTINCT state FROM system.status.jobs", &["RUNNING"]);
}
