"""Releases that the system refuses."""

from __future__ import annotations

import pytest
from conftest import StartChild

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

    assert one.hears() == "EMFILE EMFILE"
    assert one.hears() == "held True"
    assert one.hears() == "free"
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
    assert one.hears() == "EMFILE EMFILE free"
    one.ends_well()
