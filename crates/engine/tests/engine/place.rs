//! What a stream has at its outside: under which name, while nobody reads it, and how it is given up.

use gridhouse_flow::connector::SourceEvent;

use crate::house::{House, await_rows, await_that, encode, ok, rows};

/// Two tables of one stream that name its place differently, each of them landing for a job.
const TWO_TABLES: &str = "
CREATE TABLE one (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap', 'slot' = 'first');
CREATE TABLE two (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
  WITH ('connector' = 'tap', 'slot' = 'second', 'shift' = '0');
CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
INSERT INTO a SELECT * FROM one;
INSERT INTO b SELECT * FROM two;
";

const STATES: &str = "SELECT state, error FROM system.status.sources";

#[test]
fn a_stream_keeps_the_place_that_it_was_made_with() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    ok(&mut house.session(), TWO_TABLES);
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x"]);
    assert_eq!(house.outside.slot(), "first");
    ok(&mut house.session(), "STOP JOB 1;");
    house.restart();
    await_that(|| house.outside.starts() == 2).expect("it starts again");
    assert_eq!(house.outside.slot(), "first", "a table that rests names the stream all the same");
    ok(&mut house.session(), "DROP JOB 1;");
    house.crash();
    await_that(|| house.outside.starts() == 3).expect("it starts again");
    assert_eq!(house.outside.slot(), "first", "and one that is gone too");
    house.outside.commit(&[(2, Some("y"))]);
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x", "2|y"]);
    ok(&mut house.session(), "DROP JOB 2;");
    await_that(|| house.outside.forgotten() == 1).expect("the source is told");
    assert_eq!(house.outside.forgotten_slots(), ["first"]);
}

#[test]
fn a_stream_goes_on_while_all_that_read_it_rest() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    ok(&mut house.session(), TWO_TABLES);
    await_rows(&mut house.session(), "SELECT * FROM a", &["1|x"]);
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x"]);
    ok(&mut house.session(), "STOP JOB 1; STOP JOB 2;");
    house.restart();
    await_that(|| house.outside.starts() == 2).expect("it starts again");
    house.outside.commit(&[(2, Some("y"))]);
    await_that(|| house.outside.acknowledged() == 2).expect("the outside may forget what nobody reads");
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    ok(&mut house.session(), "START JOB 2;");
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x", "2|y"]);
    assert_eq!(rows(&mut house.session(), "SELECT * FROM a"), ["1|x"]);
}

#[test]
fn a_stream_that_is_dropped_is_on_record_until_its_outside_has_forgotten_it() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    ok(&mut house.session(), TWO_TABLES);
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x"]);
    house.outside.set_absent(true);
    ok(&mut house.session(), "DROP JOB 1; DROP JOB 2;");
    let refused = ["LEAVING|the tap does not answer; it is tried again; or turn it off by hand"];
    await_rows(&mut house.session(), STATES, &refused);
    // A process that is killed has not forgotten to.
    house.crash();
    await_rows(&mut house.session(), STATES, &refused);
    house.restart();
    await_rows(&mut house.session(), STATES, &refused);
    house.outside.set_absent(false);
    await_that(|| house.outside.forgotten() == 1).expect("it is asked again");
    await_rows(&mut house.session(), STATES, &[]);
    assert_eq!(house.outside.forgotten_slots(), ["first"]);
    house.crash();
    assert_eq!(rows(&mut house.session(), STATES), Vec::<String>::new());
    assert_eq!(house.outside.forgotten(), 1);
}

#[test]
fn a_process_that_stops_at_once_has_its_outside_forget() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    ok(&mut house.session(), TWO_TABLES);
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x"]);
    ok(&mut house.session(), "DROP JOB 1; DROP JOB 2;");
    house.restart();
    assert!(house.outside.forgotten() >= 1, "it was asked before the process ended");
    assert_eq!(rows(&mut house.session(), STATES), Vec::<String>::new());
}

#[test]
fn a_stream_that_is_made_anew_takes_over_what_could_not_be_forgotten() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    let mut session = house.session();
    ok(&mut session, TWO_TABLES);
    await_rows(&mut session, "SELECT * FROM b", &["1|x"]);
    house.outside.set_absent(true);
    ok(&mut session, "DROP JOB 1; DROP JOB 2;");
    await_that(|| rows(&mut house.session(), STATES).iter().any(|row| row.contains("does not answer"))).expect("asked");
    ok(&mut session, "INSERT INTO a SELECT * FROM one;");
    await_rows(&mut session, STATES, &["RUNNING|NULL"]);
    house.outside.commit(&[(2, Some("y"))]);
    await_rows(&mut session, "SELECT * FROM a", &["1|x", "2|y"]);
    house.outside.set_absent(false);
    house.crash();
    house.outside.commit(&[(3, Some("z"))]);
    await_rows(&mut house.session(), "SELECT * FROM a", &["1|x", "2|y", "3|z"]);
    assert_eq!(house.outside.forgotten(), 0, "nothing is taken away under it");
    // Under another name it is another place.
    ok(&mut house.session(), "DROP JOB 3; INSERT INTO b SELECT * FROM two;");
    await_that(|| house.outside.forgotten_slots() == ["first"]).expect("the source is told");
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    assert_eq!(house.outside.slot(), "second");
}

/// What a stream waits for may be another's: it is neither taken away, nor asked for.
#[test]
fn a_stream_that_never_had_its_place_leaves_without_a_question() {
    let mut house = House::new();
    house.outside.deliver_by_hand();
    ok(&mut house.session(), TWO_TABLES);
    house.restart();
    await_that(|| house.outside.starts() == 2).expect("it starts again");
    ok(&mut house.session(), "DROP JOB 1; DROP JOB 2;");
    assert_eq!(rows(&mut house.session(), STATES), Vec::<String>::new());
    house.restart();
    assert_eq!((house.outside.starts(), house.outside.asked_to_forget("first")), (2, 0));
}

#[test]
fn what_a_stream_was_about_to_make_is_taken_away_with_it() {
    let mut house = House::new();
    house.outside.deliver_by_hand();
    ok(&mut house.session(), TWO_TABLES);
    house.outside.send_one(SourceEvent::Placed);
    house.outside.send_one(SourceEvent::Connected);
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    ok(&mut house.session(), "CREATE TABLE marker (v STRING);");
    house.crash();
    await_that(|| house.outside.starts() == 2).expect("it starts again");
    ok(&mut house.session(), "DROP JOB 1; DROP JOB 2;");
    await_that(|| house.outside.forgotten_slots() == ["first"]).expect("the source is told");
}

#[test]
fn a_stream_without_a_place_takes_up_what_is_named_last() {
    let named = |slot: &str| {
        format!(
            "CREATE TEMPORARY TABLE one (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
               WITH ('connector' = 'tap', 'slot' = '{slot}');
             CREATE TABLE IF NOT EXISTS a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
             INSERT INTO a SELECT * FROM one;"
        )
    };
    let mut house = House::new();
    house.outside.deliver_by_hand();
    ok(&mut house.session(), &named("first"));
    assert_eq!(house.outside.slot(), "first");
    ok(&mut house.session(), &named("second"));
    await_that(|| house.outside.slot() == "second").expect("it starts by another name");
    house.crash();
    await_that(|| house.outside.starts() == 3).expect("it starts again");
    assert_eq!(house.outside.slot(), "second", "by what was named last");
    // From now on it has something there.
    house.outside.send(|table| SourceEvent::SnapshotDone { table, position: encode(1) });
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    ok(&mut house.session(), &named("third"));
    await_that(|| house.outside.starts() == 4).expect("it starts again");
    assert_eq!(house.outside.slot(), "second");
    ok(&mut house.session(), "DROP JOB 1;");
    await_that(|| house.outside.forgotten_slots() == ["second"]).expect("the source is told");
    assert_eq!(house.outside.asked_to_forget("first"), 0);
}

/// Two streams that call the same place differently: by its default, and by name.
const TWO_STREAMS: &str = "
CREATE TABLE one (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap');
CREATE TABLE two (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED)
  WITH ('connector' = 'tap', 'slot' = 'tap', 'stream' = 'tap/tap');
CREATE TABLE a (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE b (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
INSERT INTO a SELECT * FROM one;
";

#[test]
fn a_place_that_is_called_otherwise_is_the_same_place() {
    let mut house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    ok(&mut house.session(), TWO_STREAMS);
    await_rows(&mut house.session(), "SELECT * FROM a", &["1|x"]);
    house.outside.set_absent(true);
    ok(&mut house.session(), "DROP JOB 1;");
    await_that(|| rows(&mut house.session(), STATES).concat().contains("does not answer")).expect("asked");
    ok(&mut house.session(), "INSERT INTO b SELECT * FROM two;");
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    house.outside.set_absent(false);
    house.crash();
    house.outside.commit(&[(2, Some("y"))]);
    await_rows(&mut house.session(), "SELECT * FROM b", &["1|x", "2|y"]);
    assert_eq!(house.outside.forgotten(), 0, "nothing is taken away under it");
    // What it has taken over goes with it.
    ok(&mut house.session(), "DROP JOB 2;");
    await_that(|| house.outside.forgotten() == 1).expect("the source is told");
}

#[test]
fn who_has_waited_beside_a_stream_that_leaves_takes_over_what_it_had() {
    let mut house = House::new();
    house.outside.deliver_by_hand();
    ok(&mut house.session(), TWO_STREAMS);
    house.outside.send(|table| SourceEvent::SnapshotDone { table, position: encode(1) });
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    ok(&mut house.session(), "INSERT INTO b SELECT * FROM two;");
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL", "STARTING|NULL"]);
    ok(&mut house.session(), "DROP JOB 1;");
    await_rows(&mut house.session(), STATES, &["STARTING|NULL"]);
    assert_eq!(house.outside.asked_to_forget("tap"), 0);
    house.crash();
    assert_eq!(rows(&mut house.session(), STATES), ["STARTING|NULL"]);
    ok(&mut house.session(), "DROP JOB 2;");
    await_that(|| house.outside.forgotten() == 1).expect("the source is told");
}

#[test]
fn a_source_that_refuses_to_be_asked_is_asked_seldom_and_by_another_password() {
    let house = House::new();
    house.outside.commit(&[(1, Some("x"))]);
    let table = |name: &str, options: &str| {
        format!(
            "CREATE TEMPORARY TABLE {name} (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'tap', {options});
             CREATE TABLE IF NOT EXISTS of_{name} (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
             INSERT INTO of_{name} SELECT * FROM {name};"
        )
    };
    ok(&mut house.session(), &table("kept", "'slot' = 'kept', 'password' = 'old'"));
    ok(&mut house.session(), &table("away", "'slot' = 'away', 'stream' = 'other'"));
    await_rows(&mut house.session(), "SELECT * FROM of_kept", &["1|x"]);
    await_rows(&mut house.session(), "SELECT * FROM of_away", &["1|x"]);
    house.outside.set_needed_password("new");
    house.outside.set_absent(true);
    ok(&mut house.session(), "DROP JOB 1; DROP JOB 2;");
    let refused = "LEAVING|the tap refuses the password; run the script with another";
    let absent = "LEAVING|the tap does not answer; it is tried again; or turn it off by hand";
    await_rows(&mut house.session(), STATES, &[absent, refused]);
    // Who does not answer is asked for longer and longer, but at least each minute.
    for _ in 0..10 {
        let asked = house.outside.asked_to_forget("away");
        house.let_pass(61);
        await_that(|| house.outside.asked_to_forget("away") > asked).expect("it is asked again");
    }
    assert_eq!(house.outside.asked_to_forget("kept"), 1);
    house.let_pass(3600);
    await_that(|| house.outside.asked_to_forget("kept") == 2).expect("it is asked again");
    // The remedy of the message.
    house.outside.set_absent(false);
    house.let_pass(61);
    await_rows(&mut house.session(), STATES, &[refused]);
    ok(&mut house.session(), &table("kept", "'slot' = 'kept', 'password' = 'new'"));
    await_rows(&mut house.session(), STATES, &["RUNNING|NULL"]);
    ok(&mut house.session(), "DROP JOB 3;");
    await_that(|| house.outside.forgotten_slots() == ["away", "kept"]).expect("the source is told");
    await_rows(&mut house.session(), STATES, &[]);
}
