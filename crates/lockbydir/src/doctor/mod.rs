//! Checks whether a folder is safe to lock in. A lock needs properties of a file system that most
//! have and some lack: that of all processes that rename one name exactly one succeeds, that
//! nothing that is not empty is replaced or removed, and that other processes see the changes. The
//! doctor tries these in a sandbox, a folder of its own, and explains the results.
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
//! By default the peer is a thread of this process. [`Examination`] can also use another process,
//! or a process on another host. A good verdict reports what was observed in a few thousand tries;
//! it is not a proof.
//!
//! This file has the course of an examination. The probes are in `alone.rs`, `stamps.rs`,
//! `race.rs`, `together.rs` and `remote_host.rs`.

mod alone;
mod file_system;
mod finding;
mod meeting;
mod mount_check;
mod orders;
mod peer;
mod probe;
mod probe_error;
mod race;
mod remote_host;
mod report;
mod sandbox;
mod stamps;
mod together;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::file_system::FileSystem;
pub use self::finding::{Finding, Grade};
use self::meeting::Role;
pub(crate) use self::mount_check::check;
pub use self::peer::assist;
use self::peer::{Peer, ProcessPeer, ThreadPeer};
use self::probe_error::ProbeError;
pub use self::report::{Other, Report, Verdict};
use self::sandbox::Sandbox;
pub(crate) use self::sandbox::{is_sandbox_name, remove_left};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::os::fault;
use crate::waiting::Patience;

/// Examines a folder, with a thread of this process as the peer.
///
/// # Errors
/// If no probe can run there: the folder is missing, cannot be written, or is full.
pub fn examine(dir: impl AsRef<Path>) -> Result<Report, Error> {
    Examination::of(dir).run()
}

/// An examination of a folder, and its options.
#[must_use]
pub struct Examination {
    dir: PathBuf,
    with: With,
    interrupt: Interrupt,
}

/// The kind of peer.
enum With {
    Thread,
    Process(Box<Command>),
    Host(Patience),
}

impl Examination {
    /// Creates an examination of this folder, with a thread as the peer.
    pub fn of(dir: impl AsRef<Path>) -> Examination {
        let interrupt = Interrupt::new();
        Examination { dir: dir.as_ref().to_owned(), with: With::Thread, interrupt }
    }

    /// Uses another process as the peer: this command is started with the path of a folder as one
    /// more argument, and must call [`assist`] on it.
    pub fn with_process(self, command: Command) -> Examination {
        Examination { with: With::Process(Box::new(command)), ..self }
    }

    /// Uses a process on another host as the peer, which examines the same folder in the same way
    /// at the same time; each waits for the other for the given patience. Both must run as the same
    /// user; both get the same report.
    pub fn with_host(self, patience: Patience) -> Examination {
        Examination { with: With::Host(patience), ..self }
    }

    /// Sets an interrupt that ends the examination early when it is raised.
    pub fn interrupt(self, interrupt: Interrupt) -> Examination {
        Examination { interrupt, ..self }
    }

    /// Examines the folder, and leaves nothing behind.
    ///
    /// # Errors
    /// If no probe can run: the folder is missing, cannot be written, or is full. With another host
    /// also [`PatienceOver`](crate::ErrorKind::PatienceOver) if no peer was found, and
    /// [`Io`](crate::ErrorKind::Io) if the peer stopped answering;
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if the examination was interrupted.
    pub fn run(mut self) -> Result<Report, Error> {
        let with = std::mem::replace(&mut self.with, With::Thread);
        let failed = |error| self.failed(error);
        let make = || Sandbox::make(&self.dir).map_err(|errno| failed(errno.into()));
        match with {
            With::Thread => {
                let sandbox = make()?;
                let mut peer = ThreadPeer::start(sandbox.path()).map_err(failed)?;
                self.examine(&sandbox, &mut peer)
            }
            With::Process(command) => {
                let sandbox = make()?;
                let mut peer = ProcessPeer::start(*command, sandbox.path()).map_err(failed)?;
                self.examine(&sandbox, &mut peer)
            }
            With::Host(patience) => match meeting::meet(&self.dir, patience, &self.interrupt)? {
                Role::Leads(mut mail) => {
                    let report = self.examine(&mail.sandbox().map_err(failed)?, &mut mail)?;
                    mail.send_report(&report).map_err(failed)?;
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

    fn failed(&self, error: ProbeError) -> Error {
        match error {
            // An interrupt of this process may have ended the peer too.
            _ if self.interrupt.is_raised() => Error::ended(&self.dir),
            ProbeError::Failed(errno) => Error::cannot_examine(&self.dir, fault(errno)),
            ProbeError::Silent(what) => Error::silent(&self.dir, what),
            ProbeError::Ended => Error::ended(&self.dir),
        }
    }

    /// Runs all probes, in the order in which they are reported.
    fn examine(&self, sandbox: &Sandbox, peer: &mut dyn Peer) -> Result<Report, Error> {
        let file_system = FileSystem::of(&self.dir);
        let mut findings = file_system.findings(&self.dir);
        let tries = [alone::PROBES, stamps::PROBES, race::PROBES, together::PROBES];
        if peer.other() == Other::Host {
            findings.push(self.or_end(remote_host::identify_peer(&file_system, peer))?);
        }
        let of_host = if peer.other() == Other::Host { remote_host::PROBES } else { &[] };
        for probe in tries.into_iter().chain([of_host]).flatten() {
            if self.interrupt.is_raised() {
                return Err(self.failed(ProbeError::Ended));
            }
            findings.extend(self.or_end(probe.try_out(sandbox, peer))?);
        }
        let (dir, other) = (self.dir.clone(), peer.other());
        Ok(Report { dir, file_system, other, findings })
    }

    /// Converts an error of a probe, which ends the examination.
    fn or_end<T>(&self, tried: Result<T, ProbeError>) -> Result<T, Error> {
        tried.map_err(|error| self.failed(error))
    }
}
