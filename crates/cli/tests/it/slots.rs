//! `run --slots`: up to N hold the lock at once, each in a slot of its own.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, Ran, names, soon, until};

/// Notes when each job is in its slot. A killed job does not note its end; the next one of its slot may
/// then begin.
const JOB: &str = "echo + $LOCKBYDIR_SLOT $$ >> log; sleep $0; echo - $LOCKBYDIR_SLOT $$ >> log";

fn start(folder: &Folder, slots: &str, lasts: &str) -> Child {
    let args = ["run", "-w", "120s", "--slots", slots, "jobs", "--", "sh", "-c", JOB, lasts];
    let mut command = folder.command(&args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Judges what the jobs have noted: each number from 1 to `slots` was one job's at a time. A job that was
/// killed ends where it stands in `killed`. Returns how many jobs began, and how many were in at once.
fn judge(folder: &Path, slots: usize, killed: &[String]) -> (usize, usize) {
    let mut inside: HashMap<usize, String> = HashMap::new();
    let (mut began, mut most) = (0, 0);
    for line in fs::read_to_string(folder.join("log")).unwrap().lines() {
        let [what, slot, job] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("no note: {line}")
        };
        let slot: usize = slot.parse().unwrap();
        assert!((1..=slots).contains(&slot), "{line}");
        match what {
            "+" => {
                let before = inside.insert(slot, job.into());
                let is_over = before.as_ref().is_none_or(|before| killed.contains(before));
                assert!(is_over, "{line} beside {before:?}");
                began += 1;
                most = most.max(inside.len());
            }
            _ => assert_eq!(inside.remove(&slot).as_deref(), Some(job), "{line}"),
        }
    }
    (began, most)
}

fn tidy(folder: &Folder) {
    fs::remove_file(folder.path().join("log")).unwrap();
    folder.run(&["clean"]);
}

#[test]
fn forty_jobs_share_four_slots() {
    let folder = Folder::new();
    let jobs: Vec<_> = (0..40).map(|_| start(&folder, "4", "0.02")).collect();
    for job in jobs {
        let ran = Ran::of(job.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    }
    let (began, most) = judge(folder.path(), 4, &[]);
    assert_eq!(began, 40);
    assert!((2..=4).contains(&most), "{most}");
    tidy(&folder);
}

#[test]
fn two_hundred_processes_share_eight_slots_while_some_are_killed() {
    let folder = Folder::new();
    let jobs: Vec<_> = (0..200).map(|_| start(&folder, "8", "0.01")).collect();
    let mut killed = 0;
    for (nth, job) in jobs.iter().enumerate() {
        if nth % 10 == 3 {
            // It waits, holds, or has ended. Its command ends with it.
            killed += u32::from(kill_process(Pid::from_child(job), Signal::KILL).is_ok());
        }
    }
    assert!(killed >= 20, "{killed}");
    let mut ended = 0;
    for job in jobs {
        let ran = Ran::of(job.wait_with_output().unwrap());
        ended += usize::from(ran.code == 0);
        assert!(matches!(ran.code, 0 | -1), "{ran:?}");
    }
    assert!(ended >= 180, "{ended}");
    // Each that was let in and did not end was killed.
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let jobs_of = |what: &str| {
        let lines = log.lines().filter(move |line| line.starts_with(what));
        lines.filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect::<Vec<_>>()
    };
    let ends = jobs_of("-");
    let killed: Vec<_> = jobs_of("+").into_iter().filter(|job| !ends.contains(job)).collect();
    assert!(killed.len() <= 20, "{killed:?}");
    let (began, most) = judge(folder.path(), 8, &killed);
    assert!(began >= ended && (2..=8).contains(&most), "{began} {most}");
    until("that all slots are free", || {
        (1..=8).all(|slot| folder.run(&["is-locked", &format!("jobs.{slot}")]).code == 1)
    });
    // Who was killed as a holder leaves its entry to the next one.
    for slot in 1..=8 {
        folder.run(&["break", &format!("jobs.{slot}")]);
    }
    folder.run(&["break", "jobs"]);
    tidy(&folder);
}

#[test]
fn the_slot_of_a_killed_holder_is_free_at_once() {
    let folder = Folder::new();
    // The waiter would otherwise wait for the timeout of an hour.
    soon(Duration::from_millis(50), || {
        let hold = |nth: &str| {
            let script = format!("echo $LOCKBYDIR_SLOT > held.{nth}; exec sleep 600");
            let args = ["run", "-t", "1h", "--slots", "2", "jobs", "--", "sh", "-c", &script];
            let child = folder.command(&args).stderr(Stdio::null()).spawn().unwrap();
            let held = folder.path().join(format!("held.{nth}"));
            until("a holder", || fs::read_to_string(&held).is_ok_and(|slot| !slot.is_empty()));
            child
        };
        let (mut first, mut second) = (hold("1"), hold("2"));
        let script = "date +%s%N > got; echo $LOCKBYDIR_SLOT";
        let args = ["run", "-q", "--slots", "2", "jobs", "--", "sh", "-c", script];
        let waiter = folder.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        until("a waiter for both slots", || {
            let there = names(folder.path());
            [1, 2].iter().all(|slot| there.contains(&format!("jobs.{slot}.lockdir.queue")))
        });
        std::thread::sleep(Duration::from_millis(100)); // it falls asleep

        let killed = std::time::SystemTime::now();
        second.kill().unwrap();

        let ran = Ran::of(waiter.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (0, "2\n"), "{ran:?}");
        let got: u64 =
            fs::read_to_string(folder.path().join("got")).unwrap().trim().parse().unwrap();
        let got = std::time::UNIX_EPOCH + Duration::from_nanos(got);
        second.wait().unwrap();
        kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
        first.wait().unwrap();
        for file in ["held.1", "held.2", "got"] {
            fs::remove_file(folder.path().join(file)).unwrap();
        }
        let took = got.duration_since(killed).unwrap_or_default();
        eprintln!("a killed holder's slot had its next command after {took:?}");
        took
    });
    folder.run(&["clean"]);
}

#[test]
fn the_first_waiter_is_shown_as_what_it_is() {
    let folder = Folder::new();
    let mut holder =
        folder.command(&["run", "--slots", "1", "jobs", "--", "sleep", "600"]).spawn().unwrap();
    until("the holder", || folder.run(&["is-locked", "jobs.1"]).code == 0);
    let mut waiter =
        folder.command(&["run", "-q", "--slots", "1", "jobs", "--", "true"]).spawn().unwrap();
    until("the waiter", || folder.run(&["is-locked", "jobs"]).code == 0);

    let status = folder.run(&["status", "jobs"]).out;
    assert!(status.contains("waits for one of 1 slots"), "{status}");
    let list = folder.run(&["list"]).out;
    assert!(list.contains("jobs.1") && list.contains("waits for one of 1 slots"), "{list}");
    let ran = folder.run(&["run", "-w", "0.1s", "--slots", "1", "jobs", "--", "true"]);
    ran.refused(75, "the only slot is taken");

    kill_process(Pid::from_child(&holder), Signal::TERM).unwrap();
    assert_eq!(holder.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(waiter.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_ends_the_wait_for_a_slot() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "-t", "60s", "jobs.1"]).out;
    let begun = Instant::now();
    let mut waiter =
        folder.command(&["run", "--slots", "1", "jobs", "--", "true"]).spawn().unwrap();
    until("the waiter", || folder.run(&["is-locked", "jobs"]).code == 0);

    kill_process(Pid::from_child(&waiter), Signal::TERM).unwrap();

    assert_eq!(waiter.wait().unwrap().code(), Some(128 + 15));
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(folder.run(&["release", "jobs.1", key.trim()]).code, 0);
}

#[test]
fn wrong_numbers_and_combinations_are_refused() {
    let folder = Folder::new();
    for number in ["0", "-1", "1001", "1000000000", "99999999999999999999", "four", "", "1.5"] {
        let option = format!("--slots={number}");
        folder.run(&["run", &option, "jobs", "--", "true"]).refused(64, "--slots");
    }
    folder.run(&["run", "--slots", "2", "a", "b", "--", "true"]).refused(64, "one NAME");
    folder.run(&["run", "--slots", "2", "-s", "a", "--", "true"]).refused(64, "--shared");
    folder.run(&["run", "--slots", "2", "--nested", "a", "--", "true"]).refused(64, "--nested");
    let script = "echo $LOCKBYDIR_SLOT; basename $LOCKBYDIR_NAME";
    let ran = folder.run(&["run", "--slots", "1000", "jobs", "--", "sh", "-c", script]);
    assert_eq!(ran.out, "1\njobs.1\n", "{ran:?}");
}
