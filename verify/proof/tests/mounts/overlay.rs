//! Overlays: what is in the lower layer cannot be changed there, nor its directories be renamed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use lockbydir_proof::torture::faults::Fault;
use rustix::fs::{CWD, FileType, Mode};

use crate::{
    place::{Place, names, open_to_all},
    program::{run, scripted_worker},
};

/// An overlay whose lower layer has a folder, with what is put into it.
fn overlay(place: &mut Place, fill: impl FnOnce(&Path)) -> PathBuf {
    let lower = place.folder("lower");
    let folder = place.folder("lower/folder");
    fill(&folder);
    place.overlay("over", &lower).join("folder")
}

/// Leaves the lock of one that died in a container, which nobody can see.
fn leave_held(folder: &Path) {
    let key = run(folder, &["acquire", "-t", "300ms", "jobs"]);
    assert_eq!(key.code, 0, "{key:?}");
}

#[test]
fn two_never_hold_at_once_in_a_folder_of_the_lower_layer() {
    let mut place = Place::new();
    let folder = overlay(&mut place, |_| ());
    let mut plan = place.plan(&folder);
    plan.faults = vec![Fault::Kill, Fault::Stop, Fault::Remove, Fault::Pids];
    place.judge(plan);
}

#[test]
fn a_lock_that_was_left_in_the_lower_layer_is_taken_over_released_and_made_anew() {
    let mut place = Place::new();
    let folder = overlay(&mut place, leave_held);
    let below = names(&place.path("lower/folder/jobs.lockdir"));

    // It cannot be renamed, as every directory of a lower layer; entries in it can.
    let moved = fs::rename(folder.join("jobs.lockdir"), folder.join("elsewhere"));
    assert_eq!(moved.expect_err("no redirects").raw_os_error(), Some(18), "EXDEV");
    let mut token = 0;
    for how in ["after-expiry", "free", "free"] {
        let mut holder = puppet(&folder, "timeout_ms=30000 patience_ms=10000");
        let mut other = puppet(&folder, "timeout_ms=30000");
        let held = holder.hold("acquire");
        assert_eq!(held.how, how);
        assert!(held.token > token, "{held:?} after {token}");
        token = held.token;
        assert_eq!(other.ask("try"), "no");
        assert_eq!(holder.ask("renew"), "ok");
        assert_eq!(holder.ask("release"), "ok");
        assert_eq!(names(&folder), Vec::<String>::new(), "left behind");
    }
    assert_eq!(names(&place.path("lower/folder/jobs.lockdir")), below, "the lower layer");
}

#[test]
fn two_never_hold_at_once_when_the_lock_directory_began_in_the_lower_layer() {
    let mut place = Place::new();
    // Fenced: it is never removed, so it stays the one that began below.
    let folder = overlay(&mut place, |folder| {
        for _ in 0..2 {
            let ran = run(folder, &["run", "--fenced", "jobs", "--", "true"]);
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    });
    let inode = folder.join("jobs.lockdir").metadata().expect("it is there").ino();
    let mut puppets = [(); 4].map(|()| puppet(&folder, "timeout_ms=30000 patience_ms=20000"));

    let mut tokens = Vec::new();
    for _ in 0..50 {
        puppets.iter_mut().for_each(|puppet| puppet.order("try"));
        let answers = puppets.each_mut().map(|puppet| puppet.answer().expect("an answer"));
        let winners: Vec<_> = answers
            .iter()
            .filter_map(|answer| lockbydir_proof::scripted_worker::Held::parse(answer))
            .collect();
        assert!(winners.len() <= 1, "{answers:?}");
        tokens.extend(winners.iter().map(|held| held.token));
        for (puppet, answer) in puppets.iter_mut().zip(&answers) {
            if answer.starts_with("held") {
                assert_eq!(puppet.ask("release"), "ok");
            }
        }
    }
    assert!(tokens.len() >= 40, "{} of 50", tokens.len());
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
    let now = folder.join("jobs.lockdir").metadata().expect("it is there").ino();
    assert_eq!(inode, now, "the same directory");
}

#[test]
fn a_queue_that_was_left_in_the_lower_layer_is_in_nobodys_way_and_goes() {
    let mut place = Place::new();
    let folder = overlay(&mut place, |folder| {
        // One waits, and is killed: its ticket and the bell stay.
        let mut holder = puppet(folder, "timeout_ms=30000");
        let mut waiter = puppet(folder, "timeout_ms=30000 patience_ms=20000");
        holder.hold("acquire");
        waiter.order("acquire");
        let line = folder.join("jobs.lockdir.queue");
        while fs::read_dir(&line).map_or(0, Iterator::count) < 2 {
            std::thread::yield_now();
        }
        drop(waiter);
        drop(holder);
    });
    assert!(names(&folder).len() == 2, "a lock and a line are left: {:?}", names(&folder));
    let mut holder = puppet(&folder, "timeout_ms=30000 patience_ms=10000");
    let mut waiter = puppet(&folder, "timeout_ms=30000 patience_ms=20000");

    assert_eq!(holder.hold("acquire").how, "after-death");
    waiter.order("acquire");
    assert_eq!(holder.ask("release"), "ok");
    assert!(waiter.answer().expect("an answer").starts_with("held "));
    assert_eq!(waiter.ask("release"), "ok");

    assert_eq!(names(&folder), Vec::<String>::new(), "left behind");
}

#[test]
fn a_bare_directory_of_the_lower_layer_is_a_bare_lock_like_any_other() {
    let mut place = Place::new();
    let folder = overlay(&mut place, |folder| {
        fs::create_dir(folder.join("jobs.lockdir")).expect("a bare lock");
    });

    let begun = std::time::Instant::now();
    run(&folder, &["run", "-n", "-t", "20s", "jobs", "--", "true"])
        .refused(75, "locked by a bare directory");
    run(&folder, &["run", "-w", "10s", "-t", "1s", "jobs", "--", "echo", "in"]).said("in");

    assert!(begun.elapsed() >= std::time::Duration::from_millis(500));
    assert_eq!(names(&folder), Vec::<String>::new(), "left behind");
}

#[test]
fn what_is_no_lock_in_the_lower_layer_is_refused_and_stays() {
    let mut place = Place::new();
    let folder = overlay(&mut place, |folder| {
        let directory = folder.join("jobs.lockdir");
        fs::create_dir(&directory).expect("a directory");
        open_to_all(&directory);
        let pipe = directory.join("pipe");
        rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("a pipe");
    });

    run(&folder, &["run", "-n", "jobs", "--", "true"])
        .refused(73, "it holds `pipe`, which is not ours; move it away");

    assert_eq!(names(&folder.join("jobs.lockdir")), ["pipe"]);
}
