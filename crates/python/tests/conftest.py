"""Shared by all tests: a separate folder, children that do not outlive the test, and a time limit."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Callable, Optional

import pytest
from children import Child

TIME_LIMIT = 40
"""The time limit of a test, in seconds, unless it has the mark `time_limit`."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "time_limit(seconds): how long the test may take")


@pytest.fixture(autouse=True)
def _time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that hangs in Python; one that hangs in native code ends the run with a traceback."""
    mark = request.node.get_closest_marker("time_limit")
    limit = mark.args[0] if mark else TIME_LIMIT

    def too_long(number: int, frame: Optional[FrameType]) -> None:
        pytest.fail(f"the test has not ended within {limit} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    faulthandler.dump_traceback_later(limit + 10, exit=True, file=2)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Returns the name of a lock that no other test uses."""
    return str(tmp_path / "jobs")


StartChild = Callable[..., Child]


@pytest.fixture
def child(name: str) -> Iterator[StartChild]:
    """Starts Python processes for a test and ends them with it."""
    started: list[Child] = []

    def start(code: str, *, of: Optional[str] = None, python: str = sys.executable) -> Child:
        one = Child(code, of or name, python=python)
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def program() -> str:
    """Returns the command line program, which shares its locks with Python."""
    path = os.environ.get("LOCKBYDIR_PROGRAM")
    if not path:
        pytest.fail("set LOCKBYDIR_PROGRAM to the program `lockbydir` (cargo build --release)")
    subprocess.run([path, "--version"], check=True, stdout=subprocess.DEVNULL, timeout=10)
    return path
