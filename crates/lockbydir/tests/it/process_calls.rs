//! What questions about processes cost, in system calls: each list is a budget, and a call more is a
//! decision.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use lockbydir::Owner;
use lockbydir::engine;
use lockbydir_protocol::{Liveness, Process};
use lockbydir_testbed::needs;

use crate::impatient;

/// The folder in which nothing is: a look there marks a place in the list of calls.
const MARKS: &str = "/no-such-folder-of-lockbydir";
/// Set for the process whose calls are listed.
const TRACED: &str = "LOCKBYDIR_TEST_IS_TRACED";

/// One read of a file of `/proc`, and the look at the number of its mount; the examination of that
/// mount, unless it is known to show our PIDs.
fn read_of_proc(is_mount_known: bool) -> Vec<&'static str> {
    let examination: &[_] = match is_mount_known {
        true => &[],
        false => &["openat", "statx", "read", "getpid", "close"],
    };
    [&["openat", "read", "statx"], examination, &["close"]].concat()
}

/// Returns true if mounts have numbers that are given once (Linux 6.8). Without them, a mount is
/// examined each time.
pub(crate) fn has_mount_numbers() -> bool {
    let asked = rustix::fs::StatxFlags::from_bits_retain(0x4000);
    rustix::fs::statx(rustix::fs::CWD, "/proc", rustix::fs::AtFlags::empty(), asked)
        .is_ok_and(|answer| answer.stx_mask & asked.bits() != 0)
}

/// Runs `work` between two marks.
fn section<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let mark = |name: &str| drop(fs::symlink_metadata(Path::new(MARKS).join(name)));
    mark(name);
    let result = work();
    mark("end");
    result
}

/// The work whose calls are listed.
fn questions() {
    // What is made once by each process is made before.
    let _ = (engine::ForkGeneration::current(), engine::boot());
    let (_, own) = section("identity", engine::here);
    section("identity again", engine::here);
    let life = |process: Process| engine::life(lockbydir_protocol::Owner::One(process));
    assert_eq!(section("living", || life(own)), Liveness::Alive);
    let unknown = Process { start: 0, ..own };
    assert_eq!(section("start unknown", || life(unknown)), Liveness::Alive);
    let another = Process { start: own.start + 1, ..own };
    assert_eq!(section("another process", || life(another)), Liveness::Gone);
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let ended = Process { pid: child.id(), start: own.start };
    assert_eq!(section("ended", || life(ended)), Liveness::Gone);
    assert!(section("command", || engine::command(own.pid)).is_some());

    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let guard = section("free lock", || lock.try_acquire()).unwrap().unwrap();
    section("held lock", || assert!(lock.try_acquire().unwrap().is_none()));
    section("release", || guard.release()).unwrap();
    let nobody = impatient(folder.path()).owner(Owner::Nobody).acquire().unwrap();
    section("held by nobody", || assert!(lock.try_acquire().unwrap().is_none()));
    nobody.release().unwrap();
}

/// Returns the calls of each section, as strace prints them, without the marks.
fn sections(trace: &str) -> HashMap<String, Vec<String>> {
    let mut sections = HashMap::new();
    let mut current: Option<(&str, String)> = None;
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim();
        match call.split_once(MARKS).and_then(|(_, rest)| rest[1..].split('"').next()) {
            Some("end") => current = None,
            Some(name) => current = Some((thread, name.to_owned())),
            // The second half of a line; and what the standard library checks in a debug build.
            None if call.starts_with("<...") || call.contains("F_GETFD") => {}
            None => {
                if let Some((_, name)) = current.as_ref().filter(|(of, _)| *of == thread) {
                    sections.entry(name.clone()).or_insert_with(Vec::new).push(call.to_owned());
                }
            }
        }
    }
    sections
}

#[test]
fn questions_about_processes_cost_few_calls() {
    // First, since a traced process cannot trace.
    if std::env::var_os(TRACED).is_some() {
        return questions();
    }
    needs!(Strace);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-s", "256", "-e", "signal=none", "-o"])
        .arg(&file)
        .arg(std::env::current_exe().unwrap())
        .args([&lockbydir_testbed::name!(), "--exact", "--nocapture"])
        .env(TRACED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(&file).unwrap();
    let sections = sections(&trace);
    let calls = |section: &str| sections.get(section).cloned().unwrap_or_default();
    let names = |section: &str| -> Vec<String> {
        let name = |call: &String| call.split('(').next().unwrap().to_owned();
        // Processors differ in which of two calls they have.
        let common = |name: String| match &*name {
            "open" => "openat".to_owned(),
            "ppoll" => "poll".to_owned(),
            _ => name,
        };
        calls(section).iter().map(name).map(common).collect()
    };
    let opened_in_proc = |section: &str| {
        let is_in_proc = |call: &&String| call.starts_with("open") && call.contains("\"/proc/");
        calls(section).iter().filter(is_in_proc).count()
    };
    let is_known = has_mount_numbers();
    let read = || read_of_proc(is_known);

    let identity =
        [&["readlinkat", "readlinkat", "openat", "read", "close", "getpid"], &*read_of_proc(false)];
    assert_eq!(names("identity"), identity.concat());
    assert_eq!(names("identity again"), [""; 0]);
    let living = [&["pidfd_open", "poll"], &*read(), &["close"]].concat();
    assert_eq!(names("living"), living);
    assert_eq!(names("another process"), living);
    assert_eq!(names("start unknown"), ["pidfd_open", "poll", "close"]);
    assert_eq!(names("ended"), ["pidfd_open", "kill"]);
    assert_eq!(names("command"), read());

    for section in ["free lock", "release", "held by nobody"] {
        assert!(!names(section).is_empty(), "{section}");
        assert_eq!(opened_in_proc(section), 0, "{section}: {:#?}", calls(section));
    }
    // Two looks at the holder, and its program for the error.
    let budget = if is_known { 3 } else { 6 };
    assert!((1..=budget).contains(&opened_in_proc("held lock")), "{:#?}", calls("held lock"));
}
