//! Whatever ends a play also ends all that it started and removes its folder.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::{command, processes};
use crate::{Folder, until};

/// Starts a play, waits until it prints these words, sends it this signal, and checks that no process or
/// file is left.
fn nothing_stays(args: &[&str], words: &str, signal: Signal) {
    let folder = Folder::new();
    let mut child = command(&folder, args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(words)), "it never said `{words}`");
    until("its processes", || processes(folder.path()).len() > 3);

    kill_process(Pid::from_child(&child), signal).unwrap();

    assert!(!child.wait().unwrap().success());
    until("the end of all", || processes(folder.path()).is_empty());
    until("the folder's end", || folder.names().is_empty());
}

#[test]
fn a_killed_play_leaves_nothing() {
    nothing_stays(&["one-bed"], "lies down", Signal::KILL);
}

#[test]
fn a_killed_play_leaves_no_stopped_process() {
    nothing_stays(&["storm"], "stopped at the helm", Signal::KILL);
}

#[test]
fn a_terminated_play_leaves_nothing() {
    nothing_stays(&["storm"], "holds it", Signal::TERM);
}

#[test]
fn an_interrupted_play_leaves_nothing() {
    nothing_stays(&["massive", "--processes", "50", "--scale", "3"], "| counter: ", Signal::INT);
}

#[test]
fn a_reader_that_stops_ends_the_play() {
    let folder = Folder::new();
    let mut child = command(&folder, &["one-bed"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();

    let ended = child.wait().unwrap();

    assert!(line.starts_with("4 sleepers"), "{line}");
    assert_eq!(ended.code(), Some(130));
    assert!(processes(folder.path()).is_empty());
}

#[test]
fn a_stage_that_is_killed_takes_all_with_it() {
    let folder = Folder::new();
    let mut child =
        command(&folder, &["storm"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("stopped at the helm")));
    let stage = processes(folder.path())
        .into_iter()
        .find(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
            command.contains("play-stage")
        })
        .expect("a stage");

    kill_process(Pid::from_raw(stage).unwrap(), Signal::KILL).unwrap();

    // A play without a verdict counts as a bad one.
    assert_eq!(child.wait().unwrap().code(), Some(1));
    until("the end of all", || processes(folder.path()).is_empty());
}
