"""``DLock``: the names of the first version's interface, within one process."""

from __future__ import annotations

import doctest
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from dlock_scene import (
    NOBODY,
    FastDLock,
    a_timed_out_lock,
    in_a_child,
    in_a_folder_that_all_can_enter,
    in_a_fresh_folder,
    until,
)

import lockbydir
from lockbydir import DLock, Lock, _dlock

__all__ = ["in_a_folder_that_all_can_enter", "in_a_fresh_folder"]


# The names and defaults.


def test_the_module_and_the_class_have_the_five_defaults() -> None:
    lock = DLock("bed")

    for has in (lockbydir, DLock, lock):
        assert has.TIMEOUT == 10
        assert has.PATIENCE == 30
        assert has.CHECKEVERYXSECONDS == 0.03
        assert has.REMOVETIMEDOUT is True
        assert has.LOCKDIREXTENSION == ".lockdir"
    assert lock.name == "bed"
    assert lock.lockingTime is None and lock.startedWaitingTime is None


def test_the_module_may_be_imported_by_any_name() -> None:
    import lockbydir as other_name

    assert other_name.DLock is lockbydir.DLock


def test_dirname_is_the_name_and_the_extension() -> None:
    assert DLock("bed").dirname() == "bed.lockdir"
    assert DLock("/ram/disk/bed").dirname() == "/ram/disk/bed.lockdir"
    assert DLock(Path("/ram/bed")).dirname() == "/ram/bed.lockdir"


def test_the_example_in_the_documentation_runs() -> None:
    result = doctest.testmod(_dlock)

    assert result.attempted > 0 and result.failed == 0


# Locking and unlocking.


def test_waiting_for_an_open_lock_makes_the_directory() -> None:
    lock = DLock("bed")
    before = time.time()

    assert lock.LoopWhileLocked_ThenLocking() is True

    assert os.path.isdir("bed.lockdir")
    assert lock.lockingTime is not None and before <= lock.lockingTime <= time.time()
    assert lock.startedWaitingTime is not None
    assert before <= lock.startedWaitingTime <= lock.lockingTime
    assert lock.unlocking() is True
    assert not os.path.exists("bed.lockdir")


def test_waiting_for_a_taken_lock_ends_with_patience() -> None:
    assert DLock("bed").locking()
    waiter = DLock("bed")
    waiter.PATIENCE = 0.1
    begun = time.monotonic()

    assert waiter.LoopWhileLocked_ThenLocking() is False

    assert 0.1 <= time.monotonic() - begun < 5
    assert waiter.lockingTime is None
    assert not waiter.stillPatience()


def test_waiting_for_a_lock_that_times_out_acquires_it() -> None:
    assert FastDLock("bed").locking()
    waiter = FastDLock("bed")

    assert waiter.LoopWhileLocked_ThenLocking() is True

    assert waiter.unlocking() is True


def test_one_try_does_not_wait() -> None:
    lock, other = DLock("bed"), DLock("bed")

    assert lock.locking() is True
    assert other.locking() is False


def test_locking_twice_fails_even_for_the_holder() -> None:
    lock = DLock("bed")
    assert lock.locking()

    assert lock.locking() is False

    assert lock.unlocking() is True


def test_a_holder_whose_lock_timed_out_may_lock_again() -> None:
    lock = a_timed_out_lock()
    lock.TIMEOUT = 10

    assert not lock.locking(), "the longer timeout counts from when it was locked"
    lock.TIMEOUT = 0.1
    assert lock.locking()


def test_only_the_owner_unlocks_and_only_once() -> None:
    lock, other = DLock("bed"), DLock("bed")
    assert other.unlocking() is False
    assert lock.locking()

    assert other.unlocking() is False
    assert lock.unlocking() is True
    assert lock.unlocking() is False


def test_a_timed_out_lock_is_not_unlocked() -> None:
    lock = a_timed_out_lock()

    assert lock.unlocking() is False
    assert lock.exists()


def test_a_timed_out_holder_does_not_unlock_the_next_one() -> None:
    late = a_timed_out_lock()
    next_one = DLock("bed")
    assert next_one.locking()

    assert late.unlocking() is False

    assert next_one.isLocked()
    assert next_one.unlocking() is True


def test_dropping_an_instance_unlocks_nothing() -> None:
    lock = DLock("bed")
    assert lock.locking()

    del lock

    assert DLock("bed").isLocked()


# Inspecting a lock.


def test_a_lock_that_does_not_exist_looks_so() -> None:
    lock = DLock("bed")

    assert lock.isLocked() is False
    assert lock.exists() is False
    assert lock.existsAndNotTimedOut() is False
    assert lock.timedOut() is False
    assert lock.age() == -1


def test_a_held_lock_looks_so_to_all_instances() -> None:
    lock = DLock("bed")
    assert lock.locking()

    for one in (lock, DLock("bed")):
        assert one.isLocked() is True
        assert one.exists() is True
        assert one.existsAndNotTimedOut() is True
        assert one.timedOut() is False
        assert 0 <= one.age() < 5


def test_a_timed_out_lock_looks_so_to_all_instances() -> None:
    lock = a_timed_out_lock()

    for one in (lock, DLock("bed")):
        assert one.timedOut() is True
        assert one.exists() is True
        assert one.existsAndNotTimedOut() is False
        assert one.age() >= 0.01


def test_is_locked_removes_a_timed_out_directory_by_default() -> None:
    a_timed_out_lock()
    other = DLock("bed")
    other.REMOVETIMEDOUT = False

    assert other.isLocked() is False
    assert other.exists()
    other.REMOVETIMEDOUT = True
    assert other.isLocked() is False
    assert not other.exists()


def test_age_grows_and_starts_anew_with_each_change() -> None:
    lock = DLock("bed")
    assert lock.locking()
    until(lambda: lock.age() > 1)

    lock.TIMEOUT = 20

    assert lock.age() < 1


@pytest.mark.usefixtures("in_a_folder_that_all_can_enter")
def test_age_is_minus_one_where_it_cannot_be_read() -> None:
    os.mkdir("closed", 0o700)
    lock = DLock("closed/bed")
    assert lock.locking()
    os.chmod("closed", 0)

    assert in_a_child(lambda: DLock("closed/bed").age() == -1, user=NOBODY)


def test_a_bare_directory_is_locked_for_the_observers_timeout() -> None:
    os.mkdir("bed.lockdir")
    lock = FastDLock("bed")

    assert lock.isLocked() and not lock.locking()
    assert 0 <= lock.age() < 5
    assert lock.loopWhileLocked() is True

    assert lock.locking()
    assert lock.unlocking() is True


def test_the_kept_directory_of_a_fenced_lock_is_open() -> None:
    Lock("bed", fenced=True).acquire().release()
    lock = DLock("bed")

    assert lock.exists() and not lock.isLocked()
    assert lock.locking() and lock.unlocking()


# Waiting, breaking, helpers.


def test_waiting_only_is_false_if_it_was_open_at_once() -> None:
    assert DLock("bed").loopWhileLocked() is False


def test_waiting_only_does_not_lock() -> None:
    assert FastDLock("bed").locking()
    waiter = FastDLock("bed")

    assert waiter.loopWhileLocked() is True

    assert not waiter.isLocked()
    assert not waiter.exists()
    assert waiter.unlocking() is False


def test_waiting_only_ends_with_patience() -> None:
    assert DLock("bed").locking()
    waiter = FastDLock("bed")
    waiter.PATIENCE = 0.05

    assert waiter.loopWhileLocked() is True

    assert waiter.isLocked() and not waiter.stillPatience()


def test_breaking_removes_it_whoever_holds_it() -> None:
    lock = DLock("bed")
    assert lock.locking()

    assert DLock("bed").breakLock() is True
    assert not lock.exists()
    assert DLock("bed").breakLock() is False
    assert lock.unlocking() is False


def test_only_a_timed_out_lock_is_removed_as_timed_out() -> None:
    lock = DLock("bed")
    assert lock.removeIfTimedOut() is False
    assert lock.locking()
    assert lock.removeIfTimedOut() is False
    assert lock.unlocking()
    a_timed_out_lock()

    assert lock.removeIfTimedOut() is True
    assert lock.removeIfTimedOut() is False
    assert not lock.exists()


def test_exactly_one_of_many_removes_a_timed_out_lock() -> None:
    for _ in range(20):
        a_timed_out_lock()
        start = threading.Barrier(8)
        removed: list[bool] = []

        def remove() -> None:
            lock = DLock("bed")
            start.wait()
            removed.append(lock.removeIfTimedOut())

        threads = [threading.Thread(target=remove) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(removed) == [False] * 7 + [True]


def test_patience_counts_from_the_start_of_waiting() -> None:
    lock = DLock("bed")
    lock.PATIENCE = 0.05
    before = time.time()

    lock.startWaiting()

    assert lock.startedWaitingTime is not None and before <= lock.startedWaitingTime <= time.time()
    assert lock.stillPatience() is True
    until(lambda: not lock.stillPatience())
    lock.startWaiting()
    assert lock.stillPatience() is True


@pytest.mark.parametrize("patience", [None, float("inf"), timedelta(seconds=30), 30, 0.5])
def test_patience_may_be_endless_or_a_timedelta(patience: object) -> None:
    lock = DLock("bed")
    lock.PATIENCE = patience  # type: ignore[assignment]

    assert lock.LoopWhileLocked_ThenLocking() is True
    assert lock.stillPatience() is True
