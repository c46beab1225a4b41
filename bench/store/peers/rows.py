"""The rows of the benchmarks, as the Rust side makes them (src/draw.rs, readings.rs, devices.rs), in numpy and Arrow."""

import numpy as np
import pyarrow as pa

U = np.uint64
GOLDEN = U(0x9E3779B97F4A7C15)
START_MILLIS = 1_767_225_600_000
SITES = 5_000
DEVICES = 2_000
EVERY_MILLIS = 15_000
ALARMS = ["OVERLOAD", "UNDERVOLTAGE", "COMMUNICATION", "DOOR OPEN"]


def draw(seed, column, row):
    """64 bits for a column and rows: SplitMix64's finish over a sum of odd multiples. Everything wraps."""
    with np.errstate(over="ignore"):
        z = U(seed) * U(0xD6E8FEB86659FD93) + U(column) * U(0xA0761D6478BD642F) + np.asarray(row, dtype=U) * GOLDEN
        z = (z ^ (z >> U(30))) * U(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U(27))) * U(0x94D049BB133111EB)
        return z ^ (z >> U(31))


class Shuffle:
    """The numbers below count in an order that looks random."""

    def __init__(self, seed, count):
        self.count = U(count)
        bits = max((count - 1).bit_length(), 2)
        self.mask, self.shift = U((1 << bits) - 1), U((bits + 1) // 2)
        self.factors = [draw(seed, 1000 + i, 0) | U(1) for i in range(3)]

    def _once(self, x):
        with np.errstate(over="ignore"):
            for factor in self.factors:
                x = x ^ (x >> self.shift)
                x = (x * factor) & self.mask
        return x ^ (x >> self.shift)

    def at(self, places):
        x = self._once(np.asarray(places, dtype=U))
        while (out := x >= self.count).any():
            x[out] = self._once(x[out])
        return x


class Keys:
    """Which key each write has: first every key once, then keys again in another order."""

    def __init__(self, seed, count):
        self.count, self.first, self.again = count, Shuffle(seed, count), Shuffle(seed + 1, count)

    def of(self, writes):
        writes = np.asarray(writes, dtype=U)
        keys = np.empty(len(writes), dtype=U)
        early = writes < U(self.count)
        for chosen, order in ((early, self.first), (~early, self.again)):
            keys[chosen] = order.at(writes[chosen] % U(self.count))
        return keys


def wave(x, half):
    m = x % U(2 * half)
    return np.where(m <= U(half), m, U(2 * half) - m)


def digits(values, width):
    """Decimal digits as a matrix of bytes, zeros in front."""
    powers = np.array([10**i for i in range(width - 1, -1, -1)], dtype=U)
    return (values[:, None] // powers % U(10)).astype(np.uint8) + np.uint8(ord("0"))


def hexes(values, width):
    shifts = np.array([4 * i for i in range(width - 1, -1, -1)], dtype=U)
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    return letters[(values[:, None] >> shifts & U(15)).astype(np.uint8)]


def constant(text, rows):
    return np.broadcast_to(np.frombuffer(text.encode(), dtype=np.uint8), (rows, len(text)))


def texts(*parts):
    """Texts of one width from matrices of bytes."""
    matrix = np.ascontiguousarray(np.concatenate(parts, axis=1))
    rows, width = matrix.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(matrix)), matrix


def readings_columns(seed, first_write, keys):
    """Columns of the writes from first_write on, and the texts as matrices."""
    writes = np.arange(first_write, first_write + len(keys), dtype=U)
    rows = len(keys)
    site, site_bytes = texts(constant("substation-", rows), digits(draw(seed, 1, keys) % U(SITES), 5))
    note, note_bytes = texts(
        constant("checked by crew-", rows),
        digits(draw(seed, 6, writes) % U(10_000), 4),
        constant(", reading ", rows),
        hexes(draw(seed, 7, writes), 14),
    )
    numbers = {
        "id": keys.astype(np.int64),
        "load_mw": (draw(seed, 2, writes) % U(500_000)).astype(np.float64) / 1000.0,
        "volt_kv": (U(100_000) + draw(seed, 3, writes) % U(20_000)).astype(np.float64) / 1000.0,
        "state": (draw(seed, 4, writes) % U(8)).astype(np.int32),
        "seen": START_MILLIS + 10 * writes.astype(np.int64),
    }
    return numbers, (site, note), (site_bytes, note_bytes)


def readings(seed, first_write, keys):
    """A record batch of the writes from first_write on."""
    numbers, (site, note), _ = readings_columns(seed, first_write, keys)
    columns = {name: pa.array(values) for name, values in numbers.items()}
    columns["seen"] = columns["seen"].cast(pa.timestamp("ms"))
    order = ["id", "site", "load_mw", "volt_kv", "state", "seen", "note"]
    return pa.RecordBatch.from_arrays([{"site": site, "note": note, **columns}[name] for name in order], names=order)


def key_values(seed, first_write, keys):
    """The same rows as pairs of bytes for a store of keys and values: 8 and 88 bytes."""
    numbers, _, (site, note) = readings_columns(seed, first_write, keys)
    fixed = [numbers[name].view(np.uint8).reshape(len(keys), -1) for name in ("load_mw", "volt_kv", "state", "seen")]
    values = np.ascontiguousarray(np.concatenate([site, *fixed, note], axis=1))
    names = keys.astype(">u8").tobytes()
    width = values.shape[1]
    flat = values.tobytes()
    return [names[i * 8 : i * 8 + 8] for i in range(len(keys))], [
        flat[i * width : (i + 1) * width] for i in range(len(keys))
    ]


def devices(seed, first, count):
    """A record batch of device telemetry, rows first to first + count."""
    row = np.arange(first, first + count, dtype=U)
    device, round_ = row % U(DEVICES), row // U(DEVICES)
    noise = lambda column: draw(seed, 64 + column, row)  # noqa: E731
    own = lambda column: draw(seed, 128 + column, device)  # noqa: E731
    load = wave(round_ + own(10) % U(1440), 720)
    slow_volt = wave(round_ + own(7) % U(2000), 1000) // U(4)
    slow_heat = wave(round_ + own(19) % U(5760), 2880) // U(16)
    scaled = lambda values, scale: pa.array(values.astype(np.float64) / scale)  # noqa: E731
    volt = lambda column: scaled(U(10_000) + own(6) % U(400) + slow_volt + noise(column) % U(21), 1000.0)  # noqa: E731
    current = lambda column: scaled(own(9) % U(2000) + load * U(2) + noise(column) % U(50), 10.0)  # noqa: E731
    ints = lambda values, kind=np.int32: pa.array(values.astype(np.int64).astype(kind))  # noqa: E731
    alarm_of = np.where(noise(21) % U(500) == 0, (noise(21) // U(500) % U(4)).astype(np.int32), -1)
    alarm = pa.array(ALARMS).take(pa.array(alarm_of, mask=alarm_of < 0))
    columns = {
        "device_id": ints(U(100_000) + device, np.int64),
        "seen": ints(START_MILLIS + round_.astype(np.int64) * EVERY_MILLIS + (noise(1) % U(500)).astype(np.int64), np.int64).cast(pa.timestamp("ms")),
        "site": texts(constant("substation-", count), digits(device // U(40), 5))[0],
        "feeder": texts(constant("F", count), digits(device % U(40), 3))[0],
        "state": ints(np.where(noise(4) % U(1000) < 5, 2, 1)),
        "quality": ints(np.where(noise(5) % U(1000) < 3, 64, 192), np.int16),
        "volt_a_kv": volt(6),
        "volt_b_kv": volt(7),
        "volt_c_kv": volt(8),
        "current_a": current(9),
        "current_b": current(10),
        "current_c": current(11),
        "active_kw": scaled(own(12) % U(20_000) + load * U(20) + noise(12) % U(200), 10.0),
        "reactive_kvar": scaled(own(13) % U(5_000) + load * U(4) + noise(13) % U(100), 10.0),
        "power_factor": scaled(U(900) + noise(14) % U(100), 1000.0),
        "frequency_hz": scaled(U(49_950) + draw(seed, 200, round_) % U(100) + noise(15) % U(3), 1000.0),
        "energy_kwh": ints(own(16) % U(10_000_000) + round_ * (U(10) + own(17) % U(20)) + noise(16) % U(10), np.int64),
        "temperature_c": scaled(U(150) + own(18) % U(200) + slow_heat + noise(17) % U(5), 10.0),
        "humidity": ints(U(30) + own(20) % U(40) + noise(18) % U(5)),
        "tap_position": ints(U(1) + (own(21) % U(17) + round_ // U(500)) % U(17)),
        "breaker_closed": pa.array(noise(20) % U(2000) != 0),
        "alarm": alarm,
        "firmware": texts(constant("v2.", count), digits(own(22) % U(5), 1), constant(".", count), digits(own(23) % U(10), 1))[0],
        "signal_dbm": ints(-(U(50) + own(24) % U(30) + noise(23) % U(9)).astype(np.int64)),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def digest(batch):
    """A number per column that depends on every byte of its values and on their order, as in draw.rs."""

    def of(column):
        if pa.types.is_string(column.type):
            data = np.frombuffer("".join(column.drop_null().to_pylist()).encode(), dtype=np.uint8)
        elif pa.types.is_boolean(column.type):
            data = column.to_numpy(zero_copy_only=False).astype(np.uint8)
        else:
            data = np.frombuffer(column.buffers()[1], dtype=np.uint8)[: len(column) * column.type.byte_width]
        with np.errstate(over="ignore"):
            factors = np.arange(len(data), dtype=U) * GOLDEN | U(1)
            return int(((data.astype(U) + U(1)) * factors).sum(dtype=U))

    return [of(column) for column in batch.columns]


def digests(seed):
    keys = Keys(seed, 5_000).of(np.arange(7_500))
    return {"readings": digest(readings(seed, 0, keys)), "devices": digest(devices(seed, 0, 10_000))}
