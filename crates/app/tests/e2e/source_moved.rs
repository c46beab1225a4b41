//! A source that is to be reached otherwise from now on: the script, run again beside the process that runs, tells it how.

use crate::faults::{await_sink, chain, prepared};
use crate::program::{Program, await_equal, postgres, text};

#[test]
fn a_new_password_and_a_new_address_in_the_script_are_taken_up_by_the_stream_that_runs() {
    let program = &mut Program::new();
    let (cluster, name) = (postgres(), "moved");
    prepared(cluster, name);
    cluster.sql(name, "CREATE ROLE moved SUPERUSER LOGIN PASSWORD 'old'");
    let script = chain(program, name, cluster.port(), cluster.port());
    let chain = std::fs::read_to_string(&script).expect("the script is there");
    let told = |program: &Program, host: &str, password: &str| {
        let source = format!(
            "'hostname' = '127.0.0.1', 'port' = '{}', 'username' = 'postgres', 'password' = 'postgres'",
            cluster.port()
        );
        assert!(chain.contains(&source), "{chain}");
        let moved = format!(
            "'hostname' = '{host}', 'port' = '{}', 'username' = 'moved', 'password' = '{password}'",
            cluster.port()
        );
        program.script("moved.sql", &chain.replace(&source, &moved))
    };
    let again = |program: &Program, script: &std::path::Path| {
        let run = program.run(&["run", "--detach", "-f", &script.display().to_string()]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert!(text(&run.stdout).contains("goes on"), "the jobs are the same: {}", text(&run.stdout));
    };
    let old = told(program, "127.0.0.1", "old");
    program.start(&old);
    await_sink(cluster, name);

    cluster.sql(
        name,
        "ALTER ROLE moved PASSWORD 'new'; UPDATE orders SET amount = amount + 1 WHERE id < 10; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'moved'",
    );
    let state = |program: &Program| program.query("SELECT state FROM system.status.sources");
    await_equal("the state", || state(program), || vec!["WAITING".to_owned()]);
    again(program, &told(program, "127.0.0.1", "new"));
    await_sink(cluster, name);
    await_equal("the state", || state(program), || vec!["RUNNING".to_owned()]);

    again(program, &told(program, "localhost", "new"));
    let keeper = || program.query("SELECT keeper FROM system.status.sources").concat();
    let place = format!("localhost:{}", cluster.port());
    await_equal("the address", || keeper().contains(&place), || true);
    cluster.sql(name, "UPDATE orders SET amount = amount + 1 WHERE id > 990");
    await_sink(cluster, name);
    // At rest nothing is behind, for no time.
    let even = "SELECT DISTINCT lag_ms FROM system.status.sources WHERE lag_bytes = 0";
    await_equal("the lag", || program.query(even), || vec!["0".to_owned()]);
    program.interrupt();
}
