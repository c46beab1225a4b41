"""Runs the figures of the chain from one PostgreSQL through four layers into another, and prints one table.

usage: bench/chain [--only FIGURE,...] [--runs N] [--rows N] [--rate N] [--dir DIR] [--program GRIDHOUSE] [--cluster CLUSTER_SH]
What each figure is stands in bench/README.md.
"""

import argparse
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import psycopg
from changes import FORK, Commerce, Load, Orders, load, single
from processes import Cluster, Gridhouse, Postgres, say, until, waiting

HERE = pathlib.Path(__file__).resolve().parent
# The chain that answers are compared on with the real Fluss and Flink, there over one server.
CHAIN = HERE.parents[1] / "tests/reference/pipeline/pipeline.sql"
LAYERS = ("ods_orders", "dwd_orders", "dws_region_status", "ads_region")
TX_ROWS = 50
MB = 1_000_000


def ms(seconds):
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.3g} ms"


def several(values, text):
    """The median, and in brackets the best and the worst."""
    if len(values) == 1:
        return text(values[0])
    return f"{text(statistics.median(values))} ({text(min(values))} to {text(max(values))})"


class Bench:
    def __init__(self, options, root):
        self.options, self.root = options, root
        # What stands in the table, and what of the real cluster stands beside a figure.
        self.table, self.beside, self.places, self.figure = [], {}, 0, ""
        self.source = Postgres(options.postgres, root / "source", "source")
        self.sink = Postgres(options.postgres, root / "sink", "sink")
        self.source.run((HERE / "source.sql").read_text())
        self.sink.run((HERE / "sink.sql").read_text())
        self.chain = Orders(self.source, self.sink)
        self.script = root / "pipeline.sql"
        self.script.write_text(self.filled(CHAIN.read_text()))

    def stop(self):
        self.source.stop()
        self.sink.stop()

    def filled(self, text):
        return text.replace("@PG_PORT@/sink'", f"{self.sink.port}/sink'").replace("@PG_PORT@", str(self.source.port))

    def place(self):
        self.places += 1
        return self.root / f"house-{self.places:02}"

    def add(self, figure, ours, goal="", met=None):
        verdict = "" if met is None else "met" if met else "missed"
        self.table.append((self.figure, figure, ours, goal, verdict))
        say("=", figure, "|", ours, "|", goal, "|", verdict)

    def run(self, figure):
        say("+", figure)
        self.figure = figure
        getattr(self, figure)()

    def show(self):
        head = ("figure", "Gridhouse", "Fluss + Flink", "goal", "")
        rows = [(name, ours, self.beside.get(figure, ""), goal, met) for figure, name, ours, goal, met in self.table]
        for row in (head, ("---",) * len(head), *rows):
            print("| " + " | ".join(row) + " |")

    @contextmanager
    def started(self, orders):
        """A new data directory with the chain upon so many orders, once the sink shows them."""
        self.chain.reset(orders)
        house = Gridhouse(self.options.program, self.place())
        house.start("run", "-f", self.script)
        self.chain.agreed()
        try:
            yield house
        finally:
            house.remove()

    def measured(self, house, what, *arguments, **more):
        """Does something; gives its result with the CPU seconds that Gridhouse and the two servers took meanwhile."""
        parts = (house, self.source, self.sink)
        before = [part.cpu_seconds() for part in parts]
        result = what(*arguments, **more)
        return result, [part.cpu_seconds() - b for part, b in zip(parts, before)]

    # Figures

    def start(self):
        took = []
        for _ in range(self.options.runs):
            self.chain.reset(1_000)
            house = Gridhouse(self.options.program, self.place())
            begun = time.perf_counter()
            house.start("run", "-f", self.script)
            rows = "SELECT count(*) FROM region_report"
            with self.sink.connect() as connection:
                done = lambda: house.alive() and connection.execute(rows).fetchone()[0]  # noqa: E731
                _, moment = until("the first row in the sink", done, every=0.005)
            took.append(moment - begun)
            self.chain.agreed()
            house.remove()
        median = statistics.median(took)
        self.add("new directory → first row in the sink", several(took, lambda s: f"{s:.2f} s"), "≤ 2 s", median <= 2)

    def directory(self):
        house = Gridhouse(self.options.program, self.place())
        house.start("serve")
        until("an answer", house.answers)
        time.sleep(3)
        files = [pathlib.Path(at, name).stat() for at, _, names in os.walk(house.place) for name in names]
        taken = sum(file.st_blocks * 512 for file in files)
        self.add("a new data directory, idle", f"{taken / MB:.3g} MB on disk", "≤ 20 MB", taken <= 20 * MB)
        house.remove()

    def latency(self):
        with self.started(1_000) as house:
            delays = []
            for _ in range(self.options.runs):
                more, cpu = self.measured(house, single, self.chain, self.options.samples, (0.1, 0.6))
                say("single changes, ms:", " ".join(f"{d * 1e3:.1f}" for d in sorted(more)))
                say("CPU s of Gridhouse, source, sink:", " ".join(f"{s:.2f}" for s in cpu))
                delays.append(statistics.median(more))
        median = statistics.median(delays)
        self.add("single changes at idle, commit → sink", several(delays, ms), "median ≤ 10 ms", median <= 0.010)

    def told(self, stretch: Load, cpu):
        say(
            f"{stretch.rate:.0f} rows/s for {stretch.seconds:.1f} s: p50 {ms(stretch.percentile(0.5))}, "
            f"p90 {ms(stretch.percentile(0.9))}, p99 {ms(stretch.percentile(0.99))}, max {ms(max(stretch.delays))}; "
            f"CPU s of Gridhouse, source, sink: {' '.join(f'{s:.2f}' for s in cpu)}"
        )

    def stretch(self, house, rate, seconds, meanwhile=None):
        stretch, cpu = self.measured(house, load, self.chain, rate / TX_ROWS, seconds, TX_ROWS, meanwhile)
        self.told(stretch, cpu)
        return stretch, cpu

    def load(self):
        with self.started(100_000) as house:
            self.stretch(house, 5_000, 3)
            runs = [self.stretch(house, 5_000, self.options.seconds) for _ in range(self.options.runs)]
            self.chain.agreed()
        middle, high = ([run.percentile(share) for run, _ in runs] for share in (0.5, 0.99))
        cpu = [cpu[0] / run.seconds for run, cpu in runs]
        met = statistics.median(middle) <= 0.015 and statistics.median(high) <= 0.060
        self.add(
            "100 transactions of 50 rows a second",
            f"p50 {several(middle, ms)}, p99 {several(high, ms)}; {several(cpu, lambda c: f'{c * 100:.0f} %')} of a core",
            "p50 ≤ 15 ms, p99 ≤ 60 ms", met,
        )  # fmt: skip

    def sustained(self):
        """Steps up until the source does not keep the rate or the sink falls behind."""
        best = None
        with self.started(100_000) as house:
            self.stretch(house, 5_000, 3)
            rate = self.options.rate
            while True:
                with house.memory() as memory:
                    run, cpu = self.stretch(house, rate, self.options.seconds)
                say(f"memory: median {memory.median / MB:.0f} MB, peak {memory.peak / MB:.0f} MB")
                if run.grows or run.rate < 0.95 * rate:
                    why = "the sink falls behind" if run.grows else f"the source commits only {run.rate:.0f} rows/s"
                    break
                best = (run, cpu, memory)
                rate = rate * 1.5
            self.chain.agreed()
        if not best:
            self.add("sustained, transactions of 50 rows", f"below {rate:.0f} changes/s: {why}", "≥ 20,000 changes/s", False)
            return
        run, cpu, memory = best
        self.add(
            "sustained, transactions of 50 rows",
            f"{run.rate:,.0f} changes/s with p99 {ms(run.percentile(0.99))}, {cpu[0] / run.seconds:.2f} cores; at {rate:,.0f} {why}",
            "≥ 20,000 changes/s", run.rate >= 19_000,
        )  # fmt: skip
        self.add("peak memory meanwhile", f"{memory.peak / MB:.0f} MB", "≤ 250 MB", memory.peak <= 250 * MB)

    def drain(self):
        """How fast a backlog goes through: transactions that the source made while Gridhouse was stopped."""
        rates, cpus = [], []
        transactions = 8_000
        with self.started(100_000) as house:
            for _ in range(self.options.runs):
                house.stop()
                self.chain.last[0] += 1
                self.source.run(
                    "DO $$ BEGIN FOR n IN 1..%d LOOP PERFORM change_orders(0, %d, ARRAY(SELECT 8 * (1 + (n * 49 + i) %% 12000) "
                    "FROM generate_series(1, 49) i)); COMMIT; END LOOP; END $$" % (transactions, self.chain.last[0])
                )
                before = self.sink.run("SELECT xmin::text FROM region_report ORDER BY 1")
                house.start("serve")
                _, begun = until(
                    "the first change", lambda: self.sink.run("SELECT xmin::text FROM region_report ORDER BY 1") != before, 0.005
                )
                cpu = house.cpu_seconds()
                done = self.chain.agreed(0.005)
                rates.append(transactions * TX_ROWS / (done - begun))
                cpus.append((house.cpu_seconds() - cpu) / (transactions * TX_ROWS))
        self.add(
            "a backlog of transactions of 50 rows",
            f"{several(rates, lambda r: f'{r:,.0f}')} changes/s, {several(cpus, lambda c: f'{c * 1e6:.1f}')} µs of CPU time each",
        )

    def one_transaction(self, house, rows):
        with house.memory() as memory, self.source.connect() as connection:
            before = house.cpu_seconds()
            begun = time.perf_counter()
            connection.execute(f"SELECT add_orders({rows})")
            committed = time.perf_counter()
            done = self.chain.agreed()
            cpu = house.cpu_seconds() - before
        took = done - committed
        say(f"{rows} rows: insert {committed - begun:.2f} s, then {took:.2f} s, {cpu:.2f} CPU s, peak {memory.peak / MB:.0f} MB")
        return took, cpu, memory.peak

    def bulk(self):
        with self.started(1_000) as house:
            runs = [self.one_transaction(house, 200_000) for _ in range(self.options.runs)]
        took, cpu = ([run[i] for run in runs] for i in (0, 1))
        met = statistics.median(took) <= 2.5 and statistics.median(cpu) <= 2
        text = f"{several(took, lambda s: f'{s:.2f} s')}, {several(cpu, lambda s: f'{s:.2f}')} CPU s"
        self.add("200,000 orders in one transaction", text, "≤ 2.5 s, ≤ 2 CPU s", met)

    def million(self):
        runs = []
        for _ in range(self.options.runs):
            with self.started(1_000) as house:
                runs.append(self.one_transaction(house, self.options.rows))
        took, cpu, peak = ([run[i] for run in runs] for i in range(3))
        met = statistics.median(took) <= 10 and statistics.median(peak) <= 400 * MB
        self.add(
            f"a transaction of {self.options.rows:,} rows",
            f"{several(took, lambda s: f'{s:.1f} s')}, {several(cpu, lambda s: f'{s:.1f}')} CPU s, "
            f"{several(peak, lambda b: f'{b / MB:.0f} MB')}",
            "≤ 10 s, ≤ 400 MB", met,
        )  # fmt: skip

    def idle(self):
        shares, memories = [], []
        with self.started(1_000) as house:
            self.stretch(house, 5_000, 3)
            time.sleep(2)
            for _ in range(self.options.runs):
                before, begun = house.cpu_seconds(), time.perf_counter()
                with house.memory() as memory:
                    time.sleep(10)
                shares.append((house.cpu_seconds() - before) / (time.perf_counter() - begun))
                memories.append(memory.median)
        met = statistics.median(memories) <= 80 * MB and statistics.median(shares) <= 0.01
        text = f"{several(memories, lambda b: f'{b / MB:.0f} MB')}, {several(shares, lambda s: f'{s * 100:.2f} %')} of a core"
        self.add("idle", text, "≤ 80 MB, ≤ 1 % of a core", met)

    def snapshot(self):
        took, agreed, cpus, peaks = [], [], [], []
        for _ in range(self.options.runs):
            self.chain.reset(self.options.rows)
            house = Gridhouse(self.options.program, self.place())
            begun = time.perf_counter()
            house.start("run", "-f", self.script)
            with house.memory() as memory:
                until("the socket", house.answers)
                with house.connect() as connection:

                    def arrived():
                        try:
                            rows = connection.execute(f"SELECT COUNT(*) FROM fluss.shop.{LAYERS[0]}").fetchone()[0]
                        except psycopg.errors.UndefinedObject:
                            # The script has not come to the table yet.
                            return False
                        return rows >= self.options.rows

                    _, moment = until("the snapshot in ODS", arrived, every=0.02)
                done = self.chain.agreed()
            took.append(moment - begun)
            agreed.append(done - begun)
            cpus.append(house.cpu_seconds())
            peaks.append(memory.peak)
            say(f"snapshot {took[-1]:.2f} s, sink {agreed[-1]:.2f} s, CPU {cpus[-1]:.2f} s, peak {peaks[-1] / MB:.0f} MB")
            house.remove()
        text = lambda s: f"{s:.2f} s"  # noqa: E731
        self.add(
            f"initial snapshot of {self.options.rows:,} rows into ODS",
            f"{several(took, text)}; the sink after {several(agreed, text)}; {several(cpus, lambda c: f'{c:.1f}')} CPU s, "
            f"peak {several(peaks, lambda b: f'{b / MB:.0f} MB')}",
            "≤ 6 s", statistics.median(took) <= 6,
        )  # fmt: skip

    def restart(self):
        with self.started(self.options.rows) as house:
            self.killed(house, "state restored", 1)
            self.killed(house, "state rebuilt", 3)

    def killed(self, house, way, limit):
        """`kill -9` under load; where state is to be rebuilt, what is kept of it is removed before the start."""
        ticks, answers, began = [], [], set()
        for _ in range(self.options.runs):
            self.stretch(house, 5_000, 3)
            time.sleep(1)
            house.kill()
            if way == "state rebuilt":
                for kept in house.place.rglob("state-*.ghj"):
                    kept.unlink()
            self.chain.last[0] += 1
            self.source.run(self.chain.change(0, self.chain.last[0], 1, 0))
            begun = time.perf_counter()
            house.start("serve")
            _, answered = until("the socket", house.answers, every=0.005)
            number = self.chain.last[0]
            moved = lambda: int(self.sink.run(self.chain.look + " AND region = 'mark-0'")[0][1]) >= number  # noqa: E731, B023
            _, ticked = until("the first tick in the sink", moved, every=0.005)
            answers.append(answered - begun)
            ticks.append(ticked - begun)
            began.update(row[0] for row in house.rows("SELECT began FROM system.status.jobs"))
            say(f"{way}: answers after {answers[-1]:.2f} s, tick in the sink after {ticks[-1]:.2f} s, CPU {house.cpu_seconds():.2f} s")
            self.chain.agreed()
        say("jobs began:", "; ".join(sorted(began)))
        # Jobs that hold nothing are resumed.
        held = [word for word in began if word != "resumed"]
        as_meant = bool(held) and all(word.startswith("rebuilt") == (way == "state rebuilt") for word in held)
        self.add(
            f"kill -9 with {self.options.rows:,} rows → first tick, {way}",
            f"{several(answers, lambda s: f'{s:.2f} s')}; in the sink {several(ticks, lambda s: f'{s:.2f} s')}"
            + ("" if as_meant else "; NOT AS MEANT: " + "; ".join(sorted(began))),
            f"≤ {limit} s", as_meant and statistics.median(answers) <= limit,
        )  # fmt: skip

    def adhoc(self):
        group = f"SELECT region, COUNT(*), SUM(amount), AVG(amount) FROM fluss.shop.{LAYERS[0]} GROUP BY region"
        look = f"SELECT * FROM fluss.shop.{LAYERS[0]} WHERE order_id = %d"
        results = []
        with self.started(self.options.rows) as house:
            self.stretch(house, 5_000, 3)

            def ask(end, every, statement, out):
                took, served = [], []
                with house.connect() as connection:
                    low = connection.pgconn
                    while time.perf_counter() < end:
                        text, waited, now = statement().encode(), waiting(), time.perf_counter()
                        found = low.exec_(text)
                        took.append(time.perf_counter() - now)
                        served.append(max(0, took[-1] - (waiting() - waited)))
                        if not found.ntuples:
                            sys.exit(f"bench/chain: no row: {found.error_message.decode()}")
                        time.sleep(max(0, every - took[-1]))
                out.put((took, served))

            def beside(every, statement, per_second):
                out = FORK.SimpleQueue()
                stretch, cpu = self.stretch(house, 5_000, self.options.seconds, lambda end: ask(end, every, statement, out))
                took, served = map(sorted, out.get())
                say(f"p99 {ms(took[int(len(took) * 0.99)])}, without the client's own waiting for a core {ms(served[int(len(served) * 0.99)])}")
                say(f"{len(took)} queries: median {ms(statistics.median(took))}; the CPU time of each beside the load: "
                    f"{ms((cpu[0] - per_second * stretch.seconds) / len(took))}")
                return stretch.percentile(0.99), took, served

            order = lambda: look % random.randrange(1, self.options.rows)  # noqa: E731
            quiet_looks = []
            for _ in range(self.options.runs):
                out = FORK.SimpleQueue()
                ask(time.perf_counter() + self.options.seconds, 0.01, order, out)
                took = sorted(out.get()[0])
                quiet_looks.append(took[int(len(took) * 0.99)])
                alone, cpu = self.stretch(house, 5_000, self.options.seconds)
                per_second, quiet = cpu[0] / alone.seconds, alone.percentile(0.99)
                grouped, groups, _ = beside(1, lambda: group, per_second)
                looked, looks, served = beside(0.01, order, per_second)
                high = [times[int(len(times) * 0.99)] for times in (looks, served)]
                results.append((statistics.median(groups), high[0], quiet, grouped, looked, high[1]))
                say("group by %.1f ms, look-up p99 %.2f ms, chain p99 quiet %.1f, beside %.1f and %.1f ms" % tuple(x * 1e3 for x in results[-1][:5]))
        column = lambda i: [result[i] for result in results]  # noqa: E731
        group_by = statistics.median(column(0))
        worse = [statistics.median(column(i)) / statistics.median(column(2)) - 1 for i in (3, 4)]
        self.add(
            f"GROUP BY over {self.options.rows:,} rows once a second, 5,000 changes/s",
            f"{several(column(0), ms)}; the chain's p99 {ms(statistics.median(column(2)))} without, {ms(statistics.median(column(3)))} with it",
            "≤ 30 ms, p99 ≤ 20 % worse", group_by <= 0.030 and worse[0] <= 0.2,
        )  # fmt: skip
        self.add(
            "100 look-ups a second through the socket",
            f"p99 {several(quiet_looks, ms)}; beside 5,000 changes/s {several(column(1), ms)}, {several(column(5), ms)} without the client's "
            f"own waiting for a core; the chain's p99 {ms(statistics.median(column(4)))} with them",
            "p99 ≤ 1 ms, the chain's ≤ 20 % worse", statistics.median(quiet_looks) <= 0.001 and worse[1] <= 0.2,
        )  # fmt: skip

    def commerce(self):
        """The chain of solutions/commerce with its own generator: joins in every layer, eight boards."""
        source, sink = self.source.other("commerce"), self.sink.other("commerce_boards")
        house = Gridhouse(self.options.program, self.place())
        databases = ("--set", f"solution_source={source.url()}", "--set", f"solution_sink={sink.url()}")
        script = self.root / "commerce.sql"
        house.call(*databases, "solution", "prepare", "commerce", "--output", script)
        house.start("run", "-f", script)
        until("the boards", lambda: house.alive() and sink.run("SELECT 1 FROM live_board"))
        chain = Commerce(source, sink)
        singles = [single(chain, self.options.samples, (0.1, 0.6)) for _ in range(self.options.runs)]
        generator = house.spawn(*databases, "solution", "generate", "commerce", "--rate", 5_000)
        loads, cores, peaks, rates = [], [], [], []
        landed = lambda: sum(row[0] for row in house.rows("SELECT rows_in FROM system.status.sources"))  # noqa: E731
        try:
            time.sleep(2)
            for _ in range(self.options.runs):
                before, begun = landed(), time.perf_counter()
                with house.memory() as memory:
                    run, cpu = self.measured(house, load, chain, 40, self.options.seconds, 1)
                rates.append((landed() - before) / (time.perf_counter() - begun))
                self.told(run, cpu)
                loads.append(run)
                cores.append(cpu[0] / run.seconds)
                peaks.append(memory.peak)
        finally:
            generator.terminate()
            generator.wait()
        house.call(*databases, "verify", "commerce", "--no-change")
        house.remove()
        medians = [statistics.median(delays) for delays in singles]
        self.add("commerce: single changes at idle", several(medians, ms), "median ≤ 10 ms", statistics.median(medians) <= 0.010)
        middle, high = ([run.percentile(share) for run in loads] for share in (0.5, 0.99))
        self.add(
            "commerce: beside its generator",
            f"{several(rates, lambda r: f'{r:,.0f}')} rows/s, p50 {several(middle, ms)}, p99 {several(high, ms)}; {several(cores, lambda c: f'{c:.2f}')} cores; "
            f"peak {several(peaks, lambda b: f'{b / MB:.0f} MB')}",
        )

    def cluster(self, wanted):
        """The real Fluss and Flink between the same two servers: with the script as it is, and once more with every setting that
        lowers the delay, where there is a `bench/fast.sed` beside the script that starts it."""
        text = self.script.read_text()
        variants = {"": text}
        tuning = pathlib.Path(self.options.cluster).resolve().parent / "bench" / "fast.sed"
        if tuning.exists():
            done = subprocess.run(["sed", "-f", tuning], input=text, text=True, check=True, stdout=subprocess.PIPE)
            variants[" tuned"] = done.stdout
        told = {figure: [] for figure in ("start", "latency", "idle", "bulk")}
        for name, script in variants.items():
            self.chain.reset(1_000)
            place = self.place()
            place.mkdir()
            cluster = Cluster(self.options.cluster, place)
            try:
                begun = time.perf_counter()
                cluster.call("up", "zk", "fluss", "flink")
                cluster.call("sql", "-", text=script)
                _, moment = until("the first row in the sink", lambda: self.sink.run("SELECT 1 FROM region_report LIMIT 1"))
                told["start"].append(f"{moment - begun:.0f} s{name}")
                self.chain.agreed()
                with cluster.memory() as memory:
                    (delays, share) = self.idle_cluster(cluster)
                told["latency"].append(f"{ms(statistics.median(delays))}{name}")
                told["idle"].append(f"{memory.median / MB:,.0f} MB, {share * 100:.0f} % of a core{name}")
                if "bulk" in wanted:
                    took, cpu, peak = self.one_transaction(cluster, 200_000)
                    told["bulk"].append(f"{took:.1f} s, {cpu:.1f} CPU s, {peak / MB:,.0f} MB{name}")
            finally:
                cluster.stop()
        self.beside = {figure: "; ".join(texts) for figure, texts in told.items()}
        for figure, texts in self.beside.items():
            say("= Fluss + Flink,", figure, "|", texts)

    def idle_cluster(self, cluster):
        """Delays of single changes, and the share of a core that waiting takes."""
        delays = single(self.chain, self.options.samples, (1, 3))
        before, begun = cluster.cpu_seconds(), time.perf_counter()
        time.sleep(10)
        return delays, (cluster.cpu_seconds() - before) / (time.perf_counter() - begun)


FIGURES = ["start", "directory", "latency", "load", "sustained", "drain", "bulk", "million", "idle", "snapshot", "restart", "adhoc", "commerce"]


def main():
    parser = argparse.ArgumentParser(prog="bench/chain", description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, help="a gridhouse to measure instead of building one")
    parser.add_argument("--postgres", help=argparse.SUPPRESS)
    parser.add_argument("--only", help="figures with commas between: " + ", ".join(FIGURES))
    parser.add_argument("--runs", type=int, default=3, help="how often each stretch runs")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows where the goal says a million")
    parser.add_argument("--rate", type=int, default=20_000, help="changed rows a second with which the sustained load begins")
    parser.add_argument("--seconds", type=int, default=10, help="how long a stretch of load lasts")
    parser.add_argument("--samples", type=int, default=20, help="single changes of a run")
    parser.add_argument("--dir", type=pathlib.Path, help="where servers and data go: on a real disk; a new directory below it is used")
    parser.add_argument("--cluster", metavar="CLUSTER_SH", help="start the real Fluss and Flink by this script and measure it too")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else FIGURES
    if unknown := [figure for figure in wanted if figure not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]}; there are {', '.join(FIGURES)}")
    # An end from outside stops the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="gridhouse-bench-", dir=options.dir) as root:
        # The servers of PostgreSQL may belong to another user.
        os.chmod(root, 0o755)
        bench = Bench(options, pathlib.Path(root))
        try:
            for figure in wanted:
                bench.run(figure)
            if options.cluster:
                bench.cluster(wanted)
        finally:
            bench.stop()
    bench.show()


if __name__ == "__main__":
    main()
