//! No `/proc`, or one that hides things: nothing is known of processes, and nobody is called dead.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use lockbydir_proof::scripted_worker::ScriptedWorker;

use crate::{
    namespaces::{LONG, assert_respects, assert_respects_and_follows},
    place::Place,
    program::{WORKER, playing, run_within, scripted_worker},
};

/// In a PID namespace with nothing in `/proc`, and with a PID that is nobody's in any other.
fn blind() -> ScriptedWorker {
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    let others = COUNT.fetch_add(5, Ordering::Relaxed);
    let script = "mount -t tmpfs lockbydir /proc; for _ in $(seq $N); do (:); done; $W; exit";
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child", "--pid", "--mount", "sh", "-ec", script]);
    ScriptedWorker::spawn(command.env("W", WORKER).env("N", others.to_string()))
}

/// With a `/proc` that shows nobody else's processes, as this user.
fn hidden(user: u32) -> ScriptedWorker {
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child", "--mount", "sh", "-ec"]);
    command.arg("mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid $U --clear-groups $W");
    ScriptedWorker::spawn(command.env("U", user.to_string()).env("W", WORKER))
}

#[test]
fn without_proc_nobody_is_taken_for_dead_and_the_timeout_holds() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let seeing = || puppet(&folder, LONG);
    let blind = || playing(blind(), &folder, LONG);

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

    ran.said("first\ncode 75\nsecond");
    assert!(ran.err.contains("waited 0.1 s"), "{ran:?}");
}

#[test]
fn where_others_processes_are_hidden_they_are_not_taken_for_dead() {
    let mut place = Place::new();
    let folder = place.tmpfs("volume");
    let shared = format!("{LONG} mode={}", 0o777);
    for (one, other) in [(1234, 4321), (4321, 1234)] {
        let mut holder = playing(hidden(one), &folder, &shared);
        let mut waiter = playing(hidden(other), &folder, &shared);

        holder.hold("acquire");

        assert_respects(&mut waiter, &mut holder);
        assert_eq!(holder.ask("release"), "ok");
    }
}
