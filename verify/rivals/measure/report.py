"""Turns the figures of several rounds into tables, in Markdown."""

from statistics import median

COLUMNS = [
    ("cost", "acquire + release"),
    ("handoff", "handoff, median"),
    ("handoff_99", "handoff, 99 %"),
    ("per_second", "8 processes, per second"),
    ("fair", "largest / smallest share"),
    ("longest", "longest wait"),
    ("cpu", "CPU of 20 waiters"),
]


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(rounds):
    """Returns the medians of one lock's rounds. `rounds` is a list of results by workload."""

    def all_of(workload, key):
        return [one[workload][key] for one in rounds if one.get(workload, {}).get(key) is not None]

    figures = {}
    if costs := all_of("cost", "ns"):
        figures["cost"] = median(costs)
    if latencies := [ns for some in all_of("handoff", "ns") for ns in some]:
        figures["handoff"] = median(latencies)
        figures["handoff_99"] = percentile(latencies, 0.99)
        figures["handoffs"] = len(latencies)
    if rates := all_of("hammer", "per_second"):
        figures["per_second"] = median(rates)
        figures["longest"] = median(all_of("hammer", "longest_ns"))
        figures["longest_of_all"] = max(all_of("hammer", "longest_ns"))
        shares = [
            counts[-1] / counts[0] if counts[0] else float("inf")
            for counts in all_of("hammer", "counts")
        ]
        figures["fair"] = median(shares)
        figures["starved"] = max(counts.count(0) for counts in all_of("hammer", "counts"))
        if overlaps := all_of("hammer", "overlaps"):
            figures["overlaps"] = sum(overlaps)
        figures["left_behind"] = max(len(left) for left in all_of("hammer", "left_behind"))
    if used := all_of("waiting", "cpu_s"):
        figures["cpu"] = median(used)
    if trials := all_of("stale", "trials"):
        figures["stale_trials"] = sum(trials)
        figures["stale_overlaps"] = sum(all_of("stale", "overlap"))
    return figures


def duration(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.2f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{ns:.0f} ns"


def ratio(value, base):
    if not base or value == float("inf"):
        return ""
    by = value / base
    text = f"{by:.2f}" if by < 10 else f"{by:.0f}" if by < 10_000 else f"{by:.0e}"
    return f" (×{text})"


def cell(key, figures, base):
    if key not in figures:
        return "–"
    value = figures[key]
    compared = ratio(value, base.get(key)) if base is not figures else ""
    if key == "per_second":
        return f"{value:.0f}" + compared
    if key == "fair":
        return f"{figures['starved']} of 8 got none" if value == float("inf") else f"{value:.2f}"
    if key == "cpu":
        return f"{value * 1000:.1f} ms" + compared
    if key == "longest":
        return duration(value)
    return duration(value) + compared


def speed_table(locks, figures):
    lines = [
        "| lock | " + " | ".join(title for _, title in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for lock in locks:
        mine = figures[lock.key]
        base = figures.get(lock.beside, {}) if lock.key != lock.beside else mine
        cells = [cell(key, mine, base) for key, _ in COLUMNS]
        lines.append(f"| {lock.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def recovery_cell(results, cap):
    if not results:
        return "–"
    got = [ns for ns in results if ns is not None]
    if len(got) * 2 <= len(results):
        return f"> {cap:.0f} s"
    # A round without recovery counts as longer than all others.
    ordered = sorted(got) + [None] * (len(results) - len(got))
    middle = ordered[(len(ordered) - 1) // 2]
    return f"> {cap:.0f} s" if middle is None else duration(middle)


def loss_cell(result):
    if result is None:
        return "–"
    reported, ended = result["notified_s"], result["ended_s"]
    if ended is not None:
        return f"no: ended after {ended:.1f} s"
    if reported is not None:
        return f"yes, but notified after {reported:.1f} s"
    return "yes, and is not notified"


def stale_cell(lock, figures):
    if not lock.can_be_stale:
        return "n/a"
    if "stale_trials" not in figures:
        return "–"
    return f"{figures['stale_overlaps']} of {figures['stale_trials']}"


def safety_table(locks, figures, recoveries, losses, cap):
    lines = [
        "| lock | settings | after `kill -9` of the holder | two let in after a stale lock "
        "| work goes on after the lock is lost |",
        "|---|---|---:|---:|---|",
    ]
    for lock in locks:
        if lock.only:
            continue
        recovery = recovery_cell(recoveries.get(lock.key), cap)
        stale = "as the library" if lock.key == "ours-run" else stale_cell(lock, figures[lock.key])
        loss = loss_cell(losses.get(lock.key))
        lines.append(f"| {lock.title} | {lock.settings} | {recovery} | {stale} | {loss} |")
    return "\n".join(lines)
