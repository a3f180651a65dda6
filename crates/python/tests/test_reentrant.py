"""Reentrant locks: a thread or task that holds one may acquire it again."""

import asyncio
import threading

import pytest

from lockbydir import AsyncLock, Lock, LockLost, NotHeld, PatienceOver


def by_another_thread(lock):
    """Returns whether another thread can take the lock now."""
    got = []

    def take():
        held = lock.try_acquire()
        got.append(held is not None)
        if held is not None:
            held.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return got[0]


def test_the_last_release_releases(tmp_path):
    lock = Lock(tmp_path / "jobs", patience=0, reentrant=True)
    with lock as outer:
        first = lock.acquire()
        with lock as inner:
            assert outer.key == first.key == inner.key
            assert lock.try_acquire() is not None
            lock.release()
            assert not by_another_thread(lock)
        lock.release()
        assert outer.is_held
        assert not by_another_thread(lock)
        with pytest.raises(NotHeld):
            lock.release()
    assert by_another_thread(lock)
    assert not lock.locked()


def test_an_exception_within_ends_one_part(tmp_path):
    lock = Lock(tmp_path / "jobs", patience=0, reentrant=True)
    with lock as outer:
        with pytest.raises(KeyError):
            with lock:
                raise KeyError
        assert outer.is_held
    assert not lock.locked()


def test_without_the_option_and_for_another_object_a_thread_waits(tmp_path):
    lock = Lock(tmp_path / "jobs", patience=0, reentrant=True)
    with lock:
        with pytest.raises(PatienceOver):
            Lock(tmp_path / "jobs", patience=0).acquire()
        with pytest.raises(PatienceOver):
            Lock(tmp_path / "jobs", patience=0, reentrant=True).acquire()
    plain = Lock(tmp_path / "jobs", patience=0)
    with plain, pytest.raises(PatienceOver):
        plain.acquire()


def test_a_loss_ends_all(tmp_path):
    lock = Lock(tmp_path / "jobs", patience=0, reentrant=True, on_lost=lambda error: None)
    outer, inner = lock.acquire(), lock.acquire()
    lock.break_lock(force=True)
    with pytest.raises(LockLost):
        outer.renew()
    assert not outer.is_held and not inner.is_held
    anew = lock.acquire()
    assert anew.key != outer.key
    outer.release()
    with pytest.raises(LockLost):
        inner.release()
    assert anew.is_held
    anew.release()


def test_tasks_count_for_themselves(tmp_path):
    lock = AsyncLock(tmp_path / "jobs", patience=0, reentrant=True)

    async def twice():
        async with lock as outer:
            inner = await lock.acquire()
            assert inner.key == outer.key
            again = await lock.try_acquire()
            await again.release()
            with pytest.raises(PatienceOver):
                await asyncio.create_task(once())
            await inner.release()
            assert outer.is_held
        assert not await lock.locked()
        await asyncio.create_task(once())

    async def once():
        async with lock:
            pass

    asyncio.run(twice())


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_a_wrong_value_is_refused(tmp_path, wrong):
    for kind in (Lock, AsyncLock):
        with pytest.raises(TypeError, match="reentrant is a bool"):
            kind(tmp_path / "jobs", reentrant=wrong)
