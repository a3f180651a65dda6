"""Interpreters of several versions and the command line contend for one lock: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import tickets_of
from conftest import StartChild
from lockbydir import Lock

ACQUISITIONS = int(os.environ.get("LOCKBYDIR_ACQUISITIONS", "2000"))
"""The number of acquisitions of all processes together."""
PYTHONS = os.environ.get("LOCKBYDIR_PYTHONS", f"{sys.executable}{os.pathsep}{sys.executable}")
"""Interpreters that have the package, with the path separator between them."""

COUNTS = """
turns, counter, tokens = int(receive()), name + ".count", name + ".tokens"
lock = Lock(name, patience=60)
say(sys.version.split()[0])
receive()
for _ in range(turns):
    with lock as held:
        with open(counter) as file:
            read = int(file.read())
        with open(counter, "w") as file:
            file.write(str(read + 1))
        with open(tokens, "a") as file:
            file.write(f"{held.token}\\n")
say("done")
"""

SHELL = """
for turn in $(seq "$1"); do
    "$2" run --patience 60s "$3" -- sh -c '
        read -r count < "$1.count"
        echo $((count + 1)) > "$1.count"
        echo "$LOCKBYDIR_TOKEN" >> "$1.tokens"
    ' count "$3" || exit
done
"""


@pytest.mark.time_limit(300)
def test_interpreters_and_the_command_line_lose_no_count(
    name: str, child: StartChild, program: str
) -> None:
    Path(name + ".count").write_text("0\n")
    pythons = PYTHONS.split(os.pathsep)
    # Each turn of the command line starts two processes: a tenth of the turns keeps
    # it busy for the whole test.
    by_shell = ACQUISITIONS // 10
    turns = (ACQUISITIONS - by_shell) // len(pythons)
    counters = [child(COUNTS, python=python) for python in pythons]
    for counter in counters:
        counter.send(str(turns))
    versions = [counter.read_line() for counter in counters]

    begun = time.monotonic()
    shell = subprocess.Popen(["sh", "-c", SHELL, "count", str(by_shell), program, name])
    for counter in counters:
        counter.send()
    ends = [counter.read_line(300) for counter in counters]
    assert shell.wait(300) == 0
    took = time.monotonic() - begun

    assert ends == ["done"] * len(pythons)
    tokens = [int(line) for line in Path(name + ".tokens").read_text().split()]
    made = turns * len(pythons) + by_shell
    print(f"{made} acquisitions by Python {', '.join(versions)} and the program in {took:.1f} s")
    assert int(Path(name + ".count").read_text()) == made == len(tokens)
    assert tokens == sorted(set(tokens))
    assert not Lock(name).locked() and tickets_of(name) == []
