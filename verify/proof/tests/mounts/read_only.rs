//! Folders that are read-only, from the beginning or suddenly.

use std::{
    io::Read,
    process::Command,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    namespaces::LONG,
    place::{Place, names},
    program::{lockbydir, run, scripted_worker},
};

#[test]
fn a_lock_in_a_read_only_folder_is_refused_with_advice() {
    let mut place = Place::new();
    let volume = place.ext4("volume", &[]);
    let bound = place.bind("bound", &volume);
    place.set_read_only(&bound, true);

    let begun = Instant::now();
    for verb in [&["run", "-w", "20s", "jobs", "--", "true"][..], &["acquire", "-w", "20s", "jobs"]]
    {
        run(&bound, verb).refused(
            73,
            "Read-only file system (os error 30); choose a folder that can be written",
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "it does not wait for it");
    assert_eq!(run(&bound, &["is-locked", "jobs"]).code, 1, "looking is allowed");
    assert_eq!(names(&volume), ["lost+found"]);
}

#[test]
fn a_read_only_waiter_is_refused_when_the_lock_is_free() {
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let bound = place.bind("bound", &volume);
    place.set_read_only(&bound, true);
    let mut holder = scripted_worker(&volume, LONG);
    holder.hold("acquire");

    let status = run(&bound, &["status", "jobs"]);
    assert!(status.out.contains("state      held"), "{status:?}");
    run(&bound, &["run", "-w", "300ms", "jobs", "--", "true"]).refused(75, "held by pid");
    run(&bound, &["break", "--force", "jobs"]).refused(73, "Read-only file system");
    let mut waiter = scripted_worker(&bound, "timeout_ms=30000 patience_ms=20000");
    waiter.order("acquire");
    assert_eq!(holder.ask("release"), "ok");

    let answer = waiter.answer().expect("an answer");
    assert!(answer.contains("Read-only file system"), "{answer}");
}

#[test]
fn a_lock_that_becomes_read_only_is_lost_before_its_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let mut place = Place::new();
    let volume = place.tmpfs("volume");
    let bound = place.bind("bound", &volume);
    let script = "echo in; trap 'echo asked; exit' TERM; while :; do sleep 0.01; done";
    let mut holder = Command::new(lockbydir());
    holder.args(["run", "-t", "2s", "jobs", "--", "sh", "-c", script]).current_dir(&bound);
    let piped = holder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = piped.spawn().expect("it starts");
    let mut output = [0; 3];
    holder.stdout.as_mut().expect("piped").read_exact(&mut output).expect("it holds");

    let mut next = scripted_worker(&volume, "timeout_ms=30000 patience_ms=20000");
    next.order("acquire");
    place.set_read_only(&bound, true);
    let shut = Instant::now();
    let ended = holder.wait_with_output().expect("it ends");
    let lost = shut.elapsed();
    let answer = next.answer().expect("an answer");
    let followed = shut.elapsed();

    assert_eq!(ended.status.code(), Some(76), "{ended:?}");
    let (out, err) =
        (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(out, "asked\n", "{err}");
    assert!(err.contains("could not be renewed in time (Read-only file system"), "{err}");
    assert!(lost < TIMEOUT, "lost after {lost:?}");
    assert!(answer.ends_with("after-expiry") || answer.ends_with("after-death"), "{answer}");
    assert!(followed >= lost, "two at once: {followed:?}, {lost:?}");
    assert_eq!(next.ask("release"), "ok");
}
