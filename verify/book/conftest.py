"""The world in which a recipe runs: a folder, programs in place of the work, and a watch on who is inside.

`recipe` runs a test twice: with lockbydir, where it must pass, and with a stand-in that locks nothing, where two must
be found at work at once. The environment names the program: LOCKBYDIR_PROGRAM.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Union

import pytest

HERE = Path(__file__).resolve().parent
UNLOCKED = HERE / "unlocked"
TIME_LIMIT = 60
"""How long a test waits for a thing that must happen, in seconds."""


class Overlap(AssertionError):
    """Two were at work at once."""


class World:
    """A folder with programs, whose work stays inside until `go`."""

    def __init__(self, folder: Path, has_locks: bool) -> None:
        self.folder = folder
        self.has_locks = has_locks
        self.bin = folder / "bin"
        self._notes = folder / "notes"
        self._running: List[subprocess.Popen[str]] = []
        self.bin.mkdir()
        (self._notes / "inside").mkdir(parents=True)
        program = os.environ["LOCKBYDIR_PROGRAM"] if has_locks else UNLOCKED / "bin" / "lockbydir"
        (self.bin / "lockbydir").symlink_to(program)
        beside = Path(sys.executable).parent
        self.environment: Dict[str, str] = {
            "BOOK": str(self._notes),
            "HOME": str(folder),
            "PATH": f"{self.bin}:{beside}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": os.pathsep.join([str(HERE / "modules"), *([] if has_locks else [str(UNLOCKED)])]),
        }

    def programs(self, *names: str) -> None:
        """Makes programs of these names, which stand for work."""
        for name in names:
            (self.bin / name).symlink_to(HERE / "work")

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        """Writes a file of a recipe, with folders of this world in place of those that the recipe names."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.moved(text))
        path.chmod(mode)
        return path

    def moved(self, text: str) -> str:
        """Replaces the folders that recipes name by folders of this world, and makes them."""
        for named in ("/var/lib/report", "/var/lib/app", "/var/lib/gpus", "/locks"):
            if named in text:
                here = self.folder / "places" / named.strip("/").replace("/", "-")
                here.mkdir(parents=True, exist_ok=True)
                text = text.replace(named, str(here))
        return text.replace("/usr/local/bin", str(self.bin))

    def start(self, command: Sequence[Union[str, Path]], cwd: Optional[Path] = None, **extra: str) -> subprocess.Popen[str]:
        """Starts a command in a process group of its own."""
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd or self.folder,
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def run(self, command: Sequence[Union[str, Path]], cwd: Optional[Path] = None, **extra: str) -> str:
        """Runs a command, which must succeed, and returns its output."""
        process = self.start(command, cwd, **extra)
        assert self.finish(process) == 0, self.output(process)
        return self.output(process)

    def finish(self, process: subprocess.Popen[str]) -> int:
        """Waits for the end of a process, and returns its exit code."""
        if not hasattr(process, "printed"):
            process.printed, _ = process.communicate(timeout=TIME_LIMIT)  # type: ignore[attr-defined]
        return process.returncode

    def output(self, process: subprocess.Popen[str]) -> str:
        """Returns what a process that has ended has printed."""
        self.finish(process)
        return process.printed  # type: ignore[attr-defined, no-any-return]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits until something is so."""
        end = time.monotonic() + TIME_LIMIT
        while not condition():
            assert time.monotonic() < end, f"not within {TIME_LIMIT} s: {what}; {self.report()}"
            time.sleep(0.01)

    def inside(self) -> int:
        """Returns how many are at work. A note with a PID counts while that process lives."""
        count = 0
        for note in (self._notes / "inside").iterdir():
            try:
                pid = note.read_text()
            except FileNotFoundError:
                continue
            count += not pid or Path("/proc", pid).exists()
        return count

    def alone(self) -> None:
        """Checks that no two are at work."""
        if self.inside() > 1:
            raise Overlap(self.report())

    def waiters(self) -> int:
        """Returns how many are in the queues of all locks of this world."""
        return sum(1 for _ in self.folder.rglob("*.lockdir.queue/t1.*"))

    def go(self) -> None:
        """Lets the work end."""
        (self._notes / "go").touch()

    def journal(self) -> List[str]:
        """Returns what was begun, in this order."""
        journal = self._notes / "journal"
        return journal.read_text().splitlines() if journal.exists() else []

    def report(self) -> str:
        """Returns what this world looks like, for a failed test."""
        ended = [self.output(p) for p in self._running if p.poll() is not None]
        return f"{self.inside()} inside, {self.waiters()} wait, journal {self.journal()}, printed {ended}"

    def excludes(
        self,
        first: Callable[[], subprocess.Popen[str]],
        second: Optional[Callable[[], subprocess.Popen[str]]] = None,
    ) -> List[int]:
        """Starts one, and while that one is at work another one, which must wait or end. Returns both exit codes."""
        one = first()
        self.until(lambda: self.inside() or one.poll() is not None, "the first is at work")
        assert self.inside() == 1, self.report()
        other = (second or first)()
        self.until(
            lambda: self.inside() > 1 or self.waiters() or other.poll() is not None,
            "the second is at work, waits or has ended",
        )
        self.alone()
        self.go()
        return [self.finish(one), self.finish(other)]

    def end(self) -> None:
        """Ends what still runs."""
        self.go()
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world with locks, or without."""
    it = World(tmp_path, has_locks=getattr(request, "param", True))
    yield it
    it.end()
    shutil.rmtree(tmp_path, ignore_errors=True)


def recipe(test: Callable[[World], None]) -> Callable[[World], None]:
    """Runs the test of a recipe with locks, and without, where two must be found at work at once."""

    @pytest.mark.parametrize("world", [True, False], ids=["locked", "unlocked"], indirect=True)
    @functools.wraps(test)
    def run(world: World) -> None:
        if world.has_locks:
            test(world)
        else:
            with pytest.raises(Overlap):
                test(world)

    return run
