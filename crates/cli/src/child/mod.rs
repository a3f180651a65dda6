//! The command as a process: started so that it cannot outlive its lock, sent the signals that this
//! process gets, and ended with all that it started. Each system has the same [`Signals`] and [`Child`].

use std::ffi::OsString;
use std::io;
#[cfg(not(target_os = "linux"))]
use std::process::Command;

use crate::exit::{CANNOT_RUN, Failure};

mod signals;

#[cfg(target_os = "linux")]
mod contain;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use contain::can_contain;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(target_os = "linux")]
mod linux_signals;
#[cfg(target_os = "linux")]
pub(crate) use linux_signals::*;
#[cfg(target_os = "linux")]
mod orders;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "calls that no safe interface has")]
mod raw;
#[cfg(target_os = "linux")]
mod split;
#[cfg(target_os = "linux")]
mod supervisor;
#[cfg(target_os = "linux")]
mod tree;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub(crate) use macos::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

pub(crate) use self::signals::Signals;

/// The command to start, and how.
pub(crate) struct Plan<'a> {
    /// The command and its arguments.
    pub(crate) command: &'a [OsString],
    /// The variables of its environment beyond those of this process.
    pub(crate) variables: Vec<(&'static str, OsString)>,
    /// Whether it runs in a PID namespace of its own, which ends with it.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "elsewhere it is refused"))]
    pub(crate) is_contained: bool,
}

#[cfg(not(target_os = "linux"))]
impl Plan<'_> {
    /// Returns the command with its arguments and variables.
    fn prepared(&self) -> Command {
        let mut prepared = Command::new(self.command.first().cloned().unwrap_or_default());
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        prepared.args(self.command.iter().skip(1)).envs(variables);
        prepared
    }
}

fn cannot_run(error: io::Error) -> Failure {
    Failure::new(CANNOT_RUN, format!("cannot run the command: {error}"))
}

/// Fails: only Linux has PID namespaces.
#[cfg(not(target_os = "linux"))]
pub(crate) fn can_contain() -> Result<(), crate::exit::Failure> {
    let message =
        "--contain is not possible on this system: it needs a PID namespace of Linux; leave it out";
    Err(crate::exit::Failure::new(crate::exit::USAGE, message))
}

/// The outcome of the command.
pub(crate) enum Event {
    /// It ended: its exit code, or 128 and the signal's number; and that signal, where one ended it.
    Ended { code: u32, signal: Option<u8> },
    /// It could not be started.
    NotStarted(std::io::Error),
    /// Its supervisor was killed, so the command was ended, except for these processes.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "elsewhere nothing does"))]
    Unsupervised(Vec<u32>),
}
