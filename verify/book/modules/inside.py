"""What stands for work in Python: notes that it is inside, and stays until the test lets it go."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

_NOTES = Path(os.environ["BOOK"])


def _come_in(what):
    handle, note = tempfile.mkstemp(dir=_NOTES / "inside")
    os.write(handle, str(os.getpid()).encode())
    os.close(handle)
    with open(_NOTES / "journal", "a") as journal:
        journal.write(what + "\n")
    return note


def work(what):
    note = _come_in(what)
    while not (_NOTES / "go").exists():
        time.sleep(0.02)
    os.remove(note)


async def work_async(what):
    note = _come_in(what)
    while not (_NOTES / "go").exists():
        await asyncio.sleep(0.02)
    os.remove(note)
