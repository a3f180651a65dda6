"""Signals: Ctrl-C ends a wait at once and leaves nothing behind; handlers run while one waits."""

from __future__ import annotations

import random
import signal
import statistics
import time

from children import line_of, until
from conftest import StartChild
from lockbydir import Lock

AT_ONCE = 0.1
"""Within so many seconds of a Ctrl-C a wait is over."""
SLACK = 0.15
"""What a loaded machine may add to one of several."""


def test_an_interrupt_ends_a_wait_at_once_and_leaves_the_queue(
    name: str, child: StartChild
) -> None:
    took = []
    with Lock(name):
        for patience in ("None", "30", "None", "30", "None"):
            waiter = child(
                f"""
                lock = Lock(name, patience={patience})
                try:
                    with lock: pass
                except KeyboardInterrupt:
                    at = time.monotonic()
                    said = os.path.exists(name + ".lockdir.queue")
                    say(at, len(os.listdir(name + ".lockdir.queue")) if said else 0)
                hear()
                """
            )
            until(lambda: len(line_of(name)) == 1)

            sent = time.monotonic()
            waiter.signal(signal.SIGINT)

            at, left = waiter.hears().split()
            took.append(float(at) - sent)
            assert line_of(name) == []
            waiter.tell()
            waiter.ends_well()
    print(f"ended after {', '.join(f'{1000 * one:.1f}' for one in took)} ms")
    assert statistics.median(took) < AT_ONCE
    assert max(took) < AT_ONCE + SLACK
    assert not Lock(name).locked()


def test_a_handler_runs_while_one_waits_and_the_wait_goes_on(name: str, child: StartChild) -> None:
    with Lock(name):
        waiter = child(
            """
            signal.signal(signal.SIGTERM, lambda *_: say("handled"))
            with Lock(name, patience=None): say("got")
            """
        )
        until(lambda: len(line_of(name)) == 1)
        ticket = line_of(name)
        for _ in range(3):
            waiter.signal(signal.SIGTERM)
            assert waiter.hears(2) == "handled"
        assert line_of(name) == ticket

    assert waiter.hears() == "got"
    waiter.ends_well()


def test_what_a_handler_raises_ends_the_wait(name: str, child: StartChild) -> None:
    with Lock(name):
        waiter = child(
            """
            class Stop(Exception): pass
            def stop(*_): raise Stop
            signal.signal(signal.SIGTERM, stop)
            try:
                Lock(name).acquire()
            except Stop:
                say("stopped")
            """
        )
        until(lambda: len(line_of(name)) == 1)

        waiter.signal(signal.SIGTERM)

        assert waiter.hears(2) == "stopped"
        waiter.ends_well()
        assert line_of(name) == []


def test_an_interrupt_in_a_with_releases_the_lock(name: str, child: StartChild) -> None:
    holder = child(
        """
        lock = Lock(name)
        try:
            with lock:
                say("holds")
                time.sleep(30)
        except KeyboardInterrupt:
            say(lock.locked())
        """
    )
    assert holder.hears() == "holds"

    holder.signal(signal.SIGINT)

    assert holder.hears(5) == "False"
    holder.ends_well()


def test_an_interrupt_at_any_moment_leaves_no_lock_held(name: str, child: StartChild) -> None:
    """Before the block begins or as it ends: a `with` lets go of the lock all the same."""
    one = child(
        """
        lock, other = Lock(name), Lock(name)
        is_armed = False
        left = interrupts = 0
        def handle(*_):
            global is_armed
            if is_armed:
                is_armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, handle)
        say("begins")
        # This sum is long and looks for no signals: one that comes meanwhile is seen at the next
        # call, which is the end of the block.
        large = bytes(1_000_000)
        while interrupts < 100:
            is_armed = True
            try:
                with lock:
                    both = large + large
            except KeyboardInterrupt:
                interrupts += 1
            is_armed = False
            held = other.try_acquire()
            if held is None:
                left += 1
                other.break_lock(force=True)
            else:
                held.release()
        say(left)
        hear()
        """
    )

    assert one.hears() == "begins"
    # From another process: a thread of its own would only run while the main one does not.
    while not one.has_said():
        time.sleep(random.uniform(0.0005, 0.002))
        one.signal(signal.SIGINT)

    assert one.hears() == "0"
    one.tell()
    one.ends_well()


def test_an_interrupt_while_another_thread_waits_comes_to_the_main_thread(
    name: str, child: StartChild
) -> None:
    with Lock(name):
        one = child(
            """
            waiter = threading.Thread(target=lambda: (Lock(name).acquire(), say("got")))
            waiter.start()
            try:
                say("hears")
                hear()
            except KeyboardInterrupt:
                say("interrupted")
            waiter.join()
            """
        )
        assert one.hears() == "hears"
        until(lambda: len(line_of(name)) == 1)
        one.signal(signal.SIGINT)
        assert one.hears(2) == "interrupted"
        assert len(line_of(name)) == 1
    assert one.hears() == "got"
    one.ends_well()
