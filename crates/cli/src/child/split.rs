//! What a forked child of `lockbydir` does to become the supervisor, and to start the command below it.
//!
//! Other threads may have been in any state at the fork, so it makes system calls only: it allocates
//! nothing, takes no lock and cannot panic. What it needs is made before.

use std::ffi::{CString, OsStr};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::process::{
    Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal,
};
use signal_hook::consts::signal::{SIGCHLD, SIGPIPE};

use super::contain::{Containment, Side};
use super::orders::{Report, wait_at_gate};
use super::{Plan, raw, supervisor};

/// The program to execute, with its arguments and its environment.
pub(super) struct Image {
    arguments: raw::Texts,
    environment: raw::Texts,
}

impl Image {
    pub(super) fn of(plan: &Plan<'_>) -> io::Result<Image> {
        if plan.command.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let arguments = plan.command.iter().map(|argument| CString::new(argument.as_bytes()));
        let variable = |name: &OsStr, value: &OsStr| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let is_replaced = |name: &OsStr| plan.variables.iter().any(|(set, _)| name == *set);
        let kept = std::env::vars_os().filter(|(name, _)| !is_replaced(name));
        let kept = kept.map(|(name, value)| variable(&name, &value));
        let set = plan.variables.iter().map(|(name, value)| variable(name.as_ref(), value));
        Ok(Image {
            arguments: raw::Texts::new(arguments.collect::<Result<_, _>>()?),
            environment: raw::Texts::new(kept.chain(set).collect::<Result<_, _>>()?),
        })
    }

    /// Executes the program in place of this one. Returns only if that fails.
    fn execute(&self) -> i32 {
        raw::execute(&self.arguments, &self.environment)
    }
}

/// What a forked child needs.
pub(super) struct Split {
    /// The socket to `lockbydir`.
    pub(super) orders: UnixStream,
    /// The command waits until it reads from here.
    pub(super) gate: PipeReader,
    /// The other ends of these, which the command's process must not keep open in place of `lockbydir`.
    pub(super) ours: [RawFd; 2],
    pub(super) image: Image,
    /// The signals that `lockbydir` handles.
    pub(super) handled: Vec<i32>,
    /// `SIGCHLD` was ignored when `lockbydir` was started.
    pub(super) ignored_children: bool,
    pub(super) containment: Option<Containment>,
    /// The signal mask with which `lockbydir` was started.
    pub(super) mask: raw::Mask,
}

impl Split {
    /// Makes this process the supervisor, and a child of it the command. All signals are blocked.
    pub(super) fn divide(&self) -> ! {
        let (supervisor, known_as) = match self.containment.as_ref().map(Containment::enter) {
            None => {
                if let Err(errno) = set_child_subreaper(Some(getpid())) {
                    supervisor::give_up(self.orders.as_fd(), errno.raw_os_error());
                }
                (getpid(), getpid())
            }
            Some(Ok(Side::Within(outside))) => (getpid(), outside),
            Some(Ok(Side::Outside)) => raw::exit(0),
            Some(Err(refused)) => {
                Report::Refused(refused.number()).send(&self.orders);
                raw::exit(1)
            }
        };
        match raw::fork() {
            Ok(Some(command)) => supervisor::supervise(command, known_as, self.orders.as_fd()),
            Err(error) => {
                supervisor::give_up(self.orders.as_fd(), error.raw_os_error().unwrap_or(0))
            }
            Ok(None) => {}
        }
        self.ours.into_iter().for_each(raw::close_copy);
        let follows = set_parent_process_death_signal(Some(Signal::KILL));
        let errno = match follows {
            Ok(()) if getppid() == Some(supervisor) => self.begin(),
            Ok(()) => Errno::SRCH.raw_os_error(),
            Err(errno) => errno.raw_os_error(),
        };
        Report::NotStarted(errno).send(&self.orders);
        raw::exit(1)
    }

    /// Executes the command once it may begin. Returns the error if that fails.
    fn begin(&self) -> i32 {
        // From here on a signal has the same effect on this process as on the command.
        for &signal in &self.handled {
            raw::set_default(signal);
        }
        // The Rust runtime ignores it in `lockbydir`.
        raw::set_default(SIGPIPE);
        if self.ignored_children {
            raw::ignore(SIGCHLD);
        }
        raw::restore_signals(&self.mask);
        match wait_at_gate(&self.gate) {
            Ok(()) => self.image.execute(),
            Err(errno) => errno.raw_os_error(),
        }
    }
}
