//! What jobs hold is kept again and again, each time only what has changed: wherever it stops, they go on with all of it.

use gridhouse_base::clock::{Clock, SystemClock};

use crate::house::{House, await_rows, await_that, ok, rows};

const TABLES: &str = "
CREATE TABLE a (id BIGINT, g BIGINT, v STRING, x DOUBLE, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE b (g BIGINT, name STRING, PRIMARY KEY (g) NOT ENFORCED);
CREATE TABLE sums (g BIGINT, n BIGINT, s DOUBLE, least STRING, kinds BIGINT, PRIMARY KEY (g) NOT ENFORCED);
CREATE TABLE named (id BIGINT, v STRING, name STRING, PRIMARY KEY (id) NOT ENFORCED);
CREATE TABLE first (g BIGINT, id BIGINT, x DOUBLE, PRIMARY KEY (g, id) NOT ENFORCED);
CREATE TABLE other (id BIGINT, t STRING);
";
const QUERIES: [(&str, &str); 3] = [
    ("sums", "SELECT g, COUNT(*), SUM(x), MIN(v), COUNT(DISTINCT v) FROM a GROUP BY g"),
    ("named", "SELECT a.id, a.v, b.name FROM a LEFT JOIN b ON a.g = b.g"),
    (
        "first",
        "SELECT g, id, x FROM (SELECT g, id, x, ROW_NUMBER() OVER (PARTITION BY g ORDER BY x, id) AS r FROM a) WHERE r <= 3",
    ),
];
const BEGAN: &str = "SELECT began FROM system.status.jobs";

/// Every board is what its query gives.
fn check(house: &House) {
    let mut session = house.session();
    for (board, query) in QUERIES {
        let wanted = rows(&mut session, query);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        await_rows(&mut session, &format!("SELECT * FROM {board}"), &wanted);
    }
}

fn insert(house: &House, ids: std::ops::Range<i64>, salt: i64) {
    let row =
        |id: i64| format!("({id}, {}, 'value {} of many', {}.25)", id % 97, (id * 7 + salt) % 13, (id * salt) % 501);
    let rows: Vec<String> = ids.map(row).collect();
    ok(&mut house.session(), &format!("INSERT INTO a VALUES {}", rows.join(", ")));
}

/// Lets the log grow by something that no job reads until a checkpoint has been made; gives how many bytes of the state of each
/// job were written for it, and how many there are.
fn checkpoint(house: &House, salt: i64) -> Vec<(u64, u64)> {
    let mut session = house.session();
    let kept = "SELECT kept_ms, kept_written_bytes, kept_bytes FROM system.status.jobs";
    let newest = |session: &mut _| -> f64 {
        let ms = rows(session, kept).into_iter().map(|row| row.split('|').next().unwrap().parse().unwrap_or(f64::MAX));
        ms.fold(0.0, f64::max)
    };
    // Until there is a new one, the age of the last one grows with the time.
    let clock = SystemClock::new();
    let millis = || clock.monotonic().as_secs_f64() * 1e3;
    let (before, then) = (newest(&mut session), millis());
    await_that(|| millis() > then + 5.0).expect("time goes on");
    let text = "x".repeat(2_000);
    let values: Vec<String> = (0..40).map(|i| format!("({i}, '{salt} {text}')")).collect();
    ok(&mut session, &format!("INSERT INTO other VALUES {}", values.join(", ")));
    await_that(|| {
        let grown = before + millis() - then;
        newest(&mut session) < grown - 2.0
    })
    .expect("a checkpoint is made");
    let figures = |row: String| {
        let numbers: Vec<u64> = row.split('|').skip(1).map(|number| number.parse().expect("a number")).collect();
        (numbers[0], numbers[1])
    };
    rows(&mut session, kept).into_iter().map(figures).collect()
}

fn live(parts: Option<u32>) {
    let mut house = House::keeping_often(parts);
    ok(&mut house.session(), TABLES);
    for (board, query) in QUERIES {
        ok(&mut house.session(), &format!("INSERT INTO {board} {query}"));
    }
    let names: Vec<String> = (0..90).map(|g| format!("({g}, 'name {g}')")).collect();
    ok(&mut house.session(), &format!("INSERT INTO b VALUES {}", names.join(", ")));
    insert(&house, 0..3_000, 1);
    let mut restored = 0;
    for round in 0..6 {
        check(&house);
        checkpoint(&house, round);
        match round {
            0 => insert(&house, 3_000..3_400, 3),
            1 => insert(&house, 1_000..1_020, 5),
            2 => drop(ok(&mut house.session(), "DELETE FROM a WHERE id < 900; DELETE FROM b WHERE g = 5")),
            3 => drop(ok(&mut house.session(), "DELETE FROM a")),
            4 => insert(&house, 0..2_000, 7),
            _ => insert(&house, 0..2_000, 11),
        }
        check(&house);
        if round % 2 == 0 {
            // What is kept now is whole, and a crash loses what the log has after it.
            checkpoint(&house, round);
            insert(&house, 5_000..5_010, round);
            check(&house);
            house.crash();
        } else {
            house.restart();
        }
        // The copy that a crash leaves is not made in one go: another checkpoint may have removed a file meanwhile.
        let is_restored = rows(&mut house.session(), BEGAN) == ["restored from its kept state"; 3];
        assert!(is_restored || round % 2 == 0, "round {round}: {}", house.status());
        restored += i32::from(is_restored);
        check(&house);
    }
    assert!(restored > 3, "only {restored} times");
    // Files that are hardly needed are written out of use first.
    let is_all_named = |salt| checkpoint(&house, salt).iter().all(|(written, all)| *written == 0 && *all > 5_000);
    assert!((20..30).any(is_all_named), "nothing has changed: {}", house.status());
    // A merge of segments makes a checkpoint due as well, which may take the changes before it is looked at.
    let is_little_written = |salt| {
        insert(&house, 700..705, salt);
        check(&house);
        let (written, all) =
            checkpoint(&house, salt).iter().fold((0, 0), |sums, kept| (sums.0 + kept.0, sums.1 + kept.1));
        written > 0 && written < all / 4
    };
    assert!((30..40).any(is_little_written), "few keys have changed: {}", house.status());
    // A file that an earlier checkpoint wrote is gone: nothing counts, and everything is built again.
    house.stop();
    let states = std::fs::read_dir(house.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut states: Vec<_> = states.filter(|path| path.extension().is_some_and(|e| e == "ghj")).collect();
    states.sort();
    assert!(states.len() > 1, "{states:?}");
    std::fs::remove_file(&states[0]).unwrap();
    house.open();
    check(&house);
    assert!(rows(&mut house.session(), BEGAN).iter().all(|began| began.starts_with("rebuilt")));
}

#[test]
fn whatever_changes_between_checkpoints_a_restart_finds_the_state_of_the_last_one() {
    live(None);
}

#[test]
fn state_on_disk_is_kept_as_well() {
    live(Some(7));
}

#[test]
fn state_that_cannot_be_read_stops_no_checkpoint() {
    let mut house = House::keeping_often(Some(7));
    ok(&mut house.session(), TABLES);
    for (board, query) in QUERIES {
        ok(&mut house.session(), &format!("INSERT INTO {board} {query}"));
    }
    insert(&house, 0..3_000, 1);
    check(&house);
    checkpoint(&house, 0);
    // Every part of every state is in files that no checkpoint has seen yet, and these are lost.
    insert(&house, 0..97, 3);
    check(&house);
    for entry in std::fs::read_dir(house.dir.path().join("spill")).unwrap() {
        std::fs::write(entry.unwrap().path(), "").unwrap();
    }
    let newest = || {
        let names = std::fs::read_dir(house.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("checkpoint-")).max()
    };
    for round in 0..2 {
        let before = newest();
        let text = "x".repeat(2_000);
        let values: Vec<String> = (0..40).map(|i| format!("({i}, '{round} {text}')")).collect();
        ok(&mut house.session(), &format!("INSERT INTO other VALUES {}", values.join(", ")));
        await_that(|| newest() > before).expect("a checkpoint is made");
    }
    house.crash();
    let began = rows(&mut house.session(), BEGAN);
    assert!(began.iter().any(|began| began.contains("rebuilt: its state was not kept")), "{began:?}");
    check(&house);
}
