//! The program with locks on a real etcd. A missing etcd is a failure.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use lockbydir_etcd_lab::Server;
use serde_json::Value;

fn lockbydir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbydir"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `lockbydir` to its end. Returns exit code, output and errors.
fn ended(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = lockbydir(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[track_caller]
fn see(what: &str, mut is_seen: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_seen() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts `lockbydir run` with a command that writes into this file again and again.
fn run_writing(url: &str, timeout: &str, file: &Path) -> Child {
    let script = "while :; do date +%s%N >> \"$0\"; sleep 0.02; done";
    let mut command = lockbydir(&["run", "-t", timeout, url, "--", "sh", "-c", script]);
    let child = command.arg(file).stderr(Stdio::piped()).spawn().unwrap();
    see("that the command runs", || file.exists());
    child
}

#[test]
fn a_directory_and_an_etcd_lock_are_held_together_or_not_at_all() {
    let server = Server::start().unwrap();
    let (url, folder) = (server.url("team/jobs"), tempfile::tempdir().unwrap());
    let path = folder.path().join("local");
    let path = path.to_str().unwrap();
    let run = |options: &[&str], command: &[&str]| {
        ended(&[&["run"], options, &[&url, path, "--"], command].concat())
    };

    let (code, said, _) = run(&[], &["sh", "-c", "echo \"$LOCKBYDIR_NAME\""]);
    assert_eq!((code, said.lines().next()), (0, Some(&*url)));
    for taken in [path, &*url] {
        let (_, key, _) = ended(&["acquire", "-t", "60s", taken]);

        assert_eq!(run(&["-n"], &["true"]).0, 75);

        for name in [path, &*url] {
            let is_locked = ended(&["is-locked", name]).0 == 0;
            assert_eq!(is_locked, name == taken, "{name} of {taken}");
        }
        assert_eq!(ended(&["release", taken, key.trim()]).0, 0);
    }
    assert_eq!(ended(&["run", &url, path, &url, "--", "true"]).0, 64);
}

#[test]
fn a_command_runs_under_the_lock_with_name_and_token() {
    let server = Server::start().unwrap();
    let url = server.url("team/jobs");
    let script = "echo $LOCKBYDIR_NAME $LOCKBYDIR_TOKEN; exit 7";

    let (code, first, _) = ended(&["run", &url, "--", "sh", "-c", script]);
    let (_, second, _) = ended(&["run", &url, "--", "sh", "-c", script]);

    let token = |said: &str| -> u64 {
        let (name, token) = said.trim().split_once(' ').unwrap();
        assert_eq!(name, url);
        token.parse().unwrap()
    };
    assert_eq!(code, 7);
    assert!(token(&first) < token(&second));
    see("that no lease is left", || {
        server.control(&["lease", "list"]).unwrap().contains("found 0 leases")
    });
}

#[test]
fn a_nested_run_has_the_holding_of_its_ancestor() {
    let server = Server::start().unwrap();
    let url = server.url("jobs");
    let program = env!("CARGO_BIN_EXE_lockbydir");
    let show = "echo $LOCKBYDIR_NAME $LOCKBYDIR_TOKEN $LOCKBYDIR_HELD";
    let script =
        format!("{show}; \"$0\" run --nested \"$1\" -- sh -c '{show}'; \"$0\" is-locked \"$1\"");
    let (code, shown, said) = ended(&["run", &url, "--", "sh", "-c", &script, program, &url]);
    let shown: Vec<_> = shown.lines().collect();
    assert_eq!((code, shown.len()), (0, 2), "{said}");
    assert_eq!(shown[0], shown[1]);

    let inner = ["run", &url, "--", program, "run", "-w", "60s", &url, "--", "true"];
    let (code, _, said) = ended(&inner);
    assert_eq!(code, 75);
    assert!(said.contains("--nested"), "{said}");

    let key = ended(&["acquire", "-q", "-t", "60s", &url]).1;
    let nested = ["run", "--nested", "--key", key.trim(), &url, "--", "sh", "-c"];
    let script = "\"$0\" release \"$1\" \"$2\"; exec sleep 60";
    let (code, _, said) = ended(&[&nested[..], &[script, program, &url, key.trim()]].concat());
    assert_eq!(code, 76);
    assert!(said.contains("has ended"), "{said}");
    assert_eq!(ended(&[&nested[..], &["true"]].concat()).0, 76);
}

#[test]
fn every_verb_works_by_the_address() {
    let server = Server::start().unwrap();
    let url = server.url("jobs");
    let status =
        || -> Value { serde_json::from_str(&ended(&["status", "--json", &url]).1).unwrap() };
    assert_eq!(ended(&["is-locked", &url]).0, 1);

    let (code, key, _) = ended(&["acquire", "-q", "-t", "20s", "--label", "deploy", &url]);
    let key = key.trim();

    assert_eq!(code, 0);
    assert_eq!(ended(&["is-locked", &url]), (0, String::new(), String::new()));
    let held = status();
    assert_eq!(held["state"], "held");
    assert_eq!(held["name"], url.as_str());
    assert_eq!(held["path"], format!("{url}.lockdir"));
    assert_eq!(held["timeout_s"], 20.0);
    assert_eq!(held["holder"]["label"], "deploy");
    assert!(held["remaining_s"].as_f64().is_some_and(|rest| rest > 10.0));
    assert_eq!(held["token"].to_string(), key.split('-').next().unwrap());

    let (code, _, said) = ended(&["run", "-n", &url, "--", "true"]);
    assert_eq!(code, 75);
    assert!(said.contains("held by a key, no process, from"), "{said}");
    let busy = ended(&["run", "-n", "-q", "-E", "9", &url, "--", "true"]);
    assert_eq!(busy, (9, String::new(), String::new()));
    assert_eq!(ended(&["break", &url]).0, 1);
    assert_eq!(ended(&["renew", &url, key, "-t", "40s"]).0, 0);
    assert_eq!(status()["timeout_s"], 40.0);
    let (_, listed, _) = ended(&["list", "--json", &server.url("")]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["state"], "held");
    assert_eq!(ended(&["clean", &server.url("")]).0, 0);

    assert_eq!(ended(&["release", &url, key]).0, 0);
    assert_eq!(ended(&["release", &url, key]).0, 76);
    assert_eq!(ended(&["renew", &url, key]).0, 76);
    assert_eq!(status()["state"], "free");
    ended(&["acquire", "-q", &url]);
    assert_eq!(ended(&["break", "--force", &url]).0, 0);
    assert_eq!(status()["state"], "free");
}

#[test]
fn a_server_that_dies_ends_the_command_before_the_lock_can_pass() {
    let mut server = Server::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("written");
    let mut child = run_writing(&server.url("jobs"), "4s", &file);

    server.stop().unwrap();
    let silent = SystemTime::now();
    let status = child.wait().unwrap();

    assert_eq!(status.code(), Some(76));
    // The lock is lost at its deadline; then its release is tried, which the server does not answer either.
    let took = silent.elapsed().unwrap();
    assert!(took < Duration::from_secs(12), "{took:?}");
    // The last renewal was sent before the server stopped answering.
    let written = fs::read_to_string(&file).unwrap();
    let last = Duration::from_nanos(written.lines().last().unwrap().parse().unwrap());
    let over = silent.duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(4);
    assert!(last < over, "it wrote {:?} after the lock could pass", last - over);
    server.go_on().unwrap();
}

#[test]
fn a_hold_broken_by_force_ends_the_command() {
    let server = Server::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("written");
    let url = server.url("jobs");
    let mut child = run_writing(&url, "3s", &file);

    assert_eq!(ended(&["break", "--force", &url]).0, 0);

    assert_eq!(child.wait().unwrap().code(), Some(76));
}

#[test]
fn killing_the_program_frees_the_lock_on_this_machine() {
    let server = Server::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("written");
    let url = server.url("jobs");
    let mut child = run_writing(&url, "60s", &file);

    child.kill().unwrap();
    child.wait().unwrap();
    let at = Instant::now();
    let (code, _, said) = ended(&["run", "-w", "30s", &url, "--", "true"]);

    assert_eq!(code, 0, "{said}");
    assert!(said.contains("after the death of"), "{said}");
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
}

#[test]
fn an_unreachable_server_is_69_and_a_denied_user_77() {
    let mut server = Server::start().unwrap();
    server.require_users(&[]).unwrap();
    let denied = ended(&["run", "-w", "1s", &server.url("jobs"), "--", "true"]);
    let url = server.url("jobs");
    server.kill().unwrap();
    let gone = ended(&["run", "-w", "1s", &url, "--", "true"]);
    let looked = ended(&["status", &url]);
    let wrong = ended(&["status", "etcd://127.0.0.1/"]);

    assert_eq!(denied.0, 77, "{}", denied.2);
    assert_eq!(gone.0, 69, "{}", gone.2);
    assert!(gone.2.contains("Connection refused"), "{}", gone.2);
    assert_eq!(looked.0, 69);
    assert_eq!(wrong.0, 64, "{}", wrong.2);
}

#[cfg(feature = "player")]
#[test]
fn a_cluster_is_watched_by_the_names_behind_its_address() {
    let server = Server::start().unwrap();
    let url = |name: &str| server.url(name);
    let (code, _, err) = ended(&["acquire", "-t", "60s", "--label", "nightly", &url("team/jobs")]);
    assert_eq!(code, 0, "{err}");
    let row = |arguments: &[&str], name: &str| {
        let (code, frame, err) = ended(&[&["watch", "--once"], arguments].concat());
        assert_eq!(code, 0, "{err}");
        let row = frame.lines().find(|line| line.starts_with(&format!("  {name} ")));
        row.unwrap_or_else(|| panic!("no {name} in\n{frame}")).to_owned()
    };
    let all = url("");

    for (place, name) in
        [(&*url("team/"), "jobs"), (&*all, "team/jobs"), (&*url("team/jobs"), "team/jobs")]
    {
        let row = row(&[place], name);
        assert!(row.contains("● held") && row.contains("nightly"), "{row}");
    }
    assert!(row(&[all.trim_end_matches('/')], "team/jobs").contains("● held"));
    assert!(row(&[&url("team/jobs"), &url("none")], "none").contains("○ free"));

    let (code, _, err) = ended(&["watch", "--once", "etcd://127.0.0.1:1/"]);
    assert_eq!(code, 69, "{err}");
}

/// Returns the events that `serve --record` has written so far.
#[cfg(feature = "player")]
fn recorded(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(feature = "player")]
#[test]
fn a_server_that_goes_and_returns_is_reported() {
    let mut server = Server::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen");
    let url = server.url("jobs");
    let record = file.to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--record", record, &server.url("")];
    let mut serve = lockbydir(&serve).stdout(Stdio::null()).spawn().unwrap();
    let has = |what: &str, more: &str| {
        recorded(&file)
            .iter()
            .any(|event| event["what"] == what && event.to_string().contains(more))
    };

    let (_, key, _) = ended(&["acquire", "-q", "-t", "60s", "--label", "first", &url]);
    see("that the first one holds", || has("acquired", "first"));
    let mut waits = lockbydir(&["run", "-q", "-w", "60s", "--label", "second", &url, "--", "true"]);
    let mut waits = waits.spawn().unwrap();
    see("that the second one waits", || has("joined", "second"));
    assert_eq!(ended(&["release", &url, key.trim()]).0, 0);
    assert!(waits.wait().unwrap().success());
    see("that the second one waits no more", || has("left", "second"));

    server.kill().unwrap();
    see("that the server is gone", || has("unreachable", "etcd servers are unreachable"));
    server.restart().unwrap();
    see("that it is back", || has("reachable", &server.url("")));
    assert_eq!(ended(&["acquire", "-q", "-t", "60s", "--label", "third", &url]).0, 0);
    see("that the third one holds", || has("acquired", "third"));

    let pid = i32::try_from(serve.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    let kinds = ["unreachable", "reachable"];
    let count = recorded(&file)
        .iter()
        .filter(|event| kinds.iter().any(|what| event["what"] == *what))
        .count();
    assert_eq!(count, 2);
}
