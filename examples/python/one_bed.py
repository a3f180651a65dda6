"""Four sleepers, one bed: real processes that share a scarce resource.

Each wants to sleep 6 s, and waits at most 13 s for the bed. One in four forgets to give it back;
then the others wait until the timeout (10 s) gives it back for them. Every step is logged with its
time and process. At the end the bed must be empty, and two sleepers must never have been in it at
once; otherwise the exit code is 1.

No process owns the lock (``OWNER = "nobody"``), as in the first version: otherwise the death of the
process of a forgetful sleeper would free the bed at once, and no timeout would be seen.

``--scale 0.1`` makes everything ten times shorter; ``--forgets 1`` makes all of them forgetful.

After the example "one bed" in Andreas Krueger's ``lockbydir`` (2015).
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from typing import NamedTuple

from lockbydir import DLock

SLEEPERS = 4
SLEEP = 6.0
TIMEOUT = 10.0
PATIENCE = 13.0

GAVE_UP = 3
"""The exit code of a sleeper that got no bed."""


class Story(NamedTuple):
    """The parameters of a run, the same for the house and all its sleepers."""

    folder: str
    scale: float
    forgets: float
    begun: float

    def log(self, text: str) -> None:
        """Prints a line of the log: time since the story began, process, what happened."""
        since = time.time() - self.begun
        # A single write, so that the lines of several processes do not mix.
        sys.stdout.write(f"{since:7.3f} s  process {os.getpid():<8} {text}\n")
        sys.stdout.flush()


class Bed(DLock):
    """The lock: checked often, and with the times of the story."""

    OWNER = "nobody"

    def __init__(self, story: Story) -> None:
        DLock.__init__(self, os.path.join(story.folder, "bed"))
        self.TIMEOUT = TIMEOUT * story.scale
        self.PATIENCE = PATIENCE * story.scale
        self.CHECKEVERYXSECONDS = 0.005


def sleeper(story: Story) -> None:
    """Runs one sleeper."""
    story.log("is tired, and looks for the bed")
    bed = Bed(story)
    if not bed.LoopWhileLocked_ThenLocking():
        story.log("has no patience left, and sleeps on the floor")
        sys.exit(GAVE_UP)
    # The pillow is the proof: a second sleeper in the bed would find it taken.
    pillow = os.path.join(story.folder, "pillow")
    try:
        os.mkdir(pillow)
    except FileExistsError:
        story.log("has a nightmare: somebody lies in the bed already")
        sys.exit(1)
    story.log("lies down")
    time.sleep(SLEEP * story.scale)
    os.rmdir(pillow)

    # A forked process has its parent's random numbers, so these come from the system.
    if random.SystemRandom().random() < story.forgets:
        story.log("gets up, and FORGETS to give the bed back")
    elif bed.unlocking():
        story.log("gets up, and gave the bed back")
    else:
        story.log("has a nightmare: the bed was not its own any more")
        sys.exit(1)


def is_empty_at_last(story: Story) -> bool:
    """Waits for the timeout, if the last one forgot; returns true if the bed is empty then."""
    bed = Bed(story)
    if bed.isLocked():
        story.log("(the house) the last one forgot: the timeout will empty the bed")
        if not (bed.LoopWhileLocked_ThenLocking() and bed.unlocking()):
            return False
        story.log("(the house) now it is empty")
    return not bed.isLocked() and not bed.exists()


def house(story: Story) -> bool:
    """Runs the sleepers; returns true if all went well and the bed is empty."""
    print(
        f"{SLEEPERS} sleepers, 1 bed. Each sleeps {SLEEP * story.scale:.3g} s, waits at most "
        f"{PATIENCE * story.scale:.3g} s, and forgets with\n"
        f"probability {story.forgets} to give the bed back, which then opens by itself "
        f"{TIMEOUT * story.scale:.3g} s after it was taken.\n",
        flush=True,
    )
    sleepers = [multiprocessing.Process(target=sleeper, args=(story,)) for _ in range(SLEEPERS)]
    for one in sleepers:
        one.start()
    for one in sleepers:
        one.join()
    codes = [one.exitcode for one in sleepers]
    slept, gave_up = codes.count(0), codes.count(GAVE_UP)
    failed = SLEEPERS - slept - gave_up

    empty = is_empty_at_last(story)
    print(f"\n{slept} slept in the bed, {gave_up} gave up waiting, {failed} failed.")
    print(
        f"Verdict: the bed is {'empty' if empty else 'NOT EMPTY'}, and "
        f"{'never were two in it' if failed == 0 else 'something WENT WRONG'}."
    )
    return empty and failed == 0 and slept > 0


def main() -> bool:
    parser = argparse.ArgumentParser(description="4 sleepers, 1 bed")
    parser.add_argument("--scale", type=float, default=1.0, help="of all times")
    parser.add_argument("--forgets", type=float, default=0.25, help="how likely one forgets")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockbydir-") as folder:
        return house(Story(folder, given.scale, given.forgets, time.time()))


if __name__ == "__main__":
    sys.exit(not main())
