"""The processes of the chain: two private PostgreSQL servers, Gridhouse, and the real cluster; and what they take."""

import copy
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import psycopg

TICKS = os.sysconf("SC_CLK_TCK")
# How long anything here may take before the run is given up: a million rows through the slowest of all stacks.
PATIENCE_S = 600


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def until(what, done, every=0.02, patience=PATIENCE_S):
    """Waits until `done` gives something, and gives it with the moment at which it did."""
    deadline = time.perf_counter() + patience
    while True:
        found = done()
        now = time.perf_counter()
        if found:
            return found, now
        if now > deadline:
            sys.exit(f"bench/chain: {what} did not come about within {patience} s")
        time.sleep(every)


def cpu_seconds(pid):
    """User and system time of one process so far."""
    fields = pathlib.Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def family_seconds(pid):
    """The time of a process and of its children, those that have ended too."""
    total = 0.0
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(entry.name) == pid:
                total += sum(map(int, fields[11:15])) / TICKS
            elif int(fields[1]) == pid:
                total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def waiting():
    """How long this process has waited for a core so far, ready to run."""
    return int(pathlib.Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def anon_bytes(pid):
    for line in pathlib.Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Memory:
    """Looks at the anonymous memory of processes every few milliseconds; the peak and the median while it lasted."""

    def __init__(self, pids, every=0.02):
        self.pids, self.every, self.seen = pids, every, []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.ended.wait(self.every):
            self.seen.append(sum(map(anon_bytes, self.pids)))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    @property
    def peak(self):
        return max(self.seen)

    @property
    def median(self):
        return sorted(self.seen)[len(self.seen) // 2]


class Postgres:
    """A private server with one database, as `./run` sets it up; as root it runs as the user postgres."""

    def __init__(self, programs, place, database):
        self.programs, self.place, self.database = pathlib.Path(programs), place, database
        self.owner = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        place.mkdir()
        if self.owner:
            os.chown(place, self.owner.pw_uid, self.owner.pw_gid)
        self.port = free_port()
        data = str(place / "data")
        self.call("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "wal_level": "logical",
            "max_replication_slots": 20, "max_wal_senders": 20,
        }  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.log = open(place / "log", "wb")
        command = [str(self.programs / "postgres"), "-D", data, *options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, **self.identity())
        self.pid = self.process.pid
        until("a PostgreSQL server", self.answers, patience=60)
        self.run(f"CREATE DATABASE {database}", database="postgres")

    def identity(self):
        if not self.owner:
            return {"cwd": "/"}
        return {"cwd": "/", "user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}

    def call(self, program, *arguments):
        command = [str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}, **self.identity())

    def connect(self, database=None):
        name = database or self.database
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=name, autocommit=True)

    def answers(self):
        if self.process.poll() is not None:
            sys.exit(f"bench/chain: PostgreSQL ended with status {self.process.returncode}; see {self.place / 'log'}")
        try:
            self.connect("postgres").close()
            return True
        except psycopg.OperationalError:
            return False

    def run(self, sql, database=None):
        with self.connect(database) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def other(self, database):
        """Another database of the same server, made anew."""
        self.run(f"DROP DATABASE IF EXISTS {database}", database="postgres")
        self.run(f"CREATE DATABASE {database}", database="postgres")
        other = copy.copy(self)
        other.database = database
        return other

    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/{self.database}"

    def cpu_seconds(self):
        return family_seconds(self.pid)

    def forget_streams(self):
        """Drops what an earlier chain has left in the server: slots and publications."""
        slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"

        def free():
            self.run(slots)
            return not self.run("SELECT 1 FROM pg_replication_slots")

        until("the end of a replication slot", free)
        for (name,) in self.run("SELECT pubname FROM pg_publication"):
            self.run(f'DROP PUBLICATION "{name}"')

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        self.log.close()


class Gridhouse:
    """One process on one data directory."""

    def __init__(self, program, place):
        self.program, self.place = program, place
        self.process = None

    def spawn(self, *command):
        """Starts the program, in a session of its own: what is typed here is not for it."""
        words = [str(self.program), "--data-dir", str(self.place), *map(str, command)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDHOUSE_")}
        with open(f"{self.place}.log", "ab") as log:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )

    def start(self, *command):
        """Starts the process that holds the directory."""
        self.process = self.spawn(*command)
        self.pid = self.process.pid

    def call(self, *command):
        """Carries out a command beside it."""
        if status := self.spawn(*command).wait():
            say(pathlib.Path(f"{self.place}.log").read_text()[-2000:])
            sys.exit(f"bench/chain: gridhouse {command[0]} ended with status {status}")

    def alive(self):
        if self.process.poll() is not None:
            say(pathlib.Path(f"{self.place}.log").read_text()[-2000:])
            sys.exit(f"bench/chain: gridhouse ended with status {self.process.returncode}")
        return True

    def connect(self):
        # Without prepared statements, which Gridhouse does not speak.
        options = {"user": "bench", "dbname": "bench", "autocommit": True, "prepare_threshold": None}
        return psycopg.connect(host=str(self.place), port=5432, **options)

    def answers(self):
        self.alive()
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def rows(self, sql):
        with self.connect() as connection:
            return connection.execute(sql).fetchall()

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def memory(self):
        return Memory([self.pid])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.place, ignore_errors=True)
        pathlib.Path(f"{self.place}.log").unlink(missing_ok=True)


class Cluster:
    """A real Fluss and Flink, by a script that knows `up`, `sql` and `down`."""

    def __init__(self, script, place):
        self.script = pathlib.Path(script).resolve()
        ports = ("ZK", "FLUSS", "TABLET", "FLINK", "FLINK_RPC", "GATEWAY", "KAFKA", "KAFKA_CONTROLLER", "PG")
        self.environment = {**os.environ, "CLUSTER_DIR": str(place), **{f"{name}_PORT": str(free_port()) for name in ports}}
        self.place = place

    def call(self, *arguments, text=None):
        subprocess.run(
            [self.script, *arguments], input=text, text=True, check=True, stdout=sys.stderr, env=self.environment
        )

    def pids(self):
        return [int(file.read_text().split()[0]) for file in (self.place / "pid").iterdir()]

    def cpu_seconds(self):
        return sum(map(cpu_seconds, self.pids()))

    def memory(self):
        return Memory(self.pids(), every=0.1)

    def alive(self):
        return True

    def stop(self):
        self.call("down")
        shutil.rmtree(self.place, ignore_errors=True)
