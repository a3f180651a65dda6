//! What the program prints, as snapshots: help texts, a manual page, errors, JSON and a frame of `watch`. A
//! change of any of them shows in the diff.
//! `INSTA_UPDATE=always cargo test -p lockbydir-cli --all-features --test it snapshots` accepts new texts.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use crate::{Folder, Ran};

/// The folder of a test is at another path in each run.
fn placeless(folder: &Folder, text: &str) -> String {
    let path = folder.path().canonicalize().expect("the folder");
    text.replace(path.to_str().expect("an ASCII path"), "/FOLDER")
        .replace(folder.path().to_str().expect("an ASCII path"), "/FOLDER")
}

/// Digits stand for themselves only where they are the same in each run.
fn digitless(text: &str) -> String {
    text.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect()
}

#[test]
fn help_texts() {
    let folder = Folder::new();
    let verbs = [
        "",
        "run",
        "acquire",
        "renew",
        "release",
        "status",
        "is-locked",
        "list",
        "break",
        "clean",
        "doctor",
        "bench",
        "completions",
        "man",
    ];
    let player = ["watch", "serve", "play"];
    let player = player.iter().filter(|_| cfg!(feature = "player"));

    for verb in verbs.iter().chain(player) {
        let mut command = folder.command(&[verb, "--help"][usize::from(verb.is_empty())..]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOCKBYDIR_")) {
            command.env_remove(name);
        }
        let ran = Ran::of(command.env("COLUMNS", "100").output().expect("lockbydir runs"));

        assert_eq!(ran.code, 0, "{ran:?}");
        let name = if verb.is_empty() { "help".to_owned() } else { format!("help_{verb}") };
        assert_snapshot!(name, ran.out);
    }
}

#[test]
fn a_manual_page() {
    let folder = Folder::new();

    let ran = folder.run(&["man", "run"]);

    assert_eq!(ran.code, 0, "{ran:?}");
    assert_snapshot!("man_run", ran.out.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    assert_snapshot!("man_see_also", folder.run(&["man"]).out.rsplit("SEE ALSO").next().unwrap());
}

#[test]
fn errors() {
    let folder = Folder::new();
    let path = folder.path();
    fs::create_dir(path.join("foreign.lockdir")).expect("a directory");
    fs::write(path.join("foreign.lockdir/notes.txt"), "").expect("a file");
    fs::write(path.join("file.lockdir"), "").expect("a file");
    fs::create_dir(path.join("bare.lockdir")).expect("a directory");
    let held = folder.run(&["acquire", "held", "-t", "1h", "--label", "nightly"]);
    assert_eq!(held.code, 0, "{held:?}");
    let calls: &[&[&str]] = &[
        &["run", "-n", "held", "--", "true"],
        &["break", "held"],
        &["run", "-n", "-t", "1h", "bare", "--", "true"],
        &["break", "-t", "1h", "bare"],
        &["run", "-n", "foreign", "--", "true"],
        &["run", "-n", "file", "--", "true"],
        &["run", "no/such/folder", "--", "true"],
        &["run", "", "--", "true"],
        &["run", "free/", "--", "true"],
        &["run", "free", "--", "no-such-command"],
        &["run", "-t", "1ms", "free", "--", "true"],
        &["run", "-t", "soon", "free", "--", "true"],
        &["run", "-w", "never", "free", "--", "true"],
        &[
            "run",
            "--label",
            "a label that is much longer than forty characters",
            "free",
            "--",
            "true",
        ],
        &["run", "--mode", "rwx", "free", "--", "true"],
        &["run", "-s", "free", "--", "true"],
        &["run", "ftp://host/free", "--", "true"],
        &["renew", "free", "no-key"],
        &["is-locked", "no/such/folder"],
        &["lock", "free"],
    ];

    let mut all = String::new();
    for call in calls {
        let ran = folder.run(call);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let said = placeless(&folder, &ran.err).replace(&host, "HOST");
        // What the lock's age and rest are is another matter in each run.
        let said = match *call {
            [.., "held" | "bare", "--", "true"] | [.., "held" | "bare"] => digitless(&said),
            _ => said,
        };
        all += &format!("$ lockbydir {}\n{}[{}]\n\n", call.join(" "), said, ran.code);
    }

    assert_snapshot!(all);
    assert_eq!(folder.run(&["release", "held", held.out.trim()]).code, 0);
    for name in ["foreign.lockdir", "bare.lockdir"] {
        fs::remove_dir_all(path.join(name)).expect("removed");
    }
    fs::remove_file(path.join("file.lockdir")).expect("removed");
}

/// Each value that differs from run to run becomes the name of its type.
fn typed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), typed(value))).collect()
        }
        Value::Array(items) => items.iter().map(typed).collect(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "a string".into(),
        other => other.clone(),
    }
}

#[test]
fn json() {
    let folder = Folder::new();
    let holding = folder.hold(&["--label", "nightly"], "cat");
    fs::create_dir(folder.path().join("bare.lockdir")).expect("a directory");

    let mut all = String::new();
    for call in
        [&["status", "jobs", "--json"][..], &["status", "free", "--json"], &["list", "--json"]]
    {
        let value: Value = serde_json::from_str(&folder.run(call).out).expect("JSON");
        let text = serde_json::to_string_pretty(&typed(&value)).expect("text");
        all += &format!("$ lockbydir {}\n{text}\n\n", call.join(" "));
    }

    assert_snapshot!(all);
    fs::remove_dir(folder.path().join("bare.lockdir")).expect("removed");
    assert_eq!(holding.finish().code, 0);
}

#[cfg(feature = "player")]
#[test]
fn a_frame_of_watch() {
    let folder = Folder::new();
    let path = folder.path();
    let held = folder.run(&["acquire", "held", "-t", "1h", "--label", "nightly"]);
    fs::create_dir(path.join("bare.lockdir")).expect("a directory");
    fs::create_dir(path.join("foreign.lockdir")).expect("a directory");
    fs::write(path.join("foreign.lockdir/notes.txt"), "").expect("a file");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();

    let frame = folder.run(&["watch", "--once"]);

    // The first line is the path and the time of day.
    let body = frame.out.split_once('\n').map_or("", |(_, body)| body);
    let short: String = host.split('.').next().unwrap_or_default().chars().take(12).collect();
    let body = digitless(&body.replace(&format!("{short}:"), "HOST:"));
    // A host's name is of any length, so are the blanks behind it.
    let body = body.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_snapshot!(body.collect::<Vec<_>>().join("\n"));
    assert_eq!(folder.run(&["release", "held", held.out.trim()]).code, 0);
    for name in ["foreign.lockdir", "bare.lockdir"] {
        fs::remove_dir_all(path.join(name)).expect("removed");
    }
}
