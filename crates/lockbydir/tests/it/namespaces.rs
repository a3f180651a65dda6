//! Processes as seen in a `/proc` that belongs to another PID namespace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lockbydir::engine;
use lockbydir_protocol::{Liveness, Owner, Process};
use lockbydir_testbed::needs;

/// Starts a PID namespace in which PID 1 is a shell, and mounts its `/proc` in this folder. It ends
/// with its standard input.
fn other_namespace(folder: &Path) -> Child {
    let mut other = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "sh", "-ec"])
        .arg(r#"mount -t proc none "$1"; echo mounted; read -r end || true"#)
        .arg("sh")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "mounted\n");
    other
}

fn mount_over_proc(folder: &Path) {
    let status = Command::new("mount").arg("--bind").arg(folder).arg("/proc").status().unwrap();
    assert!(status.success());
}

fn start_in_proc(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(19).unwrap().parse().unwrap()
}

#[test]
fn a_proc_of_another_namespace_condemns_no_process() {
    needs!(Mounts);
    let folder = tempfile::tempdir().unwrap();
    let first = Process { pid: 1, start: start_in_proc(1) };
    let is_alive = || engine::life(Owner::One(first)) == Liveness::Alive;
    assert!(is_alive(), "our own first process");
    let command = engine::command(1);
    assert!(command.is_some());

    // The mounts of another namespace, as a process gets them that enters a container.
    let mut other = other_namespace(folder.path());
    mount_over_proc(folder.path());

    assert_ne!(start_in_proc(1), first.start, "the shell is PID 1 there");
    assert!(is_alive(), "judged by another process that is PID 1 elsewhere");
    assert_eq!(engine::command(1), None);

    let status = Command::new("umount").arg("/proc").status().unwrap();
    assert!(status.success());
    assert!(is_alive());
    assert_eq!(engine::command(1), command);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
}

#[test]
fn our_own_proc_still_shows_who_took_a_pid() {
    needs!(Mounts);
    let own = engine::here().1;
    let another = Process { start: own.start + 1, ..own };
    let is_gone = |process| engine::life(Owner::One(process)) == Liveness::Gone;
    assert!(is_gone(another));

    // Another mount of the same namespace's. A new instance of it needs root.
    assert!(Command::new("mount").args(["--rbind", "/proc", "/proc"]).status().unwrap().success());

    assert!(is_gone(another) && !is_gone(own));
    assert!(Command::new("umount").args(["--recursive", "/proc"]).status().unwrap().success());
}

#[test]
fn without_a_proc_only_the_end_of_a_process_counts() {
    needs!(Mounts);
    let own = engine::here().1;
    let life = |process| engine::life(Owner::One(process));
    let another = Process { start: own.start + 1, ..own };
    assert_eq!(life(another), Liveness::Gone);
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();

    assert!(
        Command::new("mount").args(["-t", "tmpfs", "none", "/proc"]).status().unwrap().success()
    );

    assert_eq!(life(own), Liveness::Alive);
    assert_eq!(life(another), Liveness::Alive, "who has the PID is unknown");
    let ended = Process { pid: child.id(), start: 1 };
    assert_eq!(life(ended), Liveness::Alive);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(life(ended), Liveness::Gone);
    assert!(Command::new("umount").arg("/proc").status().unwrap().success());
    assert_eq!(life(another), Liveness::Gone);
}
