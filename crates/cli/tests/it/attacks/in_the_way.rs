//! What another user has put where a lock, its queue, a ticket, the bell or an entry would be.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use lockbydir_testbed::{leave_out, needs};

use super::{ATTACKER, Arena, VICTIM, ZERO, boot_clock, entry, ticket};

const KINDS: [FileType; 7] = [
    FileType::Fifo,
    FileType::Socket,
    FileType::CharacterDevice,
    FileType::BlockDevice,
    FileType::RegularFile,
    FileType::Directory,
    FileType::Symlink,
];

/// Returns the kinds that can be made here: in a user namespace nobody can make device files.
fn kinds() -> Vec<FileType> {
    let is_device =
        |kind: &FileType| matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("device");
    let made = mknodat(CWD, &device, FileType::CharacterDevice, Mode::from_raw_mode(0o600), ZERO);
    if let Err(why) = made {
        leave_out!("with device files", format!("only root makes device files: {why}"));
        return KINDS.into_iter().filter(|kind| !is_device(kind)).collect();
    }
    KINDS.into()
}

/// The victims: an ordinary user, and root.
const VICTIMS: [u32; 2] = [VICTIM, 0];

#[test]
fn a_lock_that_another_user_made_is_refused_and_kept() {
    needs!(AnotherUser);
    let forged = [
        None,
        Some(entry("held", 5, 600_000, boot_clock(), "none")),
        Some(entry("held", 5, 100, 1, "none")),
        Some(entry("open", 5, 600_000, 1, "none")),
    ];
    for (mode, forged) in [0o700, 0o755, 0o777, 0o1777]
        .into_iter()
        .flat_map(|mode| forged.iter().map(move |it| (mode, it)))
    {
        let arena = Arena::sticky();
        arena.attackers_directory("jobs.lockdir", mode);
        if let Some(name) = forged {
            arena.attackers_file(format!("jobs.lockdir/{name}"), FileType::RegularFile);
        }
        let before = arena.seen();

        for (user, (verb, ran)) in VICTIMS.into_iter().flat_map(|user| {
            arena.run_every_verb(user, &[]).into_iter().map(move |ran| (user, ran))
        }) {
            match verb {
                "run" | "acquire" | "break" => ran.refused(77, "user 65534"),
                "renew" | "release" => ran.refused(76, "lost"),
                "is-locked" => assert!(ran.code <= 1 || ran.code == 77, "{user}: {ran:?}"),
                _ => assert_eq!(ran.code, 0, "{user} {verb}: {ran:?}"),
            }
        }

        assert_eq!(arena.seen(), before, "{mode:o} {forged:?}");
    }
}

#[test]
fn a_queue_that_another_user_made_first_is_not_used() {
    needs!(AnotherUser);
    for mode in [0o700, 0o755, 0o777, 0o1777] {
        let arena = Arena::sticky();
        arena.attackers_directory("jobs.lockdir.queue", mode);
        for nth in 0..3 {
            arena.attackers_file(format!("jobs.lockdir.queue/{}", ticket(5, nth)), FileType::Fifo);
        }
        arena.attackers_file("jobs.lockdir.queue/bell", FileType::Fifo);
        let before = arena.seen();

        for user in VICTIMS {
            for verb in [
                &["run", "-n", "jobs", "--", "echo", "in"][..],
                &["run", "-w", "300ms", "jobs", "--", "echo", "in"],
            ] {
                let ran = arena.run(user, verb);
                assert_eq!((ran.code, ran.out.as_str()), (0, "in\n"), "{ran:?}");
            }
            arena.run(user, &["status", "jobs"]);
            arena.run(user, &["clean"]);
        }

        assert_eq!(arena.seen(), before, "{mode:o}");
    }
}

#[test]
fn a_link_in_the_place_of_a_lock_or_a_queue_is_never_followed() {
    needs!(AnotherUser);
    for place in ["jobs.lockdir", "jobs.lockdir.queue", "jobs.lockdir.0000000000000000000000000b"] {
        for target in ["things", "things/empty", "nowhere", "other.lockdir", "jobs.lockdir", "/etc"]
        {
            for user in VICTIMS {
                let arena = if user == 0 { Arena::without_sticky() } else { Arena::sticky() };
                let key = arena.run(VICTIM, &["acquire", "other"]);
                assert_eq!(key.code, 0, "{key:?}");
                symlink(target, arena.path(place)).unwrap();
                arena.give(ATTACKER, place);
                let before = arena.seen();

                for (verb, ran) in arena.run_every_verb(user, &["--mode", "777"]) {
                    if place == "jobs.lockdir" && matches!(verb, "run" | "acquire" | "break") {
                        ran.refused(73, "symbolic link");
                    }
                }

                assert_eq!(arena.seen(), before, "{place} -> {target}");
            }
        }
    }
}

#[test]
fn things_that_are_no_directories_are_refused_at_once() {
    needs!(AnotherUser);
    for place in ["jobs.lockdir", "jobs.lockdir.queue"] {
        for kind in kinds().into_iter().filter(|kind| *kind != FileType::Directory) {
            let arena = Arena::sticky();
            arena.attackers_file(place, kind);
            let before = arena.seen();

            for (verb, ran) in VICTIMS.into_iter().flat_map(|user| arena.run_every_verb(user, &[]))
            {
                match verb {
                    "run" if place == "jobs.lockdir" => ran.refused(73, ""),
                    "run" => assert_eq!(ran.code, 0, "{kind:?}: {ran:?}"),
                    _ => {}
                }
            }

            assert_eq!(arena.seen(), before, "{place} {kind:?}");
        }
    }
}

/// In a lock that attacker and victim share, a thing that is named like an entry but is not a file is
/// neither opened nor removed.
#[test]
fn things_named_like_an_entry_are_never_opened() {
    needs!(AnotherUser);
    let names = [
        entry("held", 5, 600_000, boot_clock(), "none"),
        entry("open", 5, 100, 1, "none"),
        "x".repeat(255),
    ];
    for (kind, name) in
        kinds().into_iter().flat_map(|kind| names.iter().map(move |name| (kind, name)))
    {
        if kind == FileType::RegularFile && name.starts_with("v1") {
            continue; // that is an entry
        }
        let arena = Arena::sticky();
        arena.attackers_directory("jobs.lockdir", 0o777);
        arena.attackers_file(format!("jobs.lockdir/{name}"), kind);
        if kind == FileType::RegularFile {
            let file =
                fs::OpenOptions::new().write(true).open(arena.path("jobs.lockdir").join(name));
            file.unwrap().set_len(1 << 40).unwrap();
        }
        let before = arena.seen();

        for (verb, ran) in
            VICTIMS.into_iter().flat_map(|user| arena.run_every_verb(user, &["--mode", "777"]))
        {
            if matches!(verb, "run" | "acquire" | "break") {
                ran.refused(73, "not ours");
            }
        }

        assert_eq!(arena.seen(), before, "{kind:?} {name}");
    }
}

#[test]
fn things_named_like_a_ticket_or_the_bell_are_not_read() {
    needs!(AnotherUser);
    for kind in kinds() {
        let arena = Arena::sticky();
        arena.attackers_directory("jobs.lockdir.queue", 0o777);
        for name in [ticket(5, 1), ticket(6, 2), "bell".into()] {
            arena.attackers_file(format!("jobs.lockdir.queue/{name}"), kind);
        }
        let before = arena.seen();

        for user in VICTIMS {
            let key = arena.run(user, &["acquire", "--mode", "777", "-w", "300ms", "jobs"]);
            assert_eq!(key.code, 0, "{kind:?}: {key:?}");
            for args in [
                &["run", "--mode", "777", "-w", "300ms", "jobs", "--", "true"][..],
                &["run", "--mode", "777", "-n", "jobs", "--", "true"],
            ] {
                let ran = arena.run(user, args);
                assert_eq!(ran.code, 75, "{kind:?}: {ran:?}");
            }
            arena.run(user, &["status", "jobs"]);
            assert_eq!(arena.run(user, &["release", "jobs", key.out.trim()]).code, 0);
        }

        if kind != FileType::Fifo {
            // The queue's change time differs, since tickets were added and removed.
            let mut after = arena.seen();
            let line = std::path::PathBuf::from("jobs.lockdir.queue");
            let old = before[&line].4;
            after.get_mut(&line).unwrap().4 = old;
            assert_eq!(after, before, "{kind:?}");
        }
    }
}
