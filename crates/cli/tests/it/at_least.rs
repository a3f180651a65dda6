//! `run --at-least`: the lock outlives a short command.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Folder;

#[test]
fn the_command_ends_at_once_and_the_lock_later() {
    let folder = Folder::new();
    let begun = Instant::now();

    let ran = folder.run(&["run", "--at-least", "4s", "jobs", "--", "sh", "-c", "exit 7"]);

    assert_eq!((ran.code, ran.err.as_str()), (7, ""), "{ran:?}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "held by");
    // The next one gets it then, and has nothing to report.
    let ran = folder.run(&["run", "jobs", "--", "true"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_longer_command_ends_with_its_lock() {
    let folder = Folder::new();
    let ran = folder.run(&["run", "--at-least", "100ms", "a", "b", "--", "sleep", "0.2"]);
    assert_eq!((ran.code, folder.names()), (0, vec![]), "{ran:?}");
}

#[test]
fn a_command_that_did_not_begin_leaves_nothing() {
    let folder = Folder::new();
    let run = |command: &str| folder.run(&["run", "--at-least", "1h", "jobs", "--", command]);
    assert_eq!(run("no-such-command").code, 127);
    assert_eq!(run(".").code, 126);
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn the_lock_of_a_killed_run_is_free_at_once() {
    let folder = Folder::new();
    let held = folder.hold(&["--at-least", "1h"], "exec sleep 600");
    held.signal(Signal::KILL);
    let ran = folder.run(&["run", "-w", "60s", "jobs", "--", "true"]);
    assert!(ran.code == 0 && ran.err.contains("after the death of"), "{ran:?}");
    held.finish();
}

#[test]
fn a_lost_lock_is_not_held_longer() {
    let folder = Folder::new();
    let held = folder.hold(&["-t", "1s", "--at-least", "1h"], "exec sleep 600");
    assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);
    assert_eq!(held.finish().code, 76);
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn wrong_least_times_are_refused() {
    let folder = Folder::new();
    for (time, words) in [("soon", "no duration"), ("-1s", "negative"), ("3651d", "ten years")] {
        let option = format!("--at-least={time}");
        folder.run(&["run", &option, "jobs", "--", "true"]).refused(64, words);
    }
    let nested = ["run", "--nested", "--at-least", "1s", "jobs", "--", "true"];
    folder.run(&nested).refused(64, "--nested");
}
