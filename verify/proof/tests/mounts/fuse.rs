//! FUSE, and file systems that lack features, lie, or ignore case.

use std::{fs, path::PathBuf, time::Duration};

use lockbydir_proof::torture::fault::Fault;

use crate::{
    place::{Place, names},
    program::{run, scripted_worker},
};

const FAT: [&str; 5] =
    ["--lack", "no-replace,flock,named-pipes", "--case-insensitive", "--granularity", "2s"];

/// Tortures through FUSE, where every call goes through a server: with time for the delays that it causes.
fn torture(options: &[&str], also: Option<&str>, faults: &[Fault]) {
    let mut place = Place::new();
    let source = place.folder("source");
    let at = place.fuse("at", &source, options);
    let folder = at.join("folder");
    fs::create_dir(&folder).expect("a folder");
    let also: Vec<PathBuf> = also.iter().map(|name| at.join(name)).collect();
    let mut plan = place.plan(&folder);
    plan.also = also;
    plan.faults = faults.to_vec();
    place.judge_slow(plan);
    assert_eq!(names(&folder), Vec::<String>::new(), "left behind");
}

#[test]
fn two_never_hold_at_once_without_flock_pipes_and_no_replace() {
    torture(&["--lack", "no-replace,flock,named-pipes"], None, &[Fault::Kill, Fault::Stop]);
}

#[test]
fn two_never_hold_at_once_on_a_file_system_like_fat() {
    torture(&FAT, Some("FOLDER"), &[Fault::Kill, Fault::Stop]);
}

#[test]
fn two_never_hold_at_once_where_a_second_rename_succeeds() {
    torture(&["--lies", "rename-twice"], None, &[Fault::Kill, Fault::Stop, Fault::Remove]);
}

#[test]
fn two_never_hold_at_once_with_wrong_stamps_and_no_shared_clock() {
    let faults = [Fault::Kill, Fault::Stop, Fault::Pids, Fault::Namespace];
    for clock in ["+3600", "-3600"] {
        torture(&["--clock", clock], None, &faults);
    }
}

#[test]
fn two_never_hold_at_once_through_mounts_with_different_clocks() {
    let mut place = Place::new();
    let source = place.folder("source");
    let ahead = place.fuse("ahead", &source, &["--clock", "+3600"]);
    let behind = place.fuse("behind", &source, &["--clock", "-3600"]);
    let mut plan = place.plan(&ahead);
    plan.also = vec![behind];
    plan.faults = vec![Fault::Kill, Fault::Stop, Fault::Pids];
    place.judge_slow(plan);
}

#[test]
fn names_that_differ_by_case_are_one_lock_if_case_is_ignored() {
    let mut place = Place::new();
    let source = place.folder("source");
    let at = place.fuse("at", &source, &FAT);
    let key = run(&at, &["acquire", "-t", "20s", "--label", "nightly", "Jobs"]);
    assert_eq!(key.code, 0, "{key:?}");

    let refused = run(&at, &["run", "-w", "300ms", "jobs", "--", "true"]);

    refused.refused(75, "jobs.lockdir: held by a key, no process, from ");
    assert!(refused.err.contains("`nightly`"), "{refused:?}");
    assert_eq!(run(&at, &["release", "JOBS", key.out.trim()]).code, 0);
    run(&at, &["run", "-n", "jobs", "--", "echo", "in"]).printed("in");
    assert_eq!(names(&at), Vec::<String>::new(), "left behind");
}

#[test]
fn waiters_without_pipes_get_the_lock_when_it_is_released() {
    let mut place = Place::new();
    let source = place.folder("source");
    let at = place.fuse("at", &source, &FAT);
    let mut holder = scripted_worker(&at, "timeout_ms=30000");
    let mut waiters = [(); 3].map(|()| scripted_worker(&at, "timeout_ms=30000 patience_ms=20000"));
    holder.hold("acquire");
    waiters.iter_mut().for_each(|waiter| waiter.order("acquire"));

    assert_eq!(holder.ask("release"), "ok");

    let begun = std::time::Instant::now();
    // The first to acquire it releases it at once.
    waiters.iter_mut().for_each(|waiter| waiter.order("release"));
    let mut tokens: Vec<u64> = Vec::new();
    for waiter in &mut waiters {
        let answer = waiter.answer().expect("an answer");
        let held = lockbydir_proof::scripted_worker::Held::parse(&answer).expect("the lock");
        assert_eq!(waiter.answer().as_deref(), Some("ok"));
        tokens.push(held.token);
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 3, "each had its turn");
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?} only", begun.elapsed());
}

#[test]
fn locks_are_refused_where_listings_are_seconds_old() {
    let mut place = Place::new();
    let source = place.folder("source");
    let at = place.fuse("at", &source, &["--lies", "stale-list"]);

    for _ in 0..2 {
        let ran = run(&at, &["run", "-w", "300ms", "jobs", "--", "echo", "in"]);
        ran.refused(73, "its file system is not safe for locks (rename one file twice: ");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn foreign_files_survive_where_rmdir_would_remove_them() {
    let mut place = Place::new();
    let source = place.folder("source");
    let at =
        place.fuse("at", &source, &["--lack", "no-replace", "--lies", "rmdir-full,replace-full"]);
    fs::create_dir(at.join("jobs.lockdir")).expect("a directory");
    fs::write(at.join("jobs.lockdir/mine"), "precious").expect("a file in it");

    let broken = run(&at, &["break", "--force", "jobs"]);
    broken.refused(73, "it holds `mine`, which is not ours; move it away");
    let ran = run(&at, &["run", "-n", "jobs", "--", "true"]);
    ran.refused(
        73,
        "its file system is not safe for locks (rename over a full one: the full one was",
    );

    assert_eq!(fs::read(at.join("jobs.lockdir/mine")).expect("still there"), b"precious");
}

/// File systems that encrypt names have short ones: encfs 175 bytes, though it reports 189; eCryptfs 143.
#[test]
fn short_names_allow_many_renewals_or_are_refused_at_once() {
    let mut place = Place::new();
    let source = place.folder("source");
    let at = place.fuse("at", &source, &["--longest-name", "175", "--lies", "long-names"]);
    let held = "n=0; while [ $n -lt 60 ]; do n=$(ls jobs.lockdir | cut -d. -f6); sleep .05; done; \
                ls jobs.lockdir";

    let label = "A-LABEL-OF-FORTY-LETTERS-IS-CUT-DOWN-NOW";
    let ran = run(&at, &["run", "-t", "300ms", "--label", label, "jobs", "--", "sh", "-c", held]);

    assert_eq!(ran.code, 0, "{ran:?}");
    let entry = ran.out.trim();
    assert!(entry.len() <= 175 && entry.contains("=41-=4c"), "{} bytes: {entry}", entry.len());

    let short = place.fuse("short", &source, &["--longest-name", "143"]);
    for wait in ["0", "20s"] {
        let ran = run(&short, &["run", "-w", wait, "jobs", "--", "echo", "in"]);
        ran.refused(73, "no names longer than 143 bytes, and the entry of this lock may need ");
        assert_eq!(ran.out, "");
    }
    let key = run(&short, &["acquire", "-t", "20s", "--label", label, "jobs"]);
    assert_eq!(key.code, 0, "a key names no process: {key:?}");
    for _ in 0..12 {
        assert_eq!(run(&short, &["renew", "jobs", key.out.trim()]).code, 0);
    }
    assert_eq!(run(&short, &["release", "jobs", key.out.trim()]).code, 0);
    let long = "x".repeat(109);
    let refused = run(&short, &["acquire", "-n", &long]);
    refused.refused(73, "the files beside it need 144; shorten the lock's name by 1");
    let fits = run(&short, &["acquire", "-n", &long[1..]]);
    assert_eq!(fits.code, 0, "{fits:?}");
    assert_eq!(run(&short, &["release", &long[1..], fits.out.trim()]).code, 0);
    assert_eq!(names(&short), Vec::<String>::new(), "left behind");
}
