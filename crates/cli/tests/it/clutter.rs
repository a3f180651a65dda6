//! Things in a lock directory that no lock has put there: litter, which does not stop the lock; and
//! foreign things, which `break --force` removes only if asked to.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::terminal::{on_terminal, output};
use crate::{Folder, names};

/// Makes a lock by `mkdir` with its holder's notes in it, as scripts and agents make them.
fn noted_lock() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let lock = folder.path().join("jobs.lockdir");
    fs::create_dir(&lock).unwrap();
    fs::write(lock.join("owner.json"), "{}").unwrap();
    fs::write(lock.join("pid"), "17").unwrap();
    fs::create_dir(lock.join("cache")).unwrap();
    (folder, lock)
}

#[test]
fn a_lock_works_on_with_litter_in_it() {
    let folder = Folder::new();
    let litter = "echo >> jobs.lockdir/desktop.ini; mkdir -p jobs.lockdir/@eaDir";
    for _ in 0..3 {
        let ran = folder.run(&["run", "-n", "jobs", "--", "sh", "-c", litter]);
        assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
    }
    assert_eq!(folder.status()["state"], "open");
    let lock = folder.path().join("jobs.lockdir");
    assert_eq!(fs::read_to_string(lock.join("desktop.ini")).unwrap(), "\n\n\n");

    // A break leaves it open, too.
    let key = folder.run(&["acquire", "jobs"]);
    assert_eq!(key.code, 0, "{key:?}");
    assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);
    assert_eq!(folder.status()["state"], "open");

    // When the litter is gone, nothing is left of the lock.
    fs::remove_file(lock.join("desktop.ini")).unwrap();
    fs::remove_dir(lock.join("@eaDir")).unwrap();
    assert_eq!(folder.run(&["run", "-n", "jobs", "--", "true"]).code, 0);
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn foreign_things_are_listed_and_removed_only_on_request() {
    let (folder, lock) = noted_lock();
    let listed = "`cache` (an empty directory), `owner.json` (a file), `pid` (a file)";

    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(73, "`lockbydir break --force`");
    let refused = folder.run(&["break", "--force", "jobs"]);
    refused.refused(73, &format!("it holds {listed}; --remove-foreign removes that"));
    folder.run(&["break", "--remove-foreign", "jobs"]).refused(64, "--force");
    assert_eq!(names(&lock), ["cache", "owner.json", "pid"]);

    let broken = folder.run(&["break", "--force", "--remove-foreign", "jobs"]);

    assert_eq!(broken.code, 0, "{broken:?}");
    assert!(broken.err.contains(&format!("removed {listed}")), "{broken:?}");
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn only_plain_files_and_empty_directories_are_removed() {
    let (folder, lock) = noted_lock();
    fs::write(folder.path().join("precious"), "precious").unwrap();
    fs::write(lock.join("cache/inside"), "precious").unwrap();
    std::os::unix::fs::symlink("../precious", lock.join("link")).unwrap();
    let remove = ["break", "--force", "--remove-foreign", "jobs"];

    folder.run(&remove).refused(73, "remove `cache` (neither a plain file nor an empty directory)");
    fs::remove_dir_all(lock.join("cache")).unwrap();
    folder.run(&remove).refused(73, "remove `link` (neither");
    assert_eq!(names(&lock), ["link", "owner.json", "pid"]);
    fs::remove_file(lock.join("link")).unwrap();

    // The lock directory itself is a link to another directory.
    fs::rename(&lock, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
    folder.run(&remove).refused(73, "it is a symbolic link");
    assert_eq!(names(&folder.path().join("elsewhere")), ["owner.json", "pid"]);

    fs::remove_file(&lock).unwrap();
    fs::remove_dir_all(folder.path().join("elsewhere")).unwrap();
    fs::remove_file(folder.path().join("precious")).unwrap();
}

#[test]
fn removing_foreign_things_needs_consent_at_a_terminal() {
    let (folder, lock) = noted_lock();
    for (answer, code) in [("\n", 73), ("n\n", 73), ("y\n", 0)] {
        let mut child = on_terminal(&folder, "\"$L\" break --force jobs");
        child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
        let (ended, seen) = output(child);
        assert_eq!(ended, code, "{seen}");
        assert!(seen.contains("`owner.json` (a file)") && seen.contains("[y/N]"), "{seen}");
        assert_eq!(lock.exists(), code != 0, "{seen}");
    }
}

/// A union of file systems may show two entries, which block everybody.
#[test]
fn two_entries_are_removed_by_force_and_nothing_else_is() {
    let (folder, lock) = noted_lock();
    let entry = |token: &str, nonce: &str| {
        format!(
            "v1.held.p.{token}.0000000000000000000000000{nonce}.1.3600000.5.000000000000001f.\
             00000002.00000003.811-12345.web1.-"
        )
    };
    for name in [entry("17", "7"), entry("18", "8"), entry("3", "9")] {
        fs::write(lock.join(name), "").unwrap();
    }
    folder.run(&["break", "--force", "jobs"]).refused(73, "--remove-foreign removes that");
    assert_eq!(names(&lock).len(), 6);
    for (name, is_dir) in [("owner.json", false), ("pid", false), ("cache", true)] {
        let path = lock.join(name);
        if is_dir { fs::remove_dir(path) } else { fs::remove_file(path) }.unwrap();
    }

    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(73, "`lockbydir break --force`");
    folder.run(&["break", "jobs"]).refused(73, "two entries");
    assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);

    assert_eq!(folder.names(), Vec::<String>::new());
}

#[test]
fn status_and_is_locked_take_a_timeout_for_bare_locks() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("jobs.lockdir")).unwrap();
    crate::until("the bare lock is a little old", || {
        folder.run(&["is-locked", "-t", "100ms", "jobs"]).code == 1
    });
    assert_eq!(folder.run(&["is-locked", "-t", "1h", "jobs"]).code, 0);
    let remaining = |timeout: &str| {
        let ran = folder.run(&["status", "--json", "-t", timeout, "jobs"]);
        let status: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        status["remaining_s"].as_f64().unwrap()
    };
    assert!(remaining("100ms") == 0.0 && remaining("1h") > 3000.0);
    fs::remove_dir(folder.path().join("jobs.lockdir")).unwrap();
}

#[test]
fn two_names_that_are_not_utf8_differ_in_json() {
    use std::os::unix::ffi::OsStrExt;

    let folder = Folder::new();
    let lock = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
    let all: [&[u8]; 3] = [b"a\xfe.lockdir", b"a\xff.lockdir", b"b.lockdir"];
    all.iter().for_each(|name| fs::create_dir(lock(name)).unwrap());

    let ran = folder.run(&["list", "--json"]);

    let found: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let hex = |at: usize, key: &str| found[at][key].as_str().unwrap_or("none").to_owned();
    assert_eq!((hex(0, "name_hex"), hex(1, "name_hex")), ("61fe".into(), "61ff".into()));
    assert!(hex(0, "path_hex").ends_with("61fe2e6c6f636b646972"), "{found}");
    assert_eq!(found[2]["name"], "b");
    assert!(found[2].get("name_hex").is_none(), "{found}");
    all.iter().for_each(|name| fs::remove_dir(lock(name)).unwrap());
}
