//! The testbed, tested in copies of this program: what a copy leaves out is recorded beside the copy.

#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "test names are sentences")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use lockbydir_testbed::{LEAVE_NOTHING_OUT, needs, take_all, whole_machine};
use rustix::fs::{FlockOperation, flock};

/// In the environment of a copy: tests for copies do nothing elsewhere.
const COPY: &str = "LOCKBYDIR_TESTBED_COPY";

fn is_copy() -> bool {
    std::env::var_os(COPY).is_some()
}

/// A copy of this program, in a folder like that of test programs.
struct Copy {
    _folder: tempfile::TempDir,
    program: PathBuf,
}

impl Copy {
    fn new() -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("deps");
        std::fs::create_dir(&programs).unwrap();
        let program = programs.join("it");
        // Not copied by this process: another test might fork meanwhile, and keep the copy open for writing.
        let copied =
            Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status();
        assert!(copied.unwrap().success());
        Copy { _folder: folder, program }
    }

    /// Returns a command that runs one of its tests, after this shell text.
    fn test(&self, name: &str, before: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{before} exec \"$@\"; "), "sh"]).arg(&self.program);
        command.args(["--exact", name, "--nocapture"]).env(COPY, "1").env_remove(LEAVE_NOTHING_OUT);
        command
    }
}

/// Returns what a process has printed.
fn printed(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn in_a_copy_a_child_shows_what_it_ignores() {
    if is_copy() {
        let script = "kill -HUP $PPID; kill -INT $PPID; grep SigIgn /proc/self/status";
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
    }
}

#[test]
fn children_start_with_usual_signals_whatever_is_ignored() {
    let copy = Copy::new();
    for ignored in ["", "trap '' HUP INT QUIT TERM USR1;"] {
        let mut command = copy.test("in_a_copy_a_child_shows_what_it_ignores", ignored);
        let output = command.output().unwrap();

        // Where nothing is ignored, the copy ends by the signal that its child sends.
        assert_eq!(output.status.success(), !ignored.is_empty(), "{output:?}");
        if !ignored.is_empty() {
            let text = printed(&output);
            let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
            let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
            // SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGTERM.
            assert!([1, 2, 3, 10, 15].iter().all(|signal| mask >> (signal - 1) & 1 == 0), "{text}");
        }
    }
}

#[test]
fn in_a_copy_the_whole_machine_is_needed() {
    if is_copy() {
        let _machine = whole_machine();
        println!("\nalone");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}

/// Also a test in a process of its own excludes the others.
#[test]
fn one_process_at_a_time_has_the_whole_machine() {
    let copy = Copy::new();
    let mut command = copy.test("in_a_copy_the_whole_machine_is_needed", "");
    let mut first = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "alone"), "it has the machine");
    let program = std::fs::File::open(&copy.program).unwrap();

    let beside = flock(&program, FlockOperation::NonBlockingLockExclusive);
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
    let afterwards = flock(&program, FlockOperation::NonBlockingLockExclusive);

    assert_eq!((beside, afterwards), (Err(rustix::io::Errno::WOULDBLOCK), Ok(())));
}

#[test]
fn in_a_copy_mounts_are_needed() {
    if is_copy() {
        needs!(Mounts);
        println!(
            "goes on as user {}",
            String::from_utf8_lossy(&Command::new("id").arg("-u").output().unwrap().stdout)
        );
        assert!(std::env::var_os("LOCKBYDIR_TESTBED_FAILS").is_none(), "as was asked");
    }
}

#[test]
fn in_a_copy_all_that_was_left_out_is_listed() {
    if is_copy() {
        println!("{:?}", take_all());
    }
}

#[test]
fn what_is_lacking_is_left_out_listed_once_or_fails() {
    let copy = Copy::new();
    let listed = || {
        let output = copy.test("in_a_copy_all_that_was_left_out_is_listed", "").output().unwrap();
        printed(&output)
    };
    // Without programs no room can be entered.
    let lacking = |command: &mut Command| command.env("PATH", "/nowhere").output().unwrap();

    let output = lacking(&mut copy.test("in_a_copy_mounts_are_needed", ""));
    assert!(output.status.success(), "{output:?}");
    let text = printed(&output);
    assert!(
        text.contains("left out: in_a_copy_mounts_are_needed: nothing can be mounted"),
        "{text}"
    );
    assert!(!text.contains("goes on"), "{text}");
    let list = listed();
    assert!(list.contains("[\"lockbydir-testbed in_a_copy_mounts_are_needed\"]"), "{list}");
    assert!(!listed().contains("mounts_are_needed"), "listed twice");

    let mut strict = copy.test("in_a_copy_mounts_are_needed", "");
    let output = lacking(strict.env(LEAVE_NOTHING_OUT, "1"));
    assert!(!output.status.success(), "{output:?}");
    assert!(printed(&output).contains("must not be left out"), "{output:?}");
    assert!(!listed().contains("mounts_are_needed"), "it failed");
}

#[test]
fn a_test_runs_in_a_room_of_its_own_and_may_fail_there() {
    needs!(Mounts);
    let copy = Copy::new();
    let mut command = copy.test("in_a_copy_mounts_are_needed", "");
    // This test is in such a room itself, which the copy must not know.
    command.env_remove("LOCKBYDIR_TESTBED_MET");

    let passes = command.output().unwrap();
    let fails = command.env("LOCKBYDIR_TESTBED_FAILS", "1").output().unwrap();

    assert!(passes.status.success(), "{passes:?}");
    assert!(printed(&passes).contains("goes on as user 0\n"), "{passes:?}");
    assert!(!fails.status.success(), "{fails:?}");
    assert!(printed(&fails).contains("as was asked"), "{fails:?}");
}
