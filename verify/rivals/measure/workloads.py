"""The workloads. Each takes a place for one lock, and returns one measurement."""

import os
import random
import signal
import time

from .locks import WorkerError, now

SECOND = 1_000_000_000


def cost(place, plan):
    """Returns the nanoseconds of acquire and release without contention."""
    if place.lock.speaks == "shell":
        worker = place.start(
            [place.installed.worker, "loop", "cost", plan.shell_turns, *place.shell("true")]
        )
        return {"ns": int(worker.receive("cost")[0])}
    worker = place.speaker()
    worker.ask("cost", plan.turns // 10, answer="cost")
    return {"ns": int(worker.ask("cost", plan.turns, answer="cost")[0])}


def bare_command(place, plan):
    """Returns the cost of running `true` without a lock, a part of the cost of every lock of the shell."""
    worker = place.start([place.installed.worker, "loop", "cost", plan.shell_turns, "true"])
    return int(worker.receive("cost")[0])


def handoff(place, plan):
    """Returns the nanoseconds from just before a release until the waiter has the lock."""
    holder, waiter = place.user(), place.user()
    holder.ask_for_it()
    holder.got()
    latencies = []
    end = now() + int(plan.handoff * SECOND)
    while now() < end or not latencies:
        waiter.ask_for_it()
        time.sleep(random.uniform(0.03, 0.1))
        released = holder.release()
        latencies.append(waiter.got() - released)
        holder, waiter = waiter, holder
    holder.release()
    return {"ns": latencies}


def hammer(place, plan):
    """Lets 8 processes acquire and release the lock as fast as they can."""
    word = place.aside / "word"
    word.write_bytes(bytes(8))
    shell = place.lock.speaks == "shell"
    workers = [] if shell else [place.speaker() for _ in range(8)]
    start = now() + SECOND // 5
    end = start + int(plan.hammer * SECOND)
    if shell:
        command = [place.installed.worker, "loop", start, end, *place.shell("true")]
        workers = [place.start(command) for _ in range(8)]
    else:
        for worker in workers:
            worker.send("hammer", start, end, word)
    reports = [[int(word) for word in worker.receive("hammered", 90)] for worker in workers]
    counts = sorted(count for count, _, _ in reports)
    return {
        "per_second": sum(counts) / plan.hammer,
        "counts": counts,
        "longest_ns": max(longest for _, longest, _ in reports),
        "overlaps": None if shell or place.lock.speaks == "node" else sum(o for *_, o in reports),
    }


def waiting(place, plan):
    """Returns the seconds of CPU that 20 waiting processes use."""
    holder = place.user()
    holder.ask_for_it()
    holder.got()
    waiters = [place.user() for _ in range(20)]
    for waiter in waiters:
        waiter.ask_for_it()
    time.sleep(plan.settle)
    pids = [waiter.worker.pid for waiter in waiters]
    before = [cpu(pid) for pid in pids]
    time.sleep(plan.waiting)
    used = [cpu(pid) - was for pid, was in zip(pids, before)]
    for worker in place.workers:
        worker.kill()
    return {"cpu_s": sum(used)}


def cpu(pid):
    # The kernel's CPU clock of another process: CPUCLOCK_SCHED of this PID.
    return time.clock_gettime((~pid << 3) | 2)


def stale(place, plan):
    """Lets two processes find the same stale lock at the same time, and counts how often both acquire it."""
    waits = place.lock.kind == "flufl"
    workers = [place.speaker(), place.speaker()]
    counts = {"in": 0, "out": 0, "overlap": 0}
    trials = 0
    end = now() + int(plan.stale * SECOND)
    while now() < end:
        trials += 1
        path, shared = place.path(f"lock{trials}"), place.aside / "witness"
        for worker in workers:
            worker.ask("path", path, answer="ok")
        workers[trials % 2].ask("corpse", answer="ok")
        at = now() + 4_000_000
        for worker in random.sample(workers, 2):
            # Not at exactly the same time: the position of the race is unknown.
            worker.send("try", at + random.randrange(0, 250_000), 6, shared)
        for worker in workers:
            counts[worker.receive("tried", 30)[0]] += 1
    return {"trials": trials, "waits": waits, **counts}


class Kill:
    """Kills a holder while another process waits, and measures when the waiter gets the lock.

    `how`: alone; with its whole group; or as a zombie, whose parent does not wait for it.
    """

    def __init__(self, place, how="alone"):
        self.place = place
        holder, self.waiter = place.user(), place.user()
        holder.ask_for_it()
        holder.got()
        self.waiter.ask_for_it()
        time.sleep(0.5)
        pid = holder.worker.pid
        self.at = now()
        (os.killpg if how == "group" else os.kill)(pid, signal.SIGKILL)
        if how != "zombie":
            # Otherwise it still counts as alive for programs that only look for its PID.
            holder.worker.process.wait()
        self.after = None

    def look(self, patience):
        """Returns whether the waiter has acquired the lock by now."""
        try:
            self.after = self.waiter.got(patience) - self.at
        except WorkerError:
            if self.waiter.worker.has_exited():
                raise
        return self.after is not None

    def seconds(self):
        return (now() - self.at) / SECOND

    def end(self):
        for worker in self.place.workers:
            worker.kill()


class Loss:
    """Removes a holder's lock from outside: measures when the holder is notified, and when its work ends."""

    def __init__(self, place):
        self.place = place
        self.holder = place.user()
        self.holder.ask_for_it("work")
        self.holder.got()
        time.sleep(0.3)
        place.remove_the_lock()
        self.at = now()
        self.reported = self.ended = None

    def look(self):
        """Records new events. The times are only as exact as the interval between calls."""
        worker = self.holder.worker
        while not worker.lines.empty():
            line = worker.lines.get()
            if line and line[0] == "notified" and self.reported is None:
                self.reported = (int(line[1]) - self.at) / SECOND
        if self.ended is None and worker.has_exited():
            self.ended = (now() - self.at) / SECOND

    def end(self):
        for worker in self.place.workers:
            worker.kill()
        return {"notified_s": self.reported, "ended_s": self.ended}
