"""A program as people wrote them for the first version: workers count in one file, under one lock.

Written anew from the description of that version's interface; it uses nothing newer.
"""

import os
import sys
import time

import lockbydir
from lockbydir import DLock


class FastDLock(DLock):
    def __init__(self, name):
        DLock.__init__(self, name)
        self.TIMEOUT = 2
        self.PATIENCE = 20
        self.CHECKEVERYXSECONDS = 0.005


class ImpatientDLock(FastDLock):
    def __init__(self, name):
        FastDLock.__init__(self, name)
        self.PATIENCE = 0.05


def count(times):
    for _ in range(times):
        lock = FastDLock("counter")
        if not lock.LoopWhileLocked_ThenLocking():
            print("no patience left after %.2f s" % (time.time() - lock.startedWaitingTime))
            return False
        with open("counter.txt") as numbers:
            number = int(numbers.read())
        with open("counter.txt", "w") as numbers:
            numbers.write(str(number + 1))
        if not lock.unlocking():
            print("lost it after %.2f s" % (time.time() - lock.lockingTime))
            return False
    return True


def look_around():
    lock = DLock("tour")
    lock.breakLock()
    assert lock.dirname() == "tour" + lockbydir.LOCKDIREXTENSION
    assert (lock.TIMEOUT, lock.PATIENCE) == (lockbydir.TIMEOUT, lockbydir.PATIENCE)
    assert not lock.isLocked() and not lock.exists() and lock.age() == -1
    assert lock.locking() and not lock.locking()
    assert os.path.isdir("tour.lockdir")
    assert lock.isLocked() and lock.existsAndNotTimedOut() and not lock.timedOut()
    assert not ImpatientDLock("tour").LoopWhileLocked_ThenLocking()
    lock.TIMEOUT = 0.4
    assert lock.loopWhileLocked()
    assert not lock.isLocked() and not lock.unlocking()
    return True


if __name__ == "__main__":
    good = look_around() if sys.argv[1] == "look" else count(int(sys.argv[1]))
    sys.exit(0 if good else 1)
