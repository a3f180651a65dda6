"""``DLock`` among processes and users, and programs that were written for the first version."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dlock_scene import (
    NOBODY,
    FastDLock,
    in_a_child,
    in_a_folder_that_all_can_enter,
    in_a_fresh_folder,
)

from lockbydir import DLock, ForeignLock

__all__ = ["in_a_folder_that_all_can_enter", "in_a_fresh_folder"]

PROGRAM = Path(__file__).with_name("program_of_2015.py")


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


# Errors while the directory is created.


@pytest.mark.usefixtures("in_a_folder_that_all_can_enter")
def test_a_folder_without_write_permission_means_not_acquired() -> None:
    os.mkdir("library", 0o755)
    lock = DLock("library/book")
    lock.PATIENCE = 0.1
    if os.getuid() != 0:
        os.chmod("library", 0o555)

    def child() -> bool:
        begun = time.monotonic()
        return not lock.LoopWhileLocked_ThenLocking() and time.monotonic() - begun >= 0.1

    assert in_a_child(child, user=NOBODY)
    assert in_a_child(lambda: not lock.locking(), user=NOBODY)
    os.chmod("library", 0o777)
    assert in_a_child(lambda: lock.LoopWhileLocked_ThenLocking(), user=NOBODY)


@pytest.mark.usefixtures("in_a_folder_that_all_can_enter")
def test_a_folder_that_becomes_writable_in_time_gives_the_lock() -> None:
    os.mkdir("library", 0o755)
    to_child, from_parent = os.pipe()
    child = os.fork()
    if child == 0:
        lock = FastDLock("library/book")
        if os.getuid() == 0:
            os.setuid(NOBODY)
        else:
            os.chmod("library", 0o555)
        os.write(from_parent, b"denied" if not lock.locking() else b"given!")
        os._exit(0 if lock.LoopWhileLocked_ThenLocking() else 1)
    assert os.read(to_child, 6) == b"denied"

    os.chmod("library", 0o777)

    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("in_a_folder_that_all_can_enter")
def test_the_lock_of_another_user_is_locked_and_not_acquired() -> None:
    assert os.getuid() == 0, "only root can be a second user: run this as root"
    os.mkdir("shared", 0o700)
    os.chmod("shared", 0o777)
    assert in_a_child(lambda: FastDLock("shared/bed").locking(), user=NOBODY)
    lock = DLock("shared/bed")
    lock.PATIENCE = 0.3

    assert lock.isLocked() and lock.exists()
    assert lock.locking() is False
    assert lock.LoopWhileLocked_ThenLocking() is False
    assert lock.isLocked() and not lock.timedOut()


def test_a_foreign_path_is_neither_acquired_nor_broken() -> None:
    Path("bed.lockdir").write_text("not a lock")
    lock = DLock("bed")
    lock.PATIENCE = 0.05
    lock.TIMEOUT = 0.1

    assert lock.LoopWhileLocked_ThenLocking() is False
    assert lock.locking() is False
    assert lock.isLocked() and lock.exists() and not lock.timedOut()
    assert lock.age() >= 0
    assert lock.removeIfTimedOut() is False
    with pytest.raises(ForeignLock):
        lock.breakLock()
    assert Path("bed.lockdir").read_text() == "not a lock"


def test_a_folder_that_does_not_exist_is_an_error() -> None:
    lock = DLock("nowhere/bed")

    for attempt in (lock.locking, lock.LoopWhileLocked_ThenLocking):
        with pytest.raises(OSError) as raised:
            attempt()
        assert raised.value.errno == errno.ENOENT
    assert not lock.isLocked() and not lock.exists() and lock.age() == -1
    assert not lock.timedOut() and not lock.removeIfTimedOut() and not lock.breakLock()


# Processes.


def test_a_program_of_2015_looks_around_as_it_did() -> None:
    subprocess.run([sys.executable, PROGRAM, "look"], check=True, timeout=60)


def test_programs_of_2015_lose_no_count() -> None:
    Path("counter.txt").write_text("0")

    workers = [subprocess.Popen([sys.executable, PROGRAM, "250"]) for _ in range(4)]

    assert [worker.wait(60) for worker in workers] == [0, 0, 0, 0]
    assert Path("counter.txt").read_text() == "1000"
    assert not DLock("counter").exists()


def test_a_killed_holder_frees_its_lock_at_once() -> None:
    holder = python(
        "from lockbydir import DLock; l = DLock('bed'); l.TIMEOUT = 600\n"
        "print(l.locking(), flush=True); input()"
    )
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    lock = DLock("bed")
    assert lock.isLocked()
    begun = time.monotonic()

    holder.send_signal(signal.SIGKILL)

    assert lock.LoopWhileLocked_ThenLocking()
    assert time.monotonic() - begun < 5
    holder.communicate()


def test_an_unowned_lock_outlives_its_process_until_its_timeout() -> None:
    done = python(
        "from lockbydir import DLock; l = DLock('bed'); l.OWNER = 'nobody'; l.TIMEOUT = 1\n"
        "print(l.locking(), flush=True)"
    )
    assert done.communicate(timeout=30)[0] == "True\n"
    lock = DLock("bed")

    assert lock.isLocked()
    assert lock.LoopWhileLocked_ThenLocking()


def test_an_instance_from_before_a_fork_works_in_the_child() -> None:
    lock = DLock("bed")

    assert in_a_child(lambda: lock.locking() and lock.unlocking())


def test_a_forked_child_does_not_own_its_parents_lock() -> None:
    lock = DLock("bed")
    assert lock.locking()

    def child() -> bool:
        lock.TIMEOUT = 0.1
        return lock.isLocked() and not lock.unlocking() and not lock.locking()

    assert in_a_child(child)
    assert lock.isLocked() and not lock.timedOut()
    assert lock.unlocking() is True


def test_instances_of_two_threads_exclude_each_other() -> None:
    inside: list[int] = []
    crowds: list[int] = []

    def work() -> None:
        for _ in range(50):
            lock = DLock("bed")
            assert lock.LoopWhileLocked_ThenLocking()
            inside.append(1)
            crowds.append(len(inside))
            inside.pop()
            assert lock.unlocking()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert crowds == [1] * 400
