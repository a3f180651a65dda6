//! The program on Windows: real processes and their ends, the command and all it starts, the queue.

#![cfg(windows)]
#![allow(missing_docs, reason = "test names are sentences")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

fn lockbydir(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbydir"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = lockbydir(folder, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn status(folder: &Path) -> Value {
    let (code, out, err) = run(folder, &["status", "jobs", "--json"]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

#[track_caller]
fn assert_empty(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a `run` whose command reports that it has begun, and continues for a minute.
fn hold(folder: &Path, options: &[&str]) -> Child {
    let mut args = vec!["run"];
    args.extend(options);
    args.extend(["jobs", "--", "cmd", "/c", "echo begun& ping -n 60 127.0.0.1 >nul"]);
    let mut child = lockbydir(folder, &args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "begun");
    child
}

#[test]
fn the_commands_exit_code_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    for code in [0, 7, 255, 300, -1] {
        let (got, _, err) =
            run(folder.path(), &["run", "jobs", "--", "cmd", "/c", &format!("exit {code}")]);
        assert_eq!(got, code, "{err}");
    }
    fs::write(folder.path().join("text.exe"), "no program").unwrap();
    let text = folder.path().join("text.exe");
    assert_eq!(run(folder.path(), &["run", "jobs", "--", text.to_str().unwrap()]).0, 126);
    fs::remove_file(text).unwrap();
    assert_eq!(run(folder.path(), &["run", "jobs", "--", "no-such-program"]).0, 127);
    assert_empty(folder.path());
}

#[test]
fn the_command_sees_its_name_and_token() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo %LOCKBYDIR_TOKEN%& echo %LOCKBYDIR_NAME%& dir /b jobs.lockdir";
    let (code, out, err) = run(folder.path(), &["run", "jobs", "--", "cmd", "/c", script]);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<_> = out.lines().map(str::trim).collect();
    let parts: Vec<_> = lines[2].split('.').collect();
    assert_eq!(parts[3], lines[0], "the token in {out}");
    assert!(lines[1].ends_with("jobs"), "{out}");
    assert!(parts[11].contains('+'), "{out}");
    assert_ne!(parts[8], "0000000000000000", "the boot is known: {out}");
    assert_empty(folder.path());
}

#[test]
fn names_that_windows_would_change_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["con", "jobs.", "jobs ", "jobs:stream", "a\\"] {
        let (code, _, err) = run(folder.path(), &["run", name, "--", "cmd", "/c", "exit 0"]);
        assert_eq!(code, 64, "{name}: {err}");
    }
    let group = ["run", "--group", "5", "jobs", "--", "cmd", "/c", "exit 0"];
    assert_eq!(run(folder.path(), &group).0, 64);
    assert_eq!(run(folder.path(), &["bench", "."]).0, 69);
    assert_empty(folder.path());
}

#[test]
fn a_key_renews_and_releases_and_then_holds_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = run(folder.path(), &["acquire", "-t", "1m", "jobs"]);
    assert_eq!(code, 0, "{err}");
    let key = out.trim();

    assert_eq!(run(folder.path(), &["acquire", "-n", "jobs"]).0, 75);
    assert_eq!(run(folder.path(), &["is-locked", "jobs"]).0, 0);
    assert_eq!(run(folder.path(), &["renew", "-t", "2m", "jobs", key]).0, 0);
    assert_eq!(status(folder.path())["timeout_s"], 120.0);
    assert_eq!(run(folder.path(), &["release", "jobs", key]).0, 0);
    assert_eq!(run(folder.path(), &["release", "jobs", key]).0, 76);

    assert_eq!(run(folder.path(), &["is-locked", "jobs"]).0, 1);
    assert_empty(folder.path());
}

#[test]
fn a_killed_holder_is_dead_at_once_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = hold(folder.path(), &["-t", "10m"]);
    let mut waiter =
        lockbydir(folder.path(), &["run", "-v", "-w", "1m", "jobs", "--", "cmd", "/c", "exit 5"])
            .spawn()
            .unwrap();
    until("a ticket", || status(folder.path())["queue"].as_array().is_some_and(|l| l.len() == 1));

    let begin = Instant::now();
    holder.kill().unwrap();
    holder.wait().unwrap();

    // The lock names the command too: it is dead only when both are gone.
    assert_eq!(waiter.wait().unwrap().code(), Some(5));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_empty(folder.path());
}

#[test]
fn a_broken_lock_ends_the_command_and_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = hold(folder.path(), &["-t", "3s"]);
    let command = status(folder.path())["holder"]["pid"].as_u64();
    assert!(command.is_some());

    assert_eq!(run(folder.path(), &["break", "--force", "jobs"]).0, 0);

    let begin = Instant::now();
    assert_eq!(holder.wait().unwrap().code(), Some(76));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_empty(folder.path());
}

/// The command of the next test: it fails when another one is inside. Run as a test it does nothing.
#[test]
fn a_command_that_is_alone() {
    let Some(inside) = std::env::var_os("LOCKBYDIR_TEST_INSIDE") else { return };
    fs::create_dir(&inside).expect("nobody else is inside");
    thread::sleep(Duration::from_millis(3));
    fs::remove_dir(&inside).unwrap();
}

#[test]
fn many_processes_are_never_two_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let inside = place.path().join("inside");
    let own = std::env::current_exe().unwrap();
    let turns = |_| {
        let (folder, inside, own) = (folder.path().to_owned(), inside.clone(), own.clone());
        thread::spawn(move || {
            for _ in 0..6 {
                let own = own.to_str().unwrap();
                let args =
                    ["run", "-w", "2m", "jobs", "--", own, "--exact", "a_command_that_is_alone"];
                let mut command = lockbydir(&folder, &args);
                let output = command.env("LOCKBYDIR_TEST_INSIDE", &inside).output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{output:?}");
            }
        })
    };

    let all: Vec<_> = (0..6).map(turns).collect();

    all.into_iter().for_each(|one| one.join().unwrap());
    assert_empty(folder.path());
}

#[test]
fn processes_are_served_in_the_order_in_which_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    let key = run(folder.path(), &["acquire", "-t", "5m", "jobs"]).1;
    let mut waiters = Vec::new();
    for number in 0..5 {
        let script = format!("echo {number} >>{}", log.display());
        let args = ["run", "-w", "2m", "jobs", "--", "cmd", "/c", &script];
        waiters.push(lockbydir(folder.path(), &args).spawn().unwrap());
        until("a ticket", || {
            status(folder.path())["queue"].as_array().is_some_and(|line| line.len() == number + 1)
        });
    }

    assert_eq!(run(folder.path(), &["release", "jobs", key.trim()]).0, 0);

    for mut waiter in waiters {
        assert_eq!(waiter.wait().unwrap().code(), Some(0));
    }
    let served = fs::read_to_string(log).unwrap();
    assert_eq!(served.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert_empty(folder.path());
}

/// Without a bell the first waiter looks once a second, so a release would take half a second on average.
#[test]
fn a_release_wakes_the_first_in_queue() {
    let folder = tempfile::tempdir().unwrap();
    let mut late = Duration::ZERO;
    for _ in 0..10 {
        let key = run(folder.path(), &["acquire", "-t", "5m", "jobs"]).1;
        let mut waiter =
            lockbydir(folder.path(), &["acquire", "-w", "2m", "jobs"]).spawn().unwrap();
        until("a ticket", || {
            status(folder.path())["queue"].as_array().is_some_and(|l| l.len() == 1)
        });
        assert_eq!(run(folder.path(), &["release", "jobs", key.trim()]).0, 0);

        let begin = Instant::now();
        let mut next = String::new();
        BufReader::new(waiter.stdout.take().unwrap()).read_line(&mut next).unwrap();
        late += begin.elapsed();

        assert_eq!(waiter.wait().unwrap().code(), Some(0));
        assert_eq!(run(folder.path(), &["release", "jobs", next.trim()]).0, 0);
    }
    assert!(late < Duration::from_secs(2), "{late:?} in ten rounds");
    assert_empty(folder.path());
}

#[test]
fn a_killed_waiter_does_not_hold_up_the_one_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let key = run(folder.path(), &["acquire", "-t", "5m", "jobs"]).1;
    let wait = || {
        let args = ["run", "-w", "2m", "jobs", "--", "cmd", "/c", "exit 0"];
        lockbydir(folder.path(), &args).spawn().unwrap()
    };
    let in_queue = |many: usize| {
        until("a ticket", || {
            status(folder.path())["queue"].as_array().is_some_and(|line| line.len() == many)
        });
    };
    let mut first = wait();
    in_queue(1);
    let second = wait();
    in_queue(2);

    first.kill().unwrap();
    first.wait().unwrap();
    in_queue(1);
    assert_eq!(run(folder.path(), &["release", "jobs", key.trim()]).0, 0);

    let done = second.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_empty(folder.path());
}

#[test]
fn what_a_killed_waiter_left_is_cleaned() {
    let folder = tempfile::tempdir().unwrap();
    let key = run(folder.path(), &["acquire", "-t", "5m", "jobs"]).1;
    let args = ["run", "-w", "2m", "jobs", "--", "cmd", "/c", "exit 0"];
    let mut waiter = lockbydir(folder.path(), &args).spawn().unwrap();
    until("a ticket", || status(folder.path())["queue"].as_array().is_some_and(|l| l.len() == 1));
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    let (code, out, err) = run(folder.path(), &["clean", "."]);

    assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
    assert_eq!(run(folder.path(), &["release", "jobs", key.trim()]).0, 0);
    assert_empty(folder.path());
}
