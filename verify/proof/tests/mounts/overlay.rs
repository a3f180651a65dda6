//! Overlays: the contents of the lower layer cannot be changed there, nor its directories be renamed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use lockbydir_proof::torture::fault::Fault;
use rustix::fs::{CWD, FileType, Mode};

use crate::{
    place::{Place, names, open_to_all},
    program::{run, scripted_worker},
};

/// Mounts an overlay whose lower layer has a folder, filled by `fill`.
fn overlay(place: &mut Place, fill: impl FnOnce(&Path)) -> PathBuf {
    let lower = place.folder("lower");
    let folder = place.folder("lower/folder");
    fill(&folder);
    place.overlay("over", &lower).join("folder")
}

/// Leaves a held lock, as of a process that died in a container, which nobody can see.
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
fn a_lock_in_the_lower_layer_is_taken_over_and_made_again() {
    let mut place = Place::new();
    let folder = overlay(&mut place, leave_held);
    let below = names(&place.path("lower/folder/jobs.lockdir"));

    // Like every directory of a lower layer, it cannot be renamed; entries in it can.
    let moved = fs::rename(folder.join("jobs.lockdir"), folder.join("elsewhere"));
    assert_eq!(moved.expect_err("no redirects").raw_os_error(), Some(18), "EXDEV");
    let mut token = 0;
    for how in ["after-expiry", "free", "free"] {
        let mut holder = scripted_worker(&folder, "timeout_ms=30000 patience_ms=10000");
        let mut other = scripted_worker(&folder, "timeout_ms=30000");
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
fn two_never_hold_at_once_with_a_directory_of_the_lower_layer() {
    let mut place = Place::new();
    // Fenced: it is never removed, so it stays the directory of the lower layer.
    let folder = overlay(&mut place, |folder| {
        for _ in 0..2 {
            let ran = run(folder, &["run", "--fenced", "jobs", "--", "true"]);
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    });
    let inode = folder.join("jobs.lockdir").metadata().expect("it is there").ino();
    let mut workers =
        [(); 4].map(|()| scripted_worker(&folder, "timeout_ms=30000 patience_ms=20000"));

    let mut tokens = Vec::new();
    for _ in 0..50 {
        workers.iter_mut().for_each(|worker| worker.order("try"));
        let answers = workers.each_mut().map(|worker| worker.answer().expect("an answer"));
        let winners: Vec<_> = answers
            .iter()
            .filter_map(|answer| lockbydir_proof::scripted_worker::Held::parse(answer))
            .collect();
        assert!(winners.len() <= 1, "{answers:?}");
        tokens.extend(winners.iter().map(|held| held.token));
        for (worker, answer) in workers.iter_mut().zip(&answers) {
            if answer.starts_with("held") {
                assert_eq!(worker.ask("release"), "ok");
            }
        }
    }
    assert!(tokens.len() >= 40, "{} of 50", tokens.len());
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
    let now = folder.join("jobs.lockdir").metadata().expect("it is there").ino();
    assert_eq!(inode, now, "the same directory");
}

#[test]
fn a_queue_left_in_the_lower_layer_blocks_nobody_and_is_removed() {
    let mut place = Place::new();
    let folder = overlay(&mut place, |folder| {
        // A waiter is killed: its ticket and the bell stay.
        let mut holder = scripted_worker(folder, "timeout_ms=30000");
        let mut waiter = scripted_worker(folder, "timeout_ms=30000 patience_ms=20000");
        holder.hold("acquire");
        waiter.order("acquire");
        let queue = folder.join("jobs.lockdir.queue");
        while fs::read_dir(&queue).map_or(0, Iterator::count) < 2 {
            std::thread::yield_now();
        }
        drop(waiter);
        drop(holder);
    });
    assert!(names(&folder).len() == 2, "a lock and a line are left: {:?}", names(&folder));
    let mut holder = scripted_worker(&folder, "timeout_ms=30000 patience_ms=10000");
    let mut waiter = scripted_worker(&folder, "timeout_ms=30000 patience_ms=20000");

    assert_eq!(holder.hold("acquire").how, "after-death");
    waiter.order("acquire");
    assert_eq!(holder.ask("release"), "ok");
    assert!(waiter.answer().expect("an answer").starts_with("held "));
    assert_eq!(waiter.ask("release"), "ok");

    assert_eq!(names(&folder), Vec::<String>::new(), "left behind");
}

#[test]
fn a_bare_directory_of_the_lower_layer_is_a_bare_lock() {
    let mut place = Place::new();
    let folder = overlay(&mut place, |folder| {
        fs::create_dir(folder.join("jobs.lockdir")).expect("a bare lock");
    });

    let begun = std::time::Instant::now();
    run(&folder, &["run", "-n", "-t", "20s", "jobs", "--", "true"]).refused(75, "holder unknown");
    run(&folder, &["run", "-w", "10s", "-t", "1s", "jobs", "--", "echo", "in"]).printed("in");

    assert!(begun.elapsed() >= std::time::Duration::from_millis(500));
    assert_eq!(names(&folder), Vec::<String>::new(), "left behind");
}

#[test]
fn a_foreign_directory_in_the_lower_layer_is_refused_and_stays() {
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
