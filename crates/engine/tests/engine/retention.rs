//! What expires, who is too slow, and what a check says.

use gridhouse_engine::ConsumerCap;

use crate::house::{House, await_rows, await_that, fails, ok, rows, run};

#[test]
fn rows_of_a_log_table_expire_and_what_was_made_of_them_stands() {
    let mut house = House::new();
    let mut session = house.session();
    let notices = run(
        &mut session,
        "CREATE TABLE readings (device INT, kw INT) WITH ('table.log.ttl' = '300 ms', 'bucket.num' = '2', 'bucket.key' = 'device');
        CREATE TABLE kept (device INT, kw INT) WITH ('table.log.ttl' = '-1');
        CREATE TABLE sums (device INT, kw INT, PRIMARY KEY (device) NOT ENFORCED) WITH ('table.log.ttl' = '1 d')",
    );
    assert!(notices[2].contains("is kept as long as a reader needs it"), "{notices:?}");
    ok(
        &mut session,
        "INSERT INTO sums SELECT device, SUM(kw) FROM readings GROUP BY device;
        INSERT INTO kept VALUES (1, 1);
        INSERT INTO readings VALUES (1, 10), (2, 20), (1, 1)",
    );
    await_rows(&mut session, "SELECT * FROM sums", &["1|11", "2|20"]);
    await_rows(&mut session, "SELECT COUNT(*) FROM readings", &["0"]);
    assert_eq!(rows(&mut session, "SELECT * FROM sums"), ["1|11", "2|20"], "expiry is no withdrawal");
    ok(&mut session, "INSERT INTO readings VALUES (1, 5)");
    await_rows(&mut session, "SELECT * FROM sums", &["1|16", "2|20"]);
    await_rows(&mut session, "SELECT COUNT(*) FROM readings", &["0"]);
    assert_eq!(rows(&mut session, "SELECT * FROM kept"), ["1|1"]);
    house.restart();
    let mut session = house.session();
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM readings"), ["0"]);
    assert_eq!(rows(&mut session, "SELECT * FROM kept"), ["1|1"]);
    let error = fails(&mut session, "CREATE TABLE x (a INT) WITH ('table.log.ttl' = 'for ever')");
    assert!(error.contains("'table.log.ttl' = 'for ever' is not a time to live") && error.contains("'7 d'"), "{error}");
    assert!(
        fails(&mut session, "CREATE TABLE x (a INT) WITH ('table.log.ttl' = '0 s')").contains("not a time to live")
    );
}

#[test]
fn a_job_that_stood_still_for_longer_than_its_input_lives_says_so() {
    let house = House::new();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TABLE readings (device INT, kw INT) WITH ('table.log.ttl' = '300 ms');
        CREATE TABLE high (device INT, kw INT);
        CREATE TABLE sums (device INT, kw INT, PRIMARY KEY (device) NOT ENFORCED);
        SET 'pipeline.name' = 'high';
        INSERT INTO high SELECT * FROM readings WHERE kw > 5;
        SET 'pipeline.name' = 'sums';
        INSERT INTO sums SELECT device, SUM(kw) FROM readings GROUP BY device;
        INSERT INTO readings VALUES (1, 10)",
    );
    let consumers =
        "SELECT consumer, state, cap_bytes, cap_ms FROM system.status.consumers WHERE table_name LIKE '%readings'";
    assert_eq!(rows(&mut session, consumers), ["1/high|CURRENT|NULL|300.0", "2/sums|CURRENT|NULL|300.0"]);
    await_rows(&mut session, "SELECT COUNT(*) FROM readings", &["0"]);

    // All that has expired was seen: nothing is missing where rows are only added.
    ok(&mut session, "STOP JOB high; START JOB high; STOP JOB high");
    ok(&mut session, "INSERT INTO readings VALUES (1, 20), (2, 30)");
    await_rows(&mut session, "SELECT COUNT(*) FROM readings", &["0"]);
    await_rows(&mut session, "SELECT consumer, state FROM system.status.consumers", &["1/high|LOST", "2/sums|CURRENT"]);
    let error = fails(&mut session, "START JOB high");
    assert!(error.contains("job high has read the log of") && error.contains("it would skip them"), "{error}");
    assert!(error.contains("SET 'job.gaps' = 'accept'"), "{error}");
    ok(&mut session, "SET 'job.gaps' = 'accept'; START JOB high; INSERT INTO readings VALUES (3, 40)");
    await_rows(&mut session, "SELECT * FROM high", &["1|10", "3|40"]);

    // What sums are made of is gone, so they cannot be made anew.
    ok(&mut session, "SET 'job.gaps' = 'refuse'; STOP JOB sums");
    await_rows(&mut session, "SELECT COUNT(*) FROM readings", &["0"]);
    let error = fails(&mut session, "START JOB sums");
    assert!(error.contains("would be withdrawn from") && error.contains("DROP JOB"), "{error}");
    assert_eq!(rows(&mut session, "SELECT * FROM sums"), ["1|30", "2|30", "3|40"], "the results stand");
    ok(&mut session, "SET 'job.gaps' = 'accept'; START JOB sums; INSERT INTO readings VALUES (3, 1)");
    await_rows(&mut session, "SELECT * FROM sums", &["3|1"]);
    assert!(fails(&mut session, "SET 'job.gaps' = 'ignore'").contains("refuse"));
}

const TO_DRAIN: &str = "
    CREATE TEMPORARY TABLE drain (v STRING, n BIGINT, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = 'drain');
    CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
    INSERT INTO drain SELECT v, COUNT(*) FROM t GROUP BY v";

#[test]
fn a_consumer_beyond_its_cap_is_lost_until_it_has_caught_up() {
    let mut house = House::new();
    house.cap = ConsumerCap { bytes: 2_000, ..ConsumerCap::default() };
    house.restart();
    let mut session = house.session();
    ok(&mut session, TO_DRAIN);
    ok(&mut session, "INSERT INTO t VALUES (1, 'a')");
    await_that(|| house.outside.sink("drain") == ["a=a|1"]).unwrap();
    let consumers = "SELECT consumer, state, lag_rows FROM system.status.consumers";
    await_rows(&mut session, consumers, &["1/0/drain|CURRENT|0"]);
    house.outside.set_absent(true);
    ok(&mut session, "INSERT INTO t VALUES (2, 'b')");
    await_rows(&mut session, consumers, &["1/0/drain|BEHIND|1"]);
    for i in 0..120 {
        ok(&mut session, &format!("INSERT INTO t VALUES ({}, 'v{i}')", i + 10));
    }
    await_rows(&mut session, "SELECT consumer, state FROM system.status.consumers", &["1/0/drain|LOST"]);
    // It is still lost to whoever opens the house next.
    house.restart();
    let mut session = house.session();
    let state = rows(&mut session, "SELECT state, cap_bytes FROM system.status.consumers");
    assert!(state == ["LOST|2000"] || state == ["CURRENT|2000"], "{state:?}");
    house.outside.set_absent(false);
    // Nothing of its log had to go yet, so it catches up after all.
    await_that(|| house.outside.sink("drain").len() == 122).unwrap_or_else(|()| panic!("{}", house.status()));
    await_rows(&mut session, "SELECT consumer, state FROM system.status.consumers", &["1/0/drain|CURRENT"]);
}

#[test]
fn a_sink_of_a_quiet_table_is_current_while_others_keep_the_store_busy() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TO_DRAIN);
    ok(&mut session, "CREATE TABLE busy (n BIGINT); INSERT INTO t VALUES (1, 'a')");
    await_that(|| house.outside.sink("drain") == ["a=a|1"]).unwrap();
    let consumers = "SELECT consumer, state, lag_rows FROM system.status.consumers";
    let has_told = |session: &mut gridhouse_engine::Session| rows(session, consumers) == ["1/0/drain|CURRENT|0"];
    await_that(|| has_told(&mut session)).unwrap();
    ok(&mut session, "INSERT INTO t VALUES (2, 'b')");
    let mut n = 0;
    await_that(|| {
        // Never a moment without something new.
        n += 1;
        ok(&mut session, &format!("INSERT INTO busy VALUES ({n})"));
        has_told(&mut session)
    })
    .unwrap_or_else(|()| panic!("{:?}", rows(&mut session, consumers)));
    assert_eq!(house.outside.sink("drain"), ["a=a|1", "b=b|1"]);
}

#[test]
fn a_sink_that_has_a_table_of_its_own_now_holds_back_no_other() {
    let mut house = House::new();
    house.cap = ConsumerCap { bytes: 2_000, ..ConsumerCap::default() };
    house.restart();
    let mut session = house.session();
    ok(
        &mut session,
        "CREATE TEMPORARY TABLE drain (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TEMPORARY TABLE pipe (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TEMPORARY TABLE hose (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TEMPORARY TABLE sieve (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'drain');
         CREATE TABLE t (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED);
         INSERT INTO drain SELECT * FROM t;
         INSERT INTO pipe SELECT id, UPPER(v) FROM t;
         INSERT INTO t VALUES (1, 'a')",
    );
    await_that(|| house.outside.sink("drain") == ["1=1|a"] && house.outside.sink("pipe") == ["1=1|A"]).unwrap();
    let consumers = "SELECT consumer, state FROM system.status.consumers";
    let on_t = "SELECT consumer FROM system.status.consumers WHERE table_name LIKE '%.t'";
    await_rows(&mut session, consumers, &["1/0/drain|CURRENT", "2/0/pipe|CURRENT"]);
    ok(&mut session, "REPLACE JOB 1 AS INSERT INTO drain SELECT id, LOWER(v) FROM t WHERE id < 1000");
    // The log is kept for whoever reads it, and for an outside until it is taken over.
    await_rows(&mut session, on_t, &["2/0/pipe"]);
    await_rows(&mut session, consumers, &["1/0/drain|CURRENT", "2/0/pipe|CURRENT"]);
    // Another that is beyond its cap before it is replaced is not lost for ever.
    house.outside.set_absent(true);
    for i in 0..120 {
        ok(&mut session, &format!("INSERT INTO t VALUES ({}, 'v{i}')", i + 1_000));
    }
    await_rows(&mut session, consumers, &["1/0/drain|CURRENT", "2/0/pipe|LOST"]);
    ok(&mut session, "REPLACE JOB 2 AS INSERT INTO pipe SELECT id, LOWER(v) FROM t WHERE id < 3");
    house.outside.set_absent(false);
    await_that(|| house.outside.sink("pipe") == ["1=1|a"]).unwrap();
    await_rows(&mut session, consumers, &["1/0/drain|CURRENT", "2/0/pipe|CURRENT"]);
    await_rows(&mut session, on_t, &[]);
    // One that gets another target is dropped without a trace.
    ok(&mut session, "INSERT INTO hose SELECT * FROM t");
    assert_eq!(rows(&mut session, on_t), ["3/0/hose"]);
    ok(&mut session, "REPLACE JOB 3 AS INSERT INTO sieve SELECT id, v FROM t WHERE id < 3");
    assert_eq!(rows(&mut session, on_t), Vec::<String>::new());
    await_that(|| house.outside.sink("sieve") == ["1=1|a"]).unwrap_or_else(|()| panic!("{}", house.status()));
    ok(&mut session, "DROP JOB 3");
    assert_eq!(rows(&mut session, consumers), ["1/0/drain|CURRENT", "2/0/pipe|CURRENT"]);
}

/// What two logs hold, into an outside without a key; it grows, and what is put out is kept only until it is written.
const JOINED: &str = "INSERT INTO drain SELECT * FROM l UNION ALL SELECT * FROM m";

/// That outside, with further options.
fn without_key(options: &str) -> String {
    format!("CREATE TEMPORARY TABLE drain (v STRING, n BIGINT) WITH ('connector' = 'drain'{options});")
}

/// A house whose sink `drain` has written a row and then fallen behind by more than its cap; with the options of the outside.
fn beyond_cap(options: &str) -> House {
    let mut house = House::new();
    house.cap = ConsumerCap { bytes: 2_000, ..ConsumerCap::default() };
    house.restart();
    let mut session = house.session();
    ok(&mut session, "CREATE TABLE l (v STRING, n BIGINT); CREATE TABLE m (v STRING, n BIGINT)");
    ok(&mut session, &format!("{} {JOINED}", without_key(options)));
    ok(&mut session, "INSERT INTO l VALUES ('a', 1)");
    await_that(|| house.outside.sink("drain") == ["000000=+Ia|1"]).unwrap_or_else(|()| panic!("{}", house.status()));
    await_rows(&mut session, "SELECT state, lag_rows FROM system.status.consumers", &["CURRENT|0"]);
    house.outside.set_absent(true);
    for i in 0..120 {
        ok(&mut session, &format!("INSERT INTO l VALUES ('v{i}', {i})"));
    }
    await_rows(&mut session, "SELECT state, lag_rows FROM system.status.consumers", &["LOST|0"]);
    house.outside.set_absent(false);
    await_that(|| rows(&mut session, "SELECT state FROM system.status.jobs") == ["FAILED"])
        .unwrap_or_else(|()| panic!("{}", house.status()));
    house
}

#[test]
fn a_sink_without_key_beyond_its_cap_is_written_anew_by_a_new_job() {
    let house = beyond_cap("");
    let mut session = house.session();
    let error = ok(&mut session, "SELECT error FROM system.status.jobs");
    assert!(error.contains("no longer goes back that far") && error.contains("a new job gives all"), "{error}");
    assert!(error.contains("type DROP JOB 1 here, empty the outside, then run the INSERT again here"), "{error}");
    assert!(!error.contains("START JOB"), "what it has put out is gone: {error}");
    ok(&mut session, &format!("DROP JOB 1; {} {JOINED}", without_key("")));
    // Nobody has emptied it here, so the first row is there twice.
    await_that(|| house.outside.sink("drain").len() == 122).unwrap_or_else(|()| panic!("{}", house.status()));
}

#[test]
fn a_lost_sink_that_forgets_does_not_go_on_behind_the_gap() {
    let house = beyond_cap(", 'forgets' = 'true'");
    let mut session = house.session();
    assert_eq!(rows(&mut session, "SELECT state FROM system.status.consumers"), ["LOST"], "also once it has failed");
    ok(&mut session, "START JOB 1; INSERT INTO l VALUES ('late', 1)");
    let state = "SELECT state, error FROM system.status.jobs";
    await_that(|| rows(&mut session, state)[0].starts_with("FAILED|"))
        .unwrap_or_else(|()| panic!("{}", house.status()));
    assert!(rows(&mut session, state)[0].contains("is no longer kept"), "{}", house.status());
    assert_eq!(house.outside.sink("drain"), ["000000=+Ia|1"], "rows without those before them would be a lie");
}

#[test]
fn tables_are_checked_while_they_are_in_use() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TO_DRAIN);
    ok(&mut session, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'a'); DELETE FROM t WHERE id = 2");
    let check = rows(&mut session, "CHECK TABLE t");
    let (log, table): (Vec<&String>, Vec<&String>) = check.iter().partition(|row| row.starts_with("(log)|NULL|log|"));
    assert_eq!((log.len(), table.len()), (1, 3), "{check:?}");
    assert!(table.iter().all(|row| row.starts_with("default_catalog.default_database.t|")), "{check:?}");
    assert!(check.iter().all(|row| row.ends_with("|ok")), "{check:?}");
    let all = rows(&mut session, "CHECK TABLES");
    assert!(all.len() > 6 && all.iter().all(|row| row.ends_with("|ok")), "{all:?}");
    assert!(fails(&mut session, "CHECK TABLE nowhere").contains("nowhere"));
    assert!(fails(&mut session, "CHECK TABLE drain").contains("has no rows here"));
    assert!(fails(&mut session, "CHECK t").contains("TABLE"));
    let storage = rows(
        &mut session,
        "SELECT live_rows, dead_rows, segments FROM system.status.storage WHERE table_name LIKE '%.t'",
    );
    assert_eq!(storage.len(), 1);
    assert!(storage[0].starts_with("2|"), "{storage:?}");
    let disk = "SELECT log_bytes > 0, sealed_bytes > 0, write_amplification > 1.0, disk_bytes > live_bytes FROM system.status.disk";
    assert_eq!(rows(&mut session, disk), ["TRUE|FALSE|FALSE|FALSE"], "nothing is sealed yet");
    // A clean stop seals everything.
    let mut house = house;
    house.restart();
    let mut session = house.session();
    let sealed =
        "SELECT disk_bytes > live_bytes AND live_bytes > 0, space_amplification > 1.0 FROM system.status.storage
        WHERE table_name LIKE '%.t'";
    assert_eq!(rows(&mut session, sealed), ["TRUE|TRUE"]);
    let check = rows(&mut session, "CHECK TABLES");
    assert!(check.iter().all(|row| row.ends_with("|ok")), "{check:?}");
}

/// Rows that live for an hour, for three days, and so shortly that their going tells that the house was looked through.
const LOGS: &str = "
    CREATE TABLE hours (n BIGINT) WITH ('table.log.ttl' = '1 h');
    CREATE TABLE days (n BIGINT) WITH ('table.log.ttl' = '3 d');
    CREATE TABLE moments (n BIGINT) WITH ('table.log.ttl' = '300 ms')";

/// Adds a row to each log and waits until the one that lives shortly is gone.
fn look_through(session: &mut gridhouse_engine::Session, n: u32) {
    ok(
        session,
        &format!("INSERT INTO hours VALUES ({n}); INSERT INTO days VALUES ({n}); INSERT INTO moments VALUES ({n})"),
    );
    await_rows(session, "SELECT COUNT(*) FROM moments", &["0"]);
}

const DAY: i64 = 86_400;

#[test]
fn a_clock_that_jumps_ahead_expires_nothing_and_cuts_nobody_off() {
    let house = House::new();
    let mut session = house.session();
    ok(&mut session, TO_DRAIN);
    ok(&mut session, LOGS);
    ok(&mut session, "INSERT INTO t VALUES (1, 'a')");
    await_that(|| house.outside.sink("drain") == ["a=a|1"]).unwrap();
    house.outside.set_absent(true);
    ok(&mut session, "INSERT INTO t VALUES (2, 'b')");
    look_through(&mut session, 1);
    let consumers =
        "SELECT state, lag_ms > 0, lag_ms < 3600000 FROM system.status.consumers WHERE consumer = '1/0/drain'";
    await_rows(&mut session, consumers, &["BEHIND|TRUE|TRUE"]);
    // A year ahead, a year back, ahead again: an hour has not passed, and what lives for less than a second still goes.
    for (n, seconds) in [(2, 365 * DAY), (3, -365 * DAY), (4, 365 * DAY), (5, 0)] {
        house.set_clock(seconds);
        look_through(&mut session, n);
        for log in ["hours", "days"] {
            let count = rows(&mut session, &format!("SELECT COUNT(*) FROM {log}"));
            assert_eq!(count, [n.to_string()], "of {log} with the clock {seconds} s off");
        }
        assert_eq!(rows(&mut session, consumers), ["BEHIND|TRUE|TRUE"], "with the clock {seconds} s off");
    }
    house.outside.set_absent(false);
    await_that(|| house.outside.sink("drain").len() == 2).unwrap_or_else(|()| panic!("{}", house.status()));
}

#[test]
fn from_one_process_to_the_next_a_day_may_have_passed_and_no_more() {
    let mut house = House::new();
    ok(&mut house.session(), LOGS);
    look_through(&mut house.session(), 1);
    // A clock that is ahead by a year at a start is believed for a day, one that is back for nothing.
    let kept = |house: &House, log: &str| rows(&mut house.session(), &format!("SELECT n FROM {log} ORDER BY n"));
    house.stop();
    house.set_clock(365 * DAY);
    house.open();
    look_through(&mut house.session(), 2);
    assert_eq!(kept(&house, "hours"), ["2"], "more than an hour may have passed");
    assert_eq!(kept(&house, "days"), ["1", "2"], "three days may not");
    house.stop();
    house.set_clock(0);
    house.open();
    look_through(&mut house.session(), 3);
    assert_eq!((kept(&house, "hours").len(), kept(&house, "days").len()), (2, 3));
    // Twice a day and more: now the first have been there for three days.
    for n in [4, 5] {
        house.set_clock((i64::from(n) - 3) * 2 * DAY);
        house.crash();
        look_through(&mut house.session(), n);
    }
    assert_eq!(kept(&house, "hours"), ["5"]);
    assert_eq!(kept(&house, "days"), ["2", "3", "4", "5"]);
}

#[test]
fn what_has_passed_while_nothing_was_committed_counts_over_a_restart() {
    let mut house = House::new();
    ok(&mut house.session(), LOGS);
    look_through(&mut house.session(), 1);
    house.let_pass(2 * DAY as u64);
    house.restart();
    look_through(&mut house.session(), 2);
    house.let_pass(DAY as u64 + 3_600);
    look_through(&mut house.session(), 3);
    await_rows(&mut house.session(), "SELECT n FROM days", &["2", "3"]);
}
