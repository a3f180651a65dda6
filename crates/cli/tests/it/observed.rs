//! An observer of many processes on a busy machine: it records no event that did not happen, and sees or
//! counts nearly every holding. If several holdings follow one another in one directory before the observer
//! watches it, those between the first and the last leave no trace.
//!
//! Dials: `LOCKBYDIR_OBSERVED_HOLDINGS` is how many holdings there are, `LOCKBYDIR_OBSERVED_AT_ONCE` how many
//! jobs run at once, `LOCKBYDIR_OBSERVED_BUSY` how many processes keep the machine busy beside them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Folder;
use crate::busy::BusyProcesses;
use crate::serve::Server;

/// The largest number of locks.
const LOCKS: usize = 60;
/// The number of jobs, one after the other, that want the same lock.
const JOBS: usize = 11;
/// Limits the wait for the last reports: a waiter that left while nobody held the lock is reported after
/// 10 s.
const REPORTED: Duration = Duration::from_secs(60);
/// Without an event for this long, all are recorded: missed holdings are counted within 0.25 s.
const QUIET: Duration = Duration::from_secs(3);

fn dial(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Returns how often each event was recorded; `left` with its reason.
fn recorded(file: &Path) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut counts = BTreeMap::new();
    // The last line may still be written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines().skip(1) {
        let event: Value = serde_json::from_str(line).unwrap();
        let what = match (event["what"].as_str().unwrap(), event["why"].as_str()) {
            ("left", Some(why)) => format!("left {why}"),
            (what, _) => what.to_owned(),
        };
        let count = event["count"].as_u64().unwrap_or(1);
        *counts.entry(what).or_default() += usize::try_from(count).unwrap();
    }
    counts
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn on_a_busy_machine_no_event_is_invented() {
    let holdings = dial("LOCKBYDIR_OBSERVED_HOLDINGS", 330);
    let locks = (holdings / JOBS).clamp(1, LOCKS);
    let folder = Folder::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let recording = elsewhere.path().join("recording");
    let mut serve = folder.command(&["serve", "--listen", "127.0.0.1:0", "--record"]);
    let server = Server::start(serve.arg(&recording).env_remove("LOCKBYDIR_SERVE_TOKEN"));
    let busy = BusyProcesses::start(dial("LOCKBYDIR_OBSERVED_BUSY", 2));

    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= holdings {
                return;
            }
            let name = format!("jobs{}", number / JOBS % locks);
            let ran = folder.run(&["run", "-q", "-w", "600s", "-t", "60s", &name, "--", "true"]);
            assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
        }
    };
    thread::scope(|scope| {
        for _ in 0..dial("LOCKBYDIR_OBSERVED_AT_ONCE", 8) {
            scope.spawn(work);
        }
    });
    let load = load_average();
    drop(busy);

    let end = Instant::now() + REPORTED;
    let count =
        |counts: &BTreeMap<String, usize>, what: &str| counts.get(what).copied().unwrap_or(0);
    let mut last = (recorded(&recording), Instant::now());
    let counts = loop {
        let counts = recorded(&recording);
        if counts != last.0 {
            last = (counts.clone(), Instant::now());
        }
        let left: usize =
            counts.iter().filter(|(what, _)| what.starts_with("left")).map(|(_, n)| n).sum();
        let is_all = last.1.elapsed() >= QUIET
            && count(&counts, "released") >= count(&counts, "acquired")
            && left >= count(&counts, "joined");
        if is_all || Instant::now() >= end {
            break counts;
        }
        thread::sleep(Duration::from_millis(100));
    };
    drop(server);
    println!("{holdings} holdings, load average {load}: {counts:?}");
    let known = [
        "appeared",
        "acquired",
        "released",
        "missed",
        "joined",
        "left served",
        "left gone",
        "renewed",
    ];
    let invented: Vec<_> = counts.keys().filter(|what| !known.contains(&what.as_str())).collect();
    assert!(invented.is_empty(), "{invented:?} in {counts:?}");
    let seen = count(&counts, "acquired");
    let known = seen + count(&counts, "missed");
    println!("{known} of {holdings} holdings were seen or counted");
    assert!(known <= holdings && known * 4 >= holdings * 3, "{known} of {holdings}: {counts:?}");
    assert_eq!(count(&counts, "released"), seen, "{counts:?}");
    // Of a waiter that was served in a holding that was not seen, the observer does not know why it left.
    let gone = count(&counts, "left gone");
    assert!(gone <= holdings - seen, "{counts:?}");
    assert_eq!(count(&counts, "left served") + gone, count(&counts, "joined"), "{counts:?}");
}
