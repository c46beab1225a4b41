"""Transactions in the source, each with a number, and when the number stands in the sink.

Several connections change the source at once, since one waits for the disk after every transaction. Each is a *lane* with numbers
of its own: a row of the source that only this lane touches holds the newest, and comes through every layer to a row of the sink.
"""

import multiprocessing
import random
import statistics
import sys
import time

from processes import until

# How often the sink is asked for the newest numbers: often enough to see a millisecond at idle, seldom enough under load that
# asking takes little of the machine that is measured.
IDLE_LOOK_S, LOAD_LOOK_S = 0.0005, 0.002
LANES = 8
FORK = multiprocessing.get_context("fork")


class Orders:
    """The chain of tests/reference/pipeline: how its source is changed, and what its sink shows."""

    look = "SELECT substr(region, 6), amount::bigint FROM region_report WHERE region LIKE 'mark-%'"

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.last = [0] * LANES

    def reset(self, orders):
        """A source with so many orders and an empty sink, as if nothing had ever read or written them."""
        self.source.forget_streams()
        self.source.run("TRUNCATE orders")
        marks = "SELECT -i, 0, 'mark-' || i, 'new', 0, TIMESTAMP '2026-01-01'"
        self.source.run(f"INSERT INTO orders {marks} FROM generate_series(0, {LANES - 1}) i")
        self.source.run(f"SELECT add_orders({orders})")
        self.source.run("VACUUM ANALYZE orders")
        self.source.run("CHECKPOINT")
        self.sink.run("TRUNCATE region_report; DROP TABLE IF EXISTS gridhouse_sink")
        self.last = [0] * LANES

    def count(self):
        return self.source.run("SELECT max(order_id) FROM orders")[0][0]

    def change(self, lane, number, rows, count):
        """The statement of one transaction of so many rows out of `count`, the lane's mark among them."""
        # Lanes that meet in a row would wait for each other, and could come to wait in a circle.
        own = [str(lane + LANES * i) for i in random.sample(range(1, count // LANES), rows - 1)] if rows > 1 else []
        return f"SELECT change_orders({lane}, {number}, '{{{','.join(own)}}}')"

    def wanted(self):
        return self.source.run(
            "SELECT region, count(*), sum(amount), round(avg((status = 'paid')::int), 9) FROM orders GROUP BY 1 ORDER BY 1"
        )

    def shown(self):
        return self.sink.run("SELECT region, orders, amount, round(paid_share::numeric, 9) FROM region_report ORDER BY 1")

    def agreed(self, every=0.01):
        """Waits until the sink shows what the source holds; gives the moment."""
        wanted = self.wanted()
        sums = (sum(row[1] for row in wanted), sum(row[2] for row in wanted))
        with self.sink.connect() as connection:
            total = "SELECT sum(orders), sum(amount) FROM region_report"
            _, moment = until("agreement of the sink", lambda: connection.execute(total).fetchone() == sums, every)
        if self.shown() != wanted:
            sys.exit("bench/chain: the sums of the sink are those of the source, its rows are not")
        return moment


class Commerce:
    """The chain of solutions/commerce. A mark is a user who registers on a day that nobody else does, each time on the next: the
    day comes through joins in every layer to a row of the day statistics."""

    look = (
        "SELECT (order_day - DATE '2030-01-01') / 40000, max((order_day - DATE '2030-01-01') % 40000) FROM day_statistics "
        "WHERE order_day >= DATE '2030-01-01' GROUP BY 1"
    )

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.last = [0] * LANES

    def count(self):
        return 0

    def change(self, lane, number, _rows, _count):
        day = f"DATE '2030-01-01' + {lane * 40_000 + number}"
        return (
            f"INSERT INTO users VALUES ({-1 - lane}, 'mark', '', '', '', 'active', {day}) "
            "ON CONFLICT (user_id) DO UPDATE SET registered_at = EXCLUDED.registered_at"
        )


class Watcher:
    """Asks the sink for the newest number of every lane."""

    def __init__(self, chain):
        self.connection = chain.sink.connect()
        self.low = self.connection.pgconn
        self.low.prepare(b"look", chain.look.encode())

    def newest(self):
        found = self.low.exec_prepared(b"look", [])
        if found.error_message:
            sys.exit(f"bench/chain: {found.error_message.decode()}")
        return {int(found.get_value(i, 0)): int(found.get_value(i, 1)) for i in range(found.ntuples)}

    def wait_for(self, lane, number, every):
        return until(f"transaction {number} in the sink", lambda: self.newest().get(lane, 0) >= number, every)[1]

    def close(self):
        self.connection.close()


def single(chain, samples, pauses):
    """Delays of single changes, one after the other, in seconds; each waits first, so that it meets timers at any phase."""
    watcher = Watcher(chain)
    delays = []
    with chain.source.connect() as connection:
        for _ in range(samples):
            time.sleep(random.uniform(*pauses))
            chain.last[0] += 1
            connection.execute(chain.change(0, chain.last[0], 1, 0))
            committed = time.perf_counter()
            delays.append(watcher.wait_for(0, chain.last[0], IDLE_LOOK_S) - committed)
    watcher.close()
    return delays


def drive(chain, lane, first, moments, rows, results):
    """Sends a lane's transactions, each at its moment, and tells when each was committed."""
    random.seed(first * LANES + lane)
    count = chain.count()
    commits = []
    with chain.source.connect() as connection:
        for number, moment in enumerate(moments, first):
            statement = chain.change(lane, number, rows, count)
            pause = moment - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            connection.execute(statement)
            commits.append(time.perf_counter())
    results.put((lane, commits))


class Load:
    """What a stretch of load has shown: (moment of the commit, delay) of every transaction, in the order of the commits."""

    def __init__(self, seen, begun, rows):
        self.seen, self.rows = sorted(seen), rows
        self.delays = [delay for _, delay in self.seen]
        self.seconds = self.seen[-1][0] - begun

    @property
    def rate(self):
        """Changed rows a second that the source has committed."""
        return len(self.delays) * self.rows / self.seconds

    def percentile(self, share):
        ordered = sorted(self.delays)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    @property
    def grows(self):
        """Whether the last quarter waits longer than the second, by more than a twentieth of the whole time."""
        quarter = len(self.delays) // 4
        early, late = self.delays[quarter : 2 * quarter], self.delays[-quarter:]
        return statistics.median(late) - statistics.median(early) > self.seconds / 20


def load(chain, rate, seconds, rows, meanwhile=None):
    """Transactions of `rows` rows at `rate` a second for so long: the delay of each until it stands in the sink. `meanwhile` runs
    in a process of its own beside it, with the moment at which it should end."""
    watcher, results = Watcher(chain), FORK.Queue()
    begun = time.perf_counter() + 0.3
    moments = [begun + i / rate for i in range(int(rate * seconds))]
    firsts = [last + 1 for last in chain.last]
    helpers = []
    for lane in range(LANES):
        own = moments[lane::LANES]
        chain.last[lane] += len(own)
        helpers.append(FORK.Process(target=drive, args=(chain, lane, firsts[lane], own, rows, results)))
    if meanwhile:
        helpers.append(FORK.Process(target=meanwhile, args=(begun + seconds,)))
    for helper in helpers:
        helper.start()
    seen = {lane: [] for lane in range(LANES)}
    missing, deadline = set(range(LANES)), begun + seconds * 3 + 60
    while missing:
        newest, now = watcher.newest(), time.perf_counter()
        for lane in list(missing):
            number = newest.get(lane, 0)
            if number >= firsts[lane] and (not seen[lane] or seen[lane][-1][0] < number):
                seen[lane].append((number, now))
            if number >= chain.last[lane]:
                missing.discard(lane)
        if now > deadline:
            sys.exit(f"bench/chain: transactions of lanes {sorted(missing)} are not in the sink after {now - begun:.0f} s")
        time.sleep(LOAD_LOOK_S)
    delays = []
    for _ in range(LANES):
        lane, commits = results.get()
        at = 0
        for number, committed in enumerate(commits, firsts[lane]):
            while seen[lane][at][0] < number:
                at += 1
            delays.append((committed, seen[lane][at][1] - committed))
    for helper in helpers:
        helper.join()
    watcher.close()
    return Load(delays, begun, rows)
