"""The recipes for Python: web workers, Django, Celery, pytest-xdist."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import List

from conftest import World, recipe
from pages import recipe as page_block

SCHEDULER = """
from inside import work, work_async

def schedule(held):
    work("schedule")

async def make_report():
    await work_async("report")
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def holders(world: World) -> List[int]:
    """Returns the PIDs of those that are inside."""
    return [int(note.read_text()) for note in (world.folder / "notes" / "inside").iterdir() if note.read_text()]


def one_schedules_and_another_follows(world: World, workers: int) -> None:
    """Checks that one of the workers schedules while the others wait, and that another follows when it is killed."""
    world.until(
        lambda: world.inside() > 1 or (world.inside() == 1 and world.waiters() == workers - 1),
        "one schedules, the others wait",
    )
    world.alone()
    (first,) = holders(world)
    os.kill(first, signal.SIGKILL)
    world.until(lambda: len(world.journal()) == 2 and world.inside() == 1, "another one schedules")


@recipe
def test_gunicorn_schedules_in_one_worker(world: World) -> None:
    for name in ("one_process.py", "gunicorn.conf.py"):
        world.write(name, page_block(name))
    world.write("scheduler.py", SCHEDULER)
    world.write("app.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n")

    world.start(["gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "app:app"])

    one_schedules_and_another_follows(world, workers=3)


@recipe
def test_uvicorn_schedules_in_one_worker_and_reports_do_not_overlap(world: World) -> None:
    for name in ("one_process.py", "main.py"):
        world.write(name, page_block(name))
    world.write("scheduler.py", SCHEDULER)
    port = free_port()
    world.start(["uvicorn", "main:app", "--workers", "2", "--port", str(port)])
    one_schedules_and_another_follows(world, workers=2)


def test_fastapi_answers_503_while_a_report_is_made(world: World) -> None:
    for name in ("one_process.py", "main.py"):
        world.write(name, page_block(name).replace("patience=5", "patience=0.2"))
    world.write("scheduler.py", SCHEDULER.replace('work("schedule")', "pass").replace("pass\n", "__import__('time').sleep(3600)\n"))
    port = free_port()
    world.start(["uvicorn", "main:app", "--port", str(port)])
    answers: List[int] = []

    def ask() -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/report", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answers.append(answer.status)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
            error.close()

    def is_up() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    world.until(is_up, "the server listens")
    first = threading.Thread(target=ask)
    first.start()
    world.until(lambda: world.inside() == 1, "a report is made")
    ask()
    assert answers == [503]
    world.go()
    first.join()
    assert answers == [503, 200]


def django_site(world: World) -> None:
    world.run(["django-admin", "startproject", "site_", "."])
    world.run(["django-admin", "startapp", "reports"])
    settings = world.folder / "site_" / "settings.py"
    settings.write_text(settings.read_text().replace("INSTALLED_APPS = [", "INSTALLED_APPS = ['reports',"))
    world.write("reports/work.py", "from inside import work\n\ndef make_report():\n    work('report')\n")
    for folder in ("management", "management/commands"):
        (world.folder / "reports" / folder).mkdir()
        (world.folder / "reports" / folder / "__init__.py").touch()
    world.write("reports/management/commands/report.py", page_block("report.py"))


@recipe
def test_django_migrates_in_one_of_two_starts(world: World) -> None:
    django_site(world)
    start = world.write("start.sh", page_block("start.sh"), mode=0o755)
    world.programs("serve-site", "migration-begins")
    # python, after the test has let it go.
    world.write("bin/python", f'#!/bin/sh\nmigration-begins && exec {sys.executable} "$@"\n', mode=0o755)

    codes = world.excludes(lambda: world.start([start]))

    assert codes == [0, 0]
    plan = world.run([sys.executable, "manage.py", "showmigrations", "--plan"])
    assert "[X]" in plan and "[ ]" not in plan, plan
    assert sorted(world.journal()) == ["migration-begins"] * 2 + ["serve-site"] * 2


@recipe
def test_django_command_does_not_overlap_with_itself(world: World) -> None:
    django_site(world)
    codes = world.excludes(lambda: world.start([sys.executable, "manage.py", "report"]))

    assert codes == [0, 75]
    assert world.journal() == ["report"]


@recipe
def test_celery_task_comes_again_while_another_works(world: World) -> None:
    world.write("tasks.py", page_block("tasks.py"))
    world.write("reports.py", "from inside import work\n\ndef make_report(day):\n    work(day)\n")
    for folder in ("in", "control", "results"):
        (world.folder / folder).mkdir()
    world.write(
        "celeryconfig.py",
        "broker_url = 'filesystem://'\n"
        "broker_transport_options = dict(data_folder_in='in', data_folder_out='in', control_folder='control', polling_interval=0.1)\n"
        "result_backend = 'file://results'\n",
    )
    world.write(
        "send.py",
        "from tasks import report\n"
        "results = [report.delay(day) for day in ('monday', 'tuesday')]\n",
    )
    # Started first: if it began with two messages, it could have one in hand while the other is late.
    world.start(["celery", "-A", "tasks", "worker", "-c", "2", "-P", "prefork", "--without-mingle", "--without-gossip", "-l", "info"])
    world.run([sys.executable, "send.py"])

    world.until(lambda: world.inside() > 1 or (world.inside() == 1 and retried(world)), "one works, one comes again")
    world.alone()
    world.go()
    world.until(lambda: len(world.journal()) == 2, "the other one works later")
    assert sorted(world.journal()) == ["monday", "tuesday"]


def retried(world: World) -> bool:
    """Returns true if a result in the backend is marked for another try."""
    return any('"RETRY"' in path.read_text() for path in (world.folder / "results").iterdir())


def xdist(world: World, create: str = "") -> subprocess.Popen[str]:
    """Starts the tests of the page with two workers; `create` is what setting up the database does."""
    for name in ("conftest.py", "test_port.py"):
        world.write(f"tests/{name}", page_block(name))
    world.write(
        "setup_database.py",
        "from inside import work\n\n"
        "def create_database():\n" + create + "    return {'url': 'sqlite://'}\n\n"
        "def use_port(port, page):\n    work(f'use {page}')\n    return True\n",
    )
    return world.start(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "tests"],
        PYTHONPATH=f"{world.folder}:{world.environment['PYTHONPATH']}",
        PYTEST_DEBUG_TEMPROOT=str(world.folder),
    )


@recipe
def test_xdist_sets_up_once_and_ports_are_used_in_turn(world: World) -> None:
    run = xdist(world, create="    work('create')\n")

    world.until(lambda: world.inside() > 1 or (world.inside() == 1 and world.waiters()), "one worker sets up, one waits")
    world.alone()
    world.go()
    assert world.finish(run) == 0, world.output(run)
    assert world.journal()[0] == "create" and sorted(world.journal()[1:]) == ["use search", "use start"]


@recipe
def test_xdist_port_is_used_by_one_at_a_time(world: World) -> None:
    run = xdist(world)

    world.until(lambda: world.inside() > 1 or (world.inside() == 1 and world.waiters()), "one uses the port, one waits")
    world.alone()
    world.go()
    assert world.finish(run) == 0, world.output(run)
