"""Holdings belong to the thread or task that acquired them, and no loss goes unreported."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from children import until
from conftest import StartChild
from lockbydir import (
    AsyncLock,
    Lock,
    LockError,
    LockLost,
    NotHeld,
    PatienceOver,
    WouldDeadlock,
)


def in_a_thread(work: Callable[[], object]) -> None:
    """Runs it on another thread, and raises its exceptions."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(20)


def acquire_or_not_then_release(lock: Lock) -> None:
    """Uses the lock as one would use a `threading.Lock`."""
    try:
        lock.acquire(patience=0)
    except PatienceOver:
        pass
    finally:
        lock.release()


def test_a_thread_does_not_release_the_holding_of_another(name: str) -> None:
    lock = Lock(name)
    for enter in (lock.__enter__, lock.acquire):
        held = enter()

        def fail() -> None:
            with pytest.raises(NotHeld, match="another thread does"):
                acquire_or_not_then_release(lock)

        in_a_thread(fail)
        assert held.is_held and Lock(name).status().token == held.token
        held.release()


def test_a_nested_release_does_not_end_the_with_around_it(name: str) -> None:
    lock = Lock(name)

    with lock as held:
        with pytest.raises(NotHeld, match="a `with` holds it"):
            acquire_or_not_then_release(lock)
        assert held.is_held and Lock(name).status().token == held.token

    assert not lock.locked()


def test_each_thread_releases_what_it_acquired(name: str) -> None:
    lock = Lock(name, timeout=0.1)
    first = lock.acquire()
    until(lambda: not first.is_held)
    in_a_thread(lambda: (lock.acquire(), lock.release()))

    with pytest.raises(LockLost):
        lock.release()
    with pytest.raises(NotHeld):
        lock.release()


def test_not_held_is_a_runtime_error_as_of_threading(name: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        Lock(name).release()

    assert isinstance(refused.value, LockError) and refused.value.path == name + ".lockdir"
    with pytest.raises(RuntimeError):
        threading.Lock().release()


def test_a_holding_released_by_its_held_is_not_released_again(name: str) -> None:
    lock = Lock(name)
    lock.acquire().release()

    with pytest.raises(NotHeld):
        lock.release()


@pytest.mark.parametrize("way", ["its held", "another thread", "its key"])
def test_a_with_says_that_it_was_released_under_it(name: str, way: str) -> None:
    lock = Lock(name)
    ended: list[object] = []

    with pytest.raises(LockLost) as lost, lock as held:
        if way == "its held":
            held.release()
        elif way == "another thread":
            in_a_thread(held.release)
        else:
            lock.release(held.key)
        with Lock(name, patience=0):
            ended.append("another had it")

    assert ended and lost.value.path == name + ".lockdir"
    assert lost.value.reason == ("gone" if way == "its key" else "released")


def test_a_with_over_acquire_says_so_too(name: str) -> None:
    with pytest.raises(LockLost, match="before the end of its `with`"):
        with Lock(name).acquire() as held:
            held.release()


def test_a_with_whose_holding_was_handed_over_ends_well(name: str) -> None:
    with Lock(name) as held:
        key = held.keep()

    Lock(name).release(key)


def test_a_thread_that_would_deadlock_is_stopped(name: str) -> None:
    lock = Lock(name, patience=None)
    with lock:
        for again in (lock.acquire, lambda: lock.acquire(float("inf")), lock.__enter__):
            with pytest.raises(WouldDeadlock, match="this thread holds it") as refused:
                again()
            assert isinstance(refused.value, RuntimeError)
            assert refused.value.path == name + ".lockdir"
        assert lock.try_acquire() is None
        with pytest.raises(PatienceOver):
            lock.acquire(0.01)
    held = lock.acquire()
    with pytest.raises(WouldDeadlock):
        lock.acquire()
    held.release()
    lock.acquire()
    lock.release()


def test_a_thread_waits_for_another_that_shares_its_lock(name: str) -> None:
    lock = Lock(name, patience=None)
    got = threading.Event()

    def wait() -> None:
        with lock:
            got.set()

    with lock:
        waiter = threading.Thread(target=wait)
        waiter.start()
        until(lambda: len(lock.status().queue) == 1)
    assert got.wait(20)
    waiter.join()


def test_a_generator_may_leave_in_another_thread(name: str) -> None:
    lock = Lock(name)

    def generator() -> Any:
        with lock as held:
            yield held

    steps = generator()
    in_a_thread(lambda: next(steps))
    assert lock.locked()

    with pytest.raises(StopIteration):
        next(steps)

    assert not lock.locked()


def test_holdings_of_ended_threads_do_not_pile_up(name: str) -> None:
    lock = Lock(name, timeout=0.1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(20):
            in_a_thread(lock.acquire)
        # The end of the last few threads may become visible a little later.
        assert len(seen) > 10
        del lock
        until(lambda: len(seen) == 20)


# In asyncio.


def test_a_task_that_would_deadlock_is_stopped(name: str) -> None:
    async def main() -> None:
        lock = AsyncLock(name, patience=None)
        async with lock:
            with pytest.raises(WouldDeadlock, match="this task holds it"):
                async with lock:
                    pass
            other = asyncio.ensure_future(lock.acquire())
            while not (await lock.status()).queue:
                await asyncio.sleep(0.001)
        held = await other
        await held.release()
        held = await lock.acquire()
        with pytest.raises(WouldDeadlock):
            await lock.acquire()
        await held.release()
        async with lock:
            pass

    asyncio.run(main())


def test_an_async_with_says_that_it_was_released_under_it(name: str) -> None:
    async def main() -> None:
        lock = AsyncLock(name)
        with pytest.raises(LockLost) as lost:
            async with lock as held:
                await held.release()
        assert lost.value.reason == "released"
        with pytest.raises(LockLost):
            async with await lock.acquire() as held:
                await held.release()
        with pytest.raises(RuntimeError, match="was not entered"):
            await lock.__aexit__(None, None, None)

    asyncio.run(main())


def test_an_async_generator_may_leave_in_another_task(name: str) -> None:
    async def main() -> None:
        lock = AsyncLock(name)

        async def generator() -> Any:
            async with lock as held:
                yield held

        steps = generator()
        await asyncio.ensure_future(steps.__anext__())
        assert await lock.locked()
        with pytest.raises(StopAsyncIteration):
            await asyncio.ensure_future(steps.__anext__())
        assert not await lock.locked()

    asyncio.run(main())


# Holdings without references.


def warned(name: str, work: Callable[[], object]) -> list[str]:
    """Returns the resource warnings about this lock that the code causes."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        work()
        gc.collect()
    assert all(one.category is ResourceWarning for one in seen)
    return [str(one.message) for one in seen if name in str(one.message)]


def test_a_holding_that_is_collected_unreleased_is_warned_of(name: str) -> None:
    def acquire() -> None:
        Lock(name).acquire()

    def test_it() -> None:
        if Lock(name).try_acquire():
            assert not Lock(name).locked(), "it holds nothing, which is what the warning is about"

    def forget() -> None:
        lock = Lock(name)
        lock.acquire()

    async def in_a_task() -> None:
        await AsyncLock(name).acquire()

    for work in (acquire, test_it, forget, lambda: asyncio.run(in_a_task())):
        (said,) = warned(name, work)
        assert f"the lock {name}.lockdir was released" in said and "use a `with`" in said
        assert not Lock(name).locked()


def test_a_holding_that_was_ended_is_not_warned_of(name: str) -> None:
    def work() -> None:
        with Lock(name):
            pass
        Lock(name).acquire().release()
        lock = Lock(name)
        lock.acquire()
        lock.release()
        Lock(name).release(Lock(name).acquire().keep())
        with Lock(name):
            for _ in range(3):
                assert Lock(name).try_acquire() is None
        lost = Lock(name).acquire()
        Lock(name).break_lock(force=True)
        with pytest.raises(LockLost):
            lost.release()
        del lost

        async def main() -> None:
            async with AsyncLock(name, patience=None) as held:
                waiter = asyncio.ensure_future(AsyncLock(name, patience=None).acquire())
                await asyncio.sleep(0.01)
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
            del held

        asyncio.run(main())

    assert warned(name, work) == []


def test_a_forked_child_does_not_warn_of_its_parents_holding(
    name: str, child: StartChild
) -> None:
    one = child(
        """
        import gc, warnings
        warnings.simplefilter("always")
        held = Lock(name).acquire()
        pid = os.fork()
        if pid == 0:
            del held
            gc.collect()
            os._exit(0)
        os.waitpid(pid, 0)
        say(held.is_held)
        held.release()
        """
    )
    assert one.read_line() == "True"
    one.ends_well()


def test_a_warning_as_error_is_shown_and_the_lock_is_free(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: seen.append(raised.exc_value))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(KeyError):
            Lock(name).acquire()
            raise KeyError("work goes on with its own error")

    assert [type(one) for one in seen] == [ResourceWarning]
    assert not Lock(name).locked()
