//! Every verb with a standard output or standard error that cannot be written: a full pipe, a full disk, a
//! closed one, one without a reader, a stopped terminal. The exit code stays right, the command runs,
//! nothing hangs and nothing panics.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::{Ran, command_in, quoted, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    FullPipe,
    FullDisk,
    Closed,
    ReaderGone,
    StoppedTerminal,
}

const ALL: [Broken; 5] = [
    Broken::FullPipe,
    Broken::FullDisk,
    Broken::Closed,
    Broken::ReaderGone,
    Broken::StoppedTerminal,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// The lock's state before the verb runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Free,
    /// Held by a key; `KEY` in the arguments stands for it.
    Held,
    Dead,
    /// A stage that a crash has left.
    Litter,
}

/// What the verb prints on standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prints {
    Nothing,
    /// A text, which may wait for its reader.
    Text,
    /// A key, which must not be lost.
    Key,
}

type Case = (&'static [&'static str], Before, Prints, i32);

/// A command that loses its lock.
const LOST: &str = "\"$L\" break --force jobs; sleep 60";
/// A command that reports in a file that it ran.
const RAN: &str = "echo ran >ran; exit 3";
/// The same, and it leaves a foreign file in the lock directory.
const LEAVES: &str = "echo ran >ran; echo >jobs.lockdir/theirs; exit 3";

const CASES: &[Case] = &[
    (&["run", "jobs", "--", "sh", "-c", RAN], Before::Free, Prints::Nothing, 3),
    (&["run", "-v", "jobs", "--", "sh", "-c", RAN], Before::Dead, Prints::Nothing, 3),
    (&["run", "jobs", "--", "sh", "-c", RAN], Before::Dead, Prints::Nothing, 3),
    (&["run", "jobs", "--", "sh", "-c", LEAVES], Before::Free, Prints::Nothing, 3),
    (&["run", "-t", "800ms", "jobs", "--", "sh", "-c", LOST], Before::Free, Prints::Nothing, 76),
    (&["run", "-n", "jobs", "--", "true"], Before::Held, Prints::Nothing, 75),
    (&["run", "-w", "900ms", "jobs", "--", "true"], Before::Held, Prints::Nothing, 75),
    (&["run", "jobs", "--", "no-such-command"], Before::Free, Prints::Nothing, 127),
    (&["run", "missing/jobs", "--", "true"], Before::Free, Prints::Nothing, 73),
    (&["run", "--no-such-option"], Before::Free, Prints::Nothing, 64),
    // A key that cannot be printed is waited for until the lock is about to expire.
    (&["acquire", "-t", "10s", "jobs"], Before::Free, Prints::Key, 0),
    (&["acquire", "-v", "-t", "10s", "jobs"], Before::Dead, Prints::Key, 0),
    (&["acquire", "-n", "jobs"], Before::Held, Prints::Nothing, 75),
    (&["renew", "jobs", "KEY"], Before::Held, Prints::Nothing, 0),
    (&["renew", "jobs", "1-00000000000000000000000007"], Before::Held, Prints::Nothing, 76),
    (&["release", "jobs", "KEY"], Before::Held, Prints::Nothing, 0),
    (&["release", "jobs", "1-00000000000000000000000007"], Before::Free, Prints::Nothing, 76),
    (&["status", "jobs"], Before::Held, Prints::Text, 0),
    (&["status", "--json", "jobs"], Before::Free, Prints::Text, 0),
    (&["is-locked", "jobs"], Before::Held, Prints::Nothing, 0),
    (&["is-locked", "jobs"], Before::Free, Prints::Nothing, 1),
    (&["list"], Before::Held, Prints::Text, 0),
    (&["list"], Before::Free, Prints::Nothing, 0),
    (&["list", "missing"], Before::Free, Prints::Nothing, 74),
    (&["break", "jobs"], Before::Held, Prints::Nothing, 1),
    (&["break", "--force", "jobs"], Before::Held, Prints::Nothing, 0),
    (&["clean"], Before::Litter, Prints::Text, 0),
    (&["doctor"], Before::Free, Prints::Text, 0),
    (&["doctor", "missing"], Before::Free, Prints::Nothing, 73),
    #[cfg(feature = "bench")]
    (&["bench", "--quick", "--waiters", "1"], Before::Free, Prints::Text, 0),
    (&["completions", "bash"], Before::Free, Prints::Text, 0),
    (&["man", "run"], Before::Free, Prints::Text, 0),
    (&["man", "no-such-command"], Before::Free, Prints::Nothing, 64),
    (&["run", "--help"], Before::Free, Prints::Text, 0),
    (&["--version"], Before::Free, Prints::Text, 0),
    #[cfg(feature = "player")]
    (&["watch", "--once"], Before::Held, Prints::Text, 0),
    #[cfg(feature = "player")]
    (&["play", "how-to-use"], Before::Free, Prints::Text, 0),
    #[cfg(feature = "player")]
    (&["serve", "--listen", "no-address"], Before::Free, Prints::Nothing, 64),
];

#[test]
fn every_verb_ends_right_with_a_broken_output() {
    // Most of the time is spent waiting, so the cases run in parallel.
    let tries = CASES.iter().flat_map(|case| {
        ALL.into_iter().flat_map(move |broken| {
            [Stream::Err, Stream::Out].map(move |stream| (case, broken, stream))
        })
    });
    let rest = Mutex::new(tries);
    let next = || rest.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((case, broken, stream)) = next() {
                    try_case(case, broken, stream);
                }
            });
        }
    });
}

fn try_case(case: &Case, broken: Broken, stream: Stream) {
    let (args, before, prints, code) = *case;
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let key = prepare(folder.path(), before);
    let args: Vec<&str> = args.iter().map(|arg| if *arg == "KEY" { &key } else { *arg }).collect();
    let expected = match (stream, prints, broken) {
        (Stream::Err, ..) | (Stream::Out, Prints::Nothing, _) => code,
        (Stream::Out, Prints::Key, _) => 74,
        (Stream::Out, Prints::Text, Broken::FullDisk | Broken::Closed) => 74,
        // The play ends early, as if its user had interrupted it.
        (Stream::Out, Prints::Text, Broken::ReaderGone) if args[0] == "play" => 130,
        (Stream::Out, Prints::Text, _) => code,
    };
    let what = format!("{args:?} with its {stream:?}: {broken:?}");
    let began = Instant::now();

    let mut running = start(folder.path(), outside.path(), &args, broken, stream);
    if stream == Stream::Out && prints == Prints::Text {
        running.unblock();
    }
    let got = running.code(&what);

    let text = fs::read_to_string(outside.path().join("other")).unwrap();
    assert_eq!(got, expected, "{what}: {text}");
    assert!(!text.contains("panicked"), "{what}: {text}");
    println!("{what}: {got} after {:.1?}", began.elapsed());
    if args.contains(&RAN) || args.contains(&LEAVES) {
        assert!(folder.path().join("ran").exists(), "{what}: the command did not run");
    }
    if prints == Prints::Key {
        // The lock is held exactly if its key was printed.
        let is_locked = command_in(folder.path(), &["is-locked", "jobs"]).status().unwrap();
        assert_eq!(is_locked.success(), got == 0, "{what}");
        assert_eq!(stream == Stream::Err, text.contains('-') && got == 0, "{what}: {text}");
    }
}

fn prepare(folder: &Path, before: Before) -> String {
    let run = |args: &[&str]| Ran::of(command_in(folder, args).output().unwrap());
    match before {
        Before::Free => String::new(),
        Before::Held => run(&["acquire", "-t", "120s", "jobs"]).out.trim().to_owned(),
        Before::Dead => {
            run(&["run", "-t", "120s", "jobs", "--", "sh", "-c", "kill -9 $PPID"]);
            String::new()
        }
        Before::Litter => {
            run(&["run", "jobs", "--", "sh", "-c", "cp -r jobs.lockdir kept; kill -9 $PPID"]);
            let stage = folder.join("jobs.lockdir.00000000000000000000000001");
            fs::rename(folder.join("kept"), stage).unwrap();
            run(&["break", "jobs"]);
            String::new()
        }
    }
}

/// The program with one of its outputs broken, and the pipe that keeps it broken.
struct Running {
    child: Child,
    /// Where its exit code will be, if the child is not the program itself.
    code: Option<std::path::PathBuf>,
    pipe: Option<std::io::PipeReader>,
}

fn start(folder: &Path, outside: &Path, args: &[&str], broken: Broken, stream: Stream) -> Running {
    let program = env!("CARGO_BIN_EXE_lockbydir");
    let (number, other) = if stream == Stream::Out { ("1", "2") } else { ("2", "1") };
    let redirected =
        |target: &str| format!("{number}>{target} {other}>{}", quoted(outside.join("other")));
    let shell = |target: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec \"$L\" \"$@\" {}", redirected(target)), "sh"])
            .args(args);
        command
    };
    let (mut command, pipe, code) = match broken {
        Broken::FullDisk => (shell("/dev/full"), None, None),
        Broken::Closed => (shell("&-"), None, None),
        Broken::FullPipe | Broken::ReaderGone => {
            let (reader, writer) = std::io::pipe().unwrap();
            let reader = match broken {
                Broken::FullPipe => {
                    fill(&writer);
                    Some(reader)
                }
                _ => None,
            };
            // The shell gets the pipe as its standard input.
            let mut command = shell("&0 </dev/null");
            command.stdin(writer);
            (command, reader, None)
        }
        Broken::StoppedTerminal => {
            let words: String = args.iter().map(|arg| format!(" {}", quoted(arg))).collect();
            let code = outside.join("code");
            // The typed Ctrl-S stops the terminal before the newline ends `read`.
            let script = format!(
                "read go; \"$L\"{words} {}; echo $? >{at}.new; mv {at}.new {at}",
                redirected("/dev/tty"),
                at = quoted(&code)
            );
            let mut command = Command::new("script");
            command.args(["--quiet", "--command", &script, "/dev/null"]).stdin(Stdio::piped());
            (command, None, Some(code))
        }
    };
    for name in ["LOCKBYDIR_DIR", "LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE"] {
        command.env_remove(name);
    }
    let mut child = command
        .current_dir(folder)
        .env("L", program)
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(b"\x13\n").unwrap();
    }
    Running { child, code, pipe }
}

/// Fills a pipe until it takes no more byte.
fn fill(mut pipe: &std::io::PipeWriter) {
    let flags = fcntl_getfl(pipe).unwrap();
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b'x'; 4096]).is_ok() {}
    while pipe.write(b"x").is_ok() {}
    fcntl_setfl(pipe, flags).unwrap();
}

impl Running {
    /// Begins to read the output.
    fn unblock(&mut self) {
        if let Some(mut reader) = self.pipe.take() {
            std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
        }
        if let Some(stdin) = &mut self.child.stdin {
            // The terminal may have ended.
            let _ = stdin.write_all(b"\x11");
        }
    }

    fn code(mut self, what: &str) -> i32 {
        let end = Instant::now() + Duration::from_secs(60);
        let is_over = |running: &mut Running| match &running.code {
            Some(code) => code.exists(),
            None => running.child.try_wait().unwrap().is_some(),
        };
        while !is_over(&mut self) {
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("{what}: hangs");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.code.take() {
            Some(code) => {
                self.unblock();
                drop(self.child.stdin.take());
                let _ = self.child.wait();
                fs::read_to_string(code).unwrap().trim().parse().unwrap()
            }
            None => self.child.wait().unwrap().code().unwrap_or(-1),
        }
    }
}

#[test]
fn a_key_may_be_thrown_away_on_purpose() {
    let folder = tempfile::tempdir().unwrap();
    let opened =
        |write_only: bool| fs::File::options().read(!write_only).write(true).open("/dev/null");
    for (name, write_only) in [("one", true), ("two", false)] {
        let mut acquire = command_in(folder.path(), &["acquire", "-t", "60s", name]);
        assert!(acquire.stdout(opened(write_only).unwrap()).status().unwrap().success());
        let held = command_in(folder.path(), &["is-locked", name]).status().unwrap();
        assert!(held.success(), "{name}");
    }
}

#[test]
#[cfg(feature = "player")]
fn a_page_is_served_even_if_nobody_reads_its_address() {
    use rustix::process::{Pid, Signal, kill_process};
    for broken in [Broken::FullPipe, Broken::FullDisk, Broken::Closed, Broken::ReaderGone] {
        for stream in [Stream::Out, Stream::Err] {
            let folder = tempfile::tempdir().unwrap();
            let outside = tempfile::tempdir().unwrap();
            let args = ["serve", "--listen", "127.0.0.1:0"];
            let running = start(folder.path(), outside.path(), &args, broken, stream);
            let pid = running.child.id();
            until("its signals", || {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
                u64::from_str_radix(caught.trim(), 16).unwrap() >> 14 & 1 == 1
            });

            kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();

            assert_eq!(running.code(&format!("{broken:?} {stream:?}")), 0, "{broken:?} {stream:?}");
        }
    }
}

#[test]
fn a_lost_lock_ends_the_command_before_a_stuck_message() {
    for broken in ALL {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let script = "\"$L\" break --force jobs; while :; do date +%s%N >>beats; sleep .05; done";
        let args = ["run", "-t", "1s", "jobs", "--", "sh", "-c", script];
        let running = start(folder.path(), outside.path(), &args, broken, Stream::Err);

        assert_eq!(running.code(&format!("{broken:?}")), 76, "{broken:?}");
        let beats = || fs::read(folder.path().join("beats")).unwrap();
        let before = beats();
        until("the next holder", || {
            command_in(folder.path(), &["run", "jobs", "--", "sleep", "0.3"])
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        });
        assert_eq!(beats(), before, "{broken:?}: it worked beside the next holder");
    }
}
