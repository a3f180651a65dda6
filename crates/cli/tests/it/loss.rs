//! `run` when its lock is lost: the command ends before others may enter.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, is_alive, soon};

/// A command that ignores requests to end, with a child in a session of its own.
const STUBBORN: &str =
    "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 60' & wait; sleep 60";

#[test]
fn a_lock_removed_by_hand_ends_the_command_and_all_it_started() {
    soon(Duration::from_secs(2), || {
        let folder = Folder::new();
        let mut holding = folder.hold(&["-t", "2s"], STUBBORN);
        let grandchild: i32 = holding.line().parse().unwrap();

        std::fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();
        let started = Instant::now();
        let pid = holding.pid;
        let ran = holding.finish();

        let took = started.elapsed();
        ran.refused(76, "lost the lock");
        assert!(!is_alive(pid) && !is_alive(grandchild));
        took
    });
}

#[test]
fn a_command_that_ends_politely_is_given_the_time() {
    let folder = Folder::new();
    let script = "trap 'echo tidied; exit 0' TERM; echo set; while :; do sleep 0.01; done";
    // A third of it passes before the loss is noticed; the rest is the command's.
    let mut holding = folder.hold(&["-t", "6s"], script);
    assert_eq!(holding.line(), "set");

    folder.run(&["break", "--force", "jobs"]);
    let ran = holding.finish();

    ran.refused(76, "lost the lock");
    assert_eq!(ran.out, "tidied\n");
}

#[test]
fn without_renewal_the_command_ends_at_the_timeout() {
    let folder = Folder::new();
    // Between its deadline and the expiry there is half a second, in which the supervisor must run.
    let holding =
        folder.hold(&["-t", "4s", "--no-renew"], "trap '' TERM; while :; do sleep 0.01; done");
    let pid = holding.pid;

    // Its supervisor has stopped it at least, if `lockbydir` is late to kill it.
    let seen = format!("grep '^State:.[^TZX]' /proc/{pid}/status 2>/dev/null || echo alone");
    let ran = folder.run(&["run", "-w", "60s", "jobs", "--", "sh", "-c", &seen]);

    assert_eq!((ran.code, ran.out.as_str()), (0, "alone\n"), "{ran:?}");
    holding.finish().refused(76, "its timeout");
    assert!(!is_alive(pid));
}

#[test]
fn a_holder_stopped_past_its_timeout_loses_the_lock() {
    let folder = Folder::new();
    let first = folder.hold(&["-t", "500ms"], "exec sleep 60");
    let (ours, commands) = (Pid::from_child(&first.child), Pid::from_raw(first.pid).unwrap());
    kill_process(commands, Signal::STOP).unwrap();
    kill_process(ours, Signal::STOP).unwrap();

    let second = folder.hold(&["-t", "30s", "-w", "60s"], "cat");
    kill_process(ours, Signal::CONT).unwrap();
    let _ = kill_process(commands, Signal::CONT); // it may have been ended already

    let pid = first.pid;
    first.finish().refused(76, "the lock was lost");
    assert!(!is_alive(pid));
    assert_eq!(folder.status()["state"], "held");
    let ran = second.finish();
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("after its timeout"), "{ran:?}");
}

#[test]
fn a_renewing_holder_keeps_its_lock_for_many_timeouts() {
    let folder = Folder::new();
    let holding = folder.hold(&["-t", "3s"], "cat");

    let ran = folder.run(&["run", "-w", "10s", "jobs", "--", "echo", "in"]);

    ran.refused(75, "waited 1"); // 10 s, or a little more
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_short_timeout_never_takes_a_living_holders_long_lock() {
    let folder = Folder::new();
    let holding = folder.hold(&["-t", "30s", "--no-renew"], "cat");

    let ran = folder.run(&["run", "-t", "1s", "-w", "2500ms", "jobs", "--", "echo", "in"]);

    ran.refused(75, "held by pid");
    assert_eq!(holding.finish().code, 0);
}
