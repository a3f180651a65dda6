//! Exit codes: the numbers of `sysexits.h`, and the code of each error.

use lockbydir::{Error, ErrorKind};

pub(crate) const NOT_DONE: u8 = 1;
pub(crate) const USAGE: u8 = 64;
pub(crate) const UNAVAILABLE: u8 = 69;
pub(crate) const CANNOT_MAKE: u8 = 73;
pub(crate) const IO: u8 = 74;
pub(crate) const PATIENCE_OVER: u8 = 75;
pub(crate) const LOST: u8 = 76;
pub(crate) const DENIED: u8 = 77;
pub(crate) const CANNOT_RUN: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended the command or this program.
pub(crate) const SIGNAL: u8 = 128;

/// A message for people, and the exit code for scripts.
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    /// The program ends by this signal, so that its caller stops as it would if it ran the command itself.
    pub(crate) signal: Option<u8>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), signal: None }
    }

    /// Makes the failure for an end by a signal of the terminal, which the caller received as well.
    pub(crate) fn of_signal(signal: u8, message: impl Into<String>) -> Failure {
        let code = SIGNAL.saturating_add(signal);
        Failure { signal: Some(signal), ..Failure::new(code, message) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::Usage => USAGE,
            ErrorKind::PatienceOver | ErrorKind::Deadlock => PATIENCE_OVER,
            ErrorKind::Lost => LOST,
            ErrorKind::Unavailable => UNAVAILABLE,
            ErrorKind::OtherUser | ErrorKind::PermissionDenied => DENIED,
            // A foreign thing in its place cannot become a lock directory; and where no lock is
            // safe, no lock directory is made.
            ErrorKind::CannotMake | ErrorKind::Foreign | ErrorKind::Unfit => CANNOT_MAKE,
            _ => IO,
        };
        Failure::new(code, error.to_string())
    }
}

#[cfg(feature = "player")]
impl From<lockbydir_player::Error> for Failure {
    fn from(error: lockbydir_player::Error) -> Failure {
        use lockbydir_player::Error as Player;
        let code = match error {
            Player::Lock(error) => return error.into(),
            // The sender of the signal needs no message.
            Player::Interrupted(signal) => {
                return Failure::new(SIGNAL + u8::try_from(signal).unwrap_or(0), "");
            }
            Player::Usage(_) | Player::Recording { .. } => USAGE,
            Player::File { ref cause, .. } if cause.kind() == std::io::ErrorKind::AlreadyExists => {
                CANNOT_MAKE
            }
            Player::File { ref cause, .. } | Player::Listen { ref cause, .. }
                if cause.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                DENIED
            }
            _ => IO,
        };
        Failure::new(code, error.to_string())
    }
}
