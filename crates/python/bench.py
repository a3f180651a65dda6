#!/usr/bin/env python3
"""What locking costs in Python, beside the program in Rust and beside filelock, in one run.

    python bench.py --program target/release/lockbydir [--folder /dev/shm] [--rounds 7]

The measurements take turns, so that a slow moment of the machine affects all of them. Prints
medians and their ratios. Needs the packages lockbydir and filelock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from lockbydir import Lock

WAITER_CODE = """
import sys, time, os
from {package} import {kind}
lock = {kind}(sys.argv[1]{options})
out = []
for line in sys.stdin:
    os.write(1, b"waits\\n")
    lock.acquire()
    got = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    lock.release()
    os.write(1, f"{{got}}\\n".encode())
"""


def each(act: Callable[[], object], times: int) -> float:
    """Returns the average seconds of one call."""
    begun = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - begun) / times


def within(lock: Lock | FileLock) -> Callable[[], None]:
    def act() -> None:
        with lock:
            pass

    return act


def in_rust(program: str, folder: str) -> dict[str, float]:
    """Returns the seconds of the same operations, measured by the program's own bench."""
    done = subprocess.run(
        [program, "bench", folder, "--quick", "--json", "--waiters", "1"],
        check=True,
        capture_output=True,
    )
    return {one["name"]: one["median_s"] for one in json.loads(done.stdout)["uncontended"]}


class Waiter:
    """A process that waits for a lock each time it reads a line, and prints when it acquired it."""

    def __init__(self, package: str, kind: str, name: str, options: str) -> None:
        code = WAITER_CODE.format(package=package, kind=kind, options=options)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def handoff(self, lock: Lock | FileLock, pause: float) -> float:
        """Returns the seconds from our release to its acquisition."""
        assert self.process.stdin and self.process.stdout
        lock.acquire()
        self.process.stdin.write(b"go\n")
        self.process.stdout.readline()
        # The waiter must be waiting by then, at any point of its polling interval. The loop is busy, as a
        # holder works meanwhile.
        end = time.perf_counter() + pause
        while time.perf_counter() < end:
            pass
        released = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        lock.release()
        return (int(self.process.stdout.readline()) - released) / 1e9

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def measure(folder: str, program: str, rounds: int, times: int) -> dict[str, list[float]]:
    acts = {
        "with Lock": within(Lock(f"{folder}/plain")),
        "with Lock, lingering": within(Lock(f"{folder}/lingers", linger=60)),
        "with FileLock": within(FileLock(f"{folder}/filelock")),
    }
    ours, theirs = Lock(f"{folder}/over"), FileLock(f"{folder}/over.filelock")
    waiters = (
        Waiter("lockbydir", "Lock", f"{folder}/over", ", patience=None"),
        Waiter("filelock", "FileLock", f"{folder}/over.filelock", ""),
    )
    found: dict[str, list[float]] = {}

    def note(what: str, seconds: float) -> None:
        found.setdefault(what, []).append(seconds)

    for number in range(rounds):
        rust = in_rust(program, folder)
        note("Rust", rust["lockbydir"])
        note("Rust, lingering", rust["lockbydir_linger"])
        for what, act in acts.items():
            act()
            note(what, each(act, times))
        for handoff in range(8):
            pause = 0.06 + 0.0117 * (handoff + number % 2)
            note("handoff, Lock", waiters[0].handoff(ours, pause))
            note("handoff, FileLock", waiters[1].handoff(theirs, pause))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    for waiter in waiters:
        waiter.end()
    return found


def shown(seconds: float) -> str:
    return f"{1e6 * seconds:.1f} \u00b5s" if seconds < 1e-3 else f"{1e3 * seconds:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where to lock")
    parser.add_argument("--program", required=True, help="the program lockbydir, built for release")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=1000, help="with statements in a round")
    given = parser.parse_args()
    program = os.path.abspath(given.program)

    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measure(folder, program, given.rounds, given.times)
    medians = {what: statistics.median(times) for what, times in found.items()}

    def ratio(what: str, other: str) -> tuple[str, ...]:
        times = medians[what] / medians[other]
        return what, shown(medians[what]), other, shown(medians[other]), f"{times:.2f} x"

    rows = [
        ("what", "median", "beside", "median", "ratio"),
        ratio("with Lock", "Rust"),
        ratio("with Lock, lingering", "Rust, lingering"),
        ratio("with Lock, lingering", "with FileLock"),
        ratio("with Lock", "with FileLock"),
        ratio("handoff, FileLock", "handoff, Lock"),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"medians of {given.rounds} rounds in {given.folder}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
