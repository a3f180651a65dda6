//! File times that are an hour off, or rounded to two seconds.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use lockbydir_proof::{clock, scripted_worker::ScriptedWorker};

use crate::{
    namespaces::{
        LONG, PATIENT, SHORT, assert_follows_after_the_timeout, assert_respects, container,
    },
    place::{Place, names},
    program::{run, scripted_worker, with_jobs},
};

/// Starts a worker that shares no boot clock and no PIDs with us, as on another host.
fn foreign_worker(folder: &Path, options: &str) -> ScriptedWorker {
    with_jobs(container(&["--time", "--boottime", "3600"]), folder, options)
}

/// Makes a bare lock, and returns how long a waiter with a timeout of 0.3 s waits for it.
fn wait_for_bare(at: &Path) -> Duration {
    let mut looker = scripted_worker(at, "timeout_ms=300 patience_ms=10000");
    fs::create_dir(at.join("jobs.lockdir")).expect("a bare lock");
    let begun = clock::now();
    let held = looker.hold("acquire");
    assert_eq!(looker.ask("release"), "ok");
    Duration::from_nanos(held.moment - begun)
}

#[test]
fn wrong_stamps_do_not_change_the_timeout_of_a_lock() {
    let mut place = Place::new();
    let source = place.folder("source");
    for clock in ["+3600", "-3600"] {
        let at = place.fuse(clock, &source, &["--clock", clock]);
        let off = at.metadata().and_then(|about| about.modified()).expect("a stamp");
        let now = SystemTime::now();
        let off = now.duration_since(off).unwrap_or_else(|ahead| ahead.duration());
        assert!(off.abs_diff(Duration::from_secs(3600)) < Duration::from_secs(60), "{off:?}");

        let mut holder = scripted_worker(&at, LONG);
        holder.hold("acquire");
        assert_respects(&mut scripted_worker(&at, LONG), &mut holder);
        assert_respects(&mut foreign_worker(&at, LONG), &mut holder);
        assert_eq!(holder.ask("release"), "ok");

        assert_follows_after_the_timeout(
            foreign_worker(&at, SHORT),
            &mut scripted_worker(&at, PATIENT),
        );
        let waited = wait_for_bare(&at);
        assert!(waited >= Duration::from_millis(300), "a bare lock after {waited:?}");
        assert!(waited < Duration::from_secs(2), "a bare lock after {waited:?} only");
        assert_eq!(names(&at), Vec::<String>::new(), "left behind");
    }
}

#[test]
fn commands_report_the_true_state_despite_wrong_stamps() {
    let mut place = Place::new();
    let source = place.folder("source");
    for clock in ["+3600", "-3600"] {
        let at = place.fuse(clock, &source, &["--clock", clock]);
        let key = run(&at, &["acquire", "-t", "20s", "jobs"]);

        // For us, and for a process that shares no clock.
        let status = run(&at, &["status", "jobs"]);

        assert!(status.out.contains("state      held"), "{status:?}");
        run(&at, &["run", "-n", "jobs", "--", "true"])
            .refused(75, "held by a key, no process, from ");
        assert_eq!(run(&at, &["break", "jobs"]).code, 1, "a living one is not broken");
        assert_eq!(run(&at, &["clean", "."]).code, 0);
        assert_eq!(run(&at, &["release", "jobs", key.out.trim()]).code, 0);

        fs::create_dir(at.join("bare.lockdir")).expect("a bare lock");
        assert_eq!(run(&at, &["is-locked", "bare"]).code, 0, "it is locked");
        run(&at, &["run", "-n", "bare", "--", "true"]).refused(75, "holder unknown");
        fs::remove_dir(at.join("bare.lockdir")).expect("it is there");
    }
}

#[test]
fn a_bare_lock_is_not_old_too_early_with_two_second_stamps() {
    let mut place = Place::new();
    let source = place.folder("source");
    let at = place.fuse("at", &source, &["--granularity", "2s"]);
    // If it is made shortly before the stamp changes, it looks two seconds old at once: wait for such a
    // moment.
    let is_late = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        (1800..1900).contains(&(since.as_millis() % 2000))
    };
    while !is_late() {
        thread::yield_now();
    }

    let waited = wait_for_bare(&at);

    assert!(waited >= Duration::from_millis(300), "after {waited:?} already");
    assert!(waited < Duration::from_secs(5), "after {waited:?} only");
}

#[test]
fn a_bare_lock_is_not_old_too_early_with_one_second_stamps() {
    let mut place = Place::new();
    // Inodes of 128 bytes have no space for finer times.
    let at = place.ext4("ext4", &["-I", "128"]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let waited = wait_for_bare(&at);
        assert!(waited >= Duration::from_millis(300), "after {waited:?} already");
        assert!(waited < Duration::from_secs(5), "after {waited:?} only");
    }
}
