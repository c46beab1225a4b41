//! Two processes on one data directory: the second talks to the first, or is refused with the reason.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};

use gridhouse_base::fs::{DiskFileSystem, FileSystem};

use crate::program::{Program, await_equal, text};

/// A process that holds the directory, or tries to; it ends with the test.
struct Serving(Option<Child>);

impl Serving {
    fn start(program: &Program) -> Self {
        let mut command = program.command(&["serve"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().expect("the program starts")))
    }

    fn id(&self) -> u32 {
        self.0.as_ref().expect("it was started").id()
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_some_and(|process| process.try_wait().is_ok_and(|status| status.is_some()))
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "the process takes signals");
    }

    /// What it said until it ended.
    fn output(mut self) -> Output {
        self.0.take().expect("it was started").wait_with_output().expect("the process ends")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            // Nothing can be done for a process that does not die.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[test]
fn of_two_processes_that_start_at_once_one_holds_the_directory_and_the_other_names_it() {
    let program = &Program::new();
    let mut two = [Serving::start(program), Serving::start(program)];
    // One of them ends by itself; which is not determined.
    let mut ended = None;
    await_equal(
        "the end of one",
        || {
            ended = (0..2).find(|&i| two[i].has_ended());
            ended.is_some()
        },
        || true,
    );
    let [first, second] = two;
    let (loser, holder) = if ended == Some(0) { (first, second) } else { (second, first) };
    let output = loser.output();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    let dir = program.data_dir().display().to_string();
    let holds = format!("process {} holds {dir} already", holder.id());
    assert!(said.contains(&holds), "{said}");
    assert!(said.contains(&format!("`gridhouse --data-dir {dir} stop` stops it")), "{said}");

    // What others ask for, it does.
    assert_eq!(program.query("CREATE TABLE t (a INT); SELECT COUNT(*) FROM t"), ["0"]);
    let asked = program.run(&["sql", "-e", "SELECT COUNT(*) FROM t"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));

    // One that hangs is told, and goes on where it was.
    holder.signal("-STOP");
    let hung = program.run(&["serve"]);
    let said = text(&hung.stderr);
    assert_eq!(hung.status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("the process that holds {dir} does not answer")), "{said}");
    holder.signal("-CONT");
    assert_eq!(program.query("SELECT COUNT(*) FROM t"), ["0"]);

    // The remedy of the message, as it is printed.
    let stop = program.command(&["stop"]).output().expect("the program runs");
    assert!(stop.status.success(), "{}", text(&stop.stderr));
    assert!(holder.output().status.success(), "it stopped as it was asked to");
}

#[test]
fn a_directory_that_is_locked_by_a_process_without_a_socket_is_refused() {
    let program = &Program::new();
    std::fs::create_dir_all(program.data_dir()).expect("the directory can be made");
    let lock = program.data_dir().join("LOCK");
    File::create(&lock).expect("the lock's file can be made");
    let held = DiskFileSystem.lock(&lock).expect("nobody has the lock");
    let refused = program.run(&["serve"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    let dir = program.data_dir().display().to_string();
    assert!(said.contains(&format!("data directory {dir} is in use by another process")), "{said}");
    assert!(said.contains("stop the other gridhouse, or give this one a directory of its own"), "{said}");
    drop(held);
    let process = Serving::start(program);
    assert_eq!(program.query("SELECT 1"), ["1"]);
    process.signal("-TERM");
    assert!(process.output().status.success(), "it stopped as it was asked to");
}

#[test]
fn a_command_right_after_a_kill_waits_until_the_killed_process_is_gone() {
    let program = &Program::new();
    std::fs::create_dir_all(program.data_dir()).expect("the directory can be made");
    let lock = program.data_dir().join("LOCK");
    File::create(&lock).expect("the lock's file can be made");
    for arguments in [["run", "-e", "SELECT 41 + 1"].as_slice(), &["run", "--detach", "-e", "SELECT 41 + 1"]] {
        // The kernel takes a killed process down bit by bit: its socket still accepts, then breaks off; its lock goes last.
        let socket = program.data_dir().join(".s.PGSQL.5432");
        let _ = std::fs::remove_file(&socket);
        let held = DiskFileSystem.lock(&lock).expect("nobody has the lock");
        let listener = UnixListener::bind(&socket).expect("the socket can be made");
        let dying = std::thread::spawn(move || {
            drop(listener.accept().expect("the program connects"));
            drop(listener);
            drop(held);
        });
        let run = program.run(arguments);
        dying.join().expect("it died");
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert!(text(&run.stdout).contains("42"), "{}", text(&run.stdout));
    }
    let stop = program.run(&["stop"]);
    assert!(stop.status.success(), "{}", text(&stop.stderr));
}

#[test]
fn a_process_in_the_background_that_does_not_start_tells_why_and_not_what_was_wrong_before() {
    let program = &Program::new();
    std::fs::create_dir_all(program.data_dir()).expect("the directory can be made");
    std::fs::write(program.data_dir().join("gridhouse.log"), "ERROR an old one; type TRUNCATE it\n").expect("a log");
    // Nobody can listen where a directory is.
    std::fs::create_dir(program.data_dir().join(".s.PGSQL.5432.new")).expect("the directory can be made");
    let refused = program.run(&["run", "--detach", "-e", "SELECT 1"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("the process in the background did not start:") && said.contains(".s.PGSQL.5432"), "{said}");
    assert!(!said.contains("TRUNCATE"), "{said}");
}
