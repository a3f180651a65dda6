//! `play`: the examples as real processes, what they leave behind, and their recordings.

mod ends;
mod recordings;
mod terminal;
mod web;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Folder, Ran, until};

/// Returns a `play` command with all its temporary files in this folder, which must be empty in the end.
fn command(folder: &Folder, args: &[&str]) -> Command {
    let mut command = folder.command(&[&["play"], args].concat());
    command.env("TMPDIR", folder.path()).stdin(Stdio::null());
    command
}

fn play(folder: &Folder, args: &[&str]) -> Ran {
    Ran::of(command(folder, args).output().expect("lockbydir runs"))
}

/// Returns all processes with this folder, or a path below it, in their arguments.
fn processes(folder: &Path) -> Vec<i32> {
    let folder = folder.to_str().unwrap().as_bytes();
    let is_of = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.windows(folder.len()).any(|part| part == folder)
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(is_of)
        .collect()
}

/// Waits for the lock directory of this name in the play's own folder, and returns its path.
fn lock_directory(folder: &Folder, name: &str) -> PathBuf {
    let mut found = None;
    until("the lock", || {
        let played = std::fs::read_dir(folder.path()).unwrap().flatten();
        found = played
            .map(|entry| entry.path().join(format!("{name}.lockdir")))
            .find(|path| path.exists());
        found.is_some()
    });
    found.unwrap()
}

/// Returns the last line that is not empty.
fn verdict(text: &str) -> &str {
    text.lines().rfind(|line| !line.is_empty()).unwrap_or_default().trim_end()
}

#[track_caller]
fn played_well(ran: &Ran) {
    assert_eq!((ran.code, &*ran.err), (0, ""), "{ran:?}");
}

#[test]
fn one_of_two_cooks_waits() {
    let folder = Folder::new();

    let ran = play(&folder, &["how-to-use"]);

    played_well(&ran);
    assert_eq!(ran.out.matches(" waits\n").count(), 1, "{}", ran.out);
    assert_eq!(ran.out.matches(" holds it, handed over\n").count(), 1, "{}", ran.out);
    assert_eq!(verdict(&ran.out), "Verdict: both have cooked, one after the other.");
}

#[test]
fn the_tour_prints_its_text_and_the_events() {
    let folder = Folder::new();

    let ran = play(&folder, &["inner-workings"]);

    played_well(&ran);
    for words in ["\n4. Waiting for a timeout\n", " let it expire\n"] {
        assert!(ran.out.contains(words), "no `{words}` in {}", ran.out);
    }
    assert_eq!(
        verdict(&ran.out),
        "Verdict: every scene went as planned, and nothing is left behind."
    );
}

#[test]
fn without_an_example_four_share_one_bed() {
    let folder = Folder::new();

    let ran = play(&folder, &["--scale", "0.5", "--forgets", "1"]);

    played_well(&ran);
    assert_eq!(ran.out.matches("is tired").count(), 4, "{}", ran.out);
    assert!(ran.out.contains("| bed: sleeper "), "{}", ran.out);
    assert!(ran.out.contains(" holds it, after expiry\n"), "{}", ran.out);
    assert_eq!(verdict(&ran.out), "Verdict: the bed is empty, and never were two in it.");
}

#[test]
fn a_bed_that_is_not_empty_is_a_bad_verdict() {
    let folder = Folder::new();
    let child = command(&folder, &["one-bed", "--scale", "0.2", "--forgets", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    // A foreign thing is put into the lock directory.
    std::fs::write(lock_directory(&folder, "bed").join("teddy"), "").unwrap();

    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(verdict(&ran.out), "Verdict: the bed is NOT EMPTY, and something WENT WRONG.");
}

#[test]
fn processes_queue_and_their_times_are_compared() {
    let folder = Folder::new();

    let ran = play(&folder, &["massive", "--processes", "30", "--scale", "0.3"]);

    played_well(&ran);
    assert!(ran.out.starts_with("30 processes, one lock; each holds it for 15ms"), "{}", ran.out);
    assert!(ran.out.matches(": number ").count() > 30, "{}", ran.out);
    assert!(ran.out.contains("\nOverhead of a handoff in ms: min "), "{}", ran.out);
    let verdict = verdict(&ran.out);
    assert!(verdict.ends_with("all are greater than 0.015 s; the lock is gone."), "{verdict}");
}

#[test]
fn the_lock_survives_a_storm_of_deaths_and_expiries() {
    let calm: Vec<_> = (0..4).map_while(|_| storm_without()).collect();
    assert!(calm.len() < 4, "each time {calm:?} does not come");
}

/// Returns what does not come in a storm, if anything: on a busy machine the lock may expire before a death.
fn storm_without() -> Option<&'static str> {
    let folder = Folder::new();

    let ran = play(&folder, &["storm", "--scale", "0.3", "--seed", "7"]);

    played_well(&ran);
    assert_eq!(
        verdict(&ran.out),
        "Verdict: never were two at the helm; the numbers grow; the lock moved on; nothing is left."
    );
    [
        "killed at the helm",
        "stopped at the helm",
        " forgets the helm",
        " let it expire\n",
        " holds it, after a death\n",
        " gave up waiting\n",
    ]
    .into_iter()
    .find(|words| !ran.out.contains(words))
}

#[test]
fn an_option_that_an_example_lacks_is_wrong_usage() {
    let folder = Folder::new();
    play(&folder, &["how-to-use", "--scale", "2"]).refused(64, "how-to-use has no --scale");
    play(&folder, &["massive", "--forgets", "1"]).refused(64, "massive has no --forgets");
    play(&folder, &["one-bed", "--seed", "1"]).refused(64, "one-bed has no --seed");
    play(&folder, &["two-beds"]).refused(64, "two-beds");
    play(&folder, &["--scale", "0"]).refused(64, "a number from 0.01 to 100");
    play(&folder, &["--scale", "NaN"]).refused(64, "a number from 0.01 to 100");
    play(&folder, &["--forgets", "1.5"]).refused(64, "a number from 0 to 1");
    play(&folder, &["storm", "--processes", "1"]).refused(64, "2..=1000");
    play(&folder, &["--speed", "2"]).refused(64, "--replay");
    play(&folder, &["--listen", "127.0.0.1:0"]).refused(64, "--web");
    for conflict in [&["one-bed"][..], &["--scale", "2"], &["--seed", "2"]] {
        play(&folder, &[&["--replay", "x.jsonl"], conflict].concat()).refused(64, "cannot be used");
    }
    for speed in ["0", "-1", "0.09", "1001", "NaN", "inf", "fast"] {
        let speed = format!("--speed={speed}");
        play(&folder, &["--replay", "x.jsonl", &speed]).refused(64, "a number from 0.1 to 1000");
    }
}
