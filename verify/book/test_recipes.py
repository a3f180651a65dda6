"""The recipes for programs: cron, systemd, containers, CI, make, git, workflows, GPUs, laptops, agents."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

import yaml
from conftest import Overlap, World, recipe
from pages import recipe as page_block


def crontab(world: World, name: str) -> Tuple[Dict[str, str], str]:
    """Returns the variables of a crontab, and its one command."""
    variables, commands = {}, []
    for line in world.moved(page_block(name)).splitlines():
        if assigned := re.fullmatch(r"(\w+)=(.*)", line):
            variables[assigned[1]] = assigned[2]
        else:
            fields = line.split(None, 5)
            assert len(fields) == 6 and all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5]), line
            assert "%" not in fields[5], "cron makes a new line of it"
            commands.append(fields[5])
    assert len(commands) == 1
    return variables, commands[0]


@recipe
def test_cron_skips_a_run_while_the_last_one_still_runs(world: World) -> None:
    world.programs("make-report")
    variables, command = crontab(world, "crontab")

    def start() -> subprocess.Popen[str]:
        return world.start(["/bin/sh", "-c", command], **variables)

    first, second = start(), None
    world.until(world.inside, "the first run is at work")
    second = start()
    world.until(lambda: second.poll() is not None or world.inside() > 1, "the second run gives up")
    world.alone()
    # No output, so no mail.
    assert (world.finish(second), world.output(second)) == (75, "")
    world.go()
    assert (world.finish(first), world.output(first)) == (0, "")
    assert world.journal() == ["make-report --all"]


@recipe
def test_cron_once_a_day_runs_on_one_host_and_not_again(world: World) -> None:
    world.programs("make-report")
    world.write("bin/once-a-day", page_block("once-a-day"), mode=0o755)
    variables, command = crontab(world, "crontab-once-a-day")

    def start() -> subprocess.Popen[str]:
        return world.start(["/bin/sh", "-c", command], **variables)

    assert world.excludes(start) == [0, 0]
    assert world.finish(start()) == 0
    assert world.journal() == ["make-report --all"]


def test_cron_once_a_day_tries_again_after_a_failure(world: World) -> None:
    world.programs("make-report")
    world.write("bin/once-a-day", page_block("once-a-day"), mode=0o755)
    variables, command = crontab(world, "crontab-once-a-day")
    world.go()

    codes = [
        world.finish(world.start(["/bin/sh", "-c", command], BOOK_EXIT=code, **variables)) for code in ("3", "0", "0")
    ]

    assert codes == [3, 0, 0]
    assert world.journal() == ["make-report --all"] * 2


def exec_start(world: World, name: str) -> List[str]:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(world.moved(page_block(name)))
    return shlex.split(unit["Service"]["ExecStart"])


def test_systemd_accepts_the_units(world: World) -> None:
    world.programs("make-report")
    units = [world.write(name, page_block(name)) for name in ("nightly.service", "nightly.timer")]

    for unit in units:
        output = world.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit])
        assert "nightly" not in output, output

    wrong = world.write("wrong.service", page_block("nightly.service").replace("KillMode=mixed", "KillMode=both"))
    assert "kill mode" in world.output(world.start(["systemd-analyze", "verify", "--man=no", wrong]))


@recipe
def test_systemd_unit_excludes_a_person_in_a_shell(world: World) -> None:
    world.programs("make-report")
    by_hand = world.moved(page_block("systemd-by-hand"))

    codes = world.excludes(
        lambda: world.start(exec_start(world, "nightly.service")),
        lambda: world.start(["sh", "-c", by_hand]),
    )

    assert codes == [0, 0]


def contained(command: List[str]) -> List[str]:
    """Returns the command to run it as containers do: as process 1 of a PID namespace, with a /proc of its own."""
    may = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *may, "--pid", "--fork", "--kill-child", "--mount-proc", *command]


@recipe
def test_compose_replicas_work_one_after_the_other(world: World) -> None:
    world.programs("work-off-queue")
    service = yaml.safe_load(world.moved(page_block("compose.yaml")))["services"]["worker"]
    source, target = service["volumes"][0].split(":", 1)
    assert service["deploy"]["replicas"] > 1 and source in yaml.safe_load(page_block("compose.yaml"))["volumes"]
    assert target in service["command"], "the locks are in the volume"

    assert world.excludes(lambda: world.start(contained(service["command"]))) == [0, 0]


def test_compose_file_keeps_to_the_specification(world: World) -> None:
    file = world.write("compose.yaml", page_block("compose.yaml"))
    check = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"]

    world.run([*check, file])

    wrong = world.write("wrong.yaml", page_block("compose.yaml").replace("command:", "commands:"))
    assert world.finish(world.start([*check, wrong])) == 1


def test_compose_killed_container_is_followed_after_its_timeout(world: World) -> None:
    world.programs("work-off-queue")
    command = yaml.safe_load(world.moved(page_block("compose.yaml")))["services"]["worker"]["command"]
    first = world.start(contained(command), LOCKBYDIR_TIMEOUT="1s")
    world.until(world.inside, "the first is at work")
    second = world.start(contained(command), LOCKBYDIR_TIMEOUT="1s")
    world.until(world.waiters, "the second waits")

    first.kill()

    world.until(lambda: len(world.journal()) == 2, "the second works after the timeout")
    world.go()
    assert world.finish(second) == 0


@recipe
def test_kubernetes_container_excludes_another_one(world: World) -> None:
    world.programs("make-report")
    spec = yaml.safe_load(world.moved(page_block("cronjob.yaml")))["spec"]
    job = spec["jobTemplate"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    claims = {volume["name"] for volume in job["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == claims
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [75]
    assert job["template"]["spec"]["restartPolicy"] == "Never", "podFailurePolicy demands it"

    assert world.excludes(lambda: world.start(contained(container["command"] + container["args"]))) == [0, 0]


def test_actions_workflow_is_valid(world: World) -> None:
    workflow = world.write(".github/workflows/board.yml", page_block("board.yml"))
    labels = world.write("actionlint.yaml", "self-hosted-runner:\n  labels: [board]\n")

    world.run(["actionlint", "-no-color", "-config-file", labels, workflow])

    wrong = world.write("wrong.yml", page_block("board.yml").replace("runs-on", "runs-at"))
    assert world.finish(world.start(["actionlint", "-config-file", labels, wrong])) == 1


@recipe
def test_actions_step_is_alone_on_the_board(world: World) -> None:
    world.programs("make")
    (world.folder / "locks").mkdir()
    steps = yaml.safe_load(page_block("board.yml"))["jobs"]["test"]["steps"]
    (step,) = [step for step in steps if "lockbydir" in step.get("run", "")]
    variables = {"GITHUB_REPOSITORY": "octo/firmware", "GITHUB_RUN_ID": "7"}

    codes = world.excludes(lambda: world.start(["bash", "-e", "-c", step["run"]], **variables))

    assert codes == [0, 0]


@recipe
def test_make_does_not_deploy_twice_at_a_time(world: World) -> None:
    world.programs("deploy-site")
    world.write("Makefile", page_block("Makefile"))

    assert world.excludes(lambda: world.start(["make", "deploy"])) == [0, 0]
    assert world.journal() == ["deploy-site production"] * 2


@recipe
def test_make_in_parallel_runs_tests_of_one_database_in_turn(world: World) -> None:
    world.programs("run-tests")
    world.write("Makefile", page_block("Makefile"))

    both = world.start(["make", "-j2", "all"])
    world.until(lambda: world.inside() > 1 or (world.inside() and world.waiters()), "one works, one waits")
    world.alone()
    world.go()

    assert world.finish(both) == 0, world.output(both)
    assert sorted(world.journal()) == ["run-tests api", "run-tests web"]


def git(world: World, *command: str, cwd: Path) -> str:
    return world.run(["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *command], cwd=cwd)


@recipe
def test_git_pushes_do_not_deploy_at_the_same_time(world: World) -> None:
    world.programs("deploy-site")
    bare, tree = world.folder / "site.git", world.folder / "tree"
    git(world, "init", "-q", "--bare", str(bare), cwd=world.folder)
    world.write("site.git/hooks/post-receive", page_block("post-receive"), mode=0o755)
    git(world, "init", "-q", str(tree), cwd=world.folder)
    git(world, "commit", "-q", "--allow-empty", "-m", "first", cwd=tree)
    branches = iter(["one", "two"])

    codes = world.excludes(lambda: world.start(["git", "push", "-q", str(bare), f"HEAD:{next(branches)}"], cwd=tree))

    assert codes == [0, 0]
    assert len(world.journal()) == 2


@recipe
def test_git_commits_of_one_work_tree_check_in_turn(world: World) -> None:
    world.programs("run-checks")
    tree = world.folder / "tree"
    git(world, "init", "-q", str(tree), cwd=world.folder)
    world.write("tree/.git/hooks/pre-commit", page_block("pre-commit"), mode=0o755)

    def start() -> subprocess.Popen[str]:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        return world.start(["git", *who, "commit", "-q", "--allow-empty", "-m", "change"], cwd=tree)

    codes = world.excludes(start)

    # git may refuse the second commit, because HEAD moved while its hook waited.
    assert codes[0] == 0 and world.journal() == ["run-checks"] * 2


@recipe
def test_snakemake_jobs_change_the_index_in_turn(world: World) -> None:
    world.programs("update-index")
    world.write("Snakefile", page_block("Snakefile"))
    (world.folder / "locks").mkdir()

    run = world.start(["snakemake", "--cores", "2", "--quiet", "--config", f"locks={world.folder / 'locks'}"])
    world.until(
        lambda: world.inside() > 1 or (world.inside() and world.waiters()) or run.poll() is not None,
        "one works, one waits",
    )
    assert run.poll() is None, world.output(run)
    world.alone()
    world.go()

    assert world.finish(run) == 0, world.output(run)
    assert sorted(world.journal()) == ["update-index a", "update-index b"]


@recipe
def test_gpu_is_used_by_one_at_a_time(world: World) -> None:
    world.programs("train")
    world.write("bin/with-gpu", page_block("with-gpu"), mode=0o755)

    def start(gpus: str) -> subprocess.Popen[str]:
        return world.start(["with-gpu", "sh", "-c", 'train "$CUDA_VISIBLE_DEVICES"'], GPUS=gpus)

    first = start("0 1")
    world.until(lambda: len(world.journal()) == 1, "one trains")
    second = start("0 1")
    world.until(lambda: len(world.journal()) == 2, "another one trains")
    if world.has_locks:
        assert world.journal() == ["train 0", "train 1"]
    else:
        assert world.journal() == ["train 0", "train 0"]
        raise Overlap("two train on one GPU")
    third = start("0 1")
    # The third looks again and again: it is in the pause after a look at both.
    world.until(lambda: b"sleep" in _children(third.pid), "the third finds both in use")
    assert world.inside() == 2
    world.go()
    assert [world.finish(p) for p in (first, second, third)] == [0, 0, 0]
    assert world.finish(world.start(["with-gpu", "sh", "-c", "exit 9"], GPUS="0")) == 9


def _children(pid: int) -> bytes:
    return subprocess.run(["ps", "-o", "comm=", "--ppid", str(pid)], capture_output=True).stdout


@recipe
def test_laptop_backup_is_alone_even_if_it_sleeps(world: World) -> None:
    world.programs("backup-home")
    (world.folder / ".local" / "state").mkdir(parents=True)
    command = ["sh", "-c", page_block("backup")]
    first = world.start(command)
    world.until(world.inside, "the first is at work")
    # As asleep: nothing of it runs. It is still there, and its lock is far from its timeout.
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = world.start(command)
        world.until(lambda: second.poll() is not None or world.inside() > 1, "the second gives up")
        world.alone()
        assert world.finish(second) == 75, world.output(second)
        status = json.loads(world.run(["lockbydir", "status", "--json", world.folder / ".local/state/backup"]))
        assert status["remaining_s"] > 23 * 3600, status
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    # And it frees the lock at once when it dies, whatever its timeout.
    os.killpg(first.pid, signal.SIGKILL)
    world.go()
    world.until(lambda: world.finish(world.start(command)) == 0, "the next backup runs")


@recipe
def test_agents_commands_run_in_turn(world: World) -> None:
    world.programs("run-tests")
    (world.folder / ".locks").mkdir()

    assert world.excludes(lambda: world.start(["sh", "-c", page_block("agent-command")])) == [0, 0]


def test_agents_keep_a_lock_over_several_calls(world: World) -> None:
    (world.folder / ".locks").mkdir()

    def call(name: str) -> str:
        return world.run(["sh", "-ec", page_block(name)])

    call("agent-begin")
    call("agent-renew")
    assert "agent 3: new column" in call("agent-look")
    other = world.start(["lockbydir", "run", "-n", ".locks/schema", "--", "true"])
    assert world.finish(other) == 75
    call("agent-end")
    assert "schema" not in call("agent-look")
    renewed = world.start(["sh", "-ec", page_block("agent-renew")])
    assert world.finish(renewed) == 76, "an agent whose lock is over learns it"
