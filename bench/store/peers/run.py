"""One figure of one peer, in a process of its own; prints a line of JSON per stretch, as bench-store does.

usage: run.py COMMAND --dir DIR [--rows N] [--updates N] [--batch N] [--runs N] [--threads N] [SQL ...]
Commands: rocksdb-load, rocksdb-lookup, duckdb-load (upserts by key, batch by batch), duckdb-append, duckdb-fill (a table for
scans, half of it updated), duckdb-devices, duckdb-query, duckdb-lookup, parquet-devices.
Every batch that is loaded or appended is durable before the next begins. Rows are made up and handed over as Arrow (DuckDB) or
as pairs of bytes (RocksDB), which is not measured.
"""

import argparse
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rows
from meter import Meter, anon_bytes, disk_bytes

BLOCK_BATCHES = 50
READINGS = "id BIGINT, site VARCHAR, load_mw DOUBLE, volt_kv DOUBLE, state INTEGER, seen TIMESTAMP_MS, note VARCHAR"
DUCKDB_TYPES = {"double": "DOUBLE", "bool": "BOOLEAN", "string": "VARCHAR", "timestamp[ms]": "TIMESTAMP_MS"}


def batches(first, count, size):
    """The starts and sizes of batches, in blocks."""
    starts = range(first, first + count, size)
    for at in range(0, len(starts), BLOCK_BATCHES):
        yield [(start, min(size, first + count - start)) for start in starts[at : at + BLOCK_BATCHES]]


def phases(options):
    yield "insert", 0, options.rows
    if options.updates:
        yield "update", options.rows, options.updates


# RocksDB


def rocksdb(options):
    from rocksdict import BlockBasedOptions, Cache, Options, Rdict

    setup = Options(raw_mode=True)
    setup.create_if_missing(True)
    setup.increase_parallelism(2)
    table = BlockBasedOptions()
    table.set_bloom_filter(10.0, False)
    # All blocks stay decoded in memory: a warm look-up reads no file.
    table.set_block_cache(Cache(4 << 30))
    setup.set_block_based_table_factory(table)
    return Rdict(os.path.join(options.dir, "rocksdb"), setup)


def rocksdb_load(options):
    from rocksdict import WriteBatch, WriteOptions

    db = rocksdb(options)
    durable = WriteOptions()
    durable.sync = True
    keys = rows.Keys(options.seed, options.rows)

    def make(start, size):
        batch = WriteBatch(raw_mode=True)
        for key, value in zip(*rows.key_values(options.seed, start, keys.of(np.arange(start, start + size)))):
            batch.put(key, value)
        return batch

    for figure, first, count in phases(options):
        meter = Meter()
        for block in batches(first, count, options.batch):
            for batch in meter.aside(lambda block=block: [make(*each) for each in block]):
                db.write(batch, durable)
        meter.report(figure, count)
    meter = Meter()
    db.flush(True)
    db.close()
    meter.report("close", 0, disk={"total": disk_bytes(os.path.join(options.dir, "rocksdb"))})


def rocksdb_lookup(options):
    meter = Meter()
    db = rocksdb(options)
    numbers = rows.draw(options.seed, 300, np.arange(options.count)) % rows.U(options.rows)
    flat = numbers.astype(">u8").tobytes()
    names = meter.aside(lambda: [flat[i * 8 : i * 8 + 8] for i in range(options.count)])
    assert db.get(names[0]) is not None
    meter.report("first", 1)
    for figure in ("cold", "warm"):
        meter = Meter()
        for name in names:
            if db.get(name) is None:
                raise SystemExit("a key has no row")
        meter.report(figure, options.count)
    meter = Meter()
    for at in range(0, options.count, 1000):
        db.get(names[at : at + 1000])
    meter.report("by_1000", options.count)
    db.close()


# DuckDB


def duckdb(options, read_only=False):
    import duckdb

    db = duckdb.connect(os.path.join(options.dir, "duckdb.db"), read_only=read_only)
    db.execute(f"SET threads = {options.threads}")
    return db


def reading_batch(options, keys, start, size):
    return pa.Table.from_batches([rows.readings(options.seed, start, keys.of(np.arange(start, start + size)))])


def duckdb_write(options, db, statement, meter, first, count, make):
    for block in batches(first, count, options.batch):
        for batch in meter.aside(lambda block=block: [make(*each) for each in block]):
            meter.aside(lambda batch=batch: db.register("batch", batch))
            db.execute(statement)


def duckdb_close(options, db):
    meter = Meter()
    db.execute("CHECKPOINT")
    db.close()
    meter.report("close", 0, disk={"total": disk_bytes(os.path.join(options.dir, "duckdb.db"))})


def duckdb_load(options):
    db = duckdb(options)
    db.execute(f"CREATE TABLE readings ({READINGS}, PRIMARY KEY (id))")
    keys = rows.Keys(options.seed, options.rows)
    for figure, first, count in phases(options):
        meter = Meter()
        make = lambda start, size: reading_batch(options, keys, start, size)  # noqa: E731
        duckdb_write(options, db, "INSERT OR REPLACE INTO readings SELECT * FROM batch", meter, first, count, make)
        meter.report(figure, count)
    duckdb_close(options, db)


def duckdb_append(options):
    db = duckdb(options)
    db.execute(f"CREATE TABLE readings ({READINGS})")
    keys, meter = rows.Keys(options.seed, options.rows), Meter()
    make = lambda start, size: reading_batch(options, keys, start, size)  # noqa: E731
    duckdb_write(options, db, "INSERT INTO readings SELECT * FROM batch", meter, 0, options.rows, make)
    meter.report("append", options.rows)
    duckdb_close(options, db)


def duckdb_fill(options):
    """All keys in bulk, then the updates in two statements: the table in DuckDB's own best form, without an index."""
    db = duckdb(options)
    db.execute(f"CREATE TABLE readings ({READINGS})")
    keys = rows.Keys(options.seed, options.rows)
    for statement, first, count in (
        ("INSERT INTO readings SELECT * FROM batch", 0, options.rows),
        ("INSERT INTO updates SELECT * FROM batch", options.rows, options.updates),
    ):
        db.execute(f"CREATE TABLE IF NOT EXISTS updates ({READINGS})")
        for start in range(first, first + count, 500_000):
            size = min(500_000, first + count - start)
            db.register("batch", reading_batch(options, keys, start, size))
            db.execute(statement)
    # Its UPDATE of text columns takes 95 CPU seconds for half a million rows: a deletion and an insertion come to the same.
    db.execute("DELETE FROM readings WHERE id IN (SELECT id FROM updates)")
    db.execute("INSERT INTO readings SELECT * FROM updates")
    db.execute("DROP TABLE updates")
    duckdb_close(options, db)


def duckdb_devices(options):
    db = duckdb(options)
    sample = rows.devices(options.seed, 0, 1)
    integers = {"int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT"}
    columns = ", ".join(f"{field.name} {({**DUCKDB_TYPES, **integers})[str(field.type)]}" for field in sample.schema)
    db.execute(f"CREATE TABLE devices ({columns})")
    meter = Meter()
    make = lambda start, size: pa.Table.from_batches([rows.devices(options.seed, start, size)])  # noqa: E731
    duckdb_write(options, db, "INSERT INTO devices SELECT * FROM batch", meter, 0, options.rows, make)
    meter.report("devices", options.rows)
    duckdb_close(options, db)


def duckdb_query(options):
    db = duckdb(options, read_only=True)
    for sql in options.sql:
        wall, cpu = [], []
        answer = db.execute(sql).fetchall()
        for _ in range(options.runs):
            meter = Meter()
            answer = db.execute(sql).fetchall()
            wall.append(meter.wall_s())
            cpu.append(meter.cpu_s())
        answer = [[str(value) for value in row] for row in answer]
        print(json.dumps({"figure": "query", "wall": wall, "cpu": cpu, "answer": answer, "anon_bytes": anon_bytes()}))


def duckdb_lookup(options):
    db = duckdb(options, read_only=True)
    numbers = rows.draw(options.seed, 300, np.arange(options.count)) % rows.U(options.rows)
    keys = [int(number) for number in numbers]
    for figure in ("cold", "warm"):
        meter = Meter()
        for key in keys:
            if not db.execute("SELECT * FROM readings WHERE id = ?", [key]).fetchall():
                raise SystemExit("a key has no row")
        meter.report(figure, options.count)


# Parquet


def parquet_devices(options):
    path = os.path.join(options.dir, "devices.parquet")
    schema = rows.devices(options.seed, 0, 1).schema
    meter = Meter()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, options.rows, 1 << 20):
            batch = meter.aside(lambda start=start: rows.devices(options.seed, start, min(1 << 20, options.rows - start)))
            writer.write_batch(batch)
    meter.report("devices", options.rows, disk={"total": disk_bytes(path)})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("--dir")
    for name, default in (("rows", 10_000_000), ("updates", 0), ("batch", 10_000), ("count", 1_000_000), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("sql", nargs="*")
    options = parser.parse_intermixed_args()
    if options.command == "digest":
        print(json.dumps(rows.digests(options.seed)))
    else:
        globals()[options.command.replace("-", "_")](options)


main()
