//! `acquire`, `renew`, `release`: locks without a process of ours, by their keys.

use std::process::Command;

use crate::{Folder, until};

#[test]
fn a_key_holds_until_it_is_released() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "jobs", "-t", "1m", "--label", "deploy"]).out;
    assert_eq!(key.lines().count(), 1);

    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "`deploy`");
    assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
    assert_eq!(folder.run(&["run", "-n", "jobs", "--", "true"]).code, 0);
}

#[test]
fn a_key_renews_with_its_old_or_a_new_timeout() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "jobs", "-t", "1m"]).out;

    assert_eq!(folder.run(&["renew", "jobs", key.trim()]).code, 0);
    assert_eq!(folder.status()["timeout_s"], 60.0);
    assert_eq!(folder.run(&["renew", "jobs", key.trim(), "-t", "2m"]).code, 0);
    assert_eq!(folder.status()["timeout_s"], 120.0);

    assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
}

#[test]
fn malformed_wrong_and_old_keys_are_refused() {
    let folder = Folder::new();
    let old = folder.run(&["acquire", "jobs"]).out;
    assert_eq!(folder.run(&["release", "jobs", old.trim()]).code, 0);
    for verb in ["renew", "release"] {
        folder.run(&[verb, "jobs", old.trim()]).refused(76, "lost the lock");
    }

    let key = folder.run(&["acquire", "jobs"]).out;
    for verb in ["renew", "release"] {
        folder.run(&[verb, "jobs", old.trim()]).refused(76, "lost the lock");
        let wrong = key.trim().replace(|c: char| c.is_ascii_lowercase(), "0");
        folder.run(&[verb, "jobs", &wrong]).refused(76, "lost the lock");
        for malformed in ["", "x", "1-", "1-x", "-1", "\u{1b}[2J", "99999999999999999999999-0"] {
            folder.run(&[verb, "jobs", "--", malformed]).refused(64, "is not a key");
        }
        let wordy = format!("{} ", key.trim());
        folder.run(&[verb, "jobs", &wordy]).refused(64, "is not a key");
    }
    assert_eq!(folder.status()["state"], "held");
    assert_eq!(folder.run(&["release", "jobs", key.trim()]).code, 0);
}

#[test]
fn a_key_whose_lock_expired_and_was_taken_holds_no_more() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "jobs", "-t", "100ms"]).out;
    let holding = folder.hold(&[], "cat");

    folder.run(&["renew", "jobs", key.trim()]).refused(76, "held by pid");
    folder.run(&["release", "jobs", key.trim()]).refused(76, "held by pid");

    assert_eq!(folder.status()["state"], "held");
    assert_eq!(holding.finish().code, 0);
}

#[test]
fn a_key_that_cannot_be_printed_leaves_no_lock() {
    let folder = Folder::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = folder.command(&["acquire", "jobs"]).stdout(full).output().unwrap();
    crate::Ran::of(output).refused(74, "so the lock is released");
    assert_eq!(folder.status()["state"], "free");
}

#[test]
fn a_foreign_file_in_a_held_lock_is_named_and_kept() {
    let folder = Folder::new();
    let key = folder.run(&["acquire", "jobs"]).out;
    let strange = folder.path().join("jobs.lockdir/notes");
    std::fs::write(&strange, "theirs").unwrap();

    folder.run(&["release", "jobs", key.trim()]).refused(74, "`notes` in it prevents its removal");

    assert_eq!(crate::names(&folder.path().join("jobs.lockdir")), ["notes"]);
    std::fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();
}

#[test]
fn a_lock_tied_to_a_process_is_free_when_that_dies() {
    let folder = Folder::new();
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sleeper.id().to_string();
    assert_eq!(folder.run(&["acquire", "--pid", &pid, "-t", "60s", "jobs"]).code, 0);
    assert_eq!(folder.run(&["is-locked", "jobs"]).code, 0);

    sleeper.kill().unwrap();
    sleeper.wait().unwrap();

    until("its death", || folder.status()["state"] == "dead");
    assert_eq!(folder.run(&["is-locked", "jobs"]).code, 1);
    let ran = folder.run(&["run", "-n", "jobs", "--", "true"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn break_spares_a_living_holder_unless_forced() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["break", "jobs"]).code, 0, "a free lock needs no breaking");
    let key = folder.run(&["acquire", "jobs"]).out;

    folder.run(&["break", "jobs"]).refused(1, "--force");
    assert_eq!(folder.run(&["break", "--force", "jobs"]).code, 0);

    assert_eq!(folder.status()["state"], "free");
    folder.run(&["release", "jobs", key.trim()]).refused(76, "lost the lock");

    folder.run(&["acquire", "jobs", "-t", "1s"]);
    until("the expiry", || folder.status()["state"] == "expired");
    assert_eq!(folder.run(&["break", "jobs"]).code, 0);
}

#[test]
fn a_fenced_lock_keeps_its_directory_and_its_numbers_grow() {
    let folder = Folder::new();
    let token = || {
        let ran =
            folder.run(&["run", "--fenced", "jobs", "--", "sh", "-c", "echo $LOCKBYDIR_TOKEN"]);
        ran.out.trim().parse::<u64>().unwrap()
    };
    let first = token();
    assert_eq!(folder.status()["state"], "open");
    assert!(token() > first);

    std::fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();
}

#[test]
fn plain_mkdir_locks_and_ours_respect_each_other() {
    let folder = Folder::new();
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-c", script]).current_dir(folder.path()).status();
        status.unwrap().success()
    };

    let holding = folder.hold(&[], "cat");
    assert!(!shell("mkdir jobs.lockdir 2>/dev/null"), "theirs cannot be made while ours is held");
    assert!(!shell("rmdir jobs.lockdir 2>/dev/null"), "theirs cannot break ours");
    assert_eq!(holding.finish().code, 0);

    assert!(shell("mkdir jobs.lockdir"));
    assert_eq!(folder.status()["state"], "bare");
    folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "plain mkdir lock");
    folder.run(&["break", "jobs"]).refused(1, "plain mkdir lock");
    assert!(shell("rmdir jobs.lockdir"));
    assert_eq!(folder.run(&["run", "-n", "jobs", "--", "true"]).code, 0);

    assert!(shell("mkdir jobs.lockdir && sleep 0.1"));
    let ran = folder.run(&["run", "-n", "-t", "100ms", "jobs", "--", "true"]);
    assert_eq!(ran.code, 0, "an old one is as good as none: {ran:?}");
    assert!(
        ran.err.contains("removed the lock of an unknown holder (a plain mkdir lock, "),
        "{ran:?}"
    );
    assert!(ran.err.contains("or still go on: use a longer --timeout"), "{ran:?}");

    assert!(shell("mkdir jobs.lockdir && sleep 0.1"));
    let quiet = folder.run(&["run", "-q", "-n", "-t", "100ms", "jobs", "--", "true"]);
    assert_eq!((quiet.code, &*quiet.err), (0, ""), "{quiet:?}");

    // The holder released it itself, so no work is half done.
    assert!(shell("mkdir jobs.lockdir && sleep 0.1 && rmdir jobs.lockdir"));
    let free = folder.run(&["run", "-v", "-n", "-t", "100ms", "jobs", "--", "true"]);
    assert!(free.err.contains("got the lock: it was free"), "{free:?}");
}

#[test]
fn no_date_that_a_user_sets_ends_a_lock() {
    let folder = Folder::new();
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-c", script]).current_dir(folder.path()).status();
        assert!(status.unwrap().success(), "{script}");
    };
    let dated = [
        "touch -d '2001-01-01' jobs.lockdir",
        "touch -h -d '2001-01-01' jobs.lockdir",
        "touch -d '2001-01-01' jobs.lockdir && chmod 755 jobs.lockdir && chmod 700 jobs.lockdir",
    ];

    for date in dated {
        shell("mkdir jobs.lockdir");
        shell(date);
        let status = folder.status();
        assert!(status["age_s"].as_f64().unwrap() < 1000.0, "{date}: {status}");
        folder
            .run(&["run", "-n", "-t", "10m", "jobs", "--", "true"])
            .refused(75, "plain mkdir lock");
        folder.run(&["break", "-t", "10m", "jobs"]).refused(1, "plain mkdir lock");
        shell("rmdir jobs.lockdir");
    }

    // For a holder on another host only the change time shows the lock's age.
    let name = "v1.held.p.5.0000000000000000000000000a.0.3600000.1.00000000000000aa.\
                effffffa.effffffc.7-7.far.-";
    for date in dated {
        shell(&format!("mkdir jobs.lockdir && : > jobs.lockdir/{name}"));
        shell(date);
        assert_eq!(folder.status()["state"], "held", "{date}");
        folder.run(&["run", "-n", "jobs", "--", "true"]).refused(75, "far");
        folder.run(&["break", "jobs"]).refused(1, "far");
        shell("rm -r jobs.lockdir");
    }
}
