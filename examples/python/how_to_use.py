"""The shortest use of a lock: create it, wait for it, use the scarce resource, release it.

Shows the few lines that every program needs. Run two of these at once with the same folder
(``python how_to_use.py .``) and watch the second one wait for the first.

After the example of the same name in Andreas Krueger's ``lockbydir`` (2015).
"""

import os
import sys
import tempfile
import time

from lockbydir import Lock, PatienceOver


def main(folder: str) -> bool:
    lock = Lock(os.path.join(folder, "kitchen"), patience=30)
    print(f"The lock is the directory {lock.path}", flush=True)

    try:
        with lock as held:  # It is renewed until the block ends.
            print(f"Locked: the kitchen is mine, my number is {held.token}. Cooking ...", flush=True)
            time.sleep(1)
    except PatienceOver as busy:
        print(f"No patience left: {busy}")
        return False
    print("Unlocked: the next cook may come in.")
    return True


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(not main(sys.argv[1]))
    # Without an argument the lock is in a fresh folder, which is removed at the end.
    with tempfile.TemporaryDirectory(prefix="lockbydir-") as fresh:
        sys.exit(not main(fresh))
