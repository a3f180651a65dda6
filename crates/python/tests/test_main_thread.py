"""The main thread while it waits: it sleeps until a signal arrives, and asyncio's wakeup descriptor works as
before."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from children import BOUND, Child, tickets_of, until
from conftest import StartChild
from lockbydir import Lock

IDLE = 1.0
"""How long a sleeping thread is watched, in seconds. A thread that polled would wake up often in it."""

WAITS = {
    "first": "lock = Lock(name, patience=None)",
    "with a patience": "lock = Lock(name, patience=60)",
    "behind a thread": """
lock = Lock(name, patience=None)
threading.Thread(target=Lock(name, patience=60).acquire, daemon=True).start()
while not os.path.exists(name + ".lockdir.queue"): time.sleep(0.001)
""",
}
"""How the main thread waits while another process holds the lock."""

WAIT = """
try:
    with lock: say("got", signal.set_wakeup_fd(-1))
except KeyboardInterrupt:
    say("interrupted", signal.set_wakeup_fd(-1))
"""


def wakeups(pid: int) -> int:
    """Returns how often the main thread of a process has gone to sleep."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split("\n")[0])


def until_it_sleeps(one: Child, name: str) -> None:
    """Waits until the process is in the queue and its main thread sleeps."""
    until(lambda: len(tickets_of(name)) >= 1)
    end = time.monotonic() + BOUND
    before = -1
    while wakeups(one.pid) != before:
        before = wakeups(one.pid)
        time.sleep(0.2)
        assert time.monotonic() < end, "the main thread never sleeps"


@pytest.mark.parametrize("how", list(WAITS))
def test_the_main_thread_makes_no_system_call_while_it_waits(
    name: str, child: StartChild, how: str
) -> None:
    with Lock(name):
        one = child(WAITS[how] + WAIT)
        until_it_sleeps(one, name)

        before = wakeups(one.pid)
        time.sleep(IDLE)

        assert wakeups(one.pid) == before


@pytest.mark.parametrize("how", list(WAITS))
def test_an_interrupt_ends_each_kind_of_wait(name: str, child: StartChild, how: str) -> None:
    with Lock(name):
        one = child(WAITS[how] + WAIT)
        until_it_sleeps(one, name)

        one.signal(signal.SIGINT)

        assert one.read_line() == "interrupted -1"
        until(lambda: len(tickets_of(name)) == (how == "behind a thread"))


def test_the_main_thread_queues_where_others_wait_for_a_free_lock(
    name: str, child: StartChild
) -> None:
    """It handles signals from the start, also while the lock is left to the first waiter for 0.1 s."""

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    def is_first_still_queued_when_a_signal_comes() -> bool:
        with Lock(name):
            first = child("with Lock(name, patience=None): say('got')")
            until(lambda: len(tickets_of(name)) == 1)
            first.signal(signal.SIGSTOP)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Stop), Lock(name, patience=None):
            time.sleep(BOUND)
        is_queued = len(tickets_of(name)) == 1
        first.signal(signal.SIGCONT)
        assert first.read_line() == "got"
        return is_queued

    before = signal.signal(signal.SIGALRM, stop)
    try:
        # A busy machine may delay the signal.
        assert any(is_first_still_queued_when_a_signal_comes() for _ in range(6))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_ends_a_wait_behind_another_process(name: str, child: StartChild) -> None:
    with Lock(name):
        ahead = child(WAITS["first"] + WAIT)
        until(lambda: len(tickets_of(name)) == 1)
        behind = child(WAITS["first"] + WAIT)
        until(lambda: len(tickets_of(name)) == 2)
        until_it_sleeps(behind, name)

        behind.signal(signal.SIGINT)

        assert behind.read_line() == "interrupted -1"
        until(lambda: len(tickets_of(name)) == 1)
    assert ahead.read_line() == "got -1"


def test_a_signal_that_another_thread_receives_ends_a_wait(name: str, child: StartChild) -> None:
    with Lock(name):
        one = child(
            """
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
lock = Lock(name, patience=None)
"""
            + WAIT
        )
        until_it_sleeps(one, name)

        one.signal(signal.SIGINT)

        assert one.read_line() == "interrupted -1"


def test_asyncio_receives_its_signals_after_a_wait(name: str, child: StartChild) -> None:
    """A wait in a coroutine blocks the loop; what arrives meanwhile is handled afterwards."""
    one = child(
        """
import asyncio

def wakeup_fd():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd

async def main():
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set)
    fd = wakeup_fd()
    say("begins")
    with Lock(name, patience=None):
        say("got", fd == wakeup_fd() != -1)
    await arrived.wait()
    say("during the wait")
    arrived.clear()
    say("after it")
    await arrived.wait()
    say("ends", fd == wakeup_fd() != -1)

receive()
asyncio.run(main())
"""
    )
    with Lock(name):
        one.send()
        assert one.read_line() == "begins"
        until_it_sleeps(one, name)
        for _ in range(3):
            one.signal(signal.SIGUSR1)
        # The numbers of the signals have gone to the loop when the main thread sleeps again.
        until_it_sleeps(one, name)
    assert one.read_line() == "got True"
    assert one.read_line() == "during the wait"
    assert one.read_line() == "after it"
    one.signal(signal.SIGUSR1)
    assert one.read_line() == "ends True"
    one.ends_well()


def test_a_handler_may_set_another_wakeup_descriptor(name: str, child: StartChild) -> None:
    one = child(
        """
reader, writer = os.pipe()
os.set_blocking(writer, False)

def replace(*_):
    signal.set_wakeup_fd(writer)
    say("replaced")

def handle(*_):
    say("handled")

signal.signal(signal.SIGUSR1, replace)
signal.signal(signal.SIGUSR2, handle)
receive()
with Lock(name, patience=None): pass
say(signal.set_wakeup_fd(-1) == writer, list(os.read(reader, 100)) == [signal.SIGUSR2])
"""
    )
    with Lock(name):
        one.send()
        until_it_sleeps(one, name)
        one.signal(signal.SIGUSR1)
        assert one.read_line() == "replaced"
        until_it_sleeps(one, name)
        one.signal(signal.SIGUSR2)
        assert one.read_line() == "handled"
    assert one.read_line() == "True True"
    one.ends_well()


def test_a_child_that_a_handler_forks_waits_by_itself(name: str, child: StartChild) -> None:
    with Lock(name):
        one = child(
            """
forked = []
signal.signal(signal.SIGUSR1, lambda *_: forked.append(os.fork()))
with Lock(name, patience=30): say("child" if forked[0] == 0 else "parent")
if forked[0] == 0: os._exit(0)
say(os.waitpid(forked[0], 0)[1])
"""
        )
        until_it_sleeps(one, name)

        one.signal(signal.SIGUSR1)

        until(lambda: len(tickets_of(name)) == 2)
    assert sorted([one.read_line(), one.read_line()]) == ["child", "parent"]
    assert one.read_line() == "0"
    one.ends_well()


def test_a_handler_may_wait_for_another_lock(name: str, child: StartChild) -> None:
    other = f"{name}-2"
    key = Lock(other, timeout=60).acquire().keep()
    with Lock(name):
        one = child(
            """
def handle(*_):
    with Lock(name + "-2", patience=None): say("the second")

signal.signal(signal.SIGUSR1, handle)
signal.signal(signal.SIGUSR2, lambda *_: say("handled"))
with Lock(name, patience=None): say("the first", signal.set_wakeup_fd(-1))
"""
        )
        until_it_sleeps(one, name)
        one.signal(signal.SIGUSR1)
        until_it_sleeps(one, other)
        one.signal(signal.SIGUSR2)
        assert one.read_line() == "handled"
        Lock(other).release(key)
        assert one.read_line() == "the second"
        until_it_sleeps(one, name)
        one.signal(signal.SIGUSR2)
        assert one.read_line() == "handled"
    assert one.read_line() == "the first -1"
    one.ends_well()
