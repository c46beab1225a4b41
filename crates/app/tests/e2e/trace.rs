//! `gridhouse trace` and `gridhouse status` beside a running chain.

use gridhouse_link::testing::Cluster;

use crate::faults::{await_sink, await_sink_of, chain, prepared};
use crate::program::{Program, await_equal, postgres, text};

#[test]
fn the_way_of_a_change_is_told_step_by_step_and_how_far_everything_is_behind() {
    let program = &mut Program::new();
    let nobody = program.run(&["trace"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", text(&nobody.stderr));
    let (cluster, name) = (postgres(), "traced");
    prepared(cluster, name);
    let script = chain(program, name, cluster.port(), cluster.port());
    program.start(&script);
    await_sink(cluster, name);
    for id in 1..=5 {
        cluster.sql(name, &format!("UPDATE orders SET amount = amount + 1 WHERE id = {id}"));
        await_sink(cluster, name);
    }
    // The sink tells its step once it has its answer.
    let page = || text(&program.run(&["trace"]).stdout);
    await_equal("the trace", || page().contains("committed by sink"), || true);
    let page = page();
    assert!(page.starts_with("commit ") && page.contains(", changed at the source at "), "{page}");
    let mut rest = page.as_str();
    for step in
        ["received from the source", "logged", "tick begun", "job ", "tick published", "durable", "committed by sink"]
    {
        let at = rest.find(step).unwrap_or_else(|| panic!("`{step}` is not told, or not in its place:\n{page}"));
        let line = rest[at..].lines().next().unwrap_or_default();
        assert!(line.matches(" ms").count() == 4, "took, after, and what is usual: {line}");
        rest = &rest[at..];
    }
    let chinese =
        text(&program.command(&["trace"]).env("LC_ALL", "zh_CN.UTF-8").output().expect("the program runs").stdout);
    assert!(chinese.starts_with("提交 "), "{chinese}");

    // How far sources, slots and sinks are behind, in bytes and time, as the page of the status says it.
    let status = program.run(&["status"]);
    let shown = text(&status.stdout);
    assert_eq!(status.status.code(), Some(0), "{shown}");
    for words in ["behind", "kept", "for", "board", "copy", "/traced"] {
        assert!(shown.contains(words), "`{words}` is not in\n{shown}");
    }
    // A transaction that stays open holds WAL back, which the slot's line tells once the server is asked again.
    let kept = "SELECT CASE WHEN kept_bytes > 1000000 AND lag_bytes IS NOT NULL AND lag_ms IS NOT NULL THEN 'much' END \
                FROM system.status.sources";
    let hold = std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            cluster.try_sql(name, "BEGIN; INSERT INTO orders VALUES (7777, 'open', 1); SELECT pg_sleep(300)")
        });
        cluster.sql(name, "CREATE TABLE other AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)");
        await_equal("what the slot keeps", || program.query(kept).concat(), || "much".to_owned());
        cluster.sql(
            name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
        );
        held.join().expect("psql comes to an end")
    });
    assert!(hold.is_err(), "the transaction was ended");
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}

/// The value of a column in the row of a section that names `row`, as the page of the status shows it.
fn shown(page: &str, section: &str, row: &str, column: &str) -> String {
    let lines: Vec<&str> =
        page.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.is_empty()).collect();
    let cells = |line: &str| line.split('│').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let place = lines.first().and_then(|head| cells(head).iter().position(|title| title == column));
    let line = lines.iter().find(|line| line.contains(row));
    let (Some(place), Some(line)) = (place, line) else { panic!("no {column} of {row} among {section}:\n{page}") };
    cells(line)[place].clone()
}

/// `1.5 KiB` as bytes.
fn bytes(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap_or_else(|| panic!("`{text}` is no size"));
    let power = ["B", "KiB", "MiB", "GiB"].iter().position(|known| *known == unit).expect("a unit of bytes");
    number.parse::<f64>().expect("a number") * 1_024_f64.powi(power as i32)
}

/// `1.25 s` or `2 min 5 s` as milliseconds.
fn millis(text: &str) -> f64 {
    let parts: Vec<&str> = text.split(' ').collect();
    let of = |pair: &[&str]| {
        let factor = match pair[1] {
            "ms" => 1.0,
            "s" => 1_000.0,
            "min" => 60_000.0,
            unit => panic!("`{unit}` is no unit of time"),
        };
        pair[0].parse::<f64>().expect("a number") * factor
    };
    parts.chunks(2).map(of).sum()
}

#[test]
fn how_far_a_sink_that_is_down_falls_behind_grows_in_bytes_and_time_and_ends() {
    let program = &mut Program::new();
    let (source, name) = (postgres(), "sink_behind");
    prepared(source, name);
    let sink = Cluster::start(&[]);
    prepared(&sink, name);
    let script = chain(program, name, source.port(), sink.port());
    program.start(&script);
    await_sink_of(source, &sink, name);
    let lag = || {
        let page = text(&program.run(&["status"]).stdout);
        let of = |column: &str| shown(&page, "Sinks", "copy", column);
        (of("state"), bytes(&of("behind")), millis(&of("for")))
    };
    await_equal("the lag", lag, || ("RUNNING".to_owned(), 0.0, 0.0));

    sink.down("fast");
    let mut before = (0.0, 0.0);
    for round in 1..=3 {
        source.sql(name, &format!("UPDATE orders SET amount = amount + 1 WHERE id % 3 = {}", round % 3));
        let mut now = (0.0, 0.0);
        await_equal(
            "growth in bytes and time",
            || {
                let (state, bytes, millis) = lag();
                now = (bytes, millis);
                state == "WAITING" && bytes > before.0 && millis > before.1
            },
            || true,
        );
        before = now;
    }
    // A thousand changed rows, of which each takes more than its key alone, and not many times what it holds.
    assert!((4_000.0..1_000_000.0).contains(&before.0), "{before:?}");
    // The first error is what became of the open connection, then each try says what is the matter.
    let error = || shown(&text(&program.run(&["status"]).stdout), "Sinks", "copy", "error");
    await_equal("the error", || error().contains("does not answer"), || true);

    sink.up();
    await_sink_of(source, &sink, name);
    await_equal("the lag", lag, || ("RUNNING".to_owned(), 0.0, 0.0));
    assert_eq!(program.interrupt(), Some(0), "{}", program.log());
}
