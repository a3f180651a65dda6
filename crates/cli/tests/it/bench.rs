//! `bench`: what it prints and writes, how it ends, and that it leaves nothing behind.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockbydir_testbed::needs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Folder, Ran, until};

const KEYS: [&str; 15] = [
    "at",
    "complete",
    "cpus",
    "dir",
    "file_system",
    "handoff",
    "kernel",
    "measure_s",
    "not_counted",
    "notes",
    "recovery",
    "throughput",
    "uncontended",
    "version",
    "waiting",
];

/// Lets one bench run at a time: a bench keeps every core busy, which slows the other tests down.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn rows<'a>(report: &'a Value, of: &str) -> &'a Vec<Value> {
    report[of].as_array().expect("an array")
}

/// Whether it is a time that a machine may need, however slow it is.
fn is_sane(value: &Value) -> bool {
    value.as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 60.0)
}

/// Returns the PIDs of the workers of a run in this folder.
fn workers(folder: &Path) -> Vec<i32> {
    let folder = folder.to_string_lossy();
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).into_owned();
            (command.contains("bench-worker") && command.contains(&*folder)).then_some(pid)
        })
        .collect()
}

/// Starts a run, and waits until it measures the handoff among processes.
fn begun(folder: &Folder, args: &[&str]) -> Child {
    let child = folder
        .command(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lockbydir starts");
    until("the handoff", || {
        folder.names().iter().any(|name| {
            let inner = std::fs::read_dir(folder.path().join(name)).into_iter().flatten();
            inner.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("crowd"))
        })
    });
    child
}

#[test]
fn a_quick_run_fills_table_and_page_and_leaves_nothing() {
    let _alone = alone();
    let folder = Folder::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let page = elsewhere.path().join("a page.html");
    let odd = folder.path().join("a<b>&c");
    std::fs::create_dir(&odd).unwrap();

    let page_name = page.to_str().unwrap();
    let ran = folder.run(&["bench", "a<b>&c", "--quick", "--waiters", "4,1", "--html", page_name]);

    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(!ran.out.contains('\u{1b}'), "no colours without a terminal: {ran:?}");
    let measures = ["Uncontended", "Handoff", "Throughput", "Waiting", "Recovery"];
    let details = [
        "lockbydir, lingering",
        "mkdir + rmdir",
        "two renames",
        "flock: open, lock, unlock, close",
        "holder killed (kill -9)",
        "timeout of a stopped holder passed",
    ];
    for words in measures.iter().chain(&details) {
        assert!(ran.out.contains(words), "no `{words}` in {}", ran.out);
    }
    for waiters in ["1", "4"] {
        let of = ran.out.lines().filter(|line| line.split_whitespace().next() == Some(waiters));
        assert_eq!(of.count(), 3, "{}", ran.out);
    }
    assert!(!ran.out.contains("OVERLAP") && !ran.out.contains("stall"), "{}", ran.out);

    let text = std::fs::read_to_string(&page).expect("a page");
    for words in measures.iter().chain(&details) {
        assert!(text.contains(&words.replace('\'', "&#39;")), "no `{words}` in the page");
    }
    assert!(text.matches("<svg").count() == 4 && text.contains("prefers-color-scheme: dark"));
    for outside in ["http://", "https://", "src=", "href=", "@import", "url(", "<script", "NaN"] {
        assert!(!text.contains(outside), "`{outside}` in the page");
    }
    assert!(text.contains("a&lt;b&gt;&amp;c") || text.contains("a\\u{3c}b"), "the escaped folder");
    assert!(!text.contains("a<b>"));
    assert_eq!(crate::names(&odd), Vec::<String>::new(), "left behind");
    std::fs::remove_dir(odd).unwrap();
}

#[test]
fn json_has_the_documented_keys_and_sane_values() {
    let _alone = alone();
    let folder = Folder::new();
    let ran = folder.run(&["bench", "--quick", "--waiters", "1,4", "--json"]);

    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!(keys(&report), KEYS);
    assert_eq!((&report["complete"], &report["notes"]), (&true.into(), &Value::Array(vec![])));
    let help = folder.run(&["bench", "--help"]).out;
    for key in KEYS {
        assert!(help.contains(key), "`{key}` is not documented");
    }

    let spread = ["count", "median_s", "p90_s", "p99_s", "worst_s"];
    let with = |more: &[&'static str]| {
        let mut all: Vec<&str> = spread.iter().chain(more).copied().collect();
        all.sort_unstable();
        all
    };
    for (of, more, count) in [
        ("uncontended", &["name", "system_calls"][..], 5),
        ("handoff", &["engine", "waiters", "overtaking", "overlaps"], 4),
        ("recovery", &["after", "engine"], 3),
    ] {
        assert_eq!(rows(&report, of).len(), count, "{of}");
        for row in rows(&report, of) {
            assert_eq!(keys(row), with(more), "{of}");
            assert!(row["count"].as_u64() > Some(0), "{row}");
            // The time of an expiry is known to 1 ms.
            let is_expiry = row["after"] == "expiry";
            assert!(is_expiry || is_sane(&row["median_s"]), "{row}");
            assert!(row["worst_s"].as_f64() >= row["median_s"].as_f64(), "{row}");
        }
    }
    for row in rows(&report, "handoff") {
        assert_eq!(row["overlaps"], 0, "{row}");
    }
    for row in rows(&report, "throughput") {
        assert_eq!(keys(row), ["engine", "fewest", "most", "per_s", "processes"]);
        assert!(row["per_s"].as_f64() > Some(1.0), "{row}");
    }
    for row in rows(&report, "waiting") {
        assert_eq!(keys(row), ["cpu_s_per_s", "own_bytes", "rss_bytes", "waiters"]);
        assert!(row["cpu_s_per_s"].as_f64().is_some_and(|cpu| (0.0..2.0).contains(&cpu)), "{row}");
        assert!(row["rss_bytes"].as_u64() > row["own_bytes"].as_u64(), "{row}");
    }
    assert_eq!(rows(&report, "waiting").len(), 2);
}

#[test]
fn a_run_counts_the_system_calls_of_each_cycle() {
    needs!(Strace);
    let _alone = alone();
    let folder = Folder::new();
    let ran = folder.run(&["bench", "--quick", "--waiters", "1", "--json"]);

    let report: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!(report["not_counted"], Value::Null);
    let of = |name: &str| {
        let row = rows(&report, "uncontended").iter().find(|row| row["name"] == name);
        row.and_then(|row| row["system_calls"].as_f64()).expect("a number of calls").round()
    };
    assert_eq!((of("mkdir_rmdir"), of("two_renames")), (2.0, 2.0));
    assert!(of("flock") >= 4.0, "{}", of("flock"));
    assert!(of("lockbydir_linger") > 2.0 && of("lockbydir") > of("lockbydir_linger"), "{report}");
}

#[test]
fn a_run_without_strace_says_that_calls_are_not_counted() {
    let _alone = alone();
    let folder = Folder::new();
    let mut command = folder.command(&["bench", "--quick", "--waiters", "1"]);
    let ran = Ran::of(command.env("PATH", folder.path()).output().unwrap());

    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let why = "system calls were not counted: strace is not installed";
    assert!(ran.out.contains(why), "{}", ran.out);
}

#[test]
fn control_c_shows_what_is_known_and_ends_all_workers() {
    let _alone = alone();
    let folder = Folder::new();
    let child = begun(&folder, &["bench", "--seconds", "2", "--waiters", "6"]);
    assert!(workers(folder.path()).len() >= 2);

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());

    assert_eq!((ran.code, ran.err.as_str()), (130, ""), "{ran:?}");
    assert!(ran.out.contains("Uncontended") && ran.out.contains("Stopped"), "{ran:?}");
    assert!(!ran.out.contains("Recovery"), "{ran:?}");
    assert_eq!(workers(folder.path()), Vec::<i32>::new());
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn partial_json_says_that_it_is_not_complete() {
    let _alone = alone();
    let folder = Folder::new();
    let child = begun(&folder, &["bench", "--seconds", "2", "--waiters", "3", "--json"]);

    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());

    assert_eq!(ran.code, 143, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!(report["complete"], false);
    assert_eq!(rows(&report, "uncontended").len(), 5);
}

#[test]
fn workers_do_not_outlive_a_killed_bench() {
    let _alone = alone();
    let folder = Folder::new();
    let mut child = begun(&folder, &["bench", "--seconds", "2", "--waiters", "6"]);

    child.kill().unwrap();
    child.wait().unwrap();

    until("the workers' end", || workers(folder.path()).is_empty());
    // A killed bench cannot remove its folder.
    for name in folder.names() {
        assert!(name.starts_with("lockbydir-bench."), "{name}");
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let folder = Folder::new();
    for args in [
        &["--waiters", "0"][..],
        &["--waiters", "1,x"],
        &["--waiters", ""],
        &["--waiters", "5000"],
        &["--seconds", "0"],
        &["--seconds", "-1"],
        &["--seconds", "2h"],
        &["--quick", "--seconds", "1"],
        &["one", "two"],
        &["--engine"],
    ] {
        let ran = folder.run(&[&["bench"], args].concat());
        assert_eq!(ran.code, 64, "{args:?} {ran:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_measured_in_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("file"), "").unwrap();

    folder.run(&["bench", "nowhere"]).refused(73, "cannot measure in nowhere");
    folder.run(&["bench", "file"]).refused(73, "cannot measure in file");
    folder.run(&["bench", "/proc"]).refused(73, "cannot measure in /proc");
    folder.run(&["bench", "--html", "nowhere/a.html"]).refused(73, "cannot write nowhere/a.html");

    std::fs::remove_file(folder.path().join("file")).unwrap();
}
