//! `play --web`: a play in a page. The page itself has its own tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{command, processes, verdict};
use crate::{Folder, until};

/// Starts a play and returns the address of its page.
fn served(folder: &Folder, args: &[&str]) -> (Child, String) {
    let args = [args, &["--web", "--listen", "127.0.0.1:0"]].concat();
    let mut child = command(folder, &args).stdout(Stdio::piped()).spawn().unwrap();
    // Byte by byte: the output after this line is read later.
    let mut line = Vec::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let address = line.trim().strip_prefix("http://").expect("an address").trim_end_matches('/');
    (child, address.to_owned())
}

/// The messages that mark the end of all events; the first one is in a page that is opened afterwards.
const OVER: [&str; 2] = ["\"is_over\":true", "event: over"];

/// Reads the page's stream until one of these texts arrives.
fn sent_until(address: &str, words: &[&str]) {
    let mut page = TcpStream::connect(address).unwrap();
    write!(page, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(page).lines();
    let is_it = |line: String| words.iter().any(|words| line.contains(words));
    assert!(lines.any(|line| is_it(line.unwrap())), "none of {words:?} was sent");
}

fn interrupted(child: Child) -> (Option<i32>, String) {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_page_stays_until_interrupted_then_prints_the_verdict() {
    let folder = Folder::new();
    let (child, address) = served(&folder, &["how-to-use"]);
    sent_until(&address, &["Verdict: both have cooked"]);
    sent_until(&address, &OVER);

    // A viewer that connects late sees all of it.
    sent_until(&address, &OVER[..1]);
    let (code, out) = interrupted(child);

    assert_eq!(code, Some(0), "{out}");
    assert_eq!(verdict(&out), "Verdict: both have cooked, one after the other.");
}

#[test]
fn a_page_that_is_interrupted_ends_the_play_and_all_of_it() {
    let folder = Folder::new();
    let (child, address) = served(&folder, &["storm"]);
    sent_until(&address, &["\"helm\""]);

    let (code, _) = interrupted(child);

    // Without a verdict the play does not succeed.
    assert_eq!(code, Some(130));
    until("the end of all", || processes(folder.path()).is_empty());
}

#[test]
fn a_recording_is_replayed_in_a_page() {
    let folder = Folder::new();
    let ran = super::play(&folder, &["--scale", "0.5", "--record", "night.jsonl"]);
    assert_eq!(ran.code, 0, "{ran:?}");

    let (child, address) = served(&folder, &["--replay", "night.jsonl", "--speed", "100"]);
    sent_until(&address, &OVER);
    let (code, out) = interrupted(child);

    assert_eq!((code, verdict(&out)), (Some(0), verdict(&ran.out)));
    std::fs::remove_file(folder.path().join("night.jsonl")).unwrap();
}

#[test]
fn what_is_served_can_be_recorded() {
    let folder = Folder::new();
    let args = ["serve", ".", "--listen", "127.0.0.1:0", "--record", "night.jsonl"];
    let mut child = folder.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(folder.run(&["run", "jobs", "--", "sleep", "0.3"]).code, 0);
    let file = folder.path().join("night.jsonl");
    until("the release", || std::fs::read_to_string(&file).unwrap().contains("\"released\""));

    let (code, _) = interrupted(child);
    let ran = super::play(&folder, &["--replay", "night.jsonl", "--speed", "1000"]);

    assert_eq!(code, Some(0));
    assert!(ran.out.contains("| jobs: sleep (pid "), "{ran:?}");
    std::fs::remove_file(&file).unwrap();
}
