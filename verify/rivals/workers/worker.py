"""The worker for a Python lock: `worker.py KIND`. README.md in this folder describes the protocol.

Each lock is used as its documentation shows, with its default intervals and ages. Only a short default
patience is made longer, so that nobody gives up during a measurement.
"""

import mmap
import os
import signal
import sys
import time

PATIENCE = 120


class FileLock:
    name = "FileLock"

    def __init__(self, path):
        import filelock

        self.gone = filelock.Timeout
        self.path = path
        self.lock = self.make(getattr(filelock, self.name), path)

    def make(self, kind, path):
        return kind(path)

    def acquire(self):
        self.lock.acquire()

    def release(self):
        self.lock.release()

    def try_once(self):
        try:
            self.lock.acquire(blocking=False)
        except self.gone:
            return False
        return True

    def corpse(self):
        die_holding(type(self), self.path)

    def work(self):
        self.acquire()


class SoftFileLock(FileLock):
    name = "SoftFileLock"


class SoftFileLease(FileLock):
    name = "SoftFileLease"

    def make(self, kind, path):
        return kind(path, on_compromise=lambda loss: say(f"notified {now()} {loss.reason}"))


class Flufl:
    def __init__(self, path):
        from flufl.lock import Lock

        self.path = path
        self.lock = Lock(path)

    def acquire(self):
        self.lock.lock()

    def release(self):
        self.lock.unlock()

    def try_once(self):
        # A single try never breaks a stale lock in this library, so this method waits.
        self.lock.lock()
        return True

    def corpse(self):
        die_holding(Flufl, self.path)
        os.utime(self.path, (time.time() - 3600,) * 2)

    work = acquire


class Portalocker:
    def __init__(self, path):
        import portalocker

        self.lock = portalocker.Lock(path, timeout=PATIENCE)

    def acquire(self):
        self.lock.acquire()

    def release(self):
        self.lock.release()

    work = acquire


class Fasteners:
    def __init__(self, path):
        import fasteners

        self.lock = fasteners.InterProcessLock(path)

    def acquire(self):
        self.lock.acquire()

    def release(self):
        self.lock.release()

    work = acquire


class First:
    check = 0.03

    def __init__(self, path):
        from first_version import DLock

        self.lock = DLock(path)
        self.lock.CHECKEVERYXSECONDS = self.check
        self.lock.PATIENCE = PATIENCE

    def acquire(self):
        if not self.lock.loop_while_locked_then_locking():
            raise TimeoutError("patience is over")

    def release(self):
        self.lock.unlocking()

    def try_once(self):
        return not self.lock.is_locked() and self.lock.locking()

    def corpse(self):
        os.mkdir(self.lock.directory)
        os.utime(self.lock.directory, (time.time() - 3600,) * 2)

    work = acquire


class FirstOften(First):
    check = 0.005


KINDS = {
    "filelock": FileLock,
    "soft": SoftFileLock,
    "lease": SoftFileLease,
    "flufl": Flufl,
    "portalocker": Portalocker,
    "fasteners": Fasteners,
    "first": First,
    "first-often": FirstOften,
}


def now():
    return time.monotonic_ns()


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def die_holding(kind, path):
    pid = os.fork()
    if pid == 0:
        try:
            kind(path).acquire()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def sleep_until(at):
    time.sleep(max(0, at - now()) / 1e9)


def cost(lock, turns):
    times = []
    for _ in range(turns):
        start = now()
        lock.acquire()
        lock.release()
        times.append(now() - start)
    return f"cost {sorted(times)[turns // 2]}"


def hammer(lock, start, end, shared):
    with open(shared, "r+b") as file:
        word = mmap.mmap(file.fileno(), 8)
    me, nobody = os.getpid().to_bytes(8, "little"), bytes(8)
    count = longest = overlaps = 0
    sleep_until(start)
    while (asked := now()) < end:
        lock.acquire()
        got = now()
        longest = max(longest, got - asked)
        overlaps += word[:] != nobody
        word[:] = me
        overlaps += word[:] != me
        word[:] = nobody
        lock.release()
        count += got < end
    return f"hammered {count} {longest} {overlaps}"


def try_at(lock, at, hold, shared):
    sleep_until(at - 1_000_000)
    while now() < at:
        pass
    if not lock.try_once():
        return "tried out"
    try:
        os.close(os.open(shared, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        alone = True
    except FileExistsError:
        alone = False
    time.sleep(hold / 1000)
    if alone:
        os.unlink(shared)
    try:
        lock.release()
    except Exception as error:
        # After an overlap the release may fail; the count shows the overlap.
        sys.stderr.write(f"release: {error!r}\n")
    return "tried in" if alone else "tried overlap"


def main():
    kind, lock = KINDS[sys.argv[1]], None
    for line in iter(sys.stdin.readline, ""):
        match line.split():
            case ["path", path]:
                lock = kind(path)
                say("ok")
            case ["cost", turns]:
                say(cost(lock, int(turns)))
            case ["acquire"]:
                lock.acquire()
                say(f"got {now()}")
            case ["release"]:
                start = now()
                lock.release()
                say(f"released {start}")
            case ["hammer", start, end, shared]:
                say(hammer(lock, int(start), int(end), shared))
            case ["try", at, hold, shared]:
                say(try_at(lock, int(at), int(hold), shared))
            case ["corpse"]:
                lock.corpse()
                say("ok")
            case ["work"]:
                lock.work()
                say(f"got {now()}")


main()
