//! Private PostgreSQL clusters for tests, a network between them and us that can fail, and the decoders of PostgreSQL's bytes
//! without any of these.
//!
//! Made with `initdb` in a temporary directory, on a free port, with `wal_level = logical` and password authentication;
//! stopped and removed on drop, or by the next tests where nothing was dropped. PostgreSQL refuses to run as root: as root it
//! runs as the user `postgres`. Binaries are taken from the newest `/usr/lib/postgresql/*/bin`, else from `PATH`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

pub use crate::postgres::offline::{StreamDecoder, read_copy, read_options, read_server, read_value};

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
        let directory = directory();
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
            "max_replication_slots = 100".into(),
            "max_wal_senders = 100".into(),
            "shared_buffers = 64MB".into(),
        ];
        conf.extend(settings.iter().map(|line| (*line).to_owned()));
        let path = data.join("postgresql.conf");
        let before = std::fs::read_to_string(&path).expect("initdb wrote postgresql.conf");
        std::fs::write(&path, before + "\n" + &conf.join("\n") + "\n").expect("postgresql.conf can be written");
        cluster.up();
        cluster
    }

    /// A standby of this cluster, which runs until it is promoted or dropped.
    ///
    /// # Panics
    /// If it does not start.
    pub fn standby(&self) -> Self {
        let directory = directory();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let standby = Self { directory, binaries: self.binaries.clone(), port };
        let root = standby.directory.path();
        if as_root() {
            run(Command::new("chown").arg("postgres").arg(root));
        }
        let from = format!("host=127.0.0.1 port={} user={} password={}", self.port, SUPERUSER.0, SUPERUSER.1);
        run(standby
            .tool("pg_basebackup")
            .args(["-R", "-X", "stream", "-c", "fast", "-d", &from, "-D"])
            .arg(standby.data()));
        let path = standby.data().join("postgresql.conf");
        let before = std::fs::read_to_string(&path).expect("postgresql.conf was copied");
        let own = format!("\nport = {port}\nunix_socket_directories = '{}'\n", root.display());
        std::fs::write(&path, before + &own).expect("postgresql.conf can be written");
        standby.up();
        standby
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// If it cannot be promoted.
    pub fn promote(&self) {
        run(self.tool("pg_ctl").args(["promote", "-w", "-D"]).arg(self.data()));
    }

    /// A reader of a slot that confirms nothing, until it is dropped or its connection ends.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn read_slot(&self, database: &str, slot: &str, publication: &str) -> SlotReader {
        let port = self.port;
        let to = format!("host=127.0.0.1 port={port} user={} password={} dbname={database}", SUPERUSER.0, SUPERUSER.1);
        let mut reader = self.tool("pg_recvlogical");
        reader.args(["-d", &to, "-S", slot]);
        reader.args(["--start", "--no-loop", "--status-interval=0", "--fsync-interval=0", "-f", "/dev/null"]);
        reader.args(["-o", "proto_version=1", "-o", &format!("publication_names={publication}")]);
        reader.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        SlotReader(reader.spawn().expect("pg_recvlogical starts"))
    }

    /// Brings the slot `slot` of another server here, as fail-over managers do before they promote a standby. Both must stand
    /// still.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn bring_slot(&self, from: &Self, slot: &str) {
        let within = |cluster: &Self| cluster.data().join("pg_replslot").join(slot);
        run(Command::new("cp").arg("-a").arg(within(from)).arg(within(self)));
    }

    /// Takes a back-up of a server that stands still: a plain copy of its files.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn back_up(&self) {
        run(Command::new("cp").arg("-a").arg(self.data()).arg(self.directory.path().join("backup")));
    }

    /// Puts the back-up in the place of what is there, of a server that stands still.
    ///
    /// # Panics
    /// If there is none.
    pub fn restore(&self) {
        std::fs::remove_dir_all(self.data()).expect("the server's files");
        std::fs::rename(self.directory.path().join("backup"), self.data()).expect("a back-up");
    }

    /// Keeps every finished file of the WAL beside the server from now on. It must have been started with `archive_mode = on`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn archive(&self) {
        let archive = self.archived();
        std::fs::create_dir(&archive).expect("a directory for the WAL");
        if as_root() {
            run(Command::new("chown").arg("postgres").arg(&archive));
        }
        let command = format!("cp %p {}/%f", archive.display());
        self.sql("postgres", &format!("ALTER SYSTEM SET archive_command = '{command}'"));
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Puts the back-up in the place of what is there, of a server that stands still, and goes on from it with the WAL that was
    /// kept up to the restore point `point`, where it becomes a primary.
    ///
    /// # Panics
    /// If there is no back-up, or the WAL does not reach that far.
    pub fn restore_to(&self, point: &str) {
        self.restore();
        let settings = format!(
            "\nrestore_command = 'cp {}/%f %p'\nrecovery_target_name = '{point}'\nrecovery_target_action = 'promote'\n",
            self.archived().display()
        );
        let path = self.data().join("postgresql.conf");
        let before = std::fs::read_to_string(&path).expect("postgresql.conf is there");
        std::fs::write(&path, before + &settings).expect("postgresql.conf can be written");
        std::fs::write(self.data().join("recovery.signal"), "").expect("the signal can be given");
        if as_root() {
            run(Command::new("chown").arg("postgres").arg(self.data().join("recovery.signal")));
        }
        self.up();
        while self.sql("postgres", "SELECT pg_is_in_recovery()") != "f" {
            std::thread::park_timeout(PROXY_LOOK);
        }
    }

    fn archived(&self) -> PathBuf {
        self.directory.path().join("wal")
    }

    /// The directory that it lives in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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

    /// Ends every process of the server at once, as `kill -9` would.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("the server runs");
        let postmaster = file.lines().next().expect("a process number").to_owned();
        // Stopped first, so that it makes no more processes meanwhile.
        let _ = Command::new("kill").args(["-STOP", &postmaster]).status();
        let parent_of = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The parent follows the state, which follows the name in parentheses.
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1).map(str::to_owned))
        };
        let all = std::fs::read_dir("/proc").expect("the processes").flatten();
        let names = all.filter_map(|entry| entry.file_name().into_string().ok());
        let mut ends: Vec<String> = names.filter(|pid| parent_of(pid).as_deref() == Some(&postmaster)).collect();
        ends.push(postmaster.clone());
        for pid in &ends {
            // One that has just ended by itself is as good.
            let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
        }
        for pid in &ends {
            while is_alive(pid) {
                std::thread::park_timeout(PROXY_LOOK);
            }
        }
        // Where nobody asks about ended processes, the next start would take them for running ones.
        let socket = self.directory.path().join(format!(".s.PGSQL.{}.lock", self.port));
        for lock in [self.data().join("postmaster.pid"), socket] {
            std::fs::remove_file(&lock).expect("the lock file can be removed");
        }
    }

    /// As [`Self::sql`], where the server may not be there.
    ///
    /// # Errors
    /// What psql says.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self.psql(database, sql);
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs SQL in `database` with psql, stopping at the first error; the rows, unaligned, values between `|`.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|errors| panic!("psql failed for {sql}: {errors}"))
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        let port = self.port.to_string();
        Command::new(self.binaries.join("psql"))
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
            .expect("psql runs")
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

/// Another reader of a slot; see [`Cluster::read_slot`].
#[derive(Debug)]
pub struct SlotReader(std::process::Child);

impl Drop for SlotReader {
    fn drop(&mut self) {
        // It may have ended with its connection.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the process does anything: one that has ended but that its parent has not asked about does not.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}

/// How directories of clusters are called.
const PREFIX: &str = "gridhouse-pg-";

/// Names the process that made a cluster, in its directory.
const OWNER: &str = "owner";

/// A directory for a cluster. Those of processes that are gone, and did not come to remove theirs, are removed first.
fn directory() -> tempfile::TempDir {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        let entries = std::fs::read_dir("/tmp").into_iter().flatten().flatten();
        let left = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)));
        left.for_each(|entry| sweep(&entry.path()));
    });
    let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in("/tmp").expect("a temporary directory");
    std::fs::write(directory.path().join(OWNER), std::process::id().to_string()).expect("the owner can be noted");
    directory
}

/// Stops and removes a cluster whose owner is gone.
fn sweep(root: &Path) {
    let first_line = |path: PathBuf| Some(std::fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned());
    // One without owner is just being made.
    let Some(owner) = first_line(root.join(OWNER)) else { return };
    if is_alive(&owner) {
        return;
    }
    let is_its_server = |pid: &String| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&*root.to_string_lossy())
    };
    if let Some(server) = first_line(root.join("data").join("postmaster.pid")).filter(is_its_server) {
        let _ = Command::new("kill").args(["-QUIT", &server]).stderr(Stdio::null()).status();
        while is_alive(&server) {
            std::thread::park_timeout(PROXY_LOOK);
        }
    }
    // Another user's stays.
    let _ = std::fs::remove_dir_all(root);
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

/// How often a connection of a [`Proxy`] looks whether it is frozen or cut.
const PROXY_LOOK: Duration = Duration::from_millis(10);

/// No bytes are counted by a [`Proxy`].
const UNLIMITED: u64 = u64::MAX;

/// A way to a server that can be frozen (both ends stay connected, and nothing passes), cut, and led elsewhere.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<ProxyState>,
}

#[derive(Debug)]
struct ProxyState {
    to: AtomicU16,
    frozen: AtomicBool,
    /// So many more bytes pass before it is frozen; [`UNLIMITED`] where nothing is counted.
    allowance: AtomicU64,
    /// Connections that were made under another number are cut.
    cuts: AtomicU16,
    /// Of those that were made under another number the server's ends are closed, and ours stay open in silence.
    forgotten: AtomicU16,
    /// Those that were made under another number pass nothing, and both of their ends stay open.
    stranded: AtomicU16,
}

impl Proxy {
    /// A way to the port `to` of this machine.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let state = Arc::new(ProxyState {
            to: AtomicU16::new(to),
            frozen: AtomicBool::new(false),
            allowance: AtomicU64::new(UNLIMITED),
            cuts: AtomicU16::new(0),
            forgotten: AtomicU16::new(0),
            stranded: AtomicU16::new(0),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // What cannot be reached is closed at once, as a host that refuses would.
                let Ok(far) = TcpStream::connect(("127.0.0.1", shared.to.load(Ordering::SeqCst))) else { continue };
                let ends = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
                for (from, to, is_ours) in [(near, far, true), (ends.1, ends.0, false)] {
                    let state = shared.clone();
                    std::thread::spawn(move || state.pass(from, to, is_ours));
                }
            }
        });
        Self { port, state }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Passes nothing on from now on, or everything again.
    pub fn freeze(&self, frozen: bool) {
        self.state.frozen.store(frozen, Ordering::SeqCst);
    }

    /// Freezes once so many more bytes have passed, of both directions and all connections together: in the midst of whatever is
    /// larger.
    pub fn freeze_after(&self, bytes: u64) {
        self.state.allowance.store(bytes, Ordering::SeqCst);
    }

    /// Nothing passes now.
    pub fn is_frozen(&self) -> bool {
        self.state.frozen.load(Ordering::SeqCst)
    }

    /// Forgets all connections without telling us, as a firewall does: the server sees them end. New ones pass.
    pub fn forget(&self) {
        self.state.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// Passes nothing more on the connections that there are, whose ends stay open. New ones pass.
    pub fn strand(&self) {
        self.state.stranded.fetch_add(1, Ordering::SeqCst);
    }

    /// Cuts all connections; new ones lead to the port `to`.
    pub fn lead_to(&self, to: u16) {
        self.state.to.store(to, Ordering::SeqCst);
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

impl ProxyState {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_ours: bool) {
        let (begun, known) = (self.cuts.load(Ordering::SeqCst), self.forgotten.load(Ordering::SeqCst));
        let free = self.stranded.load(Ordering::SeqCst);
        let _ = from.set_read_timeout(Some(PROXY_LOOK));
        let mut bytes = vec![0; 65_536];
        while self.cuts.load(Ordering::SeqCst) == begun {
            if self.forgotten.load(Ordering::SeqCst) != known {
                let far = if is_ours { &to } else { &from };
                let _ = far.shutdown(Shutdown::Both);
                std::thread::park_timeout(PROXY_LOOK);
                continue;
            }
            if self.frozen.load(Ordering::SeqCst) || self.stranded.load(Ordering::SeqCst) != free {
                std::thread::park_timeout(PROXY_LOOK);
                continue;
            }
            let read = from.read(&mut bytes);
            if self.forgotten.load(Ordering::SeqCst) != known {
                continue;
            }
            match read {
                Ok(0) => break,
                Ok(read) if to.write_all(&bytes[..read]).is_err() => break,
                Ok(read) => self.passed(read as u64),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => break,
            }
        }
        // The other direction ends with this one.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Counts bytes where that was asked for, and freezes with the last of them.
    fn passed(&self, bytes: u64) {
        let count = |left: u64| (left != UNLIMITED).then(|| if left <= bytes { UNLIMITED } else { left - bytes });
        let counted = self.allowance.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count);
        if counted.is_ok_and(|left| left <= bytes) {
            self.frozen.store(true, Ordering::SeqCst);
        }
    }
}
