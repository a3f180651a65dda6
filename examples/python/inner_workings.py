"""A narrated tour through what a lock does, in small scenes.

Shows: breaking by force; inspecting a held lock; a shorter ``TIMEOUT`` that opens it; waiting for a
timeout; that locking twice fails; that two instances of one name are one lock; that patience ends.
Every scene checks what it prints, so the tour stops at the first surprise, with exit code 1.

After the example of the same name in Andreas Krueger's ``lockbydir`` (2015).
"""

import os
import sys
import tempfile
import time

from lockbydir import DLock

BEGUN = time.monotonic()


class FastDLock(DLock):
    """A lock with other defaults: the way to change them for a whole program."""

    def __init__(self, name: str) -> None:
        DLock.__init__(self, name)
        self.TIMEOUT = 2
        self.PATIENCE = 5
        self.CHECKEVERYXSECONDS = 0.005


def scene(number: int, title: str) -> None:
    print(f"\n{number}. {title}")


def log(text: str) -> None:
    print(f"   [{time.monotonic() - BEGUN:6.3f} s] {text}", flush=True)


def look(lock: DLock) -> None:
    """Prints the state of the lock, by methods that remove nothing."""
    age = lock.age()
    print(
        f"      exists: {lock.exists()}; timedOut: {lock.timedOut()}; "
        f"existsAndNotTimedOut: {lock.existsAndNotTimedOut()}; "
        f"age: {'-1' if age == -1 else f'{age:.2f} s'}"
    )


def check(is_so: bool, what: str) -> None:
    if not is_so:
        print(f"   SURPRISE: not so: {what}")
        sys.exit(1)


def tour(name: str) -> None:
    lock = DLock(name)
    print(f"One lock, looked at from all sides: {lock.dirname()}")
    print(
        f"TIMEOUT {lock.TIMEOUT} s, PATIENCE {lock.PATIENCE} s, a look every "
        f"{lock.CHECKEVERYXSECONDS} s"
    )

    scene(1, "Breaking by force: whoever holds it, it is free afterwards")
    check(DLock(name).locking(), "it was free")
    log("somebody locked it and walked away:")
    look(lock)
    check(lock.breakLock(), "somebody's lock was there")
    log("breakLock: True. Once more finds nothing to break:")
    check(not lock.breakLock(), "nothing to break")
    look(lock)
    check(not lock.isLocked(), "a broken lock is free")

    scene(2, "Locking, and looking at it one second later")
    check(lock.LoopWhileLocked_ThenLocking(), "a free lock needs no patience")
    log("locked; the directory was made just now:")
    look(lock)
    time.sleep(1)
    log(f"one second later it is older, and isLocked: {lock.isLocked()}")
    look(lock)
    check(lock.isLocked() and lock.exists() and lock.age() >= 1, "ten seconds have not passed")

    scene(3, "The TIMEOUT belongs to the holder: a shorter one opens the lock sooner")
    lock.TIMEOUT = 0.5
    log("the holder now wants 0.5 s only, counted from when it locked: that is over already:")
    look(lock)
    check(lock.timedOut(), "the timeout has passed")
    check(not lock.unlocking(), "what has timed out is not the holder's to unlock")
    log("unlocking: False. isLocked removes the old directory:")
    check(not lock.isLocked(), "a timed-out lock is open")
    look(lock)
    check(not lock.exists(), "isLocked has removed it")

    scene(4, "Waiting for a timeout")
    forgetful = FastDLock(name)
    check(forgetful.locking(), "it was free")
    log("a holder with a TIMEOUT of 2 s forgets to unlock; now somebody waits:")
    waiter = FastDLock(name)
    check(waiter.LoopWhileLocked_ThenLocking(), "2 s are less than 5 s of patience")
    log("and got it, the moment the timeout had passed:")
    look(waiter)
    waited = (waiter.lockingTime or 0) - (waiter.startedWaitingTime or 0)
    log(f"from startedWaitingTime to lockingTime: {waited:.3f} s")
    check(1.5 < waited, "the lock lasted its timeout")
    check(not forgetful.unlocking(), "the first one lost it")
    log("the forgetful one, waking up, cannot unlock what is another's by now: False")

    scene(5, "Locking twice fails: not even its holder gets in a second time")
    check(not waiter.locking(), "held already")
    log("one try, no waiting: False")

    scene(6, "Two instances with the same name are one lock")
    twin = DLock(name)
    check(twin.isLocked(), "same name, same lock")
    log("the twin sees it locked:")
    look(twin)
    check(not twin.unlocking(), "but it is not the twin's")
    check(waiter.unlocking(), "it is the waiter's")
    check(twin.locking(), "the twin finds it free")
    log("unlocked by the first, locked by the twin: now the first sees it locked:")
    look(waiter)
    check(waiter.isLocked(), "same name, same lock")

    scene(7, "Patience runs out")
    waiter.PATIENCE = 1
    begun = time.monotonic()
    check(not waiter.LoopWhileLocked_ThenLocking(), "the twin holds it for 10 s")
    log(f"gave up after {time.monotonic() - begun:.3f} s; stillPatience: {waiter.stillPatience()}")
    check(twin.unlocking(), "the twin has it still")

    print()
    look(lock)
    check(not lock.exists() and lock.age() == -1, "nothing is left behind")
    check(not lock.loopWhileLocked(), "nothing to wait for")
    print("Verdict: every scene went as planned, and nothing is left behind.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="lockbydir-") as folder:
        tour(os.path.join(folder, "tour"))
