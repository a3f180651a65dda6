"""The reason of a loss, for programs."""

from __future__ import annotations

import asyncio
import copy
import pickle
import queue
from typing import Any

import pytest
from conftest import StartChild
from lockbydir import AsyncLock, Lock, LockError, LockLost


def reason(lost: Any) -> object:
    assert isinstance(lost.value, LockLost)
    return lost.value.reason


def test_a_loss_has_a_reason(name: str) -> None:
    broken = Lock(name).acquire()
    assert Lock(name).break_lock(force=True)
    with pytest.raises(LockLost) as lost:
        broken.renew()
    assert reason(lost) == "gone" and lost.value.holder is None

    late = Lock(name, timeout=0.1).acquire()
    with Lock(name, label="next"):
        with pytest.raises(LockLost) as lost:
            late.renew()
        assert reason(lost) == "taken"
        assert lost.value.holder is not None and lost.value.holder.label == "next"
        with pytest.raises(LockLost) as lost:
            late.release()
        assert reason(lost) == "taken"
    for use in (late.renew, late.keep):
        with pytest.raises(LockLost) as lost:
            use()
        assert reason(lost) == "released"


def test_on_lost_is_given_the_reason(name: str) -> None:
    losses: queue.Queue[LockError] = queue.Queue()
    with pytest.raises(LockLost) as lost:
        with Lock(name, timeout=0.3, renew=True, on_lost=losses.put):
            Lock(name).break_lock(force=True)
            error = losses.get(timeout=20)
    assert isinstance(error, LockLost) and error.reason == "gone" == reason(lost)


def test_a_renewal_that_the_system_refuses_is_a_reason(name: str, child: StartChild) -> None:
    one = child(
        """
        import queue, resource
        losses = queue.Queue()
        held = Lock(name, timeout=1, renew=True, on_lost=losses.put).acquire()
        os.rename(os.path.dirname(name), os.path.dirname(name) + ".away")
        open(os.path.dirname(name), "w").close()
        say(losses.get(timeout=20).reason)
        os._exit(0)
        """
    )
    assert one.read_line() == "renewal failed"


def test_a_loss_keeps_its_reason_in_another_process() -> None:
    lost = LockLost("lost", "p", None, "taken")

    for same in (pickle.loads(pickle.dumps(lost)), copy.copy(lost)):
        assert (type(same), str(same), same.path, same.reason) == (LockLost, "lost", "p", "taken")
    assert LockLost("lost").reason is None


def test_a_task_learns_the_reason(name: str) -> None:
    async def main() -> None:
        lock = AsyncLock(name)
        with pytest.raises(LockLost) as lost:
            async with lock as held:
                await lock.break_lock(force=True)
                with pytest.raises(LockLost) as renewed:
                    await held.renew()
                assert reason(renewed) == "gone"
        assert reason(lost) == "gone"

    asyncio.run(main())


def test_a_fixed_timeout_that_ends_is_warned_of_once(name: str, child: StartChild) -> None:
    one = child(
        """
        import logging, warnings
        class Seen(logging.Handler):
            def emit(self, record): say(record.name, record.levelname, record.getMessage())
        logging.getLogger().addHandler(Seen())
        warnings.showwarning = lambda text, kind, *rest: say(kind.__name__, text)
        for _ in range(2):
            with Lock(name, timeout=0.2) as held:
                receive()
        """
    )
    said = f"lost the lock {name}.lockdir: its timeout of 0.2 s is over"
    assert one.read_line().startswith(f"lockbydir WARNING {said}")
    assert one.read_line().startswith(f"RuntimeWarning {said}")
    one.send()
    assert one.read_line().startswith(f"lockbydir WARNING {said}")
    one.send()
    one.ends_well()


def test_the_end_of_a_fixed_timeout_is_reported_to_on_lost(name: str) -> None:
    losses: queue.Queue[LockError] = queue.Queue()
    with Lock(name, timeout=0.2, on_lost=losses.put) as held:
        error = losses.get(timeout=10)

        assert isinstance(error, LockLost) and error.reason == "expired"
        assert not held.is_held


def test_wait_lost_ends_when_the_lock_expires_or_is_released(name: str) -> None:
    held = Lock(name, timeout=0.2).acquire()

    assert held.wait_lost(10)

    held.release()
    assert held.wait_lost(10)
