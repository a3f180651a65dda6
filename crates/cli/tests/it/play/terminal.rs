//! `play` on a terminal (a pseudo-terminal made by `script`).

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use super::{processes, verdict};
use crate::watch::Terminal;
use crate::{Folder, until};

fn on_terminal(folder: &Folder, args: &str) -> Child {
    on(folder, "xterm-256color", args)
}

fn on(folder: &Folder, terminal: &str, args: &str) -> Child {
    let shell = format!("stty rows 30 cols 100; exec \"$L\" play {args}");
    Command::new("script")
        .args(["--quiet", "--return", "--command", &shell, "/dev/null"])
        .current_dir(folder.path())
        .env("L", env!("CARGO_BIN_EXE_lockbydir"))
        .env("TMPDIR", folder.path())
        .env("SHELL", "/bin/sh")
        .env("TERM", terminal)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs")
}

/// Reads its output up to these words.
fn seen_until(child: &mut Child, words: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(words) {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

fn rest(mut child: Child) -> (i32, String) {
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (code, String::from_utf8_lossy(&all).into_owned())
}

#[test]
fn its_lanes_are_shown_and_its_last_frame_and_verdict_stay() {
    let folder = Folder::new();

    let (code, all) = rest(on_terminal(&folder, "one-bed --scale 0.5 --forgets 0"));

    assert_eq!(code, 0, "{all}");
    // The alternate screen is left before the last frame and the verdict are printed.
    let (frames, stays) = all.rsplit_once("\u{1b}[?1049l").expect("a screen of its own");
    assert!(frames.contains("sleeper"), "{frames}");
    assert!(stays.contains("sleeper 1") && stays.contains("sleeper 4"), "{stays}");
    assert_eq!(verdict(stays), "Verdict: the bed is empty, and never were two in it.");
}

#[test]
fn q_ends_the_play_and_all_of_it() {
    let folder = Folder::new();
    let mut child = on_terminal(&folder, "storm");
    seen_until(&mut child, "steady");

    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let (code, _) = rest(child);

    // Without a verdict the play does not succeed.
    assert_eq!(code, 130);
    assert_eq!(processes(folder.path()), Vec::<i32>::new());
}

#[test]
fn a_vanished_terminal_ends_the_play_and_all_of_it() {
    let folder = Folder::new();
    let mut child = on_terminal(&folder, "storm");
    seen_until(&mut child, "steady");

    child.kill().unwrap();
    child.wait().unwrap();

    until("the end of all", || processes(folder.path()).is_empty());
    until("the folder's end", || folder.names().is_empty());
}

#[test]
fn a_replay_ends_in_the_same_frame_as_the_play() {
    let folder = Folder::new();
    let stays = |args: &str| {
        let (code, all) = rest(on_terminal(&folder, args));
        assert_eq!(code, 0, "{all}");
        all.rsplit_once("\u{1b}[?1049l").expect("a screen of its own").1.to_owned()
    };

    let live = stays("one-bed --scale 0.5 --record night.jsonl");
    let again = stays("--replay night.jsonl --speed 10");

    let lanes = |frame: &str| -> Vec<String> {
        frame.lines().filter(|line| line.contains("sleeper ")).map(str::to_owned).collect()
    };
    assert!(lanes(&live).len() >= 4, "{live}");
    let names = |frame: &str| -> Vec<String> {
        let name = |line: &String| line.split("sleeper ").nth(1).map(|rest| rest[..1].to_owned());
        lanes(frame).iter().filter_map(name).collect()
    };
    assert_eq!(names(&again), names(&live), "{live}\n{again}");
    assert_eq!(verdict(&again), verdict(&live));
    std::fs::remove_file(folder.path().join("night.jsonl")).unwrap();
}

#[test]
fn a_paused_replay_stays_until_it_is_resumed_or_quit() {
    let folder = Folder::new();
    let by = r#"{"id":"a","host":"web1","label":"nightly"}"#;
    let acquired = r#""token":1,"timeout_s":60,"remaining_s":60,"how":"free""#;
    let lines = [
        r#"{"format":"lockbydir events","version":1,"program":"a test"}"#.to_owned(),
        format!(r#"{{"at":100,"lock":"jobs","what":"acquired","by":{by},{acquired}}}"#),
        format!(r#"{{"at":103,"lock":"jobs","what":"released","by":{by}}}"#),
    ];
    std::fs::write(folder.path().join("night.jsonl"), lines.join("\n") + "\n").unwrap();

    for (key, has_frame) in [(" ", true), ("q", false)] {
        let shell = "stty rows 30 cols 100; \"$L\" play --replay night.jsonl; echo \"code $?\"";
        let mut terminal = Terminal::run(&folder, shell);
        terminal.shows("space pause");
        terminal.press(" ");
        terminal.shows("paused; over at ");
        terminal.press("-");
        terminal.shows("1 column = 1.0s");
        terminal.press(key);

        let all = terminal.end();
        let (_, stays) = all.rsplit_once("\u{1b}[?1049l").expect("a screen of its own");
        assert!(stays.contains("code 0"), "{stays}");
        assert_eq!(stays.contains("over at "), has_frame, "{stays}");
        assert!(!stays.contains("paused"), "{stays}");
    }
    std::fs::remove_file(folder.path().join("night.jsonl")).unwrap();
}

#[test]
fn a_terminal_without_a_cursor_gets_lines() {
    let folder = Folder::new();

    let (code, all) = rest(on(&folder, "dumb", "--scale 0.5 --forgets 0"));

    assert_eq!(code, 0, "{all}");
    assert!(!all.contains('\u{1b}'), "{all:?}");
    assert!(all.contains("| bed: sleeper "), "{all}");
}
