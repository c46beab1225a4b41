#!/usr/bin/env python3
"""Records what a real Fluss + Flink cluster makes of the solutions: the boards in the sink, as solutions/NAME/step-N/*.tsv.

usage: solutions.py CLUSTER_SH [NAME...]     (needs psql; CLUSTER_SH starts a cluster: `CLUSTER_SH up zk fluss flink pg`)

For each solution of ../../solutions (or those named): databases of its own in the cluster's PostgreSQL are filled
(`solution_fill(SIZE, 1)`), pipeline.sql runs unchanged, and after each stage's steps (`solution_step(1, n)`) the sink must come
to agree with expected.sql, and every layer must have the rows that expected.sql counts. Then the boards are recorded.
Jobs, tables, databases and replication slots are removed afterwards. It ends with status 1 where something differs; what was
recorded before is then left as it was. Run it again after a solution's SQL has changed; `tests/reference` of the test suite
compares Gridhouse with what is recorded here.
"""
import pathlib
import re
import subprocess
import sys
import time
import tomllib

here = pathlib.Path(__file__).resolve().parent
root = here.parents[1] / "solutions"
cluster = sys.argv[1]

# Small enough to be kept as text, large enough that every branch of every query has rows.
SIZE = 200
SEED = 1
# What is recorded after which steps.
STAGES = (0, 400, 2000)
PATIENCE_S = 300
# A board that has agreed once must still agree after this long: late retractions would show.
SETTLE_S = 3


def run(*command, text=None, check=True):
    done = subprocess.run([cluster, *command], input=text, text=True, capture_output=True)
    if check and done.returncode:
        sys.exit(f"{command}: {done.stdout[-4000:]}\n{done.stderr[-3000:]}")
    return done.stdout


settings = dict(line.split("=", 1) for line in run("env").splitlines())


def psql(database, sql, header=False):
    shown = "-A" if header else "-At"
    flags = ("-v", "ON_ERROR_STOP=1", shown, "-P", "footer=off", "-P", "null=NULL", "-F", "\t")
    return run("psql", "-q", "-d", database, *flags, "-c", sql).splitlines()


def script(database, path):
    run("psql", "-d", database, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(path))


def queries(path):
    """The queries of expected.sql by kind and name."""
    found, name = {}, None
    for line in path.read_text().splitlines():
        heading = re.match(r"-- (board|layer|rows): (\S+)$", line)
        if heading:
            name = heading.groups()
            found[name] = ""
        elif name:
            found[name] += line + "\n"
    return {name: sql.strip().removesuffix(";") for name, sql in found.items()}


class Solution:
    def __init__(self, folder):
        self.folder = folder
        self.about = tomllib.loads((folder / "solution.toml").read_text())
        self.source = "reference_" + self.about["database"]
        self.sink = self.source + "_boards"
        self.expected = queries(folder / "expected.sql")
        self.jobs = []

    def prepare(self):
        self.clean()
        for database in (self.source, self.sink):
            psql("postgres", f"CREATE DATABASE {database}")
        script(self.source, self.folder / "source.sql")
        script(self.sink, self.folder / "sink.sql")
        psql(self.source, f"SELECT solution_fill({SIZE}, {SEED})")

    def start(self):
        text = (self.folder / "pipeline.sql").read_text().replace("@FLUSS@", f"127.0.0.1:{settings['FLUSS_PORT']}")
        for side, database in (("SOURCE", self.source), ("SINK", self.sink)):
            places = {"HOST": "127.0.0.1", "PORT": settings["PG_PORT"], "USER": "postgres", "PASSWORD": "postgres", "DATABASE": database}
            for place, value in places.items():
                text = text.replace(f"@{side}_{place}@", value)
        done = subprocess.run([cluster, "sql", "-"], input=text, text=True, capture_output=True)
        self.jobs += re.findall(r"Job ID: ([0-9a-f]{32})", done.stdout)
        if done.returncode:
            sys.exit(f"{self.about['name']}: {error_of(done.stdout)}\n{done.stderr[-2000:]}")

    def clean(self):
        if self.jobs:
            run("cancel", *self.jobs, check=False)
        tables = [table for layer in self.about["layer"] for table in layer["tables"]]
        head = f"CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '127.0.0.1:{settings['FLUSS_PORT']}');\n"
        drop = "".join(f"DROP TABLE IF EXISTS {table};\n" for table in tables)
        databases = {".".join(table.split(".")[:2]) for table in tables}
        text = head + "".join(f"CREATE DATABASE IF NOT EXISTS {name};\n" for name in databases) + drop
        run("sql", "-", text=text + "".join(f"DROP DATABASE {name};\n" for name in databases))
        for database in (self.source, self.sink):
            deadline = time.monotonic() + 60
            while psql("postgres", f"SELECT 1 FROM pg_replication_slots WHERE database = '{database}'"):
                # A cancelled job lets its slot go after a moment.
                run("psql", "-q", "-d", "postgres", "-c", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                    f"WHERE database = '{database}' AND NOT active", check=False)
                if time.monotonic() > deadline:
                    sys.exit(f"{database}: a replication slot stays active")
                time.sleep(1)
            psql("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def board(self, board):
        """What the sink holds and what it should hold, as sorted lines, with the names of the columns first."""
        wanted = psql(self.source, self.expected["board", board["table"]], header=True)
        columns = ", ".join(wanted[0].split("\t"))
        found = psql(self.sink, f"SELECT {columns} FROM {board['table']}", header=True)
        return wanted[0], sorted(found[1:]), sorted(wanted[1:])

    def agree(self, stage):
        deadline = time.monotonic() + PATIENCE_S
        for board in self.about["board"]:
            while True:
                _, found, wanted = self.board(board)
                if found == wanted:
                    break
                if time.monotonic() > deadline:
                    only = lambda a, b: "\n".join([row for row in a if row not in set(b)][:5])
                    sys.exit(f"{self.about['name']} {stage}: {board['table']} has {len(found)} rows, wanted {len(wanted)};\n"
                             f"only found:\n{only(found, wanted)}\nonly wanted:\n{only(wanted, found)}")
                time.sleep(1)

    def layers(self, stage):
        """The rows of every layer, as the cluster counts them."""
        tables = [table for layer in self.about["layer"] for table in layer["tables"]]
        head = (f"CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '127.0.0.1:{settings['FLUSS_PORT']}');\n"
                "SET 'execution.runtime-mode' = 'batch';\n")
        text = head + "".join(f"SELECT COUNT(*) FROM {table};\n" for table in tables)
        wanted = [int(psql(self.source, self.expected["layer", table])[0]) for table in tables]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            shown = run("sql", "-", text=text)
            found = [int(cell) for cell in re.findall(r"^\|\s+(\d+)\s+\|$", shown, re.M)]
            if found == wanted:
                break
            if time.monotonic() > deadline:
                differing = [f"{table}: {f}, wanted {w}" for table, f, w in zip(tables, found, wanted) if f != w]
                sys.exit(f"{self.about['name']} {stage}: the layers differ: {differing or shown}")
        return "".join(f"{table}\t{rows}\n" for table, rows in zip(tables, found))

    def record(self):
        recorded = {}
        self.prepare()
        try:
            self.start()
            done = 0
            for last in STAGES:
                stage = f"step-{last}"
                for first in range(done + 1, last + 1, 100):
                    # Each step is a transaction of its own.
                    steps = ";".join(f"SELECT solution_step({SEED}, {n})" for n in range(first, min(first + 100, last + 1)))
                    run("psql", "-q", "-d", self.source, "-v", "ON_ERROR_STOP=1", "-f", "-", text=steps + ";\n")
                done = last
                self.agree(stage)
                time.sleep(SETTLE_S)
                self.agree(stage)
                recorded[stage, "layers"] = self.layers(stage)
                for board in self.about["board"]:
                    names, found, _ = self.board(board)
                    recorded[stage, board["table"]] = "\n".join([names, *found]) + "\n"
                print(f"{self.about['name']} {stage}: {len(self.about['board'])} boards and every layer agree", flush=True)
        finally:
            self.clean()
        for (stage, table), text in recorded.items():
            path = here / "solutions" / self.about["name"] / stage / f"{table}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def error_of(output):
    """What the SQL client says of the statement that failed."""
    at = output.find("[ERROR]")
    return output[max(0, at - 1500):at + 2500] if at >= 0 else output[-3000:]


names = sys.argv[2:] or sorted(path.parent.name for path in root.glob("*/solution.toml"))
for name in names:
    Solution(root / name).record()
