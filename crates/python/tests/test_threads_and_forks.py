"""Threads, forked children, finalizing interpreters: nothing hangs and nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from typing import Callable

import pytest
from children import exit_code_of, tickets_of, until
from conftest import StartChild
from lockbydir import Lock, LockError

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def forked(work: Callable[[], object], bound: float = 10.0) -> object:
    """Runs it in a forked child; returns the outcome, or `hangs` after `bound` seconds."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = 0 if work() in (None, True) else 1
        finally:
            os._exit(code)
    code_or_none = exit_code_of(pid, bound)
    return "hangs" if code_or_none is None else code_or_none


def test_other_threads_run_during_a_wait(name: str) -> None:
    with Lock(name):
        ends = threading.Event()
        counted = 0

        def wait() -> None:
            with pytest.raises(TimeoutError):
                Lock(name, patience=0.5).acquire()
            ends.set()

        waiter = threading.Thread(target=wait)

        waiter.start()
        while not ends.is_set():
            counted += 1

        waiter.join()
    print(f"counted to {counted} while another thread waited 0.5 s")
    assert counted > 100_000


def count_in_threads(locks: list[Lock], turns: int) -> int:
    """Returns the count of threads that each read it, let others run, and write it."""
    count = 0

    def work(lock: Lock) -> None:
        nonlocal count
        for _ in range(turns):
            with lock:
                read = count
                os.sched_yield()
                time.sleep(0)
                count = read + 1

    threads = [threading.Thread(target=work, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count


def test_threads_exclude_each_other_on_one_lock_object(name: str) -> None:
    lock = Lock(name)

    assert count_in_threads([lock] * 8, 50) == 400


def test_threads_exclude_each_other_on_objects_of_one_name(name: str) -> None:
    assert count_in_threads([Lock(name) for _ in range(8)], 50) == 400


def test_the_same_count_without_a_lock_is_wrong(tmp_path: object) -> None:
    apart = [Lock(f"{tmp_path}/{number}") for number in range(8)]

    assert count_in_threads(apart, 50) < 400


def test_a_lock_made_before_a_fork_works_in_every_child(name: str, tmp_path: object) -> None:
    lock = Lock(name)
    counter = f"{tmp_path}/counter"
    with open(counter, "w") as file:
        file.write("0")

    def work() -> None:
        for _ in range(50):
            with lock:
                with open(counter) as file:
                    read = int(file.read())
                with open(counter, "w") as file:
                    file.write(str(read + 1))

    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    work()

    assert [exit_code_of(pid) for pid in children] == [0] * 4
    assert open(counter).read() == "250"


_shared: list[Lock] = []


def _count_by(name: str) -> int:
    lock = _shared[0] if _shared else Lock(name)
    held = lock.acquire()
    lock.release()
    return held.token


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_multiprocessing_exclude_each_other(name: str, method: str) -> None:
    _shared[:] = [Lock(name)] if method == "fork" else []
    context = multiprocessing.get_context(method)

    with context.Pool(3) as pool:
        tokens = pool.map_async(_count_by, [name] * 30).get(30)

    _shared.clear()
    assert len(set(tokens)) == 30


def busy(lock: Lock, what: Callable[[Lock], object]) -> Callable[[], None]:
    """Starts a thread that repeats this; calling the returned function ends it."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            what(lock)

    thread = threading.Thread(target=work)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join()

    return stop


def once(lock: Lock) -> None:
    with lock:
        pass


@pytest.mark.parametrize("linger", [0, 0.001, 5])
def test_a_child_forked_during_an_acquisition_does_not_hang(name: str, linger: float) -> None:
    lock = Lock(name, linger=linger)
    other = Lock(name + ".other", linger=linger)

    def work() -> None:
        if linger != 0.001:
            once(other)
            once(lock)
        # A child that ends while its thread removes a lingering directory would leave a bare one,
        # which others respect for a while. This one ends while it holds.
        other.acquire()
        lock.acquire()

    stop = busy(lock, once)
    try:
        outcomes: dict[tuple[object, str], int] = {}
        for _ in range(150):
            begun = time.monotonic()
            outcome = forked(work, 5)
            slow = "slow" if time.monotonic() - begun > 2 else ""
            outcomes[outcome, slow] = outcomes.get((outcome, slow), 0) + 1
    finally:
        stop()

    assert outcomes == {(0, ""): 150}


def test_a_child_forked_during_a_renewal_does_not_hang(name: str) -> None:
    lock = Lock(name)
    held = lock.acquire()
    stops = [busy(lock, lambda _: held.renew()), busy(lock, lambda _: held.wait_lost(0.001))]
    try:

        def look() -> bool:
            repr(held)
            lock.release()
            return not held.is_held and held.remaining == 0

        outcomes = [forked(look, 5) for _ in range(60)]
    finally:
        for stop in stops:
            stop()

    assert outcomes == [0] * 60
    assert held.is_held
    held.release()


def test_a_child_forked_during_a_wait_waits_by_itself(name: str) -> None:
    lock = Lock(name, patience=20)
    held = Lock(name).acquire()
    got = threading.Event()

    def wait() -> None:
        once(lock)
        got.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: len(tickets_of(name)) == 1)

    pid = os.fork()
    if pid == 0:
        try:
            once(lock)
            os._exit(0)
        finally:
            os._exit(1)
    until(lambda: len(tickets_of(name)) == 2)
    held.release()

    assert exit_code_of(pid) == 0
    assert got.wait(10)
    waiter.join()
    assert not lock.locked() and tickets_of(name) == []


def test_the_queue_survives_a_dead_waiter_with_a_living_child(
    name: str, child: StartChild
) -> None:
    held = Lock(name).acquire()
    waiter = child(
        """
        lock = Lock(name, patience=None)
        threading.Thread(target=lock.acquire, daemon=True).start()
        say("waits")
        receive()
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        say(pid)
        receive()
        """
    )
    waiter.read_line()
    until(lambda: len(tickets_of(name)) == 1)
    waiter.send()
    grandchild = int(waiter.read_line())
    try:
        behind = child(
            """
            say("waits")
            begun = time.monotonic()
            with Lock(name, patience=20):
                say("got", time.monotonic() - begun)
            """
        )
        behind.read_line()
        until(lambda: len(tickets_of(name)) == 2)

        waiter.kill()
        begun = time.monotonic()
        held.release()

        assert behind.read_line().startswith("got")
        print(f"got {time.monotonic() - begun:.3f} s after the release")
        behind.ends_well()
    finally:
        os.kill(grandchild, 9)
    assert not Lock(name).locked()


@pytest.mark.parametrize("way", ["release", "lock", "exit", "collection", "nothing"])
def test_a_holding_across_a_fork_is_released_by_the_parent(
    name: str, child: StartChild, way: str
) -> None:
    one = child(
        """
        import gc
        way = receive()
        lock = Lock(name)
        held = lock.acquire()
        pid = os.fork()
        if pid == 0:
            if way == "release": held.release()
            if way == "lock": lock.release()
            if way == "exit": held.__exit__(None, None, None)
            if way == "collection":
                del held, lock
                gc.collect()
            sys.exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        held.renew()
        say(lock.status().state, held.is_held)
        lock.release()
        """
    )
    one.send(way)

    assert one.read_line() == "0"
    assert one.read_line() == "held True"
    one.ends_well()
    assert not Lock(name).locked()


def test_a_with_left_by_a_child_is_released_by_the_parent(name: str) -> None:
    lock = Lock(name)
    with lock as held:
        pid = os.fork()
        if pid == 0:
            try:
                lock.__exit__(None, None, None)
                os._exit(0)
            finally:
                os._exit(1)
        assert exit_code_of(pid) == 0
        held.renew()
        assert held.is_held
    assert not lock.locked()


def test_a_child_is_refused_its_parents_lock(name: str) -> None:
    with Lock(name) as held:

        def ask() -> bool:
            for verb in (held.renew, lambda: held.set_timeout(3), held.keep):
                with pytest.raises(LockError, match="forked"):
                    verb()
            return not held.is_held and held.remaining == 0 and held.wait_lost(5)

        assert forked(ask) == 0
        held.renew()


def test_a_child_waits_for_the_lock_that_its_parent_holds(name: str) -> None:
    lock = Lock(name)
    held = lock.acquire()
    pid = os.fork()
    if pid == 0:
        try:
            once(lock)
            os._exit(0)
        finally:
            os._exit(1)
    until(lambda: len(tickets_of(name)) == 1)

    held.release()

    assert exit_code_of(pid) == 0


def test_children_of_a_preloaded_parent_share_its_lingering_lock(name: str) -> None:
    lock = Lock(name, linger=30)
    first = lock.acquire().token
    lock.release()

    def work() -> bool:
        tokens = []
        for _ in range(20):
            with lock as held:
                tokens.append(held.token)
        return tokens == sorted(set(tokens)) and tokens[0] > first

    assert [forked(work) for _ in range(5)] == [0] * 5
    with lock as held:
        assert held.token > first


def test_a_lock_is_renewed_in_the_parent_after_a_fork(name: str) -> None:
    lost: list[object] = []
    with Lock(name, timeout=0.6, renew=True, on_lost=lost.append) as held:
        children = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                time.sleep(1.5)
                os._exit(0)
            children.append(pid)
        assert [exit_code_of(pid) for pid in children] == [0] * 3

        assert held.is_held and Lock(name).status().state == "held"
    assert lost == []


ENDINGS = {
    "while it holds": "held = Lock(name).acquire()",
    "while it holds and renews": "held = Lock(name, timeout=0.1, renew=True).acquire()",
    "while it holds and would report a loss": (
        "held = Lock(name, timeout=0.1, renew=True, on_lost=print).acquire()"
    ),
    "while it lingers": "lock = Lock(name, linger=60)\nlock.acquire().release()",
    "within a with": "lock = Lock(name)\nlock.__enter__()",
    "while daemon threads lock": """
lock = Lock(name)
def work():
    while True:
        with lock: pass
for _ in range(4): threading.Thread(target=work, daemon=True).start()
lock.acquire(); lock.release()
""",
    "while daemon threads find it taken": """
held = Lock(name).acquire()
def work():
    while True:
        try: Lock(name).acquire(0)
        except PatienceOver: pass
for _ in range(3): threading.Thread(target=work, daemon=True).start()
time.sleep(0.02)
""",
    "while a loss is reported": """
def fail(error): raise RuntimeError("within on_lost")
sys.unraisablehook = threading.excepthook = lambda *_: time.sleep(0)
held = Lock(name, timeout=0.1, renew=True, on_lost=fail).acquire()
Lock(name).break_lock(force=True)
held.wait_lost(5)
held.keep()
""",
    "while a daemon thread waits": """
held = Lock(name).acquire()
threading.Thread(target=Lock(name, patience=None).acquire, daemon=True).start()
while not os.path.exists(name + ".lockdir.queue"): time.sleep(0.001)
""",
    "while a daemon thread waits, and acquires it late": """
held = Lock(name).acquire()
threading.Thread(target=Lock(name, patience=None).acquire, daemon=True).start()
while not os.path.exists(name + ".lockdir.queue"): time.sleep(0.001)
class Late:
    def __del__(self, release=held.release, sleep=time.sleep):
        release()
        sleep(0.2)
late = Late()
del held
sys.late = late
""",
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_an_interpreter_that_ends_neither_crashes_nor_hangs(
    name: str, child: StartChild, ending: str
) -> None:
    for _ in range(3):
        one = child(ENDINGS[ending])

        one.ends_well(10)

        with Lock(name, patience=5):
            pass
        assert tickets_of(name) == []


def test_a_subinterpreter_gets_the_package_or_an_import_error(child: StartChild) -> None:
    one = child(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        made = interpreters.create()
        code = '''
        try:
            import lockbydir
            with lockbydir.Lock(%r): said = "works"
        except ImportError as error:
            said = "refuses: " + str(error)
        import os
        os.write(1, (said + "\\\\n").encode())
        ''' % name
        import textwrap
        interpreters.run_string(made, textwrap.dedent(code))
        interpreters.destroy(made)
        with Lock(name): pass
        """
    )

    said = one.read_line()
    print(said)
    assert said == "works" or (said.startswith("refuses: ") and "subinterpreter" in said)
    one.ends_well()
