#!/usr/bin/env python3
"""Records what a real Fluss + Flink cluster makes of pipeline/: the rows of every layer and of the sink, as expected/*.tsv.

usage: record.py CLUSTER_SH        (needs psql; CLUSTER_SH starts a cluster: `CLUSTER_SH up zk fluss flink pg`)

Run it beside a fresh cluster, and again after the scripts in pipeline/ have changed. `tests/reference` of the test suite
compares Gridhouse with what is recorded here.
"""
import pathlib
import subprocess
import sys
import time

here = pathlib.Path(__file__).resolve().parent / "pipeline"
cluster = sys.argv[1]
PATIENCE_S = 300


def run(*command, text=None):
    done = subprocess.run([cluster, *command], input=text, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def psql(database, sql):
    return run("psql", "-d", database, "-v", "ON_ERROR_STOP=1", "-At", "-F", "\t", "-c", sql).splitlines()


def script(database, name):
    run("psql", "-d", database, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(here / name))


def flink(query):
    """The rows of a batch query that prints a table."""
    head = ("CREATE CATALOG fluss WITH ('type' = 'fluss', 'bootstrap.servers' = '127.0.0.1:@FLUSS_PORT@');\n"
            "SET 'execution.runtime-mode' = 'batch';\nSET 'sql-client.display.max-column-width' = '200';\n")
    lines = [line for line in run("sql", "-", text=head + query + "\n").splitlines() if line.startswith("|")]
    return sorted("\t".join(cell.strip() for cell in line.strip("|").split("|")) for line in lines[1:])


REPORT = "SELECT region, orders, amount, paid_share FROM region_report ORDER BY region COLLATE \"C\""
TRUTH = """SELECT region, count(*), sum(amount)::numeric(20,2), sum((status = 'paid')::int)::float8 / count(*)
           FROM orders GROUP BY region ORDER BY region COLLATE "C" """


def settle(stage):
    """Waits until the sink agrees with the source, then until it stays so."""
    deadline = time.monotonic() + PATIENCE_S
    while psql("sink", REPORT) != psql("source", TRUTH):
        if time.monotonic() > deadline:
            sys.exit(f"{stage}: the sink does not agree with the source:\n{psql('sink', REPORT)}\n{psql('source', TRUTH)}")
        time.sleep(1)
    time.sleep(3)


def record(stage, layers):
    settle(stage)
    out = here / "expected" / stage
    out.mkdir(parents=True, exist_ok=True)
    (out / "region_report.tsv").write_text("\n".join(psql("sink", REPORT)) + "\n")
    for name, query in layers.items():
        (out / f"{name}.tsv").write_text("\n".join(flink(query)) + "\n")
    print(stage, "recorded")


small = {table: f"SELECT * FROM fluss.shop.{table} LIMIT 2048;" for table in ("ods_orders", "dwd_orders", "dws_region_status", "ads_region")}
large = {"dws_region_status": small["dws_region_status"], "ads_region": small["ads_region"],
         "ods_count": "SELECT COUNT(*) FROM fluss.shop.ods_orders;", "dwd_count": "SELECT COUNT(*) FROM fluss.shop.dwd_orders;"}
script("postgres", "source.sql")
run("sql", str(here / "pipeline.sql"))
record("0-start", small)
script("source", "changes-1.sql")
record("1-changes", small)
script("source", "changes-2.sql")
record("2-bulk", large)
