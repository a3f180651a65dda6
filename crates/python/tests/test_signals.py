"""Signals: Ctrl-C ends a wait at once and leaves nothing behind; handlers run during a wait."""

from __future__ import annotations

import random
import signal
import statistics
import time

from children import tickets_of, until
from conftest import StartChild
from lockbydir import Lock

AT_ONCE = 0.1
"""How long a wait may last after a Ctrl-C, in seconds."""
SLACK = 0.15
"""How much longer it may last for one of several on a loaded machine, in seconds."""


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
                receive()
                """
            )
            until(lambda: len(tickets_of(name)) == 1)

            sent = time.monotonic()
            waiter.signal(signal.SIGINT)

            at, left = waiter.read_line().split()
            took.append(float(at) - sent)
            assert tickets_of(name) == []
            waiter.send()
            waiter.ends_well()
    print(f"ended after {', '.join(f'{1000 * one:.1f}' for one in took)} ms")
    assert statistics.median(took) < AT_ONCE
    assert max(took) < AT_ONCE + SLACK
    assert not Lock(name).locked()


def test_a_handler_runs_during_a_wait_which_goes_on(name: str, child: StartChild) -> None:
    with Lock(name):
        waiter = child(
            """
            signal.signal(signal.SIGTERM, lambda *_: say("handled"))
            with Lock(name, patience=None): say("got")
            """
        )
        until(lambda: len(tickets_of(name)) == 1)
        ticket = tickets_of(name)
        for _ in range(3):
            waiter.signal(signal.SIGTERM)
            assert waiter.read_line(2) == "handled"
        assert tickets_of(name) == ticket

    assert waiter.read_line() == "got"
    waiter.ends_well()


def test_an_exception_in_a_handler_ends_the_wait(name: str, child: StartChild) -> None:
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
        until(lambda: len(tickets_of(name)) == 1)

        waiter.signal(signal.SIGTERM)

        assert waiter.read_line(2) == "stopped"
        waiter.ends_well()
        assert tickets_of(name) == []


def test_an_interrupt_in_a_with_releases_the_lock(name: str, child: StartChild) -> None:
    holder = child(
        """
        lock = Lock(name)
        try:
            with lock:
                say("holds")
                # A sleep that begins just after a signal arrives is not interrupted by it.
                while True: time.sleep(0.01)
        except KeyboardInterrupt:
            say(lock.locked())
        """
    )
    assert holder.read_line() == "holds"

    holder.signal(signal.SIGINT)

    assert holder.read_line(5) == "False"
    holder.ends_well()


def test_an_interrupt_at_any_moment_leaves_no_lock_held(name: str, child: StartChild) -> None:
    """Before the block begins or as it ends: a `with` releases the lock in any case."""
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
        # This sum is long and checks for no signals: one that arrives meanwhile is handled at the
        # next call, which is the end of the block.
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
        receive()
        """
    )

    assert one.read_line() == "begins"
    # Sent by another process: a thread of this one would only run while the main one does not.
    while not one.has_output():
        time.sleep(random.uniform(0.0005, 0.002))
        one.signal(signal.SIGINT)

    assert one.read_line() == "0"
    one.send()
    one.ends_well()


def test_the_main_thread_is_interrupted_while_another_waits(
    name: str, child: StartChild
) -> None:
    with Lock(name):
        one = child(
            """
            waiter = threading.Thread(target=lambda: (Lock(name).acquire(), say("got")))
            waiter.start()
            try:
                say("listens")
                receive()
            except KeyboardInterrupt:
                say("interrupted")
            waiter.join()
            """
        )
        assert one.read_line() == "listens"
        until(lambda: len(tickets_of(name)) == 1)
        one.signal(signal.SIGINT)
        assert one.read_line(2) == "interrupted"
        assert len(tickets_of(name)) == 1
    assert one.read_line() == "got"
    one.ends_well()
