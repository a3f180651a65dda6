//! An error as one of the standard library.

use std::io;

use crate::error::{Error, ErrorKind};

/// For functions that return [`io::Result`]: the kind is that of the system's error
/// where there is one, [`TimedOut`](io::ErrorKind::TimedOut) where patience was over, and the
/// nearest one otherwise. The error is inside, and shows its message.
///
/// ```
/// use lockbydir::{Error, ErrorKind};
///
/// let error: std::io::Error = Error::new(ErrorKind::PatienceOver, "gave up").into();
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::Usage => io::ErrorKind::InvalidInput,
            ErrorKind::PatienceOver => io::ErrorKind::TimedOut,
            ErrorKind::Deadlock => io::ErrorKind::Deadlock,
            ErrorKind::Interrupted => io::ErrorKind::Interrupted,
            ErrorKind::OtherUser | ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::Unavailable => io::ErrorKind::NotConnected,
            _ => std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<io::Error>())
                .map_or(io::ErrorKind::Other, io::Error::kind),
        };
        io::Error::new(kind, error)
    }
}
