"""``DLock``: timeouts of the holder, subclasses, names and extensions."""

from __future__ import annotations

import copy
import os
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable

import pytest
from dlock_scene import FastDLock, a_timed_out_lock, in_a_fresh_folder, until

from lockbydir import DLock, Lock

__all__ = ["in_a_fresh_folder"]


# Timeouts.


def test_the_holders_timeout_counts_whatever_the_others_want() -> None:
    holder, other = DLock("bed"), DLock("bed")
    other.TIMEOUT = 0.1
    assert holder.locking()
    until(lambda: holder.age() > 0.2)

    assert other.isLocked() is True
    assert other.timedOut() is False


def test_a_shorter_timeout_counts_from_when_it_was_locked() -> None:
    holder = DLock("bed")
    assert holder.locking()
    until(lambda: holder.age() > 0.2)

    holder.TIMEOUT = 0.1

    assert DLock("bed").timedOut() is True
    assert holder.unlocking() is False


@pytest.mark.parametrize("age", [0, 0.02, 0.09, 0.11])
def test_the_shortest_timeout_has_passed_when_it_is_set(age: float) -> None:
    holder = DLock("bed")
    assert holder.locking()
    until(lambda: holder.age() >= age)

    holder.TIMEOUT = 0.09

    assert DLock("bed").timedOut() is True


def test_a_longer_timeout_of_the_holder_keeps_its_lock() -> None:
    holder = FastDLock("bed")
    assert holder.locking()

    holder.TIMEOUT = timedelta(seconds=10)

    until(lambda: holder.age() > 0.3)
    assert DLock("bed").isLocked()
    remaining = Lock("bed").status().remaining
    assert remaining is not None and 5 < remaining < 9.9
    assert holder.unlocking() is True


def test_a_new_timeout_does_not_touch_the_lock_of_the_next_one() -> None:
    late = a_timed_out_lock()
    next_one = DLock("bed")
    assert next_one.locking()

    late.TIMEOUT = 0.1

    assert next_one.isLocked()
    assert next_one.unlocking() is True


def test_an_invalid_timeout_is_refused_and_changes_nothing() -> None:
    lock = DLock("bed")
    assert lock.locking()

    for bad, error in (("soon", TypeError), (float("nan"), ValueError), (1e12, ValueError)):
        with pytest.raises(error):
            lock.TIMEOUT = bad  # type: ignore[assignment]
        assert lock.TIMEOUT == 10

    assert lock.unlocking()
    lock.TIMEOUT = 0.001
    with pytest.raises(ValueError, match="between 100 ms and ten years"):
        lock.locking()


# Subclasses, names, extensions.


def test_a_subclass_may_have_plain_attributes_in_its_body() -> None:
    class Short(DLock):
        TIMEOUT = 0.1
        PATIENCE = 0

    lock = Short("bed")
    assert lock.LoopWhileLocked_ThenLocking()
    assert not Short("bed").LoopWhileLocked_ThenLocking()

    until(lambda: not lock.isLocked())
    assert lock.locking()
    lock.TIMEOUT = 30
    until(lambda: lock.age() > 0.15)
    assert lock.isLocked()


def test_attributes_may_be_set_at_any_time() -> None:
    lock = FastDLock("bed")
    assert lock.locking() and lock.unlocking()
    lock.TIMEOUT = 60
    assert lock.locking()
    assert Lock("bed").status().timeout == 60
    assert lock.unlocking()

    lock.name = "sofa"

    assert lock.dirname() == "sofa.lockdir"
    assert lock.locking() and Lock("sofa").locked()


def test_unlocking_works_after_name_and_folder_have_changed(tmp_path: Path) -> None:
    lock = DLock("bed")
    assert lock.locking()
    lock.name = "sofa"
    os.mkdir("elsewhere")
    os.chdir("elsewhere")

    lock.TIMEOUT = 20
    assert lock.unlocking() is True

    assert not (tmp_path / "bed.lockdir").exists()


def test_a_relative_name_begins_where_it_was_set(tmp_path: Path) -> None:
    lock = DLock("bed")
    os.mkdir("elsewhere")
    os.chdir("elsewhere")

    assert lock.locking() and (tmp_path / "bed.lockdir").is_dir() and os.listdir() == []
    lock.TIMEOUT = 20
    assert lock.exists() and lock.isLocked() and lock.age() >= 0
    assert lock.dirname() == "bed.lockdir"
    assert not DLock("bed").exists()
    assert lock.unlocking() and not (tmp_path / "bed.lockdir").exists()

    lock.name = "bed"
    assert lock.locking() and os.path.isdir("bed.lockdir")
    assert lock.unlocking()


def test_the_name_of_the_directory_means_the_same_lock() -> None:
    for name in ("bed.lockdir", "bed.lockdir/"):
        lock = DLock(name)
        assert lock.dirname() == "bed.lockdir"
        assert lock.locking() and lock.exists() and DLock("bed").isLocked()
        assert os.listdir() == ["bed.lockdir"]
        assert lock.unlocking()


def test_an_extension_must_end_as_all_others_do() -> None:
    lock = DLock("bed")
    lock.LOCKDIREXTENSION = ".web.lockdir"
    assert lock.locking()
    assert os.path.isdir("bed.web.lockdir") and Lock("bed.web").locked()
    assert lock.unlocking()

    lock.LOCKDIREXTENSION = ".lock"

    for use in (lock.locking, lock.isLocked, lock.dirname, lock.exists, lock.breakLock):
        with pytest.raises(ValueError, match="LOCKDIREXTENSION"):
            use()


def test_invalid_names_are_refused_at_once() -> None:
    for name in ("", "bed/", ".."):
        with pytest.raises(ValueError):
            DLock(name)
    things: list[Any] = [5, None, b"bed"]
    for thing in things:
        with pytest.raises(TypeError):
            DLock(thing)


def test_copying_and_pickling_are_refused() -> None:
    attempts: list[Callable[[DLock], object]] = [copy.copy, copy.deepcopy, pickle.dumps]
    for attempt in attempts:
        with pytest.raises(TypeError, match="make one of the same name"):
            attempt(DLock("bed"))
