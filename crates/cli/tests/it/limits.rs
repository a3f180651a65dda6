//! Where the system gives no more: file descriptors, and what notifies of changes. What is shown then is
//! true all the same, or an error says why nothing is shown.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::serve::Server;
use crate::{Folder, Ran};

/// For a shell: what is not refused fails the test, instead of being served for ever.
const BOUNDED: &str = "set -- timeout 60 \"$@\"";

/// `lockbydir` started by a shell that does this first.
fn after(folder: &Folder, shell: &str, args: &[&str]) -> Command {
    let program = folder.command(&[]);
    let script = format!("{shell}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(program.get_program()).args(args);
    command.current_dir(folder.path()).stdin(Stdio::null());
    for name in ["LOCKBYDIR_DIR", "LOCKBYDIR_SERVE_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// The same where this limit of a user is so.
fn with_limit(folder: &Folder, limit: &str, args: &[&str]) -> Command {
    let inner = after(folder, &format!("echo 0 > /proc/sys/user/{limit}"), args);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(folder.path()).stdin(Stdio::null()).env_remove("LOCKBYDIR_SERVE_TOKEN");
    command
}

/// Reads until all of these are in one line each, in this order.
#[track_caller]
fn told(viewer: &mut BufReader<TcpStream>, words: &[&str]) {
    viewer.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It is sent the time each second.
    let mut clocks = 0;
    let mut line = String::new();
    while !words.iter().all(|words| line.contains(words)) {
        line.clear();
        assert!(viewer.read_line(&mut line).unwrap() > 0);
        clocks += u32::from(line.starts_with("event: clock"));
        assert!(clocks < 30, "no {words:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn where_nothing_notifies_of_changes_they_are_seen_and_the_limit_is_named() {
    for (limit, name) in [
        ("max_inotify_instances", "max_user_instances"),
        ("max_inotify_watches", "max_user_watches"),
    ] {
        let folder = Folder::new();
        let args = ["serve", "--listen", "127.0.0.1:0"];
        let server = Server::start(&mut with_limit(&folder, limit, &args));
        let mut viewer = server.view();
        told(&mut viewer, &[name]);

        for _ in 0..2 {
            let key = folder.run(&["acquire", "-t", "10m", "jobs"]).out;
            told(&mut viewer, &["\"lock\":\"jobs\"", "\"state\":\"held\""]);
            assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
            told(&mut viewer, &["\"lock\":\"jobs\"", "\"state\":\"free\""]);
        }
    }
}

#[test]
fn without_file_descriptors_no_lock_is_left_out_in_silence() {
    let folder = Folder::new();
    for name in ["one/two/three/four", "one/two/three/four/five"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let key = folder.run(&["acquire", "-t", "10m", "one/two/three/four/five/deep"]).out;
    let (mut seen, mut refused) = (0, 0);

    for descriptors in 6..30 {
        for args in [&["list"][..], &["watch", "--once"]] {
            let shell = format!("ulimit -n {descriptors}");
            let ran = Ran::of(after(&folder, &shell, args).output().unwrap());
            match ran.code {
                0 => {
                    let row = ran.out.lines().find(|line| line.contains("deep"));
                    let is_held = row.is_some_and(|row| row.contains("held"));
                    assert!(is_held, "{descriptors} {args:?}: {ran:?}");
                    seen += 1;
                }
                _ => {
                    ran.refused(74, "Too many open files");
                    refused += 1;
                }
            }
        }
    }

    assert!(seen > 0 && refused > 0, "{seen} {refused}");
    folder.run(&["release", "one/two/three/four/five/deep", key.trim()]);
    std::fs::remove_dir_all(folder.path().join("one")).unwrap();
}

#[test]
fn a_page_without_enough_file_descriptors_is_refused_and_no_panic() {
    let folder = Folder::new();
    // Too few also for a test that inherited none. With some more a page is served.
    for descriptors in (6..=16).step_by(2) {
        let shell = format!("ulimit -n {descriptors}; {BOUNDED}");
        let args = ["serve", "--listen", "127.0.0.1:0"];

        let ran = Ran::of(after(&folder, &shell, &args).output().unwrap());

        ran.refused(74, "Too many open files");
    }
}

#[test]
fn with_few_file_descriptors_strangers_leave_some_to_viewers_and_to_looks() {
    let folder = Folder::new();
    let token = "0123456789-abcdef";
    let args = ["serve", "--listen", "127.0.0.1:0", "--token", token];
    let server = Server::start(&mut after(&folder, "ulimit -n 64", &args));
    let strangers: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(server.address()).unwrap()).collect();

    let mut stream = TcpStream::connect(server.address()).unwrap();
    let host = server.address();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let mut viewer = BufReader::new(stream);
    told(&mut viewer, &["event: all"]);
    let key = folder.run(&["acquire", "-t", "10m", "jobs"]).out;

    told(&mut viewer, &["\"lock\":\"jobs\"", "\"state\":\"held\""]);
    drop(strangers);
    folder.run(&["release", "jobs", key.trim()]);
}

/// Runs this as a user who may have so many threads.
#[cfg(target_os = "linux")]
fn with_threads(count: u32, folder: &Folder, args: &[&str]) -> Ran {
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let program = folder.command(&[]);
    let mut command = Command::new("timeout");
    command.args(["60", "prlimit", &format!("--nproc={count}:{count}")]);
    command.arg(program.get_program()).args(args).current_dir(folder.path());
    command.env("TMPDIR", folder.path()).env_remove("LOCKBYDIR_DIR").stdin(Stdio::null());
    // The first user has no such limit.
    if rustix::process::getuid().is_root() {
        command.uid(54_321).gid(54_321);
    }
    Ran::of(command.output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn without_threads_a_page_and_a_play_are_refused_and_no_panic() {
    for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["play", "how-to-use"]] {
        let folder = Folder::new();

        let ran = with_threads(1, &folder, args);

        ran.refused(74, "Resource temporarily unavailable");
    }
}

#[test]
#[cfg(all(target_os = "linux", feature = "etcd"))]
fn without_threads_a_lock_on_etcd_is_refused_and_no_panic() {
    // One thread talks to the servers, and one looks up the address of a host that has a name.
    for (host, threads) in [("127.0.0.1", 1), ("localhost", 1), ("localhost", 2), ("localhost", 3)]
    {
        let folder = Folder::new();
        let name = format!("etcd://{host}:1/jobs");
        for args in [&["run", "-w", "300ms", &name, "--", "true"][..], &["status", &name]] {
            let ran = with_threads(threads, &folder, args);

            // Nobody answers there, where there are threads enough to ask.
            let code = if threads == 1 || ran.code != 69 { 74 } else { 69 };
            let words =
                if code == 74 { "Resource temporarily unavailable" } else { "out of reach" };
            ran.refused(code, words);
        }
    }
}
