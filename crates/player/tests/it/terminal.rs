//! `watch::show` on a terminal (made by `script`) with sources that end by themselves. The test
//! program runs itself on that terminal; an environment variable says with which source.

// A terminal is made by `script`.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Duration;

use lockbydir_player::watch::{Options, show};
use lockbydir_player::{Error, Event, How, Source};

use crate::{acquired, event};

const WHICH: &str = "LOCKBYDIR_PLAYER_TEST";

/// Returns one event, and then ends as `how` says.
struct Ending {
    how: String,
    calls: u32,
}

impl Source for Ending {
    fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        self.calls += 1;
        match (self.calls, &*self.how) {
            (1, _) => Ok(vec![event(self.now(), acquired("a", 7, How::Free))]),
            (2 | 3, _) | (_, "over") => {
                std::thread::sleep(up_to);
                Ok(Vec::new())
            }
            (_, "panic") => panic!("the source has lost its head"),
            _ => Err(Error::File { path: "tape".into(), cause: std::io::Error::other("torn") }),
        }
    }

    fn is_over(&self) -> bool {
        self.how == "over" && self.calls > 2
    }
}

/// The program that runs on the terminal; as a plain test it does nothing.
#[test]
fn itself() {
    let Ok(how) = std::env::var(WHICH) else { return };
    let mut options = Options::titled("itself");
    options.ends = Some(Duration::from_millis(300));
    let shown = show(Box::new(Ending { how, calls: 0 }), options);
    println!("ended: {shown:?}");
}

/// Runs the program on a terminal with a source that ends in this way. Returns all output, with `as
/// before` at its end if the modes of the terminal were restored.
fn on_terminal(how: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let shell = "stty cols 80 rows 24; before=$(stty -g); \"$P\" --exact --nocapture terminal::itself; \
                 [ \"$before\" = \"$(stty -g)\" ] && echo as before";
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", shell, "/dev/null"])
        .env(WHICH, how)
        .env("P", program)
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .expect("script runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the output after the terminal was restored, and checks that it was restored for good.
#[track_caller]
fn after(text: &str) -> &str {
    let (shown, after) = text.split_once("\u{1b}[?1049l").expect("it is given back");
    assert!(shown.contains("\u{1b}[?1049h") && !after.contains("\u{1b}[?1049h"), "{text:?}");
    assert!(after.contains("as before"), "{after:?}");
    after
}

#[test]
fn a_panic_is_printed_after_the_terminal_is_restored() {
    let text = on_terminal("panic");

    let after = after(&text);
    assert!(after.contains("the source has lost its head"), "{after:?}");
    assert!(after.contains("FAILED"), "the panic goes on: {after:?}");
}

#[test]
fn an_error_of_the_source_is_returned() {
    let text = on_terminal("error");

    assert!(after(&text).contains("ended: Err(File { path: \"tape\""), "{text:?}");
}

#[test]
fn the_end_of_the_source_leaves_the_last_frame() {
    let text = on_terminal("over");

    let after = after(&text);
    assert!(after.contains("over at ") && after.contains("● held"), "{after:?}");
    assert!(after.contains("ended: Ok(())"), "{after:?}");
}
