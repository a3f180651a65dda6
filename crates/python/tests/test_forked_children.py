"""Forked children that have the PID of their parent, or cancel a wait of their parent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from children import tickets_of
from conftest import StartChild
from lockbydir import Lock

# Both have PID 1, each in its own PID namespace, as in nested containers.
SAME_PID = """
import ctypes, os, signal, sys
from lockbydir import AsyncLock, DLock, Lock, LockError
assert os.getpid() == 1, os.getpid()
name, way = sys.argv[1:]
lock = Lock(name)
held = lock.acquire()
old = DLock(name + ".old")
assert old.locking()
CLONE_NEWPID = 0x20000000
assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID) == 0, ctypes.get_errno()
pid = os.fork()
if pid == 0:
    code = 1
    try:
        assert os.getpid() == 1, os.getpid()
        assert not held.is_held and held.remaining == 0 and held.wait_lost(5)
        try:
            held.renew()
        except LockError:
            pass
        else:
            raise AssertionError("renewed")
        assert not old.unlocking()
        if way == "its held": held.release()
        if way == "its lock": lock.release()
        if way == "collection": del held, lock
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == 0, code
held.renew()
assert held.is_held and Lock(name).status().token == held.token
held.release()
assert old.unlocking()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PID namespaces are of Linux")
@pytest.mark.parametrize("way", ["its held", "its lock", "collection", "nothing"])
def test_a_child_with_the_same_pid_holds_nothing(name: str, tmp_path: Path, way: str) -> None:
    script = tmp_path / "same_pid.py"
    script.write_text(SAME_PID)

    done = subprocess.run(
        ["unshare", "-pf", sys.executable, "-X", "dev", str(script), name, way],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 0, done.stderr
    assert not Lock(name).locked() and not Lock(name + ".old").locked()


CANCELS = """
import asyncio
held = Lock(name).acquire()
async def main():
    waiter = asyncio.ensure_future(AsyncLock(name, patience=None).acquire())
    while not os.path.exists(name + ".lockdir.queue/bell"):
        await asyncio.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        waiter.cancel()
        try:
            await waiter
        except asyncio.CancelledError:
            os._exit(0)
        os._exit(1)
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    used = time.process_time()
    await asyncio.sleep(2)
    say(time.process_time() - used)
    held.release()
    await (await waiter).release()
asyncio.run(main())
"""


def test_a_child_that_cancels_a_wait_leaves_its_parents(name: str, child: StartChild) -> None:
    one = child(CANCELS)

    assert one.read_line() == "0"
    cpu = float(one.read_line())
    print(f"{cpu:.3f} s of CPU in 2 s of waiting")
    assert cpu < 0.1
    assert one.end()[0] == 0
    assert not Lock(name).locked() and tickets_of(name) == []
