//! Invalid input: each kind has its exit code, and a message that names the fault.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::{Folder, Ran, names};

/// Every verb that takes a name, with its other arguments.
const VERBS: [&[&str]; 7] = [
    &["run", "NAME", "--", "true"],
    &["acquire", "NAME"],
    &["renew", "NAME", "1-00000000000000000000000007"],
    &["release", "NAME", "1-00000000000000000000000007"],
    &["status", "NAME"],
    &["is-locked", "NAME"],
    &["break", "NAME"],
];

fn with_name<'a>(verb: &[&'a str], name: &'a str) -> Vec<&'a str> {
    verb.iter().map(|word| if *word == "NAME" { name } else { word }).collect()
}

#[test]
fn invalid_names_are_refused() {
    let folder = Folder::new();
    let long = "x".repeat(221);
    for verb in VERBS {
        for (name, words) in [
            ("", "empty"),
            ("a/", "ends in a slash"),
            ("a/..", "dots"),
            (".", "name a lock in that folder, like `./jobs`"),
            (".lockdir", "there is none before its `.lockdir`"),
            (long.as_str(), "too long: 221 bytes, at most 220"),
        ] {
            folder.run(&with_name(verb, name)).refused(64, words);
        }
        let ran = folder.run(&with_name(verb, "nowhere://me:secret@h:2379/jobs"));
        ran.refused(64, "`nowhere://h:2379/jobs`: there is no engine for `nowhere://` names");
        assert!(!ran.err.contains("secret"), "{ran:?}");
    }
    for verb in ["list", "clean"] {
        folder.run(&[verb, "nowhere://h/team"]).refused(64, "no engine for `nowhere://`");
    }
}

#[test]
#[cfg(feature = "etcd")]
fn an_engine_out_of_reach_is_69_for_every_verb() {
    // No server listens on this port: only root may, and root's servers have other ports.
    const NOBODY: &str = "etcd://me:secret@127.0.0.1:1/jobs";
    let folder = Folder::new();
    let mut verbs: Vec<Vec<&str>> = VERBS.iter().map(|verb| with_name(verb, NOBODY)).collect();
    for verb in &mut verbs[..2] {
        verb.insert(1, "-n");
    }
    verbs.extend([vec!["list", NOBODY], vec!["clean", NOBODY]]);
    // `--dir` is for paths only.
    verbs.push(vec!["status", "--dir", "folder", NOBODY]);

    // Each one tries for some seconds.
    std::thread::scope(|scope| {
        for verb in &verbs {
            scope.spawn(|| {
                let ran = folder.run(verb);

                ran.refused(69, "127.0.0.1:1");
                assert!(!ran.err.contains("secret"), "{ran:?}");
            });
        }
    });
}

#[test]
#[cfg(feature = "etcd")]
fn options_for_directories_are_refused_with_a_url() {
    let folder = Folder::new();
    for (option, value) in [("--mode", "770"), ("--group", "0")] {
        let ran = folder.run(&["acquire", "-n", option, value, "etcd://127.0.0.1:1/jobs"]);
        ran.refused(64, &format!("no directory, and only those have a {}", &option[2..]));
    }
}

#[test]
fn invalid_durations_are_refused() {
    let folder = Folder::new();
    for option in ["--timeout", "--patience"] {
        for text in ["NaN", "inf", "-1", "-1s", "1e30", "99999999999999999999", "4000d", "ten", ""]
        {
            let ran = folder.run(&["run", &format!("{option}={text}"), "jobs", "--", "true"]);
            ran.refused(64, &format!("`{text}`"));
        }
    }
    folder.run(&["run", "-t", "0", "jobs", "--", "true"]).refused(64, "the shortest is 100ms");
    folder.run(&["run", "-t", "forever", "jobs", "--", "true"]).refused(64, "`forever`");
    let mut from_environment = folder.command(&["run", "jobs", "--", "true"]);
    let output = from_environment.env("LOCKBYDIR_TIMEOUT", "soon").output().unwrap();
    Ran::of(output).refused(64, "`soon`");
}

#[test]
fn other_wrong_usage() {
    let folder = Folder::new();
    let long = "x".repeat(41);
    for (args, words) in [
        (&["run", "--label", "caf\u{e9}", "jobs", "--", "true"][..], "label"),
        (&["run", "--label", &long, "jobs", "--", "true"], "label"),
        (&["run", "--mode", "9", "jobs", "--", "true"], "`9`"),
        (&["run", "-E", "256", "jobs", "--", "true"], "256"),
        (&["run", "-q", "-v", "jobs", "--", "true"], "-q"),
        (&["acquire", "--pid", "0", "jobs"], "no process 0"),
        (&["acquire", "--pid", "4194304000", "jobs"], "no process 4194304000"),
        (&["no-such-verb"], "no-such-verb"),
        (&["man", "no-such-verb"], "no-such-verb"),
        (&[], "Usage"),
    ] {
        let ran = folder.run(args);
        assert_eq!(ran.code, 64, "{args:?}: {ran:?}");
        assert!(ran.err.contains(words), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_parent_that_is_missing_or_no_directory() {
    let folder = Folder::new();
    fs::write(folder.path().join("file"), "").unwrap();
    for name in ["missing/jobs", "file/jobs"] {
        folder.run(&["run", name, "--", "true"]).refused(73, "its parent folder");
        folder.run(&["acquire", name]).refused(73, "its parent folder");
    }
    folder.run(&["list", "missing"]).refused(74, "missing");
    fs::remove_file(folder.path().join("file")).unwrap();
}

#[test]
fn every_verb_refuses_foreign_things_and_keeps_them() {
    let folder = Folder::new();
    let at = folder.path().join("jobs.lockdir");
    let refused = |words: &str| {
        for verb in VERBS {
            match verb[0] {
                "status" => {
                    assert_eq!(folder.status()["state"], "foreign");
                }
                // A directory without an entry of ours cannot have a key of ours.
                "renew" | "release" => {
                    assert_eq!(folder.run(&with_name(verb, "jobs")).code, 76);
                }
                _ => folder.run(&with_name(verb, "jobs")).refused(73, words),
            }
        }
    };

    fs::write(&at, "theirs").unwrap();
    refused("not a directory");
    assert_eq!(fs::read(&at).unwrap(), b"theirs");
    fs::remove_file(&at).unwrap();

    fs::create_dir(folder.path().join("target")).unwrap();
    for target in ["target", "dangling"] {
        symlink(target, &at).unwrap();
        refused("symbolic link");
        fs::remove_file(&at).unwrap();
    }
    assert_eq!(names(&folder.path().join("target")), Vec::<String>::new());
    fs::remove_dir(folder.path().join("target")).unwrap();

    let absurd = "v1.held.p.99999999999999999999.00000000000000000000000007.0.1.1.0.0.0.none.h.x";
    for name in [
        &b"notes.txt"[..],
        b"\xff\xfe",
        b"\x1b[2J\x1b]0;title\x07",
        &[b'v'; 255],
        absurd.as_bytes(),
    ] {
        fs::create_dir(&at).unwrap();
        fs::write(at.join(OsStr::from_bytes(name)), "theirs").unwrap();
        refused("not ours");
        assert_eq!(fs::read(at.join(OsStr::from_bytes(name))).unwrap(), b"theirs");
        fs::remove_dir_all(&at).unwrap();
    }

    let key = folder.run(&["acquire", "jobs"]).out;
    let entry = names(&at).remove(0);
    fs::write(at.join(entry.replace(".1.10000.", ".2.10000.")), "").unwrap();
    folder.run(&["run", "jobs", "--", "true"]).refused(73, "two entries at once");
    assert!(!key.is_empty());
    fs::remove_dir_all(&at).unwrap();
}

#[test]
fn control_characters_in_a_name_do_not_reach_the_terminal() {
    let folder = Folder::new();
    let name = "a\x1b[31mb\u{202e}";
    let key = folder.run(&["acquire", name]).out;
    folder.run(&["run", "-n", name, "--", "true"]).refused(75, "a\\u{1b}[31mb\\u{202e}");
    let ran = folder.run(&["list"]);
    assert!(ran.out.contains("a\\u{1b}[31mb\\u{202e}"), "{ran:?}");
    assert_eq!(folder.run(&["release", name, key.trim()]).code, 0);
}

#[test]
fn an_output_that_was_closed_is_no_panic() {
    let folder = Folder::new();
    let mut child =
        folder.command(&["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.err, "");
}

/// Runs in builds without all features only.
#[cfg(not(feature = "player"))]
#[test]
fn a_verb_that_was_left_out_of_the_build_says_how_to_get_it() {
    let folder = Folder::new();
    for args in
        [&["watch", "--once"][..], &["serve"], &["play", "storm", "--web"], &["watch", "--help"]]
    {
        folder.run(args).refused(69, "--features full");
    }
}
