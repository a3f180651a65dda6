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
