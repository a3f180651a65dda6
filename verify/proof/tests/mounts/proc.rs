//! No `/proc`, or one that hides processes: then nothing is known of processes, and none counts as dead.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use lockbydir_proof::scripted_worker::ScriptedWorker;

use crate::{
    namespaces::{LONG, assert_respects, assert_respects_and_follows},
    place::Place,
    program::{WORKER, run_within, scripted_worker, with_jobs},
};

/// Starts a worker in a PID namespace with an empty `/proc`, and with a PID that is unused in any other.
fn blind() -> ScriptedWorker {
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    let others = COUNT.fetch_add(5, Ordering::Relaxed);
    let script = "mount -t tmpfs lockbydir /proc; for _ in $(seq $N); do (:); done; $W; exit";
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child", "--pid", "--mount", "sh", "-ec", script]);
    ScriptedWorker::spawn(command.env("W", WORKER).env("N", others.to_string()))
}

/// Starts a worker as this user, with a `/proc` that hides the processes of other users.
fn hidden(user: u32) -> ScriptedWorker {
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child", "--mount", "sh", "-ec"]);
    command.arg("mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid $U --clear-groups $W");
    ScriptedWorker::spawn(command.env("U", user.to_string()).env("W", WORKER))
}

#[test]
fn without_proc_nobody_counts_as_dead_and_the_timeout_holds() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let seeing = || scripted_worker(&folder, LONG);
    let blind = || with_jobs(blind(), &folder, LONG);

    for (holder, waiter) in [(blind(), seeing()), (seeing(), blind()), (blind(), blind())] {
        assert_respects_and_follows(holder, waiter, &folder);
    }
}

#[test]
fn the_program_works_without_proc() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let script = "mount -t tmpfs lockbydir /proc
        $L run jobs -- echo first
        key=$($L acquire -t 20s jobs)
        code=0; $L run -w 100ms jobs -- echo stolen || code=$?; echo code $code
        ($L run -w 20s jobs -- echo second) & $L release jobs $key; wait";

    let ran = run_within(&folder, &["--pid", "--mount"], script);

    ran.printed("first\ncode 75\nsecond");
    assert!(ran.err.contains("waited 0.1 s"), "{ran:?}");
}

#[test]
fn hidden_processes_of_others_do_not_count_as_dead() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let shared = format!("{LONG} mode={}", 0o777);
    for (one, other) in [(1234, 4321), (4321, 1234)] {
        let mut holder = with_jobs(hidden(one), &folder, &shared);
        let mut waiter = with_jobs(hidden(other), &folder, &shared);

        holder.hold("acquire");

        assert_respects(&mut waiter, &mut holder);
        assert_eq!(holder.ask("release"), "ok");
    }
}
