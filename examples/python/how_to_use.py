"""The shortest use of a lock: create it, wait for it, use the scarce resource, release it.

Shows the few lines that every program needs. Run two of these at once with the same folder
(``python how_to_use.py .``) and watch the second one wait for the first.

After the example of the same name in Andreas Krueger's ``lockbydir`` (2015).
"""

import os
import sys
import tempfile
import time

from lockbydir import DLock


def main(folder: str) -> bool:
    lock = DLock(os.path.join(folder, "kitchen"))
    print(f"The lock is the directory {lock.dirname()}", flush=True)

    if not lock.LoopWhileLocked_ThenLocking():
        print(f"Waited {lock.PATIENCE} s for the kitchen: no patience left.")
        return False
    print(f"Locked: the kitchen is mine for {lock.TIMEOUT} s. Cooking ...", flush=True)
    time.sleep(1)
    if not lock.unlocking():
        print("It was not mine any more: I cooked too long.")
        return False
    print("Unlocked: the next cook may come in.")
    return True


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(not main(sys.argv[1]))
    # Without an argument the lock is in a fresh folder, which is removed at the end.
    with tempfile.TemporaryDirectory(prefix="lockbydir-") as fresh:
        sys.exit(not main(fresh))
