//! `gridhouse trace` and `gridhouse status` beside a running chain.

use crate::faults::{await_sink, chain, prepared};
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
