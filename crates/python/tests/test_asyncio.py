"""The lock for asyncio: the loop is not blocked, a cancelled task leaves the queue, nothing leaks."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import threading
import time

import pytest
from children import tickets_of
from conftest import StartChild
from lockbydir import AsyncHeld, AsyncLock, Lock, LockLost, PatienceOver


async def eventually(what: object) -> None:
    """Polls until this is true, while the loop runs."""
    assert callable(what)
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def test_an_async_with_holds_the_lock_and_releases_it(name: str) -> None:
    async def main() -> None:
        lock = AsyncLock(name, label="task", timeout=20)
        async with lock as held:
            assert isinstance(held, AsyncHeld) and held.is_held and 10 < held.remaining <= 20
            assert held.how == "free" and held.token > 0 and held.key == held.held.key
            assert await lock.locked() and Lock(name).locked()
            status = await lock.status()
            assert status.holder is not None and status.holder.label == "task"
            assert status.holder.pid == os.getpid()
            await held.renew()
            assert "AsyncHeld" in repr(held)
        assert not held.is_held and not await lock.locked()
        assert (lock.name, lock.path) == (name, name + ".lockdir")
        assert repr(lock) == f"<lockbydir.AsyncLock {name!r}>"

    asyncio.run(main())


def test_acquire_try_acquire_and_release(name: str) -> None:
    async def main() -> None:
        lock = AsyncLock(name, patience=0.05)
        held = await lock.acquire()
        assert await lock.try_acquire() is None
        with pytest.raises(PatienceOver) as over:
            await lock.acquire()
        assert over.value.holder is not None
        await held.release()
        await held.release()
        async with await lock.acquire(None) as held:
            assert held.is_held
        got = await lock.try_acquire()
        assert got is not None
        assert await lock.break_lock() is False
        assert await lock.break_lock(force=True) is True
        with pytest.raises(LockLost):
            await got.release()

    asyncio.run(main())


def test_many_tasks_of_one_loop_exclude_each_other(name: str) -> None:
    inside = entered = 0

    async def main() -> None:
        lock = AsyncLock(name)

        async def work() -> None:
            nonlocal inside, entered
            for _ in range(5):
                async with lock:
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    entered += 1
                    inside -= 1

        await asyncio.gather(*(work() for _ in range(30)))

    asyncio.run(main())
    assert entered == 150
    assert not Lock(name).locked() and tickets_of(name) == []


def test_the_loop_runs_on_while_a_task_waits(name: str) -> None:
    async def main() -> int:
        with Lock(name):
            waiter = asyncio.ensure_future(AsyncLock(name, patience=0.5).acquire())
            ticks = 0
            while not waiter.done():
                await asyncio.sleep(0)
                ticks += 1
            with pytest.raises(PatienceOver):
                await waiter
        return ticks

    ticks = asyncio.run(main())
    print(f"{ticks} ticks in 0.5 s of waiting")
    assert ticks > 1000


def test_a_cancelled_task_has_left_the_queue(name: str) -> None:
    async def main() -> None:
        held = Lock(name).acquire()
        waiter = asyncio.ensure_future(AsyncLock(name, patience=None).acquire())
        await eventually(lambda: len(tickets_of(name)) == 1)
        behind = asyncio.ensure_future(AsyncLock(name, patience=20).acquire())

        waiter.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        took = time.monotonic() - begun
        await eventually(lambda: len(tickets_of(name)) == 1)
        held.release()

        async with await behind as next_one:
            assert next_one.is_held
        print(f"left the queue {1000 * took:.2f} ms after its cancellation")
        assert took < 1

    asyncio.run(main())
    assert tickets_of(name) == [] and not Lock(name).locked()


def test_the_ticket_is_gone_when_the_cancellation_is_seen(name: str) -> None:
    async def main() -> None:
        with Lock(name):
            for _ in range(20):
                waiter = asyncio.ensure_future(AsyncLock(name, patience=None).acquire())
                await eventually(lambda: len(tickets_of(name)) == 1)
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
                assert tickets_of(name) == []

    asyncio.run(main())


def test_a_wait_is_bounded_by_wait_for(name: str) -> None:
    async def main() -> None:
        with Lock(name):
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(AsyncLock(name, patience=None).acquire(), 0.05)
                assert tickets_of(name) == []
        held = await asyncio.wait_for(AsyncLock(name).acquire(), 5)
        await held.release()

    asyncio.run(main())


def test_a_cancellation_as_it_is_acquired_leaks_nothing(name: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    outcomes = {"held": 0, "cancelled": 0}

    async def main() -> None:
        lock = AsyncLock(name, patience=None)

        async def work(is_within: bool) -> None:
            if is_within:
                async with lock:
                    await asyncio.sleep(0)
            else:
                held = await lock.acquire()
                await held.release()

        for turn in range(200):
            before = Lock(name).acquire() if turn % 2 else None
            task = asyncio.ensure_future(work(turn % 4 < 2))
            if before is not None:
                await eventually(lambda: len(tickets_of(name)) == 1)
                before.release()
            await asyncio.sleep(chance.choice([0, chance.uniform(0, 0.008)]))
            task.cancel()
            try:
                await task
                outcomes["held"] += 1
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1
            # A cancelled release continues on its thread.
            (await lock.acquire(5)).held.release()
            assert not Lock(name).locked(), turn

    asyncio.run(main())
    print(outcomes)
    assert outcomes["cancelled"] > 10 and tickets_of(name) == []


def test_a_lock_works_in_one_loop_after_another(name: str) -> None:
    lock = AsyncLock(name)

    async def main() -> int:
        async with lock as held:
            return held.token

    tokens = [asyncio.run(main()) for _ in range(3)]
    assert tokens == sorted(set(tokens))


def test_loops_of_several_threads_share_one_lock_object(name: str) -> None:
    lock = AsyncLock(name)
    count = 0

    async def main() -> None:
        nonlocal count
        for _ in range(20):
            async with lock:
                read = count
                await asyncio.sleep(0)
                count = read + 1

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 80


def test_a_loop_that_ends_while_tasks_wait_leaves_nothing(name: str, child: StartChild) -> None:
    with Lock(name):
        one = child(
            """
            import asyncio
            async def main():
                for _ in range(5):
                    asyncio.ensure_future(AsyncLock(name, patience=None).acquire())
                while not os.path.exists(name + ".lockdir.queue"): await asyncio.sleep(0.001)
            asyncio.run(main())
            say(os.path.exists(name + ".lockdir.queue") and len(os.listdir(name + ".lockdir.queue")))
            """
        )
        assert one.read_line() in ("0", "1", "False")
        one.ends_well()
        assert tickets_of(name) == []


def test_a_task_in_a_forked_child_acquires(name: str, child: StartChild) -> None:
    one = child(
        """
        import asyncio
        lock = AsyncLock(name)
        async def main():
            async with lock as held: return held.token
        asyncio.run(main())
        pid = os.fork()
        asyncio.run(main())
        if pid: say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert one.read_line() == "0"


def test_a_decorated_coroutine_runs_under_the_lock(name: str) -> None:
    lock = AsyncLock(name)

    @lock
    async def double(value: int) -> int:
        """Doubles it."""
        assert await lock.locked()
        if value < 0:
            raise ValueError("negative")
        return 2 * value

    async def main() -> None:
        assert await double(4) == 8
        with pytest.raises(ValueError, match="negative"):
            await double(-1)
        assert not await lock.locked()

    asyncio.run(main())
    assert double.__name__ == "double" and inspect.iscoroutinefunction(double)


def test_a_lock_renews_itself_and_reports_a_loss_to_the_loop(name: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost = asyncio.Event()
        lock = AsyncLock(
            name,
            timeout=0.3,
            renew=True,
            on_lost=lambda error: loop.call_soon_threadsafe(lost.set),
        )
        with pytest.raises(LockLost):
            async with lock as held:
                await asyncio.sleep(0.6)
                assert held.is_held
                await lock.break_lock(force=True)
                await asyncio.wait_for(lost.wait(), 10)
                assert not held.is_held

    asyncio.run(main())
