"""The members of the first version's modules beside ``DLock``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import lockbydir_OS
import pytest
from dlock_scene import in_a_fresh_folder

import lockbydir
from lockbydir import DLock

__all__ = ["in_a_fresh_folder"]

PROGRAM = """
import lockbydir_OS
from lockbydir import DLock, TIMEOUT, getInfoLogger, howToUse, print_Ramdisk_Manual

Log = getInfoLogger("[pId=%(process).5d]")
lock = DLock("bed")
Log("(%s) locking = %s" % (1, lock.LoopWhileLocked_ThenLocking()))
Log("age below %s: %s", TIMEOUT, lockbydir_OS.pathAgeInSeconds(lock.dirname()) < TIMEOUT)
Log("unlocking = %s", lock.unlocking())
print(howToUse(0))
print_Ramdisk_Manual()
"""


def test_a_program_imports_and_calls_them_all() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    for line in lines:
        assert re.fullmatch(r"\[\d\d:\d\d:\d\d\.\d{3}\] \[pId=\d{5,}\] .+", line), line
    said = [line.split("] ")[2] for line in lines]
    assert said == ["(1) locking = True", "age below 10: True", "unlocking = True"]
    assert done.stdout.startswith("True\n")
    assert "mount -t tmpfs" in done.stdout and "/ramcache/" in done.stdout
    assert os.listdir() == []


def test_loggers_of_several_ids_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = lockbydir.getInfoLogger("one:"), lockbydir.getInfoLogger()

    one("a")
    two("b %d", 2)
    one("c")

    said = [line.split("] ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert said == ["one: a", "b 2", "one: c"]


def test_how_to_use_is_false_when_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DLock, "PATIENCE", 0.05)
    assert lockbydir.howToUse(0.01) is True
    assert DLock("LOCKNAME").locking()

    assert lockbydir.howToUse(0.01) is False


def test_the_tour_says_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert DLock("example").locking()

    lockbydir.testDLock()

    said = capsys.readouterr().err
    for words in (
        "breakLock = True",
        "isLocked = True",
        "locking once more = False",
        "second instance of this name = False",
        "isLocked = False, and exists = False",
        "loopWhileLocked = True",
        "LoopWhileLocked_ThenLocking = False",
        "unlocking by the other = False",
        "unlocking = True",
    ):
        assert words in said, said
    assert os.listdir() == []


def test_both_modules_of_directories_are_one() -> None:
    from lockbydir import lockbydir_OS as within

    for name in within.__all__:
        assert getattr(lockbydir_OS, name) is getattr(within, name)
    assert lockbydir_OS.LOCKDIREXTENSION == lockbydir.LOCKDIREXTENSION
    assert lockbydir_OS.ERROR == -1


def test_directories_are_made_and_removed_once() -> None:
    make = lockbydir_OS.mkdir_ReturnWhetherSuccessful
    remove = lockbydir_OS.rmdir_ReturnWhetherSuccessfullyRemoved

    assert (make("bed"), make("bed"), lockbydir_OS.pathExists("bed")) == (True, False, True)
    assert (remove("bed"), remove("bed"), lockbydir_OS.pathExists("bed")) == (True, False, False)
    with pytest.raises(FileNotFoundError):
        make("no/bed")
    assert DLock("bed").locking()
    with pytest.raises(OSError, match="not empty"):
        remove("bed.lockdir")


def test_one_of_many_threads_makes_a_directory() -> None:
    made: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: made.append(lockbydir_OS.mkdir_ReturnWhetherSuccessful("bed"))
        )
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == [False] * 9 + [True]


def test_the_age_of_a_path(tmp_path: Path) -> None:
    assert lockbydir_OS.pathAgeInSeconds("bed") == -1
    os.mkdir("bed")
    os.utime("bed", (0, time.time() - 60))

    assert 60 <= lockbydir_OS.pathAgeInSeconds("bed") < 90
    changed = lockbydir_OS.pathModificationDate("bed")
    assert 60 <= (datetime.now() - changed).total_seconds() < 90
    exact = datetime(2015, 1, 23, 12, 30, 15, 123456)
    assert lockbydir_OS.millisecondsPrecisionOnly(exact).microsecond == 123000


# The changes that the page lists.


def test_unlocking_after_a_break_leaves_the_next_ones_lock() -> None:
    broken, next_one = DLock("bed"), DLock("bed")
    assert broken.locking() and DLock("bed").breakLock() and next_one.locking()

    assert broken.unlocking() is False

    assert next_one.isLocked() and next_one.unlocking() is True


def test_locking_acquires_an_expired_lock_at_once() -> None:
    late = DLock("bed")
    late.TIMEOUT = 0.1
    assert late.locking()
    while not late.timedOut():
        time.sleep(0.001)

    assert DLock("bed").locking() is True


def test_any_thread_unlocks_an_instance() -> None:
    lock = DLock("bed")
    assert lock.locking()
    unlocked: list[bool] = []

    thread = threading.Thread(target=lambda: unlocked.append(lock.unlocking()))
    thread.start()
    thread.join()

    assert unlocked == [True] and not lock.isLocked()
