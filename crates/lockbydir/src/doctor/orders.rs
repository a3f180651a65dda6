//! The orders that a peer executes: one order, one answer. Each is made of lower-case letters,
//! digits, dots, dashes and commas, so that it can be a line of text or the name of a file. Judges
//! nothing.

use std::fmt::Write as _;
use std::time::Duration;

use super::file_system::FileSystem;
use super::probe_error::ProbeError;
use super::sandbox::Sandbox;
use super::sandbox::wall;
use crate::os::syscalls::about_path;
use crate::os::{self, Errno};
use crate::os::{clock, process};
use crate::status;
use lockbydir_protocol::Host;

/// The two ways to install a directory in a race.
pub(super) const NEW: &str = "new";
pub(super) const PLAIN: &str = "plain";

/// The last part of a wait, in which the thread spins instead of sleeping.
const SPIN_TIME: Duration = Duration::from_micros(500);
/// The longest wait for a round.
const MAX_START_DELAY: Duration = Duration::from_secs(3);

/// Executes an order, and returns the answer.
pub(super) fn execute(sandbox: &Sandbox, order: &str) -> String {
    let words: Vec<&str> = order.split(',').collect();
    if !words[1..].iter().all(|word| is_harmless(word)) {
        return "unknown".into();
    }
    let count = |text: &str| text.parse().unwrap_or(0_usize).min(1000);
    match words[..] {
        ["race", name, rounds, me, at, step] => {
            race(sandbox, name, count(rounds), me, Start::read(at, step))
        }
        ["install", name, rounds, me, how, at, step] => {
            install(sandbox, name, count(rounds), me, how, Start::read(at, step))
        }
        ["clock"] => clock::real_boot().as_micros().to_string(),
        ["rename", from, to] => outcome(sandbox.rename(from, to)),
        ["flock", name] => match os::flock(sandbox.open(), name.as_ref()) {
            Ok(Some(_)) => "got".into(),
            Ok(None) => "taken".into(),
            Err(errno) => failed(errno),
        },
        ["ring", name] => outcome(write_to_pipe(sandbox, name)),
        ["stamp", name] => match about_path(&sandbox.at(name)) {
            Ok(about) => about.changed.0.to_string(),
            Err(errno) => failed(errno),
        },
        ["who"] => describe_self(sandbox),
        _ => "unknown".into(),
    }
}

/// Returns true if this word of an order names nothing outside the sandbox: the order may come from
/// anybody.
fn is_harmless(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('.')
        && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-'))
}

/// When the rounds of a race begin, on the boot clock: both sides must begin at the same time.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) at: Duration,
    pub(super) step: Duration,
}

impl Start {
    fn read(at: &str, step: &str) -> Start {
        let micros = |text: &str| Duration::from_micros(text.parse().unwrap_or(0));
        Start { at: micros(at), step: micros(step) }
    }

    /// Waits for a round; if it is late, returns at once.
    fn wait_for(&self, nth: usize) {
        let at = self.at + self.step * u32::try_from(nth).unwrap_or(u32::MAX);
        let early = at.saturating_sub(clock::real_boot());
        if early > MAX_START_DELAY {
            return; // This time is of another clock, and would never come.
        }
        if early > SPIN_TIME {
            std::thread::sleep(early - SPIN_TIME);
        }
        while clock::real_boot() < at {
            std::hint::spin_loop();
        }
    }
}

/// Renames one file per round; returns `1` or `0` for each, depending on whether it succeeded.
pub(super) fn race(sandbox: &Sandbox, name: &str, rounds: usize, me: &str, start: Start) -> String {
    rounds_of(rounds, start, |nth| {
        sandbox.rename(&format!("{name}-{nth}"), &format!("{name}-{nth}-{me}")).is_ok()
    })
}

/// Installs one own directory per round, at the name where the peer installs too.
pub(super) fn install(
    sandbox: &Sandbox,
    name: &str,
    rounds: usize,
    me: &str,
    how: &str,
    start: Start,
) -> String {
    rounds_of(rounds, start, |nth| {
        let (from, to) = (format!("{name}-{nth}-{me}"), format!("{name}-{nth}"));
        if how == NEW { sandbox.install(&from, &to) } else { sandbox.rename_dir(&from, &to) }
            .is_ok()
    })
}

fn rounds_of(rounds: usize, start: Start, won: impl Fn(usize) -> bool) -> String {
    let round = |nth| {
        start.wait_for(nth);
        if won(nth) { '1' } else { '0' }
    };
    (0..rounds).map(round).collect()
}

#[cfg(unix)]
fn write_to_pipe(sandbox: &Sandbox, name: &str) -> Result<(), Errno> {
    use crate::os::PipeEnd;
    let pipe = os::open_pipe_at(sandbox.open(), name.as_ref(), PipeEnd::Write)?;
    os::write(&pipe, b"!").map(drop)
}

#[cfg(windows)]
fn write_to_pipe(_sandbox: &Sandbox, _name: &str) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

fn outcome(done: Result<(), Errno>) -> String {
    match done {
        Ok(()) => "done".into(),
        Err(errno) => failed(errno),
    }
}

fn failed(errno: Errno) -> String {
    format!("failed,{}", errno.raw_os_error())
}

/// Returns the error text of a failure in an answer. The text is that of the peer's system only if
/// both systems are alike.
pub(super) fn failure(answer: &str) -> Option<String> {
    let code = answer.strip_prefix("failed,")?.parse().ok()?;
    let text = std::io::Error::from_raw_os_error(code).to_string();
    Some(text.split(" (os error").next().unwrap_or_default().to_owned())
}

fn describe_self(sandbox: &Sandbox) -> String {
    let (origin, process) = process::here();
    let host = Host::new(&process::host());
    let file_system = FileSystem::of(sandbox.path());
    let kind: String = file_system
        .kind
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let mut answer = String::new();
    let is_local = u8::from(file_system.is_local);
    let _ = write!(answer, "{host:?},{},{:x},{},", process.pid, origin.boot, wall());
    let _ = write!(answer, "{kind},{is_local}");
    answer.replace('"', "")
}

/// What a peer has reported about itself.
pub(super) struct PeerFacts {
    pub(super) host: String,
    pub(super) pid: String,
    pub(super) boot: String,
    pub(super) wall: i128,
    pub(super) kind: String,
    /// Whether its kernel treats the file system as its own.
    pub(super) is_local: bool,
}

impl PeerFacts {
    pub(super) fn read(answer: &str) -> Result<PeerFacts, ProbeError> {
        let words: Vec<&str> = answer.split(',').collect();
        match words[..] {
            [host, pid, boot, wall, kind, is_local] if wall.parse::<i128>().is_ok() => {
                let shown = |text: &str| status::printable(text);
                Ok(PeerFacts {
                    host: shown(host),
                    pid: shown(pid),
                    boot: boot.to_owned(),
                    wall: wall.parse().unwrap_or(0),
                    kind: shown(kind),
                    is_local: is_local == "1",
                })
            }
            _ => Err(ProbeError::Silent("report who it is".into())),
        }
    }
}
