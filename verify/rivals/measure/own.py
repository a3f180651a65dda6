"""What our lock costs beside the calls that it consists of, and beside flock(2) and etcd's own calls: run by the
programs that measure it (`lockbydir bench`, and the bench of etcd), and put into one table, in Markdown."""

import json
import os
import re
import signal
import subprocess

from .report import duration, ratio


class NotMeasured(Exception):
    """Why a program has measured nothing."""


def run(command, most):
    """Returns the output of a program, which may take `most` seconds."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=most)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise NotMeasured(f"it took more than {most} s") from None
    if process.returncode != 0:
        raise NotMeasured((err.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    return out


def bench(installed, folder, plan):
    """Returns the report of `lockbydir bench`."""
    waiters = ",".join(map(str, plan.crowds))
    options = ["--waiters", waiters, "--seconds", plan.bench, "--json"]
    return json.loads(run([installed.program, "bench", folder, *options], plan.bench_most))


def etcd(installed, plan):
    """Returns the median microseconds of each operation on etcd, by the name that the bench prints."""
    if not installed.etcd_bench:
        raise NotMeasured(installed.missing["etcd"])
    options = ["--bench", "--rounds", plan.etcd_rounds, "--waiters", "1"]
    text = run([installed.etcd_bench, *options], plan.etcd_most)
    found = re.findall(r"^  (\S.*?) +(\d+) us$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


class Table:
    def __init__(self):
        self.lines = ["| what | ours | beside | ratio |", "|---|---:|---|---:|"]

    def add(self, what, ours, beside, by=""):
        self.lines.append(f"| {what} | {ours} | {beside} | {by} |")

    def times(self, what, ours, name, theirs):
        """Adds two times in nanoseconds."""
        if ours is None or theirs is None:
            self.add(what, "–" if ours is None else duration(ours), name)
        else:
            by = ratio(ours, theirs).strip(" ()")
            self.add(what, duration(ours), f"{name}: {duration(theirs)}", by)


def processes(many):
    return "1 process" if many == 1 else f"{many} processes"


def rows_of_bench(table, report):
    alone = {row["name"]: row for row in report["uncontended"]}
    for what, ours, name, theirs in [
        ("acquire + release, nobody else wants it", "lockbydir", "`mkdir` + `rmdir`", "mkdir_rmdir"),
        ("the same, lingering", "lockbydir_linger", "two renames", "two_renames"),
    ]:
        pair = [alone[key]["median_s"] * 1e9 if key in alone else None for key in (ours, theirs)]
        table.times(what, pair[0], name, pair[1])
        calls = [alone.get(key, {}).get("system_calls") for key in (ours, theirs)]
        if None not in calls:
            table.add(f"{what}: system calls", f"{calls[0]:.0f}", f"{name}: {calls[1]:.0f}")

    def both(part, key, many):
        rows = {row["engine"]: row for row in report[part] if row[key] == many}
        return rows.get("lockbydir"), rows.get("flock")

    for many in sorted({row["waiters"] for row in report["handoff"]}):
        ours, flock = both("handoff", "waiters", many)
        for title, key in [("median", "median_s"), ("99 %", "p99_s")]:
            pair = [row and row[key] * 1e9 for row in (ours, flock)]
            table.times(f"handoff, {many} waiting, {title}", pair[0], "flock(2)", pair[1])
    for many in sorted({row["processes"] for row in report["throughput"]} - {1}):
        ours, flock = both("throughput", "processes", many)
        cells = [
            row and f"{row['per_s']:.0f}; {row['fewest']} to {row['most']}" for row in (ours, flock)
        ]
        by = ours and flock and ratio(ours["per_s"], flock["per_s"]).strip(" ()")
        what = f"{processes(many)} at once, acquisitions a second; turns of the least and most served"
        table.add(what, cells[0] or "–", f"flock(2): {cells[1] or '–'}", by or "")
    for row in report["waiting"]:
        what = f"{processes(row['waiters'])} waiting idly: CPU of one core"
        table.add(what, f"{row['cpu_s_per_s']:.2%}", "flock(2) sleeps in the kernel")
    if report["waiting"]:
        row = report["waiting"][-1]
        memory = f"{row['own_bytes'] / 2**20:.2f} MiB, of {row['rss_bytes'] / 2**20:.1f} MiB resident"
        table.add(f"memory of one of {processes(row['waiters'])} waiting: its own", memory, "")


def rows_of_etcd(table, times):
    for what, ours, name, theirs in [
        ("on etcd: acquire + release", "acquire + release", "grant, put and revoke", "grant + put + revoke"),
        ("on etcd: handoff", "handoff", "`etcdctl lock`", "etcdctl lock's"),
    ]:
        pair = [times[key] * 1e3 if key in times else None for key in (ours, theirs)]
        table.times(what, pair[0], name, pair[1])


def measure(installed, folder, plan, log):
    """Runs both programs; returns what each reports, or why it does not."""
    results, failures = {}, {}
    for name, work in [
        ("bench", lambda: bench(installed, folder, plan)),
        ("etcd", lambda: etcd(installed, plan)),
    ]:
        log(f"our own costs: {name}")
        try:
            results[name] = work()
        except (NotMeasured, OSError, ValueError) as error:
            failures[name] = str(error)
            log(f"NOT MEASURED {name}: {error}")
    return results, failures


def table(results, failures, figures):
    """Returns the table of our costs. `figures` are the medians of all locks of the comparison."""
    made = Table()
    notes = [f"* NOT MEASURED: {name}: {why}" for name, why in failures.items()]
    if report := results.get("bench"):
        rows_of_bench(made, report)
        notes += [f"* `lockbydir bench` notes: {note}" for note in report["notes"]]
        if report["not_counted"]:
            notes.append(f"* System calls were not counted: {report['not_counted']}.")
    shell = [figures.get(key, {}).get("cost") for key in ("ours-run", "flock")]
    if None not in shell:
        made.times("`lockbydir run x -- true`", shell[0], "`flock x true`", shell[1])
    if times := results.get("etcd"):
        rows_of_etcd(made, times)
    return "\n".join(made.lines + ([""] + notes if notes else []))
