"""Builds ours and installs the rivals, at pinned versions, into a folder that git ignores."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
INSTALLED = HERE / ".installed"
VENV = INSTALLED / "python"
NODE = INSTALLED / "node"


class Installed:
    """The paths and versions of the installed programs, and the missing packages with the reasons."""

    def __init__(self):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
        self.target = target
        self.program = target / "release" / "lockbydir"
        self.worker = target / "release" / "rivals-worker"
        self.python = VENV / "bin" / "python"
        self.node = shutil.which("node")
        self.node_modules = NODE / "node_modules"
        self.flock = shutil.which("flock")
        #: The bench of etcd, if it can run here.
        self.etcd_bench = None
        self.versions = {}
        self.missing = {}


def install(log):
    done = Installed()
    build(done, log)
    build_etcd_bench(done, log)
    install_python(done, log)
    install_node(done, log)
    if done.flock:
        done.versions["flock"] = output([done.flock, "--version"]).split(" ", 1)[-1]
    else:
        done.missing["flock"] = "flock(1) is not on this machine"
    return done


def build(done, log):
    log("building lockbydir and its worker")
    environment = os.environ | {"CARGO_TARGET_DIR": str(done.target)}
    cargo = ["cargo", "build", "--release", "--quiet"]
    ours = ["-p", "lockbydir-cli", "--features", "bench"]
    for where, more in [(ROOT, ours), (HERE / "worker", ["--locked"])]:
        built = subprocess.run(
            cargo + more, cwd=where, env=environment, capture_output=True, text=True
        )
        if built.returncode != 0:
            sys.exit(f"rivals: lockbydir cannot be built:\n{built.stderr}")
    done.versions["lockbydir"] = output([done.program, "--version"]).split()[-1]
    commit = output(["git", "-C", ROOT, "rev-parse", "--short=10", "HEAD"])
    done.versions["lockbydir"] += f" ({commit})" if commit else ""


def build_etcd_bench(done, log):
    if not (shutil.which("etcd") and shutil.which("etcdctl")):
        done.missing["etcd"] = "there is no etcd, or no etcdctl, on this machine"
        return
    log("building the bench of etcd")
    built = subprocess.run(
        ["cargo", "bench", "--no-run", "--quiet", "--message-format=json"]
        + ["-p", "lockbydir-bench", "--bench", "etcd"],
        cwd=ROOT,
        env=os.environ | {"CARGO_TARGET_DIR": str(done.target)},
        capture_output=True,
        text=True,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    programs = [message["executable"] for message in messages if message.get("executable")]
    if built.returncode != 0 or not programs:
        done.missing["etcd"] = f"the bench of etcd cannot be built: {last(built.stderr)}"
        return
    done.etcd_bench = programs[-1]
    done.versions["etcd"] = output(["etcd", "--version"]).splitlines()[0].split()[-1]


def install_python(done, log):
    wanted = dict(
        line.split("==")
        for line in (HERE / "requirements.txt").read_text().split()
        if "==" in line
    )
    if not done.python.exists():
        log("making a Python environment")
        made = run([sys.executable, "-m", "venv", VENV])
        if made.returncode != 0:
            done.missing |= dict.fromkeys(wanted, f"no venv: {last(made.stderr)}")
            return
    pip = [done.python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for package, version in wanted.items():
        if found(package) == version:
            done.versions[package] = version
            continue
        log(f"installing {package} {version} from PyPI")
        got = run(pip + ["install", "--no-deps", f"{package}=={version}"])
        if got.returncode == 0:
            done.versions[package] = version
        else:
            done.missing[package] = last(got.stderr)
    for helper in ("atpublic", "psutil"):
        if helper in done.missing:
            done.missing.setdefault("flufl.lock", f"needs {helper}: {done.missing[helper]}")
    done.versions["python"] = output([done.python, "--version"]).split()[-1]


def found(package):
    paths = [str(path) for path in VENV.glob("lib/python*/site-packages")]
    for distribution in importlib.metadata.distributions(path=paths):
        if distribution.metadata["Name"].lower().replace("_", "-") == package:
            return distribution.version
    return None


def install_node(done, log):
    package = "proper-lockfile"
    npm = shutil.which("npm")
    if not (npm and done.node):
        done.missing[package] = "there is no node, or no npm, on this machine"
        return
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"][package]
    manifest = done.node_modules / package / "package.json"
    if not (manifest.exists() and json.loads(manifest.read_text())["version"] == wanted):
        log(f"installing {package} {wanted} from npm")
        NODE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, NODE / name)
        got = run([npm, "ci", "--prefix", NODE, "--no-audit", "--no-fund", "--ignore-scripts"])
        if got.returncode != 0:
            done.missing[package] = last(got.stderr)
            return
    done.versions[package] = wanted
    done.versions["node"] = output([done.node, "--version"]).lstrip("v")


def run(command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def output(command):
    return run(command).stdout.strip()


def last(text):
    return (text.strip().splitlines() or ["failed"])[-1]
