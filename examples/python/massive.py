"""Three hundred threads want one lock at the same time.

Each holds it for 0.05 s, and notes the time at the end of that, just before the release. If the lock
excluded them from each other, each of these times is more than 0.05 s after the one before. The excess
over 0.05 s is the overhead of a handoff, whose extremes, median, mean and deviation are printed.
Patience is 5 s, and all together would need 15 s, so about two thirds give up, and are counted.

``--patience 60`` serves them all; ``--threads 50`` starts fewer; ``--scale 0.1`` makes all times ten
times shorter. The exit code is 1 when the verdict is bad.

After the example "massive" in Andreas Krueger's ``lockbydir`` (2015).
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from typing import List

from lockbydir import Lock, LockLost, PatienceOver

HOLD = 0.05


class Crowd:
    """What all the threads share, and their outcomes."""

    def __init__(self, name: str, threads: int, hold: float, patience: float) -> None:
        self.name = name
        self.hold = hold
        self.patience = patience
        self.together = threading.Barrier(threads)
        self.ends: List[float] = []
        self.gave_up: List[int] = []
        self.lost: List[int] = []
        self.failed: List[BaseException] = []

    def one(self) -> None:
        """Runs one thread."""
        try:
            lock = Lock(self.name, patience=self.patience)
            self.together.wait()
            with lock:
                time.sleep(self.hold)
                end = time.monotonic()
            self.ends.append(end)
        except PatienceOver:
            self.gave_up.append(1)
        except LockLost:
            self.lost.append(1)
        except BaseException as error:
            self.failed.append(error)


def describe(overheads: List[float]) -> None:
    """Prints min, max, median, mean and deviation, in milliseconds."""
    deviation = statistics.stdev(overheads) if len(overheads) > 1 else 0.0
    print(
        f"Overhead of a handoff in ms: min {min(overheads):.3f}, max {max(overheads):.3f}, "
        f"median {statistics.median(overheads):.3f}, mean {statistics.mean(overheads):.3f}, "
        f"deviation {deviation:.3f}"
    )


def massive(name: str, threads: int, hold: float, patience: float) -> bool:
    """Runs all threads; returns true if the lock excluded them from each other."""
    print(
        f"{threads} threads, one lock; each holds it for {hold:.3g} s, "
        f"and waits at most {patience:.3g} s.",
        flush=True,
    )
    crowd = Crowd(name, threads, hold, patience)
    crew = [threading.Thread(target=crowd.one) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    print(
        f"{len(crowd.ends)} held it, {len(crowd.gave_up)} gave up waiting, "
        f"{len(crowd.lost)} lost it while they held."
    )
    if crowd.failed:
        print(f"Verdict: {len(crowd.failed)} FAILED; the first by {crowd.failed[0]!r}")
        return False

    ends = sorted(crowd.ends)
    differences = [later - sooner for sooner, later in zip(ends, ends[1:])]
    if not differences:
        print("Verdict: too FEW held it to compare their times.")
        return False
    describe([(difference - hold) * 1e3 for difference in differences])

    apart = all(difference > hold for difference in differences)
    gone = not os.path.exists(f"{name}.lockdir")
    print(
        f"Verdict: of {len(differences)} differences {'all are' if apart else 'NOT ALL are'} "
        f"greater than {hold:.3f} s; the lock is {'gone' if gone else 'STILL THERE'}."
    )
    return apart and gone and not crowd.lost


def main() -> bool:
    parser = argparse.ArgumentParser(description="300 threads, 1 lock")
    parser.add_argument("--threads", type=int, default=300)
    parser.add_argument("--patience", type=float, default=5.0, help="in seconds, before scaling")
    parser.add_argument("--scale", type=float, default=1.0, help="of all times")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockbydir-") as folder:
        name = os.path.join(folder, "counter")
        return massive(name, given.threads, HOLD * given.scale, given.patience * given.scale)


if __name__ == "__main__":
    sys.exit(not main())
