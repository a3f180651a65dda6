"""Every member and parameter of a lock and of a holding, as Python programs use them."""

from __future__ import annotations

import inspect
import json
import os
import queue
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from children import tickets_of, until
from conftest import StartChild
from lockbydir import Held, Lock, LockError, LockLost, PatienceOver, Status, clean, list_locks


def test_a_with_holds_the_lock_and_releases_it(name: str) -> None:
    lock = Lock(name)

    with lock as held:
        assert isinstance(held, Held) and held.is_held
        assert os.path.isdir(name + ".lockdir")
        assert lock.locked()

    assert not held.is_held and held.remaining == 0
    assert not os.path.exists(name + ".lockdir")
    assert not lock.locked()


def test_a_with_releases_when_its_block_raises(name: str) -> None:
    lock = Lock(name)

    with pytest.raises(KeyError), lock:
        raise KeyError("work")

    assert not lock.locked()


def test_acquire_holds_until_release_as_with_threading(name: str) -> None:
    lock = Lock(name)

    lock.acquire()

    assert lock.locked()
    lock.release()
    assert not lock.locked()


def test_a_with_over_acquire_holds_and_releases(name: str) -> None:
    with Lock(name).acquire(patience=5) as held:
        assert held.is_held
    assert not Lock(name).locked()


def test_a_held_that_is_dropped_releases(name: str) -> None:
    held = Lock(name).acquire()
    assert Lock(name).locked()

    del held

    assert not Lock(name).locked()


def test_try_acquire_gives_none_when_the_lock_is_taken(name: str) -> None:
    lock = Lock(name)
    held = lock.try_acquire()
    assert held is not None and held.is_held

    assert Lock(name).try_acquire() is None

    lock.release()
    again = Lock(name).try_acquire()
    assert again is not None


def test_a_lock_is_not_reentrant(name: str) -> None:
    lock = Lock(name, patience=0.05)

    with lock, pytest.raises(PatienceOver):
        lock.acquire()

    assert not lock.locked()


def test_patience_is_the_locks_own_or_that_of_the_call(name: str) -> None:
    with Lock(name):
        for lock, patience in ((Lock(name, patience=0.2), None), (Lock(name), timedelta(0, 0.2))):
            begun = time.monotonic()
            with pytest.raises(PatienceOver):
                lock.acquire(patience) if patience else lock.acquire()
            assert 0.2 <= time.monotonic() - begun < 2


@pytest.mark.parametrize("endless", ["None", "float('inf')", "1e15", "10**400"])
def test_endless_patience_outlasts_a_long_holding(
    name: str, child: StartChild, endless: str
) -> None:
    holder = child("held = Lock(name).acquire(); say('holds'); receive(); held.release()")
    assert holder.read_line() == "holds"
    waiter = child(
        f"""
        with Lock(name, patience={endless}): say("got")
        """
    )
    until(lambda: len(tickets_of(name)) == 1)

    holder.send()

    assert waiter.read_line() == "got"


@pytest.mark.parametrize("given", [3, 3.0, timedelta(seconds=3)])
def test_a_timeout_is_a_number_or_a_timedelta(name: str, given: float) -> None:
    with Lock(name, timeout=given) as held:
        assert 2 < held.remaining <= 3
        assert Lock(name).status().timeout == 3.0


def test_a_name_is_a_str_or_a_path(name: str) -> None:
    path = Path(name)

    with Lock(path) as held:
        assert Lock(name).locked()
        assert held.path == Lock(path).path == name + ".lockdir"
        assert Lock(path).name is path


def test_a_relative_name_begins_at_the_current_directory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(os.path.dirname(name))

    with Lock("jobs"):
        assert Lock(name).locked()


def test_how_is_free(name: str) -> None:
    with Lock(name) as held:
        assert held.how == "free" and held.predecessor is None


def test_how_is_handed_over(name: str, child: StartChild) -> None:
    held = Lock(name, label="first").acquire()
    waiter = child(
        """
        with Lock(name) as held:
            before = held.predecessor
            say(held.how, before.token, before.holder.pid, before.holder.label)
        """
    )
    # A waiter that listens to the bell is handed the lock; one that does not listen yet finds it free.
    until(lambda: os.path.exists(name + ".lockdir.queue/bell"))

    held.release()

    assert waiter.read_line() == f"handed over {held.token} {os.getpid()} first"
    waiter.ends_well()


def test_how_is_after_expiry(name: str) -> None:
    old = Lock(name, timeout=0.2, label="slow").acquire()

    with Lock(name) as held:
        assert held.how == "after expiry"
        before = held.predecessor
        assert before is not None and before.holder is not None and before.age is None
        assert before.token == old.token < held.token
        assert before.holder.label == "slow"
        assert not old.is_held
        with pytest.raises(LockLost) as lost:
            old.renew()
        assert lost.value.holder is not None and lost.value.holder.pid == os.getpid()
        assert lost.value.path == held.path
        with pytest.raises(LockLost):
            old.release()
        assert held.is_held


def test_how_is_after_expiry_for_an_old_bare_lock(name: str) -> None:
    os.mkdir(name + ".lockdir")

    with Lock(name, timeout=0.3) as held:
        assert held.how == "after expiry"
        before = held.predecessor
        assert before is not None and before.holder is None and before.token is None
        assert before.age is not None and before.age >= 0.3


def test_how_is_after_death(name: str, child: StartChild) -> None:
    victim = child(
        """
        held = Lock(name, timeout=600, label="work").acquire()
        say(held.token)
        receive()
        """
    )
    token = int(victim.read_line())
    begun = time.monotonic()

    victim.kill()

    with Lock(name) as held:
        assert time.monotonic() - begun < 5
        assert held.how == "after death"
        before = held.predecessor
        assert before is not None and before.holder is not None
        assert before.token == token < held.token
        assert before.holder.pid == victim.pid
        assert before.holder.label == "work"


def test_an_unowned_lock_outlives_its_process(name: str, child: StartChild) -> None:
    one = child("say(Lock(name, owner='nobody', timeout=600).acquire().keep())")
    key = one.read_line()
    one.ends_well()

    assert Lock(name).status().state == "held"
    Lock(name).release(key)
    assert not Lock(name).locked()


def test_a_lock_of_another_process_ends_with_that(name: str, child: StartChild) -> None:
    other = child("say('lives'); receive()")
    other.read_line()
    held = Lock(name, owner=other.pid, timeout=600).acquire()
    assert held.is_held and Lock(name).status().state == "held"

    other.kill()

    with Lock(name, patience=5) as after:
        assert after.how == "after death"


def test_renew_counts_the_timeout_anew(name: str) -> None:
    with Lock(name, timeout=60) as held:
        held.set_timeout(2)
        before = held.remaining
        held.set_timeout(timedelta(seconds=30))
        assert before <= 2 < 25 < held.remaining <= 30
        held.renew()
        assert held.remaining > 25
        assert Lock(name).status().timeout == 30


def test_a_lock_renews_itself(name: str) -> None:
    with Lock(name, timeout=1.0, renew=True) as held:
        assert not held.wait_lost(2.5)
        assert held.is_held
        with pytest.raises(PatienceOver):
            Lock(name).acquire(patience=0)


def test_a_lock_without_a_timeout_is_renewed(name: str) -> None:
    with Lock(name) as held:
        before = held.remaining
        assert before <= 10

        time.sleep(3.6)

        assert held.remaining > before - 2


def test_on_lost_is_called_when_the_lock_is_broken_by_force(name: str) -> None:
    losses: queue.Queue[LockError] = queue.Queue()
    lock = Lock(name, timeout=0.3, renew=True, on_lost=losses.put)
    with pytest.raises(LockLost), lock as held:
        assert Lock(name).break_lock(force=True)

        error = losses.get(timeout=10)

        assert isinstance(error, LockLost) and error.path == held.path
        assert held.wait_lost(5) and not held.is_held
        assert losses.empty()


def test_an_exception_in_on_lost_is_shown_and_harmless(name: str, child: StartChild) -> None:
    one = child(
        """
        sys.unraisablehook = lambda seen: say("seen:", seen.exc_value)
        def fail(error): raise RuntimeError("within on_lost")
        held = Lock(name, timeout=0.1, renew=True, on_lost=fail).acquire()
        Lock(name).break_lock(force=True)
        receive()
        say(held.wait_lost(10), held.is_held)
        """
    )
    assert one.read_line() == "seen: within on_lost"
    one.send()
    assert one.read_line() == "True False"
    one.ends_well()


def test_a_kept_lock_is_renewed_and_released_by_its_key(name: str) -> None:
    held = Lock(name, timeout=5).acquire()
    key = held.key

    assert held.keep() == key
    assert not held.is_held
    with pytest.raises(LockLost):
        held.renew()
    del held
    assert Lock(name).locked()
    Lock(name, timeout=50).renew(key)
    assert Lock(name).status().timeout == 50
    Lock(name).release(key)
    assert not Lock(name).locked()
    with pytest.raises(LockLost):
        Lock(name).renew(key)


def test_others_see_the_label_and_the_waiters(name: str, child: StartChild) -> None:
    with Lock(name, label="nightly backup", timeout=20) as held:
        waiter = child("with Lock(name, label='next'): pass")
        until(lambda: len(tickets_of(name)) == 1)

        status = Lock(name).status()

        assert isinstance(status, Status)
        assert (status.name, status.path) == (name, name + ".lockdir")
        assert status.state == "held" and status.is_locked and status.token == held.token
        assert status.timeout == 20 and status.note is None
        assert status.age is not None and 0 <= status.age < 10
        assert status.remaining is not None and 10 < status.remaining <= 20
        assert status.holder is not None
        assert status.holder.pid == os.getpid() and status.holder.host == os.uname().nodename
        assert status.holder.label == "nightly backup" and status.holder.child is None
        assert status.holder.command and abs(time.time() - status.holder.since) < 60
        (ticket,) = status.queue
        assert (ticket.pid, ticket.label, ticket.host) == (waiter.pid, "next", os.uname().nodename)
        assert ticket.command and ticket.waiting >= 0
    waiter.ends_well()
    assert Lock(name).status().state == "free"


def test_a_folder_lists_its_locks(tmp_path: Path) -> None:
    assert list_locks(tmp_path) == []
    with Lock(tmp_path / "a", label="one"), Lock(tmp_path / "b"):
        found = {os.path.basename(status.name): status for status in list_locks(tmp_path)}
        assert sorted(found) == ["a", "b"]
        assert found["a"].holder is not None and found["a"].holder.label == "one"
        assert len(list_locks(str(tmp_path))) == 2


def test_break_lock_leaves_a_living_holder_unless_forced(name: str) -> None:
    lock = Lock(name)
    assert lock.break_lock() is False
    with pytest.raises(LockLost), lock as held:
        assert lock.break_lock() is False and held.is_held

        assert lock.break_lock(force=True) is True

        with pytest.raises(LockLost):
            held.renew()
    assert not lock.locked()


def test_break_lock_ends_an_expired_holding(name: str) -> None:
    Lock(name, timeout=0.1, owner="nobody").acquire().keep()
    until(lambda: Lock(name).status().state == "expired")

    assert Lock(name).break_lock() is True
    assert not os.path.exists(name + ".lockdir")


def test_clean_removes_what_crashes_left(name: str, child: StartChild) -> None:
    lingers = child("lock = Lock(name, linger=60); lock.acquire().release(); say('left'); receive()")
    lingers.read_line()
    lingers.kill()
    with Lock(name + ".b"):
        waits = child("Lock(name).acquire()", of=name + ".b")
        until(lambda: len(tickets_of(name + ".b")) == 1)
        waits.kill()

        removed = clean(os.path.dirname(name))

    assert removed == [name + ".b.lockdir.queue", name + ".lockdir"]
    assert clean(Path(name).parent) == []
    assert os.listdir(os.path.dirname(name)) == []


def test_a_decorated_function_runs_under_the_lock(name: str) -> None:
    lock = Lock(name)

    @lock
    def double(value: int, *, plus: int = 0) -> int:
        """Doubles it."""
        assert lock.locked()
        if value < 0:
            raise ValueError("negative")
        return value * 2 + plus

    assert double(4, plus=1) == 9
    with pytest.raises(ValueError, match="negative"):
        double(-1)
    assert not lock.locked()
    assert (double.__name__, double.__doc__) == ("double", "Doubles it.")
    assert list(inspect.signature(double).parameters) == ["value", "plus"]


def test_a_lock_that_lingers_stays_open_for_a_while(name: str) -> None:
    lock = Lock(name, linger=0.3)
    tokens = []
    for _ in range(5):
        with lock as held:
            tokens.append(held.token)
        assert lock.status().state == "open" and not lock.locked()
    assert tokens == sorted(set(tokens))

    with Lock(name) as held:
        assert held.token > tokens[-1]
    until(lambda: not os.path.exists(name + ".lockdir"))


def test_a_lock_that_lingers_goes_with_its_object(name: str) -> None:
    lock = Lock(name, linger=timedelta(hours=1))
    lock.acquire().release()
    assert os.path.exists(name + ".lockdir")

    del lock

    assert not os.path.exists(name + ".lockdir")


def test_a_fenced_lock_keeps_its_directory_and_its_tokens_grow(name: str) -> None:
    tokens = []
    for _ in range(5):
        with Lock(name, fenced=True) as held:
            tokens.append(held.token)
    assert os.path.isdir(name + ".lockdir") and Lock(name).status().state == "open"
    with Lock(name) as held:
        tokens.append(held.token)
    assert tokens == sorted(set(tokens))


def test_mode_and_group_share_a_lock(name: str) -> None:
    with Lock(name, mode=0o770, group=os.getgid()):
        seen = os.stat(name + ".lockdir")
        assert (oct(seen.st_mode & 0o777), seen.st_gid) == ("0o770", os.getgid())


def test_a_subclass_changes_the_defaults(name: str) -> None:
    class Quick(Lock):
        def __init__(self) -> None:
            super().__init__(name, timeout=1, patience=0)
            self.uses = 0

    lock = Quick()
    with lock:
        assert Lock(name).status().timeout == 1


def test_a_lock_and_a_holding_show_what_they_are(name: str) -> None:
    lock = Lock(name)
    assert repr(lock) == f"<lockbydir.Lock {name!r}>"
    with lock as held:
        assert f"token {held.token}, lasts" in repr(held)
    assert repr(held).endswith("over>")


def status_by(program: str, name: str) -> dict[str, object]:
    said = subprocess.run(
        [program, "status", name, "--json"], check=True, capture_output=True, timeout=10
    )
    found: dict[str, object] = json.loads(said.stdout)
    return found


def test_the_command_line_sees_the_same_holder(name: str, program: str) -> None:
    with Lock(name, label="of Python") as held:
        seen = status_by(program, name)

        holder = seen["holder"]
        assert isinstance(holder, dict)
        assert (seen["state"], seen["token"]) == ("held", held.token)
        assert (holder["pid"], holder["label"]) == (os.getpid(), "of Python")
        taken = subprocess.run([program, "run", "-n", name, "--", "true"], capture_output=True)
        assert taken.returncode == 75
    assert status_by(program, name)["state"] == "free"


def test_python_renews_and_releases_a_lock_of_the_command_line(name: str, program: str) -> None:
    acquire = [program, "acquire", "--timeout", "60s", "--label", "shell", name]
    key = subprocess.run(acquire, check=True, capture_output=True, text=True, timeout=10)

    status = Lock(name).status()
    assert status.holder is not None and status.holder.label == "shell"
    Lock(name, timeout=90).renew(key.stdout.strip())
    assert Lock(name).status().timeout == 90
    Lock(name).release(key.stdout.strip())
    assert not Lock(name).locked()
