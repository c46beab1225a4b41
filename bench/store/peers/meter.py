"""What a stretch of work took, as src/meter.rs measures it: wall-clock time, CPU seconds of all threads, anonymous memory."""

import json
import os
import time


class Meter:
    def __init__(self):
        self.aside_wall = self.aside_cpu = 0.0
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def aside(self, what):
        """Does something that is not measured: making up rows, and handing them over."""
        wall, cpu = time.perf_counter(), time.thread_time()
        result = what()
        self.aside_wall += time.perf_counter() - wall
        self.aside_cpu += time.thread_time() - cpu
        return result

    def wall_s(self):
        return time.perf_counter() - self.wall - self.aside_wall

    def cpu_s(self):
        return time.process_time() - self.cpu - self.aside_cpu

    def report(self, figure, rows, **more):
        line = {"figure": figure, "rows": rows, "wall_s": self.wall_s(), "cpu_s": self.cpu_s(), "anon_bytes": anon_bytes()}
        print(json.dumps({**line, **more}), flush=True)


def anon_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))


def disk_bytes(path):
    if os.path.isfile(path):
        return os.path.getsize(path) + (os.path.getsize(path + ".wal") if os.path.exists(path + ".wal") else 0)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
