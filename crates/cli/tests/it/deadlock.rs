//! Waits for each other, which one of the waiters learns of at once.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Folder, Ran, soon};

/// Starts a shell in this folder, whose script calls the program as `"$L"`.
fn shell(folder: &Folder, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder.path());
    command.env("L", env!("CARGO_BIN_EXE_lockbydir")).env_remove("LOCKBYDIR_HELD");
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("sh runs")
}

fn ended(child: Child) -> Ran {
    Ran::of(child.wait_with_output().expect("its end"))
}

/// Waits, as a script, until this lock is held.
const UNTIL_HELD: &str = "until \"$L\" is-locked";

/// Two scripts that each hold one lock and want the other. Returns how they ended, and after how long.
fn two(folder: &Folder, lock: impl Fn(&str, &str) -> String) -> ([Ran; 2], Duration) {
    let script = |own: &str, other: &str| {
        let inner =
            format!("{UNTIL_HELD} {other}; do :; done; \"$L\" run -w 60s {other} -- echo {other}");
        lock(own, &inner)
    };
    let first = shell(folder, &script("a", "b"));
    let second = shell(folder, &script("b", "a"));
    let begun = Instant::now();
    let ends = [ended(first), ended(second)];
    (ends, begun.elapsed())
}

fn assert_one_was_notified(ends: &[Ran; 2]) {
    let mut codes = [ends[0].code, ends[1].code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 75], "{ends:?}");
    let (notified, other) =
        if ends[0].code == 75 { (&ends[0], &ends[1]) } else { (&ends[1], &ends[0]) };
    assert!(
        notified.err.contains("deadlock: you hold") && notified.err.contains("; pid "),
        "{notified:?}"
    );
    assert!(["a\n", "b\n"].contains(&&*other.out), "{other:?}");
}

#[test]
fn one_of_two_commands_that_wait_for_each_other_is_notified() {
    soon(Duration::from_secs(10), || {
        let folder = Folder::new();
        let (ends, took) =
            two(&folder, |own, inner| format!("exec \"$L\" run {own} -- sh -c '{inner}; exit $?'"));
        assert_one_was_notified(&ends);
        took
    });
}

#[test]
fn scripts_that_lock_by_their_own_pid_are_seen() {
    soon(Duration::from_secs(10), || {
        let folder = Folder::new();
        let (ends, took) = two(&folder, |own, inner| {
            format!(
                "key=$(\"$L\" acquire -t 60s --pid $$ {own}); {inner}; code=$?; \"$L\" release {own} \"$key\"; exit $code"
            )
        });
        assert_one_was_notified(&ends);
        took
    });
}

#[test]
fn a_command_that_waits_for_itself_is_notified() {
    soon(Duration::from_secs(10), || {
        let folder = Folder::new();
        let begun = Instant::now();
        let script = "exec \"$L\" run jobs -- sh -c 'env -u LOCKBYDIR_HELD \"$L\" run -q -w 60s jobs -- echo in'";
        ended(shell(&folder, script)).refused(75, "deadlock: you hold");
        begun.elapsed()
    });
}

#[test]
fn who_waits_in_the_background_waits_for_nobody_that_waits() {
    let folder = Folder::new();
    let script = "exec \"$L\" run jobs -- sh -c '(env -u LOCKBYDIR_HELD \"$L\" run -w 60s jobs -- echo late) & sleep 3; echo done'";

    let ran = ended(shell(&folder, script));

    assert_eq!((ran.code, ran.out.as_str()), (0, "done\nlate\n"), "{ran:?}");
}

#[test]
fn a_queue_behind_a_holder_that_works_is_no_deadlock() {
    let folder = Folder::new();
    let holder = shell(&folder, "exec \"$L\" run jobs -- sleep 3");
    let waiters: Vec<_> = (0..4)
        .map(|_| shell(&folder, "exec \"$L\" run own$$ -- \"$L\" run -w 60s jobs -- echo in"))
        .collect();

    for waiter in waiters {
        assert_eq!(ended(waiter).out, "in\n");
    }
    assert_eq!(ended(holder).code, 0);
}
