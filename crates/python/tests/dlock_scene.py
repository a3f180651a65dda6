"""Shared by the tests of ``DLock``."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest

from lockbydir import DLock

NOBODY = 65534
"""A user without rights."""


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


@pytest.fixture
def in_a_folder_that_all_can_enter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.chdir(folder)
        yield
        monkeypatch.undo()


class FastDLock(DLock):
    """The recommended way to change defaults."""

    def __init__(self, name: str) -> None:
        DLock.__init__(self, name)
        self.TIMEOUT = 0.2
        self.PATIENCE = 5
        self.CHECKEVERYXSECONDS = 0.002


def until(happens: Callable[[], object]) -> None:
    """Polls until this is true."""
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline, "waited 20 s"
        time.sleep(0.002)


def a_timed_out_lock(name: str = "bed") -> DLock:
    lock = FastDLock(name)
    lock.TIMEOUT = 0.1
    assert lock.locking()
    until(lock.timedOut)
    return lock


def in_a_child(work: Callable[[], object], user: Optional[int] = None) -> bool:
    """Forks; returns true if the work in the child returned a true value."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            if user is not None and os.getuid() == 0:
                os.setgid(user)
                os.setuid(user)
            code = 0 if work() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), "the child failed"
    return code == 0
