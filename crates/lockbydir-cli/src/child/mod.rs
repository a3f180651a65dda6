//! The command as a process: started so that it cannot outlive its lock, told the signals that
//! we are told, ended with all that it started. The same for each system: [`Signals`] and [`Child`].

mod signals;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

pub(crate) use self::signals::Signals;

/// What became of the command.
pub(crate) enum Event {
    /// It ended: its exit code, or 128 and the signal's number.
    Exited(u32),
    /// It could not be started.
    NotStarted(std::io::Error),
}
