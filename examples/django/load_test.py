"""The application under load, with real uwsgi workers, real requests and a real SIGKILL.

    pytest examples/django/load_test.py

It starts its own servers on free ports of the loopback, in a folder of its own, and prints its
measurements. It needs `lockbydir`, `django`, `uwsgi` and `pytest` in one virtual environment.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Type

import pytest

from lockbydir import Lock

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

REQUESTS = 2_000
AT_ONCE = 64
WORKERS = 4
CRASHES = 5
# The timeout of the lock in counting/guard.py, in seconds. A waiter that did not notice the death of
# the holder would have to wait this long.
TIMEOUT = 10.0
# The time limit of a test, in seconds: after that it counts as stuck, and is ended.
TIME_LIMIT = 120


class Answer(NamedTuple):
    """An answer to a client: the HTTP status, the JSON, and its time on the monotonic clock."""

    status: int
    body: Dict[str, Any]
    at: float


class Server:
    """A uwsgi with its workers, from `with` to the end of the block."""

    def __init__(self, folder: Path, **switches: str) -> None:
        """Create the database in `folder`; `switches` are additional environment variables."""
        self.folder = folder
        self.port = 0
        self.log: List[str] = []
        self._listens = threading.Event()
        self._environment = dict(
            os.environ,
            PORT="0",
            COUNTING_FOLDER=str(folder),
            DJANGO_SETTINGS_MODULE="settings",
            VIRTUAL_ENV=sys.prefix,
            **{"LOCKED": "1", **switches},
        )
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"],
            cwd=HERE,
            env=self._environment,
            check=True,
            timeout=TIME_LIMIT,
        )

    def __enter__(self) -> "Server":
        self.process = subprocess.Popen(
            [str(BIN / "uwsgi"), str(HERE / "uwsgi.ini")],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        # The socket accepts requests from now on; they wait there until the workers are ready.
        if not self._listens.wait(20) or not self.port:
            self.__exit__(None, None, None)
            raise RuntimeError("uwsgi does not listen:\n" + "".join(self.log))
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            # The master leads a separate process group, with only its workers in it.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self._reader.join(10)
        if kind is not None:
            print("the log of uwsgi:\n" + "".join(self.log))

    def _read_log(self) -> None:
        """Read the output of uwsgi, and find its port. Ends with the last worker."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            if "bound to TCP address 127.0.0.1:" in line:
                self.port = int(line.split("127.0.0.1:")[1].split()[0])
                self._listens.set()
        self._listens.set()

    def ask(self, method: str, path: str) -> Answer:
        """Send one request on a separate connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIME_LIMIT)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            text = response.read()
            at = time.monotonic()
        finally:
            connection.close()
        is_json = response.getheader("Content-Type") == "application/json"
        return Answer(response.status, json.loads(text) if is_json else {"text": text}, at)

    def value(self) -> int:
        """Return the present value of the counter."""
        return int(self.ask("GET", "/count").body["value"])

    def load(self, requests: int) -> List[Answer]:
        """Send this many increments, `AT_ONCE` at a time."""
        with ThreadPoolExecutor(AT_ONCE) as clients:
            return list(clients.map(lambda _: self.ask("POST", "/count"), range(requests)))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Create a folder, in memory if possible, so that the figures do not depend on a disk."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="lockbydir-django-", dir=memory) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _time_limit() -> Iterator[None]:
    """Raise an exception in a test that hangs, so that its server is still stopped."""

    def is_stuck(_number: int, _frame: Optional[FrameType]) -> None:
        raise TimeoutError(f"the test is stuck for {TIME_LIMIT} s")

    before = signal.signal(signal.SIGALRM, is_stuck)
    signal.alarm(TIME_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def wait_for_waiters(lock: Lock, number: int) -> None:
    """Poll the status of the lock until its queue has `number` tickets."""
    deadline = time.monotonic() + 10
    while len(lock.status().queue) < number:
        assert time.monotonic() < deadline, f"not {number} in the queue: {lock.status()}"
        time.sleep(0.001)


def summary(answers: List[Answer], seconds: float) -> str:
    """Return the figures of a load as text."""
    workers = Counter(answer.body["worker"] for answer in answers)
    got = Counter(answer.body["lock_got"] for answer in answers)
    return (
        f"{len(answers)} requests in {seconds:.1f} s ({len(answers) / seconds:.0f} a second), "
        f"a worker did {min(workers.values())} to {max(workers.values())}; lock got: {dict(got)}"
    )


def test_with_the_lock_no_increment_is_lost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(folder) as server:
        assert server.value() == 0

        begin = time.monotonic()
        answers = server.load(REQUESTS)
        seconds = time.monotonic() - begin
        end = server.value()

    assert [answer for answer in answers if answer.status != 200] == []
    with capsys.disabled():
        print(f"\nlocked: counter {end}; {summary(answers, seconds)}")
    assert end == REQUESTS
    # Each answer has a different number.
    assert sorted(answer.body["value"] for answer in answers) == list(range(1, REQUESTS + 1))
    # All workers took part, with one lock object, created before they were forked.
    assert len({answer.body["worker"] for answer in answers}) == WORKERS
    assert {answer.body["lock_made_in"] for answer in answers} == {server.process.pid}
    # Nothing is left behind.
    assert not Lock(folder / "counter").locked()
    assert sorted(entry.name for entry in folder.iterdir()) == ["counter.sqlite3"]


def test_without_the_lock_increments_are_lost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(folder, LOCKED="0") as server:
        assert server.value() == 0

        begin = time.monotonic()
        answers = server.load(REQUESTS)
        seconds = time.monotonic() - begin
        end = server.value()

    # Every request succeeds,
    assert [answer for answer in answers if answer.status != 200] == []
    with capsys.disabled():
        print(f"\nunlocked: counter {end}, {REQUESTS - end} lost; {summary(answers, seconds)}")
    # and increments are lost all the same.
    assert end < REQUESTS


def test_the_next_one_gets_the_lock_at_once_after_a_kill(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    lock = Lock(folder / "counter")
    waited: List[float] = []
    successes = 0

    with Server(folder, CRASH_PIPE=str(pipe)) as server:
        for _ in range(CRASHES):
            with ThreadPoolExecutor(AT_ONCE) as clients:
                victim = clients.submit(server.ask, "POST", "/crash")
                # Opens when a worker has opened the other end: it is inside, and holds the lock.
                with open(pipe, "wb"):
                    others = [clients.submit(server.ask, "POST", "/count") for _ in range(20)]
                    wait_for_waiters(lock, WORKERS - 1)
                    killed = time.monotonic()
                answers = [other.result() for other in others]
                # Its client gets only the end of the connection.
                with pytest.raises(ConnectionError):
                    victim.result()

            assert [answer for answer in answers if answer.status != 200] == []
            successes += len(answers)
            # The next holder is the one with the next number, whichever client was first to read its answer.
            first = min(answers, key=lambda answer: int(answer.body["value"]))
            assert first.body["lock_got"] == "after death"
            waited.append(first.at - killed)
        end = server.value()

    with capsys.disabled():
        figures = ", ".join(f"{seconds * 1000:.1f}" for seconds in waited)
        print(f"\nkilled inside: from the kill to the next one's answer {figures} ms", end="")
        print(f" (timeout {TIMEOUT:.0f} s)")
    assert max(waited) < 1.0 < TIMEOUT
    # Only the increments that the killed workers had not written are missing.
    assert end == successes
