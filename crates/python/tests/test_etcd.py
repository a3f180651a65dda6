"""Locks on a real etcd. A missing etcd is a failure."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockbydir import AsyncLock, Lock, LockLost, LockUnavailable, PatienceOver, list_locks


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("etcd")
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    command = ["etcd", "--data-dir", str(folder / "data"), "--logger", "zap"]
    command += ["--log-outputs", str(folder / "log")]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    process = subprocess.Popen(command)
    try:
        address = "etcd://" + client[len("http://") :]
        Lock(address + "/ready", patience=20).acquire().release()
        yield address
    finally:
        process.kill()
        process.wait()


def test_a_lock_excludes_and_says_who_holds_it(server: str) -> None:
    jobs = Lock(server + "/jobs", timeout=20, patience=0.3, label="first")
    with jobs as held:
        assert held.token > 0
        assert held.remaining > 10
        status = jobs.status()
        assert (status.state, status.token) == ("held", held.token)
        with pytest.raises(PatienceOver, match="first"):
            Lock(server + "/jobs", patience=0.3).acquire()
        before = held.token
    assert jobs.status().state == "free"
    with jobs as held:
        assert held.token > before


def test_keys_renew_and_release_from_anywhere(server: str) -> None:
    jobs = Lock(server + "/keys", timeout=20)
    key = jobs.acquire().keep()
    jobs.renew(key)
    jobs.release(key)
    with pytest.raises(LockLost):
        jobs.renew(key)


def test_threads_lose_no_increment(server: str) -> None:
    counter = [0]

    def add() -> None:
        jobs = Lock(server + "/threads", timeout=20, patience=60)
        for _ in range(25):
            with jobs:
                seen = counter[0]
                time.sleep(0.0001)  # another would run here
                counter[0] = seen + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter == [100]


def test_tasks_wait_and_a_cancelled_one_leaves_the_queue(server: str) -> None:
    async def play() -> None:
        jobs = AsyncLock(server + "/tasks", timeout=20, patience=60)
        async with jobs:
            waiting = asyncio.ensure_future(jobs.acquire())
            while not Lock(server + "/tasks").status().queue:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert Lock(server + "/tasks").status().queue == ()
        async with jobs:
            pass

    asyncio.run(play())


def test_a_list_has_what_is_held(server: str) -> None:
    with Lock(server + "/listed/one"):
        names = [str(status.name) for status in list_locks(server + "/listed/")]
    assert names == [server + "/listed/one"]


def test_no_server_is_an_error_of_its_own() -> None:
    with pytest.raises(LockUnavailable, match="Connection refused"):
        Lock(f"etcd://127.0.0.1:{free_port()}/jobs", patience=0.2).acquire()


def test_a_wrong_address_never_shows_its_password() -> None:
    with pytest.raises(ValueError) as raised:
        Lock("etcd://me:secret@host/jobs?colour=red")
    assert "secret" not in str(raised.value)
