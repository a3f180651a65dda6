//! One folder by several mounts.

use std::{fs, time::Duration};

use lockbydir_proof::torture::faults::Fault;

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
    // The folder itself, and the one above it, bound elsewhere.
    let (bound, above) = (place.bind("bound", &inner), place.bind("above", &outer));
    let mut plan = place.plan(&inner);
    plan.also = vec![bound, above.join("inner")];
    plan.faults = vec![Fault::Kill, Fault::Stop, Fault::Remove, Fault::Pids];
    place.judge(plan);
}

#[test]
fn a_holder_is_seen_and_told_of_by_another_path_and_a_release_wakes_across_them() {
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let bound = place.bind("bound", &volume);
    let mut holder = puppet(&volume, LONG);
    holder.hold("acquire");
    assert_respects(&mut puppet(&bound, LONG), &mut holder);
    run(&bound, &["run", "-n", "jobs", "--", "true"])
        .refused(75, "bound/jobs.lockdir: held by pid");

    let mut waiter = puppet(&bound, "timeout_ms=30000 patience_ms=20000");
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
fn a_container_with_the_folder_at_another_path_excludes_and_is_excluded() {
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
    refused.said("75");
    assert!(refused.err.contains("held by a key given out on"), "{refused:?}");
    assert_eq!(run(&volume, &["release", "jobs", key.out.trim()]).code, 0);
    within().said("in\n0");
}

#[test]
fn a_lock_directory_that_is_a_mount_itself_is_told_so() {
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let directory = volume.join("jobs.lockdir");
    fs::create_dir(&directory).expect("a directory");
    open_to_all(&directory);
    let mounted = place.bind("volume/jobs.lockdir", &directory);

    let ran = run(&volume, &["run", "-w", "300ms", "-t", "100ms", "jobs", "--", "true"]);

    assert!(mounted.exists());
    ran.refused(75, "it is a mount itself and never vanishes; mount the folder it is in");
}
