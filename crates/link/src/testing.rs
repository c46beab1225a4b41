//! A private PostgreSQL cluster for tests.
//!
//! Made with `initdb` in a temporary directory, on a free port, with `wal_level = logical` and password authentication;
//! stopped and removed on drop. PostgreSQL refuses to run as root: as root it runs as the user `postgres`. Binaries are
//! taken from the newest `/usr/lib/postgresql/*/bin`, else from `PATH`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The superuser's name and password.
pub const SUPERUSER: (&str, &str) = ("postgres", "postgres");

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    directory: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
}

impl Cluster {
    /// Makes and starts a cluster; `settings` are lines for `postgresql.conf`.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    pub fn start(settings: &[&str]) -> Self {
        let directory =
            tempfile::Builder::new().prefix("gridhouse-pg-").tempdir_in("/tmp").expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let cluster = Self { directory, binaries: binaries(), port };
        let root = cluster.directory.path();
        if as_root() {
            run(Command::new("chown").arg("postgres").arg(root));
        }
        let password_file = root.join("password");
        std::fs::write(&password_file, SUPERUSER.1).expect("the password file");
        if as_root() {
            run(Command::new("chown").arg("postgres").arg(&password_file));
        }
        let pwfile = format!("--pwfile={}", password_file.display());
        let data = cluster.data();
        run(cluster
            .tool("initdb")
            .args(["-U", SUPERUSER.0, "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C", &pwfile, "-D"])
            .arg(&data));
        let mut conf = vec![
            format!("port = {port}"),
            format!("unix_socket_directories = '{}'", root.display()),
            "listen_addresses = '127.0.0.1'".into(),
            "wal_level = logical".into(),
            "fsync = off".into(),
            "max_replication_slots = 40".into(),
            "max_wal_senders = 40".into(),
            "shared_buffers = 64MB".into(),
        ];
        conf.extend(settings.iter().map(|line| (*line).to_owned()));
        let path = data.join("postgresql.conf");
        let before = std::fs::read_to_string(&path).expect("initdb wrote postgresql.conf");
        std::fs::write(&path, before + "\n" + &conf.join("\n") + "\n").expect("postgresql.conf can be written");
        cluster.up();
        cluster
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server, after a `down`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn up(&self) {
        let log = self.directory.path().join("log");
        run(self.tool("pg_ctl").args(["start", "-w", "-D"]).arg(self.data()).arg("-l").arg(log));
    }

    /// Stops the server: `fast`, or `immediate` as a crash would.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn down(&self, mode: &str) {
        run(self.tool("pg_ctl").args(["stop", "-w", "-m", mode, "-D"]).arg(self.data()));
    }

    /// Runs SQL in `database` with psql, stopping at the first error; the rows, unaligned, values between `|`.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        let output = Command::new(self.binaries.join("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                SUPERUSER.0,
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database,
                "-c",
                sql,
            ])
            .env("PGPASSWORD", SUPERUSER.1)
            .output()
            .expect("psql runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql failed for {sql}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn tool(&self, name: &str) -> Command {
        let binary = self.binaries.join(name);
        let mut command = if as_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"]).arg(binary);
            command
        } else {
            Command::new(binary)
        };
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.tool("pg_ctl");
        let _ = stop
            .args(["stop", "-w", "-m", "immediate", "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn as_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map_or_else(PathBuf::new, |version| Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin"))
}

fn run(command: &mut Command) {
    // The server inherits what it is started with: it must not hold a pipe of ours open.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?} failed: {status:?}");
}
