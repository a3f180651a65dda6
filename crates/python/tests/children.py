"""Real processes that tests start, exchange lines with, kill and wait for; each wait is bounded."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Optional

BOUND = 20.0
"""How long a test waits for something that should happen at once, in seconds."""

_PRELUDE = """
import os, sys, time, threading, signal
from lockbydir import *
from lockbydir import _native
name = sys.argv[1]
# A process that is started in the background of a script ignores it, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
def say(*words):
    os.write(1, (" ".join(str(word) for word in words) + "\\n").encode())
def receive():
    return sys.stdin.readline().strip()
"""


class Child:
    """A Python process that runs code, which may use `say`, `receive` and `name`."""

    def __init__(self, code: str, name: object, *, python: str = sys.executable) -> None:
        program = _PRELUDE + textwrap.dedent(code)
        self.process = subprocess.Popen(
            [python, "-c", program, os.fspath(str(name))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._output = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def read_line(self, bound: float = BOUND) -> str:
        """Returns the next line of its output."""
        assert self.process.stdout is not None
        until = time.monotonic() + bound
        while b"\n" not in self._output:
            rest = until - time.monotonic()
            ready = select.select([self.process.stdout], [], [], max(rest, 0))[0]
            assert ready, f"the child said nothing more within {bound} s, after {self._output!r}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"the child ended: {self.end()}"
            self._output += piece
        line, self._output = self._output.split(b"\n", 1)
        return line.decode()

    def has_output(self) -> bool:
        """Returns true if it has output that was not read yet."""
        assert self.process.stdout is not None
        return bool(self._output or select.select([self.process.stdout], [], [], 0)[0])

    def send(self, line: str = "go on") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kills it like `kill -9`, and waits for its end."""
        self.signal(signal.SIGKILL)
        self.process.wait(BOUND)

    def end(self, bound: float = BOUND) -> tuple[int, str]:
        """Returns its exit code and its standard error after it has ended by itself."""
        try:
            said, errors = self.process.communicate(timeout=bound)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the child has not ended within {bound} s") from None
        self._output += said
        return self.process.returncode, errors.decode(errors="replace")

    def ends_well(self, bound: float = BOUND) -> None:
        code, errors = self.end(bound)
        assert (code, errors) == (0, ""), f"exit code {code}: {errors}"

    def stop(self) -> None:
        """Kills it at the end of a test, so that nothing is left behind."""
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def tickets_of(name: object) -> list[str]:
    """Returns the tickets in the queue of a lock."""
    queue = Path(f"{name}.lockdir.queue")
    try:
        return sorted(found for found in os.listdir(queue) if found != "bell")
    except FileNotFoundError:
        return []


def until(what: object, bound: float = BOUND) -> None:
    """Polls until this is true: for changes that other processes make in the file system."""
    assert callable(what)
    end = time.monotonic() + bound
    while not what():
        assert time.monotonic() < end, f"it did not come true within {bound} s"
        time.sleep(0.001)


def exit_code_of(pid: int, bound: float = BOUND) -> Optional[int]:
    """Returns the exit code of a forked child; kills one that hangs, and returns ``None``."""
    end = time.monotonic() + bound
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.001)
