//! What the other one is asked to do, and does: one order, one answer, each a word of small letters,
//! digits, dots, dashes and commas, so that it can be a queue or a file's name. Judges nothing.

use std::fmt::Write as _;
use std::time::Duration;

use super::sandbox::Sandbox;
use super::stamps::wall;
use super::{FileSystem, ProbeError};
use crate::os::syscalls::about_path;
use crate::os::{self, Errno};
use crate::os::{clock, process};
use crate::status;
use lockbydir_protocol::Host;

/// How directories are installed in a race.
pub(super) const NEW: &str = "new";
pub(super) const PLAIN: &str = "plain";

/// The last bit of a wait, in which one does not sleep.
const SPIN: Duration = Duration::from_micros(500);
/// Nobody waits longer for a round.
const LONGEST_START: Duration = Duration::from_secs(3);

/// Obeys an order.
pub(super) fn execute(room: &Sandbox, order: &str) -> String {
    let words: Vec<&str> = order.split(',').collect();
    if !words[1..].iter().all(|word| is_harmless(word)) {
        return "unknown".into();
    }
    let count = |text: &str| text.parse().unwrap_or(0_usize).min(1000);
    match words[..] {
        ["race", name, rounds, me, at, step] => {
            race(room, name, count(rounds), me, Start::read(at, step))
        }
        ["install", name, rounds, me, how, at, step] => {
            install(room, name, count(rounds), me, how, Start::read(at, step))
        }
        ["clock"] => clock::real_boot().as_micros().to_string(),
        ["rename", from, to] => outcome(room.rename(from, to)),
        ["flock", name] => match os::flock(room.open(), name.as_ref()) {
            Ok(Some(_)) => "got".into(),
            Ok(None) => "taken".into(),
            Err(errno) => failed(errno),
        },
        ["ring", name] => outcome(ring(room, name)),
        ["stamp", name] => match about_path(&room.at(name)) {
            Ok(about) => about.changed.0.to_string(),
            Err(errno) => failed(errno),
        },
        ["who"] => who(room),
        _ => "unknown".into(),
    }
}

/// Of one who may be a stranger to us: it names nothing outside of the room.
fn is_harmless(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('.')
        && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-'))
}

/// When the rounds of a race begin, on the boot clock: only who comes at the same time races.
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

    /// Waits for a round; who is late goes on at once.
    fn wait_for(&self, nth: usize) {
        let at = self.at + self.step * u32::try_from(nth).unwrap_or(u32::MAX);
        let early = at.saturating_sub(clock::real_boot());
        if early > LONGEST_START {
            return; // Of another clock: it would never come.
        }
        if early > SPIN {
            std::thread::sleep(early - SPIN);
        }
        while clock::real_boot() < at {
            std::hint::spin_loop();
        }
    }
}

/// Renames each of so many files; which of them succeeded: `0` or `1` each.
pub(super) fn race(room: &Sandbox, name: &str, rounds: usize, me: &str, start: Start) -> String {
    rounds_of(rounds, start, |nth| {
        room.rename(&format!("{name}-{nth}"), &format!("{name}-{nth}-{me}")).is_ok()
    })
}

/// Installs so many directories of its own, each where the other one installs too.
pub(super) fn install(
    room: &Sandbox,
    name: &str,
    rounds: usize,
    me: &str,
    how: &str,
    start: Start,
) -> String {
    rounds_of(rounds, start, |nth| {
        let (from, to) = (format!("{name}-{nth}-{me}"), format!("{name}-{nth}"));
        if how == NEW { room.install(&from, &to) } else { room.rename_dir(&from, &to) }.is_ok()
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
fn ring(room: &Sandbox, name: &str) -> Result<(), Errno> {
    use crate::os::PipeEnd;
    let pipe = os::open_pipe_at(room.open(), name.as_ref(), PipeEnd::Write)?;
    os::write(&pipe, b"!").map(drop)
}

#[cfg(windows)]
fn ring(_room: &Sandbox, _name: &str) -> Result<(), Errno> {
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

/// What an answer says of a failure, in the words of the answering system if it is like ours.
pub(super) fn failure(answer: &str) -> Option<String> {
    let code = answer.strip_prefix("failed,")?.parse().ok()?;
    let text = std::io::Error::from_raw_os_error(code).to_string();
    Some(text.split(" (os error").next().unwrap_or_default().to_owned())
}

fn who(room: &Sandbox) -> String {
    let (origin, process) = process::here();
    let host = Host::new(&process::host());
    let file_system = FileSystem::of(room.path());
    let kind: String = file_system
        .kind
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let mut told = String::new();
    let is_local = u8::from(file_system.is_local);
    let _ = write!(told, "{host:?},{},{:x},{},", process.pid, origin.boot, wall());
    let _ = write!(told, "{kind},{is_local}");
    told.replace('"', "")
}

/// One who has told about itself.
pub(super) struct PeerFacts {
    pub(super) host: String,
    pub(super) pid: String,
    pub(super) boot: String,
    pub(super) wall: i128,
    pub(super) kind: String,
    /// Does its kernel take the file system for its own?
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
            _ => Err(ProbeError::Silent("tell who it is".into())),
        }
    }
}
