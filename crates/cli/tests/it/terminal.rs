//! `run` on a terminal (a pseudo-terminal made by `script`): the live line, and job control.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use crate::{Folder, seen_from_here, until, ways};

/// Starts a shell command on a terminal of its own; all its output is collected.
pub(crate) fn on_terminal(folder: &Folder, shell: &str) -> Child {
    on_terminal_with(folder, shell, &[])
}

/// Does the same with `$WAY` set to these options.
fn on_terminal_with(folder: &Folder, shell: &str, way: &[&str]) -> Child {
    Command::new("script")
        .args(["--quiet", "--return", "--command", shell, "/dev/null"])
        .current_dir(folder.path())
        .env("L", env!("CARGO_BIN_EXE_lockbydir"))
        .env("WAY", way.join(" "))
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs")
}

pub(crate) fn output(mut child: Child) -> (i32, String) {
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (code, String::from_utf8_lossy(&all).into_owned())
}

#[test]
fn waiting_shows_a_live_line_and_removes_it() {
    let folder = Folder::new();
    let holding = folder.hold(&["--label", "backup"], "cat");
    let mut child = on_terminal(&folder, "\"$L\" run jobs -- echo in");

    let mut seen = Vec::new();
    let mut byte = [0];
    let out = child.stdout.as_mut().unwrap();
    while !String::from_utf8_lossy(&seen).contains("`backup` for") {
        out.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    let words = format!("for jobs: held by pid {} (sh) on", holding.child.id());
    assert!(String::from_utf8_lossy(&seen).contains(&words), "{}", String::from_utf8_lossy(&seen));
    assert_eq!(holding.finish().code, 0);

    let (code, rest) = output(child);
    assert_eq!(code, 0);
    assert!(rest.ends_with("\r\u{1b}[Kin\r\n"), "{rest:?}");
}

#[test]
fn a_quiet_waiter_shows_no_live_line() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    let (code, out) = output(on_terminal(&folder, "\"$L\" run -q -w 800ms jobs -- true"));
    assert_eq!(code, 75);
    assert!(!out.contains('\u{1b}') && !out.contains("waiting"), "{out:?}");
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn the_command_keeps_the_terminal_and_control_c_reaches_it_once() {
    ways().into_iter().for_each(control_c_comes_once);
}

fn control_c_comes_once(way: &[&str]) {
    let folder = Folder::new();
    let script = "exec \"$L\" run $WAY jobs -- sh -c 'test -t 0 && test -t 1 && test -t 2 && echo tty; trap \"echo once; exit 5\" INT; echo set; while :; do sleep 0.01; done'";
    let mut child = on_terminal_with(&folder, script, way);
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains("set") {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    assert!(String::from_utf8_lossy(&seen).contains("tty"));

    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let (code, rest) = output(child);

    assert_eq!(code, 5, "{rest:?}");
    assert_eq!(rest.matches("once").count(), 1, "{rest:?}");
}

#[test]
fn control_c_during_the_start_ends_the_command() {
    let folder = Folder::new();
    for _ in 0..10 {
        let mut child = on_terminal(&folder, "exec \"$L\" run jobs -- sleep 5");
        let lock = folder.path().join("jobs.lockdir");
        until("the lock", || lock.exists());

        child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        let (code, out) = output(child);

        assert_eq!(code, 130, "{out:?}");
    }
}

#[test]
fn control_z_stops_both_and_fg_goes_on() {
    ways().into_iter().for_each(control_z_and_fg);
}

fn control_z_and_fg(way: &[&str]) {
    let folder = Folder::new();
    // An interactive shell does the job control.
    let mut child = on_terminal_with(&folder, "bash --norc --noprofile -i", way);
    let stdin = child.stdin.as_mut().unwrap();
    stdin
        .write_all(
            b"\"$L\" run $WAY -t 60s jobs -- sh -c 'echo $$ > pid; read line; echo went-on'\n",
        )
        .unwrap();
    let pid_file = folder.path().join("pid");
    until("the command", || {
        std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n'))
    });
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let pid = seen_from_here(child.id(), pid);
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };

    child.stdin.as_mut().unwrap().write_all(b"\x1a").unwrap();
    until("the stop", || state() == Some('T'));
    child.stdin.as_mut().unwrap().write_all(b"fg\n").unwrap();
    until("the continuation", || state() != Some('T'));
    child.stdin.as_mut().unwrap().write_all(b"\nexit 3\n").unwrap();

    let (_, rest) = output(child);
    assert!(rest.contains("\nwent-on"), "{rest:?}");
    std::fs::remove_file(&pid_file).unwrap();
}

/// Reads what a terminal shows until these words are in it.
fn read_until(child: &mut Child, words: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(words) {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}

#[test]
fn control_c_stops_the_calling_loop_too() {
    ways().into_iter().for_each(control_c_stops_all);
}

fn control_c_stops_all(way: &[&str]) {
    let folder = Folder::new();
    let run = "\"$L\" run $WAY jobs -- sh -c \"echo set; exec sleep 60\"";
    let calling = format!("exec bash -c 'for i in 1 2 3; do {run}; echo after $?; done'");
    let mut child = on_terminal_with(&folder, &calling, way);
    read_until(&mut child, "set");

    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let (code, rest) = output(child);

    assert!(!rest.contains("after") && !rest.contains("set"), "{rest:?}");
    assert_eq!(code, 130, "{rest:?}");
}

#[test]
fn control_c_while_waiting_stops_the_calling_loop_too() {
    let folder = Folder::new();
    let holding = folder.hold(&[], "cat");
    let calling = "exec bash -c 'for i in 1 2 3; do \"$L\" run jobs -- true; echo after $?; done'";
    let mut child = on_terminal(&folder, calling);
    read_until(&mut child, "waiting");

    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let (code, rest) = output(child);

    assert!(!rest.contains("after"), "{rest:?}");
    assert_eq!(code, 130, "{rest:?}");
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_stop_longer_than_the_timeout_is_survived() {
    ways().into_iter().for_each(a_long_stop_is_survived);
}

fn a_long_stop_is_survived(way: &[&str]) {
    let folder = Folder::new();
    let mut child = on_terminal_with(&folder, "bash --norc --noprofile -i", way);
    let command =
        "\"$L\" run $WAY -t 500ms jobs -- sh -c 'echo $$ > pid; read line; echo went-on'\n";
    child.stdin.as_mut().unwrap().write_all(command.as_bytes()).unwrap();
    let pid_file = folder.path().join("pid");
    until("the command", || {
        std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n'))
    });

    child.stdin.as_mut().unwrap().write_all(b"\x1a").unwrap();
    read_until(&mut child, "Stopped");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    child.stdin.as_mut().unwrap().write_all(b"fg\n").unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\nexit 3\n").unwrap();

    let (_, rest) = output(child);
    assert!(rest.contains("\nwent-on"), "{rest:?}");
    std::fs::remove_file(&pid_file).unwrap();
}
