//! Invalid input: each error has its kind and says what is wrong, and nothing is touched.

#[cfg(unix)]
use std::ffi::OsStr;
use std::fs;
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use lockbydir::{ErrorKind, Key, Lock, State};

use crate::{entry, impatient, ms};

#[test]
fn invalid_names_are_refused() {
    let long = "x".repeat(221);
    for (name, word) in [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("a/", "slash"),
        ("/", "slash"),
        ("a/..", "dots"),
        ("a/.", "dots"),
        (long.as_str(), "too long"),
    ] {
        let error = Lock::new(name).try_acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{name:?}: {error}");
        assert!(error.to_string().contains(word), "{name:?}: {error}");
    }
}

#[cfg(windows)]
#[test]
fn names_that_windows_changes_or_reserves_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "jobs.",
        "jobs ",
        "con",
        "Nul",
        "aux.txt",
        "COM1",
        "lpt9.log",
        "jobs:b",
        "jobs*b",
        "jobs?b",
        "jobs<b",
        "jobs|b",
        "jobs\"b",
        "jobs\u{1}b",
    ] {
        let error = Lock::new(folder.path().join(name)).try_acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{name:?}: {error}");
        assert!(error.to_string().contains("Windows"), "{name:?}: {error}");
    }
    for name in ["console", "com10", "a b", "b\u{e4}ckup"] {
        Lock::new(folder.path().join(name)).acquire().unwrap().release().unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(windows)]
#[test]
fn a_path_longer_than_the_old_windows_limit_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut deep = fs::canonicalize(folder.path()).unwrap();
    for _ in 0..4 {
        deep.push("x".repeat(90));
    }
    fs::create_dir_all(&deep).unwrap();
    let lock = Lock::new(deep.join("y".repeat(200)));

    let guard = lock.acquire().unwrap();

    assert!(lock.path().unwrap().as_os_str().len() > 500);
    guard.release().unwrap();
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn the_longest_name_and_a_non_utf8_name_work() {
    let folder = tempfile::tempdir().unwrap();
    for name in [OsStr::new(&"x".repeat(220)), OsStr::from_bytes(b"caf\xe9 \x1b[31m")] {
        let lock = Lock::new(folder.path().join(name)).patience(Duration::ZERO);
        let guard = lock.acquire().unwrap();
        let error = lock.acquire().unwrap_err().to_string();
        assert!(!error.contains('\x1b'), "{error:?}");
        guard.release().unwrap();
    }
}

#[test]
fn timeouts_and_labels_out_of_range_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    for timeout in [Duration::ZERO, ms(9), Duration::from_secs(4000 * 86400), Duration::MAX] {
        let error = lock.clone().timeout(timeout).acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
    for label in ["\x1b[31m", "caf\u{e9}", &"x".repeat(41)] {
        let error = lock.clone().label(label).acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}

#[test]
fn a_missing_or_non_directory_parent_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for parent in ["missing", "file"] {
        let lock = Lock::new(folder.path().join(parent).join("jobs"));
        let error = lock.acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotMake, "{error}");
        assert!(error.to_string().contains("folder"), "{error}");
    }
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("jobs.lockdir");
    let victim = folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let lock = impatient(folder.path());
    let refuses = |what: &str| {
        for error in
            [lock.acquire().map(drop).unwrap_err(), lock.break_by_force().map(drop).unwrap_err()]
        {
            assert!(error.is_foreign(), "{what}: {error}");
        }
        assert_eq!(lock.status().unwrap().state, State::Foreign, "{what}");
    };

    fs::write(&at, "a file").unwrap();
    refuses("a file");
    assert_eq!(fs::read_to_string(&at).unwrap(), "a file");
    fs::remove_file(&at).unwrap();

    #[cfg(unix)]
    for target in ["victim", "dangling"] {
        std::os::unix::fs::symlink(folder.path().join(target), &at).unwrap();
        refuses(target);
        fs::remove_file(&at).unwrap();
    }

    #[cfg(unix)]
    let names = [&b"notes.txt"[..], b"\xff\xfe", b"v1.held", b"\x1b[2J", &[b'v'; 255]];
    #[cfg(unix)]
    let names = names.map(OsStr::from_bytes);
    #[cfg(windows)]
    let names = ["notes.txt", "v1.held", "\u{202e}x", &"v".repeat(200)];
    for name in names {
        fs::create_dir(&at).unwrap();
        fs::write(at.join(name), "theirs").unwrap();
        refuses("foreign content");
        let error = lock.acquire().unwrap_err().to_string();
        assert!(error.chars().all(|c| !c.is_control()), "{error:?}");
        fs::remove_dir_all(&at).unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn two_entries_and_non_file_entries_are_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("jobs.lockdir");
    let lock = impatient(folder.path());
    let guard = lock.acquire().unwrap();
    let first = entry(folder.path());
    let second = first.replace(".10000.", ".20000.");

    fs::write(at.join(&second), "").unwrap();
    assert!(lock.acquire().unwrap_err().is_foreign());
    fs::remove_file(at.join(&first)).unwrap();
    fs::remove_file(at.join(&second)).unwrap();
    fs::create_dir(at.join(&first)).unwrap();
    assert!(lock.acquire().unwrap_err().is_foreign());

    assert!(guard.release().is_err());
    fs::remove_dir_all(&at).unwrap();
}

#[test]
fn malformed_keys_are_refused() {
    for text in
        ["", "17", "17-", "-", "x-00000000000000000000000007", "17-0000000000000000000000000U"]
    {
        assert_eq!(text.parse::<Key>().unwrap_err().kind(), ErrorKind::Usage, "{text}");
    }
    let good = "17-00000000000000000000000007";
    assert_eq!(good.parse::<Key>().unwrap().to_string(), good);
}
