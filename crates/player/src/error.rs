//! Errors of the player.

use std::path::PathBuf;
use std::{fmt, io};

/// Why the player cannot show or serve something.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The locks cannot be observed.
    Lock(lockbydir::Error),
    /// A file cannot be read or written.
    File {
        /// Its path.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// A file is not a recording.
    Recording {
        /// Its path.
        path: PathBuf,
        /// The number of the line that is wrong, from 1 on.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The terminal cannot be read or drawn on.
    Terminal(io::Error),
    /// A signal of this number asked the program to end; the terminal is restored.
    Interrupted(i32),
    /// A thread cannot be started.
    Thread(io::Error),
    /// The options are invalid.
    Usage(String),
    /// The page cannot listen on an address.
    Listen {
        /// The address.
        address: String,
        /// The cause.
        cause: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Lock(error) => error.fmt(f),
            Error::File { path, cause } => write!(f, "{}: {cause}", lockbydir::printable(path)),
            Error::Recording { path, line, why } => {
                write!(f, "{}, line {line}: {why}", lockbydir::printable(path))
            }
            Error::Terminal(cause) => write!(f, "cannot draw on this terminal: {cause}"),
            Error::Thread(cause) => write!(
                f,
                "cannot start a thread: {cause}; end other programs of this user, or raise the limit (ulimit -u)"
            ),
            Error::Interrupted(signal) => write!(f, "ended by signal {signal}"),
            Error::Usage(why) => f.write_str(why),
            Error::Listen { address, cause } if cause.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "listen on {address}: another program listens there already; end it, or choose another port (0 is any that is free)"
            ),
            Error::Listen { address, cause } => write!(f, "listen on {address}: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Lock(error) => Some(error),
            Error::File { cause, .. }
            | Error::Terminal(cause)
            | Error::Thread(cause)
            | Error::Listen { cause, .. } => Some(cause),
            Error::Recording { .. } | Error::Interrupted(_) | Error::Usage(_) => None,
        }
    }
}

impl From<lockbydir::Error> for Error {
    fn from(error: lockbydir::Error) -> Error {
        Error::Lock(error)
    }
}
