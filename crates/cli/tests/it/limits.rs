//! Exhausted resources: file descriptors, threads, and notifications of changes. The output is still true
//! then, or an error says why there is none.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use lockbydir_testbed::needs;

use crate::serve::Server;
use crate::{Folder, Ran};

/// Shell code that limits the program's time: one that is not refused fails the test instead of serving for
/// ever.
const BOUNDED: &str = "set -- timeout 60 \"$@\"";

/// Returns `lockbydir`, started by a shell that runs this first.
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

/// Returns `lockbydir` with this limit of a user set to 0.
fn with_limit(folder: &Folder, limit: &str, args: &[&str]) -> Command {
    let inner = after(folder, &format!("echo 0 > /proc/sys/user/{limit}"), args);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(folder.path()).stdin(Stdio::null()).env_remove("LOCKBYDIR_SERVE_TOKEN");
    command
}

/// Reads until one line has all of these words.
#[track_caller]
fn read_until(viewer: &mut BufReader<TcpStream>, words: &[&str]) {
    viewer.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server sends the time each second, so this limits the wait to 30 s.
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
fn without_notifications_changes_are_seen_and_the_limit_named() {
    needs!(UserNamespaces);
    for (limit, name) in [
        ("max_inotify_instances", "max_user_instances"),
        ("max_inotify_watches", "max_user_watches"),
    ] {
        let folder = Folder::new();
        let args = ["serve", "--listen", "127.0.0.1:0"];
        let server = Server::start(&mut with_limit(&folder, limit, &args));
        let mut viewer = server.view();
        read_until(&mut viewer, &[name]);

        for _ in 0..2 {
            let key = folder.run(&["acquire", "-t", "10m", "jobs"]).out;
            read_until(&mut viewer, &["\"lock\":\"jobs\"", "\"state\":\"held\""]);
            assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
            read_until(&mut viewer, &["\"lock\":\"jobs\"", "\"state\":\"free\""]);
        }
    }
}

#[test]
fn without_file_descriptors_no_lock_is_silently_left_out() {
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
fn a_page_without_enough_file_descriptors_is_refused() {
    let folder = Folder::new();
    // These are too few even if the test inherited none. With a few more a page is served.
    for descriptors in (6..=16).step_by(2) {
        let shell = format!("ulimit -n {descriptors}; {BOUNDED}");
        let args = ["serve", "--listen", "127.0.0.1:0"];

        let ran = Ran::of(after(&folder, &shell, &args).output().unwrap());

        ran.refused(74, "Too many open files");
    }
}

#[test]
fn idle_connections_leave_descriptors_for_viewers() {
    let folder = Folder::new();
    let token = "0123456789-abcdef";
    let args = ["serve", "--listen", "127.0.0.1:0", "--token", token];
    let server = Server::start(&mut after(&folder, "ulimit -n 64", &args));
    let idle: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(server.address()).unwrap()).collect();

    let mut stream = TcpStream::connect(server.address()).unwrap();
    let host = server.address();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let mut viewer = BufReader::new(stream);
    read_until(&mut viewer, &["event: all"]);
    let key = folder.run(&["acquire", "-t", "10m", "jobs"]).out;

    read_until(&mut viewer, &["\"lock\":\"jobs\"", "\"state\":\"held\""]);
    drop(idle);
    folder.run(&["release", "jobs", key.trim()]);
}

/// Runs `lockbydir` as a user who may have this many threads.
#[cfg(target_os = "linux")]
fn with_threads(count: u32, folder: &Folder, args: &[&str]) -> Ran {
    // The limit is that of another user for root, who has none: that user must reach the program.
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let (_, _place, program) = crate::others::shared();
    let mut command = Command::new("timeout");
    command.args(["60", "prlimit", &format!("--nproc={count}:{count}")]);
    command.arg(program).args(args).current_dir(folder.path());
    command.env("TMPDIR", folder.path()).env_remove("LOCKBYDIR_DIR").stdin(Stdio::null());
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
#[cfg(target_os = "linux")]
fn a_lock_is_renewed_even_if_no_thread_can_be_started() {
    needs!(AnotherUser);
    let folder = Folder::new();

    // `timeout`, `lockbydir`, its supervisor and the command.
    let ran = with_threads(4, &folder, &["run", "-t", "1s", "jobs", "--", "sleep", "3"]);

    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
#[cfg(all(target_os = "linux", feature = "etcd"))]
fn without_threads_a_lock_on_etcd_is_refused_and_no_panic() {
    // One thread communicates with the servers, and one looks up the address of a named host.
    for (host, threads) in [("127.0.0.1", 1), ("localhost", 1), ("localhost", 2), ("localhost", 3)]
    {
        let folder = Folder::new();
        let name = format!("etcd://{host}:1/jobs");
        for args in [&["run", "-w", "300ms", &name, "--", "true"][..], &["status", &name]] {
            let ran = with_threads(threads, &folder, args);

            // With enough threads the result is that no server answers there.
            let code = if threads == 1 || ran.code != 69 { 74 } else { 69 };
            let words = if code == 74 { "Resource temporarily unavailable" } else { "unreachable" };
            ran.refused(code, words);
        }
    }
}
