//! Runs the binary as a user would, and looks at it through psql.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use gridhouse_base::clock::{Clock, SystemClock};
use gridhouse_link::testing::{Cluster, SUPERUSER};

/// How long anything may take on a busy machine with a build that is hardly optimised.
const PATIENCE: Duration = Duration::from_secs(120);

/// One PostgreSQL for all tests; each makes databases of its own. Stopped when the process ends.
pub fn postgres() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    extern "C" fn stop() {
        if let Some(cluster) = CLUSTER.get() {
            cluster.down("immediate");
        }
    }
    CLUSTER.get_or_init(|| {
        // SAFETY: `stop` touches nothing but the cluster, which lives as long as the process.
        #[expect(unsafe_code, reason = "a static is never dropped, so the server is stopped at exit")]
        unsafe {
            libc::atexit(stop);
        }
        Cluster::start(&[])
    })
}

/// Makes a database of that name.
pub fn database(name: &str) {
    postgres().sql("postgres", &format!("CREATE DATABASE {name}"));
}

/// The options with which a script reaches the cluster.
pub fn address() -> String {
    let port = postgres().port();
    format!(
        "'hostname' = '127.0.0.1', 'port' = '{port}', 'username' = '{}', 'password' = '{}'",
        SUPERUSER.0, SUPERUSER.1
    )
}

/// A data directory and, while it runs, the process that holds it.
pub struct Program {
    pub dir: tempfile::TempDir,
    process: Option<Child>,
    /// Variables of the environment that its commands get.
    pub environment: Vec<(&'static str, std::ffi::OsString)>,
}

impl Program {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), process: None, environment: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The running process and its data directory, as others are told who writes a sink.
    pub fn owner(&self) -> (u32, PathBuf) {
        (self.process.as_ref().expect("it runs").id(), self.data_dir())
    }

    /// Writes a script into the directory.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the script can be written");
        path
    }

    /// A command of the program, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridhouse"));
        command.arg("--data-dir").arg(self.data_dir()).args(arguments).current_dir(self.dir.path()).env("LC_ALL", "C");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the program runs")
    }

    /// Starts `run -f script` and leaves it going; its output goes to `log`.
    pub fn start(&mut self, script: &Path) {
        self.start_all(&[script.to_owned()]);
    }

    /// Starts `run -f script -f script …` and leaves it going.
    pub fn start_all(&mut self, scripts: &[PathBuf]) {
        let mut command = self.command(&["run"]);
        for script in scripts {
            command.arg("-f").arg(script);
        }
        self.leave_going(command);
    }

    /// Starts `serve` and leaves it going.
    pub fn serve(&mut self) {
        let command = self.command(&["serve"]);
        self.leave_going(command);
    }

    fn leave_going(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("the log");
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("the log")).stdout(log);
        self.process = Some(command.spawn().expect("the program starts"));
    }

    /// As `kill -9` would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the program runs");
        process.kill().expect("the process can be killed");
        process.wait().expect("the process ends");
    }

    /// Asks it to stop, as Ctrl-C would, and gives its exit code.
    pub fn interrupt(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("the program runs");
        let status = Command::new("kill").args(["-INT", &process.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "the process takes signals");
        process.wait().expect("the process ends").code()
    }

    /// Rows of a query through the program's own socket, with psql: values between `|`, lines sorted. A program that is just
    /// starting is waited for, and one whose script has not made yet what is asked for.
    pub fn query(&self, sql: &str) -> Vec<String> {
        let clock = SystemClock::new();
        loop {
            let output = Command::new("psql")
                .arg("-h")
                .arg(self.data_dir())
                .args(["-U", "any", "-d", "gridhouse", "-X", "-q", "-A", "-t", "-c", sql])
                .output()
                .expect("psql runs");
            if output.status.success() {
                return sorted_lines(&text(&output.stdout));
            }
            let error = text(&output.stderr);
            let early = ["Connection refused", "No such file", "there is no database", "there is no table"];
            let starting = early.iter().any(|words| error.contains(words));
            assert!(starting && clock.monotonic() < PATIENCE, "{sql}: {error}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// The bytes in memory of the running program that belong to no file.
    pub fn memory_bytes(&self) -> u64 {
        let process = self.process.as_ref().expect("the program runs");
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the process lives");
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.strip_suffix("kB")?.trim().parse().ok());
        kilobytes.map(|kilobytes: u64| kilobytes * 1_024).expect("the kernel tells how much memory a process has")
    }

    /// Waits until the running program has said `words`.
    pub fn await_log(&mut self, words: &str) {
        let clock = SystemClock::new();
        while !self.log().contains(words) {
            let ended =
                self.process.as_mut().is_none_or(|process| process.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!ended && clock.monotonic() < PATIENCE, "`{words}` is not said:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until the program has ended by itself, and gives its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.process.take().expect("the program runs").wait().expect("the process ends").code()
    }

    /// What the running program has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Nothing can be done for a process that does not die.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Waits until `state` gives what `wanted` gives; both are asked again and again.
pub fn await_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    mut state: impl FnMut() -> T,
    mut wanted: impl FnMut() -> T,
) {
    let clock = SystemClock::new();
    loop {
        let (is, should) = (state(), wanted());
        if is == should {
            return;
        }
        assert!(clock.monotonic() < PATIENCE, "{what}: it is\n{is:?}\nand should be\n{should:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The lines of a text, sorted.
pub fn sorted_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Text of an output.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
