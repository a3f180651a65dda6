//! Files of others inside our directories: moved in so that we delete them, or left there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::fs::FileType;

use lockbydir_testbed::needs;

use super::{ATTACKER, Arena, VICTIM, entry, ticket};

/// Returns all paths in the folder.
fn names(arena: &Arena) -> Vec<PathBuf> {
    arena.seen().into_keys().collect()
}

#[test]
fn foreign_files_in_a_lock_are_named_and_kept() {
    needs!(AnotherUser);
    let arena = Arena::sticky();
    let key = arena.run(VICTIM, &["acquire", "--mode", "777", "jobs"]);
    assert_eq!(key.code, 0, "{key:?}");
    fs::hard_link(arena.path("things/letter"), arena.path("jobs.lockdir/letter")).unwrap();
    arena.attackers_file("jobs.lockdir/.nfs0", FileType::RegularFile);
    arena.attackers_file("jobs.lockdir/deep", FileType::Directory);
    let before = arena.seen();

    for user in [VICTIM, 0] {
        for args in [
            &["break", "--mode", "777", "jobs"][..],
            &["break", "--force", "--mode", "777", "jobs"],
        ] {
            arena.run(user, args).refused(73, "which is not ours");
        }
        assert_eq!(arena.run(user, &["clean"]).code, 0);
    }
    assert_eq!(arena.seen(), before);

    // The holder releases the lock; the foreign things stay, and are reported.
    let ran = arena.run(VICTIM, &["release", "jobs", key.out.trim()]);
    assert!(ran.err.contains("letter") || ran.err.contains("deep"), "{ran:?}");
    let left = names(&arena);
    for name in ["letter", "deep", ".nfs0"] {
        assert!(left.contains(&PathBuf::from("jobs.lockdir").join(name)), "{name} of {left:?}");
    }
    assert_eq!(left.len(), before.len() - 1, "all but the entry: {left:?}");
}

/// A hard link under a name of ours may be removed: the file keeps its other name. A moved file is no
/// target: a user who can move a file can also remove it.
#[test]
fn a_file_linked_under_a_name_of_ours_is_kept() {
    needs!(AnotherUser);
    let stage = "jobs.lockdir.0000000000000000000000000b";
    let arena = Arena::without_sticky();
    for folder in ["jobs.lockdir", "jobs.lockdir.queue", stage] {
        fs::create_dir(arena.path(folder)).unwrap();
        fs::set_permissions(arena.path(folder), fs::Permissions::from_mode(0o777)).unwrap();
        arena.give(VICTIM, folder);
    }
    let letter = arena.path("things/letter");
    let old = entry("held", 5, 100, 1, "none");
    for place in [
        format!("jobs.lockdir/{old}"),
        format!("jobs.lockdir.queue/{}", ticket(5, 1)),
        "jobs.lockdir.queue/bell".into(),
        format!("{stage}/{old}"),
    ] {
        fs::hard_link(&letter, arena.path(&place)).unwrap();
    }
    let before = arena.seen();

    for user in [VICTIM, 0] {
        for (_, ran) in arena.run_every_verb(user, &["--mode", "777"]) {
            assert_ne!(ran.code, 74, "{ran:?}");
        }
    }

    let after = arena.seen();
    let kept = |name: &str| {
        let (name, mut was, is) = (PathBuf::from(name), before.clone(), &after);
        let (mut was, is) = (was.remove(&name).unwrap(), is[&name].clone());
        was.2 = is.2; // it has fewer links
        assert_eq!(is, was, "{name:?}");
    };
    ["things", "things/letter", "things/empty"].into_iter().for_each(kept);
    // A thing that is not a pipe is neither a ticket nor a bell, so even the link is kept.
    for name in ["bell".to_owned(), ticket(5, 1)] {
        assert!(after.contains_key(&PathBuf::from("jobs.lockdir.queue").join(name)), "{after:?}");
    }
}

#[test]
fn a_directory_renamed_to_a_name_of_ours_keeps_its_files() {
    needs!(AnotherUser);
    for name in ["jobs.lockdir", "jobs.lockdir.queue", "jobs.lockdir.0000000000000000000000000b"] {
        for user in [VICTIM, 0] {
            let arena = Arena::without_sticky();
            fs::rename(arena.path("things"), arena.path(name)).unwrap();
            fs::create_dir(arena.path("things")).unwrap();
            arena.give(ATTACKER, "things");
            let before = arena.seen();

            arena.run_every_verb(user, &["--mode", "777"]);

            let mut after = arena.seen();
            // Tickets may have been added and removed.
            after.get_mut(&PathBuf::from(name)).unwrap().4 = before[&PathBuf::from(name)].4;
            assert_eq!(after, before, "{name} {user}");
        }
    }
}

/// A user who may move directories puts the victim's directory in the place of the folder that `bench` made
/// for itself and removes with its contents.
#[cfg(feature = "bench")]
#[test]
fn bench_does_not_empty_a_directory_put_in_its_place() {
    needs!(AnotherUser);
    let arena = Arena::without_sticky();
    let things = fs::File::open(arena.path("things")).unwrap();
    let mut bench = std::process::Command::new(arena.program());
    bench.args(["bench", "--seconds", "0.05", "--waiters", "1"]);
    let bench = std::os::unix::process::CommandExt::uid(&mut bench, VICTIM)
        .current_dir(arena.path(""))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();

    let mut folder = None;
    crate::until("its folder", || {
        let mut found = fs::read_dir(arena.path("")).unwrap().map(|entry| entry.unwrap().path());
        folder = found.find(|path| path.to_string_lossy().contains("lockbydir-bench"));
        folder.is_some()
    });
    fs::rename(folder.as_ref().unwrap(), arena.path("away")).unwrap();
    fs::rename(arena.path("things"), folder.unwrap()).unwrap();
    let ran = crate::Ran::of(bench.wait_with_output().unwrap());

    let things = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&things));
    assert_eq!(fs::read(format!("{things}/letter")).unwrap(), b"dear", "{ran:?}");
    assert!(fs::exists(format!("{things}/empty")).unwrap(), "{ran:?}");
}
