"""The workloads. Each takes a place for one lock, and answers with what it measured once."""

import os
import random
import signal
import time

from .locks import Trouble, now

SECOND = 1_000_000_000


def cost(place, plan):
    """Nanoseconds of acquire and release while nobody else wants it."""
    if place.lock.speaks == "shell":
        worker = place.start(
            [place.installed.worker, "loop", "cost", plan.shell_turns, *place.shell("true")]
        )
        return {"ns": int(worker.hear("cost")[0])}
    worker = place.speaker()
    worker.ask("cost", plan.turns // 10, answer="cost")
    return {"ns": int(worker.ask("cost", plan.turns, answer="cost")[0])}


def bare_command(place, plan):
    """What it costs to run `true` under no lock: part of the cost of every lock of the shell."""
    worker = place.start([place.installed.worker, "loop", "cost", plan.shell_turns, "true"])
    return int(worker.hear("cost")[0])


def handoff(place, plan):
    """Nanoseconds from just before a release until the one who waits has it."""
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
    """8 processes take and release it as fast as they can."""
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
            worker.tell("hammer", start, end, word)
    said = [[int(word) for word in worker.hear("hammered", 90)] for worker in workers]
    counts = sorted(count for count, _, _ in said)
    return {
        "per_second": sum(counts) / plan.hammer,
        "counts": counts,
        "longest_ns": max(longest for _, longest, _ in said),
        "overlaps": None if shell or place.lock.speaks == "node" else sum(o for *_, o in said),
    }


def waiting(place, plan):
    """Seconds of CPU that 20 waiting processes use."""
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
    # The kernel's clock of another process: CPUCLOCK_SCHED of this PID.
    return time.clock_gettime((~pid << 3) | 2)


def stale(place, plan):
    """Two find the same stale lock at the same time: are both let in?"""
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
            # Not quite at the same time: nobody knows where its gap is.
            worker.tell("try", at + random.randrange(0, 250_000), 6, shared)
        for worker in workers:
            counts[worker.hear("tried", 30)[0]] += 1
    return {"trials": trials, "waits": waits, **counts}


class Kill:
    """A holder is killed while one waits: when does the waiter get it?

    How: alone; with its whole group; or as a zombie, which its parent does not ask after.
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
            # Else it still counts as alive for those who only look for its PID.
            holder.worker.process.wait()
        self.after = None

    def look(self, patience):
        """Has the waiter got it by now?"""
        try:
            self.after = self.waiter.got(patience) - self.at
        except Trouble:
            if self.waiter.worker.has_ended():
                raise
        return self.after is not None

    def seconds(self):
        return (now() - self.at) / SECOND

    def end(self):
        for worker in self.place.workers:
            worker.kill()


class Loss:
    """A holder's lock is removed from outside: is it told, does its work go on?"""

    def __init__(self, place):
        self.place = place
        self.holder = place.user()
        self.holder.ask_for_it("work")
        self.holder.got()
        time.sleep(0.3)
        place.remove_the_lock()
        self.at = now()
        self.told = self.ended = None

    def look(self):
        """Called often; the times are as exact as that."""
        worker = self.holder.worker
        while not worker.lines.empty():
            line = worker.lines.get()
            if line and line[0] == "told" and self.told is None:
                self.told = (int(line[1]) - self.at) / SECOND
        if self.ended is None and worker.has_ended():
            self.ended = (now() - self.at) / SECOND

    def end(self):
        for worker in self.place.workers:
            worker.kill()
        return {"told_s": self.told, "ended_s": self.ended}
