//! One folder by several mounts.

use std::{fs, time::Duration};

use lockbydir_proof::torture::fault::Fault;

use crate::{
    namespaces::{LONG, assert_respects},
    place::{Place, names, open_to_all},
    program::{run, run_within, scripted_worker},
};

#[test]
fn two_never_hold_at_once_by_three_paths_to_one_folder() {
    let mut place = Place::new();
    let volume = place.ext4("volume", &[]);
    let outer = volume.join("outer");
    let inner = outer.join("inner");
    fs::create_dir_all(&inner).expect("folders");
    open_to_all(&inner);
    // The folder itself, and its parent, bound elsewhere.
    let (bound, above) = (place.bind("bound", &inner), place.bind("above", &outer));
    let mut plan = place.plan(&inner);
    plan.also = vec![bound, above.join("inner")];
    plan.faults = vec![Fault::Kill, Fault::Stop, Fault::Remove, Fault::Pids];
    place.judge(plan);
}

#[test]
fn a_holder_is_visible_and_wakes_waiters_by_another_path() {
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let bound = place.bind("bound", &volume);
    let mut holder = scripted_worker(&volume, LONG);
    holder.hold("acquire");
    assert_respects(&mut scripted_worker(&bound, LONG), &mut holder);
    run(&bound, &["run", "-n", "jobs", "--", "true"])
        .refused(75, "bound/jobs.lockdir: held by pid");

    let mut waiter = scripted_worker(&bound, "timeout_ms=30000 patience_ms=20000");
    waiter.order("acquire");
    while !bound.join("jobs.lockdir.queue/bell").exists() {
        std::thread::yield_now();
    }
    assert_eq!(holder.ask("release"), "ok");
    let begun = std::time::Instant::now();
    assert!(waiter.answer().expect("an answer").starts_with("held "));
    assert!(begun.elapsed() < Duration::from_millis(900), "it was woken, and did not only look");
    assert_eq!(waiter.ask("release"), "ok");
    assert_eq!(names(&volume), Vec::<String>::new(), "left behind");
}

#[test]
fn a_container_with_another_path_excludes_and_is_excluded() {
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let elsewhere = place.folder("elsewhere");
    let key = run(&volume, &["acquire", "-t", "20s", "jobs"]);
    let script = format!(
        "mount --bind {} {}; cd {1}; code=0; $L run -n jobs -- echo in || code=$?; echo $code",
        volume.display(),
        elsewhere.display()
    );
    let within = || run_within(&place.path("."), &["--mount", "--pid", "--mount-proc"], &script);

    let refused = within();
    refused.printed("75");
    assert!(refused.err.contains("held by a key, no process, from"), "{refused:?}");
    assert_eq!(run(&volume, &["release", "jobs", key.out.trim()]).code, 0);
    within().printed("in\n0");
}

#[test]
fn a_lock_directory_that_is_a_mount_is_reported() {
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let directory = volume.join("jobs.lockdir");
    fs::create_dir(&directory).expect("a directory");
    open_to_all(&directory);
    let mounted = place.bind("volume/jobs.lockdir", &directory);

    let ran = run(&volume, &["run", "-w", "300ms", "-t", "100ms", "jobs", "--", "true"]);

    assert!(mounted.exists());
    ran.refused(75, "it is a mount point and cannot be removed; mount its parent folder instead");
}
