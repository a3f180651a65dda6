"""Several locks in one call, semaphores, and holding a lock for at least some time."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lockbydir import Lock, LockLost, PatienceOver, Semaphore, acquire_all


def test_all_are_held_or_none(tmp_path: Path) -> None:
    a, b = Lock(tmp_path / "a", patience=0), Lock(tmp_path / "b", patience=0)
    with acquire_all([b, a]) as held:
        assert held.is_held and held.remaining > 1
        assert held.paths == [b.path, a.path] and len(held.tokens) == 2
        assert a.locked() and b.locked()
        held.renew()
        assert not held.wait_lost(0)
    assert not a.locked() and not b.locked() and not held.is_held
    held.release()
    with b:
        with pytest.raises(PatienceOver):
            acquire_all([a, b])
        begun = time.monotonic()
        with pytest.raises(PatienceOver):
            acquire_all([a, b], patience=0.2)
        assert time.monotonic() - begun >= 0.2
        assert not a.locked()
    assert os.listdir(tmp_path) == []


def test_a_loss_of_one_is_a_loss_of_all(tmp_path: Path) -> None:
    a, b = (Lock(tmp_path / name, timeout=2, renew=True) for name in "ab")
    with pytest.raises(LockLost):
        with acquire_all([a, b]) as held:
            assert b.break_lock(force=True)
            assert held.wait_lost(30)
            while held.is_held:
                time.sleep(0.01)
    assert not a.locked()


def test_an_interrupt_releases_what_is_held(tmp_path: Path) -> None:
    a, b = Lock(tmp_path / "a"), Lock(tmp_path / "b")
    main = threading.get_ident()

    def interrupt() -> None:
        while not a.locked():
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    with b:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            acquire_all([a, b], patience=None)
        thread.join()
        assert not a.locked()


def test_wrong_lists_are_refused(tmp_path: Path) -> None:
    a = Lock(tmp_path / "a")
    wrong: list[tuple[Any, type[Exception]]] = [
        ([], ValueError),
        ([a, a], ValueError),
        ([a, Lock(tmp_path / "a.lockdir")], ValueError),
        (["a"], TypeError),
    ]
    for locks, error in wrong:
        with pytest.raises(error):
            acquire_all(locks)
    assert os.listdir(tmp_path) == []


def test_a_semaphore_has_numbered_slots(tmp_path: Path) -> None:
    gpus = Semaphore(tmp_path / "gpu", 2, patience=0, label="training")
    first, second = gpus.acquire(), Semaphore(tmp_path / "gpu", 2).acquire()
    assert (first.slot, second.slot) == (1, 2)
    assert Lock(tmp_path / "gpu").acquire().slot is None
    assert gpus.try_acquire() is None
    with pytest.raises(PatienceOver, match="all 2 slots are taken"):
        gpus.acquire()
    second.release()
    with gpus as held:
        assert held.slot == 2
        holder = Lock(tmp_path / "gpu.2").status().holder
        assert holder is not None and holder.label == "training"
    gpus.release()

    @gpus
    def inside() -> int:
        return len(os.listdir(tmp_path))

    assert inside() == 1
    for slots, error in [(0, ValueError), (1001, ValueError), ("2", TypeError), (True, TypeError)]:
        wrong: Any = slots
        with pytest.raises(error):
            Semaphore(tmp_path / "gpu", wrong)


def test_threads_share_the_slots(tmp_path: Path) -> None:
    gpus = Semaphore(tmp_path / "gpu", 2)
    inside: list[int] = []

    def work() -> None:
        for _ in range(5):
            with gpus as held:
                assert held.slot is not None and held.slot not in inside
                inside.append(held.slot)
                assert len(inside) <= 2
                inside.remove(held.slot)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.listdir(tmp_path) == []


def test_a_lock_is_held_for_at_least_some_time(name: str) -> None:
    begun = time.monotonic()
    lock = Lock(name, at_least=timedelta(seconds=2))
    with lock:
        pass
    assert time.monotonic() - begun < 2, "it waited"
    assert lock.locked()

    @Lock(name, at_least=2, patience=30)
    def later() -> float:
        return time.monotonic()

    assert later() - begun >= 2
    assert lock.locked()
    assert lock.break_lock(force=True)
    for wrong in (-1, 4e8):
        with pytest.raises(ValueError, match="at_least"):
            Lock(name, at_least=wrong)
