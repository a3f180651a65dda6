//! Coexistence with locks of a plain `mkdir`, as shell scripts and the first version create them.

use std::fs;
#[cfg(unix)]
use std::process::Command;

use lockbydir::{Broken, How, State};

use crate::{assert_empty, impatient, ms, secs};

/// Does what the first version does on Windows.
#[cfg(windows)]
fn shell(command: &str, path: &std::path::Path) -> bool {
    let place = path.join("jobs.lockdir");
    match command {
        "mkdir" => fs::create_dir(place).is_ok(),
        _ => fs::remove_dir(place).is_ok(),
    }
}

#[cfg(unix)]
fn shell(command: &str, path: &std::path::Path) -> bool {
    Command::new("sh")
        .args(["-c", &format!("{command} \"$0\" 2>/dev/null")])
        .arg(path.join("jobs.lockdir"))
        .status()
        .unwrap()
        .success()
}

#[test]
fn a_bare_lock_is_taken_over_when_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    assert!(shell("mkdir", folder.path()));
    let lock = impatient(folder.path()).timeout(secs(600));

    assert_eq!(lock.status().unwrap().state, State::Bare);
    assert!(lock.is_locked().unwrap());
    assert!(lock.try_acquire().unwrap().is_none());
    assert_eq!(lock.break_stale().unwrap(), Broken::StillHeld(None));

    let guard = lock.clone().timeout(ms(300)).patience(secs(60)).acquire().unwrap();
    let How::AfterExpiry(before) = guard.how() else { panic!("{:?}", guard.how()) };
    assert_eq!((&before.holder, before.token), (&None, None));
    assert!(before.age.is_some_and(|age| age >= ms(300)), "{before:?}");
    assert!(before.to_string().starts_with("an unknown holder (a plain mkdir lock, "), "{before}");
    drop(guard);
    assert_empty(folder.path());
}

#[test]
fn a_bare_locker_can_neither_create_nor_remove_ours() {
    let folder = tempfile::tempdir().unwrap();
    let guard = impatient(folder.path()).acquire().unwrap();

    assert!(!shell("mkdir", folder.path()));
    assert!(!shell("rmdir", folder.path()));

    guard.release().unwrap();
    assert!(shell("mkdir", folder.path()));
    assert!(shell("rmdir", folder.path()));
    assert_empty(folder.path());
}

#[test]
fn litter_is_tolerated_and_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let litter = folder.path().join("jobs.lockdir/.nfs0001");
    for _ in 0..3 {
        let guard = lock.acquire().unwrap();
        fs::write(&litter, "somebody's").unwrap();
        assert_eq!(lock.status().unwrap().state, State::Held);
        guard.release().unwrap();
        assert_eq!(lock.status().unwrap().state, State::Open);
    }
    assert_eq!(fs::read_to_string(litter).unwrap(), "somebody's");
}

/// Nobody may put an entry into a bare lock: two processes could.
#[test]
fn litter_in_a_bare_lock_blocks_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(shell("mkdir", folder.path()));
    let litter = folder.path().join("jobs.lockdir/.nfs0001");
    fs::write(&litter, "somebody's").unwrap();

    let lock = impatient(folder.path()).timeout(ms(100)).patience(ms(200));
    let error = lock.acquire().unwrap_err();

    assert!(error.is_patience_over() && error.to_string().contains(".nfs0001"), "{error}");
    assert_eq!(fs::read_to_string(litter).unwrap(), "somebody's");
}

#[test]
fn a_bare_lock_is_broken_by_force() {
    let folder = tempfile::tempdir().unwrap();
    assert!(shell("mkdir", folder.path()));

    assert_eq!(impatient(folder.path()).break_by_force().unwrap(), Broken::Removed(None));

    assert_empty(folder.path());
}
