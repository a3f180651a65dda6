//! An observer's reports about anomalies: things in the place of a lock directory, or in it, that
//! should not be there.

use lockbydir::Lock;
use lockbydir::observe::{Observer, What};
use lockbydir_testbed::needs;

use crate::observe::{jobs, until, words};

#[test]
fn bare_and_foreign_directories_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let path = folder.path().join("jobs.lockdir");

    std::fs::create_dir(&path).unwrap();
    let bare = until(&mut observer, |what| matches!(what, What::Bare));
    std::fs::write(path.join("note"), "mine").unwrap();
    let foreign = until(&mut observer, |what| matches!(what, What::Foreign(_)));
    std::fs::remove_dir_all(&path).unwrap();
    let cleared = until(&mut observer, |what| matches!(what, What::Cleared));
    let guard = jobs(folder.path()).acquire().unwrap();
    let taken = until(&mut observer, |what| matches!(what, What::Acquired { .. }));

    assert_eq!(words(&bare), ["appeared", "bare"]);
    assert_eq!(words(&foreign), ["foreign"]);
    let Some(What::Foreign(why)) = foreign.last().map(|event| &event.what) else { panic!() };
    assert!(why.contains("`note`"), "{why}");
    assert_eq!(words(&cleared), ["cleared"]);
    assert_eq!(words(&taken), ["acquired Free"]);
    guard.release().unwrap();
}

#[test]
fn a_briefly_empty_directory_is_not_reported_as_bare() {
    let folder = tempfile::tempdir().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();

    for _ in 0..200 {
        drop(jobs(folder.path()).acquire().unwrap());
    }
    let guard = jobs(folder.path()).label("last").acquire().unwrap();
    let is_last = |what: &What| matches!(what, What::Acquired { by, .. } if by.label.is_some());
    let events = until(&mut observer, is_last);

    assert!(!words(&events).contains(&"bare".to_owned()), "{events:?}");
    guard.release().unwrap();
}

#[test]
fn another_users_lock_stays_foreign() {
    needs!(AnotherUser);
    let folder = tempfile::tempdir().unwrap();
    let guard = jobs(folder.path()).acquire().unwrap();
    let path = folder.path().join("jobs.lockdir");
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    let foreign = until(&mut observer, |what| matches!(what, What::Foreign(_)));

    let name = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().file_name();
    let mut entry = lockbydir_protocol::Entry::parse(name.to_str().unwrap()).unwrap();
    entry.renewals += 1;
    std::fs::rename(path.join(name), path.join(entry.to_string())).unwrap();
    let other = Lock::new(folder.path().join("other")).acquire().unwrap();
    let then = until(&mut observer, |what| matches!(what, What::Acquired { .. }));

    assert_eq!(words(&foreign), ["appeared", "foreign"]);
    assert!(then.iter().all(|event| event.path != foreign[0].path), "{then:#?}");
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    let _ = guard.keep();
    other.release().unwrap();
}

#[test]
fn a_holder_keeps_the_lock_whatever_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("jobs.lockdir/note");
    let guard = jobs(folder.path()).acquire().unwrap();
    let mut observer = Observer::of(folder.path()).unwrap();
    until(&mut observer, |what| matches!(what, What::Acquired { .. }));

    std::fs::write(&note, "").unwrap();
    let mut events = until(&mut observer, |what| matches!(what, What::Foreign(_)));
    guard.renew().unwrap();
    events.extend(until(&mut observer, |what| matches!(what, What::Renewed { .. })));
    std::fs::remove_file(&note).unwrap();
    events.extend(until(&mut observer, |what| matches!(what, What::Cleared)));
    guard.release().unwrap();
    events.extend(until(&mut observer, |what| matches!(what, What::Released(_))));

    assert_eq!(words(&events), ["foreign", "renewed Some(1)", "cleared", "released"]);
}

#[test]
fn two_entries_that_stay_are_reported_as_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.lockdir");
    let guard = jobs(folder.path()).acquire().unwrap();
    let name = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().file_name();
    let mut other = lockbydir_protocol::Entry::parse(name.to_str().unwrap()).unwrap();
    other.nonce.0 ^= 1;
    let mut observer = Observer::of(folder.path()).unwrap();

    std::fs::write(path.join(other.to_string()), "").unwrap();
    let events = until(&mut observer, |what| matches!(what, What::Foreign(_)));

    let Some(What::Foreign(why)) = events.last().map(|event| &event.what) else { panic!() };
    assert!(why.contains("two entries"), "{why}");
    std::fs::remove_file(path.join(other.to_string())).unwrap();
    guard.release().unwrap();
}
