"""The locks that are compared: their names, and how to start a process that uses one."""

import os
import queue
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = "120"


class WorkerError(Exception):
    """A worker did not answer, or not as it should."""


@dataclass(frozen=True)
class Lock:
    key: str
    title: str
    package: str
    #: The worker that uses it: rust, python, node; or shell.
    speaks: str
    kind: str
    #: The suffix that the lock adds to the path.
    suffix: str = ""
    #: The key of the lock with which it is compared.
    beside: str = "ours"
    can_be_stale: bool = True
    #: The workloads in which it takes part, if not all.
    only: tuple = field(default=())
    settings: str = ""


LOCKS = [
    Lock("ours", "lockbydir (Rust library)", "lockbydir", "rust", "plain", ".lockdir",
         settings="timeout 10 s"),
    Lock("ours-linger", "lockbydir (library, lingering 1 s)", "lockbydir", "rust", "linger",
         ".lockdir", only=("cost", "hammer"), settings="`linger(1 s)`"),
    Lock("filelock", "filelock FileLock", "filelock", "python", "filelock", can_be_stale=False,
         settings="polls every 50 ms"),
    Lock("soft", "filelock SoftFileLock", "filelock", "python", "soft",
         settings="polls every 50 ms; takes over from a dead PID"),
    Lock("lease", "filelock SoftFileLease", "filelock", "python", "lease",
         settings="polls every 50 ms; lease 30 s; takes over from a dead PID"),
    Lock("proper", "proper-lockfile", "proper-lockfile", "node", "", ".lock",
         settings="stale after 10 s, update every 5 s; set to retry every 50 ms"),
    Lock("flufl", "flufl.lock", "flufl.lock", "python", "flufl",
         settings="lifetime 15 s and 10 s of slop; polls every 10 ms to 2 s"),
    Lock("portalocker", "portalocker Lock", "portalocker", "python", "portalocker",
         can_be_stale=False, settings="polls every 250 ms"),
    Lock("fasteners", "fasteners InterProcessLock", "fasteners", "python", "fasteners",
         can_be_stale=False, settings="polls every 10 ms at first, 100 ms later"),
    Lock("first", "first version, every 30 ms", "python", "python", "first", ".lockdir",
         settings="TIMEOUT 10 s"),
    Lock("first-often", "first version, every 5 ms", "python", "python", "first-often", ".lockdir",
         settings="TIMEOUT 10 s"),
    Lock("ours-run", "`lockbydir run` (shell)", "lockbydir", "shell", "run", ".lockdir",
         beside="ours-run", settings="timeout 10 s, renewed"),
    Lock("flock", "flock(1) (shell)", "flock", "shell", "flock", beside="ours-run",
         can_be_stale=False, settings="waits in the kernel"),
]


def available(installed):
    """Returns the locks that can be measured, and the reasons why others cannot."""
    absent = {
        lock.key: installed.missing[lock.package]
        for lock in LOCKS
        if lock.package in installed.missing
    }
    return [lock for lock in LOCKS if lock.key not in absent], absent


class Worker:
    """A process that receives commands and answers them, line by line."""

    living = set()

    def __init__(self, command, log, environment=None):
        self.command = [str(word) for word in command]
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env=environment,
                start_new_session=True,
            )
        self.log = log
        self.lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        Worker.living.add(self)

    def _listen(self):
        for line in self.process.stdout:
            self.lines.put(line.split())
        self.lines.put(None)

    @property
    def pid(self):
        return self.process.pid

    def send(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self.error(f"is not there any more ({error})") from error

    def receive(self, word, patience=60):
        """Returns the rest of the next line, which must begin with this word."""
        try:
            line = self.lines.get(timeout=patience)
        except queue.Empty:
            raise self.error(f"said nothing for {patience} s") from None
        if line is None:
            raise self.error(f"ended instead of saying `{word}`")
        if line[0] != word:
            raise self.error(f"said {' '.join(line)} instead of `{word}`")
        return line[1:]

    def ask(self, *words, answer, patience=60):
        self.send(*words)
        return self.receive(answer, patience)

    def has_exited(self):
        return self.process.poll() is not None

    def end(self):
        if self.process.stdin:
            try:
                self.process.stdin.close()
            except OSError:
                pass
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.kill()
        Worker.living.discard(self)

    def kill(self):
        self.process.kill()
        self.process.wait()
        try:
            # The processes that it had started end when their input is closed.
            self.process.stdin.close()
        except OSError:
            pass
        Worker.living.discard(self)

    def error(self, what):
        lines = Path(self.log).read_text(errors="replace").strip().splitlines()
        why = f": {lines[-1]}" if lines else ""
        return WorkerError(f"the worker {what}{why}")


class Place:
    """A fresh folder for one measurement of one lock, with methods to start its processes."""

    count = 0

    def __init__(self, installed, scratch, lock):
        Place.count += 1
        self.installed, self.lock = installed, lock
        self.folder = scratch / f"{Place.count:04}-{lock.key}"
        self.folder.mkdir(parents=True)
        self.aside = self.folder.with_suffix(".aside")
        self.aside.mkdir()
        self.log = self.aside / "log"
        self.log.touch()
        self.workers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            if worker in Worker.living:
                worker.end()

    def path(self, name="lock"):
        return self.folder / name

    def start(self, command, environment=None):
        worker = Worker(command, self.log, environment)
        self.workers.append(worker)
        return worker

    def speaker(self, name="lock"):
        """Starts a worker for the lock; not for locks of the shell."""
        installed, lock = self.installed, self.lock
        environment = dict(os.environ)
        if lock.speaks == "rust":
            command = [installed.worker, lock.kind]
        elif lock.speaks == "python":
            script = Path(__file__).parent.parent / "workers" / "worker.py"
            command = [installed.python, script, lock.kind]
        else:
            script = Path(__file__).parent.parent / "workers" / "worker.js"
            command = [installed.node, script]
            environment["RIVALS_NODE_MODULES"] = str(installed.node_modules)
        worker = self.start(command, environment)
        worker.ask("path", self.path(name), answer="ok")
        return worker

    def shell(self, *command, name="lock"):
        """Returns the command line that runs this command under the lock, in a shell."""
        installed, path = self.installed, self.path(name)
        if self.lock.kind == "flock":
            return [installed.flock, path, *command]
        return [installed.program, "run", "--quiet", "--patience", PATIENCE, path, "--", *command]

    def user(self):
        """Returns a user that holds and waits, with one interface for locks of a library and of the shell."""
        return ShellUser(self) if self.lock.speaks == "shell" else SpeakerUser(self)

    def remove_the_lock(self, name="lock"):
        """Removes the lock, as another program might."""
        path = Path(f"{self.path(name)}{self.lock.suffix}")
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def left_behind(self):
        return sorted(path.name for path in self.folder.iterdir())


class SpeakerUser:
    def __init__(self, place):
        self.worker = place.speaker()

    def ask_for_it(self, verb="acquire"):
        self.worker.send(verb)

    def got(self, patience=60):
        return int(self.worker.receive("got", patience)[0])

    def release(self):
        return int(self.worker.ask("release", answer="released")[0])


class ShellUser:
    """A user of a lock of the shell: each holding is a separate process."""

    def __init__(self, place):
        self.place = place
        self.worker = None

    def ask_for_it(self, verb="acquire"):
        self.worker = self.place.start(self.place.shell(self.place.installed.worker, "child"))

    def got(self, patience=60):
        return int(self.worker.receive("got", patience)[0])

    def release(self):
        at = int(self.worker.ask("release", answer="released")[0])
        # The next process of this user is started later, as in a shell.
        self.worker.process.stdin.close()
        return at


def now():
    return time.monotonic_ns()
