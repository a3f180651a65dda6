//! Floods: names in a lock, tickets in a queue, stages, a deep tree. They are heavy, so one runs at a time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use lockbydir_testbed::{needs, whole_machine};

use super::{ATTACKER, Arena, BEYOND, PATIENCE, VICTIM, boot_clock, entry, ticket};

/// Returns the number of names of a flood: a million, or 20 000 in a quick run.
fn million() -> usize {
    match std::env::var_os("LOCKBYDIR_ATTACK_SECONDS") {
        Some(_) => 1_000_000,
        None => 20_000,
    }
}

/// The time that a verb may take to read ten thousand tickets and check each for life; a debug build needs
/// longer.
const READING: Duration = Duration::from_secs(if cfg!(debug_assertions) { 6 } else { 1 });

/// Makes a file of the attacker's with all these names.
fn flood(folder: &Path, kind: FileType, names: impl Iterator<Item = String>) {
    let first = folder.join("first");
    rustix::fs::mknodat(rustix::fs::CWD, &first, kind, rustix::fs::Mode::from_raw_mode(0o666), 0)
        .unwrap();
    fs::set_permissions(&first, fs::Permissions::from_mode(0o666)).unwrap();
    chown(&first, Some(ATTACKER), Some(ATTACKER)).unwrap();
    names.for_each(|name| fs::hard_link(&first, folder.join(name)).unwrap());
}

#[test]
fn a_lock_with_a_million_names_is_refused_at_once() {
    needs!(AnotherUser);
    let _machine = whole_machine();
    let arena = Arena::sticky();
    arena.attackers_directory("jobs.lockdir", 0o777);
    let now = boot_clock();
    flood(
        &arena.path("jobs.lockdir"),
        FileType::RegularFile,
        (0..million()).map(|nth| entry("held", nth as u64, 600_000, now, "none")),
    );

    let begun = Instant::now();
    for user in [VICTIM, 0] {
        for (verb, ran) in arena.run_every_verb(user, &["--mode", "777"]) {
            if matches!(verb, "run" | "acquire" | "break") {
                ran.refused(73, "will not touch");
            }
        }
    }

    println!("{} names in a lock: {:.1?} for every verb, twice", million(), begun.elapsed());
}

/// Tickets of waiters that seem to live, and of waiters that are long dead.
#[test]
fn a_million_tickets_cost_bounded_time_and_memory() {
    needs!(AnotherUser);
    let _machine = whole_machine();
    for is_held_open in [false, true] {
        let arena = Arena::sticky();
        arena.attackers_directory("jobs.lockdir.queue", 0o777);
        let line = arena.path("jobs.lockdir.queue");
        flood(&line, FileType::Fifo, (0..million()).map(|nth| ticket(5, nth)));
        let options = rustix::fs::OFlags::RDWR;
        let held = is_held_open.then(|| {
            rustix::fs::open(line.join("first"), options, rustix::fs::Mode::empty()).unwrap()
        });
        let timed = |what: &str, args: &[&str], most: Duration| {
            let begun = Instant::now();
            let ran = arena.run_within(VICTIM, args, most);
            println!(
                "{} tickets, {}: {what} took {:.2?}, exit code {}",
                million(),
                if is_held_open { "open" } else { "nobody's" },
                begun.elapsed(),
                ran.code
            );
            ran
        };
        let most = PATIENCE + BEYOND + READING;

        timed("one try", &["run", "-n", "--mode", "777", "jobs", "--", "true"], most);
        let options = ["--mode", "777", "-w", "300ms", "jobs"];
        timed("a wait", &[&["run"][..], &options, &["--", "true"]].concat(), most);
        let two = ["run", "--mode", "777", "-w", "2s", "jobs", "--", "true"];
        timed("a longer wait", &two, Duration::from_secs(2) + BEYOND + READING);
        for args in [
            &["status", "jobs"][..],
            &["status", "--json", "jobs"],
            &["is-locked", "jobs"],
            &["break", "--force", "--mode", "777", "jobs"],
            &["list"],
            &["clean"],
        ] {
            timed(args[0], args, most);
        }
        drop(held);
    }
}

#[test]
fn a_hundred_thousand_stages_cost_bounded_memory() {
    needs!(AnotherUser);
    let _machine = whole_machine();
    let arena = Arena::sticky();
    for nth in 0..million() / 10 {
        let stage = arena.path(&format!("s{nth}.lockdir.0000000000000000000000000b"));
        fs::create_dir(&stage).unwrap();
        chown(&stage, Some(ATTACKER), Some(ATTACKER)).unwrap();
    }
    for nth in 0..1_000 {
        arena.attackers_directory(&format!("l{nth}.lockdir"), 0o777);
    }

    for user in [VICTIM, 0] {
        for args in [&["list"][..], &["list", "--json"], &["clean"]] {
            let begun = Instant::now();
            let ran = arena.run_within(user, args, Duration::from_secs(30));
            println!("{} stages: {args:?} took {:.2?}", million() / 10, begun.elapsed());
            assert_eq!(ran.code, 0, "{ran:?}");
            let lines = ran.out.lines().count();
            match args {
                ["list"] => assert_eq!(lines, 1_001),
                ["clean"] => assert_eq!(lines, 0, "those of others were cleaned away"),
                _ => {}
            }
        }
    }
    assert_eq!(fs::read_dir(arena.path("")).unwrap().count(), million() / 10 + 1_001);
}

/// The tree is deeper than the limit of descriptors, and its paths are longer than a path may be.
#[test]
fn a_deep_tree_is_listed_and_cleaned_as_far_as_possible() {
    needs!(AnotherUser);
    let _machine = whole_machine();
    let arena = Arena::sticky();
    arena.attackers_directory("deep", 0o755);
    fs::create_dir(arena.path("later.lockdir")).unwrap();
    let mut at = rustix::fs::open(
        arena.path("deep"),
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..5_000 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        at = rustix::fs::openat(
            &at,
            "d",
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }

    for user in [VICTIM, 0] {
        let list = arena.run(user, &["list"]);
        assert!(list.out.contains("later"), "{list:?}");
        assert_eq!(arena.run(user, &["clean"]).code, 0);
    }

    let removed = std::process::Command::new("rm").arg("-rf").arg(arena.path("deep")).status();
    assert!(removed.unwrap().success());
}
