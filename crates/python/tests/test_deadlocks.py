"""Waits that would never end, in programs with one thread; pytest itself may have more."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="found on Linux only")

SETUP = """
import subprocess, sys, threading
from lockbydir import Lock, WouldDeadlock

def lock(name, **options):
    return Lock(sys.argv[1] + "/" + name, patience=60, **options)
"""


def ended(script, tmp_path, *arguments):
    """Runs a script in a program of its own, and returns how that ended."""
    program = [sys.executable, "-c", SETUP + script, str(tmp_path), *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=120)


def test_a_thread_that_waits_for_itself_gets_an_error(tmp_path):
    script = """
with lock("a"):
    try:
        lock("a").acquire()
    except WouldDeadlock as error:
        print(error)
"""
    ran = ended(script, tmp_path)
    assert ran.returncode == 0, ran
    assert "deadlock: you hold" in ran.stdout, ran


def test_one_of_two_programs_gets_an_error(tmp_path):
    cross = """
def cross(own, other):
    with lock(own):
        print("holds", flush=True)
        sys.stdin.readline()
        try:
            with lock(other):
                print("got", flush=True)
        except WouldDeadlock:
            print("deadlock", flush=True)

cross(*sys.argv[2:])
"""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", SETUP + cross, str(tmp_path), own, other],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for own, other in ("ab", "ba")
    ]
    for program in programs:
        assert program.stdout.readline() == "holds\n"
    for program in programs:
        program.stdin.write("go\n")
        program.stdin.flush()
    assert sorted(program.communicate(timeout=120)[0] for program in programs) == ["deadlock\n", "got\n"]


def test_a_wait_that_another_thread_ends_is_no_deadlock(tmp_path):
    script = """
held = lock("a").acquire()
threading.Timer(3, held.release).start()
print(lock("a").acquire().is_held)
"""
    ran = ended(script, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran


def test_a_wait_for_its_own_expiry_is_no_deadlock(tmp_path):
    script = """
held = lock("a", timeout=3, on_lost=lambda error: None).acquire()
print(lock("a").acquire().how)
"""
    ran = ended(script, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "after expiry\n"), ran


def test_a_wait_for_the_expiry_of_what_it_kept_is_no_deadlock(tmp_path):
    script = """
lock("a", timeout=3).acquire().keep()
print(lock("a").acquire().how)
"""
    ran = ended(script, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "after expiry\n"), ran
