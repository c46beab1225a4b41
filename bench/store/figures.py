"""Runs the figures of storage and those of the peers, each in a process of its own, and prints one table.

usage: bench/tables [--rows N] [--only FIGURE,...] [--runs N] [--peer-runs N] [--dir DIR] [--under COMMAND] [--fluss CLUSTER_SH]
Figures: upsert, aggregate, append, scan, range, lookup, size, memory, budget, restart. What is compared is CPU seconds of all
threads, as far as nothing else is said; wall-clock time stands in brackets.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FIGURES = ["upsert", "aggregate", "append", "scan", "range", "lookup", "size", "memory", "budget", "restart"]
START_MILLIS = 1_767_225_600_000
DEVICES, EVERY_MILLIS = 2_000, 15_000
TABLE = "default_catalog.default_database."

SCANS = {
    "scan, 4 aggregates": "SELECT COUNT(*), SUM(load_mw), AVG(volt_kv), MAX(seen) FROM readings",
    "scan, 8 groups": "SELECT state, COUNT(*), SUM(load_mw), AVG(volt_kv) FROM readings GROUP BY state",
    "scan, 5,000 groups": "SELECT site, COUNT(*), SUM(load_mw), AVG(volt_kv) FROM readings GROUP BY site",
}


def stamp(millis):
    import datetime

    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=millis)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def range_query(rows):
    """A hundredth of the rounds, from the middle."""
    rounds = rows // DEVICES
    first, count = rounds // 2, max(rounds // 100, 1)
    low, high = (stamp(START_MILLIS + r * EVERY_MILLIS) for r in (first, first + count))
    return (
        "SELECT COUNT(*), AVG(active_kw), MAX(temperature_c) FROM devices "
        f"WHERE seen >= TIMESTAMP '{low}' AND seen < TIMESTAMP '{high}'"
    )


def short(value):
    """A number as people read it."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def millis(seconds):
    return f"{seconds * 1e3:.3g} ms"


def same(a, b):
    """Whether two answers agree: numbers to nine digits, texts but for zeros at the end of a fraction."""

    def cell(a, b):
        try:
            x, y = float(a), float(b)
            return abs(x - y) <= 1e-9 * max(abs(x), abs(y), 1)
        except ValueError:
            return a.rstrip("0").rstrip(".") == b.rstrip("0").rstrip(".")

    pairs = zip(sorted(a), sorted(b))
    return len(a) == len(b) and all(len(x) == len(y) and all(map(cell, x, y)) for x, y in pairs)


class Bench:
    def __init__(self, options, root):
        self.options, self.root = options, root
        self.table = []
        self.places = 0
        self.made = {}

    # Processes

    def run(self, command):
        """Runs a process; gives its lines by figure."""
        under = shlex.split(self.options.under)
        print("+", " ".join(str(part) for part in command), file=sys.stderr, flush=True)
        done = subprocess.run([*under, *map(str, command)], stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="", file=sys.stderr, flush=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode not in (0, -9, 137):
            sys.exit(f"{command[0]} ended with status {done.returncode}")
        return lines

    def ours(self, program, command, place, *more):
        rows = ["--rows", self.options.rows]
        lines = self.run([self.options.programs / program, command, "--dir", place, *rows, *more])
        return {line["figure"]: line for line in lines}

    def peer(self, command, place, *more):
        rows = ["--rows", self.options.rows]
        lines = self.run([sys.executable, HERE / "peers" / "run.py", command, "--dir", place, *rows, *more])
        return {line["figure"]: line for line in lines}

    def place(self):
        """A new directory."""
        self.places += 1
        place = self.root / f"{self.places:02}"
        place.mkdir()
        return place

    def drop(self, place):
        shutil.rmtree(place, ignore_errors=True)

    def repeat(self, times, once):
        """Does something several times, each in a new directory; the last one is kept and given with all results."""
        results, place = [], None
        for _ in range(times):
            if place:
                self.drop(place)
            place = self.place()
            results.append(once(place))
        return results, place

    def prepared(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    # Data that several figures read

    def updates(self):
        return ["--updates", self.options.rows // 2]

    def loaded(self):
        """Loads of the keyed table, the last of them kept; the directory has the SQL tables too."""

        def once(place):
            self.run([self.options.programs / "bench-session", "create", "--dir", place])
            return self.ours("bench-store", "load", place, "--table", TABLE + "readings", *self.updates())

        return self.prepared("loaded", lambda: self.repeat(self.options.runs, once))

    def rocksdb(self):
        once = lambda place: self.peer("rocksdb-load", place, *self.updates())  # noqa: E731
        return self.prepared("rocksdb", lambda: self.repeat(self.options.peer_runs, once))

    def duckdb(self):
        once = lambda place: self.peer("duckdb-load", place, *self.updates())  # noqa: E731
        return self.prepared("duckdb", lambda: self.repeat(self.options.peer_runs, once))

    def devices(self):
        def once(place):
            self.run([self.options.programs / "bench-session", "create", "--dir", place])
            return self.ours("bench-store", "devices", place, "--table", TABLE + "devices")

        return self.prepared("devices", lambda: self.repeat(1, once))

    def duckdb_devices(self):
        return self.prepared("duckdb_devices", lambda: self.repeat(1, lambda place: self.peer("duckdb-devices", place)))

    # The table

    def add(self, figure, ours, peers, ratio, goal, met):
        verdict = "" if met is None else "met" if met else "missed"
        self.table.append((figure, ours, peers, ratio, goal, verdict))

    def rates(self, results, figure):
        """Median rows per CPU second and per second of wall-clock time; the clean stop belongs to what comes last."""

        def rate(result, key):
            stop = result.get("close", {}).get(key, 0) if figure in ("update", "append") else 0
            return result[figure]["rows"] / (result[figure][key] + stop)

        middle = lambda key: statistics.median(rate(result, key) for result in results)  # noqa: E731
        return middle("cpu_s"), middle("wall_s")

    def add_rates(self, figure, ours, peers, goal):
        text = lambda rates: f"{short(rates[0])} ({short(rates[1])})"  # noqa: E731
        others = ", ".join(f"{name} {text(rates)}" for name, rates in peers.items())
        ratio = ", ".join(f"{ours[0] / rates[0]:.2g}" for rates in peers.values())
        goal_text = f"≥ {short(goal)} rows/s" if goal else ""
        self.add(figure, text(ours) + " rows/s", others, ratio, goal_text, ours[0] >= goal if goal else None)

    # Figures

    def upsert(self):
        ours, rocksdb, duckdb = self.loaded()[0], self.rocksdb()[0], self.duckdb()[0]
        for figure, name in (("insert", "upsert, new keys"), ("update", "upsert, keys that are there")):
            peers = {"RocksDB": self.rates(rocksdb, figure), "DuckDB": self.rates(duckdb, figure)}
            self.add_rates(name, self.rates(ours, figure), peers, 700_000)

    def aggregate(self):
        once = lambda place: self.ours("bench-session", "aggregate", place, *self.updates())  # noqa: E731
        results, place = self.repeat(self.options.runs, once)
        self.drop(place)
        for result in results:
            answers = result["answers"]
            if not same(answers["job"], answers["query"]):
                sys.exit(f"the job and the query do not agree: {answers}")
        for figure, name in (("insert", "upsert through an aggregate, new keys"), ("update", "the same, keys that are there")):
            self.add_rates(name, self.rates(results, figure), {}, 400_000)

    def append(self):
        results, place = self.repeat(self.options.runs, lambda place: self.ours("bench-store", "append", place))
        self.drop(place)
        once = lambda place: self.peer("duckdb-append", place)  # noqa: E731
        peers, place = self.repeat(self.options.peer_runs, once)
        self.drop(place)
        self.add_rates("append to a log table", self.rates(results, "append"), {"DuckDB": self.rates(peers, "append")}, 2e6)

    def queries(self, name, ours_in, peer_in, queries, limit):
        runs = ["--runs", self.options.query_runs]
        program = self.options.programs / "bench-session"
        ours = self.run([program, "query", "--dir", ours_in, *runs, *queries.values()])[1:]
        peer_command = [sys.executable, HERE / "peers" / "run.py", "duckdb-query", "--dir", peer_in, *runs]
        peer = self.run([*peer_command, "--threads", self.options.threads, *queries.values()])
        for label, a, b in zip(queries, ours, peer):
            if not same(a["answer"], b["answer"]):
                sys.exit(f"{label}: the answers do not agree\nours   {a['answer'][:3]}\nDuckDB {b['answer'][:3]}")
            middle = {who: {key: statistics.median(line[key]) for key in ("cpu", "wall")} for who, line in ((0, a), (1, b))}
            text = lambda who: f"{millis(middle[who]['cpu'])} ({millis(middle[who]['wall'])})"  # noqa: E731
            ratio = middle[0]["cpu"] / middle[1]["cpu"]
            self.add(label, text(0), "DuckDB " + text(1), f"{ratio:.2g}", f"≤ {limit} ×", ratio <= limit)

    def scan(self):
        fill = lambda: self.repeat(1, lambda place: self.peer("duckdb-fill", place, *self.updates()))  # noqa: E731
        self.queries("scan", self.loaded()[1], self.prepared("duckdb_scan", fill)[1], SCANS, 2)

    def range(self):
        queries = {"time range, 1 %": range_query(self.options.rows)}
        self.queries("range", self.devices()[1], self.duckdb_devices()[1], queries, 3)

    def lookup(self):
        place, count = self.loaded()[1], ["--count", self.options.lookups]
        session = self.ours("bench-session", "lookup", place, *count)["lookup"]
        store = self.ours("bench-store", "lookup", place, "--table", TABLE + "readings", *count)
        rocksdb = self.peer("rocksdb-lookup", self.rocksdb()[1], *count)
        duckdb = self.peer("duckdb-lookup", self.duckdb()[1], "--count", min(self.options.lookups, 2_000))
        each = lambda line: line["cpu_s"] / line["rows"] * 1e6  # noqa: E731
        text = lambda value: f"{value:.3g} µs"  # noqa: E731
        peers = f"DuckDB {text(each(duckdb['warm']))}"
        ours = f"{text(each(session))}, median {text(session['median_us'])} on the wall, 99 % {text(session['p99_us'])}"
        ratio = each(session) / each(duckdb["warm"])
        self.add("look-up by key, SQL text", ours, peers, f"{ratio:.2g}", "≤ 10 µs", session["median_us"] <= 10)
        for key, name in (("warm", "look-up by key, one by one"), ("by_1000", "look-up by key, by 1,000")):
            a, b = each(store[key]), each(rocksdb[key])
            self.add(name, text(a), f"RocksDB {text(b)}", f"{a / b:.2g}", "≤ 10 µs" if key == "warm" else "", a <= 10 if key == "warm" else None)

    def size(self):
        line = self.devices()[0][-1]["close"]["disk"]
        ours = line["by_kind"].get("seg", line["total"])
        parquet = self.repeat(1, lambda place: self.peer("parquet-devices", place))
        self.drop(parquet[1])
        parquet = parquet[0][0]["devices"]["disk"]["total"]
        duckdb = self.duckdb_devices()[0][-1]["close"]["disk"]["total"]
        each = lambda size: f"{size / self.options.rows:.3g}"  # noqa: E731
        note = "" if "seg" in line["by_kind"] else " (log only)"
        self.add(
            "bytes on disk per row, device telemetry", each(ours) + note, f"Parquet ZSTD {each(parquet)}, DuckDB {each(duckdb)}",
            f"{ours / parquet:.2g}", "≤ 1.3 ×", ours <= 1.3 * parquet,
        )  # fmt: skip

    def memory(self):
        line = self.loaded()[0][-1]["update"]
        if "index_bytes" in line:
            each = line["index_bytes"] / self.options.rows
            self.add("memory of the index per key", f"{each:.3g} bytes", "", "", "≤ 32 bytes", each <= 32)
        peer = self.rocksdb()[0][-1]["update"]["anon_bytes"] / self.options.rows
        each = (line["anon_bytes"] - line["anon_before"]) / self.options.rows
        self.add("all memory per key after the upserts", f"{each:.3g} bytes", f"RocksDB {peer:.3g} bytes", f"{each / peer:.2g}", "", None)

    def budget(self):
        more = [*self.updates(), "--index-budget", 64 << 20]
        once = lambda place: self.ours("bench-store", "load", place, *more)  # noqa: E731
        results, place = self.repeat(self.options.runs, once)
        self.drop(place)
        for figure, name in (("insert", "64 MB for the index, new keys"), ("update", "the same, keys that are there")):
            self.add_rates(name, self.rates(results, figure), {}, 200_000)

    def restart(self):
        def once(place):
            self.ours("bench-store", "load", place, *self.updates(), "--end", "kill")
            return self.ours("bench-store", "lookup", place, "--count", 1_000)

        results, place = self.repeat(self.options.runs, once)
        self.drop(place)
        took = statistics.median(result["first"]["wall_s"] for result in results)
        cpu = statistics.median(result["first"]["cpu_s"] for result in results)
        self.add("from kill -9 to the first look-up", f"{took:.3g} s (CPU {cpu:.3g} s)", "", "", "≤ 1.5 s", took <= 1.5)

    def fluss(self):
        """The real Fluss, as `bench/ingest.py` beside its script measures it: rows through Flink, CPU of all JVMs."""
        script = pathlib.Path(self.options.fluss).resolve()
        subprocess.run([script, "up", "zk", "fluss", "flink"], check=True, stdout=sys.stderr)
        rows = min(self.options.rows, 1_000_000)
        try:
            ingest = [sys.executable, script.parent / "bench" / "ingest.py", str(rows), "pk1", "pk4", "log1", "log4"]
            out = subprocess.run(ingest, check=True, stdout=subprocess.PIPE, text=True).stdout
        finally:
            subprocess.run([script, "down"], stdout=sys.stderr)
        print(out, file=sys.stderr)
        for line in out.splitlines():
            words = line.split()
            if words[:1] == ["write"]:
                kind, buckets = words[1].rstrip("0123456789"), words[1].lstrip("pklog")
                name = {"pk": "Fluss upsert", "log": "Fluss append"}[kind]
                rate, cpu = float(words[4]), float(words[6])
                self.add(f"{name}, bucket.num {buckets}", "", f"{short(rows / cpu)} ({short(rate)}) rows/s", "", "", None)


def main():
    parser = argparse.ArgumentParser(prog="bench/tables", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=10_000_000, help="keys and rows of every table")
    parser.add_argument("--only", help="figures with commas between: " + ", ".join(FIGURES))
    parser.add_argument("--runs", type=int, default=3, help="how often each of our stretches runs")
    parser.add_argument("--peer-runs", type=int, default=1, help="how often each of the peers' runs")
    parser.add_argument("--query-runs", type=int, default=7, help="how often each query runs, after one that warms")
    parser.add_argument("--lookups", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2, help="DuckDB's threads in queries")
    parser.add_argument("--dir", type=pathlib.Path, help="where data goes: on a real disk; a new directory below it is used")
    parser.add_argument("--under", default="", help="a command that every measured process is run by, such as 'taskset -c 1'")
    parser.add_argument("--fluss", metavar="CLUSTER_SH", help="start the real Fluss by this script and measure it too")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else FIGURES
    if unknown := [figure for figure in wanted if figure not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]}; there are {', '.join(FIGURES)}")
    with tempfile.TemporaryDirectory(prefix="gridhouse-bench-", dir=options.dir) as root:
        bench = Bench(options, pathlib.Path(root))
        digests = [[options.programs / "bench-store", "digest"], [sys.executable, HERE / "peers" / "run.py", "digest"]]
        ours, peers = ({key: value for key, value in bench.run(command)[0].items()} for command in digests)
        if ours != peers:
            sys.exit("src/ and peers/rows.py do not make the same rows")
        for figure in wanted:
            getattr(bench, figure)()
        if options.fluss:
            bench.fluss()
    head = ("figure", "Gridhouse", "beside it", "ratio", "goal", "")
    print("rows per CPU second of all threads, in brackets per second on the wall; CPU time of queries, in brackets wall\n")
    for row in (head, ("---",) * len(head), *bench.table):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()
