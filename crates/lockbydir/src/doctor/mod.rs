//! Is this place safe to lock in? A lock needs of a file system what most have and some have not:
//! that of all who rename one name exactly one succeeds, that nothing full is replaced or removed,
//! and that others see it. The doctor tries that, in a folder of its own, and says what it means.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use lockbydir::doctor::{Grade, Verdict, examine};
//!
//! let report = examine(folder.path())?;
//! for finding in report.findings.iter().filter(|finding| finding.grade != Grade::Good) {
//!     println!("{}: {}; {}", finding.tried, finding.seen, finding.meaning);
//! }
//! assert_ne!(report.verdict(), Verdict::NotSafe);
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! A thread of this process is the other one there. [`Examination`] takes another process, or a
//! process on another host. A good verdict is what was seen in a few thousand tries, and no proof.
//!
//! Here is the course of an examination. What is tried is in `alone.rs`, `stamps.rs`,
//! `race.rs`, `together.rs` and `visit.rs`.

mod alone;
mod file_system;
mod meeting;
mod mount_check;
mod orders;
mod peer;
mod race;
mod remote_host;
mod report;
mod sandbox;
mod stamps;
mod together;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockbydir_protocol::Fault;

pub use self::file_system::FileSystem;
use self::meeting::Role;
pub(crate) use self::mount_check::check;
pub use self::peer::assist;
use self::peer::{Peer, ProcessHand, ThreadHand};
pub use self::report::{Finding, Grade, Other, Report, Verdict};
use self::sandbox::Sandbox;
pub(crate) use self::sandbox::{is_room_name, remove_left};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::os::{Errno, fault};
use crate::waiter::Patience;

/// Examines a folder, with a thread of this process as the other one.
///
/// # Errors
/// When nothing can be tried there: the folder is missing, may not be written, or is full.
pub fn examine(dir: impl AsRef<Path>) -> Result<Report, Error> {
    Examination::of(dir).run()
}

/// How a folder is examined.
#[must_use]
pub struct Examination {
    dir: PathBuf,
    with: With,
    interrupt: Interrupt,
}

/// Who the other one is.
enum With {
    Thread,
    Process(Box<Command>),
    Host(Patience),
}

impl Examination {
    /// Of this folder, with a thread as the other one.
    pub fn of(dir: impl AsRef<Path>) -> Examination {
        let interrupt = Interrupt::new();
        Examination { dir: dir.as_ref().to_owned(), with: With::Thread, interrupt }
    }

    /// With another process: this command is started with the path of a folder as one more
    /// argument, and must call [`assist`] on that.
    pub fn with_process(self, command: Command) -> Examination {
        Examination { with: With::Process(Box::new(command)), ..self }
    }

    /// With a process on another host, which examines the same folder in the same way at the same
    /// time; so long at most one waits for the other. Both must be of one user, and have the same
    /// report.
    pub fn with_host(self, patience: Patience) -> Examination {
        Examination { with: With::Host(patience), ..self }
    }

    /// Raised, it ends the examination early.
    pub fn interrupt(self, interrupt: Interrupt) -> Examination {
        Examination { interrupt, ..self }
    }

    /// Examines, and leaves nothing behind.
    ///
    /// # Errors
    /// When nothing can be tried: the folder is missing, may not be written, or is full. With a
    /// host also [`PatienceOver`](crate::ErrorKind::PatienceOver) when nobody came, and
    /// [`Io`](crate::ErrorKind::Io) when the other one fell silent;
    /// [`Interrupted`](crate::ErrorKind::Interrupted) when it was ended.
    pub fn run(mut self) -> Result<Report, Error> {
        let with = std::mem::replace(&mut self.with, With::Thread);
        let failed = |trouble| self.failed(trouble);
        let make = || Sandbox::make(&self.dir).map_err(|errno| failed(errno.into()));
        match with {
            With::Thread => {
                let room = make()?;
                let mut hand = ThreadHand::start(room.path()).map_err(failed)?;
                self.examine(&room, &mut hand)
            }
            With::Process(command) => {
                let room = make()?;
                let mut hand = ProcessHand::start(*command, room.path()).map_err(failed)?;
                self.examine(&room, &mut hand)
            }
            With::Host(patience) => match meeting::meet(&self.dir, patience, &self.interrupt)? {
                Role::Leads(mut mail) => {
                    let report = self.examine(&mail.room().map_err(failed)?, &mut mail)?;
                    mail.hand_out(&report).map_err(failed)?;
                    Ok(report)
                }
                Role::Follows(mail) => {
                    let read = mail.follow().map_err(failed)?;
                    let file_system = FileSystem::of(&self.dir);
                    Ok(Report { dir: self.dir.clone(), file_system, ..read })
                }
            },
        }
    }

    fn failed(&self, trouble: ProbeError) -> Error {
        match trouble {
            // Whoever ended this one may have ended the other one, too.
            _ if self.interrupt.is_raised() => Error::ended(&self.dir),
            ProbeError::Failed(errno) => Error::cannot_examine(&self.dir, fault(errno)),
            ProbeError::Silent(what) => Error::silent(&self.dir, what),
            ProbeError::Ended => Error::ended(&self.dir),
        }
    }

    /// Everything that is tried, in the order in which it is told.
    fn examine(&self, room: &Sandbox, hand: &mut dyn Peer) -> Result<Report, Error> {
        let file_system = FileSystem::of(&self.dir);
        let mut findings = file_system.findings(&self.dir);
        let tries = [alone::TRIES, stamps::TRIES, race::TRIES, together::TRIES];
        if hand.other() == Other::Host {
            findings.push(self.told(remote_host::acquaint(&file_system, hand))?);
        }
        let of_host = if hand.other() == Other::Host { remote_host::TRIES } else { &[] };
        for probe in tries.into_iter().chain([of_host]).flatten() {
            if self.interrupt.is_raised() {
                return Err(self.failed(ProbeError::Ended));
            }
            findings.extend(self.told(probe.try_out(room, hand))?);
        }
        let (dir, other) = (self.dir.clone(), hand.other());
        Ok(Report { dir, file_system, other, findings })
    }

    /// What nobody can help with ends the examination.
    fn told<T>(&self, tried: Result<T, ProbeError>) -> Result<T, Error> {
        tried.map_err(|trouble| self.failed(trouble))
    }
}

/// What is tried, by a name that programs know, and by what people are told.
struct Probe {
    name: &'static str,
    tried: &'static str,
    run: fn(&Try<'_>, &mut dyn Peer) -> Result<(), ProbeError>,
}

impl Probe {
    fn find(&self, room: &Sandbox, hand: &mut dyn Peer) -> Result<Vec<Finding>, ProbeError> {
        let attempt = Try { probe: self, room, found: Default::default() };
        (self.run)(&attempt, hand)?;
        Ok(attempt.found.into_inner())
    }

    /// The same, where a call that fails is a finding: a lock would need it.
    fn try_out(&self, room: &Sandbox, hand: &mut dyn Peer) -> Result<Vec<Finding>, ProbeError> {
        match self.find(room, hand) {
            Err(ProbeError::Failed(errno)) if !matches!(fault(errno), Fault::Full { .. }) => {
                let (seen, meaning) = (format!("failed: {}", said(errno)), "A lock needs this.");
                Ok(vec![Finding::new(Grade::Fatal, self.name, self.tried, seen, meaning)])
            }
            done => done,
        }
    }
}

/// One try, and what was found.
struct Try<'a> {
    probe: &'a Probe,
    room: &'a Sandbox,
    found: RefCell<Vec<Finding>>,
}

impl Try<'_> {
    fn note(&self, grade: Grade, seen: impl Into<String>, meaning: impl Into<String>) {
        let Probe { name, tried, .. } = self.probe;
        self.found.borrow_mut().push(Finding::new(grade, name, tried, seen, meaning));
    }

    fn good(&self, seen: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Good, seen, meaning);
    }

    fn remark(&self, seen: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Remark, seen, meaning);
    }

    fn fatal(&self, seen: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Fatal, seen, meaning);
    }

    fn untried(&self, why: impl Into<String>, meaning: impl Into<String>) {
        self.note(Grade::Untried, why, meaning);
    }
}

/// Why a try came to no end.
#[derive(Debug)]
enum ProbeError {
    Failed(Errno),
    /// The other one does not answer any more, and what it was asked.
    Silent(String),
    /// Somebody ended it.
    Ended,
}

impl From<Errno> for ProbeError {
    fn from(errno: Errno) -> ProbeError {
        ProbeError::Failed(errno)
    }
}

/// The system's words, without its number.
fn said(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
