"""Releases that the system refuses, and programs that change their directory."""

from __future__ import annotations

import asyncio
import os

import pytest
from conftest import StartChild
from lockbydir import AsyncLock, Lock

NO_FILES = """
import errno, resource
lock = Lock(name)
{hold}
least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
def refused(release):
    try:
        release()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "released"
{release}
say(*said)
resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
say(Lock(name).status().state, Lock(name).status().token == held.token)
{again}
say(Lock(name).status().state)
"""


@pytest.mark.parametrize("way", ["held", "lock", "with"])
def test_a_release_that_was_refused_is_tried_again(
    name: str, child: StartChild, way: str
) -> None:
    if way == "with":
        hold = "held = lock.__enter__()"
        release = "said = [refused(lambda: lock.__exit__(None, None, None)), refused(held.release)]"
        again = "held.release()"
    else:
        hold = "held = lock.acquire()"
        release = f"said = [refused({way}.release) for _ in range(2)]"
        again = f"{way}.release()"
    one = child(NO_FILES.format(hold=hold, release=release, again=again))

    assert one.read_line() == "EMFILE EMFILE"
    assert one.read_line() == "held True"
    assert one.read_line() == "free"
    one.ends_well()


def test_a_release_that_was_refused_is_tried_again_in_a_task(name: str, child: StartChild) -> None:
    one = child(
        """
        import asyncio, errno, resource
        async def main():
            held = await AsyncLock(name).acquire()
            least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
            said = []
            for _ in range(2):
                try:
                    await held.release()
                except OSError as error:
                    said.append(errno.errorcode[error.errno])
            resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
            await held.release()
            said.append(Lock(name).status().state)
            say(*said)
        asyncio.run(main())
        """
    )
    assert one.read_line() == "EMFILE EMFILE free"
    one.ends_well()


# The folder of a relative name.


def test_a_relative_name_is_resolved_when_the_lock_is_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(os.path.dirname(name))
    lock, task_lock = Lock("jobs"), AsyncLock("jobs")
    os.mkdir("elsewhere")
    os.chdir("elsewhere")

    with lock as held:
        assert held.path == lock.path == task_lock.path == name + ".lockdir"
        assert Lock(name).locked() and lock.status().name == "jobs" == lock.name
        assert os.listdir() == []
        assert not Lock("jobs").locked()

    async def main() -> None:
        async with task_lock as held:
            assert held.held.path == name + ".lockdir"

    asyncio.run(main())
